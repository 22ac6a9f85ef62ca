"""One table read without choosing a text or a label: the same columns and rows as :func:`labkit.load`."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

import labkit as lk
from labkit.core.errors import ConfigError, DataError
from labkit.data.io.load import read_table

RECORDS = [{"text": "good film", "label": "pos"}, {"text": "bad; film", "label": "neg"}]


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path_factory.mktemp("cache")))


def write(folder: Path, name: str) -> Path:
    path, frame = folder / name, pd.DataFrame(RECORDS)
    if name.endswith(".jsonl"):
        path.write_text("\n".join(map(json.dumps, RECORDS)))
    elif name.endswith(".parquet"):
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False, sep="\t" if name.endswith(("tsv", "tab")) else ";")
    return path


@pytest.mark.parametrize("name", ["r.csv", "r.tsv", "r.tab", "r.jsonl", "r.parquet"])
def test_a_table_is_read_as_load_reads_it(tmp_path: Path, name: str):
    found = read_table(write(tmp_path, name))
    assert found.table.to_pylist() == RECORDS
    assert found.rows.tolist() == [0, 1]
    assert len(found.report) == 0
    assert lk.load(tmp_path / name)["train"]["text"][:] == [record["text"] for record in RECORDS]


def test_options_of_a_file_are_those_of_load(tmp_path: Path):
    path = tmp_path / "bare.csv"
    path.write_text("très bien|pos\n", encoding="cp1252")
    found = read_table(str(path), names=["review", "mood"], delimiter="|", encoding="cp1252")
    assert found.table.to_pylist() == [{"review": "très bien", "mood": "pos"}]
    with pytest.raises(ConfigError, match=r"unknown reading option 'delimeter'\. Did you mean 'delimiter'\?"):
        read_table(path, delimeter="|")
    with pytest.raises(ConfigError, match=r"does not accept delimiter, names for rows in memory \(list\)"):
        read_table(RECORDS, names=["a"], delimiter="|")


def test_rows_in_memory(tmp_path: Path):
    for given in (RECORDS, pd.DataFrame(RECORDS)):
        assert read_table(given).table.to_pylist() == RECORDS


def test_refused_rows_raise_by_number_or_are_left_out(tmp_path: Path):
    path = tmp_path / "ragged.csv"
    path.write_text("text,label\na,x\nb\nc,y\n")
    with pytest.raises(
        DataError, match=r"1 of 3 rows are unusable:\n.*row 1 \(line 3: 1 fields, expected 2\)"
    ):
        read_table(path)
    found = read_table(path, on_bad="skip")
    assert found.table.column("text").to_pylist() == ["a", "c"] and found.rows.tolist() == [0, 2]
    assert found.report.counts() == {"refused": {"wrong number of fields": 1}}


def test_one_split_of_several(tmp_path: Path):
    for name in ("train", "test"):
        write(tmp_path, f"{name}.csv")
    with pytest.raises(DataError, match=r"several splits: train, test\. Choose one with split="):
        read_table(tmp_path)
    assert read_table(tmp_path, split="test").table.to_pylist() == RECORDS


def test_plain_text_is_one_text_a_line(tmp_path: Path):
    path = tmp_path / "r.txt"
    path.write_bytes('good film\r\n\n  bad, "film"\nüber'.encode())
    found = read_table(path)
    assert found.table.to_pylist() == [{"text": "good film"}, {"text": '  bad, "film"'}, {"text": "über"}]
    assert found.report.counts() == {"counted": {"blank line": 1}}
    rows = lk.load(path)
    assert rows["train"]["text"][:] == found.table["text"].to_pylist() and rows.spec.label is None


def test_what_is_not_there_is_named(tmp_path: Path):
    write(tmp_path, "reviews.csv")
    with pytest.raises(
        DataError, match=r"file or folder '.*review\.csv' not found\. Did you mean 'reviews\.csv'\?"
    ):
        read_table(tmp_path / "review.csv")


def test_texts_that_begin_like_an_old_pickle_are_texts(tmp_path: Path):
    for number, text in enumerate(["cat\ndog\n", "(a)\n(b)\n"]):
        (tmp_path / f"{number}.txt").write_text(text)
        assert len(read_table(tmp_path / f"{number}.txt").table) == 2
