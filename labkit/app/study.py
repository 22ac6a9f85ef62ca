"""The live panel of a study: who leads, who is left out, the cost so far, and buttons to stop and continue.

It reads the study's file, so that a study of this process, of another or of the command line is shown alike.
"""

from __future__ import annotations

import logging
import secrets
import traceback
from collections.abc import Callable
from typing import Any

import ipywidgets as widgets

from labkit.app.kernel_subshell import answer_in_subshell
from labkit.app.live_picture import publish
from labkit.app.ticker import TICKER
from labkit.app.widgets.controls import close_all, hear_while_busy, restart_style, theme_style
from labkit.core import html
from labkit.core.errors import headed
from labkit.core.frontend import frontend
from labkit.i18n import _, translate
from labkit.search import results
from labkit.search.study import StudyHandle
from labkit.viz import run_html
from labkit.viz import study as view
from labkit.viz.words import language as language_of
from labkit.viz.words import word

_LOG = logging.getLogger("labkit.app")


class StudyPanel:
    """A study as widgets; :meth:`refresh` is called by the ticker while it runs.

    Args:
        study: the study.
        language: "en" or "zh"; default: that of :func:`labkit.language`.
    """

    def __init__(self, study: StudyHandle, language: str | None = None):
        self.study, self.language = study, language_of(language)
        self.display_id = secrets.token_hex(8)
        self.closed, self._shown = False, None
        self.stop = self._button(
            _("Stop"), _("Stop the study before its next step; it can be continued."), study.stop
        )
        self.resume = self._button(
            _("Continue"), _("Continue the study from where it was stopped."), lambda: study.resume()
        )
        costs = [(translate(label, self.language), name) for name, label in results.COSTS.items()]
        self.cost = widgets.Dropdown(
            options=costs, value=study.record.settings["cost"], description=word("cost_shown", self.language)
        )
        self.cost.style.description_width, self.cost.layout.width = "auto", "320px"
        self.cost.observe(self._guarded(lambda _change: self._draw()), "value")
        self.status, self.error, self.body = (widgets.HTML() for _unused in range(3))
        self.status.add_class("lk-study-status")
        row = widgets.HBox([self.stop, self.resume, self.cost])
        row.layout.flex_flow, row.layout.grid_gap = "row wrap", "2px 8px"
        self.root = widgets.VBox([restart_style(self.language), self.status, row, self.error, self.body])
        self.root.add_class("labkit-panel")
        self.root.add_class("lk-study")
        for widget in row.children:
            hear_while_busy(widget)
        self._draw()

    def display(self) -> None:
        """Show the panel in the cell that runs now; a saved notebook shows the study as it was."""
        self.root.children = (theme_style(), *self.root.children)  # within a step the theme is there already
        self.root.add_class("labkit-bench")
        publish(self._bundle(), self.display_id)
        answer_in_subshell()
        TICKER.add(self)

    def refresh(self) -> bool:
        """Draw what has changed; False when nothing more will, until a button is pressed."""
        if self.closed:
            return False
        active = self.study.active
        try:
            if (now := self._signature(active)) != self._shown:
                self._draw()
                self._shown = now
        except Exception as error:
            self._fail(error)
        if not active:
            publish(self._bundle(), self.display_id, update=True)
        return active

    def close(self) -> None:
        """Give back the panel's widgets; the study goes on."""
        self.closed = True
        TICKER.discard(self)
        close_all([self.root])

    def _bundle(self) -> dict[str, Any]:
        model = {"version_major": 2, "version_minor": 0, "model_id": self.root.model_id}
        page = html.page(self.study.name, view.as_html(self.study, self.language))
        return {"application/vnd.jupyter.widget-view+json": model, "text/html": page,
                "text/plain": "\n".join(view.sentences(self.study, self.language))}  # fmt: skip

    def _signature(self, active: bool) -> tuple[object, ...]:
        """Changes whenever there is something new to draw: the study's file, and the steps of the run under way."""
        record = self.study.record
        steps = [
            self.study.store.run(each.run).step
            for each in record.candidates
            if each.status == "training" and each.run
        ]
        return active, repr(record), *steps

    def _draw(self) -> None:
        status = self.study.status
        name = translate(view.STATUSES.get(status, status), self.language)
        self.status.value = (
            f'<div class="lk-status" data-status="{html.safe(status)}">{html.safe(name)}</div>'
        )
        self.stop.disabled = status != "running"
        self.resume.disabled = status in ("running", "finished")
        self.body.value = view.as_html(self.study, self.language, self.cost.value)

    def _button(self, label: Any, told: Any, action: Callable[[], object]) -> widgets.Button:
        button = widgets.Button(
            description=translate(label, self.language), tooltip=translate(told, self.language)
        )
        button.layout.width = "auto"
        button.on_click(self._guarded(lambda _button: self._pressed(action)))
        return button

    def _pressed(self, action: Callable[[], object]) -> None:
        self.error.value, self._shown = "", None
        action()
        TICKER.add(self)

    def _guarded(self, action: Callable[..., object]) -> Callable[..., None]:
        """``action``, whose failure is shown in the panel: no cell would show that of a callback."""

        def call(*arguments: object) -> None:
            try:
                action(*arguments)
            except Exception as error:
                self._fail(error)

        return call

    def _fail(self, error: Exception) -> None:
        _LOG.exception("panel of study %s", self.study.id)
        problem = run_html.Problem(headed(error), traceback=traceback.format_exc())
        self.error.value = run_html.error_box(problem, self.language)


def show(study: StudyHandle, language: str | None = None) -> StudyPanel | None:
    """Show the panel of a study in the cell that runs now; outside notebooks, print the study."""
    if frontend() == "none":
        print(study)
        return None
    panel = StudyPanel(study, language)
    panel.display()
    return panel
