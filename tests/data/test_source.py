"""Every kind of source, what is inferred from it, and what is said of its bad rows."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from datasets import Array2D, ClassLabel, Dataset, DatasetDict, Features, Value
from hypothesis import given, settings
from hypothesis import strategies as st

import labkit as lk
from labkit.core.errors import ConfigError, DataError, SampleError
from labkit.data.io.load import open_rows
from labkit.data.report import CAP, Note, Report, visible
from labkit.data.schema import Spec
from tests.shown import shown_html

TABLE = [
    {"text": "a fine film", "label": "pos", "year": 1999},
    {"text": "a dull film", "label": "neg", "year": 2001},
    {"text": "fine acting", "label": "pos", "year": 2003},
]


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path_factory.mktemp("cache")))


def same(rows: lk.Rows) -> bool:
    """Whether ``rows`` are those of TABLE."""
    train = rows["train"].to_dict()
    return (
        train["text"] == [row["text"] for row in TABLE]
        and [rows.spec.classes[i] for i in train["label"]] == [row["label"] for row in TABLE]
        and [int(year) for year in train["year"]] == [row["year"] for row in TABLE]
        and train["row"] == [0, 1, 2]
    )


def write_jsonl(path: Path, lines: list[Any]) -> Path:
    path.write_text(
        "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines), encoding="utf-8"
    )
    return path


class TestKinds:
    def test_list_of_dicts(self) -> None:
        rows = lk.load(TABLE)
        assert same(rows)
        assert rows.source == {"source": ""}
        assert rows["train"].features["label"] == Value("int32")
        assert rows["train"].features["row"] == Value("int64")
        assert rows["train"].features["text"] == Value("string")

    @pytest.mark.parametrize("kind", ["str", "object", "category", "string", "string[python]"])
    def test_pandas(self, kind: str) -> None:
        frame = pd.DataFrame(TABLE)
        assert same(lk.load(frame.astype({"label": kind, "text": kind})))

    def test_pandas_index_that_is_lost_is_reported(self) -> None:
        rows = lk.load(pd.DataFrame(TABLE).iloc[[1, 0]])
        assert rows["train"]["row"][:] == [0, 1]
        assert rows.report.counts() == {"counted": {"index dropped": 1}}

    def test_csv_keeps_other_columns_as_text(self, tmp_path: Path) -> None:
        pd.DataFrame(TABLE).to_csv(tmp_path / "x.csv", index=False)
        rows = lk.load(tmp_path / "x.csv")
        assert same(rows)
        assert rows["train"].features["year"] == Value("string")

    def test_jsonl(self, tmp_path: Path) -> None:
        assert same(lk.load(write_jsonl(tmp_path / "x.jsonl", [*TABLE, ""])))

    def test_parquet(self, tmp_path: Path) -> None:
        pd.DataFrame(TABLE).to_parquet(tmp_path / "x.parquet")
        assert same(lk.load(str(tmp_path / "x.parquet")))

    def test_parquet_of_datasets_keeps_class_names(self, tmp_path: Path) -> None:
        features = Features(text=Value("string"), label=ClassLabel(names=["zero", "one", "two"]))
        Dataset.from_dict({"text": ["x", "y"], "label": [1, 0]}, features).to_parquet(tmp_path / "x.parquet")
        rows = lk.load(tmp_path / "x.parquet")
        assert rows.spec.classes == ("zero", "one", "two")
        assert rows["train"]["label"][:] == [1, 0]

    def test_dataset_with_class_names_in_their_order(self) -> None:
        features = Features(text=Value("string"), label=ClassLabel(names=["pos", "neg"]))
        data = Dataset.from_dict({"text": ["x", "y", "z"], "label": [1, 0, -1]}, features)
        rows = lk.load(data, missing="keep")
        assert rows.spec.classes == ("pos", "neg")
        assert rows["train"]["label"][:] == [1, 0, -1]
        assert rows.spec.unlabelled == {"train": 1}

    def test_a_shuffled_dataset_is_read_in_its_order(self) -> None:
        rows = lk.load(Dataset.from_list(TABLE).select([2, 0]))
        assert rows["train"]["text"][:] == ["fine acting", "a fine film"]
        assert rows["train"]["row"][:] == [0, 1]

    def test_dataset_dict_numbers_run_on_and_unseen_labels_are_counted(self) -> None:
        splits = {
            "test": Dataset.from_list([{"text": "x", "label": "neg"}, {"text": "y", "label": "new"}]),
            "dev": Dataset.from_list([{"text": "z", "label": "pos"}]),
            "train": Dataset.from_list(TABLE),
        }
        rows = lk.load(DatasetDict(splits))
        assert list(rows.splits) == ["train", "validation", "test"]
        assert rows.spec.classes == ("neg", "pos")
        assert [rows[name]["row"][:] for name in rows.splits] == [[0, 1, 2], [3], [4, 5]]
        assert rows["test"]["label"][:] == [0, -1]
        assert rows.report.notes == [
            Note(
                5,
                "label",
                "counted",
                "unseen label",
                "<unseen>: 'new' is not among the labels of train",
                "test",
            )
        ]

    def test_a_class_that_train_lacks_but_the_caller_names_keeps_its_id(self) -> None:
        splits = {name: Dataset.from_list(TABLE[at : at + 1]) for at, name in enumerate(("train", "test"))}
        rows = lk.load(DatasetDict(splits), classes=("neg", "pos"))
        assert rows["test"]["label"][:] == [0]
        assert rows.report.counts() == {"counted": {"class without training rows": 1}}

    def test_folder_of_splits(self, tmp_path: Path) -> None:
        pd.DataFrame(TABLE).to_csv(tmp_path / "train.csv", index=False)
        write_jsonl(tmp_path / "valid.jsonl", TABLE[:1])
        (tmp_path / "README.md").write_text("what it is")
        rows = lk.load(tmp_path)
        assert same(rows)
        assert rows.counts() == {"train": 3, "validation": 1}
        assert rows["validation"]["row"][:] == [3]
        only = lk.load(tmp_path, split="val")
        assert only.counts() == {"validation": 1}
        assert only.source["split"] == "val"
        with pytest.raises(DataError, match="no split 'tst'"):
            lk.load(tmp_path, split="tst")

    def test_folder_of_shards(self, tmp_path: Path) -> None:
        for index in range(2):
            pd.DataFrame(TABLE).to_parquet(tmp_path / f"train-{index:05}-of-00002.parquet")
        rows = lk.load(tmp_path)
        assert rows["train"]["row"][:] == [0, 1, 2, 3, 4, 5]

    def test_two_files_for_one_split_are_refused(self, tmp_path: Path) -> None:
        for name in ("dev.csv", "validation.csv"):
            (tmp_path / name).write_text("text,label\nx,a\n")
        with pytest.raises(
            DataError, match=r"'dev.csv' and 'validation.csv' both define the split 'validation'"
        ):
            lk.load(tmp_path)

    @pytest.mark.parametrize("splits", [[""], ["train", "test"]])
    def test_folder_of_classes(self, tmp_path: Path, splits: list[str]) -> None:
        for split in splits:
            for label, text in (("pos", "fine"), ("neg", "dull\nfilm")):
                place = tmp_path / split / label
                place.mkdir(parents=True)
                (place / "1.txt").write_text(text)
        rows = lk.load(tmp_path)
        assert list(rows.splits) == [name or "train" for name in splits]
        assert rows["train"]["text"][:] == ["dull\nfilm", "fine"]
        assert rows.spec.classes == ("neg", "pos")
        assert rows["train"]["file"][:] == ["neg/1.txt", "pos/1.txt"]

    def test_folder_written_by_datasets(self, tmp_path: Path) -> None:
        Dataset.from_list(TABLE).save_to_disk(tmp_path / "x")
        assert same(lk.load(tmp_path / "x"))

    def test_folder_without_data_says_what_is_in_it(self, tmp_path: Path) -> None:
        (tmp_path / "notes.md").write_text("x")
        with pytest.raises(DataError, match=r"contains notes.md. Expected one file per split"):
            lk.load(tmp_path)

    @pytest.mark.samples
    def test_sample(self) -> None:
        os.environ.pop("LABKIT_CACHE")  # the fixture puts it back
        rows = lk.load("movie-reviews", min_score=1)
        assert rows.source == {"source": "movie-reviews", "min_score": 1}
        assert rows.spec.classes == ("negative", "positive")
        refused = rows.report.counts()["refused"]["|score| is not above 1"]
        assert len(rows) + refused == 10_605
        assert rows["train"]["row"][0] == 0
        with pytest.raises(DataError, match="Did you mean 'min_score'"):
            lk.load("movie-reviews", min_scor=1)


class TestHub:
    def test_a_name_without_revision_must_be_pinned(self) -> None:
        with pytest.raises(DataError, match=r"pin a revision with lk\.load\('org/name', revision="):
            lk.load("org/name")

    def test_offline_is_said_clearly(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        with pytest.raises(SampleError, match="'org/name' at revision 'abc' could not be loaded"):
            lk.load("org/name", revision="abc")

    def test_labkit_offline_asks_nobody(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("LABKIT_OFFLINE", "1")
        with pytest.raises(SampleError, match="LABKIT_OFFLINE is set"):
            lk.load("org/name@abc")

    def test_name_revision_and_subset_reach_the_client(self, monkeypatch: pytest.MonkeyPatch) -> None:
        asked: list[Any] = []

        def load_dataset(*args: Any, **kwargs: Any) -> DatasetDict:
            asked.append((args, kwargs))
            return DatasetDict(train=Dataset.from_list(TABLE))

        monkeypatch.setattr("datasets.load_dataset", load_dataset)
        rows = lk.load("org/name", revision="abc", subset="en")
        assert same(rows)
        assert asked == [(("org/name", "en"), {"revision": "abc"})]
        assert rows.source == {"source": "org/name", "revision": "abc", "subset": "en"}


class TestUnknown:
    def test_string_that_is_nothing_known(self, tmp_path: Path) -> None:
        with pytest.raises(
            DataError, match=r"neither a local file or folder, nor a sample .* Did you mean 'movie-reviews'"
        ):
            lk.load("movie-review")
        (tmp_path / "reviews.csv").write_text("text\nx\n")
        with pytest.raises(DataError, match=r"Did you mean 'reviews.csv'"):
            lk.load(tmp_path / "review.csv")

    def test_objects(self) -> None:
        with pytest.raises(DataError, match="cannot read a set"):
            lk.load({1, 2})
        with pytest.raises(DataError, match="row 1 is a str, not a dict"):
            lk.load([{"text": "x"}, "y"])
        with pytest.raises(DataError, match="streamed"):
            lk.load(Dataset.from_list(TABLE).to_iterable_dataset())

    @pytest.mark.parametrize("empty", [[], pd.DataFrame({"text": []}), Dataset.from_dict({"text": []})])
    def test_no_rows(self, empty: Any) -> None:
        with pytest.raises(DataError, match="0 rows"):
            lk.load(empty)

    def test_arguments_without_use_are_refused(self) -> None:
        with pytest.raises(ConfigError, match="does not accept delimiter for rows in memory"):
            lk.load(TABLE, delimiter=",")
        with pytest.raises(
            ConfigError, match=r"on_bad = 'skp' is not one of 'error', 'skip'. Did you mean 'skip'"
        ):
            lk.load(TABLE, on_bad="skp")

    @pytest.mark.parametrize("name", ["x.pkl", "x.pt", "x.bin", "x.csv", "x.parquet", "x.jsonl", "train.csv"])
    def test_a_pickle_never_runs(self, tmp_path: Path, name: str) -> None:
        class Canary:
            def __reduce__(self) -> Any:
                return os.mkdir, (str(tmp_path / "sang"),)

        (tmp_path / name).write_bytes(pickle.dumps(Canary()))
        with pytest.raises(DataError, match="can execute code"):
            lk.load(tmp_path if name == "train.csv" else tmp_path / name)
        assert not (tmp_path / "sang").exists()


class TestColumns:
    def test_names_win_over_lengths(self) -> None:
        rows = lk.load(
            [{"review": "x", "notes": "long " * 9, "sentiment": "a"}, {"review": "y", "sentiment": "b"}]
        )
        assert (rows.spec.text, rows.spec.label) == (("review",), "sentiment")

    def test_without_names_what_they_hold_decides_and_is_reported(self) -> None:
        rows = lk.load([{"id": f"n{i}", "said": f"some words {i}", "mood": "ab"[i % 2]} for i in range(6)])
        assert (rows.spec.text, rows.spec.label) == (("said",), "mood")
        assert list(rows.report.counts()["counted"]) == [
            "text column detected by its length",
            "label column detected by its few distinct values",
        ]

    def test_two_like_columns_are_asked_about(self) -> None:
        table = [{"premise": f"a man walks here {i}", "hypothesis": f"someone is moving {i}", "y": "ab"[i % 2]}
                 for i in range(6)]  # fmt: skip
        with pytest.raises(DataError, match=r"text=\('hypothesis', 'premise'\) for pairs"):
            lk.load(table)
        rows = lk.load(table, text=("premise", "hypothesis"))
        assert rows.spec.pairs
        first = {"text": "a man walks here 0", "text_pair": "someone is moving 0", "label": 0, "row": 0}
        assert rows["train"][0] == first

    def test_arrays_of_datasets_are_neither_labels_nor_features_nor_numbers(self) -> None:
        kinds = {"text": Value("string"), "size": Value("int64"), "map": Array2D((2, 2), "uint8")}
        cells = {
            "text": [f"text {i}" for i in range(9)],
            "size": list(range(9)),
            "map": [np.eye(2, dtype="u1")] * 9,
        }
        table = Dataset.from_dict(cells, Features(kinds))
        rows = lk.load(table)
        assert rows.spec.label is None and "map" in rows["train"].column_names
        for choice, said in (
            ({"text": "map"}, "'map' contains .*, not text"),
            ({"label": "map"}, "'map' contains .*, which cannot be labels"),
            ({"number": "map"}, "'map' contains .*, not numbers"), ({"features": ["map"]}, "map"),
        ):  # fmt: skip
            with pytest.raises(DataError, match=said):
                lk.load(table, **choice)

    def test_no_label(self) -> None:
        rows = lk.load(TABLE, label=False)
        assert rows["train"]["label"][:] == [-1, -1, -1]
        assert rows["train"]["source_label"][:] == ["pos", "neg", "pos"]
        with pytest.raises(DataError, match="the rows have no labels"):
            rows.spec.check_trainable()


class TestLabels:
    @pytest.mark.parametrize(
        ("labels", "classes", "ids"),
        [
            ([True, False], ("False", "True"), [1, 0]),
            ([10, 9, -1], ("-1", "9", "10"), [2, 1, 0]),
            ([1.0, 0.0], ("0", "1"), [1, 0]),
            ([0.5, 1.0], ("0.5", "1"), [0, 1]),
            (["b", "a"], ("a", "b"), [1, 0]),
        ],
    )
    def test_class_names_by_kind(self, labels: list[Any], classes: tuple[str, ...], ids: list[int]) -> None:
        rows = lk.load([{"text": "x", "label": label} for label in labels])
        assert rows.spec.classes == classes
        assert rows["train"]["label"][:] == ids

    @pytest.mark.parametrize("gone", [None, float("nan"), "", " ", "NaN", "null"])
    def test_missing_labels_are_never_class_0(self, gone: Any) -> None:
        other = 1 if isinstance(gone, float) else "a"
        table = [{"text": f"t{i}", "label": gone if i % 2 else other} for i in range(14)]
        with pytest.raises(
            DataError, match=r"7 of 14 in train \(rows 1, 3, 5, 7, 9, …\).*missing=\"drop\".*\"keep\""
        ):
            lk.load(table)
        dropped = lk.load(table, missing="drop")
        assert dropped["train"]["row"][:] == list(range(0, 14, 2))
        assert dropped.report.counts()["refused"] == {"missing label": 7}
        kept = lk.load(table, missing="keep")
        assert kept["train"]["label"][:] == [0, -1] * 7
        assert kept.report.counts()["counted"]["missing label"] == 7

    def test_a_split_without_labels(self) -> None:
        splits = DatasetDict(train=Dataset.from_list(TABLE), test=Dataset.from_list([{"text": "x"}]))
        with pytest.raises(DataError, match=r"1 of 1 in test \(rows 3\)"):
            lk.load(splits)
        assert lk.load(splits, missing="keep")["test"]["label"][:] == [-1]

    def test_classes_give_order_names_and_choice(self) -> None:
        assert lk.load(TABLE, classes=("pos", "neg"))["train"]["label"][:] == [0, 1, 0]
        named = lk.load([{"text": "x", "label": 1}, {"text": "y", "label": 0}], classes={0: "bad", 1: "good"})
        assert (named.spec.classes, named["train"]["label"][:]) == (("bad", "good"), [1, 0])
        assert named.source == {"source": "", "classes": {"0": "bad", "1": "good"}}
        with pytest.raises(
            DataError, match=r"label outside classes \(2\): row 0 .*; row 2 .*'pos' is not one of neg"
        ):
            lk.load(TABLE, classes=("neg",))
        assert lk.load(TABLE, classes=("neg",), on_bad="skip")["train"]["row"][:] == [1]

    def test_one_class_loads_and_says_it_cannot_be_trained(self) -> None:
        rows = lk.load([{"text": "x", "label": "a"}] * 3)
        assert rows.report.counts() == {"counted": {"only one class": 1}}
        with pytest.raises(DataError, match="at least two classes; these have a"):
            rows.spec.check_trainable()

    def test_a_measured_number_is_no_class(self) -> None:
        with pytest.raises(
            DataError, match="30 distinct values in 30 rows: classification needs few classes"
        ):
            lk.load([{"text": f"t{i}", "label": i / 7 + 0.01} for i in range(30)])
        with pytest.raises(DataError, match="1,500 distinct values"):
            lk.load([{"text": f"t{i}", "label": i % 1500} for i in range(6000)])


class TestTexts:
    def test_numbers_become_text_and_are_counted(self) -> None:
        rows = lk.load([{"text": 5, "label": "a"}, {"text": 7, "label": "b"}])
        assert rows["train"]["text"][:] == ["5", "7"]
        assert rows.report.counts() == {"repaired": {"numbers converted to text": 2}}

    def test_numbers_among_texts(self, tmp_path: Path) -> None:
        table = [{"text": "x", "label": "a"}, {"text": 7.5, "label": "b"}, {"text": True, "label": "b"}]
        for rows in (lk.load(table), lk.load(write_jsonl(tmp_path / "x.jsonl", table))):
            assert rows["train"]["text"][:] == ["x", "7.5", "True"]
            assert [note.row for note in rows.report.notes] == [1, 2]

    def test_kinds_that_change_between_portions(self, tmp_path: Path) -> None:
        table = [
            {"text": f"t{i}", "label": i % 2, "tag": i if i < 11_000 else f"s{i}"} for i in range(12_000)
        ]
        table[-1]["late"] = 1.5
        rows = lk.load(write_jsonl(tmp_path / "x.jsonl", table))
        assert rows["train"]["tag"][10_998:11_002] == ["10998", "10999", "s11000", "s11001"]
        assert rows["train"]["late"][-2:] == [None, 1.5]
        assert rows.report.counts() == {"repaired": {"numbers in a text column converted to text": 11_000}}
        assert len(rows.report.notes) == CAP

    def test_lone_surrogates(self, tmp_path: Path) -> None:
        table = [{"text": "a\ud800b", "label": "x"}, {"text": "\U0001f600", "label": "y"}]
        sources = [table, pd.DataFrame(table, dtype=object), write_jsonl(tmp_path / "x.jsonl", table)]
        for source in sources:
            rows = lk.load(source)
            assert rows["train"]["text"][:] == ["a\ufffdb", "\U0001f600"]
            assert rows.report.notes == [Note(0, "text", "repaired", "lone surrogates replaced by U+FFFD")]

    def test_bytes_in_arrow_that_are_no_text(self) -> None:
        import pyarrow as pa

        broken = pa.array([b"fine", b"\xed\xa0\x80!", None]).view(pa.string())
        data = Dataset(pa.table({"text": broken, "label": ["a", "b", "a"]}))
        rows = lk.load(data, on_bad="skip")
        assert rows["train"]["text"][:] == ["fine", "\ufffd\ufffd\ufffd!"]
        assert rows.report.counts() == {
            "refused": {"empty text": 1}, "repaired": {"bytes invalid in UTF-8 replaced by U+FFFD": 1},
        }  # fmt: skip

    def test_empty_texts_of_a_pair(self) -> None:
        table = [{"a": "x", "b": "y", "label": 0}, {"a": "x", "b": " ", "label": 1}]
        with pytest.raises(DataError, match=r"1 of 2 rows are unusable:\n  empty text \(1\): row 1"):
            lk.load(table, text=("a", "b"))

    def test_lists_are_no_text(self) -> None:
        with pytest.raises(DataError, match=r"column 'text' contains list<.*>, not text"):
            lk.load([{"text": ["x"], "label": 0}])
        with pytest.raises(DataError, match="column 'text' has mixed types: row 1 contains a list"):
            lk.load([{"text": "x"}, {"text": ["x"]}])


@settings(max_examples=150, deadline=None)
@given(st.lists(st.text(st.characters(codec=None)), min_size=1, max_size=8))  # surrogates too
def test_any_texts_come_back_as_they_were_or_reported(texts: list[str]) -> None:
    table = [{"text": text, "label": "ab"[i % 2]} for i, text in enumerate(texts)]
    lone = [i for i, text in enumerate(texts) if any("\ud800" <= char <= "\udfff" for char in text)]
    try:
        rows = lk.load(table, text="text", on_bad="skip")  # "a.txt" would be the name of a file
    except DataError as error:
        assert "0 rows remain" in str(error)
        assert not any(text.strip() for text in texts)
        return
    kept = dict(zip(rows["train"]["row"][:], rows["train"]["text"][:], strict=True))
    refused = [note.row for note in rows.report.of("refused").get("empty text", [])]
    repaired = [note.row for note in rows.report.of("repaired").get("lone surrogates replaced by U+FFFD", [])]
    assert sorted([*kept, *refused]) == list(range(len(texts)))
    assert repaired == lone
    assert all(kept[i] == text for i, text in enumerate(texts) if i in kept and i not in lone)


class TestJsonLines:
    def test_bad_lines_by_number(self, tmp_path: Path) -> None:
        lines = [TABLE[0], "{broken", "", TABLE[1], "[1]", '{"text": "x", "text": "y"}']
        path = write_jsonl(tmp_path / "x.jsonl", lines)
        with pytest.raises(DataError, match=r"3 of 5 rows are unusable"):
            lk.load(path)
        rows = lk.load(path, on_bad="skip")
        assert rows["train"]["row"][:] == [0, 2]
        notes = [(note.row, note.detail.split(":")[0]) for note in rows.report.notes]
        assert notes == [(1, "line 2"), (3, "line 5"), (4, "line 6")]
        assert "a list, not an object" in rows.report.notes[1].detail
        assert "'text' occurs twice" in rows.report.notes[2].detail

    def test_nothing_usable(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="rows are unusable"):
            lk.load(write_jsonl(tmp_path / "x.jsonl", ["{", "}"]))
        with pytest.raises(DataError, match=r"0 rows remain in train. Rejected: not a JSON object 2"):
            lk.load(tmp_path / "x.jsonl", on_bad="skip")
        (tmp_path / "z.jsonl").write_text("\n")
        with pytest.raises(DataError, match="0 rows"):
            lk.load(tmp_path / "z.jsonl")


class TestRows:
    def test_spec_tells_counts_and_lengths_as_python_would(self) -> None:
        texts = ["é" * n for n in (1, 4, 9, 30, 2)]
        rows = lk.load([{"text": text, "label": i % 2} for i, text in enumerate(texts)])
        sizes = np.array([len(text) for text in texts])
        found = rows.spec.lengths["train"]
        assert (found.min, found.median, found.mean, found.max) == (1, 4, sizes.mean(), 30)
        assert found.p95 == np.quantile(sizes, 0.95)
        assert rows.spec.counts == {"train": {"0": 3, "1": 2}}
        assert rows.spec.rows == {"train": 5}
        assert Spec.from_dict(json.loads(json.dumps(rows.spec.to_dict()))) == rows.spec

    def test_save_and_open(self, tmp_path: Path) -> None:
        rows = lk.load([*TABLE, {"text": "", "label": "pos"}], on_bad="skip")
        rows.save(tmp_path / "kept")
        for again in (open_rows(tmp_path / "kept"), lk.load(tmp_path / "kept")):
            assert (again.fingerprint, again.spec, again.report) == (rows.fingerprint, rows.spec, rows.report)
            assert again.source == rows.source
            assert again["train"].to_dict() == rows["train"].to_dict()
            assert again["train"].features == rows["train"].features

    def test_save_over_rows_but_never_over_anything_else(self, tmp_path: Path) -> None:
        first, second = lk.load(TABLE), lk.load(TABLE[:2])
        first.save(tmp_path / "kept")
        second.save(tmp_path / "kept")
        assert len(open_rows(tmp_path / "kept")) == 2
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / "thesis.tex").write_text("x")
        with pytest.raises(DataError, match="not empty and contains no saved rows"):
            first.save(tmp_path / "mine")
        assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.tex"]
        assert sorted(path.name for path in tmp_path.iterdir()) == ["kept", "mine"]

    @pytest.mark.parametrize("damage", ["cut", "gone"])
    def test_a_damaged_folder_is_not_opened(self, tmp_path: Path, damage: str) -> None:
        lk.load(TABLE).save(tmp_path / "kept")
        data = tmp_path / "kept" / "0.arrow"
        if damage == "gone":
            data.unlink()
        else:
            data.write_bytes(data.read_bytes()[:-200])
        with pytest.raises(DataError, match="does not contain complete saved rows"):
            open_rows(tmp_path / "kept")

    def test_fingerprint_is_of_the_content(self) -> None:
        rows = lk.load(TABLE)
        again = rows.with_splits({"train": rows["train"].select([2, 1, 0]).select([2, 1, 0])})
        assert again.fingerprint == rows.fingerprint
        moved = [TABLE[0] | {"text": "a fine fil"}, TABLE[1] | {"text": "ma dull film"}, TABLE[2]]
        others = [
            lk.load(moved),
            lk.load(TABLE, classes=("pos", "neg")),
            rows.with_splits({"test": rows["train"]}),
        ]
        assert len({rows.fingerprint, *(other.fingerprint for other in others)}) == 4

    def test_with_splits_counts_anew_and_adds_notes(self) -> None:
        rows = lk.load(TABLE)
        note = Note(1, "text", "refused", "duplicate")
        fewer = rows.with_splits(
            {"train": rows["train"].select([0]), "test": rows["train"].select([2])}, [note]
        )
        assert fewer.spec.counts == {"train": {"neg": 0, "pos": 1}, "test": {"neg": 0, "pos": 1}}
        assert fewer.report.notes == [note]
        assert len(rows.report) == 0
        with pytest.raises(DataError, match="split 'train' lacks the columns label"):
            rows.with_splits({"train": rows["train"].remove_columns("label")})

    def test_what_is_shown_is_escaped(self) -> None:
        text = "<script>alert(1)</script>\u202e\0\u200b"
        rows = lk.load([{"text": text, "label": "<b>"}, {"text": "y", "label": "c\u202e"}])
        page = shown_html(rows)
        assert "<script" not in page and "<b>c" not in page and "&lt;b&gt;" in page
        assert "&lt;script&gt;alert(1)&lt;/script&gt;\\u202e␀\\u200b" in page
        for shown in (page, repr(rows), str(rows.head())):
            assert not set(shown) & set("\u202e\0\u200b")
        assert rows["train"][0]["text"] == text  # the data keep it

    def test_plain_repr_is_the_same_every_time(self, tmp_path: Path) -> None:
        assert repr(lk.load(TABLE)).splitlines() == [
            "Rows: 3 in 1 split",
            "  train: 3 (neg 1, pos 2)",
            "  characters, train: 11 to 11, median 11, 95 % within 11",
            "  text: text; label: label",
            "  Report: nothing refused, repaired or counted",
        ]

    def test_unknown_split(self) -> None:
        with pytest.raises(DataError, match=r"no split 'trian'. Did you mean 'train'"):
            lk.load(TABLE)["trian"]


def test_report_keeps_exact_counts_beyond_its_cap() -> None:
    report = Report()
    report.add("counted", "odd", range(CAP + 5), detail=[str(i) for i in range(CAP + 5)])
    merged = report.merge([Note(1, None, "refused", "bad")]).merge(report)
    assert merged.counts() == {"refused": {"bad": 1}, "counted": {"odd": 2 * (CAP + 5)}}
    assert len(merged.of("counted")["odd"]) == CAP
    assert Report.from_dict(json.loads(json.dumps(merged.to_dict()))) == merged
    assert merged.moved(10, "test").notes[-1] == Note(11, None, "refused", "bad", "", "test")


def test_visible_writes_out_what_hides() -> None:
    assert visible("a\0\n\x7f\x85\u202e\ud800\U000e0041é中") == "a␀␊␡\\u0085\\u202e\\ud800\\U000e0041é中"
    assert visible("abcdef", 3) == "abc…"
