"""Classes: rename, merge and drop labels, and suggestions which labels are misspellings of others."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from labkit.core.config import known_settings
from labkit.core.errors import DataError, nearest
from labkit.core.text import visible
from labkit.data import memmap
from labkit.data.arrow import numbers
from labkit.data.dataset import SplitDataset, Table
from labkit.data.recipe import recorded
from labkit.data.report import Note
from labkit.data.targets import as_column, targets_of
from labkit.i18n import _

if TYPE_CHECKING:
    from datasets import Dataset

#: Least similarity (Ratcliff and Obershelp) of a misspelling; most rows it has, as a share of those of the
#: other label.
SIMILAR, RARE = 0.8, 0.2


class Suggestion(NamedTuple):
    """``label``, of so many ``rows``, is probably ``into``; ``reason`` is a sentence."""

    label: str
    into: str
    rows: int
    reason: str


@recorded
@known_settings
def relabel(rows: Table, names: Mapping[str, str] | None = None, drop: Sequence[str] = ()) -> Table:
    """Rename labels; labels that get the same name are merged.

    Args:
        names: label → its new name, such as ``{"postive": "positive"}``.
        drop: labels to remove. Rows of such a class are removed too; of several labels a row loses these
            alone.

    Returns:
        Rows with the remaining classes in their order, and notes in the report.

    Raises:
        DataError: the rows have numbers instead of classes, there is no such label, or nothing is left.
    """
    names, drop = dict(names or {}), [drop] if isinstance(drop, str) else list(drop)
    classes = rows.schema.classes
    if rows.schema.problem_type == "number" or not classes:
        raise DataError(_("these rows have no classes to rename."))
    for label in (*names, *drop):
        if label not in classes:
            raise DataError(
                _("there is no label {label!r}.{hint} The labels are: {classes}."),
                label=visible(label, 60), hint=nearest(label, classes), classes=", ".join(classes[:24]),
            )  # fmt: skip
    called = [None if label in drop else names.get(label, label) for label in classes]
    left = list(dict.fromkeys(name for name in called if name is not None))
    if not left:
        raise DataError(_("every label is dropped; keep at least one."))
    place = {name: number for number, name in enumerate(left)}
    into = np.array([-1 if name is None else place[name] for name in called])
    counts = rows.spec.class_counts()
    notes = [
        Note(None, rows.schema.label, "counted", _("label renamed"), f"{old!r} → {new!r}: {counts[old]:,}")
        for old, new in zip(classes, called, strict=True)
        if new not in (None, old)
    ]
    splits = {}
    for name, dataset in rows.splits.items():
        splits[name], gone = (_merged if rows.schema.problem_type == "labels" else _renumbered)(
            dataset, into, len(left)
        )
        notes += [
            Note(row, rows.schema.label, "refused", _("label dropped"), repr(classes[label]), name)
            for row, label in gone
        ]
    return rows.with_splits(splits, notes, spec=rows.schema.replace(classes=tuple(left)))


def _renumbered(dataset: Dataset, into: np.ndarray, count: int) -> tuple[Dataset, list[tuple[int, int]]]:
    """The split with new ids, without the rows of dropped classes; and (row, old id) of these."""
    labels = numbers(dataset, "label")
    fresh = np.where(labels >= 0, into[labels], -1).astype(labels.dtype)
    dropped = (labels >= 0) & (fresh < 0)
    columns = {name: fresh if name == "label" else name for name in dataset.column_names}
    made = memmap.assembled(dataset, columns)
    if not dropped.any():
        return made, []
    gone = zip(numbers(dataset, "row")[dropped].tolist(), labels[dropped].tolist(), strict=True)
    return memmap.chosen(made, np.flatnonzero(~dropped)), list(gone)


def _merged(dataset: Dataset, into: np.ndarray, count: int) -> tuple[Dataset, list[tuple[int, int]]]:
    """The split with the columns of its labels merged."""
    targets = targets_of(dataset)
    fresh = np.zeros((len(dataset), count), targets.dtype)
    for old, new in enumerate(into):
        if new >= 0:
            np.maximum(fresh[:, new], targets[:, old], out=fresh[:, new])
    columns = {name: as_column(fresh) if name == "target" else name for name in dataset.column_names}
    return memmap.assembled(dataset, columns), []


def suggestions(rows: SplitDataset) -> list[Suggestion]:
    """Labels that are probably others misspelt, the one with most rows first.

    Labels that differ only in case, spaces or Unicode form are always suggested; others where they are
    similar and rare beside the other label, or its beginning. Labels that differ in a digit never are.
    """
    if rows.schema.problem_type == "number":
        return []
    counts = rows.spec.class_counts()
    found = [best for label in counts if (best := _suggested(label, counts)) is not None]
    return sorted(found, key=lambda each: -each.rows)


def _suggested(label: str, counts: Mapping[str, int]) -> Suggestion | None:
    best: tuple[float, str, str] | None = None
    for other, count in counts.items():
        if other == label or (count, other) <= (counts[label], label):
            continue
        near, reason = _likeness(label, other, counts[label] <= RARE * count)
        if near and (best is None or (near, count) > (best[0], counts[best[1]])):
            best = near, other, reason
    return None if best is None else Suggestion(label, best[1], counts[label], best[2])


def _likeness(label: str, other: str, rare: bool) -> tuple[float, str]:
    """How near a label is to a more frequent one, 0 for not at all, and why."""
    a, b = _folded(label), _folded(other)
    if a == b:
        return 2.0, _("differs only in case, spaces or Unicode form")
    if not rare or re.findall(r"\d+", a) != re.findall(r"\d+", b):
        return 0.0, ""
    if len(a) >= 3 and b.startswith(a):
        return 1.5, _("is its beginning")
    ratio = difflib.SequenceMatcher(None, a, b, autojunk=False).ratio()
    return (ratio, _("is spelt almost alike")) if ratio >= SIMILAR else (0.0, "")


def _folded(label: str) -> str:
    return "".join(unicodedata.normalize("NFKC", label).casefold().split()).strip("._-")
