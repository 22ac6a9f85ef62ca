"""The compiled step: what must change no number (parts, several updates a call, devices, recomputation) does not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx

import labkit as lk
from labkit.tasks.classify import Classify
from labkit.train.optimizer import Optimizer
from labkit.train.step import TrainStep, flatten
from tests.batches import empty_batch

SIZES = {"width": 16, "depth": 2, "heads": 2, "mlp_width": 32, "max_length": 16, "vocab_size": 50}


def made(
    dropout: float = 0.0, report_every: int = 4, model: dict | None = None, optimizer: dict | None = None, **options
):  # fmt: skip
    config = lk.models["bert"](
        preset="tiny", dropout=dropout, attention_dropout=dropout, **{**SIZES, **(model or {})}
    )  # fmt: skip
    task = Classify(head_dropout=dropout).build(("a", "b", "c"), np.arange(3))
    module = task.init(config, nnx.Rngs(0))
    rule = Optimizer(**{"learning_rate": 1e-2, "warmup": 0.0, "schedule": "constant", **(optimizer or {})})
    steps = TrainStep(task, module, rule, lambda name: 1, 3, 100, report_every, **options)
    return steps, steps.state(flatten(nnx.to_pure_dict(nnx.split(module)[1])), seed=1)


def batches(count: int, rows: int = 8, width: int = 8) -> list[dict[str, np.ndarray]]:
    random = np.random.default_rng(0)
    return [
        {
            "ids": random.integers(1, 50, (rows, width)).astype(np.int32),
            "types": np.zeros((rows, width), np.int32),
            "mask": np.arange(width) < random.integers(2, width, (rows, 1)),
            "label": random.integers(0, 3, rows).astype(np.int32),
            "weight": random.uniform(0.5, 2, rows).astype(np.float32),
            "index": np.arange(rows, dtype=np.int32),
        }
        for _ in range(count)
    ]


@pytest.fixture(scope="module")
def plain():
    """Losses and parameters after five steps, the plain way."""
    steps, state = made()
    losses = []
    for batch in batches(5):
        state, told = steps.train(state, steps.place(batch))
        losses.append(float(told["loss"]))
    return losses, jax.device_get(state.params)


def same(params, others, tolerance):
    """Equal but for biases of keys: softmax does not change with them, so their gradient is rounding noise alone, which
    Adam scales to whole updates."""
    for name in (name for name in params if not name.endswith("key/bias")):
        value = params[name]
        np.testing.assert_allclose(value, others[name], rtol=0, atol=tolerance, err_msg=name)


@pytest.mark.parametrize("parts", [2, 8])
def test_a_step_in_parts_is_the_step_as_a_whole(plain, parts):
    steps, state = made(accumulate=parts)
    losses = []
    for batch in batches(5):
        state, told = steps.train(state, steps.place(batch))
        losses.append(float(told["loss"]))
    np.testing.assert_allclose(losses, plain[0], rtol=1e-5)
    assert told["sums"].confusion.sum() == 8 and len(steps.reasons) == 0


def test_several_updates_in_a_call_are_the_same_bits_however_they_are_cut():
    data = batches(6)
    stacked = {name: np.stack([batch[name] for batch in data[:4]]) for name in data[0]}
    rest = {name: np.stack([batch[name] for batch in data[4:] + data[:2]]) for name in data[0]}
    ends = []
    for cuts in (((stacked, 4), (rest, 2)), ((stacked, 1), *(({k: np.roll(v, -i, 0) for k, v in stacked.items()}, 1)
                 for i in (1, 2, 3)), (rest, 2))):  # fmt: skip
        steps, state = made(dropout=0.1)
        losses = []
        for several, count in cuts:
            state, told = steps.multi_step(
                state, steps.place(several, stacked=True), jax.device_put(np.int32(count))
            )
            losses += np.asarray(told["loss"])[:count].tolist()
        assert steps.compilations == 1 and int(state.step) == 6
        assert int(told["sums"].confusion.sum()) == 16  # of the two steps after the report at step 4
        ends.append((losses, jax.device_get(state.params)))
    assert ends[0][0] == ends[1][0]
    for name, value in ends[0][1].items():
        np.testing.assert_array_equal(value, ends[1][1][name])


def test_several_updates_in_a_call_are_those_of_single_calls(plain):
    steps, state = made()
    data = batches(5)
    stacked = {name: np.stack([batch[name] for batch in data]) for name in data[0]}
    state, told = steps.multi_step(state, steps.place(stacked, stacked=True), jax.device_put(np.int32(5)))
    np.testing.assert_allclose(told["loss"], plain[0], rtol=1e-5)


def test_computing_again_for_the_gradient_changes_no_result(plain):
    steps, state = made(model={"remat": True})
    losses = []
    for batch in batches(5):
        state, told = steps.train(state, steps.place(batch))
        losses.append(float(told["loss"]))
    np.testing.assert_allclose(losses, plain[0], rtol=1e-5)


def test_recomputation_needs_less_memory():
    plans = []
    for remat in (False, True):
        steps, _ = made(model={"remat": remat, "depth": 6})
        batch = empty_batch((32, 16))
        plan = steps.lower("train", steps.abstract_state(), batch).compile().memory_analysis()
        plans.append(plan.temp_size_in_bytes)
    assert plans[1] < 0.6 * plans[0]


def test_a_second_shape_is_compiled_and_the_reason_said():
    steps, state = made()
    for width in (8, 12, 8):
        state, _ = steps.train(state, steps.place(batches(1, width=width)[0]))
    assert steps.compilations == 2 and len(steps.reasons) == 1
    assert "12" in steps.reasons[0] and "ids" in steps.reasons[0]


def test_an_abstract_state_has_the_shapes_of_the_real_one():
    steps, state = made()
    shapes = steps.abstract_state()
    assert jax.tree.structure(shapes) == jax.tree.structure(state)
    kinds = [[(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(tree)] for tree in (shapes, state)]
    assert kinds[0] == kinds[1]


# --- several devices ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_batch_of_no_weight_weighs_nothing(accumulate):
    steps, state = made(accumulate=accumulate)
    batch = {**batches(1)[0], "weight": np.zeros(8, np.float32)}
    state, told = steps.train(state, steps.place(batch))
    assert float(told["loss"]) == 0 and float(told["gradient_norm"]) == 0 and int(told["skipped"]) == 0
    assert all(np.isfinite(np.asarray(leaf)).all() for leaf in state.trainable.values())


SCRIPT = """
import json, sys, jax, numpy as np
sys.path.insert(0, {folder!r})
from test_step import batches, made
from pathlib import Path
from labkit.train.checkpoint import Checkpoints
from labkit.models.base import TRANSFORMER_SHARDING
from labkit.train.sharding import Placement

folder = Path({checkpoints!r})
found = {{}}
for devices, model, sharded in ((8, 1, False), (8, 1, True), (8, 2, True)):
    placement = Placement.of(devices, model, sharded, TRANSFORMER_SHARDING)
    steps, state = made(dropout=0.1, model=dict(width=64, mlp_width=128, vocab_size=64), placement=placement)
    losses, layouts = [], set()
    for number, batch in enumerate(batches(5)):
        state, told = steps.train(state, steps.place(batch))
        losses.append(float(told["loss"]))
        layouts.add(str(jax.tree.map(lambda x: x.sharding, state.trainable)))
    name = f"{{devices}} {{model}} {{sharded}}"
    kernel = state.optimizer[1].mu["backbone/layers/mlp_in/kernel"]
    part = kernel.addressable_shards[0].data.size / kernel.size
    found[name] = dict(losses=losses, layouts=len(layouts), compilations=steps.compilations, part=part)
checkpoints = Checkpoints(folder)
checkpoints.save(state, 5, None)
checkpoints.settle()
checkpoints.close()
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def on_eight(tmp_path_factory):
    """What five steps on eight virtual devices told, and the checkpoint they left."""
    checkpoints = tmp_path_factory.mktemp("mesh") / "checkpoints"
    script = textwrap.dedent(SCRIPT.format(folder=str(Path(__file__).parent), checkpoints=str(checkpoints)))
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=8"}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1]), checkpoints


@pytest.fixture(scope="module")
def on_one():
    steps, state = made(dropout=0.1, model={"width": 64, "mlp_width": 128, "vocab_size": 64})
    losses = []
    for batch in batches(5):
        state, told = steps.train(state, steps.place(batch))
        losses.append(float(told["loss"]))
    return losses, steps, state


@pytest.mark.parametrize(("name", "part"), [("8 1 False", 1), ("8 1 True", 1 / 8), ("8 2 True", 1 / 8)])
def test_eight_devices_compute_what_one_computes(on_eight, on_one, name, part):
    found = on_eight[0][name]
    np.testing.assert_allclose(found["losses"], on_one[0], rtol=1e-6)
    assert found["layouts"] == found["compilations"] == 1  # what a step returns lies as what it takes
    assert found["part"] == part  # of a large array of the optimizer, on each device


def test_a_checkpoint_of_eight_devices_goes_on_on_one(on_eight, on_one):
    from labkit.train.checkpoint import Checkpoints

    _, steps, state = on_one
    checkpoints = Checkpoints(on_eight[1])
    restored = checkpoints.restore(5, state)
    checkpoints.close()
    assert int(restored.step) == 5 and all(len(leaf.devices()) == 1 for leaf in jax.tree.leaves(restored))
    same(jax.device_get(restored.params), jax.device_get(state.params), 2e-4)
    _, told = steps.train(restored, steps.place(batches(6)[5]))
    _, expected = steps.train(state, steps.place(batches(6)[5]))
    assert float(told["loss"]) == pytest.approx(float(expected["loss"]), rel=1e-5)


def test_a_mesh_that_cannot_be_is_refused():
    from labkit.train.sharding import Placement

    with pytest.raises(lk.LabkitError, match="JAX sees"):
        Placement.of(999)
    with pytest.raises(lk.LabkitError, match="does not divide"):
        Placement.of(1, model=2)
    assert Placement.of(1) is None
