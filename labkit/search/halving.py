"""Successive halving: when candidates are compared, and how many of them go on.

 Jamieson & Talwalkar, Non-stochastic best arm identification (AISTATS 2016). A rung here is a pause of the
full-length run: no schedule is shortened, and who goes on continues where it stopped.
"""

from __future__ import annotations

import math
from collections.abc import Mapping


def fractions(candidates: int, eta: int, finish: int) -> list[float]:
    """The shares of a run at which candidates are compared, the smallest first; empty where all may finish."""
    count, rungs = candidates, 0
    while count > finish:
        count, rungs = survivors(count, eta, finish), rungs + 1
    return [float(eta) ** -rung for rung in range(rungs, 0, -1)]


def survivors(candidates: int, eta: int, finish: int) -> int:
    """How many of so many candidates go on after a rung: one of ``eta``, and ``finish`` at least."""
    return min(candidates, max(finish, math.ceil(candidates / eta)))


def rung_steps(shares: list[float], total: int, every: int) -> tuple[list[int], int]:
    """The steps at which a run of ``total`` steps is paused, and its steps between evaluations.

    Every pause is at an evaluation. Where the run evaluates too rarely for the first pause (or not at set
    steps: 0), it evaluates at that share of its steps and at the multiples of it.
    """
    if not shares:
        return [], every
    if not 0 < every <= shares[0] * total:
        every = max(1, math.floor(shares[0] * total))
        steps = [every * round(share / shares[0]) for share in shares]
    else:
        steps = [max(1, round(share * total / every)) * every for share in shares]
    return [min(step, total) for step in steps], every


def ranked(scores: Mapping[str, float | None], sign: float) -> list[str]:
    """Names, the best first; among equals the earlier one, and those without a score last."""

    def place(name: str) -> tuple[bool, float]:
        score = scores[name]
        missing = score is None or math.isnan(score)
        return missing, 0.0 if missing or score is None else -sign * score

    return sorted(scores, key=place)
