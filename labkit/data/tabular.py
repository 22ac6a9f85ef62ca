"""Tables of numbers and categories: which columns an example is made of, each as a column of numbers."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from datasets import Dataset

from labkit.base.errors import DataError
from labkit.data import disk
from labkit.data.arrow import column, nested
from labkit.data.columns import check_columns, names_of
from labkit.data.labels import class_name
from labkit.data.report import Report, visible
from labkit.data.spool import ROW, Part
from labkit.data.targets import NOT_NUMBER, numbers_in

#: Share of a column's values that must be numbers for it to be a column of numbers.
MOSTLY = 0.95
#: Different values of a column of categories at most; each becomes a column of 0 and 1.
CATEGORIES = 50


def tabular(
    parts: Mapping[str, Part], wanted: bool | tuple[str, ...], taken: Collection[str],
    rows: Mapping[str, np.ndarray], report: Report, bad: Mapping[str, np.ndarray],
) -> dict[str, Part]:  # fmt: skip
    """The tables with a float32 column for each feature, beside the columns ``taken`` for the targets.

    A column of numbers stays one column, an empty cell being NaN; a column of up to 50 different words becomes a column
    ``name=word`` of 0 and 1 for each word of the training rows. What is neither is left out, and told.

    Args:
        parts: split → table.
        wanted: the columns to use, or True for all that can be used.
        taken: columns that are no features.
        rows: split → row numbers, for the report.
        report: takes what is refused or counted.
        bad: split → bool[n]; rows with a value that is no number, in a column of numbers, are marked here.

    Raises:
        DataError: a column is missing or, being wanted by name, cannot be used; or none can.
    """
    first = "train" if "train" in parts else next(iter(parts))
    table = parts[first].table
    names = [name for name in names_of(table) if name not in taken] if wanted is True else list(wanted)
    check_columns(table, names, first)
    made: dict[str, dict[str, np.ndarray]] = {split: {} for split in parts}
    for name in names:
        kind = _kind(table, name)
        if kind is None:
            if wanted is not True:
                raise DataError(
                    f"column {name!r} holds neither numbers nor a few words that repeat, so it cannot be a feature."
                )
            report.add("counted", "column left out", column=name, detail="neither numbers nor words that repeat")
            continue
        for split, part in parts.items():
            check_columns(part.table, [name], split)
            if isinstance(kind, tuple):
                made[split] |= _one_hot(part.table, name, kind, rows[split], split, report)
            else:
                made[split][name] = _numbers(part.table, name, rows[split], split, report, bad[split])
    if not made[first]:
        raise DataError(f"no column can be a feature; the columns are {visible(', '.join(names), 400)}.")
    return {split: replace(part, table=_joined(part.table, taken, made[split])) for split, part in parts.items()}


def _kind(table: Dataset, name: str) -> str | tuple[str, ...] | None:
    """ "numbers", the categories of a column, or None where it can be neither."""
    if nested(table.features.arrow_schema.field(name).type):
        return None
    found, wrong = numbers_in(table, name)
    there = int(wrong.sum() + np.isfinite(found).sum())
    if there and int(wrong.sum()) <= (1 - MOSTLY) * there:
        return "numbers"
    words = sorted(set(_words(table, name).dropna()))
    return tuple(words) if 2 <= len(words) <= min(CATEGORIES, max(2, len(table) // 2)) else None


def _words(table: Dataset, name: str) -> pd.Series:
    return column(table, name).to_pandas().map(class_name, na_action="ignore").replace("", None)


def _numbers(
    table: Dataset, name: str, rows: np.ndarray, split: str, report: Report, bad: np.ndarray
) -> np.ndarray:  # fmt: skip
    found, wrong = numbers_in(table, name)
    report.add("refused", NOT_NUMBER, rows[wrong], column=name, split=split)
    bad |= wrong
    report.add("counted", "missing value", rows[np.isnan(found) & ~wrong], column=name, split=split)
    return found.astype(np.float32)


def _one_hot(
    table: Dataset, name: str, words: Sequence[str], rows: np.ndarray, split: str, report: Report
) -> dict[str, np.ndarray]:
    said = _words(table, name)
    report.add("counted", "category not among those of train", rows[(~said.isin(words) & said.notna()).to_numpy()],
               column=name, split=split)  # fmt: skip
    return {f"{name}={word}": said.eq(word).fillna(False).to_numpy(np.float32) for word in words}


def _joined(table: Dataset, taken: Collection[str], features: Mapping[str, np.ndarray]) -> Dataset:
    """The columns that are no features, then the features."""
    table = table.select_columns([name for name in table.column_names if name in taken or name == ROW])
    for name, values in features.items():
        table = disk.with_column(table, name, values)
    return table


def features_of(records: Any, names: Sequence[str]) -> np.ndarray:
    """New records as the features that a model was trained on, f32[n, features]; what is missing is NaN.

    Args:
        records: a pandas frame, or a list of dicts.
        names: of the features, ``column`` or ``column=word``.

    Raises:
        DataError: a column is missing, or a value is no number.
    """
    frame = pd.DataFrame(records) if isinstance(records, list) else records
    columns = {}
    for name in names:
        source, _, word = name.partition("=")
        if name in frame.columns:
            source, word = name, ""
        if source not in frame.columns:
            raise DataError(f"the new rows have no column {source!r}; the model reads {', '.join(names[:30])}.")
        values = frame[source]
        if word:
            columns[name] = values.map(class_name, na_action="ignore").eq(word).to_numpy(np.float32)
            continue
        found = pd.to_numeric(values.replace("", None), errors="coerce")
        if (wrong := found.isna() & values.replace("", None).notna()).any():
            raise DataError(f"column {source!r} holds {values[wrong].iloc[0]!r}, which is no number.")
        columns[name] = found.to_numpy(np.float32, na_value=np.nan)
    return np.stack(list(columns.values()), 1) if columns else np.empty((len(frame), 0), np.float32)
