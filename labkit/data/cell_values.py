"""Features of a table written as the cells of their source columns, and typical values of each column."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from datasets import Dataset

from labkit.data.cells import DAY, EPOCH, Column


class Cell(NamedTuple):
    """A cell of a source column.

    Attributes:
        column: name of the column.
        value: as text, "" where missing.
        places: numbers of its features.
        kind: of the column.
    """

    column: str
    value: str
    places: tuple[int, ...]
    kind: str = "number"


@dataclass(frozen=True)
class ColumnValues:
    """What a column contains in the training rows.

    Attributes:
        column: how it is read.
        usual: the median or most frequent value, as text.
        low, high: the least and greatest value, as text; "" of categories and booleans.
        missing: whether a value is missing in some row.
    """

    column: Column
    usual: str
    low: str
    high: str
    missing: bool


def source_columns(columns: Sequence[Column], names: Sequence[str]) -> tuple[Column, ...]:
    """The source columns of features; without ``columns`` each feature is a column of numbers."""
    return tuple(columns) or tuple(Column(name, features=(name,)) for name in names)


def cells_of(features: np.ndarray, columns: Sequence[Column], names: Sequence[str]) -> list[Cell]:
    """A row of features f64[f] as the cells from which they were encoded.

    Args:
        features: before standardisation; a missing value is NaN.
        columns: how the source columns were read.
        names: of the features, in their order.
    """
    place = {name: number for number, name in enumerate(names)}
    found = []
    for how in source_columns(columns, names):
        places = tuple(place[name] for name in how.features)
        found.append(Cell(how.name, written(how, features[list(places)]), places, how.kind))
    return found


def column_values(train: Dataset, columns: Sequence[Column], names: Sequence[str]) -> list[ColumnValues]:
    """Typical values of each source column in the training rows."""
    return [_values(train, how) for how in source_columns(columns, names)]


def _values(train: Dataset, how: Column) -> ColumnValues:
    table = np.stack([np.asarray(train[name], np.float64) for name in how.features], 1)
    if how.kind == "category":
        usual = how.words[int(table.sum(0).argmax())]
        return ColumnValues(how, usual, "", "", bool((table.sum(1) == 0).any()))
    table = table[:, 0]  # without an indicator of missing values
    values = table[np.isfinite(table)]
    low, usual, high = (
        written(how, np.array([edge]))
        for edge in (np.quantile(values, (0, 0.5, 1), method="inverted_cdf") if len(values) else [np.nan] * 3)
    )
    ends = ("", "") if how.kind == "boolean" else (low, high)
    return ColumnValues(how, usual, *ends, missing=len(values) < len(table))


def written(how: Column, values: np.ndarray) -> str:
    """The cell of a column whose features have these values."""
    if how.kind == "category":
        return how.words[int(values.argmax())] if (values > 0).any() else ""
    value = float(values[0])
    if not np.isfinite(value):
        return ""
    if how.kind == "boolean":
        return "true" if value > 0.5 else "false"
    if how.kind == "date":
        return _date(value) + "Z" * (how.zoned and not value.is_integer())
    if how.kind == "duration":
        days, seconds = divmod(round(value), DAY)
        clock = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
        return f"{days} days {clock}" if days else clock
    short = np.float32(value)  # the shortest text that is read as the same number
    text = np.format_float_positional(short if float(short) == value else value, trim="-")
    return (text.replace(".", ",") if how.decimal == "," else text) + "%" * how.percent


def _date(days: float) -> str:
    """A day number since 1970, with the time where there is one, in ISO form."""
    whole, seconds = divmod(round(days * DAY), DAY)
    try:
        day = datetime.date.fromordinal(whole + EPOCH).isoformat()
    except (ValueError, OverflowError):
        return f"{days:g}"
    return f"{day} {seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}" if seconds else day
