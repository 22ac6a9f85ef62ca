"""What a study has found: its table, the choice, and the test of the choice on untouched rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import pandas as pd

from labkit.core.errors import ConfigError, DataError, nearest
from labkit.evaluate.compare import Comparison, compare
from labkit.evaluate.decision import DecisionReport, decision_of
from labkit.evaluate.evaluate import EvaluationReport
from labkit.evaluate.report import ClassificationReport
from labkit.evaluate.select import Sizing, right_size, right_size_by_loss
from labkit.i18n import _
from labkit.runs.costs import RunCost, pareto_front
from labkit.search import judged
from labkit.search.costs import money
from labkit.search.record import Candidate
from labkit.search.study import StudyHandle
from labkit.tasks.scenario import Scenario
from labkit.train.experiment import own_experiment

#: Cost that a choice and a figure may use → the column of the table.
COSTS = {
    "parameters": _("Parameters"), "flops": _("FLOPs for an answer"), "ms_p50": _("Milliseconds for an answer"),
    "bytes": _("Bytes of the weights"), "seconds": _("Seconds of training"),
    "wh_high": _("Watt-hours of training, at most"),
}  # fmt: skip


@dataclass(frozen=True)
class Result:
    """A finished candidate with its reports on validation and on test."""

    candidate: Candidate
    validation: EvaluationReport
    test: EvaluationReport
    scenario: Scenario | None = None

    @cached_property
    def decision(self) -> DecisionReport | None:
        """Expected cost of its decisions on the test rows; None without a scenario."""
        return self._decision(self.test)

    @cached_property
    def chosen_by(self) -> DecisionReport | None:
        """The same on the validation rows, by which candidates are chosen."""
        return self._decision(self.validation)

    def _decision(self, report: EvaluationReport) -> DecisionReport | None:
        if self.scenario is None:
            return None
        return decision_of(self.scenario, self.validation, report, self.candidate.costs.get("ms_p95"))

    @property
    def fast_enough(self) -> bool:
        """Whether it keeps the time limit of the scenario, if there is one."""
        return self.chosen_by is None or self.chosen_by.fast_enough

    @property
    def metric(self) -> str:
        """The score that candidates are compared by."""
        return main_score(self.validation)


def main_score(report: EvaluationReport) -> str:
    """The score that reports are compared by."""
    return "f1" if isinstance(report, ClassificationReport) else report.main


def sign_of(report: EvaluationReport) -> int:
    """1, or -1 where a smaller score is better."""
    return 1 if isinstance(report, ClassificationReport) else report.better


def results_of(study: StudyHandle) -> dict[str, Result]:
    """Every candidate that has answered, by name."""
    found, scenario = {}, study.scenario
    for each in study.record.candidates:
        if not judged.has_answers(study.folder, each.name):
            continue
        if each.name not in study.reports:
            answers = judged.load_answers(study.folder, each.name)
            task = own_experiment(each.experiment).task if each.experiment else None
            reports = [judged.report_of(study.rows, split, answers[split], task) for split in judged.SPLITS]
            study.reports[each.name] = reports
        found[each.name] = Result(each, *study.reports[each.name], scenario)
    return found


def table_of(study: StudyHandle, results: Mapping[str, Result], prices: Mapping[str, Any]) -> pd.DataFrame:
    """A row for every candidate: those with answers first, the best of them on validation at the top.

    ``validation`` is the score that it was chosen by; the score on the test rows has its 95 % interval, and
    ``gain`` is what the candidate gains on the leader on these rows, with its paired interval. With a scenario,
    ``decision_cost`` is the expected cost of its decisions a day on the test rows (of 1,000, without a volume), with
    ``decision_low`` and ``decision_high``, and ``saving`` what it saves against the leader.
    """
    lines = {}
    order = ordered(results)
    for name in order:
        result = results[name]
        metric, leader = result.metric, results[order[0]]
        low, high = result.test.intervals[metric]
        line = {
            "status": result.candidate.status, "validation": result.validation.scores[metric],
            metric: result.test.scores[metric], "low": low, "high": high, **_gain(result, leader),
            **_decided(result, leader),
        }  # fmt: skip
        lines[name] = {**line, **costs_of(result.candidate, prices)}
    for each in study.record.candidates:
        if each.name not in lines:
            lines[each.name] = {
                "status": each.status, "validation": each.score, **costs_of(each, prices)
            }  # fmt: skip
    return pd.DataFrame.from_dict(lines, orient="index").rename_axis("candidate")


def ordered(results: Mapping[str, Result]) -> list[str]:
    """Names of the candidates, the best on validation first; of equals the one with fewer parameters. With a
    scenario the best is the one of the least expected cost that is fast enough."""

    def place(name: str) -> tuple[bool, float, float]:
        result = results[name]
        report, size = result.validation, result.candidate.costs.get("parameters") or 0.0
        if result.chosen_by is not None:
            return not result.fast_enough, result.chosen_by.cost, size
        return False, -sign_of(report) * report.scores[result.metric], size

    return sorted(results, key=place)


def _gain(result: Result, leader: Result) -> dict[str, float]:
    if result is leader:
        return {"gain": 0.0, "gain_low": 0.0, "gain_high": 0.0}
    ours: Any = result.test
    line = ours.compare({"leader": leader.test}).loc["leader"]
    first = "f1_gain" if "f1_gain" in line else "gain"
    return {f"gain{end}": float(line[f"{first}{end}"]) for end in ("", "_low", "_high")}


def _decided(result: Result, leader: Result) -> dict[str, Any]:
    """The expected cost of decisions on the test rows, and what is saved against the leader, with intervals."""
    ours, theirs = result.decision, leader.decision
    if ours is None or theirs is None:
        return {}
    low, high = ours.interval
    paired = replace(ours, others={"leader": theirs.costs}).table.loc["leader"]
    saved = {"saving": 0.0, "saving_low": 0.0, "saving_high": 0.0}
    if result is not leader:
        saved = {f"saving{end}": float(paired[f"saving{end}"]) for end in ("", "_low", "_high")}
    return {
        "decision_cost": ours.cost, "decision_low": low, "decision_high": high, **saved,
        "fast_enough": result.fast_enough,
    }  # fmt: skip


def costs_of(candidate: Candidate, prices: Mapping[str, Any]) -> dict[str, float | None]:
    """The costs of a candidate by column; what is not known is None."""
    names = ("parameters", "flops", "ms_p50", "ms_p95", "bytes", "training_bytes")
    energy = (float(candidate.energy[0]), float(candidate.energy[1]))
    known = bool(candidate.energy[2])
    costs = {
        **{name: candidate.costs.get(name) for name in names},
        "seconds": candidate.seconds if known else None,
        "wh_low": energy[0] if known else None, "wh_high": energy[1] if known else None,
        "wh_1000_low": candidate.costs.get("wh_1000_low"), "wh_1000_high": candidate.costs.get("wh_1000_high"),
    }  # fmt: skip
    if prices.keys() - {"currency"}:
        costs |= money(candidate.seconds, energy, candidate.costs, prices)
    return costs


def choice_of(results: Mapping[str, Result], cost: str, slack: float = 0.0) -> Sizing:
    """The cheapest candidate within one standard error of the best on validation; see
    :func:`~labkit.evaluate.select.right_size`. Candidates of which the cost is not known are left out. With a
    scenario the best is that of the least expected cost, and candidates that are too slow are left out.

    Raises:
        ConfigError: an unknown cost.
        DataError: no candidate has answered yet, or none has this cost.
    """
    check_cost(cost)
    known = {name: value for name, each in results.items()
             if (value := costs_of(each.candidate, {}).get(cost)) is not None}  # fmt: skip
    if not known:
        raise DataError(_("no candidate has finished with a known cost {cost!r} yet."), cost=cost)
    if next(iter(results.values())).scenario is not None:
        known = {name: value for name, value in known.items() if results[name].fast_enough} or known
        losses = {name: found.costs for name in known if (found := results[name].chosen_by) is not None}
        return right_size_by_loss(losses, known, slack)
    reports = {name: results[name].validation for name in known}
    return right_size(reports, known, score=None, slack=slack)


def check_cost(cost: str) -> None:
    """Raise :class:`ConfigError` unless ``cost`` is one of :data:`COSTS`."""
    if cost not in COSTS:
        raise ConfigError(
            _("cost = {cost!r} must be one of {known}.{hint}"), cost=cost, known=", ".join(COSTS),
            hint=nearest(cost, COSTS),
        )  # fmt: skip


def points_of(results: Mapping[str, Result], cost: str) -> list[RunCost]:
    """Every finished candidate as a point: its cost and its validation score."""
    check_cost(cost)
    found = []
    for name, each in results.items():
        if (value := costs_of(each.candidate, {}).get(cost)) is not None:
            score = each.validation.scores[each.metric] if each.chosen_by is None else each.chosen_by.cost
            found.append(RunCost(name, name, float(value), score))
    return sorted(found, key=lambda point: (point.cost, point.score))


def front_of(results: Mapping[str, Result], cost: str) -> list[str]:
    """Names of the candidates that no other one beats in cost and validation score."""
    lower = any(sign_of(each.validation) < 0 or each.scenario is not None for each in results.values())
    return [point.name for point in pareto_front(points_of(results, cost), lower)]


def tested(results: Mapping[str, Result], first: str, second: str) -> Comparison | pd.DataFrame:
    """Two candidates on the test rows, which no decision has used: a paired interval and, of classifiers,
    McNemar's exact test.

    Raises:
        DataError: one of them has not answered.
    """
    for name in (first, second):
        if name not in results:
            raise DataError(
                _("candidate {name!r} has no answers yet; there are {known}."), name=name,
                known=", ".join(results) or _("none"),
            )  # fmt: skip
    a, b = results[first].test, results[second].test
    if isinstance(a, ClassificationReport) and isinstance(b, ClassificationReport):
        return compare(a, b, (first, second))
    other: Any = b
    return a.compare({second: other}, first)
