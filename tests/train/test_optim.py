"""Schedules, layer-wise rates, freezing."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from labkit.base.errors import ConfigError
from labkit.train.optim import Optimizer, decays

SHAPES = {
    "trunk/words/embedding": (9, 4),
    "trunk/encoder/kernel": (3, 4, 4),
    "trunk/encoder/bias": (3, 4),
    "head/kernel": (4, 2),
}


def layer_of(name):
    if "words" in name:
        return 0
    return np.arange(1, 4) if "encoder" in name else 4


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_the_schedule_is_that_of_optax(schedule):
    ours = Optimizer(schedule=schedule, warmup=0.2)
    down = optax.linear_schedule(1.0, 0.0, 16) if schedule == "linear" else optax.cosine_decay_schedule(1.0, 16)
    steps = range(4, 20)
    theirs = [float(down(step - 4)) for step in steps]
    np.testing.assert_allclose([float(ours.shape(jnp.int32(step), 20)) for step in steps], theirs, atol=1e-6)
    np.testing.assert_allclose([float(ours.shape(jnp.int32(step), 20)) for step in range(4)], [0.25, 0.5, 0.75, 1.0])


def test_without_warmup_a_constant_schedule_is_one_everywhere():
    ours = Optimizer(schedule="constant", warmup=0.0)
    assert [float(ours.shape(jnp.int32(step), 5)) for step in range(6)] == [1.0] * 6


def test_layer_decay_lowers_the_rate_from_the_head_down():
    found = Optimizer(layer_decay=0.5).multipliers(SHAPES, layer_of, top=4)
    assert found["head/kernel"] == 1.0 and found["trunk/words/embedding"] == 0.0625
    assert found["trunk/encoder/kernel"].shape == (3, 1, 1) and found["trunk/encoder/bias"].shape == (3, 1)
    np.testing.assert_allclose(found["trunk/encoder/kernel"].ravel(), [0.125, 0.25, 0.5])


def test_freezing_by_layer_and_by_name():
    found = Optimizer(freeze_layers=2).multipliers(SHAPES, layer_of, top=4)
    assert found["trunk/words/embedding"] == 0.0
    np.testing.assert_allclose(found["trunk/encoder/bias"].ravel(), [0.0, 0.0, 1.0])
    found = Optimizer(freeze=("trunk/*",)).multipliers(SHAPES, layer_of, top=4)
    assert [name for name, factor in found.items() if factor.any()] == ["head/kernel"]


def test_what_cannot_be_frozen_is_said():
    with pytest.raises(ConfigError, match=r"'trnk/\*' matches no parameter.*head/kernel"):
        Optimizer(freeze=("trnk/*",)).multipliers(SHAPES, layer_of, top=4)
    with pytest.raises(ConfigError, match="every parameter is frozen"):
        Optimizer(freeze=("*",)).multipliers(SHAPES, layer_of, top=4)
    with pytest.raises(ConfigError, match="learning_rate = -1"):
        Optimizer(learning_rate=-1.0)


def test_weight_decay_spares_biases_and_norms():
    assert decays("trunk/encoder/kernel") and decays("trunk/words/embedding")
    assert not decays("trunk/encoder/bias") and not decays("trunk/norm/scale")


def test_one_update_is_that_of_optax_adamw():
    settings = Optimizer(learning_rate=0.1, weight_decay=0.3, clip=0.5)
    params = {"a/kernel": jnp.array([1.0, -2.0]), "a/bias": jnp.array([0.5])}
    gradient = {"a/kernel": jnp.array([3.0, 4.0]), "a/bias": jnp.array([-1.0])}
    ours = settings.build({name: decays(name) for name in params})
    mask = {"a/kernel": True, "a/bias": False}
    theirs = optax.chain(optax.clip_by_global_norm(0.5), optax.adamw(0.1, weight_decay=0.3, mask=mask))
    direction, _ = ours.update(gradient, ours.init(params), params)
    expected, _ = theirs.update(gradient, theirs.init(params), params)
    for name in params:
        np.testing.assert_allclose(-0.1 * direction[name], expected[name], rtol=1e-6)
