"""Dropout, and its random bits: those of JAX, without its loop."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.models import layers
from labkit.models.dropout import bits


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 7), max_size=4).map(tuple))
def test_bits_are_those_of_jax(seed: int, shape: tuple[int, ...]) -> None:
    key = jax.random.key(seed)
    np.testing.assert_array_equal(bits(key, shape), jax.random.bits(key, shape, "uint32"))


@pytest.mark.parametrize("implementation", ["threefry2x32", "rbg"])
def test_bits_of_other_generators_and_older_threefry_are_those_of_jax(implementation: str) -> None:
    key = jax.random.key(7, impl=implementation)
    with jax.threefry_partitionable(False):
        np.testing.assert_array_equal(bits(key, (3, 5)), jax.random.bits(key, (3, 5), "uint32"))


def test_bits_of_many_keys_at_once() -> None:
    keys = jax.random.split(jax.random.key(1), 3)
    found = jax.vmap(lambda key: bits(key, (2, 4)))(keys)
    for key, each in zip(keys, found, strict=True):
        np.testing.assert_array_equal(each, jax.random.bits(key, (2, 4), "uint32"))


def test_dropout_is_compiled_without_a_loop() -> None:
    """Nor is an array of bits written: one operation reads the numbers and writes what is left of them."""
    if jax.default_backend() != "cpu":
        pytest.skip("how XLA compiles for a CPU")

    def dropped(x: jax.Array, key: jax.Array) -> jax.Array:
        return layers.dropout(x, 0.1, key)

    compiled = jax.jit(dropped).lower(jnp.ones((8, 64)), jax.random.key(0)).compile().as_text()
    assert compiled is not None and " while(" not in compiled
    assert "u32[8,32]" not in compiled.split("ENTRY")[1]
