"""Rungs, survivors and samplers, against counts made by hand and laws of the samplers."""

from __future__ import annotations

import math

import numpy as np
import pytest

import labkit as lk
from labkit.core.errors import ConfigError
from labkit.search.halving import fractions, ranked, rung_steps, survivors


def test_candidates_are_thinned_until_as_many_are_left_as_may_finish():
    assert fractions(3, 3, 3) == [] and fractions(1, 3, 3) == []
    assert fractions(16, 3, 1) == pytest.approx([1 / 27, 1 / 9, 1 / 3])  # 16, 6, 2, 1
    assert fractions(16, 4, 4) == pytest.approx([1 / 4])
    assert [survivors(16, 3, 1), survivors(6, 3, 1), survivors(2, 3, 1), survivors(16, 3, 8)] == [6, 2, 1, 8]


@pytest.mark.parametrize("total", [1, 7, 100, 999])
@pytest.mark.parametrize("every", [0, 1, 10, 60, 2000])
@pytest.mark.parametrize("shares", [[1 / 3], [1 / 9, 1 / 3], [1 / 4, 1 / 2]])
def test_rungs_are_evaluations_in_their_order_and_near_their_share(total, every, shares):
    rungs, found = rung_steps(shares, total, every)
    assert rungs == sorted(rungs) and all(0 < step <= total for step in rungs)
    assert all(step % found == 0 or step == total for step in rungs)
    for step, share in zip(rungs, shares, strict=True):
        assert abs(step - share * total) <= max(found, 1 + share / shares[0])


def test_the_best_come_first_equals_in_their_order_and_the_unknown_last():
    scores = {"a": 0.5, "b": None, "c": 0.9, "d": 0.9, "e": math.nan}
    assert ranked(scores, 1.0) == ["c", "d", "a", "b", "e"]
    assert ranked(scores, -1.0)[:3] == ["a", "c", "d"]


def space(**values):
    settings = {
        "learning_rate": lk.Range(1e-4, 1e-1, log=True),
        "width": lk.Range(1, 4, whole=True),
        "act": "xyz",
    }
    settings["act"] = ["relu", "gelu"]
    return lk.Space("mlp", settings, **values)


def test_sobol_fills_every_part_of_the_space_evenly():
    drawn = space(samples=64, sampler="sobol", seed=1).draw()
    logs = np.log10([each["learning_rate"] for each in drawn])
    assert np.histogram(logs, bins=8, range=(-4, -1))[0].tolist() == [8] * 8  # what a (t, m, s)-net promises
    assert np.bincount([each["width"] for each in drawn])[1:].tolist() == [16] * 4
    assert sum(each["act"] == "relu" for each in drawn) == 32


@pytest.mark.parametrize("sampler", ["sobol", "random"])
def test_a_seed_gives_the_same_settings_and_all_are_in_their_ranges(sampler):
    drawn = space(samples=11, sampler=sampler, seed=3).draw()
    assert len(drawn) == 11 and drawn == space(samples=11, sampler=sampler, seed=3).draw()
    assert drawn != space(samples=11, sampler=sampler, seed=4).draw()
    for each in drawn:
        assert 1e-4 <= each["learning_rate"] <= 1e-1 and each["act"] in ("relu", "gelu")
        assert each["width"] in (1, 2, 3, 4) and isinstance(each["width"], int)


def test_optuna_learns_from_the_scores_and_forgets_nothing_when_asked_again():
    asked = lk.Space("mlp", {"learning_rate": lk.Range(0.0, 1.0)}, samples=40, sampler="optuna", seed=2)
    known = []
    for number in range(40):
        values = asked.ask(number, known)
        assert values == asked.ask(number, known)
        known.append((values, -((values["learning_rate"] - 0.7) ** 2) if number % 7 else None))
    early, late = ([values["learning_rate"] for values, _ in part] for part in (known[:10], known[20:]))
    assert np.mean(np.abs(np.array(late) - 0.7)) < 0.6 * np.mean(np.abs(np.array(early) - 0.7))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: lk.Range(2, 1), r"Range\(2, 1\): the first number must be below the second"),
        (lambda: lk.Range(0, 1, log=True), "low must be above 0"),
        (lambda: space(sampler="grid"), "sampler = 'grid' is not one of sobol, random, optuna"),
        (lambda: space(samples=0), "samples = 0 must be a number from 1"),
        (lambda: lk.Space("mlp", {}), "needs settings"),
        (
            lambda: lk.Space("mlp", {"act": "relu"}),
            "setting 'act' must be a Range or a list of choices; it is 'relu'",
        ),
    ],
)
def test_what_is_no_space_is_refused_by_name(make, said):
    with pytest.raises(ConfigError, match=said):
        make()
