"""Excel workbooks: the first non-empty sheet, or a named one."""

from __future__ import annotations

import itertools
import warnings
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from labkit.core.archive import MOST_BYTES
from labkit.core.errors import DataError, nearest
from labkit.data.io.arrow_cache import PORTION, Reading, table_of
from labkit.data.io.csv import Dialect, named
from labkit.i18n import _

#: What Excel shows where a formula has no value.
ERRORS = frozenset({"#N/A", "#DIV/0!", "#NAME?", "#NULL!", "#NUM!", "#REF!", "#VALUE!", "#SPILL!", "#CALC!"})


def read_excel(path: Path, dialect: Dialect, reading: Reading) -> Iterator[pa.Table]:
    """The rows of a sheet below its header; formulas by the values that Excel stored.

    Raises:
        DataError: openpyxl is missing, the file is damaged, or there is no such sheet or no row.
    """
    try:
        import openpyxl
    except ImportError:
        raise DataError(
            _(
                "{file!r} is an Excel file, which needs openpyxl: pip install 'labkit[excel]'. Or save it as CSV."
            ),
            file=path.name,
        ) from None
    try:
        with zipfile.ZipFile(path) as file:
            size = sum(info.file_size for info in file.infolist())
        if size > MOST_BYTES:
            raise DataError(
                _("{file!r} unpacks to {size:,} bytes, more than {most_bytes:,}. Save it as CSV."),
                file=path.name, size=size, most_bytes=MOST_BYTES,
            )  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of styles and extensions, which are not read
            book = openpyxl.load_workbook(path, read_only=True, data_only=True)
            yield from _rows(book, path.name, dialect, reading)
    except DataError:
        raise
    except Exception as error:  # the reader raises whatever its parts raise
        raise DataError(
            _("{file!r} is not a complete Excel file ({type})."), file=path.name, type=type(error).__name__
        ) from error


def _rows(book: object, where: str, dialect: Dialect, reading: Reading) -> Iterator[pa.Table]:
    lines = _sheet(book, where, dialect.sheet, reading)
    if dialect.names:
        names = list(dialect.names)
    else:
        header = _trimmed(next(lines)[1])
        names = list(named(["" if value is None else str(value) for value in header], where, reading.report))
    records: list[dict[str, Any]] = []
    numbers: list[int] = []
    full = 0
    for place, values in lines:
        cells = _trimmed(values)
        if len(cells) > len(names):
            detail = _(
                "line {line}: {n} fields, expected {wanted}", line=place, n=len(cells), wanted=len(names)
            )
            reading.report.add("refused", _("wrong number of fields"), [reading.records], detail=detail)
        else:
            records.append(dict(itertools.zip_longest(names, _values(cells, names, place, reading))))
            numbers.append(reading.records)
        reading.records += 1
        if len(records) >= PORTION:
            yield table_of(records, numbers, reading.report)
            records, numbers, full = [], [], full + 1
    if not reading.records:
        raise DataError(_("{where!r} has 0 rows: only a header."), where=where)
    if records or not full:
        yield table_of(records, numbers, reading.report)


def _values(cells: list[Any], names: list[str], place: int, reading: Reading) -> list[Any]:
    """The cells of a line, with None for the errors of formulas."""
    errors = [isinstance(value, str) and value in ERRORS for value in cells]
    for name, value, error in zip(names, cells, errors, strict=False):
        if error:
            detail = _("{value} in line {place}", value=value, place=place)
            reading.report.add(
                "counted", _("formula without a value"), [reading.records], column=name, detail=detail
            )
    return [None if error else value for value, error in zip(cells, errors, strict=True)]


def _sheet(book: Any, where: str, name: str | None, reading: Reading) -> Iterator[tuple[int, Any]]:
    """The sheet to read, and its lines that are not blank, numbered from 1."""
    sheets = {sheet.title: sheet for sheet in book.worksheets}
    if name is not None and name not in sheets:
        raise DataError(
            _("{where!r} has no sheet {name!r}.{hint} It has: {sheets}."),
            where=where, name=name, hint=nearest(name, sheets), sheets=", ".join(sheets),
        )  # fmt: skip
    for title in [name] if name is not None else sheets:
        lines = _lines(sheets[title])
        first = next(lines, None)
        if first is None:
            continue
        others = [other for other in sheets if other != title]
        detail = [
            _("{other}; sheet {title} was read (choose another with sheet=…)", other=other, title=title)
            for other in others
        ]
        reading.report.add("counted", _("sheet not read"), [None] * len(others), detail=detail)
        return itertools.chain([first], lines)
    raise DataError(_("{where!r} has 0 rows: it is empty."), where=where)


def _lines(sheet: Any) -> Iterator[tuple[int, Any]]:
    sheet.reset_dimensions()  # what the file says of its size may be wrong
    for place, values in enumerate(sheet.iter_rows(values_only=True), start=1):
        if any(value is not None and value != "" for value in values):
            yield place, values


def _trimmed(values: Iterable[Any]) -> list[Any]:
    """Cells without the empty ones at the end."""
    kept = list(values)
    while kept and (kept[-1] is None or kept[-1] == ""):
        kept.pop()
    return kept
