"""The counts against scikit-learn, and what must not be counted."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sklearn.metrics as sk
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.core.errors import DataError
from labkit.tasks.metrics import Counts, add, count, per_class, scores

counted = jax.jit(count)
B = 200  # every batch is filled up to one shape, so that jit compiles once per class count


@st.composite
def predictions(draw):
    """Truth, prediction, weight and loss of n examples of c classes, of which some never occur."""
    c, n = draw(st.integers(2, 8)), draw(st.integers(1, B))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    true_classes = draw(st.lists(st.integers(0, c - 1), min_size=1, max_size=c))
    predicted_classes = draw(st.lists(st.integers(0, c - 1), min_size=1, max_size=c))
    truth, predicted = random.choice(true_classes, n), random.choice(predicted_classes, n)
    weight = (random.random(n) < draw(st.sampled_from([0.0, 0.5, 1.0]))).astype(np.float32)
    return c, truth, predicted, weight, random.exponential(size=n).astype(np.float32)


def batch(c, truth, predicted, weight, loss):
    """The arguments of ``count``: logits whose argmax is ``predicted``, filled to B with weight-0 examples."""
    fill = B - len(truth)
    logits = np.random.default_rng(0).normal(size=(B, c)).astype(np.float32)
    logits[np.arange(len(truth)), predicted] += 100
    return (
        logits,
        np.pad(truth, (0, fill)).astype(np.int32),
        np.pad(weight, (0, fill)),
        np.pad(loss, (0, fill), constant_values=np.nan),
    )


@settings(deadline=None, max_examples=200)
@given(predictions())
def test_scores_agree_with_scikit_learn(case):
    _, truth, predicted, weight, loss = case
    found = {
        name: value for name, value in counted(*batch(*case)).compute().items() if not name.startswith("f1/")
    }
    kept = weight > 0
    if not kept.any():
        assert np.isnan(list(found.values())).all()
        return
    truth, predicted = truth[kept], predicted[kept]
    expected = {"loss": np.average(loss, weights=weight), "accuracy": sk.accuracy_score(truth, predicted)}
    for average in ("macro", "micro", "weighted"):
        suffix = "" if average == "macro" else f"_{average}"
        rates = sk.precision_recall_fscore_support(truth, predicted, average=average, zero_division=0)
        expected |= {
            name + suffix: value for name, value in zip(("precision", "recall", "f1"), rates, strict=False)
        }
    assert found == pytest.approx(expected, abs=1e-6)


@settings(deadline=None, max_examples=100)
@given(predictions())
def test_per_class_agrees_with_scikit_learn(case):
    c, truth, predicted, weight, _ = case
    confusion = counted(*batch(*case)).confusion
    kept = weight > 0
    expected = np.zeros((c, c), int)
    np.add.at(expected, (truth[kept], predicted[kept]), 1)
    np.testing.assert_array_equal(confusion, expected)
    if kept.any():
        rates = sk.precision_recall_fscore_support(
            truth[kept], predicted[kept], labels=range(c), zero_division=0
        )
        for value, reference in zip(per_class(confusion).values(), rates, strict=True):
            np.testing.assert_allclose(value, reference, atol=1e-12)


def test_batches_merge_to_the_whole_and_not_to_a_mean_of_means():
    random = np.random.default_rng(1)
    logits = random.normal(size=(30, 3)).astype(np.float32)
    label, loss = random.integers(0, 3, 30), random.random(30).astype(np.float32)
    parts = [slice(0, 25), slice(25, 30)]
    batches = [counted(logits[p], label[p], jnp.ones(len(label[p])), loss[p]) for p in parts]
    whole = counted(logits, label, jnp.ones(30), loss).compute()
    assert batches[0].merge(batches[1]).compute() == pytest.approx(whole, abs=1e-6)
    assert np.mean([b.compute()["f1"] for b in batches]) != pytest.approx(whole["f1"], abs=1e-3)


def test_what_is_not_counted():
    logits = jnp.array([[0.0, 1.0], [0.0, 1.0], [0.0, 1.0], [0.0, 1.0]])
    found = count(
        logits,
        jnp.array([1, -1, 2, 0]),
        jnp.array([1.0, 1.0, 1.0, 0.0]),
        jnp.array([0.5, jnp.nan, jnp.inf, jnp.nan]),
    )
    np.testing.assert_array_equal(found.confusion, [[0, 0], [0, 1]])
    assert (float(found.loss_sum), float(found.weight)) == (0.5, 1.0)


def test_counting_is_exact_where_float32_is_not():
    full = dataclasses.replace(Counts.empty(2), confusion=jnp.array([[2**24, 0], [0, 0]], jnp.int32))
    one = (jnp.array([[1.0, 0.0]]), jnp.array([0]), jnp.ones(1), jnp.zeros(1))
    assert int(add(full, *one).confusion[0, 0]) == 2**24 + 1
    assert np.float32(2**24) + np.float32(1) == 2**24


def test_a_donated_step_adds_in_place():
    """With 1,000 classes the matrix has 4 MB; a step must not make another one."""
    args = (jnp.zeros((32, 1000)), jnp.zeros(32, jnp.int32), jnp.ones(32), jnp.ones(32))
    memory = jax.jit(add, donate_argnums=0).lower(Counts.empty(1000), *args).compile().memory_analysis()
    assert memory.alias_size_in_bytes >= 4_000_000
    assert memory.temp_size_in_bytes < 1_000_000


def test_reading_scores_passes_a_transfer_guard():
    found = counted(jnp.eye(2), jnp.array([0, 1]), jnp.ones(2), jnp.ones(2))
    with jax.transfer_guard("disallow"):
        assert found.compute()["f1"] == 1.0


def test_a_matrix_that_is_not_square_is_named():
    with pytest.raises(DataError, match=r"square .* shape \(2, 3\)"):
        scores(np.zeros((2, 3)))
