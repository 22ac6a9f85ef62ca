"""Still pictures of Plotly figures: what is drawn where, read back from the SVG."""

from __future__ import annotations

import base64
import re
import struct
import zlib
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import plotly.express as px
import plotly.graph_objects as go
import pytest

import labkit as lk
from labkit.viz.plotly import picture
from tests.shown import shown

SVG = "{http://www.w3.org/2000/svg}"


def parts(figure: go.Figure, kind: str, **settings: int) -> list[ElementTree.Element]:
    return ElementTree.fromstring(picture(figure, **settings).svg).findall(f".//{SVG}{kind}")


def path(element: ElementTree.Element) -> np.ndarray:
    return np.array(
        [[float(n) for n in pair.split()] for pair in re.findall(r"[\d.]+ [\d.]+", element.get("d", ""))]
    )


def lines(figure: go.Figure) -> list[np.ndarray]:
    return [path(each) for each in parts(figure, "path") if each.get("stroke-width") == "1.6"]


def texts(figure: go.Figure) -> list[str]:
    return [each.text or "" for each in parts(figure, "text")]


def test_a_line_is_in_proportion() -> None:
    (points,) = lines(px.line(x=[0, 1, 2, 4], y=[10, 20, 30, 50]))
    across, up = np.diff(points[:, 0]), -np.diff(points[:, 1])
    assert np.allclose(across / across[0], [1, 1, 2], atol=0.01) and np.allclose(
        up / up[0], [1, 1, 2], atol=0.01
    )


def test_a_logarithmic_axis_has_equal_steps_for_equal_ratios() -> None:
    figure = px.line(x=[1e-4, 1e-3, 1e-1], y=[1, 2, 3], log_x=True)
    across = np.diff(lines(figure)[0][:, 0])
    assert np.isclose(across[1] / across[0], 2, atol=0.01) and {"10⁻⁴", "10⁻³", "10⁻²", "10⁻¹"} <= set(
        texts(figure)
    )


def test_what_is_not_finite_leaves_a_gap() -> None:
    (element,) = [
        e for e in parts(px.line(y=[1.0, np.nan, 2.0, 3.0]), "path") if e.get("stroke-width") == "1.6"
    ]
    assert element.get("d", "").count("M") == 2


def test_bars_stand_on_zero_in_their_order() -> None:
    figure = px.bar(x=["T-shirt", "Bag"], y=[2, 4])
    first, second = parts(figure, "rect")[1:]
    assert float(second.get("height", 0)) == pytest.approx(2 * float(first.get("height", 0)), abs=0.2)
    assert float(first.get("x", 0)) < float(second.get("x", 0)) and {"T-shirt", "Bag", "x", "y"} <= set(
        texts(figure)
    )


def test_a_heatmap_is_an_image_of_a_pixel_a_cell_with_its_numbers() -> None:
    figure = px.imshow(
        np.array([[0, 2], [3, 40]]), text_auto=True, color_continuous_scale=["#000000", "#ffffff"]
    )
    (image,) = parts(figure, "image")
    data = base64.b64decode(image.get("href", "").removeprefix("data:image/png;base64,"))
    assert struct.unpack(">II", data[16:24]) == (2, 2)
    start = data.index(b"IDAT") + 4
    pixels = zlib.decompress(data[start : start + struct.unpack(">I", data[start - 8 : start - 4])[0]])
    rows = np.frombuffer(pixels, np.uint8).reshape(2, 7)[:, 1:].reshape(2, 2, 3)
    assert (
        rows[0, 0].tolist() == [0, 0, 0]
        and rows[1, 1].tolist() == [255, 255, 255]
        and (np.diff(rows[..., 0]) > 0).all()
    )
    assert {"0", "2", "3", "40"} <= set(texts(figure))


def test_the_first_row_of_a_matrix_is_above_and_that_of_a_map_below() -> None:
    for origin, first in (("upper", min), ("lower", max)):
        figure = px.imshow(np.zeros((2, 2)), y=["one", "two"], origin=origin)
        heights = {t.text: float(t.get("y", 0)) for t in parts(figure, "text") if t.text in ("one", "two")}
        assert first(heights, key=lambda name: heights[name]) == "one"


def test_subplots_stay_side_by_side_and_pictures_square() -> None:
    figure = px.imshow(np.zeros((4, 8, 8)), facet_col=0).update_xaxes(showticklabels=False)
    images = parts(figure.update_yaxes(showticklabels=False), "image", height=120)
    left = [float(image.get("x", 0)) for image in images]
    assert (
        len(images) == 4 and left == sorted(left) and all(i.get("width") == i.get("height") for i in images)
    )
    assert sum("facet_col=" in text for text in texts(figure)) == 4


def test_guides_legend_and_dashes_are_there() -> None:
    figure = go.Figure(
        [go.Scatter(y=[1, 2], name="a"), go.Scatter(y=[2, 1], name="b & c", line={"dash": "dash"})]
    )
    figure.add_vline(0.5, line_dash="dash")
    svg = picture(figure, "two lines <seen>").svg
    assert {"a", "b & c"} <= set(texts(figure)) and svg.count("stroke-dasharray='4 3'") == 1
    assert "<title>two lines &lt;seen&gt;</title>" in svg
    assert "b & c" not in texts(figure.update_layout(showlegend=False))


def test_text_of_the_data_stays_text() -> None:
    figure = px.bar(x=["<script>alert(1)</script>", "'\"&"], y=[1, 2], title="<img src=x onerror=alert(1)>")
    svg = picture(figure).svg
    assert "<script" not in svg and "<img" not in svg and ElementTree.fromstring(svg) is not None


def test_long_runs_make_small_pictures() -> None:
    figure = px.line(y=np.random.default_rng(0).normal(size=50_000))
    assert len(picture(figure).svg) < 10_000


def test_figures_of_labkit_are_drawn(finished) -> None:
    both = lines(finished.figure())
    assert len(both) == 4 and max(both[0][:, 0]) < min(both[2][:, 0])
    assert len(lines(lk.plot_schedule(50, lk.Optimizer(), lk.Optimizer(schedule="cosine")))) == 2


def test_a_picture_shows_itself() -> None:
    bundle = shown(picture(px.line(y=[1, 2]), "a line"))
    assert bundle["text/plain"] == "<picture: a line>" and bundle["image/svg+xml"].startswith("<svg xmlns=")


def test_another_kind_of_trace_is_refused() -> None:
    with pytest.raises(lk.LabkitError, match=r"supports scatter, bar and heatmap traces, not 'pie'"):
        picture(go.Figure(go.Pie(values=[1, 2])))


def test_wrapped_facets_have_their_own_titles_and_lines_end_at_the_limits():
    frame = pd.DataFrame([{"x": x, "y": x * k, "k": name} for k, name in enumerate("ABCD") for x in range(5)])
    figure = px.line(frame, x="x", y="y", facet_col="k", facet_col_wrap=2).update_yaxes(range=[0, 8])
    drawn = lk.picture(figure, "four", height=400).svg
    assert [drawn.count(f">k={name}<") for name in "ABCD"] == [1, 1, 1, 1]
    places = [drawn.index(f">k={name}<") for name in "ABCD"]  # A and B above C and D, as the traces come
    assert places == sorted(places)
    assert drawn.count("<svg x=") == 1  # only the line of D leaves the limits: 4 · 3 > 8
    inner = drawn[drawn.index("<svg x=") :]
    left, top, width, height = map(float, re.search(r"viewBox='([^']+)'", inner)[1].split())
    assert f"x='{left:.1f}' y='{top:.1f}' width='{width:.1f}' height='{height:.1f}'" in inner
