"""Figures as SVG: documents for an ``<img>`` or a saved notebook, and drawings within a page, in its colours."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from labkit.core.html import Html
from labkit.core.text import escape, visible
from labkit.core.units import plain
from labkit.viz.figure import PALETTE, Axis, Band, Bars, Colour, FigureSpec, Heatmap, Line, Mark, Plot, Rule
from labkit.viz.media import png_address
from labkit.viz.series import thin, ticks

#: Most points of a line, most cells of a heatmap that have their number written in them.
MOST, WRITTEN = 240, 150
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 14, 26, 26
_DASHES = {"dash": "6 3", "dot": "2 3", "dashdot": "6 3 2 3", "longdash": "10 4"}
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
#: Width of a Latin letter in pixels, roughly.
LETTER = 6.2
#: Markers whose centres are nearer than this many pixels share a tooltip; most lines of a tooltip.
NEAR, LINES = 7.0, 12


def document(figure: FigureSpec) -> str:
    """A file of its own, with a title for those who do not see it, on white whatever is round it."""
    wide, high = figure.width, figure.height
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {wide} {high}' width='{wide}' height='{high}' role='img'"
        f" font-family='sans-serif' font-size='11' fill='#333' color='#333'><title>{escape(figure.alt)}</title>"
        f"<rect width='{wide}' height='{high}' fill='#fff'/>{_drawn(figure, lambda number: PALETTE[number - 1])}</svg>"
    )


def inline(figure: FigureSpec) -> Html:
    """Part of a page, in the colours of ``theme.css``, so that it follows light and dark."""
    return Html(
        f"<svg class='lk-chart' viewBox='0 0 {figure.width} {figure.height}' role='img' "
        f"aria-label=\"{escape(visible(figure.alt, 2000))}\" style='max-width:{figure.width + 70}px'>"
        f"{_drawn(figure, lambda number: f'var(--lk-fill-{number})')}</svg>"
    )


def _drawn(figure: FigureSpec, palette: Callable[[int], str]) -> str:
    legends = [bool(plot.legend) for plot in figure.plots]
    shared = len(legends) > 1 and sum(legends) == 1  # one legend for all plots has a line of its own
    return "".join(part for plot in figure.plots for part in _Frame(figure, plot, palette, shared).parts())


@dataclass(frozen=True)
class Scale:
    """Values to pixels along one side; low and high are logarithms where the axis is logarithmic."""

    axis: Axis
    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float | None) -> float:
        number = math.nan if value is None else value
        if self.axis.log:
            number = self.low if number <= 0 else math.log10(number)
        return self.start + (self.end - self.start) * (number - self.low) / ((self.high - self.low) or 1.0)

    def marks(self) -> list[tuple[float, str]]:
        """Where a number or a name is written, in pixels."""
        if not self.axis.shown:
            return []
        if self.axis.names:
            return [(self(place), name) for place, name in enumerate(self.axis.names)]
        if self.axis.log:
            powers = range(math.ceil(self.low - 1e-9), math.floor(self.high + 1e-9) + 1)
            return [(self(10.0**power), f"10{str(power).translate(_SUPERSCRIPT)}") for power in powers]
        slack = 1e-9 * max(abs(self.low), abs(self.high))
        numbers = self.axis.ticks or ticks(self.low, self.high)
        return [(self(at), plain(at, 6)) for at in numbers if self.low - slack <= at <= self.high + slack]


def _scale(plot: Plot, side: str, start: float, end: float) -> Scale:
    """The range of an axis: its limits, or what its marks need and a little more."""
    axis: Axis = getattr(plot, side)
    if axis.ends is not None:
        low, high = axis.ends
    else:
        found = np.concatenate([np.zeros(0), *(_positions(mark, side) for mark in plot.marks)])
        found = found[np.isfinite(found) & ((found > 0) | (not axis.log))]
        low, high = (
            (float(found.min()), float(found.max())) if found.size else (1.0 if axis.log else 0.0, 1.0)
        )
    low, high = (math.log10(low), math.log10(high)) if axis.log else (low, high)
    if axis.ends is None and not any(isinstance(mark, Heatmap) for mark in plot.marks):
        pad = 0.03 * ((high - low) or abs(high) or 1.0)
        low, high = low - pad * (low != 0 or axis.log), high + pad
    return Scale(axis, low, high, *((end, start) if axis.flipped else (start, end)))


def _positions(mark: Mark, side: str) -> np.ndarray:
    """What a mark needs of one side; bars begin at 0."""
    if isinstance(mark, Rule):
        return np.zeros(0)
    if isinstance(mark, Heatmap):
        return np.array([-0.5, mark.z.shape[side == "x"] - 0.5])
    if isinstance(mark, Band):
        parts = (mark.x,) if side == "x" else (mark.low, mark.high)
        return np.concatenate([np.asarray(part, float) for part in parts])
    values = np.asarray(getattr(mark, side), float)
    if isinstance(mark, Line):
        return values
    amounts = mark.flat == (side == "x")
    return np.concatenate([values, [0.0]] if amounts else [values - mark.width / 2, values + mark.width / 2])


class _Frame:
    """A plot in its place: margins, scales, and the parts of its drawing."""

    def __init__(self, figure: FigureSpec, plot: Plot, palette: Callable[[int], str], shared: bool):
        self.plot, self.palette = plot, palette
        self.width = figure.width
        left, right = (figure.width * share for share in plot.place[:2])
        bottom, self.line = (figure.height * (1 - share) for share in plot.place[2:])
        self.edge, self.top = (figure.width if shared else right) - _RIGHT, self.line + (14 if shared else 0)
        self.bare = not (plot.x.shown or plot.y.shown)
        longest = max(map(len, plot.x.names), default=0)
        self.beside = beside = max((_columns(text) for _, text in _scale(plot, "y", 0, 1).marks()), default=0)
        room = (right - left) / max(len(plot.x.names), 1)
        aslant = len(plot.x.names) > 6 and longest > 4
        steep = 65 if room < 25 else 35
        self.turn = steep if aslant else 0
        self.below = 6.5 * longest * math.sin(math.radians(self.turn)) - 8 if aslant else 0.0
        edges = left + 2, right - 2, bottom - 2
        if not self.bare:
            foot = (_BOTTOM + self.below + (14 if plot.x.label else 0)) if plot.x.shown else 0
            label = 14 if plot.title and plot.y.label else 0
            edges = left + max(_LEFT, 12 + 6 * beside + label), right - _RIGHT, bottom - foot
        titled = _TOP if plot.title or plot.y.label or plot.legend else 0
        self.x, self.y = _scale(plot, "x", *edges[:2]), _scale(plot, "y", edges[2], self.top + titled)
        lines = [mark for mark in plot.marks if isinstance(mark, Line) and mark.notes]
        self.notes = [
            (self.x(a), self.y(b), note)
            for mark in lines
            for a, b, note in zip(mark.x, mark.y, mark.notes, strict=True)
        ]
        self.written: list[tuple[float, float, float]] = []  # left, right and foot of the texts at points
        if plot.square:
            size = min(abs((each.end - each.start) / (each.high - each.low)) for each in (self.x, self.y))
            self.x, self.y = (_resized(each, size) for each in (self.x, self.y))

    def parts(self) -> Iterator[str]:
        """Axes, then marks in their order, then the legend."""
        yield from self._axes()
        draw = {
            Line: self._line,
            Band: self._band,
            Bars: self._bars,
            Heatmap: self._heatmap,
            Rule: self._rule,
        }
        for mark in self.plot.marks:
            drawn = "".join(draw[type(mark)](mark))
            yield self._clipped(drawn) if self._leaves(mark) else drawn
        yield from self._legend()

    def _leaves(self, mark: Mark) -> bool:
        """Whether a mark goes beyond limits that were given."""
        for side, scale in (("x", self.x), ("y", self.y)):
            axis: Axis = getattr(self.plot, side)
            if axis.limits is not None and not isinstance(mark, Heatmap):
                found = _positions(mark, side)
                found = found[np.isfinite(found)]
                low, high = (10.0**scale.low, 10.0**scale.high) if axis.log else (scale.low, scale.high)
                if found.size and (found.min() < low or found.max() > high):
                    return True
        return False

    def _clipped(self, drawn: str) -> str:
        """A drawing cut at the edges of the plot: an inner ``<svg>`` shows nothing outside its frame."""
        left, right = sorted((self.x.start, self.x.end))
        high, low = sorted((self.y.start, self.y.end))
        frame = f"{left:.1f} {high:.1f} {right - left:.1f} {low - high:.1f}"
        x, y, width, height = frame.split()
        return f"<svg x='{x}' y='{y}' width='{width}' height='{height}' viewBox='{frame}'>{drawn}</svg>"

    def _paint(self, colour: Colour) -> str:
        return escape(colour) if isinstance(colour, str) else self.palette(1 + (colour - 1) % len(PALETTE))

    def _axes(self) -> Iterator[str]:
        x, y, plot = self.x, self.y, self.plot
        left, right, high, low = (
            min(x.start, x.end),
            max(x.start, x.end),
            min(y.start, y.end),
            max(y.start, y.end),
        )
        grid = [f"M{left:.1f} {at:.1f}H{right:.1f}" for at, _ in y.marks() if not plot.y.names]
        grid += [f"M{at:.1f} {high:.1f}V{low:.1f}" for at, _ in x.marks() if plot.square]
        if grid and not all(isinstance(mark, Heatmap) for mark in plot.marks):
            yield f"<path class='lk-axis' d='{''.join(grid)}' stroke='#ddd' fill='none'/>"
        for at, name in x.marks():
            turn = f" transform='rotate({-self.turn} {at:.1f} {low + 12:.1f})'" if self.turn else ""
            yield _text(at, low + 14, name, "end" if self.turn else "middle", turn)
        for at, name in y.marks():
            yield _text(left - 6, at + 4, name, "end")
        if plot.x.label:
            yield _text((left + right) / 2, low + 32 + self.below, plot.x.label, "middle")
        if plot.title and plot.y.label:
            at, middle = left - max(40, 14 + 6 * self.beside), (high + low) / 2
            yield _text(at, middle, plot.y.label, "middle", f" transform='rotate(-90 {at:.1f} {middle:.1f})'")
        if title := plot.title or plot.y.label:
            x, y, anchor = (
                ((left + right) / 2, high - 6, "middle") if self.bare else (left, self.top + 15, "start")
            )
            yield _text(x, y, title, anchor, "" if self.bare else " font-weight='bold'")

    def _legend(self) -> Iterator[str]:
        """The labels of the marks, from the right end of the first line to the left."""
        right = self.edge
        for mark in reversed(self.plot.legend):
            right -= 36 + sum(7 if ord(char) < 0x2E80 else 12 for char in mark.label)
            pen = f"stroke='{self._paint(mark.colour)}' stroke-width='2'{_dash(mark)}"
            yield f"<path d='M{right:.0f} {self.line + 11:.0f}h22' {pen}/>"
            yield _text(right + 26, self.line + 15, mark.label)

    # --- marks ----------------------------------------------------------------------------------------------------

    def _line(self, line: Line) -> Iterator[str]:
        x, y, colour = line.x, line.y, self._paint(line.colour)
        if line.joined and not line.texts and len(x) > MOST:
            x, y = thin(x, y, MOST)
        points = [(self.x(a), self.y(b)) for a, b in zip(x, y, strict=True)]
        if line.joined:
            pen = f"stroke='{colour}' stroke-width='1.6'{_dash(line)}"
            yield f"<path d='{_path(points)}' {pen} stroke-linejoin='round' fill='none'/>"
        for number, (a, b) in enumerate(points):
            if not math.isfinite(a + b):
                continue
            own = self._paint(line.colours[number]) if line.colours else colour
            if line.marker == "square":
                yield f"<path d='M{a - 3:.1f} {b - 3:.1f}h6v6h-6z' fill='{own}'/>"
            elif line.marker:
                ring = f"r='6' stroke='{own}' stroke-width='3' fill='none'"
                style = ring if line.marker == "ring" else f"r='2.8' fill='{own}'"
                if line.notes:  # a marker behind another one shows through, and both are in the tooltip
                    style = f"r='4' fill='{own}' fill-opacity='.45' stroke='{own}'"
                    yield f"<circle cx='{a:.1f}' cy='{b:.1f}' {style}><title>{self._near(a, b)}</title></circle>"
                else:
                    yield f"<circle cx='{a:.1f}' cy='{b:.1f}' {style}/>"
            if line.texts:
                yield self._named(a, b, line.texts[number], bool(line.notes))

    def _near(self, x: float, y: float) -> str:
        """The notes of all markers at a point, a line each, escaped."""
        found = [note for a, b, note in self.notes if math.hypot(a - x, b - y) < NEAR]
        more = [f"+ {len(found) - LINES}"] if len(found) > LINES else []
        return "\n".join(escape(visible(note, 100)) for note in found[:LINES] + more)

    def _named(self, x: float, y: float, text: str, optional: bool) -> str:
        """A text above its point, or below it where another text is; an optional one is left out where both are."""
        half = LETTER * _columns(text) / 2
        centre = min(x, self.width - 2 - half)  # else it would be cut off
        for foot in (y - 7, y + 16):
            clear = all(
                centre + half < left or centre - half > right or abs(foot - other) > 11
                for left, right, other in self.written
            )
            if clear or not optional:
                self.written.append((centre - half, centre + half, foot))
                end = centre < x
                return _text(self.width - 2 if end else x, foot, text, "end" if end else "middle")
        return ""

    def _band(self, band: Band) -> Iterator[str]:
        there = [
            (self.x(a), self.y(low), self.y(high))
            for a, low, high in zip(band.x, band.low, band.high, strict=True)
        ]
        there = [each for each in there if math.isfinite(sum(each))]
        points = [(x, high) for x, _low, high in there] + [(x, low) for x, low, _high in reversed(there)]
        if points:
            style = f"fill='{self._paint(band.colour)}' fill-opacity='{band.opacity:g}'"
            yield f"<path d='{_path(points)}Z' {style} stroke='none'/>"

    def _bars(self, bars: Bars) -> Iterator[str]:
        across, up = (self.y, self.x) if bars.flat else (self.x, self.y)
        wide = max(abs(across(bars.width) - across(0)) - (not across.axis.names), 0.6)
        style = f"fill='{self._paint(bars.colour)}' fill-opacity='{bars.opacity:g}'"
        pairs = zip(bars.y, bars.x, strict=True) if bars.flat else zip(bars.x, bars.y, strict=True)
        for number, (place, amount) in enumerate(pairs):
            side, end, zero = across(place) - wide / 2, up(amount), up(0)
            if not math.isfinite(side + end):
                continue
            at, size = (side, min(end, zero)), (wide, abs(end - zero))
            (x, y), (width, height) = (at[::-1], size[::-1]) if bars.flat else (at, size)
            yield f"<rect x='{x:.1f}' y='{y:.1f}' width='{width:.1f}' height='{height:.1f}' {style}/>"
            if bars.texts:
                yield _text(end + 6, across(place) + 4, bars.texts[number])

    def _heatmap(self, heat: Heatmap) -> Iterator[str]:
        """One pixel a cell, enlarged; the numbers over it where there are few."""
        x, y, z, (low, high) = self.x, self.y, np.asarray(heat.z, float), heat.limits
        share = np.nan_to_num((z - low) / ((high - low) or 1.0)).clip(0, 1)
        at, colours = (
            [place for place, _ in heat.colours],
            np.array([colour for _, colour in heat.colours], float),
        )
        pixels = np.stack([np.interp(share, at, band) for band in colours.T], -1).round().astype(np.uint8)
        left, right = sorted((x(-0.5), x(z.shape[1] - 0.5)))
        top, foot = sorted((y(-0.5), y(z.shape[0] - 0.5)))
        yield (
            f"<image x='{left:.1f}' y='{top:.1f}' width='{right - left:.1f}' height='{foot - top:.1f}' "
            "preserveAspectRatio='none' style='image-rendering:pixelated' "
            f"href='{png_address(pixels if y(1) > y(0) else pixels[::-1])}'/>"
        )
        for (row, column), value in np.ndenumerate(
            z if heat.written and z.size <= WRITTEN else np.zeros((0, 0))
        ):
            ink = "#fff" if pixels[row, column, :3] @ np.array([0.3, 0.6, 0.1]) < 128 else "#000"
            yield _text(x(column), y(row) + 4, f"{value:.3g}", "middle", f" fill='{ink}'")

    def _rule(self, rule: Rule) -> Iterator[str]:
        x, y = (
            (scale.start, scale.end) if pair is None else (scale(pair[0]), scale(pair[1]))
            for scale, pair in ((self.x, rule.x), (self.y, rule.y))
        )
        path = _path(list(zip(x, y, strict=True)))
        yield f"<path d='{path}' stroke='currentcolor' stroke-dasharray='4 3' fill='none'/>"
        if rule.note:
            late = x[0] > (self.x.start + self.x.end) / 2
            yield _text(x[0] + (-5 if late else 5), min(y) + 9, rule.note, "end" if late else "start")


def _columns(text: str) -> int:
    """Width of a text in Latin letters; a Chinese character is as wide as two."""
    return sum(1 + (ord(char) >= 0x2E80) for char in text)


def _resized(scale: Scale, size: float) -> Scale:
    """The same about its middle, with ``size`` pixels to a unit."""
    half, middle = size * (scale.high - scale.low) / 2, (scale.start + scale.end) / 2
    half = math.copysign(half, scale.end - scale.start)
    return replace(scale, start=middle - half, end=middle + half)


def _text(x: float, y: float, text: str, anchor: str = "start", more: str = "") -> str:
    place = "" if anchor == "start" else f" text-anchor='{anchor}'"
    return f"<text x='{x:.1f}' y='{y:.1f}'{place}{more}>{escape(text)}</text>"


def _dash(mark: Mark) -> str:
    dash = _DASHES.get(mark.dash) if isinstance(mark, Line) else None
    return f" stroke-dasharray='{dash}'" if dash else ""


def _path(points: Sequence[tuple[float, float]]) -> str:
    """Line commands; a point that is not finite leaves a gap."""
    parts, pen = [], "M"
    for x, y in points:
        finite = math.isfinite(x + y)
        parts.append(f"{pen}{x:.1f} {y:.1f}" if finite else "")
        pen = "L" if finite else "M"
    return "".join(parts)
