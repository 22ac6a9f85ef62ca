"""Champion against challenger in the step Evaluate: retrain with new rows, and compare on untouched ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ipywidgets as widgets

from labkit.app.runs import RUN_CHANGES
from labkit.core import html, source_code
from labkit.core.errors import DataError
from labkit.runs.handle import RunHandle
from labkit.search.challenge import Challenge, challenge
from labkit.viz import report_html
from labkit.viz.words import message

if TYPE_CHECKING:
    from labkit.app.panel import Panel


class ChallengeView:
    """A tab of the step Evaluate. ``root`` is its widget; ``found`` what it shows."""

    def __init__(self, panel: Panel):
        self.panel, self.run = panel, panel.state.run
        self.found: Challenge | None = None
        word = panel.word
        self.rows = widgets.Text(description=word("new_rows"), placeholder="new.csv", continuous_update=False)
        self.test = widgets.FloatSlider(
            0.5, min=0.1, max=0.9, step=0.05, continuous_update=False, description=word("untouched")
        )
        self.warm = widgets.Checkbox(
            description=word("warm_start"), tooltip=word("warm_start_help"), indent=False
        )
        self.go = panel.button("challenge_now", self._go, primary=True)
        self.shown = panel.html()
        form = widgets.HBox([self.rows, self.test, self.warm, self.go])
        form.add_class("lk-form")
        about = panel.html(html.paragraph(word("challenge_about"), "quiet"))
        self.root = widgets.VBox([about, form, self.shown])
        for control in (self.rows, self.test, self.warm):
            panel.on_change(control, lambda _value: panel.renew_code())

    def show_run(self, run: RunHandle) -> None:
        """Another run is the champion."""
        self.run, self.found, self.shown.value = run, None, ""

    def code_lines(self) -> list[str]:
        """Code of the comparison."""
        given: dict[str, float | bool] = {} if self.test.value == 0.5 else {"test": self.test.value}
        if self.warm.value:
            given["warm_start"] = True
        return [source_code.line(source_code.call("run.challenge", self.rows.value.strip(), **given))]

    def _go(self) -> None:
        run, place, share, warm = self.run, self.rows.value.strip(), self.test.value, self.warm.value
        if run is None:
            return
        if not place:
            raise DataError(message("no_source"))
        self.panel.later(
            "challenge", lambda: (run, challenge(run, place, test=share, warm_start=warm)), self._show
        )

    def _show(self, found: tuple[RunHandle, Challenge]) -> None:
        RUN_CHANGES.number += 1
        if found[0] is self.run:  # another run may have been chosen meanwhile
            self.found = found[1]
            self.shown.value = report_html.challenge(found[1], self.panel.state.language)
