"""What an example is to be given beside a single class: several labels at once, or numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from datasets import Dataset

from labkit.base.errors import DataError
from labkit.data import disk
from labkit.data.arrow import batches, column, nested
from labkit.data.columns import Choice, check_columns
from labkit.data.labels import MOST, class_name, given_classes, near_class, order_of
from labkit.data.report import Report, visible
from labkit.data.spool import Part

#: What stands for yes and no in a column of its own for each label.
YES_NO = {"1": 1.0, "true": 1.0, "yes": 1.0, "0": 0.0, "false": 0.0, "no": 0.0}
NOT_NUMBER, NOT_YES_NO, OUTSIDE = "not a number", "neither 0 nor 1", "label outside classes"


@dataclass(frozen=True)
class Targets:
    """The targets of all splits.

    Attributes:
        aim: "labels" (each class applies or not) or "number".
        names: of the classes, or of the numbers.
        columns: source columns they were read from.
        values: split → f32[n, k], 0 where missing.
        known: split → i32[n], 0 where a row has its targets, -1 where it has none.
    """

    aim: str
    names: tuple[str, ...]
    columns: tuple[str, ...]
    values: dict[str, np.ndarray]
    known: dict[str, np.ndarray]


def wants_targets(parts: Mapping[str, Part], choice: Choice, label: str | None) -> bool:
    """Whether the rows are to have several labels, or numbers, instead of one class each."""
    if choice.number or choice.separator or isinstance(choice.label, tuple):
        return True
    if label is None or label not in (table := next(iter(parts.values())).table).column_names:
        return False
    return pa.types.is_nested(table.features.arrow_schema.field(label).type)


def read_targets(
    parts: Mapping[str, Part], choice: Choice, label: str | None, rows: Mapping[str, np.ndarray], report: Report,
    bad: Mapping[str, np.ndarray],
) -> Targets:  # fmt: skip
    """The targets of every row; values that cannot be used are refused and marked in ``bad``.

    Raises:
        DataError: a column is missing or holds something else, or there are far too many labels.
    """
    if choice.number:
        return _of_columns(parts, choice.number, "number", rows, report, bad)
    if isinstance(choice.label, tuple):
        return _of_columns(parts, choice.label, "labels", rows, report, bad)
    assert label is not None
    return _of_tags(parts, label, choice, rows, report, bad)


def _of_columns(
    parts: Mapping[str, Part], names: tuple[str, ...], aim: str, rows: Mapping[str, np.ndarray], report: Report,
    bad: Mapping[str, np.ndarray],
) -> Targets:  # fmt: skip
    """A column for each number, or for each label."""
    values, known = {}, {}
    parse = numbers_in if aim == "number" else _yes_or_no
    reason = NOT_NUMBER if aim == "number" else NOT_YES_NO
    for split, part in parts.items():
        count = len(part.table)
        values[split], known[split] = np.zeros((count, len(names)), np.float32), np.full(count, -1, np.int32)
        if split != "train" and not any(name in part.table.column_names for name in names):
            continue  # rows to predict, such as a test file without answers
        check_columns(part.table, names, split)
        missing = np.zeros(count, bool)
        for place, name in enumerate(names):
            found, wrong = parse(part.table, name)
            for row in np.flatnonzero(wrong & ~bad[split])[:1000]:
                detail = visible(str(part.table[int(row)][name]), 60)
                report.add("refused", reason, rows[split][row : row + 1], column=name, detail=detail, split=split)
            bad[split][wrong] = True
            missing |= np.isnan(found)
            values[split][:, place] = np.nan_to_num(found)
        known[split][~missing] = 0
    return Targets(aim, names, names, values, known)


def numbers_in(table: Dataset, name: str) -> tuple[np.ndarray, np.ndarray]:
    """A column as f64[n], NaN where there is none, and where there is something that is no finite number, bool[n]."""
    values = column(table, name)
    if nested(values.type):
        raise DataError(f"column {name!r} holds {values.type}, not numbers.")
    texts = values.to_pandas()
    found = pd.to_numeric(texts, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    empty = texts.isna().to_numpy()
    if texts.dtype == object or pd.api.types.is_string_dtype(texts):
        empty = empty | texts.astype("string").str.strip().eq("").fillna(True).to_numpy(bool)
    finite = np.isfinite(found)
    return np.where(finite, found, np.nan), ~finite & ~empty


def _yes_or_no(table: Dataset, name: str) -> tuple[np.ndarray, np.ndarray]:
    texts = column(table, name).to_pandas()
    empty = texts.isna().to_numpy()
    said = texts.map(lambda value: YES_NO.get(class_name(value).casefold(), np.nan), na_action="ignore")
    found = pd.to_numeric(said, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    return found, np.isnan(found) & ~empty


def _of_tags(
    parts: Mapping[str, Part], label: str, choice: Choice, rows: Mapping[str, np.ndarray], report: Report,
    bad: Mapping[str, np.ndarray],
) -> Targets:  # fmt: skip
    """One column with any number of labels in each row: a list, or a text cut at a separator."""
    tags: dict[str, list[list[str] | None]] = {}
    for split, part in parts.items():
        there = label in part.table.column_names
        tags[split] = _tags(part.table, label, choice.separator) if there else [None] * len(part.table)
    shown = {tag for found in tags["train" if "train" in tags else next(iter(tags))] for tag in found or ()}
    classes = given_classes(choice.classes) if choice.classes is not None else tuple(sorted(shown, key=order_of(shown)))
    if len(classes) > MOST:
        raise DataError(f"column {label!r} has {len(classes):,} different labels; that is no classification any more.")
    place = {name: number for number, name in enumerate(classes)}
    values, known = {}, {}
    for split, found in tags.items():
        values[split] = np.zeros((len(found), len(classes)), np.float32)
        known[split] = np.array([-1 if each is None else 0 for each in found], np.int32)
        for row, each in enumerate(found):
            for tag in each or ():
                if tag in place:
                    values[split][row, place[tag]] = 1
                    continue
                number = rows[split][row : row + 1]
                if choice.classes is None:
                    detail = f"<unseen>: {visible(tag, 60)!r} is not among the labels of train"
                    report.add("counted", "unseen label", number, column=label, detail=detail, split=split)
                else:
                    detail = near_class(tag, classes)
                    report.add("refused", OUTSIDE, number, column=label, detail=detail, split=split)
                    bad[split][row] = True
    return Targets("labels", classes, (label,), values, known)


def _tags(table: Dataset, name: str, separator: str | None) -> list[list[str] | None]:
    """The labels of every row; None where nothing is said of them."""
    found: list[list[str] | None] = []
    for part in batches(table, [name]):
        for value in part.column(0).to_pylist():
            if separator is not None:
                value = [] if value is None else str(value).split(separator)
            elif isinstance(value, dict) or (value is not None and not isinstance(value, Sequence)):
                raise DataError(f"column {name!r} holds {part.column(0).type}, not lists of labels.")
            found.append(None if value is None else [named for tag in value if (named := class_name(tag))])
    return found


def with_targets(table: Dataset, targets: np.ndarray, known: np.ndarray) -> Dataset:
    """``table`` with the columns ``label`` and ``target``."""
    table = disk.with_column(table, "label", known)
    flat = pa.array(np.ascontiguousarray(targets).reshape(-1), pa.float32())
    return table.add_column("target", pa.FixedSizeListArray.from_arrays(flat, targets.shape[1]))


def targets_of(dataset: Any) -> np.ndarray | None:
    """The targets of a split, f32[n, k], or None where each row has one class."""
    if "target" not in dataset.column_names:
        return None
    parts = [np.asarray(part.column(0).combine_chunks().flatten(), np.float32) for part in batches(dataset, ["target"])]
    return np.concatenate(parts).reshape(len(dataset), -1) if parts else None
