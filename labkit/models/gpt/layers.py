"""The layer of GPT-2 and of Llama, its norms and rotary positions."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from labkit.core.shapes import Array, Float, Int, PRNGKeyArray
from labkit.models import layers

LOWEST = jnp.finfo(jnp.float32).min  # finite: see parts.padding_bias

#: Cosine and sine of the angle of every position, f32[b, t, 1, k] each; None where positions are learned.
Rotation = tuple[Array, Array] | None


def norm(config: Any, rngs: nnx.Rngs) -> nnx.LayerNorm | nnx.RMSNorm:
    """The family's normalisation over the last axis; mean and variance are taken in float32."""
    if config.family == "gpt2":
        return layers.norm(config.width, config.norm_eps, config.dtype, rngs)
    dtype = layers.compute_dtype(config.dtype)
    return nnx.RMSNorm(config.width, epsilon=config.norm_eps, dtype=dtype, use_fast_variance=False, rngs=rngs)


def rotation(config: Any, place: Int[Array, "#b t"]) -> Rotation:
    """Angles of positions for :func:`turned` (Su et al. 2021, arXiv 2104.09864, 3.4.2)."""
    if config.family == "gpt2":
        return None
    size = config.width // config.heads
    wave = config.rope_base ** (-jnp.arange(0, size, 2, dtype=jnp.float32) / size)
    angle = place[:, :, None, None].astype(jnp.float32) * jnp.concatenate([wave, wave])
    return jnp.cos(angle), jnp.sin(angle)


def turned(x: Float[Array, "b t h k"], by: Rotation) -> Float[Array, "b t h k"]:
    """Heads turned by their positions. The pairs that turn together are i and i + k / 2, as in Hugging Face's weights;
    the paper has 2 i and 2 i + 1: the same but for the order."""
    if by is None:
        return x
    cosine, sine = by
    half = x.shape[-1] // 2
    other = jnp.concatenate([-x[..., half:], x[..., :half]], axis=-1)
    return (x * cosine + other * sine).astype(x.dtype)


class GptLayer(nnx.Module):
    """Self-attention and a feed-forward part, each fed what is normalised and added to what is not."""

    def __init__(self, config: Any, rngs: nnx.Rngs):
        d, m, dtype, biased = config.width, config.mlp_width, config.dtype, config.family == "gpt2"
        shared = config.kv_heads * (d // config.heads)

        def dense(n_in: int, n_out: int) -> layers.Linear:
            return layers.dense(n_in, n_out, dtype, rngs, use_bias=biased, width=d)

        self.attention_norm, self.mlp_norm = norm(config, rngs), norm(config, rngs)
        self.query, self.key, self.value, self.out = dense(d, d), dense(d, shared), dense(d, shared), dense(d, d)
        self.mlp_in, self.mlp_out = dense(d, m), dense(m, d)
        if not biased:
            self.mlp_gate = dense(d, m)
        for last in (self.out, self.mlp_out):  # Radford et al. 2019, 2.3: the sum of layers keeps its size
            last.kernel[...] = last.kernel[...] * (2 * config.depth) ** -0.5
        self.heads, self.kv_heads, self.dropout = config.heads, config.kv_heads, config.dropout

    def __call__(
        self,
        x: Float[Array, "b t d"],
        bias: Float[Array, "#b 1 t t"],
        turn: Rotation,
        *,
        key: PRNGKeyArray | None = None,
    ) -> Float[Array, "b t d"]:
        keys = [None] * 3 if key is None else list(jax.random.split(key, 3))
        query, key_, value = self._heads(self.attention_norm(x), turn)
        return self._rest(x, self._mixed(query, key_, value, bias, keys[0]), keys[1], keys[2])

    def step(
        self,
        x: Float[Array, "b t d"],
        place: Int[Array, "b t"],
        bias: Float[Array, "b 1 t p"],
        turn: Rotation,
        keys: Float[Array, "b p g k"],
        values: Float[Array, "b p g k"],
    ) -> tuple[Float[Array, "b t d"], tuple[Float[Array, "b p g k"], Float[Array, "b p g k"]]]:
        """New tokens, whose keys and values go to ``place`` in those that are kept; a place out of range drops them."""
        query, *new = self._heads(self.attention_norm(x), turn)
        row = jnp.arange(len(x))[:, None]
        keys, values = (a.at[row, place].set(b, mode="drop") for a, b in zip((keys, values), new, strict=True))
        return self._rest(x, self._mixed(query, keys, values, bias, None), None, None), (keys, values)

    def _heads(self, x: Array, turn: Rotation) -> tuple[Array, Array, Array]:
        query, key, value = layers.together((self.query, self.key, self.value), x)
        query, key, value = (
            y.reshape(*x.shape[:2], count, -1)
            for y, count in ((query, self.heads), (key, self.kv_heads), (value, self.kv_heads))
        )
        return turned(query, turn), turned(key, turn), value

    def _mixed(self, query: Array, key: Array, value: Array, bias: Array, rng: PRNGKeyArray | None) -> Array:
        """Attention; every head of a group uses the keys and values of its group."""
        if (times := self.heads // self.kv_heads) > 1:
            key, value = (jnp.repeat(y, times, axis=2) for y in (key, value))
        mixed = layers.attend(query, key, value, bias, self.dropout, rng)
        return self.out(mixed.reshape(*query.shape[:2], -1))

    def _rest(self, x: Array, mixed: Array, first: PRNGKeyArray | None, second: PRNGKeyArray | None) -> Array:
        x = x + layers.dropout(mixed, self.dropout, first)
        inner = self.mlp_norm(x)
        if hasattr(self, "mlp_gate"):
            gate, up = layers.together((self.mlp_gate, self.mlp_in), inner)
            made = jax.nn.silu(gate) * up
        else:
            made = layers.ACTIVATIONS["gelu_tanh"](self.mlp_in(inner))
        return x + layers.dropout(self.mlp_out(made), self.dropout, second)
