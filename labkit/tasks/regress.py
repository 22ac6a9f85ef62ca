"""Regression: one number for each example, or several."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from labkit.base.config import option
from labkit.base.errors import DataError
from labkit.base.shapes import Array, Float, Int
from labkit.data.precision import moments
from labkit.tasks.classify import Batch, Classification, Classifier, Supervised, changed

LOSSES = ("squared", "huber", "absolute")
#: Deviations of the numbers at least and at most: the weights of the last layer are multiplied by them.
SPREAD = 1e-30, 1e36


@dataclass(frozen=True)
class Regress(Supervised):
    """Settings of a regression.

    The numbers are learned standardised by the training rows; the model that is kept answers in their own units.
    """

    aim: ClassVar[str] = "number"

    loss: str = option("squared", "What is made small; huber: squared up to one deviation.", choices=LOSSES)

    def bind(
        self, classes: tuple[str, ...], train_labels: np.ndarray, tokenizer: Any = None, *, target: np.ndarray
    ) -> Regression:
        """Join the settings to the data.

        Args:
            classes: names of the numbers.
            train_labels: i32[n], -1 for a training row that is passed over.
            target: f64[n, k], the numbers.

        Raises:
            DataError: there are fewer than two training rows, or a number never changes.
        """
        known = np.asarray(target[train_labels >= 0], np.float64)
        if len(known) < 2:
            raise DataError(f"a regression needs two training rows or more; there are {len(known)}.")
        mean, scale = moments(known)
        for name, middle, spread in zip(classes, mean, scale, strict=True):
            if spread == 0:
                raise DataError(f"{name!r} is {middle:g} in every training row: there is nothing to learn.")
            if not SPREAD[0] <= spread <= SPREAD[1]:
                raise DataError(
                    f"{name!r} has the deviation {spread:g}; float32 can answer with {SPREAD[0]:g} to {SPREAD[1]:g}: "
                    "give it in another unit."
                )
        return Regression(self, classes, np.ones(len(classes), np.float32), mean, scale)

    def restored(self, classes: tuple[str, ...], tokenizer: Any = None) -> Regression:
        """The task for a model that is trained already: it answers in the numbers' own units."""
        return Regression.of(self, classes)


class Sums(NamedTuple):
    """Mergeable sums over examples, the numbers standardised by the training rows (so none is large)."""

    loss_sum: Float[Array, ""]  # sum of weight * loss
    weight: Float[Array, ""]  # sum of weights
    examples: Int[Array, ""]
    absolute: Float[Array, " k"]  # sum of |error|
    squared: Float[Array, " k"]  # sum of error²
    truth: Float[Array, " k"]  # sum of the truth, and of its square
    truth_squared: Float[Array, " k"]


@dataclass(frozen=True, eq=False)
class Regression(Classification):
    """A regression joined to its data; ``classes`` are the names of the numbers."""

    mean: np.ndarray = field(default_factory=lambda: np.zeros(1))  # f64[k], of the training rows
    scale: np.ndarray = field(default_factory=lambda: np.ones(1))  # f64[k], their deviation
    bias: np.ndarray | None = None  # f64[k], of a trained model's last layer, before it was rounded to float32

    headline: ClassVar[str] = "loss"
    told: ClassVar[tuple[str, ...]] = ("r2",)
    reported: ClassVar[tuple[str, ...]] = ("loss", "mae", "rmse", "r2")

    def described(self) -> dict[str, Any]:
        """What config.json says of the task."""
        return {**super().described(), "problem_type": "regression"}

    def standardised(self, target: np.ndarray, label: np.ndarray) -> np.ndarray:
        """The numbers f64[n, k] as a batch holds them, f32: standardised by the training rows before they are rounded;
        0 where ``label`` i32[n] is -1.

        Raises:
            DataError: one is too far from the training rows for float32.
        """
        with np.errstate(over="ignore"):  # refused below
            found = np.where(label[:, None] >= 0, (target - self.mean) / self.scale, 0).astype(np.float32)
        if not np.isfinite(found).all():
            row, place = np.argwhere(~np.isfinite(found))[0].tolist()
            raise DataError(
                f"{self.classes[place]!r} is {target[row, place]:g} in a row, farther from the training rows "
                f"(deviation {self.scale[place]:g}) than float32 can hold."
            )
        return found

    def offset(self, params: dict[str, np.ndarray]) -> np.ndarray:
        """What is added to the product of the last layer, f64[k]: its bias in the numbers' own units."""
        return np.asarray(params.get("head/bias", 0), np.float64) * self.scale + self.mean

    def finished(self, params: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Trained parameters with the units put into the last layer: what is kept needs to know of no scale."""
        kernel = np.asarray(params["head/kernel"], np.float64) * self.scale
        bias = self.offset(params)
        finished = {**params, "head/kernel": kernel.astype(np.float32), "head/bias": bias.astype(np.float32)}
        if "head/bias" not in params and np.all(np.abs(bias) <= 1e-6 * self.scale):
            finished.pop("head/bias")  # a head without bias can stay so
        return finished

    def zeros(self) -> Sums:
        """Empty metric sums."""
        each, one = jnp.zeros(len(self.classes), jnp.float32), jnp.zeros((), jnp.float32)
        return Sums(one, one, jnp.zeros((), jnp.int32), each, each, each, each)

    def loss(
        self, module: Classifier, batch: Batch, key: jax.Array | None
    ) -> tuple[Float[Array, ""], Float[Array, ""], Sums]:
        """The loss of a batch, whose targets are :meth:`standardised`: the mean over the numbers of each example; see
        :class:`Classification`."""
        weight = batch["weight"].reshape(-1)
        truth = batch["target"].reshape(-1, len(self.classes))
        batch, key, mix = changed(self.config, batch, key)
        aim = truth if mix is None else mix.share * truth + (1 - mix.share) * truth[mix.partner]
        found = module(batch, key=key).reshape(truth.shape)
        losses = jnp.mean(_loss(self.config.loss, found - aim), axis=-1)
        real = weight > 0
        error, seen = jnp.where(real[:, None], found - truth, 0), jnp.where(real[:, None], truth, 0)
        sums = Sums(
            jnp.sum(jnp.where(real, losses * weight, 0)), jnp.sum(weight), jnp.sum(real, dtype=jnp.int32),
            jnp.sum(jnp.abs(error), 0), jnp.sum(error**2, 0), jnp.sum(seen, 0), jnp.sum(seen**2, 0),
        )  # fmt: skip
        return jnp.sum(losses * weight), jnp.sum(weight), sums

    def scores(self, counts: Sums) -> dict[str, float]:
        """``loss``; ``mae`` and ``rmse`` in the numbers' own units; ``r2``: each a mean over the numbers.

        ``r2`` is 1 - the squared error ÷ that of always saying the mean of the rows that were scored.
        """
        host = jax.device_get(counts)
        if not host.examples:
            return dict.fromkeys(self.reported, float("nan"))
        n, squared = float(host.examples), np.asarray(host.squared, np.float64)
        spread = host.truth_squared - np.asarray(host.truth, np.float64) ** 2 / n
        r2 = np.where(spread > 1e-6 * n, 1 - squared / np.maximum(spread, 1e-12), np.nan)
        return {
            "loss": float(host.loss_sum) / float(host.weight),
            "mae": float(np.mean(host.absolute / n * self.scale)),
            "rmse": float(np.mean(np.sqrt(squared / n) * self.scale)),
            "r2": float(np.mean(r2)),
        }

    def probabilities(self, module: Classifier, batch: Batch) -> Float[Array, "b k"] | Float[Array, "b s k"]:
        """The numbers, in their own units."""
        return module(batch) * jnp.asarray(self.scale, jnp.float32) + jnp.asarray(self.mean, jnp.float32)


def _loss(kind: str, error: Float[Array, "b k"]) -> Float[Array, "b k"]:
    """Of errors in deviations: square, amount, or half the square up to 1 and the amount - 1/2 beyond (Huber 1964)."""
    amount = jnp.abs(error)
    if kind == "squared":
        return error**2
    return amount if kind == "absolute" else jnp.where(amount <= 1, 0.5 * error**2, amount - 0.5)
