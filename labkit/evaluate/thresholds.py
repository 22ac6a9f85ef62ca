"""One-vs-rest precision, recall and false positive rate of a class at every threshold."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Self

import numpy as np
import pandas as pd

from labkit.core.errors import DataError, nearest
from labkit.evaluate.fairness import positive_class
from labkit.evaluate.report import ClassificationReport
from labkit.i18n import _

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

_SCORES = ("precision", "recall", "f1")


def class_to_find(report: ClassificationReport) -> str:
    """The class whose threshold matters most: the one named as positive, else the rarest with
    :data:`~labkit.evaluate.fairness.ENOUGH` evaluated rows, else the most frequent."""
    return positive_class(report.classes, report.per_class["support"].tolist())


class Thresholds:
    """Counts at every threshold that makes a difference, and the curves that follow from them.

    A row counts as found when its score is at least the threshold. Curves and areas are defined as in
    scikit-learn: the average precision is the step-wise sum of precision over the gains in recall, the ROC
    area is by trapezoids.

    Args:
        score: float [n], the probability of the class.
        positive: bool [n], whether the row is of the class.
        name: of the class.

    Attributes:
        threshold: float64 [k], the scores that occur, falling.
        hit, false: int64 [k], rows found at that threshold that are of the class, and that are not.
        positives, negatives: rows of the class, and others.

    Raises:
        DataError: lengths that disagree, no rows, or a score that is not a number.
    """

    def __init__(self, score: ArrayLike, positive: ArrayLike, name: str = "") -> None:
        score, positive = np.asarray(score, np.float64), np.asarray(positive, bool)
        if score.shape != positive.shape or score.ndim != 1:
            raise DataError(
                _("score has shape {shape} and positive {other_shape}; both are [rows]."),
                shape=score.shape,
                other_shape=positive.shape,
            )
        if not len(score) or np.isnan(score).any():
            raise DataError(
                _("{n_score} rows, {n_missing} of them without a score: no threshold can be computed."),
                n_score=len(score),
                n_missing=int(np.isnan(score).sum()),
            )
        self.name = name
        order = np.argsort(-score, kind="stable")
        score, found = score[order], positive[order]
        last = np.flatnonzero(
            np.append(np.diff(score) != 0, True)
        )  # the last row of every group of equal scores
        self.threshold = score[last]
        self.hit = np.cumsum(found)[last]
        self.false = last + 1 - self.hit
        self.positives = int(found.sum())
        self.negatives = len(score) - self.positives

    @classmethod
    def of(cls, report: ClassificationReport, name: str) -> Self:
        """The thresholds on the probability of class ``name``, over the rows that count in ``report``."""
        if name not in report.classes:
            raise DataError(_("unknown class {name!r}.{hint}"), name=name, hint=nearest(name, report.classes))
        number, kept = report.classes.index(name), report.counted
        return cls(report.probability[kept, number], report.truth[kept] == number, name)

    def __repr__(self) -> str:
        return (
            f"<thresholds on {self.name!r}: {self.positives} of {self.positives + self.negatives} rows, "
            f"ROC area {self.roc_auc:.3f}, average precision {self.average_precision:.3f}>"
        )

    @property
    def precision(self) -> np.ndarray:
        """Share of the found rows that are of the class, [k]."""
        return self.hit / (self.hit + self.false)

    @property
    def recall(self) -> np.ndarray:
        """Share of the class that is found, [k]; NaN where no row is of the class."""
        return self.hit / self.positives if self.positives else np.full(len(self.hit), np.nan)

    @property
    def false_alarms(self) -> np.ndarray:
        """Share of the other rows that are found, [k]; NaN where there are none."""
        return self.false / self.negatives if self.negatives else np.full(len(self.false), np.nan)

    @property
    def f1(self) -> np.ndarray:
        """Harmonic mean of precision and recall, [k]."""
        return 2 * self.hit / (self.hit + self.false + self.positives)

    @cached_property
    def roc_auc(self) -> float:
        """Area under recall over false alarms; NaN where only one kind of row is there."""
        x, y = np.append(0.0, self.false_alarms), np.append(0.0, self.recall)
        return float(np.sum(np.diff(x) * (y[1:] + y[:-1]) / 2))

    @cached_property
    def average_precision(self) -> float:
        """Sum of precision times the gain in recall, from the highest threshold down."""
        return float(np.sum(np.diff(np.append(0.0, self.recall)) * self.precision))

    def at(self, threshold: float) -> dict[str, float]:
        """``precision``, ``recall`` and ``f1`` (0 where nothing is found, as in scikit-learn with
        zero_division=0) and the counts ``found``, ``hit``, ``missed`` at any threshold."""
        place = int(np.searchsorted(-self.threshold, -threshold, side="right")) - 1
        hit, false = (int(self.hit[place]), int(self.false[place])) if place >= 0 else (0, 0)
        found, sought = hit + false, self.positives
        return {
            "threshold": float(threshold),
            "precision": hit / found if found else 0.0,
            "recall": hit / sought if sought else 0.0,
            "f1": 2 * hit / (found + sought) if found + sought else 0.0,
            "found": found,
            "hit": hit,
            "missed": sought - hit,
        }

    def best(self, score: str = "f1") -> float:
        """The threshold with the best ``score``, the highest of equals. Choose it on validation, never on
        test."""
        if score not in _SCORES:
            raise DataError(
                _("unknown score {score!r}.{hint} Known: {known}."),
                score=score, hint=nearest(score, _SCORES), known=", ".join(_SCORES),
            )  # fmt: skip
        return (
            float(self.threshold[int(np.nanargmax(getattr(self, score)))]) if self.positives else float("nan")
        )

    def table(self) -> pd.DataFrame:
        """A row for every threshold: precision, recall, F1, false alarms, rows found."""
        return pd.DataFrame(
            {
                "threshold": self.threshold,
                **{name: getattr(self, name) for name in _SCORES},
                "false_alarms": self.false_alarms,
                "found": self.hit + self.false,
            }
        )
