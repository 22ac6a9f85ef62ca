"""The estimate before any weight exists, and the largest batch that fits."""

from __future__ import annotations

import re
import time
from dataclasses import replace

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from labkit.core.errors import RunError
from labkit.models.bert.model import BertConfig
from labkit.profile.cost import device_limit, estimate, largest_batch
from labkit.profile.hardware import ACCELERATORS, Machine
from labkit.profile.memory import planned
from labkit.tasks.classify import Classification, Classify
from labkit.train.optimizer import Optimizer
from labkit.train.step import TrainStep
from tests.batches import empty_batch
from tests.shown import shown_html

MINE = Machine("<mine>", "cpu", 1e11, 5e10, 1e10, 1e9, 1e-5, 0.0)


def steps_of(config, **settings):
    task = Classification.of(Classify(), ("no", "yes"))
    module = nnx.eval_shape(lambda: task.init(config, nnx.Rngs(0)))
    return TrainStep(
        task, module, Optimizer(**{"learning_rate": 1e-3, **settings}), module_depth, config.depth + 1, 100, 10
    )


def module_depth(name):
    return 0 if "embeddings" in name else 9


TINY = BertConfig(preset="tiny", vocab_size=1000)


def test_an_estimate_of_a_small_model():
    found = estimate(steps_of(TINY), empty_batch((8, 32)), 8, MINE)
    assert found.parameters == found.trainable == TINY.count() + 128 * 2 + 2
    assert found.flops_per_example * 8 == found.flops_per_step > 6e8
    assert found.memory_bytes == found.memory.total > 3 * 4 * found.parameters
    assert found.fits and found.step_seconds > 0 and len(found.accelerators) == len(ACCELERATORS)
    assert not estimate(steps_of(TINY), empty_batch((8, 32)), 8, limit=10**6).fits


def test_what_is_frozen_needs_less():
    free, frozen = (estimate(steps_of(TINY, freeze=f), empty_batch((4, 16)), 4) for f in ((), ("*embeddings*",)))
    assert frozen.trainable < free.trainable and frozen.parameters == free.parameters
    assert frozen.memory_bytes < free.memory_bytes and frozen.flops_per_step < free.flops_per_step
    assert frozen.step_seconds is None


def test_a_price_that_is_given_becomes_the_price_of_examples():
    priced = replace(ACCELERATORS["L4"], dollars=3.6)
    (one,) = estimate(steps_of(TINY), empty_batch((8, 32)), 8, accelerators=[priced]).accelerators
    assert one.dollars == pytest.approx(one.seconds * 1000 / 8)
    assert all(entry.dollars is None for entry in ACCELERATORS.values())


def test_several_shapes_share_the_work_and_the_largest_sets_the_memory():
    small, large = empty_batch((8, 16)), empty_batch((8, 64))
    steps = steps_of(TINY)
    both, one, other = (estimate(steps, batches, 8, MINE) for batches in ([small, large], small, large))
    assert both.flops_per_step == pytest.approx((one.flops_per_step + other.flops_per_step) / 2)
    assert both.memory_bytes == other.memory_bytes > one.memory_bytes
    assert both.step_seconds == pytest.approx((one.step_seconds + other.step_seconds) / 2)


def test_a_large_model_is_estimated_at_once_and_nothing_is_allocated():
    config = BertConfig(preset="large")
    before, begin = len(jax.live_arrays()), time.monotonic()
    found = estimate(steps_of(config), empty_batch((64, 512)), 64, MINE)
    assert time.monotonic() - begin < 20 and len(jax.live_arrays()) <= before + 2
    small = {one.name: one.fits for one in found.accelerators}
    assert not small["T4"] and found.memory_bytes > 16e9
    assert "does not fit" in str(found)


def test_the_table_says_it_all_and_escapes():
    found = estimate(steps_of(TINY), empty_batch((8, 32)), 8, MINE)
    text, page = str(found), shown_html(found)
    assert re.search(r"parameters +607,362 \(607,362 trained\)", text)
    assert "<mine>" in text and "H100" in text and "45%" in text
    assert "&lt;mine&gt;" in page and "<mine>" not in page
    assert "does not fit" in str(replace(found, fits=False))


# --- the largest batch ------------------------------------------------------------------------------------------------

made: list[int] = []


def lowered(size):
    made.append(size)
    x = jax.ShapeDtypeStruct((size, 256), jnp.float32)
    return jax.jit(lambda x: (x @ x.T).sum(1)).lower(x)


def used(size):
    return planned(lowered(size).compile().memory_analysis()).total


@pytest.mark.parametrize(("wanted", "start"), [(3, 8), (5, 1), (24, 8), (104, 128), (200, 8)])
def test_the_largest_batch_is_found_by_compiling(wanted, start):
    limit = used(wanted)
    made.clear()
    assert largest_batch(lowered, limit, start) == wanted
    assert len(made) == len(set(made)) <= 12


def test_a_good_start_saves_compilations_and_all_is_told():
    limit, said = used(96), []
    made.clear()
    assert largest_batch(lowered, limit, 64, said.append) == 96
    assert len(made) == len(said) <= 5 and "64 examples: " in said[0]


def test_not_even_one_example():
    with pytest.raises(RunError, match=r"not even one example fits in 100 B\. Use a smaller model"):
        largest_batch(lowered, 100, 4)


def test_the_limit_of_this_machine():
    assert device_limit() > 2**26
