"""The whole lab in one panel: Data → Prepare → Model → Train → Evaluate → Predict."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import ipywidgets as widgets

import labkit.app as steps
from labkit.app.context_line import SYMBOLS, Context
from labkit.app.panel import Panel
from labkit.app.runs import RUN_CHANGES
from labkit.app.state import State
from labkit.core import html
from labkit.viz import words

#: The steps in their order, with their classes in :mod:`labkit.app`.
STEPS = {name.lower(): name for name in ("Data", "Prepare", "Model", "Train", "Evaluate", "Predict")}
LANGUAGES = (("English", "en"), ("中文", "zh"))


class Lab(Panel):
    """From raw rows to a trained, evaluated model and its predictions, without
    code. It comes back after a reload and a restart.

    Args:
        folder: the lab folder, which keeps the state and the runs; by default ``.labkit`` in the working
        directory.
        language: "en" or "zh"; default: that of :func:`labkit.language`, else what was used here last.
        state: a state to work on, instead of the one that the folder keeps.
    """

    title: ClassVar[str] = "lab"

    def __init__(
        self, folder: str | Path | None = None, *, language: str | None = None, state: State | None = None
    ):
        self.steps: dict[str, Panel] = {}
        self._prepared: object = None  # the rows with which the step Prepare was left
        self.shown_step = ""  # each panel shows a step of its own
        super().__init__(
            state if state is not None else State.open(folder, language or words.chosen_language)
        )

    def build(self) -> None:
        self.foot.layout.display = "none"  # every step has its own
        self.root.add_class("lk-lab")
        name = self.html('<div class="lk-brand">labkit</div>')
        self.language = widgets.ToggleButtons(options=LANGUAGES, value=self.state.language)
        self.language.add_class("lk-language")
        self.stepper = widgets.ToggleButtons()
        self.stepper.add_class("lk-steps")
        self.next = self.button("next_step", self._next, primary=True)
        self.next.add_class("lk-next")
        self.shown, self.context = widgets.VBox(), self.html()
        head = widgets.HBox([name, self.stepper, self.language])
        head.add_class("lk-head-row")
        self.conflict = self._conflict()
        self.body.children = (head, self.context, self.conflict, self.shown, self.next)
        self.on_change(self.language, self._choose_language)
        self.watch(["language"], self._speak)
        self.watch(["conflict"], self._show_conflict)
        self.on_change(self.stepper, self.show)
        self.watch((*State.KEPT, "status", "sizes"), self._mark)
        self.watch(["number"], self._mark, of=RUN_CHANGES)
        self._mark()
        self._step("data")  # it reads the rows again that the state tells of
        self.show(self.state.step if self.state.step in STEPS else "data")

    def code(self) -> str:
        return self.state.code()

    def show(self, name: str) -> None:
        """Show a step."""
        if self.shown_step == "prepare" and name != "prepare":
            self._prepared = self.state.rows
        self.shown_step = self.state.step = name
        self._mark()
        self.shown.children = (self._step(name).root,)
        self.next.layout.display = "none" if name == list(STEPS)[-1] else ""

    def close(self) -> None:
        for step in self.steps.values():
            step.close()
        if not self.closed:
            self.state.release()
        super().close()

    def _conflict(self) -> widgets.Box:
        """What is shown where another notebook has changed the settings of this lab folder."""
        told = self.html(html.note(self.word("conflict"), "warn"))
        row = widgets.HBox(
            [self.button("take_theirs", self._take_theirs), self.button("keep_mine", self.state.overwrite)]
        )
        box = widgets.VBox([told, row])
        box.layout.display = "none"
        return box

    def _show_conflict(self) -> None:
        self.conflict.layout.display = "" if self.state.conflict else "none"

    def _take_theirs(self) -> None:
        self.state.adopt()
        self._rebuild()
        self._step("data")  # it reads the rows

    def _step(self, name: str) -> Panel:
        if name not in self.steps:
            made = getattr(steps, STEPS[name])
            given = {"navigate": self.show} if name == "train" else {}
            self.steps[name] = made(state=self.state, **given)
        return self.steps[name]

    def _next(self) -> None:
        names = list(STEPS)
        self.show(names[names.index(self.shown_step) + 1])
        self.scroller.top += 1

    def _mark(self) -> None:
        """Name the steps, with a mark at what is done, active or out of date; and the line below them."""
        context, rows = Context(self.state), self.state.rows
        marks = context.marks(prepared=rows is not None and self._prepared is rows)
        options = [
            (f"{place} {self.word(f'step_{name}')}{SYMBOLS[marks.get(name, '')]}", name)
            for place, name in enumerate(STEPS, start=1)
        ]
        self.context.value = context.line()
        with self.filling():
            if tuple(self.stepper.options) != tuple(options):
                self.stepper.options = options
                self.stepper.tooltips = [
                    self.word(f"mark_{mark}") if (mark := marks.get(name, "")) else "" for name in STEPS
                ]
            self.stepper.value = self.shown_step or self.stepper.value

    def _choose_language(self, language: str) -> None:
        self.state.language = language

    def _speak(self) -> None:
        """Everything again in another language; what is under way in a step goes on in the state only."""
        with self.filling():
            self.language.value = self.state.language
        self.next.description, self.next.tooltip = self.word("next_step"), self.word("next_step_help")
        self._rebuild()

    def _rebuild(self) -> None:
        before, self.steps = self.steps, {}
        self.show(self.shown_step)
        for step in before.values():
            step.close()
