"""Axes of static figures: scaling, ticks and labels."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from labkit.core.text import escape
from labkit.viz.series import ticks

_LEFT, _RIGHT, _BOTTOM = 52, 14, 40
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Axis:
    """Values to pixels along one side. ``names`` are categories at 0, 1, …"""

    low: float
    high: float
    start: float
    end: float
    log: bool = False
    names: tuple[str, ...] = ()

    def __call__(self, value: float) -> float:
        if self.log:
            value = math.log10(value) if value > 0 else self.low
        return self.start + (self.end - self.start) * (value - self.low) / ((self.high - self.low) or 1.0)

    def marks(self) -> list[tuple[float, str]]:
        """Where a number or a name is written, in pixels."""
        if self.names:
            return [(self(place), name) for place, name in enumerate(self.names)]
        if self.log:
            powers = range(math.ceil(self.low - 1e-9), math.floor(self.high + 1e-9) + 1)
            return [(self(10.0**p), f"10{str(p).translate(_SUPERSCRIPT)}") for p in powers]
        inside = (t for t in ticks(self.low, self.high) if self.low - 1e-9 <= t <= self.high + 1e-9 * abs(self.high))
        return [(self(tick), f"{tick:,g}") for tick in inside]


def margins(traces: list[tuple[Any, str]]) -> tuple[float, float, float]:
    """Room for the numbers or the names left, right and below."""
    left, below = (_names(traces, [getattr(trace, side) for trace, _ in traces], side) for side in ("y", "x"))
    longest = max(map(len, below), default=0)
    return (
        max(_LEFT, 12 + 6 * max(map(len, left), default=0)),
        _RIGHT,
        _BOTTOM + (2.5 * longest if _turned(below) else 0),
    )


def _names(traces: list[tuple[Any, str]], values: list[Any], side: str) -> tuple[str, ...]:
    """The categories along one side, in the order in which they first occur; none where it shows numbers."""
    known = [known_of(trace, v, side) for (trace, _), v in zip(traces, values, strict=True)]
    return tuple(dict.fromkeys(str(v) for part in known for v in part if isinstance(v, str)))


def _turned(names: tuple[str, ...]) -> bool:
    """Whether axis labels are rotated for lack of room."""
    return len(names) > 6 and max(map(len, names)) > 4


def axis_of(axis: Any, values: list[Any], start: float, end: float, traces: list[Any], side: str) -> Axis:
    """The range that an axis shows: its own, or that of the values; bars begin at 0."""
    kinds = {trace.type for trace, _ in traces}
    known = [known_of(trace, v, side) for (trace, _), v in zip(traces, values, strict=True)]
    names = _names(traces, values, side)
    log = axis.type == "log"
    if names:
        low, high = -0.5, len(names) - 0.5
    else:
        found = np.concatenate([np.asarray(part, float) for part in known]) if known else np.zeros(1)
        found = found[np.isfinite(found) & ((found > 0) | (not log))]
        low, high = (float(found.min()), float(found.max())) if found.size else (0.0, 1.0)
        if "bar" in kinds and side == "y":
            low = min(0.0, low)
        if kinds & {"bar", "heatmap"} and (side == "x" or "heatmap" in kinds):
            low, high = low - 0.5, high + 0.5
        low, high = (math.log10(low), math.log10(high)) if log else (low, high)
        if axis.rangemode == "tozero":
            low = min(low, 0.0)
    if axis.range is not None:
        low, high = map(float, axis.range)
    elif not names and not kinds & {"heatmap"}:
        pad = 0.03 * ((high - low) or abs(high) or 1.0)
        low, high = low - pad * (low != 0 or log), high + pad
    return Axis(low, high, start, end, log, names)


def known_of(trace: Any, values: Any, side: str) -> list[Any]:
    """The positions of a trace along one side; where it names none they are 0, 1, …"""
    if values is None:
        shape = np.shape(trace.z) if trace.type == "heatmap" else np.shape(trace.y if side == "x" else trace.x)
        return list(range(shape[1] if trace.type == "heatmap" and side == "x" else shape[0]))
    return list(values)


def square(x: Axis, y: Axis) -> tuple[Axis, Axis]:
    """Both axes with as many pixels to a cell."""
    size = min(abs(x.end - x.start) / (x.high - x.low), abs(y.end - y.start) / (y.high - y.low))
    made = []
    for axis in (x, y):
        half = math.copysign(size * (axis.high - axis.low) / 2, axis.end - axis.start)
        middle = (axis.start + axis.end) / 2
        made.append(replace(axis, start=middle - half, end=middle + half))
    return made[0], made[1]


def scales(x: Axis, y: Axis, across: str, up: str, grid: bool) -> Iterator[str]:
    """Grid, numbers and the names of the axes."""
    low, left, right = max(y.start, y.end), min(x.start, x.end), max(x.start, x.end)
    if grid:
        lines = "".join(f"M{left:.1f} {at:.1f}H{right:.1f}" for at, _ in y.marks())
        yield f"<path d='{lines}' stroke='#ddd' fill='none'/>"
    for at, name in x.marks():
        how = (
            f"text-anchor='end' transform='rotate(-35 {at:.1f} {low + 12:.1f})'"
            if _turned(x.names)
            else "text-anchor='middle'"
        )
        yield f"<text x='{at:.1f}' y='{low + 14:.1f}' {how}>{written(name)}</text>"
    for at, name in y.marks():
        yield f"<text x='{left - 6:.1f}' y='{at + 4:.1f}' text-anchor='end'>{written(name)}</text>"
    if across:
        under = low + 32 + (2.5 * max(map(len, x.names)) if _turned(x.names) else 0)
        yield f"<text x='{(left + right) / 2:.1f}' y='{under:.1f}' text-anchor='middle'>{written(across)}</text>"
    if up:
        above = min(y.start, y.end) - 10
        yield f"<text x='{max(left - 44, 4):.1f}' y='{above:.1f}' font-weight='bold'>{written(up)}</text>"


def plain(text: str | None) -> str:
    """What Plotly would write, without its tags."""
    return re.sub(r"<[^<>]*>", " ", text or "").replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&").strip()


def written(text: str) -> str:
    """The same, escaped for SVG."""
    return escape(plain(text))
