"""Plotly figures of runs as plain descriptions: ``{"data": […], "layout": {…}}``, for ``plotly.graph_objects.Figure``.

They are for what does not move. The live curves are drawn by ``live.js``: JupyterLab's Plotly renderer does not redraw
an output that is replaced in place, and rebuilding the plot twice a second loses zoom and hover.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go

from labkit.viz.run_html import COLOURS
from labkit.viz.series import DRAWN, Series, gather, packed, second
from labkit.viz.words import language as language_of
from labkit.viz.words import word

if TYPE_CHECKING:
    from labkit.runs.handle import Run
    from labkit.train.lr_finder import RateSearch
    from labkit.train.optimizer import Optimizer

#: Okabe and Ito's colours, for several runs in one figure.
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f")


def figure(runs: Mapping[str, Run], language: str | None = None) -> go.Figure:
    """The curves of some runs, by label, as a Plotly figure; see :func:`curves`."""
    found = {label: gather(run.store.records(run.id)) for label, run in runs.items()}
    return go.Figure(curves(found, language_of(language)))


def curves(runs: dict[str, Series], language: str = "en") -> dict[str, Any]:
    """Loss and F1 over steps of one run (a colour a split) or of several (a colour a run); validation is dashed.

    Args:
        runs: a label → the series of :func:`labkit.viz.series.gather`. Labels may be any text.
        language: "en" or "zh".
    """
    data = [
        _line(series, split, name, label if len(runs) > 1 else "", number, language)
        for number, (label, packed_series) in enumerate((label, packed(s)) for label, s in runs.items())
        for split, name in DRAWN
        if (series := packed_series.get(f"{split}/{name}"))
    ]
    return {"data": data, "layout": _layout(language, second(key for series in runs.values() for key in series))}


def schedule(optimizers: Mapping[str, Optimizer], steps: int, language: str | None = None) -> go.Figure:
    """The learning rate over the steps of a run, before it is begun, one line for each optimizer by its label."""
    data = [
        {"type": "scatter", "mode": "lines", "name": literal(label), "x": np.arange(1, steps + 1),
         "y": optimizer.rates(steps), "line": {"color": PALETTE[number % len(PALETTE)]}}
        for number, (label, optimizer) in enumerate(optimizers.items())
    ]  # fmt: skip
    shown = language_of(language)
    layout = _plain(word("step", shown), word("learning_rate", shown))
    return go.Figure({"data": data, "layout": {**layout, "showlegend": len(optimizers) > 1}})


def rate_search(found: RateSearch, language: str | None = None) -> go.Figure:
    """Loss over the learning rate, the suggested one marked."""
    shown = language_of(language)
    line = {"type": "scatter", "mode": "lines", "x": found.rates, "y": found.losses, "line": {"color": PALETTE[0]}}
    layout = _plain(word("learning_rate", shown), word("loss", shown))
    layout["xaxis"] |= {"type": "log", "exponentformat": "power"}
    figure = go.Figure({"data": [line], "layout": {**layout, "showlegend": False}})
    figure.add_vline(found.suggestion, line_dash="dash", annotation_text=f"{found.suggestion:g}")
    return figure


def _plain(x: str, y: str) -> dict[str, Any]:
    return {"template": "plotly_white", "height": 320, "margin": {"l": 60, "r": 20, "t": 30, "b": 50},
            "xaxis": {"title": {"text": x}}, "yaxis": {"title": {"text": y}}}  # fmt: skip


def literal(text: str) -> str:
    """Text that Plotly shows as it is: no pseudo-HTML, no TeX."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("$", "&#36;")


def _line(points: list[Any], split: str, name: str, label: str, number: int, language: str) -> dict[str, Any]:
    shown = f"{label} {word(split, language)}".strip()
    colour = PALETTE[number % len(PALETTE)] if label else COLOURS[split]
    axis = "" if name == "loss" else "2"
    few = len(points[0]) <= 40
    return {
        "type": "scatter",
        "mode": "lines+markers" if few else "lines",
        "name": literal(shown),
        "legendgroup": literal(shown),
        "showlegend": name == "loss",
        "x": points[0],
        "y": points[1],
        "xaxis": f"x{axis}",
        "yaxis": f"y{axis}",
        "line": {"color": colour, "dash": "dash" if split == "validation" else "solid"},
        "marker": {"symbol": "square" if split == "validation" else "circle"},
    }


def _layout(language: str, name: str) -> dict[str, Any]:
    step = {"text": word("step", language)}
    return {
        "height": 340,
        "margin": {"l": 50, "r": 10, "t": 30, "b": 45},
        "legend": {"orientation": "h", "y": 1.12},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"color": "#7a7a7a"},
        "xaxis": {"domain": [0, 0.46], "rangemode": "tozero", "title": step},
        "yaxis": {"title": {"text": word("loss", language)}},
        "xaxis2": {"domain": [0.54, 1], "rangemode": "tozero", "title": step},
        "yaxis2": {"title": {"text": word(name, language)}, "range": [0, 1], "anchor": "x2"},
    }
