"""Interactive confusion matrix with selectable cells."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import anywidget
import numpy as np
import traitlets

#: Classes that are shown at once.
WIDEST = 20
_HERE = Path(__file__).parent


class Grid(anywidget.AnyWidget):
    """Counts in rows and columns, drawn by ``grid.js``; ``selected`` is [row, column] of the chosen cell, or
    empty."""

    _esm = _HERE / "confusion.js"
    _css = _HERE / "confusion.css"
    table = traitlets.Dict().tag(sync=True)
    label = traitlets.Unicode().tag(sync=True)
    selected = traitlets.List().tag(sync=True)

    def show(self, counts: np.ndarray, names: Sequence[str], axes: str, order: str = "class") -> None:
        """Show a confusion matrix [c, c]; of many classes those with most errors.

        ``order``: that of the classes ("class"), by "name", or by "errors", most first.
        """
        wrong = counts.sum(0) + counts.sum(1) - 2 * counts.diagonal()
        worst = np.argsort(-wrong, kind="stable")[:WIDEST]
        self.order = {
            "class": np.sort(worst),
            "name": np.asarray(sorted(worst, key=lambda number: names[number].casefold())),
            "errors": worst,
        }[order]
        shown = [str(names[number]) for number in self.order]
        values = counts[np.ix_(self.order, self.order)].tolist()
        self.selected = []
        self.table = {"rows": shown, "columns": shown, "values": values, "axes": axes}

    @property
    def chosen(self) -> tuple[int, int] | None:
        """Class ids (truth, predicted) of the chosen cell."""
        if len(self.selected) != 2:
            return None
        row, column = (int(self.order[place]) for place in self.selected)
        return row, column
