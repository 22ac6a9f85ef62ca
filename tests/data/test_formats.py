"""Formats of files and of rows in memory: each gives the same table, or one sentence that says what to do."""

from __future__ import annotations

import builtins
import bz2
import functools
import gzip
import io
import json
import lzma
import zipfile
from collections import namedtuple
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from datasets import Dataset

import labkit as lk
from labkit.core.errors import ConfigError, DataError
from labkit.data.io.load import peek, read_table

RECORDS = [{"text": "a good film", "label": "pos"}, {"text": "bad, film", "label": "neg"}]
compressed = functools.partial(gzip.compress, mtime=0)  # the same bytes at any time
CSV = b'text,label\na good film,pos\n"bad, film",neg\n'


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path_factory.mktemp("cache")))


def rows_of(found: Any) -> list[dict[str, Any]]:
    return read_table(found).table.to_pylist()


# --- JSON ----------------------------------------------------------------------------------------------------------

FRAME = pd.DataFrame(RECORDS)
DOCUMENTS = {
    "array": json.dumps(RECORDS),
    "pretty array": json.dumps(RECORDS, indent=2),
    "one array in an object": json.dumps({"data": RECORDS}),
    "pretty object": json.dumps({"rows": RECORDS, "version": 2}, indent=1),
    "columns": json.dumps({"text": [r["text"] for r in RECORDS], "label": [r["label"] for r in RECORDS]}),
    "lines": "\n".join(map(json.dumps, RECORDS)),
    **{
        f"pandas {orient}": FRAME.to_json(orient=orient)
        for orient in ("columns", "index", "split", "records")
    },
    "pandas table": FRAME.to_json(orient="table", index=False),
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_json_as_programs_write_it(tmp_path: Path, name: str):
    path = tmp_path / "x.json"
    path.write_text(DOCUMENTS[name])
    assert rows_of(path) == RECORDS
    assert lk.load(path).spec.classes == ("neg", "pos")


def test_an_array_of_lists_needs_names(tmp_path: Path):
    path = tmp_path / "x.json"
    path.write_text(FRAME.to_json(orient="values"))
    with pytest.raises(
        DataError, match=r"not a JSON object \(2\): row 0 \(item 1: a list, not an object; pass names="
    ):
        lk.load(path)
    assert read_table(path, names=("text", "label")).table.to_pylist() == RECORDS


def test_keys_of_json_that_are_not_read_are_named(tmp_path: Path):
    path = tmp_path / "x.json"
    path.write_text(json.dumps({"data": RECORDS, "version": "v2"}))
    notes = read_table(path).report.notes
    assert [(note.reason, note.detail) for note in notes] == [("JSON key dropped", "version")]


def test_squads_own_file_becomes_a_row_a_question(tmp_path: Path):
    paragraph = {
        "context": "Ada wrote it.",
        "qas": [
            {
                "id": "1",
                "question": "Who?",
                "answers": [{"text": "Ada", "answer_start": 0}],
                "is_impossible": False,
            },
            {"id": "2", "question": "When?", "answers": [], "is_impossible": True},
        ],
    }
    path = tmp_path / "dev-v2.0.json"
    path.write_text(json.dumps({"version": "v2.0", "data": [{"title": "T", "paragraphs": [paragraph]}]}))
    found = rows_of(path)
    assert [row["question"] for row in found] == ["Who?", "When?"]
    assert found[0]["answers"] == {"text": ["Ada"], "answer_start": [0]} and found[1]["answers"]["text"] == []


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('{"train": [{"a": 1}], "test": [{"a": 2}]}', "contains several tables: train, test"),
        ('{"x": {"p": 1, "q": 2}, "y": {"p": 3}}', 'orient="records"'),
        ('{"text": ["a", "b"], "label": ["x"]}', "columns of different lengths: text 2, label 1"),
        ('[{"text": "a"},\n', "is not complete JSON"),
        ('{\n"text": \n', "is not complete JSON"),
        ("[]", "has 0 rows"),
        ("", "has 0 rows"),
    ],
)
def test_json_that_is_no_table(tmp_path: Path, content: str, says: str):
    path = tmp_path / "x.json"
    path.write_text(content)
    with pytest.raises(DataError, match=says):
        lk.load(path)


# --- Excel ---------------------------------------------------------------------------------------------------------


def test_excel_keeps_types_and_names_the_sheets_not_read(tmp_path: Path):
    path = tmp_path / "x.xlsx"
    with pd.ExcelWriter(path) as writer:
        pd.DataFrame().to_excel(writer, sheet_name="cover")
        frame = pd.DataFrame(RECORDS).assign(n=[1, 2], share=[0.5, None], day=pd.Timestamp("2020-02-03"))
        frame.to_excel(writer, sheet_name="reviews", index=False)
        pd.DataFrame({"text": ["other"]}).to_excel(writer, sheet_name="more", index=False)
    found = read_table(path)
    assert found.table.select(["text", "label", "n", "share"]).to_pylist() == [
        {**RECORDS[0], "n": 1, "share": 0.5}, {**RECORDS[1], "n": 2, "share": None},
    ]  # fmt: skip
    assert pa.types.is_timestamp(found.table.schema.field("day").type)
    assert [note.detail.split(";")[0] for note in found.report.of("counted")["sheet not read"]] == [
        "cover",
        "more",
    ]
    assert rows_of(path) == found.table.to_pylist()
    assert read_table(path, sheet="more").table.to_pylist() == [{"text": "other"}]
    assert lk.load(path, sheet="reviews").source["sheet"] == "reviews"
    with pytest.raises(
        DataError, match=r"no sheet 'mor'\. Did you mean 'more'\? It has: cover, reviews, more"
    ):
        lk.load(path, sheet="mor")


def test_excel_errors_blank_lines_and_wide_rows(tmp_path: Path):
    import openpyxl

    book = openpyxl.Workbook()
    for line in ([], ["text", "n"], ["a", 1], [], ["b", "#N/A"], ["c", 3, "more"]):
        book.active.append(line)
    book.save(tmp_path / "x.xlsx")
    found = read_table(tmp_path / "x.xlsx", on_bad="skip")
    assert found.table.to_pylist() == [{"text": "a", "n": 1}, {"text": "b", "n": None}]
    notes = [(note.action, note.reason, note.row, note.detail) for note in found.report.notes]
    assert ("refused", "wrong number of fields", 2, "line 6: 3 fields, expected 2") in notes
    assert ("counted", "formula without a value", 1, "#N/A in line 5") in notes


def test_excel_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "x.xlsx"
    path.write_bytes(CSV)
    with pytest.raises(DataError, match="not a complete Excel file"):
        lk.load(path)
    FRAME.to_excel(path, index=False)
    cut = path.read_bytes()
    path.write_bytes(cut[: len(cut) // 2])
    with pytest.raises(DataError, match="not a complete Excel file"):
        lk.load(path)
    path.write_bytes(cut)
    real = builtins.__import__

    def no_openpyxl(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "openpyxl":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", no_openpyxl)
    with pytest.raises(DataError, match=r"needs openpyxl: pip install 'labkit\[excel\]'\. Or save it as CSV"):
        lk.load(path)


# --- compressed ----------------------------------------------------------------------------------------------------


def zipped(**files: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        for name, content in files.items():
            file.writestr(name, content)
    return out.getvalue()


JSONL = "\n".join(map(json.dumps, RECORDS)).encode()
PACKED = {
    "x.csv.gz": compressed(CSV),
    "x.csv.bz2": bz2.compress(CSV),
    "x.csv.xz": lzma.compress(CSV),
    "x.csv.zst": pa.compress(CSV, "zstd", asbytes=True),
    "x.tsv.gz": compressed(b"text\tlabel\na good film\tpos\nbad, film\tneg\n"),
    "x.jsonl.gz": compressed(JSONL[:30]) + compressed(JSONL[30:]),
    "x.csv.zip": zipped(**{"x.csv": CSV, "__MACOSX/._x.csv": b"\0\5\x16\7", ".DS_Store": b"x"}),
    "x.zip": zipped(**{"inner/x.jsonl": JSONL}),
}


@pytest.mark.parametrize("name", PACKED)
def test_compressed_tables(tmp_path: Path, name: str):
    (tmp_path / name).write_bytes(PACKED[name])
    assert rows_of(tmp_path / name) == RECORDS
    assert lk.load(tmp_path / name)["train"]["text"][:] == [row["text"] for row in RECORDS]


def test_compressed_splits_of_a_folder(tmp_path: Path):
    (tmp_path / "train.csv.gz").write_bytes(PACKED["x.csv.gz"])
    (tmp_path / "test.jsonl.gz").write_bytes(PACKED["x.jsonl.gz"])
    assert lk.load(tmp_path).counts() == {"train": 2, "test": 2}


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("x.csv.gz", compressed(CSV * 99)[:60], "'x.csv.gz' is damaged"),
        ("x.csv.gz", CSV, "'x.csv.gz' is damaged or does not match its file extension"),
        ("x.csv.zst", CSV, "'x.csv.zst' is damaged"),
        ("x.csv.zip", CSV, "not a complete ZIP archive"),
        ("x.zip", zipped(**{"a.csv": CSV, "b.csv": CSV}), r"contains 2 files \(a.csv, b.csv\); unpack it"),
        ("x.pkl.gz", compressed(b"\x80\x04\x95"), "can execute code"),
        ("x.csv.gz", compressed(b"\x80\x04\x95"), "can execute code"),
        (
            "x.csv.gz",
            compressed(compressed(CSV)),
            "is a gzip archive, which does not match its file extension",
        ),
        ("x.gz", compressed(CSV), "an unsupported file type; supported:"),
    ],
)
def test_packed_files_that_cannot_be_read(tmp_path: Path, name: str, content: bytes, says: str):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=says):
        lk.load(tmp_path / name)


# --- CSV of other programs -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", ["sep=;", '"sep=;"', "SEP=;", "\ufeffsep=;"])
def test_the_first_line_of_excel_names_the_delimiter(tmp_path: Path, first: str):
    path = tmp_path / "x.csv"
    path.write_bytes(f"{first}\r\ntext;label\r\na good film;pos\r\nbad, film;neg\r\n".encode())
    assert rows_of(path) == RECORDS
    assert read_table(path, names=("a", "b")).table.to_pylist()[0] == {"a": "text", "b": "label"}
    path.write_text("sep=;\ntext;label\nx;y;z\n")
    with pytest.raises(DataError, match="line 3: 3 fields, expected 2"):
        lk.load(path)


MYSQL = 'text,label,n\n"a \\"good\\" film",pos,\\N\n"back\\\\slash",neg,3\n"two\\\nlines, one",pos,4\n'


def test_backslash_escapes(tmp_path: Path):
    path = tmp_path / "x.csv"
    path.write_text(MYSQL)
    with pytest.raises(DataError, match=r'row 0 \(line 2: .*pass escapechar="\\\\" if a backslash'):
        lk.load(path)
    found = read_table(path, escapechar="\\")
    assert found.table.to_pylist() == [
        {"text": 'a "good" film', "label": "pos", "n": ""},
        {"text": "back\\slash", "label": "neg", "n": "3"},
        {"text": "two\nlines, one", "label": "pos", "n": "4"},
    ]
    assert found.report.counts() == {"counted": {"NULL read as missing": 1}}
    assert lk.load(path, escapechar="\\").source["escapechar"] == "\\"
    path.write_text('text,label\n"6\\"",pos\nx,y\n')
    with pytest.raises(DataError, match=r'is never closed.*pass escapechar="\\\\"'):
        lk.load(path)
    path.write_text("text,label\nC:\\dir,x\nb,y\n")  # without the option a backslash is a backslash
    assert lk.load(path)["train"]["text"][:] == ["C:\\dir", "b"]
    with pytest.raises(DataError, match="escapechar = 'ab' must be one character"):
        lk.load(path, escapechar="ab")


# --- memory --------------------------------------------------------------------------------------------------------

Review = namedtuple("Review", ["text", "label"])
TABLE = pa.Table.from_pylist(RECORDS)
MEMORY = {
    "arrow table": TABLE,
    "record batch": TABLE.to_batches()[0],
    "record batch reader": TABLE.to_reader(),
    "dict of lists": TABLE.to_pydict(),
    "dict of arrays": {name: TABLE[name].to_numpy() for name in TABLE.column_names},
    "dict of Arrow columns": {name: TABLE[name] for name in TABLE.column_names},
    "named tuples": [Review(**row) for row in RECORDS],
}


@pytest.mark.parametrize("name", MEMORY)
def test_rows_in_memory(name: str):
    rows = lk.load(MEMORY[name])
    assert rows["train"]["text"][:] == [row["text"] for row in RECORDS] and rows.spec.classes == (
        "neg",
        "pos",
    )


@pytest.mark.parametrize("library", ["polars", "duckdb"])
def test_other_libraries_hand_their_rows_over_as_arrow(library: str):
    module = pytest.importorskip(library)
    found = module.from_arrow(TABLE)
    assert lk.load(found)["train"]["text"][:] == [row["text"] for row in RECORDS]
    if library == "polars":
        assert lk.load(found.lazy())["train"]["text"][:] == [row["text"] for row in RECORDS]


def test_tuples_need_names():
    tuples = [tuple(row.values()) for row in RECORDS]
    with pytest.raises(DataError, match=r"row 0 is a tuple of 2 values without names: pass names="):
        lk.load(tuples)
    assert lk.load(tuples, names=("text", "label")).spec.classes == ("neg", "pos")
    with pytest.raises(DataError, match=r"row 1 is 1 values; expected 2 values \(text, label\)"):
        lk.load([tuples[0], ("x",)], names=("text", "label"))
    with pytest.raises(ConfigError, match="does not accept names for rows in memory"):
        lk.load(RECORDS, names=("text", "label"))


def test_a_dict_of_tables_is_read_by_split():
    for table in (RECORDS, FRAME, TABLE, Dataset.from_list(RECORDS)):
        rows = lk.load({"dev": table, "train": table})
        assert rows.counts() == {"train": 2, "validation": 2}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"text": ["a", "b"], "label": ["x"]}, "different lengths: text 2, label 1"),
        ({"text": "a", "label": "b"}, "'text' is str"),
        ({1: ["a"]}, "column name 1 is not a string"),
        ({}, "a dict must contain columns"),
        (pa.table({"text": pa.array([], pa.string())}), "has 0 rows"),
        (3, "cannot read a int"),
    ],
)
def test_memory_that_is_no_table(given: Any, says: str):
    with pytest.raises(DataError, match=says):
        lk.load(given)


@pytest.mark.parametrize(
    ("name", "option", "takes"),
    [
        ("x.parquet", {"delimiter": ";"}, ""),
        ("x.parquet", {"encoding": "cp1252"}, ""),
        ("x.parquet", {"names": ("a", "b")}, ""),
        ("x.jsonl", {"delimiter": ";"}, "encoding, names"),
        ("x.json", {"quotes": False}, "encoding, names"),
        ("x.txt", {"sheet": "one"}, "encoding, names"),
        ("x.csv", {"sheet": "one"}, "delimiter, encoding, quotes, names, escapechar"),
        ("x.tsv", {"sheet": "one"}, "delimiter, encoding, quotes, names, escapechar"),
        ("x.xlsx", {"delimiter": ";", "encoding": "utf-8"}, "names, sheet"),
    ],
)
def test_options_that_a_kind_of_file_has_no_use_for_are_refused_by_name(tmp_path, name, option, takes):
    (tmp_path / name).write_bytes(b"")
    said = rf"'{name}': \{Path(name).suffix} files do not accept the option {', '.join(option)}: remove it"
    for read in (lk.load, read_table, peek):
        with pytest.raises(lk.LabkitError, match=said) as caught:
            read(tmp_path / name, **option)
        assert ("they accept " + takes in str(caught.value)) == bool(takes)
