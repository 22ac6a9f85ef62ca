"""Transfer: the vectors of a frozen backbone are computed once, and kept; the head learns as it would without that."""

from __future__ import annotations

import json

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from PIL import Image

import labkit as lk
from labkit.data.batching.arrays import Arrays, VectorArrays
from labkit.models.vision.vgg import VggConfig
from labkit.models.weights import save_own
from labkit.tasks.classify import Classify
from labkit.train import vectors
from labkit.train.experiment import experiment_of
from labkit.train.step import flatten

SIZES = {"stages": (1, 1), "base_width": 4, "head_width": 0, "pixels": "unit"}
SETTINGS = {"epochs": 4, "batch_size": 8, "trainable": "head", "learning_rate": 0.1, "head_dropout": 0.0}


@pytest.fixture(scope="module")
def trunk(tmp_path_factory):
    """A folder of convolutions, as of a pretrained model."""
    folder = tmp_path_factory.mktemp("trunk")
    model = VggConfig(**SIZES, input_shape=(8, 8, 3)).build(nnx.Rngs(3))
    params = flatten(nnx.to_pure_dict(nnx.state(model)))
    save_own({name: np.asarray(value) for name, value in params.items()}, folder, {})
    about = {"model_type": "vgg", "stages": [1, 1], "base_width": 4, "head_width": 0}
    (folder / "config.json").write_text(json.dumps(about))
    return folder


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    folder, random = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for number in range(40):
        kind = number % 2
        pixels = random.integers(0, 120, (8, 8, 3)).astype(np.uint8)
        pixels[:, 4 * kind : 4 * kind + 4, kind] += 130
        (folder / "ab"[kind]).mkdir(exist_ok=True)
        Image.fromarray(pixels).save(folder / "ab"[kind] / f"{number}.png")
    return lk.load(str(folder)).split()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_the_head_learns_from_vectors_what_it_learns_through_the_backbone(
    trunk, rows, cache, tmp_path, monkeypatch
):
    model = VggConfig(weights=str(trunk), stages=(1, 1), base_width=4, head_width=0)
    fit = lambda place: lk.fit(rows, model, folder=tmp_path / place, background=False, **SETTINGS)  # noqa: E731
    run = fit("vectors")
    assert run.status == "finished" and run.info.summary["shapes"] == [[8, 8]], (
        "eight vectors of eight numbers"
    )
    kept = sorted((cache / "vectors").glob("*.npy"))
    assert len(kept) == 2, "of train and of validation"
    monkeypatch.setattr(vectors, "computed", lambda *given: pytest.fail("the vectors are in the cache"))
    again = fit("again")
    assert again.info.summary["validation_loss"] == run.info.summary["validation_loss"]
    monkeypatch.setattr("labkit.train.context.reusable", lambda *given: False)
    whole = fit("whole")
    assert whole.info.summary["shapes"] == [[8, 8, 8, 3]]
    assert run.info.summary["validation_loss"] == pytest.approx(
        whole.info.summary["validation_loss"], rel=1e-4
    )
    pictures = [np.asarray(each, np.uint8) for each in rows["test"]["image"]]
    for mine, other in zip(run.predict(pictures), whole.predict(pictures), strict=True):
        assert mine.probability["a"] == pytest.approx(other.probability["a"], abs=1e-4), (
            "pictures go through it all"
        )


def test_vectors_are_those_of_the_backbone_and_a_damaged_file_is_replaced(trunk, cache):
    random = np.random.default_rng(0)
    pictures = random.integers(0, 256, (5, 8, 8, 3)).astype(np.uint8)
    arrays = Arrays.unlabelled(pictures)
    model = VggConfig(weights=str(trunk), stages=(1, 1), base_width=4, head_width=0, input_shape=(8, 8, 3))
    backbone = model.build(nnx.Rngs(0))
    model.load(backbone)
    want = np.asarray(backbone(jnp.asarray(pictures)).pooled)
    found = vectors.vectors_of(arrays, model)
    assert isinstance(found, VectorArrays) and found.inputs == pytest.approx(want, abs=1e-5)
    (file,) = (cache / "vectors").glob("*.npy")
    file.write_bytes(b"damaged")
    assert np.array_equal(vectors.vectors_of(arrays, model).inputs, found.inputs)
    assert not vectors.vectors_of(arrays, model, compute=False).inputs.any()


def test_what_chance_or_training_changes_is_not_cached(trunk):
    model = VggConfig(weights=str(trunk), stages=(1, 1), base_width=4, head_width=0, input_shape=(8, 8, 3))
    arrays = {"train": Arrays.unlabelled(np.zeros((2, 8, 8, 3), np.uint8))}

    def decided(model=model, task=None, **train):
        _rows, experiment = experiment_of(
            [{"text": f"word {n}", "label": str(n % 2)} for n in range(40)], "textcnn", False, {}
        )
        experiment = experiment.replace(
            train=experiment.train.replace(optimizer=lk.Optimizer(**{"trainable": "head", **train}))
        )
        return vectors.reusable(experiment, (task or Classify()).restore(("a", "b")), model, arrays)

    assert decided()
    assert not decided(trainable="full") and not decided(task=Classify(augment="flip"))
    assert not decided(task=Classify(mixup=0.2))
    assert not decided(model=VggConfig(**SIZES, input_shape=(8, 8, 3))), "random weights"
    heads = VggConfig(weights=str(trunk), stages=(1, 1), base_width=4, head_width=8, input_shape=(8, 8, 3))
    assert not decided(model=heads), "dropout in dense layers"
