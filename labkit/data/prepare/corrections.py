"""Corrected labels: labels of single rows changed or confirmed, by row number, with what each was before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from labkit.core.config import known_settings
from labkit.core.errors import DataError, nearest
from labkit.core.text import visible
from labkit.data import memmap
from labkit.data.arrow import numbers
from labkit.data.dataset import SplitDataset, Table
from labkit.data.recipe import recorded
from labkit.data.report import Note
from labkit.i18n import _

#: What `was` has for a row without a label.
UNLABELLED = ""
#: Row numbers that an error lists, at most.
_LISTED = 8


@recorded
@known_settings
def correct_labels(
    rows: Table,
    labels: Mapping[str, str] | None = None,
    confirmed: Sequence[int] = (),
    was: Mapping[str, str] | None = None,
    add: Sequence[str] = (),
) -> Table:
    """Change the labels of single rows, label unlabelled rows, and note which labels were found right.

    Args:
        labels: row number in the source → its right label.
        confirmed: row numbers whose label was looked at and is right; the label stays.
        was: row number → its label before, "" for none. It is recorded, so that a source that has changed since
            is detected and not corrected at the wrong row.
        add: names of classes that the rows do not have yet.

    Returns:
        The rows with their new labels, and a note in the report for each correction.

    Raises:
        DataError: the rows have several labels or numbers; there is no such row or label; or a row has another
            label than ``was`` says.
    """
    labels, was = by_row(labels), by_row(was)
    confirmed = [_number(row) for row in confirmed]
    check_single_label(rows)
    classes = [
        *rows.schema.classes,
        *(name for name in dict.fromkeys(add) if name not in rows.schema.classes),
    ]
    for row, label in labels.items():
        if label not in classes:
            raise DataError(
                _("row {row}: there is no label {label!r}.{hint} The labels are: {classes}. `add` adds new ones."),
                row=row, label=visible(str(label), 60), hint=nearest(str(label), classes),
                classes=", ".join(classes[:24]),
            )  # fmt: skip
    before = labels_before(rows, [*labels, *confirmed, *was])
    for row, label in was.items():
        if before[row] != label:
            raise DataError(
                _("row {row} has the label {found!r}, but had {label!r} when it was corrected: the data have changed. "
                  "Correct the labels again."),
                row=row, found=visible(before[row], 60), label=visible(label, 60),
            )  # fmt: skip
    place = {name: number for number, name in enumerate(classes)}
    notes, splits = [], {}
    for name, dataset in rows.splits.items():
        numbered = numbers(dataset, "row")
        here = np.flatnonzero(np.isin(numbered, list(labels)))
        fresh = np.array(numbers(dataset, "label"))
        for at in here.tolist():
            row = int(numbered[at])
            fresh[at] = place[labels[row]]
            notes.append(_note(rows, row, before[row], labels[row], name))
        kept = np.intersect1d(numbered, np.asarray(confirmed, np.int64)).tolist()
        notes += [
            Note(row, rows.schema.label, "counted", _("label confirmed"), repr(before[row]), name)
            for row in kept
        ]
        columns = {column: fresh if column == "label" else column for column in dataset.column_names}
        splits[name] = memmap.assembled(dataset, columns) if here.size else dataset
    return rows.with_splits(splits, notes, spec=rows.schema.replace(classes=tuple(classes)))


def check_single_label(rows: SplitDataset) -> None:
    """Raise :class:`DataError` unless each row has one class (or none yet)."""
    kind = rows.schema.problem_type
    if kind != "class":
        what = _("several labels") if kind == "labels" else _("numbers")
        raise DataError(_("a row of these data has {what}; this needs rows of one class each."), what=what)


def labels_before(rows: SplitDataset, wanted: Sequence[int]) -> dict[int, str]:
    """Row number → the name of its class, "" for none. Raises :class:`DataError` for numbers without a row."""
    found: dict[int, str] = {}
    places = np.unique(np.asarray(list(wanted), np.int64))
    for dataset in rows.splits.values():
        numbered = numbers(dataset, "row")
        here = np.flatnonzero(np.isin(numbered, places))
        ids = numbers(dataset, "label")[here].tolist()
        names = [rows.schema.classes[label] if label >= 0 else UNLABELLED for label in ids]
        found |= dict(zip(numbered[here].tolist(), names, strict=True))
    if gone := [row for row in places.tolist() if row not in found]:
        raise DataError(
            _("these rows do not exist or were removed by an earlier step: {rows}."),
            rows=", ".join(map(str, gone[:_LISTED])) + (" …" if len(gone) > _LISTED else ""),
        )
    return found


def by_row(values: Mapping[Any, str] | None) -> dict[int, str]:
    """Row number → text, from keys that are numbers or, as in a file, texts of them."""
    return {_number(row): value for row, value in (values or {}).items()}


def _number(row: object) -> int:
    if isinstance(row, bool) or not isinstance(row, int | np.integer | str) or not str(row).isdecimal():
        raise DataError(_("{row!r} is not a row number; it must be a whole number from 0 on."), row=row)
    return int(row)


def _note(rows: SplitDataset, row: int, before: str, after: str, split: str) -> Note:
    if before == UNLABELLED:
        return Note(row, rows.schema.label, "repaired", _("label added"), repr(after), split)
    return Note(row, rows.schema.label, "repaired", _("label corrected"), f"{before!r} → {after!r}", split)
