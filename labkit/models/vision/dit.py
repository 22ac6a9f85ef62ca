"""Diffusion Transformer (DiT; Peebles & Xie 2023, arXiv 2212.09748): a vector field over pictures.

A picture is cut into patches, which a Transformer reads; the time and the condition scale, shift and gate every layer
(adaLN-Zero). What comes out has the shape of the picture: the velocity of flow matching (Lipman et al. 2023, arXiv
2210.02747), as in SiT (Ma et al. 2024, arXiv 2401.08740).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from labkit.core.config import option
from labkit.core.errors import ConfigError
from labkit.core.shapes import Array, Float, PRNGKeyArray
from labkit.i18n import _
from labkit.models import conv, fields, layers
from labkit.models.base import TRANSFORMER_SHARDING, Capability, DrawingPart, Modality, ModelConfig
from labkit.models.layers import Rates
from labkit.profile.activations import Activations, transformer

PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {"width": 64, "depth": 3, "heads": 4, "mlp_width": 128, "patch": 2},
    "small": {"width": 128, "depth": 6, "heads": 4, "mlp_width": 512},
    "dit-s": {"width": 384, "depth": 12, "heads": 6, "mlp_width": 1536},  # DiT-S of the paper, on pixels
}
DERIVED: Mapping[str, Callable[[Mapping[str, Any]], Any]] = {
    "heads": lambda known: max(1, known["width"] // 32),
    "mlp_width": lambda known: 4 * known["width"],
}
#: Numbers that the time is written in, and the longest period among them.
TIME_WIDTH, LONGEST_PERIOD = 128, 10_000.0
#: Epsilon of the norms, which have no parameters.
EPSILON = 1e-6


@dataclass(frozen=True, init=False)
class DiTConfig(ModelConfig):
    """Configuration of a DiT on pixels. Pictures whose sides are no multiple of a patch are padded with their edge.

    Raises:
        ConfigError: a value out of range, a width that the heads do not divide.
    """

    modality: ClassVar[Modality] = Modality.IMAGE
    capabilities: ClassVar[frozenset[Capability]] = frozenset({Capability.VELOCITY})
    packs: ClassVar[bool] = False
    first_preset: ClassVar[str] = "small"
    shown: ClassVar[tuple[str, ...]] = ("width", "depth", "heads", "patch")
    sharding: ClassVar[tuple[tuple[str, int], ...]] = TRANSFORMER_SHARDING
    drawing: ClassVar[tuple[DrawingPart, ...]] = (
        DrawingPart("patches", 0, "block_patches", 1),
        DrawingPart("position", 0, "block_patches", 1),
        DrawingPart("time", 0, "block_time", 5),
        DrawingPart("layers", 1, "block_layers", 2),
        DrawingPart("out", 2, "block_pixels", 3),
    )
    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = PRESETS
    DERIVED: ClassVar[Mapping[str, Callable[[Mapping[str, Any]], Any]]] = DERIVED
    rates: ClassVar[Rates] = Rates(fresh=1e-3)  # type: ignore[misc]

    preset: str = option("", _("Named configuration."), choices=("", *PRESETS))
    width: int = fields.width(128)
    depth: int = fields.depth(6)
    heads: int = fields.heads(4)
    mlp_width: int = fields.mlp_width(512)
    patch: int = option(4, _("Side of a patch in pixels."), low=1, high=1_000)
    dropout: float = fields.dropout(0.0)
    input_shape: tuple[int, ...] | None = option(
        None, _("Image shape: (height, width, channels). Default: that of the data.")
    )
    dtype: str = fields.dtype()
    unroll: int = fields.unroll()
    remat: bool = fields.remat()

    def check(self) -> None:
        """Raise :class:`ConfigError` for a value out of range."""
        super().check()
        if self.width % self.heads:
            raise ConfigError(
                _("DiTConfig.width = {width} is not a multiple of heads = {heads}."),
                width=self.width, heads=self.heads,
            )  # fmt: skip

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of a picture."""
        high, wide, channels = conv.known_shape(self, 3, "(height, width, channels)")
        return high, wide, channels

    @property
    def grid(self) -> tuple[int, int]:
        """Patches along both sides."""
        high, wide, _channels = self.shape
        return -(-high // self.patch), -(-wide // self.patch)

    def build(self, rngs: nnx.Rngs) -> DiT:
        """A model with fresh parameters: truncated normal; the gates of the layers and the last layer are 0, so that
        each layer passes its input on at first and the velocity is 0."""
        return DiT(self, rngs)

    def activations(self, batch: Mapping[str, Any]) -> Activations:
        """What a forward pass computes and keeps of a batch, by formula."""
        rows, (down, across) = batch["inputs"].shape[0], self.grid
        return transformer(
            (rows, down * across), self.depth, self.width, self.mlp_width, self.heads, dtype=self.dtype,
            remat=self.remat, activation="gelu_tanh", dropout=self.dropout > 0, attention_dropout=False,
        )  # fmt: skip


class DiTLayer(nnx.Module):
    """Self-attention and a feed-forward part; the condition scales and shifts the input of both and gates what they
    add."""

    def __init__(self, config: DiTConfig, rngs: nnx.Rngs):
        d, m, dtype = config.width, config.mlp_width, config.dtype
        self.query, self.key, self.value = (layers.dense(d, d, dtype, rngs) for _ in range(3))
        self.out = layers.dense(d, d, dtype, rngs)
        self.mlp_in, self.mlp_out = layers.dense(d, m, dtype, rngs), layers.dense(m, d, dtype, rngs, width=d)
        self.modulation = zero(d, 6 * d, rngs)
        self.heads, self.dtype, self.dropout = config.heads, dtype, config.dropout
        self.short = layers.halves(dtype)

    def __call__(
        self, x: Float[Array, "b t d"], condition: Float[Array, "b d"], bias: Float[Array, "b 1 1 t"],
        *, key: PRNGKeyArray | None = None,
    ) -> Float[Array, "b t d"]:  # fmt: skip
        keys = (None, None) if key is None else tuple(jax.random.split(key))
        parts = jnp.split(self.modulation(condition)[:, None], 6, axis=-1)
        shift, scale, gate, shift_mlp, scale_mlp, gate_mlp = parts
        seen = layers.together((self.query, self.key, self.value), modulated(x, shift, scale))
        query, key_, value = (y.reshape(*y.shape[:2], self.heads, -1) for y in seen)
        mixed = layers.attend(query, key_, value, bias, short=self.short)
        mixed = self.out(mixed.reshape(*x.shape[:2], -1))
        x = x + gate * layers.dropout(mixed, self.dropout, keys[0])
        inner = layers.activate("gelu_tanh", self.dtype, self.mlp_in(modulated(x, shift_mlp, scale_mlp)))
        return x + gate_mlp * layers.dropout(self.mlp_out(inner), self.dropout, keys[1])


class DiT(nnx.Module):
    """The Transformer. Parameters under ``patches``, ``position``, ``time``, ``layers`` (stacked [L, …]) and
    ``out``."""

    def __init__(self, config: DiTConfig, rngs: nnx.Rngs):
        self.config = config
        (down, across), channels = config.grid, config.shape[-1]
        size = config.patch**2 * channels
        self.patches = layers.dense(size, config.width, config.dtype, rngs)
        self.position = layers.embed(down * across, config.width, rngs, 0.02)
        self.time = nnx.List([
            layers.dense(TIME_WIDTH, config.width, "float32", rngs),
            layers.dense(config.width, config.width, "float32", rngs),
        ])  # fmt: skip
        self.layers = layers.stack(lambda rngs: DiTLayer(config, rngs), config.depth, rngs)
        self.out_modulation = zero(config.width, 2 * config.width, rngs)
        self.out = zero(config.width, size, rngs)

    def __call__(
        self, x: Float[Array, "b y x c"], time: Float[Array, " b"], condition: Float[Array, "b d"],
        *, key: PRNGKeyArray | None = None,
    ) -> Float[Array, "b y x c"]:  # fmt: skip
        """The velocity of pictures.

        Args:
            x: noisy pictures, about -1 … 1.
            time: 0 for noise … 1 for a picture.
            condition: a vector of what a picture is to show.
            key: for training: switches dropout on.
        """
        config, (rows, high, wide, channels) = self.config, x.shape
        (down, across), side = config.grid, config.patch
        pad = ((0, 0), (0, down * side - high), (0, across * side - wide), (0, 0))
        cut = jnp.pad(x, pad, mode="edge").reshape(rows, down, side, across, side, channels)
        tokens = self.patches(cut.transpose(0, 1, 3, 2, 4, 5).reshape(rows, down * across, -1))
        tokens = tokens + self.position.embedding[...][None]
        first, second = self.time
        condition = jax.nn.silu(second(jax.nn.silu(first(waves(time)))) + condition)
        bias = jnp.zeros((rows, 1, 1, down * across), jnp.float32)
        tokens = layers.scan(
            self.layers, tokens, condition, bias, key=key, unroll=config.unroll, remat=config.remat
        )
        shift, scale = jnp.split(self.out_modulation(condition)[:, None], 2, axis=-1)
        made = self.out(modulated(tokens.astype(jnp.float32), shift, scale))
        made = made.reshape(rows, down, across, side, side, channels).transpose(0, 1, 3, 2, 4, 5)
        return made.reshape(rows, down * side, across * side, channels)[:, :high, :wide]

    def layer_ids(self, path: tuple[str, ...]) -> int | np.ndarray:
        """0 for patches, positions and time; 1 … L for the stacked layers and L for what follows them."""
        if path[0] == "layers":
            return np.arange(1, self.config.depth + 1, dtype=np.int32)
        return self.config.depth if path[0].startswith("out") else 0


def zero(n_in: int, n_out: int, rngs: nnx.Rngs) -> nnx.Linear:
    """A linear layer in float32 that gives 0 at first."""
    return nnx.Linear(n_in, n_out, kernel_init=nnx.initializers.zeros, rngs=rngs)


def modulated(
    x: Float[Array, "b t d"], shift: Float[Array, "b 1 d"], scale: Float[Array, "b 1 d"]
) -> Float[Array, "b t d"]:
    """Each token normalised to mean 0 and variance 1, then scaled by ``1 + scale`` and shifted."""
    normal = jax.nn.standardize(x.astype(jnp.float32), epsilon=EPSILON)
    return (normal * (1 + scale) + shift).astype(x.dtype)


def waves(time: Float[Array, " b"]) -> Float[Array, "b w"]:
    """The time 0 … 1 as cosines and sines of geometrically spaced frequencies (Vaswani et al. 2017, 3.5; the times of
    diffusion models go up to 1000)."""
    half = TIME_WIDTH // 2
    frequency = jnp.exp(-math.log(LONGEST_PERIOD) / half * jnp.arange(half, dtype=jnp.float32))
    angle = 1000 * time[:, None] * frequency
    return jnp.concatenate([jnp.cos(angle), jnp.sin(angle)], -1)
