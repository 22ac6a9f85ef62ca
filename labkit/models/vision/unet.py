"""U-Net (Ronneberger, Fischer & Brox 2015, arXiv 1505.04597): a vector of every pixel, from its surroundings at
several resolutions.

Unlike the paper, the convolutions keep the size of the picture, and pictures whose sides are no multiple of the
coarsest pixel are padded with their edge. Upsampling repeats each pixel and is followed by a convolution, which leaves
no checkerboard (Odena, Dumoulin & Olah 2016) and is fast on CPUs, where XLA's transposed convolution is slow.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Num

from labkit.core.config import option
from labkit.core.errors import ConfigError
from labkit.core.shapes import Array, Bool, Float, PRNGKeyArray
from labkit.i18n import _
from labkit.models import conv, fields, layers, norms
from labkit.models.base import Capability, DrawingPart, Modality, ModelConfig
from labkit.profile.activations import Activations, scaled_inputs

#: Pixel values are at least so large before :attr:`UNetConfig.gamma` applies.
DARKEST = 1e-3
PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {"widths": (8, 16, 32)},
    "small": {"widths": (16, 32, 64, 128)},
    # The paper's, 31 million parameters.
    "paper": {"widths": (64, 128, 256, 512, 1024), "norm": "none"},
}


@dataclass(frozen=True, init=False)
class UNetConfig(ModelConfig):
    """Configuration of a U-Net: two convolutions at each resolution on the way down and again on the way up, where the
    map of the same size from the way down is appended.

    Raises:
        ConfigError: an unknown preset, a value out of range.
    """

    modality: ClassVar[Modality] = Modality.IMAGE
    rates: ClassVar[layers.Rates] = layers.Rates(fresh=3e-3)
    capabilities: ClassVar[frozenset[Capability]] = frozenset({Capability.PIXELS})
    first_preset: ClassVar[str] = "small"
    shown: ClassVar[tuple[str, ...]] = ("widths", "norm", "gamma", "dropout")
    drawing: ClassVar[tuple[DrawingPart, ...]] = (
        DrawingPart("down", 3, "block_down", 3),
        DrawingPart("up", 5, "block_up", 4),
    )
    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = PRESETS

    preset: str = option("", _("Named configuration."), choices=("", *PRESETS))
    widths: tuple[int, ...] = option(
        (16, 32, 64, 128),
        _(
            "Number of channels at each resolution, the finest first; each is half as large as the one before."
        ),
        high=1_000_000,
    )
    norm: str = option(
        "batch", _("Normalisation after each convolution: batch norm or group norm."), choices=norms.KINDS
    )
    activation: str = option(
        "relu", _("Activation function after each layer."), choices=tuple(conv.ACTIVATIONS)
    )
    dropout: float = option(
        0.0, _("Dropout rate at the coarsest resolution during training."), low=0.0, high=0.9
    )
    gamma: float = option(
        1.0, _("Power of the pixel values, 0 to 1: 0.5 spreads dark tones apart."), low=0.1, high=10.0
    )
    input_shape: tuple[int, ...] | None = option(
        None, _("Image shape: (height, width, channels). Default: that of the data.")
    )
    dtype: str = fields.dtype()

    def check(self) -> None:
        """Raise :class:`ConfigError` for widths that are missing or too many, or a value out of range."""
        super().check()
        if not 2 <= len(self.widths) <= 8 or min(self.widths) < 1:
            raise ConfigError(
                _("UNetConfig.widths = {widths!r} must be two to eight numbers of at least 1."),
                widths=self.widths,
            )

    @property
    def width(self) -> int:
        """Width of the vector of a pixel."""
        return self.widths[0]

    @property
    def depth(self) -> int:
        """Layers with parameters, without a head: two at each resolution on the way down, three on the way up."""
        return 5 * len(self.widths) - 3

    @property
    def padded(self) -> tuple[int, int]:
        """Height and width of what is computed on: multiples of the coarsest pixel."""
        high, wide, _channels = conv.known_shape(self, 3, "(height, width, channels)")
        step = 2 ** (len(self.widths) - 1)
        return -(-high // step) * step, -(-wide // step) * step

    def activations(self, batch: Mapping[str, Any]) -> Activations:
        """What a forward pass computes and keeps of a batch, by formula."""
        rows, high, wide, channels = batch["inputs"].shape
        step = 2 ** (len(self.widths) - 1)
        side = -(-high // step) * step, -(-wide // step) * step
        settings: dict[str, Any] = {"norm": self.norm, "activation": self.activation, "dtype": self.dtype}
        found = scaled_inputs(batch["inputs"], self.dtype)
        sides = []
        for number, width in enumerate(self.widths):
            sides.append(side)
            last = number == len(self.widths) - 1
            for place, before in enumerate((channels, width)):
                pool = "max" if place and not last else ""
                layer, side = conv.convolution_activations(rows, side, before, width, pool=pool, **settings)
                found += layer
            channels = width
        for width, side in zip(reversed(self.widths[:-1]), reversed(sides[:-1]), strict=True):
            for before in (channels, 2 * width, width):
                found += conv.convolution_activations(rows, side, before, width, **settings)[0]
            channels = width
        return found

    def build(self, rngs: nnx.Rngs) -> UNet:
        """A model with fresh parameters: He normal, biases 0, norm scales 1.

        Raises:
            ConfigError: without an input shape.
        """
        return UNet(self, rngs)


class PixelVectors(NamedTuple):
    """What a model of pixels returns: a vector of every pixel, ``hidden`` [b, y, x, d]."""

    hidden: Float[Array, "b y x d"]


class ConvolutionLayer(nnx.Module):
    """A convolution of 3 × 3 pixels, its norm, and the activation. Without a norm the convolution has a bias."""

    def __init__(self, channels: int, features: int, config: UNetConfig, rngs: nnx.Rngs):
        self.conv = conv.Conv(
            channels, features, use_bias=config.norm == "none", dtype=config.dtype, rngs=rngs
        )
        self.norm = norms.norm(config.norm, features, config.dtype)
        self.activation = config.activation

    def __call__(
        self, x: Float[Array, "b y x c"], training: bool, real: Bool[Array, " b"] | None
    ) -> Float[Array, "b y x o"]:
        x = self.conv(x)
        return conv.ACTIVATIONS[self.activation](x if self.norm is None else self.norm(x, training, real))


class UNet(nnx.Module):
    """The network up to the vectors of the pixels. Parameters under ``down/0``, … (two layers of each resolution) and
    ``up/0``, … (three of each, the coarsest first)."""

    def __init__(self, config: UNetConfig, rngs: nnx.Rngs):
        self.config = config
        channels = conv.known_shape(config, 3, "(height, width, channels)")[-1]
        down, up = [], []
        for width in config.widths:
            down += [
                ConvolutionLayer(channels, width, config, rngs),
                ConvolutionLayer(width, width, config, rngs),
            ]
            channels = width
        for width in reversed(config.widths[:-1]):
            up += [ConvolutionLayer(before, width, config, rngs) for before in (channels, 2 * width, width)]
            channels = width
        self.down, self.up = nnx.List(down), nnx.List(up)

    def __call__(
        self,
        inputs: Num[Array, "b y x c"],
        *,
        key: PRNGKeyArray | None = None,
        real: Bool[Array, " b"] | None = None,
    ) -> PixelVectors:
        """A vector [b, y, x, d] of every pixel. Bytes are read as 0 … 1.

        Args:
            inputs: the pictures.
            key: for training: switches dropout on, and batch norms to the statistics of this batch, which
                they remember (:class:`labkit.models.norms.BatchNorm`).
            real: the examples that are not padding; None for all. Only they enter the statistics.
        """
        training, step = key is not None, 2 ** (len(self.config.widths) - 1)
        high, wide = inputs.shape[1:3]
        x = conv.scaled(inputs, self.config.dtype)
        if self.config.gamma != 1:  # not of 0, where the derivative has no bound
            x = jnp.maximum(x, DARKEST) ** self.config.gamma
        x = jnp.pad(x, ((0, 0), (0, -high % step), (0, -wide % step), (0, 0)), mode="edge")
        skipped: list[Array] = []
        for number in range(len(self.config.widths)):
            if number:
                skipped.append(x)
                x = conv.max_pool(x)
            for layer in self.down[2 * number : 2 * number + 2]:
                x = layer(x, training, real)
        x = layers.dropout(x, self.config.dropout, key)
        for number, map_ in enumerate(reversed(skipped)):
            first, second, third = self.up[3 * number : 3 * number + 3]
            x = first(doubled(x), training, real)
            x = third(second(jnp.concatenate([map_, x], -1), training, real), training, real)
        return PixelVectors(x[:, :high, :wide])

    def layer_ids(self, path: tuple[str, ...]) -> int:
        """Layer index of a parameter, counted from the input, 1 … depth; ``path`` leads to it from this
        module down."""
        return int(path[1]) + 1 + (len(self.down) if path[0] == "up" else 0)


def doubled(x: Float[Array, "b y x c"]) -> Float[Array, "b Y X c"]:
    """Every pixel repeated twice along both sides."""
    b, high, wide, c = x.shape
    shape = (b, high, 2, wide, 2, c)
    return jax.lax.broadcast_in_dim(x, shape, (0, 1, 3, 5)).reshape(b, 2 * high, 2 * wide, c)
