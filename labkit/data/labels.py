"""From a column of labels to class names and class ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import ClassLabel, Dataset

from labkit.core.errors import DataError, nearest
from labkit.data import memmap
from labkit.data.arrow import column, numbers
from labkit.data.cells import (
    BLANK,
    MISSING,
    alike,
    category_name,
    is_date,
    is_duration,
    is_quantity,
    is_text,
    number_of,
    order_of,
)
from labkit.data.report import Report, visible
from labkit.i18n import _

if TYPE_CHECKING:
    from datasets.features.features import FeatureType

MOST = 1000  # classes; beyond it a column is no label
#: Labels that may stand for a missing one, lower case; they are kept and counted.
DOUBTFUL = MISSING - BLANK
#: What may separate several labels in one text.
SEPARATORS = (";", "|", ",", "/")

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
        index = memmap.array(len(bad), np.int32)
        for part in memmap.portions(len(bad)):
            index[part] = np.where(bad[part], -1, self.index[part])
        return Labels(index, self.names, self.fixed) if self.fixed else _merged(index, list(self.names))

    def ids(self, classes: Sequence[str]) -> np.ndarray:
        """Class ids int32[n]: -1 where the label is missing, -2 where it is none of ``classes``."""
        place = {name: index for index, name in enumerate(classes)}
        table = np.array([*(place.get(name, -2) for name in self.names), -1], np.int32)
        return memmap.take(table, self.index)  # index -1 takes the last entry


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
    feature = table.info.features[name]
    if isinstance(feature, ClassLabel):
        index = numbers(table, name, np.int32)
        return Labels(np.maximum(index, -1, out=index), tuple(feature.names), tuple(feature.names))
    values = column(table, name)
    if pa.types.is_float16(values.type):
        values = values.cast(pa.float32())
    if not _is_scalar(values.type):
        raise DataError(
            _("column {column!r} contains {type}, which cannot be labels: one class per row is needed."),
            column=name,
            type=values.type,
        )
    encoded = pc.dictionary_encode(values.cast(pa.string()) if pa.types.is_null(values.type) else values)
    chunks = encoded.unify_dictionaries().chunks
    raw = _distinct(chunks[0].dictionary if chunks else pa.array([], pa.string()), name, len(values))
    known = np.array([*(i if _is_label(value, keep) else -1 for i, value in enumerate(raw)), -1], np.int32)
    index, done = memmap.array(len(values), np.int32), 0
    for chunk in chunks:
        index[done : done + len(chunk)] = known[np.asarray(pc.fill_null(chunk.indices, -1))]
        done += len(chunk)
    _report_repairs(raw, index, rows, name, report)
    return _merged(index, [category_name(value) for value in raw])


def class_names(feature: FeatureType) -> tuple[str, ...]:
    """The class names that a feature of ``datasets`` brings, itself or as a list of classes; empty without."""
    while not isinstance(feature, ClassLabel) and hasattr(feature, "feature"):
        feature = feature.feature
    return tuple(feature.names or ()) if isinstance(feature, ClassLabel) else ()


def with_class_names(table: Dataset, name: str) -> pa.ChunkedArray:
    """A column, class ids by their names."""
    values, names = column(table, name), class_names(table.info.features[name])
    if not names:
        return values
    ids = values.fill_null(-1).to_numpy()
    return pa.chunked_array([pa.array(np.append(names, "")[ids], pa.string(), mask=ids < 0)])


def _is_scalar(kind: pa.DataType) -> bool:
    tests = (is_text, is_quantity, is_date, is_duration, pa.types.is_boolean, pa.types.is_null)
    return any(test(kind) for test in tests)


def _distinct(dictionary: pa.Array, name: str, total: int) -> list[Any]:
    if len(dictionary) > MOST:
        raise too_many(name, len(dictionary), total)
    try:
        return dictionary.to_pylist()
    except UnicodeDecodeError:
        raise DataError(
            _("column {column!r} contains labels that are not valid UTF-8."), column=name
        ) from None


def too_many(name: str, found: int, total: int) -> DataError:
    """The error for a column with too many different values to be classes."""
    return DataError(
        _(
            "column {column!r} has {found:,} distinct values in {total:,} rows: classification needs few "
            "classes, each with many rows. Choose another column with label=…, or list the classes with "
            "classes=(…). For regression, pass number={column!r} instead."),
        column=name, found=found, total=total,
    )  # fmt: skip


def _is_label(value: object, keep: Sequence[str]) -> bool:
    if value is None or value != value:
        return False
    name = category_name(value)
    return name in keep or name.casefold() not in BLANK


def _report_repairs(raw: list[Any], index: np.ndarray, rows: np.ndarray, name: str, report: Report) -> None:
    for position, value in enumerate(raw):
        if isinstance(value, str) and value != (better := category_name(value)):
            reason = (
                _("white space around a label") if value.strip() == better else _("label 1.0 converted to 1")
            )
            detail = _(
                "{value!r} converted to {better!r}", value=visible(value, 60), better=visible(better, 60)
            )
            report.add("repaired", reason, rows[index == position], column=name, detail=detail)


def _merged(index: np.ndarray, names: list[str]) -> Labels:
    """One entry for names that several values share."""
    distinct = tuple(dict.fromkeys(names))
    place = {name: position for position, name in enumerate(distinct)}
    table = np.array([*(place[name] for name in names), -1], np.int32)
    used = sorted({int(table[position]) for position in present(index)})
    again = np.full(len(distinct) + 1, -1, np.int32)
    again[used] = np.arange(len(used))
    return Labels(memmap.take(again[table], index), tuple(distinct[position] for position in used))


def present(numbers: np.ndarray) -> set[int]:
    """Those of some small numbers that are there, without -1 and what is below it."""
    found: set[int] = set()
    for part in memmap.portions(len(numbers)):
        found.update(np.flatnonzero(np.bincount(numbers[part][numbers[part] >= 0])).tolist())
    return found


def choose_classes(labels: Mapping[str, Labels], classes: Classes | None, name: str) -> tuple[str, ...]:
    """Class names in the order of their ids: as given, as the column brings them, or sorted (numbers as
    numbers).

    Without either of the first two, the classes are those of ``train`` if there is such a split, else of all.

    Raises:
        DataError: the splits bring different classes, or there are far too many.
    """
    if classes is not None:
        return given_classes(classes)
    fixed = {found.fixed for found in labels.values() if found.fixed}
    if len(fixed) > 1:
        raise DataError(
            _("the class names of {column!r} differ between splits: pass classes=(…)."), column=name
        )
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
    numbers = [number_of(name) for name in names]
    fractions = sum(number is not None and number % 1 != 0 for number in numbers)
    return fractions > 2 and 2 * len(names) > total


def given_classes(classes: Classes) -> tuple[str, ...]:
    if isinstance(classes, str):
        raise DataError(
            _("classes = {classes!r} must be several names: classes=({classes!r}, …)."), classes=classes
        )
    names = [str(name) for name in (classes.values() if isinstance(classes, Mapping) else classes)]
    distinct = tuple(dict.fromkeys(names))
    if not distinct:
        raise DataError(_("classes=() is empty; omit it to use the classes in the data."))
    if len(distinct) < len(names) and not isinstance(classes, Mapping):
        raise DataError(_("classes = {names} contains a class twice."), names=tuple(names))
    return distinct


def renamed(labels: Labels, classes: Classes | None) -> Labels:
    """The labels under the class names of ``classes={"0": "negative", "1": "positive"}``."""
    if not isinstance(classes, Mapping):
        return labels
    called = new_names(classes, labels.fixed)
    return _merged(labels.index, [called.get(name, f"{name} (not in classes)") for name in labels.names])


def new_names(classes: Mapping[Any, Any], fixed: Sequence[str] | None) -> dict[str, str]:
    """Label → class name; the keys of ``classes`` are labels, or the ids of classes that the column names."""
    called = {category_name(value): str(name) for value, name in classes.items()}
    ids = {str(number): name for number, name in enumerate(fixed or ())}
    if called.keys() <= ids.keys() and not called.keys() & set(fixed or ()):
        return {ids[number]: name for number, name in called.items()}
    return called


def note_doubtful(names: Sequence[str], label: str, report: Report) -> None:
    """Count class names that look like one another, that may mean "no label", or that may be several labels."""
    for group in alike(names):
        classes = {name: name for name in names} | dict.fromkeys(group, group[-1])
        case = len({name.casefold() for name in group}) == 1
        shown = ", ".join(map(repr if case else ascii, group))
        detail = (
            _("{names}; classes={classes} merges them", names=shown, classes=classes)
            if len(names) <= 12
            else shown
        )
        reason = (
            _("labels that differ only in case")
            if case
            else _("labels that differ only in spaces or Unicode form")
        )
        report.add("counted", reason, column=label, detail=detail)
    for name in names:
        if name.casefold() in DOUBTFUL:
            report.add("counted", _("label that may mean a missing value"), column=label, detail=repr(name))
    for separator in SEPARATORS:
        parts = {name: [part.strip() for part in name.split(separator)] for name in names}
        several = [name for name, found in parts.items() if len(found) > 1 and all(found)]
        distinct = {part for found in parts.values() for part in found}
        if any(set(parts[name]) <= set(names) for name in several) or (
            several[1:] and len(distinct) < len(names)
        ):
            detail = _(
                "{several!r}; pass separator={separator!r} for several labels per row",
                several=visible(several[0], 60),
                separator=separator,
            )
            report.add("counted", _("labels that may be lists of labels"), column=label, detail=detail)


def near_class(name: str, classes: Sequence[str]) -> str:
    """What to say of a label outside the classes."""
    return _(
        "{column!r} is not one of {classes}.{hint}",
        column=visible(name, 60), classes=", ".join(classes[:12]), hint=nearest(name, classes),
    )  # fmt: skip
