"""Score against cost: which runs are comparable, and the Pareto front, against a check of every pair."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

import labkit as lk
from labkit.core.errors import ConfigError
from labkit.runs.costs import RunCost, groups_of, pareto_front, points_of
from labkit.runs.store import Store
from labkit.viz import svg
from labkit.viz.dashboard import score_against_cost


def add(store: Store, run: str, source: str = "a.csv", score: float | None = 0.5, **values: Any) -> None:
    metric = values.pop("metric", "f1")
    summary = {"metric": metric, "parameters": values.pop("parameters", 1000)}
    summary |= {} if score is None else {f"validation_{metric}": score}
    toml = f"[data]\nsource = 'folder/{source}'\n"
    store.create(
        run, values.pop("name", run), experiment=toml, summary=summary, **{"status": "finished", **values}
    )


@pytest.mark.parametrize("lower", [False, True])
def test_the_front_holds_the_runs_that_no_other_one_beats(lower: bool):
    draws = np.random.default_rng(0).integers(1, 12, (200, 2)).astype(float)
    points = [RunCost(str(n), "", cost, score) for n, (cost, score) in enumerate(draws)]
    sign = -1 if lower else 1

    def beats(a: RunCost, b: RunCost) -> bool:
        at_least = a.cost <= b.cost and sign * a.score >= sign * b.score
        return at_least and (a.cost < b.cost or sign * a.score > sign * b.score)

    want = {(b.cost, b.score) for b in points if not any(beats(a, b) for a in points)}
    front = pareto_front(points, lower)
    assert {(point.cost, point.score) for point in front} == want
    assert [point.cost for point in front] == sorted({cost for cost, _ in want})


def test_only_runs_with_the_data_and_metric_of_the_newest_are_compared(tmp_path: Path):
    store = Store(tmp_path)
    add(store, "other-data", "b.csv", 0.99)
    add(store, "other-metric", score=0.1, metric="loss")
    add(store, "cheap", score=0.6, parameters=10, started=100.0, ended=130.0, step=7)
    add(store, "no-score", score=None)
    add(store, "active", score=0.9, status="created")
    add(store, "big", score=0.7, parameters=5000, started=100.0, ended=110.0, step=9)
    infos = store.runs()
    assert groups_of(infos) == [("a.csv", "f1"), ("a.csv", "loss"), ("b.csv", "f1")]
    assert [(point.id, point.cost) for point in points_of(infos, "parameters")] == [
        ("cheap", 10),
        ("big", 5000),
    ]
    assert [(point.id, point.cost) for point in points_of(infos, "seconds")] == [("big", 10), ("cheap", 30)]
    assert [point.id for point in points_of(infos, "steps", ("b.csv", "f1"))] == []  # it made none
    with pytest.raises(ConfigError, match=r"cost = 'second' .* Did you mean 'seconds'"):
        points_of(infos, "second")


def test_the_figure_names_the_front_and_is_the_same_in_plotly_and_svg(tmp_path: Path):
    store = Store(tmp_path)
    for number, (score, size) in enumerate([(0.5, 100), (0.7, 2000), (0.6, 90_000)]):
        add(store, f"run-{number}", score=score, parameters=size, name=f"n{number} <b>")
    points = points_of(store.runs(), "parameters")
    drawn = svg.inline(score_against_cost(points, "f1", "parameters", "a.csv", "en"))
    written = [each.text or "" for each in ElementTree.fromstring(drawn).iter("text")]
    assert {"n0 <b>", "n1 <b>", "10³"} <= set(written) and not any("n2" in text for text in written)
    assert (
        "<title>n2 &lt;b&gt;: 90 k, 0.6</title>" in drawn
    )  # a run off the front is named when it is pointed at
    assert "F1, validation of a.csv" in drawn and "<b>" not in drawn
    figure = lk.runs(tmp_path).cost_figure()
    rest, front = figure.data
    assert (list(front.x), list(front.y), front.mode) == ([100, 2000], [0.5, 0.7], "lines+markers+text")
    assert (list(rest.x), rest.mode) == ([90_000], "markers") and figure.layout.xaxis.type == "log"
    assert score_against_cost([], "f1", "seconds", "", "zh").plots


def test_runs_that_hide_each_other_share_a_tooltip_and_their_names_do_not_overlap():
    same = [RunCost(name, name, 1000.0, 0.5) for name in ("one <b>", "two")]
    crowd = [RunCost(f"a-long-name-{n}", f"a-long-name-{n}", 1001.0 + n, 0.501 + n / 1000) for n in range(4)]
    points = [*same, *crowd, RunCost("far", "far", 29_000.0, 0.9)]
    drawn = svg.inline(score_against_cost(points, "f1", "parameters", "a.csv", "en"))
    root = ElementTree.fromstring(drawn)
    circles = [each for each in root.iter("circle") if each.find("title") is not None]
    assert len(circles) == len(points) and all(each.get("fill-opacity") for each in circles)
    titles = [(each.findtext("title") or "").splitlines() for each in circles]
    assert any({"one <b>", "two"} <= {line.split(":")[0] for line in lines} for lines in titles)
    assert next(lines for lines in titles if lines[0].startswith("far")) == ["far: 29 k, 0.9"]
    names = {point.name for point in points}
    texts = [each for each in root.iter("text") if each.text in names]
    boxes = [
        (float(each.get("x", 0)), float(each.get("y", 0)), svg.LETTER * len(each.text or "") / 2)
        for each in texts
    ]
    assert len(boxes) >= 2
    for place, (x, y, half) in enumerate(boxes):
        for other_x, other_y, other in boxes[place + 1 :]:
            assert abs(x - other_x) > half + other or abs(y - other_y) > 10


def test_no_runs_make_an_empty_figure(tmp_path: Path):
    assert sum(len(trace.x) for trace in lk.runs(tmp_path).cost_figure("seconds").data) == 0
