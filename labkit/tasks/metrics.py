"""Classification metrics: sums that merge on the device, values on the host.

 Every score is a function of the confusion counts, so batches, steps and devices merge by addition and
nothing is ever averaged twice (a mean of means is a bug). Definitions are those of scikit-learn with
``zero_division=0``; its macro average runs over the classes that occur in truth or prediction, and so does
ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from labkit.core.errors import DataError
from labkit.core.shapes import Array, Float, Int
from labkit.i18n import _
from labkit.tasks.base import MetricState

#: Classes whose F1 is recorded one by one.
SINGLE = 20


#: Counts and sums, in an array of any kind, a list or alone.
Numbers: TypeAlias = np.ndarray | np.generic | Array | Sequence[Any] | int | float


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Counts(MetricState):
    """Sums over examples that have one class. The counts are int32 because float32 stops counting at 2**24."""

    loss_sum: Float[Array, ""]  # sum of weight * loss
    weight: Float[Array, ""]  # sum of weights
    confusion: Int[Array, "c c"]  # rows truth, columns prediction

    @classmethod
    def empty(cls, classes: int) -> Self:
        """The sums over no examples."""
        return cls(
            jnp.zeros((), jnp.float32), jnp.zeros((), jnp.float32), jnp.zeros((classes, classes), jnp.int32)
        )

    def compute(self) -> dict[str, float]:
        """``loss``, :func:`scores` and F1 of the first classes as ``f1/0``, ``f1/1`` …"""
        host = jax.device_get(self)
        each = per_class(host.confusion)["f1"][:SINGLE]
        named = {f"f1/{number}": float(value) for number, value in enumerate(each)}
        return {"loss": mean_loss(host), **scores(host.confusion), **named}


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class AccuracySums(MetricState):
    """Sums over examples, or parts of examples such as words, that are predicted right or not."""

    loss_sum: Float[Array, ""]  # sum of weight * loss
    weight: Float[Array, ""]  # sum of weights
    right: Int[Array, ""]  # whose likeliest prediction is the true one
    count: Int[Array, ""]  # with a weight above 0

    @classmethod
    def empty(cls) -> Self:
        """The sums over nothing."""
        nothing, none = jnp.zeros((), jnp.float32), jnp.zeros((), jnp.int32)
        return cls(nothing, nothing, none, none)

    def compute(self) -> dict[str, float]:
        """``loss`` and ``accuracy``; NaN where nothing was counted."""
        host = jax.device_get(self)
        accuracy = int(host.right) / int(host.count) if host.count else float("nan")
        return {"loss": mean_loss(host), "accuracy": accuracy}


def mean_loss(host: Any) -> float:
    """The weighted mean of the losses of sums on the host; NaN where nothing was counted."""
    return float(host.loss_sum) / float(host.weight) if host.weight > 0 else float("nan")


def add(
    counts: Counts,
    logits: Float[Array, "b c"],
    label: Int[Array, " b"],
    weight: Float[Array, " b"],
    loss: Float[Array, " b"],
) -> Counts:
    """Add a batch to ``counts``, in place where the step donates them (no [c, c] array is made).

    An example of weight 0 (filler) or with a label outside 0..c-1 (unlabelled) adds nothing, even if its loss
    is NaN; any other counts once in the confusion matrix and with its weight in the loss.
    """
    classes = counts.confusion.shape[0]
    counted = (weight > 0) & (label >= 0) & (label < classes)
    cell = label.astype(jnp.int32) * classes + jnp.argmax(logits, axis=-1).astype(jnp.int32)
    # A negative index would wrap round to a real cell; one past the end is dropped.
    cell = jnp.where(counted, cell, classes * classes)
    confusion = counts.confusion.reshape(-1).at[cell].add(1, mode="drop").reshape(classes, classes)
    weight = jnp.where(counted, weight, 0).astype(jnp.float32)
    loss_sum = jnp.sum(jnp.where(counted, loss.astype(jnp.float32) * weight, 0))
    return Counts(counts.loss_sum + loss_sum, counts.weight + jnp.sum(weight), confusion)


def count(
    logits: Float[Array, "b c"], label: Int[Array, " b"], weight: Float[Array, " b"], loss: Float[Array, " b"]
) -> Counts:
    """The sums over one batch; see :func:`add`."""
    return add(Counts.empty(logits.shape[-1]), logits, label, weight, loss)


def scores(confusion: Numbers) -> dict[str, float]:
    """Scores from a confusion matrix [c, c].

    ``accuracy``; ``precision``, ``recall`` and ``f1`` as macro averages, and ``_micro`` and ``_weighted``
    averages. NaN where nothing was counted. Raises DataError when the matrix is not square.
    """
    return {name: float(value) for name, value in summary(*margins(confusion)).items()}


def per_class(confusion: Numbers) -> dict[str, np.ndarray]:
    """``precision``, ``recall``, ``f1`` (float64 [c]) and ``support`` (int64 [c], true examples) of every
    class."""
    hit, support, predicted = margins(confusion)
    return {**rates(hit, support, predicted), "support": support}


def margins(confusion: Numbers) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The diagonal, row sums and column sums of a confusion matrix [c, c], each int64 [c]."""
    table = np.asarray(jax.device_get(confusion))
    if table.ndim != 2 or table.shape[0] != table.shape[1]:
        raise DataError(
            _("A confusion matrix is square [classes, classes]; this one has shape {shape}."),
            shape=table.shape,
        )
    table = table.astype(np.int64)
    return table.diagonal().copy(), table.sum(1), table.sum(0)


def summary(
    hit: np.ndarray,
    support: np.ndarray,
    predicted: np.ndarray,
    whole: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None,
) -> dict[str, np.ndarray]:
    """All averaged scores from per-class counts [..., c]; each value has the leading shape [...].

    Args:
        hit, support, predicted: rightly predicted, true, and predicted examples of each class.
        whole: the same counts [c] of all rows, for counts of resampled rows: a class that a resample lacks has
            its rates on all rows, so that every resample averages over the same classes.
    """
    found = rates(hit, support, predicted)
    present = (support + predicted) > 0
    if whole is not None:
        found = {name: np.where(present, found[name], rate) for name, rate in rates(*whole).items()}
        present = np.broadcast_to((whole[1] + whole[2]) > 0, present.shape)
    total = support.sum(-1)
    accuracy = ratio(hit.sum(-1), total, np.nan)
    result = {"accuracy": accuracy}
    for name, value in found.items():
        result[name] = ratio((value * present).sum(-1), present.sum(-1), np.nan)
        result[f"{name}_micro"] = (
            accuracy  # one label an example: pooled precision = pooled recall = accuracy
        )
        result[f"{name}_weighted"] = ratio((value * support).sum(-1), total, np.nan)
    return result


def rates(hit: np.ndarray, support: np.ndarray, predicted: np.ndarray) -> dict[str, np.ndarray]:
    """Precision, recall and F1 of every class from its counts [..., c]; 0 where there is nothing to divide
    by."""
    return {
        "precision": ratio(hit, predicted, 0.0),
        "recall": ratio(hit, support, 0.0),
        "f1": ratio(2 * hit, support + predicted, 0.0),
    }


def ratio(top: Numbers, bottom: Numbers, empty: float) -> np.ndarray:
    """``top / bottom``, and ``empty`` where ``bottom`` is 0."""
    top, bottom = np.asarray(top, np.float64), np.asarray(bottom, np.float64)
    return np.where(bottom > 0, top / np.where(bottom > 0, bottom, 1.0), empty)
