"""``labkit study``: experiment files, drawn settings, and a study that is listed, shown and continued."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

import labkit as lk
from labkit.cli.main import app

REVIEWS = Path(__file__).parent.parent / "reviews.csv"
EXPERIMENT = """
[data]
source = {source!r}
[model]
name = "textcnn"
preset = "tiny"
[task]
name = "classify"
max_length = 16
vocabulary = 200
[train]
epochs = {epochs}
batch_size = 32
buckets = 1
"""


def call(*words):
    found = CliRunner().invoke(app, ["study", *map(str, words)])
    return found.exit_code, found.output


@pytest.fixture
def file(tmp_path):
    place = tmp_path / "cnn.toml"
    place.write_text(EXPERIMENT.format(source=str(REVIEWS), epochs=2))
    return place


def test_settings_are_drawn_trained_listed_shown_and_continued(file, tmp_path):
    lab = tmp_path / "lab"
    words = ["--vary", "learning_rate=1e-3..1e-2:log", "--samples", 2, "--finish", 1, "--name", "rates", "--price",
             "hour=2", "--budget", 1e-4, "--folder", lab]  # fmt: skip
    code, said = call(file, *words)
    assert code == 0 and "the budget of 0.0001 minutes is used up" in said, said
    (study,) = lk.studies(lab)
    assert study.status == "stopped" and [each.name for each in study.record.candidates][:2] == [
        "cnn 01",
        "cnn 02",
    ]
    code, said = call("--resume", "rates", "--folder", lab)
    assert code == 0 and "Take " in said and "training_price" in said, said
    assert study.status == "finished"
    rates = [study.run(f"cnn {n:02d}").experiment.train.optimizer.learning_rate for n in (1, 2)]
    assert rates == [each["learning_rate"] for each in
                     lk.Space("", {"learning_rate": lk.Range(1e-3, 1e-2, log=True)}, samples=2).draw()]  # fmt: skip
    assert study.id in call("--list", "--folder", lab)[1]
    assert "cnn 01" in call("--show", study.id, "--folder", lab)[1]
    assert "will stop" in call("--stop", "rates", "--folder", lab)[1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "give experiment files, or one of --resume"),
        (["FILE", "--list"], "give experiment files, or one of --resume"),
        (["FILE", "--vary", "learning_rate"], "--vary 'learning_rate': give a name and values"),
        (["FILE", "--vary", "learning_rate=a..b"], "the ends of a range must be numbers"),
        (["FILE", "--vary", "learning_rat=1..2"], "no setting 'learning_rat'"),
        (["--show", "none"], "no study 'none'"),
    ],
)
def test_what_is_no_study_is_refused_by_name(file, tmp_path, words, said):
    code, output = call(*(file if word == "FILE" else word for word in words), "--folder", tmp_path / "lab")
    assert code == 2 and said in output.replace("\n", " "), output


def test_files_of_other_data_are_refused(file, tmp_path):
    other = tmp_path / "other.toml"
    other.write_text(EXPERIMENT.format(source="spam", epochs=2))
    code, output = call(file, other, "--folder", tmp_path / "lab")
    assert code == 2 and "'other' has other data than 'cnn'" in output.replace("\n", " ")
