"""Smaller models and champion against challenger in the step Evaluate, and a study in the step Train."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

import labkit as lk
from labkit.app.runs import state_of
from labkit.app.state import State
from labkit.app.steps.evaluate import TABS, Evaluate
from labkit.app.steps.model import Model
from labkit.app.steps.train import Train


def table(seed: int, n: int = 160) -> str:
    random = np.random.default_rng(seed)
    a = random.normal(size=n)
    lines = [
        f"{x:.7f},{('no', 'yes')[int(x + e > 0)]}" for x, e in zip(a, random.normal(size=n), strict=True)
    ]
    return "\n".join(["a,label", *lines])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("worth")
    for name, seed in (("old.csv", 0), ("new.csv", 1)):
        (made / name).write_text(table(seed), encoding="utf-8")
    return made


@pytest.fixture(autouse=True)
def place(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


def test_a_model_is_quantised_and_challenged(folder: Path):
    rows = lk.load("old.csv", features=True, label="label")
    run = lk.fit(
        rows, lk.models["mlp"](preset="linear"), epochs=2, background=False, name="old", folder=folder / "lab"
    )
    panel = Evaluate(run, language="en")
    panel.settle()
    small = panel.smaller
    assert [way for _name, way in small.way.options] == ["quantize"]  # neither a BERT nor texts
    small.bits.value = 4
    panel.tabs.selected_index = TABS.index("tab_smaller")
    assert "lk.quantize(run, 4)" in panel.code() and "small.save('exports/old-quantized')" in panel.code()
    small.go.click()
    panel.settle()
    assert panel.problem is None and "smaller model" in small.shown.value
    assert lk.Predictor(folder / "exports" / "old-quantized").predict([[1.0]])[0].label in ("no", "yes")
    small.go.click()
    panel.settle()
    assert panel.problem is not None and "is not empty" in str(panel.problem.text)

    view = panel.challenge
    panel.tabs.selected_index = TABS.index("tab_challenge")
    view.go.click()
    panel.settle()
    assert panel.problem is not None and view.found is None  # no file
    view.rows.value, view.test.value = "new.csv", 0.4
    assert "run.challenge('new.csv', test=0.4)" in panel.code()
    view.warm.value = True
    assert "run.challenge('new.csv', test=0.4, warm_start=True)" in panel.code()
    view.go.click()
    panel.settle()
    assert view.found is not None and "untouched new rows" in view.shown.value, panel.problem
    assert lk.runs(folder / "lab")[0].name == "old challenger"
    assert lk.open_run("old challenger", folder / "lab").experiment.train.warm_start
    panel.close()
    model = Model(state=state_of(run, "en"))  # the time of a step is that of the run with these settings
    model.settle()
    assert "as measured by run" in model.costs.facts.value
    seconds = model.costs.latest.plan.batches.examples_per_step / run.info.summary["examples_per_second"]
    assert model.costs._measured(model.costs.latest)[1] == pytest.approx(seconds, rel=1.0)
    model.close()
    chinese = Evaluate(run, language="zh")
    chinese.settle()
    chinese.challenge._show((run, view.found))
    chinese.challenge.run = run
    chinese.challenge._show((run, view.found))
    assert "挑战模型" in chinese.challenge.shown.value and "未动用的新数据" in chinese.challenge.shown.value
    chinese.close()


def test_models_are_compared_in_the_step_train(folder: Path):
    state = State(folder=folder / "studies", language="en")
    panel = Train(state=state)
    part = panel.study
    assert part.root.layout.display == "none"
    state.take(lk.load("old.csv", features=True, label="label"))
    assert part.root.layout.display == "" and part.add.disabled
    state.scenario = lk.Scenario(positive="yes", false_negative=4.0)
    state.model = lk.models["mlp"](preset="linear")
    state.train = state.train.replace(epochs=2)
    part.add.click()
    part.go.click()
    panel.settle()
    assert panel.problem is not None and "two models or more" in str(panel.problem.text)
    part.add.click()
    assert "mlp linear 2" in part.listed.value
    part.budget.value = 5.0
    part.go.click()
    panel.settle()
    assert panel.problem is None and part.study is not None
    part.study.wait(120)
    end = time.monotonic() + 20
    while part.refresh() and time.monotonic() < end:
        time.sleep(0.05)
    study = lk.studies(folder / "studies")[0]
    assert study.status == "finished" and study.scenario == state.scenario
    assert {each.name for each in study.record.candidates} >= {
        "mlp linear",
        "mlp linear 2",
        "logistic regression",
    }
    part.shown.refresh()
    assert "expected cost of 1,000 decisions" in part.shown.body.value
    chosen = study.choice().choice
    part.take.click()
    if chosen.startswith("mlp"):
        assert state.run.id == study.run(chosen).id
    else:
        assert "is a baseline" in str(panel.problem.text)
    panel.close()
    again = Train(state=State(folder=folder / "studies", language="zh"))
    assert again.study.study.id == study.id and "期望成本" in again.study.shown.body.value
    again.close()
