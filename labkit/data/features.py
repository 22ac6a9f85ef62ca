"""Selection and encoding of feature columns in tables of numbers and categories."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import ClassLabel, Dataset

from labkit.core.errors import DataError
from labkit.data import memmap, precision
from labkit.data.arrow import column, nested
from labkit.data.cells import (
    MISSING,
    MOSTLY,
    NO_NUMBERS,
    Cells,
    Column,
    alike,
    is_text,
    plain_numbers,
    quantity,
    read,
    without_digits,
    words_of,
    writing,
)
from labkit.data.columns import Choice, check_columns, free_name, names_of
from labkit.data.io.arrow_cache import MIXED, ROW, Part
from labkit.data.labels import with_class_names
from labkit.data.report import CAP, Report, visible
from labkit.data.targets import NOT_NUMBER, NOT_YES_NO, shown_mark
from labkit.i18n import _

if TYPE_CHECKING:
    from datasets.features.features import FeatureType

#: Different values of a column of categories at most; each becomes a column of 0 and 1.
CATEGORIES = 50
#: Different values of a column of categories at most before white space around them is removed.
LOOKED_AT = 1000
#: Columns from which on those of numbers are found together.
WIDE = 100
#: Names of columns of whole numbers that say which thing a row is about, and of those that do if no number
#: repeats.
IDENTIFIER = re.compile(
    r"(?i:id|ids|uid|uuid|guid|pk|rowid|.*[_ .-](?:id|uid|uuid|guid)|__index_level_\d+__|unnamed: ?\d+|编号|"
    r"(?:user|customer|client|product|item|movie|order|session|passenger|patient|account|member|student|employee|"
    r"store|shop|device|transaction|sample|record|case)id)|.*[a-z0-9]I[dD]"
)
NUMBERING = re.compile(
    r"(?i:.*id|nr\.?|no\.?|num|number|nummer|lfd\.? ?nr\.?|index|idx|level_\d+|#|key|.*[_ .-](?:nr|no|key|idx|index)|"
    r"row(?:s|names?|num|[ _.-]?(?:nr|no|num|number|index|name))?|序号|索引|行号)"
)
#: Dates of which the day may come first or the month.
SLASHED = r"\d{1,2}/\d{1,2}/(?:\d{4}|\d\d)(?:\s.*)?"
#: Why a value of a column is refused, by the kind of the column.
REFUSED = {
    "number": NOT_NUMBER,
    "boolean": NOT_YES_NO,
    "date": _("not a date"),
    "duration": _("not a duration"),
}


def tabular(
    parts: Mapping[str, Part], choice: Choice, taken: Collection[str], rows: Mapping[str, np.ndarray], report: Report,
    bad: Mapping[str, np.ndarray],
) -> tuple[dict[str, Part], tuple[Column, ...]]:  # fmt: skip
    """The tables with a float64 column for each feature, and how the features are read from the source
    columns.

    Numbers, dates, durations and booleans become one feature, NaN where a value is missing; up to 50
    categories become a feature ``name=word`` of 0 and 1 each. Other columns are excluded and reported, and so
    are identifiers unless they are named in ``choice.features``.

    Args:
        parts: split → table.
        choice: ``features`` names the columns to use, or is True for all that can be used but ``groups``;
            ``indicators``; ``decimal``.
        taken: columns of the targets.
        rows: split → row numbers, for the report.
        report: takes what is refused, repaired or counted.
        bad: split → bool[n]; rows with a non-numeric value in a numeric column are marked here.

    Raises:
        DataError: a column is missing or, being wanted by name, cannot be used; or none can.
    """
    first = "train" if "train" in parts else next(iter(parts))
    table = parts[first].table
    named = not isinstance(choice.features, bool)
    names = (
        list(choice.features)
        if named
        else [name for name in names_of(table) if name not in taken and name not in choice.groups]
    )  # type: ignore[arg-type]
    check_columns(table, names, first)
    plain = {split: _plain(part) for split, part in parts.items()}
    words = without_digits(table.data.table) if _is_wide(table) else set[str]()
    shown = shown_mark(table, {*plain[first], *words})
    found: list[Column] = []
    left: dict[str, str] = {}
    features, repaired = table.info.features, report.of("repaired")  # made anew at every access
    mixed = {note.column for note in repaired.get(MIXED, ())}
    nameless = {note.column for note in repaired.get(_("column without a name"), ())}
    for name in names:
        values = plain[first].get(name)
        if values is not None and name not in mixed:
            how: Column | str = Column(name)
        else:
            alone = choice.decimal, shown, report
            how = _kind(parts[first], name, features[name], name in mixed, name in words, *alone)
        if (
            isinstance(how, Column)
            and not named
            and (reason := _identifier(table, how, name in nameless, report, values))
        ):
            how = reason
        if isinstance(how, Column):
            found.append(how)
        elif named:
            raise DataError(_("column {column!r} cannot be used as a feature: {how}."), column=name, how=how)
        else:
            report.add("counted", _("column excluded"), column=name, detail=how)
            left[name] = how
    if not found:
        listed = ", ".join(f"{name} ({why})" for name, why in left.items())
        raise DataError(
            _("no column is usable as a feature; the columns are {listed}."),
            listed=visible(listed, 400) or _("none"),
        )
    lacking = _lacking(table, found, report) if choice.indicators else set[str]()
    columns = _named_features(found, report, lacking)
    made: dict[str, Part] = {}
    fitted: dict[str, tuple[float, float]] = {}  # by the first split, which is train where there is one
    for split, part in parts.items():
        check_columns(part.table, [how.name for how in columns], split)
        values = {}
        for how in columns:
            written = plain[split].get(how.name) if how == Column(how.name, features=how.features) else None
            found = _features(part.table, how, rows[split], split, report, bad[split], written)
            if how.kind not in ("category", "boolean"):
                fitted[how.name] = precision.note_lost(
                    found[how.features[0]], how.name, split, report, fitted.get(how.name)
                )
            values |= found
        made[split] = replace(part, table=_joined(part.table, taken, values, choice.groups))
    return made, columns


def _kind(
    part: Part, name: str, feature: FeatureType, mixed: bool, wordy: bool, given: str | None, shown: str | None,
    report: Report,
) -> Column | str:  # fmt: skip
    """How a column of the type ``feature`` is encoded, or why it is not a feature.

    Args:
        mixed: it has several kinds of values.
        wordy: it is known to have no digits.
    """
    table = part.table
    values = column(table, name)
    if nested(values.type) or mixed:
        return _("lists, dicts or mixed types")
    if isinstance(feature, ClassLabel) and feature.names:
        words = tuple(feature.names)
        ids = not any(word in map(str, range(len(words))) for word in words)
        return (
            Column(name, "category", words=words, ids=ids)
            if len(words) <= CATEGORIES
            else _too_many(len(words))
        )
    if values.null_count == len(values):
        return _("no value in the train split")
    if name in part.categories:
        words = words_of(Cells.of(values))
        return Column(name, "category", words=words) if len(words) <= CATEGORIES else _too_many(len(words))
    if pa.types.is_boolean(values.type):
        return Column(name, "boolean")
    if not is_text(values.type):
        return quantity(values, name, given, shown, report) or _("type {type}", type=values.type)
    cells = Cells.of(values)
    words = words_of(cells) if len(cells.values) <= LOOKED_AT else ()
    if words and all(word.casefold() in MISSING for word in words):
        return _("no value in the train split")
    if words and {word.casefold() for word in words} - MISSING <= {"true", "false"}:
        return Column(name, "boolean")
    found = writing(cells) if not wordy else NO_NUMBERS
    if found.numbers and found.mixed_units:
        return _(
            "numbers with several units: {units}",
            units=", ".join(sorted(unit or _("none") for unit in found.units)),
        )
    if found.numbers and not found.codes and found.decimal(given, shown) is None:
        return _(
            "{example} may have a decimal comma or not: pass decimal=',' or decimal='.'",
            example=found.example,
        )
    if (
        not wordy
        and not found.codes
        and (how := quantity(values, name, given, shown, report, cells, found)) is not None
    ):
        return how
    if not wordy and cells.count[cells.matching(SLASHED)].sum() > MOSTLY * cells.count.sum():
        return _("dates like 1/2/2020, day or month first; write 2020-01-31")
    if 2 <= len(words) <= min(CATEGORIES, max(2, len(table) // 2)):
        for group in alike(words):
            report.add(
                "counted", _("visually identical categories"), column=name, detail=", ".join(map(repr, group))
            )
        return Column(name, "category", words=words)
    return _("codes with leading zeros") if found.codes else _("neither numbers nor repeated categories")


def _too_many(count: int) -> str:
    return _("{count:,} categories; at most {categories}", count=count, categories=CATEGORIES)


def _plain(part: Part) -> dict[str, np.ndarray]:
    """The columns of a short and perhaps wide table that are numbers at a glance."""
    table = part.table
    if not _is_wide(table):
        return {}
    found, kinds = plain_numbers(table.data.table), table.info.features
    return {
        name: values
        for name, values in found.items()
        if name not in part.categories and not isinstance(kinds[name], ClassLabel)
    }


def _is_wide(table: Dataset) -> bool:
    """Whether a table is short and has so many columns that they are looked at together."""
    return len(table) <= LOOKED_AT and table._indices is None and table.data.table.num_columns >= WIDE


def _identifier(
    table: Dataset, how: Column, nameless: bool, report: Report, values: np.ndarray | None = None
) -> str | None:  # fmt: skip
    """Why a column of whole numbers only says which row, or which thing, it is; None where it does not."""
    if how.kind != "number":
        return None
    values = read(column(table, how.name), how)[0] if values is None else values
    there = values[np.isfinite(values)]
    if len(there) < 2 or not np.array_equal(there, np.floor(there)):
        return None
    different = len(np.unique(there))
    distinct = different == len(there)
    numbering = nameless or NUMBERING.fullmatch(how.name)
    if (distinct and numbering) or (different > 2 and IDENTIFIER.fullmatch(how.name)):
        return _("identifier; include it with features=(…)")
    if distinct and len(there) == len(table) and np.array_equal(np.diff(there), np.ones(len(there) - 1)):
        report.add(
            "counted",
            _("feature that is a row number"),
            column=how.name,
            detail=_("exclude it with features=(…)"),
        )
    return None


def _lacking(table: Dataset, columns: list[Column], report: Report) -> set[str]:
    """The columns, other than categories, that lack values in a table; each gets an indicator, which is reported."""
    found = set[str]()
    for how in columns:
        if how.kind == "category":  # a missing one has no feature that is 1
            continue
        values, wrong = read(with_class_names(table, how.name), how)
        if (count := int(np.count_nonzero(np.isnan(values) & ~wrong))) and count < len(values):
            found.add(how.name)
            report.add("counted", _("indicator of missing values added"), column=how.name)
    return found


def _named_features(columns: list[Column], report: Report, lacking: Collection[str]) -> tuple[Column, ...]:
    """The columns with names for their features, no two alike; those that are ``lacking`` values get an indicator."""
    taken = {how.name for how in columns}
    done: set[str] = set()
    named = {}
    for how in sorted(
        columns, key=lambda each: each.kind == "category"
    ):  # these last: their names are made up
        if how.kind == "category" and taken:
            done, taken = done | taken, set()
        wanted = [how.name]
        if how.kind == "category":  # names of columns in Arrow end at a NUL
            wanted = [f"{how.name}={word}".replace("\0", "␀") for word in how.words]
        elif how.name in lacking:
            wanted.append(f"{how.name} missing")
        names = []
        for name in wanted:
            others = taken if name != how.name else set()
            names.append(free_name(name, done | others, report))
            done.add(names[-1])
        named[how.name] = how.replace(features=tuple(names))
    return tuple(named[how.name] for how in columns)


def _features(
    table: Dataset, how: Column, rows: np.ndarray, split: str, report: Report, bad: np.ndarray,
    written: np.ndarray | None = None,
) -> dict[str, np.ndarray]:  # fmt: skip
    """Name → values of the features of one column, f64[n]; what is wrong or missing is reported.

    ``written``: its numbers, where they are known already.
    """
    cells = with_class_names(table, how.name)
    if written is not None:
        bad |= precision.settle(cells, written, rows, how.name, split, report)
        return encoded(how, written)
    found, wrong = read(cells, how)
    empty = np.isnan(found) & ~wrong
    if how.kind == "number":
        bad |= precision.settle(cells, found, rows, how.name, split, report)
    if how.kind == "category":
        report.add("counted", _("category not in train"), rows[wrong], column=how.name, split=split)
    else:
        detail = [visible(str(cells[int(row)].as_py()), 60) for row in np.flatnonzero(wrong)[:CAP]]
        report.add("refused", REFUSED[how.kind], rows[wrong], column=how.name, detail=detail, split=split)
        bad |= wrong
    report.add("counted", _("missing value"), rows[empty], column=how.name, split=split)
    return encoded(how, found)


def encoded(how: Column, values: np.ndarray) -> dict[str, np.ndarray]:
    """Name → values of the features, f64[n], of a column as :func:`labkit.data.cells.read` gives it."""
    if how.kind != "category":
        missing = {name: np.isnan(values).astype(np.float64) for name in how.features[1:]}
        return {how.features[0]: values, **missing}
    return {name: (values == place).astype(np.float64) for place, name in enumerate(how.features)}


def _joined(
    table: Dataset, taken: Collection[str], features: Mapping[str, np.ndarray], groups: Sequence[str]
) -> Dataset:
    """The columns that are not features, columns of groups as texts (models read numbers alone), then the
    features."""
    kept: dict[str, Any] = {name: name for name in table.column_names if name in taken or name == ROW}
    for name in groups:
        if name not in kept:
            kept[name] = pc.cast(column(table, name), pa.string())
    return memmap.assembled(table, {**kept, **features})
