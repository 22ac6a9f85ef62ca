"""Plotly figures as still pictures: SVG that any page shows, with no script, no kernel and no trust.

A notebook keeps it, so a reader on a page that hosts code sees what the reader in JupyterLab sees. Lines, markers,
bars, heatmaps, guide lines and subplots are drawn; what a figure has beyond that raises.
"""

from __future__ import annotations

import base64
import math
import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import plotly.graph_objects as go

from labkit.core.errors import ConfigError
from labkit.core.text import escape
from labkit.i18n import _
from labkit.viz.figures import PALETTE
from labkit.viz.series import thin
from labkit.viz.svg_axes import Axis, axis_of, known_of, margins, plain, scales, square, written

#: Most points of a line, most cells of a heatmap that have their number written in them.
MOST, WRITTEN = 240, 150
_DRAWN = ("scatter", "scattergl", "bar", "heatmap")
_RIGHT, _TOP = 14, 26
_DASHES = {"dash": "6 3", "dot": "2 3", "dashdot": "6 3 2 3", "longdash": "10 4"}


class Picture:
    """A figure as an SVG document (``svg``); as the last line of a cell it shows itself, and stays in the notebook."""

    def __init__(self, svg: str, title: str):
        self.svg, self.title = svg, title

    def __repr__(self) -> str:
        return f"<picture: {self.title}>"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"image/svg+xml": self.svg, "text/plain": repr(self)}


def picture(figure: go.Figure, title: str = "", *, width: int = 720, height: int = 300) -> Picture:
    """A Plotly figure as a still picture.

    Args:
        figure: scatter, bar and heatmap traces; subplots stay where the figure has them.
        title: what is seen, in words, for those who do not see it; left out, the figure's own title.
        width, height: in pixels.

    Raises:
        ConfigError: the figure has a trace of another kind.
    """
    title = title or plain(figure.layout.title.text) or "figure"
    parts = [part for place in _places(figure) for part in _plot(figure, *place, width, height)]
    svg = (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height}' width='{width}' height='{height}' "
        f"role='img' font-family='sans-serif' font-size='11' fill='#333'><title>{escape(title)}</title>"
        f"<rect width='{width}' height='{height}' fill='#fff'/>{''.join(parts)}{_legend(figure, width)}</svg>"
    )
    return Picture(svg, title)


def _places(figure: go.Figure) -> list[tuple[str, str]]:
    """The subplots by the names of their axes, ("x", "y") first, in the order of the traces."""
    for trace in figure.data:
        if trace.type not in _DRAWN:
            raise ConfigError(_("static SVG supports scatter, bar and heatmap traces, not {type!r}."), type=trace.type)
    return list(dict.fromkeys(_axes(trace) for trace in figure.data))


def _axes(item: Any) -> tuple[str, str]:
    return item.xaxis or "x", item.yaxis or "y"


def _traces(figure: go.Figure, place: tuple[str, str]) -> Iterator[tuple[Any, str]]:
    """The traces of a subplot with their colours."""
    for number, trace in enumerate(figure.data):
        if _axes(trace) == place:
            own = None if trace.type == "heatmap" else (trace.type in _DRAWN[:2] and trace.line.color)
            chosen = own or (trace.type != "heatmap" and trace.marker.color)
            yield trace, chosen if isinstance(chosen, str) else PALETTE[number % len(PALETTE)]


# --- one subplot ----------------------------------------------------------------------------------------------------


def _plot(figure: go.Figure, xaxis: str, yaxis: str, width: int, height: int) -> Iterator[str]:
    across, up = (figure.layout[name[0] + "axis" + name[1:]] for name in (xaxis, yaxis))
    traces = list(_traces(figure, (xaxis, yaxis)))
    left, right = (share * width for share in across.domain or (0, 1))
    bottom, top = (height * (1 - share) for share in up.domain or (0, 1))
    pictures = all(trace.type == "heatmap" for trace, _ in traces)
    bare = across.showticklabels is False
    before, after, below = (2, 2, 2) if bare else margins(traces)
    x = axis_of(across, [trace.x for trace, _ in traces], left + before, right - after, traces, "x")
    above = _TOP + (10 if figure.layout.annotations and _named(figure) else 0)
    y = axis_of(up, [trace.y for trace, _ in traces], bottom - below, top + above, traces, "y")
    if figure.layout[f"yaxis{(up.matches or 'y')[1:]}"].autorange == "reversed" or up.autorange == "reversed":
        y = replace(y, start=y.end, end=y.start)
    if pictures and (bare or up.scaleanchor):
        x, y = square(x, y)
    if not bare:
        yield from scales(x, y, plain(across.title.text), plain(up.title.text), grid=not pictures)
    for shape in figure.layout.shapes:
        if shape.type == "line" and _own(shape, xaxis, yaxis):
            yield _guide(shape, x, y)
    for note in figure.layout.annotations:
        if note.text and note.xref == "paper" and across.domain and abs(note.x - sum(across.domain) / 2) < 1e-3:
            middle, above = (x.start + x.end) / 2, min(y.start, y.end) - 6
            yield f"<text x='{middle:.1f}' y='{above:.1f}' text-anchor='middle'>{written(note.text)}</text>"
    for trace, colour in traces:
        draw = {"bar": _bars, "heatmap": partial(_heat, figure)}.get(trace.type, _scatter)
        yield from draw(trace, colour, x, y)


def _own(shape: Any, xaxis: str, yaxis: str) -> bool:
    names = {(shape.xref or "x").split()[0], (shape.yref or "y").split()[0]}
    return names <= {xaxis, yaxis, "paper"}


def _guide(shape: Any, x: Axis, y: Axis) -> str:
    def at(value: Any, axis: Axis, reference: str) -> float:
        if "domain" in reference or reference == "paper":
            return axis.start + (axis.end - axis.start) * float(value)
        return axis(float(value))

    ends = [at(shape.x0, x, shape.xref or "x"), at(shape.y0, y, shape.yref or "y"),
            at(shape.x1, x, shape.xref or "x"), at(shape.y1, y, shape.yref or "y")]  # fmt: skip
    return "<path d='M{:.1f} {:.1f}L{:.1f} {:.1f}' stroke='#777' stroke-dasharray='4 3' fill='none'/>".format(*ends)


# --- traces ---------------------------------------------------------------------------------------------------------


def _points(trace: Any, x: Axis, y: Axis) -> list[tuple[float, float]]:
    """A trace in pixels; NaN where a value is not finite."""
    place = {name: number for number, name in enumerate(x.names)}
    across = [place[str(v)] if place else float(v) for v in known_of(trace, trace.x, "x")]
    up = [float(v) if v is not None else math.nan for v in trace.y]
    if trace.type in _DRAWN[:2] and not place and across == sorted(across):
        across, up = thin(across, up, MOST) if len(across) > MOST and float(across[0]).is_integer() else (across, up)
    return [(x(a), y(b) if math.isfinite(b) else math.nan) for a, b in zip(across, up, strict=True)]


def _scatter(trace: Any, colour: str, x: Axis, y: Axis) -> Iterator[str]:
    points, mode = _points(trace, x, y), trace.mode or "lines"
    if "lines" in mode:
        commands, pen = [], "M"
        for a, b in points:
            if math.isfinite(b):
                commands.append(f"{pen}{a:.1f} {b:.1f}")
            pen = "L" if math.isfinite(b) else "M"
        dash = f" stroke-dasharray='{_DASHES[trace.line.dash]}'" if trace.line.dash in _DASHES else ""
        yield f"<path d='{''.join(commands)}' stroke='{escape(colour)}' stroke-width='1.6' fill='none'{dash}/>"
    if "markers" in mode:
        each = trace.marker.color if not isinstance(trace.marker.color, str | type(None)) else None
        for number, (a, b) in enumerate(points):
            own = PALETTE[int(each[number]) % len(PALETTE)] if each is not None else colour
            if math.isfinite(b):
                yield f"<circle cx='{a:.1f}' cy='{b:.1f}' r='3' fill='{escape(own)}' fill-opacity='.75'/>"
    if "text" in mode and trace.text is not None:
        for (a, b), text in zip(points, trace.text, strict=True):
            yield f"<text x='{a:.1f}' y='{b - 7:.1f}' text-anchor='middle'>{written(str(text))}</text>"


def _bars(trace: Any, colour: str, x: Axis, y: Axis) -> Iterator[str]:
    wide = 0.8 * abs(x(1) - x(0))
    for a, b in _points(trace, x, y):
        if math.isfinite(b):
            top, high = min(b, y(0)), abs(b - y(0))
            yield (
                f"<rect x='{a - wide / 2:.1f}' y='{top:.1f}' width='{wide:.1f}' height='{high:.1f}' "
                f"fill='{escape(colour)}' fill-opacity='.8'/>"
            )


def _heat(figure: go.Figure, trace: Any, colour: str, x: Axis, y: Axis) -> Iterator[str]:
    """One pixel a cell, enlarged; the numbers over it where there are few."""
    z = np.asarray(trace.z, float)
    bar = figure.layout[trace.coloraxis] if trace.coloraxis else trace
    low, high = (bar.cmin, bar.cmax) if trace.coloraxis else (bar.zmin, bar.zmax)
    low, high = np.nanmin(z) if low is None else low, np.nanmax(z) if high is None else high
    share = np.nan_to_num((z - low) / ((high - low) or 1.0)).clip(0, 1)
    rgb = _coloured(share, bar.colorscale)
    left, top = min(x(-0.5), x(z.shape[1] - 0.5)), min(y(-0.5), y(z.shape[0] - 0.5))
    wide, tall = abs(x(z.shape[1] - 0.5) - x(-0.5)), abs(y(z.shape[0] - 0.5) - y(-0.5))
    yield (
        f"<image x='{left:.1f}' y='{top:.1f}' width='{wide:.1f}' height='{tall:.1f}' preserveAspectRatio='none' "
        f"style='image-rendering:pixelated' href='data:image/png;base64,{_png(rgb if y(1) > y(0) else rgb[::-1])}'/>"
    )
    if trace.texttemplate and z.size <= WRITTEN:
        for (row, column), value in np.ndenumerate(z):
            ink = "#fff" if rgb[row, column] @ np.array([0.3, 0.6, 0.1]) < 128 else "#000"
            yield f"<text x='{x(column):.1f}' y='{y(row) + 4:.1f}' text-anchor='middle' fill='{ink}'>{value:.3g}</text>"


def _coloured(share: np.ndarray, scale: Any) -> np.ndarray:
    """Values 0 … 1 [h, w] as colours uint8 [h, w, 3], by a Plotly colour scale; without one from white to blue."""
    stops = scale or ((0, "#ffffff"), (1, PALETTE[0]))
    at, colours = [float(place) for place, _ in stops], np.array([_rgb(colour) for _, colour in stops])
    return np.stack([np.interp(share, at, colours[:, band]) for band in range(3)], -1).round().astype(np.uint8)


def _rgb(colour: str) -> list[float]:
    if colour.startswith("#"):
        return [int(colour[place : place + 2], 16) for place in (1, 3, 5)]
    return [float(number) for number in re.findall(r"[\d.]+", colour)[:3]]


def _png(rgb: np.ndarray) -> str:
    """uint8 [h, w, 3] as a PNG in base64."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    high, wide, _ = rgb.shape
    lines = b"".join(b"\0" + line.tobytes() for line in np.ascontiguousarray(rgb))
    header = struct.pack(">IIBBBBB", wide, high, 8, 2, 0, 0, 0)
    whole = (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines, 9)) + chunk(b"IEND", b"")
    )
    return base64.b64encode(whole).decode()


def _named(figure: go.Figure) -> list[tuple[Any, str]]:
    """The traces that the legend names, with their colours; none where there is no legend."""
    if figure.layout.showlegend is False:
        return []
    named = [(trace, colour) for place in _places(figure) for trace, colour in _traces(figure, place)
             if trace.name and trace.showlegend is not False and trace.type != "heatmap"]  # fmt: skip
    return named if len(named) > 1 else []


def _legend(figure: go.Figure, width: int) -> str:
    """The names of the traces, from the right end of the first line to the left."""
    parts, right = [], width - _RIGHT
    for trace, colour in reversed(_named(figure)):
        name = plain(trace.name)
        right -= 36 + 7 * len(name)
        dash = trace.type in _DRAWN[:2] and trace.line.dash in _DASHES and _DASHES[trace.line.dash]
        style = f" stroke-dasharray='{dash}'" if dash else ""
        parts.append(f"<path d='M{right:.0f} 9h18' stroke='{escape(colour)}' stroke-width='3'{style}/>")
        parts.append(f"<text x='{right + 22:.0f}' y='13'>{escape(name)}</text>")
    return "".join(parts)
