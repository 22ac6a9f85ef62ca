"""Rows in memory: lists, columns, frames of pandas and others, Arrow tables and data sets."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from datasets import Dataset, DatasetDict, IterableDataset, IterableDatasetDict

from labkit.core.errors import DataError
from labkit.data import memmap
from labkit.data.io.arrow_cache import PORTION, ROW, Part, Reading, column_of, in_memory, table_of
from labkit.data.io.csv import named
from labkit.data.io.folders import SPLITS, Parts, canonical, in_order
from labkit.data.report import Report
from labkit.i18n import _

if TYPE_CHECKING:
    import pandas as pd


def memory_parts(x: object, names: Sequence[str] | None = None) -> Parts:
    """Split → what reads it, for rows in memory; a single table is the split ``""``.

    Args:
        x: see :func:`labkit.data.io.load.load`.
        names: of the columns, where rows are tuples.

    Raises:
        DataError: it is nothing that holds rows.
    """
    if isinstance(x, IterableDataset | IterableDatasetDict):
        raise DataError(_("streamed data sets are not supported: load it without streaming=True."))
    if isinstance(x, Mapping):
        if isinstance(x, DatasetDict) or _is_splits(x):
            found = in_order({canonical(str(name)): table for name, table in x.items()})
            if len(found) < len(x):
                raise DataError(_("two splits of {names} have the same name."), names=", ".join(map(str, x)))
            return {name: _reader(table, names) for name, table in found.items()}
        return {"": lambda: _columns_part(x)}
    return {"": _reader(x, names)}


def _is_splits(x: Mapping[Any, Any]) -> bool:
    """Whether these are tables by split: the names are those of splits, and the values no lists of plain
    values."""
    plain = (str, int, float, bool, type(None))
    return bool(x) and all(
        str(name).lower() in SPLITS and not (isinstance(value, list | tuple | np.ndarray) and len(value)
                                             and isinstance(value[0], plain))
        for name, value in x.items()
    )  # fmt: skip


def _reader(x: Any, names: Sequence[str] | None) -> Callable[[], Part]:
    if isinstance(x, Dataset):
        return lambda: _dataset_part(x)
    if type(x).__module__.partition(".")[0] == "pandas" and hasattr(x, "columns"):
        return lambda: _frame_part(x)
    rows = hasattr(x, "__arrow_c_stream__") or hasattr(x, "__arrow_c_array__")
    if rows and type(x).__name__ != "Series":  # a single column
        return lambda: _arrow_part(x)
    if (run := _query(x)) is not None:
        return lambda: _arrow_part(_ran(x, run))
    if isinstance(x, list | tuple):
        return lambda: _list_part(x, names)
    lazy = " Call .collect() first." if hasattr(x, "collect") else ""
    raise DataError(
        _(
            "load cannot read a {type}: give a list of dicts, a dict of columns, a DataFrame (pandas, "
            "polars), an Arrow table, a datasets.Dataset, or the name of a file, folder, sample or hub "
            "data set.{lazy}"),
        type=type(x).__name__, lazy=lazy,
    )  # fmt: skip


def _list_part(records: Sequence[Any], names: Sequence[str] | None) -> Part:
    if not records:
        raise DataError(_("the list has 0 rows."))
    if isinstance(records[0], list | tuple):
        records = _named(records, names)
    for number, record in enumerate(records):
        if not isinstance(record, dict):
            raise DataError(
                _("row {number} is a {type}, not a dict like {{'text': …, 'label': …}}."),
                number=number,
                type=type(record).__name__,
            )
        if odd := [key for key in record if not isinstance(key, str)]:
            raise DataError(
                _("row {number} has the key {odd!r}; column names must be strings."),
                number=number,
                odd=odd[0],
            )
    reading = Reading(records=len(records))
    starts = range(0, len(records), PORTION)
    return in_memory(
        [
            table_of(
                records[start : start + PORTION],
                range(start, min(start + PORTION, len(records))),
                reading.report,
            )
            for start in starts
        ],
        reading,
    )


def _named(records: Sequence[Any], names: Sequence[str] | None) -> list[dict[str, Any]]:
    """Tuples as dicts. Named tuples bring their names."""
    names = names or getattr(records[0], "_fields", None)
    if not names:
        raise DataError(
            _("row 0 is a {type} of {n_record} values without names: pass names=… with the name of each "
              "column, like names=('text', 'label')."),
            type=type(records[0]).__name__, n_record=len(records[0]),
        )  # fmt: skip
    for number, record in enumerate(records):
        if not isinstance(record, list | tuple) or len(record) != len(names):
            size = (
                f"{len(record)} values" if isinstance(record, list | tuple) else f"a {type(record).__name__}"
            )
            raise DataError(
                _("row {number} is {size}; expected {n_names} values ({names})."),
                number=number, size=size, n_names=len(names), names=", ".join(names),
            )  # fmt: skip
    return [dict(zip(names, record, strict=True)) for record in records]


def _columns_part(columns: Mapping[Any, Any]) -> Part:
    """A dict of columns of one length."""
    if odd := [name for name in columns if not isinstance(name, str)]:
        raise DataError(
            _("the column name {odd!r} is not a string; column names must be strings."), odd=odd[0]
        )
    single = [name for name, value in columns.items() if not _is_column(value)]
    if single or not columns:
        raise DataError(
            _(
                "a dict must contain columns of values, like {{'text': [...], 'label': [...]}}, or one "
                "table per split; {name!r} is {type}."),
            name=single[0] if single else "it",
            type=type(columns[single[0]]).__name__ if single else _("nothing"),
        )  # fmt: skip
    sizes = {name: len(value) for name, value in columns.items()}
    if len(set(sizes.values())) > 1:
        raise DataError(
            _("the columns have different lengths: {sizes}."),
            sizes=", ".join((f"{n} {size}" for n, size in sizes.items())),
        )
    count = next(iter(sizes.values()))
    if not count:
        raise DataError(_("the columns have 0 rows."))
    reading, numbers = Reading(records=count), range(count)
    names = named(list(columns), "the dict", reading.report)
    arrays = {
        name: column_of(_listed(values), name, numbers, reading.report)
        for name, values in zip(names, columns.values(), strict=True)
    }
    return in_memory([pa.table({**arrays, ROW: pa.array(numbers, pa.int64())})], reading)


def _is_column(value: object) -> bool:
    return hasattr(value, "__len__") and not isinstance(value, str | bytes)


def _listed(values: Iterable[Any]) -> Any:
    return values if isinstance(values, pa.Array | pa.ChunkedArray) else list(values)


def _arrow_part(x: object) -> Part:
    """An Arrow table, record batch or reader, or whatever hands its rows over as Arrow: polars, DuckDB …"""
    try:
        table = x if isinstance(x, pa.Table) else pa.table(x)
    except Exception as error:  # a query raises whatever its library raises
        raise DataError(
            _("the {type} cannot be read as a table: {error}."), type=type(x).__name__, error=error
        ) from error
    if not len(table):
        raise DataError(_("the {type} has 0 rows."), type=type(x).__name__)
    reading = Reading(records=len(table))
    names = named(table.column_names, f"the {type(x).__name__}", reading.report)
    table = table.rename_columns(list(names))
    return in_memory([table.append_column(ROW, pa.array(range(len(table)), pa.int64()))], reading)


def _query(x: object) -> Callable[[], Any] | None:
    """What runs a query that polars or DuckDB has not run yet, or hands its result over; None where ``x`` is
    none."""
    library = type(x).__module__.partition(".")[0]
    if library == "polars":
        return getattr(x, "collect", None)
    return getattr(x, "to_arrow_table", None) if library in ("duckdb", "_duckdb") else None


def _ran(x: object, run: Callable[[], Any]) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # DuckDB's of a copy
            return run()
    except Exception as error:  # a query raises whatever its library raises
        raise DataError(
            _("the {type} cannot be read as a table: {error}."), type=type(x).__name__, error=error
        ) from error


def _frame_part(frame: pd.DataFrame) -> Part:
    import pandas as pd

    if not len(frame):
        raise DataError(_("the frame has 0 rows."))
    reading = Reading(records=len(frame))
    names = named([str(name) for name in frame.columns], "the frame", reading.report)
    if frame.index.name is not None or not frame.index.equals(pd.RangeIndex(len(frame))):
        reading.report.add(
            "counted",
            _("index dropped"),
            detail=_("rows are numbered by position; call reset_index() to keep it"),
        )
    numbers = range(len(frame))
    columns = {
        name: column_of(_values(frame.iloc[:, place]), name, numbers, reading.report)
        for place, name in enumerate(names)
    }
    table = pa.table({**columns, ROW: pa.array(numbers, pa.int64())})
    return in_memory([table], reading)


def _values(series: pd.Series) -> Any:
    """A column in what Arrow reads at once: the array of a typed column, a list of objects with None for NaN."""
    return series.tolist() if series.dtype == object else series.array


def _dataset_part(table: Dataset) -> Part:
    if not len(table):
        raise DataError(_("the data set has 0 rows."))
    table = table.with_format(None)
    report = Report()
    named(table.column_names, "the data set", report)
    return Part(memmap.with_column(table, ROW, np.arange(len(table))), report, len(table))
