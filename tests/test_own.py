"""An architecture and a task of a temporary module train, evaluate and predict without a further line in labkit."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import labkit as lk
from tests import own


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the module of an architecture and that of a task, both registered."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "own_wave.py").write_text(own.MODEL)
    (folder / "own_margin.py").write_text(own.TASK)
    (folder / "own_rebuild.py").write_text(own.REBUILD)
    sys.path.insert(0, str(folder))
    kinds = lk.models.models, lk.tasks.tasks
    before = [dict(registry.entries) for registry in kinds]
    lk.models.register("wave", importlib.import_module("own_wave").WaveConfig)
    lk.tasks.register("margin", "own_margin:Margin")
    lk.tasks.register("rebuild", "own_rebuild:Rebuild")
    yield folder
    for registry, entries in zip(kinds, before, strict=True):
        registry.entries = entries
    sys.path.remove(str(folder))


@pytest.fixture(scope="module")
def rows() -> lk.Rows:
    """Points inside and outside a ring."""
    points = np.random.default_rng(0).normal(size=(400, 2))
    inside = (points**2).sum(1) < 1.4
    table = [
        {"x": x, "y": y, "label": "in" if ring else "out"}
        for (x, y), ring in zip(points, inside, strict=True)
    ]
    return lk.load(table, label="label", features=True)


@pytest.fixture(scope="module")
def run(house: Path, rows: lk.Rows, tmp_path_factory: pytest.TempPathFactory) -> Any:
    model = lk.models["wave"](preset="wide")
    settings = {"task": "margin", "margin": 0.5, "epochs": 30, "batch_size": 32, "learning_rate": 0.02}
    return lk.fit(rows, model, folder=tmp_path_factory.mktemp("lab"), **settings)


def test_they_train_evaluate_and_predict(run: Any, tmp_path: Path) -> None:
    assert run.status == "finished" and run.experiment.task.margin == 0.5
    report = run.evaluate()
    assert report.scores["accuracy"] > 0.85 and "majority class" in report.baselines
    assert [one.label for one in run.predict(np.array([[0.0, 0.0], [1.3, -1.1]]))] == ["in", "out"]
    told = {record.name for record in run.store.records(run.id, split="validation")}
    assert told == {"loss", "accuracy"}
    again = lk.Predictor(run.export(tmp_path / "exported"))
    points = np.random.default_rng(1).normal(size=(20, 2))
    np.testing.assert_array_equal(again.probabilities(points), run.predictor.probabilities(points))


def test_a_task_without_labels_is_scored_by_its_metric_state(house: Path, tmp_path: Path) -> None:
    points = np.random.default_rng(0).normal(size=(200, 3))
    rows = lk.load(
        [dict(zip("xyz", point, strict=True)) for point in points.tolist()], features=True, label=False
    )
    run = lk.fit(rows, lk.models["wave"](), task="rebuild", epochs=20, batch_size=20, folder=tmp_path)
    assert run.evaluate()["loss"] < 0.3
    with pytest.raises(lk.LabkitError, match=r"'rebuild', which has no predict.*run\.evaluate\(\)"):
        lk.Predictor(run.export(tmp_path / "exported"))


def test_its_settings_and_code_name_them(run: Any) -> None:
    assert 'name = "margin"' in run.toml() and 'name = "wave"' in run.toml()
    assert "lk.models['wave']" in run.code() or 'lk.models["wave"]' in run.code()


def test_a_stopped_run_goes_on_bit_for_bit(house: Path, rows: lk.Rows, run: Any, tmp_path: Path) -> None:
    """The metric state of a user's own is part of a checkpoint."""
    model = lk.models["wave"](preset="wide")
    settings = {"task": "margin", "margin": 0.5, "epochs": 30, "batch_size": 32, "learning_rate": 0.02}
    other = lk.fit(rows, model, folder=tmp_path, background=True, **settings)
    while not other.store.records(other.id, split="validation"):
        pass
    other.stop()
    other.wait(60)
    other.resume().wait(120)
    ours, theirs = (
        {(r.step, r.split, r.name): r.value for r in one.store.records(one.id)} for one in (run, other)
    )
    measured = [key for key in ours if key[1] in ("train", "validation")]
    assert len(measured) > 900 and all(ours[key] == theirs[key] for key in measured)


def test_the_command_line_predicts(run: Any, tmp_path: Path) -> None:
    from labkit.cli.main import app

    table = tmp_path / "points.csv"
    table.write_text("x,y\n0,0\n1.3,-1.1\n")
    folder = run.export(tmp_path / "exported")
    out = tmp_path / "out.csv"
    found = CliRunner().invoke(app, ["predict", str(folder), "--file", str(table), "--out", str(out)])
    assert found.exit_code == 0, found.output
    assert [line.split(",")[2] for line in out.read_text().splitlines()[1:]] == ["in", "out"]


def test_the_panel_offers_them(house: Path, rows: lk.Rows) -> None:
    from labkit.app.steps.model import Model

    panel = Model(rows, language="zh")
    panel.task.value = "margin"
    panel.which.value = "wave"
    panel.settle(120)
    assert panel.problem is None, panel.problem
    assert ("margin", "margin") in panel.task.options and ("wave", "wave") in panel.which.options
    assert "width" in panel.forms["sizes"].controls and "margin" in panel.forms["task"].controls
    assert [value for _, value in panel.preset.options] == ["little", "wide", ""]
    panel.close()


def test_a_name_stands_for_one_class(house: Path) -> None:
    with pytest.raises(
        lk.LabkitError, match=r"'bert' is already registered as labkit\.models\.bert\.model:BertConfig"
    ):
        lk.models.register("bert", lk.models["wave"])

    class Inner(lk.tasks["margin"]):
        pass

    with pytest.raises(lk.LabkitError, match="defined in a function"):
        lk.tasks.register("inner", Inner)
