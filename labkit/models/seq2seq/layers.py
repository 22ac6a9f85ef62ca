"""The layers of the encoder-decoder Transformer (Vaswani et al. 2017, arXiv 1706.03762), and its positions."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from labkit.core.shapes import Array, Float, Int, PRNGKeyArray
from labkit.models import layers as parts
from labkit.models.base import ModelConfig
from labkit.models.layers import halves
from labkit.models.lean import pointwise

ACTIVATIONS = {**parts.ACTIVATIONS, "swish": jax.nn.silu}  # that of many Marian models
NORM_EPS = 1e-5  # what Hugging Face readers have, and no config.json says
LOWEST = jnp.finfo(jnp.float32).min  # finite: see parts.padding_bias


def sinusoids(length: int, width: int) -> np.ndarray:
    """Sine and cosine of every position at wavelengths 2π … 20000π, float32 [length, width] (section 3.5).

    All sines, then all cosines, as in Marian and its Hugging Face port; the paper has them by turns. As
    columns of a sum with a learned table, one is a renaming of the other.
    """
    wave = 10000.0 ** (-2 * np.arange((width + 1) // 2) / width)
    angle = np.arange(length)[:, None] * wave
    return np.concatenate([np.sin(angle), np.cos(angle)[:, : width // 2]], axis=1).astype(np.float32)


class Attention(nnx.Module):
    """Attention of several heads, with its four linear layers."""

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs):
        d = config.width
        self.query, self.key, self.value, self.out = (parts.dense(d, d, config.dtype, rngs) for _ in range(4))
        self.heads, self.rate, self.short = config.heads, config.attention_dropout, halves(config.dtype)

    def project(self, x: Float[Array, "b t d"], *names: str) -> list[Float[Array, "b t h k"]]:
        """What the layers of these names make of x, head by head."""
        layers = [getattr(self, name) for name in names]
        return [y.reshape(*x.shape[:2], self.heads, -1) for y in parts.together(layers, x)]

    def mix(
        self,
        query: Float[Array, "b t h k"],
        key: Float[Array, "b s h k"],
        value: Float[Array, "b s h k"],
        bias: Float[Array, "b 1 #t s"],
        rng: PRNGKeyArray | None = None,
        short: bool | None = None,
    ) -> Float[Array, "b t d"]:
        """Attend, and join the heads; not ``short`` where keys and values are kept from step to step."""
        mixed = parts.attend(query, key, value, bias, self.rate, rng, self.short if short is None else short)
        return self.out(mixed.reshape(*query.shape[:2], -1))


class EncoderLayer(nnx.Module):
    """Self-attention and a feed-forward part, each added to its input and normalised: a layer of the encoder."""

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs):
        d, m, dtype = config.width, config.mlp_width, config.dtype
        self.attention = Attention(config, rngs)
        self.attention_norm = parts.norm(d, NORM_EPS, dtype, rngs)
        self.mlp_in, self.mlp_out = parts.dense(d, m, dtype, rngs), parts.dense(m, d, dtype, rngs, width=d)
        self.mlp_norm = parts.norm(d, NORM_EPS, dtype, rngs)
        self.activation, self.dropout, self.norm_first = config.activation, config.dropout, config.norm_first
        self.dtype = dtype

    def __call__(
        self, x: Float[Array, "b s d"], bias: Float[Array, "b 1 #s s"], *, key: PRNGKeyArray | None = None
    ) -> Float[Array, "b s d"]:
        own, first, second = (None,) * 3 if key is None else jax.random.split(key, 3)
        return self.fed(self.attended(x, bias, own, first), second)

    def attended(
        self,
        x: Float[Array, "b t d"],
        bias: Float[Array, "b 1 #t t"],
        own: PRNGKeyArray | None,
        key: PRNGKeyArray | None,
    ) -> Float[Array, "b t d"]:
        """After self-attention; ``own`` is the key of the dropout within it."""
        attention = self.attention
        return self.added(
            x,
            self.attention_norm,
            lambda y: attention.mix(*attention.project(y, "query", "key", "value"), bias, own),
            key,
        )

    def fed(self, x: Float[Array, "b t d"], key: PRNGKeyArray | None) -> Float[Array, "b t d"]:
        """After the feed-forward part."""
        act = ACTIVATIONS[self.activation], halves(self.dtype)
        return self.added(x, self.mlp_norm, lambda y: self.mlp_out(pointwise(*act, self.mlp_in(y))), key)

    def added(
        self,
        x: Float[Array, "b t d"],
        norm: parts.LayerNorm,
        part: Callable[[Array], Array],
        key: PRNGKeyArray | None,
    ) -> Float[Array, "b t d"]:
        """x and what a part makes of it, normalised after the sum, or before the part."""
        if self.norm_first:
            return x + parts.dropout(part(norm(x)), self.dropout, key)
        return norm(x + parts.dropout(part(x), self.dropout, key))


class DecoderLayer(EncoderLayer):
    """The same with attention to the memory in between."""

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs):
        super().__init__(config, rngs)
        self.cross = Attention(config, rngs)
        self.cross_norm = parts.norm(config.width, NORM_EPS, config.dtype, rngs)

    def __call__(
        self,
        x: Float[Array, "b t d"],
        bias: Float[Array, "b 1 t t"],
        memory: Float[Array, "b s d"],
        memory_bias: Float[Array, "b 1 1 s"],
        *,
        key: PRNGKeyArray | None = None,
    ) -> Float[Array, "b t d"]:
        own, first, across, second, third = (None,) * 5 if key is None else jax.random.split(key, 5)
        x = self.attended(x, bias, own, first)
        x = self.crossed(x, *self.cross.project(memory, "key", "value"), memory_bias, across, second)
        return self.fed(x, third)

    def crossed(
        self,
        x: Float[Array, "b t d"],
        key: Float[Array, "b s h k"],
        value: Float[Array, "b s h k"],
        bias: Float[Array, "b 1 1 s"],
        across: PRNGKeyArray | None = None,
        rng: PRNGKeyArray | None = None,
        short: bool | None = None,
    ) -> Float[Array, "b t d"]:
        """After attention to keys and values of the memory; ``across`` is the key of the dropout within it."""

        def part(y: Array) -> Array:
            return self.cross.mix(*self.cross.project(y, "query"), key, value, bias, across, short)

        return self.added(x, self.cross_norm, part, rng)

    def looks(
        self,
        x: Float[Array, "b t d"],
        bias: Float[Array, "b 1 t t"],
        memory: Float[Array, "b s d"],
        memory_bias: Float[Array, "b 1 1 s"],
    ) -> Float[Array, "b h t s"]:
        """Probabilities of the attention of every token to the memory, for ``x`` (for visualisation)."""
        y = self.attended(x, bias, None, None)
        (query,) = self.cross.project(self.cross_norm(y) if self.norm_first else y, "query")
        (key,) = self.cross.project(memory, "key")
        scores = jnp.einsum(
            "bqhk,bthk->bhqt", query * query.shape[-1] ** -0.5, key, preferred_element_type=jnp.float32
        )
        return jax.nn.softmax(scores + memory_bias, axis=-1)

    def step(
        self,
        x: Float[Array, "b t d"],
        place: Int[Array, "b t"],
        bias: Float[Array, "b 1 t p"],
        memory_bias: Float[Array, "b 1 1 s"],
        kept: tuple[Array, Array, Array, Array],
    ) -> tuple[Float[Array, "b t d"], tuple[Float[Array, "b p h k"], Float[Array, "b p h k"]]]:
        """New tokens, whose keys and values go to ``place`` in those that are kept; a place out of range
        drops them."""
        *old, memory_key, memory_value = kept
        row, new = jnp.arange(len(x))[:, None], []

        def part(y: Array) -> Array:
            query, *fresh = self.attention.project(y, "query", "key", "value")
            new.extend(a.at[row, place].set(b, mode="drop") for a, b in zip(old, fresh, strict=True))
            return self.attention.mix(query, new[0], new[1], bias, short=False)

        x = self.added(x, self.attention_norm, part, None)
        x = self.crossed(x, memory_key, memory_value, memory_bias, short=False)
        return self.fed(x, None), (new[0], new[1])
