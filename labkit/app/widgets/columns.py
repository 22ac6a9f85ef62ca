"""A form for one row of a table: a control for each column of the training rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets
import numpy as np

from labkit.app.widgets.controls import hear_while_busy
from labkit.core import html
from labkit.core.text import visible
from labkit.core.units import unit_in
from labkit.data.cell_values import ColumnValues, cells_of
from labkit.data.new_rows import problem_of
from labkit.i18n import translate

if TYPE_CHECKING:
    from labkit.app.panel import Panel

#: Columns up to which each has a control.
MOST = 60


class ColumnForm:
    """A control per column: a list of its categories, or a field with its usual value. ``root`` is the widget.

    Args:
        panel: that shows it.
        columns: of the training rows.
        names: of the features, in their order.
    """

    def __init__(self, panel: Panel, columns: Sequence[ColumnValues], names: Sequence[str]):
        self.panel, self.columns, self.names = panel, columns, tuple(names)
        self.controls = [self._control(each) for each in columns]
        self.hints = [panel.html(self._hint(each)) for each in columns]
        fields = []
        for control, hint in zip(self.controls, self.hints, strict=True):
            hear_while_busy(control)
            control.style.description_width, control.layout.width = "auto", "auto"
            fields.append(widgets.VBox([control, hint]))
            fields[-1].add_class("lk-field")
        self.root = widgets.VBox(fields)
        self.root.add_class("lk-fields")

    def _control(self, given: ColumnValues) -> Any:
        how, name = given.column, visible(given.column.name, 60)
        if how.kind not in ("category", "boolean"):
            empty = self.panel.word("missing_value") if given.missing else ""
            return widgets.Text(given.usual, description=name, placeholder=empty, continuous_update=False)
        if how.kind == "boolean":
            options = [(self.panel.word("yes"), "true"), (self.panel.word("no"), "false")]
        else:
            options = [(visible(word, 60), word) for word in how.words]
        if given.missing:
            options.append((self.panel.word("missing_value"), ""))
        return widgets.Dropdown(options=options, value=given.usual or options[0][1], description=name)

    def _hint(self, given: ColumnValues) -> str:
        unit = unit_in(given.column.name)
        ends = f"{given.low} – {given.high}" if given.low != given.high else given.low
        said = [part for part in (unit, ends) if part]
        if given.missing:
            said.append(self.panel.word("may_be_missing"))
        return html.Html(f'<small class="lk-quiet">{html.safe(" · ".join(said))}</small>') if said else ""

    def fill(self, features: np.ndarray) -> None:
        """Put the row with these features [f] into the controls."""
        cells = cells_of(features, [each.column for each in self.columns], self.names)
        for number, (control, cell) in enumerate(zip(self.controls, cells, strict=True)):
            if isinstance(control, widgets.Dropdown) and cell.value not in {
                key for _, key in control.options
            }:
                control.options = (*control.options, (self.panel.word("missing_value"), cell.value))
            control.value = cell.value
            self._mark(number, "")

    def record(self) -> dict[str, str | None] | None:
        """The row as column name → value; None where a control has an error, which is then shown below it."""
        found, sound = {}, True
        for number, (control, given) in enumerate(zip(self.controls, self.columns, strict=True)):
            value = control.value.strip() or None
            said = problem_of(given.column, value, given.missing)
            problem = translate(said, self.panel.state.language)
            self._mark(number, problem)
            sound &= not problem
            found[given.column.name] = value
        return found if sound else None

    def _mark(self, number: int, problem: str) -> None:
        """Show an error below a control, or its hint."""
        control, hint = self.controls[number], self.hints[number]
        (control.add_class if problem else control.remove_class)("lk-wrong-value")
        hint.value = html.note(problem, "bad") if problem else self._hint(self.columns[number])
