"""Writing of tables: Excel workbooks and Parquet files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from labkit.core.errors import DataError
from labkit.i18n import _

#: Characters of a cell of Excel at most.
LONGEST_CELL = 32_767


def write_parquet(path: Path, columns: Mapping[str, Sequence[Any]]) -> None:
    """Write columns as a Parquet file."""
    pq.write_table(pa.table(dict(columns)), path)


def write_excel(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows with the same columns as a sheet with a header; no text can act as a formula.

    Args:
        path: the file to write.
        rows: column name → number, date, text or None.

    Raises:
        DataError: openpyxl is missing, or a text is too long for Excel.
    """
    try:
        import openpyxl
    except ImportError:
        raise DataError(
            _("an Excel file needs openpyxl: pip install 'labkit[excel]'. Or choose CSV.")
        ) from None
    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet("predictions")
    for number, row in enumerate(rows):
        if not number:
            sheet.append([_written(sheet, name, 0) for name in row])
        sheet.append([_written(sheet, value, number) for value in row.values()])
    book.save(path)


def _written(sheet: Any, value: Any, row: int) -> Any:
    from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE, WriteOnlyCell

    if not isinstance(value, str):
        return WriteOnlyCell(sheet, value)
    text = ILLEGAL_CHARACTERS_RE.sub("\ufffd", value)
    if len(text) > LONGEST_CELL:
        raise DataError(
            _(
                "row {row} has a text of {length:,} characters; a cell of Excel has at most {most:,}. Choose CSV."
            ),
            row=row, length=len(text), most=LONGEST_CELL,
        )  # fmt: skip
    cell = WriteOnlyCell(sheet, text)
    cell.data_type = "s"
    return cell
