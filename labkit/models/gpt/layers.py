"""The layer of GPT-2, Llama and Qwen, its norms and rotary positions."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from labkit.core.shapes import Array, Float, Int, PRNGKeyArray
from labkit.models import layers
from labkit.models.base import ModelConfig
from labkit.models.layers import Rotation, frequencies

LOWEST = jnp.finfo(jnp.float32).min  # finite: see parts.padding_bias


def norm(config: ModelConfig, rngs: nnx.Rngs, width: int | None = None) -> layers.LayerNorm | layers.RMSNorm:
    """The family's normalisation over the last axis, of ``width`` (by default that of the hidden states);
    mean and variance are taken in float32."""
    if config.family == "gpt2":
        return layers.norm(config.width, config.norm_eps, config.dtype, rngs)
    return layers.rms_norm(width or config.width, config.norm_eps, config.dtype, rngs)


def rotation(config: ModelConfig, place: Int[Array, "#b t"]) -> Rotation:
    """Angles of positions for :func:`~labkit.models.layers.turned`."""
    if config.family == "gpt2":
        return None
    return layers.rotation(
        place, scaled(frequencies(config.head_size, config.rope_base), config.rope_scaling)
    )


def scaled(wave: np.ndarray, scaling: tuple[float, ...]) -> np.ndarray:
    """Frequencies f32[k / 2] for texts longer than those of pretraining.

    Args:
        wave: the frequencies that were trained.
        scaling: none; (factor,), by which all are divided (Chen et al. 2023, arXiv 2306.15595); or (factor,
            low, high, length) of Llama 3.1: those that turn at most ``low`` times in ``length`` tokens are
            divided, those that turn more than ``high`` times stay, and between them the two are interpolated.
    """
    if len(scaling) < 4:
        return wave / np.float32(*scaling or (1.0,))
    factor, low, high, length = map(np.float32, scaling)
    share = np.clip((length * wave / np.float32(2 * np.pi) - low) / (high - low), 0, 1)
    return (1 - share) * wave / factor + share * wave


class GptLayer(nnx.Module):
    """Self-attention and a feed-forward part, each fed what is normalised and added to what is not."""

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs):
        d, m, dtype, biased = config.width, config.mlp_width, config.dtype, config.family == "gpt2"
        own, shared = (count * config.head_size for count in (config.heads, config.kv_heads))

        def dense(n_in: int, n_out: int, use_bias: bool = biased) -> layers.Linear:
            return layers.dense(n_in, n_out, dtype, rngs, use_bias=use_bias, width=d)

        self.attention_norm, self.mlp_norm = norm(config, rngs), norm(config, rngs)
        joint = biased or config.family == "qwen2"
        self.query, self.key, self.value = (dense(d, size, joint) for size in (own, shared, shared))
        self.out = dense(own, d)
        self.mlp_in, self.mlp_out = dense(d, m), dense(m, d)
        if not biased:
            self.mlp_gate = dense(d, m)
        self.normalised = config.family == "qwen3"
        if self.normalised:
            self.query_norm, self.key_norm = (norm(config, rngs, config.head_size) for _unused in range(2))
        for last in (self.out, self.mlp_out):  # Radford et al. 2019, 2.3: the sum of layers keeps its size
            last.kernel[...] = last.kernel[...] * (2 * config.depth) ** -0.5
        self.heads, self.kv_heads, self.dropout = config.heads, config.kv_heads, config.dropout
        self.dtype, self.short = dtype, layers.halves(dtype)

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
        return self._rest(x, self._mixed(query, key_, value, bias, keys[0], self.short), keys[1], keys[2])

    def step(
        self,
        x: Float[Array, "b t d"],
        used: Int[Array, " b"],
        count: Int[Array, " b"],
        bias: Float[Array, "b 1 t p"],
        turn: Rotation,
        keys: Float[Array, "b g p k"],
        values: Float[Array, "b g p k"],
    ) -> tuple[Float[Array, "b t d"], tuple[Float[Array, "b g p k"], Float[Array, "b g p k"]]]:
        """``count`` new tokens, whose keys and values go behind the ``used`` ones of those that are kept;
        there must be room."""
        query, *new = self._heads(self.attention_norm(x), turn)
        keys, values = (_put(a, b, used, count) for a, b in zip((keys, values), new, strict=True))
        return self._rest(x, self._grouped(query, keys, values, bias), None, None), (keys, values)

    def _heads(self, x: Array, turn: Rotation) -> tuple[Array, Array, Array]:
        query, key, value = layers.together((self.query, self.key, self.value), x)
        query, key, value = (
            y.reshape(*x.shape[:2], count, -1)
            for y, count in ((query, self.heads), (key, self.kv_heads), (value, self.kv_heads))
        )
        if self.normalised:
            query, key = self.query_norm(query), self.key_norm(key)
        return layers.turned(query, turn), layers.turned(key, turn), value

    def _grouped(self, query: Array, keys: Array, values: Array, bias: Array) -> Array:
        """Attention to keys and values that are kept from step to step. They are neither repeated for the heads of a
        group nor rounded: for each token again, that takes longer than it saves."""
        rows, length, groups, size = *query.shape[:2], self.kv_heads, query.shape[-1]
        query = query.reshape(rows, length, groups, -1, size) * size**-0.5
        query = query.transpose(0, 2, 3, 1, 4).reshape(rows, groups, -1, size)
        exact: Any = {"preferred_element_type": jnp.float32}
        scores = jnp.einsum("bgqk,bgpk->bgqp", query, keys, **exact)
        scores = scores.reshape(rows, groups, -1, length, keys.shape[2]) + bias[:, :, None]
        chances = (
            jax.nn.softmax(scores, axis=-1).reshape(rows, groups, -1, keys.shape[2]).astype(values.dtype)
        )
        mixed = jnp.einsum("bgqp,bgpk->bgqk", chances, values, **exact).astype(query.dtype)
        mixed = mixed.reshape(rows, groups, -1, length, size).transpose(0, 3, 1, 2, 4)
        return self.out(mixed.reshape(rows, length, -1))

    def _mixed(
        self, query: Array, key: Array, value: Array, bias: Array, rng: PRNGKeyArray | None, short: bool
    ) -> Array:  # fmt: skip
        """Attention; every head of a group uses the keys and values of its group."""
        if (times := self.heads // self.kv_heads) > 1:
            key, value = (jnp.repeat(y, times, axis=2) for y in (key, value))
        mixed = layers.attend(query, key, value, bias, self.dropout, rng, short)
        return self.out(mixed.reshape(*query.shape[:2], -1))

    def _rest(self, x: Array, mixed: Array, first: PRNGKeyArray | None, second: PRNGKeyArray | None) -> Array:
        x = x + layers.dropout(mixed, self.dropout, first)
        inner = self.mlp_norm(x)
        if hasattr(self, "mlp_gate"):
            gate, up = layers.together((self.mlp_gate, self.mlp_in), inner)
            made = layers.gated("silu", self.dtype, gate, up)
        else:
            made = layers.activate("gelu_tanh", self.dtype, self.mlp_in(inner))
        return x + layers.dropout(self.mlp_out(made), self.dropout, second)


def _put(
    kept: Float[Array, "b g p k"], new: Float[Array, "b t g k"], used: Int[Array, " b"], count: Int[Array, " b"]
) -> Float[Array, "b g p k"]:  # fmt: skip
    """The first ``count`` of the new ones of each row written behind the ``used`` ones."""
    new = new.astype(kept.dtype)
    if new.shape[1] == 1:
        place = jnp.where(count > 0, used, kept.shape[2])
        return kept.at[jnp.arange(len(kept)), :, place].set(new[:, 0], mode="drop")
    # A scatter of many goes one by one on a CPU.
    source = jnp.arange(kept.shape[2])[None] - used[:, None]
    real = (source >= 0) & (source < count[:, None])
    found = jnp.take_along_axis(new.swapaxes(1, 2), jnp.where(real, source, 0)[:, None, :, None], axis=2)
    return jnp.where(real[:, None, :, None], found, kept)
