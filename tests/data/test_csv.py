"""Crafted CSV files: nothing in them is changed, repaired or left out without a word."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import labkit as lk
from labkit.core.errors import DataError

GOOD = [("good", "a"), ("bad", "b")]

Case = tuple[str, bytes, dict[str, Any], list[tuple[str, str]], dict[str, dict[str, int]]]

READ: list[Case] = [
    # what, bytes, options, (text, class) of each row, counts of the report
    ("comma", b"text,label\ngood,a\nbad,b\n", {}, GOOD, {}),
    ("semicolon", b"text;label\ngood;a\nbad;b\n", {}, GOOD, {}),
    ("tab", b"text\tlabel\ngood\ta\nbad\tb\n", {}, GOOD, {}),
    ("bar", b"text|label\ngood|a\nbad|b\n", {}, GOOD, {}),
    ("no newline at the end", b"text,label\ngood,a\nbad,b", {}, GOOD, {}),
    ("line ends of Windows", b"text,label\r\ngood,a\r\nbad,b\r\n", {}, GOOD, {}),
    ("line ends of old Macs", b"text,label\rgood,a\rbad,b\r", {}, GOOD, {}),
    ("UTF-8 with a mark", b"\xef\xbb\xbftext,label\ngood,a\nbad,b\n", {}, GOOD, {}),
    ("UTF-16 with a mark", "\ufefftext,label\ngood,a\nbad,b\n".encode("utf-16-le"), {}, GOOD, {}),
    ("UTF-32 with a mark", "text,label\ngood,a\nbad,b\n".encode("utf-32"), {}, GOOD, {}),
    (
        "UTF-16 without one", "text,label\ngood,a\nbad,b\n".encode("utf-16-be"), {}, GOOD,
        {"counted": {"encoding guessed: utf-16-be": 1}},
    ),
    (
        "GB18030",
        "text,label\n这家酒店很好，服务不错，下次还来,好\n房间太小，非常差的体验，不推荐,坏\n".encode("gb18030"), {},
        [("这家酒店很好，服务不错，下次还来", "好"), ("房间太小，非常差的体验，不推荐", "坏")],
        {"counted": {"encoding guessed: gb18030": 1}},
    ),
    ("Latin-1, told", "text,label\ncafé,a\nthé,b\n".encode("latin-1"), {"encoding": "latin-1"},
     [("café", "a"), ("thé", "b")], {}),
    (
        "one damaged byte in UTF-8", "text,label\n很好很好很好很好,a\n太差太差太差,b\nx".encode() + b"\xff,a\n", {},
        [("很好很好很好很好", "a"), ("太差太差太差", "b"), ("x\ufffd", "a")],
        {"repaired": {"bytes invalid in utf-8 replaced by U+FFFD": 1}},
    ),
    ("delimiter in quotes", b'text,label\n"good, very",a\nbad,b\n', {}, [("good, very", "a"), ("bad", "b")], {}),
    ("newline in quotes", b'text,label\n"good\nvery",a\nbad,b\n', {}, [("good\nvery", "a"), ("bad", "b")], {}),
    ("doubled quotes", b'text,label\n"so ""good""",a\nbad,b\n', {}, [('so "good"', "a"), ("bad", "b")], {}),
    ("other delimiter in texts", b"text,label\na;b;c,a\nd;e;f,b\n", {}, [("a;b;c", "a"), ("d;e;f", "b")], {}),
    ("NUL", b"text,label\ngo\0od,a\nbad,b\n", {}, [("go\0od", "a"), ("bad", "b")],
     {"counted": {"control characters": 1}}),
    (
        "bidi override", "text,label\ngo\u202eod,a\nbad,b\n".encode(), {}, [("go\u202eod", "a"), ("bad", "b")],
        {"counted": {"zero-width or bidirectional characters": 1}},
    ),
    ("blank lines", b"text,label\n\ngood,a\n\n\nbad,b\n", {}, GOOD, {"counted": {"blank line": 3}}),
    (
        "index of pandas", b",text,label\n0,good,a\n1,bad,b\n", {}, GOOD, {"repaired": {"column without a name": 1}},
    ),
    (
        "spaces in the header", b"text, label\ngood,a\nbad,b\n", {}, GOOD,
        {"repaired": {"white space around a column name": 1}},
    ),
    (
        "spaces around labels", b"text,label\ngood,a\nfine, a\nbad,b\n", {},
        [("good", "a"), ("fine", "a"), ("bad", "b")], {"repaired": {"white space around a label": 1}},
    ),
    ("labels sort as numbers", b"text,label\nx,10\ny,9\n", {}, [("x", "10"), ("y", "9")], {}),
    (
        "whole numbers as floats", b"text,label\nx,1.0\ny,0.0\n", {}, [("x", "1"), ("y", "0")],
        {"repaired": {"label 1.0 converted to 1": 2}},
    ),
    ("no label", b"text\ngood\nbad\n", {}, [("good", ""), ("bad", "")], {}),
    ("text under a Chinese name", "内容,类别\n很好,a\n很差,b\n".encode(), {}, [("很好", "a"), ("很差", "b")], {}),
    (
        "ragged, skipped", b"text,label\ngood,a\nshort\nlong,a,x\nbad,b\n", {"on_bad": "skip"}, GOOD,
        {"refused": {"wrong number of fields": 2}},
    ),
    (
        "odd quote, skipped", b'text,label\ngood,a\n"od"d,a\nbad,b\n', {"on_bad": "skip"}, GOOD,
        {"refused": {"unbalanced quote": 1}},
    ),
    ("quotes as text", b'text\tlabel\n"od"d\ta\nbad\tb\n', {"quotes": False}, [('"od"d', "a"), ("bad", "b")], {}),
    (
        "empty texts, skipped", "text,label\ngood,a\n,a\n \u3000,b\nbad,b\n".encode(), {"on_bad": "skip"}, GOOD,
        {"refused": {"empty text": 2}},
    ),
    ("missing labels dropped", b"text,label\ngood,a\nwhat,\nbad,b\nwho,NaN\n", {"missing": "drop"}, GOOD,
     {"refused": {"missing label": 2}}),
    ("missing labels kept", b"text,label\ngood,a\nwhat,\nbad,b\n", {"missing": "keep"},
     [("good", "a"), ("what", ""), ("bad", "b")], {"counted": {"missing label": 1}}),
    ("NA named as a class", b"text,label\nx,NA\ny,EU\n", {"classes": ("NA", "EU")}, [("x", "NA"), ("y", "EU")], {}),
    ("no header", b"a,good\nb,bad\n", {"names": ("label", "text")}, GOOD, {}),
    ("a number as a column name", b"text,label,1990\ngood,a,x\nbad,b,y\n", {}, GOOD,
     {"counted": {"column name is a number": 1}}),
    ("columns called like ours", b"review,label,text,row\ngood,a,t,9\nbad,b,u,8\n", {"text": "review"}, GOOD,
     {"repaired": {"column renamed": 2}}),
    ("one class", b"text,label\nx,a\ny,a\n", {}, [("x", "a"), ("y", "a")], {"counted": {"only one class": 1}}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "options", "expected", "counts"), [c[1:] for c in READ], ids=[c[0] for c in READ]
)
def test_csv_is_read_and_every_change_is_reported(
    tmp_path: Path,
    content: bytes,
    options: dict[str, Any],
    expected: list[tuple[str, str]],
    counts: dict[str, dict[str, int]],
) -> None:
    (tmp_path / "x.csv").write_bytes(content)
    rows = lk.load(tmp_path / "x.csv", **options)
    names = (*rows.spec.classes, "")  # -1 takes the last
    train = rows["train"].to_dict()
    assert [(text, names[i]) for text, i in zip(train["text"], train["label"], strict=True)] == expected
    assert rows.report.counts() == counts


REFUSED = [
    # what, bytes, options, what the error says
    ("empty file", b"", {}, "has 0 rows: it is empty"),
    ("blank lines only", b"\n\n", {}, "has 0 rows: it is empty"),
    ("header only", b"text,label\n", {}, "has 0 rows: only a header"),
    ("mark only", b"\xef\xbb\xbf", {}, "has 0 rows"),
    (
        "wrong delimiter",
        b"text;label\ngood;a\n",
        {"delimiter": ","},
        "its name contains a semicolon: pass delimiter=';'",
    ),
    ("whole lines in quotes", b'"text;label"\n"good;a"\n', {}, "its name contains a semicolon"),
    ("two delimiters fit", b"text;x,label\na;b,c\n", {}, "separated by a comma or a semicolon"),
    ("long delimiter", b"text,label\ngood,a\n", {"delimiter": "||"}, "must be one character"),
    ("duplicate columns", b"text,label,text\nx,a,y\n", {}, "several columns named 'text'"),
    ("unclosed quote", b'text,label\ngood,a\n"bad,b\nx,a\n', {}, "line 3 is never closed"),
    ("unknown encoding", b"text,label\ngood,a\n", {"encoding": "utf-99"}, "unknown encoding 'utf-99'"),
    ("missing label", b"text,label\ngood,a\nbad,\n", {}, "1 of 2 in train (rows 1)"),
    (
        "label outside classes",
        b"text,label\ngood,a\nbad,bb\n",
        {"classes": ("a", "b")},
        "'bb' is not one of a, b. Did",
    ),
    ("all texts empty", b"text,label\n,a\n,b\n", {"on_bad": "skip"}, "0 rows remain in train"),
    ("two texts by name", b"review,comment,label\nx,y,a\n", {}, "could be the text: 'review', 'comment'"),
    ("two labels by name", b"text,target,class\nx,a,b\n", {}, "could be the label: 'target', 'class'"),
    ("wrong column", b"text,label\nx,a\n", {"label": "labels"}, "no column 'labels'. Did you mean 'label'?"),
    (
        "a number to predict",
        b"text,label\n" + b"".join(b"x,%d.%d\n" % (i, i) for i in range(1, 31)),
        {},
        "few classes",
    ),
    ("pickle", b"\x80\x04\x95", {}, "can execute code"),
    ("zip", b"PK\x03\x04rest", {}, "is a ZIP archive, which does not match its file extension"),
    ("parquet", b"PAR1rest", {}, "is a Parquet file, which does not match its file extension"),
]


@pytest.mark.parametrize(
    ("content", "options", "says"), [c[1:] for c in REFUSED], ids=[c[0] for c in REFUSED]
)
def test_csv_that_cannot_be_used_says_why(
    tmp_path: Path, content: bytes, options: dict[str, Any], says: str
) -> None:
    (tmp_path / "x.csv").write_bytes(content)
    with pytest.raises(DataError) as caught:
        lk.load(tmp_path / "x.csv", **options)
    assert says in str(caught.value)


def test_ragged_rows_are_named_by_number_count_and_line(tmp_path: Path) -> None:
    lines = [f"text {i},a" if i % 3 else "short" for i in range(30)]
    (tmp_path / "x.csv").write_text("text,label\n" + "\n".join(lines))
    with pytest.raises(DataError) as caught:
        lk.load(tmp_path / "x.csv")
    assert str(caught.value).splitlines() == [
        "10 of 30 rows are unusable:",
        "  wrong number of fields (10): row 0 (line 2: 1 fields, expected 2); row 3 (line 5: 1 fields, expected 2); "
        "row 6 (line 8: 1 fields, expected 2); row 9 (line 11: 1 fields, expected 2); "
        "row 12 (line 14: 1 fields, expected 2)",
        'Fix them in the source, or pass on_bad="skip" to skip them; rows.report then lists each.',
    ]
    rows = lk.load(tmp_path / "x.csv", on_bad="skip")
    assert rows["train"]["row"][:3] == [1, 2, 4]
    assert rows.report.to_pandas()["row"].tolist()[:10] == list(range(0, 30, 3))


def test_a_quote_that_swallows_lines_says_which(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text('text,label\n"open,a\nb,b\nc,"d"\ne,a\n')
    rows = lk.load(tmp_path / "x.csv", on_bad="skip")
    assert rows["train"]["text"][:] == ["e"]
    assert rows.report.notes[0].detail.startswith("lines 2 to 4, read as one record")


def test_a_cell_of_megabytes_is_read_and_counted(tmp_path: Path) -> None:
    long = "word " * 400_000
    (tmp_path / "x.csv").write_text(f"text,label\n{long},a\nb,b\n")
    rows = lk.load(tmp_path / "x.csv")
    assert rows["train"][0]["text"] == long
    assert rows.report.counts() == {"counted": {"text longer than a million characters": 1}}
    assert rows.spec.lengths["train"].max == 2_000_000


def test_portions_join_without_a_seam(tmp_path: Path) -> None:
    lines = ["text,label", *(f"text {i},{i % 3}" for i in range(25_001))]
    (tmp_path / "x.csv").write_text("\n".join(lines))
    rows = lk.load(tmp_path / "x.csv")
    assert rows["train"]["row"][:] == list(range(25_001))
    assert rows["train"]["text"][-1] == "text 25000"
    assert rows.spec.counts == {"train": {"0": 8334, "1": 8334, "2": 8333}}


def test_texts_are_mapped_from_the_cache_and_not_copied(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "x.csv"
    path.write_text("text,label\n" + "".join(f"{'word ' * 200}{i},{'ab'[i % 2]}\n" for i in range(3000)))
    lk.load(path)
    before = pa.total_allocated_bytes()
    rows = lk.load(path)
    assert pa.total_allocated_bytes() - before < 0.2 * path.stat().st_size
    assert len(rows["train"]) == 3000


def test_reading_again_uses_the_cache_and_a_changed_file_does_not(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "x.csv"
    path.write_text("text,label\ngood,a\nshort\nbad,b\n")
    first = lk.load(path, on_bad="skip")
    stored = list((tmp_path / "cache" / "rows").glob("*.arrow"))
    assert len(stored) == 1
    monkeypatch.setattr("labkit.data.io.files.READERS", {".csv": None})  # nobody parses again
    second = lk.load(path, on_bad="skip")
    assert (second.fingerprint, second.report) == (first.fingerprint, first.report)
    with pytest.raises(DataError, match="1 of 3 rows are unusable"):
        lk.load(path)
    monkeypatch.undo()
    path.write_text("text,label\ngood,a\nworse,b\n")
    assert lk.load(path)["train"]["text"][:] == ["good", "worse"]
