"""Comparison of several models in the step Train: candidates, budget, and the live panel of their study."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ipywidgets as widgets

from labkit.app.study import StudyPanel
from labkit.app.ticker import TICKER
from labkit.core import html
from labkit.core.errors import ConfigError
from labkit.i18n import _, translate
from labkit.models import models
from labkit.runs.handle import RunHandle
from labkit.search import results
from labkit.search.study import StudyHandle, enter, latest
from labkit.tasks.base import ProblemType
from labkit.train.experiment import Experiment, readers
from labkit.train.optimizer import Optimizer
from labkit.viz.words import title_of

if TYPE_CHECKING:
    from labkit.app.panel import Panel

#: Presets of an architecture that are offered, the smallest first.
EACH = 4


class StudyPart:
    """A part of the step Train. ``root`` is its widget; ``study`` the one that it shows."""

    def __init__(self, panel: Panel):
        self.panel = panel
        self.study: StudyHandle | None = None
        self.shown: StudyPanel | None = None
        self._added: dict[str, Experiment] = {}
        word, say = panel.word, lambda text: translate(text, panel.state.language)
        self.add = panel.button("add_candidate", self._add)
        self.clear = panel.button("clear_candidates", self._clear)
        self.presets = widgets.SelectMultiple(description=word("more_models"), rows=6)
        self.presets.layout.width = "420px"
        self.budget = widgets.BoundedFloatText(10.0, min=0.1, max=1e6, description=word("budget_minutes"))
        self.go = panel.button("start_study", self._start, primary=True)
        self.take = panel.button("take_choice", self._take)
        self.listed, self.place = panel.html(), widgets.VBox()
        form = widgets.HBox([self.presets, self.budget])
        buttons = widgets.HBox([self.add, self.clear, self.go, self.take])
        for row in (form, buttons):
            row.layout.flex_flow, row.layout.grid_gap = "row wrap", "2px 12px"
        for control in (self.presets, self.budget):
            control.style.description_width = "auto"
        about = panel.html(html.paragraph(word("study_about"), "quiet"))
        box = widgets.VBox([about, buttons, self.listed, form, self.place])
        self.root = widgets.Accordion([box], titles=[say(_("Compare several models (study)"))])
        panel.watch(["rows", "task"], self._offer)
        panel.watch(["model"], self._enable)
        self._offer()
        self._enable()
        self._show(latest(panel.state.store))

    # --- candidates -------------------------------------------------------------------------------------------------

    def _offer(self) -> None:
        """Architectures and presets that can learn the task from these rows."""
        state = self.panel.state
        possible = state.rows is not None and state.task.problem_type in tuple(ProblemType)
        self.root.layout.display = "" if possible else "none"
        offered = []
        if possible:
            for name in readers(state.rows, state.task):
                for preset in list(models[name].PRESETS)[:EACH]:
                    offered.append((f"{title_of('model', name, state.language)}: {preset}", (name, preset)))
        with self.panel.filling():
            if tuple(self.presets.options) != tuple(offered):
                self.presets.options = offered

    def _enable(self) -> None:
        self.add.disabled = self.panel.state.model is None
        self.clear.disabled = not self._added
        self.take.disabled = self.study is None or self.study.status not in ("finished", "stopped")
        lines = [html.chip(name, "info") for name in self._added]
        self.listed.value = html.joined(*lines) if lines else ""

    def _add(self) -> None:
        """The model and the settings of the steps as a candidate."""
        experiment = self.panel.state.experiment
        model = experiment.model
        name = f"{models.name_of(model)} {model.to_dict().get('preset') or model.weights}".strip()
        how = experiment.train.optimizer.trainable
        name = name if how == Optimizer().trainable else f"{name}, {how}"
        label, number = name, 2
        while label in self._added:
            label, number = f"{name} {number}", number + 1
        self._added[label] = experiment
        self._enable()

    def _clear(self) -> None:
        self._added = {}
        self._enable()

    def _experiments(self) -> dict[str, Experiment]:
        """All candidates by name. For a thread, as presets may have to be read."""
        state = self.panel.state
        found = dict(self._added)
        for name, preset in self.presets.value:
            model = models[name](preset=preset)
            found.setdefault(
                f"{name} {preset}",
                Experiment(model=model, data=state.data, task=state.task, scenario=state.scenario),
            )
        return found

    # --- the study --------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        budget = self.budget.value
        if len(self._added) + len(self.presets.value) < 2:
            raise ConfigError(
                _("choose two models or more: add the model of the step Model, or select some below.")
            )

        def work() -> StudyHandle:
            state = self.panel.state
            rows, experiments = state.prepared(), self._experiments()
            made = enter(state.store, rows, "study", experiments, state.accept_leakage)
            return made.resume(budget=budget)

        self.panel.later("study", work, self._show)

    def _show(self, study: StudyHandle | None) -> None:
        """Show a study live."""
        before = self.shown
        self.study, self.shown = study, None
        if study is not None:
            self.shown = StudyPanel(study, self.panel.state.language)
            self.place.children = (self.shown.root,)
            self.root.selected_index = 0 if study.active else self.root.selected_index
            TICKER.add(self.shown)
            TICKER.add(self)
        else:
            self.place.children = ()
        if before is not None:
            before.close()
        self._enable()

    def refresh(self) -> bool:
        """Called by the ticker while the study runs."""
        if self.panel.closed or self.study is None:
            return False
        self._enable()
        return self.study.active

    def _take(self) -> None:
        """Evaluate and use the run that the study chose."""
        study = self.study
        if study is None:
            return
        found = results.results_of(study)
        name = results.choice_of(found, study.record.settings["cost"]).choice
        if not found[name].candidate.run:
            raise ConfigError(
                _("the choice, {name!r}, is a baseline: there is no run to use. Choose a run above."),
                name=name,
            )
        self.panel.state.run = RunHandle(study.store, found[name].candidate.run)

    def close(self) -> None:
        """Give back the widgets of the study's panel."""
        if self.shown is not None:
            self.shown.close()
