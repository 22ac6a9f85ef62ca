"""Gradients that keep little: those of JAX in float32, within rounding where they keep bfloat16."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import labkit as lk
from labkit.models import layers, lean
from labkit.models.dropout import dropout

#: Largest difference to the derivative of JAX, as a share of its largest value, where bfloat16 is kept and multiplied.
ROUNDED = 2e-2


def assert_same_gradients(
    ours: Callable[..., Any], theirs: Callable[..., Any], inputs: tuple[Any, ...], tolerance: float
) -> None:
    """Results and gradients of two functions, against a random slope."""
    weight = jax.random.normal(jax.random.key(9), jax.eval_shape(theirs, *inputs).shape)
    for found, expected in zip(
        jax.tree.leaves(_with_gradients(ours, inputs, weight)),
        jax.tree.leaves(_with_gradients(theirs, inputs, weight)), strict=True,
    ):  # fmt: skip
        assert found.dtype == expected.dtype
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * np.abs(expected).max())


def _with_gradients(function: Callable[..., Any], inputs: tuple[Any, ...], weight: Any) -> Any:
    result, back = jax.vjp(function, *inputs)
    return result, back(weight.astype(result.dtype))


def normal(*shape: int, seed: int = 0) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), shape)


@pytest.mark.parametrize("short", [False, True])
@pytest.mark.parametrize("name", ["gelu", "gelu_tanh", "relu"])
def test_activations_have_their_gradient(name: str, short: bool) -> None:
    theirs = {
        "gelu": lambda x: jax.nn.gelu(x, approximate=False), "gelu_tanh": jax.nn.gelu, "relu": jax.nn.relu,
    }[name]  # fmt: skip
    dtype = "mixed" if short else "float32"
    # no element so near 0 that rounding would turn the side of a ReLU
    inputs = (3 * normal(4, 65),)
    assert_same_gradients(
        lambda x: layers.activate(name, dtype, x), theirs, inputs, ROUNDED if short else 1e-5
    )


@pytest.mark.parametrize(
    ("name", "theirs"), [("silu", jax.nn.silu), ("gelu", lambda x: jax.nn.gelu(x, approximate=False))]
)
def test_gated_activations_have_their_gradients(name: str, theirs: Callable[[Any], Any]) -> None:
    inputs = normal(3, 5), normal(3, 5, seed=1)
    assert_same_gradients(
        lambda gate, x: layers.gated(name, "float32", gate, x), lambda gate, x: theirs(gate) * x, inputs, 1e-5
    )


def test_gelu_is_that_of_jax_far_from_zero() -> None:
    x = jnp.linspace(-30, 30, 601)
    np.testing.assert_allclose(lean.gelu(x), jax.nn.gelu(x, approximate=False), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("short", [False, True])
@pytest.mark.parametrize("kind", ["layer", "unbiased", "rms"])
def test_norms_are_those_of_flax(kind: str, short: bool) -> None:
    dtype, options = (
        ("mixed" if short else "float32"),
        {"epsilon": 1e-5, "rngs": nnx.Rngs(0), "use_fast_variance": False},
    )
    if kind == "rms":
        ours, theirs = layers.rms_norm(16, 1e-5, dtype, nnx.Rngs(0)), nnx.RMSNorm(16, **options)
    else:
        ours = layers.norm(16, 1e-5, dtype, nnx.Rngs(0), use_bias=kind == "layer")
        theirs = nnx.LayerNorm(16, use_bias=kind == "layer", **options)
    params = jax.tree.map(lambda x: x + 0.3 * normal(*x.shape, seed=3), nnx.to_pure_dict(nnx.state(theirs)))

    def run(module: Any) -> Callable[..., Any]:
        graph, state = nnx.split(module)

        def applied(params: Any, x: Any) -> Any:
            nnx.replace_by_pure_dict(state, params)
            return nnx.merge(graph, state)(x)

        return applied

    inputs = params, 2 + 5 * normal(3, 7, 16)
    assert_same_gradients(run(ours), run(theirs), inputs, ROUNDED if short else 1e-5)


def test_a_new_norm_takes_as_many_random_numbers_as_that_of_flax() -> None:
    """So that the layers after it are made the same."""
    ours, theirs = nnx.Rngs(0), nnx.Rngs(0)
    layers.norm(4, 1e-5, "float32", ours)
    nnx.LayerNorm(4, rngs=theirs)
    assert ours.params() == theirs.params()


def plain_attention(query: Any, key: Any, value: Any, bias: Any, rate: float = 0.0, rng: Any = None) -> Any:
    scores = jnp.einsum("bqhk,bthk->bhqt", query * query.shape[-1] ** -0.5, key) + bias
    return jnp.einsum("bhqt,bthk->bqhk", dropout(jax.nn.softmax(scores, axis=-1), rate, rng), value)


@pytest.mark.parametrize("short", [False, True])
@pytest.mark.parametrize("rate", [0.0, 0.3])
def test_attention_has_its_gradients(short: bool, rate: float) -> None:
    """Queries of another length than the keys, rows that see nothing but themselves, dropout of the same elements."""
    query, key, value = normal(2, 5, 3, 8), normal(2, 7, 3, 8, seed=1), normal(2, 7, 3, 8, seed=2)
    hidden = np.random.default_rng(0).random((2, 1, 5, 7)) < 0.3
    bias, rng = jnp.where(hidden, jnp.finfo(jnp.float32).min, 0.0), jax.random.key(4)
    assert_same_gradients(
        lambda *qkv: layers.attend(*qkv, bias, rate, rng, short),
        lambda *qkv: plain_attention(*qkv, bias, rate, rng),
        (query, key, value),
        ROUNDED if short else 1e-5,
    )


def test_attention_in_sixteen_bits_keeps_their_data_type() -> None:
    query, key, value = (normal(2, 4, 2, 8, seed=seed).astype(jnp.bfloat16) for seed in range(3))
    bias = jnp.zeros((1, 1, 1, 4))
    found = jax.grad(lambda q: layers.attend(q, key, value, bias, short=True).sum().astype(jnp.float32))(
        query
    )
    assert found.dtype == jnp.bfloat16 and np.isfinite(np.asarray(found, np.float32)).all()


def test_attention_that_is_not_finite_is_not_hidden() -> None:
    x = normal(1, 3, 1, 4).at[0, 1, 0, 0].set(jnp.nan)
    bias = jnp.zeros((1, 1, 1, 3))
    for short in (False, True):
        assert not np.isfinite(layers.attend(x, x, x, bias, 0.5, jax.random.key(0), short)).any()
        assert np.isnan(
            jax.grad(lambda q, short=short: layers.attend(q, x, x, bias, short=short).sum())(x)
        ).any()


@pytest.mark.parametrize("name", ["bert", "gpt", "modernbert"])
@pytest.mark.parametrize("remat", [False, True])
def test_mixed_gradients_of_a_model_are_near_those_of_float32(name: str, remat: bool) -> None:
    sizes = {"width": 32, "depth": 2, "heads": 2, "mlp_width": 64, "max_length": 16, "vocab_size": 50}
    ids, mask = jnp.arange(20).reshape(2, 10), jnp.arange(10) < jnp.array([[10], [6]])
    found = []
    for dtype in ("float32", "mixed"):
        model = lk.models[name](**sizes, dtype=dtype, remat=remat).build(nnx.Rngs(0))
        graph, params = nnx.split(model)

        def loss(params: Any, graph: Any = graph) -> Any:
            return (nnx.merge(graph, params)(ids, mask, key=jax.random.key(1)).pooled * normal(2, 32)).sum()

        found.append(jax.tree.leaves(nnx.to_pure_dict(jax.jit(jax.grad(loss))(params))))
    whole = [np.concatenate([np.ravel(leaf) for leaf in leaves]) for leaves in found]
    assert np.linalg.norm(whole[0] - whole[1]) < ROUNDED * np.linalg.norm(whole[0])
