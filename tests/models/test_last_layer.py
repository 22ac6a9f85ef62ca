"""The pooled vectors alone are those of the whole model, and so are their gradients."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import labkit as lk
from labkit.models.layers import Segments

SIZES = {"width": 32, "depth": 3, "heads": 2, "mlp_width": 64, "max_length": 16, "vocab_size": 50}
IDS = jnp.asarray(np.random.default_rng(0).integers(1, 50, (3, 10)), jnp.int32)
PADDED = {"mask": jnp.arange(10) < jnp.array([[10], [6], [0]])}
SEGMENT = jnp.array([[1] * 4 + [2] * 6, [1] * 2 + [2] * 3 + [0] * 5, [0] * 10])
PACKED = {
    "mask": SEGMENT > 0,
    "segments": Segments(
        SEGMENT, jnp.array([[*range(4), *range(6)], [0, 1, *range(3), *range(5)], [*range(10)]]),
        jnp.array([[0, 4], [0, 2], [0, 0]]),
    ),
}  # fmt: skip


def both(model: Any, wants: tuple[str, ...], batch: dict[str, Any]) -> list[tuple[Any, Any]]:
    """Vectors by each way, and the gradients of a sum of them with respect to some parameters."""
    graph, params = nnx.split(model)
    flat = dict(nnx.to_flat_state(params))
    chosen = {
        path: value[...] for path, value in flat.items() if not wants or any(each in path for each in wants)
    }

    def vectors(chosen: Any, alone: bool) -> Any:
        state = nnx.from_flat_state(
            {**flat, **{path: flat[path].replace(value) for path, value in chosen.items()}}
        )
        module = nnx.merge(graph, state)
        return module.vectors(IDS, **batch) if alone else module(IDS, **batch).pooled

    def loss(chosen: Any, alone: bool) -> Any:
        found = vectors(chosen, alone)
        return (found * jax.random.normal(jax.random.key(0), found.shape)).sum(), found

    found = []
    for alone in (True, False):
        gradient, value = jax.jit(jax.grad(loss, has_aux=True), static_argnums=1)(chosen, alone)
        found.append((value, gradient))
    return found


@pytest.mark.parametrize("batch", [PADDED, PACKED], ids=["padded", "packed"])
@pytest.mark.parametrize("settings", [
    {}, {"depth": 1}, {"remat": True}, {"unroll": 3}, {"pooling": "first"}, {"pooling": "mean"},
    {"layout": "distilbert", "types": 0},
], ids=str)  # fmt: skip
def test_vectors_and_gradients_are_those_of_the_whole_model(
    settings: dict[str, Any], batch: dict[str, Any]
) -> None:
    model = lk.models["bert"](**{**SIZES, "pooling": "cls", "dtype": "float32", **settings}).build(
        nnx.Rngs(0)
    )
    alone, whole = both(model, (), batch)
    np.testing.assert_allclose(alone[0], whole[0], rtol=1e-5, atol=1e-6)
    for found, expected in zip(jax.tree.leaves(alone[1]), jax.tree.leaves(whole[1]), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=2e-6)


@pytest.mark.parametrize("wants", [("query", "mlp_out"), ("bias",), ("pooler",), ("word",)], ids=str)
def test_some_parameters_are_trained(wants: tuple[str, ...]) -> None:
    model = lk.models["bert"](**SIZES, pooling="cls", dtype="float32").build(nnx.Rngs(0))
    alone, whole = both(model, wants, PADDED)
    for found, expected in zip(jax.tree.leaves(alone[1]), jax.tree.leaves(whole[1]), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=2e-6)


def test_the_last_layer_computes_nothing_else() -> None:
    """Multiplications as XLA counts them, all layers written out."""
    model = lk.models["bert"](**{**SIZES, "depth": 2, "unroll": 2}, pooling="cls", dtype="float32").build(
        nnx.Rngs(0)
    )
    graph, params = nnx.split(model)
    counts = [
        jax.jit(lambda params, call=call: call(nnx.merge(graph, params))).lower(params).cost_analysis()["flops"]
        for call in (lambda model: model.vectors(IDS, PADDED["mask"]), lambda model: model(IDS, PADDED["mask"]).pooled)
    ]  # fmt: skip
    assert counts[0] < 0.75 * counts[1]


def test_dropout_follows_the_key() -> None:
    model = lk.models["bert"](**SIZES, pooling="cls").build(nnx.Rngs(0))
    one, same, other = (model.vectors(IDS, PADDED["mask"], key=jax.random.key(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert not np.allclose(one[:2], other[:2])


def test_several_batches_at_once() -> None:
    """As explanations compute gradients: over a first axis of everything but the parameters."""
    model = lk.models["bert"](**SIZES, pooling="cls", dtype="float32").build(nnx.Rngs(0))
    graph, params = nnx.split(model)
    masks = jnp.stack([PADDED["mask"], jnp.ones_like(PADDED["mask"])])

    def gradient(mask: Any, alone: bool) -> Any:
        def loss(params: Any) -> Any:
            module = nnx.merge(graph, params)
            return (module.vectors(IDS, mask) if alone else module(IDS, mask).pooled).sum()

        return jax.grad(loss)(params)

    found, expected = (
        jax.vmap(lambda mask, alone=alone: gradient(mask, alone))(masks) for alone in (True, False)
    )
    for one, two in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=5e-6)
