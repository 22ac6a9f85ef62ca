"""FLOPs counted from a jaxpr, against XLA's own analysis and against arithmetic by hand."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.models.bert.model import BertConfig
from labkit.profile.flops import count
from labkit.tasks.classify import Classification, Classify
from labkit.train.optimizer import Optimizer
from labkit.train.step import TrainStep
from tests.batches import empty_batch


def shaped(*shape, kind="float32"):
    return jax.ShapeDtypeStruct(shape, kind)


def steps_of(config):
    task = Classification.of(Classify(), ("no", "yes"))
    module = nnx.eval_shape(lambda: task.init(config, nnx.Rngs(0)))
    return TrainStep(task, module, Optimizer(learning_rate=1e-3), lambda name: 0, config.depth + 1, 100, 10)


TINY = BertConfig(preset="tiny", vocab_size=1000)
NARROW = BertConfig(preset="", width=32, depth=3, heads=2, vocab_size=300, max_length=128)
MIDDLE = BertConfig(preset="", width=384, depth=6, heads=12, vocab_size=8000)
CASES = [(TINY, (8, 32)), (TINY, (1, 8)), (NARROW, (16, 24)), (MIDDLE, (8, 64))]


@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize(("config", "shape"), CASES)
def test_a_training_step_is_within_five_per_cent_of_xlas_cost_analysis(config, shape, dropout):
    config = config.replace(dropout=dropout, attention_dropout=dropout)
    steps, batch = steps_of(config), empty_batch(shape)
    found = count(steps.function("train"), steps.abstract_state(), batch)
    laid_out = steps_of(config.replace(unroll=config.depth))  # XLA counts the body of a loop once
    told = laid_out.lower("train", laid_out.abstract_state(), batch).cost_analysis()
    assert found.flops == pytest.approx(told["flops"], rel=0.05)
    assert found.transcendentals == pytest.approx(told["transcendentals"], rel=0.05)


def test_products_of_a_step_are_the_models_own_arithmetic():
    config = NARROW.replace(dropout=0.0, attention_dropout=0.0)
    steps = steps_of(config)
    b, t, d, m = 4, 16, config.width, config.mlp_width
    found = count(steps.function("train"), steps.abstract_state(), empty_batch((b, t)))
    layers = config.depth * (2 * b * t * (4 * d * d + 2 * d * m) + 4 * b * t * t * d)
    head = 2 * b * (d * d + d * 2)
    assert sum(found.products.values()) == pytest.approx(3 * (layers + head), rel=1e-6)
    assert set(found.products) == {"float32"}


X, Y, INT, M = shaped(1000), shaped(10, 100), shaped(1000, kind="int32"), shaped(1000, kind="bool")
IMAGE, KERNEL = shaped(2, 9, 8, 4), shaped(3, 3, 4, 5)
NHWC = ("NHWC", "HWIO", "NHWC")


def convolve(x, k, **settings):
    return jax.lax.conv_general_dilated(
        x, k, **{"window_strides": (1, 1), "padding": "SAME", "dimension_numbers": NHWC, **settings}
    )


@pytest.mark.parametrize(
    ("function", "args"),
    [
        (lambda x, y: x * y + x, (X, X)),
        (lambda m, x, y: jnp.where(m, x, y), (M, X, X)),
        (lambda x, y: (x >= y) & (x < 2), (INT, INT)),
        (lambda x: x.astype(jnp.bfloat16), (X,)),
        (lambda x: jax.lax.integer_pow(x, 5) + jax.lax.integer_pow(x, -3), (X,)),
        (lambda x: x.sum(1) + x.max(1), (Y,)),
        (lambda x: x.argmax(1), (Y,)),
        (lambda x: jnp.cumsum(x, 1), (Y,)),
        (lambda x: jax.lax.erfc(x), (X,)),
        (lambda x: jax.lax.sort(x), (Y,)),
        (lambda x, y: x @ y.T, (Y, Y)),
        (lambda x, y: jnp.einsum("ij,ik->jk", x, y, preferred_element_type=jnp.float32), (Y, Y)),
        (convolve, (IMAGE, KERNEL)),
        (lambda x, k: convolve(x, k, window_strides=(2, 3), padding="VALID"), (IMAGE, KERNEL)),
        (lambda x, k: convolve(x, k, feature_group_count=2), (IMAGE, shaped(3, 3, 2, 6))),
        (
            lambda x, k: convolve(x, k, lhs_dilation=(2, 2), rhs_dilation=(1, 2), padding=((1, 1), (2, 0))),
            (IMAGE, KERNEL),
        ),
        (jax.grad(lambda x, k: convolve(x, k, window_strides=(2, 2)).sum(), (0, 1)), (IMAGE, KERNEL)),
        (jax.jit(lambda x: jax.checkpoint(lambda x: x * x)(x) + 1), (X,)),
        (lambda x: jax.lax.cond(x[0] > 0, lambda x: x * x + x, lambda x: x, x), (X,)),
    ],
)
def test_each_rule_counts_as_xla_does(function, args):
    told = jax.jit(function).lower(*args).cost_analysis()
    found = count(function, *args)
    assert found.flops == pytest.approx(told.get("flops", 0.0), rel=0.02, abs=5)


@settings(max_examples=20, deadline=None)
@given(st.tuples(*[st.integers(1, 9)] * 4), st.integers(1, 7))
def test_products_and_loops_are_exact(sizes, turns):
    b, i, j, k = sizes

    def function(x, y):
        def turn(x, _):
            return jnp.einsum("bij,bjk->bik", x, y)[..., :1] + x, None

        return jax.lax.scan(turn, x, None, length=turns)[0]

    found = count(function, shaped(b, i, j), shaped(b, j, k))
    assert sum(found.products.values()) == turns * 2 * b * i * j * k


def test_what_is_not_needed_and_what_changes_nothing_is_free():
    assert count(lambda x: (x * 1 + 0, x @ x.T)[0], Y).flops == 0
