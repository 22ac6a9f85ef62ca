"""Tables are read in portions, as they are stored; which rows are chosen, and how they are cut, changes nothing."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pyarrow as pa
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

import labkit as lk
from labkit.data.arrow import batches, column, grouped
from labkit.data.prepare.split import leakage


def stored(pieces: list[int]) -> Dataset:
    """Rows 0, 1, … in record batches of these sizes."""
    ends = np.cumsum([0, *pieces])
    tables = [
        pa.table(
            {
                "text": pa.array([f"text {i}" for i in range(a, b)], pa.string()),
                "n": pa.array(range(a, b), pa.int64()),
            }
        )
        for a, b in pairwise(ends)
    ]
    return Dataset(pa.concat_tables(tables))


@settings(max_examples=150, deadline=None)
@given(pieces=st.lists(st.integers(0, 30), min_size=1, max_size=8), size=st.integers(1, 50), data=st.data())
def test_portions_are_the_chosen_rows_in_order(pieces, size, data):
    dataset, total = stored(pieces), sum(pieces)
    picked = data.draw(st.none() | st.lists(st.integers(0, total - 1), max_size=60)) if total else None
    chosen = dataset if picked is None else dataset.select(picked)
    expected = list(range(total)) if picked is None else picked
    found = list(batches(chosen, ["n", "text"], size))
    assert all(0 < len(part) <= size and part.column_names == ["n", "text"] for part in found)
    assert [n for part in found for n in part.column("n").to_pylist()] == expected
    assert [text for part in found for text in part.column("text").to_pylist()] == [
        f"text {n}" for n in expected
    ]
    assert column(chosen, "n").to_pylist() == expected and column(chosen, "n").type == pa.int64()


def test_stored_portions_are_handed_on_without_a_copy_and_crumbs_are_gathered():
    whole = stored([1000, 1000]).data.table
    found = list(grouped(whole, 1000))
    there = [chunk.buffers()[1].address for chunk in whole.column("n").chunks]
    assert [part.column("n").chunk(0).buffers()[1].address for part in found] == there
    crumbs = stored([1] * 250).data.table
    assert [len(part) for part in grouped(crumbs, 100)] == [100, 100, 50]
    mixed = stored([3, 90, 2, 2, 150]).data.table
    assert [len(part) for part in grouped(mixed, 100)] == [3, 90, 4, 100, 50]


def test_leakage_of_chosen_rows_is_told_by_row_number():
    rows = lk.load([{"text": f"Text {i % 7}", "label": i % 2} for i in range(20)])
    train = rows["train"]
    parts = {"train": train.select([9, 3, 2]), "test": train.select([17, 16, 0, 12])}
    found = leakage(rows.with_splits(parts)).splits[0]
    assert (found.leaked, found.examples) == (2, ((16, 2), (17, 3))), "texts 2 and 3, the first copy in train"
    assert leakage(rows.with_splits({"test": train})).share == 0, "nothing to leak from"
