"""What a study has found: its table, the choice, and the test of the choice on untouched rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from labkit.core.errors import ConfigError, DataError, nearest
from labkit.evaluate.compare import Comparison, compare
from labkit.evaluate.evaluate import EvaluationReport
from labkit.evaluate.report import ClassificationReport
from labkit.evaluate.select import Sizing, right_size
from labkit.i18n import _
from labkit.runs.costs import RunCost, pareto_front
from labkit.search import judged
from labkit.search.costs import money
from labkit.search.record import Candidate
from labkit.search.study import StudyHandle
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
    found = {}
    for each in study.record.candidates:
        if not judged.has_answers(study.folder, each.name):
            continue
        if each.name not in study.reports:
            answers = judged.load_answers(study.folder, each.name)
            task = own_experiment(each.experiment).task if each.experiment else None
            reports = [judged.report_of(study.rows, split, answers[split], task) for split in judged.SPLITS]
            study.reports[each.name] = reports
        found[each.name] = Result(each, *study.reports[each.name])
    return found


def table_of(study: StudyHandle, results: Mapping[str, Result], prices: Mapping[str, Any]) -> pd.DataFrame:
    """A row for every candidate: those with answers first, the best of them on validation at the top.

    ``validation`` is the score that it was chosen by; the score on the test rows has its 95 % interval, and
    ``gain`` is what the candidate gains on the leader on these rows, with its paired interval.
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
        }  # fmt: skip
        lines[name] = {**line, **costs_of(result.candidate, prices)}
    for each in study.record.candidates:
        if each.name not in lines:
            lines[each.name] = {
                "status": each.status, "validation": each.score, **costs_of(each, prices)
            }  # fmt: skip
    return pd.DataFrame.from_dict(lines, orient="index").rename_axis("candidate")


def ordered(results: Mapping[str, Result]) -> list[str]:
    """Names of the candidates, the best on validation first; of equals the one with fewer parameters."""

    def place(name: str) -> tuple[float, float]:
        report = results[name].validation
        score = sign_of(report) * report.scores[results[name].metric]
        return -score, results[name].candidate.costs.get("parameters") or 0.0

    return sorted(results, key=place)


def _gain(result: Result, leader: Result) -> dict[str, float]:
    if result is leader:
        return {"gain": 0.0, "gain_low": 0.0, "gain_high": 0.0}
    ours: Any = result.test
    line = ours.compare({"leader": leader.test}).loc["leader"]
    first = "f1_gain" if "f1_gain" in line else "gain"
    return {f"gain{end}": float(line[f"{first}{end}"]) for end in ("", "_low", "_high")}


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
    :func:`~labkit.evaluate.select.right_size`. Candidates of which the cost is not known are left out.

    Raises:
        ConfigError: an unknown cost.
        DataError: no candidate has answered yet, or none has this cost.
    """
    check_cost(cost)
    known = {name: value for name, each in results.items()
             if (value := costs_of(each.candidate, {}).get(cost)) is not None}  # fmt: skip
    if not known:
        raise DataError(_("no candidate has finished with a known cost {cost!r} yet."), cost=cost)
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
            found.append(RunCost(name, name, float(value), each.validation.scores[each.metric]))
    return sorted(found, key=lambda point: (point.cost, point.score))


def front_of(results: Mapping[str, Result], cost: str) -> list[str]:
    """Names of the candidates that no other one beats in cost and validation score."""
    lower = any(sign_of(each.validation) < 0 for each in results.values())
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
