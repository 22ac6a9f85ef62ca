"""The step Prepare: cleaning with preview, classes, doubtful labels, duplicates, splits and tokenization."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import ipywidgets as widgets

from labkit.app.panel import Panel
from labkit.app.state import State, done, state_with
from labkit.app.widgets.classes import ClassEditor
from labkit.app.widgets.forms import hinted
from labkit.app.widgets.label_review import LabelReview
from labkit.app.widgets.tokens import TokensPreview
from labkit.core import html
from labkit.core.config import SEEDS
from labkit.data.prepare.clean import DEFAULT, STEPS, TextCleaner
from labkit.data.prepare.external import site_names
from labkit.data.prepare.split import leakage
from labkit.data.rows import Rows

if TYPE_CHECKING:
    from labkit.data.io.load import RowSource

#: Rows that previews and counts look at, at most.
LOOKED_AT = 20_000
#: Seconds after the last change before a preview is made.
CALM = 0.3
#: Sites that are offered.
SITES = 100
COPIES = ("keep", "exact", "near")
_SPLIT = {"validation": 0.1, "test": 0.1, "stratify": True, "seed": 0}


class Prepare(Panel):
    """Clean texts and labels, remove duplicates, split rows, and see them as tokens.

    Args:
        rows: what :func:`labkit.load` returns or takes.
        state, language: see :class:`labkit.app.panel.Panel`.
    """

    title: ClassVar[str] = "prepare"

    def __init__(
        self, rows: RowSource | None = None, *, state: State | None = None, language: str | None = None
    ):
        super().__init__(state_with(rows, state, language))

    def build(self) -> None:
        self.none = self.html()
        self.cleaning, self.copying, self.splitting = (widgets.VBox() for _ in range(3))
        self._build_cleaning()
        self.classes = ClassEditor(self, self._decide)
        self.review = LabelReview(self, self._labelled, self._decide)
        self._build_copies()
        self._build_split()
        self.reading = TokensPreview(self)
        self.parts = widgets.VBox(
            [
                self.cleaning, self.classes.root, self.review.root, self.copying, self.splitting,
                self.reading.root,
            ]
        )  # fmt: skip
        self.body.children = (self.none, self.parts)
        self.watch(("rows", "steps", "task", "accept_leakage"), self._preview)
        self.watch(["rows"], self._fill)
        self._fill()
        self._preview()

    def code(self) -> str:
        return self.state.code(model=False)

    # --- controls ---------------------------------------------------------------------------------------------

    def _build_cleaning(self) -> None:
        self.boxes = {
            name: widgets.Checkbox(
                description=self.word(f"clean_{name}"), tooltip=self.word(f"clean_{name}_help"), indent=False
            )
            for name in STEPS
        }
        grid = widgets.GridBox(
            [hinted(box, self.word(f"clean_{name}_help")) for name, box in self.boxes.items()]
        )
        grid.add_class("lk-grid")
        self.usual = self.button("clean_usual", lambda: self._tick(DEFAULT))
        self.nothing = self.button("clean_nothing", lambda: self._tick(()))
        self.changes = self.html()
        bar = widgets.HBox([self.usual, self.nothing])
        self.cleaning.children = (self._title("cleaning"), bar, grid, self.changes)
        for box in self.boxes.values():
            self.on_change(box, lambda _: self._decide())

    def _build_copies(self) -> None:
        options = [(self.word(f"copies_{choice}"), choice) for choice in COPIES]
        self.copies = widgets.Dropdown(options=options, description=self.word("copies"))
        self.copied = self.html()
        self.copying.children = (self._title("copies_title"), widgets.HBox([self.copies]), self.copied)
        self.on_change(self.copies, lambda _: self._decide())

    def _build_split(self) -> None:
        share = {"min": 0.02, "max": 0.45, "step": 0.01, "readout_format": ".0%", "continuous_update": False}
        self.validation = widgets.FloatSlider(0.1, description=self.word("validation_share"), **share)
        self.test = widgets.FloatSlider(0.1, description=self.word("test_share"), **share)
        self.group = widgets.Dropdown(description=self.word("group"), tooltip=self.word("group_help"))
        self.site = widgets.Dropdown(description=self.word("site"), tooltip=self.word("site_help"))
        self.test_sites = widgets.SelectMultiple(description=self.word("test_sites"), rows=4)
        self.time = widgets.Dropdown(
            description=self.word("split_time"), tooltip=self.word("split_time_help")
        )
        self.stratify = widgets.Checkbox(True, description=self.word("stratify"), indent=False)
        self.leak = widgets.Checkbox(False, description=self.word("accept_leakage"), indent=False)
        self.seed = widgets.BoundedIntText(0, min=0, max=SEEDS, description=self.word("seed"))
        group, site, time = (
            hinted(control, self.word(key))
            for control, key in (
                (self.group, "group_help"), (self.site, "site_help"), (self.time, "split_time_help"),
            )
        )  # fmt: skip
        form = widgets.HBox(
            [
                self.validation, self.test, group, site, self.test_sites, time, self.seed, self.stratify,
                self.leak,
            ]
        )  # fmt: skip
        form.add_class("lk-form")
        self.split_note, self.parted = self.html(), self.html()
        self.split_form = form
        self.splitting.children = (self._title("split_title"), self.split_note, form, self.parted)
        self.on_change(self.site, lambda _: self._offer_sites())
        for control in (
            self.validation, self.test, self.group, self.test_sites, self.time, self.stratify, self.leak, self.seed,
        ):  # fmt: skip
            self.on_change(control, lambda _: self._decide())

    def _title(self, key: str) -> widgets.HTML:
        return self.html(html.heading(self.word(key)))

    # --- state ------------------------------------------------------------------------------------------------

    def _tick(self, names: tuple[str, ...]) -> None:
        with self.filling():
            for name, box in self.boxes.items():
                box.value = name in names
        self._decide()

    def _fill(self) -> None:
        """Controls as the state has it."""
        rows, done = self.state.rows, {step["do"]: step for step in self.state.steps}
        self.none.value = "" if rows is not None else html.note(self.word("no_rows"))
        self.parts.layout.display = "none" if rows is None else ""
        if rows is None:
            return
        texts = rows.schema.modality == "text"
        whole = {"validation", "test"} <= set(rows.splits)
        series = rows.schema.modality == "series"  # no row can be left out, and the split is by time
        self.cleaning.layout.display = "" if texts else "none"
        self.copying.layout.display = "none" if series else ""
        for control in (self.group, self.stratify, self.seed, self.leak):
            control.layout.display = "none" if series else ""
        self.split_form.layout.display = "none" if whole else ""
        self.split_note.value = html.paragraph(self.word("split_given"), "quiet") if whole else ""
        split = {**_SPLIT, "group": "", **done.get("split", {})}
        own = ("text", "text_pair", "label", "row")
        columns = [name for name in rows.splits[next(iter(rows.splits))].column_names if name not in own]
        with self.filling():
            for name, box in self.boxes.items():
                box.value = name in done.get("clean", {}).get("steps", ())
            options = [each for each in self.copies.options if each[1] != "near" or texts]
            self.copies.options = options
            self.copies.value = _copies(done)
            self.group.options = [(self.word("none"), ""), *((name, name) for name in columns)]
            self.group.value = split["group"] if split["group"] in columns else ""
            for control, key in ((self.site, "site"), (self.time, "time")):
                control.options = self.group.options
                control.value = split.get(key) if split.get(key) in columns else ""
            self._list_sites()
            self.test_sites.value = [
                name for name in split.get("test_sites", ()) if name in self.test_sites.options
            ]
            self.validation.value, self.test.value = split["validation"], split["test"]
            self.stratify.value, self.seed.value = split["stratify"], split["seed"]
            self.leak.value = self.state.accept_leakage
            self.classes.fill(rows, done.get("relabel", {}))
            self.review.fill(rows, done.get("correct_labels", {}))

    def _offer_sites(self) -> None:
        """The sites of the chosen column, none of them chosen."""
        with self.filling():
            self._list_sites()
        self._decide()

    def _list_sites(self) -> None:
        rows, column = self.state.rows, self.site.value
        names = site_names(rows, column)[:SITES] if rows is not None and column else []
        self.test_sites.options, self.test_sites.value = names, ()
        self.test_sites.layout.display = "" if names else "none"

    def _decide(self) -> None:
        """The state as the controls have it; settings with default values are omitted."""
        steps = [step for step in self.state.steps if step["do"] == "sample"]
        if chosen := [name for name, box in self.boxes.items() if box.value]:
            steps.append({"do": "clean", "steps": chosen})
        if (relabel := self.classes.step()) is not None:
            steps.append(relabel)
        if (corrected := self.review.step()) is not None:
            steps.append(corrected)
        if self.copies.value != "keep":
            steps.append({"do": "dedupe", "near": True} if self.copies.value == "near" else {"do": "dedupe"})
        controls = {
            "validation": self.validation,
            "test": self.test,
            "stratify": self.stratify,
            "seed": self.seed,
        }
        split = {name: c.value for name, c in controls.items() if c.value != _SPLIT[name]}
        split |= {"group": self.group.value} if self.group.value else {}
        if self.site.value and self.test_sites.value:
            split |= {"site": self.site.value, "test_sites": list(self.test_sites.value)}
        split |= {"time": self.time.value} if self.time.value else {}
        whole = (
            {"validation", "test"} <= set(self.state.rows.splits) if self.state.rows is not None else False
        )
        if split and not whole:
            split |= {"accept_leakage": True} if self.leak.value else {}
            steps.append({"do": "split", **split})
        with self.state.hold_trait_notifications():
            self.state.accept_leakage = self.leak.value
            self.state.steps = tuple(steps)

    def _labelled(self) -> Rows:
        """The rows with their labels as they are now, duplicates among them and not split; for a thread."""
        rows = self.state.rows
        assert rows is not None
        for step in self.state.steps:
            if step["do"] not in ("dedupe", "split"):
                rows = done(rows, step)
        return rows

    # --- previews ---------------------------------------------------------------------------------------------

    def _preview(self) -> None:
        if self.state.rows is None:
            return
        rows, chosen = self.state.rows, tuple(name for name, box in self.boxes.items() if box.value)
        for step in self.state.steps:
            if step["do"] == "clean":
                chosen = tuple(step["steps"])
        if rows.schema.modality == "text":
            self.later("clean", lambda: _cleaned(rows, chosen), self._show_changes, CALM)
        self.later("split", self._prepared, self._show_split, CALM)
        self.reading.renew()

    def _show_changes(self, found: tuple[list[tuple[Any, ...]], dict[str, int], int]) -> None:
        lines, counts, looked = found
        if not counts:
            self.changes.value = html.paragraph(self.word("nothing_chosen"), "quiet")
            return
        told = ", ".join(f"{self.word(f'clean_{name}')}: {count:,}" for name, count in counts.items())
        first = html.paragraph(self.word("changed_rows", counts=told, looked=f"{looked:,}"), "quiet")
        head = [self.word(key) for key in ("cleaning_step", "row", "before", "after")]
        shown = [
            (self.word(f"clean_{name}"), row, html.marked(before, after), html.marked(after, before))
            for row, name, before, after in lines
        ]
        table = html.scrolled(html.table(head, shown, numeric=(1,)), self.word("before_after"))
        self.changes.value = html.joined(
            first, table if shown else html.note(self.word("nothing_changed"), "good")
        )

    def _prepared(self) -> tuple[Rows, Rows, Any]:
        cleaned, rows = self.state.cleaned(), self.state.prepared()
        return cleaned, rows, leakage(rows)

    def _show_split(self, found: tuple[Rows, Rows, Any]) -> None:
        cleaned, rows, leaks = found
        before, left = len(self.state.rows or ()), len(cleaned)
        gone = self.word("rows_left", left=f"{left:,}", gone=f"{before - left:,}")
        self.copied.value = html.paragraph(gone, "quiet") if before != left else ""
        spec, classes = rows.spec, rows.schema.classes[:24] if rows.schema.problem_type != "number" else ()
        lines = []
        for name, part in rows.splits.items():
            counts = [f"{spec.counts[name].get(each, 0):,}" for each in classes]
            lines.append(
                (self.split_word(name), f"{len(part):,}", f"{len(part) / max(len(rows), 1):.0%}", *counts)
            )
        head = [self.word("split"), self.word("rows"), self.word("share"), *classes]
        table = html.table(head, lines, numeric=tuple(range(1, len(head))))
        notes = [
            html.note(
                self.word("classes_missing", split=self.split_word(name), classes=", ".join(gone)), "warn"
            )
            for name in rows.splits
            if (gone := [each for each in classes if not spec.counts[name].get(each, 0)])
        ]
        leaked = [part for part in leaks.splits if part.leaked]
        notes += [
            html.note(self.word("leaked", rows=f"{part.leaked:,}", split=self.split_word(part.split)), "warn")
            for part in leaked
        ] or [html.note(self.word("no_leak"), "good")]
        self.parted.value = html.joined(html.scrolled(table, self.word("split_title")), *notes)


def _copies(done: Mapping[str, Any]) -> str:
    """The option for duplicates that a recipe of preparation chose."""
    if "dedupe" not in done:
        return "keep"
    return "near" if done["dedupe"].get("near") else "exact"


def _cleaned(rows: Rows, steps: tuple[str, ...]) -> tuple[list[tuple[Any, ...]], dict[str, int], int]:
    """Some changes as (row, step, before, after), how many rows each step changes, and of how many."""
    part = first_rows(rows, LOOKED_AT)
    pipeline = TextCleaner(steps=steps)
    lines = list(pipeline.preview(part, 2, width=120).itertuples(index=False, name=None)) if steps else []
    return lines, pipeline.counts(part), len(part)


def first_rows(rows: Rows, most: int) -> Rows:
    """The first rows of every split, up to ``most`` in each."""
    if max(map(len, rows.splits.values()), default=0) <= most:
        return rows
    return rows.with_splits(
        {name: part.select(range(min(most, len(part)))) for name, part in rows.splits.items()}
    )
