"""Several labels or numbers of a row, and tables of features."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import labkit as lk
from labkit.core.errors import ConfigError, DataError
from labkit.data.batching.arrays import stack
from labkit.data.io.load import open_rows
from labkit.data.new_rows import features_of
from labkit.data.targets import targets_of


def rows_of(texts=("one", "two", "three"), **columns):
    return [
        dict(zip(("text", *columns), line, strict=True))
        for line in zip(texts, *columns.values(), strict=True)
    ]


def test_a_column_of_lists_gives_a_row_any_number_of_labels():
    rows = lk.load(rows_of(tags=[["b", "a"], [], ["b"]]), label="tags")
    assert (rows.spec.problem_type, rows.spec.classes) == ("labels", ("a", "b"))
    assert targets_of(rows["train"]).tolist() == [[1, 1], [0, 0], [0, 1]]
    assert rows.spec.counts == {"train": {"a": 1, "b": 2}} and rows.spec.rows == {"train": 3}
    assert list(rows.head()["label"]) == ["a, b", "", "b"]


def test_labels_in_one_text_are_cut_at_the_separator(tmp_path):
    path = tmp_path / "films.csv"
    path.write_text("text,genre\nx,drama; comedy\ny,\nz,comedy\n")
    rows = lk.load(path, label="genre", separator=";")
    assert rows.spec.classes == ("comedy", "drama")
    assert targets_of(rows["train"]).tolist() == [[1, 1], [0, 0], [1, 0]]


def test_a_column_of_0_and_1_for_each_label():
    rows = lk.load(rows_of(rude=[0, 1, 1], long=["no", "Yes", "false"]), label=("rude", "long"))
    assert rows.spec.classes == ("rude", "long") and rows.spec.label == "rude, long"
    assert targets_of(rows["train"]).tolist() == [[0, 0], [1, 1], [1, 0]]
    with pytest.raises(DataError, match=r"neither 0 nor 1 \(1\): row 2 of train \(3\)"):
        lk.load(rows_of(rude=[0, 1, 3]), label=("rude",))


def test_labels_outside_the_given_classes_are_refused_by_row_and_unseen_ones_counted():
    with pytest.raises(
        DataError, match=r"label outside classes \(1\): row 1 of train \('c' is not one of a, b"
    ):
        lk.load(rows_of(tags=[["a"], ["c"], ["b"]]), label="tags", classes=("a", "b"))
    tables = {"train": rows_of(tags=[["a"], ["b"], []]), "test": rows_of(tags=[["a", "z"], [], None])}
    from datasets import Dataset, DatasetDict

    data = DatasetDict({name: Dataset.from_list(part) for name, part in tables.items()})
    rows = lk.load(data, label="tags", missing="keep")
    assert rows.report.counts()["counted"]["unseen label"] == 1
    assert targets_of(rows["test"]).tolist() == [[1, 0], [0, 0], [0, 0]]
    assert list(rows["test"]["label"]) == [0, 0, -1] and rows.spec.unlabelled["test"] == 1


def test_numbers_are_read_and_what_is_no_number_is_refused_by_row(tmp_path):
    rows = lk.load(rows_of(price=[1.5, 2, -3]), number="price")
    assert (rows.spec.problem_type, rows.spec.classes) == ("number", ("price",))
    assert targets_of(rows["train"])[:, 0].tolist() == [1.5, 2, -3] and list(rows.head()["label"]) == [
        1.5,
        2,
        -3,
    ]
    path = tmp_path / "prices.csv"
    path.write_text("text,price,size\na,1e3,2\nb,,3\nc,cheap,4\n")
    with pytest.raises(DataError, match=r"not a number \(1\): row 2 of train \(cheap\)"):
        lk.load(path, number=("price", "size"))
    with pytest.raises(DataError, match=r"missing in column 'price, size': 1 of 3 in train \(rows 1\)"):
        lk.load(path, number=("price", "size"), on_bad="skip")
    kept = lk.load(path, number=("price", "size"), on_bad="skip", missing="drop")
    assert targets_of(kept["train"]).tolist() == [[1000, 2]]


def test_rows_with_targets_are_saved_split_and_told_apart(tmp_path):
    given = rows_of([f"text {n}" for n in range(40)], price=np.arange(40.0))
    rows = lk.load(given, number="price")
    again = open_rows(rows.save(tmp_path / "rows"))
    assert again.spec == rows.spec and again.fingerprint == rows.fingerprint
    assert np.array_equal(targets_of(again["train"]), targets_of(rows["train"]))
    parts = rows.split(seed=1)
    assert parts.counts() == {"train": 32, "validation": 4, "test": 4}
    assert sorted(np.concatenate([targets_of(part)[:, 0] for part in parts.splits.values()])) == list(
        range(40)
    )
    other = lk.load([{**row, "price": row["price"] + 1} for row in given], number="price")
    assert other.fingerprint != rows.fingerprint
    assert len(rows.dedupe()) == 40


def test_a_table_becomes_features_with_a_column_for_each_word(tmp_path):
    path = tmp_path / "houses.csv"
    lines = ["id,size,town,heated,price"]
    lines += [
        f"house no. {n} of the long list,{'' if n == 3 else n}.5,{'AB'[n % 2]},{n % 2},{n}"
        for n in range(1, 13)
    ]
    path.write_text("\n".join(lines).replace(",.5,", ",,"))
    rows = lk.load(path, features=True, number="price")
    assert rows.spec.modality == "features"
    arrays = stack(rows["train"], rows.spec)
    assert arrays.names == ("size", "town=A", "town=B", "heated")
    assert arrays.inputs[0].tolist() == [1.5, 0, 1, 1] and np.isnan(arrays.inputs[2, 0])
    assert arrays.target[:, 0].tolist() == list(range(1, 13))
    left = rows.report.counts()["counted"]
    assert left["column excluded"] == 1 and left["missing value"] == 1
    new = pd.DataFrame({"heated": [1], "size": ["2.5"], "town": ["A"]})
    assert features_of(new, rows.spec.features, arrays.names).tolist() == [[2.5, 1, 0, 1]]
    with pytest.raises(DataError, match="no column 'town'; the model needs size, town, heated"):
        features_of(new.drop(columns="town"), rows.spec.features, arrays.names)


def test_columns_that_cannot_be_used_are_said(tmp_path):
    given = [{"a": n, "b": f"words that never come again {n}", "y": n % 2} for n in range(8)]
    with pytest.raises(
        DataError, match="'b' cannot be used as a feature: neither numbers nor repeated categories"
    ):
        lk.load(given, features=("a", "b"), label="y")
    with pytest.raises(ConfigError, match=r"give either number = \('a',\) or label = 'y'"):
        lk.load(given, features=True, label="y", number="a")
    with pytest.raises(DataError, match=r"no column 'c'\. Did you|no column 'c'"):
        lk.load(given, features=("a", "c"), label="y")
    messy = [{"a": str(n) if n != 5 else "five", "y": n % 2} for n in range(40)]
    with pytest.raises(DataError, match=r"not a number \(1\): row 5 of train"):
        lk.load(messy, features=True, label="y")
    assert len(lk.load(messy, features=True, label="y", on_bad="skip")) == 39


# --- class names and labels as people write them ----------------------------------------------------------------------


def labelled(labels, **settings):
    return lk.load(rows_of([f"text {n}" for n in range(len(labels))], tag=labels), label="tag", **settings)


def noted(rows, reason):
    return [note.detail for note in rows.report.notes if note.reason == reason]


@pytest.mark.parametrize("kind", ["Dataset", "parquet", "splits"])
def test_class_names_of_lists_come_with_the_data_set(tmp_path, kind):
    from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value

    kinds = Features(text=Value("string"), tags=List(ClassLabel(names=["joy", "anger", "fear"])))
    data = Dataset.from_dict({"text": ["a", "b", "c"], "tags": [[0], [1, 0], []]}, features=kinds)
    source = {"Dataset": data, "splits": DatasetDict(train=data, test=data)}.get(kind)
    if kind == "parquet":
        data.to_parquet(source := tmp_path / "x.parquet")
    rows = lk.load(source, label="tags")
    assert rows.spec.classes == ("joy", "anger", "fear")  # in their order, one of them without rows
    assert targets_of(rows["train"]).tolist() == [[1, 0, 0], [1, 1, 0], [0, 0, 0]]
    for classes in (
        {"0": "J", "1": "A", "2": "F"},
        {0: "J", 1: "A", 2: "F"},
        {"joy": "J", "anger": "A", "fear": "F"},
    ):
        again = lk.load(source, label="tags", classes=classes)
        assert again.spec.classes == ("J", "A", "F") and np.array_equal(
            targets_of(again["train"]), targets_of(rows["train"])
        )


def test_class_ids_name_the_classes_of_one_label_too():
    from datasets import ClassLabel, Dataset, Features, Value

    kinds = Features(text=Value("string"), label=ClassLabel(names=["neg", "pos"]))
    data = Dataset.from_dict({"text": ["a", "b"], "label": [1, 0]}, features=kinds)
    for classes in ({"0": "bad", "1": "good"}, {"neg": "bad", "pos": "good"}):
        rows = lk.load(data, classes=classes)
        assert rows.spec.classes == ("bad", "good") and rows["train"]["label"][:] == [1, 0]


def test_each_column_of_class_names_is_read_by_its_own_order():
    from datasets import ClassLabel, Dataset, Features, Value

    kinds = Features(text=Value("string"), a=ClassLabel(names=["no", "yes"]), b=ClassLabel(names=["yes", "no"]),
                     c=ClassLabel(names=["absent", "present"]), d=ClassLabel(names=["x", "y", "z"]))  # fmt: skip
    data = Dataset.from_dict(
        {"text": ["p", "q"], "a": [1, 0], "b": [0, 1], "c": [1, 0], "d": [0, 1]}, features=kinds
    )
    rows = lk.load(data, label=("a", "b", "c"))
    assert targets_of(rows["train"]).tolist() == [[1, 1, 1], [0, 0, 0]]
    assert noted(rows, "second class encoded as 1") == ["'present'"]
    with pytest.raises(DataError, match="column 'd' contains the classes x, y, z, not 0 and 1"):
        lk.load(data, label=("a", "d"))
    with pytest.raises(DataError, match="column 'a' contains the classes no, yes, not numbers"):
        lk.load(data, number="a")


@pytest.mark.parametrize(
    "labels",
    [
        ["['a', 'b']", "['b']", "[]"], ['["a", "b"]', '["b"]', "[]"], ["['a' 'b']", "['b']", "[]"],
        ["[a, b]", "[b]", "[]"], ["('a', 'b')", "('b',)", "()"], ["{'a', 'b'}", "{'b'}", "[]"],
        [{"a", "b"}, {"b"}, set()], [("a", "b"), ("b",), ()], [np.array(["a", "b"]), np.array(["b"]), np.array([])],
    ],
)  # fmt: skip
def test_lists_of_labels_however_they_are_written(labels):
    rows = labelled(labels)
    assert (rows.spec.problem_type, rows.spec.classes) == ("labels", ("a", "b"))
    assert targets_of(rows["train"]).tolist() == [[1, 1], [0, 1], [0, 0]]
    assert isinstance(labels[0], str) == bool(noted(rows, "list of labels parsed from text"))


def test_written_lists_without_a_value_are_missing_and_lone_brackets_are_names():
    rows = labelled(["['a', 'b']", "nan", None, "['b']"], missing="keep")
    assert list(rows["train"]["label"]) == [0, -1, -1, 0]
    assert labelled(["[pos]", "[neg]"] * 5).spec.classes == ("[neg]", "[pos]")


@pytest.mark.parametrize(
    "labels", [[[0, 1, 1], [1, 0, 0]], [[0.0, 1.0, 1.0], [1.0, 0.0, 0.0]], ["[0, 1, 1]", "[1 0 0]"]]
)
def test_lists_of_0_and_1_are_a_column_for_each_class(labels):
    rows = labelled(labels)
    assert rows.spec.classes == ("0", "1", "2") and targets_of(rows["train"]).tolist() == [
        [0, 1, 1],
        [1, 0, 0],
    ]
    assert labelled(labels, classes=("x", "y", "z")).spec.classes == ("x", "y", "z")
    with pytest.raises(DataError, match="lists of 3 zeros and ones, but there are 2 classes"):
        labelled(labels, classes=("x", "y"))


def test_labels_that_look_alike_or_may_be_several_are_reported_with_a_remedy():
    rows = labelled(["gut", "Gut", "GUT", "schlecht"] * 5)
    assert rows.spec.classes == ("GUT", "Gut", "gut", "schlecht")
    (said,) = noted(rows, "labels that differ only in case")
    assert said.startswith("'GUT', 'Gut', 'gut'; classes={")
    joined = labelled(
        ["gut", "Gut", "GUT", "schlecht"] * 5, classes=eval(said.partition("classes=")[2].split("}")[0] + "}")
    )
    assert joined.spec.counts["train"] == {"gut": 15, "schlecht": 5}
    assert noted(
        labelled(["caf\u00e9", "cafe\u0301", "x"] * 5), "labels that differ only in spaces or Unicode form"
    )
    for separator in ";|":
        (said,) = noted(labelled([f"a{separator}b", "a", "b"] * 5), "labels that may be lists of labels")
        assert f"separator={separator!r}" in said
    assert not noted(labelled(["pop/rock", "jazz", "folk"] * 5), "labels that may be lists of labels")


def test_words_for_missing_in_labels():
    with pytest.raises(DataError, match=r"labels are missing in column 'tag': 5 of 15"):
        labelled(["?", "a", "b"] * 5)
    assert labelled(["?", "a", "b"] * 5, classes=("?", "a", "b")).spec.counts["train"]["?"] == 5
    rows = labelled(["none", "+", "-"] * 5)
    assert rows.spec.classes == ("+", "-", "none")
    assert noted(rows, "label that may mean a missing value") == ["'-'", "'none'"]
    rows = labelled(["a;b", "NA", "", "b"], separator=";", missing="keep")
    assert list(rows["train"]["label"]) == [0, -1, 0, 0] and rows.spec.classes == ("a", "b")
