"""What data can hold that spoils a model in silence: each is named before it is trained on (data_checks)."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

import labkit as lk
from labkit.data.batching.arrays import ArrayBatches, Arrays
from labkit.tasks import metrics


def rows_of(texts, labels):
    return [{"text": text, "label": label} for text, label in zip(texts, labels, strict=True)]


def test_data_checks_find_every_row_of_the_test_that_stands_in_train():
    from datasets import Dataset, DatasetDict

    train = rows_of([f"sentence number {n}" for n in range(1000)], ["ab"[n % 2] for n in range(1000)])
    copied = [f"  Sentence   NUMBER {n}" for n in range(0, 300, 10)]  # 3 % of train, written in another way
    test = rows_of(
        [*copied, *(f"quite another text {n}" for n in range(970))], ["ab"[n % 2] for n in range(1000)]
    )
    rows = lk.load(DatasetDict({"train": Dataset.from_list(train), "test": Dataset.from_list(test)}))
    (found,) = lk.leakage(rows).splits
    assert (found.split, found.rows, found.leaked) == ("test", 1000, 30)
    with pytest.raises(lk.LabkitError, match=r"rows of test .2\.. %. are also in train"):
        lk.fit(rows, "textcnn", background=False)


def test_data_checks_name_what_is_missing_or_alone():
    with pytest.raises(lk.LabkitError, match="at least two classes; these have a"):
        lk.fit(lk.load(rows_of([f"text {n}" for n in range(20)], ["a"] * 20)), "textcnn", background=False)
    with pytest.raises(
        lk.LabkitError, match=r"labels are missing in column 'label': 1 of 3 in train \(rows 1\)"
    ):
        lk.load(rows_of(["x", "y", "z"], ["a", None, "b"]))
    from datasets import Dataset, DatasetDict

    parts = {"train": rows_of(["x", "y"], ["a", "b"]), "test": rows_of(["z"], ["c"])}
    rows = lk.load(DatasetDict({name: Dataset.from_list(part) for name, part in parts.items()}))
    assert rows.report.counts()["counted"]["unseen label"] == 1 and list(rows["test"]["label"]) == [-1]


@pytest.mark.parametrize("size", [1, 7, 64, 1000])
def test_data_checks_scores_do_not_know_the_batch_size(size):
    """130 examples: 1,000 is more than there are, 7 and 64 leave a rest; filler has weight 0."""
    random = np.random.default_rng(0)
    logits, label = (
        random.normal(size=(130, 3)).astype(np.float32),
        random.integers(0, 3, 130).astype(np.int32),
    )
    everything = (
        jnp.asarray(part) for part in (logits, label, np.ones(130, np.float32), np.abs(logits).sum(-1))
    )
    whole = metrics.count(*everything)
    counts = metrics.Counts.empty(3)
    for batch in ArrayBatches(Arrays(logits, label, np.arange(130)), size, seed=1):
        inputs, truth, weight = (jnp.asarray(batch[name]) for name in ("inputs", "label", "weight"))
        counts = counts.merge(metrics.count(inputs, truth, weight, jnp.abs(inputs).sum(-1)))
    np.testing.assert_array_equal(counts.confusion, whole.confusion)
    found, wanted = counts.compute(), whole.compute()
    assert found == pytest.approx(wanted, rel=1e-6)
