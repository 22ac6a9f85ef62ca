"""Numbers that float32 rounds: centred in float64, counted where they are lost, refused where they do not fit."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from datasets import Array2D, Dataset, Features, List, Value

import labkit as lk
from labkit.core.errors import DataError
from labkit.data import precision
from labkit.data.batching.arrays import Arrays, Standard, stack
from labkit.data.io.audio import as_wave
from labkit.data.report import Report
from labkit.data.schema import Spec
from labkit.data.targets import targets_of

LOST, ROUNDED = "values that are equal in float32", "integers beyond 2^53 rounded"


def table(column, target=None) -> lk.Rows:
    column = list(column)
    target = range(len(column)) if target is None else list(target)
    rows = [
        {"t": value, "x": place % 7 / 7, "y": y}
        for place, (value, y) in enumerate(zip(column, target, strict=True))
    ]
    return lk.load(rows, features=True, number="y")


@pytest.mark.parametrize("start", [1_700_000_000, -16_777_216, 2**52])
@pytest.mark.parametrize("written", [int, float, str])
def test_different_numbers_far_from_zero_stay_different(start, written):
    rows = table((written(start + i) for i in range(200)), (written(start + i) for i in range(200)))
    assert LOST not in rows.report.counts().get("counted", {})
    seen = Standard.fit(stack(rows["train"], rows.spec))(stack(rows["train"], rows.spec))
    assert seen.inputs.dtype == np.float32 and len(np.unique(seen.inputs[:, 0])) == 200
    assert targets_of(rows["train"])[:, 0].tolist() == [start + i for i in range(200)]
    np.testing.assert_allclose(np.diff(seen.inputs[:, 0]), 1 / np.arange(200).std(), rtol=1e-4)
    assert abs(seen.inputs[:, 0].mean()) < 0.01


def test_integers_of_32_bits_and_lists_of_64_are_not_rounded_either():
    start = 1_700_000_000
    short = Dataset.from_dict({"t": [start + i for i in range(50)]}, features=Features(t=Value("int32")))
    lists = Dataset.from_dict(
        {"t": [[start + i, 1.0] for i in range(50)]}, features=Features(t=List(Value("float64")))
    )
    for data in (short, lists):
        data = data.add_column("label", [0] * 50).add_column("row", list(range(50)))
        inputs = stack(data, Spec(modality="features")).inputs
        assert inputs.dtype == np.float64 and len(np.unique(inputs[:, 0])) == 50


def test_values_lost_beside_a_far_one_are_counted_by_column():
    rows = table([*range(199), 1e18], [*range(199), 1e18])
    notes = rows.report.of("counted")[LOST]
    assert {(note.column, note.split) for note in notes} == {("t", "train"), ("y", "train")}
    assert notes[0].detail == "198 of 200 different values"
    assert LOST not in table([*range(199), 1e6]).report.counts().get("counted", {})


def test_the_count_is_that_of_an_independent_computation():
    values = np.concatenate([np.random.default_rng(0).normal(size=500), [1e10, 2e10]])
    rounded = ((values - values.mean()) / values.std()).astype(np.float32)
    precision.note_lost(values, "v", "train", found := Report())
    lost = len(np.unique(values)) - len(np.unique(rounded))
    assert [note.detail for note in found.notes] == [f"{lost} of 502 different values"]
    precision.note_lost(np.random.default_rng(0).normal(size=100_000), "v", "train", found := Report())
    assert not found  # a few of many measurements always come to lie together


@pytest.mark.parametrize("written", [int, str, Decimal])
def test_whole_numbers_beyond_float64_are_named_by_row(written):
    rows = table(written(2**53 + i) for i in range(10))
    assert [note.row for note in rows.report.of("repaired")[ROUNDED]] == [1, 3, 5, 7, 9]


@pytest.mark.parametrize("value", [1e39, -1e39, "1e39", "-1E+300", 10**40])
@pytest.mark.parametrize("column", ["t", "y"])
def test_numbers_beyond_float32_are_refused_by_row(value, column):
    records = [{"t": i if isinstance(value, float) else str(i), "x": i / 7, "y": float(i)} for i in range(50)]
    if not isinstance(value, float):
        records = [{**record, "y": str(record["y"])} for record in records]
    records[5][column] = value if isinstance(value, float) else str(value)
    with pytest.raises(DataError, match=r"number beyond ±3.4e38, the range of float32 \(1\): row 5"):
        lk.load(records, features=True, number="y")
    rows = lk.load(records, features=True, number="y", on_bad="skip")
    assert len(rows["train"]) == 49 and rows.report.of("refused")[precision.BEYOND][0].column == column


def test_very_small_numbers_are_standardised_too():
    values = np.arange(50) * 1e-200
    mean, scale = precision.moments(values[:, None])
    assert (values - mean)[0] / scale[0] == pytest.approx(-24.5 / np.arange(50).std())
    assert not table(values).report.of("counted").get(LOST)


def test_what_never_changes_has_no_deviation_whatever_its_size():
    for value in (0.1, 1.7e18, 1e-300, 0.0):
        assert precision.moments(np.full((1000, 1), value))[1] == 0
    _, scale = precision.moments(1.7e18 + np.arange(50)[:, None] * 1024.0)
    assert scale[0] == pytest.approx(np.arange(50).std() * 1024)


def picture(values) -> Dataset:
    kind = Features(image=Array2D((2, 2), "float64"), label=Value("int32"), row=Value("int64"))
    return Dataset.from_dict(
        {"image": values, "label": [0] * len(values), "row": list(range(len(values)))}, features=kind
    )


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (1e39, r"1e\+39 is a number beyond"),
        (np.nan, "missing or infinite"),
        (1e9 + 1, r"has a resolution of 64: subtract 1e\+09"),
    ],
)
def test_pictures_whose_numbers_float32_cannot_hold_are_refused(value, said):
    base = 0.5 if value != 1e9 + 1 else 1e9
    with pytest.raises(DataError, match=said):
        stack(picture([[[base, base], [base, value]]]), Spec(modality="image"))
    assert stack(picture([[[0.0, 0.5], [1e5, 1.0]]]), Spec(modality="image")).inputs.dtype == np.float32


def test_dictionary_and_arrow_types_of_numbers_are_checked_alike():
    for kind in (pa.decimal128(38, 0), pa.decimal256(60, 0)):
        values = pa.array(
            [Decimal(i) for i in range(49)] + [Decimal(10**37 if kind.bit_width == 128 else 10**50)], kind
        )
        data = pa.table({"t": values, "x": [i / 7 for i in range(50)], "y": list(range(50))})
        if kind.bit_width == 128:
            assert lk.load(data, features=True, number="y").report.of("counted")[LOST]
        else:
            with pytest.raises(DataError, match=r"float32 \(1\): row 49"):
                lk.load(data, features=True, number="y")


def test_a_new_row_too_far_from_the_training_rows_is_refused():
    standard = Standard(("a", "b"), (0.0, 0.0), (1.0, 1e-10))
    assert standard(Arrays.unlabelled(np.array([[1e30, 1e20]]))).inputs[0, 1] == np.float32(1e30)
    with pytest.raises(
        DataError,
        match=r"'b' is 1e\+30 in row 1, too far from the training rows \(standard deviation 1e-10\)",
    ):
        standard(Arrays.unlabelled(np.array([[0.0, 0.0], [1e30, 1e30]])))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (np.array([3, -3]), "type int64"),
        (np.array([1e39]), r"up to 1e\+39"),
        (np.array([12000.0]), "up to 12000"),
    ],
)
def test_sounds_whose_unit_is_unknown_are_refused(values, said):
    with pytest.raises(DataError, match=said):
        as_wave(values, 16_000)
    assert as_wave(np.array([0.5, 1.5]), 16_000).tolist() == [0.5, 1.0]
