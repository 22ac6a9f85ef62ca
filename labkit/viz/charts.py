"""Figures of data and of scores: bars, histograms, a line, curves over the unit square, weights of attention."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from labkit.core.text import one_line
from labkit.core.units import score
from labkit.data.prepare.quality import Histogram
from labkit.viz.figure import QUARTERS, Axis, Bars, FigureSpec, Heatmap, Line, Mark, Plot, Rule
from labkit.viz.series import ticks

#: Points of a scatter plot at most.
MOST_POINTS = 600


def bars(amounts: Sequence[tuple[str, float]], label: str, shown: Sequence[str] = ()) -> FigureSpec:
    """Horizontal bars: (name, amount ≥ 0) from top to bottom, with the texts ``shown`` at their ends."""
    shown = shown or [f"{amount:,g}" for _, amount in amounts]
    count, most = len(amounts), max((amount for _, amount in amounts), default=0) or 1
    mark = Bars([amount for _, amount in amounts], range(count), width=0.64, flat=True, texts=shown)
    x = Axis(limits=(0, 1.5 * most), shown=False)
    y = Axis(names=[one_line(name, 22) for name, _ in amounts], flipped=True)
    said = "; ".join(f"{one_line(name, 60)}: {text}" for (name, _), text in zip(amounts, shown, strict=True))
    return FigureSpec([Plot([mark], x=x, y=y)], f"{label}. {said}", height=22 * max(count, 1))


def scores(found: Sequence[tuple[str, float, float, float]], label: str, metric: str) -> FigureSpec:
    """Horizontal bars of a metric, each with a line over its interval: (name, value, low, high) from top to
    bottom."""
    names, values, lows, highs = zip(*found, strict=True)
    texts = [
        f"{score(value, metric)}  ({score(low, metric)} – {score(high, metric)})"
        for _, value, low, high in found
    ]
    ends = [each for each in (*values, *lows, *highs, 0.0) if math.isfinite(each)]
    least, most, places = min(ends), max(ends), range(len(found))
    ranges = [Line([low, high], [place] * 2, colour=2) for place, (_, _, low, high) in enumerate(found)]
    uppers = [high if math.isfinite(high) else value for value, high in zip(values, highs, strict=True)]
    marks = [
        Bars(values, places, width=0.5, flat=True, opacity=0.6), *ranges,
        Bars(uppers, places, width=0.5, flat=True, opacity=0.0, texts=texts),  # the texts stand behind the intervals
    ]  # fmt: skip
    x = Axis(limits=(least, most + 0.9 * (most - least or 1.0)), shown=False)
    said = "; ".join(f"{name} {text}" for name, text in zip(names, texts, strict=True))
    y = Axis(names=[one_line(name, 44) for name in names], flipped=True)
    return FigureSpec([Plot(marks, x=x, y=y)], f"{label}: {said}", height=26 * len(found) + 8)


def histogram(
    found: Histogram, label: str, x: str, y: str, limit: float | None = None, note: str = ""
) -> FigureSpec:
    """How often values occur; what lies above ``limit`` is in another colour, with ``note`` at the line."""
    edges, counts = np.array(found.edges), np.array(found.counts)
    low, high = found.edges[0], found.edges[-1]
    middles, width = (edges[:-1] + edges[1:]) / 2, edges[1] - edges[0]
    cut = edges[:-1] >= (math.inf if limit is None else limit)
    marks: list[Mark] = [
        Bars(middles[part], counts[part], colour=colour, width=width)
        for colour, part in ((1, ~cut), (2, cut))
    ]
    if limit is not None and low <= limit <= high:
        marks.append(Rule((limit, limit), note=note))
    said = f"{label}: {x} {low:g} – {high:g}, {counts.sum():,}. {note}"
    most = float(counts.max()) or 1.0
    top = 1.2 * most if note else most  # room for the note above the bars
    axes = Axis(x, (low, high), ticks(low, high, 6)), Axis(y, (0, top) if note else None, ticks(0, most, 4))
    return FigureSpec([Plot(marks, "", *axes)], said)


def line(points: Sequence[float], label: str, x: str, y: str) -> FigureSpec:
    """A line through values at 1, 2, 3 …"""
    high = max([value for value in points if math.isfinite(value)], default=1.0) or 1.0
    axes = Axis(x, (0, max(len(points), 1))), Axis(y, ticks=ticks(0, high, 4))
    return FigureSpec(
        [Plot([Line(range(1, len(points) + 1), points)], "", *axes)], f"{label}: {y} 0 – {high:.3g}"
    )


def unit(marks: Sequence[Mark], title: str, x: str, y: str, said: str) -> FigureSpec:
    """Curves over the unit square: precision over recall, ROC, calibration. ``said`` is the plot in words."""
    plot = Plot(marks, title, Axis(x, ticks=QUARTERS), Axis(y, ticks=QUARTERS), square=True)
    return FigureSpec([plot], f"{title}. {said}", 286, 286)


def agreement(
    truth: np.ndarray, answers: np.ndarray, words: tuple[str, str, str, str], said: str
) -> tuple[FigureSpec, FigureSpec]:
    """Predicted against true values, and the residuals over the predictions; of many rows a part.

    Args:
        truth, answers: f64[n].
        words: for "predicted against true", "true", "predicted" and "residual".
        said: the plots in words.
    """
    title, true, predicted, residual = words
    kept = np.unique(np.linspace(0, len(truth) - 1, min(len(truth), MOST_POINTS)).round().astype(int))
    x, y = truth[kept], answers[kept]
    both = np.concatenate([x, y, np.zeros(0)])
    low, high = (float(both.min()), float(both.max())) if len(both) else (0.0, 1.0)
    pad = 0.04 * ((high - low) or abs(high) or 1.0)
    ends = (low - pad, high + pad)
    marks = ticks(*ends, 4)
    shown = Axis(true, ends, marks), Axis(predicted, ends, marks)
    points = [Rule(ends, ends), Line(x, y, joined=False, marker="circle")]
    off = [Rule(ends, (0.0, 0.0)), Line(y, y - x, joined=False, marker="circle")]
    return (
        FigureSpec([Plot(points, title, *shown, square=True)], f"{title}. {said}", 330, 300),
        FigureSpec(
            [Plot(off, residual, Axis(predicted, ends, marks), Axis(residual))],
            f"{residual}. {said}",
            330,
            300,
        ),
    )


def attention(weights: np.ndarray, rows: Sequence[str], columns: Sequence[str], said: str) -> FigureSpec:
    """Weights [rows, columns] as a map: rows look at columns."""
    wide, high = 13 * len(columns), 13 * len(rows)
    axes = Axis(names=columns), Axis(names=rows, flipped=True)
    heat = Heatmap(weights, (0.0, float(weights.max(initial=0.0)) or 1.0))
    return FigureSpec([Plot([heat], "", *axes)], said, wide + 12 + 6 * max(map(len, rows)), high + 60)
