"""The step Data: load a sample, file or path; show its statistics and quality problems."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

import ipywidgets as widgets
import numpy as np

from labkit.app.goals import GOALS, LOOKED_AT, Chosen, for_goal, guess, of_options
from labkit.app.panel import Panel
from labkit.app.state import State, state_with
from labkit.app.widgets.browse import Browser
from labkit.app.widgets.forms import hinted
from labkit.app.widgets.scenario import ScenarioForm
from labkit.app.widgets.uploads import FileDrop, file_name
from labkit.core import html
from labkit.core.archive import left_out, of_system, unpack
from labkit.core.cache import fingerprint, write_atomic
from labkit.core.errors import DataError
from labkit.core.units import sized
from labkit.data.io.compressed import OPENERS
from labkit.data.io.files import READERS
from labkit.data.io.load import load, peek
from labkit.data.io.media import PICTURES, SOUNDS
from labkit.data.prepare.quality import DataQuality, check
from labkit.data.report import ACTIONS, Note
from labkit.data.rows import Rows
from labkit.hub.download import cancelled_by, check_cancelled
from labkit.hub.samples import SAMPLES, folder, is_cached
from labkit.i18n import _, translate
from labkit.tasks import tasks
from labkit.viz import charts, forecast_html, masks
from labkit.viz.svg import inline
from labkit.viz.words import TABLE, message

if TYPE_CHECKING:
    from labkit.data.io.load import RowSource

#: Kinds of files that can be uploaded; a zip file holds others of them, or what READ names beside.
FILES = (*READERS, *OPENERS)
READ = (*FILES, *PICTURES, *SOUNDS)
WAYS = ("sample", "upload", "path")
DECIMAL_MARKS = {"auto": "", "point": ".", "comma": ","}
#: Pictures of the goals, by their names in Font Awesome.
GOAL_ICONS = {
    "classify": "tag", "labels": "tags", "number": "line-chart", "compare": "exchange", "answer": "question-circle",
    "tag": "bookmark", "generate": "pencil", "translate": "language", "transcribe": "microphone", "forecast": "clock-o",
    "instruct": "comments", "recommend": "thumbs-up",
}  # fmt: skip
#: Controls that choose a column, named as the fields of :class:`labkit.app.goals.Chosen`.
COLUMNS = (
    "text",
    "pair",
    "user",
    "item",
    "time",
    "titles",
    "label",
    "series",
    "answer",
    "tags",
    "messages",
    "transcript",
    "separator",
)
#: Rows that are listed for each reason why they were left out.
LISTED = 50


@dataclass(frozen=True)
class Loaded:
    """What reading a source gave: its rows or an error, its columns, and the goal and columns in use."""

    source: str
    columns: dict[str, Any]
    chosen: Chosen
    rows: Rows | None = None
    error: Exception | None = None


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
        self._peeked: dict[str, Any] = {}  # columns of the source with their first values
        self._of = ""  # the source that they are of
        self._file = self._before = ""  # what was uploaded last, and before that
        self._applied: dict[widgets.Widget, Any] = {}  # values of the controls that the rows were read by
        self._cancelled = threading.Event()  # ends the reading that is under way
        self.way = widgets.ToggleButtons(options=[(self.word(f"way_{way}"), way) for way in WAYS])
        self.sample = widgets.Dropdown(options=self._samples(), description=self.word("sample"))
        self.upload = widgets.FileUpload(
            accept=",".join(FILES), multiple=False, description=self.word("choose_file")
        )
        self.drop = FileDrop(label=self.word("drop_file"))
        # a value that is typed is sent whole, before the button that reads it: values in parts wait for the kernel
        self.path = widgets.Text(
            description=self.word("path"), placeholder="reviews.csv", continuous_update=False
        )
        self.about = self.html()
        self.goal = widgets.ToggleButtons(
            options=[
                (f"{self.word(f'goal_{goal}')}\n{self.word(f'goal_{goal}_example')}", goal) for goal in GOALS
            ],
            icons=[GOAL_ICONS[goal] for goal in GOALS],
            tooltips=[self.word(f"goal_{goal}_help") for goal in GOALS],
        )
        self.goal.add_class("lk-goals")
        self.goal_title = self.html(html.heading(self.word("goal"), 4))
        self.goal_about = self.html()
        self.features = widgets.ToggleButtons(
            options=[(self.word("input_text"), False), (self.word("input_columns"), True)],
            tooltips=[self.word("inputs")] * 2,
        )
        self.text, self.pair, self.label, self.answer, self.tags, self.messages, self.transcript = (
            widgets.Dropdown(description=self.word(f"{key}_column"))
            for key in ("text", "pair", "label", "answer", "tags", "messages", "transcript")
        )
        self.time, self.series, self.user, self.item, self.titles = (
            widgets.Dropdown(description=self.word(f"{key}_column"))
            for key in ("time", "series", "user", "item", "titles")
        )
        self.separator = widgets.Text(
            description=self.word("separator"), tooltip=self.word("separator_help"), continuous_update=False
        )
        self.bad = widgets.Dropdown(
            options=[(self.word(f"on_bad_{choice}"), choice) for choice in ("skip", "error")],
            description=self.word("on_bad"), tooltip=self.word("on_bad_help"),
        )  # fmt: skip
        self.missing = widgets.Dropdown(
            options=[(self.word(f"missing_{choice}"), choice) for choice in ("drop", "keep", "error")],
            description=self.word("missing"), tooltip=self.word("missing_help"),
        )  # fmt: skip
        self.decimal = widgets.Dropdown(
            options=[(self.word(f"decimal_{name}"), mark) for name, mark in DECIMAL_MARKS.items()],
            description=self.word("decimal"), tooltip=self.word("decimal_help"),
        )  # fmt: skip
        self.groups = widgets.SelectMultiple(
            description=self.word("groups"), tooltip=self.word("groups_help"), rows=4
        )
        self.indicators = widgets.Checkbox(
            False, description=self.word("indicators"), tooltip=self.word("indicators_help"), indent=False
        )
        self.columns = widgets.HBox([getattr(self, name) for name in COLUMNS])
        helps = {self.bad: "on_bad_help", self.missing: "missing_help", self.decimal: "decimal_help"}
        of_columns = {self.groups: "groups_help", self.indicators: "indicators_help"}
        self.table_options = widgets.HBox(
            [hinted(control, self.word(key)) for control, key in of_columns.items()]
        )
        rare = widgets.HBox([hinted(control, self.word(key)) for control, key in helps.items()])
        self.more = widgets.Accordion(
            [widgets.VBox([rare, self.table_options])], titles=[self.word("more_options")]
        )
        self.scenario = ScenarioForm(self)
        self.load = self.button("load_rows", self._load, primary=True)
        self.cancel = self.button("cancel_load", self._cancel)
        self.arrived = self.html()
        self.source = widgets.HBox(
            [self.sample, self.upload, self.drop, self.path, self.load, self.cancel, self.arrived]
        )
        self._show_reading(False)
        self.facts, self.overview, self.problems = self.html(), self.html(), self.html()
        self.browser = Browser(self)
        self.results = widgets.VBox([self.facts, self.overview, self.problems, self.browser.root])
        for box in (self.columns, self.source, rare, self.table_options):
            box.add_class("lk-form")
        self.body.children = (
            self.way, self.source, self.about, self.goal_title, self.goal, self.goal_about, self.features,
            self.columns, self.more, self.scenario.root, self.results,
        )  # fmt: skip
        self._listen()
        self._begin()

    def code(self) -> str:
        return self.state.code(steps=False, model=False)

    # --- choosing ---------------------------------------------------------------------------------------------

    def _listen(self) -> None:
        self.on_change(self.way, lambda way: self._show_way())
        self.on_change(self.sample, lambda name: self._show_way())
        self.on_change(self.path, lambda name: self._mark_stale())
        self.on_change(self.upload, lambda files: self._uploaded())
        self.on_change(self.goal, self._choose_goal)
        for control in self._options():
            self.on_change(control, lambda _: self._apply())
        self.watch(["rows"], self._rows_came)

    def _begin(self) -> None:
        """Where the state left off: rows that it knows the source of are read again."""
        self._show_source()
        self._show_columns()
        if self.state.rows is not None:
            self._rows_came()
        elif source := self.state.source:
            options = dict(self.state.options)
            chosen = of_options(options, tasks.name_of(self.state.task))
            self._read_later(lambda: self._read(source, chosen, options))

    def _options(self) -> tuple[widgets.Widget, ...]:
        """The controls by which a source is read, but for the goal."""
        columns = [getattr(self, name) for name in COLUMNS]
        return self.features, *columns, self.bad, self.missing, self.decimal, self.groups, self.indicators

    def _show_source(self) -> None:
        """The controls as the state's source has it."""
        source = self.state.source
        with self.filling():
            if source in dict(self.sample.options).values():
                self.way.value, self.sample.value = "sample", source
            elif source and source != self._file:
                self.way.value, self.path.value = "path", source
            given = self.state.options
            self.decimal.value = given.get("decimal", "")
            self.indicators.value = bool(given.get("indicators", False))
            offered = [name for _shown, name in self.groups.options]
            self.groups.value = [name for name in given.get("groups", ()) if name in offered]
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
        self.drop.layout.display = self.upload.layout.display
        self.load.layout.display = "none" if way == "upload" else ""
        about = (
            self.word(f"about_{way}")
            if way != "sample"
            else translate(SAMPLES[self.sample.value].about, self.state.language)
        )
        self.about.value = html.paragraph(about, "quiet")
        self._mark_stale()

    def _mark_stale(self, stale: bool | None = None) -> None:
        """Grey what is shown of rows that are not those of the controls."""
        if stale is None:
            stale = bool(self.state.source) and self._chosen() != self.state.source
        (self.results.add_class if stale else self.results.remove_class)("lk-stale")

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
        self._before = self._file
        self._file = os.fspath(place.relative_to(here) if place.is_relative_to(here) else place)
        self._show_way()
        self._load(lambda: _kept(content, place, name.endswith(".zip")))

    def _choose_goal(self, goal: str) -> None:
        """Choose the columns that fit a goal best."""
        self._fill(for_goal(goal, self._peeked, self._choice()))
        self._apply()

    def _apply(self) -> None:
        """Read the rows by what the controls have now."""
        self._show_columns()
        if self._chosen() == self._of:
            self._mark_stale(True)
            self._load()

    # --- loading ----------------------------------------------------------------------------------------------

    def _load(self, first: Callable[[], list[Note]] | None = None) -> None:
        """Read what was chosen; in the thread that does so, ``first`` goes before, and adds its notes to the
        report."""
        if not (source := self._chosen()):
            raise DataError(message("no_source"))
        chosen = self._choice() if source == self._of and self._peeked else None
        usable, labelled = self.bad.value, self.missing.value
        more = self._more() if chosen else {}

        def work() -> Loaded:
            notes = [] if first is None else first()
            found = self._read(source, chosen, {}, usable, labelled, more)
            rows = found.rows
            return replace(found, rows=rows.with_splits(rows.splits, notes)) if rows and notes else found

        self._read_later(work)

    def _read_later(self, work: Callable[[], Loaded]) -> None:
        """Read rows in a thread, with a button that cancels it."""
        self._cancelled.set()  # what is being read for an earlier choice
        self._cancelled = event = threading.Event()

        def cancellable() -> Loaded:
            try:
                with cancelled_by(event):
                    return work()
            finally:
                if self._cancelled is event and not event.is_set():
                    self._show_reading(False)

        self._show_reading(True)
        self.later("rows", cancellable, self._loaded)

    def _show_reading(self, reading: bool) -> None:
        """Show the button that cancels, only while rows are being read; its place stays free otherwise."""
        self.cancel.layout.visibility = "visible" if reading else "hidden"
        (self.cancel.add_class if reading else self.cancel.remove_class)("lk-late")
        self.arrived.value = ""

    def _cancel(self) -> None:
        """End the reading or download that is under way; rows and choices stay those before."""
        self._cancelled.set()
        self.jobs.cancel("rows")
        self._show_reading(False)
        with self.filling():  # so that the same file can be chosen again
            self._file, self.upload.value = self._before, ()
        if self._chosen() == self._of:
            with self.filling():
                for control, value in self._applied.items():
                    control.value = value
            self._show_columns()
        self._mark_stale()
        self.say(translate(_("Cancelled: the data stay what they were."), self.state.language))

    def _fetch(self, source: str) -> None:
        """Download a sample that is not on this machine yet, and show how much has arrived. In a thread."""

        def report(done: int, total: int) -> None:
            self.arrived.value = html.paragraph(f"{sized(done)} / {sized(total)}", "quiet")

        if source in SAMPLES and not Path(source).exists() and not is_cached(source):
            folder(source, report)
        check_cancelled()

    def _more(self) -> dict[str, Any]:
        """Arguments of :func:`labkit.load` beyond the columns of the goal, those that are not the default."""
        given: dict[str, Any] = {"decimal": self.decimal.value}
        if self._of_columns():
            given |= {"groups": self.groups.value, "indicators": self.indicators.value}
        return {name: value for name, value in given.items() if value}

    def _of_columns(self) -> bool:
        """Whether an example is columns of a table."""
        return self.features.value and self.features.layout.display != "none"

    def _choice(self) -> Chosen:
        """The goal and columns as the controls have them."""
        return Chosen(self.goal.value, features=self.features.value,
                      **{name: getattr(self, name).value for name in COLUMNS})  # fmt: skip

    def _read(
        self,
        source: str,
        chosen: Chosen | None,
        options: dict[str, Any],
        usable: str = "skip",
        labelled: str = "drop",
        more: Mapping[str, Any] = MappingProxyType({}),
    ) -> Loaded:
        """The rows; or the columns there are and why the rows could not be read. In a thread.

        Args:
            source: what to load.
            chosen: the goal and the columns; None to find those that fit.
            options: further arguments of :func:`labkit.load`.
            usable, labelled: ``on_bad`` and ``missing`` for rows that cannot be used or have no label.
            more: arguments beyond the columns of the goal.
        """
        try:
            self._fetch(source)
        except Exception as error:
            return Loaded(source, {}, Chosen(), error=error)
        columns = {} if source in SAMPLES and not Path(source).exists() else _peeked(source)
        check_cancelled()
        goal = chosen or (guess(columns) if columns else Chosen())
        given = options or (goal.options() if columns else {})
        if columns and goal == Chosen(goal.goal):  # lk.load detects the columns: show those that fit
            goal = for_goal(goal.goal, columns)
        given = {**given, **more}
        try:
            return Loaded(source, columns, goal, _usable_rows(source, given, usable, labelled))
        except Exception as error:
            return Loaded(source, columns, goal, error=error)

    def _loaded(self, found: Loaded) -> None:
        rows = found.rows
        self._peeked, self._of = found.columns, found.source
        self.offer_columns(found.columns, found.chosen)
        if rows is None:
            self._mark_stale(True)
            raise found.error or DataError(message("no_source"))
        self.problem = None
        self.state.take(rows, found.chosen.task(bool(rows.schema.classes)) if found.columns else "")
        self._mark_stale(False)
        self._applied = {control: control.value for control in (self.goal, *self._options())}

    def offer_columns(self, columns: dict[str, Any], chosen: Chosen | None = None) -> None:
        """Columns to choose from, each with its first value, and those that are chosen."""
        self._peeked = columns
        shown = [(html.short(name, values[:3]), name) for name, values in columns.items()]
        none, choose = (self.word("no_label"), False), (self.word("choose_column"), "")
        with self.filling():
            for name, first in (
                ("text", [choose]),
                ("pair", [choose]),
                ("answer", [choose]),
                ("tags", [choose]),
                ("messages", [(self.word("no_messages"), "")]),
                ("transcript", [choose]),
                ("time", [choose]),
                ("series", [(self.word("one_series"), "")]),
                ("user", [choose]),
                ("item", [choose]),
                ("titles", [(self.word("no_titles"), "")]),
                ("label", [choose, none]),
            ):
                control = getattr(self, name)
                control.options = [*first, *shown]
            kept = [name for name in self.groups.value if name in columns]
            self.groups.options = shown
            self.groups.value = kept
        self._fill(chosen or Chosen())

    def _fill(self, chosen: Chosen) -> None:
        """The controls of goal and columns."""
        with self.filling():
            self.goal.value, self.features.value = chosen.goal, chosen.features
            for name in COLUMNS:
                control, value = getattr(self, name), getattr(chosen, name)
                if name == "separator" or value in [each for _, each in control.options]:
                    control.value = value
                elif control.options:
                    control.value = ""
        self._show_columns()

    def _show_columns(self) -> None:
        """Controls for the columns that the goal needs, where there are columns to choose from."""
        goal, offered = self.goal.value, bool(self._peeked)
        shown = Chosen(goal, features=self.features.value).controls if offered else ()
        for control in (self.goal_title, self.goal, self.goal_about):
            control.layout.display = "" if offered else "none"
        self.goal_about.value = html.paragraph(self.word(f"goal_{goal}_help"), "quiet") if offered else ""
        self.features.layout.display = "" if "inputs" in shown else "none"
        self.table_options.layout.display = "" if self._of_columns() else "none"
        for name in COLUMNS:
            control = getattr(self, name)
            control.layout.display = "" if name in shown else "none"
            if name in ("text", "pair", "label"):
                key = f"{name}_column_{goal}"
                control.description = self.word(key if key in TABLE else f"{name}_column")

    # --- looking ----------------------------------------------------------------------------------------------

    def _rows_came(self) -> None:
        rows = self.state.rows
        if rows is None:
            return
        self._show_source()
        self._show_facts(rows)
        self.browser.look_at(rows)
        self.later("health", lambda: (rows, check(rows)), self._show_health)

    def _show_facts(self, rows: Rows) -> None:
        """What was read: the source, its rows and columns, the columns in use, and the rows left out."""
        source, spec = str(rows.source.get("source", "")), rows.spec
        facts = [
            Path(source).name or self.word("python_rows"),
            self.word("count_rows", count=f"{len(rows):,}"),
        ]
        if self._peeked and self._of == source:
            facts.append(self.word("count_columns", count=len(self._peeked)))
            used = [*zip((self.text.description, self.pair.description), spec.text, strict=False),
                    (self.label.description, spec.label)]  # fmt: skip
            facts += [self.word("column_used", what=what, name=name) for what, name in used if name]
        first = html.paragraph(" · ".join(facts))
        out = rows.report.of("refused")
        count = sum(rows.report.counts().get("refused", {}).values())
        if not count:
            self.facts.value = first
            return
        lines = [
            (
                translate(reason, self.state.language),
                f"{note.row:,}" if note.row is not None else "",
                note.detail,
            )
            for reason, notes in out.items()
            for note in notes[:LISTED]
        ]
        head = [self.word(key) for key in ("problem", "row", "detail")]
        title = self.word("rows_left_out", count=f"{count:,}")
        table = html.scrolled(html.table(head, lines, numeric=(1,)), title)
        self.facts.value = html.joined(first, html.details(title, table))

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
        drawn = self._charts(health)
        if rows.schema.modality == "series":
            drawn = html.joined(forecast_html.of_rows(rows, self.state.language), drawn)
        if rows.schema.mask_classes:
            drawn = html.joined(masks.of_rows(rows, self.state.language), drawn)
        self.overview.value = html.joined(html.cards(facts), drawn)
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
            if problem.kind in (*ACTIONS, "pii"):
                found = translate(found, self.state.language)
            what = self.word(
                f"problem_{problem.kind}", what=found, share=f"{problem.count / health.rows:.1%}"
            )
            level = html.chip(self.word(f"level_{problem.level}"), tones[problem.level])
            lines.append((level, what, f"{problem.count:,}", numbers))
        head = [self.word(key) for key in ("level", "problem", "count", "row_numbers")]
        return html.joined(title, html.scrolled(html.table(head, lines, numeric=(2,)), self.word("problems")))


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
        return peek(source, LOOKED_AT)
    except DataError:  # loading tells it better
        return {}


def _usable_rows(source: str, options: dict[str, Any], usable: str, labelled: str) -> Rows:
    """The rows that can be used. ``on_bad`` and ``missing`` are passed only where some cannot, so that the code of
    a clean file has neither."""
    lenient = {name: value for name, value in (("on_bad", usable), ("missing", labelled)) if value != "error"}
    tries: list[dict[str, str]] = [{}, *({name: value} for name, value in lenient.items())]
    *earlier, last = [*tries, lenient] if len(lenient) > 1 else tries
    for more in earlier:
        with contextlib.suppress(DataError):
            return load(source, **options, **more)
    return load(source, **options, **last)
