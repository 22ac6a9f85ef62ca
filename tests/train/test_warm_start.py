"""Warm start: training begins from the weights of a trained model, and stays reproducible."""

from __future__ import annotations

import shutil

import numpy as np
import pandas as pd
import pytest

import labkit as lk
from labkit.api import Run
from labkit.core.errors import ConfigError, RunError, WeightsError
from labkit.runs.store import Store
from labkit.train.context import prepare, save_model
from labkit.train.experiment import own_experiment

#: A learning rate at which nothing is learnt: the answers stay those of the first weights.
STILL = 1e-30


def table(seed: int, n: int = 120, centre: float = 0.0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    a = random.normal(centre, 1 + seed, n).round(6)
    return pd.DataFrame({"a": a, "b": random.normal(size=n).round(6), "y": 1e4 + 300 * a})


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    rows = lk.load(table(0), features=["a", "b"], number="y")
    settings = {"epochs": 3, "learning_rate": 3e-2, "background": False, "accept_leakage": True}
    return lk.fit(rows, "mlp", folder=tmp_path_factory.mktemp("tables"), name="first", **settings)


@pytest.mark.parametrize("trainable", ["full", "lora"])
def test_texts_are_read_and_answered_as_before(finished, reviews, tiny, settings, tmp_path, trainable):
    """The rows differ, so that a vocabulary of their own would be another one."""
    rows = reviews.with_splits({**reviews.splits, "train": reviews["train"].select(range(40))})
    changes = {
        "train.warm_start": str(finished.info.folder / "model"),
        "train.optimizer.trainable": trainable,
    }
    experiment = own_experiment(finished.toml(), changes)
    run = Run.create(Store(tmp_path / "lab"), experiment, rows)
    assert "warm_start = " in run.toml() and own_experiment(run.toml()) == run.experiment
    setup = prepare(run.experiment, run.info.folder, print)
    save_model(setup, setup.weights(), tmp_path / "model")
    opened, texts = lk.Predictor(tmp_path / "model"), list(reviews["test"]["text"])
    np.testing.assert_allclose(
        opened.probabilities(texts), finished.predictor.probabilities(texts), atol=1e-6
    )
    assert opened.tokenizer.fingerprint == finished.predictor.tokenizer.fingerprint


def test_numbers_keep_their_units_and_scales(tables, tmp_path):
    """The new rows have another mean and deviation, of the features and of the number."""
    rows = lk.load(table(3, centre=5.0), features=["a", "b"], number="y")
    run = lk.fit(rows, "mlp", folder=tmp_path, warm_start=tables.info.folder / "model", epochs=1,
                 learning_rate=STILL, background=False)  # fmt: skip
    new = table(9)[["a", "b"]].to_dict("records")
    before, after = ([float(each) for each in each.predict(new)] for each in (tables, run))
    np.testing.assert_allclose(after, before, rtol=1e-5)


def test_a_run_needs_its_first_model_no_more(tables, tmp_path):
    """Made, paused and resumed after that model is gone, it ends as a run that nothing has interrupted."""
    first = tmp_path / "first"
    shutil.copytree(tables.info.folder / "model", first)
    rows = lk.load(table(1), features=["a", "b"], number="y").split(validation=0.2, test=0.2, seed=0)
    experiment = own_experiment(
        tables.toml(), {"train.warm_start": str(first), "train.epochs": 4, "train.evaluate_every": 2}
    )
    runs = [
        Run.create(Store(tmp_path / "lab"), experiment.replace(name=name), rows) for name in ("whole", "cut")
    ]
    shutil.rmtree(first)
    assert runs[0].info.summary["created_with"] == runs[1].info.summary["created_with"]
    whole, cut = runs
    whole.start().wait()
    cut.start().stop()
    cut.wait()
    cut.resume().wait()
    assert whole.status == cut.status == "finished"
    new = table(9)[["a", "b"]].to_dict("records")
    assert [float(each) for each in whole.predict(new)] == [float(each) for each in cut.predict(new)]


def test_equal_paths_with_other_weights_are_other_experiments(tables, tmp_path):
    place = tmp_path / "model"
    shutil.copytree(tables.info.folder / "model", place)
    rows = lk.load(table(1), features=["a", "b"], number="y").split(validation=0.2, test=0.2, seed=0)
    experiment = own_experiment(tables.toml(), {"train.warm_start": str(place)})
    made = Run.create(Store(tmp_path / "lab"), experiment, rows)
    shutil.rmtree(place)
    other = lk.fit(rows, "mlp", folder=tmp_path / "lab", epochs=1, background=False)
    shutil.copytree(other.info.folder / "model", place)
    again = Run.create(Store(tmp_path / "lab"), experiment, rows)
    assert made.info.summary["created_with"]["settings"] != again.info.summary["created_with"]["settings"]
    with pytest.raises(WeightsError, match="has changed"):
        Run.create(Store(tmp_path / "lab"), made.experiment, rows)
    weights = made.info.folder / "start" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\1\0")
    with pytest.raises(RunError, match="is damaged"):
        made.start().wait()


def test_what_does_not_fit_is_refused_or_named(tables, finished, reviews, tiny, tmp_path):
    given = {"folder": tmp_path, "background": False, "epochs": 1}
    rows = lk.load(table(1), features=["a", "b"], number="y")
    with pytest.raises(WeightsError, match="no model folder"):
        lk.fit(rows, "mlp", warm_start=tmp_path, **given)
    with pytest.raises(WeightsError, match="quantised or pruned"):
        lk.fit(rows, "mlp", warm_start=lk.quantize(tables).save(tmp_path / "int8"), **given)
    with pytest.raises(lk.LabkitError, match=r"reads the columns a, b; the rows have b, a"):
        lk.fit(lk.load(table(1), features=["b", "a"], number="y"), "mlp", warm_start=tables, **given)
    with pytest.raises(lk.LabkitError, match=r"reads features; the rows are text"):
        lk.fit(reviews, tiny, warm_start=tables, **given)
    with pytest.raises(lk.LabkitError, match="does not fit"):
        lk.fit(rows, lk.models["mlp"](preset="linear"), warm_start=tables, **given)
    with pytest.raises(ConfigError, match="epsilon does not cover the rows"):
        lk.fit(reviews, tiny, warm_start=finished, privacy=lk.Privacy(8.0, 1e-3), **given)


def test_new_classes_get_a_new_head(finished, reviews, tmp_path):
    rows = reviews.relabel({name: f"{name}!" for name in reviews.schema.classes})
    experiment = own_experiment(finished.toml(), {"train.warm_start": str(finished.info.folder / "model")})
    run = Run.create(Store(tmp_path), experiment, rows)
    setup = prepare(run.experiment, run.info.folder, print)
    assert any("the head is randomly initialised" in str(each) for each in setup.summary["warnings"])
    first = prepare(finished.experiment, finished.info.folder, print).weights()
    found = setup.weights()
    np.testing.assert_array_equal(found["head/kernel"], first["head/kernel"])  # new, by the same seed
    assert not np.allclose(found["backbone/layers/query/kernel"], first["backbone/layers/query/kernel"])
