"""AUROC, sensitivity at a specificity and decision curve of one class of a classifier."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ipywidgets as widgets

from labkit.core import html
from labkit.core.errors import DataError
from labkit.core.text import visible
from labkit.evaluate.diagnostics import DiagnosticReport
from labkit.i18n import translate
from labkit.viz import diagnostics_html

if TYPE_CHECKING:
    from labkit.app.panel import Panel
    from labkit.evaluate.report import ClassificationReport

#: Specificities to choose from.
SPECIFICITIES = (0.8, 0.9, 0.95, 0.99)


class DiagnosticsView:
    """A tab of the step Evaluate. ``root`` is its widget; ``found`` what it shows."""

    def __init__(self, panel: Panel):
        self.panel = panel
        self.found: DiagnosticReport | None = None
        self._report: ClassificationReport | None = None
        word = panel.word
        self.positive = widgets.Dropdown(description=word("fairness_positive"))
        options = [(f"{value:.0%}".replace("%", " %"), value) for value in SPECIFICITIES]
        self.specificity = widgets.Dropdown(description=word("specificity"), options=options, value=0.95)
        self.shown = panel.html()
        form = widgets.HBox([self.positive, self.specificity])
        form.add_class("lk-form")
        self.root = widgets.VBox([form, self.shown])
        for control in (self.positive, self.specificity):
            panel.on_change(control, lambda _: self.renew())

    def show_report(self, report: ClassificationReport, positive: str) -> None:
        """Show another report."""
        self._report = report
        with self.panel.filling():
            self.positive.options = [(visible(name, 60), name) for name in report.classes]
            self.positive.value = positive
        self.shown.value = ""
        self.renew()

    def renew(self) -> None:
        """Compute again, with the baselines that the report has meanwhile."""
        if (report := self._report) is None:
            return
        positive, specificity = self.positive.value, self.specificity.value

        def work() -> DiagnosticReport | DataError:
            try:
                return report.diagnostics(positive, specificity)
            except DataError as error:  # rows of one kind: said here, not above the other tabs
                return error

        self.panel.later("diagnostics", work, self._show)

    def _show(self, found: DiagnosticReport | DataError) -> None:
        language = self.panel.state.language
        if isinstance(found, DataError):
            self.found, self.shown.value = None, html.note(translate(found, language), "info")
        else:
            self.found, self.shown.value = found, diagnostics_html.diagnostics(found, language)
        self.panel.renew_code()

    def code_arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Arguments of ``run.diagnostics`` after the split."""
        named = {"specificity": self.specificity.value} if self.specificity.value != 0.95 else {}
        return (self.positive.value,), named
