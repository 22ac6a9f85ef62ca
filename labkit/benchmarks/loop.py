"""Overhead of the training loop over its compiled step: time, transfers and compilations."""

from __future__ import annotations

from typing import Any

from .driver import Worker, compare, lower_bound, paired

#: Steps in a turn.
TURN = {"bert": 2, "mlp": 2048}


def overhead(case: str = "bert", pairs: int = 200) -> dict[str, Any]:
    """Throughput of the loop, with its store and a reader like the panel's, ÷ that of the bare compiled step.

    ``lower`` is the lower end of the 95 % interval of the median; ``transfers`` and ``compilations`` are those of
    the loop after its first turns.
    """
    with (
        Worker("loop_worker", {"case": case}) as whole,
        Worker("loop_worker", {"case": case, "bare": True}) as bare,
    ):
        turns = paired(whole, bare, pairs, TURN[case])
    last = turns[-1][0]
    ratios = [bare["seconds"] / whole["seconds"] for whole, bare in turns]
    return {
        **compare(turns),
        "lower": lower_bound(ratios),
        "transfers": last["transfers"],
        "compilations": last["compilations"],
    }
