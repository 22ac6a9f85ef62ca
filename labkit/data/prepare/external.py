"""Splits for external validation: whole sites apart from train, or rows later than train."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from labkit.core.errors import ConfigError, DataError, nearest
from labkit.data import memmap
from labkit.data.arrow import column
from labkit.data.cell_values import written
from labkit.data.cells import Column, category_name, quantity, read
from labkit.data.dataset import Table
from labkit.data.groups import groups_of
from labkit.data.report import Note, Report, visible
from labkit.i18n import _, joined
from labkit.i18n.labels import split_name

if TYPE_CHECKING:
    from datasets import Dataset


def by_site(rows: Table, site: str, wanted: dict[str, Sequence[Any]]) -> Table:
    """The rows with the sites of each split moved there from train.

    Args:
        site: a column of sites, such as hospitals.
        wanted: split → sites; one without any is left to others.

    Raises:
        ConfigError: no site is named, or one for two splits.
        DataError: no such column or site, or no row is left for train.
    """
    wanted = {split: [category_name(name) for name in names] for split, names in wanted.items() if len(names)}
    if not wanted:
        raise ConfigError(
            _("site = {site!r} needs the sites of a split: test_sites=[…] or validation_sites=[…]."),
            site=site,
        )
    for split in wanted:
        if split in rows.splits:
            raise DataError(_("the rows have a split {split} already."), split=split_name(split))
    named = [name for names in wanted.values() for name in names]
    if twice := next((name for name in named if named.count(name) > 1), None):
        raise ConfigError(_("site {name!r} is named twice."), name=twice)
    values = _names(rows, site)
    known = site_names(rows, site)
    for name in named:
        if name not in known:
            raise DataError(
                _("column {column!r} has no site {name!r}.{hint} It has: {known}."),
                column=site, name=name, hint=nearest(name, known), known=visible(", ".join(known), 400),
            )  # fmt: skip
    if not set(known) - set(named):
        raise DataError(_("no site is left for train: all of column {column!r} are named."), column=site)
    places = {split: np.flatnonzero([value in names for value in values]) for split, names in wanted.items()}
    shown = joined("; ", [f"{split}: {', '.join(names)}" for split, names in wanted.items()])
    notes = [Note(None, site, "counted", _("split by site"), shown)]
    if missing := sum(value is None for value in values):
        notes.append(
            Note(None, site, "counted", _("no site, left in train"), _("{n_rows:,} rows", n_rows=missing))
        )
    return _moved(rows, places, notes)


def in_time(rows: Table, time: str, sizes: dict[str, int], starts: dict[str, Any]) -> Table:
    """The rows with the latest of train moved to validation and test: every row of train is earlier than every row
    of validation, and these than those of test.

    Args:
        time: a column of numbers or dates.
        sizes: split → rows, for splits without a start. Rows of one time go the same way, so there may be more.
        starts: split → the first time that belongs to it.

    Raises:
        ConfigError: a start that is no value of the column's kind.
        DataError: no such column, a row without a time, or no row is left for a split.
    """
    values, how = _times(rows, time)
    places: dict[str, np.ndarray] = {}
    left, cuts = np.arange(len(values)), list[str]()
    for split in ("test", "validation"):
        if split in starts:
            cut = _parsed(starts[split], how)
        elif split in sizes and len(left):
            cut = float(np.sort(values[left])[max(0, len(left) - sizes[split])])
        else:
            continue
        places[split] = left[values[left] >= cut]
        left = left[values[left] < cut]
        cuts.append(_("{split} from {start}", split=split_name(split), start=written(how, np.array([cut]))))
        start = written(how, np.array([cut]))
        if not len(places[split]):
            raise DataError(
                _("no row has {start} or later in column {column!r}: {split} is empty."),
                column=time, start=start, split=split_name(split),
            )  # fmt: skip
        if not len(left):
            raise DataError(
                _("no row has a value before {start} in column {column!r}: train is empty."),
                column=time,
                start=start,
            )
    note = Note(None, time, "counted", _("split in time"), joined("; ", list(reversed(cuts))))
    return _moved(rows, places, [note])


def _moved(rows: Table, places: dict[str, np.ndarray], notes: list[Note]) -> Table:
    """The rows with these places of train as splits of their own, in the usual order."""
    train = rows.splits["train"]
    stay = np.ones(len(train), bool)
    for there in places.values():
        stay[there] = False
    made = {split: memmap.chosen(train, there) for split, there in places.items()}
    made = {**rows.splits, "train": memmap.chosen(train, np.flatnonzero(stay)), **made}
    order = [name for name in ("train", "validation", "test") if name in made]
    return rows.with_splits({name: made[name] for name in (*order, *(set(made) - set(order)))}, notes)


def site_names(rows: Table, site: str) -> list[str]:
    """The sites in a column of train."""
    return sorted({value for value in _names(rows, site) if value is not None})


def _names(rows: Table, site: str) -> list[str | None]:
    """The site of every row of train as text."""
    train, features = rows.splits["train"], rows.schema.features
    if site in train.column_names:
        found = train.with_format(None)[site]
    else:
        _check_column(rows, train, site)
        found = groups_of(train, site, features)
    return [None if value is None or value != value else category_name(value) for value in found]


def _check_column(rows: Table, train: Dataset, name: str) -> None:
    encoded = [how.name for how in rows.schema.features]
    known = list(dict.fromkeys([*train.column_names, *encoded]))
    if name not in known:
        raise DataError(
            _("there is no column {column!r}.{near} Columns: {known}. Of a table, groups=({column!r},) of lk.load "
              "keeps a column that the model does not read."),
            column=name, near=nearest(name, known), known=visible(", ".join(known), 400),
        )  # fmt: skip


def _times(rows: Table, time: str) -> tuple[np.ndarray, Column]:
    """The times of train f64[n], and how they are read. Raises :class:`DataError` for what is none."""
    train = rows.splits["train"]
    _check_column(rows, train, time)
    how = next((each for each in rows.schema.features if each.name == time), None)
    if how is not None and how.kind in ("category", "boolean"):
        raise DataError(_("column {column!r} has neither numbers nor dates."), column=time)
    if how is not None and time in how.features:
        values = np.asarray(train.with_format(None)[time], np.float64)
        wrong = np.zeros(len(values), bool)
    else:
        cells = column(train, time)
        found = quantity(cells, time, None, None, Report())
        if found is None:
            raise DataError(_("column {column!r} has neither numbers nor dates."), column=time)
        how = found
        values, wrong = read(cells, how)
    if (lost := np.isnan(values) | wrong).any():
        first = np.asarray(train.with_format(None)["row"])[lost][:5].tolist()
        raise DataError(
            _("{count:,} rows have no time in column {column!r}, the first of them {first}. Drop them first."),
            count=int(lost.sum()), column=time, first=", ".join(map(str, first)),
        )  # fmt: skip
    assert how is not None
    return values, how


def _parsed(start: Any, how: Column) -> float:
    """A time as the column's values are read. Raises :class:`ConfigError` for what is none."""
    if how.kind == "number" and isinstance(start, int | float) and not isinstance(start, bool):
        return float(start)
    (value,), (wrong,) = read(pa.chunked_array([[str(start)]], pa.string()), how)
    if wrong or np.isnan(value):
        raise ConfigError(
            _("{start!r} cannot be read like the values of column {column!r}."),
            start=str(start),
            column=how.name,
        )
    return float(value)
