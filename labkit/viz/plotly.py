"""Figures as Plotly figures, and Plotly figures as still pictures that any page shows, with no script and no
kernel.

 They are for what does not move. The live curves are drawn by ``live.js``: JupyterLab's Plotly renderer does
not redraw an output that is replaced in place, and rebuilding the plot twice a second loses zoom and hover.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from labkit.core.errors import ConfigError
from labkit.core.extras import require
from labkit.i18n import _
from labkit.runs.costs import groups_of, points_of
from labkit.viz import curves, dashboard, svg
from labkit.viz.figure import PALETTE, Axis, Bars, FigureSpec, Heatmap, Line, Mark, Plot, Rule
from labkit.viz.series import gather
from labkit.viz.words import language as language_of

require("lab")

import plotly.graph_objects as go  # noqa: E402

if TYPE_CHECKING:
    from labkit.runs.handle import RunHandle

_SCATTER = ("scatter", "scattergl")
#: Of markers that may hide each other.
_OUTLINED = {"opacity": 0.6, "size": 9, "line": {"width": 1}}
_DRAWN = (*_SCATTER, "bar", "heatmap")


def of_runs(runs: Mapping[str, RunHandle], language: str | None = None) -> go.Figure:
    """The curves of some runs, by label."""
    series = {label: gather(run.store.records(run.id)) for label, run in runs.items()}
    language = language_of(language)
    only = next(iter(runs.values())) if len(runs) == 1 else None  # several runs have other rows
    rules = None if only is None else curves.baseline(only.info.summary, language)
    return to_plotly(curves.of_runs(series, language, rules))


def score_against_cost(runs: Iterable[RunHandle], cost: str, language: str | None = None) -> go.Figure:
    """Score against cost of the runs that can be compared with the newest one."""
    infos = [run.info for run in runs]
    points = points_of(infos, cost)
    data, metric = next(iter(groups_of(infos)), ("", "f1"))
    return to_plotly(dashboard.score_against_cost(points, metric, cost, data, language))


def to_plotly(figure: FigureSpec) -> go.Figure:
    """Lines and rules as a Plotly figure."""
    made, named = go.Figure(), set[str]()
    layout = {"template": "plotly_white", "height": 340, "margin": {"l": 60, "r": 15, "t": 30, "b": 50},
              "legend": {"orientation": "h", "y": 1.12}, "font": {"color": "#7a7a7a"},
              "paper_bgcolor": "rgba(0,0,0,0)", "plot_bgcolor": "rgba(0,0,0,0)"}  # fmt: skip
    made.update_layout(layout)
    for number, plot in enumerate(figure.plots, 1):
        end = "" if number == 1 else str(number)
        for mark in plot.marks:
            if isinstance(mark, Rule):
                _add_rule(made, mark, end)
            elif isinstance(mark, Line):
                made.add_trace({**_trace(mark), "xaxis": f"x{end}", "yaxis": f"y{end}",
                                "showlegend": bool(mark.label) and mark.label not in named})  # fmt: skip
                named.add(mark.label)
        left, right = plot.place[:2]
        domain = [left + 0.04 * (left > 0), right - 0.04 * (right < 1)]
        made.update_layout({f"xaxis{end}": {**_side(plot.x), "domain": domain, "anchor": f"y{end}"},
                            f"yaxis{end}": {**_side(plot.y), "anchor": f"x{end}"}})  # fmt: skip
    return made


def literal(text: str) -> str:
    """Text that Plotly shows as it is: no pseudo-HTML, no TeX."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("$", "&#36;")


def _trace(line: Line) -> dict[str, Any]:
    colour = PALETTE[(line.colour - 1) % len(PALETTE)] if isinstance(line.colour, int) else line.colour
    return {
        "type": "scatter", "mode": _mode(line), "x": line.x, "y": line.y,
        **({"text": [literal(text) for text in line.texts], "textposition": "top center"} if line.texts else {}),
        **({"hovertext": [literal(note) for note in line.notes], "hoverinfo": "text"} if line.notes else {}),
        "name": literal(line.label), "legendgroup": literal(line.label),
        "line": {"color": colour, "dash": line.dash or "solid"},
        "marker": {"symbol": line.marker or "circle", **(_OUTLINED if line.notes else {})},
    }  # fmt: skip


def _mode(line: Line) -> str:
    parts = {"lines": line.joined, "markers": line.marker, "text": line.texts}
    return "+".join(name for name, wanted in parts.items() if wanted) or "none"


def _side(axis: Axis) -> dict[str, Any]:
    made: dict[str, Any] = {"title": {"text": literal(axis.label)}}
    if axis.log:
        made |= {"type": "log", "exponentformat": "power"}
    if axis.ends is not None:
        made["range"] = [math.log10(end) if axis.log else end for end in axis.ends]
    return made


def _add_rule(made: go.Figure, rule: Rule, end: str) -> None:
    (x, xref), (y, yref) = (
        (pair, f"{side}{end}") if pair is not None else ((0, 1), f"{side}{end} domain")
        for side, pair in (("x", rule.x), ("y", rule.y))
    )
    made.add_shape(type="line", x0=x[0], x1=x[1], y0=y[0], y1=y[1], xref=xref, yref=yref, line={"dash": "dash"},
                   label={"text": literal(rule.note), "textposition": "end"})  # fmt: skip


# --- still pictures ---------------------------------------------------------------------------------------------------


class Picture:
    """A figure as an SVG document (``svg``); as the last line of a cell it shows itself, and stays in the
    notebook."""

    def __init__(self, svg: str, title: str):
        self.svg, self.title = svg, title

    def __repr__(self) -> str:
        return f"<picture: {self.title}>"

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
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
    title = title or _plain(figure.layout.title.text) or "figure"
    return Picture(svg.document(FigureSpec(_plots(figure), title, width, height)), title)


def _plots(figure: go.Figure) -> list[Plot]:
    """The subplots by the names of their axes, in the order of the traces."""
    for trace in figure.data:
        if trace.type not in _DRAWN:
            raise ConfigError(
                _("static SVG supports scatter, bar and heatmap traces, not {type!r}."), type=trace.type
            )
    return [_plot(figure, *place) for place in dict.fromkeys(_axes(trace) for trace in figure.data)]


def _axes(item: Any) -> tuple[str, str]:
    return item.xaxis or "x", item.yaxis or "y"


def _plot(figure: go.Figure, xaxis: str, yaxis: str) -> Plot:
    layout = figure.layout
    across, up = (layout[name[0] + "axis" + name[1:]] for name in (xaxis, yaxis))
    traces = [(number, trace) for number, trace in enumerate(figure.data) if _axes(trace) == (xaxis, yaxis)]
    rules = [
        _rule(shape)
        for shape in layout.shapes
        if shape.type == "line" and _names(shape) <= {xaxis, yaxis, "paper"}
    ]
    names = {side: list(dict.fromkeys(v for _, trace in traces for v in _values(trace[side]) if isinstance(v, str)))
             for side in ("x", "y")}  # fmt: skip
    marks = [*rules, *(_mark(figure, trace, number, names) for number, trace in traces)]
    place = (*(across.domain or (0, 1)), *(up.domain or (0, 1)))
    above = (note.text for note in layout.annotations if note.text and note.xref == "paper"
             and abs(note.x - (place[0] + place[1]) / 2) < 1e-3 and abs(note.y - place[3]) < 1e-3
             and across.domain)  # fmt: skip
    flipped = "reversed" in (layout[f"yaxis{(up.matches or 'y')[1:]}"].autorange, up.autorange)
    x, y = (
        Axis(_plain(side.title.text), side.range, names=list(map(_plain, names[name])), log=side.type == "log",
             flipped=turned, shown=side.showticklabels is not False)
        for name, side, turned in (("x", across, False), ("y", up, flipped))
    )  # fmt: skip
    pictures = all(isinstance(mark, Heatmap) for mark in marks)
    square = pictures and bool(up.scaleanchor or not (x.shown or y.shown))
    return Plot(marks, _plain(next(above, "")), x, y, place, square)


def _names(shape: Any) -> set[str]:
    return {(shape.xref or "x").split()[0], (shape.yref or "y").split()[0]}


def _rule(shape: Any) -> Rule:
    whole = ["domain" in (reference or "") or reference == "paper" for reference in (shape.xref, shape.yref)]
    x, y = None if whole[0] else (shape.x0, shape.x1), None if whole[1] else (shape.y0, shape.y1)
    return Rule(x, y, _plain(shape.label.text))


def _values(values: Iterable[Any] | None) -> list[Any]:
    return [] if values is None else list(values)


def _mark(figure: go.Figure, trace: Any, number: int, names: Mapping[str, list[str]]) -> Mark:
    if trace.type == "heatmap":
        bar = figure.layout[trace.coloraxis] if trace.coloraxis else trace
        limits = (bar.cmin, bar.cmax) if trace.coloraxis else (bar.zmin, bar.zmax)
        low, high = (reduce(trace.z) if end is None else end
                     for end, reduce in zip(limits, (np.nanmin, np.nanmax), strict=True))  # fmt: skip
        stops = bar.colorscale or ((0, "#ffffff"), (1, PALETTE[0]))
        colours = [(float(place), _rgb(colour)) for place, colour in stops]
        return Heatmap(np.asarray(trace.z, float), (low, high), colours, bool(trace.texttemplate))
    label = _plain(trace.name) if _in_legend(figure, trace) else ""
    x, y = (
        [names[side].index(value) if isinstance(value, str) else value for value in _values(trace[side])]
        for side in ("x", "y")
    )
    x, y = x or list(range(len(y))), y or list(range(len(x)))
    own = [pen.color for pen in ((trace.line, trace.marker) if trace.type in _SCATTER else (trace.marker,))]
    colour = next((found for found in own if isinstance(found, str)), PALETTE[number % len(PALETTE)])
    if trace.type == "bar":
        return Bars(x, y, label, colour, flat=trace.orientation == "h", opacity=0.8)
    mode = trace.mode or "lines"
    each = () if own[1] is None or isinstance(own[1], str) else [1 + int(value) for value in own[1]]
    symbol = "square" if trace.marker.symbol == "square" else "circle"
    marker = symbol if "markers" in mode else ""
    texts = [_plain(str(text)) for text in _values(trace.text)] if "text" in mode else ()
    return Line(x, y, label, colour, trace.line.dash or "", "lines" in mode, marker, texts, each)


def _in_legend(figure: go.Figure, trace: object) -> bool:
    named = [one for one in figure.data if one.name and one.showlegend is not False and one.type != "heatmap"]
    return figure.layout.showlegend is not False and len(named) > 1 and any(one is trace for one in named)


def _rgb(colour: str) -> list[float]:
    if colour.startswith("#"):
        return [int(colour[place : place + 2], 16) for place in (1, 3, 5)]
    return [float(number) for number in re.findall(r"[\d.]+", colour)[:3]]


def _plain(text: str | None) -> str:
    """What Plotly would write, without its tags."""
    text = (
        re.sub(r"<[^<>]*>", " ", text or "").replace("&lt;", "<").replace("&gt;", ">").replace("&#36;", "$")
    )
    return text.replace("&amp;", "&").strip()
