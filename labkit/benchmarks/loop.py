"""Overhead of the training loop over its compiled step: time, transfers and compilations."""

from __future__ import annotations

from typing import Any

from .driver import Worker, compare, paired

#: Steps in a turn.
TURN = {"bert": 4, "mlp": 2048}


def overhead(case: str = "bert", pairs: int = 12) -> dict[str, Any]:
    """Throughput of the loop, with its store and a reader like the panel's, ÷ that of the bare compiled step.

    ``transfers`` and ``compilations`` are those of the loop after its first turns.
    """
    with (
        Worker("loop_worker", {"case": case}) as whole,
        Worker("loop_worker", {"case": case, "bare": True}) as bare,
    ):
        turns = paired(whole, bare, pairs, TURN[case])
    last = turns[-1][0]
    return {**compare(turns), "transfers": last["transfers"], "compilations": last["compilations"]}
