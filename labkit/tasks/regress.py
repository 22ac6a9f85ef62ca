"""Regression: one or several numbers per example."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp
import numpy as np

from labkit.core.config import option
from labkit.core.errors import DataError
from labkit.core.shapes import Array, Float, Int
from labkit.data.precision import moments
from labkit.data.text.tokenizer import Tokenizer
from labkit.i18n import _
from labkit.models import weights
from labkit.tasks.base import Batch, Head, MetricState, ProblemType
from labkit.tasks.classify import Classifier, PooledHead, Supervised, changed

LOSSES = ("squared", "huber", "absolute")
METRICS = ("loss", "mae", "rmse", "r2")
#: Deviations of the numbers at least and at most: the weights of the last layer are multiplied by them.
SPREAD = 1e-30, 1e36


@dataclass(frozen=True)
class Regress(Supervised):
    """Settings of a regression.

    The numbers are learned standardised by the training rows; the model that is kept answers in their own
    units.
    """

    problem_type: ClassVar[ProblemType] = ProblemType.NUMBER

    loss: str = option(
        "squared",
        _(
            "Loss function: mean squared error, or Huber (quadratic up to one standard deviation, then linear)."
        ),
        choices=LOSSES,
    )

    def build(
        self,
        classes: tuple[str, ...],
        labels: np.ndarray,
        tokenizer: Tokenizer | None = None,
        target: np.ndarray | None = None,
    ) -> Regression:
        """The head for these numbers. Raises :class:`DataError` where there are fewer than two training rows,
        or a number never changes."""
        assert target is not None
        known = np.asarray(target[labels >= 0], np.float64)
        if len(known) < 2:
            raise DataError(
                _("regression needs at least two training rows; there are {n_known}."), n_known=len(known)
            )
        mean, scale = moments(known)
        for name, middle, spread in zip(classes, mean, scale, strict=True):
            if spread == 0:
                raise DataError(
                    _("{name!r} is {middle:g} in every training row: there is nothing to learn."),
                    name=name,
                    middle=middle,
                )
            if not SPREAD[0] <= spread <= SPREAD[1]:
                raise DataError(
                    _(
                        "{name!r} has the standard deviation {spread:g}; float32 supports {least:g} to "
                        "{most:g}: use another unit."),
                    name=name, spread=spread, least=SPREAD[0], most=SPREAD[1],
                )  # fmt: skip
        return Regression(self, mean, scale, classes=classes)

    def restore(self, classes: tuple[str, ...], tokenizer: Tokenizer | None = None) -> Regression:
        """The head of a model that is trained already: it predicts in the numbers' own units."""
        return Regression(self, classes=classes)


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Sums(MetricState):
    """Sums over examples, the numbers standardised by the training rows (so none is large)."""

    loss_sum: Float[Array, ""]  # sum of weight * loss
    weight: Float[Array, ""]  # sum of weights
    examples: Int[Array, ""]
    absolute: Float[Array, " k"]  # sum of |error|
    squared: Float[Array, " k"]  # sum of error²
    truth: Float[Array, " k"]  # sum of the truth, and of its square
    truth_squared: Float[Array, " k"]
    scale: tuple[float, ...] = field(
        metadata={"static": True}
    )  # deviation of each number in the training rows

    @classmethod
    def empty(cls, scale: tuple[float, ...]) -> Self:
        """The sums over no examples."""
        each, one = jnp.zeros(len(scale), jnp.float32), jnp.zeros((), jnp.float32)
        return cls(one, one, jnp.zeros((), jnp.int32), each, each, each, each, scale)

    def compute(self) -> dict[str, float]:
        """``loss``; ``mae`` and ``rmse`` in the numbers' own units; ``r2``: each a mean over the numbers.

        ``r2`` is 1 - the squared error ÷ that of always predicting the mean of the rows that were scored.
        """
        host, scale = jax.device_get(self), np.asarray(self.scale)
        if not host.examples:
            return dict.fromkeys(METRICS, float("nan"))
        n, squared = float(host.examples), np.asarray(host.squared, np.float64)
        spread = host.truth_squared - np.asarray(host.truth, np.float64) ** 2 / n
        r2 = np.where(spread > 1e-6 * n, 1 - squared / np.maximum(spread, 1e-12), np.nan)
        return {
            "loss": float(host.loss_sum) / float(host.weight),
            "mae": float(np.mean(host.absolute / n * scale)),
            "rmse": float(np.mean(np.sqrt(squared / n) * scale)),
            "r2": float(np.mean(r2)),
        }


@dataclass(frozen=True, eq=False)
class Regression(PooledHead):
    """A linear layer on the pooled vector, trained to predict numbers; ``classes`` are their names."""

    config: Regress
    mean: np.ndarray = field(default_factory=lambda: np.zeros(1))  # f64[k], of the training rows
    scale: np.ndarray = field(default_factory=lambda: np.ones(1))  # f64[k], their deviation

    monitor: ClassVar[str] = "loss"
    largest: ClassVar[float] = weights.UNITS
    train_metrics: ClassVar[tuple[str, ...]] = ("r2",)

    @property
    def eval_metrics(self) -> tuple[str, ...]:
        """Metrics recorded of an evaluation."""
        return METRICS

    def batch_target(self, target: np.ndarray, label: np.ndarray) -> np.ndarray:
        """The numbers f64[n, k] standardised by the training rows before they are rounded to float32; 0 where
        ``label`` i32[n] is -1.

        Raises:
            DataError: one is too far from the training rows for float32.
        """
        with np.errstate(over="ignore"):  # refused below
            found = np.where(label[:, None] >= 0, (target - self.mean) / self.scale, 0).astype(np.float32)
        if not np.isfinite(found).all():
            row, place = np.argwhere(~np.isfinite(found))[0].tolist()
            raise DataError(
                _(
                    "{label!r} is {target:g} in a row, too far from the training rows (standard deviation "
                    "{scale:g}) for float32."),
                label=self.classes[place], target=target[row, place], scale=self.scale[place],
            )  # fmt: skip
        return found

    def output_bias(self, params: dict[str, np.ndarray]) -> np.ndarray:
        """The bias of the last layer in the numbers' own units, f64[k]."""
        return np.asarray(params.get("head/bias", 0), np.float64) * self.scale + self.mean

    def get_config(self) -> dict[str, Any]:
        """The names of the numbers, and the problem type."""
        return {**super().get_config(), "problem_type": "regression"}

    def finalize(self, params: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Trained parameters with the scale folded into the last layer, so that the stored model needs none."""
        kernel = np.asarray(params["head/kernel"], np.float64) * self.scale
        bias = self.output_bias(params)
        finished = {**params, "head/kernel": kernel.astype(np.float32), "head/bias": bias.astype(np.float32)}
        if "head/bias" not in params and np.all(np.abs(bias) <= 1e-6 * self.scale):
            finished.pop("head/bias")  # a head without bias can stay so
        return finished

    def from_stored(self, params: dict[str, np.ndarray], stored: Head) -> dict[str, np.ndarray]:
        """Parameters of a stored model with the last layer standardised by the training rows of this head."""
        kernel = np.asarray(params["head/kernel"], np.float64) / self.scale
        bias = np.asarray(params.get("head/bias", 0), np.float64) if stored.bias is None else stored.bias
        offset = np.broadcast_to((bias - self.mean) / self.scale, kernel.shape[-1:])
        return {**params, "head/kernel": kernel.astype(np.float32), "head/bias": offset.astype(np.float32)}

    def empty(self) -> MetricState:
        """The metric sums over no examples."""
        return Sums.empty(self._scale)

    @property
    def _scale(self) -> tuple[float, ...]:
        return tuple(np.broadcast_to(self.scale, len(self.classes)).tolist())

    def loss(
        self, module: Classifier, batch: Batch, key: jax.Array | None
    ) -> tuple[Float[Array, ""], Float[Array, ""], MetricState]:
        """The loss of a batch whose targets are those of :meth:`batch_target`: the mean over the numbers of
        each example; see :meth:`Head.loss`."""
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
            jnp.sum(jnp.abs(error), 0), jnp.sum(error**2, 0), jnp.sum(seen, 0), jnp.sum(seen**2, 0), self._scale,
        )  # fmt: skip
        return jnp.sum(losses * weight), jnp.sum(weight), sums

    def predict(self, module: Classifier, batch: Batch) -> Float[Array, "b k"] | Float[Array, "b s k"]:
        """The numbers, in their own units."""
        return module(batch) * jnp.asarray(self.scale, jnp.float32) + jnp.asarray(self.mean, jnp.float32)


def _loss(kind: str, error: Float[Array, "b k"]) -> Float[Array, "b k"]:
    """Of errors in deviations: square, amount, or half the square up to 1 and the amount - 1/2 beyond (Huber
    1964)."""
    amount = jnp.abs(error)
    if kind == "squared":
        return error**2
    return amount if kind == "absolute" else jnp.where(amount <= 1, 0.5 * error**2, amount - 0.5)
