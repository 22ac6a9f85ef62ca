"""Values written out from Arrow: the text that Python itself writes, without its objects."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from datasets import Array2D, Dataset, Features
from PIL import Image

import labkit as lk
from labkit.data.arrow import batches, written
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
    # the key of a picture is what Python writes of its lists, so that older splits stay what they were
    assert (
        digests(rows["train"]).tolist()
        == drawn(80, (repr(v).encode() for v in rows["train"]["image"][:])).tolist()
    )
