"""The bench as a whole: it goes from step to step, and comes back where it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import labkit as lk
from labkit.app.lab import Lab
from labkit.app.state import State
from labkit.cli.main import app
from labkit.core.cache import fingerprint
from labkit.core.config import dumps
from labkit.core.errors import ConfigError, WeightsError
from labkit.tasks.classify import Classify
from labkit.train.experiment import Training

REVIEWS = str(Path(__file__).parents[1] / "reviews.csv")


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def settle(lab: Lab) -> None:
    for step in lab.steps.values():
        step.settle(120)


@pytest.mark.parametrize("given", [[{"text": "a"}], {"text": ["a"]}, 3, np.zeros(2)])
def test_what_is_no_folder_or_state_is_refused_by_name(given):
    said = f"not a {type(given).__name__}"
    with pytest.raises(ConfigError, match=rf"the lab folder is a path, .*{said}.* lk\.panels\.Data\(rows\)"):
        lk.Lab(given)
    with pytest.raises(ConfigError, match=said):
        lk.runs(given)
    for opened in (lk.Predictor, lk.TextGenerationPipeline, lk.EmbeddingPipeline, lk.FillMaskPipeline):
        with pytest.raises(WeightsError, match=f"the path of a model folder, .*{said}"):
            opened(given)
    for panel in (lk.panels.Data, lk.panels.Train):
        with pytest.raises(ConfigError, match=rf"state is a {type(given).__name__}; give the \.state"):
            panel(state=given)


def test_it_goes_on_and_marks_what_is_done():
    lab = lk.Lab(language="en")
    assert [name for name, _ in lab.stepper.options][:2] == ["1 Data", "2 Prepare"]
    data = lab.steps["data"]
    data.way.value, data.path.value = "path", REVIEWS
    data.load.click()
    settle(lab)
    assert [name for name, _ in lab.stepper.options][:2] == ["1 Data ✓", "2 Prepare"]
    assert "reviews.csv" in lab.context.value and "no run yet" in lab.context.value
    lab.next.click()
    assert lab.stepper.value == lab.state.step == "prepare"
    assert lab.shown.children == (lab.steps["prepare"].root,)
    lab.stepper.value = "data"
    assert lab.shown.children == (data.root,)
    assert [name for name, _ in lab.stepper.options][:2] == ["1 Data ✓", "2 Prepare ✓"]
    settle(lab)
    lab.close()
    assert data.closed


def test_it_comes_back_after_a_restart(tiny):
    lab = lk.Lab(language="en")
    lab.state.rows = lk.load(REVIEWS)
    lab.state.model = tiny
    lab.show("prepare")
    lab.steps["prepare"].usual.click()
    lab.steps["prepare"].copies.value = "exact"
    lab.language.value = "zh"
    settle(lab)
    told = dumps(lab.state.experiment)
    lab.close()
    again = lk.Lab()
    settle(again)
    assert (again.state.step, again.state.language, again.language.value) == ("prepare", "zh", "zh")
    assert again.steps["prepare"].copies.value == "exact" and again.steps["prepare"].boxes["html"].value
    assert dumps(again.state.experiment) == told
    again.close()


def test_the_language_that_was_chosen_in_code_wins_over_the_last_click(monkeypatch: pytest.MonkeyPatch):
    lk.Lab(language="en").close()
    monkeypatch.setattr("labkit.viz.words.chosen_language", None)
    lk.language("zh")
    lab = lk.Lab()
    assert lab.language.value == "zh"
    lab.close()


def test_a_source_that_is_gone_is_told_in_the_step(tmp_path: Path):
    (tmp_path / "gone.csv").write_text("text,label\na b,x\nc d,y\n")
    lab = lk.Lab(language="en")
    lab.state.rows = lk.load("gone.csv")
    lab.close()
    (tmp_path / "gone.csv").unlink()
    again = lk.Lab()
    settle(again)
    assert "gone.csv" in again.steps["data"].error_box.value and again.state.rows is None
    again.close()


@pytest.mark.soak
def test_what_is_copied_and_what_is_saved_make_the_same_run_without_a_page(monkeypatch: pytest.MonkeyPatch):
    model = lk.models["textcnn"](preset="tiny", embedding=8, filters=8)
    training = Training(epochs=1, batch_size=16, buckets=1, evaluate_every=8)
    lab = Lab(state=State(
        rows=lk.load(REVIEWS), model=model, task=Classify(max_length=32, vocabulary=300), train=training, folder="here",
        name="clicked", language="en",
    ))  # fmt: skip
    lab.show("prepare")
    lab.steps["prepare"].usual.click()
    lab.steps["prepare"].copies.value = "exact"
    settle(lab)
    lab.show("train")
    panel = lab.steps["train"]
    panel.begin.click()
    panel.settle(60)
    run = lab.state.run.wait(120)
    panel.settle(60)
    monkeypatch.setenv("LABKIT_FOREGROUND", "1")
    monkeypatch.setenv("LABKIT_FOLDER", "again")
    scope: dict[str, Any] = {}
    exec(panel.copy.text, scope)
    panel.save.click()
    assert "experiment.toml" in panel.note_box.value
    told = CliRunner().invoke(app, ["train", "experiment.toml", "--folder", "third"])
    assert told.exit_code == 0, told.output
    (third,) = lk.runs("third")
    for other in (scope["run"], third):
        assert fingerprint(other.info.experiment) == fingerprint(run.info.experiment)
        assert measured(other) == measured(run)
    assert any(name == "f1" for _, _, name, _ in measured(run))
    lab.close()


def measured(run: lk.Run) -> list[tuple[int, str, str, float]]:
    """All that was recorded of a run but its speed and its memory."""
    return [(r.step, r.split, r.name, r.value) for r in run.store.records(run.id) if r.split != "machine"]
