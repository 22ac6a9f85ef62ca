"""A table of rows of which one can be chosen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import anywidget
import traitlets

from labkit.core.text import visible

_HERE = Path(__file__).parent


class RowTable(anywidget.AnyWidget):
    """Rows of texts, drawn by ``row_table.js``.

    Attributes:
        places: what each row is, such as its place in a report.
        chosen: number of the chosen row, -1 for none.
        hotkeys: keys of the keyboard that mean something on a row.
        pressed: the last of them as (how many were pressed before, key).
    """

    _esm = _HERE / "row_table.js"
    _css = _HERE / "row_table.css"
    head = traitlets.List().tag(sync=True)
    rows = traitlets.List().tag(sync=True)
    numeric = traitlets.List().tag(sync=True)
    label = traitlets.Unicode().tag(sync=True)
    chosen = traitlets.Int(-1).tag(sync=True)
    hotkeys = traitlets.List().tag(sync=True)
    pressed = traitlets.List([0, ""]).tag(sync=True)
    places: Sequence[int] = ()

    def offer(
        self,
        head: Sequence[str],
        rows: Sequence[Sequence[str]],
        places: Sequence[int],
        numeric: Sequence[int] = (),
    ) -> None:
        """Show other rows, none chosen."""
        self.places, self.chosen = list(places), -1
        self.numeric, self.head = list(numeric), list(head)
        self.rows = [[visible(value, 300) for value in row] for row in rows]

    @property
    def value(self) -> int | None:
        """The place of the chosen row."""
        return self.places[self.chosen] if 0 <= self.chosen < len(self.places) else None
