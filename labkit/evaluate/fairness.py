"""Fairness of a classifier: rates by group of rows with intervals, gaps between groups, thresholds by group.

 A rate is a share of rows: those predicted positive (selection rate), of the positive ones (true positive
rate), of the negative ones (false positive rate), and right ones of those predicted positive (PPV). Gaps are
the greatest difference between two groups (Hardt, Price and Srebro 2016; the definitions of fairlearn).
Intervals of rates are Wilson's, those of gaps come from the bootstrap of the rows. A rate without a row in its
denominator is NaN and no part of a gap.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pandas as pd
from scipy.stats import norm

from labkit.core.errors import ConfigError, DataError, nearest
from labkit.core.text import one_line
from labkit.evaluate.intervals import Interval, bootstrap
from labkit.evaluate.shown import Table, TableReport
from labkit.i18n import _

#: Rows below which a group is too small to judge.
FEW = 30
#: Rates of a group, in the order of tables; and the gap that each gives.
RATES = ("selection_rate", "true_positive_rate", "false_positive_rate", "positive_predictive_value")
GAPS = {
    "demographic_parity_difference": "selection_rate",
    "equal_opportunity_difference": "true_positive_rate",
    "false_positive_rate_difference": "false_positive_rate",
    "predictive_parity_difference": "positive_predictive_value",
    "accuracy_difference": "accuracy",
}
#: Gap → the rates that thresholds by group can make equal.
GOALS = {"demographic_parity": "selection_rate", "equal_opportunity": "true_positive_rate"}
#: Name of the group of rows without a value; groups that a report has at most; bins of the calibration.
MISSING, MOST, BINS = "missing", 200, 10
#: Names of the class to find, of two, lower case; rows of a class from which on its curves mean something.
POSITIVE = frozenset(
    {
        "positive",
        "pos",
        "yes",
        "true",
        "1",
        "spam",
        "fraud",
        "churn",
        "positiv",
        "ja",
        "是",
        "正面",
        "积极",
        "阳性",
    }
)
ENOUGH = 5
_RESAMPLES, _STEPS = 1000, 200


class Classified(Protocol):
    """What is needed of a report of a classifier."""

    classes: tuple[str, ...]
    truth: np.ndarray
    predicted: np.ndarray
    probability: np.ndarray
    counted: np.ndarray
    split: str
    seed: int


def positive_class(classes: Sequence[str], support: Sequence[float]) -> str:
    """The class that is usually looked for: the one named as positive, else the rarest with :data:`ENOUGH`
    evaluated rows, else the most frequent."""
    counts = dict(zip(classes, support, strict=True))
    if len(counts) == 2 and (named := [name for name in counts if name.strip().casefold() in POSITIVE]):
        return named[0]
    enough = [name for name, count in counts.items() if count >= ENOUGH]
    return min(enough, key=counts.__getitem__) if enough else max(counts, key=counts.__getitem__)


class FairnessReport(TableReport):
    """Rates by group, and the gaps between groups.

    Args:
        report: of a classifier.
        groups: name of a column → the value of every row; several columns give their intersections.
        positive: the class that counts as positive, such as "granted"; default: see :func:`positive_class`.
        thresholds: probability of that class from which a row is predicted positive, one for all or one for each
            group; default: the likeliest class is predicted.
        min_rows: rows below which a group is no part of the gaps; it is shown and named in a warning if below 30.

    Attributes:
        table: a line for each group: ``rows``; ``accuracy``, ``selection_rate``, ``true_positive_rate``,
            ``false_positive_rate`` and ``positive_predictive_value``, each with ``_low`` and ``_high``; macro
            ``f1`` with its interval; ``base_rate`` (share of positive rows), ``mean_probability`` and
            ``calibration_error`` of the positive class.
        gaps: difference between the groups → (value, low, high); ``equalized_odds_difference`` is the greater one
            of the gaps of the true and the false positive rate; ``demographic_parity_ratio`` the least selection
            rate divided by the greatest.
        worst: the group of the lowest accuracy among those of at least 30 rows (of all, where none has as many).
        counted: rows that are judged.
        warnings: sentences on groups that are too small.

    Raises:
        DataError: there is no such class, a column has not a value for every row, or there are too many groups.
    """

    def __init__(
        self,
        report: Classified,
        groups: Mapping[str, Sequence[Any]],
        positive: str | None = None,
        thresholds: float | Mapping[str, float] | None = None,
        min_rows: int = 0,
    ):
        self.columns, self.split, self.min_rows = tuple(map(str, groups)), report.split, min_rows
        support = np.bincount(report.truth[report.counted], minlength=len(report.classes))
        self.positive = positive_class(report.classes, support.tolist()) if positive is None else positive
        if self.positive not in report.classes:
            raise DataError(
                _("there is no class {positive!r}.{hint} The classes are: {classes}."),
                positive=str(self.positive), hint=nearest(str(self.positive), report.classes),
                classes=", ".join(report.classes),
            )  # fmt: skip
        place = report.classes.index(self.positive)
        kept = report.counted
        self._names = group_names(groups, len(report.truth))[kept]
        self._truth, self._score = report.truth[kept] == place, report.probability[kept, place]
        self._predicted = report.predicted[kept] == place
        if thresholds is not None:
            self._predicted = self._score >= _threshold_of(thresholds, self._names)
        self.counted = int(kept.sum())
        self._classes, self._seed = len(report.classes), report.seed
        self._pairs = report.truth[kept], report.predicted[kept]
        self.groups = sorted(set(self._names.tolist()))
        if len(self.groups) > MOST:
            raise DataError(
                _("{columns} gives {count} groups; at most {most} can be compared."),
                columns=", ".join(self.columns), count=len(self.groups), most=MOST,
            )  # fmt: skip
        self.table = pd.DataFrame([self._line(name) for name in self.groups], index=self.groups)
        self.table.index.name = ", ".join(self.columns)
        self.gaps = self._gaps()
        large = self.table[self.table["rows"] >= FEW]
        ranked = (large if len(large) else self.table)["accuracy"]
        self.worst = str(ranked.idxmin()) if len(ranked) else ""
        self.warnings = self._warned()

    def _line(self, name: str) -> dict[str, Any]:
        here = self._names == name
        truth, predicted, score = self._truth[here], self._predicted[here], self._score[here]
        shares = {
            "accuracy": (truth == predicted, np.ones(len(truth), bool)),
            "selection_rate": (predicted, np.ones(len(truth), bool)),
            "true_positive_rate": (predicted, truth),
            "false_positive_rate": (predicted, ~truth),
            "positive_predictive_value": (truth, predicted),
        }
        line: dict[str, Any] = {"rows": len(truth)}
        for rate, (hit, among) in shares.items():
            count, total = int((hit & among).sum()), int(among.sum())
            low, high = wilson(count, total)
            line |= {rate: count / total if total else np.nan, f"{rate}_low": low, f"{rate}_high": high}
        pairs = self._pairs[0][here] * self._classes + self._pairs[1][here]
        confusion = np.bincount(pairs, minlength=self._classes**2).reshape(self._classes, self._classes)
        low, high = bootstrap(confusion, seed=self._seed)["f1"]
        line |= {"f1": _macro_f1(confusion), "f1_low": low, "f1_high": high}
        base = float(truth.mean()) if len(truth) else np.nan
        mean = float(score.mean(dtype=np.float64)) if len(truth) else np.nan
        return {
            **line, "base_rate": base, "mean_probability": mean, "calibration_error": calibration_error(truth, score),
        }  # fmt: skip

    def _gaps(self) -> dict[str, tuple[float, float, float]]:
        """Every gap with its interval: the cells (group, truth, prediction) are drawn again."""
        kept = [n for n, rows in enumerate(self.table["rows"]) if rows >= self.min_rows]
        number = {name: n for n, name in enumerate(self.groups)}
        at = np.array([number[name] for name in self._names.tolist()], np.int64)
        cell = at * 4 + self._truth * 2 + self._predicted
        counts = np.bincount(cell, minlength=4 * len(self.groups))
        exact = _gaps_of(counts[None].reshape(1, -1, 2, 2)[:, kept])
        total = int(counts.sum())
        if not total:
            return {name: (np.nan, np.nan, np.nan) for name in exact}
        random = np.random.default_rng(self._seed)
        draws = random.multinomial(total, counts / total, size=_RESAMPLES).reshape(_RESAMPLES, -1, 2, 2)
        drawn = _gaps_of(draws[:, kept])
        found = {}
        for name, value in exact.items():
            every = drawn[name][np.isfinite(drawn[name])]
            low, high = np.percentile(every, [2.5, 97.5]) if every.size else (np.nan, np.nan)
            found[name] = (float(value[0]), float(low), float(high))
        return found

    def _warned(self) -> tuple[str, ...]:
        few = self.table[self.table["rows"] < FEW]
        said = []
        if len(few):
            listed = ", ".join(f"{one_line(str(name), 40)} ({rows})" for name, rows in few["rows"].items())
            said.append(_("Fewer than {few} rows, too few to judge: {groups}.", few=FEW, groups=listed))
        for rate, what in (
            ("true_positive_rate", _("positive")),
            ("false_positive_rate", _("negative")),
        ):
            if gone := [
                one_line(str(name), 40) for name, value in self.table[rate].items() if value != value
            ]:
                said.append(
                    _(
                        "No {what} row, so that a rate is missing: {groups}.",
                        what=what,
                        groups=", ".join(gone),
                    )
                )
        return tuple(said)

    # --- display ----------------------------------------------------------------------------------------------

    def _heading(self) -> str:
        return _(
            "{split}: {rows:,} rows in {groups} groups by {columns}; positive class {positive}",
            split=self.split, rows=len(self._truth), groups=len(self.groups), columns=", ".join(self.columns),
            positive=self.positive,
        )  # fmt: skip

    def _tables(self) -> list[Table]:
        rates = ("accuracy", *RATES)
        lines = [
            [one_line(str(name), 40), f"{line['rows']:,.0f}", *(_ranged(line, rate) for rate in rates)]
            for name, line in self.table.to_dict(orient="index").items()
        ]
        gaps = [
            [name, f"{value:.3f}", f"{low:.3f} to {high:.3f}"]
            for name, (value, low, high) in self.gaps.items()
        ]
        return [(("group", "rows", *rates), lines), (("gap", "", "95 % interval"), gaps)]

    def __repr__(self) -> str:
        odds = self.gaps["equalized_odds_difference"][0]
        return f"FairnessReport({self._heading()}, equalized odds difference {odds:.3f})"

    def to_dict(self) -> dict[str, Any]:
        """All numbers as JSON values, NaN as None."""
        table = self.table.astype(object).where(self.table.notna(), None)
        return {
            "split": self.split,
            "columns": list(self.columns),
            "positive": self.positive,
            "groups": {str(name): line for name, line in table.to_dict(orient="index").items()},
            "gaps": {name: [None if v != v else v for v in values] for name, values in self.gaps.items()},
            "worst": self.worst,
            "warnings": [str(each) for each in self.warnings],
        }


@dataclass(frozen=True)
class GroupThresholds:
    """Thresholds by group, chosen on one split and judged on another.

    Attributes:
        goal: the rate that they make nearly equal.
        thresholds: group → probability of the positive class from which a row is predicted positive.
        before, after: the rows of the other split, as predicted by the model and with these thresholds.
        price: accuracy lost on these rows, with the paired 95 % interval; negative where it is gained.
        utility: mean cost of mistakes (before, after) on these rows.
    """

    goal: str
    thresholds: dict[str, float]
    before: FairnessReport
    after: FairnessReport
    price: float
    interval: Interval
    utility: tuple[float, float]

    def table(self) -> pd.DataFrame:
        """A line per group: threshold, and the rates before and after."""
        columns: dict[str, Any] = {"threshold": pd.Series(self.thresholds)}
        for rate in (GOALS[self.goal], "accuracy"):
            for when, report in (("before", self.before), ("after", self.after)):
                columns[f"{rate}_{when}"] = report.table[rate]
        return pd.DataFrame(columns).loc[self.before.groups]

    def __str__(self) -> str:
        gap = next(name for name, rate in GAPS.items() if rate == GOALS[self.goal])
        low, high = self.interval
        return (
            f"{gap} {self.before.gaps[gap][0]:.3f} → {self.after.gaps[gap][0]:.3f}; accuracy lost "
            f"{self.price:+.3f} ({low:+.3f} to {high:+.3f})\n{self.table().to_string(float_format='{:.3f}'.format)}"
        )


def thresholds_by_group(
    chosen_on: Classified,
    judged_on: Classified,
    groups: tuple[Mapping[str, Sequence[Any]], Mapping[str, Sequence[Any]]],
    goal: str = "demographic_parity",
    positive: str | None = None,
    *,
    false_positive_cost: float = 1.0,
    false_negative_cost: float = 1.0,
) -> GroupThresholds:
    """Thresholds that give the groups nearly the same rate at the least cost of mistakes, and what they cost.

    Every common rate (in steps of 1/200) is tried; each group gets the threshold that comes nearest to it, and the
    rate with the least cost of mistakes on ``chosen_on`` is taken.

    Args:
        chosen_on: usually the validation rows.
        judged_on: usually the test rows.
        groups: column → values of every row, of both.
        goal: "demographic_parity" (equal selection rates) or "equal_opportunity" (equal true positive rates).
        positive: see :class:`FairnessReport`.
        false_positive_cost, false_negative_cost: of one mistake.

    Raises:
        ConfigError: there is no such goal, or a cost is negative.
        DataError: as :class:`FairnessReport`; or a group of ``judged_on`` is not in ``chosen_on``.
    """
    if goal not in GOALS:
        raise ConfigError(
            _("goal = {goal!r}: no such goal.{hint} Available: {known}."),
            goal=goal, hint=nearest(str(goal), GOALS), known=", ".join(GOALS),
        )  # fmt: skip
    for name, cost in (
        ("false_positive_cost", false_positive_cost),
        ("false_negative_cost", false_negative_cost),
    ):
        if not 0 <= cost < np.inf:
            raise ConfigError(_("{name} = {cost!r}; it must be a number of 0 or more."), name=name, cost=cost)
    first = FairnessReport(chosen_on, groups[0], positive)
    before = FairnessReport(judged_on, groups[1], first.positive)
    if gone := [name for name in before.groups if name not in first.groups]:
        raise DataError(
            _("{split} has no row of the groups {groups}, so no threshold can be chosen for them."),
            split=first.split, groups=", ".join(gone),
        )  # fmt: skip
    best: tuple[float, dict[str, float]] = (np.inf, {})
    for rate in np.linspace(0, 1, _STEPS + 1):
        found = {name: _threshold_for(first, name, GOALS[goal], float(rate)) for name in first.groups}
        predicted = first._score >= _threshold_of(found, first._names)
        cost = _cost(first._truth, predicted, false_positive_cost, false_negative_cost)
        if cost < best[0]:
            best = (cost, found)
    after = FairnessReport(judged_on, groups[1], first.positive, best[1])
    lost = (before._predicted == before._truth).astype(np.float64) - (after._predicted == after._truth)
    costs = [
        _cost(each._truth, each._predicted, false_positive_cost, false_negative_cost)
        for each in (before, after)
    ]
    return GroupThresholds(
        goal, best[1], before, after, float(lost.mean()) if lost.size else np.nan, _mean_interval(lost, before._seed),
        (costs[0], costs[1]),
    )  # fmt: skip


def group_names(groups: Mapping[str, Sequence[Any]], rows: int) -> np.ndarray:
    """The name of the group of every row, str [n]: the values of all columns joined by commas."""
    if not groups:
        raise DataError(_("name at least one column of groups."))
    columns = []
    for values in groups.values():
        if len(values) != rows:
            raise DataError(_("{n_groups} groups for {n_truth} rows."), n_groups=len(values), n_truth=rows)
        columns.append([_named(value) for value in values])
    return np.array([", ".join(parts) for parts in zip(*columns, strict=True)], object)


def wilson(count: int, total: int, level: float = 0.95) -> Interval:
    """Wilson's (1927) interval of a share; NaN without rows."""
    if not total:
        return (np.nan, np.nan)
    z = float(norm.ppf(0.5 + level / 2))
    share, width = count / total, z**2 / total
    middle = (share + width / 2) / (1 + width)
    half = z / (1 + width) * np.sqrt(share * (1 - share) / total + width / (4 * total))
    return (max(0.0, float(middle - half)), min(1.0, float(middle + half)))


def calibration_error(truth: np.ndarray, score: np.ndarray, bins: int = BINS) -> float:
    """Expected calibration error of the positive class: the mean gap between probability and share of positive
    rows, over bins of equal width."""
    if not len(truth):
        return float("nan")
    place = np.clip((np.asarray(score, np.float64) * bins).astype(np.int64), 0, bins - 1)
    gap = np.bincount(place, np.asarray(score, np.float64) - truth, bins)
    return float(np.abs(gap).sum() / len(truth))


def _named(value: Any) -> str:
    missing = value is None or (isinstance(value, float) and value != value) or value == ""
    return MISSING if missing else str(value)


def _gaps_of(counts: np.ndarray) -> dict[str, np.ndarray]:
    """Gaps of counts [r, groups, truth, predicted], each [r]."""
    counts = counts.astype(np.float64)
    rows, positive, chosen = counts.sum((2, 3)), counts[:, :, 1].sum(2), counts[:, :, :, 1].sum(2)
    with np.errstate(invalid="ignore", divide="ignore"):
        rates = {
            "selection_rate": chosen / rows,
            "true_positive_rate": counts[:, :, 1, 1] / positive,
            "false_positive_rate": counts[:, :, 0, 1] / (rows - positive),
            "positive_predictive_value": counts[:, :, 1, 1] / chosen,
            "accuracy": (counts[:, :, 1, 1] + counts[:, :, 0, 0]) / rows,
        }
        found = {name: _most(rates[rate]) - _least(rates[rate]) for name, rate in GAPS.items()}
        found["equalized_odds_difference"] = np.fmax(
            found["equal_opportunity_difference"], found["false_positive_rate_difference"]
        )
        ratio = _least(rates["selection_rate"]) / _most(rates["selection_rate"])
    return {**found, "demographic_parity_ratio": ratio}


def _most(rates: np.ndarray) -> np.ndarray:
    return np.fmax.reduce(rates, axis=1, initial=np.nan)


def _least(rates: np.ndarray) -> np.ndarray:
    return np.fmin.reduce(rates, axis=1, initial=np.nan)


def _threshold_of(thresholds: float | Mapping[str, float], names: np.ndarray) -> np.ndarray:
    if not isinstance(thresholds, Mapping):
        return np.full(len(names), float(thresholds))
    if gone := sorted(set(names.tolist()) - set(thresholds)):
        raise DataError(_("there is no threshold for the groups {groups}."), groups=", ".join(gone))
    return np.array([thresholds[name] for name in names.tolist()], np.float64)


def _threshold_for(report: FairnessReport, name: str, rate: str, wanted: float) -> float:
    """The threshold at which a rate of a group comes nearest to ``wanted``; above all scores it is 0."""
    here = report._names == name
    among = report._score[here & report._truth] if rate == "true_positive_rate" else report._score[here]
    if not len(among):
        return 0.5
    values, counts = np.unique(among, return_counts=True)
    reached = np.cumsum(counts[::-1])[::-1] / len(among)  # rate at each value as threshold
    thresholds = np.append(values.astype(np.float64), np.inf)
    return float(thresholds[np.abs(np.append(reached, 0.0) - wanted).argmin()])


def _cost(truth: np.ndarray, predicted: np.ndarray, false_positive: float, false_negative: float) -> float:
    if not len(truth):
        return float("nan")
    wrong = false_positive * (predicted & ~truth) + false_negative * (~predicted & truth)
    return float(wrong.mean())


def _mean_interval(values: np.ndarray, seed: int) -> Interval:
    """The bootstrap interval of a mean of values of -1, 0 and 1."""
    if not len(values):
        return (np.nan, np.nan)
    kinds, counts = np.unique(values, return_counts=True)
    draws = np.random.default_rng(seed).multinomial(len(values), counts / len(values), size=_RESAMPLES)
    low, high = np.percentile(draws @ kinds / len(values), [2.5, 97.5])
    return (float(low), float(high))


def _macro_f1(confusion: np.ndarray) -> float:
    both = confusion.sum(0) + confusion.sum(1)
    there = both > 0
    return float((2 * confusion.diagonal()[there] / both[there]).mean()) if there.any() else float("nan")


def _ranged(line: Mapping[Any, Any], rate: str) -> str:
    return f"{line[rate]:.3f}  ({line[f'{rate}_low']:.3f} to {line[f'{rate}_high']:.3f})"
