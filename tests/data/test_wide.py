"""Tables of many columns: read as narrow ones are, in time by their width."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from datasets import ClassLabel, Dataset, Features, Value

import labkit as lk
from labkit.data import cells, memmap, new_rows
from labkit.data import features as tabular
from labkit.data.batching.arrays import stack
from labkit.data.io import csv
from labkit.data.report import Report

#: Columns, each a kind of its own: texts as files have them, then numbers of a type.
COLUMNS: dict[str, Any] = {
    "whole": ["1", "-20", "+3", "4", "5"],
    "dotted": ["1.5", "-2.25", "3.0", "4.125e3", "50.5"],
    "both": ["1", "2.5", "3e2", "4", "5"],
    "spaces": [" 1", "2 ", " 3 ", "4", "5"],
    "thousands": ["1.234", "2.345", "3.456", "4.567", "5.678"],
    "comma": ["1,5", "2,5", "3,5", "4,5", "5,5"],
    "codes": ["01", "02", "03", "04", "05"],
    "missing": ["1", "", "3", "NA", "5"],
    "null": ["1", None, "3", "4", "5"],
    "words": ["a", "b", "a", "b", "a"],
    "unit": ["1 €", "2 €", "3 €", "4 €", "5 €"],
    "large": ["1e308", "2", "3", "4", "5"],
    "beyond": ["1e400", "2", "3", "4", "5"],
    "booleans": ["0", "1", "0", "1", "1"],
    "numbering": ["1", "2", "3", "4", "5"],
    "id": ["10", "20", "30", "40", "55"],
    "identifiers": ["9007199254740993", "2", "3", "4", "5"],
    "truths": ["true", "False", "", "true", "n/a"],
    "gaps": ["a", "", "b", "a", None],
    "nothing": ["", "NA", "-", "", None],
    "different": ["a", "b", "c", "d", "e"],
    "alike": ["A", "a", "A ", "b", "b"],
    "arabic": ["١", "٢", "٣", "٤", "٥"],
    "numerals": ["Ⅳ", "½", "Ⅳ", "½", "Ⅳ"],
    "infinite": ["inf", "nan", "inf", "-inf", "inf"],
    "commas": ["a,b", "b,c", "a,b", "b,c", "a,b"],
    "dates": ["2020-01-31", "2020-02-01", "2020-03-01", "2020-04-01", "2020-05-01"],
    "slashed": ["1/2/2020", "2/2/2020", "3/2/2020", "4/2/2020", "5/2/2020"],
    "spans": ["1 days", "2 days", "3 days", "4 days", "5 days"],
    "text": [f"some text {i}" for i in range(5)],
    "int64": [1, 2, 3, 4, 2**60 + 1],
    "float64": pa.array([0.5, 1, 2, 3, np.nan], from_pandas=True),
    "float64 with inf": [0.5, 1, 2, 3, np.inf],
    "float64 beyond float32": [0.5, 1, 2, 3, 1e39],
    "uint8": pa.array([1, 2, 3, 4, 5], pa.uint8()),
    "bool": [True, False, True, True, True],
}


def loaded(table, monkeypatch, wide: bool):
    monkeypatch.setattr(tabular, "WIDE", 1 if wide else 10**9)
    rows = lk.load(table, features=True, label="label", on_bad="skip", decimal=".")
    return rows["train"].to_dict(), rows.report, rows.spec.features


def test_columns_found_together_are_read_as_alone(monkeypatch):
    table = pa.table({**COLUMNS, "label": list("ababa")})
    narrow, wide = (loaded(table, monkeypatch, each) for each in (False, True))
    np.testing.assert_equal(wide[0], narrow[0])
    assert sorted(map(str, wide[1].notes)) == sorted(map(str, narrow[1].notes)) and wide[2] == narrow[2]


def test_class_labels_and_categories_stay_categories(monkeypatch):
    features = Features(c=ClassLabel(names=["x", "y"]), n=Value("int64"), label=Value("string"))
    data = Dataset.from_dict(
        {"c": [0, 1] * 3, "n": [3, 1, 2, 5, 4, 9], "label": ["a", "b"] * 3}, features=features
    )
    for table in (
        data,
        pa.table({"c": pa.array(["7", "8"] * 3).dictionary_encode(), "n": range(6), "label": list("ababab")}),
    ):
        narrow, wide = (loaded(table, monkeypatch, each) for each in (False, True))
        assert narrow == wide and next(how for how in wide[2] if how.name == "c").kind == "category"


def test_random_cells_agree_with_one_by_one(monkeypatch):
    draw = random.Random(0)
    parts = ["", "0", "1", "12", ".", ",", "5", "e3", "-", "+", " ", "000", "٣", "a"]
    columns = {
        f"c{i}": ["".join(draw.choices(parts, k=draw.randint(1, 4))) for _ in range(2)] for i in range(2000)
    }
    found = cells.plain_numbers(pa.table(columns))
    assert len(found) > 50
    for name, values in columns.items():
        how = cells.quantity(pa.chunked_array([values]), name, None, ".", Report())
        if name in found:
            assert how == cells.Column(name)
            assert cells.read(pa.chunked_array([values]), how)[0].tolist() == found[name].tolist()


def test_more_columns_than_ever_read_before(tmp_path, monkeypatch):
    width = 3000
    names = [f"c{i}" for i in range(width)]
    text = "\n".join([",".join([*names, "label"]), *(",".join([*(str(i * r % 97) for i in range(width)), "ab"[r % 2]])
                                                     for r in range(5))])  # fmt: skip
    (tmp_path / "wide.csv").write_text(text)
    steps = []
    made = memmap.Dataset
    monkeypatch.setattr(memmap, "Dataset", lambda *args, **more: steps.append(0) or made(*args, **more))
    rows = lk.load(tmp_path / "wide.csv", label="label", features=True)
    assert (
        len(steps) == 2
    )  # what ``datasets`` copies with each step does not grow with the columns that are read
    assert np.allclose(
        [rows["train"][name] for name in names[::500]],
        [[i * r % 97 for r in range(5)] for i in range(0, width, 500)],
    )
    assert csv.COLUMNS == 200_000
    with pytest.raises(lk.LabkitError, match="200,001 columns; the maximum is 200,000"):
        lk.load({f"c{i}": [1, 2] for i in range(200_001)})


@pytest.mark.parametrize("kind", ["texts", "numbers"])
def test_no_step_looks_at_all_columns_for_each_of_them(kind, monkeypatch):
    """From a table to the arrays of a model, also for predictions: 50 columns or 150, the names and types of all are
    read equally often."""
    looked: Counter[str] = Counter()
    for name in ("features", "column_names"):
        whole = getattr(Dataset, name)
        monkeypatch.setattr(
            Dataset, name, property(lambda table, n=name, w=whole: looked.update([n]) or w.fget(table))
        )
    names = new_rows.names_of
    monkeypatch.setattr(new_rows, "names_of", lambda table: looked.update(["names_of"]) or names(table))
    monkeypatch.setattr(tabular, "WIDE", 1)
    counts = []
    for width in (50, 150):
        columns = {f"c{i}": [i * r % 97 for r in range(6)] for i in range(width)}
        table = pa.table({n: list(map(str, c)) for n, c in columns.items()} if kind == "texts" else columns)
        looked.clear()
        rows = lk.load(table.append_column("label", [list("ababab")]), features=True, label="label")
        arrays = stack(rows["train"], rows.spec)
        found = new_rows.features_of(
            table, rows.schema.features, [name for how in rows.schema.features for name in how.features]
        )
        np.testing.assert_array_equal(found, arrays.inputs)
        counts.append(dict(looked))
    assert counts[0] == counts[1] and counts[0]["names_of"] == 1


def test_assembled_is_what_single_steps_give():
    data = Dataset.from_dict({"a": [1, 2, 3], "b": ["x", "y", "z"]}).select([2, 0])
    made = memmap.assembled(
        data, {"n": np.array([5, 6], np.int32), "c": "b", "t": pa.chunked_array([["p"], ["q"]]), "a": "a"}
    )
    assert made.to_dict() == {"n": [5, 6], "c": ["z", "x"], "t": ["p", "q"], "a": [3, 1]}
    assert made.features == Features(n=Value("int32"), c=Value("string"), t=Value("string"), a=Value("int64"))
    other = memmap.assembled(
        data, {"n": np.array([5, 7], np.int32), "c": "b", "t": pa.array(["p", "q"]), "a": "a"}
    )
    assert made._fingerprint != other._fingerprint
    assert pc.all(pc.equal(made.data.table.column("n"), pa.array([5, 6], pa.int32()))).as_py()
