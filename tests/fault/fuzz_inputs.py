"""Inputs for fuzzing: valid files whose structure and bytes Hypothesis changes."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
import struct
import tomllib
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

Draw = Callable[[st.SearchStrategy[Any]], Any]


class Raw(str):
    """A value that is written as it is."""


class Pairs(list):
    """An object of JSON as a list of [key, value]: a key may come twice."""


def deep(pair: str, levels: int) -> Raw:
    return Raw(pair[0] * levels + pair[1:] * levels)


PLAIN = [
    None, True, False, 0, 1, -1, 2, 255, 1000, 2**31, 2**32 - 1, -(2**31), 2**53 + 1, 2**63, 2**64, 10**12, 10**30,
    0.5, -0.0, 1e-320, 1e308, 1e39, 3.0, "", " ", "a", "0", "text", "label", "x" * 70_000, "../x", "/etc/passwd",
    "a\0b", "\ud800", "\u202e", "\x1b[2J", "'", "{}", "__class__", "😀", Pairs(), [], [[]], [None], [0, 0], ["a", "a"],
    Pairs([["a", 1]]), Pairs([["", []]]),
]  # fmt: skip
#: Texts that JSON's readers differ about, and those that cost.
RAW = [Raw(text) for text in ("NaN", "Infinity", "-Infinity", "1e400", "-1e400", "9" * 400, "9" * 5000, "0x1F", "01",
                              "1_000", "'a'", "nan", "inf", "0x" + "F" * 5000)]  # fmt: skip
RAW += [deep("[]", 200), deep("[]", 900), deep("[]", 100_000), Raw("[" * 100_000), Raw('{"a":' * 50_000)]
ODD = st.one_of(
    st.sampled_from(PLAIN), st.sampled_from(PLAIN), st.sampled_from(RAW), st.integers(), st.floats(),
    st.text(st.characters(codec=None, categories=None), max_size=12),
    st.lists(st.sampled_from(PLAIN[:40]), max_size=4),
)  # fmt: skip


def tree_of(value: Any) -> Any:
    """A document that can be changed."""
    if isinstance(value, dict):
        return Pairs([key, tree_of(item)] for key, item in value.items())
    return [tree_of(item) for item in value] if isinstance(value, list | tuple) else value


def written(value: Any, toml: bool = False) -> str:
    """A tree as JSON, or as a value of TOML."""
    if isinstance(value, Raw):
        return value
    if isinstance(value, Pairs):
        sign = " = " if toml else ": "
        return (
            "{" + ", ".join(f"{json.dumps(str(key))}{sign}{written(item, toml)}" for key, item in value) + "}"
        )
    if isinstance(value, list):
        return "[" + ", ".join(written(item, toml) for item in value) + "]"
    return json.dumps(value)


def near(value: Any) -> st.SearchStrategy[Any]:
    """Other values of the same type."""
    if isinstance(value, bool):
        return st.just(not value)
    if isinstance(value, int):
        return st.sampled_from([value + 1, value - 1, 2 * value, 0, 1, 8, 64])
    if isinstance(value, float):
        return st.sampled_from([value / 2, 2 * value, 0.0, 1.0, 0.5])
    if isinstance(value, str) and not isinstance(value, Raw):
        return st.sampled_from([value.upper(), value[1:], value * 2, value[::-1]])
    return st.just(value)


def change(draw: Draw, tree: Any) -> Any:
    """Change a place of a tree, chosen level by level, so that large tables do not hide the small ones."""
    if not isinstance(tree, list) or not tree or draw(st.integers(0, 5)) == 0:
        return draw(near(tree) | ODD)
    place = draw(st.integers(0, len(tree) - 1))
    action = draw(st.sampled_from(["inside"] * 6 + ["drop", "twice", "odd", "key", "wrap", "move", "more"]))
    items, pairs = list(tree), isinstance(tree, Pairs)
    value = items[place][1] if pairs else items[place]
    new: Any = None
    if action == "drop":
        del items[place]
    elif action == "twice":
        items.insert(draw(st.integers(0, len(items))), [items[place][0], draw(ODD)] if pairs else value)
    elif action == "more":
        items += [[draw(st.text(max_size=5)), draw(ODD)] if pairs else draw(ODD)]
    else:
        if action == "inside":
            new = change(draw, value)
        elif action == "odd":
            new = draw(ODD)
        elif action == "wrap":
            new = draw(st.sampled_from([[value], Pairs([["a", value]]), str(value)[:1000], [value] * 3]))
        elif action == "move":
            other = items[draw(st.integers(0, len(items) - 1))]
            new = other[1] if pairs else other
        key = (
            draw(st.sampled_from(["", "a", "a\0b", "\ud800", "x" * 300, "row", "split"]))
            if action == "key"
            else None
        )
        items[place] = (
            [items[place][0] if key is None else key, value if action == "key" else new] if pairs else new
        )
    return Pairs(items) if pairs else items


@st.composite
def damaged(draw: Draw, data: bytes) -> bytes:
    """The bytes with some of them cut, flipped, put in, taken out or doubled."""
    made = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        place, size = (
            draw(st.integers(0, max(0, len(made) - 1))),
            draw(st.sampled_from([1, 2, 4, 8, 64, 1000])),
        )
        action = draw(st.sampled_from(["cut", "flip", "put", "take", "double", "zero"]))
        if action == "cut":
            del made[place:]
        elif action == "flip" and made:
            made[place] ^= 1 << draw(st.integers(0, 7))
        elif action == "put":
            made[place:place] = draw(st.binary(max_size=8))
        elif action == "take":
            del made[place : place + size]
        elif action == "double":
            made[place:place] = made[place : place + size]
        elif action == "zero":
            made[place : place + size] = draw(st.sampled_from([b"\0", b"\xff", b"\n", b'"'])) * len(
                made[place : place + size]
            )
    return bytes(made)


def maybe_damaged(draw: Draw, data: bytes) -> bytes:
    return draw(damaged(data)) if draw(st.integers(0, 6)) == 0 else data


def changed(draw: Draw, tree: Any, least: int = 0) -> Any:
    for _ in range(draw(st.integers(least, 3))):
        tree = change(draw, tree)
    return tree


@st.composite
def json_file(draw: Draw, base: bytes) -> bytes:
    text = written(changed(draw, tree_of(json.loads(base)), 1))
    return maybe_damaged(draw, text.encode("utf-8", "surrogatepass"))


@st.composite
def toml_file(draw: Draw, base: bytes) -> bytes:
    tree = changed(draw, tree_of(tomllib.loads(base.decode())), 1)
    if isinstance(tree, Pairs):
        text = "\n".join(f"{json.dumps(key)} = {written(value, True)}" for key, value in tree)
    else:
        text = written(tree, True)
    return maybe_damaged(draw, text.encode("utf-8", "surrogatepass"))


@st.composite
def safetensors_file(draw: Draw, base: bytes) -> bytes:
    length = struct.unpack("<Q", base[:8])[0]
    tree = changed(draw, tree_of(json.loads(base[8 : 8 + length])))
    text, data = written(tree).encode("utf-8", "surrogatepass"), base[8 + length :]
    if draw(st.integers(0, 3)) == 0:
        data = data[: draw(st.integers(0, len(data)))] + draw(st.binary(max_size=4))
    length = draw(
        st.sampled_from([len(text)] * 6 + [0, 1, len(text) - 1, len(text) + 9, 2**31, 2**63, 2**64 - 1])
    )
    return maybe_damaged(draw, struct.pack("<Q", max(0, length)) + text + data)


_COLUMNS = {"runs": ("id", "number", "created", "info"), "commands": ("seq", "run", "name", "value", "time", "taken"),
            "records": ("seq", "run", "step", "split", "name", "value", "time")}  # fmt: skip
CELLS = st.one_of(
    st.sampled_from([None, 0, -1, 2**62, 1e308, float("inf"), "", "x" * 5000, "../x", "{}", "[]", "null", "{", b"",
                     b"\xff\xfe", b"\0" * 100]),
    st.integers(-(2**63), 2**63 - 1), st.floats(), st.binary(max_size=9), st.text(max_size=9),
)  # fmt: skip


@st.composite
def sqlite_file(draw: Draw, base: bytes) -> bytes:
    db = sqlite3.connect(":memory:")
    db.deserialize(base)
    info = tree_of(json.loads(db.execute("SELECT info FROM runs").fetchone()[0]))
    for _ in range(draw(st.integers(0, 3))):
        table = draw(st.sampled_from(["runs", "runs", "runs", "commands", "records"]))
        column = draw(st.sampled_from(_COLUMNS[table]))
        value = (
            written(changed(draw, info, 1)) if column == "info" and draw(st.integers(0, 4)) else draw(CELLS)
        )
        first = f"rowid = (SELECT min(rowid) FROM {table})"
        line = draw(st.sampled_from([f"UPDATE {table} SET {column} = ? WHERE {first}"] * 8 + [
            f"UPDATE {table} SET {column} = ?", f"DELETE FROM {table}", f"DROP TABLE {table}",
            f"ALTER TABLE {table} RENAME COLUMN {column} TO other", f"ALTER TABLE {table} RENAME TO other",
            f"INSERT INTO {table} ({column}) VALUES (?)", f"DROP TABLE {table}; CREATE VIEW {table} AS SELECT 1",
        ]))  # fmt: skip
        try:
            for part in line.split("; "):
                db.execute(part, (value,) * part.count("?"))
            db.commit()
        except (sqlite3.Error, UnicodeEncodeError):
            db.rollback()
    return maybe_damaged(draw, db.serialize())


TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
CELL = st.one_of(
    TEXT, st.sampled_from(["", "a", "good film", "1", "-1.5", "1e39", "1e400", "nan", "inf", "1,5", "2024-01-01",
                           "NULL", "true", '"', '""', "a\nb", "a\r\nb", "\0", "\ufeff", "x" * 3000, "9" * 400,
                           "0x1F", "1_000", "\u2028", ";", "\t", ",", "=1+1"]),
)  # fmt: skip


@st.composite
def csv_file(draw: Draw, base: bytes) -> bytes:
    out = io.StringIO()
    if draw(st.integers(0, 2)) == 0:  # as the standard library writes it
        csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(
            [
                ("text", "label"),
                *draw(st.lists(st.tuples(CELL, st.sampled_from(["a", "b"])), min_size=1, max_size=12)),
            ]
        )
        return out.getvalue().encode()
    names = draw(st.lists(st.sampled_from(["text", "label", "x", "y", "", "row", "target", "text_pair", "a\0",
                                           "x" * 500, "😀", "1"]) | TEXT, min_size=1, max_size=6))  # fmt: skip
    lines = [names, *draw(st.lists(st.lists(CELL, max_size=len(names) + 1), max_size=12))]
    mark = draw(st.sampled_from(",,,;\t|"))
    if draw(st.booleans()):
        csv.writer(out, delimiter=mark, lineterminator=draw(st.sampled_from(["\n", "\r\n", "\r"]))).writerows(
            lines
        )
    else:
        out.write("\n".join(mark.join(line) for line in lines))
    kind = draw(
        st.sampled_from(["utf-8"] * 4 + ["utf-8-sig", "utf-16", "utf-32", "latin-1", "gb18030", "utf-7"])
    )
    return maybe_damaged(draw, out.getvalue().encode(kind, "replace"))


@st.composite
def jsonl_file(draw: Draw, base: bytes) -> bytes:
    record = st.fixed_dictionaries({"text": CELL, "label": st.sampled_from(["a", "b"])},
                                   optional={"x": st.integers() | st.floats(), "y": CELL})  # fmt: skip
    lines = [tree_of(each) for each in draw(st.lists(record, min_size=1, max_size=10))]
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(lines) - 1))
        lines[place] = change(draw, lines[place])
    mark = draw(st.sampled_from(["\n"] * 6 + ["\r\n", "\n\n", ",\n", ""]))
    text = "".join(written(line) + mark for line in lines)
    if draw(st.integers(0, 8)) == 0:
        text = "[" + ",".join(map(written, lines)) + "]"
    return maybe_damaged(draw, text.encode("utf-8", "surrogatepass"))


@st.composite
def wav_file(draw: Draw, base: bytes) -> bytes:
    if draw(st.booleans()):
        return draw(damaged(base))
    sizes = st.sampled_from([0, 1, 2, 3, 4, 8, 16, 24, 32, 64, 255, 65535])
    kind, channels = draw(st.sampled_from([1, 1, 1, 3, 0xFFFE, 2, 0, 85])), draw(sizes | st.just(1))
    bits = draw(st.sampled_from([16, 8, 24, 32, 64]) | sizes)
    rate = draw(st.sampled_from([16000, 8000, 44100, 0, 1, 999, 1000, 1_000_000, 999_983, 2**32 - 1, 1009])
                | st.integers(0, 2**32 - 1))  # fmt: skip
    frame = draw(st.sampled_from([channels * bits // 8 % 65536, 0, 1, 65535]))
    form = struct.pack("<HHIIHH", kind, channels, rate, rate * 2 % 2**32, frame, bits) + draw(
        st.binary(max_size=30)
    )
    data = draw(st.binary(max_size=200)) * draw(st.sampled_from([1, 1, 50]))
    chunks = [(b"fmt ", form), (b"data", data), (b"LIST", draw(st.binary(max_size=9)))]
    chunks = draw(st.permutations(chunks)) if draw(st.integers(0, 3)) == 0 else chunks
    body = b"WAVE"
    for name, content in chunks:
        size = draw(st.sampled_from([len(content)] * 8 + [0, 1, 2**31, 2**32 - 1, 2**32 - 2]))
        body += name + struct.pack("<I", size) + content + b"\0" * (len(content) % 2)
    head = draw(st.sampled_from([b"RIFF"] * 6 + [b"RIFX", b"RF64", b"FORM"]))
    return maybe_damaged(draw, head + struct.pack("<I", len(body)) + body)


@st.composite
def http_request(draw: Draw, base: bytes) -> bytes:
    documents = [{"texts": ["a film"]}, {"texts": ["a", "b"], "pairs": ["c", "d"]}, {"inputs": [[1, 2.5], [None, 3]]},
                 {"records": [{"text": "a", "x": 1}]}]  # fmt: skip
    tree = changed(draw, tree_of(draw(st.sampled_from(documents))))
    body = written(tree).encode("utf-8", "surrogatepass")[: 2**20]
    size = draw(st.sampled_from([str(len(body))] * 9 + ["0", "-1", "9" * 12, "9" * 5000, str(len(body) + 1), "1e3",
                                 ""]))  # fmt: skip
    headers = [("Host", "localhost"), ("Authorization", "Bearer TOKEN"), ("Content-Type", "application/json"),
               ("Content-Length", size)]  # fmt: skip
    more = [("Transfer-Encoding", "chunked"), ("Expect", "100-continue"), ("Content-Encoding", "gzip"), ("X", "\0"),
            ("Host", "evil"), ("Connection", "keep-alive, Upgrade"), ("Range", "bytes=0-1"), ("X", "y" * 70_000),
            ("Content-Type", "application/json; charset=utf-16"), ("Content-Length", "3"), ("", ""),
            (" X", "y")]  # fmt: skip
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2, 3]))):
        if draw(st.booleans()) and headers:
            headers.pop(draw(st.integers(0, len(headers) - 1)))
        else:
            headers.insert(draw(st.integers(0, len(headers))), draw(st.sampled_from(more)))
    usual = "POST /predict HTTP/1.1"
    line = draw(st.sampled_from([usual] * 9 + [
        "GET /health HTTP/1.1", "HEAD /predict HTTP/1.0", "POST http://localhost/predict HTTP/1.1", "PRI * HTTP/2.0",
        "POST /predict HTTP/9999999999.1", "POST /predict?x=%00 HTTP/1.1", "POST //predict HTTP/1.1", "GET /predict",
        "POST /é HTTP/1.1", "OPTIONS * HTTP/1.1", "CONNECT a:1 HTTP/1.1", "post /predict http/1.1",
        "POST /predict HTTP/-1.1", "POST /predict HTTP/1.1.1", "POST /predict HTTP/1.", ""]))  # fmt: skip
    end = draw(st.sampled_from(["\r\n"] * 6 + ["\n", "\r"]))
    head = end.join([line, *(f"{name}: {value}" for name, value in headers), "", ""])
    return maybe_damaged(draw, head.encode("latin-1", "replace") + body)


INPUTS: dict[str, Callable[[bytes], st.SearchStrategy[bytes]]] = {
    "rows.json": json_file, "config.json": json_file, "tokenizer.json": json_file, "labkit.toml": toml_file,
    "safetensors": safetensors_file, "runs.sqlite": sqlite_file, "csv": csv_file, "jsonl": jsonl_file, "wav": wav_file,
    "http": http_request,
}  # fmt: skip
