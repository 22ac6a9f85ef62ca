"""Labels renamed, merged and dropped, and suggestions which of them are misspellings."""

from __future__ import annotations

import pytest

import labkit as lk
from labkit.core.config import dumps
from labkit.core.errors import DataError
from labkit.data.prepare.classes import suggestions
from labkit.planning import experiment_of
from labkit.train.experiment import own_experiment


@pytest.fixture
def table(tmp_path):
    """30 positive, 30 negative, 20 mixed; and misspellings of one or two rows each."""
    labels = ["positive"] * 30 + ["negative"] * 30 + ["mixed"] * 20
    labels += ["postive", "Positive ", "NEGATIVE", "NEGATIVE", "pos", "negitive", "spam"]
    lines = [f"text number {n} of this table,{label}" for n, label in enumerate(labels)]
    (tmp_path / "x.csv").write_text("\n".join(["text,label", *lines]), encoding="utf-8")
    return lk.load(tmp_path / "x.csv")


def names(rows) -> list[str | None]:
    return [name for split in rows.splits.values() for name in rows.known_of(split)]


def test_misspellings_are_suggested(table):
    found = {each.label: each.into for each in suggestions(table)}
    assert found == {
        "postive": "positive",
        "Positive": "positive",
        "NEGATIVE": "negative",
        "pos": "positive",
        "negitive": "negative",
    }
    assert suggestions(table)[0].label == "NEGATIVE" and suggestions(table)[0].rows == 2
    merged = table.relabel({each.label: each.into for each in suggestions(table)})
    assert merged.spec.class_counts() == {"positive": 33, "negative": 33, "mixed": 20, "spam": 1}
    assert suggestions(merged) == []


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({"class 1": 90, "class 2": 1}, {}),  # a digit is another class
        ({"positive": 50, "negative": 50}, {}),
        ({"cat": 40, "car": 38}, {}),  # both frequent
        ({"客服": 40, "客 服": 3}, {"客 服": "客服"}),
        ({"Ｓport": 3, "sport": 40}, {"Ｓport": "sport"}),
        ({"yes": 40, "no": 2}, {}),
    ],
)
def test_different_labels_are_not_suggested(labels, expected, tmp_path):
    lines = [f"{label} {n} words,{label}" for label, count in labels.items() for n in range(count)]
    (tmp_path / "x.csv").write_text("\n".join(["text,label", *lines]), encoding="utf-8")
    assert {each.label: each.into for each in suggestions(lk.load(tmp_path / "x.csv"))} == expected


def test_rows_keep_their_text_and_number(table):
    before = dict(zip(table["train"]["row"], names(table), strict=True))
    made = table.relabel({"postive": "positive", "mixed": "other"}, drop=["spam"])
    after = dict(zip(made["train"]["row"], names(made), strict=True))
    expected = {
        row: {"postive": "positive", "mixed": "other"}.get(name, name) for row, name in before.items()
    }
    assert after == {row: name for row, name in expected.items() if name != "spam"}
    texts = zip(table["train"]["text"], names(table), strict=True)
    assert made["train"]["text"] == [text for text, name in texts if name != "spam"]
    dropped = [note for note in made.report.notes if note.reason == "label dropped"]
    assert [note.detail for note in dropped] == ["'spam'"] and dropped[0].row == 86
    assert any(note.detail == "'mixed' → 'other': 20" for note in made.report.notes)


def test_several_labels_are_merged_by_row(tmp_path):
    lines = ["a,red;blue", "b,Red", "c,blue;Red", "d,green"]
    (tmp_path / "x.csv").write_text("\n".join(["text,tags", *lines * 3]), encoding="utf-8")
    made = lk.load(tmp_path / "x.csv", label="tags", separator=";").relabel({"Red": "red"}, drop=["green"])
    assert set(made.schema.classes) == {"blue", "red"} and made.spec.class_counts() == {"red": 9, "blue": 6}
    found = [set(filter(None, name.split(", "))) for name in names(made)[:4]]
    assert found == [{"red", "blue"}, {"red"}, {"blue", "red"}, set()]


def test_a_table_and_an_experiment_do_it_again(table, tmp_path):
    rows = table.relabel({"postive": "positive"}, drop=["spam"]).split(seed=1)
    assert rows.source["steps"][0] == {"do": "relabel", "names": {"postive": "positive"}, "drop": ["spam"]}
    rows, experiment = experiment_of(rows, "textcnn", False, {})
    again = own_experiment(dumps(experiment))
    assert again == experiment and again.data.load(again.task).fingerprint == rows.fingerprint


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"names": {"postiv": "positive"}}, "no label 'postiv'.*Did you mean 'postive'"),
        ({"drop": ["nothing"]}, "no label 'nothing'"),
        (
            {
                "drop": [
                    "positive",
                    "negative",
                    "mixed",
                    "postive",
                    "Positive",
                    "NEGATIVE",
                    "pos",
                    "negitive",
                    "spam",
                ]
            },
            "keep at least one",
        ),
    ],
)
def test_wrong_labels_are_named(settings, message, table):
    with pytest.raises(DataError, match=message):
        table.relabel(**settings)


def test_numbers_have_no_classes(tmp_path):
    (tmp_path / "x.csv").write_text("a,b\n" + "".join(f"{n},{n * 2}\n" for n in range(20)))
    with pytest.raises(DataError, match="no classes"):
        lk.load(tmp_path / "x.csv", features=True, number="b").relabel({"a": "b"})
