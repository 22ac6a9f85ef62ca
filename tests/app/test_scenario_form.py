"""The scenario in the step Data: controls by the kind of labels, code, the lab folder, and the step Evaluate."""

from __future__ import annotations

from pathlib import Path

import pytest

import labkit as lk
from labkit.app.state import State
from labkit.app.steps.data import Data
from labkit.app.steps.evaluate import Evaluate

TABLE = {"a": [0.1, 2.0, 0.3, 1.9] * 30, "b": [float(n % 7) for n in range(120)], "label": ["no", "yes"] * 60}


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def panel(rows: lk.Rows, language: str = "en") -> Data:
    state = State(language=language)
    made = Data(state=state)
    state.take(rows)
    return made


def test_one_class_two_costs(tmp_path: Path):
    data = panel(lk.load(TABLE, features=True, label="label"))
    form, state = data.scenario, data.state
    assert form.root.layout.display == "" and state.scenario is None
    assert form.positive is not None
    form.positive.value = "yes"
    form.form.controls["false_negative"].value = "12.5"
    form.form.controls["volume"].value = "300"
    form.form.controls["decision"].value = "Who gets a call?"
    assert state.scenario == lk.Scenario(
        decision="Who gets a call?", positive="yes", false_negative=12.5, volume=300
    )
    form.form.controls["false_positive"].value = "-1"
    assert data.problem is not None and "below the minimum" in str(data.problem.text)
    assert state.scenario.false_positive == 1.0
    form.positive.value = ""  # among all classes: the costs of one class are given up
    assert state.scenario == lk.Scenario(decision="Who gets a call?", volume=300)
    form.pairs["yes", "no"].value = 4.0
    assert state.scenario.mistakes == {"yes": {"no": 4.0}}
    state.model = lk.models["mlp"](preset="linear")
    assert "scenario=lk.Scenario(decision='Who gets a call?', mistakes={'yes': {'no': 4.0}}" in state.code()
    state.take(lk.load({"a": [1.0, 2.0] * 20, "label": ["u", "v"] * 20}, features=True, label="label"))
    assert state.scenario is None  # other classes
    data.close()


def test_labels_and_numbers_have_their_own_costs():
    rows = lk.load({"a": [1.0, 2.0, 3.0] * 20, "y": [0.5, 2.5, 1.5] * 20}, features=["a"], number="y")
    data = panel(rows, "zh")
    names = set(data.scenario.form.controls)
    assert {"too_high", "too_low"} <= names and not {"false_positive", "mistake"} & names
    data.scenario.form.controls["too_low"].value = "3"
    assert data.state.scenario == lk.Scenario(too_low=3.0)
    data.close()
    running = panel(lk.load({"text": [f"some text of a corpus {n}" for n in range(40)]}, label=False))
    assert running.scenario.root.layout.display == "none"
    running.close()


def test_the_lab_folder_keeps_it_and_evaluate_shows_the_cost(tmp_path: Path):
    state = State.kept(tmp_path / "lab")
    state.take(lk.load(TABLE, features=True, label="label"))
    state.scenario = lk.Scenario(positive="yes", false_negative=9.0, volume=100, unit="EUR")
    assert State.kept(tmp_path / "lab").scenario == state.scenario
    state.model = lk.models["mlp"](preset="linear")
    rows, experiment = state.ready()
    run = lk.fit(rows, experiment.model, scenario=experiment.scenario, epochs=2, folder=tmp_path / "lab",
                 background=False)  # fmt: skip
    for language, words in (
        ("en", ("expected cost a day (EUR)", "never act")),
        ("zh", ("期望成本", "从不行动")),
    ):
        panel = Evaluate(run, language=language)
        panel.settle()
        shown = panel.conclusion.value
        assert all(word in shown for word in words), shown
        assert panel.state.scenario == state.scenario and panel.which.value == "yes"
        assert panel.threshold.value == pytest.approx(panel.now.report.decision.rule.threshold, abs=1e-6)
        panel.close()
