"""The step Train without a browser: a real run begun from the panel, what it sends, its errors, hostile names."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import pytest

import labkit as lk
from labkit.app import live
from labkit.app.panel import Panel
from labkit.app.run_follower import MORE
from labkit.app.state import State
from labkit.app.steps import train
from labkit.app.steps.train import Train
from labkit.app.widgets.controls import tree
from labkit.runs.handle import RunHandle
from labkit.runs.store import Store
from labkit.tasks.classify import Classify
from labkit.train.experiment import Training
from labkit.train.optimizer import Optimizer
from labkit.viz.series import DRAWN
from tests.shown import send

from .hostile import HOSTILE, executable


def shown(panel: Panel) -> str:
    """All HTML in a panel but its style, which is ours."""
    found = [widget.value for widget in tree([panel.root]) if isinstance(widget, widgets.HTML)]
    return "".join(text for text in found if not text.startswith("<style>"))


def raise_(error: BaseException) -> None:
    raise error


class Fake(RunHandle):
    def code(self) -> str:
        return "lk.fit(rows)"


def fake(folder: Path, id: str = "run-1", name: str = "name", **values: Any) -> Fake:
    store = Store(folder)
    store.create(
        id, name, **{"experiment": "[train]\nkeep = 'best'\n", "status": "running", "steps": 1000, **values}
    )
    return Fake(store, id)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Messages to the page's script; nothing ticks by itself, and nothing is put into a notebook."""
    messages: list[Any] = []
    monkeypatch.setattr(live.Curves, "send", lambda self, content, buffers=None: messages.append(content))
    monkeypatch.setattr(train.TICKER, "add", lambda member: None)
    monkeypatch.setattr(live, "publish", lambda *a, **k: messages.append({"type": "published", "data": a[0]}))
    return messages


@pytest.fixture
def panel(tmp_path: Path, sent: list[Any]):
    made = Train(fake(tmp_path), language="en")
    yield made
    made.close()


@pytest.mark.slow
def test_a_run_is_begun_from_the_panel_and_steered(reviews, tiny, settings, tmp_path: Path):
    task, training = (
        Classify(max_length=32, vocabulary=300),
        Training(batch_size=16, buckets=2, evaluate_every=4),
    )
    state = State(rows=reviews, model=tiny, task=task, train=training, folder=tmp_path, language="en")
    panel = Train(state=state)
    assert not panel.begin.disabled and "No run yet" in panel.empty.value
    panel.epochs.value, panel.rate.value, panel.name.value = 1, "3e-3", "from the panel"
    assert (state.train.epochs, state.train.optimizer) == (1, Optimizer(learning_rate=3e-3))
    panel.begin.click()
    panel.settle(60)
    assert panel.problem is None and panel.live is not None and panel.begin.disabled
    panel.live.keep.value = False
    assert state.run is not None and state.run.wait(120).status == "finished"
    assert state.run.info.summary["keep"] == "last" and state.run.info.name == "from the panel"
    assert state.run.info.summary["model_step"] == state.run.info.step
    assert isinstance(state.run.info.summary["advice"], list)  # what it says: tests/train/test_advice.py
    end = time.monotonic() + 20
    while (
        panel.begin.disabled or not panel.live.stop.disabled
    ) and time.monotonic() < end:  # the ticker does it
        time.sleep(0.05)
    assert not panel.begin.disabled and panel.live.stop.disabled
    assert panel.code() == state.run.code() and "epochs=1" in panel.code()
    keys = [chart["lines"][0]["key"] for chart in panel.live.curves.charts]
    assert keys == ["train/loss", "train/f1", "validation/f1/0", "train/learning_rate", "train/gradient_norm",
                    "machine/examples_per_second", "machine/memory"]  # fmt: skip
    recorded = {(r.split, r.name) for r in state.run.store.records(state.run.id)}
    assert {("validation", "f1/0"), ("validation", "f1/1"), ("train", "gradient_norm")} <= recorded
    again = Train(state.run)
    assert again.state.model == tiny.settled(vectors=False) and again.state.experiment.train == state.train
    assert not again.begin.disabled
    assert again.code() == state.run.code()
    again.close()
    panel.close()


def test_all_that_is_recorded_is_drawn_with_the_last_value_right_and_little_is_sent(
    panel: Train, sent: list[Any]
):
    more = [pair for pair in MORE if pair != ("train", "epsilon")]  # of private runs
    run, names = panel.live.run, [*DRAWN, *more, *(("validation", f"f1/{n}") for n in range(6))]
    run.store.update(run.id, summary={"classes": [f"class {n}" for n in range(6)]})
    run.store.write(run.id, [(s, split, name, 1 / s) for s in range(1, 10_001) for split, name in names])
    send(panel.live.curves, {"type": "hello"})
    panel.live.refresh()
    (whole,) = sent
    assert whole["type"] == "snapshot" and len(json.dumps(whole)) < 600_000
    left_out = {
        f"{split}/{name}" for split in ("train", "validation") for name in ("accuracy", "r2", "mae", "miou")
    }  # there is F1
    assert len(json.dumps(live.kept(run, "en"))) < 100_000  # what a saved notebook holds of 10,000 steps
    assert set(whole["series"]) == {f"{split}/{name}" for split, name in names} - left_out
    assert {line["key"] for chart in panel.live.curves.charts for line in chart["lines"]} == set(
        whole["series"]
    )
    sent.clear()
    run.store.write(run.id, [(s, split, name, 1 / s) for s in range(10_001, 10_401) for split, name in names])
    panel.live.refresh()  # of 5,600 records in half a second
    (news,) = sent
    assert len(json.dumps(news)) < 20_000
    assert all(steps[-1] == 10_400 for steps, _ in news["series"].values())
    assert news["series"]["train/loss"][1][-1] == float(f"{1 / 10_400:.4g}")
    assert news["series"]["machine/memory"][1][-1] == float(f"{2**-20 / 10_400:.4g}")


def test_other_runs_are_laid_over_and_followed(panel: Train, sent: list[Any], tmp_path: Path):
    other = fake(tmp_path, "run-2", "other")
    other.store.write("run-2", [(1, "train", "loss", 0.5), (1, "machine", "memory", 3.0)])
    panel.list_runs()
    assert [option[1] for option in panel.over.options] == ["run-2"]
    panel.over.value = ("run-2",)
    panel.live.refresh()
    assert sent[-1]["type"] == "snapshot" and sent[-1]["series"] == {"1:train/loss": [[1], [0.5]]}
    labels = [line["label"] for line in panel.live.curves.charts[0]["lines"]]
    assert labels == ["train", "validation", "other · train", "other · validation"]
    before = sent[-1]["seq"]
    other.store.write("run-2", [(2, "train", "loss", 0.25)])
    panel.live.refresh()
    assert (sent[-1]["type"], sent[-1]["from"]) == ("append", before) and sent[-1]["seq"] > before
    assert sent[-1]["series"] == {"1:train/loss": [[2], [0.25]]}
    panel.over.value = ()
    panel.live.refresh()
    assert sent[-1] == {**sent[-1], "type": "snapshot", "series": {}}


def test_another_run_is_chosen_and_the_old_panel_is_given_back(panel: Train, tmp_path: Path):
    fake(tmp_path, "run-2", "other")
    old = panel.live
    panel.list_runs()
    panel.shown.value = "run-2"
    assert panel.live is not old and panel.live.run.id == "run-2" == panel.state.run.id
    assert old.closed and old.root.comm is None


def test_a_run_that_stopped_goes_on_from_the_panel_and_its_result_stays_beside(panel: Train, sent: list[Any]):
    run = panel.live.run
    run.store.update(run.id, status="stopped")
    assert not panel.live.refresh()
    over = next(message for message in sent if message["type"] == "over")
    assert "labkit-kept" in over["data"]["text/html"]
    assert sent[-1]["type"] == "published" and sent[-1]["data"] == over["data"]
    assert (
        panel.live.pause.description == "Resume"
        and not panel.live.pause.disabled
        and panel.live.stop.disabled
    )
    begun = []
    run.start = lambda **_: begun.append(run.id) or run.store.update(run.id, status="running")
    panel.live.pause.click()
    assert begun == [run.id] and panel.live.refresh() and not panel.live.stop.disabled


def test_every_callback_that_fails_shows_it_and_the_panel_goes_on(
    panel: Train, caplog: pytest.LogCaptureFixture
):
    assert len(panel.callbacks) >= 10
    for callback in list(panel.callbacks):
        whole, callback.action = callback.action, lambda *a, **k: raise_(OSError("disk <full>"))
        callback({"new": 1, "old": 0})
        assert "OSError: disk &lt;full&gt;" in panel.error_box.value and "What to do" in panel.error_box.value
        callback.action = whole
        panel.problem = None
    panel.name.value = "usable"
    assert panel.state.name == "usable" and panel.problem is None


def test_errors_of_starting_show_in_the_panel(reviews, tiny, tmp_path: Path):
    panel = Train(
        state=State(rows=reviews, model=tiny, task=Classify(max_length=4096), folder=tmp_path, language="en")
    )
    panel.rate.value = "fast"
    assert "&#x27;fast&#x27; is not a learning rate" in panel.error_box.value
    panel.epochs.value = 2
    panel.later("start", lambda: raise_(MemoryError("no room")), lambda _: None)
    panel.settle()
    assert "smaller batch size" in panel.error_box.value and not panel.begin.disabled
    panel.close()


def test_hostile_names_are_text(tmp_path: Path, sent: list[Any]):
    for number, text in enumerate(HOSTILE):
        fake(tmp_path, f"run-{number}", text, status="failed", error=text, cure=text, traceback=text, message=text,
             summary={"classes": [text, text[::-1]]})  # fmt: skip
    store = Store(tmp_path)
    for number in range(len(HOSTILE)):
        panel = Train(Fake(store, f"run-{number}"), language="en")
        panel.over.value = (panel.over.options[0][1],)
        panel.live.refresh()
        found = shown(panel) + live.kept(panel.live.run, "en")["text/html"]
        assert executable(found) == [], HOSTILE[number]
        panel.close()


def test_it_speaks_chinese(tmp_path: Path, sent: list[Any]):
    panel = Train(fake(tmp_path), language="zh")
    assert panel.begin.description == "开始训练" and panel.live.curves.words["smoothing"] == "平滑"
    assert lk.panels.Train is Train
    panel.close()
