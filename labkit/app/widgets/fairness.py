"""Fairness of a classifier by one or two columns, and thresholds by group with what they cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ipywidgets as widgets

from labkit.core.text import visible
from labkit.data.groups import group_columns
from labkit.evaluate.fairness import GOALS, FairnessReport, GroupThresholds, thresholds_by_group
from labkit.viz import fairness_html

if TYPE_CHECKING:
    from labkit.app.panel import Panel
    from labkit.data.rows import Rows
    from labkit.evaluate.report import ClassificationReport

#: Columns whose name suggests that fairness is judged by them, in lower case.
SENSITIVE = (
    "sex",
    "gender",
    "race",
    "ethnicity",
    "age",
    "religion",
    "nationality",
    "性别",
    "年龄",
    "民族",
    "种族",
)


class FairnessView:
    """A tab of the step Evaluate. ``root`` is its widget; ``found`` what it shows."""

    def __init__(self, panel: Panel):
        self.panel = panel
        self.found: FairnessReport | None = None
        self._reports: tuple[ClassificationReport, ClassificationReport] | None = None
        word = panel.word
        self.column = widgets.Dropdown(description=word("fairness_by"))
        self.second = widgets.Dropdown(description=word("fairness_and"))
        self.positive = widgets.Dropdown(description=word("fairness_positive"))
        options = [(word("goal_none"), ""), *((word(f"goal_{name}"), name) for name in GOALS)]
        self.goal = widgets.Dropdown(description=word("fairness_goal"), options=options)
        self.shown, self.priced = panel.html(), panel.html()
        form = widgets.HBox([self.column, self.second, self.positive, self.goal])
        form.add_class("lk-form")
        self.root = widgets.VBox([form, self.shown, self.priced])
        for control in (self.column, self.second, self.positive, self.goal):
            panel.on_change(control, lambda _: self._ask())

    def show_report(
        self, report: ClassificationReport, validation: ClassificationReport, rows: Rows, positive: str
    ) -> None:
        """Show another report; ``validation`` chooses thresholds."""
        self._reports = report, validation
        names = group_columns(rows[report.split], rows.schema.features)
        first = next((name for name in names if name.lower() in SENSITIVE), next(iter(names), None))
        with self.panel.filling():
            shown = [(self.panel.word("by_length") if name == "length" else name, name) for name in names]
            self.column.options, self.second.options = shown, [(self.panel.word("none"), ""), *shown]
            self.column.value, self.second.value = first, ""
            self.positive.options = [(visible(name, 60), name) for name in report.classes]
            self.positive.value, self.goal.value = positive, ""
        self.shown.value = self.priced.value = ""
        self._ask()

    @property
    def columns(self) -> list[str]:
        """The chosen columns."""
        return list(dict.fromkeys(name for name in (self.column.value, self.second.value) if name))

    def _ask(self) -> None:
        if self._reports is None or not self.columns:
            return
        report, validation = self._reports
        columns, positive, goal = self.columns, self.positive.value, self.goal.value

        def work() -> tuple[FairnessReport, GroupThresholds | None]:
            found = report.by_group(columns, positive)
            if not goal:
                return found, None
            assert validation.columns_of is not None and report.columns_of is not None
            groups = validation.columns_of(columns), report.columns_of(columns)
            return found, thresholds_by_group(validation, report, groups, goal, positive)

        self.panel.later("fairness", work, self._show)

    def _show(self, result: tuple[FairnessReport, GroupThresholds | None]) -> None:
        self.found, language = result[0], self.panel.state.language
        self.shown.value = fairness_html.fairness(self.found, language)
        self.priced.value = "" if result[1] is None else fairness_html.thresholds(result[1], language)
        self.panel.renew_code()

    def code_arguments(self) -> tuple[Any, ...]:
        """Arguments of ``run.fairness`` for what is shown; none where nothing is."""
        if self.found is None:
            return ()
        columns: Any = self.columns
        return (columns[0] if len(columns) == 1 else tuple(columns),)
