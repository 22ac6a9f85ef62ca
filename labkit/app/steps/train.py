"""The step Train: start, follow and control a run, and compare it with others."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable
from typing import Any

import ipywidgets as widgets

from labkit.app.live import RATE_FIGURES, LivePanel, kept
from labkit.app.live_picture import publish
from labkit.app.panel import Panel
from labkit.app.runs import RUN_CHANGES, choices, state_of
from labkit.app.state import State
from labkit.app.ticker import TICKER
from labkit.app.widgets.candidates import StudyPart
from labkit.app.widgets.dashboard import Dashboard
from labkit.core.errors import ConfigError, RunError
from labkit.core.frontend import is_app
from labkit.core.text import escape, visible
from labkit.core.units import compact
from labkit.i18n import translate
from labkit.runs.handle import RunHandle
from labkit.viz.words import message

#: Runs that can be laid over another at once.
OVERLAID = 5


class Train(Panel):
    """Starts a run of what the state holds and shows it live.

    Args:
        run: a run to show and to begin others like.
        state, language: see :class:`labkit.app.panel.Panel`.
        navigate: shows the step of this name, "evaluate" or "predict".
    """

    title = "train"

    def __init__(
        self,
        run: RunHandle | None = None,
        *,
        state: State | None = None,
        language: str | None = None,
        navigate: Callable[[str], None] | None = None,
    ):
        self.live: LivePanel | None = None
        self.navigate = navigate
        self.display_id = secrets.token_hex(8)
        super().__init__(state if state is not None else state_of(run, language))

    def build(self) -> None:
        self.name = widgets.Text(description=self.word("run_name"), continuous_update=False)
        self.epochs = widgets.BoundedIntText(min=1, max=1_000_000, description=self.word("epochs_field"))
        self.batch = widgets.BoundedIntText(min=1, max=1_000_000, description=self.word("batch_field"))
        self.rate = widgets.Text(description=self.word("rate_field"), continuous_update=False)
        self.begin = self.button("start", self._start, primary=True)
        for field, wide, action in (
            (self.name, "220px", self._named), (self.epochs, "150px", self._set("epochs")),
            (self.batch, "160px", self._set("batch_size")), (self.rate, "190px", self._set_rate),
        ):  # fmt: skip
            field.style.description_width = "auto"
            field.layout.width = wide
            self.on_change(field, action)
        self.shown = widgets.Dropdown(description=self.word("run_shown"))
        self.over = widgets.SelectMultiple(
            description=self.word("compare_with"), tooltip=self.word("compare_with_help"), rows=2
        )
        self.shown.style.description_width = self.over.style.description_width = "auto"
        self.shown.layout.width = self.over.layout.width = "500px"
        self.shown.layout.max_width = self.over.layout.max_width = "100%"
        self.delete, self.undo = (
            self.button("delete_run", self._delete),
            self.button("undo_delete", self._undo),
        )
        self.undo.layout.display, self._deleted = "none", ""
        self.on_change(self.shown, self._choose)
        self.on_change(self.over, self._overlay)
        self.repairs, self.empty, self.place = self.html(), self.html(), widgets.VBox()
        first = widgets.HBox([self.begin, self.name, self.epochs, self.batch, self.rate])
        second = widgets.HBox([self.shown, self.delete, self.undo, self.over])
        for row in (first, second):
            row.layout.flex_flow, row.layout.grid_gap = "row wrap", "2px 12px"
        self.dashboard, self.study = Dashboard(self), StudyPart(self)
        self.body.children = (
            first, second, self.repairs, self.empty, self.place, self.study.root, self.dashboard.root,
        )  # fmt: skip
        self.watch(["name", "train", "model", "task", "rows", "source"], self._fill)
        self.watch(["run"], self._show)
        self.watch(["number"], self.list_runs, of=RUN_CHANGES)
        self.watch(["number"], self.dashboard.refresh, of=RUN_CHANGES)
        self._fill()
        self._show()

    def code(self) -> str:
        run = self.state.run
        return run.code() if run is not None and self.state.model is None else self.state.code()

    # --- settings -----------------------------------------------------------------------------------------------

    def _fill(self) -> None:
        """The fields as the state has them."""
        train = self.state.training
        with self.filling():
            self.name.value = self.state.name
            self.epochs.value, self.batch.value = train.epochs, train.batch_size
            rate = train.optimizer.learning_rate
            self.rate.value = "" if rate is None else compact(rate, RATE_FIGURES)
        self._enable()

    def _enable(self) -> None:
        if self.closed:
            return
        run = self.state.run
        ready = self.state.model is not None and (self.state.rows is not None or bool(self.state.source))
        self.begin.disabled = not ready or self.jobs.busy or (run is not None and not run.info.over)

    def _named(self, name: str) -> None:
        self.state.name = name

    def _set(self, field: str) -> Callable[[Any], None]:
        def change(value: object) -> None:
            self.state.train = self.state.train.replace(**{field: value})

        return change

    def _set_rate(self, text: str) -> None:
        """Take the rate as it is written; an empty field brings back the default of the model."""
        try:
            rate = float(text) if text.strip() else None
        except ValueError:
            raise ConfigError(message("not_a_number", value=repr(text))) from None
        self.state.train = self.state.train.replace(
            optimizer=self.state.train.optimizer.replace(learning_rate=rate)
        )
        self._fill()

    # --- a run --------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        self.later("start", self._make, self._began)
        self._enable()

    def _make(self) -> RunHandle:
        if self.state.rows is None:
            self.state.rows = self.state.load()
        rows, experiment = self.state.ready()
        return RunHandle.create(self.state.store, experiment, rows).start(
            detach=is_app()
        )  # an app's kernel ends with its page

    def _began(self, run: RunHandle) -> None:
        self.state.run = run
        RUN_CHANGES.number += 1

    def _delete(self) -> None:
        """Delete the run that is shown; it can be restored."""
        if (run := self.state.run) is None:
            return
        info = run.info
        self.state.store.delete(run.id, forever=False)
        self._deleted = run.id
        self.state.run = None
        self.undo.description = self.word("undo_delete_of", name=visible(info.name, 40))
        self.undo.layout.display = ""
        RUN_CHANGES.number += 1

    def _undo(self) -> None:
        self.state.run = RunHandle(self.state.store, self.state.store.restore(self._deleted).id)
        self.undo.layout.display = "none"
        RUN_CHANGES.number += 1

    def refresh(self) -> bool:
        goes_on = super().refresh()
        self._enable()
        return goes_on

    def _choose(self, run_id: str) -> None:
        self.state.run = RunHandle(self.state.store, run_id) if run_id else None

    def _overlay(self, ids: tuple[str, ...]) -> None:
        if self.live is not None:
            self.live.overlay([RunHandle(self.state.store, run_id) for run_id in ids[:OVERLAID]])

    def _show(self) -> None:
        """The live panel of the state's run."""
        run, before = self.state.run, self.live
        # before the live panel, so that it does not move once it is there
        self.empty.value = "" if run is not None else f'<p class="lk-quiet">{self.word("train_first")}</p>'
        if run is not None and (before is None or before.run.id != run.id):
            self.live = LivePanel(
                run, self.state.language, full=True, changed=self._changed_status, navigate=self.navigate
            )
            self.live.display_id, self.live.curves.root = self.display_id, self.root.model_id
            self.place.children = (self.live.root,)
            TICKER.add(self.live)
        elif run is None:
            self.live, self.place.children = None, ()
        if before is not None and before is not self.live:
            before.close()
        self.list_runs()
        self._enable()

    def _changed_status(self) -> None:
        """The run began, went on or ended."""
        self.state.follow()
        RUN_CHANGES.number += 1
        self._enable()

    def list_runs(self) -> None:
        """The runs there are, newest first, and what of the run store was repaired."""
        run, info = self.state.run, None
        with contextlib.suppress(RunError):
            info = None if run is None else run.info
        if run is not None and info is None:  # another panel has deleted it
            self.state.run = None
            return
        named = choices(self.state)
        notes = [escape(translate(note, self.state.language)) for note in self.state.store.notes]
        self.repairs.value = "".join(f'<p class="lk-quiet">{note}</p>' for note in notes)
        with self.filling():
            first = (self.word("choose_run" if named else "run_none"), "")
            self.shown.options = [first, *named]
            self.shown.value = "" if run is None else run.id
            before = self.over.value
            self.over.options = [(name, run_id) for name, run_id in named if run is None or run_id != run.id]
            self.over.value = [
                run_id for run_id in before if run_id in dict(map(reversed, self.over.options))
            ]
        for control in (self.shown, self.over):
            control.disabled = not named
        self.delete.disabled = info is None or not (info.over or info.status == "created")

    # --- showing ------------------------------------------------------------------------------------------------

    def _ipython_display_(self) -> None:
        """The panel and, seen only where the panel is not, the result as it will be saved."""
        super()._ipython_display_()
        if self.live is not None:
            publish(kept(self.live.run, self.state.language), self.display_id)

    def close(self) -> None:
        if self.live is not None:
            self.live.close()
        self.study.close()
        super().close()
