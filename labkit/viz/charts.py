"""Small static SVG charts for widgets. Text is escaped.

Colours are those of ``theme.css``, so that a chart follows light and dark. Every chart says itself in words.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from labkit.core.text import escape
from labkit.data.prepare.quality import Histogram
from labkit.data.report import visible
from labkit.viz.html import Html
from labkit.viz.series import ticks

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 560, 180, 48, 12, 14, 34


def bars(amounts: Sequence[tuple[str, float]], label: str, shown: Sequence[str] = ()) -> Html:
    """Horizontal bars: (name, amount ≥ 0) from top to bottom; ``shown`` is the text next to each."""
    shown = shown or [f"{amount:,g}" for _, amount in amounts]
    most = max((amount for _, amount in amounts), default=0) or 1
    wide, high = 150, 22
    parts = []
    for place, ((name, amount), text) in enumerate(zip(amounts, shown, strict=True)):
        y = place * high
        full = (_WIDTH - wide - 130) * amount / most
        parts.append(
            f'<text x="{wide - 8}" y="{y + 15}" text-anchor="end">{escape(_cut(name, 22))}</text>'
            f'<rect x="{wide}" y="{y + 4}" width="{max(full, 1):.1f}" height="14" rx="2" fill="var(--lk-fill-1)"/>'
            f'<text x="{wide + full + 6:.1f}" y="{y + 15}">{escape(text)}</text>'
        )
    said = "; ".join(f"{_cut(name, 60)}: {text}" for (name, _), text in zip(amounts, shown, strict=True))
    return _svg(_WIDTH, max(len(amounts), 1) * high, "".join(parts), f"{label}. {said}")


def histogram(found: Histogram, label: str, x: str, y: str, limit: float | None = None, note: str = "") -> Html:
    """How often values occur; values above ``limit`` have another colour and hatching, with ``note`` at the line."""
    low, high = found.edges[0], found.edges[-1]
    top = ticks(0, max(found.counts) or 1, 4)
    across, up = _scale(low, high, _LEFT, _WIDTH - _RIGHT), _scale(0, top[-1], _HEIGHT - _BOTTOM, _TOP)
    parts = [_axes(across, up, [t for t in ticks(low, high, 6) if low <= t <= high], top, x, y)]
    for left, right, count in zip(found.edges, found.edges[1:], found.counts, strict=False):
        cut = limit is not None and left >= limit
        a, b = across(left), across(right)
        fill = "var(--lk-fill-2)" if cut else "var(--lk-fill-1)"
        parts.append(
            f'<rect x="{a + 0.5:.1f}" y="{up(count):.1f}" width="{max(b - a - 1, 0.6):.1f}"'
            f' height="{max(up(0) - up(count), 0):.1f}" fill="{fill}"/>'
        )
    if limit is not None and low <= limit <= high:
        at = across(limit)
        side = ("end", -5) if at > _WIDTH / 2 else ("start", 5)
        parts.append(
            f'<path d="M{at:.1f} {_TOP}V{_HEIGHT - _BOTTOM}" stroke="currentcolor" stroke-dasharray="4 3" fill="none"/>'
            f'<text x="{at + side[1]:.1f}" y="{_TOP + 9}" text-anchor="{side[0]}">{escape(note)}</text>'
        )
    said = f"{label}: {x} {low:g} – {high:g}, {sum(found.counts):,}. {note}"
    return _svg(_WIDTH, _HEIGHT, "".join(parts), said)


def line(points: Sequence[float], label: str, x: str, y: str) -> Html:
    """A line through values at 1, 2, 3 …; of many values some are omitted."""
    step = max(1, len(points) // 240)
    places = [*range(0, len(points), step), *([len(points) - 1] if points else [])]
    high = max([v for v in points if math.isfinite(v)], default=1.0) or 1.0
    top, right = ticks(0, high, 4), ticks(0, max(len(points), 1), 6)
    across, up = (
        _scale(0, max(len(points), 1), _LEFT + 14, _WIDTH - _RIGHT),
        _scale(0, top[-1], _HEIGHT - _BOTTOM, _TOP),
    )
    path = "L".join(f"{across(place + 1):.1f} {up(points[place]):.1f}" for place in places)
    axes = _axes(across, up, [t for t in right if t <= len(points)], top, x, y, _LEFT + 14)
    drawn = f'<path d="M{path}" fill="none" stroke="var(--lk-fill-1)" stroke-width="2"/>' if path else ""
    return _svg(_WIDTH, _HEIGHT, axes + drawn, f"{label}: {y} 0 – {high:.3g}")


def stack(blocks: Sequence[tuple[str, str, str, int]], label: str) -> Html:
    """A stack of layers, read from the bottom as data flows: (name, shape, parameters as text, kind 1 … 7)."""
    high, gap, wide = 34, 14, 420
    total = len(blocks) * (high + gap) - gap
    parts = []
    for place, (name, shape, count, kind) in enumerate(blocks):
        y = total - high - place * (high + gap)
        parts.append(
            f'<rect x="1" y="{y + 1}" width="{wide - 2}" height="{high - 2}" rx="5" fill="var(--lk-raised)"'
            f' stroke="var(--lk-fill-{kind})" stroke-width="1.5"/>'
            f'<rect x="1" y="{y + 1}" width="5" height="{high - 2}" rx="2" fill="var(--lk-fill-{kind})"/>'
            f'<text x="16" y="{y + (15 if shape else 21)}" font-weight="600">{escape(_cut(name, 46))}</text>'
            f'<text x="16" y="{y + 28}" opacity="0.85">{escape(_cut(shape, 44))}</text>'
            f'<text x="{wide - 10}" y="{y + 21}" text-anchor="end">{escape(count)}</text>'
        )
        if place:
            foot = y + high
            parts.append(
                f'<path d="M{wide / 2} {foot + gap}V{foot + 2}m-4 5l4 -5l4 5" fill="none" stroke="currentcolor"'
                ' opacity="0.6"/>'
            )
    said = "; ".join(f"{name} {shape} {count}".strip() for name, shape, count, _ in blocks)
    return _svg(wide, total, "".join(parts), f"{label}. {said}", most=420)


def _svg(width: float, height: float, inside: str, said: str, most: int = 640) -> Html:
    box, name, style = f"0 0 {width:g} {height:g}", escape(visible(said, 2000)), f"max-width:{most}px"
    return Html(f'<svg class="lk-chart" viewBox="{box}" role="img" aria-label="{name}" style="{style}">{inside}</svg>')


def _scale(low: float, high: float, first: float, last: float):
    span = (high - low) or 1.0
    return lambda value: first + (last - first) * (value - low) / span


def _axes(across, up, xs: Sequence[float], ys: Sequence[float], x: str, y: str, left: float = _LEFT) -> str:
    lines = "".join(f"M{left} {up(v):.1f}H{_WIDTH - _RIGHT}" for v in ys)
    beside = "".join(f'<text x="{left - 6}" y="{up(v) + 4:.1f}" text-anchor="end">{v:,g}</text>' for v in ys)
    below = "".join(
        f'<text x="{across(v):.1f}" y="{_HEIGHT - _BOTTOM + 15}" text-anchor="middle">{v:,g}</text>' for v in xs
    )
    named = (
        f'<text x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 3}" text-anchor="end" opacity="0.85">{escape(x)}</text>'
        f'<text x="{left}" y="9" opacity="0.85">{escape(y)}</text>'
    )
    return f'<path class="lk-axis" d="{lines}"/>{beside}{below}{named}'


def _cut(text: str, most: int) -> str:
    """Text of one line, cut."""
    text = visible(" ".join(str(text).split()))
    return text if len(text) <= most else text[: most - 1] + "…"
