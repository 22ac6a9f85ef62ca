"""JSON: one object per line, or one document with a table."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from labkit.core.errors import DataError
from labkit.core.safety import once
from labkit.data.io.arrow_cache import PORTION, Reading, table_of
from labkit.data.io.csv import Dialect, note_encoding
from labkit.data.io.encoding import LOST, Encoding, detect
from labkit.data.report import Report, visible
from labkit.i18n import _

Numbered = tuple[int, dict[str, Any]]  # number of a record, and the record


def read_json(path: Path, dialect: Dialect, reading: Reading) -> Iterator[pa.Table]:
    """JSON lines, or a document: an array of objects, an object with one such array, or columns.

    Raises:
        DataError: the file is empty or holds no table.
    """
    encoding = detect(path, dialect.encoding)
    note_encoding(encoding, reading.report)
    if _is_document(path, encoding):
        records = _records(_document(path, encoding), path.name, dialect.names, reading)
    else:
        records = _lines(path, encoding, reading)
    kept: list[Numbered] = []
    full = 0  # portions yielded
    for numbered in records:
        kept.append(numbered)
        if len(kept) >= PORTION:
            yield _table(kept, reading.report)
            kept, full = [], full + 1
    if not reading.records:
        raise DataError(_("{file!r} has 0 rows: it is empty."), file=path.name)
    if kept or not full:
        yield _table(kept, reading.report)


def _table(kept: Sequence[Numbered], report: Report) -> pa.Table:
    return table_of([record for _, record in kept], [number for number, _ in kept], report)


# --- lines ---------------------------------------------------------------------------------------------------------


def _lines(path: Path, encoding: Encoding, reading: Reading) -> Iterator[Numbered]:
    with encoding.open(path) as file:
        for line_number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            number, reading.records = reading.records, reading.records + 1
            if not encoding.sure and LOST in line:
                reading.report.add(
                    "repaired",
                    _("bytes invalid in {encoding} replaced by U+FFFD", encoding=encoding.name),
                    [number],
                )
            try:
                yield number, _object(line)
            except (ValueError, RecursionError) as error:
                reading.report.add(
                    "refused",
                    _("not a JSON object"),
                    [number],
                    detail=_("line {line_number}: {error}", line_number=line_number, error=error),
                )


def _object(line: str) -> dict[str, Any]:
    value = json.loads(line, object_pairs_hook=once)
    if not isinstance(value, dict):
        raise ValueError(_("a {type}, not an object", type=type(value).__name__))
    return value


# --- a document ----------------------------------------------------------------------------------------------------


def _is_document(path: Path, encoding: Encoding) -> bool:
    """Whether the file is one JSON value. A file of lines has a whole value on its first line, and others
    after it."""
    with encoding.open(path) as file:
        lines = filter(None, (line.strip("\ufeff \t\r\n") for line in file))
        first, second = next(lines, ""), next(lines, "")
    array, called_json = first.startswith("["), ".json" in path.suffixes
    if _parses(first):
        return not second and (array or called_json)
    return array or (first.startswith("{") and called_json and not _parses(second))


def _parses(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict | list)
    except (ValueError, RecursionError):
        return False


def _document(path: Path, encoding: Encoding) -> Any:
    try:
        with encoding.open(path) as file:
            return json.loads(file.read().lstrip("\ufeff"), object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        raise DataError(_("{file!r} is not complete JSON: {error}."), file=path.name, error=error) from None


def _records(value: Any, where: str, names: Sequence[str] | None, reading: Reading) -> Iterator[Numbered]:
    """The records of a document, as the usual programs write tables."""
    if isinstance(value, dict):
        value, names = _within(value, where, names, reading.report)
    for number, item in enumerate(value):
        reading.records = number + 1
        if isinstance(item, list) and names:
            if len(item) == len(names):
                yield number, dict(zip(names, item, strict=True))
            else:
                detail = _(
                    "item {item}: {n} values, expected {wanted}",
                    item=number + 1,
                    n=len(item),
                    wanted=len(names),
                )
                reading.report.add("refused", _("wrong number of fields"), [number], detail=detail)
        elif isinstance(item, dict):
            yield number, item
        else:
            detail = _("item {item}: a {type}, not an object", item=number + 1, type=type(item).__name__)
            if isinstance(item, list):
                detail = _(
                    "item {item}: a list, not an object; pass names=… with the names of the columns",
                    item=number + 1,
                )
            reading.report.add("refused", _("not a JSON object"), [number], detail=detail)


def _within(
    found: dict[str, Any], where: str, names: Sequence[str] | None, report: Report
) -> tuple[list[Any], Sequence[str] | None]:
    """The rows in an object, and the names of their columns where they are lists."""
    if isinstance(found.get("columns"), list) and isinstance(
        found.get("data"), list
    ):  # pandas, orient="split"
        return found["data"], [str(name) for name in found["columns"]]
    lists = {name: value for name, value in found.items() if _all(value, dict)}
    if len(lists) == 1 and all(name in lists or not isinstance(value, list) for name, value in found.items()):
        rows, others = next(iter(lists.values())), [name for name in found if name not in lists]
        report.add(
            "counted",
            _("JSON key dropped"),
            [None] * len(others),
            detail=[visible(name, 60) for name in others],
        )
        return _squad(rows), names
    if len(lists) > 1:
        raise DataError(
            _("{where!r} contains several tables: {lists}. Save each to a separate file."),
            where=where,
            lists=", ".join(lists),
        )
    if found and all(isinstance(value, dict) for value in found.values()):
        return _by_index(found, where), names
    if found and all(isinstance(value, list) for value in found.values()):
        if len({len(value) for value in found.values()}) > 1:
            sizes = ", ".join(f"{name} {len(value)}" for name, value in found.items())
            raise DataError(
                _("{where!r} contains columns of different lengths: {sizes}."), where=where, sizes=sizes
            )
        return [dict(zip(found, values, strict=True)) for values in zip(*found.values(), strict=True)], names
    return [found], names


def _all(value: object, kind: type) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, kind) for item in value)


def _by_index(found: dict[str, dict[str, Any]], where: str) -> list[dict[str, Any]]:
    """Rows of pandas' orient="columns" (column → index → value) or "index" (index → column → value)."""
    inner = next(iter(found.values()))
    same = all(list(value) == list(inner) for value in found.values())
    if same and inner and all(map(_is_index, inner)):
        return [{name: values[index] for name, values in found.items()} for index in inner]
    if found and all(map(_is_index, found)):
        return list(found.values())
    raise DataError(
        _("{where!r} is a JSON object of objects, in which neither level is an index 0, 1, 2 …. Save the "
          "table with orient=\"records\"."),
        where=where,
    )  # fmt: skip


def _is_index(name: str) -> bool:
    return name.isdecimal()


def _squad(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Questions out of the paragraphs of SQuAD's own files; other rows as they are."""
    if not all(_all(row.get("paragraphs"), dict) for row in rows):
        return rows
    return [
        {
            "question": asked.get("question"), "context": paragraph.get("context"),
            "answers": {
                "text": [answer.get("text") for answer in asked.get("answers") or ()],
                "answer_start": [answer.get("answer_start") for answer in asked.get("answers") or ()],
            },
            "id": asked.get("id"), "title": row.get("title"),
        }
        for row in rows for paragraph in row["paragraphs"] for asked in paragraph.get("qas") or ()
    ]  # fmt: skip
