"""Pictures and features as arrays: taken from Arrow unchanged, batched as texts are, standardised on train alone."""

from __future__ import annotations

import numpy as np
import pytest
from datasets import Array2D, Array3D, Dataset, Features, List, Value
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.core.config import dumps, loads
from labkit.core.errors import ConfigError, DataError
from labkit.data import dataset as dataset_module
from labkit.data.batching.arrays import ArrayBatches, Arrays, Standard, stack
from labkit.data.io.load import open_rows
from labkit.data.rows import Rows
from labkit.data.schema import Spec

IMAGE, FEATURES = Spec(modality="image"), Spec(modality="features")
KINDS = {"inputs": np.uint8, "label": np.int32, "weight": np.float32, "index": np.int32}


def table(types, **columns) -> Dataset:
    count = len(next(iter(columns.values())))
    own = {"label": np.arange(count) % 3 - 1, "row": np.arange(count) + 7}
    features = Features({"label": Value("int32"), "row": Value("int64"), **types})
    return Dataset.from_dict({**own, **columns}, features=features)


def pictures(count, shape=(4, 5)) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, *shape)).astype(np.uint8)


def examples(count, label=None) -> Arrays:
    """Example i is filled with the number i."""
    inputs = np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None, None], (count, 2, 3, 1)).copy()
    label = np.arange(count) % 3 if label is None else np.asarray(label)
    return Arrays(inputs, label.astype(np.int32), np.arange(count))


@pytest.mark.parametrize("portion", [10_000, 3])
def test_pictures_are_taken_as_they_are(monkeypatch, portion):
    monkeypatch.setattr(dataset_module.batches, "__defaults__", (None, portion))
    values = pictures(8)
    arrays = stack(table({"image": Array2D((4, 5), "uint8")}, image=list(values)), IMAGE)
    assert arrays.inputs.dtype == np.uint8 and arrays.shape == (4, 5, 1) and len(arrays) == 8
    np.testing.assert_array_equal(arrays.inputs[..., 0], values)
    assert arrays.label.tolist() == [-1, 0, 1, -1, 0, 1, -1, 0] and arrays.row.tolist() == list(range(7, 15))
    assert repr(arrays) == "<arrays: 8 examples of (4, 5, 1), uint8>"


def test_rows_that_were_selected_come_in_their_new_order(tmp_path):
    values = pictures(9, (2, 2, 3))
    dataset = table({"image": Array3D((2, 2, 3), "uint8")}, image=list(values)).select([5, 1, 8])
    spec = IMAGE.replace(classes=("a", "b"))
    rows = open_rows(Rows({"train": dataset}, spec).save(tmp_path / "rows"))
    for one in (dataset, rows["train"]):
        np.testing.assert_array_equal(stack(one, spec).inputs, values[[5, 1, 8]])


@pytest.mark.samples
def test_the_digits():
    import labkit as lk

    rows = lk.load("digits").split(seed=0)
    for name, dataset in rows.splits.items():
        arrays = stack(dataset, rows.spec)
        assert arrays.shape == (8, 8, 1) and arrays.inputs.dtype == np.uint8 and arrays.inputs.max() == 16
        np.testing.assert_array_equal(arrays.inputs[3, :, :, 0], dataset[3]["image"], err_msg=name)
        assert arrays.label.tolist() == dataset["label"]


def test_features_are_the_numeric_columns_or_one_of_lists():
    types = {"size": Value("int32"), "name": Value("string"), "price": Value("float64"), "new": Value("bool")}
    dataset = table(
        types, size=[1, None, 3], name=["a", "b", "c"], price=[0.5, -1e9, 2], new=[True, False, None]
    )
    arrays = stack(dataset, FEATURES)
    assert arrays.names == ("size", "price", "new") and arrays.inputs.dtype == np.float64
    np.testing.assert_array_equal(arrays.inputs, np.array([[1, 0.5, 1], [np.nan, -1e9, 0], [3, 2, np.nan]]))
    listed = stack(table({"x": List(Value("float32"))}, x=[[1, 2], [3, 4]]), FEATURES)
    assert listed.inputs.tolist() == [[1, 2], [3, 4]] and listed.names == ()
    assert stack(table({"x": Array2D((2, 2), "uint8")}, x=list(pictures(3, (2, 2)))), FEATURES).shape == (4,)


@pytest.mark.parametrize(
    ("spec", "types", "columns", "said"),
    [
        (Spec(), {"x": Value("int32")}, {"x": [1]}, "are texts, not images or features"),
        (
            IMAGE,
            {"x": Value("int32")},
            {"x": [1]},
            r"examples of type 'image' need one column of nested lists; the columns are x \(int32\)",
        ),
        (FEATURES, {"x": Value("string")}, {"x": ["1"]}, "numeric columns, or one column of lists"),
        (IMAGE, {"x": List(Value("string"))}, {"x": [["1"]]}, "'x' contains string, not numbers"),
        (
            IMAGE,
            {"x": List(Value("int32"))},
            {"x": [[1], [2]]},
            "images must have two or three axes; those of 'x' have 1",
        ),
        (
            IMAGE,
            {"x": List(List(Value("uint8")))},
            {"x": [[[1]], [[1, 2]]]},
            "lists of 1 to 2 values; all must have the",
        ),
        (IMAGE, {"x": List(List(Value("uint8")))}, {"x": [[[1]], None]}, "1 missing examples"),
        (IMAGE, {"x": List(List(Value("uint8")))}, {"x": [[[1]], [[None]]]}, "1 missing values"),
    ],
)
def test_what_cannot_be_stacked_is_said(spec, types, columns, said):
    with pytest.raises(DataError, match=said):
        stack(table(types, **columns), spec)


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(1, 40),
    batch_size=st.sampled_from([1, 7, 64]),
    seed=st.integers(0, 2**40),
    shuffle=st.booleans(),
    data=st.data(),
)
def test_every_example_once_an_epoch_and_whole(count, batch_size, seed, shuffle, data):
    label = data.draw(st.lists(st.integers(-1, 2), min_size=count, max_size=count))
    labelled = max(label) >= 0 and data.draw(st.booleans())
    arrays = examples(count, label)
    batches = ArrayBatches(arrays, batch_size, seed, shuffle, labelled_only=labelled)
    expected = [i for i in range(count) if label[i] >= 0 or not labelled]
    for epoch in (0, 1, 4):
        seen = []
        for step in range(epoch * len(batches), (epoch + 1) * len(batches)):
            batch = batches.at(step)
            assert {name: value.dtype for name, value in batch.items()} == KINDS
            assert [batch["inputs"].shape] == batches.shapes
            for place, inputs, own, weight in zip(
                batch["index"], batch["inputs"], batch["label"], batch["weight"], strict=True
            ):
                assert (inputs == max(place, 0)).all() and weight == (place >= 0)
                assert own == (max(label[place], 0) if place >= 0 else 0)
            seen += batch["index"][batch["weight"] == 1].tolist()
        assert (sorted(seen) if shuffle else seen) == expected
    assert batches.examples_per_step * batches.steps_per_epoch == pytest.approx(batches.examples)
    assert batches.padding_share == pytest.approx(1 - len(expected) / (len(batches) * batch_size))


def test_a_batch_is_a_function_of_seed_and_step():
    one, other = (ArrayBatches(examples(50), 8, seed=3) for _ in range(2))
    forward = [one.at(step)["index"].tolist() for step in range(28)]
    assert [other.at(step)["index"].tolist() for step in reversed(range(28))] == forward[::-1]
    assert (
        forward[:7] != forward[7:14]
        and forward[0] != ArrayBatches(examples(50), 8, seed=4).at(0)["index"].tolist()
    )
    assert len(one.plans) == 2, "of all epochs only two are kept"
    assert [batch["index"].tolist() for batch in one] == forward[:7]


def test_the_order_does_not_change_with_process_or_version():
    batches = ArrayBatches(examples(7), 3, seed=7)
    assert [batches.at(step)["index"].tolist() for step in range(6)] == ORDER


# written down once: a run resumed elsewhere must go on with the same batches
ORDER = [[4, 3, 6], [2, 1, 0], [5, -1, -1], [6, 1, 4], [3, 2, 5], [0, -1, -1]]


def test_weights_and_what_is_wrong():
    (batch,) = ArrayBatches(examples(3), 4, shuffle=False, weights=np.array([0.5, 0, 2], np.float32))
    assert batch["weight"].tolist() == [0.5, 0, 2, 0] and batch["index"].tolist() == [0, 1, 2, -1]
    batch["inputs"][:] = 9
    batch["index"][:] = 9
    (again,) = ArrayBatches(examples(3), 4, shuffle=False)
    assert again["inputs"][1].max() == 1, "a batch is a copy"
    with pytest.raises(DataError, match=r"shape \(2,\); there are 3 rows"):
        ArrayBatches(examples(3), 4, weights=np.ones(2))
    with pytest.raises(DataError, match="none of the 2 rows has a label"):
        ArrayBatches(examples(2, [-1, -1]), 4)
    with pytest.raises(ConfigError, match="batch_size = 0"):
        ArrayBatches(examples(2), 0)
    with pytest.raises(DataError, match="no batch at step -1"):
        ArrayBatches(examples(2), 1).at(-1)
    empty = ArrayBatches(examples(0), 2)
    assert list(empty) == [] and empty.shapes == [] and empty.padding_share == 0


def test_standardisation_knows_the_training_rows_only():
    rng = np.random.default_rng(0)
    train = Arrays.unlabelled(rng.normal([5, -2, 1e4], [2, 0.1, 30], (500, 3)).astype(np.float32))
    standard = Standard.fit(train)
    scaled = standard(train).inputs
    np.testing.assert_allclose(scaled.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(scaled.std(0), 1, atol=1e-4)
    new = standard(Arrays.unlabelled(np.array([[7, np.nan, 1e4 + 30]], np.float32)))
    np.testing.assert_allclose(new.inputs, [[1, 0, 1]], atol=0.2)
    assert new.inputs.dtype == np.float32 and new.inputs[0, 1] == 0
    assert loads(Standard, dumps(standard)) == standard


def test_small_changes_of_great_numbers_are_standardised():
    seconds = 1_700_000_000 + np.arange(100)
    arrays = stack(table({"t": Value("int64")}, t=seconds.tolist()), FEATURES)
    expected = (np.arange(100) - 49.5) / np.arange(100).std()
    np.testing.assert_allclose(Standard.fit(arrays)(arrays).inputs[:, 0], expected, rtol=1e-5)
    assert Standard.fit(Arrays.unlabelled(np.full((1000, 1), 0.1 + 1e9))).scale == (1.0,)


def test_constant_and_missing_features():
    inputs = np.full((1000, 2), 0.1, np.float32)
    inputs[0, 1] = np.nan
    standard = Standard.fit(Arrays.unlabelled(inputs))
    assert standard.scale == (1.0, 1.0)
    np.testing.assert_allclose(standard(Arrays.unlabelled(inputs)).inputs, 0, atol=1e-6)
    inputs[:, 1] = np.nan
    with pytest.raises(DataError, match="feature 'b' has no finite value in the training rows"):
        Standard.fit(Arrays.unlabelled(inputs, ("a", "b")))
    with pytest.raises(DataError, match=r"shape \(5,\), but the means are for 2 features"):
        standard(Arrays.unlabelled(np.zeros((1, 5))))
