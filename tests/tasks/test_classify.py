"""Classification: the loss against plain NumPy, class weights, filler rows, pairs of texts."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from sklearn.utils.class_weight import compute_class_weight

import labkit as lk
from labkit.tasks.classify import Classify

LABELS = np.array([0, 0, 0, 0, 1, 2, 2, -1])


@pytest.fixture(scope="module")
def model():
    return lk.models["bert"](
        preset="tiny", width=8, depth=1, heads=2, mlp_width=8, max_length=16, vocab_size=30
    )


def batch_of(rows: int, fill: int = 0, seed: int = 0) -> dict[str, jax.Array]:
    """Random examples of 6 tokens, and ``fill`` filler rows after them."""
    random = np.random.default_rng(seed)
    real = {
        "ids": random.integers(1, 30, (rows, 6)),
        "types": np.zeros((rows, 6), int),
        "mask": np.arange(6) < random.integers(2, 7, (rows, 1)),
        "label": random.integers(0, 3, rows),
        "weight": np.ones(rows, np.float32),
    }
    batch = {
        name: np.concatenate([array, np.zeros((fill, *array.shape[1:]), array.dtype)])
        for name, array in real.items()
    }
    batch["mask"][rows:, 0] = True
    kinds = {"mask": jnp.bool_, "weight": jnp.float32}
    return {name: jnp.asarray(array, kinds.get(name, jnp.int32)) for name, array in batch.items()}


def test_balanced_weights_are_those_of_scikit_learn():
    task = Classify(class_weights="balanced").build(("a", "b", "c"), LABELS)
    expected = compute_class_weight("balanced", classes=np.arange(3), y=LABELS[LABELS >= 0])
    np.testing.assert_allclose(task.class_weights, expected, rtol=1e-6)


def test_the_loss_is_the_weighted_mean_of_cross_entropy(model):
    task = Classify(class_weights="balanced").build(("a", "b", "c"), LABELS)
    module, batch = task.init(model, nnx.Rngs(0)), batch_of(5)
    total, divisor, counts = task.loss(module, batch, None)
    logits = np.asarray(module(batch), np.float64)
    chance = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    label = np.asarray(batch["label"])
    each, weight = -np.log(chance[np.arange(5), label]), task.class_weights[label]
    assert float(total / divisor) == pytest.approx((each * weight).sum() / weight.sum(), rel=1e-5)
    scores = counts.compute()
    assert scores["loss"] == pytest.approx(each.mean(), rel=1e-5)  # what is reported is not weighted
    assert scores["accuracy"] == pytest.approx((logits.argmax(-1) == label).mean())


def test_filler_rows_change_nothing(model):
    task = Classify().build(("a", "b", "c"), LABELS)
    module = task.init(model, nnx.Rngs(0))
    (bare, weight, some), (filled, equal, same) = (
        task.loss(module, batch_of(5, fill), None) for fill in (0, 3)
    )
    assert float(bare) == pytest.approx(float(filled), rel=1e-6) and weight == equal == 5
    np.testing.assert_array_equal(some.confusion, same.confusion)


def packed(batch: dict[str, jax.Array], width: int, slots: int) -> dict[str, jax.Array]:
    """The same examples with as many in a row as fit, in their order; one empty row at the end."""
    rows: list[list[int]] = [[]]
    lengths = np.asarray(batch["mask"]).sum(1)
    for example, length in enumerate(lengths):
        if len(rows[-1]) == slots or lengths[rows[-1]].sum() + length > width:
            rows.append([])
        rows[-1].append(example)
    rows.append([])
    names = ("ids", "types", "segment", "position"), ("start", "label", "index")
    sizes = zip((width, slots), names, strict=True)
    new = {name: np.zeros((len(rows), size), np.int32) for size, part in sizes for name in part}
    new["weight"] = np.zeros((len(rows), slots), np.float32)
    for row, examples in enumerate(rows):
        start = 0
        for slot, example in enumerate(examples):
            place = slice(start, start + lengths[example])
            for name in ("ids", "types"):
                new[name][row, place] = np.asarray(batch[name])[example, : lengths[example]]
            new["segment"][row, place], new["position"][row, place] = slot + 1, np.arange(lengths[example])
            new["start"][row, slot], new["index"][row, slot] = start, example
            new["label"][row, slot], new["weight"][row, slot] = (
                batch["label"][example],
                batch["weight"][example],
            )
            start += lengths[example]
    return {name: jnp.asarray(array) for name, array in new.items()}


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_packed_rows_give_the_loss_and_the_gradients_of_single_ones(model, pooling):
    task = Classify(class_weights="balanced").build(("a", "b", "c"), LABELS)
    graph, params = nnx.split(task.init(model.replace(pooling=pooling, depth=2), nnx.Rngs(0)))
    params = jax.tree.map(lambda x: x + 0.3 * jax.random.normal(jax.random.key(x.size), x.shape), params)

    def loss(params, batch):
        total, weight, counts = task.loss(nnx.merge(graph, params), batch, None)
        return total / weight, counts

    single = batch_of(7)
    several = packed(single, width=14, slots=4)
    assert several["ids"].shape[0] < 7 and (several["segment"] > 1).any()
    compute = jax.jit(jax.value_and_grad(loss, has_aux=True))
    ((one, counts), gradient), ((other, same), again) = compute(params, single), compute(params, several)
    assert float(one) == pytest.approx(float(other), rel=1e-5)
    np.testing.assert_array_equal(counts.confusion, same.confusion)
    for a, b in zip(jax.tree.leaves(gradient), jax.tree.leaves(again), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5 * max(1, float(jnp.abs(a).max())), rtol=1e-5)


def test_a_key_switches_dropout_on(model):
    task = Classify().build(("a", "b", "c"), LABELS)
    module, batch = task.init(model, nnx.Rngs(0)), batch_of(5)
    losses = [
        float(task.loss(module, batch, key)[0]) for key in (None, None, jax.random.key(1), jax.random.key(2))
    ]
    assert losses[0] == losses[1] and len({*losses[1:]}) == 3


def test_one_class_cannot_be_learnt():
    with pytest.raises(lk.LabkitError, match=r"two classes; the rows have \{'a': 2, 'b': 0\}"):
        Classify().build(("a", "b"), np.array([0, 0, -1]))


def test_pairs_of_texts_are_trained_on_and_answered(tiny, settings, tmp_path):
    table = [
        {"one": f"word{i % 5}", "two": f"word{(i % 5 + i % 2) % 5}", "same": 1 - i % 2} for i in range(120)
    ]
    rows = lk.load(table, text=("one", "two"), label="same")
    run = lk.fit(
        rows, tiny, folder=tmp_path, background=False, accept_leakage=True, **{**settings, "epochs": 1}
    )
    answers = run.predictor.probabilities(["word1", "word1"], ["word1", "word2"])
    assert answers.shape == (2, 2) and not np.array_equal(*answers)
    assert run.evaluate(baselines=False).scores["accuracy"] >= 0
