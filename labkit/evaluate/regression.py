"""Evaluation report of a regression model on one split."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pandas as pd

from labkit.evaluate.report_base import RowReport


class RegressionReport(RowReport):
    """Predictions and true values, both [n, k] in original units, with all metrics derived from them.

    ``mae``: mean amount of the error; ``rmse``: root of the mean squared error; ``r2``: 1 - the squared error
    ÷ that of always saying the mean of these rows. Each is a mean over the numbers; :attr:`per_name` has them
    one by one.
    """

    headlines: ClassVar[tuple[str, ...]] = ("mae", "rmse", "r2")
    main: ClassVar[str] = "mae"
    better: ClassVar[int] = -1

    def _scored(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        return {name: value.mean(-1) for name, value in self._each(weights).items()}

    def _each(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """The scores of every number, [r, k]."""
        truth, error = self.truth[self.counted], (self.answers - self.truth)[self.counted]
        middle = truth.mean(0) if len(truth) else 0.0  # so that the variance below does not cancel
        with np.errstate(invalid="ignore", divide="ignore"):
            n = weights.sum(-1)[:, None]
            squared = weights @ error**2
            off = truth - middle
            spread = weights @ off**2 - (weights @ off) ** 2 / n
            r2 = np.where(spread > 0, 1 - squared / spread, np.nan)
            return {"mae": weights @ np.abs(error) / n, "rmse": np.sqrt(squared / n), "r2": r2}

    @property
    def per_name(self) -> pd.DataFrame:
        """``mae``, ``rmse`` and ``r2`` of every number, and its mean and deviation in the rows."""
        truth = self.truth[self.counted]
        each = {name: value[0] for name, value in self._each(np.ones((1, len(truth)))).items()}
        told = {"mean": truth.mean(0), "deviation": truth.std(0)} if len(truth) else {}
        return pd.DataFrame({**each, **told}, index=pd.Index(self.names, name="number"))

    def _answer_columns(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for place, name in enumerate(self.names):
            found[name] = np.where(self.counted, self.truth[:, place], np.nan)
            found[f"{name}, answered"] = self.answers[:, place]
        return found

    def mistakes(self, n: int = 10) -> pd.DataFrame:
        """The ``n`` counted rows farthest off, in deviations of each number; ``row`` is the source row."""
        kept = np.flatnonzero(self.counted)
        scale = self.truth[kept].std(0) if len(kept) else np.ones(len(self.names))
        off = np.abs(self.answers - self.truth) / np.where(scale > 0, scale, 1)
        worst = kept[np.argsort(-off[kept].max(-1), kind="stable")][:n]
        columns = {"row": self.rows[worst], "text": [self.texts[i] for i in worst]}
        for place, name in enumerate(self.names):
            columns[name] = self.truth[worst, place]
            columns[f"{name}, answered"] = self.answers[worst, place]
        return pd.DataFrame(columns)
