"""Labels of single rows corrected, added and confirmed: the log in the report, saving, and replay on changed data."""

from __future__ import annotations

import pytest

import labkit as lk
from labkit.core.config import dumps
from labkit.core.errors import DataError
from labkit.planning import experiment_of
from labkit.train.experiment import own_experiment


@pytest.fixture
def rows(tmp_path):
    labels = ["good", "bad"] * 20 + [""] * 4
    lines = [f"text number {n} of this table,{label}" for n, label in enumerate(labels)]
    (tmp_path / "x.csv").write_text("\n".join(["text,label", *lines]), encoding="utf-8")
    return lk.load(tmp_path / "x.csv", missing="keep")


def names(rows) -> dict[int, str | None]:
    return {
        row: name
        for part in rows.splits.values()
        for row, name in zip(part["row"], rows.known_of(part), strict=True)
    }


def test_labels_are_corrected_added_and_confirmed_and_the_report_lists_them(rows):
    before = names(rows)
    made = rows.correct_labels({0: "bad", "41": "good", 42: "so so"}, confirmed=[3], add=["so so"])
    assert names(made) == {**before, 0: "bad", 41: "good", 42: "so so"}
    assert made.schema.classes == (*rows.schema.classes, "so so")
    assert made.spec.unlabelled == {"train": 2}
    notes = {(note.row, str(note.reason), note.detail) for note in made.report.notes}
    assert {
        (0, "label corrected", "'good' → 'bad'"),
        (41, "label added", "'good'"),
        (42, "label added", "'so so'"),
        (3, "label confirmed", "'bad'"),
    } <= notes
    assert names(rows) == before  # immutable


def test_the_log_survives_saving_splitting_and_an_experiment_file(rows, tmp_path):
    made = rows.correct_labels({0: "bad"}, confirmed=[3]).split(test=8, validation=8)
    again = lk.load(made.save(tmp_path / "saved"))
    assert names(again) == names(made) and again.report == made.report
    rows, experiment = experiment_of(made, lk.models["textcnn"](), False, {"epochs": 1})
    repeated = own_experiment(dumps(experiment)).data.load(experiment.task)
    assert repeated.fingerprint == made.fingerprint
    step = made.source["steps"][0]
    assert step == {
        "do": "correct_labels", "labels": {"0": "bad"}, "confirmed": [3], "was": {"0": "good", "3": "bad"},
    }  # fmt: skip


def test_a_source_that_has_changed_is_detected(rows):
    with pytest.raises(DataError, match=r"row 0 has the label 'good', but had 'bad' when it was corrected"):
        rows.correct_labels({0: "good"}, was={0: "bad"})
    with pytest.raises(DataError, match=r"row 41 has the label '', but had 'bad'"):
        rows.correct_labels({41: "good"}, was={41: "bad"})


@pytest.mark.parametrize(
    ("labels", "settings", "said"),
    [
        ({0: "goood"}, {}, "there is no label 'goood'. Did you mean 'good'"),
        ({99: "good"}, {}, "do not exist or were removed by an earlier step: 99"),
        ({-1: "good"}, {}, "-1 is not a row number"),
        ({"x": "good"}, {}, "'x' is not a row number"),
        ({True: "good"}, {}, "True is not a row number"),
        ({0: 1}, {}, "there is no label '1'"),
        ({}, {"confirmed": [99]}, "do not exist or were removed by an earlier step: 99"),
    ],
)
def test_what_cannot_be_corrected_is_refused(rows, labels, settings, said):
    with pytest.raises(DataError) as error:
        rows.correct_labels(labels, **settings)
    assert said in str(error.value)


def test_several_labels_and_numbers_are_refused(tmp_path):
    (tmp_path / "n.csv").write_text("a,b\n" + "".join(f"{n},{n * 2}\n" for n in range(20)))
    with pytest.raises(DataError, match="a row of these data has numbers"):
        lk.load(tmp_path / "n.csv", features=True, number="b").correct_labels({0: "1"})
    lines = ["a,red;blue", "b,red", "c,blue;red", "d,green"]
    (tmp_path / "m.csv").write_text("\n".join(["text,tags", *lines * 3]), encoding="utf-8")
    with pytest.raises(DataError, match="a row of these data has several labels"):
        lk.load(tmp_path / "m.csv", label="tags", separator=";").correct_labels({0: "red"})


def test_texts_without_any_label_get_classes(tmp_path):
    (tmp_path / "x.csv").write_text("text\n" + "".join(f"text number {n} here\n" for n in range(8)))
    rows = lk.load(tmp_path / "x.csv", text="text")
    made = rows.correct_labels({0: "a", 1: "b"}, add=["a", "b"])
    assert made.schema.classes == ("a", "b") and made.spec.counts == {"train": {"a": 1, "b": 1}}
