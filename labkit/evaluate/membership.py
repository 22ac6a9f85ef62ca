"""Membership inference: how well the training rows of a model can be told from other rows by its answers.

The attack compares the loss of rows (Yeom et al., arXiv 1709.01604); with reference models, the loss by which a
row differs from what models that never saw it have (the offline attack of Carlini et al., arXiv 2112.03570).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from scipy.stats import binom, rankdata

from labkit.core.config import checked_seed
from labkit.core.errors import DataError
from labkit.evaluate.intervals import Interval
from labkit.evaluate.shown import SCORED, Table, TableReport
from labkit.i18n import _

#: Resamples of an interval, and rows of each side that are looked at, at most.
RESAMPLES, MOST = 1000, 5000
#: Rate of false positives at which the attack is judged.
FALSE_POSITIVES = 0.01
#: Share of the canaries that are guessed to have been trained on, and that are guessed not to.
GUESSED = 1 / 3


@dataclass(frozen=True, eq=False)
class MembershipReport(TableReport):
    """What an attack finds out.

    Attributes:
        members: score of each training row, f64[n]; greater means "more likely a member".
        others: the same of rows that were not trained on, f64[m].
        method: name of the attack.
        seed: of the bootstrap.
        epsilon: target of a differentially private run; None for others.
        delta: that target's delta.
        split: of the rows that were not trained on.
        warnings: what a reader should know first.
        plain: AUROC by the loss alone, where reference runs were used. With few of them it may be the higher
            one: their noise is added.
        canaries: score of each canary and whether it was trained on; None without canaries.
    """

    members: np.ndarray
    others: np.ndarray
    method: str = "loss"
    seed: int = 0
    epsilon: float | None = None
    delta: float = 0.0
    canaries: tuple[np.ndarray, np.ndarray] | None = None
    split: str = "test"
    warnings: tuple[str, ...] = field(default=())
    plain: float | None = None

    def __post_init__(self) -> None:
        checked_seed(self.seed)
        for name in ("members", "others"):
            values = np.asarray(getattr(self, name), np.float64)
            if values.ndim != 1 or not len(values) or np.isnan(values).any():
                raise DataError(
                    _("the scores of the {name} must be a list of numbers, at least one, none of them NaN."),
                    name=name,
                )
            object.__setattr__(self, name, values)

    @cached_property
    def scores(self) -> dict[str, float]:
        """``auroc``, ``tpr`` (rate of true positives at 1 % false positives), and of canaries ``epsilon_low``."""
        found = {"auroc": auroc(self.members, self.others), "tpr": true_positives(self.members, self.others)}
        if self.plain is not None:
            found["loss_auroc"] = self.plain
        if self.canaries is not None:
            found |= {
                "canary_auroc": auroc(
                    self.canaries[0][self.canaries[1]], self.canaries[0][~self.canaries[1]]
                ),
                "epsilon_low": epsilon_low(*self.canaries),
            }
        return found

    @cached_property
    def intervals(self) -> dict[str, Interval]:
        """95 % bootstrap intervals of AUROC and TPR: both kinds of rows are resampled."""
        random, found = np.random.default_rng(self.seed), []
        for _each in range(RESAMPLES):
            members = random.choice(self.members, len(self.members))
            others = random.choice(self.others, len(self.others))
            found.append((auroc(members, others), true_positives(members, others)))
        low, high = np.percentile(np.array(found), [2.5, 97.5], axis=0)
        return {name: (float(low[n]), float(high[n])) for n, name in enumerate(("auroc", "tpr"))}

    @property
    def bound(self) -> float | None:
        """Rate of true positives at 1 % false positives that differential privacy allows; None without it."""
        if self.epsilon is None:
            return None
        return float(min(1.0, np.exp(min(self.epsilon, 700.0)) * FALSE_POSITIVES + self.delta))

    def to_dict(self) -> dict[str, Any]:
        """All numbers as JSON values."""
        return {
            "method": self.method, "split": self.split, "members": len(self.members), "others": len(self.others),
            "scores": self.scores, "intervals": {name: list(edges) for name, edges in self.intervals.items()},
            "epsilon": self.epsilon, "delta": self.delta, "bound": self.bound,
            "canaries": 0 if self.canaries is None else len(self.canaries[0]),
        }  # fmt: skip

    def _heading(self) -> str:
        return (
            f"membership inference ({self.method}): {len(self.members):,} training rows, "
            f"{len(self.others):,} rows of {self.split}"
        )

    def _tables(self) -> list[Table]:
        names = {
            "auroc": "AUROC (0.5: guessing)",
            "tpr": "true positives at 1 % false positives (0.01: guessing)",
        }
        lines = [
            [named, f"{self.scores[name]:.3f}", "{:.3f} to {:.3f}".format(*self.intervals[name])]
            for name, named in names.items()
        ]
        if self.plain is not None:
            lines.append(["AUROC by the loss alone", f"{self.plain:.3f}", ""])
        if self.bound is not None:
            lines.append([f"at most, by epsilon = {self.epsilon:g}", f"{self.bound:.3f}", ""])
        if self.canaries is not None:
            lines.append(
                [f"AUROC of {len(self.canaries[0]):,} canaries", f"{self.scores['canary_auroc']:.3f}", ""]
            )
            lines.append(["epsilon is at least (95 %)", f"{self.scores['epsilon_low']:.2f}", ""])
        return [(SCORED, lines)]

    def __repr__(self) -> str:
        return f"MembershipReport({self._heading()}, AUROC {self.scores['auroc']:.3f})"


def auroc(positive: np.ndarray, negative: np.ndarray) -> float:
    """Probability that a random positive scores above a random negative; ties count half."""
    ranks = rankdata(np.concatenate([positive, negative]))[: len(positive)].sum()
    return float((ranks - len(positive) * (len(positive) + 1) / 2) / (len(positive) * len(negative)))


def true_positives(positive: np.ndarray, negative: np.ndarray, rate: float = FALSE_POSITIVES) -> float:
    """Share of the positives above the threshold at which at most ``rate`` of the negatives are."""
    above = int(rate * len(negative))
    threshold = np.partition(negative, len(negative) - 1 - above)[len(negative) - 1 - above]
    return float((positive > threshold).mean())


def epsilon_low(scores: np.ndarray, trained: np.ndarray, confidence: float = 0.95) -> float:
    """A lower bound on epsilon from canaries of which each was trained on or not by a fair coin.

    The third with the greatest scores is guessed to have been trained on, the third with the least not. Under
    pure epsilon-differential privacy the number of right guesses is at most binomial with probability
    exp(epsilon) / (1 + exp(epsilon)) (Steinke et al., arXiv 2305.08846, theorem 2.1; delta is taken as 0).
    """
    count = int(len(scores) * GUESSED)
    if not count:
        return 0.0
    order = np.argsort(scores, kind="stable")
    right = int(trained[order[-count:]].sum() + (~trained[order[:count]]).sum())
    low, high = 0.5, 1.0
    if binom.sf(right - 1, 2 * count, low) > 1 - confidence:
        return 0.0
    for _each in range(60):
        middle = (low + high) / 2
        low, high = (
            (middle, high) if binom.sf(right - 1, 2 * count, middle) <= 1 - confidence else (low, middle)
        )
    return float(np.log(low / (1 - low)))


def fits(answers: np.ndarray, truth: np.ndarray, numbers: bool = False) -> np.ndarray:
    """How well answers fit the truth of each row, f64[n]; greater is better.

    Args:
        answers: probabilities of classes or labels, f32[n, c], or numbers [n, k].
        truth: class ids i32[n], or labels or numbers [n, k].
        numbers: whether they are numbers.

    Returns:
        Of classes the log odds of the true one, in which scores are about normal (Carlini et al.); of labels
        the log-likelihood; of numbers minus the squared error.
    """
    answers = np.asarray(answers, np.float64)
    if numbers:
        return -np.square(answers - truth).mean(-1)
    least = np.finfo(np.float32).tiny
    if truth.ndim == 1:
        right = answers[np.arange(len(truth)), truth]
        return np.log(np.maximum(right, least)) - np.log(np.maximum(answers.sum(-1) - right, least))
    chance = np.where(truth > 0.5, answers, 1 - answers)
    return np.log(np.maximum(chance, least)).sum(-1)


def calibrated(scores: np.ndarray, references: np.ndarray, trained: np.ndarray) -> np.ndarray:
    """Scores less what reference models that were not trained on the row give it, f64[n].

    Args:
        scores: of the model, f64[n].
        references: of the reference models, f64[r, n].
        trained: whether a reference model was trained on the row, bool [r, n].
    """
    out = np.where(trained, np.nan, references)
    return scores - np.nanmean(out, axis=0)
