"""Small convolutional networks: stages of convolution, non-linearity and pooling, then a mean or dense layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Num

from labkit.base.config import Config, option
from labkit.base.errors import ConfigError
from labkit.base.shapes import Array, Bool, PRNGKeyArray
from labkit.models import conv, parts
from labkit.models.conv import Pooled

ACTIVATIONS = {**parts.ACTIVATIONS, "sigmoid": jax.nn.sigmoid, "tanh": jnp.tanh}
PRESETS: dict[str, dict[str, Any]] = {
    "small": {"widths": (32, 64, 128)},
    # LeCun et al. 1998, with every map of a layer joined to every map below it: 61,706 parameters at 32 x 32 x 1 with
    # a head of ten classes. The third convolution of the paper, which sees all that is left, is the first dense layer.
    "lenet-5": {
        "widths": (6, 16),
        "dense": (120, 84),
        "kernel": 5,
        "padding": "VALID",
        "activation": "tanh",
        "pooling": "mean",
    },
}
USUAL = {"dense": (), "kernel": 3, "padding": "SAME", "activation": "relu", "pooling": "max", "dropout": 0.0}


@dataclass(frozen=True)
class CnnConfig(Config):
    """Which network: a preset, or sizes; what is left out is filled in on creation.

    Raises:
        ConfigError: an unknown preset, a value out of range.
    """

    reads: ClassVar[str] = "image"
    weights: ClassVar[str] = ""  # there are no pretrained ones

    preset: str = option("", "named size", choices=("", *PRESETS))
    widths: tuple[int, ...] = option(None, "channels of every stage, each a convolution and a halving pool")
    dense: tuple[int, ...] = option(None, "width of the dense layers that follow; none: the mean over the pixels")
    kernel: int = option(None, "side of the convolutions' kernels, in pixels", low=1)
    padding: str = option(None, "SAME keeps the size of a picture, VALID cuts its edge", choices=conv.PADDINGS)
    activation: str = option(None, "non-linearity after every layer", choices=tuple(ACTIVATIONS))
    pooling: str = option(None, "what is kept of four pixels", choices=("max", "mean"))
    dropout: float = option(None, "share of the dense layers' values dropped while training", low=0.0, high=0.9)
    input_shape: tuple[int, ...] | None = option(None, "(height, width, channels); left out, that of the data")
    dtype: str = option("auto", "what layers compute in; auto: bfloat16 on GPU and TPU", choices=parts.DTYPES)

    def __post_init__(self) -> None:
        for name, value in {**PRESETS["small"], **USUAL, **PRESETS.get(self.preset, {})}.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        self.check()

    def check(self) -> None:
        """Raise :class:`ConfigError` for a value out of range."""
        super().check()
        if not self.widths or min(*self.widths, *self.dense, 1) < 1:
            raise ConfigError(
                f"CnnConfig.widths = {self.widths!r} and dense = {self.dense!r} must be at least 1 each, and widths "
                "must not be empty."
            )

    @property
    def depth(self) -> int:
        """Layers with parameters, without a head."""
        return len(self.widths) + len(self.dense)

    @property
    def width(self) -> int:
        """Width of the pooled vector: that of the last layer."""
        return (*self.widths, *self.dense)[-1]

    def build(self, rngs: nnx.Rngs) -> Cnn:
        """A model with fresh parameters: He normal, biases 0.

        Raises:
            ConfigError: without an input shape, or with pictures too small for so many stages.
        """
        return Cnn(self, rngs)

    def count(self) -> int:
        """Number of parameters; nothing is allocated."""
        return conv.count(self)

    def sides(self) -> tuple[int, int]:
        """Height and width of what the last stage gives. Raises :class:`ConfigError` where a stage has too little."""
        shape = conv.known_shape(self, 3, "(height, width, channels)")
        high, wide = shape[:2]
        for _ in self.widths:
            cut = self.kernel - 1 if self.padding == "VALID" else 0
            high, wide = (high - cut) // 2, (wide - cut) // 2
        if min(high, wide) < 1:
            raise ConfigError(
                f"pictures of {shape[0]} x {shape[1]} pixels are too small for {len(self.widths)} stages with kernels "
                f"of {self.kernel} and padding {self.padding}. Enlarge them, or take fewer stages."
            )
        return high, wide


class Cnn(nnx.Module):
    """The network up to its last hidden vector. Parameters under ``convs/0``, … and ``dense/0``, …"""

    def __init__(self, config: CnnConfig, rngs: nnx.Rngs):
        self.config = config
        high, wide = config.sides()
        channels = zip((config.input_shape[-1], *config.widths), config.widths, strict=False)
        settings = {"size": config.kernel, "padding": config.padding, "dtype": config.dtype}
        self.convs = nnx.List([conv.Conv(*pair, **settings, rngs=rngs) for pair in channels])
        sizes = zip((high * wide * config.widths[-1], *config.dense), config.dense, strict=False)
        self.dense = nnx.List([conv.dense(*pair, config.dtype, rngs) for pair in sizes])

    def __call__(
        self, inputs: Num[Array, "b y x c"], *, key: PRNGKeyArray | None = None, real: Bool[Array, " b"] | None = None
    ) -> Pooled:
        """One vector float32 [b, d] of every picture; ``key`` switches dropout on. Bytes are read as 0 … 1."""
        activate = ACTIVATIONS[self.config.activation]
        pool = conv.max_pool if self.config.pooling == "max" else conv.mean_pool
        x = conv.scaled(inputs, self.config.dtype)
        for layer in self.convs:
            x = pool(activate(layer(x)))
        if not self.config.dense:
            return Pooled(conv.global_mean(x))
        x = x.reshape(len(x), -1)
        keys = [None] * len(self.dense) if key is None else list(jax.random.split(key, len(self.dense)))
        for layer, own in zip(self.dense, keys, strict=True):
            x = parts.dropout(activate(layer(x)), self.config.dropout, own)
        return Pooled(x.astype(jnp.float32))

    def layer_ids(self, path: tuple[str, ...]) -> int:
        """How far from the input a parameter lies, 1 … depth; ``path`` leads to it from this module down."""
        return int(path[1]) + 1 + (len(self.convs) if path[0] == "dense" else 0)
