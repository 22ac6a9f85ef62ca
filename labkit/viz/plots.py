"""SVG plots of precision-recall, ROC and calibration curves. Text is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from labkit.core.text import escape
from labkit.data.report import visible
from labkit.viz.html import Html

_SIDE, _LEFT, _TOP, _RIGHT, _BOTTOM = 220, 44, 22, 10, 36
#: Points of a curve that are drawn.
MOST = 120


class Line(NamedTuple):
    """A curve: x and y in 0 … 1, its colour (1 … 7), whether dashed, whether each point is marked."""

    x: np.ndarray
    y: np.ndarray
    fill: int = 1
    dashed: bool = False
    marked: bool = False


def unit(
    lines: Sequence[Line], title: str, x: str, y: str, said: str,
    *, point: tuple[float, float] | None = None, diagonal: bool = False, bars: Sequence[float] = (),
) -> Html:  # fmt: skip
    """A plot of curves in 0 … 1.

    Args:
        lines: the curves; places that are not finite leave a gap.
        title, x, y: what it is and what its axes are.
        said: the plot in words.
        point: a place that is marked.
        diagonal: draw what chance, or perfect calibration, gives.
        bars: heights (0 … 1) of bars of equal width along the foot: how much there is.
    """
    wide, high = _LEFT + _SIDE + _RIGHT, _TOP + _SIDE + _BOTTOM
    parts = [_axes(title, x, y)]
    step = _SIDE / max(len(bars), 1)
    for place, height in enumerate(bars):
        tall = _SIDE * height * 0.3
        parts.append(
            f'<rect x="{_LEFT + place * step + 1:.1f}" y="{_TOP + _SIDE - tall:.1f}" width="{max(step - 2, 1):.1f}" '
            f'height="{tall:.1f}" fill="var(--lk-fill-7)" opacity="0.35"/>'
        )
    if diagonal:
        parts.append(f'<path d="M{_at(0, 0)}L{_at(1, 1)}" stroke="currentcolor" stroke-dasharray="2 4" fill="none"/>')
    for line in lines:
        dash = ' stroke-dasharray="6 3"' if line.dashed else ""
        stroke = f'stroke="var(--lk-fill-{line.fill})" stroke-width="2" stroke-linejoin="round"'
        parts.append(f'<path d="{_path(line)}" {stroke}{dash} fill="none"/>')
        if line.marked:
            parts += [
                _dot(place, 3.5, f'fill="var(--lk-fill-{line.fill})"') for place in zip(line.x, line.y, strict=True)
            ]
    if point is not None:
        parts.append(_dot(point, 6, 'fill="var(--lk-page)" stroke="var(--lk-fill-2)" stroke-width="3"'))
    spoken = escape(visible(f"{title}. {said}", 1000))
    return Html(
        f'<svg class="lk-chart" viewBox="0 0 {wide} {high}" role="img" aria-label="{spoken}" '
        f'style="max-width:{wide + 60}px">{"".join(parts)}</svg>'
    )


def side_by_side(*plots: Html) -> Html:
    """Plots in a row that wraps."""
    each = "".join(f'<div style="flex:1 1 240px;max-width:340px">{plot}</div>' for plot in plots)
    return Html(f'<div style="display:flex;flex-wrap:wrap;gap:12px">{each}</div>')


def thin(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """At most :data:`MOST` points of a curve, first and last among them."""
    if len(x) <= MOST:
        return x, y
    kept = np.unique(np.linspace(0, len(x) - 1, MOST).astype(int))
    return x[kept], y[kept]


def _at(x: float, y: float) -> str:
    return f"{_LEFT + _SIDE * x:.1f} {_TOP + _SIDE * (1 - y):.1f}"


def _dot(place: tuple[float, float], radius: float, style: str) -> str:
    x, y = _at(*place).split()
    return f'<circle cx="{x}" cy="{y}" r="{radius}" {style}/>' if np.isfinite(place).all() else ""


def _path(line: Line) -> str:
    parts, pen = [], "M"
    for x, y in zip(*thin(np.asarray(line.x, float), np.asarray(line.y, float)), strict=True):
        if np.isfinite(x) and np.isfinite(y):
            parts.append(f"{pen}{_at(x, y)}")
            pen = "L"
        else:
            pen = "M"
    return "".join(parts)


def _axes(title: str, x: str, y: str) -> str:
    ticks = (0.0, 0.25, 0.5, 0.75, 1.0)
    lines = "".join(f"M{_at(0, tick)}L{_at(1, tick)}M{_at(tick, 0)}L{_at(tick, 1)}" for tick in ticks)
    foot = _TOP + _SIDE
    return (
        f'<path class="lk-axis" d="{lines}"/>'
        + "".join(
            f'<text x="{_LEFT - 6}" y="{float(_at(0, tick).split()[1]) + 4:.1f}" text-anchor="end">{tick:g}</text>'
            f'<text x="{_at(tick, 0).split()[0]}" y="{foot + 15}" text-anchor="middle">{tick:g}</text>'
            for tick in ticks
        )
        + f'<text x="{_LEFT}" y="12" font-weight="600">{escape(title)}</text>'
        f'<text x="{_LEFT + _SIDE / 2}" y="{foot + 31}" text-anchor="middle">{escape(x)}</text>'
        f'<text transform="translate(11 {_TOP + _SIDE / 2}) rotate(-90)" text-anchor="middle">{escape(y)}</text>'
    )
