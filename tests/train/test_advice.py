"""Advice after a run, on made-up losses whose course is known."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from labkit.train.advice import advise

STEPS = 20  # an epoch


def points(values: Any, every: int = 1) -> list[tuple[int, float]]:
    return [(every * number, float(value)) for number, value in enumerate(values, 1)]


def falling(count: int, start: float = 1.0, rate: float = 0.02) -> list[tuple[int, float]]:
    noise = np.random.default_rng(0).normal(0, 0.02, count)
    return points(start * np.exp(-rate * np.arange(count)) + noise)


def test_a_validation_loss_that_still_falls_asks_for_more_epochs():
    (said,) = advise(falling(100), points([0.9, 0.8, 0.7, 0.6, 0.5], STEPS), STEPS)
    assert "still falling at the end, from 0.6 at epoch 4 to 0.5 at epoch 5: train for more epochs" in said


def test_overfitting_is_dated_by_the_lowest_validation_loss():
    (said,) = advise(falling(160), points([0.9, 0.6, 0.5, 0.55, 0.6, 0.7, 0.8, 0.9], STEPS), STEPS)
    assert said.startswith("Overfitting since epoch 3:") and "from 0.5 to 0.9" in said


def test_a_validation_loss_that_rises_with_the_training_loss_is_not_overfitting():
    rises = points(np.r_[np.linspace(1, 0.4, 60), np.linspace(0.4, 0.8, 100)])
    assert advise(rises, points([0.9, 0.6, 0.5, 0.6, 0.7, 0.8, 0.8, 0.9], STEPS), STEPS) == []


@pytest.mark.parametrize("rate", [None, 0.5])
def test_a_loss_that_never_falls_names_the_learning_rate(rate: float | None):
    flat = points(0.69 + 0.01 * np.random.default_rng(0).normal(size=100))
    (low,) = advise(flat, points([0.69] * 5, STEPS), STEPS, rate)
    assert "too low" in low and ("(it was 0.5)" in low) == (rate is not None)
    (high,) = advise(points(np.linspace(0.7, 3.0, 100)), points([1, 2, 3], STEPS), STEPS, rate)
    assert "too high" in high and "rose from 0.7" in high
    (up_and_back,) = advise(points(np.r_[[0.7] * 10, [5.0] * 30, [0.69] * 60]), [], STEPS, rate)
    assert "too high" in up_and_back
    (broken,) = advise(points([0.7] * 50 + [math.nan] * 50), [], STEPS, rate)
    assert "too high" in broken


@pytest.mark.parametrize("validation", [
    [0.9, 0.5, 0.4, 0.398, 0.397, 0.397],  # converged
    [0.9, 0.5, 0.4, 0.41],  # within the noise
    [0.9, 0.5],  # too few
    [math.nan] * 6,
    [],
])  # fmt: skip
def test_nothing_is_said_without_a_reason(validation: list[float]):
    assert advise(falling(100), points(validation, STEPS), STEPS) == []


def test_nothing_is_said_of_few_steps_or_of_a_loss_below_zero():
    assert advise(points([0.7, 0.7, 0.7]), [], STEPS) == []
    assert advise(points([-1.0] * 50), [], STEPS) == []
