"""Conformer: convolution and self-attention over the frames of a sound (Gulati et al. 2020, arXiv 2005.08100)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from labkit.core.config import option
from labkit.core.errors import ConfigError
from labkit.core.shapes import Array, Bool, Float, Int, PRNGKeyArray
from labkit.i18n import _
from labkit.models import conv, fields
from labkit.models import layers as parts
from labkit.models.base import Capability, DrawingPart, Modality, ModelConfig
from labkit.models.layers import Rates

PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {"width": 96, "depth": 2, "heads": 4, "mlp_width": 192},
    "small": {"width": 144, "depth": 4, "heads": 4, "mlp_width": 288},
    "base": {
        "width": 144,
        "depth": 16,
        "heads": 4,
        "mlp_width": 576,
        "kernel": 31,
    },  # Conformer (S) of the paper
}
DERIVED: Mapping[str, Callable[[Mapping[str, Any]], Any]] = {
    "heads": lambda known: max(1, known["width"] // 36),
    "mlp_width": lambda known: 2 * known["width"],
}
#: Frames that two convolutions of stride 2 make one of.
STRIDE = 4


class Frames(NamedTuple):
    """What the encoder computes: ``hidden`` f[b, t, d] of every frame, and how many of them are real, i32[b]."""

    hidden: Float[Array, "b t d"]
    length: Int[Array, " b"]


@dataclass(frozen=True, init=False)
class ConformerConfig(ModelConfig):
    """Configuration of the Conformer.

    Three things differ from the paper: positions are rotary (Su et al. 2021) in place of relative sinusoids, the
    convolution is followed by layer normalisation in place of batch normalisation, so that an answer does not depend
    on the other examples, and the two convolutions of stride 2 read all frequencies at once.

    Raises:
        ConfigError: a value out of range, a width that the heads do not divide, an even kernel.
    """

    modality: ClassVar[Modality] = Modality.AUDIO
    capabilities: ClassVar[frozenset[Capability]] = frozenset({Capability.FRAMES})
    flattens: ClassVar[bool] = False
    packs: ClassVar[bool] = False
    first_preset: ClassVar[str] = "small"
    shown: ClassVar[tuple[str, ...]] = ("width", "depth", "heads", "kernel", "dropout")
    drawing: ClassVar[tuple[DrawingPart, ...]] = (
        DrawingPart("subsample", 0, "block_subsampling", 1),
        DrawingPart("layers", 1, "block_conformer", 2),
    )
    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = PRESETS
    DERIVED: ClassVar[Mapping[str, Callable[[Mapping[str, Any]], Any]]] = DERIVED
    rates: ClassVar[Rates] = Rates(fresh=1e-3)  # type: ignore[misc]

    preset: str = option("", _("Named configuration."), choices=("", *PRESETS))
    width: int = fields.width(144)
    depth: int = option(4, _("Number of Conformer blocks."), low=1, high=10_000)
    heads: int = fields.heads(4)
    mlp_width: int = fields.mlp_width(288)
    kernel: int = option(
        15, _("Frames that the convolution of a block reads, an odd number."), low=1, high=1_001
    )
    dropout: float = fields.dropout(0.1)
    attention_dropout: float = fields.attention_dropout(0.0)
    norm_eps: float = option(1e-5, _("Epsilon of layer normalisation."), low=0.0, high=1.0)
    input_shape: tuple[int, ...] | None = option(None, _("Shape of one example. Default: that of the data."))
    dtype: str = fields.dtype()
    unroll: int = fields.unroll()
    remat: bool = fields.remat()

    def check(self) -> None:
        """Raise :class:`ConfigError` for a value out of range."""
        super().check()
        if self.width % (2 * self.heads):
            raise ConfigError(
                _("ConformerConfig.width = {width} is not a multiple of 2 x heads = {heads}."),
                width=self.width, heads=2 * self.heads,
            )  # fmt: skip
        if self.kernel % 2 == 0:
            raise ConfigError(_("ConformerConfig.kernel = {kernel} must be odd."), kernel=self.kernel)

    @property
    def bands(self) -> int:
        """Mel bands of a frame."""
        return conv.known_shape(self, 2, "(frames, bands)")[1]

    def build(self, rngs: nnx.Rngs) -> Conformer:
        """A model with fresh parameters: truncated normal, biases 0, norm scales 1."""
        return Conformer(self, rngs)


class FeedForward(nnx.Module):
    """Normalisation, a layer with swish, and a layer back."""

    def __init__(self, config: ConformerConfig, rngs: nnx.Rngs):
        d, m = config.width, config.mlp_width
        self.norm = parts.norm(d, config.norm_eps, config.dtype, rngs)
        self.mlp_in = parts.dense(d, m, config.dtype, rngs)
        self.mlp_out = parts.dense(m, d, config.dtype, rngs, width=d)
        self.dropout = config.dropout

    def __call__(self, x: Float[Array, "b t d"], key: PRNGKeyArray | None) -> Float[Array, "b t d"]:
        first, second = (None, None) if key is None else jax.random.split(key)
        inner = parts.dropout(nnx.silu(self.mlp_in(self.norm(x))), self.dropout, first)
        return parts.dropout(self.mlp_out(inner), self.dropout, second)


class Convolution(nnx.Module):
    """Normalisation, a gated layer, a convolution of each channel along time, and a layer back."""

    def __init__(self, config: ConformerConfig, rngs: nnx.Rngs):
        d = config.width
        self.norm = parts.norm(d, config.norm_eps, config.dtype, rngs)
        self.gate, self.mlp_in = (parts.dense(d, d, config.dtype, rngs) for _ in range(2))
        draw = parts.normal(config.kernel**-0.5)
        self.depthwise = nnx.Param(draw(rngs.params(), (config.kernel, d), jnp.float32))
        self.inner_norm = parts.norm(d, config.norm_eps, config.dtype, rngs)
        self.mlp_out = parts.dense(d, d, config.dtype, rngs)
        self.dropout = config.dropout

    def __call__(
        self, x: Float[Array, "b t d"], mask: Bool[Array, "b t 1"], key: PRNGKeyArray | None
    ) -> Float[Array, "b t d"]:
        x = self.norm(x)
        x = jnp.where(mask, self.mlp_in(x) * nnx.sigmoid(self.gate(x)), 0)
        # A sum of shifted products: XLA has no fast convolution of single channels on CPUs.
        kernel, steps = self.depthwise[...].astype(x.dtype), x.shape[1]
        half = len(kernel) // 2
        padded = jnp.pad(x, ((0, 0), (half, half), (0, 0)))
        x = sum((padded[:, at : at + steps] * weight for at, weight in enumerate(kernel)), jnp.zeros_like(x))
        return parts.dropout(self.mlp_out(nnx.silu(self.inner_norm(x))), self.dropout, key)


class ConformerBlock(nnx.Module):
    """Half a feed-forward part, self-attention, convolution and the other half, each added to its input."""

    def __init__(self, config: ConformerConfig, rngs: nnx.Rngs):
        d, dtype = config.width, config.dtype
        self.first, self.second = FeedForward(config, rngs), FeedForward(config, rngs)
        self.norm = parts.norm(d, config.norm_eps, dtype, rngs)
        self.query, self.key, self.value = (parts.dense(d, d, dtype, rngs) for _ in range(3))
        self.out = parts.dense(d, d, dtype, rngs)
        self.convolution = Convolution(config, rngs)
        self.out_norm = parts.norm(d, config.norm_eps, dtype, rngs)
        self.heads, self.short = config.heads, parts.halves(dtype)
        self.dropout, self.attention_dropout = config.dropout, config.attention_dropout

    def __call__(
        self, x: Float[Array, "b t d"], bias: Float[Array, "b 1 1 t"], mask: Bool[Array, "b t 1"],
        turn: tuple[Array, Array], *, key: PRNGKeyArray | None = None,
    ) -> Float[Array, "b t d"]:  # fmt: skip
        keys = [None] * 5 if key is None else list(jax.random.split(key, 5))
        x = x + 0.5 * self.first(x, keys[0])
        heads = parts.together((self.query, self.key, self.value), self.norm(x))
        query, name, value = (y.reshape(*y.shape[:2], self.heads, -1) for y in heads)
        query, name = parts.turned(query, turn), parts.turned(name, turn)
        mixed = parts.attend(query, name, value, bias, self.attention_dropout, keys[1], self.short)
        x = x + parts.dropout(self.out(mixed.reshape(x.shape)), self.dropout, keys[2])
        x = x + self.convolution(x, mask, keys[3])
        return self.out_norm(x + 0.5 * self.second(x, keys[4]))


class Subsampling(nnx.Module):
    """Two convolutions along time, of three frames and stride 2, and normalisation: four frames become one."""

    def __init__(self, config: ConformerConfig, rngs: nnx.Rngs):
        self.one = parts.dense(3 * config.bands, config.width, config.dtype, rngs)
        self.two = parts.dense(3 * config.width, config.width, config.dtype, rngs)
        self.norm = parts.norm(config.width, config.norm_eps, config.dtype, rngs)

    def __call__(self, x: Float[Array, "b t f"]) -> Float[Array, "b s d"]:
        return self.norm(self.two(_of_three(nnx.silu(self.one(_of_three(x))))))


def _of_three(x: Float[Array, "b t f"]) -> Float[Array, "b s g"]:
    """Every second frame with its neighbours, side by side."""
    steps = -(-x.shape[1] // 2)
    padded = jnp.pad(x, ((0, 0), (1, 2), (0, 0)))
    return jnp.concatenate([padded[:, at : at + 2 * steps : 2] for at in range(3)], -1)


class Conformer(nnx.Module):
    """The encoder. Parameters under ``subsample`` and ``layers`` (stacked [L, …])."""

    def __init__(self, config: ConformerConfig, rngs: nnx.Rngs):
        self.config = config
        self.subsample = Subsampling(config, rngs)
        self.layers = parts.stack(lambda rngs: ConformerBlock(config, rngs), config.depth, rngs)

    def __call__(
        self, inputs: Float[Array, "b t f"], length: Int[Array, " b"], *, key: PRNGKeyArray | None = None
    ) -> Frames:
        """Hidden states of every fourth frame.

        Args:
            inputs: frames of sounds, padded at the end to one length.
            length: of each sound the number of real frames, at least 1.
            key: switches dropout on.
        """
        config = self.config
        first, rest = (None, None) if key is None else jax.random.split(key)
        real = (jnp.arange(inputs.shape[1]) < length[:, None])[..., None]
        x = self.subsample(jnp.where(real, inputs, 0))
        length = -(-length // STRIDE)
        mask = jnp.arange(x.shape[1]) < length[:, None]
        x = parts.dropout(x, config.dropout, first)
        place = jnp.arange(x.shape[1])[None]
        turn = parts.rotation(place, parts.frequencies(config.width // config.heads, 10_000.0))
        shared = (parts.padding_bias(mask), mask[..., None], turn)
        x = parts.scan(self.layers, x, *shared, key=rest, unroll=config.unroll, remat=config.remat)
        return Frames(x, length)

    def layer_ids(self, path: tuple[str, ...]) -> int | np.ndarray:
        """0 for the subsampling; 1 … L for the stacked layers."""
        return np.arange(1, self.config.depth + 1, dtype=np.int32) if path[0] == "layers" else 0
