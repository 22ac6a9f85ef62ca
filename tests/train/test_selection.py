"""Which evaluation is best, and when patience is used up."""

from __future__ import annotations

import math

import numpy as np
import pytest

import labkit as lk
from labkit.train.selection import best_of, without_gain


def evaluations(f1: list[float], loss: list[float]) -> dict[int, dict[str, float]]:
    return {10 * (place + 1): {"f1": a, "loss": b} for place, (a, b) in enumerate(zip(f1, loss, strict=True))}


def test_the_lower_loss_decides_among_equal_scores_and_then_the_earlier():
    assert best_of(evaluations([0.5, 0.5, 0.5], [0.9, 0.7, 0.8]), "f1", 1) == 20
    assert best_of(evaluations([0.5, 0.5], [0.7, 0.7]), "f1", 1) == 10
    assert best_of(evaluations([0.6, 0.5], [0.9, 0.1]), "f1", 1) == 10
    assert best_of(evaluations([0.0, 0.1], [0.3, 0.2]), "loss", -1) == 20
    assert best_of(evaluations([math.nan, 0.2], [0.1, 0.9]), "f1", 1) == 20
    assert best_of(evaluations([0.5, 0.5], [math.nan, 0.9]), "f1", 1) == 20
    assert best_of(evaluations([math.nan], [0.1]), "f1", 1) is None


@pytest.mark.parametrize(
    ("f1", "loss", "waited"),
    [
        ([0, 0, 0, 0], [4, 3, 5, 6], 0),  # never moved
        ([0, 0, 0, 0.1], [4, 3, 5, 6], 0),
        ([0.3, 0.3, 0.3, 0.2], [4, 3, 5, 6], 1),  # fell: only from there on
        ([0, 0, 0.1, 0.1, 0.1], [4, 3, 3, 4, 5], 2),
        ([0.1, 0.2, 0.1, 0.2], [4, 3, 3, 2], 0),  # a tie with a lower loss is an improvement
        ([0.5, 0.5, 0.5], [1, 1, 1], 2),  # nothing is learnt at all
        ([0.5, math.nan, math.nan], [1, math.nan, math.nan], 2),
    ],
)
def test_evaluations_without_improvement(f1, loss, waited):
    assert without_gain(evaluations(f1, loss), "f1", 1) == waited


def test_a_run_goes_on_while_f1_of_rare_labels_is_still_zero(tmp_path):
    """Each of 12 labels applies to one row in 12: no probability reaches one half before the labels are told apart."""
    rng = np.random.default_rng(0)
    table = [
        {**{f"x{k}": float(k == i % 12) + 0.1 * rng.normal() for k in range(12)}, "tags": [f"t{i % 12:02}"]}
        for i in range(480)
    ]
    rows = lk.load(table, features=True, label="tags").split(accept_leakage=True)
    options = {
        "learning_rate": 1e-3,
        "epochs": 40,
        "schedule": "constant",
        "weight_decay": 0.0,
        "evaluate_every": 40,
    }
    run = lk.fit(
        rows, lk.models["mlp"](widths=(8,)), folder=tmp_path, background=False, patience=2, **options
    )
    found = {name: [r.value for r in run.store.records(run.id, split="validation") if r.name == name]
             for name in ("f1", "loss")}  # fmt: skip
    flat = next((place for place, value in enumerate(found["f1"]) if value), len(found["f1"]))
    assert flat > 3 and run.info.step == run.info.steps
    assert run.info.summary["model_step"] == run.info.steps, "the loss fell to the end"
