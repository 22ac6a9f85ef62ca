"""What moves, when, and what is kept: averages, layers set free in turn, statistics of layers, additions."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import labkit as lk
from labkit.core.config import loads
from labkit.models import weights
from labkit.models.conv import Pooled
from labkit.tasks.classify import Classifier, Classify
from labkit.train.context import prepare
from labkit.train.experiment import Experiment
from labkit.train.optimizer import Optimizer
from labkit.train.step import TrainStep, flatten

SIZES = {"width": 16, "depth": 2, "heads": 2, "mlp_width": 32, "max_length": 8, "vocab_size": 30}


def perceptron(optimizer, layers=2, accumulate=1):
    task = Classify().build(("a", "b"), np.array([0, 1]))
    config = lk.models["mlp"](widths=(6,) * layers, input_shape=(4,))
    module = task.init(config, nnx.Rngs(0))

    def layer_of(name):
        return int(name.split("/")[2]) + 1 if name.startswith("backbone") else layers + 1

    steps = TrainStep(task, module, optimizer, layer_of, layers + 1, 10, 5, accumulate=accumulate)
    return steps, steps.state(flatten(nnx.to_pure_dict(nnx.split(module)[1])), seed=1)


def batch(seed=0, count=8):
    random = np.random.default_rng(seed)
    return {
        "inputs": random.normal(size=(count, 4)).astype(np.float32),
        "label": random.integers(0, 2, count).astype(np.int32),
        "weight": np.ones(count, np.float32),
        "index": np.arange(count, dtype=np.int32),
    }


def test_the_average_of_the_parameters_is_what_is_kept():
    steps, state = perceptron(Optimizer(learning_rate=0.1, ema=0.8, schedule="constant", warmup=0.0))
    name = "backbone/layers/0/kernel"
    expected = np.array(state.trainable[name])
    for step in range(6):
        state, _ = steps.train(state, steps.place(batch(step)))
        slow = min(0.8, (1 + step) / (10 + step))
        expected = slow * expected + (1 - slow) * np.asarray(state.trainable[name])
    np.testing.assert_allclose(state.ema[name], expected, rtol=1e-5)
    np.testing.assert_array_equal(state.params[name], state.ema[name])
    assert np.abs(np.asarray(state.trainable[name]) - expected).max() > 1e-3


def test_layers_begin_to_move_one_after_the_other():
    steps, state = perceptron(Optimizer(learning_rate=0.1, unfreeze=0.6, schedule="constant", warmup=0.0))
    first = {name: np.array(value) for name, value in state.trainable.items()}
    moved: dict[str, int] = {}
    for step in range(6):
        state, _ = steps.train(state, steps.place(batch(step)))
        for name, value in state.trainable.items():
            if name not in moved and not np.array_equal(value, first[name]):
                moved[name] = step
    # of ten steps six: the head at once, the upper layer at 2, the lower one at 4
    assert moved == {"head/kernel": 0, "head/bias": 0, "backbone/layers/1/kernel": 2, "backbone/layers/1/bias": 2,
                     "backbone/layers/0/kernel": 4, "backbone/layers/0/bias": 4}  # fmt: skip


class Counting(nnx.Module):
    """A backbone that keeps a running mean of its inputs, as batch normalisation does."""

    def __init__(self):
        self.scale = nnx.Param(jnp.ones(4))
        self.mean = nnx.BatchStat(jnp.zeros(4))

    def __call__(self, inputs, *, key=None, real=None):
        if key is not None:
            self.mean[...] = 0.5 * self.mean[...] + 0.5 * inputs.mean(0)
        return Pooled((inputs - self.mean[...]) * self.scale[...])


@pytest.mark.parametrize("parts", [1, 2])
def test_statistics_of_layers_are_carried_and_not_trained(parts):
    module = Classifier(Counting(), 4, 2, 0.0, rngs=nnx.Rngs(0))
    task = Classify(head_dropout=0.0).build(("a", "b"), np.array([0, 1]))
    steps = TrainStep(
        task, module, Optimizer(learning_rate=0.1, warmup=0.0), lambda name: 1, 2, 10, 5, accumulate=parts
    )
    assert "backbone/mean" not in steps.shapes and "backbone/mean" not in steps.multipliers
    state = steps.state(flatten(nnx.to_pure_dict(nnx.split(module)[1])), seed=0)
    expected = np.zeros(4)
    for step in range(3):
        examples = batch(step)
        for part in range(parts):
            expected = 0.5 * expected + 0.5 * examples["inputs"][part::parts].mean(0)
        state, _ = steps.train(state, steps.place(examples))
    np.testing.assert_allclose(state.params["backbone/mean"], expected, atol=1e-5)
    before = np.array(state.params["backbone/mean"])
    steps.evaluate(state.params, steps.empty(), steps.place(batch(9)))
    np.testing.assert_array_equal(state.params["backbone/mean"], before)
    poisoned = batch(4)
    poisoned["inputs"][0] = np.inf
    state, _ = steps.train(state, steps.place(poisoned))
    assert int(state.skipped) == 1
    np.testing.assert_array_equal(state.params["backbone/mean"], before)


@pytest.mark.parametrize("optimizer", ["lion", "adafactor", "sgd", "muon"])
def test_every_optimizer_lowers_the_loss(optimizer):
    rates = {"lion": 0.01, "adafactor": 0.05, "sgd": 0.1, "muon": 0.02}
    steps, state = perceptron(
        Optimizer(algorithm=optimizer, learning_rate=rates[optimizer], schedule="constant", warmup=0.0)
    )
    losses = []
    for _ in range(30):
        state, told = steps.train(state, steps.place(batch(0)))
        losses.append(float(told["loss"]))
    assert losses[-1] < 0.7 * losses[0]


@pytest.fixture(scope="module")
def rows():
    random = np.random.default_rng(0)
    good, bad, other = (
        ("fine", "great", "lovely"),
        ("awful", "dull", "poor"),
        ("film", "plot", "actor", "the", "a"),
    )
    found = []
    for number in range(120):
        label = number % 2
        words = [
            *random.choice(other, 3),
            random.choice(bad if label == 0 else good),
            *random.choice(other, 2),
        ]
        random.shuffle(words)
        found.append({"text": " ".join(words) + f" {number}", "label": ("bad", "good")[label]})
    return lk.load(found, text="text", label="label")


def test_a_run_with_additions_keeps_a_model_without_them(rows, tmp_path):
    model = lk.models["bert"](preset="tiny", **{**SIZES, "vocab_size": None, "max_length": 16})
    run = lk.fit(
        rows, model, folder=tmp_path, background=False, epochs=3, batch_size=16, learning_rate=2e-2, max_length=16,
        trainable="lora", lora_rank=2, ema=0.5, vocabulary=200,
    )  # fmt: skip
    summary = run.info.summary
    assert 0 < summary["trainable"] < 0.5 * summary["parameters"]
    state = weights.Tensors(run.info.folder / "model")
    assert not any("lora" in name for name in state)
    base = prepare(loads(Experiment, run.info.experiment), run.info.folder, print).weights()
    for number, first in enumerate(base["backbone/layers/query/kernel"]):
        change = state[f"bert.encoder.layer.{number}.attention.self.query.weight"].T - np.asarray(first)
        sizes = np.linalg.svd(change, compute_uv=False)
        assert sizes[1] > 1e-4 and sizes[2] < 1e-6  # of rank two: the addition, and nothing else
    report = run.evaluate("validation", baselines=False)
    assert report.scores["f1"] == pytest.approx(summary["validation_f1"], abs=1e-6)


def test_a_rate_is_found_where_the_loss_falls(rows):
    model = lk.models["bert"](preset="tiny", **{**SIZES, "vocab_size": None, "max_length": 16})
    found = lk.find_learning_rate(
        rows, model, steps=30, low=1e-6, high=10.0, batch_size=16, max_length=16, vocabulary=200
    )
    assert len(found.rates) == len(found.losses) <= 30 and found.rates[0] == pytest.approx(1e-6)
    assert 1e-5 < found.suggestion < 1.0 and f"{found.suggestion:g}" in repr(found)
    figure = found.figure()
    assert figure.layout.xaxis.type == "log" and len(figure.data[0].x) == len(found.rates)
    with pytest.raises(lk.LabkitError, match=r"low = 1 must be above 0 and below high = 0\.5"):
        lk.find_learning_rate(rows, model, low=1, high=0.5)


def test_a_schedule_is_drawn_before_it_is_used():
    figure = lk.plot_schedule(50, schedule="one-cycle", learning_rate=0.5, warmup=0.3)
    assert max(figure.data[0].y) == pytest.approx(0.5, rel=1e-3) and len(figure.data[0].x) == 50
    both = lk.plot_schedule(10, Optimizer(schedule="wsd"), Optimizer(schedule="cosine"))
    assert [line.name for line in both.data] == ["1. wsd", "2. cosine"]


def test_an_optimizer_is_named_or_given_whole():
    from labkit.train.experiment import settings

    assert settings(optimizer="lion")[1].optimizer.algorithm == "lion"
    given = settings(optimizer=Optimizer(algorithm="sgd", clip=0.0), learning_rate=0.1)[1].optimizer
    assert (given.algorithm, given.clip, given.learning_rate) == ("sgd", 0.0, 0.1)
    with pytest.raises(lk.LabkitError, match="optimizer = 3 must be the name of an optimizer"):
        settings(optimizer=3)


@pytest.mark.parametrize("model", ["vgg", "cnn", "textcnn"])
def test_a_model_with_statistics_or_without_a_foreign_layout_is_kept_whole(rows, tmp_path, model):
    sizes = {
        "vgg": {"stages": (1,), "base_width": 4, "head_width": 0, "batch_norm": True},
        "cnn": {"widths": (4, 8), "blocks": (1, 1)},
        "textcnn": {"preset": "tiny", "embedding": 8, "filters": 8, "max_length": 16},
    }[model]
    text = model == "textcnn"
    data = rows if text else lk.load("digits").sample(100)
    more = {"max_length": 16, "vocabulary": 200} if text else {}
    run = lk.fit(
        data, lk.models[model](**sizes), folder=tmp_path, background=False, epochs=2, batch_size=16,
        learning_rate=1e-2, **more,
    )  # fmt: skip
    report = run.evaluate("validation", baselines=False)
    assert report.scores["f1"] == pytest.approx(run.info.summary["validation_f1"], abs=1e-6)


def test_training_begins_at_stored_convolutions(tmp_path):
    config = lk.models["vgg"](
        stages=(1, 1), base_width=4, head_width=0, pixels="imagenet", input_shape=(8, 8, 1)
    )
    stored = {
        "/".join(path): np.asarray(leaf) for path, leaf in weights.flatten(config.build(nnx.Rngs(3))).items()
    }
    pixels = {"range": [0, 255], "channels": "BGR", "mean": [104.007, 116.669, 122.679], "scale": 1.0}
    said = {"model_type": "vgg", "stages": [1, 1], "base_width": 4, "head_width": 0, "pixels": pixels}
    weights.save_own(stored, tmp_path / "stored", said)
    run = lk.fit(
        lk.load("digits").sample(100), lk.models["vgg"](weights=str(tmp_path / "stored")), folder=tmp_path / "lab",
        background=False, epochs=1, batch_size=16, learning_rate=1e-2, trainable="head",
    )  # fmt: skip
    kept = weights.Tensors(run.info.folder / "model")
    for name, value in stored.items():
        np.testing.assert_array_equal(kept[f"backbone/{name}"], value)
    assert (
        run.info.summary["trainable"] == 8 * 10 + 10 and len(run.predict(np.zeros((2, 8, 8), np.uint8))) == 2
    )
