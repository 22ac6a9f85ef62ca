"""Form of the scenario in the step Data: the decision, the cost of each kind of mistake, and the limits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ipywidgets as widgets

from labkit.app.widgets.controls import close_all
from labkit.app.widgets.forms import Form, hinted
from labkit.core import html
from labkit.core.text import visible
from labkit.i18n import _, translate
from labkit.tasks.base import ProblemType
from labkit.tasks.scenario import COSTS, Scenario
from labkit.viz.words import help_of

if TYPE_CHECKING:
    from labkit.app.panel import Panel

#: Classes up to which the form has a field for the cost of each pair.
MOST = 6
FIRST, LAST = ("decision",), ("unit", "volume", "latency", "target", "budget", "must_not")


class ScenarioForm:
    """Controls for the scenario of the state; ``root`` is the widget. What is left as it is makes no scenario.

    Attributes:
        form: controls of the settings that are texts and numbers.
        positive: the class that leads to an action.
        pairs: (true class, predicted class) → cost, for a decision among all classes.
    """

    def __init__(self, panel: Panel):
        self.panel = panel
        self.form: Form | None = None
        self.positive: widgets.Dropdown | None = None
        self.pairs: dict[tuple[str, str], widgets.FloatText] = {}
        self._made: tuple[Any, ...] = ()
        self.box = widgets.VBox()
        title = translate(_("Scenario: what the model is for (optional)"), panel.state.language)
        self.root = widgets.Accordion([self.box], titles=[title])
        self.root.layout.display = "none"
        panel.watch(["rows", "task", "scenario"], self.renew)
        self.renew()

    def renew(self) -> None:
        """Controls for the rows and the task of the state."""
        state = self.panel.state
        problem = state.task.problem_type
        classes = () if state.rows is None else state.rows.schema.classes
        if state.rows is None or problem not in COSTS or not classes:
            self.root.layout.display = "none"
            return
        scenario = state.scenario or Scenario()
        made = (problem, tuple(classes), bool(scenario.positive))
        if made != self._made:
            self._made = made
            self._build(ProblemType(problem), tuple(classes), scenario)
            if state.scenario is not None:
                self.root.selected_index = 0
        self.root.layout.display = ""
        assert self.form is not None
        self.form.fill(scenario)
        with self.panel.filling():
            if self.positive is not None:
                self.positive.value = scenario.positive if scenario.positive in classes else ""
            for (truth, answer), control in self.pairs.items():
                control.value = scenario.mistakes.get(truth, {}).get(answer, scenario.mistake)

    def _build(self, problem: ProblemType, classes: tuple[str, ...], scenario: Scenario) -> None:
        panel, language = self.panel, self.panel.state.language
        say = lambda text: translate(text, language)  # noqa: E731
        costs = [name for name in COSTS[problem] if name not in ("positive", "mistakes")]
        if problem is ProblemType.CLASS:
            costs = ["false_positive", "false_negative"] if scenario.positive else ["mistake"]
        usual = Scenario()
        self.form = Form(panel, usual, self._changed, names=(*FIRST, *costs, *LAST))
        parts: list[widgets.Widget] = [
            panel.html(html.paragraph(say(_(
                "Costs set the threshold of the decision on the validation rows, the expected cost a day in the step "
                "Evaluate, and the head of the model card."
            )), "quiet"))
        ]  # fmt: skip
        self.pairs, self.positive = {}, None
        if problem is ProblemType.CLASS:
            options = [(say(_("among all classes")), ""), *((visible(name, 60), name) for name in classes)]
            self.positive = widgets.Dropdown(options=options, description=say(_("Decide for")))
            panel.on_change(self.positive, lambda name: self._changed({"positive": name}))
            field = Scenario.__dataclass_fields__["positive"]
            box = widgets.HBox([hinted(self.positive, help_of(field, language))])
            box.add_class("lk-form")
            parts.append(box)
            if not scenario.positive and 2 <= len(classes) <= MOST:
                parts += self._grid(classes, say(_("Cost of each mistake")))
        before, self.box.children = self.box.children, (*parts, self.form.root)
        close_all(before)

    def _grid(self, classes: tuple[str, ...], title: str) -> list[widgets.Widget]:
        """A field for the cost of each pair of classes."""
        say = lambda text: translate(text, self.panel.state.language)  # noqa: E731
        fields = []
        for truth in classes:
            for answer in (name for name in classes if name != truth):
                words = say(
                    _("{truth} predicted as {answer}", truth=visible(truth, 40), answer=visible(answer, 40))
                )
                control = widgets.FloatText(1.0, description=words, continuous_update=False)
                control.style.description_width = "auto"
                self.panel.on_change(control, lambda value: self._changed({}))
                self.pairs[truth, answer] = control
                fields.append(control)
        row = widgets.HBox(fields)
        row.add_class("lk-form")
        return [self.panel.html(html.heading(title, 4)), row]

    def _changed(self, change: dict[str, Any]) -> None:
        """Take what a person changed into the state's scenario. Raises :class:`ConfigError` for what does not fit."""
        state = self.panel.state
        before = state.scenario or Scenario()
        if "positive" in change:  # another kind of decision: its costs are stated anew
            change |= {
                name: getattr(Scenario(), name) for name in COSTS[ProblemType.CLASS] if name != "positive"
            }
        elif self.pairs:
            mistake = change.get("mistake", before.mistake)
            costs: dict[str, dict[str, float]] = {}
            for (truth, answer), control in self.pairs.items():
                # a pair that had the cost of any mistake goes on having it
                value = float(control.value)
                if value != (before.mistake if "mistake" in change else mistake):
                    costs.setdefault(truth, {})[answer] = value
            change["mistakes"] = costs
        made = before.replace(**change)
        if made == Scenario():
            state.scenario = None
            return
        made.check_for(state.task.problem_type, state.rows.schema.classes if state.rows is not None else ())
        state.scenario = made
