"""Compile time: cold, from the cache, and against depth."""

from __future__ import annotations

import statistics
import tempfile
from typing import Any

from .driver import Worker, quartiles

#: Depths that are compared.
DEEP, FLAT = 24, 6


def warm_start(repeats: int = 3) -> dict[str, Any]:
    """Seconds to compile every shape of the film reviews in a new process with the cache filled ÷ with it empty."""
    cold, warm = [], []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory(prefix="labkit-bench-") as cache:
            for seconds in (cold, warm):
                with Worker("compile_worker", {"cache": cache}) as worker:
                    seconds.append(worker.turn(1)["seconds"])
    ratios = [second / first for first, second in zip(cold, warm, strict=True)]
    return {
        "value": statistics.median(ratios),
        "quartiles": quartiles(ratios),
        "cold_seconds": statistics.median(cold),
        "warm_seconds": statistics.median(warm),
    }


def depth(pairs: int = 3) -> dict[str, Any]:
    """Seconds to compile the step of 24 layers ÷ that of 6, for one shape, without a cache."""
    deep, flat = {"depth": DEEP, "shapes": 1}, {"depth": FLAT, "shapes": 1}
    with Worker("compile_worker", deep) as of_deep, Worker("compile_worker", flat) as of_flat:
        turns = [(of_deep.turn(1)["seconds"], of_flat.turn(1)["seconds"]) for _ in range(pairs + 1)][1:]
    ratios = [longer / shorter for longer, shorter in turns]
    return {
        "value": statistics.median(ratios),
        "quartiles": quartiles(ratios),
        f"seconds_{DEEP}_layers": statistics.median(longer for longer, _ in turns),
        f"seconds_{FLAT}_layers": statistics.median(shorter for _, shorter in turns),
    }
