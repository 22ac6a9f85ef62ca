"""Runs on pictures and on features: from rows to a model that answers, and back from disk."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from datasets import Dataset

import labkit as lk
from labkit.data.batching.arrays import Arrays, Standard
from labkit.data.rows import Rows
from labkit.data.schema import Spec, describe
from labkit.train import processors
from labkit.train.experiment import Experiment, settings
from labkit.train.processors import FeatureProcessor, ImageProcessor, load_processor


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """A perceptron on the sample of handwritten digits."""
    folder = tmp_path_factory.mktemp("digits")
    model = lk.models["mlp"](widths=(64,))
    return lk.fit("digits", model, folder=folder, background=False, epochs=8, learning_rate=5e-3)


@pytest.mark.samples
def test_a_perceptron_learns_the_digits(digits):
    report, info = digits.evaluate(), digits.info
    assert info.status == "finished" and info.summary["updates_per_call"] == 32 and info.compilations == 1
    assert report.scores["accuracy"] > 0.9
    assert set(report.baselines) == {"majority class", "logistic regression"}
    assert report.baselines["logistic regression"].scores["accuracy"] > 0.9


@pytest.mark.samples
def test_new_pictures_are_answered_and_an_export_answers_alike(digits, tmp_path):
    pictures = np.asarray(digits.rows["test"]["image"], np.uint8)[:40]
    folder = digits.export(tmp_path / "out")
    np.testing.assert_array_equal(
        digits.predictor.probabilities(pictures), lk.Predictor(folder).probabilities(pictures)
    )
    assert digits.predict(pictures[:1])[0].label in digits.predictor.classes
    with pytest.raises(lk.LabkitError, match=r"the model reads \(8, 8, 1\)"):
        digits.predict(pictures[:, :4])
    with pytest.raises(lk.LabkitError, match="the model expects image files"):
        digits.predict(["a text"])


@pytest.mark.samples
def test_a_damaged_or_foreign_file_is_told_and_read_no_further(digits, tmp_path):
    from safetensors.numpy import load_file, save_file

    folder = digits.export(tmp_path / "out")
    tensors = load_file(folder / "model.safetensors")
    tensors["backbone/more"] = tensors.pop("head/bias")
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(lk.LabkitError, match=r"model\.safetensors"):  # it is not the file that was sealed
        lk.Predictor(folder)
    (folder / "labkit-manifest.json").unlink()
    with pytest.raises(lk.LabkitError, match="head/bias") as caught:
        lk.Predictor(folder)
    assert "backbone/more" in str(caught.value)


def features(count: int) -> Rows:
    random = np.random.default_rng(count)
    label = random.integers(0, 2, count)
    table = {
        "height": (label + 0.1 * random.standard_normal(count)) * 1000,
        "weight": random.standard_normal(count),
        "label": label,
        "row": np.arange(count),
    }
    spec = Spec(modality="features", label="label", classes=("low", "high"))
    splits = {"train": Dataset.from_dict(table), "validation": Dataset.from_dict(table)}
    return Rows(splits, describe(spec, splits))


def test_features_are_standardised_by_the_training_rows_alone(tmp_path):
    rows, other = features(64), features(8)
    made = FeatureProcessor()
    train, later = made.encode(rows["train"]), made.encode(other["train"])
    np.testing.assert_allclose(train.inputs.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(train.inputs.std(0), 1, rtol=1e-5)
    expected = (made.raw(other["train"]).inputs - made.standard.mean) / made.standard.scale
    np.testing.assert_allclose(later.inputs, expected, rtol=1e-5, atol=1e-6)
    made.save(tmp_path)
    task, train = settings()
    again = load_processor(
        Experiment(model=lk.models["mlp"](), task=task, train=train), tmp_path, "features", (2,)
    )
    assert isinstance(again.standard, Standard) and again.standard == made.standard
    batch = again.to_predict(made.raw(other["train"]).inputs).at(0)
    np.testing.assert_allclose(batch["inputs"][:8], later.inputs, rtol=1e-5)


def test_what_a_model_cannot_read_is_said_with_what_can():
    with pytest.raises(
        lk.LabkitError, match=r"the data is pictures; BertConfig expects texts\..*mlp, cnn, vgg"
    ):
        lk.fit("digits", "bert")


def test_batches_that_cannot_be_divided_are_refused():
    _, train = settings(batch_size=10)
    with pytest.raises(lk.LabkitError, match="12 is"):
        examples, model = Arrays.unlabelled(np.zeros((9, 2, 2, 1))), lk.models["cnn"]()
        ImageProcessor().batches(examples, train, model, parts=4, shuffle=True)


def test_a_table_is_answered_alike_from_the_run_the_folder_and_any_form_of_its_rows(tmp_path):
    random = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "row": random.normal(size=80),
            "when": pd.date_range("2020-01-01", periods=80, freq="h"),
            "size=cm": pd.Categorical(random.choice([3, 7, 9], 80)),
            "member": random.random(80) < 0.5,
            "y": random.normal(size=80),
        }
    )
    frame.loc[3, ["row", "when"]] = None
    run = lk.fit(
        lk.load(frame, features=True, number="y"), "mlp", background=False, epochs=1, folder=tmp_path
    )
    asked, told = frame[:6].drop(columns="y"), [float(answer) for answer in run.predict(frame[:6])]
    assert len(set(told)) == 6
    frame[:6].to_csv(tmp_path / "new.csv", index=False)
    again = lk.Predictor(run.export(tmp_path / "model"))
    cells = pd.read_csv(tmp_path / "new.csv", dtype=str, keep_default_na=False).to_dict("records")
    for rows in (
        asked,
        asked.to_dict("records"),
        cells,
        pd.read_csv(tmp_path / "new.csv"),
        asked.iloc[:, ::-1],
    ):
        assert [float(answer) for answer in again.predict(rows)] == told
    batch = lk.load(frame, features=True, number="y")["train"].select(range(6))
    np.testing.assert_allclose(again.predict_encoded(batch)[:, 0], told, rtol=1e-6)
    assert again.explain(cells[0]).values.shape == (6,)
    with pytest.raises(
        lk.LabkitError, match="have no column 'row'; the model needs row, when, size=cm, member"
    ):
        again.predict(asked.drop(columns="row"))
    with pytest.raises(lk.LabkitError, match="feature 'when' is infinite in row 1"):
        again.predict(np.where([[False], [True]], [[0, np.inf, 0, 0, 0, 0]], 0))


def test_running_text_that_is_cut_is_counted(monkeypatch):
    monkeypatch.setattr(processors, "WHOLE", 40)
    tokenizer = lk.Tokenizer.train(["a b c d"] * 9, vocab_size=60)
    rows = lk.load([{"text": "a b " * 60}] + [{"text": f"a b {i}"} for i in range(60)], label=False)
    made = processors.TextProcessor(tokenizer, 8, "stream").encode(rows["train"])
    assert made.truncated == sum(text.count("a") > 20 for text in rows["train"]["text"])
