"""Functions whose gradients keep little of the forward pass: activations, normalisation, attention.

Left to JAX, the gradient of a GELU keeps three arrays, that of a softmax two of [b, h, t, t], that of a norm three, all
in float32. On a CPU writing, copying and reading them takes longer than the products of the step. Here an activation
keeps its input, a norm what it has normalised, attention its factors and probabilities. In mixed precision
(``short``) they are rounded to bfloat16, as the factors of products are; otherwise they keep their data type, and the
gradient is that of JAX up to the order of sums.

There is no forward-mode derivative of them (``jax.jvp``).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from labkit.core.shapes import Array, Float, PRNGKeyArray
from labkit.models.dropout import drops, gain


def gelu(x: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """x Φ(x) (Hendrycks & Gimpel, arXiv 1606.08415) by erf, as PyTorch has it; erfc takes twice the time on a CPU."""
    return 0.5 * x * (1 + lax.erf(x * np.sqrt(0.5).astype(x.dtype)))


# --- residuals ---------------------------------------------------------------------------------------------


def pack(x: Array, short: bool) -> Array:
    """The residual of an array for the backward pass.

    bfloat16 is stored as its bit pattern: XLA widens bfloat16 carried by a loop to float32 on a CPU.
    """
    if short or x.dtype == jnp.bfloat16:
        return lax.bitcast_convert_type(x.astype(jnp.bfloat16), jnp.uint16)
    return x


def unpack(kept: Array) -> Array:
    """The array that :func:`pack` kept."""
    return lax.bitcast_convert_type(kept, jnp.bfloat16) if kept.dtype == jnp.uint16 else kept


def along(row: Float[Array, " d"], x: Float[Array, "*s d"]) -> Array:
    """A row of numbers with as many axes as ``x``, to be broadcast to it."""
    return row.reshape((1,) * (x.ndim - 1) + (-1,))


def _positive(kept: Array) -> Array:
    """What was kept, but 0 where its sign is negative. Of sixteen bits by whole numbers: XLA computes in
    float32 on a CPU whatever else it does in bfloat16, and would widen the factor of the product that follows."""
    if kept.dtype == jnp.uint16:
        return unpack(jnp.where(kept < 0x8000, kept, jnp.zeros((), jnp.uint16)))
    return jnp.maximum(kept, 0)


# --- activations ----------------------------------------------------------------------------------------------


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def pointwise(function: Callable[..., Array], short: bool, *inputs: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """``function(*inputs)``, element by element; its gradient keeps the inputs and computes the rest again."""
    return function(*inputs)


def _pointwise_forward(function: Callable[..., Array], short: bool, *inputs: Array) -> tuple[Array, Any]:
    return function(*inputs), tuple(pack(x, short) for x in inputs)


def _pointwise_backward(
    function: Callable[..., Array], short: bool, kept: tuple[Array, ...], slope: Array
) -> tuple[Array, ...]:
    return jax.vjp(function, *(unpack(x).astype(slope.dtype) for x in kept))[1](slope)


pointwise.defvjp(_pointwise_forward, _pointwise_backward)


# --- normalisation --------------------------------------------------------------------------------------------


@partial(jax.custom_vjp, nondiff_argnums=(3, 4, 5))
def normalised(
    x: Float[Array, "*s d"],
    scale: Float[Array, " d"],
    bias: Float[Array, " d"] | None,
    eps: float,
    centred: bool,
    short: bool,
) -> Float[Array, "*s d"]:
    """Normalise the last axis, two-pass, then scale and shift.

    Args:
        x: what is normalised, in float32.
        scale: a factor for each column.
        bias: what is added to each column; None for nothing.
        eps: added to the variance.
        centred: subtract the mean before (layer normalisation, Ba et al., arXiv 1607.06450), or not (RMS
            normalisation, Zhang & Sennrich, arXiv 1910.07467).
        short: keep what is normalised in bfloat16.
    """
    return _normalised_forward(x, scale, bias, eps, centred, short)[0]


def _normalised_forward(
    x: Array, scale: Array, bias: Array | None, eps: float, centred: bool, short: bool
) -> tuple[Array, Any]:
    off = x - x.mean(-1, keepdims=True) if centred else x
    inverse = lax.rsqrt(jnp.square(off).mean(-1, keepdims=True) + eps)
    y = off * (inverse * along(scale, x))
    result = y if bias is None else y + along(bias, x)
    return result, (pack(off * inverse, short), inverse, scale, bias)


def _normalised_backward(
    eps: float, centred: bool, short: bool, kept: tuple[Any, ...], slope: Array
) -> tuple[Array, Array, Array | None]:
    even, inverse, scale, bias = unpack(kept[0]).astype(jnp.float32), *kept[1:]
    scaled, axes = slope * along(scale, slope), tuple(range(slope.ndim - 1))
    through = even * (scaled * even).mean(-1, keepdims=True)
    if centred:
        through += scaled.mean(-1, keepdims=True)
    to_bias = None if bias is None else slope.sum(axes)
    return inverse * (scaled - through), (slope * even).sum(axes), to_bias


normalised.defvjp(_normalised_forward, _normalised_backward)


# --- attention ------------------------------------------------------------------------------------------------


@partial(jax.custom_vjp, nondiff_argnums=(5, 6))
def attention(
    query: Float[Array, "b q h k"],
    key: Float[Array, "b t h k"],
    value: Float[Array, "b t h k"],
    bias: Float[Array, "#b #h #q t"],
    rng: PRNGKeyArray | None,
    rate: float,
    short: bool,
) -> Float[Array, "b q h k"]:
    """Scaled dot-product attention, softmax in float32, dropout on the probabilities.

    Args:
        query, key, value: of every head.
        bias: added to the scores; a constant: it gets no gradient.
        rng: switches dropout on.
        rate: of dropout.
        short: multiply bfloat16, with sums in float32, and keep them so.
    """
    return _attention_forward(query, key, value, bias, rng, rate, short)[0]


def _attention_forward(
    query: Array, key: Array, value: Array, bias: Array, rng: PRNGKeyArray | None, rate: float, short: bool
) -> tuple[Array, Any]:
    queries = _heads_first(query * query.shape[-1] ** -0.5, short)
    keys, values = _heads_first(key, short), _heads_first(value, short)
    scores = _dot(queries, keys, 3, 3) + bias
    chances = jax.nn.softmax(scores, axis=-1).astype(query.dtype)
    # The sign says what dropout takes: no mask needs to be kept, nor drawn again.
    signed = jnp.where(drops(rng, rate, chances.shape), -chances, chances)
    kept = pack(signed, short)
    mixed = _dot(_positive(kept), values, 3, 2)
    result = jnp.moveaxis(mixed * gain(rng, rate), 1, 2).astype(query.dtype)
    return result, (*(pack(x, short) for x in (queries, keys, values, mixed)), kept, rng)


def _attention_backward(
    rate: float, short: bool, kept: tuple[Any, ...], slope: Array
) -> tuple[Array, Array, Array, None, None]:
    (queries, keys, values, mixed, signed), rng = map(unpack, kept[:5]), kept[5]
    slopes = _heads_first(slope.astype(jnp.float32) * gain(rng, rate), short).astype(values.dtype)
    to_value = _dot(_turned(slopes, short), _positive(kept[4]), 3, 2)
    to_chance = jnp.where(signed > 0, _dot(slopes, values, 3, 3), 0)
    # The sum of a row's probabilities, each times its slope (Dao et al. 2022, arXiv 2205.14135, appendix B.2).
    through = (slopes.astype(jnp.float32) * mixed).sum(-1, keepdims=True)
    # Nothing changes here, but XLA would compute what follows as part of this sum, and write its inputs in float32.
    through = jnp.where(through != 0, through, 0)
    to_score = (jnp.abs(signed) * (to_chance - through)).astype(values.dtype)
    to_query = _dot(to_score, keys, 3, 2) * queries.shape[-1] ** -0.5
    to_key = _dot(_turned(queries, short), to_score, 3, 2)
    of_query, of_key, of_value = (
        jnp.moveaxis(x, axis, 1).astype(slope.dtype)
        for x, axis in ((to_query, 2), (to_key, 3), (to_value, 3))
    )
    return of_query, of_key, of_value, None, None


attention.defvjp(_attention_forward, _attention_backward)


def _heads_first(x: Float[Array, "b t h k"], short: bool) -> Float[Array, "b h t k"]:
    return _laid_out(jnp.moveaxis(x.astype(jnp.bfloat16), 2, 1)) if short else jnp.moveaxis(x, 2, 1)


def _turned(x: Float[Array, "b h t k"], short: bool) -> Float[Array, "b h k t"]:
    return _laid_out(jnp.swapaxes(x, 2, 3)) if short else jnp.swapaxes(x, 2, 3)


def _laid_out(x: Float[Array, "b h t k"]) -> Float[Array, "b h t k"]:
    """The same, written out row by row.

    For XLA a transpose is a view, of which it has no fast product on a CPU; an axis of one element more behind a
    barrier makes it a copy.
    """
    return lax.optimization_barrier(x[:, :, :, None])[:, :, :, 0]


def _dot(a: Array, b: Array, axis: int, other: int) -> Array:
    """Products of each example's and head's matrices, summed over ``axis`` of ``a`` and ``other`` of ``b`` in
    float32.

    The factor whose last axis is summed comes first: only then XLA has a fast product on a CPU.
    """
    numbers = (((axis,), (other,)), ((0, 1), (0, 1)))
    return lax.dot_general(a, b, numbers, preferred_element_type=jnp.float32)
