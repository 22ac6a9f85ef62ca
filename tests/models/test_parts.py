"""Shared parts: products in mixed precision, segments of packed rows, what layers compute in."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.models import layers as parts


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 3), st.integers(1, 5), st.integers(1, 9), st.integers(1, 9))
def test_a_mixed_product_is_that_of_rounded_numbers_and_so_are_its_gradients(b, t, n, m):
    random = np.random.default_rng(0)
    x, kernel, weight = (
        random.standard_normal(shape, np.float32) for shape in ((b, t, n), (n, m), (b, t, m))
    )

    def rounded(values):
        return np.asarray(jnp.asarray(values, jnp.bfloat16), np.float64)

    result, back = jax.vjp(parts.product, jnp.asarray(x), jnp.asarray(kernel))
    to_x, to_kernel = back(jnp.asarray(weight))
    assert result.dtype == to_x.dtype == to_kernel.dtype == jnp.float32
    close = {"rtol": 1e-5, "atol": 1e-5}
    np.testing.assert_allclose(result, rounded(x) @ rounded(kernel), **close)
    np.testing.assert_allclose(to_x, rounded(weight) @ rounded(kernel).T, **close)
    expected = np.einsum("btn,btm->nm", rounded(x), rounded(weight))
    np.testing.assert_allclose(to_kernel, expected, **close)


def test_the_products_of_mixed_precision_are_compiled_as_such():
    """XLA must not widen the factors again before it multiplies, forward or backward."""
    if jax.default_backend() != "cpu":
        pytest.skip("how XLA compiles for a CPU")

    def loss(kernels, x):
        return jax.lax.scan(lambda x, kernel: (jnp.tanh(parts.product(x, kernel)), None), x, kernels)[0].sum()

    shapes = jax.ShapeDtypeStruct((2, 64, 64), jnp.float32), jax.ShapeDtypeStruct((128, 64), jnp.float32)
    text = jax.jit(jax.grad(loss)).lower(*shapes).as_text()
    products = [line for line in text.splitlines() if "dot_general" in line]
    assert len(products) == 3 and all(line.count("bf16>") == 2 and "xf32>" in line for line in products), (
        products
    )


def test_layers_of_one_input_are_the_same_together_and_alone():
    x = jax.random.normal(jax.random.key(0), (2, 3, 8))
    for dtype, tolerance in (("float32", 0), ("mixed", 1e-6)):
        layers = [parts.dense(8, width, dtype, nnx.Rngs(width)) for width in (4, 6, 2)]
        for layer, found in zip(layers, parts.together(layers, x), strict=True):
            np.testing.assert_allclose(found, layer(x), atol=tolerance)


SEGMENTS = parts.Segments(
    segment=jnp.array([[1, 1, 2, 2, 2, 0], [0, 0, 0, 0, 0, 0]]),
    position=jnp.array([[0, 1, 0, 1, 2, 0], [0, 0, 0, 0, 0, 0]]),
    start=jnp.array([[0, 2, 0], [0, 0, 0]]),
)


def test_attention_stays_within_a_text():
    bias = np.asarray(parts.segment_bias(SEGMENTS.segment))[:, 0]
    seen = bias[0] == 0
    expected = np.zeros((6, 6), bool)
    expected[:2, :2] = expected[2:5, 2:5] = expected[5:, 5:] = True
    np.testing.assert_array_equal(seen, expected)
    assert np.isfinite(bias).all() and (bias[1] == 0).all()
    causal = np.asarray(parts.segment_bias(SEGMENTS.segment, causal=True))[0, 0]
    np.testing.assert_array_equal(causal == 0, expected & np.tri(6, dtype=bool))


def test_a_decoder_reads_a_packed_text_as_if_it_stood_alone():
    """Attention over a packed row, causal within its texts, against each text by itself."""
    query, key, value = jax.random.normal(jax.random.key(1), (3, 1, 6, 2, 4))
    packed = parts.attend(query, key, value, parts.segment_bias(SEGMENTS.segment[:1], causal=True))
    for start, end in ((0, 2), (2, 5)):
        alone = parts.segment_bias(jnp.ones((1, end - start), jnp.int32), causal=True)
        expected = parts.attend(query[:, start:end], key[:, start:end], value[:, start:end], alone)
        np.testing.assert_allclose(packed[:, start:end], expected, rtol=1e-5, atol=1e-6)


def test_each_text_of_a_row_is_pooled_by_itself():
    hidden = jax.random.normal(jax.random.key(0), (2, 6, 4))
    mean, first = parts.segment_mean(hidden, SEGMENTS), parts.segment_first(hidden, SEGMENTS)
    np.testing.assert_allclose(mean[0, 0], hidden[0, :2].mean(0), rtol=1e-6)
    np.testing.assert_allclose(mean[0, 1], hidden[0, 2:5].mean(0), rtol=1e-6)
    np.testing.assert_array_equal(mean[0, 2], 0)
    np.testing.assert_array_equal(mean[1], 0)
    np.testing.assert_array_equal(first[0, :2], hidden[0, [0, 2]])


@pytest.mark.parametrize("how", parts.POOLINGS)
def test_every_pooling_is_that_of_each_text_alone(how):
    """Against NumPy over the tokens of each text; packed rows and padded ones."""
    hidden = np.asarray(jax.random.normal(jax.random.key(3), (2, 6, 4)))
    expected = {
        "mean": lambda x: x.mean(0),
        "first": lambda x: x[0],
        "last": lambda x: x[-1],
        "max": lambda x: x.max(0),
        "mean_sqrt": lambda x: x.sum(0) / np.sqrt(len(x)),
        "weighted_mean": lambda x: np.average(x, 0, weights=np.arange(1, len(x) + 1)),
    }[how]
    packed = parts.pool_segments(jnp.asarray(hidden), SEGMENTS, how)
    mask = np.arange(6) < np.array([[6], [2]])
    padded = parts.pool(jnp.asarray(hidden), jnp.asarray(mask), how)
    for found, text in (
        (packed[0, 0], hidden[0, :2]),
        (packed[0, 1], hidden[0, 2:5]),
        (padded[1], hidden[1, :2]),
    ):
        np.testing.assert_allclose(found, expected(text), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "backend", "found"),
    [
        ("auto", "cpu", "float32"),
        ("auto", "gpu", "bfloat16"),
        ("auto", "tpu", "bfloat16"),
        ("mixed", "cpu", "float32"),
        ("bfloat16", "cpu", "bfloat16"),
    ],
)
def test_what_layers_compute_in(name, backend, found, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    assert parts.compute_dtype(name) == jnp.dtype(found)


def test_attention_on_a_gpu_is_the_fused_kernel(monkeypatch):
    """Where it cannot be run it is at least chosen: in sixteen bits, without dropout on the probabilities."""
    asked = []

    def fused(query, key, value, *, mask, implementation):
        asked.append((implementation, mask.dtype, mask.shape))
        return query

    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(jax.nn, "dot_product_attention", fused)
    query, bias = jnp.ones((2, 4, 1, 8), jnp.bfloat16), parts.padding_bias(jnp.ones((2, 4), bool))
    parts.attend(query, query, query, bias)
    parts.attend(query, query, query, bias, 0.1)
    parts.attend(query, query, query, bias, 0.1, jax.random.key(0))  # the kernel has no dropout
    wide = query.astype(jnp.float32)
    parts.attend(wide, wide, wide, bias)
    assert asked == [("cudnn", jnp.bool_, (2, 1, 1, 4))] * 2


@pytest.mark.parametrize(
    ("shape", "dtype", "dropped", "takes"),
    [
        ((2, 4, 1, 8), "bfloat16", False, True),
        ((1, 512, 2, 64), "float16", False, True),
        ((1, 512, 2, 64), "bfloat16", True, False),
        ((1, 512, 2, 64), "float32", False, False),
        ((1, 511, 2, 64), "bfloat16", False, False),
        ((1, 512, 1, 256), "bfloat16", False, False),
        ((1, 512, 1, 36), "bfloat16", False, False),
    ],
)
def test_what_the_fused_kernel_takes(shape, dtype, dropped, takes):
    given = jnp.zeros(shape, dtype)
    assert parts.fused_kernel_takes(given, given, dropped) is takes


@pytest.mark.parametrize("error", [RuntimeError, NotImplementedError, ValueError])
def test_attention_is_written_out_where_cudnn_refuses(monkeypatch, error):
    def refusing(*given, **more):
        raise error("cuDNN is too old")

    query = jax.random.normal(jax.random.key(0), (2, 4, 1, 8), jnp.bfloat16)
    bias = parts.padding_bias(jnp.ones((2, 4), bool))
    expected = parts.attend(query, query, query, bias)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(jax.nn, "dot_product_attention", refusing)
    np.testing.assert_array_equal(parts.attend(query, query, query, bias), expected)
