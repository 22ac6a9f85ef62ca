"""The step Evaluate: scores, errors with explanations, calibration and comparison of runs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets
import numpy as np

from labkit.app.panel import Panel
from labkit.app.runs import choices, opened, state_of
from labkit.app.state import State
from labkit.app.widgets.challenge import ChallengeView
from labkit.app.widgets.confusion import Grid
from labkit.app.widgets.diagnostics import DiagnosticsView
from labkit.app.widgets.download import Download
from labkit.app.widgets.examples import Examples
from labkit.app.widgets.fairness import FairnessView
from labkit.app.widgets.smaller import SmallerView
from labkit.core import html, source_code
from labkit.core.errors import RunError
from labkit.core.text import visible
from labkit.core.units import unit_in
from labkit.data.groups import parting
from labkit.data.rows import Rows
from labkit.evaluate import run_report
from labkit.evaluate.audit import audit_run
from labkit.evaluate.calibration import Calibration, calibrate
from labkit.evaluate.conclusion import Conclusion
from labkit.evaluate.decision import DecisionRule
from labkit.evaluate.forecast import ForecastReport
from labkit.evaluate.membership import MembershipReport
from labkit.evaluate.recommend import RecommendReport
from labkit.evaluate.report import ClassificationReport
from labkit.evaluate.report_base import RowReport
from labkit.evaluate.scores import Scores
from labkit.evaluate.segmentation import SegmentationReport
from labkit.evaluate.slices import in_order
from labkit.evaluate.thresholds import Thresholds, class_to_find
from labkit.inference.answer_files import csv_of
from labkit.inference.predictor import Predictor
from labkit.runs.handle import RunHandle
from labkit.viz import forecast_html, masks, recommend_html, report_html

if TYPE_CHECKING:
    from labkit.evaluate.compare import Comparison

#: Mistakes that are offered.
MISTAKES = 60
TABS = (
    "tab_mistakes", "tab_thresholds", "tab_diagnostics", "tab_calibration", "tab_compare", "tab_slices",
    "tab_fairness", "tab_audit", "tab_smaller", "tab_challenge",
)  # fmt: skip


@dataclass(frozen=True)
class Evaluated:
    """What the panel shows of a run: made in a thread, and then looked at."""

    run: RunHandle
    report: ClassificationReport
    validation: ClassificationReport
    calibration: Calibration
    predictor: Predictor
    part: Any  # the split of the rows
    columns: list[str]  # by which it can be parted
    rows: Rows


def _rule_of(report: ClassificationReport) -> DecisionRule | None:
    """The rule of a decision for one class; None without a scenario, or where it decides among all."""
    rule = None if report.decision is None else report.decision.rule
    return rule if rule is not None and rule.threshold is not None else None


def evaluated(
    run: RunHandle, split: str
) -> Evaluated | RowReport | ForecastReport | RecommendReport | SegmentationReport | Scores | None:
    """Evaluate a run on a split of its rows; None while it has no model, only a report or scores where it
    does not classify. Raises :class:`DataError` where there are no such rows."""
    try:
        run_report.folder_of(run)
    except RunError:
        return None
    report = run_report.evaluate_run(run, split, baselines=run.experiment.task.problem_type is None)
    if not isinstance(report, ClassificationReport):
        return report
    predictor = run_report.predictor_of(run)
    validation = report if split == "validation" else run_report.report_of(run, "validation")
    rows = run_report.rows_of(run)
    part = rows[split]
    calibration = calibrate(validation, report)
    return Evaluated(run, report, validation, calibration, predictor, part, parting(part), rows)


def _shown(
    found: RowReport | ForecastReport | RecommendReport | SegmentationReport | Scores, language: str
) -> html.Html:
    """A report that is not of a classifier as HTML."""
    if isinstance(found, ForecastReport):
        return forecast_html.report(found, language)
    if isinstance(found, SegmentationReport):
        return masks.report(found, language)
    if isinstance(found, RecommendReport):
        return recommend_html.report(found, language)
    return (
        report_html.rowwise(found, language)
        if isinstance(found, RowReport)
        else report_html.scores(found, language)
    )


class Evaluate(Panel):
    """Evaluates a run on its test or validation rows; classifiers in full detail.

    Args:
        run: the run.
        state, language: see :class:`labkit.app.panel.Panel`.
    """

    title = "evaluate"

    def __init__(
        self, run: RunHandle | None = None, *, state: State | None = None, language: str | None = None
    ):
        self.now: Evaluated | None = None
        self._concluding: (
            ClassificationReport | RowReport | ForecastReport | RecommendReport | SegmentationReport | None
        ) = None
        super().__init__(state if state is not None else state_of(run, language))

    def build(self) -> None:
        self.split = widgets.Dropdown(
            options=[(self.split_word(name), name) for name in ("test", "validation")],
            description=self.word("evaluate_on"),
        )
        self.go = self.button("evaluate_now", self._ask, primary=True)
        self.on_change(self.split, lambda _: self._ask())
        top = widgets.HBox([self.split, self.go])
        top.add_class("lk-form")
        self.empty, self.conclusion, self.scores = self.html(), self.html(), self.html()
        self.downloads = {
            key: Download(label=self.word(f"download_{key}")) for key in ("predictions", "mistakes")
        }
        self.tabs = widgets.Tab(
            [
                self._mistakes(), self._thresholds(), self._diagnostics(), self._calibration(),
                self._compare(), self._slices(), self._fairness(), self._audit(), self._smaller(), self._challenge(),
            ]
        )  # fmt: skip
        self.tabs.observe(self.guarded(lambda _: self._changed(), person=False), "selected_index")
        self.tabs.titles = tuple(self.word(name) for name in TABS)
        links = widgets.HBox(list(self.downloads.values()))
        self.body.children = (top, self.empty, self.conclusion, self.scores, links, self.tabs)
        self.watch(["run", "ended"], self._ask)
        self._ask()

    def code(self) -> str:
        run = self.state.run
        if run is None:
            return ""
        lines = [
            opened(run, "run", self.state),
            source_code.line(source_code.call("run.evaluate", self.split.value)),
        ]
        if self.other.value:
            other = RunHandle(run.store, self.other.value)
            both = source_code.call("run.compare", source_code.variable("other"), self.split.value)
            lines += [opened(other, "other", self.state), source_code.line(both)]
        if self.tabs.selected_index == TABS.index("tab_fairness") and (of := self.fairness.code_arguments()):
            lines.append(source_code.line(source_code.call("run.fairness", *of, self.split.value)))
        for tab, view in (("tab_smaller", self.smaller), ("tab_challenge", self.challenge)):
            if self.tabs.selected_index == TABS.index(tab):
                lines += view.code_lines()
        if self.tabs.selected_index == TABS.index("tab_diagnostics") and self.diagnostics.found is not None:
            of, named = self.diagnostics.code_arguments()
            lines.append(
                source_code.line(source_code.call("run.diagnostics", self.split.value, *of, **named))
            )
        return source_code.program(lines)

    # --- evaluation ------------------------------------------------------------------------------------------------

    def _ask(self) -> None:
        run, split = self.state.run, self.split.value
        self.go.disabled = run is None
        self._show(None)
        if run is not None:
            self.later("evaluate", lambda: evaluated(run, split), self._show)

    def _show(
        self,
        found: Evaluated | RowReport | ForecastReport | RecommendReport | SegmentationReport | Scores | None,
    ) -> None:
        self.conclusion.value, self._concluding = "", None
        self._offer_downloads(found.report if isinstance(found, Evaluated) else found)
        if isinstance(found, RowReport | ForecastReport | RecommendReport | SegmentationReport | Scores):
            self.now, self.tabs.layout.display = None, "none"
            if not isinstance(found, Scores):
                self._conclude(found)
            self.empty.value, self.scores.layout.display = "", ""
            self.scores.value = _shown(found, self.state.language)
            return
        self.now = found
        self.tabs.layout.display = self.scores.layout.display = "none" if found is None else ""
        self.empty.value = html.paragraph(self.word("evaluate_first"), "quiet") if found is None else ""
        if found is None:
            return
        self._conclude(found.report)
        self.scores.value = report_html.headline(found.report, found.calibration.error, self.state.language)
        self.examples.show_report(found.report, found.part, found.predictor)
        self._grid()
        self.each.value = report_html.by_class(found.report, self.state.language)
        self.drawn.value = report_html.calibration(found.calibration, self.state.language)
        with self.filling():
            self.which.options = [(visible(name, 60), name) for name in found.report.classes]
            self.which.value = class_to_find(found.report)
            if (rule := _rule_of(found.report)) is not None:
                self.which.value = rule.scenario.positive
                self.threshold.value = min(rule.threshold or 0.0, 1.0)
            self.fill_others()
            named = {"length": self.word("by_length")}
            self.column.options = [(named.get(name, name), name) for name in found.columns]
            self.column.value = next(iter(found.columns), None)
        self.compared.value = self.sliced.value = self.audited.value = ""
        self._worst()
        self._cut()
        self._slice(self.column.value)
        self.smaller.show_run(found.run)
        self.challenge.show_run(found.run)
        self.diagnostics.show_report(found.report, class_to_find(found.report))
        self.fairness.show_report(found.report, found.validation, found.rows, class_to_find(found.report))

    def _conclude(
        self, report: ClassificationReport | RowReport | ForecastReport | RecommendReport | SegmentationReport
    ) -> None:
        """Compare with the baselines, which takes a while: the scores are shown meanwhile."""
        run = self.state.run
        if run is not None:
            self.conclusion.value = html.paragraph(self.word("fitting_baselines"), "quiet")
            self._concluding = report
            self.later(
                "conclude", lambda: (report, run_report.conclusion_of(run, report)), self._show_conclusion
            )

    def _show_conclusion(
        self,
        found: tuple[
            ClassificationReport | RowReport | ForecastReport | RecommendReport | SegmentationReport,
            Conclusion,
        ],
    ) -> None:
        if found[0] is self._concluding:  # another run may have been chosen meanwhile
            self.conclusion.value = report_html.conclusion(found[1], self.state.language)
            if self.now is not None:
                self.diagnostics.renew()  # with the baselines, which are fitted now

    def _offer_downloads(
        self,
        report: ClassificationReport
        | RowReport
        | ForecastReport
        | RecommendReport
        | SegmentationReport
        | Scores
        | None,
    ) -> None:
        """Link to all predictions and to the mistakes as CSV, which are written on a click."""
        for link in self.downloads.values():
            link.clear()
        if report is None or isinstance(report, Scores):
            return
        run = self.state.run
        name = re.sub(r"[^\w-]+", "-", run.name if run is not None else "")[:60].strip("-") or "run"
        frames = {"predictions": report.predictions, "mistakes": lambda: report.mistakes(len(report.rows))}
        for key, frame in frames.items():
            link = self.downloads[key]
            link.offer(lambda frame=frame: csv_of(frame()), f"{name}-{report.split}-{key}.csv")

    # --- mistakes -----------------------------------------------------------------------------------------------

    def _mistakes(self) -> widgets.Widget:
        self.grid = Grid(label=self.word("confusion"))
        self.order = widgets.Dropdown(
            options=[(self.word(f"order_{key}"), key) for key in ("class", "name", "errors")],
            description=self.word("class_order"),
        )
        self.order.style.description_width, self.order.layout.width = "auto", "auto"
        self.order.layout.align_self = "flex-start"
        self.on_change(self.order, lambda _: self._grid())
        self.examples, self.each = Examples(self), self.html()
        self.worst = self.button("worst", self._worst)
        self.worst.layout.align_self = "flex-start"
        self.on_change(self.grid, lambda _: self._select(), "selected")
        hint = self.html(html.paragraph(self.word("confusion_hint"), "quiet"))
        left = widgets.VBox(
            [
                self.html(html.heading(self.word("confusion"), 4)),
                self.order,
                self.grid,
                hint,
                self.worst,
                self.each,
            ]
        )
        both = widgets.HBox([left, widgets.VBox([self.examples.top, self.examples.root])])
        both.add_class("lk-two")
        return both

    def _worst(self) -> None:
        if self.now is None:
            return
        with self.filling():
            self.grid.selected = []
        report = self.now.report
        places = np.flatnonzero(report.counted & (report.predicted != report.truth))
        places = places[np.argsort(-report.probability[places, report.predicted[places]], kind="stable")]
        few = f": {MISTAKES} / {len(places):,}" if len(places) > MISTAKES else ""
        self.examples.offer(self.word("worst_mistakes") + few, places[:MISTAKES], "no_mistakes")

    def _grid(self) -> None:
        if self.now is not None:
            report = self.now.report
            words = self.word("truth_by_answer")
            self.grid.show(report.confusion.to_numpy(), report.classes, words, self.order.value)

    def _select(self) -> None:
        if self.now is None or (cell := self.grid.chosen) is None:
            return self._worst()
        report, names = self.now.report, self.now.report.classes
        here = report.counted & (report.truth == cell[0]) & (report.predicted == cell[1])
        places = np.flatnonzero(here)
        places = places[np.argsort(-report.probability[places, cell[1]], kind="stable")]
        title = self.word(
            "cell", truth=visible(names[cell[0]], 40), answer=visible(names[cell[1]], 40), count=len(places)
        )
        return self.examples.offer(title, places)

    # --- thresholds ---------------------------------------------------------------------------------------------

    def _thresholds(self) -> widgets.Widget:
        self.which = widgets.Dropdown(description=self.word("class"))
        self.threshold = widgets.FloatSlider(
            0.5, min=0.0, max=1.0, step=0.005, description=self.word("threshold")
        )
        self.threshold.readout_format, self.threshold.layout.width = ".3f", "420px"
        self.best = self.button("best_threshold", self._best)
        self.worth, self.plots = self.html(), self.html()
        self.on_change(self.which, lambda _: self._cut())
        self.on_change(self.threshold, lambda _: self._cut())
        row = widgets.HBox([self.which, self.threshold, self.best])
        row.add_class("lk-form")
        return widgets.VBox([row, self.worth, self.plots])

    def _cut(self) -> None:
        if self.now is None:
            return
        found, language = Thresholds.of(self.now.report, self.which.value), self.state.language
        self.worth.value = report_html.at_threshold(found, self.threshold.value, language)
        self.plots.value = report_html.curves(found, self.threshold.value, language)

    def _best(self) -> None:
        if self.now is not None:
            rule = _rule_of(self.now.report)
            if rule is not None and rule.scenario.positive == self.which.value:
                best = min(rule.threshold or 0.0, 1.0)  # of the least expected cost
            else:
                best = Thresholds.of(self.now.validation, self.which.value).best()
            with self.filling():
                self.threshold.value = best if np.isfinite(best) else 0.5
            self._cut()

    # --- audit --------------------------------------------------------------------------------------------------

    def _audit(self) -> widgets.Widget:
        self.audited = self.html()
        self.attack = self.button("audit_now", self._attack)
        about = self.html(html.paragraph(self.word("audit_about"), "quiet"))
        return widgets.VBox([about, self.attack, self.audited])

    def _attack(self) -> None:
        if self.now is not None:
            now = self.now
            self.later("audit", lambda: (now, audit_run(now.run, now.report.split)), self._show_audit)

    def _show_audit(self, found: tuple[Evaluated, MembershipReport]) -> None:
        if found[0] is self.now:  # another run may have been chosen meanwhile
            self.audited.value = report_html.membership(found[1], self.state.language)

    # --- calibration, comparison, slices --------------------------------------------------------------------------

    def _calibration(self) -> widgets.Widget:
        self.drawn = self.html()
        return self.drawn

    def _compare(self) -> widgets.Widget:
        self.other = widgets.Dropdown(description=self.word("other_run"), options=[("", "")], value="")
        self.other.layout.width = "420px"
        self.compared = self.html()
        self.on_change(self.other, self._versus)
        return widgets.VBox([self.other, self.compared])

    def fill_others(self) -> None:
        """Offer the other runs that this one can be compared with."""
        run, before = self.state.run, self.other.value
        others = [(name, key) for name, key in choices(self.state) if run is None or key != run.id]
        self.other.options = [(self.word("choose_run"), ""), *others]
        self.other.value = before if before in dict((key, name) for name, key in others) else ""

    def _versus(self, run_id: str) -> None:
        self._changed()
        self.compared.value = ""
        if run_id and self.now is not None:
            mine, other, split = self.now, RunHandle(self.now.run.store, run_id), self.split.value
            self.later("compare", lambda: run_report.compare(mine.run, other, split), self._told)

    def _told(self, found: Comparison) -> None:
        self.compared.value = report_html.comparison(found, self.state.language)

    def _slices(self) -> widgets.Widget:
        self.column, self.sliced = widgets.Dropdown(description=self.word("slice_by")), self.html()
        self.on_change(self.column, self._slice)
        return widgets.VBox([self.column, self.sliced])

    def _diagnostics(self) -> widgets.Widget:
        self.diagnostics = DiagnosticsView(self)
        return self.diagnostics.root

    def _fairness(self) -> widgets.Widget:
        self.fairness = FairnessView(self)
        return self.fairness.root

    def _smaller(self) -> widgets.Widget:
        self.smaller = SmallerView(self)
        return self.smaller.root

    def _challenge(self) -> widgets.Widget:
        self.challenge = ChallengeView(self)
        return self.challenge.root

    def _slice(self, column: str | None) -> None:
        if column and self.now is not None:
            now = self.now
            self.later("slices", lambda: run_report.sliced(now.report, now.part, column), self._cut_up)

    def _cut_up(self, found: Any) -> None:
        column, language = str(self.column.value), self.state.language
        unit = self.word("characters") if column == "length" else unit_in(column)
        self.sliced.value = report_html.slices(in_order(found), language, column, unit)
