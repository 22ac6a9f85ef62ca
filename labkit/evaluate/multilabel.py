"""Evaluation report of a multi-label model on one split."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pandas as pd

from labkit.evaluate.report_base import RowReport
from labkit.tasks.metrics import rates
from labkit.tasks.multilabel import tag_scores


class MultilabelReport(RowReport):
    """Predicted probabilities and true labels, with all metrics derived from them.

    ``truth``: [n, c], 1 where a label applies; ``answers``: [n, c], its probability; ``threshold``: the
    probability from which it is given. Scores are those of :func:`~labkit.tasks.multilabel.tag_scores`, and
    ``loss``, the mean binary cross-entropy in nats.
    """

    headlines: ClassVar[tuple[str, ...]] = (
        "f1",
        "f1_micro",
        "accuracy",
        "hamming",
        "precision",
        "recall",
        "loss",
    )
    main: ClassVar[str] = "f1"
    shares: ClassVar[tuple[str, ...]] = ("f1", "f1_micro", "accuracy", "hamming", "precision", "recall")

    def __init__(self, *args: Any, threshold: float = 0.5, **settings: Any):
        super().__init__(*args, **settings)
        self.threshold = threshold
        self.given = self.answers >= threshold  # bool [n, c]
        p = self.answers.clip(np.finfo(np.float32).eps, 1 - np.finfo(np.float32).eps)
        self._loss = -(self.truth * np.log(p) + (1 - self.truth) * np.log1p(-p)).mean(-1)  # [n]

    def _scored(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        truth, given = self.truth[self.counted] > 0.5, self.given[self.counted]
        exact = (truth == given).all(-1)
        hit, support, predicted, right = (
            weights @ part.astype(np.float64) for part in (truth & given, truth, given, exact)
        )
        examples = weights.sum(-1)
        with np.errstate(invalid="ignore", divide="ignore"):
            loss = np.asarray(weights @ self._loss[self.counted] / examples)
        found = tag_scores(hit, support, predicted, right, examples)
        scores = {name: np.asarray(value) for name, value in found.items()}
        return {"loss": loss, **{name: value.reshape(-1) for name, value in scores.items()}}

    @property
    def per_name(self) -> pd.DataFrame:
        """``precision``, ``recall``, ``f1`` and ``support`` of every label."""
        truth, given = self.truth[self.counted] > 0.5, self.given[self.counted]
        hit, support, predicted = (part.sum(0) for part in (truth & given, truth, given))
        return pd.DataFrame(
            {**rates(hit, support, predicted), "support": support}, index=pd.Index(self.names, name="label")
        )

    def _listed(self, given: np.ndarray) -> str:
        return ", ".join(name for name, there in zip(self.names, given, strict=True) if there)

    def _answer_columns(self) -> dict[str, Any]:
        chances = {f"probability {name}": self.answers[:, place] for place, name in enumerate(self.names)}
        return {
            "truth": [self._listed(row > 0.5) if known else None
                      for row, known in zip(self.truth, self.counted, strict=True)],
            "predicted": list(map(self._listed, self.given)), **chances,
        }  # fmt: skip

    def mistakes(self, n: int = 10) -> pd.DataFrame:
        """The ``n`` counted rows with a wrong label and the highest loss; ``row`` is the source row."""
        wrong = np.flatnonzero(self.counted & ((self.truth > 0.5) != self.given).any(-1))
        worst = wrong[np.argsort(-self._loss[wrong], kind="stable")][:n]
        return pd.DataFrame({
            "row": self.rows[worst],
            "text": [self.texts[i] for i in worst],
            "truth": [self._listed(self.truth[i] > 0.5) for i in worst],
            "predicted": [self._listed(self.given[i]) for i in worst],
            "loss": self._loss[worst],
        })  # fmt: skip
