"""Smaller models: distillation, quantised and pruned predictors, against independent computations in NumPy."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy.special import log_softmax, softmax

import labkit as lk
from labkit.core.errors import ConfigError, DataError, ExtraError
from labkit.core.extras import EXTRAS
from labkit.inference.smaller import PrunedPredictor
from labkit.models.packed import packed_weights, unpacked_weights
from labkit.tasks.classify import Classify
from labkit.tasks.distill import Distill

TEXTS = [
    f"a {mood} {thing}" for mood in ("fine", "dull", "great", "weak") for thing in ("film", "story", "cast")
]


def test_the_loss_is_the_cross_entropy_at_the_temperature():
    config = lk.models["mlp"](preset="linear", input_shape=(4,))
    random = np.random.default_rng(0)
    inputs, teacher = random.normal(size=(6, 4)).astype(np.float32), softmax(random.normal(size=(6, 3)), -1)
    label = random.integers(0, 3, 6)
    batch = {
        "inputs": jnp.asarray(inputs), "label": jnp.asarray(label, jnp.int32), "weight": jnp.ones(6),
        "target": jnp.asarray(teacher, jnp.float32), "index": jnp.arange(6),
    }  # fmt: skip
    task = Distill(temperature=3.0, label_share=0.25, head_dropout=0.0)
    head = task.build(("a", "b", "c"), label, None, teacher)
    module = head.init(config, nnx.Rngs(0))
    logits = np.asarray(module(batch), np.float64)
    soft = -(softmax(np.log(teacher) / 3.0, -1) * log_softmax(logits / 3.0, -1)).sum(-1) * 9.0
    hard = -log_softmax(logits, -1)[np.arange(6), label]
    found = head.loss(module, batch, jax.random.key(0))
    assert (
        float(found[0]) == pytest.approx((0.75 * soft + 0.25 * hard).sum(), rel=1e-5) and float(found[1]) == 6
    )
    usual = Classify(head_dropout=0.0).build(("a", "b", "c"), np.arange(3))
    assert float(head.loss(module, batch, None)[0]) == float(usual.loss(module, batch, None)[0])


@pytest.fixture(scope="module")
def student(finished, tmp_path_factory):
    return lk.distill(finished, TEXTS, lk.models["textcnn"](preset="tiny"), folder=tmp_path_factory.mktemp("students"),
                      background=False, epochs=2, batch_size=32, vocabulary=300, max_length=32)  # fmt: skip


def test_a_student_learns_from_the_answers_of_its_teacher(finished, student):
    assert student.status == "finished" and "distilled" in student.name
    train, own = student.rows["train"], finished.rows["train"]
    assert train["text"][: len(own)] == own["text"] and train["text"][len(own) :] == TEXTS
    answers = finished.predictor.probabilities(TEXTS)
    targets = np.asarray(train.with_format(None)["target"])[len(own) :]
    np.testing.assert_allclose(targets, answers, atol=1e-6)
    assert train["label"][len(own) :] == list(answers.argmax(-1))
    assert student.rows["test"]["text"] == finished.rows["test"]["text"]
    assert len(set(train["row"]) & set(student.rows["test"]["row"])) == 0
    table = lk.judge({"teacher": finished, "student": student}, finished.rows)
    for name, run in (("teacher", finished), ("student", student)):
        assert table.loc[name, "f1"] == pytest.approx(run.evaluate(baselines=False).scores["f1"])
    assert (
        table.loc["student", "gain_low"] <= table.loc["student", "gain"] <= table.loc["student", "gain_high"]
    )
    assert table.loc["student", "gain"] == pytest.approx(
        table.loc["student", "f1"] - table.loc["teacher", "f1"]
    )
    assert (
        table.loc["student", "parameters"] != table.loc["teacher", "parameters"] and (table["ms"] > 0).all()
    )


def test_a_student_is_resumed_and_exported_like_any_run(student, tmp_path):
    student.export(tmp_path / "out")
    text = "a fine film"
    assert lk.Predictor(tmp_path / "out").predict(text).label == student.predict(text).label
    assert 'name = "distill"' in student.toml()


def test_what_cannot_be_distilled_is_refused_by_name(finished, reviews, tiny, tmp_path):
    with pytest.raises(DataError, match="no rows to distil on"):
        lk.distill(finished, [], folder=tmp_path)
    with pytest.raises(DataError, match="validation"):
        lk.distill(finished, list(finished.rows["validation"]["text"]), folder=tmp_path)
    with pytest.raises(Exception, match="no probabilities of a teacher"):
        lk.fit(
            reviews, tiny, task="distill", folder=tmp_path, background=False, max_length=32, vocabulary=300
        )


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("kernel", (3, 6, 5)),
        ("kernel", (4, 7)),
        ("embedding", (9, 5)),
        ("kernel", (2, 64, 3)),
        ("embedding", (3, 96)),
    ],
)
def test_weights_are_rounded_to_the_nearest_step_of_their_channel(bits, name, shape):
    value = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    value[..., 0] *= 100
    found = np.asarray(unpacked_weights(packed_weights(name, value, bits), shape))
    axis = len(shape) - (1 if name == "embedding" else 2)
    size = 32 if bits == 4 and shape[axis] % 32 == 0 else shape[axis]  # weights that share a scale
    tiles = [slice(start, start + size) for start in range(0, shape[axis], size)]
    for tile in tiles:
        place = (slice(None),) * axis + (tile,)
        most = 2 ** (bits - 1) - 0.5  # the greatest weight lies at the edge of the last step
        step = np.abs(value[place]).max(axis, keepdims=True) / most
        numbers = found[place] / step
        np.testing.assert_allclose(numbers, np.rint(numbers), atol=1e-4)
        assert np.rint(numbers).min() >= -(2 ** (bits - 1)) and np.rint(numbers).max() < 2 ** (bits - 1)
        assert (np.abs(found[place] - value[place]) <= step / 2 * 1.0001).all()


def test_quantising_needs_its_extra(finished, monkeypatch):
    monkeypatch.setitem(EXTRAS, "quantize", ("a_module_that_is_not_there",))
    with pytest.raises(ExtraError, match=r"labkit\[quantize\]"):
        lk.quantize(finished)


def test_biases_and_zeros_stay():
    bias = np.ones((2, 3), np.float32)
    assert unpacked_weights(packed_weights("bias", bias, 4), bias.shape) is bias
    zeros = np.zeros((3, 4), np.float32)
    np.testing.assert_array_equal(unpacked_weights(packed_weights("kernel", zeros, 8), zeros.shape), zeros)


def test_quantised_models_answer_nearly_alike_and_are_smaller(finished):
    test = finished.rows["test"]
    usual = finished.predictor.predict_encoded(test)
    sizes, errors = [], []
    for bits in (8, 4):
        small = lk.quantize(finished, bits)
        sizes.append(small.bytes)
        errors.append(np.abs(small.predict_encoded(test) - usual).max())
        assert (
            small.predict("a fine film").label in small.classes and small.explain("a fine film") is not None
        )
    table = lk.judge(
        {"float32": finished, "int8": lk.quantize(finished), "int4": lk.quantize(finished, 4)}, finished.rows
    )
    assert errors[0] < 0.02 and errors[0] < errors[1]
    assert (
        sizes[1] < sizes[0] < 0.5 * table.loc["float32", "bytes"] and table.loc["int8", "bytes"] == sizes[0]
    )
    with pytest.raises(ConfigError, match="bits = 3"):
        lk.quantize(finished, 3)


def test_pruning_nothing_changes_nothing(finished):
    test = finished.rows["test"]
    same = lk.prune(finished, heads=0.0, units=0.0)
    np.testing.assert_allclose(
        same.predict_encoded(test), finished.predictor.predict_encoded(test), atol=1e-6
    )


def test_pruned_heads_and_units_are_those_of_zero_gates(finished):
    """A model without a part answers as the whole model does where that part's outputs are set to 0."""
    test = finished.rows["test"]
    small = lk.prune(finished, heads=0.5, units=0.25)
    assert small.heads.shape == (2, 1) and small.units.shape == (2, 24)
    whole = lk.Predictor(finished.info.folder / "model")
    layers = whole.model.backbone.layers
    size = layers.out.kernel.shape[1] // 2
    for name, kept, wide in (("out", small.heads, size), ("mlp_out", small.units, 1)):
        kernel = np.array(getattr(layers, name).kernel[...])
        for layer, places in enumerate(kept):
            gone = np.setdiff1d(np.arange(kernel.shape[1] // wide), places)
            for place in gone:
                kernel[layer, place * wide : (place + 1) * wide] = 0
        getattr(layers, name).kernel[...] = jnp.asarray(kernel)
    whole._graph, whole._state = nnx.split(whole.model)
    answer = whole.compiled(whole.head.predict)
    batches = whole.processor.to_predict(test["text"])
    expected = np.zeros((len(test), len(whole.classes)), np.float32)
    for index, answers in whole._results(answer, batches):
        expected[index] = answers
    np.testing.assert_allclose(small.predict_encoded(test), expected, atol=1e-5)


def test_the_importance_is_the_derivative_by_a_gate(finished):
    """By finite differences of the loss of one text over the outputs of a head and a unit."""
    part = finished.rows["validation"].select([0])
    small = PrunedPredictor(finished.info.folder / "model", part, 0.0, 0.0)
    heads, units = small._importance(part)
    layers = small.model.backbone.layers
    size = layers.out.kernel.shape[1] // heads.shape[1]
    batch = next(iter(small.processor.to_predict(part["text"])))
    batch = {**batch, "label": np.where(batch["index"] == 0, part["label"][0], 0).astype(np.int32),
             "weight": (batch["index"] >= 0).astype(np.float32)}  # fmt: skip
    batch = jax.tree.map(jnp.asarray, batch)

    def loss(name: str, places: slice, gate: float) -> float:
        kernel = getattr(layers, name).kernel
        before = kernel[...]
        kernel[...] = before.at[1, places].multiply(gate)
        found = float(small.head.loss(small.model, batch, None)[0])
        kernel[...] = before
        return found

    for name, places, importance in (
        ("out", slice(size, 2 * size), heads[1, 1]),
        ("mlp_out", slice(5, 6), units[1, 5]),
    ):
        slope = (loss(name, places, 1.05) - loss(name, places, 0.95)) / 0.1
        assert abs(slope) == pytest.approx(importance, rel=0.05, abs=2e-4)


def test_only_berts_are_pruned(student, finished):
    with pytest.raises(ConfigError, match="pruning is for BERT"):
        lk.prune(student)
    with pytest.raises(ConfigError, match="heads = 1"):
        lk.prune(finished, heads=1)


@pytest.mark.parametrize("form", ["int8", "int4", "pruned"])
def test_a_smaller_model_is_saved_and_opened_with_identical_answers(finished, form, tmp_path):
    bits = {"int8": 8, "int4": 4}
    small = lk.quantize(finished, bits[form]) if form in bits else lk.prune(finished, heads=0.5, units=0.25)
    folder = small.save(tmp_path / form)
    opened, test = lk.Predictor(folder), finished.rows["test"]
    np.testing.assert_array_equal(opened.predict_encoded(test), small.predict_encoded(test))
    assert (opened.bytes, opened.parameters) == (small.bytes, small.parameters)
    assert opened.explain("a fine film") is not None and opened.predict("a fine film") == small.predict(
        "a fine film"
    )
    whole = finished.info.folder / "model" / "model.safetensors"
    assert sum(file.stat().st_size for file in folder.glob("*.safetensors")) < whole.stat().st_size
    with pytest.raises(ConfigError, match="is not empty"):
        small.save(folder)
    with pytest.raises(ConfigError, match="quantised or pruned before"):
        type(small)(folder, *([] if form in bits else [test]))
    stored = folder / "smaller.safetensors"
    stored.write_bytes(stored.read_bytes()[:-1] + b"\0")
    with pytest.raises(lk.LabkitError, match="damaged"):
        lk.Predictor(folder)


def test_other_architectures_and_numbers_are_quantised_to_files(student, tmp_path):
    small = lk.quantize(student)
    opened = lk.Predictor(small.save(tmp_path / "cnn"))
    part = student.rows["test"]
    np.testing.assert_array_equal(opened.predict_encoded(part), small.predict_encoded(part))
    table = {"a": [float(n % 13) for n in range(120)], "y": [1e6 + 3.0 * (n % 13) for n in range(120)]}
    rows = lk.load(table, features=["a"], number="y")
    run = lk.fit(rows, "mlp", epochs=1, folder=tmp_path / "lab", background=False, accept_leakage=True)
    small = lk.quantize(run, 4)
    opened = lk.Predictor(small.save(tmp_path / "mlp"))
    part = run.rows["test"]
    np.testing.assert_array_equal(opened.predict_encoded(part), small.predict_encoded(part))
