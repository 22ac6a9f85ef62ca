"""From a column of labels to class names and class ids."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import ClassLabel, Dataset

from labkit.base.errors import DataError, nearest
from labkit.data import disk
from labkit.data.arrow import column, numbers
from labkit.data.report import Report, visible

MOST = 1000  # classes; beyond it a column is no label
BLANK = frozenset({"", "nan", "<na>", "na", "n/a", "#n/a", "null"})  # what tables write for "no label", lower case
WHOLE = re.compile(r"(-?(?:0|[1-9]\d*))\.0+")

Classes = Sequence[Any] | Mapping[Any, Any]


@dataclass(frozen=True)
class Labels:
    """The labels of one split before the classes of all splits are known.

    Attributes:
        index: position of each row's label in ``names``, int32[n]; -1 is missing.
        names: distinct labels as text, in no order.
        fixed: class names that the column itself brings (``datasets.ClassLabel``), in the order of their ids.
    """

    index: np.ndarray
    names: tuple[str, ...]
    fixed: tuple[str, ...] | None = None

    def without(self, bad: np.ndarray) -> Labels:
        """The labels with those of ``bad`` rows missing, and forgotten where no other row has them."""
        if not bad.any():
            return self
        index = disk.array(len(bad), np.int32)
        for part in disk.portions(len(bad)):
            index[part] = np.where(bad[part], -1, self.index[part])
        return Labels(index, self.names, self.fixed) if self.fixed else _merged(index, list(self.names))

    def ids(self, classes: Sequence[str]) -> np.ndarray:
        """Class ids int32[n]: -1 where the label is missing, -2 where it is none of ``classes``."""
        place = {name: index for index, name in enumerate(classes)}
        table = np.array([*(place.get(name, -2) for name in self.names), -1], np.int32)
        return disk.take(table, self.index)  # index -1 takes the last entry


def read_labels(table: Dataset, name: str, rows: np.ndarray, keep: Sequence[str], report: Report) -> Labels:
    """The labels in a column, each distinct value looked at once.

    Args:
        table: a split with the column.
        name: the column.
        rows: record numbers, int64[n], for the report.
        keep: words that are labels although they usually mean "no label".
        report: takes the repairs: white space around labels, ``1.0`` for ``1``.

    Raises:
        DataError: the column does not hold one short value per row, or far too many different ones.
    """
    feature = table.features[name]
    if isinstance(feature, ClassLabel):
        index = numbers(table, name, np.int32)
        return Labels(np.maximum(index, -1, out=index), tuple(feature.names), tuple(feature.names))
    values = column(table, name)
    if not _is_scalar(values.type):
        raise DataError(f"column {name!r} holds {values.type}, which is no label: one class for each row is needed.")
    encoded = pc.dictionary_encode(values.cast(pa.string()) if pa.types.is_null(values.type) else values)
    chunks = encoded.unify_dictionaries().chunks
    raw = _distinct(chunks[0].dictionary if chunks else pa.array([], pa.string()), name, len(values))
    known = np.array([*(i if _is_label(value, keep) else -1 for i, value in enumerate(raw)), -1], np.int32)
    index, done = disk.array(len(values), np.int32), 0
    for chunk in chunks:
        index[done : done + len(chunk)] = known[np.asarray(pc.fill_null(chunk.indices, -1))]
        done += len(chunk)
    _report_repairs(raw, index, rows, name, report)
    return _merged(index, [class_name(value) for value in raw])


def _is_scalar(kind: pa.DataType) -> bool:
    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_boolean, pa.types.is_integer,
             pa.types.is_floating, pa.types.is_null)  # fmt: skip
    return any(test(kind) for test in tests)


def _distinct(dictionary: pa.Array, name: str, total: int) -> list[Any]:
    if len(dictionary) > MOST:
        raise too_many(name, len(dictionary), total)
    try:
        return dictionary.to_pylist()
    except UnicodeDecodeError:
        raise DataError(f"column {name!r} holds labels that are not valid UTF-8.") from None


def too_many(name: str, found: int, total: int) -> DataError:
    """The error for a column with too many different values to be classes."""
    return DataError(
        f"column {name!r} has {found:,} different values in {total:,} rows: classification needs few classes, each "
        "with many rows. Name another column with label=…, or list the classes with classes=(…). A number to "
        f"predict is named by number={name!r} instead."
    )


def _is_label(value: Any, keep: Sequence[str]) -> bool:
    if value is None or value != value:
        return False
    name = class_name(value)
    return name in keep or name.casefold() not in BLANK


def class_name(value: Any) -> str:
    """A label as the name of its class: no white space around it, whole numbers without a fraction."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    name = str(value).strip()
    return whole.group(1) if (whole := WHOLE.fullmatch(name)) else name


def _report_repairs(raw: list[Any], index: np.ndarray, rows: np.ndarray, name: str, report: Report) -> None:
    for position, value in enumerate(raw):
        if isinstance(value, str) and value != (better := class_name(value)):
            reason = "white space around a label" if value.strip() == better else "label 1.0 became 1"
            detail = f"{visible(value, 60)!r} became {visible(better, 60)!r}"
            report.add("repaired", reason, rows[index == position], column=name, detail=detail)


def _merged(index: np.ndarray, names: list[str]) -> Labels:
    """One entry for names that several values share."""
    distinct = tuple(dict.fromkeys(names))
    place = {name: position for position, name in enumerate(distinct)}
    table = np.array([*(place[name] for name in names), -1], np.int32)
    used = sorted({int(table[position]) for position in present(index)})
    again = np.full(len(distinct) + 1, -1, np.int32)
    again[used] = np.arange(len(used))
    return Labels(disk.take(again[table], index), tuple(distinct[position] for position in used))


def present(numbers: np.ndarray) -> set[int]:
    """Those of some small numbers that are there, without -1 and what is below it."""
    found: set[int] = set()
    for part in disk.portions(len(numbers)):
        found.update(np.flatnonzero(np.bincount(numbers[part][numbers[part] >= 0])).tolist())
    return found


def choose_classes(labels: Mapping[str, Labels], classes: Classes | None, name: str) -> tuple[str, ...]:
    """Class names in the order of their ids: as given, as the column brings them, or sorted (numbers as numbers).

    Without either of the first two, the classes are those of ``train`` if there is such a split, else of all.

    Raises:
        DataError: the splits bring different classes, or there are far too many.
    """
    if classes is not None:
        return given_classes(classes)
    fixed = {found.fixed for found in labels.values() if found.fixed}
    if len(fixed) > 1:
        raise DataError(f"the splits name the classes of {name!r} differently: pass classes=(…).")
    if fixed:
        return fixed.pop()
    seen = [labels["train"]] if "train" in labels and labels["train"].names else list(labels.values())
    names = {label for found in seen for label in found.names}
    total = sum(int((found.index >= 0).sum()) for found in seen)
    if len(names) > MOST or (len(names) > 10 and 2 * len(names) > total) or _is_measured(names, total):
        raise too_many(name, len(names), total)
    return tuple(sorted(names, key=order_of(names)))


def _is_measured(names: set[str], total: int) -> bool:
    """Fractions of which most stand once: a measurement, not a class."""
    numbers = [_number(name) for name in names]
    fractions = sum(number is not None and number % 1 != 0 for number in numbers)
    return fractions > 2 and 2 * len(names) > total


def _number(name: str) -> float | None:
    try:
        return float(name)
    except ValueError:
        return None


def order_of(names: set[str]) -> Any:
    numeric = all(_number(name) is not None for name in names)
    return (lambda name: (_number(name), name)) if numeric else (lambda name: name)


def given_classes(classes: Classes) -> tuple[str, ...]:
    if isinstance(classes, str):
        raise DataError(f"classes = {classes!r} must be several names: classes=({classes!r}, …).")
    names = [str(name) for name in (classes.values() if isinstance(classes, Mapping) else classes)]
    distinct = tuple(dict.fromkeys(names))
    if not distinct:
        raise DataError("classes=() names no class; leave it out to take those in the data.")
    if len(distinct) < len(names) and not isinstance(classes, Mapping):
        raise DataError(f"classes = {tuple(names)} names a class twice.")
    return distinct


def renamed(labels: Labels, classes: Classes | None) -> Labels:
    """The labels under the class names of ``classes={"0": "negative", "1": "positive"}``."""
    if not isinstance(classes, Mapping):
        return labels
    called = {class_name(value): str(name) for value, name in classes.items()}
    return _merged(labels.index, [called.get(name, f"{name} (not in classes)") for name in labels.names])


def near_class(name: str, classes: Sequence[str]) -> str:
    """What to say of a label outside the classes."""
    return f"{visible(name, 60)!r} is none of {', '.join(classes[:12])}.{nearest(name, classes)}"
