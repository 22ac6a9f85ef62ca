"""Row browser: texts and features as a table, images and sounds rendered."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ipywidgets as widgets
import numpy as np

from labkit.core import html
from labkit.data.arrow import numbers, text_columns
from labkit.data.batching.arrays import stack
from labkit.data.masks import masks_of
from labkit.data.rows import Rows
from labkit.data.schema import Spec
from labkit.data.transcripts import TRANSCRIPT
from labkit.viz import masks, media

if TYPE_CHECKING:
    from datasets import Dataset

    from labkit.app.panel import Panel

#: Rows on a page.
PAGE = {"text": 6, "image": 24, "features": 8, "audio": 6}
#: Columns of features that are shown.
WIDE = 8


class Browser:
    """A page of rows of a split and a class, with buttons to go on. ``root`` is its widget."""

    def __init__(self, panel: Panel):
        self.panel, self.rows, self.first = panel, None, 0
        self.found = np.zeros(0, np.int64)
        self.split = widgets.Dropdown(description=panel.word("split"))
        self.label = widgets.Dropdown(description=panel.word("class"))
        self.back = panel.button("back", lambda: self._go(-1))
        self.on = panel.button("on", lambda: self._go(1))
        self.where, self.page = panel.html(), panel.html()
        bar = widgets.HBox([self.split, self.label, self.back, self.on, self.where])
        bar.add_class("lk-form")
        self.root = widgets.VBox([panel.html(html.heading(panel.word("look_at_rows"), 4)), bar, self.page])
        self.root.layout.display = "none"
        panel.on_change(self.split, lambda _: self._select())
        panel.on_change(self.label, lambda _: self._select())

    def look_at(self, rows: Rows) -> None:
        """Show the first page of other rows."""
        self.rows = rows
        with self.panel.filling():
            self.split.options = [(self.panel.split_word(name), name) for name in rows.splits]
            self.label.options = [
                (self.panel.word("all"), -1),
                *(
                    (name, i)
                    for i, name in enumerate(
                        rows.schema.classes if rows.schema.problem_type == "class" else ()
                    )
                ),
            ]
            self.split.value, self.label.value = next(iter(rows.splits)), -1
        self.root.layout.display = ""
        self._select()

    def _select(self) -> None:
        assert self.rows is not None
        self.first = 0
        labels = numbers(self.rows[self.split.value], "label")
        wanted = self.label.value
        self.found = (
            np.arange(len(labels)) if wanted is None or wanted < 0 else np.flatnonzero(labels == wanted)
        )
        self._show()

    def _go(self, pages: int) -> None:
        step = self._size * pages
        if 0 <= self.first + step < len(self.found):
            self.first += step
        self._show()

    @property
    def _size(self) -> int:
        assert self.rows is not None
        return PAGE.get(self.rows.schema.modality, PAGE["text"])

    def _show(self) -> None:
        assert self.rows is not None
        chosen = self.found[self.first : self.first + self._size]
        last = self.first + len(chosen)
        places = {"first": min(self.first + 1, last), "last": last, "count": f"{len(self.found):,}"}
        self.where.value = html.safe(self.panel.word("rows_shown", **places))
        self.back.disabled, self.on.disabled = self.first == 0, last >= len(self.found)
        self.page.value = page(self.rows, self.split.value, chosen, self.panel)


def page(rows: Rows, split: str, chosen: np.ndarray, panel: Panel) -> html.Html:
    """Some rows of a split, by position, as HTML."""
    part = rows[split].select(chosen.tolist())
    names = ["–" if told is None else str(told) for told in rows.known_of(part)]
    known = (rows.schema.problem_type != "class" and rows.spec.label) or panel.word("class")
    order = numbers(part, "row").tolist()
    if rows.schema.mask_classes:
        return _masked(part, rows.schema.mask_classes, order)
    if rows.schema.modality == "image":
        return _pictures(part, names, order)
    if rows.schema.modality == "audio":
        heard = [media.sound(np.asarray(wave, np.float32) / 32767, rows.schema.rate, name)
                 for wave, name in zip(part["sound"], names, strict=True)]  # fmt: skip
        if rows.schema.transcript:
            names, known = part[TRANSCRIPT], panel.word("transcript")
        lines = list(zip(order, names, heard, strict=True))
        return html.table([panel.word("row"), known, panel.word("sound")], lines, numeric=(0,))
    if texts := text_columns(part):
        columns = [part[name] for name in texts]
        head = [panel.word("row"), known, *rows.schema.text]
        lines = list(zip(order, names, *columns, strict=True))
    else:
        step = rows.schema.step  # of time series, whose places on the grid nobody reads
        own = ("label", "row", "target") if step is None else ("label", "row", "target", "place")
        shown = [name for name in part.column_names if name not in own][:WIDE]
        head = [panel.word("row"), known, *shown]
        columns = [
            map(step.shown, part[name]) if step is not None and name == "time" else map(_number, part[name])
            for name in shown
        ]
        lines = list(zip(order, names, *columns, strict=True))
    return html.scrolled(html.table(head, lines, numeric=(0,), limit=400), panel.word("look_at_rows"))


def _pictures(part: Dataset, names: list[str], order: list[int]) -> html.Html:
    own = next(name for name in part.column_names if name not in ("label", "row"))
    pixels = [np.asarray(values, np.uint8) for values in part[own]]
    return media.gallery([(p, f"{name} · {row}") for p, name, row in zip(pixels, names, order, strict=True)])


def _masked(part: Dataset, classes: tuple[str, ...], order: list[int]) -> html.Html:
    """Pictures with their masks over them; the captions are the row numbers."""
    pixels = stack(part, Spec(modality="image")).inputs
    return masks.tiles(pixels, masks_of(part), classes, list(map(str, order)))


def _number(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
