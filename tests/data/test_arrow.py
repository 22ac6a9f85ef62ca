"""Values written out from Arrow: the text that Python itself writes, without its objects."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from datasets import Array2D, Dataset, Features, Value
from PIL import Image

import labkit as lk
from labkit.data.arrow import as_lists, batches, contents, digest, numbers, stacked, written
from labkit.data.prepare.dedupe import digests, drawn


@pytest.mark.parametrize("kind", ["u1", "i1", "u2", "i2"])
@pytest.mark.parametrize("shape", [(1,), (5,), (3, 2), (2, 1, 3), (2, 3, 2, 2)])
def test_lists_of_integers_are_written_as_python_writes_them(kind: str, shape: tuple[int, ...]):
    bounds = np.iinfo(kind)
    values = np.random.default_rng(0).integers(bounds.min, bounds.max, (4, *shape), kind, endpoint=True)
    values.flat[:2] = bounds.min, bounds.max
    made = pa.array(values.reshape(-1))
    for length in reversed(shape):
        made = pa.FixedSizeListArray.from_arrays(made, length)
    for column in (pa.chunked_array([made[:3], made[3:]]), pa.chunked_array([made[1:3]])):
        assert list(written(column)) == [repr(value).encode() for value in column.to_pylist()]


@pytest.mark.parametrize(
    "values",
    [
        [[1, 2], [3]],
        [[1, None]],
        [None, [1]],
        [[1.5, 2.0]],
        [[10**12]],
        [[]],
        ["é", None],
        [True],
        [{"a": [1]}],
    ],
)
def test_other_values_too(values: list):
    column = pa.chunked_array([pa.array(values)])
    assert list(written(column)) == [repr(value).encode() for value in values]


@pytest.mark.parametrize("kind", ["|u1", "<i2"])
@pytest.mark.parametrize("lists", ["fixed", "plain", "large", "array"])
def test_pictures_and_sounds_are_known_by_type_shape_and_bytes(kind: str, lists: str):
    values = np.random.default_rng(0).integers(0, 127, (5, 16, 20), np.dtype(kind))
    inner = {"fixed": lambda of: pa.list_(of, 20), "plain": pa.list_, "large": pa.large_list}.get(lists)
    if lists == "array":
        made = Array2D((16, 20), values.dtype.name)()
        array = pa.ExtensionArray.from_storage(made, pa.array(values.tolist(), made.storage_type))
    else:
        array = pa.array(values.tolist(), pa.list_(inner(pa.from_numpy_dtype(values.dtype))))
    expected = [f"{kind} (16, 20) ".encode() + picture.tobytes() for picture in values]
    assert list(contents(pa.chunked_array([array]))) == expected
    assert list(contents(pa.chunked_array([array[3:], array[1:3]]))) == [*expected[3:], *expected[1:3]]
    assert as_lists(values, array.type).equals(array) and (stacked(array[2:4]) == values[2:4]).all()


def test_content_does_not_depend_on_how_a_column_is_cut():
    values = [[[1] * 300], [[2] * 300], None, [[3] * 200, [4] * 99], [[]], [[1] * 300]]
    array = pa.array(values, pa.list_(pa.list_(pa.uint8())))
    whole = list(contents(pa.chunked_array([array])))
    assert whole[0] == whole[5] == b"|u1 (1, 300) " + b"\1" * 300
    assert whole[2:5] == [repr(value).encode() for value in values[2:5]]
    digests_of = {digest([pa.chunked_array([array])])}
    for cut in range(1, 6):
        pieces = pa.chunked_array([array[:cut], array[cut:]])
        assert list(contents(pieces)) == whole
        digests_of.add(digest([pieces]))
    assert len(digests_of) == 1
    assert digest([pa.chunked_array([array[1:]])]) not in digests_of


def test_rows_of_pictures_are_taken_in_any_order():
    values = np.random.default_rng(0).integers(0, 255, (90, 16, 20), np.uint8)
    data = Dataset.from_dict(
        {"image": list(values), "number": range(90)},
        Features({"image": Array2D((16, 20), "uint8"), "number": Value("int64")}),
    )
    for places in (np.arange(0, 90, 7), np.random.default_rng(1).permutation(90), np.array([5, 5, 3, 88])):
        chosen = data.select(places)
        assert numbers(chosen, "number").tolist() == places.tolist()
        found = [stacked(chunk) for part in batches(chosen, ["image"], 8) for chunk in part.column(0).chunks]
        np.testing.assert_array_equal(np.concatenate(found), values[places])


def test_tables_of_wide_rows_are_short(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("labkit.data.arrow._BYTES", 10_000)
    values = np.random.default_rng(0).integers(0, 255, (40, 30, 20), np.uint8)
    data = Dataset.from_dict({"image": list(values)}, Features({"image": Array2D((30, 20), "uint8")}))
    for dataset in (data, data.select(range(39, -1, -1))):
        sizes = list(map(len, batches(dataset)))
        assert sum(sizes) == 40 and max(sizes) <= 16


def test_copies_of_pictures_go_the_same_way_and_are_found(tmp_path: Path):
    random = np.random.default_rng(0)
    for number in range(40):
        pixels = random.integers(0, 255, (6, 5, 3), np.uint8)
        for copy in range(2):
            place = tmp_path / "ab"[number % 2] / f"{number}-{copy}.png"
            place.parent.mkdir(exist_ok=True)
            Image.fromarray(pixels).save(place)
    rows = lk.load(tmp_path)
    split = rows.split(validation=0.2, test=0.2, seed=0)
    where = {name: {file.rpartition("-")[0] for file in split[name]["file"][:]} for name in split.splits}
    assert sum(map(len, where.values())) == 40 and len(rows.dedupe()) == 40
    # the key of a small picture is what Python writes of its lists, so that older splits stay what they were
    assert (
        digests(rows["train"]).tolist()
        == drawn(80, (repr(v).encode() for v in rows["train"]["image"][:])).tolist()
    )
