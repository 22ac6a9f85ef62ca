"""Scenario: the decision that a model serves, what each kind of mistake costs, and the limits it must meet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from labkit.core.config import Config, option
from labkit.core.errors import ConfigError, nearest
from labkit.i18n import _
from labkit.i18n.labels import setting
from labkit.tasks.base import ProblemType

#: Decisions that costs are stated for where the number a day is unknown.
WITHOUT_VOLUME = 1000
#: Problem type → the fields that state its costs.
COSTS = {
    ProblemType.CLASS: ("positive", "false_positive", "false_negative", "mistakes", "mistake"),
    ProblemType.LABELS: ("false_positive", "false_negative"),
    ProblemType.NUMBER: ("too_high", "too_low"),
}


@dataclass(frozen=True)
class Scenario(Config):
    """What a model is for. All costs are in one unit, such as money or minutes.

    A classifier decides either for or against one class (``positive``, with a threshold on its probability), or
    among all classes (``mistakes``). Several labels use ``false_positive`` and ``false_negative`` for each label,
    numbers ``too_high`` and ``too_low`` for each unit.
    """

    decision: str = option("", _("Which decision the model serves, and for whom."))
    positive: str = option(
        "",
        _("Class that leads to an action, such as spam or fraud. Empty: the decision is among all classes."),
    )
    false_positive: float = option(
        1.0, _("Cost of acting on a row of another class; of several labels: of one given wrongly."),
        low=0, high=1e12,
    )  # fmt: skip
    false_negative: float = option(
        1.0,
        _("Cost of missing a row of the positive class; of several labels: of one missed."),
        low=0,
        high=1e12,
    )
    mistakes: dict[str, dict[str, float]] = option(
        help=_("Cost by true class and predicted class, for a decision among all classes."), factory=dict
    )
    mistake: float = option(
        1.0, _("Cost of any other mistake, for a decision among all classes."), low=0, high=1e12
    )
    too_high: float = option(
        1.0, _("Cost of each unit that a predicted number is too high."), low=0, high=1e12
    )
    too_low: float = option(1.0, _("Cost of each unit that a predicted number is too low."), low=0, high=1e12)
    unit: str = option("", _("Unit of the costs, such as EUR or minutes."))
    volume: int | None = option(
        None,
        _("Decisions a day. Default: unknown; costs are stated for 1,000 decisions."),
        low=1,
        high=10**12,
    )
    latency: float | None = option(
        None,
        _("Longest time of an answer in milliseconds (95th percentile). Default: no limit."),
        low=0,
        high=1e9,
    )
    target: float | None = option(
        None, _("Cost a day that is low enough: no further model is tried below it. Default: none."),
        low=0, high=1e15,
    )  # fmt: skip
    budget: float | None = option(
        None, _("Minutes of training that a study may use. Default: no limit."), low=0, high=1e6
    )
    must_not: str = option("", _("What the model must not be used for."))

    def check(self) -> None:
        super().check()
        for truth, costs in self.mistakes.items():
            for answer, cost in costs.items():
                number = isinstance(cost, int | float) and not isinstance(cost, bool)
                if not (number and math.isfinite(cost) and cost >= 0):
                    raise ConfigError(
                        _("{where}: the cost of {truth!r} predicted as {answer!r} is {cost!r}; it must be a number of "
                          "0 or more."),
                        where=setting("Scenario.mistakes"), truth=truth, answer=answer, cost=cost,
                    )  # fmt: skip
                if truth == answer and cost:
                    raise ConfigError(
                        _("{where}: {truth!r} predicted as {truth!r} is no mistake; leave it out."),
                        where=setting("Scenario.mistakes"), truth=truth,
                    )  # fmt: skip
        if self.budget == 0:
            raise ConfigError(
                _("budget = {budget!r} must be a number of minutes above 0."), budget=self.budget
            )
        if self.positive and self.mistakes:
            raise ConfigError(
                _("a scenario has either positive ({positive!r}) or mistakes: the decision is either for one class or "
                  "among all."),
                positive=self.positive,
            )  # fmt: skip

    @classmethod
    def given(cls, scenario: object) -> Scenario:
        """A scenario as it is, or made of a dict of its settings. Raises :class:`ConfigError` for anything else."""
        if isinstance(scenario, Scenario):
            return scenario
        if isinstance(scenario, dict):
            return cls.from_dict(scenario, "scenario")
        raise ConfigError(_("scenario is a {type}; give lk.Scenario(…)."), type=type(scenario).__name__)

    @property
    def factor(self) -> int:
        """Decisions that costs are stated for: those of a day, or :data:`WITHOUT_VOLUME`."""
        return self.volume or WITHOUT_VOLUME

    def check_for(self, problem: str | None, classes: Sequence[str]) -> None:
        """Check that the scenario fits a task.

        Args:
            problem: problem type of the task.
            classes: names of its classes.

        Raises:
            ConfigError: a task without a decision, a class that there is none of, costs of another kind of task, or
                costs that are all 0.
        """
        if problem not in COSTS:
            raise ConfigError(_("a scenario is for models that predict a class, labels or a number."))
        kind = ProblemType(problem)
        usual, values = Scenario().values(), self.values()
        others = {name for names in COSTS.values() for name in names} - set(COSTS[kind])
        if kind is ProblemType.CLASS:
            others |= {"mistake"} if self.positive else {"false_positive", "false_negative"}
        if wrong := [name for name in values if name in others and values[name] != usual[name]]:
            if kind is ProblemType.CLASS and not self.positive and wrong[0].startswith("false_"):
                raise ConfigError(
                    _("scenario: {name} needs positive, the class that leads to an action; the classes are {known}."),
                    name=wrong[0], known=", ".join(classes),
                )  # fmt: skip
            raise ConfigError(
                _("scenario: {name} = {value!r} does not apply here; the costs of this task are {known}."),
                name=wrong[0], value=values[wrong[0]], known=", ".join(COSTS[kind]),
            )  # fmt: skip
        named = [self.positive] if self.positive else []
        named += [name for truth, costs in self.mistakes.items() for name in (truth, *costs)]
        for name in named:
            if name not in classes:
                raise ConfigError(
                    _("scenario: there is no class {name!r}.{hint} The classes are {known}."),
                    name=name, hint=nearest(name, classes), known=", ".join(classes),
                )  # fmt: skip
        if kind is ProblemType.CLASS and not self.positive:
            free = not self.matrix(classes).any()
        else:
            pair = (
                ("too_high", "too_low")
                if kind is ProblemType.NUMBER
                else ("false_positive", "false_negative")
            )
            free = not any(values[name] for name in pair)
        if free:
            raise ConfigError(_("scenario: every mistake costs 0; give the cost of at least one."))

    def matrix(self, classes: Sequence[str]) -> np.ndarray:
        """Costs [truth, answer] of a decision among all classes."""
        costs = np.full((len(classes), len(classes)), float(self.mistake))
        np.fill_diagonal(costs, 0.0)
        for truth, each in self.mistakes.items():
            for answer, cost in each.items():
                costs[classes.index(truth), classes.index(answer)] = cost
        return costs
