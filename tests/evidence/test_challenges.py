"""Champion against challenger on real rows that arrive in batches: film reviews, of which a small text CNN lacks rows,
and census incomes, of which it has enough. ``python -m pytest -m soak tests/evidence/test_challenges.py -s``"""

from __future__ import annotations

import time

import numpy as np
import pytest

import labkit as lk

COLD, WARM = 4, 1
#: Rows of the champion, and of each later batch.
REVIEWS, INCOMES = (800, 3000, 300), (8000, 3000)


def batches(rows, sizes, seed=0):
    """Disjoint random parts of all rows."""
    part = rows.in_one_split()["train"]
    order, ends = np.random.default_rng(seed).permutation(len(part)), np.cumsum(sizes)
    return [
        rows.with_splits({"train": part.select(np.sort(order[end - size : end]))})
        for size, end in zip(sizes, ends, strict=True)
    ]


def timed(tell, title, run, new, **settings):
    start = time.process_time()
    found = run.challenge(new, name=title, **settings)
    line = found.table.loc["new"]
    epochs = found.challenger.experiment.train.epochs
    tell(
        f"{title}: {found.verdict}, {epochs} epochs, {time.process_time() - start:.0f} s of CPU, {found.leaked} leaked"
    )
    tell(found.table.to_string(float_format="{:.4f}".format))
    assert line["gain_low"] <= line["gain"] <= line["gain_high"]
    assert line["gain"] == pytest.approx(line["challenger"] - line["champion"], abs=1e-9)
    assert len(found.reports["champion", "new"].rows) == line["rows"]
    assert found.replace == (line["gain_low"] > 0)
    return found


def test_film_reviews_arrive_in_batches(lab, tell):
    first, second, third = batches(lk.load("movie-reviews", min_score=1.0), REVIEWS)
    champion = lk.fit(
        first, lk.models["textcnn"](preset="tiny"), folder=lab, name="champion", epochs=COLD, max_length=32,
        vocabulary=4000, accept_leakage=True, background=False,
    )  # fmt: skip
    known = first.with_splits({"train": first["train"].select(range(25))})
    cold = timed(tell, "cold", champion, second)
    warm = timed(tell, "warm", champion, second, warm_start=True, changes={"train.epochs": WARM})
    assert cold.table.loc["new", "rows"] == warm.table.loc["new", "rows"]
    assert cold.table.loc["new", "gain"] > 0 and cold.verdict == "replace"
    assert warm.table.loc["new", "gain"] > 0
    few = timed(tell, "few rows", cold.challenger, third, warm_start=True, changes={"train.epochs": 1})
    assert few.verdict != "replace"
    with pytest.raises(lk.LabkitError, match="are among the earlier rows already"):
        champion.challenge(known)


def test_incomes_of_which_there_are_enough(lab, tell):
    first, second = batches(lk.load("adult"), INCOMES)
    champion = lk.fit(
        first, lk.models["mlp"](preset="small"), folder=lab, name="incomes", epochs=5, accept_leakage=True,
        background=False,
    )  # fmt: skip
    found = timed(tell, "incomes, warm", champion, second, warm_start=True, changes={"train.epochs": WARM})
    assert found.verdict != "replace" or found.table.loc["new", "gain"] < 0.02
