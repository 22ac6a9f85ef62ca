"""Features written as the cells from which they were read, for every kind of column."""

from __future__ import annotations

import datetime
from typing import Any

import numpy as np
import pytest

import labkit as lk
from labkit.data.cell_values import cells_of, column_values
from labkit.data.new_rows import features_of, problem_of

#: Values of a column → the median or most frequent one, the least and the greatest.
KINDS: dict[str, tuple[list[Any], tuple[str, str, str]]] = {
    "whole": ([3, 1, 2, 2, 5, 9], ("2", "1", "9")),
    "fraction": ([0.1, 0.25, 0.7, 1e-3, 2.5, 3.5], ("0.25", "0.001", "3.5")),
    "comma": (["1,5", "2,25", "3,0", "4,5", "5,5", "6,5"], ("3", "1,5", "6,5")),
    "percent": (["10%", "20%", "30%", "40%", "50%", "60%"], ("30%", "10%", "60%")),
    "word": (["a b", "c", "c", "d, e", "c", "a b"], ("c", "", "")),
    "flag": ([True, False, True, True, False, True], ("true", "", "")),
    "day": ([datetime.date(2020, 1, n) for n in (5, 3, 9, 4, 8, 1)], ("2020-01-04", "2020-01-01", "2020-01-09")),
    "time": (
        [datetime.datetime(2021, 5, n, 13, 30) for n in (5, 3, 9, 4, 8, 1)],
        ("2021-05-04 13:30:00", "2021-05-01 13:30:00", "2021-05-09 13:30:00"),
    ),
    "duration": (["00:10:00", "01:00:00", "1 days 02:03:04", "00:20:00", "00:30:00", "02:00:00"],
                 ("00:30:00", "00:10:00", "1 days 02:03:04")),
}  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_cells_are_read_as_the_features_they_were_written_from(name: str):
    values, (usual, low, high) = KINDS[name]
    records = [{"x": value, "z": n, "y": float(n)} for n, value in enumerate(values)]
    rows = lk.load(records, features=("x", "z"), number="y", decimal="," if name == "comma" else None)
    train, columns = rows["train"], rows.schema.features
    names = [feature for how in columns for feature in how.features]
    known = {each.column.name: each for each in column_values(train, columns, names)}["x"]
    assert (known.usual, known.low, known.high) == (usual, low, high) and not known.missing
    for place in range(len(values)):
        features = np.array([train[feature][place] for feature in names])
        cells = cells_of(features, columns, names)
        written = {cell.column: cell.value for cell in cells}
        np.testing.assert_array_equal(features_of([written], columns, names)[0], features)
        (how,) = (one for one in columns if one.name == "x")
        assert problem_of(how, written["x"]) == ""


def test_missing_values_are_known_and_empty():
    records = [
        {"n": None if i == 3 else i, "w": None if i == 4 else "ab"[i % 2], "y": float(i)} for i in range(12)
    ]
    rows = lk.load(records, features=("n", "w"), number="y")
    columns = rows.schema.features
    names = [feature for how in columns for feature in how.features]
    assert all(each.missing for each in column_values(rows["train"], columns, names))
    cells = cells_of(np.array([np.nan, 0.0, 0.0]), columns, names)
    assert {cell.column: cell.value for cell in cells} == {"n": "", "w": ""}
    number, word = columns
    assert problem_of(number, None) == "" and "A value is needed" in str(
        problem_of(number, None, missing=False)
    )
    assert "A value is needed" in str(problem_of(number, "n/a", missing=False))
    assert "'x' is not a number" in str(problem_of(number, "x")) and "one of its categories" in str(
        problem_of(word, "c")
    )
