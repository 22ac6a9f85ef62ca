"""The static result: well-formed, small, and text stays text."""

from __future__ import annotations

import math
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree

import pytest

from labkit.runs.store import RunInfo
from labkit.viz import curves, run_html
from labkit.viz.series import Series
from labkit.viz.svg import document

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "<img src=x onerror=alert(1)>\"'&$x$</pre><script>"


def info(**values: Any) -> RunInfo:
    return RunInfo(**{"id": "run-1", "name": "fine", "folder": Path(), **values})


def long(points: int) -> Series:
    steps = list(range(1, points + 1))
    wave = [0.5 + 0.4 * math.sin(step) for step in steps]
    return {f"{split}/{name}": (steps, wave) for split in ("train", "validation") for name in ("loss", "f1")}


def picture(series: Series, language: str = "en") -> str:
    return document(curves.of_run(series, language))


class Tags(HTMLParser):
    """Checks that tags nest; keeps them, their attributes and the text."""

    def __init__(self, html: str):
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize(
    "series",
    [{}, {"train/loss": ([1], [0.5])}, {"train/loss": ([1, 2], [math.nan, math.inf])},
     {"validation/f1": ([5, 10], [0.5, 0.5])}, long(30), long(5000)],
    ids=["nothing", "one", "not finite", "only validation", "short", "long"],
)  # fmt: skip
@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_picture_is_a_drawing_inside_its_frame(series: Series, language: str):
    root = ElementTree.fromstring(picture(series, language))
    assert root.tag == f"{SVG}svg"
    _, _, width, height = map(float, root.get("viewBox", "").split())
    for text in root.iter(f"{SVG}text"):
        assert 0 <= float(text.get("x", "nan")) <= width and 0 <= float(text.get("y", "nan")) <= height
    assert "nan" not in picture(series, language).replace("nan<", "")


def test_lines_have_every_finite_point_and_break_at_the_others():
    series: Series = {"train/loss": ([1, 2, 3, 4], [0.4, math.nan, 0.2, 0.1])}
    root = ElementTree.fromstring(picture(series))
    lines = [path.get("d", "") for path in root.iter(f"{SVG}path") if path.get("stroke-linejoin")]
    assert [(d.count("M"), d.count("L")) for d in lines] == [(2, 1)]
    assert len(list(root.iter(f"{SVG}circle"))) == 3


def test_splits_differ_by_colour_dash_and_marker():
    root = ElementTree.fromstring(picture(long(5)))
    lines = [path for path in root.iter(f"{SVG}path") if path.get("stroke-linejoin")]
    assert len({path.get("stroke") for path in lines}) == 2
    assert [bool(path.get("stroke-dasharray")) for path in lines] == [False, True, False, True]
    assert len(list(root.iter(f"{SVG}circle"))) == 10  # and squares for validation


def test_the_result_is_below_20_kb_whatever_the_length():
    sizes = [len(run_html.result(info(), long(points))) for points in (1_000, 20_000)]
    assert sizes[1] < 20_000 and sizes[1] < 1.2 * sizes[0]


def test_the_address_of_the_picture_decodes_to_the_picture():
    tags = Tags(run_html.result(info(), long(50), language="zh"))
    shown = next(attributes for tag, attributes in tags.seen if tag == "img")
    head, _, body = (shown["src"] or "").partition(",")
    assert head == "data:image/svg+xml"
    assert unquote(body) == picture(long(50), "zh")
    assert shown["alt"] == curves.spoken(long(50), "zh")


def test_hostile_text_is_text_everywhere():
    failed = info(
        name=HOSTILE, status="failed", error=HOSTILE, cure=HOSTILE, traceback=HOSTILE, message=HOSTILE
    )
    tags = Tags(run_html.result(failed, long(5), run_html.code_section(HOSTILE, HOSTILE)))
    assert [tag for tag, _ in tags.seen].count("img") == 1
    assert "script" not in [tag for tag, _ in tags.seen]
    assert not any(name.startswith("on") for _, attributes in tags.seen for name in attributes)
    assert tags.text.count(HOSTILE) == 6  # name, error, cure, traceback, Python, TOML
    assert "mathjax_ignore" in (tags.seen[0][1]["class"] or "")


def test_code_and_tracebacks_keep_their_lines():
    assert "a\n  b\tc" in Tags(run_html.code_section("a\n  b\tc", "")).text


def test_a_failure_is_told_with_its_cure_and_a_success_is_not():
    box = run_html.error_box(
        run_html.problem_of(info(status="failed", error="E: x", cure="do y", traceback="T")), "run-1"
    )
    text = Tags(box).text
    assert all(part in text for part in ("E: x", "What to do: do y", "T", "run-1"))
    assert run_html.error_box(run_html.problem_of(info(status="stopped")), "run-1") == ""


def test_the_table_shows_the_values_at_evaluated_steps():
    series: Series = {
        "train/loss": ([1, 2, 3, 4], [0.4, 0.3, 0.2, 0.1]),
        "validation/loss": ([2, 4], [0.5, 0.45]),
    }
    assert Tags(run_html.numbers(series)).text.endswith("20.30000.500040.10000.4500")


def test_facts_of_a_running_and_of_an_ended_run():
    running = info(status="running", step=10, steps=100, epoch=0, epochs=2, compilations=3,
                   summary={"steps_per_second": 2.0, "examples_per_second": 64.4})  # fmt: skip
    assert run_html.facts_of(running) == [
        "step 10 of 100", "epoch 1 of 2", "0:45 left", "64.4 examples/s", "3 compilations",
    ]  # fmt: skip
    ended = info(status="finished", step=100, steps=100, started=1.0, ended=3662.0)
    assert run_html.facts_of(ended, "zh") == ["第 100 / 100 步", "用时 1:01:01"]


def test_what_a_run_is_shown_by_is_known_before_it_has_numbers():
    def of(task):
        return run_html.measure(RunInfo("1", "a", Path(), experiment=f'[task]\nname = "{task}"\n'))

    assert (of("classify"), of("lm"), of("pretrain")) == ("f1", "accuracy", "accuracy")
    shown = picture({"train/loss": ([1, 2], [2.0, 1.0]), "validation/accuracy": ([2], [0.4])}, "zh")
    assert "准确率" in shown and "F1" not in shown
