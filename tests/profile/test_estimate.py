"""The estimate before any weight exists, and the largest batch that fits."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from itertools import pairwise

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

import labkit as lk
from labkit.core.errors import RunError
from labkit.models.bert.model import BertConfig
from labkit.profile.cost import compiled_of, device_limit, estimate, largest_batch, planned
from labkit.profile.hardware import ACCELERATORS, Machine
from labkit.tasks.classify import Classification, Classify
from labkit.train.optimizer import Optimizer
from labkit.train.step import TrainStep
from tests.batches import empty_batch
from tests.shown import shown_html

MINE = Machine("<mine>", "cpu", 1e11, 5e10, 1e10, 1e9, 1e-5, 0.0)


@pytest.fixture
def rows():
    texts = [f"{word} number {number}" for number in range(60) for word in ("good", "bad")]
    return lk.load({"text": texts, "label": [text.partition(" ")[0] for text in texts]}).split()


def steps_of(config, **settings):
    task = Classification.of(Classify(), ("no", "yes"))
    module = nnx.eval_shape(lambda: task.init(config, nnx.Rngs(0)))
    return TrainStep(
        task, module, Optimizer(**{"learning_rate": 1e-3, **settings}), module_depth, config.depth + 1, 100, 10,
        model=config,
    )  # fmt: skip


def module_depth(name):
    return 0 if "embeddings" in name else 9


TINY = BertConfig(preset="tiny", vocab_size=1000)


def test_an_estimate_of_a_small_model():
    found = estimate(steps_of(TINY), empty_batch((8, 32)), 8, MINE)
    assert found.parameters == found.trainable == TINY.count() + 128 * 2 + 2
    assert found.flops_per_example * 8 == found.flops_per_step > 4e8
    assert found.memory_bytes == found.memory.total > 3 * 4 * found.parameters
    assert found.fits and found.step_seconds > 0 and len(found.accelerators) == len(ACCELERATORS)
    assert not estimate(steps_of(TINY), empty_batch((8, 32)), 8, limit=10**6).fits


def test_what_is_frozen_needs_less():
    free, frozen = (
        estimate(steps_of(TINY, freeze=f), empty_batch((4, 16)), 4) for f in ((), ("*embeddings*",))
    )
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
    steps = steps_of(BertConfig(preset="large"))
    before = len(jax.live_arrays())
    found = estimate(steps, empty_batch((64, 512)), 64, MINE)
    assert len(jax.live_arrays()) <= before + 2
    began = [time.process_time()]
    for rows in range(1, 6):  # as a slider moves
        estimate(steps, empty_batch((rows, 512)), rows, MINE)
        began.append(time.process_time())
    assert min(after - before for before, after in pairwise(began)) < 0.05
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
    return planned(lowered(size).compile()).total


@pytest.mark.parametrize("wanted", [3, 5, 24, 104, 200])
def test_the_largest_batch_is_found_by_compiling(wanted):
    limit = used(wanted)
    made.clear()
    assert largest_batch(lowered, limit) == wanted
    assert len(made) == len(set(made)) <= 12


@pytest.mark.parametrize("error", [0.85, 1.0, 1.1])
def test_a_formula_saves_compilations_and_a_wrong_one_is_corrected(error):
    limit, said = used(96), []
    made.clear()
    assert largest_batch(lowered, limit, lambda size: error * used(size), said.append) == 96
    sizes = [int(text.partition(" ")[0]) for text in said]
    assert len(sizes) <= (2 if error == 1 else 5) and sizes[0] >= 80


def test_not_even_one_example():
    with pytest.raises(RunError, match=r"not even one example fits in 100 B\. Use a smaller model"):
        largest_batch(lowered, 100)


def test_the_limit_of_this_machine():
    assert device_limit() > 2**26


# --- by the compiler --------------------------------------------------------------------------------------------------


def test_the_exact_plan_is_that_of_the_compiler_in_another_process(rows):
    options = {"max_length": 32, "vocabulary": 300, "batch_size": 16, "measure": False}
    model = lk.models["bert"](preset="tiny")
    exact, formula = (lk.estimate(rows, model, exact=one, **options) for one in (True, False))
    assert exact.flops_per_step == formula.flops_per_step
    assert exact.memory_bytes != formula.memory_bytes == pytest.approx(exact.memory_bytes, rel=0.15)
    assert exact.memory.outputs > 0, "the formula knows no outputs"


def test_a_model_without_a_formula_is_compiled(monkeypatch):
    steps, batch = steps_of(TINY), empty_batch((8, 32))
    by_formula = estimate(steps, batch, 8)
    monkeypatch.setattr(type(TINY), "vector_activations", lambda self, batch: None)
    compiled = estimate(steps, batch, 8)
    plan = planned(compiled_of(steps.lower("train", steps.abstract_state(), batch)))
    assert compiled.memory_bytes == plan.total == pytest.approx(by_formula.memory_bytes, rel=0.15)
    assert compiled.flops_per_step > 0
    assert estimate(steps, batch, 8).memory is compiled.memory, "compiled once"
