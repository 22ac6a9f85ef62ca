"""Forecasting: quantiles of the next steps of time series, from the steps before them.

The quantiles are learned by the pinball loss (Koenker & Bassett 1978) and put in order, which never makes that loss
larger (Chernozhukov et al. 2010): they do not cross.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from labkit.core.config import option
from labkit.core.errors import ConfigError
from labkit.core.shapes import Array, Float, Int
from labkit.data.rows import Rows
from labkit.data.text.tokenizer import Tokenizer
from labkit.i18n import _
from labkit.models.base import Capability, Modality, ModelConfig
from labkit.profile.activations import Activations, linear_head
from labkit.tasks.base import Batch, ExampleFormat, Head, MetricState, Task

NORMS = ("instance", "last", "none")
METRICS = ("loss", "mae", "coverage")
#: Steps that are forecast and read by default, where the calendar has no season of the data.
HORIZON, CONTEXT = 12, 96
#: Steps that are read by default are at most so many; they, and those that are forecast, are at most one in so many
#: training steps of a series.
LONGEST, SHARE = 512, 4


@dataclass(frozen=True)
class Forecast(Task):
    """Settings of a forecast. Each value column is forecast from its own past, by the same model."""

    modalities: ClassVar[tuple[Modality, ...]] = (Modality.SERIES,)
    needs: ClassVar[Capability] = Capability.WINDOW
    shown: ClassVar[tuple[str, ...]] = ("horizon", "context", "quantiles")
    applies: ClassVar[Mapping[str, tuple[Modality, ...]]] = {}
    reading: ClassVar[tuple[str, ...]] = ("horizon", "context")

    horizon: int | None = option(
        None,
        _("Steps to forecast. Default: the shortest season of the calendar, else 12."),
        low=1,
        high=10_000,
    )
    context: int | None = option(
        None,
        _("Steps before them that the model reads. Default: four horizons, at least 96, and the longest season of the "
          "calendar that is not far longer."),
        low=2, high=100_000,
    )  # fmt: skip
    quantiles: tuple[float, ...] = option(
        (0.1, 0.5, 0.9), _("Quantiles to forecast, ascending, with the median 0.5 among them.")
    )
    normalise: str = option(
        "instance",
        _("Normalisation of each window, undone in its forecast: by mean and deviation of what is read (instance), by "
          "the last value (last), or not at all (none)."),
        choices=NORMS,
    )  # fmt: skip
    season: int | None = option(
        None,
        _("Steps of a season, for the seasonal naive baseline and MASE. Default: the season of the calendar with the "
          "smallest naive error on the training rows."),
        low=1, high=100_000,
    )  # fmt: skip

    def check(self) -> None:
        """Raise :class:`ConfigError` for quantiles that are not ascending, outside 0 to 1, or without the median."""
        super().check()
        between = all(0 < each < 1 for each in self.quantiles)
        if not (between and 0.5 in self.quantiles and list(self.quantiles) == sorted(set(self.quantiles))):
            raise ConfigError(
                _("quantiles = {quantiles} must be ascending numbers between 0 and 1, with 0.5 among them."),
                quantiles=self.quantiles,
            )

    @property
    def example_format(self) -> ExampleFormat:
        """How rows become examples."""
        return ExampleFormat.WINDOWS

    def for_rows(self, rows: Rows) -> Self:
        """The same with horizon and context by the step of the rows, where these were left to them."""
        if (self.horizon and self.context) or rows.schema.step is None:
            return self
        seasons = [each for each in rows.schema.step.seasons if each <= LONGEST]
        longest, *held_out = (_longest(part) for part in rows.splits.values() if len(part))
        most = max(1, min([longest // SHARE, *(each // 2 for each in held_out)]))
        horizon = self.horizon or min(next(iter(seasons), HORIZON), most)
        near = [each for each in seasons if each <= 8 * horizon]
        context = max(CONTEXT, 4 * horizon, *near)
        context = max(2, min(context, LONGEST, longest // SHARE))
        return self.replace(horizon=horizon, context=self.context or context)

    def restore(self, classes: tuple[str, ...], tokenizer: Tokenizer | None = None) -> Forecasting:
        """The head; ``classes`` are the names of the value columns."""
        return Forecasting(self, classes=classes)


def _longest(train: Any) -> int:
    """Rows of the longest series of a split."""
    _names, counts = np.unique(
        np.array(train.with_format(None)["series"], object).astype(str), return_counts=True
    )
    return int(counts.max(initial=0))


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class ForecastSums(MetricState):
    """Sums over windows; values are in deviations of the training rows."""

    loss_sum: Float[Array, ""]  # sum of weight * loss
    weight: Float[Array, ""]
    absolute: Float[Array, ""]  # sum of |median - truth| over known values
    inside: Int[Array, ""]  # known values between the lowest and the highest quantile
    known: Int[Array, ""]
    quantiles: int = field(metadata={"static": True}, default=1)

    @classmethod
    def empty(cls, quantiles: int) -> Self:
        """The sums over no windows."""
        one, none = jnp.zeros((), jnp.float32), jnp.zeros((), jnp.int32)
        return cls(one, one, one, none, none, quantiles)

    def compute(self) -> dict[str, float]:
        """``loss``: pinball, a mean over quantiles and values; ``mae`` of the median; ``coverage``: the share of values
        between the lowest and the highest quantile."""
        host = jax.device_get(self)
        if not host.known:
            return dict.fromkeys(METRICS, float("nan"))
        coverage = float(host.inside) / float(host.known) if host.quantiles > 1 else float("nan")
        loss = float(host.loss_sum) / float(host.weight)
        return {"loss": loss, "mae": float(host.absolute) / float(host.known), "coverage": coverage}


class Forecaster(nnx.Module):
    """A backbone that makes one vector of a window, and a linear layer to the quantiles of every step."""

    def __init__(
        self,
        backbone: nnx.Module,
        width: int,
        steps: int,
        levels: tuple[float, ...],
        normalise: str,
        *,
        rngs: nnx.Rngs,
    ):
        self.backbone: Any = backbone
        small = nnx.initializers.normal(1e-3)
        self.head = nnx.Linear(width, steps * len(levels), kernel_init=small, rngs=rngs)
        # Untrained, it forecasts the normal distribution with the level and spread of the window.
        spread = jax.scipy.stats.norm.ppf(jnp.asarray(levels, jnp.float32))
        assert self.head.bias is not None
        self.head.bias[...] = jnp.tile(spread, steps)
        self.normalise = normalise

    def __call__(
        self, inputs: Float[Array, "b t v"], quantiles: int, *, key: jax.Array | None = None
    ) -> Float[Array, "b h v q"]:
        """Quantiles of the next steps, in ascending order; every value is read on its own."""
        rows, steps, values = inputs.shape
        alone = inputs.transpose(0, 2, 1).reshape(rows * values, steps)
        middle, spread = level_of(alone, self.normalise)
        found = self.head(self.backbone((alone - middle) / spread, key=key).pooled).astype(jnp.float32)
        found = found.reshape(rows * values, -1, quantiles) * spread[..., None] + middle[..., None]
        return jnp.sort(found.reshape(rows, values, -1, quantiles).transpose(0, 2, 1, 3), axis=-1)


def level_of(x: Float[Array, "b t"], how: str) -> tuple[Float[Array, "b 1"], Float[Array, "b 1"]]:
    """What each window is normalised by: level and spread (Kim et al. 2022, reversible instance normalisation)."""
    one = jnp.ones((x.shape[0], 1), jnp.float32)
    if how == "none":
        return 0 * one, one
    if how == "last":
        return x[:, -1:], one
    middle = x.mean(1, keepdims=True)
    return middle, jnp.sqrt(((x - middle) ** 2).mean(1, keepdims=True) + 1e-5)


@dataclass(frozen=True, eq=False)
class Forecasting(Head):
    """Quantiles of the next steps by a linear layer; ``classes`` are the names of the value columns."""

    config: Forecast

    monitor: ClassVar[str] = "loss"
    train_metrics: ClassVar[tuple[str, ...]] = ("mae",)

    @property
    def eval_metrics(self) -> tuple[str, ...]:
        """Metrics recorded of an evaluation."""
        return METRICS

    @property
    def outputs(self) -> int:
        """Numbers that are forecast of each value: quantiles times steps."""
        assert self.config.horizon is not None, "Forecast.for_rows has set it"
        return self.config.horizon * len(self.config.quantiles)

    def init(self, model: ModelConfig, rngs: nnx.Rngs) -> Forecaster:
        """The model of config ``model`` with a new head."""
        task = self.config
        assert task.horizon is not None, "Forecast.for_rows has set it"
        how = (model.output_width, task.horizon, task.quantiles, task.normalise)
        return Forecaster(model.build(rngs), *how, rngs=rngs)

    def empty(self) -> MetricState:
        """The metric sums over no windows."""
        return ForecastSums.empty(len(self.config.quantiles))

    def activations(self, model: ModelConfig, batch: Mapping[str, Any]) -> Activations | None:
        """What the loss of a batch computes and keeps, by formula; None where the model has none."""
        found, inputs = model.activations(batch), batch["inputs"]
        rows = inputs.shape[0] * inputs.shape[2]
        return found and found + linear_head(rows, model.output_width, self.outputs, False)

    def loss(
        self, module: Forecaster, batch: Batch, key: jax.Array | None
    ) -> tuple[Float[Array, ""], Float[Array, ""], MetricState]:
        """The pinball loss: of each window a mean over quantiles and known values; see :meth:`Head.loss`."""
        levels = jnp.asarray(self.config.quantiles, jnp.float32)
        found = module(batch["inputs"], len(self.config.quantiles), key=key)
        truth, weight = batch["target"], batch["weight"]
        seen = batch["seen"] & (weight > 0)[:, None, None]
        each = pinball(found, truth, levels).mean(-1) * seen
        losses = each.sum((1, 2)) / jnp.maximum(seen.sum((1, 2)), 1)
        total = jnp.sum(losses * weight)
        middle = self.config.quantiles.index(0.5)
        absolute = jnp.sum(jnp.abs(found[..., middle] - truth) * seen)
        inside = seen & (found[..., 0] <= truth) & (truth <= found[..., -1])
        sums = ForecastSums(
            total, jnp.sum(weight), absolute, jnp.sum(inside, dtype=jnp.int32), jnp.sum(seen, dtype=jnp.int32),
            len(self.config.quantiles),
        )  # fmt: skip
        return total, sums.weight, sums

    def forecast(self, module: Forecaster, batch: Batch) -> Float[Array, "b h v q"]:
        """Quantiles of the steps after each window, in deviations of the training rows."""
        return module(batch["inputs"], len(self.config.quantiles))


def pinball(
    found: Float[Array, "b h v q"], truth: Float[Array, "b h v"], levels: Float[Array, " q"]
) -> Float[Array, "b h v q"]:
    """The pinball loss of every quantile."""
    error = truth[..., None] - found
    return jnp.maximum(levels * error, (levels - 1) * error)
