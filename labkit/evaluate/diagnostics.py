"""How well the probability of a class separates and predicts it, as medicine and credit scoring report it.

Area under the ROC curve, average precision, Brier score (1950), sensitivity at a fixed specificity, each with
bootstrap intervals; and the net benefit of deciding by a threshold (decision curve analysis, Vickers and Elkin
2006, doi 10.1177/0272989X06295361).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np
import pandas as pd

from labkit.core.config import checked_seed
from labkit.core.errors import DataError, nearest
from labkit.evaluate.fairness import Classified, positive_class
from labkit.evaluate.intervals import Interval, or_wilson
from labkit.evaluate.shown import SCORED, Table, TableReport
from labkit.i18n import _

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

#: Score → 1 where more is better, -1 where less is.
BETTER = {"auroc": 1, "auprc": 1, "brier": -1, "sensitivity": 1}
RESAMPLES = 1000
#: Threshold probabilities of a decision curve.
THRESHOLDS = tuple(percent / 100 for percent in range(1, 100))
_DRAWN_AT_ONCE = 2**22  # numbers held at a time: 32 MB
#: A specificity that is reached but for rounding counts as reached.
_ROUNDING = 1e-12


class Compared(Classified, Protocol):
    """What is needed of a report of a classifier and of its baselines."""

    @property
    def baselines(self) -> Mapping[str, Classified]: ...


class DiagnosticReport(TableReport):
    """Separation, calibration and net benefit of the probability of one class.

    Args:
        probability: float [n], of the class.
        positive: bool [n], whether the row is of the class.
        name: of the class.
        specificity: at which the sensitivity is given: the highest one over all thresholds that reach it on these
            rows.
        split, seed: named in the report; seed of the resamples, which are the same for equal rows.

    Attributes:
        baselines: name → report of a baseline on the same rows.

    Raises:
        DataError: lengths that disagree, a probability that is none, rows of one kind only, or a specificity
            outside 0 … 1.
    """

    def __init__(
        self,
        probability: ArrayLike,
        positive: ArrayLike,
        name: str = "",
        *,
        specificity: float = 0.95,
        split: str = "test",
        seed: int = 0,
    ):
        self.probability, self.positive = np.asarray(probability, np.float64), np.asarray(positive, bool)
        self.name, self.specificity, self.split = name, specificity, split
        self.seed, self.baselines = checked_seed(seed), dict[str, DiagnosticReport]()
        if self.probability.shape != self.positive.shape or self.probability.ndim != 1:
            raise DataError(
                _("probability has shape {shape} and positive {other_shape}; both are [rows]."),
                shape=self.probability.shape,
                other_shape=self.positive.shape,
            )
        if not 0 <= specificity <= 1:
            raise DataError(_("specificity = {specificity} is not from 0 to 1."), specificity=specificity)
        wrong = ~((self.probability >= 0) & (self.probability <= 1))
        if wrong.any():
            raise DataError(
                _("{n_wrong} of {n} values are no probabilities; the first, row {row}, is {value}."),
                n_wrong=int(wrong.sum()), n=len(wrong), row=int(wrong.argmax()),
                value=float(self.probability[wrong][0]),
            )  # fmt: skip
        if not self.positive.any():
            raise DataError(
                _("no row of {split} is of class {name!r}: sensitivity needs some."), split=split, name=name
            )
        if self.positive.all():
            raise DataError(
                _("all rows of {split} are of class {name!r}: specificity needs others."),
                split=split,
                name=name,
            )

    @classmethod
    def of(cls, report: Compared, positive: str | None = None, specificity: float = 0.95) -> Self:
        """The report of one class over the counted rows of a classifier and of its baselines.

        Args:
            report: of a classifier.
            positive: the class; default: the one named as positive, else the rarest.
            specificity: see the class.

        Raises:
            DataError: there is no such class, or the rows are of one kind only.
        """
        supports = np.bincount(report.truth[report.counted], minlength=len(report.classes)).tolist()
        name = positive_class(report.classes, supports) if positive is None else positive
        if name not in report.classes:
            raise DataError(_("unknown class {name!r}.{hint}"), name=name, hint=nearest(name, report.classes))
        number = report.classes.index(name)

        def one(each: Classified) -> Self:
            probability = np.clip(each.probability[each.counted, number].astype(np.float64), 0, 1)
            truth = each.truth[each.counted] == number
            return cls(probability, truth, name, specificity=specificity, split=each.split, seed=each.seed)

        made = one(report)
        return made.with_baselines({key: one(each) for key, each in report.baselines.items()})

    def with_baselines(self, baselines: Mapping[str, DiagnosticReport]) -> Self:
        """This report, including the baselines from now on. Raises as :meth:`compare`."""
        for name, report in baselines.items():
            self._check_pair(name, report)
        self.baselines = dict(baselines)
        return self

    @cached_property
    def scores(self) -> dict[str, float]:
        """``auroc``, ``auprc`` (average precision), ``brier``, and ``sensitivity`` at the specificity."""
        found = self._scored(np.ones((1, len(self.positive))))
        return {name: float(value[0]) for name, value in found.items()}

    @cached_property
    def intervals(self) -> dict[str, Interval]:
        """95 % bootstrap intervals from 1,000 resamples of the rows (Efron 1979); the sensitivity of a resample is
        at the specificity on that resample. See :func:`~labkit.evaluate.intervals.or_wilson` for a sensitivity
        that never varies."""
        found = {name: _edges(values) for name, values in self._draws.items()}
        found["sensitivity"] = or_wilson(found["sensitivity"], int(self.positive.sum()))
        return found

    def decision_curve(self, thresholds: Sequence[float] = THRESHOLDS) -> pd.DataFrame:
        """Net benefit by threshold probability, for treating the rows whose probability is at least the threshold.

        The net benefit is the share of true positives minus that of false positives × t / (1 - t): at threshold t
        a false positive costs t / (1 - t) of what a true positive is worth. ``treat_all`` is the net benefit of
        treating everybody; that of treating nobody is 0.

        Raises:
            DataError: a threshold outside 0 … 1 (exclusive).
        """
        at = np.asarray(thresholds, np.float64)
        if wrong := [value for value in at.tolist() if not 0 < value < 1]:
            raise DataError(_("threshold {value} is not between 0 and 1."), value=wrong[0])
        rows, odds = len(self.positive), at / (1 - at)
        treated = self.probability[:, None] >= at
        worth = np.where(self.positive[:, None], treated, -odds * treated) / rows
        draws = np.concatenate([weights @ worth for weights in self._resamples()])
        low, high = np.percentile(draws, [2.5, 97.5], axis=0)
        prevalence = self.positive.mean()
        return pd.DataFrame(
            {
                "threshold": at,
                "net_benefit": worth.sum(0),
                "low": low,
                "high": high,
                "treat_all": prevalence - (1 - prevalence) * odds,
                "treated": treated.mean(0),
            }
        )

    def compare(self, baselines: Mapping[str, DiagnosticReport], name: str = "model") -> pd.DataFrame:
        """This report and each baseline in a row: scores with intervals, and what the model gains on it.

        A gain is positive where the model is better, with a paired interval: both are resampled on the same rows.
        Raises DataError when the rows are not the same.
        """
        table = {name: self._line()}
        for other, report in baselines.items():
            self._check_pair(other, report)
            line = report._line()
            for score, better in BETTER.items():
                low, high = _edges(better * (self._draws[score] - report._draws[score]))
                line[f"{score}_gain"] = better * (self.scores[score] - report.scores[score])
                line |= {f"{score}_gain_low": low, f"{score}_gain_high": high}
            table[other] = line
        return pd.DataFrame.from_dict(table, orient="index")

    def to_dict(self) -> dict[str, Any]:
        """All numbers as JSON values, with those of the baselines."""
        curve = self.decision_curve()
        return {
            "split": self.split, "positive": self.name, "rows": len(self.positive),
            "positives": int(self.positive.sum()), "specificity": self.specificity, "scores": dict(self.scores),
            "intervals": {name: list(edges) for name, edges in self.intervals.items()},
            "decision_curve": {name: curve[name].tolist() for name in curve},
            "baselines": {name: dict(report.scores) for name, report in self.baselines.items()},
        }  # fmt: skip

    def _resamples(self) -> list[np.ndarray]:
        """How often each row is taken, f64 [r, n], in portions: the same for one seed and number of rows."""
        rows, random = len(self.positive), np.random.default_rng(self.seed)
        at_once = max(1, _DRAWN_AT_ONCE // rows)
        sizes = [min(at_once, RESAMPLES - start) for start in range(0, RESAMPLES, at_once)]
        return [random.multinomial(rows, np.full(rows, 1 / rows), size=size).astype(float) for size in sizes]

    @cached_property
    def _draws(self) -> dict[str, np.ndarray]:
        """Every score in each of 1,000 resamples."""
        parts = [self._scored(weights) for weights in self._resamples()]
        return {name: np.concatenate([part[name] for part in parts]) for name in BETTER}

    def _scored(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Scores [r] of the rows, each taken ``weights`` [r, n] times; NaN where one kind of row is missing."""
        order = np.argsort(-self.probability, kind="stable")
        score, truth = self.probability[order], self.positive[order]
        last = np.flatnonzero(np.append(np.diff(score) != 0, True))  # rows of equal scores are found together
        taken = weights[:, order]
        hit = np.cumsum(taken * truth, 1)[:, last]
        false = np.cumsum(taken * ~truth, 1)[:, last]
        with np.errstate(invalid="ignore", divide="ignore"):
            recall = np.pad(hit / hit[:, -1:], ((0, 0), (1, 0)))
            alarms = np.pad(false / false[:, -1:], ((0, 0), (1, 0)))
            precision = np.nan_to_num(hit / (hit + false))
        one_kind = np.isnan(recall[:, -1]) | np.isnan(alarms[:, -1])
        area = (np.diff(alarms) * (recall[:, 1:] + recall[:, :-1]) / 2).sum(1)
        reached = alarms <= 1 - self.specificity + _ROUNDING
        sensitivity = np.where(reached, recall, 0).max(1)
        return {
            "auroc": np.where(one_kind, np.nan, area),
            "auprc": np.where(one_kind, np.nan, (np.diff(recall) * precision).sum(1)),
            "brier": weights @ (self.probability - self.positive) ** 2 / weights.sum(1),
            "sensitivity": np.where(one_kind, np.nan, sensitivity),
        }

    def _line(self) -> dict[str, float]:
        line: dict[str, float] = {}
        for score in BETTER:
            low, high = self.intervals[score]
            line |= {score: self.scores[score], f"{score}_low": low, f"{score}_high": high}
        return line

    def _check_pair(self, name: str, other: DiagnosticReport) -> None:
        if not np.array_equal(self.positive, other.positive) or self.seed != other.seed:
            raise DataError(
                _("{name!r} was evaluated on other rows than this report: evaluate both on the same split."),
                name=name,
            )

    def _heading(self) -> str:
        rows, positives = len(self.positive), int(self.positive.sum())
        return f"{self.split}: {rows:,} rows, {positives:,} of class {self.name!r}"

    def _tables(self) -> list[Table]:
        called = {name: name for name in BETTER} | {
            "sensitivity": f"sensitivity at specificity {self.specificity:g}"
        }
        scored = [
            [called[name], f"{self.scores[name]:.3f}", "{:.3f} to {:.3f}".format(*self.intervals[name])]
            for name in BETTER
        ]
        tables: list[Table] = [(SCORED, scored)]
        if self.baselines:
            lines = []
            for name, line in self.compare(self.baselines).to_dict(orient="index").items():
                gain = ""
                if name != "model":
                    edges = line["auroc_gain_low"], line["auroc_gain_high"]
                    gain = f"{line['auroc_gain']:+.3f}  ({edges[0]:+.3f} to {edges[1]:+.3f})"
                lines.append([name, *(f"{line[score]:.3f}" for score in BETTER), gain])
            tables.append((("", *BETTER, "AUROC gain of the model"), lines))
        curve = self.decision_curve((0.05, 0.1, 0.2, 0.3, 0.4, 0.5))
        benefit = [
            [f"{line.threshold:g}", f"{line.net_benefit:.3f}", f"{line.low:.3f} to {line.high:.3f}",
             f"{line.treat_all:.3f}"]
            for line in curve.itertuples(index=False)
        ]  # fmt: skip
        return [*tables, (("threshold", "net benefit", "95 % interval", "treat all"), benefit)]

    def __repr__(self) -> str:
        return f"DiagnosticReport({self._heading()}, auroc {self.scores['auroc']:.3f})"


def _edges(values: np.ndarray) -> Interval:
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return float(low), float(high)
