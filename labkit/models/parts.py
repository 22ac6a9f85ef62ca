"""Parts that architectures share: layers with our initial values, dropout, attention, a scan over stacked layers.

Nothing here holds random state. Where chance is wanted a function takes a key; ``key=None`` means none, and then no
random number is compiled. Parameters are float32; ``dtype`` is what a layer computes in.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from labkit.base.shapes import Array, Bool, Float, PRNGKeyArray

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "gelu": partial(jax.nn.gelu, approximate=False),
    "gelu_tanh": partial(jax.nn.gelu, approximate=True),
    "relu": jax.nn.relu,
}
DTYPES = ("float32", "bfloat16", "float16")

# One object for the whole process: NNX compares initialisers by identity when it compares two models' structure.
INITIAL = nnx.initializers.truncated_normal(stddev=0.02)


def dense(n_in: int, n_out: int, dtype: str, rngs: nnx.Rngs) -> nnx.Linear:
    """A linear layer: kernel [n_in, n_out] truncated normal 0.02, bias [n_out] zero."""
    return nnx.Linear(n_in, n_out, kernel_init=INITIAL, dtype=jnp.dtype(dtype), rngs=rngs)


def embed(count: int, width: int, rngs: nnx.Rngs) -> nnx.Embed:
    """A look-up table [count, width], truncated normal 0.02."""
    return nnx.Embed(count, width, embedding_init=INITIAL, rngs=rngs)


def norm(width: int, eps: float, dtype: str, rngs: nnx.Rngs) -> nnx.LayerNorm:
    """Layer normalisation over the last axis; mean and variance are taken in float32, two-pass."""
    return nnx.LayerNorm(width, epsilon=eps, use_fast_variance=False, dtype=jnp.dtype(dtype), rngs=rngs)


def dropout(x: Float[Array, "*s"], rate: float, key: PRNGKeyArray | None) -> Float[Array, "*s"]:
    """Zero each element with probability ``rate`` and scale the others so that the mean stays.

    Sixteen random bits decide an element, two elements to each 32-bit draw: random bits are the dearest part of
    dropout on a CPU. The rate is therefore rounded to a multiple of 1/65536, and the scale follows the rounded rate.
    """
    cut = round(rate * 65536)
    if key is None or cut == 0:
        return x
    *lead, last = x.shape
    words = jax.random.bits(key, (*lead, (last + 1) // 2), "uint32")
    bits = jax.lax.bitcast_convert_type(words, jnp.uint16).reshape(*lead, -1)[..., :last]
    scale = jnp.asarray(65536 / (65536 - cut), x.dtype)
    return jnp.where(bits >= cut, x * scale, jnp.zeros((), x.dtype))


def padding_bias(mask: Bool[Array, "b t"]) -> Float[Array, "b 1 1 t"]:
    """What to add to attention scores: 0 at real tokens, the lowest finite float32 at padding.

    Finite, so that a row without any real token gives an even attention and not NaN.
    """
    return jnp.where(mask, 0.0, jnp.finfo(jnp.float32).min)[:, None, None, :]


def attend(
    query: Float[Array, "b q h k"],
    key: Float[Array, "b t h k"],
    value: Float[Array, "b t h k"],
    bias: Float[Array, "#b #h #q t"],
    rate: float = 0.0,
    rng: PRNGKeyArray | None = None,
) -> Float[Array, "b q h k"]:
    """Scaled dot-product attention, softmax in float32, dropout on the probabilities (Vaswani et al. 2017, 3.2).

    Written out because ``jax.nn.dot_product_attention`` has no dropout; on a CPU neither is measurably faster.
    """
    scores = jnp.einsum("bqhk,bthk->bhqt", query * query.shape[-1] ** -0.5, key, preferred_element_type=jnp.float32)
    chances = dropout(jax.nn.softmax(scores + bias, axis=-1), rate, rng)
    return jnp.einsum("bhqt,bthk->bqhk", chances.astype(value.dtype), value)


def masked_mean(hidden: Float[Array, "b t d"], mask: Bool[Array, "b t"]) -> Float[Array, "b d"]:
    """Mean over the real tokens of each row; zeros for a row that has none."""
    total = jnp.einsum("btd,bt->bd", hidden, mask.astype(hidden.dtype))
    return total / jnp.maximum(mask.sum(axis=1, dtype=hidden.dtype), 1)[:, None]


def stack(make: Callable[[nnx.Rngs], nnx.Module], depth: int, rngs: nnx.Rngs) -> Any:
    """Make ``depth`` layers of one kind as one module whose parameters have a first axis [depth, …]."""
    build = nnx.vmap(lambda rngs: make(rngs), in_axes=0, out_axes=0)
    return nnx.split_rngs(splits=depth)(build)(rngs)


def scan(layers: Any, x: Array, *shared: Any, key: PRNGKeyArray | None = None, unroll: int = 1) -> Array:
    """Run stacked layers one after the other: ``x = layer(x, *shared, key=key_of_the_layer)``.

    The layer is compiled once whatever the depth. ``unroll`` layers are laid out one after the other inside the loop:
    more compile time for a few per cent of speed.
    """
    graph, params = nnx.split(layers)
    depth = jax.tree.leaves(params)[0].shape[0]
    keys = None if key is None else jax.random.split(key, depth)

    def step(x: Array, layer: tuple[Any, PRNGKeyArray | None]) -> tuple[Array, None]:
        return nnx.merge(graph, layer[0])(x, *shared, key=layer[1]), None

    return jax.lax.scan(step, x, (params, keys), length=depth, unroll=min(unroll, depth))[0]
