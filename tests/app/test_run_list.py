"""The list of runs: its entries, deleting with undo, runs of one name, and panels that see each other's runs."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from labkit.app import live
from labkit.app import state as state_module
from labkit.app.lab import Lab
from labkit.app.state import FILE, State
from labkit.app.steps import train
from labkit.app.steps.train import Train
from labkit.core.errors import RunError
from labkit.runs.handle import RunHandle
from labkit.runs.overview import labels_of
from labkit.runs.store import Store

TOML = "[data]\nsource = 'folder/my_reviews.csv'\n[train]\nepochs = 1\n"
REVIEWS = str(Path(__file__).parents[1] / "reviews.csv")


@pytest.fixture(autouse=True)
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing ticks by itself, and nothing is put into a notebook."""
    for module in (live, train, state_module):
        monkeypatch.setattr(module.TICKER, "add", lambda member: None)
    monkeypatch.setattr(live, "publish", lambda *a, **k: None)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path)
    for run, name, status, f1 in (
        ("r1", "qa", "failed", None),
        ("r2", "qa", "finished", 0.6912),
        ("r3", "x", "stopped", 1.0),
    ):
        summary = {} if f1 is None else {"metric": "f1", "validation_f1": f1}
        made.create(run, name, status=status, experiment=TOML, summary=summary)
    return made


def panel_of(store: Store, run: str = "", language: str = "en") -> Train:
    handle = RunHandle(store, run) if run else None
    return Train(state=State(folder=store.folder, language=language, run=handle))


def test_entries_have_name_status_score_data_and_time(store: Store):
    panel = panel_of(store)
    (first, value), *entries = panel.shown.options
    assert (first, value, panel.shown.value) == ("choose a run", "", "") and panel.delete.disabled
    day = time.strftime("%m-%d")
    assert [key for _, key in entries] == ["r3", "r2", "r1"]
    assert entries[1][0].startswith(f"qa · finished · F1 0.691 · my_reviews.csv · {day}")
    assert entries[2][0].startswith(f"qa · failed · my_reviews.csv · {day}")
    panel.shown.value = "r3"  # the newest, which the list showed before anything was chosen
    assert panel.state.run.id == "r3"
    panel.shown.value = ""
    assert panel.state.run is None and panel.live is None
    panel.close()


def test_no_two_entries_are_equal(store: Store):
    store.create(
        "r4", "qa", status="finished", experiment=TOML, summary={"metric": "f1", "validation_f1": 0.6912}
    )
    labels = labels_of(store.runs())
    assert len(set(labels.values())) == 4
    assert "已完成" in labels_of(store.runs(), "zh")["r4"]


def test_overlaid_runs_of_one_name_have_their_times(store: Store):
    panel = panel_of(store, "r1")
    panel.over.value = ("r2", "r3")
    labels = [line["label"] for line in panel.live._charts(panel.live.run.info)[0]["lines"]]
    assert labels[2].startswith("qa 2") or (labels[2].startswith("qa ") and labels[2].count(":") == 2)
    assert labels[4] == "x · train"
    panel.close()


def test_a_run_is_deleted_and_restored(store: Store):
    panel, other = panel_of(store, "r2"), panel_of(store, "r2")
    panel.delete.click()
    for each in (panel, other):  # a second panel notices
        assert each.state.run is None and "r2" not in [key for _, key in each.shown.options]
        assert each.problem is None
    assert panel.undo.layout.display == "" and "qa" in panel.undo.description
    panel.undo.click()
    assert panel.state.run.id == "r2" and panel.undo.layout.display == "none"
    assert "r2" in [key for _, key in other.shown.options]
    for each in (panel, other):
        each.close()


def test_an_active_run_is_not_deleted(store: Store, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("labkit.runs.liveness.is_dead", lambda *_: False)
    store.update("r2", status="running")
    panel = panel_of(store, "r2")
    assert panel.delete.disabled
    with pytest.raises(RunError, match="stop it before"):
        store.delete("r2", forever=False)
    panel.close()


def test_two_labs_of_one_folder_share_their_state(tmp_path: Path, tiny: Any):
    first, second = Lab(tmp_path, language="en"), Lab(tmp_path)
    assert first.state is second.state
    first.state.model = tiny
    assert [name for name, _ in second.stepper.options][2] == "3 Model ✓"
    first.show("prepare")
    assert (first.shown_step, second.shown_step) == ("prepare", "data")  # each shows a step of its own
    second.language.value = "zh"
    assert first.language.value == "zh" and first.next.description == second.next.description == "下一步"
    first.close()
    second.close()
    third = Lab(tmp_path)
    assert third.state is not first.state and third.state.model == tiny
    third.close()


def test_settings_of_another_process_are_not_overwritten_in_silence(tmp_path: Path, tiny: Any):
    mine, theirs = Lab(tmp_path, language="en"), State.kept(tmp_path, "en")
    theirs.name = "theirs"
    saved = (tmp_path / FILE).read_text("utf-8")
    mine.state.name = "mine"
    assert (
        mine.state.conflict
        and mine.conflict.layout.display == ""
        and (tmp_path / FILE).read_text("utf-8") == saved
    )
    mine._take_theirs()
    assert mine.state.name == "theirs" and not mine.state.conflict and mine.conflict.layout.display == "none"
    mine.state.name = "mine"  # now it knows the file
    assert not mine.state.conflict
    theirs.name = "theirs again"
    assert theirs.conflict
    theirs.overwrite()
    assert not theirs.conflict and "theirs again" in (tmp_path / FILE).read_text("utf-8")
    mine.close()


def test_the_dashboard_shows_all_runs_when_it_is_opened(store: Store):
    panel = panel_of(store)
    board = panel.dashboard
    assert board.table.value == "" == board.figure.value
    board.root.selected_index = 0
    assert "F1, validation of my_reviews.csv" not in board.figure.value  # no run has recorded its parameters
    for run, size in (("r2", 1000), ("r3", 50)):
        store.update(run, summary={"parameters": size, "trainable": size})
    board.refresh()
    assert "F1, validation of my_reviews.csv" in board.figure.value and "Pareto front" in board.figure.value
    assert board.table.value.count("<tr>") == 4 and "1,000" in board.table.value
    board.cost.value = "trainable"
    assert "Trained parameters" in board.figure.value
    panel.state.run = RunHandle(store, "r2")
    panel.delete.click()  # the open table follows
    assert board.table.value.count("<tr>") == 3
    panel.close()


def test_the_table_of_runs_is_in_the_language_of_the_panel(store: Store):
    panel = panel_of(store, language="zh")
    panel.dashboard.root.selected_index = 0
    shown = panel.dashboard.table.value
    assert "finished" not in shown and "已完成" in shown and (" 天<" in shown or "刚刚" in shown)
    panel.close()
