"""The step Data: load a sample, file or path; show its statistics and quality problems."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import ipywidgets as widgets
import numpy as np

from labkit.app.panel import Panel
from labkit.app.state import State, state_with
from labkit.app.widgets.browse import Browser
from labkit.core import html
from labkit.core.archive import left_out, of_system, unpack
from labkit.core.cache import fingerprint, write_atomic
from labkit.core.errors import DataError
from labkit.data.io.compressed import OPENERS
from labkit.data.io.files import READERS
from labkit.data.io.load import load, peek
from labkit.data.io.media import PICTURES, SOUNDS
from labkit.data.prepare.quality import DataQuality, check
from labkit.data.report import ACTIONS, Note
from labkit.data.rows import Rows
from labkit.hub.samples import SAMPLES, is_cached
from labkit.i18n import _, translate
from labkit.viz import charts
from labkit.viz.svg import inline
from labkit.viz.words import message

if TYPE_CHECKING:
    from labkit.data.io.load import RowSource

#: Kinds of files that can be uploaded; a zip file holds others of them, or what READ names beside.
FILES = (*READERS, *OPENERS)
READ = (*FILES, *PICTURES, *SOUNDS)
LONGEST = 150  # bytes of the name that an uploaded file is kept under
WAYS = ("sample", "upload", "path")
DECIMAL_MARKS = {"auto": "", "point": ".", "comma": ","}


class Data(Panel):
    """Choose rows and look at them.

    Args:
        rows: what :func:`labkit.load` returns or takes.
        state, language: see :class:`labkit.app.panel.Panel`.
    """

    title: ClassVar[str] = "data"

    def __init__(
        self, rows: RowSource | None = None, *, state: State | None = None, language: str | None = None
    ):
        super().__init__(state_with(rows, state, language))

    def build(self) -> None:
        self._peeked = False  # whether there are columns to choose from
        self._file = ""  # what was uploaded last
        self.way = widgets.ToggleButtons(options=[(self.word(f"way_{way}"), way) for way in WAYS])
        self.sample = widgets.Dropdown(options=self._samples(), description=self.word("sample"))
        self.upload = widgets.FileUpload(
            accept=",".join(FILES), multiple=False, description=self.word("choose_file")
        )
        self.path = widgets.Text(description=self.word("path"), placeholder="reviews.csv")
        self.about = self.html()
        self.text, self.pair, self.label = (
            widgets.Dropdown(description=self.word(key))
            for key in ("text_column", "pair_column", "label_column")
        )
        self.bad = widgets.Dropdown(
            options=[(self.word(f"on_bad_{choice}"), choice) for choice in ("error", "skip")],
            description=self.word("on_bad"), tooltip=self.word("on_bad_help"),
        )  # fmt: skip
        self.missing = widgets.Dropdown(
            options=[(self.word(f"missing_{choice}"), choice) for choice in ("error", "drop", "keep")],
            description=self.word("missing"), tooltip=self.word("missing_help"),
        )  # fmt: skip
        self.goal = widgets.Dropdown(
            options=[(self.word(f"goal_{goal}"), goal) for goal in ("class", "labels", "number")],
            description=self.word("goal"), tooltip=self.word("goal_help"),
        )  # fmt: skip
        self.separator = widgets.Text(
            ";",
            description=self.word("separator"),
            tooltip=self.word("separator_help"),
            layout={"display": "none"},
        )
        self.decimal = widgets.Dropdown(
            options=[(self.word(f"decimal_{name}"), mark) for name, mark in DECIMAL_MARKS.items()],
            description=self.word("decimal"), tooltip=self.word("decimal_help"),
        )  # fmt: skip
        self.features = widgets.Checkbox(False, description=self.word("features"), indent=False)
        self.columns = widgets.HBox(
            [
                self.text, self.pair, self.label, self.goal, self.separator, self.features, self.decimal, self.bad,
                self.missing,
            ]
        )  # fmt: skip
        self.load = self.button("load_rows", self._load, primary=True)
        self.source = widgets.HBox([self.sample, self.upload, self.path, self.load])
        self.overview, self.problems = self.html(), self.html()
        self.browser = Browser(self)
        for box in (self.columns, self.source):
            box.add_class("lk-form")
        self.body.children = (
            self.way, self.source, self.about, self.columns, self.overview, self.problems, self.browser.root,
        )  # fmt: skip
        self._listen()
        self._begin()

    def code(self) -> str:
        return self.state.code(steps=False, model=False)

    # --- choosing ---------------------------------------------------------------------------------------------

    def _listen(self) -> None:
        self.on_change(self.way, lambda way: self._show_way())
        self.on_change(self.sample, lambda name: self._show_way())
        self.on_change(self.upload, lambda files: self._uploaded())
        for control in (self.goal, self.features):
            self.on_change(control, lambda _: self._show_columns())
        self.watch(["rows"], self._rows_came)

    def _begin(self) -> None:
        """Where the state left off: rows that it knows the source of are read again."""
        self.offer_columns({})
        self._show_source()
        if self.state.rows is not None:
            self._rows_came()
        elif source := self.state.source:
            self.later("rows", lambda: self._read(source, dict(self.state.options)), self._loaded)

    def _show_source(self) -> None:
        """The controls as the state's source has it."""
        source = self.state.source
        with self.filling():
            if source in dict(self.sample.options).values():
                self.way.value, self.sample.value = "sample", source
            elif source and source != self._file:
                self.way.value, self.path.value = "path", source
            for control, name in ((self.bad, "on_bad"), (self.missing, "missing")):
                control.value = self.state.options.get(name, "error")
            self.decimal.value = self.state.options.get("decimal", "")
        self._show_way()

    def _samples(self) -> list[tuple[str, str]]:
        """The data samples as (shown, name); those in the cache come without a size."""
        shown = []
        for sample in SAMPLES.values():
            if sample.kind == "data":
                size = "" if is_cached(sample.name) else f" ({sample.size / 1e6:.1f} MB)"
                shown.append((f"{sample.name}{size}", sample.name))
        return shown

    def _show_way(self) -> None:
        way = self.way.value
        for name in WAYS:
            getattr(self, name).layout.display = "" if name == way else "none"
        self.load.layout.display = "none" if way == "upload" and not self._chosen() else ""
        about = (
            self.word(f"about_{way}")
            if way != "sample"
            else translate(SAMPLES[self.sample.value].about, self.state.language)
        )
        self.about.value = html.paragraph(about, "quiet")

    def _chosen(self) -> str:
        """The source that the controls name; empty without one."""
        if self.way.value == "upload":
            return self._file
        return self.sample.value if self.way.value == "sample" else self.path.value.strip()

    def _uploaded(self) -> None:
        """Keep the file in the lab folder, under its own name and by its content, and read it."""
        if not self.upload.value:
            return
        file = self.upload.value[0]
        content = bytes(file["content"])
        name = file_name(file["name"])
        place = self.state.store.folder / "uploads" / fingerprint(content)[:8] / name.removesuffix(".zip")
        here = Path.cwd()
        self._file = os.fspath(place.relative_to(here) if place.is_relative_to(here) else place)
        with self.filling():
            self.offer_columns({})
        self._show_way()
        self._load(lambda: _kept(content, place, name.endswith(".zip")))

    # --- loading ----------------------------------------------------------------------------------------------

    def _load(self, first: Callable[[], list[Note]] | None = None) -> None:
        """Read what was chosen; in the thread that does so, ``first`` goes before, and adds its notes to the
        report."""
        if not (source := self._chosen()):
            raise DataError(message("no_source"))
        options = self._options()

        def work() -> tuple[Rows | None, dict[str, Any], Exception | None]:
            notes = [] if first is None else first()
            rows, columns, error = self._read(source, options)
            return (rows.with_splits(rows.splits, notes) if rows and notes else rows), columns, error

        self.later("rows", work, self._loaded)

    def _options(self) -> dict[str, Any]:
        given: dict[str, Any] = {}
        if self._peeked and self.features.value:
            given["features"] = True
        elif self.text.value:
            given["text"] = (self.text.value, self.pair.value) if self.pair.value else self.text.value
        number = self._peeked and self.goal.value == "number"
        if self.label.value is not None and self.label.value != "":
            given["number" if number else "label"] = self.label.value
        if self._peeked and self.goal.value == "labels" and self.separator.value.strip():
            given["separator"] = self.separator.value
        if self._peeked and self.decimal.value:
            given["decimal"] = self.decimal.value
        for name, control in (("on_bad", self.bad), ("missing", self.missing)):
            if control.value != "error":
                given[name] = control.value
        return given

    def _read(
        self, source: str, options: dict[str, Any]
    ) -> tuple[Rows | None, dict[str, Any], Exception | None]:
        """The rows; or the columns there are and why the rows could not be read. In a thread."""
        columns = {} if source in SAMPLES and not Path(source).exists() else _peeked(source)
        try:
            return load(source, **options), columns, None
        except Exception as error:
            return None, columns, error

    def _loaded(self, found: tuple[Rows | None, dict[str, Any], Exception | None]) -> None:
        rows, columns, error = found
        self.offer_columns(columns)
        if error is not None:
            raise error
        self.problem = None
        if rows is not None and rows.source.get("source") != self.state.source:
            self.state.steps = ()
        self.state.rows = rows

    def offer_columns(self, columns: dict[str, Any]) -> None:
        """Columns to choose from, each with its first value; what was chosen stays where it can."""
        found = self.word("found_out")
        shown = [(html.short(name, values), name) for name, values in columns.items()]
        with self.filling():
            for control, first in (
                (self.text, [(found, "")]),
                (self.pair, [(self.word("none"), "")]),
                (self.label, [(found, ""), (self.word("no_label"), False)]),
            ):
                before = control.value
                control.options = [*first, *shown]
                control.value = before if before in [value for _, value in control.options] else ""
        self._peeked = bool(columns)
        self._show_columns()

    def _show_columns(self) -> None:
        """Controls for columns, where there are columns to choose from."""
        for control in (self.label, self.goal, self.features, self.decimal):
            control.layout.display = "" if self._peeked else "none"
        for control in (self.text, self.pair):
            control.layout.display = "" if self._peeked and not self.features.value else "none"
        self.separator.layout.display = "" if self._peeked and self.goal.value == "labels" else "none"

    # --- looking ----------------------------------------------------------------------------------------------

    def _rows_came(self) -> None:
        rows = self.state.rows
        if rows is None:
            return
        self._show_source()
        self.browser.look_at(rows)
        self.later("health", lambda: (rows, check(rows)), self._show_health)

    def _show_health(self, found: tuple[Rows, DataQuality]) -> None:
        rows, health = found
        facts = [(self.word("rows"), f"{health.rows:,}")]
        facts += [
            (self.word("rows_of", split=self.split_word(split)), f"{n:,}")
            for split, n in rows.counts().items()
            if n != health.rows
        ]
        facts += [(self.word("classes"), f"{len(health.classes):,}")] if health.classes else []
        if rows.spec.lengths:
            sizes = rows.spec.lengths.values()
            facts.append((self.word("median_length"), f"{np.median([one.median for one in sizes]):,.0f}"))
            facts.append((self.word("longest"), f"{max(one.max for one in sizes):,}"))
        self.overview.value = html.joined(html.cards(facts), self._charts(health))
        self.problems.value = self._problem_list(health)

    def _charts(self, health: DataQuality) -> html.Html:
        drawn = []
        if health.classes:
            total = max(sum(health.classes.values()), 1)
            most = sorted(health.classes.items(), key=lambda item: -item[1])[:20]
            shown = [f"{count:,} ({count / total:.0%})" for _, count in most]
            title = html.heading(self.word("class_balance"), 4)
            drawn.append(html.joined(title, inline(charts.bars(most, self.word("class_balance"), shown))))
        for name, found in health.numbers.items():
            said = self.word("numbers_of", name=name)
            chart = charts.histogram(found, said, name, self.word("rows"))
            drawn.append(html.joined(html.heading(said, 4), inline(chart)))
        if health.lengths is not None:
            title = html.heading(self.word("text_lengths"), 4)
            chart = charts.histogram(
                health.lengths, self.word("text_lengths"), self.word("characters"), self.word("rows")
            )
            drawn.append(html.joined(title, inline(chart)))
        return html.side_by_side(*drawn)

    def _problem_list(self, health: DataQuality) -> html.Html:
        title = html.heading(self.word("problems"), 4)
        if not health.problems:
            return html.joined(title, html.note(self.word("no_problems"), "good"))
        tones = {"bad": "bad", "warn": "warn", "info": "info"}
        lines = []
        for problem in health.problems:
            numbers = ", ".join(map(str, problem.rows[:12])) + (
                " …" if problem.count > 12 and problem.rows else ""
            )
            found = problem.what
            if problem.kind in ACTIONS:
                found = translate(found, self.state.language)
            what = self.word(
                f"problem_{problem.kind}", what=found, share=f"{problem.count / health.rows:.1%}"
            )
            level = html.chip(self.word(f"level_{problem.level}"), tones[problem.level])
            lines.append((level, what, f"{problem.count:,}", numbers))
        head = [self.word(key) for key in ("level", "problem", "count", "row_numbers")]
        return html.joined(title, html.scrolled(html.table(head, lines, numeric=(2,)), self.word("problems")))


def file_name(given: str) -> str:
    """The name of an uploaded file without odd characters, short enough for every file system; its ending
    stays."""
    name = re.sub(r"[^\w.-]+", "_", Path(given).name).strip(".") or "upload"
    if len(raw := name.encode()) <= LONGEST:
        return name
    ending = name[-20:]
    return raw[: LONGEST - len(ending.encode())].decode(errors="ignore") + ending


def _kept(content: bytes, place: Path, packed: bool) -> list[Note]:
    """Write what was uploaded; what is packed becomes a folder. The place is named by the content, so what is
    there already is the same. Returns notes of the packed files that were left out."""
    if not place.exists():
        if packed:
            unpack(content, place, READ)
        else:
            place.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(place, content)
    reason = {True: _("system file skipped"), False: _("file not read")}
    names = left_out(content, READ) if packed else []
    return [Note(None, None, "counted", reason[of_system(name)], name) for name in names]


def _peeked(source: str) -> dict[str, Any]:
    try:
        return peek(source)
    except DataError:  # loading tells it better
        return {}
