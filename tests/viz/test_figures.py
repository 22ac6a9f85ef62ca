"""Figures are descriptions that Plotly accepts."""

from __future__ import annotations

from labkit.i18n import Message
from labkit.viz.curves import baseline, of_runs
from labkit.viz.figure import Line, Rule
from labkit.viz.plotly import picture, to_plotly

SERIES = {
    "train/loss": ([1, 2, 3], [0.7, 0.6, 0.5]), "validation/loss": ([3], [0.6]),
    "train/f1": ([3], [0.5]), "validation/f1": ([3], [0.4]),
}  # fmt: skip


def test_one_run_has_a_line_a_split_in_each_plot():
    figure = to_plotly(of_runs({"a": SERIES}))
    assert [(line.name, line.xaxis, line.showlegend, line.line.dash) for line in figure.data] == [
        ("train", "x", True, "solid"), ("validation", "x", True, "dash"),
        ("train", "x2", False, "solid"), ("validation", "x2", False, "dash"),
    ]  # fmt: skip
    assert list(figure.data[0].x) == [1, 2, 3] and list(figure.data[0].y) == [0.7, 0.6, 0.5]
    assert figure.layout.yaxis2.range == (0, 1)


def test_several_runs_have_a_colour_each_and_names_stay_text():
    figure = to_plotly(of_runs({"<b>$x$": SERIES, "b": SERIES}, "zh"))
    assert len(figure.data) == 8
    colours = {
        name: {line.line.color for line in figure.data if line.name.startswith(name)}
        for name in ("&lt;b", "b ")
    }
    assert len(colours["&lt;b"]) == len(colours["b "]) == 1 and colours["&lt;b"] != colours["b "]
    assert figure.data[0].name == "&lt;b&gt;&#36;x&#36; 训练"


def test_a_long_run_is_thinned():
    steps = list(range(50_000))
    figure = to_plotly(of_runs({"a": {"train/loss": (steps, [0.5] * 50_000)}}))
    assert len(figure.data[0].x) <= 2000


def test_the_score_of_a_constant_prediction_is_a_line_across_its_chart_and_in_its_picture():
    summary = {"constant": [Message("the most frequent class"), "f1", 0.33, 0.5]}
    rules = baseline(summary, "zh")
    figure = of_runs({"a": SERIES}, "zh", rules)
    loss, score = figure.plots
    assert {type(mark) for mark in loss.marks} == {Line}
    rule = score.marks[-1]
    assert isinstance(rule, Rule) and (rule.x, rule.y, rule.note) == (None, (0.33, 0.33), "最常见的类别 0.33")
    assert picture(to_plotly(figure), "seen").svg.count("最常见的类别 0.33") == 1
    assert baseline({}, "en") == {}
