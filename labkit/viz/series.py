"""Metric series for plotting: grouped by split and name, downsampled."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np

from labkit.train.logger import Record

#: What is drawn, in this order: (split, name); of what stands beside the loss the first that a run has.
BESIDE = ("f1", "r2", "miou", "accuracy", "mae")
DRAWN = tuple((split, name) for name in ("loss", *BESIDE) for split in ("train", "validation"))
#: Most points of a series that a panel is opened with.
MOST = 2000

#: "split/name" → (steps ascending, values; a value may be NaN or infinite).
Series = dict[str, tuple[list[int], list[float]]]


def gather(records: Iterable[Record]) -> Series:
    """The drawn series of a run's records; of several values for one step the last one written counts."""
    found = pick(records, DRAWN)
    shown = ("loss", second(found))
    return {key: points for key, points in found.items() if key.split("/")[-1] in shown}


def pick(records: Iterable[Record], wanted: Iterable[tuple[str, str]]) -> Series:
    """The series of these (split, name), as far as there are any."""
    found: dict[str, dict[int, float]] = {f"{split}/{name}": {} for split, name in wanted}
    for record in records:
        if (points := found.get(f"{record.split}/{record.name}")) is not None:
            points[record.step] = record.value
    return {
        key: (sorted(points), [points[step] for step in sorted(points)])
        for key, points in found.items()
        if points
    }


def second(series: Iterable[str]) -> str:
    """Metric of the second chart, by the keys of a run's series: F1, R² or accuracy, the first there is."""
    names = {key.split("/")[-1] for key in series}
    return next((name for name in BESIDE if name in names), "f1")


def thin(steps: Sequence[int], values: Sequence[float], most: int = MOST) -> tuple[list[int], list[float]]:
    """At most ``most`` of the points: first and last, and between them the least and the greatest of equal
    shares.

    Spikes survive, unlike in an average. ``most`` is at least 4.
    """
    if len(steps) <= most:
        return list(steps), list(values)
    array = np.asarray(values, float)
    edges = np.linspace(1, len(array) - 1, (most - 2) // 2 + 1).astype(int)
    chosen = [0, len(array) - 1]
    for begin, end in pairwise(edges):
        part = array[begin:end]
        if np.isfinite(part).any():
            chosen += [begin + int(np.nanargmin(part)), begin + int(np.nanargmax(part))]
    picked = sorted(set(chosen))
    return [steps[i] for i in picked], [values[i] for i in picked]


def packed(series: Series, most: int = MOST) -> dict[str, list[list[float | None]]]:
    """Series as small JSON: thinned, four significant digits, None where a value is not finite."""
    result: dict[str, list[list[float | None]]] = {}
    for key, (steps, values) in series.items():
        x, y = thin(steps, values, most)
        result[key] = [list(x), [float(f"{v:.4g}") if math.isfinite(v) else None for v in y]]
    return result


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About ``count`` round numbers that cover ``low`` to ``high``, at least 1e-12 apart."""
    span = max(high - low, abs(high) * 1e-9, 1e-9)
    rough = span / max(count - 1, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(k * step, 12) for k in range(first, max(last, first + 1) + 1)]
