"""DLinear: trend and remainder of a window, for one linear layer each (Zeng et al. 2023, arXiv 2205.13504)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import jax.numpy as jnp
from flax import nnx

from labkit.core.config import option
from labkit.core.shapes import Array, Float, PRNGKeyArray
from labkit.i18n import _
from labkit.models import conv
from labkit.models.base import Capability, DrawingPart, Modality, ModelConfig
from labkit.models.conv import Pooled
from labkit.models.layers import Rates
from labkit.profile.activations import Activations


@dataclass(frozen=True, init=False)
class DLinearConfig(ModelConfig):
    """Configuration of DLinear. The linear layers are the head of the task: without it there are no parameters."""

    modality: ClassVar[Modality] = Modality.SERIES
    capabilities: ClassVar[frozenset[Capability]] = frozenset({Capability.WINDOW})
    packs: ClassVar[bool] = False
    default_for: ClassVar[tuple[Modality, ...]] = (Modality.SERIES,)
    first_preset: ClassVar[str] = "default"
    shown: ClassVar[tuple[str, ...]] = ("kernel",)
    drawing: ClassVar[tuple[DrawingPart, ...]] = ()
    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = {"default": {"kernel": 25}}
    rates: ClassVar[Rates] = Rates(fresh=1e-3)  # type: ignore[misc]
    dtype: ClassVar[str] = "float32"  # type: ignore[misc]

    preset: str = option("", _("Named configuration."), choices=("", *PRESETS))
    kernel: int = option(
        25, _("Steps of the moving average that is the trend; an odd number."), low=1, high=10_001
    )
    input_shape: tuple[int, ...] | None = option(None, _("Shape of one example. Default: that of the data."))

    @property
    def depth(self) -> int:
        """Layers, without a head."""
        return 0

    @property
    def width(self) -> int:
        """Width of the vector: remainder and trend of every step."""
        return 2 * conv.known_shape(self, 2, "(steps, values)")[0]

    def build(self, rngs: nnx.Rngs) -> DLinear:
        """The model; it has no parameters."""
        return DLinear(self)

    def activations(self, batch: Mapping[str, Any]) -> Activations:
        """What a forward pass computes and keeps of a batch, by formula."""
        numbers = 4.0 * batch["inputs"].size
        return Activations(2 * numbers, 2 * numbers, 4 * numbers)


class DLinear(nnx.Module):
    """The decomposition."""

    def __init__(self, config: DLinearConfig):
        self.config = config

    def __call__(self, inputs: Float[Array, "b t"], *, key: PRNGKeyArray | None = None) -> Pooled:
        """Remainder and trend f32[b, 2 t] of windows. The trend is the moving average, its ends repeated."""
        trend = moving_average(inputs, self.config.kernel)
        return Pooled(jnp.concatenate([inputs - trend, trend], axis=1))

    def layer_ids(self, path: tuple[str, ...]) -> int:
        """There are no parameters."""
        return 0


def moving_average(x: Float[Array, "b t"], kernel: int) -> Float[Array, "b t"]:
    """Means of ``kernel`` steps around each; beyond the ends the first and the last value are repeated."""
    before = (kernel - 1) // 2
    padded = jnp.pad(x, ((0, 0), (before, kernel - 1 - before)), mode="edge")
    sums = jnp.cumsum(jnp.pad(padded, ((0, 0), (1, 0))), axis=1)
    return (sums[:, kernel:] - sums[:, :-kernel]) / kernel
