"""Dropout, and its random bits: those of ``jax.random.bits``, computed on a CPU without a loop.

JAX runs the twenty rounds of Threefry-2x32 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") in a
loop there, which writes and copies both words of every counter five times. Written out, XLA fuses them into the
operation that reads the bits, and no bit goes through memory.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from labkit.core.shapes import Array, Bool, Float, PRNGKeyArray

#: A rate of dropout is a multiple of 1 / this.
LEVELS = 65536
#: By how many bits the second word turns in each round; the two rows alternate.
ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
#: What makes a third word of the two of a key.
PARITY = np.uint32(0x1BD11BDA)


def dropout(x: Float[Array, "*s"], rate: float, key: PRNGKeyArray | None) -> Float[Array, "*s"]:
    """Zero each element with probability ``rate`` and scale the others so that the mean stays.

    Sixteen random bits decide an element, two elements to each 32-bit draw: random bits are the most
    expensive part of dropout on a CPU. The rate is therefore rounded to a multiple of 1/65536, and the scale
    follows the rounded rate.
    """
    if key is None or _cut(rate) == 0:
        return x
    larger = x * jnp.asarray(gain(key, rate), x.dtype)
    return jnp.where(drops(key, rate, x.shape), jnp.zeros((), x.dtype), larger)


def _cut(rate: float) -> int:
    return round(rate * LEVELS)


def gain(key: PRNGKeyArray | None, rate: float) -> float:
    """By what dropout multiplies the elements that it leaves."""
    return 1.0 if key is None else LEVELS / (LEVELS - _cut(rate))


def drops(key: PRNGKeyArray | None, rate: float, shape: tuple[Any, ...]) -> Bool[Array, "*s"]:
    """Which elements dropout zeroes; sizes of ``shape`` may be symbolic, without a key."""
    if key is None or _cut(rate) == 0:
        return jnp.zeros((), bool)
    *lead, last = shape
    words = bits(key, (*lead, (last + 1) // 2))
    drawn = jax.lax.bitcast_convert_type(words, jnp.uint16).reshape(*lead, -1)[..., :last]
    return drawn < _cut(rate)


def bits(key: PRNGKeyArray, shape: tuple[int, ...]) -> Array:
    """The same as ``jax.random.bits(key, shape, "uint32")``, bit by bit."""
    if not _unrolls(key) or np.prod(shape, dtype=np.int64) >= 2**32:
        return jax.random.bits(key, shape, "uint32")
    words = jax.random.key_data(key)
    one, two = threefry(words[0], words[1], jnp.zeros(shape, jnp.uint32), _counter(shape))
    return one ^ two


def _unrolls(key: PRNGKeyArray) -> bool:
    """Whether this key draws here by Threefry with a counter for every number."""
    return (
        jax.default_backend() == "cpu"
        and str(jax.random.key_impl(key)) == "threefry2x32"
        and bool(jax.config.values.get("jax_threefry_partitionable"))
    )


def _counter(shape: tuple[int, ...]) -> Array:
    """The place of every number in an array of this shape."""
    place = jnp.zeros(shape, jnp.uint32)
    for axis, size in enumerate(shape):
        place = place * np.uint32(size) + jax.lax.broadcasted_iota(jnp.uint32, shape, axis)
    return place


def threefry(first: Array, second: Array, x: Array, y: Array) -> tuple[Array, Array]:
    """Threefry-2x32 with twenty rounds of the counters (x, y) under a key of two words."""
    key = first, second, first ^ second ^ PARITY
    x, y = x + first, y + second
    for block in range(5):
        for turn in ROTATIONS[block % 2]:
            x = x + y
            y = x ^ ((y << np.uint32(turn)) | (y >> np.uint32(32 - turn)))
        x = x + key[(block + 1) % 3]
        y = y + key[(block + 2) % 3] + np.uint32(block + 1)
    return x, y
