"""Targets other than a single class: several labels, or numbers."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset

from labkit.core.errors import DataError
from labkit.data import precision
from labkit.data.arrow import batches, column, nested
from labkit.data.cells import (
    BLANK,
    BOOLEANS,
    Cells,
    Column,
    category_name,
    is_text,
    order_of,
    quantity,
    read,
    writing,
)
from labkit.data.columns import Choice, check_columns
from labkit.data.io.arrow_cache import Part
from labkit.data.labels import (
    MOST,
    class_names,
    given_classes,
    near_class,
    new_names,
    note_doubtful,
    with_class_names,
)
from labkit.data.report import Report, visible
from labkit.i18n import _

#: What a column of targets must hold.
TARGET_VALUES = {"number": _("numbers"), "labels": _("0 and 1")}
#: Rows of other columns whose decimal mark is looked at.
LOOKED_AT = 1000
NOT_NUMBER, NOT_YES_NO, OUTSIDE = _("not a number"), _("neither 0 nor 1"), _("label outside classes")


@dataclass(frozen=True)
class Targets:
    """The targets of all splits.

    Attributes:
        problem_type: "labels" (each class applies or not) or "number".
        names: of the classes, or of the numbers.
        columns: source columns they were read from.
        values: split → [n, k], 0 where missing: labels float32, numbers float64, since they are standardised.
        known: split → i32[n], 0 where a row has its targets, -1 where it has none.
    """

    problem_type: str
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
    kind = table.data.table.schema.field(label).type  # the property ``features`` copies those of all columns
    return pa.types.is_nested(kind) or (is_text(kind) and written_lists(Cells.of(column(table, label)).texts))


def read_targets(
    parts: Mapping[str, Part], choice: Choice, label: str | None, rows: Mapping[str, np.ndarray], report: Report,
    bad: Mapping[str, np.ndarray],
) -> Targets:  # fmt: skip
    """The targets of every row; values that cannot be used are refused and marked in ``bad``.

    Raises:
        DataError: a column is missing or holds something else, or there are far too many labels.
    """
    if choice.number:
        return _of_columns(parts, choice.number, "number", choice, rows, report, bad)
    if isinstance(choice.label, tuple):
        return _of_columns(parts, choice.label, "labels", choice, rows, report, bad)
    assert label is not None
    return _of_tags(parts, label, choice, rows, report, bad)


def _of_columns(
    parts: Mapping[str, Part], names: tuple[str, ...], problem_type: str, choice: Choice,
    rows: Mapping[str, np.ndarray], report: Report, bad: Mapping[str, np.ndarray],
) -> Targets:  # fmt: skip
    """A column for each number, or for each label."""
    values, known = {}, {}
    first = parts["train"].table if "train" in parts else next(iter(parts.values())).table
    check_columns(first, names, next(iter(parts)))
    how = {name: _how(first, name, problem_type, choice, report) for name in names}
    reason, kind = (NOT_NUMBER, np.float64) if problem_type == "number" else (NOT_YES_NO, np.float32)
    fitted: dict[str, tuple[float, float]] = {}  # by the first split, which is train where there is one
    for split, part in parts.items():
        count = len(part.table)
        values[split], known[split] = np.zeros((count, len(names)), kind), np.full(count, -1, np.int32)
        if split != "train" and not any(name in part.table.column_names for name in names):
            continue  # rows to predict, such as a test file without answers
        check_columns(part.table, names, split)
        missing = np.zeros(count, bool)
        for place, name in enumerate(names):
            cells = with_class_names(part.table, name)
            found, wrong = read(cells, how[name])
            for row in np.flatnonzero(wrong & ~bad[split])[:1000]:
                detail = visible(str(part.table[int(row)][name]), 60)
                if problem_type == "number" and "," in detail:
                    detail = _("{value}; decimal=',' reads a decimal comma", value=detail)
                report.add(
                    "refused", reason, rows[split][row : row + 1], column=name, detail=detail, split=split
                )
            bad[split][wrong] = True
            if problem_type == "number":
                bad[split] |= precision.settle(cells, found, rows[split], name, split, report)
                fitted[name] = precision.note_lost(found, name, split, report, fitted.get(name))
            if choice.time is not None:  # an unknown value of a series is one of its steps
                values[split][:, place] = found
                continue
            missing |= np.isnan(found)
            values[split][:, place] = np.nan_to_num(found)
        known[split][~missing] = 0
    return Targets(problem_type, names, names, values, known)


def shown_mark(table: Dataset, without: Collection[str] = ()) -> str | None:
    """The decimal mark that written numbers in the first rows of a table show; None where they show none, or
    both.

    Columns named in ``without`` are known to hold no comma.
    """
    marks = set()
    for name, kind in zip(table.column_names, table.data.table.schema.types, strict=True):
        if is_text(kind) and name not in without:
            found = writing(Cells.of(column(table, name).slice(0, LOOKED_AT)))
            marks |= {found.mark} if found.numbers and found.commas else set()
    return marks.pop() if len(marks := marks - {None}) == 1 else None


def _how(table: Dataset, name: str, problem_type: str, choice: Choice, report: Report) -> Column:
    """How a column of targets is read.

    Raises:
        DataError: it holds no numbers, or numbers whose decimal mark is in doubt.
    """
    values = column(table, name)
    if nested(values.type):
        raise DataError(_("column {column!r} contains {type}, not numbers."), column=name, type=values.type)
    names = class_names(table.info.features[name])
    if problem_type == "labels":
        if not names or {each.casefold() for each in names} <= BOOLEANS.keys():
            return Column(name, "boolean")
        if len(names) == 2:
            report.add("counted", _("second class encoded as 1"), column=name, detail=repr(names[1]))
            return Column(name, "category", words=names)
    if names:
        raise DataError(
            _("column {column!r} contains the classes {names}, not {problem_type}."),
            column=name, names=visible(", ".join(names), 200), problem_type=TARGET_VALUES[problem_type],
        )  # fmt: skip
    if (how := quantity(values, name, choice.decimal, shown_mark(table), report)) is not None:
        return how
    if not is_text(values.type):
        raise DataError(_("column {column!r} contains {type}, not numbers."), column=name, type=values.type)
    written = writing(Cells.of(values))
    if written.numbers and written.mixed_units:
        listed = ", ".join(sorted(unit or _("none") for unit in written.units))
        raise DataError(
            _("the numbers in column {column!r} have several units: {listed}. Convert them to one unit."),
            column=name,
            listed=listed,
        )
    return Column(name, decimal=written.decimal(choice.decimal, None) or "")


def _of_tags(
    parts: Mapping[str, Part], label: str, choice: Choice, rows: Mapping[str, np.ndarray], report: Report,
    bad: Mapping[str, np.ndarray],
) -> Targets:  # fmt: skip
    """One column with any number of labels in each row: a list, or a text cut at a separator."""
    given = {split: _lists(part.table, label, choice, rows[split], report) for split, part in parts.items()}
    width = (
        0
        if choice.separator is not None
        else _multi_hot([each for found in given.values() for each in found])
    )
    tags = {
        split: [None if each is None else _names(each) for each in found] for split, found in given.items()
    }
    if width:
        names = given_classes(choice.classes) if choice.classes is not None else tuple(map(str, range(width)))
        if len(names) != width:
            raise DataError(
                _(
                    "column {column!r} contains lists of {width} zeros and ones, but there are {n_names} "
                    "classes."),
                column=label, width=width, n_names=len(names),
            )  # fmt: skip
        report.add(
            "repaired",
            _("zeros and ones interpreted as labels"),
            column=label,
            detail=_("{width} labels", width=width),
        )
        tags = {
            split: [
                None if each is None else [names[place] for place in np.flatnonzero(each)] for each in found
            ]
            for split, found in given.items()
        }
        choice = replace(choice, classes=names)
    fixed = {found for part in parts.values() if (found := class_names(part.table.info.features.get(label)))}
    if len(fixed) > 1 and choice.classes is None:
        raise DataError(
            _("the class names of {column!r} differ between splits: pass classes=(…)."), column=label
        )
    if isinstance(choice.classes, Mapping):
        called = new_names(choice.classes, next(iter(fixed), None))
        for found in tags.values():
            for row, each in enumerate(found):
                found[row] = each and [called.get(tag, tag) for tag in each]
    shown = {tag for found in tags["train" if "train" in tags else next(iter(tags))] for tag in found or ()}
    classes = tuple(sorted(shown, key=order_of(shown)))
    if choice.classes is not None or fixed:
        classes = given_classes(choice.classes) if choice.classes is not None else next(iter(fixed))
    else:
        note_doubtful(classes, label, report)
    if not classes:
        raise DataError(_("column {column!r} has no labels: all of its lists are empty."), column=label)
    if len(classes) > MOST:
        raise DataError(
            _("column {column!r} has {n_classes:,} distinct labels; too many for classification."),
            column=label,
            n_classes=len(classes),
        )
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
                    detail = _("<unseen>: {tag!r} is not among the labels of train", tag=visible(tag, 60))
                    report.add("counted", _("unseen label"), number, column=label, detail=detail, split=split)
                else:
                    detail = near_class(tag, classes)
                    report.add("refused", OUTSIDE, number, column=label, detail=detail, split=split)
                    bad[split][row] = True
    return Targets("labels", classes, (label,), values, known)


def _lists(
    table: Dataset, name: str, choice: Choice, rows: np.ndarray, report: Report
) -> list[list[Any] | None]:  # fmt: skip
    """The labels of every row as the column has them; None for unlabelled rows."""
    if name not in table.column_names:
        return [None] * len(table)
    values = column(table, name)
    if choice.separator is None and is_text(values.type):
        report.add(
            "repaired",
            _("list of labels parsed from text"),
            rows[np.asarray(pc.is_valid(values))],
            column=name,
        )
        parse = written_list
    else:
        parse = partial(
            _list, separator=choice.separator, names=class_names(table.info.features[name]), column=name
        )
    return [parse(value) for part in batches(table, [name]) for value in part.column(0).to_pylist()]


def _names(tags: Sequence[Any]) -> list[str]:
    """Labels as the names of their classes, without what means "no label"."""
    named = [category_name(tag) for tag in tags if tag is not None]
    return [name for name in named if name.casefold() not in BLANK]


def _list(value: object, separator: str | None, names: Sequence[str], column: str) -> list[Any] | None:
    if separator is not None:
        text = "" if value is None else str(value)
        return None if text.strip().casefold() in BLANK - {""} else text.split(separator)
    if value is None:
        return None
    if isinstance(value, dict) or not isinstance(value, Sequence):
        raise DataError(
            _("column {column!r} contains values such as {value}, not lists of labels."),
            column=column,
            value=visible(str(value), 60),
        )
    return [names[tag] for tag in value if tag is not None and tag >= 0] if names else list(value)


def _multi_hot(values: Sequence[Any]) -> int:
    """The length of lists of 0 and 1, one for each class; 0 where the lists are labels: those never repeat."""
    lists = [value for value in values if value is not None]
    if not lists or not all(isinstance(value, list) for value in lists):
        return 0
    (width, *others) = {len(value) for value in lists}
    if others or width < 2 or not all(tag in (0, 1) for value in lists for tag in value):
        return 0
    return width if any(len(set(value)) < width for value in lists) else 0


def written_lists(texts: Sequence[str]) -> bool:
    """Whether texts are lists as Python, JSON or NumPy write them, at least one of them with several labels."""
    there = [text for text in texts if text.casefold() not in BLANK]
    if not there or not all(text.startswith(("[", "{", "(")) for text in there):
        return False
    found = [written_list(text) for text in there]
    return all(each is not None for each in found) and (
        any(len(each or ()) > 1 for each in found)
        or all(text[0] == "[" and text[1:-1].strip()[:1] in "'\"" for text in there)
    )


def written_list(text: str | None) -> list[Any] | None:
    """The items of a written list: ``['a', 'b']``, ``["a", "b"]``, ``['a' 'b']``, ``{'a'}``, ``[a, b]``; else
    None."""
    text = (text or "").strip()
    if (text[:1], text[-1:]) not in (("[", "]"), ("{", "}"), ("(", ")")):
        return None
    if "," not in text and re.search(r"""['"]\s+['"]""", text):  # NumPy; Python would join the texts
        return [one or two for one, two in re.findall(r"""'([^']*)'|"([^"]*)\"""", text)]
    for parse in (json.loads, ast.literal_eval):
        try:
            found = parse(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
        return list(found) if isinstance(found, list | tuple | set) else None
    if text[0] != "[":
        return None
    inner = text[1:-1]
    parts = [part.strip().strip("'\"") for part in (inner.split(",") if "," in inner else inner.split())]
    return [int(part[0]) if re.fullmatch(r"[01](\.0*)?", part) else part for part in parts]


def as_column(targets: np.ndarray) -> pa.FixedSizeListArray:
    """Targets [n, k] as the column ``target``."""
    return pa.FixedSizeListArray.from_arrays(
        pa.array(np.ascontiguousarray(targets).reshape(-1)), targets.shape[1]
    )


def targets_of(dataset: Dataset) -> np.ndarray | None:
    """The targets of a split, [n, k]: labels f32, numbers f64; None where each row has one class."""
    if "target" not in dataset.column_names:
        return None
    parts = [np.asarray(part.column(0).combine_chunks().flatten()) for part in batches(dataset, ["target"])]
    return np.concatenate(parts).reshape(len(dataset), -1) if parts else None
