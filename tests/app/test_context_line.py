"""The line under the step names and their marks: what is done with the present data and settings, and what is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import labkit as lk
from labkit.app import state as state_module
from labkit.app.context_line import Context
from labkit.app.state import State
from labkit.runs.changes import changed_parts
from labkit.runs.handle import RunHandle
from labkit.tasks.classify import Classify
from labkit.train.experiment import Training
from labkit.train.optimizer import Optimizer

from .hostile import HOSTILE, executable

REVIEWS = str(Path(__file__).parents[1] / "reviews.csv")


@pytest.fixture
def state(tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> State:
    monkeypatch.setattr(state_module.TICKER, "add", lambda member: None)
    return State(
        rows=lk.load(REVIEWS), model=tiny, folder=tmp_path, language="en", task=Classify(max_length=32)
    )


def created(state: State, **values: Any) -> RunHandle:
    """A run of what the state holds, which nobody works on."""
    rows, experiment = state.ready()
    run = RunHandle.create(state.store, experiment, rows)
    state.store.update(run.id, **{"status": "finished", **values})
    return run


def marks(state: State, prepared: bool = False) -> dict[str, str]:
    return {step: mark for step, mark in Context(state).marks(prepared).items() if mark}


def test_it_names_data_sizes_model_and_run(state: State):
    assert "reviews.csv" in Context(state).line() and "260 rows" in Context(state).line()
    state.name = "clean"
    state.run = created(state, summary={"validation_f1": 0.9999, "metric": "f1"})
    line = Context(state).line()
    assert "208/26/26 rows" in line and 'title="train / validation / test"' in line
    assert "BERT" in line and "run clean: finished, F1 1.000" in line and "changed" not in line


def test_a_state_without_anything_says_so():
    line = Context(State(language="en")).line()
    assert all(text in line for text in ("no data yet", "no model yet", "no run yet"))
    assert marks(State()) == {}


def test_a_step_is_marked_only_for_what_was_done_with_the_present_data(state: State):
    assert marks(state) == {"data": "done", "model": "done"}
    assert marks(state, prepared=True)["prepare"] == "done"
    state.run = created(state, status="running")
    everything = {"data": "done", "prepare": "done", "model": "done", "train": "active"}
    # a run that nobody works on is lost: the mark follows the store
    state.store.update(state.run.id, status="finished")
    assert marks(state) == {**everything, "train": "done"}


@pytest.mark.parametrize(("change", "part"), [
    (lambda s: setattr(s, "rows", lk.load("movie-reviews").sample(100, seed=0)), "data"),
    (lambda s: setattr(s, "steps", ({"do": "dedupe"},)), "data"),
    (lambda s: setattr(s, "accept_leakage", True), "data"),
    (lambda s: setattr(s, "model", lk.models["textcnn"](preset="tiny")), "model"),
    (lambda s: setattr(s, "task", Classify(max_length=16)), "settings"),
    (lambda s: setattr(s, "train", Training(optimizer=Optimizer(learning_rate=1e-3))), "settings"),
    (lambda s: setattr(s, "train", Training(epochs=7)), "settings"),
])  # fmt: skip
def test_a_change_makes_the_run_out_of_date(state: State, change: Any, part: str):
    state.run = created(state)
    assert marks(state)["train"] == "done"
    before = {
        name: getattr(state, name) for name in ("rows", "steps", "accept_leakage", "model", "task", "train")
    }
    change(state)
    changed = set(Context(state).changed)
    # another architecture has another default learning rate
    assert (
        changed == ({"model", "settings"} if part == "model" else {part})
        and marks(state)["train"] == "outdated"
    )
    assert f"changed since this run: {part}" in Context(state).line() and "↻" in Context(state).line()
    for name, value in before.items():
        setattr(state, name, value)
    assert Context(state).changed == () and marks(state)["train"] == "done"


def test_a_run_that_was_renamed_or_completed_by_its_data_is_unchanged(state: State):
    state.run = created(state)
    state.name = "another name"
    completed = state.experiment.replace(model=state.model.replace(vocab_size=300))
    assert changed_parts(completed, state.run.info) == ("model",)
    from labkit.core.config import dumps

    state.store.update(state.run.id, experiment=dumps(completed))
    assert changed_parts(completed, state.run.info) == () == changed_parts(state.experiment, state.run.info)


def test_the_state_follows_its_run_to_the_end(state: State, monkeypatch: pytest.MonkeyPatch):
    followers: list[Any] = []
    state.panels = 1  # a panel that is open
    monkeypatch.setattr(state_module.TICKER, "add", followers.append)
    state.run = run = created(state, status="running", pid=None)
    monkeypatch.setattr("labkit.runs.liveness.is_dead", lambda *_: False)
    state.follow()
    assert state.status == "running" and state.ended == 0
    state.store.update(run.id, status="finished")
    assert not followers[-1].refresh()
    assert (state.status, state.ended) == ("finished", 1)
    state.store.update(run.id, status="running")
    state.follow()
    state.panels = 0
    assert not followers[-1].refresh()  # nobody looks any more
    state.run = created(state)  # one that had ended before
    assert (state.status, state.ended) == ("finished", 1) and len(followers) == 3


def test_the_steps_after_it_use_the_model_when_a_run_ends(state: State, monkeypatch: pytest.MonkeyPatch):
    """Steps that were opened before the run ended show its model without a click."""
    asked: list[str] = []
    monkeypatch.setattr("labkit.app.steps.evaluate.evaluated", lambda run, split: asked.append("evaluate"))
    monkeypatch.setattr(lk.panels.Predict, "_opened", lambda self, found: asked.append("predict"))
    panels = [lk.panels.Evaluate(state=state), lk.panels.Predict(state=state)]
    state.run = created(state, status="running", pid=None)
    for panel in panels:
        panel.jobs.close()
    monkeypatch.setattr("labkit.app.steps.evaluate.Evaluate.later", lambda self, name, work, *_: work())
    asked.clear()
    state.ended += 1
    assert set(asked) == {"evaluate", "predict"}
    for panel in panels:
        panel.close()


def test_hostile_names_are_text(state: State):
    for text in HOSTILE:
        state.run = created(state, name=text)
        assert executable(Context(state).line()) == [], text
