"""New rows of a table, encoded like the training rows."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from labkit.core.errors import DataError
from labkit.data.cells import Column, read
from labkit.data.columns import names_of
from labkit.data.features import encoded
from labkit.data.io.memory import memory_parts
from labkit.data.labels import with_class_names
from labkit.data.model_input import is_missing
from labkit.data.precision import BEYOND, beyond
from labkit.data.report import visible
from labkit.i18n import _

#: What the cells of a column must be, by its kind.
WANTED = {
    "number": _("a number"),
    "boolean": _("true or false"),
    "date": _("a date"),
    "duration": _("a duration"),
}


def features_of(records: object, columns: Sequence[Column], names: Sequence[str]) -> np.ndarray:
    """New rows as the features that a model was trained on, f64[n, features]; a missing value is NaN.

    Args:
        records: a pandas or polars frame, a list of dicts, a ``datasets.Dataset``, an Arrow table, a DuckDB
        result.
        columns: how the source columns of the training rows were read; none where each feature is a column of
        numbers.
        names: of the features, in their order.

    Raises:
        DataError: a column is missing, or a value is none of its kind, such as a category without training
            rows.
    """
    columns = columns or [Column(name, features=(name,)) for name in names]
    parts = memory_parts(records)
    if list(parts) != [""]:
        raise DataError(_("there are several splits: {parts}. Choose one."), parts=", ".join(parts))
    table = parts[""]().table
    values: dict[str, np.ndarray] = {}
    there = _Names(names_of(table))
    for how in columns:
        name = there.same(how.name)
        if name is None:
            known = visible(", ".join(each.name for each in columns), 400)
            raise DataError(
                _("the new rows have no column {column!r}; the model needs {known}."),
                column=how.name,
                known=known,
            )
        cells = with_class_names(table, name)
        found, wrong = read(cells, how)
        if wrong.any():
            row = int(np.argmax(wrong))
            raise DataError(_wrong(how, visible(str(cells[row].as_py()), 60), row))
        if how.kind == "number" and (large := beyond(found)).any():
            row = int(np.argmax(large))
            told = visible(str(cells[row].as_py()), 60)
            raise DataError(
                _("column {column!r} contains {told!r} in row {row}, a {beyond}."),
                column=how.name, told=told, row=row, beyond=BEYOND,
            )  # fmt: skip
        values |= encoded(how, found)
    return np.stack([values[name] for name in names], 1)


class _Names:
    """The names of columns, to be looked up many times."""

    def __init__(self, names: Sequence[str]):
        self._names = set(names)
        self._plain: dict[str, list[str]] = {}
        for name in names:
            self._plain.setdefault(plain_name(name), []).append(name)

    def same(self, name: str) -> str | None:
        """The column called so, up to white space around it and its Unicode form; None where none or several
        are."""
        if name in self._names:
            return name
        found = self._plain.get(plain_name(name), [])
        return found[0] if len(found) == 1 else None


def plain_name(name: str) -> str:
    return unicodedata.normalize("NFC", name.strip())


def problem_of(how: Column, value: object, missing: bool = True) -> str:
    """What is wrong with a value of a column, which may be ``missing``; "" where the model can read it."""
    text = None if is_missing(value) else str(value)
    (found,), (unread,) = read(pa.chunked_array([[text]], pa.string()), how)
    if unread:
        wanted = WANTED.get(how.kind, _("one of its categories"))
        shown, said = visible(str(text), 60), _remark(how, str(text))
        return _("{value!r} is not {wanted}.{said}", value=shown, wanted=wanted, said=said)
    return (
        ""
        if missing or np.isfinite(found)
        else _("A value is needed: it is never missing in the training rows.")
    )


def _wrong(how: Column, value: str, row: int) -> str:
    if how.kind == "category":
        known = visible(", ".join(how.words), 400)
        return _(
            "column {column!r} contains {value!r} in row {row}, which is not one of its categories: {known}.",
            column=how.name, value=value, row=row, known=known,
        )  # fmt: skip
    return _(
        "column {column!r} contains {value!r} in row {row}, which is not {wanted}.{said}",
        column=how.name, value=value, row=row, wanted=WANTED[how.kind], said=_remark(how, value),
    )  # fmt: skip


def _remark(how: Column, value: str) -> str:
    """How the training rows are written, where a value is not."""
    said = ""
    if how.kind == "number" and "," in value:
        said = _(" It was trained on numbers without a comma.") if not how.decimal else ""
    if how.kind == "number" and how.percent:
        said = _(" Its numbers are written with a percent sign.")
    if how.kind == "date":
        said = _(" The training rows have dates without a time zone.")
        if how.zoned:
            said = _(" The training rows have dates with a time zone.")
    return said
