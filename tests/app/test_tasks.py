"""The bench for tasks without labels: rows, a model, a run, its scores and answers, all by clicks and in Chinese."""

from __future__ import annotations

import html
import threading
import time
import zipfile
from collections.abc import Iterator
from typing import Any

import ipywidgets as widgets
import numpy as np
import pytest

import labkit as lk
from labkit.app.lab import STEPS, Lab
from labkit.app.state import State
from labkit.app.steps.predict import Predict
from labkit.app.widgets.controls import tree
from labkit.data.report import visible
from labkit.tasks import tasks
from labkit.train.experiment import Training
from labkit.train.optimizer import Optimizer

from .hostile import HOSTILE, executable
from .test_chinese import english
from .test_train import shown

pytestmark = pytest.mark.slow

SMALL: dict[str, Any] = {"width": 16, "heads": 2, "mlp_width": 32, "dropout": 0.0, "max_length": 64}
WHO, WHAT = ("小猫", "小狗", "老人", "孩子"), ("看见了小鸟", "喜欢大树", "找到了房子", "走过小桥")
MODELS = {"lm": "gpt", "seq2seq": "transformer"}
UNLABELLED = ("lm", "pretrain", "qa", "embed", "seq2seq")


def rows_for(task: str) -> lk.Rows:
    """Sentences; or with an answer to a question, or with another text that says the same."""
    random, rows = np.random.default_rng(0), []
    for number in range(60):
        who, what = random.choice(WHO), random.choice(WHAT)
        text = f"{who}第{number}次{what}"
        if task in ("lm", "pretrain"):
            rows.append({"text": text})
        elif task == "qa":
            rows.append({"text": f"谁{what}", "text_pair": text, "answer": str(who), "answer_start": 0})
        else:
            rows.append({"text": text, "text_pair": f"{what}的是{who}{number}"})
    return lk.load(rows, text=("text", "text_pair") if len(rows[0]) > 1 else "text", label=False)


def model_for(task: str) -> Any:
    name = MODELS.get(task, "bert")
    deep = {"encoder_depth": 1, "decoder_depth": 1} if name == "transformer" else {"depth": 1}
    return lk.models[name](**SMALL, **deep)


@pytest.fixture(scope="module", params=UNLABELLED)
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """The bench with a run of a task that ended, begun in its step Train."""
    name, folder = request.param, tmp_path_factory.mktemp(request.param)
    task = tasks[name](max_length=32, vocabulary=300, **({"stride": 4} if name == "qa" else {}))
    train = Training(epochs=1, batch_size=8, buckets=1, optimizer=Optimizer(learning_rate=3e-3))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        rows, model = rows_for(name), model_for(name)
        made = Lab(
            state=State(
                rows=rows, model=model, task=task, train=train, folder=folder, name="运行", language="zh"
            )
        )
        made.show("train")
        made.steps["train"].begin.click()
        settle(made)
        assert made.state.run is not None, made.steps["train"].problem
        made.state.run.wait(300)
        yield made
        made.close()


def settle(lab: Lab) -> None:
    for step in lab.steps.values():
        step.settle(120)


def test_every_step_goes_without_an_error_and_says_no_english(lab: Lab):
    for name in STEPS:
        lab.show(name)
        settle(lab)
        step = lab.steps[name]
        assert step.problem is None and english(step.root) == [], name
    assert lab.steps["model"].task.value == tasks.name_of(lab.state.task)


def test_judge_shows_what_evaluate_measures(lab: Lab):
    lab.show("evaluate")
    settle(lab)
    run, page = lk.open_run(lab.state.run.id, lab.state.folder), lab.steps["evaluate"].scores.value
    found = run.evaluate("test")
    translated = found.translation.scores()[0] if found.translation is not None else {}
    cards = {name: value for name, value in found.items() if name not in translated}
    assert [name for name, value in cards.items() if f"<b>{value:.4g}</b>" not in page] == []
    assert f"<b>{found.rows}</b>" in page and found.rows == len(run.rows["test"]) and len(found) >= 2
    style = ".1f" if translated else ".4g"
    for name, (low, high) in found.intervals.items():
        more = "+.1f" if name.endswith("gain") else style
        assert f"({low:{more}} – {high:{more}})" in page
    expected = {"qa": {"exact", "f1"}, "seq2seq": set(translated) - {"sources_in_train"}}
    assert set(found.intervals) == expected.get(found.task, set())
    if found.task == "qa":
        assert found.worst is not None and found.worst["f1"].is_monotonic_increasing
        assert found.intervals["f1"][0] <= found["f1"] <= found.intervals["f1"][1]
        assert all(line in page for line in found.worst["question"].head(3))
    if found.task == "lm":
        assert "n 元模型基线的困惑度" in page


@pytest.fixture
def use(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Predict:
    """The step Predict, and its folder."""
    monkeypatch.chdir(lab.state.folder)
    lab.show("predict")
    panel = lab.steps["predict"]
    panel.settle(120)
    panel.answer.value, panel.problem = "", None
    return panel


def said(panel: Predict) -> list[Any]:
    """What the copied code gives, line by line, but for its export."""
    scope: dict[str, Any] = {}
    lines = panel.code().splitlines()[:-1]
    exec("\n".join(lines[:3]), scope)
    made = []
    for line in lines[3:]:
        if line.startswith("vectors = "):
            exec(line, scope)
        else:
            made.append(eval(line, scope))
    return made


def test_an_example_is_answered_as_the_copied_code_answers_it(use: Predict):
    use.any.click()
    use.settle(120)
    assert use.problem is None and use.answer.value and english(use.root) == []
    task, page, found = (
        tasks.name_of(use.state.run.experiment.task),
        html.unescape(use.answer.value),
        said(use),
    )
    if task in ("lm", "seq2seq"):
        assert isinstance(found[0], str) and visible(found[0]) in page and use.asking.text.value
        assert (task == "seq2seq") == ("真实: " in page) == ("交叉注意力" in page)
    elif task == "pretrain":
        (guesses,), follows = found
        assert [visible(name) for name, _ in guesses if f">{visible(name)}</td>" not in page] == []
        assert f"<b>{100 * follows:.1f} %</b>" in page and f"{100 * guesses[0].probability:.1f} %" in page
        assert "[MASK]" in use.asking.text.value and use.asking.pair.value
    elif task == "qa":
        (one,) = found[0]
        assert f"<mark>{one.text}</mark>" in page and f"<b>{100 * one.probability:.1f} %</b>" in page
        assert 0 < one.probability <= 1 and use.asking.truth[1] in page
    else:
        assert found[0].shape == (4, 4) and f'<td class="lk-number">{found[0][0, 1]:.2f}</td>' in page


def test_what_is_typed_is_text_and_errors_are_said(use: Predict):
    areas = [one for one in tree([use.asking.root]) if isinstance(one, widgets.Textarea)]
    for number, text in enumerate(HOSTILE[::5]):
        for area in areas:
            area.value = f"{text[:40]} [MASK]\n{number}"
        use.go.click()
        use.settle(60)
        assert executable(shown(use)) == [] and "Traceback" not in (use.problem.text if use.problem else "")
        compile(use.code(), "code", "exec")
    for area in areas:
        area.value = ""
    use.problem = None
    use.go.click()
    use.settle(60)
    assert (use.problem is None) == (tasks.name_of(use.state.run.experiment.task) in ("lm", "seq2seq"))
    assert english(use.error_box) == []


def test_a_text_is_drawn_or_searched_for(use: Predict):
    if tasks.name_of(use.state.run.experiment.task) not in ("lm", "seq2seq"):
        assert not hasattr(use.asking, "beams")
        return
    asking = use.asking
    asking.text.value, asking.length.value, asking.temperature.value = "小猫", 5, 1.5
    use.go.click()
    use.settle(120)
    assert (
        use.problem is None
        and "temperature=1.5, " in use.code()
        and "seed=" in use.code()
        and ("top_p=0.95" in use.code()) == (tasks.name_of(use.state.run.experiment.task) == "lm")
        and visible(said(use)[0]) in html.unescape(use.answer.value)
    )
    asking.temperature.value, asking.beams.value = 0, 3
    use.go.click()
    use.settle(120)
    assert use.problem is None and "max_new_tokens=5, beams=3)" in use.code()
    assert asking.temperature.disabled and asking.top_p.disabled  # a beam search does not sample
    asking.beams.value = 1
    assert not asking.temperature.disabled and not asking.top_p.disabled
    asking.temperature.value, asking.beams.value, asking.length.value = 0, 1, 20


def test_a_text_appears_while_it_is_generated_and_can_be_stopped(
    use: Predict, monkeypatch: pytest.MonkeyPatch
):
    if tasks.name_of(use.state.run.experiment.task) != "lm":
        assert use.stop.layout.display == "none"
        return
    seen = threading.Event()

    def stream(prompt: str, **settings: object):
        yield "one"
        assert seen.wait(60), "the first text is not shown"
        yield "one two"
        raise AssertionError("it was not stopped")

    monkeypatch.setattr(use.asking.tool, "stream", stream)
    use.go.click()
    end = time.monotonic() + 60
    while "<mark>one</mark>" not in use.answer.value:
        assert time.monotonic() < end, use.answer.value
        time.sleep(0.02)
    assert use.stop.layout.display == ""
    use.stop.click()
    seen.set()
    use.settle(60)
    assert use.problem is None and "<mark>one two</mark>" in use.answer.value
    assert use.stop.layout.display == "none"


def test_the_model_is_taken_away(use: Predict):
    use.export.click()
    use.settle(60)
    assert use.problem is None
    with zipfile.ZipFile(use.state.folder / use.link.file) as packed:
        names = packed.namelist()
        assert {"labkit.toml", "tokenizer.json", "README.md"} <= set(names)
        assert any(name.endswith("model.safetensors") for name in names)
