"""Panels in Chinese: every word that they show, walked through widget by widget, on rows, runs and verdicts."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import numpy as np
import pandas as pd
import pytest
from datasets import Array2D, Dataset, Features, Value

import labkit as lk
from labkit.app.lab import Lab
from labkit.app.steps.evaluate import Evaluate
from labkit.app.steps.model import Model
from labkit.app.steps.predict import Predict
from labkit.app.steps.train import Train
from labkit.app.widgets.controls import tree
from labkit.data.rows import Rows
from labkit.data.schema import Spec
from labkit.models import models
from labkit.tasks import tasks
from tests.spoken import RATE, folder_of_tones
from tests.tasks.test_architectures import scenes

#: What stays as it is: names of functions, forms, files and things.
KEPT = re.compile(r"JSON Lines|Hugging Face")


def said(root: widgets.Widget) -> Iterator[tuple[str, str]]:
    """Where and what: descriptions, help, choices, titles and HTML of all widgets, and texts that scripts show."""
    for widget in tree([root]):
        where = type(widget).__name__
        for trait in ("description", "tooltip", "placeholder", "label", "help", "copied", "failed"):
            if isinstance(text := getattr(widget, trait, None), str):
                yield f"{where}.{trait}", text
        for text in getattr(widget, "titles", ()):
            yield f"{where}.titles", text
        for option in getattr(widget, "options", ()):
            yield f"{where}.options", str(option[0] if isinstance(option, tuple) else option)
        for trait in ("words", "charts", "table"):
            yield from ((f"{where}.{trait}", text) for text in leaves(getattr(widget, trait, "")))
        if isinstance(widget, widgets.HTML):
            yield where, plain(widget.value)


def leaves(value: Any) -> Iterator[str]:
    """All strings in what a script is given, but for keys."""
    if isinstance(value, dict | list | tuple):
        for part in value.values() if isinstance(value, dict) else value:
            yield from leaves(part)
    elif isinstance(value, str):
        yield value


def plain(page: str) -> str:
    """What a page says, with the words for those who do not see it; without code, style and pictures."""
    spoken = re.findall(r'(?:alt|title|aria-label)="([^"]*)"', page)
    shown = re.sub(r"<(style|pre|code)\b.*?</\1>", "", page, flags=re.DOTALL)
    return html.unescape("\n".join([re.sub(r"<[^>]*>", "\n", shown), *spoken]))


def english(root: widgets.Widget) -> list[tuple[str, str]]:
    """Lines of a panel with two or more English words in a row, but for the rows' own texts, which are Chinese here."""
    words = re.compile(r"[A-Za-z]{2,}(?: +[A-Za-z]{2,})+")
    found = ((where, line) for where, text in said(root) for line in text.split("\n"))
    return [
        (where, line) for where, line in found if words.search(re.sub(r"`[^`]*`", "", KEPT.sub("", line)))
    ]


@pytest.fixture(scope="module")
def comments():
    """Comments on films, in Chinese."""
    good, bad = ("精彩", "动人", "好看", "有趣"), ("无聊", "糟糕", "难看", "乏味")
    random = np.random.default_rng(0)
    lines = [
        (
            f"这部{random.choice(['电影', '片子', '剧'])}第{number}幕真{random.choice(good if number % 2 else bad)}",
            number % 2,
        )
        for number in range(160)
    ]
    frame = pd.DataFrame(
        {"text": [text for text, _ in lines], "label": ["好" if one else "坏" for _, one in lines]}
    )
    return lk.load(frame).split(validation=0.2, test=0.2, seed=0)


@pytest.fixture(scope="module")
def films(comments, tmp_path_factory):
    model = lk.models["bert"](preset="tiny", width=16, depth=1, heads=2, mlp_width=32, max_length=128)
    return lk.fit(comments, model, folder=tmp_path_factory.mktemp("films"), background=False, name="影评", epochs=1,
                  batch_size=16, buckets=1, max_length=24, vocabulary=200, learning_rate=3e-3)  # fmt: skip


def test_all_steps_of_the_bench_say_no_english(
    comments, films, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    lab = lk.Lab(language="zh")
    for step in lab.steps:
        lab.show(step)
        settle(lab)
        assert english(lab.steps[step].root) == [], step
    lab.state.rows, lab.state.model = comments, films.experiment.model
    for step in ("data", "prepare", "model", "train"):
        lab.show(step)
        settle(lab)
        assert lab.steps[step].problem is None and english(lab.steps[step].root) == [], step
    lab.close()


def test_every_task_and_architecture_has_a_form_without_english(comments, tmp_path):
    pairs = lk.load(
        [{"text": f"第{n}句", "text_pair": f"句{n}", "answer": "句", "answer_start": 0} for n in range(60)],
        text=("text", "text_pair"),
        label=False,
    )
    image = Features({"image": Array2D((16, 16), "uint8"), "label": Value("int32"), "row": Value("int64")})
    pixels = {"image": [np.zeros((16, 16), np.uint8)] * 40, "label": [0, 1] * 20, "row": list(range(40))}
    pictures = Rows(
        {"train": Dataset.from_dict(pixels, image)},
        Spec(modality="image", label="label", classes=("好", "坏")),
    )
    number = lk.load(numbers(价=lambda x: x["长度"]), number="价", features=True)
    labels = lk.load(
        numbers(长=lambda x: x["长度"] > 0, 宽=lambda x: x["宽度"] > 0), label=("长", "宽"), features=True
    )
    bare = Model(
        pairs.with_splits({"train": pairs["train"].remove_columns("answer_start")}, []), language="zh"
    )
    assert "qa" not in dict(bare.task.options).values() and "seq2seq" in dict(bare.task.options).values()
    bare.close()
    tags = lk.load(
        [{"词": ["我", "爱", "北京"], "标": ["O", "O", "LOC"]}] * 60, text="词", tags="标", on_bad="skip"
    )
    days = [f"2024-01-{day:02d}" for day in range(1, 29)]
    series = lk.load([{"日": day, "量": n % 7} for n, day in enumerate(days)], time="日", number="量")
    chosen = lk.load(
        [{"人": f"甲{n % 9}", "物": f"乙{n % 7}", "时": n} for n in range(90)],
        user="人",
        item="物",
        time="时",
    )
    speech = lk.load(str(folder_of_tones(tmp_path / "tones", 8)), transcript="said", rate=RATE)
    masked = lk.load(str(scenes(tmp_path / "scenes")))
    seen = set()
    for rows in (comments, pairs, pictures, number, labels, tags, series, chosen, speech, masked):
        panel = Model(rows, language="zh")
        for task in [name for _, name in panel.task.options]:
            panel.task.value = task
            for which in [name for _, name in panel.which.options]:
                panel.which.value = which
                assert english(panel.root) == [], (task, which)
                seen |= {task, which}
        panel.close()
    assert seen == {*models, *tasks} - {"distill"}  # it needs a teacher, which lk.distill(run, …) names


def settle(lab: Lab) -> None:
    for step in lab.steps.values():
        step.settle(120)


def opened(kind: Any, run: lk.Run) -> Any:
    """A step of a run in Chinese, in use where it can be."""
    panel = kind(run, language="zh")
    panel.settle(120)
    if isinstance(panel, Predict):
        panel.any.click()
        panel.settle(120)
    return panel


@pytest.mark.parametrize("kind", [Train, Evaluate, Predict])
def test_a_run_that_classifies_is_shown_judged_and_used_without_english(kind: Any, films):
    panel = opened(kind, films)
    if isinstance(panel, Evaluate):
        panel.examples.list.chosen = 0 if panel.examples.list.rows else -1
        panel.settle(120)
        assert [word for word in panel.examples.list.head if word.isascii()] == []
    assert panel.problem is None and english(panel.root) == []
    panel.close()


def test_the_walk_finds_english(films):
    panel = Evaluate(films, language="en")
    panel.settle(120)
    found = {where for where, _ in english(panel.root)}
    assert {"HTML", "Button.description", "Button.tooltip", "Dropdown.options"} <= found
    panel.close()


def numbers(**columns: Any) -> pd.DataFrame:
    random = np.random.default_rng(1)
    frame = pd.DataFrame(random.normal(size=(120, 3)), columns=["长度", "宽度", "高度"])
    for name, of in columns.items():
        frame[name] = of(frame)
    return frame


@pytest.fixture(scope="module")
def prices(tmp_path_factory):
    """A regression of two numbers."""
    frame = numbers(价格=lambda x: 3 * x["长度"] + x["宽度"], 重量=lambda x: x["高度"])
    rows = lk.load(frame, number=("价格", "重量"), features=True).split(validation=0.2, test=0.3, seed=0)
    return trained(rows, "regress", tmp_path_factory)


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    """Several labels."""
    frame = numbers(长=lambda x: (x["长度"] > 0).astype(int), 宽=lambda x: (x["宽度"] > 0).astype(int))
    rows = lk.load(frame, label=("长", "宽"), features=True).split(validation=0.2, test=0.3, seed=0)
    return trained(rows, "multilabel", tmp_path_factory)


def trained(rows: lk.Rows, task: str, factory: pytest.TempPathFactory) -> lk.Run:
    model = lk.models["mlp"](widths=(8,))
    return lk.fit(rows, model, task=task, folder=factory.mktemp(task), background=False, name=task, epochs=2,
                  batch_size=16, learning_rate=3e-3)  # fmt: skip


@pytest.mark.parametrize("which", ["prices", "shapes"])
@pytest.mark.parametrize("kind", [Train, Evaluate, Predict])
def test_numbers_and_labels_are_shown_judged_and_used_without_english(
    kind: Any, which: str, request: pytest.FixtureRequest
):
    panel = opened(kind, request.getfixturevalue(which))
    assert panel.problem is None and english(panel.root) == []
    panel.close()


def test_the_verdict_on_numbers_is_that_of_the_report(prices):
    report = prices.evaluate(baselines=False)
    chinese = ("平均绝对误差（MAE）", "均方根误差（RMSE）", "R²", "价格（预测）", "最严重的错误")
    for language, wanted in (
        ("zh", chinese), ("en", ("Mean absolute error (MAE)", "价格 (predicted)", "Worst mistakes")),
    ):  # fmt: skip
        panel = Evaluate(prices, language=language)
        panel.settle(60)
        page = panel.scores.value
        assert [one for one in wanted if one not in page] == []
        for score in ("mae", "rmse", "r2"):
            (low, high), style = report.intervals[score], ".3f" if score == "r2" else ".4g"
            assert (
                f"<b>{report.scores[score]:{style}}</b>" in page
                and f"({low:{style}} – {high:{style}})" in page
            )
        assert panel.tabs.layout.display == "none" and f"{report.per_name.loc['重量', 'rmse']:.4g}" in page
        panel.close()


def test_the_verdict_on_labels_is_that_of_the_report(shapes):
    report, panel = shapes.evaluate(baselines=False), Evaluate(shapes, language="zh")
    panel.settle(60)
    page = panel.scores.value
    for name, score in (
        ("微平均 F1 值", "f1_micro"),
        ("子集准确率（标签全对）", "accuracy"),
        ("汉明损失（判断错误的比例）", "hamming"),
    ):
        low, high = report.intervals[score]
        assert f"<b>{report.scores[score]:.4g}</b><span>{name} ({low:.4g} – {high:.4g})</span>" in page
    panel.close()
