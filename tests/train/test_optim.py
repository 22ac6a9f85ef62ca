"""Schedules, layer-wise rates, freezing."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from labkit.core.errors import ConfigError
from labkit.train.optimizer import Optimizer, decays

SHAPES = {
    "backbone/words/embedding": (9, 4),
    "backbone/encoder/kernel": (3, 4, 4),
    "backbone/encoder/bias": (3, 4),
    "head/kernel": (4, 2),
}


def layer_of(name):
    if "words" in name:
        return 0
    return np.arange(1, 4) if "encoder" in name else 4


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_the_schedule_is_that_of_optax(schedule):
    ours = Optimizer(schedule=schedule, warmup=0.2)
    down = (
        optax.linear_schedule(1.0, 0.0, 16) if schedule == "linear" else optax.cosine_decay_schedule(1.0, 16)
    )
    steps = range(4, 20)
    theirs = [float(down(step - 4)) for step in steps]
    np.testing.assert_allclose([float(ours.shape(jnp.int32(step), 20)) for step in steps], theirs, atol=1e-6)
    np.testing.assert_allclose(
        [float(ours.shape(jnp.int32(step), 20)) for step in range(4)], [0.25, 0.5, 0.75, 1.0]
    )


def test_without_warmup_a_constant_schedule_is_one_everywhere():
    ours = Optimizer(schedule="constant", warmup=0.0)
    assert [float(ours.shape(jnp.int32(step), 5)) for step in range(6)] == [1.0] * 6


def test_layer_decay_lowers_the_rate_from_the_head_down():
    found = Optimizer(layer_decay=0.5).multipliers(SHAPES, layer_of, top=4)
    assert found["head/kernel"] == 1.0 and found["backbone/words/embedding"] == 0.0625
    assert found["backbone/encoder/kernel"].shape == (3, 1, 1) and found["backbone/encoder/bias"].shape == (
        3,
        1,
    )
    np.testing.assert_allclose(found["backbone/encoder/kernel"].ravel(), [0.125, 0.25, 0.5])


def test_freezing_by_layer_and_by_name():
    found = Optimizer(freeze_layers=2).multipliers(SHAPES, layer_of, top=4)
    assert found["backbone/words/embedding"] == 0.0
    np.testing.assert_allclose(found["backbone/encoder/bias"].ravel(), [0.0, 0.0, 1.0])
    found = Optimizer(freeze=("backbone/*",)).multipliers(SHAPES, layer_of, top=4)
    assert [name for name, factor in found.items() if factor.any()] == ["head/kernel"]


def test_what_cannot_be_frozen_is_said():
    with pytest.raises(ConfigError, match=r"'trnk/\*' matches no parameter.*head/kernel"):
        Optimizer(freeze=("trnk/*",)).multipliers(SHAPES, layer_of, top=4)
    with pytest.raises(ConfigError, match="every parameter is frozen"):
        Optimizer(freeze=("*",)).multipliers(SHAPES, layer_of, top=4)
    with pytest.raises(ConfigError, match="learning_rate = -1"):
        Optimizer(learning_rate=-1.0)


def test_weight_decay_spares_biases_and_norms():
    assert decays("backbone/encoder/kernel") and decays("backbone/words/embedding")
    assert not decays("backbone/encoder/bias") and not decays("backbone/norm/scale")


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


def factors(total=20, **settings):
    ours = Optimizer(**settings)
    return np.array([float(ours.shape(jnp.int32(step), total)) for step in range(total)])


def test_one_cycle_is_that_of_optax():
    found = factors(100, schedule="one-cycle", warmup=0.25)
    theirs = optax.cosine_onecycle_schedule(
        100, 1.0, pct_start=0.25, div_factor=25, final_div_factor=1e5 / 25
    )
    # theirs is at the rate of step n when n updates were made; ours rises with the first update already
    np.testing.assert_allclose(found[:25], [float(theirs(step + 1)) for step in range(25)], atol=1e-5)
    np.testing.assert_allclose(found[25:], [float(theirs(step)) for step in range(25, 100)], atol=1e-5)


def test_warmup_stable_decay_keeps_the_rate_and_lets_it_fall_last():
    found = factors(20, schedule="wsd", warmup=0.1, decay=0.25)
    np.testing.assert_allclose(found[:2], [0.5, 1.0])
    np.testing.assert_array_equal(found[2:16], 1.0)
    np.testing.assert_allclose(found[15:], 1 - np.sqrt(np.arange(5) / 5), atol=1e-6)


def test_the_inverse_root_is_the_schedule_of_the_transformer():
    found = factors(50, schedule="inverse-sqrt", warmup=0.2)
    steps = np.arange(1, 51)
    np.testing.assert_allclose(found, np.minimum(steps**-0.5, steps * 10**-1.5) * 10**0.5, rtol=1e-5)


def test_the_rates_of_a_whole_run():
    rates = Optimizer(learning_rate=0.1, warmup=0.0, schedule="linear").rates(4)
    np.testing.assert_allclose(rates, [0.1, 0.075, 0.05, 0.025])


@pytest.mark.parametrize(
    ("trainable", "moving"),
    [
        (
            "full",
            {"backbone/words/embedding", "backbone/encoder/kernel", "backbone/encoder/bias", "head/kernel"},
        ),
        ("head", {"head/kernel"}),
        ("bitfit", {"backbone/encoder/bias", "head/kernel"}),
        ("lora", {"backbone/encoder/lora_a", "backbone/encoder/lora_b", "head/kernel"}),
    ],
)
def test_the_parameters_that_each_setting_trains(trainable, moving):
    added = (
        {"backbone/encoder/lora_a": (3, 4, 2), "backbone/encoder/lora_b": (3, 2, 4)}
        if trainable == "lora"
        else {}
    )
    found = Optimizer(trainable=trainable).multipliers({**SHAPES, **added}, layer_of, top=4)
    assert {name for name, factor in found.items() if factor.any()} == moving


def test_the_second_factor_of_an_addition_may_learn_faster():
    shapes = {**SHAPES, "backbone/encoder/lora_a": (3, 4, 2), "backbone/encoder/lora_b": (3, 2, 4)}
    found = Optimizer(trainable="lora", lora_ratio=8.0, layer_decay=0.5).multipliers(shapes, layer_of, top=4)
    np.testing.assert_allclose(found["backbone/encoder/lora_b"], 8 * found["backbone/encoder/lora_a"])
    assert found["head/kernel"] == 1.0


def test_layers_are_set_free_from_the_head_down():
    begins = Optimizer(unfreeze=0.5).begins(np.arange(5), 4, 80)
    assert begins.tolist() == [40, 30, 20, 10, 0]


PARAMS = {"a/kernel": jnp.array([[1.0, -2.0, 0.5], [0.3, 0.1, -0.7]]), "a/bias": jnp.array([0.5, 1.0, -1.0])}
GRADIENT = {
    "a/kernel": jnp.array([[3.0, 4.0, -1.0], [0.2, -0.5, 0.9]]),
    "a/bias": jnp.array([-1.0, 0.0, 2.0]),
}
MASK = {"a/kernel": True, "a/bias": False}


def assert_same_updates(settings, theirs, steps=3):
    ours, mine = settings.build({name: decays(name) for name in PARAMS}), dict(PARAMS)
    his, state, other = dict(PARAMS), ours.init(PARAMS), theirs.init(PARAMS)
    for _ in range(steps):
        direction, state = ours.update(GRADIENT, state, mine)
        mine = {name: mine[name] - settings.learning_rate * direction[name] for name in mine}
        updates, other = theirs.update(GRADIENT, other, his)
        his = optax.apply_updates(his, updates)
    for name in PARAMS:
        np.testing.assert_allclose(mine[name], his[name], rtol=2e-6, atol=1e-7)


def test_lion_and_sgd_are_those_of_optax():
    lion = Optimizer(algorithm="lion", learning_rate=0.01, weight_decay=0.1, clip=0, beta2=0.99)
    assert_same_updates(lion, optax.lion(0.01, 0.9, 0.99, weight_decay=0.1, mask=MASK))
    sgd = Optimizer(algorithm="sgd", learning_rate=0.01, weight_decay=0, clip=0, momentum=0.8)
    assert_same_updates(sgd, optax.sgd(0.01, 0.8, nesterov=True))


def test_adafactor_is_that_of_optax():
    ours = Optimizer(algorithm="adafactor", learning_rate=0.01, weight_decay=0, clip=0)
    assert_same_updates(ours, optax.adafactor(0.01))


def test_muon_turns_every_matrix_of_stacked_layers_into_an_orthogonal_one():
    random = np.random.default_rng(0)
    stacked = {
        "l/kernel": jnp.asarray(random.normal(size=(2, 8, 5)), jnp.float32),
        "l/bias": jnp.ones((2, 5)),
    }
    settings = Optimizer(algorithm="muon", weight_decay=0, clip=0)
    ours = settings.build({"l/kernel": True, "l/bias": False}, ["l/kernel"])
    direction, _ = ours.update(stacked, ours.init(stacked), stacked)
    for matrix in np.asarray(direction["l/kernel"]) / (0.2 * 8**0.5):
        values = np.linalg.svd(matrix, compute_uv=False)
        assert values.min() > 0.6 and values.max() < 1.3  # five rounds of its polynomial come so near to 1
    np.testing.assert_allclose(direction["l/bias"], 1.0, rtol=1e-5)  # Adam's first step
    alone, _ = (one := settings.build({"l/kernel": True}, ["l/kernel"])).update(
        {"l/kernel": stacked["l/kernel"][0]}, one.init({"l/kernel": stacked["l/kernel"][0]}), None
    )
    np.testing.assert_allclose(alone["l/kernel"], direction["l/kernel"][0], atol=1e-5)
