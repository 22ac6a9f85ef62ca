"""Evaluation report of a classifier on one split: scores, intervals, worst mistakes, baselines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from labkit.core.config import checked_seed
from labkit.core.errors import DataError
from labkit.core.text import one_line
from labkit.evaluate.diagnostics import DiagnosticReport
from labkit.evaluate.fairness import FairnessReport
from labkit.evaluate.intervals import Interval, bootstrap, difference
from labkit.evaluate.shown import SCORED, Table, TableReport
from labkit.evaluate.verdict import first_line
from labkit.i18n import _
from labkit.tasks.metrics import per_class, scores

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

_WIDEST = 20  # classes whose table and confusion matrix are shown; beyond, look at .per_class and .confusion
_HEADLINES = ("f1", "accuracy", "precision", "recall", "loss")


class ClassificationReport(TableReport):
    """Predictions beside the truth, and everything that follows from them (computed when asked for).

    ``truth``: int [n], class ids, -1 = unlabelled; ``probability``: float [n, c], rows sum to 1; ``texts``:
    [n], shown with mistakes; ``rows``: int [n], row numbers in the source; ``seen``: the class ids that
    training rows had (all, if not given). Unlabelled rows (``unlabelled``) and rows whose class was never
    trained or does not exist (``unseen``) are counted and excluded from all scores. ``seed`` draws the
    intervals. Raises DataError when lengths disagree or a row of ``probability`` is not a distribution.
    """

    def __init__(
        self,
        classes: Sequence[str],
        truth: ArrayLike,
        probability: ArrayLike,
        texts: Sequence[str] | None = None,
        rows: ArrayLike | None = None,
        *,
        split: str = "test",
        seed: int = 0,
        seen: Iterable[int] | None = None,
    ) -> None:
        self.classes, self.split, self.seed = tuple(map(str, classes)), split, checked_seed(seed)
        self.truth = np.asarray(truth, np.int64).reshape(-1)
        self.probability = np.asarray(probability, np.float32)
        n, c = len(self.truth), len(self.classes)
        self.texts = [""] * n if texts is None else list(texts)
        self.rows = np.arange(n) if rows is None else np.asarray(rows, np.int64)
        self._check(n, c)
        known = np.arange(c) if seen is None else np.asarray(sorted(set(seen)), np.int64)
        self.counted = np.isin(self.truth, known[(known >= 0) & (known < c)])  # bool [n]
        self.unlabelled = int((self.truth < 0).sum())
        self.unseen = n - int(self.counted.sum()) - self.unlabelled
        self.predicted = self.probability.argmax(-1)  # int [n]; the first class where several are equal
        self.columns_of: Callable[[str | Sequence[str]], dict[str, list[Any]]] | None = (
            None  # of the rows of a run
        )
        self.baselines: dict[str, ClassificationReport] = {}  # shown beside this report; see `beside`

    def _check(self, n: int, c: int) -> None:
        if self.probability.shape != (n, c):
            raise DataError(
                _("probability has shape {shape}; {n} rows of {c} classes need {wanted}."),
                shape=self.probability.shape, n=n, c=c, wanted=(n, c),
            )  # fmt: skip
        for name, values in (("texts", self.texts), ("rows", self.rows)):
            if len(values) != n:
                raise DataError(
                    _("There are {n_values} {name} for {n} rows of truth."),
                    n_values=len(values),
                    name=name,
                    n=n,
                )
        wrong = ~(
            (np.abs(self.probability.sum(-1) - 1) < 1e-3) & (self.probability >= 0).all(-1)
        )  # true for NaN too
        if wrong.any():
            first = int(wrong.argmax())
            raise DataError(
                _("{n_wrong} of {n} rows of probability are not distributions; the first, row {row}, is "
                  "{values}. Pass softmax(logits); NaN means that training diverged."),
                n_wrong=wrong.sum(), n=n, row=self.rows[first], values=self.probability[first][:5].tolist(),
            )  # fmt: skip

    @cached_property
    def confusion(self) -> pd.DataFrame:
        """Counted rows, truth down and prediction across, int64 [c, c]."""
        c = len(self.classes)
        cell = self.truth[self.counted] * c + self.predicted[self.counted]
        table = np.bincount(cell, minlength=c * c).reshape(c, c)
        index, columns = (pd.Index(self.classes, name=name) for name in ("truth", "predicted"))
        return pd.DataFrame(table, index=index, columns=columns)

    @cached_property
    def scores(self) -> dict[str, float]:
        """``loss`` (mean -log p of the truth, nats) and the scores of :func:`labkit.tasks.metrics.scores`."""
        loss = self._loss[self.counted]
        return {
            "loss": float(loss.mean()) if loss.size else float("nan"),
            **scores(self.confusion.to_numpy()),
        }

    @cached_property
    def per_class(self) -> pd.DataFrame:
        """``precision``, ``recall``, ``f1`` and ``support`` of every class."""
        return pd.DataFrame(per_class(self.confusion.to_numpy()), index=pd.Index(self.classes, name="class"))

    @cached_property
    def intervals(self) -> dict[str, Interval]:
        """95 % bootstrap intervals (low, high) of every score but ``loss``, from 1,000 resamples of the rows."""
        return bootstrap(self.confusion.to_numpy(), seed=self.seed)

    @cached_property
    def _loss(self) -> np.ndarray:
        """-log p of the truth [n]; p is kept above float32's epsilon, as scikit-learn does. 0 where not
        counted."""
        truth = np.where(self.counted, self.truth, 0)
        given = np.take_along_axis(self.probability, truth[:, None], 1)[:, 0] if len(truth) else np.zeros(0)
        loss = -np.log(np.clip(given.astype(np.float64), np.finfo(np.float32).eps, 1))
        return np.where(self.counted, loss, 0.0)

    def predictions(self) -> pd.DataFrame:
        """Every row with its truth, its prediction and the probability of each class; ``row`` is the source
        row."""
        names = np.asarray(self.classes, object)
        known = (self.truth >= 0) & (self.truth < len(self.classes))
        chances = {
            f"probability {name}": self.probability[:, place] for place, name in enumerate(self.classes)
        }
        return pd.DataFrame(
            {
                "row": self.rows,
                "text": self.texts,
                "truth": [
                    names[one] if there else None for one, there in zip(self.truth, known, strict=True)
                ],
                "predicted": names[self.predicted],
                "confidence": self.probability.max(-1),
                **chances,
            }
        )

    def mistakes(self, n: int = 10) -> pd.DataFrame:
        """The ``n`` counted rows predicted wrongly with the highest loss, worst first; ``row`` is the source
        row."""
        wrong = np.flatnonzero(self.counted & (self.predicted != self.truth))
        worst = wrong[np.argsort(-self._loss[wrong], kind="stable")][:n]
        names = np.asarray(self.classes, object)
        return pd.DataFrame(
            {
                "row": self.rows[worst],
                "text": [self.texts[i] for i in worst],
                "truth": names[self.truth[worst]],
                "predicted": names[self.predicted[worst]],
                "confidence": self.probability[worst, self.predicted[worst]].astype(np.float64),
                "loss": self._loss[worst],
            }
        )

    def compare(self, baselines: Mapping[str, ClassificationReport], name: str = "model") -> pd.DataFrame:
        """This report and each baseline in a row: F1 and accuracy with intervals, and what the model gains on
        it.

        ``f1_gain`` is F1 of the model minus F1 of the baseline, with a paired interval: both are resampled on
        the same rows, and a low end above 0 says that the model is better. Raises DataError when the rows are
        not the same.
        """
        table = {name: self._line()}
        for other, report in baselines.items():
            self._check_pair(other, report)
            kept = self.counted & report.counted
            gain = difference(
                self.truth[kept],
                self.predicted[kept],
                report.predicted[kept],
                len(self.classes),
                seed=self.seed,
            )
            table[other] = report._line()
            for score in ("f1", "accuracy"):
                low, high = gain[score]
                value = self.scores[score] - report.scores[score]
                table[other] |= {f"{score}_gain": value, f"{score}_gain_low": low, f"{score}_gain_high": high}
        return pd.DataFrame.from_dict(table, orient="index")

    def with_baselines(self, baselines: Mapping[str, ClassificationReport]) -> ClassificationReport:
        """This report, including the baselines from now on. Raises as :meth:`compare`."""
        for name, report in baselines.items():
            self._check_pair(name, report)
        self.baselines = dict(baselines)
        return self

    def by_group(
        self,
        by: str | Sequence[str] | Mapping[str, Sequence[Any]],
        positive: str | None = None,
        thresholds: float | Mapping[str, float] | None = None,
        min_rows: int = 0,
    ) -> FairnessReport:
        """Rates by group of rows with intervals, and the gaps between the groups.

        Args:
            by: a column of the rows of a run, or several for their intersections; for any other report a name →
                the group of every row: ``{"sex": frame["sex"]}``.
            positive, thresholds, min_rows: see :class:`~labkit.evaluate.fairness.FairnessReport`.

        Raises:
            DataError: there is no such column, or this report is not of a run and ``by`` names a column.
        """
        if not isinstance(by, Mapping):
            if self.columns_of is None:
                raise DataError(
                    _(
                        "this report does not know the columns of its rows: pass a dict with the values of each column."
                    )
                )
            by = self.columns_of(by)
        return FairnessReport(self, by, positive, thresholds, min_rows)

    def diagnostics(self, positive: str | None = None, specificity: float = 0.95) -> DiagnosticReport:
        """AUROC, average precision, Brier score, sensitivity at a specificity, and the decision curve of a class, of
        this report and its baselines; see :class:`~labkit.evaluate.diagnostics.DiagnosticReport`."""
        return DiagnosticReport.of(self, positive, specificity)

    def _compared(self) -> list[list[str]]:
        table = self.compare(self.baselines).to_dict(orient="index")
        lines: list[list[str]] = []
        for name, line in table.items():
            gain = ""
            if name != "model":
                gain = f"{line['f1_gain']:+.3f}  ({line['f1_gain_low']:+.3f} to {line['f1_gain_high']:+.3f})"
            value = f"{line['f1']:.3f}  ({line['f1_low']:.3f} to {line['f1_high']:.3f})"
            lines.append([str(name), value, gain])
        return lines

    def _line(self) -> dict[str, float]:
        line: dict[str, float] = {}
        for score in ("f1", "accuracy"):
            low, high = self.intervals[score]
            line |= {score: self.scores[score], f"{score}_low": low, f"{score}_high": high}
        return line

    def _check_pair(self, name: str, other: ClassificationReport) -> None:
        same = self.classes == other.classes and all(
            np.array_equal(getattr(self, field), getattr(other, field))
            for field in ("rows", "truth", "counted")
        )
        if not same:
            raise DataError(
                _(
                    "{name!r} was evaluated on other rows or classes ({n_other} rows of {other_split}) "
                    "than this report ({n} rows of {split}): evaluate both on the same split, with the "
                    "same `seen`."),
                name=name, n_other=len(other.truth), other_split=other.split, n=len(self.truth),
                split=self.split,
            )  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """All numbers as JSON values (NaN as None), without the texts: the worst mistakes by their row
        numbers."""
        mistakes = self.mistakes().drop(columns="text")
        return {
            "split": self.split,
            "seed": self.seed,
            "classes": list(self.classes),
            "rows": len(self.truth),
            "unlabelled": self.unlabelled,
            "unseen": self.unseen,
            "scores": {name: _json(value) for name, value in self.scores.items()},
            "intervals": {name: [_json(low), _json(high)] for name, (low, high) in self.intervals.items()},
            "per_class": {name: column.tolist() for name, column in self.per_class.items()},
            "confusion": self.confusion.to_numpy().tolist(),
            "mistakes": mistakes.to_dict(orient="records"),
        }

    @property
    def verdict(self) -> str:
        """That a baseline has the better F1; empty where none has."""
        return first_line(self.compare(self.baselines), list(self.baselines), "f1") if self.baselines else ""

    def _heading(self) -> str:
        left_out = [
            f"{count:,} {what} left out"
            for count, what in ((self.unlabelled, "unlabelled"), (self.unseen, "of a class never trained"))
            if count
        ]
        return ", ".join([f"{self.split}: {len(self.truth):,} rows, {len(self.classes)} classes", *left_out])

    def _headlines(self) -> list[list[str]]:
        ranges = {name: "{:.3f} to {:.3f}".format(*edges) for name, edges in self.intervals.items()}
        return [[name, f"{self.scores[name]:.3f}", ranges.get(name, "")] for name in _HEADLINES]

    def _classes(self) -> list[list[str]]:
        lines = [
            [one_line(name, 40), *(f"{rate:.3f}" for rate in rates), f"{support:,.0f}"]
            for name, (*rates, support) in zip(
                self.classes[:_WIDEST], self.per_class.to_numpy(), strict=False
            )
        ]
        more = len(self.classes) - _WIDEST
        return lines if more <= 0 else [*lines, [f"… {more:,} more: .per_class", "", "", "", ""]]

    def __repr__(self) -> str:
        return f"ClassificationReport({self._heading()}, f1 {self.scores['f1']:.3f})"

    def _tables(self) -> list[Table]:
        tables: list[Table] = [(SCORED, self._headlines())]
        if self.baselines:
            tables.append((("", "f1 (95 % interval)", "gain of the model"), self._compared()))
        return [*tables, (("class", "precision", "recall", "f1", "support"), self._classes())]

    def _html_tables(self) -> list[Table]:
        if len(self.classes) > _WIDEST:
            return self._tables()
        names = [one_line(name, 20) for name in self.classes]
        body = [[name, *map(str, line)] for name, line in zip(names, self.confusion.to_numpy(), strict=True)]
        return [*self._tables(), (("truth \\ predicted", *names), body)]

    def _wrong(self) -> Table:
        return ("row", "worst mistakes", "truth", "predicted", "confidence"), [
            (
                str(row),
                one_line(str(text), 160),
                one_line(truth, 40),
                one_line(predicted, 40),
                f"{confidence:.3f}",
            )
            for row, text, truth, predicted, confidence, _ in self.mistakes(5).itertuples(index=False)
        ]


def _json(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
