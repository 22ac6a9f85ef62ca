"""One description of a figure, drawn by SVG, Plotly and the live view."""

from __future__ import annotations

import math
import re
from base64 import b64decode
from xml.etree import ElementTree
from zlib import decompress

import numpy as np
import pytest

from labkit.app.run_follower import described
from labkit.viz import charts
from labkit.viz.figure import PALETTE, QUARTERS, Axis, Bars, FigureSpec, Heatmap, Line, Plot, Rule
from labkit.viz.plotly import to_plotly
from labkit.viz.svg import document, inline

from ..app.hostile import HOSTILE, executable

SVG = "{http://www.w3.org/2000/svg}"


def elements(kind: str, *marks: Line | Bars | Heatmap | Rule, **settings) -> list[ElementTree.Element]:
    root = ElementTree.fromstring(document(FigureSpec([Plot(marks, **settings)], "seen")))
    return root.findall(f".//{SVG}{kind}")


def test_every_drawing_has_the_colour_dash_marker_and_limits_of_the_description():
    line = Line([0, 1, 2], [0.0, 0.5, 1.0], "a & b", 2, "dash", marker="square", key="train/loss")
    rule = Rule(y=(0.3, 0.3), note="a constant")
    figure = FigureSpec([Plot([line, rule], "Loss", y=Axis(ticks=QUARTERS))], "seen")
    drawn, page = document(figure), inline(figure)
    assert (
        f"stroke='{PALETTE[1]}'" in drawn and "stroke='var(--lk-fill-2)'" in page and PALETTE[1] not in page
    )
    assert (
        drawn.count("stroke-dasharray='6 3'") == page.count("stroke-dasharray='6 3'") == 2
    )  # line and legend
    (trace,) = to_plotly(figure).data
    assert (trace.line.color, trace.line.dash, trace.marker.symbol) == (PALETTE[1], "dash", "square")
    assert to_plotly(figure).layout.yaxis.range == (0, 1)
    assert described(figure.plots[0]) == {
        "title": "Loss", "lines": [{"key": "train/loss", "label": "a & b", "fill": 2, "dashed": True,
                                   "smooth": True}],
        "rules": [{"value": 0.3, "note": "a constant"}], "range": True, "log": False, "small": False,
    }  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_text_anywhere_in_a_figure_stays_text(text: str):
    marks = [
        Line([0, 1], [0, 1], text, texts=[text, text]),
        Bars([0, 1], [0, 1], text),
        Rule((0, 0), note=text),
    ]
    names = Bars([1, 2], [0, 1], text, flat=True, texts=[text, text])
    axes = {"x": Axis(text), "y": Axis(text, names=[text, text])}
    figure = FigureSpec([Plot(marks, text, Axis(text, names=[text] * 7)), Plot([names], text, **axes)], text)
    assert executable(inline(figure)) == [] and ElementTree.fromstring(document(figure)) is not None


def test_a_value_that_a_scale_cannot_show_leaves_a_gap():
    (path,) = [e for e in elements("path", Line([1, 2, 3, 4], [1, math.nan, 10, None]), y=Axis(log=True))
               if e.get("stroke-width") == "1.6"]  # fmt: skip
    assert path.get("d", "").count("M") == 2 and "nan" not in path.get("d", "")


def test_flat_bars_are_as_long_as_their_amounts_from_top_to_bottom():
    y = Axis(names=["a", "a", "b"], flipped=True)
    bars = elements("rect", Bars([4, 2, 1], range(3), flat=True), y=y)[1:]
    assert [round(float(bar.get("width", 0)) / float(bars[2].get("width", 0)), 1) for bar in bars] == [
        4,
        2,
        1,
    ]
    heights = [float(bar.get("y", 0)) for bar in bars]
    assert heights == sorted(heights)
    names = [text.text for text in elements("text", Bars([4, 2, 1], range(3), flat=True), y=y)]
    assert names.count("a") == 2 and names.count("b") == 1  # equal names stay two rows


def test_a_dark_picture_is_not_brightened():
    image = elements("image", Heatmap(np.array([[0.0, 1.0]]), (0.0, 1.0), ((0, (0, 0, 0)), (1, (9, 9, 9)))))[
        0
    ]
    data = b64decode((image.get("href") or "").partition(",")[2])
    start = data.index(b"IDAT") + 4
    assert list(decompress(data[start:-16]))[1:] == [0, 0, 0, 9, 9, 9]


def test_a_rule_crosses_the_plot_and_its_note_stays_inside():
    for at, anchor in ((1, "start"), (9, "end")):
        (path,) = [e for e in elements("path", Line([0, 10], [0, 1]), Rule((at, at), note="here"))
                   if e.get("stroke-dasharray") == "4 3"]  # fmt: skip
        (x0, y0), (x1, y1) = (
            [float(n) for n in pair.split()] for pair in re.findall(r"[\d.]+ [\d.]+", path.get("d", ""))
        )
        assert x0 == x1 and abs(y0 - y1) > 100
        (note,) = [
            e
            for e in elements("text", Line([0, 10], [0, 1]), Rule((at, at), note="here"))
            if e.text == "here"
        ]
        assert note.get("text-anchor", "start") == anchor


def test_names_of_the_side_have_room_in_chinese_too():
    def left(name: str) -> float:
        drawn = inline(charts.scores([(name, 0.5, 0.4, 0.6), ("x", 0.2, 0.1, 0.3)], "F1", "f1"))
        return float(re.search(r"<rect x='([\d.]+)'", drawn)[1])

    assert (
        left("TF-IDF + 逻辑回归")
        >= left("TF-IDF + abcdefgh")
        == left("TF-IDF + 逻辑回归")
        > left("TF-IDF + abcd")
    )
    assert left("TF-IDF + 逻辑回归") >= 6.5 * 9 + 12 * 4
