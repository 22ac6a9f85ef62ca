"""Several labels and numbers: losses and scores against independent computations, and whole runs."""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from sklearn import metrics as sk

import labkit as lk
from labkit.core.errors import ConfigError, DataError
from labkit.tasks.multilabel import MultiLabel
from labkit.tasks.regress import Regress
from tests.shown import shown_html

KNOWN = np.zeros(6, np.int32)


@pytest.fixture(scope="module")
def model():
    return lk.models["mlp"](widths=(8,), input_shape=(5,))


def batch_of(target: np.ndarray, fill: int = 2, seed: int = 0) -> dict[str, jax.Array]:
    """Random features with these targets, and filler examples after them."""
    random, count = np.random.default_rng(seed), len(target) + fill
    weight = np.concatenate([random.uniform(0.5, 2, len(target)), np.zeros(fill)])
    return {
        "inputs": jnp.asarray(random.normal(size=(count, 5)), jnp.float32),
        "label": jnp.zeros(count, jnp.int32),
        "target": jnp.asarray(np.concatenate([target, np.zeros((fill, target.shape[1]))]), jnp.float32),
        "weight": jnp.asarray(weight, jnp.float32),
        "index": jnp.arange(count, dtype=jnp.int32),
    }


def test_the_loss_of_several_labels_is_binary_cross_entropy_and_its_scores_those_of_scikit_learn(model):
    truth = np.random.default_rng(1).integers(0, 2, (6, 3)).astype(np.float32)
    truth[:, 2] = 0  # a label that no row has
    task = MultiLabel(class_weights="balanced", head_dropout=0.0).build(("a", "b", "c"), KNOWN, target=truth)
    module, batch = task.init(model, nnx.Rngs(0)), batch_of(truth)
    total, divisor, counts = task.loss(module, batch, None)
    p = np.asarray(task.predict(module, batch), np.float64)[:6]
    weight = np.asarray(batch["weight"], np.float64)[:6]
    ratio = (6 - truth.sum(0)) / np.maximum(truth.sum(0), 1)
    each = -(ratio * truth * np.log(p) + (1 - truth) * np.log(1 - p)).mean(-1)
    assert float(total) == pytest.approx((each * weight).sum(), rel=1e-5)
    assert float(divisor) == pytest.approx(weight.sum(), rel=1e-6)
    given, scores = p >= 0.5, counts.compute()
    with np.errstate(all="ignore"):
        expected = {
            "accuracy": sk.accuracy_score(truth, given), "hamming": sk.hamming_loss(truth, given),
            "f1": sk.f1_score(truth, given, average="macro", zero_division=0),
            "f1_micro": sk.f1_score(truth, given, average="micro", zero_division=0),
            "precision": sk.precision_score(truth, given, average="macro", zero_division=0),
            "recall": sk.recall_score(truth, given, average="macro", zero_division=0),
        }  # fmt: skip
    assert {name: scores[name] for name in expected} == pytest.approx(expected, abs=1e-6)


def test_sums_of_batches_are_the_sums_of_all(model):
    random = np.random.default_rng(2)
    for task, target in (
        (MultiLabel(), random.integers(0, 2, (6, 2)).astype(np.float32)),
        (Regress(), random.normal(size=(6, 2)).astype(np.float32)),
    ):
        bound = task.build(("a", "b"), KNOWN, target=target)
        module, batch = bound.init(model, nnx.Rngs(0)), batch_of(target, 0)
        whole = bound.loss(module, batch, None)[2]
        parts = [
            bound.loss(module, {k: v[part] for k, v in batch.items()}, None)[2]
            for part in np.split(np.arange(6), 2)
        ]
        added = jax.tree.map(jnp.add, *parts)
        assert added.compute() == pytest.approx(whole.compute(), rel=1e-4)
        assert np.isnan(bound.empty().compute()["loss"])


@pytest.mark.parametrize("kind", ["squared", "huber", "absolute"])
def test_a_regression_learns_in_deviations_and_answers_in_units(model, kind):
    target = np.random.default_rng(3).normal([100, -3], [20, 0.1], (6, 2)).astype(np.float32)
    task = Regress(loss=kind).build(("price", "slope"), KNOWN, target=target)
    module, batch = task.init(model, nnx.Rngs(0)), batch_of(task.batch_target(target, KNOWN))
    total, _, sums = task.loss(module, batch, None)
    answer = np.asarray(task.predict(module, batch), np.float64)[:6]
    off = (answer - target) / target.std(0)
    amount = np.abs(off)
    each = {"squared": off**2, "absolute": amount, "huber": np.where(amount < 1, off**2 / 2, amount - 0.5)}[
        kind
    ]
    weight = np.asarray(batch["weight"], np.float64)[:6]
    assert float(total) == pytest.approx((each.mean(-1) * weight).sum(), rel=1e-4)
    scores = sums.compute()
    assert scores["mae"] == pytest.approx(sk.mean_absolute_error(target, answer), rel=1e-4)
    assert scores["r2"] == pytest.approx(sk.r2_score(target, answer), rel=1e-3)
    rmse = np.mean([np.sqrt(sk.mean_squared_error(target[:, i], answer[:, i])) for i in range(2)])
    assert scores["rmse"] == pytest.approx(rmse, rel=1e-4)
    params = {
        "head/kernel": np.asarray(module.head.kernel[...]),
        "head/bias": np.asarray(module.head.bias[...]),
    }
    kept, plain = task.finalize(params), task.config.restore(task.classes)
    nnx.update(module, {"head": {name.split("/")[1]: jnp.asarray(value) for name, value in kept.items()}})
    np.testing.assert_allclose(np.asarray(plain.predict(module, batch))[:6], answer, rtol=2e-4)


def test_what_cannot_be_learned_is_said():
    with pytest.raises(DataError, match="no class distinguishes the 6 training rows"):
        MultiLabel().build(("a",), KNOWN, target=np.ones((6, 1), np.float32))
    with pytest.raises(DataError, match="'y' is 3 in every training row"):
        Regress().build(("y",), KNOWN, target=np.full((6, 1), 3, np.float32))
    with pytest.raises(DataError, match=r"'y' has the standard deviation 1e-200; .* use another unit"):
        Regress().build(("y",), KNOWN, target=np.array([[-1e-200], [1e-200]] * 3))
    far = Regress().build(("y",), KNOWN[:4], target=np.array([[0.0], [1e-20]] * 2))
    with pytest.raises(DataError, match=r"'y' is 1e\+30 in a row, too far from the training rows"):
        far.batch_target(np.array([[1e30]]), KNOWN[:1])
    assert far.batch_target(np.array([[1e30]]), np.array([-1])) == 0  # nothing is known of that row
    with pytest.raises(DataError, match="two training rows; there are 1"):
        Regress().build(("y",), np.array([0, -1]), target=np.ones((2, 1), np.float32))


COLOURS = ("red", "green", "blue")
SHARED = {"background": False, "max_length": 16, "batch_size": 16, "learning_rate": 1e-2, "vocabulary": 100}


@pytest.fixture(scope="module")
def coloured():
    """Sentences that name some of three colours, labelled with these, and with how many they are."""
    random, rows = np.random.default_rng(0), []
    for _ in range(240):
        tags = [colour for colour in COLOURS if random.random() < 0.4]
        words = [*tags, *random.choice(["house", "dog", "old", "big", "tree"], 3)]
        rows.append({"text": " ".join(random.permutation(words)), "tags": tags, "colours": len(tags)})
    return rows


@pytest.fixture(scope="module")
def reader(tiny):
    return tiny.replace(pooling="mean", dropout=0.0, attention_dropout=0.0)


def test_several_labels_end_to_end(coloured, reader, tmp_path):
    rows = lk.load(coloured, text="text", label="tags").split(validation=0.15, test=0.15, seed=0)
    run = lk.fit(rows, reader, folder=tmp_path, epochs=10, packing="always", keep="last", **SHARED)
    report = run.evaluate()
    assert run.experiment.task.problem_type == "labels" and report.scores["f1"] > 0.9
    assert report.scores["f1"] == pytest.approx(sk.f1_score(report.truth, report.given, average="macro"))
    low, high = report.intervals["f1"]
    assert low <= report.scores["f1"] <= high
    boosted = "TF-IDF + SVD + gradient boosting"
    assert set(report.baselines) == {"share of each label", "TF-IDF + logistic regression", boosted}
    assert report.compare(report.baselines).loc["share of each label", "gain_low"] > 0
    assert "f1" in str(report) and "<table" in shown_html(report)
    (one,) = run.predict(["old red tree blue dog"])
    assert set(one.labels) == {"red", "blue"} and one.probability["red"] > 0.5
    told = json.loads((run.export(tmp_path / "out") / "labkit.json").read_text())
    assert told["classes"] == sorted(COLOURS)
    assert run.info.summary["validation_f1"] > 0.8


def test_a_number_end_to_end_on_texts(coloured, reader, tmp_path):
    rows = lk.load(coloured, text="text", number="colours").split(validation=0.15, test=0.15, seed=0)
    run = lk.fit(rows, reader, folder=tmp_path, epochs=6, **SHARED)
    report = run.evaluate()
    assert report.scores["r2"] > 0.8 and report.scores["mae"] < 0.5
    assert {"validation_r2", "validation_mae"} <= set(run.info.summary)
    gain = report.compare(report.baselines).loc["mean"]
    assert gain["gain"] > 0 and gain["gain_low"] > 0
    # Three other words in each, as in training, where the length alone tells how many colours there are.
    few, many = map(float, run.predict(["old tree dog", "red big green old blue dog"]))
    assert few < 1 < 2 < many
    assert len(report.mistakes(3)) == 3 and "colours, answered" in report.mistakes(3)


@pytest.mark.samples
def test_a_number_end_to_end_on_a_table(tmp_path):
    rows = lk.load("diabetes").split(validation=0.15, test=0.2, seed=0)
    run = lk.fit(
        rows, lk.models["mlp"](widths=(32,)), folder=tmp_path, epochs=30, background=False, learning_rate=3e-3
    )
    report = run.evaluate()
    assert report.scores["r2"] > 0.3 and set(report.baselines) == {
        "mean", "ridge regression", "gradient boosting"
    }  # fmt: skip
    record = rows["test"].with_format(None)[0]
    (answer,) = run.predict([record])
    assert float(answer) == pytest.approx(report.answers[0, 0], rel=1e-4)
    assert answer.cells()["predicted progression"]


def test_the_task_must_fit_what_is_known(coloured, tiny):
    rows = lk.load(coloured, text="text", number="colours")
    with pytest.raises(ConfigError, match="the target of each row is a number; 'classify' needs one class"):
        lk.fit(rows, tiny, task="classify")
