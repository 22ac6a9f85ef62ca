"""Expected cost of the decisions of a scenario, by a rule that is chosen on validation rows, with intervals."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd

from labkit.core.errors import DataError
from labkit.core.units import plain
from labkit.evaluate.calibration import fit_temperature, with_temperature
from labkit.evaluate.evaluate import EvaluationReport
from labkit.evaluate.intervals import Interval, of_means, or_wilson
from labkit.evaluate.multilabel import MultilabelReport
from labkit.evaluate.regression import RegressionReport
from labkit.evaluate.report import ClassificationReport
from labkit.evaluate.shown import Table, TableReport
from labkit.evaluate.thresholds import Thresholds
from labkit.i18n import _
from labkit.i18n.message import Message
from labkit.tasks.base import ProblemType
from labkit.tasks.scenario import Scenario


def check_scenario(scenario: Scenario, report: EvaluationReport) -> None:
    """Raise :class:`ConfigError` for a scenario that does not fit what was evaluated."""
    names = report.classes if isinstance(report, ClassificationReport) else report.names
    scenario.check_for(_problem(report), names)


def _problem(report: EvaluationReport) -> ProblemType:
    if isinstance(report, ClassificationReport):
        return ProblemType.CLASS
    return ProblemType.LABELS if isinstance(report, MultilabelReport) else ProblemType.NUMBER


@dataclass(frozen=True)
class DecisionRule:
    """How the answers of a model become decisions; :func:`choose_rule` chooses it on validation rows.

    Attributes:
        scenario: what mistakes cost.
        problem: problem type of the model.
        classes: names of the classes, labels or numbers.
        rows: validation rows that it was chosen on.
        threshold: probability from which it is decided for the positive class, or for a label; infinity: never.
        temperature: of the probabilities of a decision among all classes, which takes the least expected cost.
        offsets: what is added to each predicted number.
    """

    scenario: Scenario
    problem: ProblemType
    classes: tuple[str, ...]
    rows: int
    threshold: float | None = None
    temperature: float = 1.0
    offsets: tuple[float, ...] = ()

    def decide(self, answers: np.ndarray) -> np.ndarray:
        """Decisions for the answers [n, k] of a model: for the positive class bool [n], among all classes their
        numbers int [n], for labels bool [n, k], numbers float [n, k]."""
        answers = np.asarray(answers, np.float64)
        if self.problem is ProblemType.NUMBER:
            return answers + np.asarray(self.offsets)
        if self.threshold is None:
            return (with_temperature(answers, self.temperature) @ self.scenario.matrix(self.classes)).argmin(
                -1
            )
        if self.problem is ProblemType.LABELS:
            return answers >= self.threshold
        return answers[:, self.classes.index(self.scenario.positive)] >= self.threshold

    def costs(self, report: EvaluationReport) -> np.ndarray:
        """The cost of the decision on each counted row of a report, float64 [n]."""
        answers = report.probability if isinstance(report, ClassificationReport) else report.answers
        return self.costs_of(self.decide(answers[report.counted]), report)

    def costs_of(self, decisions: np.ndarray, report: EvaluationReport) -> np.ndarray:
        """The cost of decisions on the counted rows of a report, float64 [n]."""
        truth, scenario = report.truth[report.counted], self.scenario
        if self.problem is ProblemType.NUMBER:
            off = decisions - truth
            return (scenario.too_high * np.maximum(off, 0) + scenario.too_low * np.maximum(-off, 0)).sum(-1)
        if self.problem is ProblemType.CLASS and not scenario.positive:
            return scenario.matrix(self.classes)[truth, decisions]
        if self.problem is ProblemType.CLASS:
            truth = truth == self.classes.index(scenario.positive)
        wrong = scenario.false_positive * (decisions & ~(truth > 0.5))
        missed = scenario.false_negative * (~decisions & (truth > 0.5))
        cost = wrong + missed
        return cost if cost.ndim == 1 else cost.sum(-1)

    def constants(self, validation: EvaluationReport, report: EvaluationReport) -> dict[str, np.ndarray]:
        """Costs on the rows of ``report`` of decisions that need no model; among all classes that of the class which
        is cheapest on ``validation``."""
        count = int(report.counted.sum())
        if self.problem is ProblemType.CLASS and self.scenario.positive:
            never, always = np.zeros(count, bool), np.ones(count, bool)
            return {
                _("never act"): self.costs_of(never, report), _("always act"): self.costs_of(always, report)
            }  # fmt: skip
        if self.problem is ProblemType.CLASS:
            known = validation.truth[validation.counted]
            best = int(self.scenario.matrix(self.classes)[known].mean(0).argmin())
            name = _("always {name}", name=self.classes[best])
            return {name: self.costs_of(np.full(count, best), report)}
        if self.problem is ProblemType.LABELS:
            return {_("no label"): self.costs_of(np.zeros((count, len(self.classes)), bool), report)}
        return {}

    @property
    def greatest(self) -> float:
        """The greatest cost of one decision; infinity for numbers."""
        scenario = self.scenario
        if self.problem is ProblemType.NUMBER:
            return math.inf
        if self.problem is ProblemType.CLASS and not scenario.positive:
            return float(scenario.matrix(self.classes).max())
        each = max(scenario.false_positive, scenario.false_negative)
        return each * (len(self.classes) if self.problem is ProblemType.LABELS else 1)

    @property
    def sentence(self) -> Message:
        """The rule in words."""
        if self.problem is ProblemType.NUMBER:
            pairs = zip(self.classes, self.offsets, strict=True)
            added = ", ".join(f"{name} {offset:+.4g}" for name, offset in pairs)
            return _("Add to each prediction: {added}; of the least cost on {rows:,} validation rows.",
                     added=added, rows=self.rows)  # fmt: skip
        if self.threshold is None:
            return _(
                "Decide for the class of the least expected cost, with probabilities at temperature "
                "{temperature:.2f}, fitted on {rows:,} validation rows.",
                temperature=self.temperature, rows=self.rows,
            )  # fmt: skip
        if self.threshold > 1:
            return _("Never act: on {rows:,} validation rows that costs least.", rows=self.rows)
        if self.problem is ProblemType.LABELS:
            return _(
                "Give a label from probability {threshold:.3f} on, the threshold of the least cost on {rows:,} "
                "validation rows.",
                threshold=self.threshold, rows=self.rows,
            )  # fmt: skip
        return _(
            "Act from probability {threshold:.3f} of {positive} on, the threshold of the least cost on {rows:,} "
            "validation rows.",
            threshold=self.threshold, positive=self.scenario.positive, rows=self.rows,
        )  # fmt: skip


def choose_rule(scenario: Scenario, validation: EvaluationReport) -> DecisionRule:
    """The decision rule of the least cost on validation rows.

    Raises:
        ConfigError: the scenario does not fit the task.
        DataError: the report is of test rows, or has no labelled row.
    """
    check_scenario(scenario, validation)
    if validation.split == "test":
        raise DataError(_("a decision rule is chosen on validation rows; this report is of test rows."))
    rows = int(validation.counted.sum())
    if not rows:
        raise DataError(
            _("no labelled row in {split!r}: a decision rule cannot be chosen."), split=validation.split
        )
    kept = validation.counted
    if isinstance(validation, ClassificationReport):
        names = validation.classes
        if not scenario.positive:
            return DecisionRule(
                scenario, ProblemType.CLASS, names, rows, temperature=fit_temperature(validation)
            )
        threshold = _cheapest(Thresholds.of(validation, scenario.positive), scenario)
        return DecisionRule(scenario, ProblemType.CLASS, names, rows, threshold)
    names = validation.names
    if isinstance(validation, RegressionReport):
        # the sum of these costs is least at this quantile (Koenker & Bassett 1978)
        level = scenario.too_low / (scenario.too_high + scenario.too_low)
        error = (validation.truth - validation.answers)[kept]
        offsets = np.quantile(error, level, axis=0, method="inverted_cdf")
        return DecisionRule(scenario, ProblemType.NUMBER, names, rows, offsets=tuple(map(float, offsets)))
    given = Thresholds(validation.answers[kept].reshape(-1), validation.truth[kept].reshape(-1) > 0.5)
    return DecisionRule(scenario, ProblemType.LABELS, names, rows, _cheapest(given, scenario))


def _cheapest(found: Thresholds, scenario: Scenario) -> float:
    """The threshold of the least cost, between two scores that occur; of equals the one nearest to what calibrated
    probabilities need. Infinity: never."""
    wrong, missed = scenario.false_positive, scenario.false_negative
    cost = np.append(
        wrong * found.false + missed * (found.positives - found.hit), missed * float(found.positives)
    )
    between = np.append((found.threshold[:-1] + found.threshold[1:]) / 2, [0.0, math.inf])
    least = np.flatnonzero(cost <= cost.min() * (1 + 1e-12))
    ideal = wrong / (wrong + missed)
    return float(between[min(least, key=lambda place: (abs(between[place] - ideal), place))])


@dataclass(frozen=True, eq=False)
class DecisionReport(TableReport):
    """Expected cost of the decisions of a model on one split, compared with other ways to decide.

    Attributes:
        rule: the rule of the model, chosen on validation rows.
        split: the rows.
        costs: cost of each counted row, float64 [n].
        others: name → the same of baselines, each with a rule of its own, and of decisions without a model.
        latency: milliseconds of an answer, 95th percentile, where the scenario limits it.
        seed: of the intervals.
    """

    rule: DecisionRule
    split: str
    costs: np.ndarray
    others: Mapping[str, np.ndarray] = field(default_factory=dict)
    latency: float | None = None
    seed: int = 0

    @property
    def scenario(self) -> Scenario:
        """What mistakes cost."""
        return self.rule.scenario

    @property
    def cost(self) -> float:
        """Expected cost a day, or of 1,000 decisions where the scenario has no volume."""
        return self.scenario.factor * float(self.costs.mean())

    @cached_property
    def _intervals(self) -> dict[str, Interval]:
        """95 % bootstrap intervals of every way's cost, and of what the model saves, from the same resamples."""
        names = {f"cost {n}": costs for n, costs in enumerate((self.costs, *self.others.values()))}
        names |= {f"saving {n}": costs - self.costs for n, costs in enumerate(self.others.values(), 1)}
        found = of_means(names, seed=self.seed)
        factor, greatest = self.scenario.factor, self.rule.greatest
        for name, (low, high) in found.items():
            if name.startswith("cost") and low == high == 0 and math.isfinite(greatest):
                high = greatest * or_wilson((0.0, 0.0), len(self.costs))[1]  # no mistake on these rows
            found[name] = factor * low, factor * high
        return found

    @property
    def interval(self) -> Interval:
        """The 95 % interval of :attr:`cost`."""
        return self._intervals["cost 0"]

    @property
    def table(self) -> pd.DataFrame:
        """A row for the model and each alternative: ``cost`` a day (or of 1,000 decisions) with ``low`` and
        ``high``, and what the model saves against it, ``saving``, with a paired interval."""
        lines = []
        for place, costs in enumerate((self.costs, *self.others.values())):
            low, high = self._intervals[f"cost {place}"]
            line = {"cost": self.scenario.factor * float(costs.mean()), "low": low, "high": high}
            if place:
                low, high = self._intervals[f"saving {place}"]
                line |= {"saving": line["cost"] - self.cost, "saving_low": low, "saving_high": high}
            lines.append(line)
        return pd.DataFrame(lines, index=pd.Index(["model", *self.others]))

    @property
    def cheapest(self) -> str | None:
        """The cheapest alternative on these rows."""
        return min(self.others, key=lambda name: float(self.others[name].mean()), default=None)

    @property
    def outcome(self) -> str:
        """ "better", "worse" or "equal" to the cheapest alternative; "alone" without any."""
        if self.cheapest is None:
            return "alone"
        low, high = self._intervals[f"saving {1 + list(self.others).index(self.cheapest)}"]
        return "better" if low > 0 else "worse" if high < 0 else "equal"

    @property
    def enough(self) -> bool:
        """Whether the cost is low enough to stop: even the upper end of its interval is at most the target, and an
        answer is fast enough."""
        target = self.scenario.target
        return target is not None and self.interval[1] <= target and self.fast_enough

    @property
    def fast_enough(self) -> bool:
        """Whether an answer keeps the limit of the scenario, as far as its time is known."""
        limit = self.scenario.latency
        return limit is None or self.latency is None or self.latency <= limit

    @property
    def sentences(self) -> list[Message]:
        """What follows for the decision, a sentence each."""
        return list(self._sentences())

    def _sentences(self) -> Iterator[Message]:
        scenario = self.scenario
        low, high = self.interval
        yield _("Expected cost {per}: {cost} ({low} to {high}).", per=per(scenario),
                cost=amount(self.cost, scenario), low=amount(low, scenario), high=amount(high, scenario))  # fmt: skip
        yield self.rule.sentence
        if (name := self.cheapest) is not None:
            line = self.table.iloc[1 + list(self.others).index(name)]
            low, high = (amount(float(line[end]), scenario) for end in ("saving_low", "saving_high"))
            facts = {
                "name": name,
                "low": low,
                "high": high,
                "saving": amount(float(line["saving"]), scenario),
            }
            if self.outcome == "better":
                yield _(
                    "That saves {saving} ({low} to {high}) against the cheapest alternative, {name}.", **facts
                )
            elif self.outcome == "worse":
                yield _(
                    "The alternative {name} is cheaper: the model saves {saving} ({low} to {high}).", **facts
                )
            else:
                yield _(
                    "No significant difference to the cheapest alternative, {name}: the model saves {saving} "
                    "({low} to {high}).", **facts,
                )  # fmt: skip
        if scenario.target is not None:
            facts = {"target": amount(scenario.target, scenario)}
            if self.enough:
                yield _("Stop here: the whole interval is at or below the target of {target}.", **facts)
            elif self.interval[0] > scenario.target:
                yield _("The target of {target} is not reached.", **facts)
            else:
                yield _(
                    "Whether the target of {target} is reached is not certain: evaluate on more rows.",
                    **facts,
                )
        if scenario.latency is not None and self.latency is not None:
            facts = {"latency": self.latency, "limit": scenario.latency}
            if self.fast_enough:
                yield _(
                    "An answer takes {latency:.3g} ms (95th percentile); the limit is {limit:g} ms.", **facts
                )
            else:
                yield _(
                    "Too slow: an answer takes {latency:.3g} ms (95th percentile); the limit is {limit:g} ms.",
                    **facts,
                )

    def _heading(self) -> str:
        return f"{self.split}: {len(self.costs):,} decisions"

    def _head(self) -> list[str]:
        given = [self.scenario.decision] if self.scenario.decision else []
        return [*given, *map(str, self.sentences), self._heading()]

    def _tables(self) -> list[Table]:
        return [self.cost_table()]

    def cost_table(self) -> Table:
        """Cost and saving of each way to decide, as text."""
        lines = []
        for name, line in self.table.to_dict(orient="index").items():
            cost, low, high = (plain(line[each], 4) for each in ("cost", "low", "high"))
            saving = ""
            if name != "model":
                saving, least, most = (plain(line[f"saving{end}"], 4) for end in ("", "_low", "_high"))
                saving = f"{saving}  ({least} to {most})"
            lines.append([str(name), f"{cost}  ({low} to {high})", saving])
        unit = f" in {self.scenario.unit}" if self.scenario.unit else ""
        return (["", f"cost {per(self.scenario)}{unit} (95 % interval)", "saved by the model"], lines)


def per(scenario: Scenario) -> Message:
    """What costs are stated for."""
    return _("a day") if scenario.volume else _("of 1,000 decisions")


def amount(cost: float, scenario: Scenario) -> str:
    """A cost with its unit."""
    return f"{plain(cost, 4)} {scenario.unit}".strip()


def decision_of(
    scenario: Scenario, validation: EvaluationReport, report: EvaluationReport, latency: float | None = None
) -> DecisionReport:
    """Expected cost on ``report`` by the rule of the least cost on ``validation``. Baselines that both reports have
    are alternatives, each with its own rule.

    Raises:
        ConfigError: the scenario does not fit the task.
        DataError: ``validation`` is of test rows or has no labelled row, or ``report`` has none.
    """
    rule = choose_rule(scenario, validation)
    costs = rule.costs(report)
    if not len(costs):
        raise DataError(
            _("no labelled row in {split!r}: there is no decision to evaluate."), split=report.split
        )
    others = dict(rule.constants(validation, report))
    known: Mapping[str, EvaluationReport] = report.baselines  # type: ignore[assignment]
    for name, chosen in validation.baselines.items():
        if name in known:
            others[name] = choose_rule(scenario, chosen).costs(known[name])
    return DecisionReport(rule, report.split, costs, others, latency, report.seed)
