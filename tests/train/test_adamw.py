"""AdamW in few passes is ``optax.chain(clip, adamw)``, and its state is that of optax."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from labkit.train.optimizer import Optimizer, decays
from tests.train.test_step import batches, made

SHAPES = {
    "a/kernel": (5, 7),
    "b/kernel": (3, 4, 4),
    "b/bias": (3, 4),
    "norm/scale": (7,),
    "words/embedding": (9, 4),
}
MASK = {name: decays(name) for name in SHAPES}


def gradients(count: int) -> list[dict[str, Any]]:
    """Some so large that they are clipped, some not, some of only zeros."""
    random = np.random.default_rng(0)
    sizes = random.choice([0.0, 1e-3, 0.1, 10.0], count)
    return [
        {name: jnp.asarray(size * random.normal(size=shape), jnp.float32) for name, shape in SHAPES.items()}
        for size in sizes
    ]


def norm_of(gradient: dict[str, Any]) -> Any:
    return jnp.sqrt(sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(gradient)))


@pytest.mark.parametrize("settings", [
    {}, {"clip": 0.0}, {"weight_decay": 0.0}, {"beta1": 0.0, "beta2": 0.9, "epsilon": 1e-3},
    {"schedule": "cosine", "warmup": 0.2, "weight_decay": 0.3},
])  # fmt: skip
def test_fifty_updates_are_those_of_optax(settings: dict[str, Any]) -> None:
    """Also with layers that learn at rates of their own."""
    optimizer = Optimizer(learning_rate=1e-2, **settings)
    factors = {name: 1.0 for name in SHAPES} | {
        "b/kernel": np.array([0.25, 0.5, 1.0], np.float32)[:, None, None]
    }
    schedule = lambda step: optimizer.learning_rate * optimizer.shape(step, 50)  # noqa: E731
    parts = [optax.clip_by_global_norm(optimizer.clip)] if optimizer.clip else []
    reference = optax.chain(*parts, optax.adamw(
        schedule, optimizer.beta1, optimizer.beta2, optimizer.epsilon, weight_decay=optimizer.weight_decay, mask=MASK,
    ))  # fmt: skip
    ours, transform = optimizer.fused_adamw(MASK), optimizer.build(MASK)
    assert ours is not None
    random = np.random.default_rng(1)
    mine = {name: jnp.asarray(random.normal(size=shape), jnp.float32) for name, shape in SHAPES.items()}
    theirs = dict(mine)
    state, other = transform.init(mine), reference.init(theirs)
    for step, gradient in enumerate(gradients(50)):
        rate = schedule(jnp.int32(step))
        mine, state = ours.update(
            gradient, state, mine, norm=norm_of(gradient), finite=jnp.bool_(True),
            rate=lambda name, rate=rate: rate * factors[name],
        )  # fmt: skip
        updates, other = reference.update(gradient, other, theirs)
        theirs = {name: value + factors[name] * updates[name] for name, value in theirs.items()}
    for name, value in mine.items():
        np.testing.assert_allclose(value, theirs[name], rtol=1e-6, atol=1e-6)
    assert jax.tree.structure(state) == jax.tree.structure(transform.init(mine))
    for one, two in zip(
        jax.tree.leaves(optax.tree.get(state, "nu")),
        jax.tree.leaves(optax.tree.get(other, "nu")),
        strict=True,
    ):
        np.testing.assert_allclose(one, two, rtol=1e-6, atol=1e-12)


def test_an_update_that_is_not_finite_changes_no_bit() -> None:
    optimizer = Optimizer(learning_rate=1e-2)
    ours, params = optimizer.fused_adamw(MASK), {name: jnp.ones(shape) for name, shape in SHAPES.items()}
    assert ours is not None
    good, bad = gradients(8)[-1], {name: jnp.full(shape, jnp.nan) for name, shape in SHAPES.items()}
    state: Any = optimizer.build(MASK).init(params)
    common: dict[str, Any] = {"rate": lambda name: jnp.float32(1e-2)}
    params, state = ours.update(good, state, params, norm=norm_of(good), finite=jnp.bool_(True), **common)
    after = ours.update(bad, state, params, norm=norm_of(bad), finite=jnp.bool_(False), **common)
    for one, two in zip(jax.tree.leaves(after), jax.tree.leaves((params, state)), strict=True):
        np.testing.assert_array_equal(one, two)


def test_only_adamw_is_computed_this_way() -> None:
    assert all(
        Optimizer(algorithm=name).fused_adamw(MASK) is None for name in ("lion", "sgd", "muon", "adafactor")
    )


@pytest.mark.parametrize(("settings", "options"), [
    ({}, {}), ({}, {"accumulate": 2}), ({"freeze": ("*word*",), "layer_decay": 0.8}, {}),
    ({"trainable": "bitfit"}, {}), ({"unfreeze": 0.05}, {}), ({"ema": 0.9, "schedule": "linear"}, {}),
])  # fmt: skip
def test_a_step_is_that_of_the_chain(settings: dict[str, Any], options: dict[str, Any]) -> None:
    """The same step with the transformations of optax one after the other, from the same states."""
    steps, state = made(optimizer=settings, **options)
    chained, _ = made(optimizer=settings, **options)
    chained._adamw = None
    for batch in batches(5):
        before = jax.tree.map(jnp.copy, state)
        state, told = steps.train(state, steps.place(batch))
        other, expected = chained.train(before, chained.place(batch))
        assert jax.tree.structure(state) == jax.tree.structure(other)
        np.testing.assert_allclose(told["gradient_norm"], expected["gradient_norm"], rtol=1e-6)
        for name, value in state.params.items():
            np.testing.assert_allclose(value, other.params[name], rtol=1e-6, atol=1e-6, err_msg=name)
        for one, two in zip(jax.tree.leaves(state.optimizer), jax.tree.leaves(other.optimizer), strict=True):
            np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-9)
