"""The front door: what three lines of Python can do, and that it can be done again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import labkit as lk
from labkit.api import train
from labkit.core.config import dumps, loads
from labkit.core.errors import ConfigError, WeightsError
from labkit.train.experiment import Experiment
from labkit.train.experiment import settings as flat
from tests.shown import shown_html

REVIEWS = Path(__file__).parent / "reviews.csv"
STEPS = ("html", "whitespace", "lowercase")


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    return tmp_path_factory.mktemp("lab")


@pytest.fixture(scope="module")
def run(tiny, settings, lab):
    """A run on rows that were loaded from a file, cleaned, deduplicated and split."""
    rows = (
        lk.load(str(REVIEWS)).clean(lk.TextCleaner(STEPS)).dedupe().split(validation=0.15, test=0.15, seed=3)
    )
    return lk.fit(rows, tiny, folder=lab, background=False, name="first", **{**settings, "epochs": 1})


def test_the_code_of_a_run_makes_an_equal_run(run, lab, monkeypatch):
    made = {}
    monkeypatch.setenv("LABKIT_FOREGROUND", "1")
    monkeypatch.setenv("LABKIT_FOLDER", str(lab / "again"))
    exec(run.code(), made)
    assert made["run"].experiment == run.experiment
    ours, theirs = run.history, made["run"].history
    np.testing.assert_array_equal(ours["loss"].to_numpy(), theirs["loss"].to_numpy())


def test_the_toml_of_a_run_makes_an_equal_run(run, tmp_path):
    (tmp_path / "experiment.toml").write_text(run.toml())
    again = train(tmp_path / "experiment.toml", folder=tmp_path / "lab", name="second")
    assert again.name == "second" and again.experiment.replace(name="first") == run.experiment
    np.testing.assert_array_equal(again.history["loss"].to_numpy(), run.history["loss"].to_numpy())


def test_an_experiment_survives_toml(run):
    experiment = run.experiment
    assert loads(Experiment, dumps(experiment)) == experiment


def test_a_new_process_gives_the_same_predictions_bit_for_bit(run, tmp_path):
    texts = ["A FINE   film", "dull &amp; long", "", "[CLS] \ud800 这部电影"]
    here = run.predictor.probabilities(texts)
    run.export(tmp_path / "out")
    script = (
        "import json, sys, labkit as lk\n"
        "print(lk.Predictor(sys.argv[1]).probabilities(json.loads(sys.argv[2])).tobytes().hex())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "out"), json.dumps(texts)],
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == here.tobytes().hex(), done.stderr
    with pytest.raises(lk.LabkitError, match="not empty"):
        run.export(tmp_path / "out")


def test_new_texts_are_cleaned_as_the_training_texts_were(run):
    one, other = run.predictor.probabilities(["A <b>fine</b>   FILM", "a fine film"])
    np.testing.assert_array_equal(one, other)


def test_predictions_name_a_class_and_sum_to_one(run):
    found = run.predict(["good", "bad"])
    assert [sum(p.probability.values()) for p in found] == pytest.approx([1, 1], abs=1e-6)
    assert all(p.confidence == max(p.probability.values()) == p.probability[p.label] for p in found)
    assert run.predict([]) == []
    assert run.predict("good") == run.predict(["good"])[0]


def test_the_report_has_the_baselines_beside_it(run):
    report = run.evaluate("test")
    known = {"majority class", "TF-IDF + logistic regression", "TF-IDF + SVD + gradient boosting"}
    assert set(report.baselines) == {*known, "nearest neighbours"}
    assert "TF-IDF" in str(report) and "TF-IDF" in shown_html(report)
    assert run.info.summary["test_f1"] == report.scores["f1"]
    with pytest.raises(lk.LabkitError, match="the run has no split 'tst'"):
        run.evaluate("tst")


def test_runs_are_listed_found_and_compared(run, lab, tiny, settings):
    rows = lk.load(str(REVIEWS))
    other = lk.fit(
        rows, tiny, folder=lab, background=False, name="other", **{**settings, "epochs": 1, "seed": 5}
    )
    listed = lk.runs(lab)
    assert [r.id for r in listed] == [other.id, run.id] and lk.open_run("first", lab).id == run.id
    table = listed.to_pandas()
    assert list(table["train.seed"]) == [5, 0] and "train.epochs" not in table.columns
    assert "other" in repr(listed) and "other" in shown_html(listed)
    with pytest.raises(lk.LabkitError, match=r"no run 'frst'.*'first'"):
        lk.open_run("frst", lab)


def test_figures_show_every_evaluation_of_one_run_and_of_several(run, lab):
    one, both = run.figure(), lk.runs(lab).figure()
    scored = [r.value for r in run.store.records(run.id) if (r.split, r.name) == ("validation", "f1")]
    drawn = [line for line in one.data if line.line.dash == "dash" and line.yaxis == "y2"]
    assert [list(line.y) for line in drawn] == [[pytest.approx(value, rel=1e-3) for value in scored]]
    assert len(both.data) == 2 * len(one.data)


def test_rows_without_splits_are_split_and_the_split_is_in_the_recipe(run, lab):
    other = lk.open_run("other", lab)
    assert set(other.rows.splits) == {"train", "validation", "test"}
    assert [step["do"] for step in other.experiment.data.steps] == ["split"]


def test_leaks_block_unless_accepted(tiny, settings, tmp_path):
    rows = lk.load(str(REVIEWS)).split(validation=0.2, test=0.2, seed=0)
    from datasets import concatenate_datasets

    leaky = rows.with_splits({**rows.splits, "train": concatenate_datasets([rows["train"], rows["test"]])})
    with pytest.raises(lk.LabkitError, match="accept_leakage"):
        lk.fit(leaky, tiny, folder=tmp_path, **settings)
    assert not list(lk.runs(tmp_path))


def test_misspelt_settings_get_the_nearest_name():
    with pytest.raises(lk.LabkitError, match=r"no setting 'lerning_rate'. Did you mean 'learning_rate'"):
        flat(lerning_rate=1e-3)
    with pytest.raises(lk.LabkitError, match="unknown architecture 'brt'"):
        lk.models["brt"]
    with pytest.raises(lk.LabkitError, match="epochs = 0 is below"):
        flat(epochs=0)


def test_one_class_is_refused_before_a_model_is_made(tiny, settings, tmp_path):
    rows = lk.load([{"text": f"text {i}", "label": "only"} for i in range(50)])
    with pytest.raises(lk.LabkitError, match="two classes"):
        lk.fit(rows, tiny, folder=tmp_path, **settings)


def test_rows_without_text_are_refused_before_a_model_is_made(tiny, tmp_path):
    with pytest.raises(
        lk.LabkitError,
        match=r"data is pictures; BertConfig expects texts\. Architectures for pictures: mlp, cnn, vgg",
    ):
        lk.fit(lk.load("digits"), tiny, folder=tmp_path)


def test_a_text_longer_than_the_model_is_said_before_training(tiny, settings, tmp_path):
    with pytest.raises(lk.LabkitError, match="max_length = 128 is longer than the model's 64"):
        lk.fit(
            lk.load(str(REVIEWS)), tiny, folder=tmp_path, background=False, **{**settings, "max_length": 128}
        )


def test_rows_of_python_objects_say_that_they_are_kept_with_the_run(tiny, settings, tmp_path):
    table = [{"text": f"word{i % 7} and {i}", "label": i % 2} for i in range(80)]
    run = lk.fit(table, tiny, folder=tmp_path, background=False, **{**settings, "epochs": 1})
    assert "made in Python" in run.code() and run.experiment.data.source == ""
    (tmp_path / "e.toml").write_text(run.toml())
    with pytest.raises(lk.LabkitError, match="cannot be loaded again"):
        train(tmp_path / "e.toml", folder=tmp_path)


INTERRUPTED = """
import os, signal, sys, threading, time
import labkit as lk
from labkit.runs.store import Store
def interrupt():
    store = Store(sys.argv[2])
    while not (store.runs() and store.runs()[0].step > 2):
        time.sleep(0.01)
    os.kill(os.getpid(), getattr(signal, sys.argv[5]))
threading.Thread(target=interrupt, daemon=True).start()
model = lk.models["bert"](**eval(sys.argv[3]))
run = lk.fit(lk.load(sys.argv[1]), model, folder=sys.argv[2], background=False, **eval(sys.argv[4]))
print(run.status, run.predict(["fine"])[0].label)
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_an_interrupt_ends_the_run_and_fit_returns_with_the_model(tiny, settings, tmp_path, name):
    options = {**settings, "epochs": 500}
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, str(REVIEWS), str(tmp_path), repr(tiny.to_dict()), repr(options), name],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[0] == "stopped"


def test_a_run_keeps_its_opened_model_until_there_is_a_newer_one(finished, monkeypatch):
    from labkit.core import manifest
    from labkit.inference.embedding import EmbeddingPipeline

    run, opened = lk.open_run(finished.id, finished.store.folder), []

    class Counted(EmbeddingPipeline):
        def __init__(self, folder):
            opened.append(folder)
            super().__init__(folder)

    monkeypatch.setattr("labkit.inference.embedding.EmbeddingPipeline", Counted)
    first = run.embed(["a fine film"])
    np.testing.assert_array_equal(run.embed(["a fine film"]), first)
    assert opened == [run.info.folder / "model"] and run.predictor is run.predictor
    mark = run.info.folder / "model" / manifest.NAME
    before = mark.stat()
    try:
        os.utime(mark, ns=(before.st_atime_ns, before.st_mtime_ns + 10**9))  # as a newer model
        run.embed(["a fine film"])
        assert len(opened) == 2
    finally:
        os.utime(mark, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(ConfigError, match=r"answer has no setting 'treshold'\. Did you mean 'threshold'\?"):
        run.answer(["a"], ["b"], treshold=1.0)
    with pytest.raises(WeightsError, match="the task 'classify'; QuestionAnsweringPipeline opens"):
        run.answer(["a"], ["b"])
