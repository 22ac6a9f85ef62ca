"""Paired comparison of two classifiers on the same rows: difference, confidence interval, McNemar's test.

 Intervals are from the paired bootstrap (Efron 1979; for paired systems Koehn, EMNLP 2004): rows are drawn
again, and a row brings the predictions of both along. The test is McNemar's (Psychometrika 1947) in its exact
form, recommended for two classifiers trained once by Dietterich, Neural Computation 10, 1998: of the rows
that only one of them gets right, each was as likely to be the one's as the other's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from labkit.core.config import checked_seed
from labkit.core.errors import DataError
from labkit.core.text import escape
from labkit.evaluate.intervals import Interval, difference
from labkit.evaluate.report import ClassificationReport
from labkit.evaluate.slices import part_of
from labkit.i18n import _

_COMPARED = ("f1", "accuracy", "precision", "recall")


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two reports on the same rows.

    Attributes:
        names: of the two.
        first, second: their reports, on the rows that they share.
        gains: score → (low, high), the 95 % interval of first minus second.
        only_first, only_second: counted rows that only the one gets right.
        p: two-sided, of McNemar's exact test: how likely so uneven a pair of numbers is between equals.
    """

    names: tuple[str, str]
    first: ClassificationReport
    second: ClassificationReport
    gains: dict[str, Interval]
    only_first: int
    only_second: int
    p: float

    def gain(self, score: str = "f1") -> float:
        """The score of the first minus that of the second."""
        return self.first.scores[score] - self.second.scores[score]

    @property
    def rows(self) -> int:
        """Rows on which both were evaluated."""
        return int(self.first.counted.sum())

    @property
    def disagreements(self) -> pd.DataFrame:
        """The rows that exactly one gets right: row, text, truth and what each said; rows only the first gets
        right come first."""
        a, b = self.first, self.second
        right = [report.predicted == report.truth for report in (a, b)]
        place = np.flatnonzero(a.counted & (right[0] != right[1]))
        place = place[np.argsort(~right[0][place], kind="stable")]
        names = np.asarray(a.classes, object)
        return pd.DataFrame(
            {
                "row": a.rows[place],
                "text": [a.texts[i] for i in place],
                "truth": names[a.truth[place]],
                self.names[0]: names[a.predicted[place]],
                self.names[1]: names[b.predicted[place]],
            }
        )

    def table(self) -> pd.DataFrame:
        """A row for every score: both values, the gain of the first, and its interval."""
        lines = {
            score: {
                self.names[0]: self.first.scores[score],
                self.names[1]: self.second.scores[score],
                "gain": self.gain(score),
                "low": self.gains[score][0],
                "high": self.gains[score][1],
            }
            for score in _COMPARED
        }
        return pd.DataFrame.from_dict(lines, orient="index")

    def to_dict(self) -> dict[str, Any]:
        """All numbers as JSON values."""
        values = {
            "names": list(self.names),
            "rows": self.rows,
            "scores": self.table().to_dict(orient="index"),
        }
        return {**values, "only_first": self.only_first, "only_second": self.only_second, "p": self.p}

    def _said(self) -> str:
        a, b = self.names
        return (
            f"{self.rows:,} rows of {self.first.split}; only {a} is right in {self.only_first:,}, only {b} in "
            f"{self.only_second:,}: McNemar's exact p = {self.p:.3g}"
        )

    def __repr__(self) -> str:
        return f"{self.table().to_string(float_format='{:.3f}'.format)}\n{self._said()}"

    def _repr_html_(self) -> str:
        return f"{self.table().to_html(float_format='{:.3f}'.format)}<div>{escape(self._said())}</div>"


def compare(
    first: ClassificationReport,
    second: ClassificationReport,
    names: tuple[str, str] = ("first", "second"),
    seed: int = 0,
) -> Comparison:
    """Compare two reports on the rows that both have, by row number.

    Raises:
        DataError: other classes, no row in common, or a row whose class is not the same in both: other data
            then.
    """
    if set(first.classes) != set(second.classes):
        raise DataError(
            _("{name!r} predicts {classes}; {other!r} predicts {other_classes}."),
            name=names[0], classes=", ".join(first.classes), other=names[1],
            other_classes=", ".join(second.classes),
        )  # fmt: skip
    names = names if names[0] != names[1] else (f"{names[0]} (1)", f"{names[1]} (2)")
    a, b = _shared(first, second, names)
    kept = a.counted & b.counted
    right = [report.predicted[kept] == report.truth[kept] for report in (a, b)]
    only = [int((right[i] & ~right[1 - i]).sum()) for i in (0, 1)]
    gains = difference(
        a.truth[kept], a.predicted[kept], b.predicted[kept], len(a.classes), seed=checked_seed(seed)
    )
    return Comparison(names, a, b, gains, only[0], only[1], mcnemar(only[0], only[1]))


def mcnemar(only_first: int, only_second: int) -> float:
    """Two-sided p of McNemar's exact test, from the rows that exactly one of two classifiers gets right."""
    total = only_first + only_second
    return float(binomtest(only_first, total, 0.5).pvalue) if total else 1.0


def _shared(
    first: ClassificationReport, second: ClassificationReport, names: tuple[str, str]
) -> tuple[ClassificationReport, ClassificationReport]:
    """Both reports on the rows they share, in one order of rows and of classes."""
    rows, mine, theirs = np.intersect1d(first.rows, second.rows, return_indices=True)
    if not len(rows):
        raise DataError(
            _("{name!r} and {other!r} were evaluated on no common row: split their data with the same seed."),
            name=names[0],
            other=names[1],
        )
    a, b = part_of(first, mine), _in_order(part_of(second, theirs), first.classes)
    if (other := np.flatnonzero(a.truth != b.truth)).size:
        row = int(other[0])
        said = [
            dict(enumerate(a.classes)).get(int(label), "unlabelled") for label in (a.truth[row], b.truth[row])
        ]
        raise DataError(
            _("row {row} is {label!r} for {name!r} but {other_label!r} for {other!r}: the data differ."),
            row=rows[row], label=said[0], name=names[0], other_label=said[1], other=names[1],
        )  # fmt: skip
    kept = np.flatnonzero(a.counted & b.counted)
    return part_of(a, kept), part_of(b, kept)


def _in_order(report: ClassificationReport, classes: tuple[str, ...]) -> ClassificationReport:
    """The report with its classes numbered as in ``classes``."""
    if report.classes == classes:
        return report
    order = [report.classes.index(name) for name in classes]
    number, none = np.append(np.argsort(order), -1), len(classes)
    truth = number[np.where((report.truth >= 0) & (report.truth < none), report.truth, none)]
    return ClassificationReport(
        classes, truth, report.probability[:, order], report.texts, report.rows,
        split=report.split, seed=report.seed, seen=np.unique(truth[report.counted]).tolist(),
    )  # fmt: skip
