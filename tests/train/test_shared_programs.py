"""Compiled steps that runs of a process share: only where all that a trace reads is equal."""

from __future__ import annotations

import subprocess
import sys

import jax
import numpy as np
import pytest
from flax import nnx

import labkit as lk
from labkit.core import errors
from labkit.models import layers
from labkit.models.mlp import Mlp
from labkit.tasks.classify import Classify
from labkit.train.optimizer import Optimizer
from labkit.train.shared_programs import NotSharedError, clear, identity
from labkit.train.step import TrainStep

BATCH = {
    "inputs": np.zeros((4, 6), np.float32),
    "label": np.zeros(4, np.int32),
    "weight": np.ones(4, np.float32),
    "index": np.arange(4, dtype=np.int32),
}


def program(
    task=None,
    model=None,
    optimizer=None,
    module=None,
    classes=("a", "b"),
    labels=(0, 1, 1),
    kind="evaluate",
    **more,
):
    """The compiled evaluation (or training) step of a small network."""
    config = lk.models["mlp"](input_shape=(6,), widths=(4,), **(model or {}))
    head = Classify(**(task or {})).build(classes, np.array(labels))
    module = module or nnx.eval_shape(lambda: head.init(config, nnx.Rngs(0)))
    options = {"total": 100, "report_every": 10, **more}
    steps = TrainStep(
        head,
        module,
        Optimizer(**{"learning_rate": 0.1, **(optimizer or {})}),
        lambda name: 1,
        3,
        model=config,
        **options,
    )
    state = steps.abstract_state()
    args = (state.params, state.sums, BATCH) if kind == "evaluate" else (state, BATCH)
    return steps.compile(kind, *args)


@pytest.fixture(scope="module")
def shared():
    clear()
    return program()


def test_equal_steps_share_their_program(shared):
    assert program() is shared
    assert program(kind="train") is program(kind="train") is not shared


CHANGES = [
    {"task": {"label_smoothing": 0.1}},
    {"task": {"class_weights": "balanced"}},
    {"task": {"head_dropout": 0.3}},
    {"model": {"activation": "tanh"}},
    {"model": {"dtype": "bfloat16"}},
    {"optimizer": {"weight_decay": 0.5}},
    {"optimizer": {"schedule": "constant"}},
    {"optimizer": {"algorithm": "sgd"}},
    {"classes": ("a", "b", "c"), "labels": (0, 1, 2)},
    {"total": 101},
    {"report_every": 11},
    {"accumulate": 2},
]


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_a_step_that_differs_is_compiled_for_itself(shared, change):
    assert program(**change) is not shared


def test_other_class_weights_are_another_program():
    """Arrays of a head are constants of its program."""
    weighted = {"task": {"class_weights": "balanced"}}
    assert program(**weighted) is program(**weighted) is not program(**weighted, labels=(0, 0, 1))


def test_settings_of_jax_are_part_of_it():
    before = program()
    with jax.default_matmul_precision("highest"):
        assert program() is not before
    assert program() is before


def test_replaced_code_is_traced(shared, monkeypatch):
    """As by a reload, or by a notebook that tries something."""
    monkeypatch.setattr(layers.Linear, "__call__", lambda self, x: x @ self.kernel[...])
    assert program() is not shared


def test_code_replaced_in_place_is_traced():
    before, own = program(), errors.headed.__code__
    errors.headed.__code__ = (lambda error: "").__code__
    try:
        assert program() is not before
    finally:
        errors.headed.__code__ = own


class Own(Mlp):
    """A network from outside labkit, whose functions may call what changes."""


def test_modules_from_outside_share_nothing():
    config = lk.models["mlp"](input_shape=(6,), widths=(4,))
    module = Classify().build(("a", "b"), np.array([0, 1, 1])).init(config, nnx.Rngs(0))
    assert program(module=module) is program(module=module)
    module.backbone = Own(config, nnx.Rngs(0))
    assert program(module=module) is not program(module=module)


def test_identity_distinguishes_what_is_equal_by_value():
    assert identity(1) != identity(1.0) != identity(True) and identity(0.0) != identity(-0.0)
    assert identity(np.zeros(2, np.float32)) != identity(np.zeros(2, np.float64))
    with pytest.raises(NotSharedError):
        identity(lambda: 1)


def test_a_second_seed_compiles_nothing_and_gives_the_numbers_of_a_fresh_process(tmp_path):
    script = (
        "import hashlib, sys, labkit as lk\n"
        "rows = lk.load('digits').sample(200, seed=0)\n"
        "for seed in map(int, sys.argv[2:]):\n"
        "    run = lk.fit(rows, 'mlp', epochs=1, batch_size=32, seed=seed, folder=sys.argv[1], background=False)\n"
        "weights = hashlib.sha256(next(run.info.folder.rglob('*.safetensors')).read_bytes()).hexdigest()\n"
        "print(run.info.compilations, run.info.summary['compilations_from_cache'], weights)\n"
    )

    def last(*seeds):
        command = [sys.executable, "-c", script, str(tmp_path), *seeds]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-3:]

    alone, second = last("1"), last("0", "1")
    assert second[1] == second[0] and second[2] == alone[2]
