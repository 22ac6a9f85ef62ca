"""Convolutional networks: stages of convolution and pooling, or residual blocks; then global pooling or dense
layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Num

from labkit.core.config import option
from labkit.core.errors import ConfigError
from labkit.core.shapes import Array, Bool, Float, PRNGKeyArray
from labkit.i18n import _
from labkit.models import conv, fields, layers, norms
from labkit.models.base import DrawingPart, Modality, ModelConfig
from labkit.models.conv import ACTIVATIONS, Pooled
from labkit.models.vision import residual
from labkit.profile.activations import Activations, dense, number_bytes, scaled_inputs

PRESETS: dict[str, dict[str, Any]] = {
    "small": {"widths": (32, 64, 128)},
    # LeCun et al. 1998, with every map of a layer joined to every map below it: 61,706 parameters at 32 x 32
    # x 1 with a head of ten classes. The third convolution of the paper, which sees all that is left, is the
    # first dense layer.
    "lenet-5": {
        "widths": (6, 16),
        "dense": (120, 84),
        "kernel": 5,
        "padding": "VALID",
        "activation": "tanh",
        "pooling": "mean",
    },
    # For pictures of 28 to 32 pixels; few layers, and wide ones, so that training is short: the network with
    # which D. Page led the CIFAR-10 part of DAWNBench in 2018, 6,573,130 parameters with a head of ten
    # classes. There the greatest value over the pixels stood for a picture at the end, here the mean.
    "resnet-9": {"widths": (64, 128, 256, 512), "blocks": (0, 1, 0, 1), "halving": "pool"},
    # He et al. 2015, arXiv 1512.03385: section 4.2 (CIFAR-10), 269,722 with a head of ten classes, and table
    # 1 (ImageNet), 11,689,512 with one of 1000.
    "resnet-20": {"widths": (16, 32, 64), "blocks": (3, 3, 3), "halving": "pad"},
    "resnet-18": {
        "widths": (64, 128, 256, 512),
        "blocks": (2, 2, 2, 2),
        "halving": "project",
        "stem": "large",
    },
}


@dataclass(frozen=True, init=False)
class CnnConfig(ModelConfig):
    """Configuration of the network: a preset or sizes; missing fields are filled in on creation.

    With ``blocks`` it is a residual network: a stem as wide as the first stage, then per stage the given
    number of blocks of two convolutions; every stage but the first downsamples by 2. Without, a stage is a
    convolution and 2 × 2 pooling. ``norm`` defaults to "batch" with blocks and "none" without.

    Raises:
        ConfigError: an unknown preset, a value out of range, blocks that do not fit the widths.
    """

    modality: ClassVar[Modality] = Modality.IMAGE
    rates: ClassVar[layers.Rates] = layers.Rates(fresh=3e-3)
    default_for: ClassVar[tuple[Modality, ...]] = (Modality.IMAGE, Modality.AUDIO)
    first_preset: ClassVar[str] = "small"
    shown: ClassVar[tuple[str, ...]] = ("widths", "blocks", "dropout")
    drawing: ClassVar[tuple[DrawingPart, ...]] = (
        DrawingPart("dense", 7, "block_dense", 4),
        DrawingPart("convs", 4, "block_conv", 3),
        DrawingPart("blocks", 4, "block_residual", 3),
        DrawingPart("stem", 3, "block_stem", 6),
        DrawingPart("norm", 6, "block_norm", 7),
    )
    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = PRESETS
    DERIVED: ClassVar[Mapping[str, Callable[[Mapping[str, Any]], Any]]] = {
        "norm": lambda known: "batch" if known["blocks"] else "none",
    }

    preset: str = option("", _("Named configuration."), choices=("", *PRESETS))
    widths: tuple[int, ...] = option((32, 64, 128), _("Number of channels in each stage."), high=1_000_000)
    blocks: tuple[int, ...] = option(
        (),
        _("Number of residual blocks in each stage. Empty: one convolution and one pooling layer per stage."),
        high=10_000,
    )
    dense: tuple[int, ...] = option(
        (),
        _("Units of the dense layers after the convolutions. Empty: global average pooling."),
        high=1_000_000,
    )
    kernel: int = option(3, _("Kernel size of the convolutions in pixels."), low=1, high=1_000)
    padding: str = option(
        "SAME",
        _("Padding of the convolutions: SAME keeps the image size, VALID shrinks it."),
        choices=("SAME", "VALID"),
    )
    norm: str = option(
        "none", _("Normalisation after each convolution: batch norm or group norm."), choices=norms.KINDS
    )
    activation: str = option("relu", _("Activation function after each layer."), choices=tuple(ACTIVATIONS))
    pooling: str = option("max", _("Pooling over 2 × 2 pixels: max or mean."), choices=tuple(conv.POOLS))
    stem: str = option(
        "small",
        _(
            "First layers of a residual network. large: a 7 × 7 convolution and max pooling, each with stride 2."
        ),
        choices=residual.STEMS,
    )
    halving: str = option(
        "project",
        _(
            "Downsampling between residual stages. pad, project: a block of stride 2 with a "
            "zero-padded or projected shortcut. pool: a convolution and max pooling."
        ),
        choices=residual.HALVINGS,
    )
    dropout: float = option(0.0, _("Dropout rate of the dense layers during training."), low=0.0, high=0.9)
    input_shape: tuple[int, ...] | None = option(
        None, _("Image shape: (height, width, channels). Default: that of the data.")
    )
    dtype: str = fields.dtype()

    def check(self) -> None:
        """Raise :class:`ConfigError` for a value out of range, and for blocks that do not fit the widths."""
        super().check()
        if not self.widths or min(*self.widths, *self.dense, 1) < 1:
            raise ConfigError(
                _("CnnConfig.widths = {widths!r} and dense = {dense!r} must be at least 1 each, and widths "
                  "must not be empty."),
                widths=self.widths, dense=self.dense,
            )  # fmt: skip
        if self.blocks:
            self._check_blocks()

    def _check_blocks(self) -> None:
        least = [int(self.halving != "pool" and number > 0) for number in range(len(self.widths))]
        if len(self.blocks) != len(self.widths) or any(map(int.__lt__, self.blocks, least)):
            raise ConfigError(
                _("CnnConfig.blocks = {blocks!r} must hold a number for each of the widths {widths!r}: at "
                  "least {least} with halving = {halving!r}."),
                blocks=self.blocks, widths=self.widths, least=", ".join(map(str, least)), halving=self.halving,
            )  # fmt: skip
        if self.kernel % 2 == 0 or self.padding != "SAME":
            raise ConfigError(
                _(
                    "CnnConfig.kernel = {kernel} with padding = {padding!r} changes the image size, but a "
                    "residual block adds its input to its output. Use an odd kernel and padding SAME."),
                kernel=self.kernel, padding=self.padding,
            )  # fmt: skip
        if self.halving == "pad" and list(self.widths) != sorted(self.widths):
            raise ConfigError(
                _(
                    "CnnConfig.widths = {widths!r} decrease, but halving = 'pad' can only add channels. "
                    "Use 'project'."),
                widths=self.widths,
            )  # fmt: skip

    @property
    def depth(self) -> int:
        """Layers with parameters, without a head; shortcuts are not counted."""
        return (residual.layers(self) if self.blocks else len(self.widths)) + len(self.dense)

    @property
    def width(self) -> int:
        """Width of the pooled vector: that of the last layer."""
        return (*self.widths, *self.dense)[-1]

    def activations(self, batch: Mapping[str, Any]) -> Activations:
        """What a forward pass computes and keeps of a batch, by formula."""
        rows, high, wide, channels = batch["inputs"].shape
        side, found = (high, wide), scaled_inputs(batch["inputs"], self.dtype)
        settings: dict[str, Any] = {
            "kernel": self.kernel, "norm": self.norm, "activation": self.activation, "dtype": self.dtype,
        }  # fmt: skip
        if self.blocks:
            layers_, side = residual.activations(self, rows, side, channels, settings)
            found += layers_
        else:
            padding = 0 if self.padding == "VALID" else None
            for width in self.widths:
                layer, side = conv.convolution_activations(
                    rows, side, channels, width, padding=padding, pool=self.pooling, plain=True, **settings
                )
                found += layer if found.flops else replace(layer, first=layer.flops)
                channels = width
        sizes = (side[0] * side[1] * self.widths[-1], *self.dense)
        for before, width in pairwise(sizes):
            found += dense(rows, before, width, self.activation, self.dropout > 0, number_bytes(self.dtype))
        return found

    def build(self, rngs: nnx.Rngs) -> Cnn:
        """A model with fresh parameters: He normal, biases 0, norm scales 1.

        Without a norm the second kernels of residual blocks are 0, so that every block begins as its
        shortcut.

        Raises:
            ConfigError: without an input shape, or with pictures too small for so many stages.
        """
        return Cnn(self, rngs)

    def sides(self) -> tuple[int, int]:
        """Height and width of what the last stage gives. Raises :class:`ConfigError` where a stage has too
        little."""
        shape = conv.known_shape(self, 3, "(height, width, channels)")
        high, wide = shape[:2]
        for _unused in () if self.blocks else self.widths:
            cut = self.kernel - 1 if self.padding == "VALID" else 0
            high, wide = (high - cut) // 2, (wide - cut) // 2
        if self.blocks:
            high, wide = residual.sides(self, high, wide)
        if min(high, wide) < 1:
            raise ConfigError(
                _(
                    "images of {height} x {width} pixels are too small for {n_widths} stages with kernels "
                    "of {kernel} and padding {padding}. Enlarge them, or use fewer stages."),
                height=shape[0], width=shape[1], n_widths=len(self.widths), kernel=self.kernel,
                padding=self.padding,
            )  # fmt: skip
        return high, wide


class Cnn(nnx.Module):
    """The network up to its last hidden vector. Parameters under ``convs/0``, … with ``norms/0``, …, or
    ``residual``; and ``dense/0``, …"""

    def __init__(self, config: CnnConfig, rngs: nnx.Rngs):
        self.config = config
        high, wide = config.sides()
        if config.blocks:
            self.residual = residual.Residual(config, rngs)
        else:
            channels = zip((config.input_shape[-1], *config.widths), config.widths, strict=False)
            settings = {"padding": config.padding, "use_bias": config.norm == "none", "dtype": config.dtype}
            self.convs = nnx.List(
                [conv.Conv(*pair, config.kernel, **settings, rngs=rngs) for pair in channels]
            )
            self.norms = nnx.List([norms.norm(config.norm, width, config.dtype) for width in config.widths])
        sizes = zip((high * wide * config.widths[-1], *config.dense), config.dense, strict=False)
        self.dense = nnx.List([conv.dense(*pair, config.dtype, rngs) for pair in sizes])

    def __call__(
        self,
        inputs: Num[Array, "b y x c"],
        *,
        key: PRNGKeyArray | None = None,
        real: Bool[Array, " b"] | None = None,
    ) -> Pooled:
        """One vector float32 [b, d] of every picture. Bytes are read as 0 … 1.

        Args:
            inputs: the pictures.
            key: for training: switches dropout on, and batch norms to the statistics of this batch, which
                they remember (:class:`labkit.models.norms.BatchNorm`).
            real: the examples that are not padding; None for all. Only they enter the statistics.
        """
        return self.from_map(
            self._map(conv.scaled(inputs, self.config.dtype), key is not None, real), key=key
        )

    def feature_map(self, inputs: Num[Array, "b y x c"]) -> Float[Array, "b Y X o"]:
        """See :class:`labkit.models.conv.FeatureMaps`."""
        return self._map(conv.scaled(inputs, self.config.dtype), False, None)

    def from_map(self, x: Float[Array, "b Y X o"], *, key: PRNGKeyArray | None = None) -> Pooled:
        """One vector of every last map; ``key`` switches dropout on."""
        activate = ACTIVATIONS[self.config.activation]
        if not self.config.blocks:
            x = conv.POOLS[self.config.pooling](x)
        if not self.config.dense:
            return Pooled(conv.global_mean(x))
        x = x.reshape(x.shape[0], -1)
        keys = [None] * len(self.dense) if key is None else list(jax.random.split(key, len(self.dense)))
        for layer, own in zip(self.dense, keys, strict=True):
            x = layers.dropout(activate(layer(x)), self.config.dropout, own)
        return Pooled(x.astype(jnp.float32))

    def _map(
        self, x: Float[Array, "b y x c"], training: bool, real: Bool[Array, " b"] | None
    ) -> Float[Array, "b Y X o"]:
        if self.config.blocks:
            return self.residual(x, training, real)
        for number, (layer, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            x = conv.POOLS[self.config.pooling](x) if number else x
            x = layer(x) if norm is None else norm(layer(x), training, real)
            x = ACTIVATIONS[self.config.activation](x)
        return x

    def layer_ids(self, path: tuple[str, ...]) -> int:
        """Layer index of a parameter, counted from the input, 1 … depth; ``path`` leads to it from this
        module down."""
        if path[0] == "residual":
            return self.residual.layer_ids(path[1:])
        return int(path[1]) + 1 + (self.config.depth - len(self.dense) if path[0] == "dense" else 0)
