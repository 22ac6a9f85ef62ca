"""EfficientNet-Lite0 (Tan & Le 2019, arXiv 1905.11946; the Lite variant without squeeze-and-excite, with ReLU6).

The batch norms of the published weights are folded into the convolutions before them. Depthwise convolutions are slow
in XLA on a CPU: train the head alone (``trainable="head"``), which computes the vectors of the pictures once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Num

from labkit.core.config import option
from labkit.core.errors import ConfigError, WeightsError
from labkit.core.shapes import Array, Bool, Float, PRNGKeyArray
from labkit.i18n import _
from labkit.models import conv, fields, weights
from labkit.models import layers as parts
from labkit.models.base import DrawingPart, Modality, ModelConfig
from labkit.models.conv import Pooled
from labkit.models.foreign import settings_of

#: Table 1 of the paper: blocks, kernel, stride, expansion, channels.
STAGES = (
    (1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)  # fmt: skip
STEM, TOP = 32, 1280
MODEL_TYPE = "efficientnet-lite0"
PRESETS = {
    "efficientnet-lite0": {"weights": "efficientnet-lite0"},
    "scratch": {},
}


@dataclass(frozen=True, init=False)
class EfficientNetConfig(ModelConfig):
    """Configuration of EfficientNet-Lite0, whose sizes are fixed.

    Raises:
        ConfigError: an unknown preset, a value out of range.
        WeightsError: the weights cannot be found, or are of another architecture.
    """

    modality: ClassVar[Modality] = Modality.IMAGE
    rates: ClassVar[parts.Rates] = parts.Rates(fresh=1e-3, pretrained=2e-4)
    first_preset: ClassVar[str] = "efficientnet-lite0"
    shown: ClassVar[tuple[str, ...]] = ("resize",)
    free: ClassVar[tuple[str, ...]] = ("resize", "dtype")
    drawing: ClassVar[tuple[DrawingPart, ...]] = (
        DrawingPart("stem", 3, "block_stem", 6),
        DrawingPart("blocks", 4, "block_conv", 3),
        DrawingPart("top", 5, "block_conv", 3),
    )
    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = PRESETS
    FROM_WEIGHTS: ClassVar[tuple[str, ...]] = ("model_type",)

    preset: str = option("", _("Named configuration, or named pretrained weights."), choices=("", *PRESETS))
    weights: str = option(
        "", _("Pretrained convolutions: a sample name or a folder. Empty: random initialisation.")
    )
    resize: int = option(
        112,
        _("Shorter side in pixels that smaller pictures are enlarged to; the weights are of 224. 0: no change."),
        low=0, high=1024,
    )  # fmt: skip
    input_shape: tuple[int, ...] | None = option(
        None, _("Image shape: (height, width, channels). Default: that of the data.")
    )
    dtype: str = fields.dtype()

    @classmethod
    def sizes_from(cls, folder: Path) -> dict[str, Any]:
        """Nothing: the sizes are fixed. Raises :class:`WeightsError` for weights of another architecture."""
        kind = settings_of(folder / "config.json").get("model_type")
        if kind != MODEL_TYPE:
            raise WeightsError(
                _("{folder} contains a model of type {kind!r}; supported: {known!r}."),
                folder=folder, kind=kind, known=MODEL_TYPE,
            )  # fmt: skip
        return {}

    @property
    def width(self) -> int:
        """Width of the pooled vector."""
        return TOP

    @property
    def depth(self) -> int:
        """Layers without a head: the stem, the blocks and the last convolution."""
        return sum(stage[0] for stage in STAGES) + 2

    @property
    def fixed_vectors(self) -> bool:
        """Whether the vector of a picture is the same in training and evaluation."""
        return True

    def build(self, rngs: nnx.Rngs) -> EfficientNet:
        """A model with fresh parameters: He normal, biases 0."""
        return EfficientNet(self, rngs)

    def _load(self, model: EfficientNet, folder: Path) -> weights.LoadReport:
        """Put the convolutions of ``folder`` into a model. Raises :class:`WeightsError` where they do not fit."""
        self.sizes_from(folder)
        shapes = weights.flatten(nnx.to_pure_dict(nnx.state(model)))
        entries = tuple(
            weights.Entry(name, name) for name in map("/".join, (map(str, path) for path in shapes))
        )
        return weights.load_into(model, folder, weights.Table(entries))


class Depthwise(nnx.Module):
    """A convolution of each channel by itself: kernel [size, size, 1, c] He normal, bias [c] zero."""

    def __init__(self, channels: int, size: int, stride: int, dtype: str, rngs: nnx.Rngs):
        self.kernel = nnx.Param(conv.INITIAL(rngs.params(), (size, size, 1, channels), jnp.float32))
        self.bias = nnx.Param(jnp.zeros(channels, jnp.float32))
        self.stride, self.channels, self.dtype = stride, channels, parts.compute_dtype(dtype)

    def __call__(self, x: Float[Array, "b y x c"]) -> Float[Array, "b Y X c"]:
        strides, kernel = (self.stride, self.stride), self.kernel[...].astype(self.dtype)
        found = lax.conv_general_dilated(
            x, kernel, strides, "SAME", dimension_numbers=conv.AXES, feature_group_count=self.channels
        )
        return found + self.bias[...].astype(self.dtype)


class InvertedResidual(nnx.Module):
    """Expansion, depthwise convolution and projection (Sandler et al. 2018), added to what goes in where it fits."""

    def __init__(
        self, channels: int, features: int, size: int, stride: int, expansion: int, dtype: str, rngs: nnx.Rngs
    ):
        inner = channels * expansion
        self.expand = conv.Conv(channels, inner, 1, dtype=dtype, rngs=rngs) if expansion > 1 else None
        self.depthwise = Depthwise(inner, size, stride, dtype, rngs)
        self.project = conv.Conv(inner, features, 1, dtype=dtype, rngs=rngs)
        self.adds = stride == 1 and channels == features

    def __call__(self, x: Float[Array, "b y x c"]) -> Float[Array, "b Y X o"]:
        inner = x if self.expand is None else jax.nn.relu6(self.expand(x))
        inner = self.project(jax.nn.relu6(self.depthwise(inner)))
        return x + inner if self.adds else inner


class EfficientNet(nnx.Module):
    """The network up to its last hidden vector. Parameters under ``stem``, ``blocks/0``, … and ``top``."""

    def __init__(self, config: EfficientNetConfig, rngs: nnx.Rngs):
        self.config = config
        channels = conv.known_shape(config, 3, "(height, width, channels)")[-1]
        if channels not in (1, 3):
            raise ConfigError(
                _("EfficientNet-Lite0 is for grey or RGB images, not {channels} channels."), channels=channels
            )
        self.stem = conv.Conv(3, STEM, 3, stride=2, dtype=config.dtype, rngs=rngs)
        blocks, before = [], STEM
        for times, size, stride, expansion, features in STAGES:
            for number in range(times):
                step = stride if number == 0 else 1
                blocks.append(InvertedResidual(before, features, size, step, expansion, config.dtype, rngs))
                before = features
        self.blocks = nnx.List(blocks)
        self.top = conv.Conv(before, TOP, 1, dtype=config.dtype, rngs=rngs)

    def __call__(
        self,
        inputs: Num[Array, "b y x c"],
        *,
        key: PRNGKeyArray | None = None,
        real: Bool[Array, " b"] | None = None,
    ) -> Pooled:
        """One vector float32 [b, d] of every picture. Bytes are read as 0 … 1, numbers of 0 … 1 as colours or greys;
        ``key`` and ``real`` change nothing."""
        return self.from_map(self.feature_map(inputs))

    def feature_map(self, inputs: Num[Array, "b y x c"]) -> Float[Array, "b Y X o"]:
        """See :class:`labkit.models.conv.FeatureMaps`."""
        x = conv.scaled(inputs, self.config.dtype)
        x = jnp.broadcast_to(x, (*x.shape[:3], 3))
        high, wide = x.shape[1:3]
        if 0 < min(high, wide) < self.config.resize:
            scale = self.config.resize / min(high, wide)
            sides = round(high * scale), round(wide * scale)
            x = jax.image.resize(x, (len(x), *sides, 3), "linear")
        x = (255 * x - 127) / 128  # as the published weights see it
        x = jax.nn.relu6(self.stem(x))
        for block in self.blocks:
            x = block(x)
        return jax.nn.relu6(self.top(x))

    def from_map(self, x: Float[Array, "b Y X o"]) -> Pooled:
        """The mean of every last map."""
        return Pooled(conv.global_mean(x))

    def layer_ids(self, path: tuple[str, ...]) -> int:
        """Layer index of a parameter, counted from the input, 1 … depth; ``path`` leads to it from this
        module down."""
        ends = {"stem": 1, "top": len(self.blocks) + 2}
        return ends[path[0]] if path[0] in ends else int(path[1]) + 2
