"""Calibration: reliability of confidences, expected calibration error, temperature scaling.

 Top-label confidence, bins of equal width, expected and maximum calibration error: Naeini, Cooper and
Hauskrecht, AAAI 2015; Guo, Pleiss, Sun and Weinberger, ICML 2017 (arXiv 1706.04599), equations 2 to 5.
Temperature scaling: the same, section 4.2. It changes no prediction, only how sure the model says it is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar

from labkit.core.errors import DataError
from labkit.core.text import escape
from labkit.evaluate.report import ClassificationReport
from labkit.i18n import _

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

_COLDEST, _HOTTEST = 0.02, 50.0
_LEAST = np.finfo(np.float32).tiny  # a probability of 0 has no logarithm


@dataclass(frozen=True, eq=False)
class Calibration:
    """Confidence against accuracy, in m bins of equal width over 0 … 1.

    Attributes:
        count: int64 [m], rows whose confidence is in the bin (above its lower edge, up to its upper one).
        confidence, accuracy: float64 [m], their means; NaN where the bin is empty.
        temperature: what the logits were divided by.
        scaled: the same rows at a fitted temperature, where one was fitted.
    """

    split: str
    count: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray
    temperature: float = 1.0
    scaled: Calibration | None = field(default=None)

    @classmethod
    def of(
        cls,
        report: ClassificationReport,
        bins: int = 15,
        temperature: float = 1.0,
        scaled: Calibration | None = None,
    ) -> Self:
        """The calibration of a report's counted rows.

        Raises:
            DataError: less than one bin, or a temperature that is not above 0.
        """
        if bins < 1:
            raise DataError(_("bins = {bins}; must be at least 1."), bins=bins)
        probability = with_temperature(report.probability[report.counted], temperature)
        confidence = probability.max(-1, initial=0.0)
        right = report.predicted[report.counted] == report.truth[report.counted]
        place = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
        count = np.bincount(place, minlength=bins)
        with np.errstate(invalid="ignore"):
            means = [
                np.bincount(place, weights, bins) / count
                for weights in (confidence, right.astype(np.float64))
            ]
            return cls(report.split, count, means[0], means[1], temperature, scaled)

    @property
    def error(self) -> float:
        """Expected calibration error: the mean gap between confidence and accuracy, each bin by its rows."""
        total = self.count.sum()
        return float(np.nansum(self.count * self._gap) / total) if total else float("nan")

    @property
    def greatest(self) -> float:
        """Maximum calibration error: the gap of the worst bin."""
        return float(np.nanmax(self._gap)) if self.count.any() else float("nan")

    @property
    def _gap(self) -> np.ndarray:
        return np.abs(self.confidence - self.accuracy)

    def table(self) -> pd.DataFrame:
        """A row for every bin that holds any: its edges, rows, mean confidence and accuracy."""
        edges = np.linspace(0, 1, len(self.count) + 1)
        columns = {"above": edges[:-1], "to": edges[1:], "rows": self.count}
        frame = pd.DataFrame({**columns, "confidence": self.confidence, "accuracy": self.accuracy})
        return frame[frame["rows"] > 0].reset_index(drop=True)

    def __repr__(self) -> str:
        text = f"{self.split}: expected calibration error {self.error:.3f} in {len(self.count)} bins"
        if self.scaled:
            text += f", {self.scaled.error:.3f} at temperature {self.scaled.temperature:.2f}"
        return f"<{text}>"

    def _repr_html_(self) -> str:
        return f"{escape(repr(self)[1:-1])}{self.table().to_html(index=False, float_format='{:.3f}'.format)}"


def calibrate(validation: ClassificationReport, scored: ClassificationReport, bins: int = 15) -> Calibration:
    """The calibration of ``scored`` as it is and, in ``scaled``, at the temperature fitted on ``validation``."""
    temperature = fit_temperature(validation)
    return Calibration.of(scored, bins, scaled=Calibration.of(scored, bins, temperature))


def fit_temperature(report: ClassificationReport) -> float:
    """The temperature at which the truth of a report's rows is likeliest, between 0.02 and 50.

    Fit it on validation: on test rows, selection and evaluation would use the same
    data. log p serves as logits, from which
    it differs by a constant per row.

    Raises:
        DataError: no row counts.
    """
    kept = report.counted
    if not kept.any():
        raise DataError(
            _("no labelled row in {split!r}, so the temperature cannot be fitted."), split=report.split
        )
    logits, truth = _logits(report.probability[kept]), report.truth[kept]
    chosen = logits[np.arange(len(truth)), truth]

    def loss(log_temperature: float) -> float:
        # Convex in 1 / T, and so with one minimum in log T too.
        inverse = np.exp(-log_temperature)
        top = logits.max(-1)
        total = np.log(np.exp((logits - top[:, None]) * inverse).sum(-1)) + top * inverse
        return float(np.mean(total - chosen * inverse))

    found = minimize_scalar(loss, bounds=(np.log(_COLDEST), np.log(_HOTTEST)), method="bounded")
    return float(np.exp(found.x))


def with_temperature(probability: ArrayLike, temperature: float) -> np.ndarray:
    """softmax(logits / temperature) from probabilities [n, c], float64.

    Raises:
        DataError: the temperature is not above 0.
    """
    if not temperature > 0:
        raise DataError(_("temperature = {temperature}; must be above 0."), temperature=temperature)
    scaled = _logits(probability) / temperature
    raised = np.exp(scaled - scaled.max(-1, keepdims=True, initial=-np.inf))
    return raised / raised.sum(-1, keepdims=True)


def _logits(probability: ArrayLike) -> np.ndarray:
    return np.log(np.maximum(np.asarray(probability, np.float64), _LEAST))
