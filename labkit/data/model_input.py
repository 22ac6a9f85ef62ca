"""Conversion of prediction inputs, shared by Python, command line, HTTP and panels."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from labkit.core.errors import DataError, nearest
from labkit.data.columns import TEXT
from labkit.data.io.files import READERS
from labkit.data.io.load import read_table
from labkit.data.io.media import PICTURES, SOUNDS
from labkit.data.report import visible
from labkit.i18n import _

#: Kind of media → endings of its files.
ENDINGS = {"image": PICTURES, "audio": SOUNDS}
#: Column of a table that names files, unless another is given.
FILES = (
    "file",
    "file_name",
    "filename",
    "path",
    "image",
    "picture",
    "photo",
    "sound",
    "audio",
    "文件",
    "图片",
    "音频",
)


def texts_of(given: Iterable[Any], noun: str, blank: bool = True) -> list[str]:
    """Texts as a list of strings; ``noun`` is what one of them is.

    Raises:
        DataError: one is missing, is not a string or, without ``blank``, is empty.
    """
    if not isinstance(given, Iterable):
        raise DataError(
            _("a list of texts is needed, one for each {noun}, not a {type}."),
            noun=noun,
            type=type(given).__name__,
        )
    texts = list(given)
    for number, text in enumerate(texts):
        if is_missing(text):
            raise DataError(_("{noun} {number} is missing."), noun=noun, number=number)
        if not isinstance(text, str):
            raise DataError(
                _("{noun} {number} is {text!r}, a {type}; a string is needed."),
                noun=noun, number=number, text=text, type=type(text).__name__,
            )  # fmt: skip
        if not blank and not text.strip():
            raise DataError(_("{noun} {number} is empty."), noun=noun, number=number)
    return texts


def is_missing(value: object) -> bool:
    """Whether a cell holds nothing: None, NaN, NA of pandas."""
    return (
        value is None
        or type(value).__name__ in ("NAType", "NaTType")
        or (isinstance(value, float) and value != value)
    )


def is_row(given: object) -> bool:
    """Whether a dict is one row, column to value, and not a dict of columns."""
    return isinstance(given, Mapping) and any(
        isinstance(value, str | bytes | os.PathLike) or not isinstance(value, Iterable)
        for value in given.values()
    )


def records_of(given: Any) -> list[Mapping[str, Any]] | None:
    """The rows of a table in memory (a list of dicts, a dict of columns, a frame, a data set); None where
    ``given`` is no table."""
    if isinstance(given, list | tuple):
        return list(given) if given and isinstance(given[0], Mapping) else None
    if isinstance(given, pa.Table):
        return given.to_pylist()
    if isinstance(given, Mapping) or hasattr(given, "columns") or hasattr(given, "column_names"):
        return read_table(given).table.to_pylist()
    return None


def columns_of(names: Sequence[str], trained: Sequence[str], chosen: Sequence[str | None]) -> list[str]:
    """The columns of a table in which a model finds its texts.

    Args:
        names: columns of the table.
        trained: columns that the model was trained on; none where that is not known.
        chosen: for each text the column that the caller names, or None.

    Raises:
        DataError: there is no such column.
    """
    found = []
    for place, name in enumerate(chosen):
        usual = ("text", "text_pair")[place]
        known = trained[place] if place < len(trained) else usual
        if name is None:
            name = next((each for each in (known, usual) if each in names), known)
            others = [each for each in names if each.casefold() in TEXT]
            if name not in names and not place and len(chosen) == 1 and len(others) == 1:
                name = others[0]
        if name not in names:
            there = visible(", ".join(names), 400)
            raise DataError(
                _(
                    "the table has no column {column!r}, which the model needs.{hint} It has: {there}. "
                    "Name the column (--column, --pair), or all columns of a file without a header "
                    "(--name)."),
                column=name, hint=nearest(name, names), there=there,
            )  # fmt: skip
        found.append(name)
    return found


def texts_in(records: Sequence[Mapping[str, Any]], name: str) -> list[str]:
    """The texts of a column; numbers are written out, as when rows are loaded.

    Raises:
        DataError: a text is missing or blank.
    """
    cells = [record.get(name) for record in records]
    if empty := [row for row, cell in enumerate(cells) if is_missing(cell) or not str(cell).strip()]:
        rows = ", ".join(map(str, empty[:5])) + ", …" * (len(empty) > 5)
        raise DataError(
            _("{n_empty:,} of {n_cells:,} rows have no text in column {column!r}: rows {rows}."),
            n_empty=len(empty), n_cells=len(cells), column=name, rows=rows,
        )  # fmt: skip
    written = (str(cell) if isinstance(cell, int | float | os.PathLike) else cell for cell in cells)
    return texts_of(written, f"{name!r} of row")


def files_in(place: Path, kind: str) -> list[Path]:
    """The pictures or sounds of a folder and the folders in it, by name; a file alone.

    Raises:
        DataError: there is no such place, or it holds none.
    """
    if not place.exists():
        raise DataError(_("file or folder {place!r} not found."), place=str(place))
    if place.is_file():
        return [place]
    found = sorted(
        path
        for path in place.rglob("*")
        if path.suffix.lower() in ENDINGS[kind] and path.is_file() and not path.name.startswith(".")
    )
    if not found:
        raise DataError(
            _("the folder {folder!r} contains no file that the model can read ({endings})."),
            folder=place.name,
            endings=", ".join(ENDINGS[kind]),
        )
    return found


def is_place(name: str) -> bool:
    """Whether a text is the path of a file or folder that is there."""
    try:
        return bool(name.strip()) and Path(name).expanduser().exists()
    except (OSError, ValueError, RuntimeError):  # longer than a path may be
        return False


def check_no_file(text: str) -> None:
    """Raise :class:`DataError` for a text that is one word with the ending of a file that is read, but not
    there."""
    endings = (*READERS, *PICTURES, *SOUNDS)
    if len(text.split()) == 1 and text.lower().strip().endswith(endings):
        raise DataError(
            _("file {text!r} not found. If this is a text, pass it in a list: [{text!r}]."), text=text[:80]
        )


def table_of(source: str | os.PathLike[str], kind: str, **file: Any) -> tuple[pa.Table, Path]:
    """A file or folder as a table, read as ``load`` reads it; of pictures and sounds a table of their paths.
    And the folder that paths in the table start from.

    Args:
        source: where it is.
        kind: what the model reads.
        file: how a table is read, see :func:`labkit.data.io.load.read_table`.
    """
    place = Path(source).expanduser()
    media = place.is_dir() or place.suffix.lower() in ENDINGS.get(kind, ())
    if kind in ENDINGS and media and "://" not in str(source):
        return pa.table({"file": [str(path) for path in files_in(place, kind)]}), Path()
    return read_table(source, **file).table, place.parent


def paths_in(records: Sequence[Mapping[str, Any]], column: str | None, kind: str, folder: Path) -> list[Path]:
    """The files that a table names, in ``folder`` unless their paths are absolute.

    Raises:
        DataError: no column names files, or a name is missing.
    """
    names = list(records[0]) if records else []
    if column is None:
        listed = [name for name in names if name.casefold() in FILES] or [
            name for name in names if str(records[0][name]).lower().endswith(ENDINGS[kind])
        ]
        if len(listed) != 1:
            there = visible(", ".join(names), 400)
            raise DataError(
                _("name the column that contains the file names (--column). The table has: {there}."),
                there=there,
            )
        column = listed[0]
    elif column not in names:
        there = visible(", ".join(names), 400)
        raise DataError(
            _("the table has no column {column!r}.{hint} It has: {there}."),
            column=column, hint=nearest(column, names), there=there,
        )  # fmt: skip
    return [folder / Path(name).expanduser() for name in texts_in(records, column)]
