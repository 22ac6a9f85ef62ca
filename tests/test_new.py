"""``labkit new``: an experiment file with comments that reads back as the same experiment."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

import labkit as lk
from labkit.cli.main import app
from labkit.core.config import commented, loads
from labkit.planning import experiment_of
from labkit.train.experiment import Experiment, own_experiment

REVIEWS = Path(__file__).parent / "reviews.csv"


def new(*words: object, code: int = 0) -> str:
    done = CliRunner().invoke(app, ["new", *map(str, words)])
    assert done.exit_code == code, done.output
    return done.output


def test_the_file_is_explained_and_reads_back(tmp_path: Path) -> None:
    out = tmp_path / "experiment.toml"
    assert "labkit train" in new(REVIEWS, "--out", out, "--model", "textcnn", "--preset", "tiny")
    text = out.read_text("utf-8")
    experiment = own_experiment(text)
    assert experiment.model == lk.models["textcnn"](preset="tiny")
    assert (
        "about 300 optimizer steps. At least 1.\nepochs = 43\n" in text
    )  # 208 rows to train on: 7 steps an epoch
    assert loads(Experiment, commented(experiment)) == experiment
    assert "already exists" in new(REVIEWS, "--out", out, code=2)
    assert "cannot write" in new(REVIEWS, "--out", tmp_path / "none" / "experiment.toml", code=2)
    new(REVIEWS, "--out", out, "--model", "textcnn", "--force")
    assert own_experiment(out.read_text("utf-8")).model == lk.models["textcnn"]()


def test_the_architecture_follows_from_the_data(tmp_path: Path) -> None:
    table = tmp_path / "houses.csv"
    table.write_text(
        "rooms,area,price\n" + "".join(f"{n % 5},{n * 7 % 90},{n * 100}\n" for n in range(1, 40))
    )
    new(table, "--out", tmp_path / "x.toml", "--features", "--number", "price")
    experiment = own_experiment((tmp_path / "x.toml").read_text("utf-8"))
    assert lk.models.models.name_of(experiment.model) == "mlp" and experiment.data.options == {
        "features": True, "number": ["price"]}  # fmt: skip


def test_tables_inside_tables_read_back() -> None:
    values = experiment_of(lk.load(REVIEWS), "textcnn", False, {"freeze": ("backbone/*", "head/bias")})[
        1
    ].to_dict()
    values["data"] |= {
        "options": {"separator": ";"},
        "steps": [{"do": "split", "group": "x" * 150}, {"do": "dedupe"}],
    }
    experiment = Experiment.from_dict(values)
    text = commented(experiment)
    assert "[[data.steps]]" in text and "[data.options]" in text and own_experiment(text) == experiment


@pytest.mark.parametrize(
    ("changes", "read"),
    [
        ({"train.epochs": 7}, lambda found: found.train.epochs == 7),
        ({"epochs": 7, "learning_rate": 0.5}, lambda found: found.train.optimizer.learning_rate == 0.5),
        ({"optimizer": "lion"}, lambda found: found.train.optimizer.algorithm == "lion"),
        ({"embedding": 12, "name": "n"}, lambda found: (found.model.embedding, found.name) == (12, "n")),
        ({"class_weights": "balanced"}, lambda found: found.task.class_weights == "balanced"),
    ],
    ids=["a path", "names", "the optimizer", "of the model", "of the task"],
)
def test_settings_are_changed_by_path_or_name(changes: dict, read) -> None:
    experiment = experiment_of(lk.load(REVIEWS), "textcnn", False, {})[1]
    assert read(own_experiment(commented(experiment), changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train.epoch": 1}, "Did you mean 'epochs'"),
        ({"nothing": 1}, "no setting 'nothing'"),
        ({"train.epochs.x": 1}, "train.epochs = .* must be int"),
        ({"train.seed.x": 1}, "'seed' is a value"),
        ({"epochs": "many"}, "must be int"),
    ],
)
def test_wrong_changes_are_named(changes: dict, message: str) -> None:
    text = commented(experiment_of(lk.load(REVIEWS), "textcnn", False, {})[1])
    with pytest.raises(lk.LabkitError, match=message):
        own_experiment(text, changes)
