"""Time series: tables with a time column, read as rows in the order of time, and as values on a regular grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from labkit.core.errors import DataError
from labkit.data.arrow import batches, column, numbers
from labkit.data.cells import (
    BLANK,
    MOSTLY,
    Cells,
    Column,
    date_in,
    is_date,
    is_quantity,
    is_text,
    number_in,
    read,
)
from labkit.data.columns import Choice, check_columns, names_of
from labkit.data.io.arrow_cache import Part
from labkit.data.report import Report, visible
from labkit.data.targets import as_column
from labkit.data.time_steps import TimeStep, check_steps
from labkit.i18n import _
from labkit.i18n.labels import split_name

if TYPE_CHECKING:
    from datasets import Dataset

#: The series of a table without a series column.
ONLY = ""
#: Modalities of rows that are split by time.
BY_TIME = ("series", "interactions")


def time_column(table: Dataset, name: str) -> tuple[Column, bool]:
    """How a column of times is read, and whether these are dates.

    Raises:
        DataError: it holds neither dates nor numbers.
    """
    values = column(table, name)
    if is_date(values.type):
        return Column(name, "date", zoned=getattr(values.type, "tz", None) is not None), True
    if is_quantity(values.type):
        return Column(name, "number"), False
    if is_text(values.type):
        cells = Cells.of(values)
        there = [
            (text, n)
            for text, n in zip(cells.texts, cells.count, strict=True)
            if text.casefold() not in BLANK
        ]
        total = sum(int(n) for _text, n in there)
        found = [(date_in(text), int(n)) for text, n in there]
        if total and sum(n for date, n in found if date is not None) >= MOSTLY * total:
            zoned = sum(n for date, n in found if date is not None and date[1])
            return Column(name, "date", zoned=2 * zoned > total), True
        if total and sum(int(n) for text, n in there if number_in(text, ".") is not None) >= MOSTLY * total:
            return Column(name, "number"), False
        example = visible(there[0][0], 60) if there else ""
    else:
        example = str(values.type)
    raise DataError(
        _("column {column!r} has no times that can be read, such as {example!r}. Write dates as 2026-01-31 or "
          "2026-01-31 13:00, or give numbers."),
        column=name, example=example,
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class SeriesRows:
    """Rows of time series in the order of series and time.

    Attributes:
        step: between two values.
        order: split → positions of its rows that are used, i64[n].
        times: split → f64[n], seconds since 1970 or numbers, in that order.
        places: split → i64[n], places on the grid.
        names: split → the series of each row.
    """

    step: TimeStep
    order: dict[str, np.ndarray]
    times: dict[str, np.ndarray]
    places: dict[str, np.ndarray]
    names: dict[str, np.ndarray]


def read_series(
    parts: Mapping[str, Part], choice: Choice, rows: Mapping[str, np.ndarray], report: Report,
    bad: Mapping[str, np.ndarray],
) -> SeriesRows:  # fmt: skip
    """Times and series of every row; times that cannot be read, and times that occur twice, are refused in ``bad``.

    Raises:
        DataError: there is no such column, or the times are irregular.
    """
    assert choice.time is not None
    first = next(iter(parts))
    for split, part in parts.items():
        check_columns(part.table, [choice.time, *([choice.series] if choice.series else [])], split)
    how, dates = time_column(parts[first].table, choice.time)
    times: dict[str, np.ndarray] = {}
    names: dict[str, np.ndarray] = {}
    order: dict[str, np.ndarray] = {}
    for split, part in parts.items():
        times[split], wrong = read(column(part.table, choice.time), how)
        times[split] = np.round(times[split] * 86400, 6) if dates else times[split]
        unread = wrong | ~np.isfinite(times[split])
        report.add(
            "refused", _("no time"), rows[split][unread & ~bad[split]], column=choice.time, split=split
        )
        bad[split][unread] = True
        names[split] = _series_names(part.table, choice.series)
        order[split] = np.lexsort((times[split], np.unique(names[split], return_inverse=True)[1]))
    _refuse_copies(times, names, order, rows, choice, report, bad)
    order = {split: places[~bad[split][places]] for split, places in order.items()}
    every = [
        _one(name, times, rows, names, order)
        for name in sorted(
            {name for split in parts for name in np.unique(names[split][order[split]]).tolist()}
        )
    ]
    step = _step_of(every, choice, dates)
    places = dict(zip([name for name, _t, _r in every], check_steps(step, every, choice.time), strict=True))
    where = {split: np.zeros(len(found), np.int64) for split, found in order.items()}
    taken = dict.fromkeys(places, 0)
    for split, found in order.items():
        for name in np.unique(names[split][found]).tolist():
            mine = names[split][found] == name
            if step.kind == "rows":
                where[split][mine] = np.arange(int(mine.sum())) + taken[name]
                taken[name] += int(mine.sum())
            else:
                where[split][mine] = step.positions(times[split][found][mine])[0]
    _note_gaps(every, places, step, choice, report)
    return SeriesRows(
        step, order, {split: times[split][found] for split, found in order.items()}, where,
        {split: names[split][found] for split, found in order.items()},
    )  # fmt: skip


def _step_of(every: list[tuple[str, np.ndarray, np.ndarray]], choice: Choice, dates: bool) -> TimeStep:
    found = [times for _name, times, _rows in every]
    if choice.step:
        return TimeStep.parse(choice.step, found[0] if found else np.zeros(0), dates)
    step = TimeStep.detect(found, dates)
    if step is None:
        raise DataError(
            _("a series needs at least two rows with different times in column {column!r}."),
            column=choice.time,
        )
    return step


def _series_names(table: Dataset, name: str | None) -> np.ndarray:
    if name is None:
        return np.full(len(table), ONLY, object)
    return np.array(
        [ONLY if value is None else str(value).strip() for value in column(table, name).to_pylist()], object
    )


def _one(name: str, times: Mapping[str, np.ndarray], rows: Mapping[str, np.ndarray], names: Mapping[str, np.ndarray],
         order: Mapping[str, np.ndarray]) -> tuple[str, np.ndarray, np.ndarray]:  # fmt: skip
    """A series: its name, and its times and row numbers in all splits, ordered by time."""
    mine = {split: found[names[split][found] == name] for split, found in order.items()}
    moments, numbers = (
        np.concatenate([values[split][places] for split, places in mine.items()]) for values in (times, rows)
    )
    sorted_ = np.argsort(moments, kind="stable")
    return name, moments[sorted_], numbers[sorted_]


def _refuse_copies(
    times: Mapping[str, np.ndarray], names: Mapping[str, np.ndarray], order: Mapping[str, np.ndarray],
    rows: Mapping[str, np.ndarray], choice: Choice, report: Report, bad: Mapping[str, np.ndarray],
) -> None:  # fmt: skip
    """Refuse every row but the first of those with one time in one series, in all splits together."""
    if choice.step == "rows":
        return
    first: dict[tuple[str, float], int] = {}
    for split, found in order.items():
        again, said = [], []
        for place in found.tolist():
            if bad[split][place]:
                continue
            key = (names[split][place], float(times[split][place]))
            number = int(rows[split][place])
            if (before := first.setdefault(key, number)) != number:
                again.append(place)
                of = _(" of series {name!r}", name=visible(key[0], 40)) if key[0] else ""
                said.append(_("the time{of} is that of row {row}", of=of, row=before))
        report.add(
            "refused",
            _("time occurs twice"),
            rows[split][again],
            column=choice.time,
            detail=said,
            split=split,
        )
        bad[split][again] = True


def _note_gaps(every: list[tuple[str, np.ndarray, np.ndarray]], places: Mapping[str, np.ndarray], step: TimeStep,
               choice: Choice, report: Report) -> None:  # fmt: skip
    """Count the steps, and those that are missing, of each series."""
    steps = sum(int(each[-1] - each[0]) + 1 for each in places.values() if len(each))
    known = sum(map(len, places.values()))
    said = _("{step}; {n:,} series, {steps:,} steps", step=str(step), n=len(every), steps=steps)
    report.add("counted", _("time step"), column=choice.time, detail=said)
    if missing := steps - known:
        row = next(
            int(rows[np.flatnonzero(np.diff(places[name]) > 1)[0] + 1])
            for name, _times, rows in every
            if (np.diff(places[name]) > 1).any()
        )
        said = _("{missing:,} of {steps:,} ({share:.1%}), the first before row {row}; they are read as unknown",
                 missing=missing, steps=steps, share=missing / steps, row=row)  # fmt: skip
        report.add("counted", _("missing time steps"), [None], column=choice.time, detail=said)


def finished_series(
    found: SeriesRows, split: str, values: np.ndarray, rows: np.ndarray, names: Sequence[str], report: Report
) -> Dataset:
    """A split as rows of series, time, place on the grid and values, in that order; NaN where a value is unknown."""
    from datasets import Dataset

    order = found.order[split]
    values = values[order]
    unknown = np.isnan(values)
    for place, name in enumerate(names):
        report.add(
            "counted",
            _("missing value, read as unknown"),
            rows[order][unknown[:, place]],
            column=name,
            split=split,
        )
    return Dataset(pa.table({
        "series": pa.array(found.names[split].tolist(), pa.string()),
        "time": found.times[split], "place": found.places[split],
        "label": np.where(unknown.all(1), -1, 0).astype(np.int32),
        "target": as_column(values), "row": rows[order],
    }))  # fmt: skip


def note_unused(table: Dataset, choice: Choice, used: Sequence[str], report: Report) -> None:
    """Count the columns that a forecast does not read."""
    taken = {choice.time, choice.series, *used}
    for name in names_of(table):
        if name not in taken:
            report.add(
                "counted",
                _("column excluded"),
                column=name,
                detail=_("forecasts read times and values alone"),
            )


# --- splits ---------------------------------------------------------------------------------------------------------


def check_order(splits: Mapping[str, Dataset]) -> None:
    """Raise :class:`DataError` where a split begins before an earlier one of train, validation and test has ended."""
    latest, before = None, ""
    for name in ("train", "validation", "test"):
        if name not in splits or not len(splits[name]):
            continue
        times = numbers(splits[name], "time", np.float64)
        if latest is not None and times.min() <= latest:
            raise DataError(
                _("{split} begins before {before} ends: such rows are evaluated on later times than those of training. "
                  "Split by time, with rows.split()."),
                split=split_name(name), before=split_name(before),
            )  # fmt: skip
        latest, before = float(times.max()), name


def cut_times(times: np.ndarray, sizes: Mapping[str, int]) -> dict[str, np.ndarray]:
    """Split → rows, bool[n]: train first, then validation, then test, each from one time on for all series.

    Args:
        times: of all rows f64[n].
        sizes: split → number of different times.
    """
    every = np.unique(times)
    ends, end = {}, len(every)
    for name in ("test", "validation"):
        if name in sizes:
            ends[name] = (end - sizes[name], end)
            end -= sizes[name]
    ends["train"] = (0, end)
    place = np.searchsorted(every, times)
    return {name: (place >= ends[name][0]) & (place < ends[name][1])
            for name in ("train", "validation", "test") if name in ends}  # fmt: skip


# --- values on a grid -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class SeriesGrid:
    """Series with a value at every step of their time, end to end.

    Attributes:
        values: f64[t, k]; an unknown value is the one before it, or at the beginning the first known one.
        seen: bool[t, k], whether a value is known.
        row: i64[t], number of the row in the source; -1 where a step has none.
        begin: i64[s + 1], where each series begins, and the end of the last.
        first: i64[s], place of the first step of each series.
        names: of the series.
    """

    values: np.ndarray
    seen: np.ndarray
    row: np.ndarray
    begin: np.ndarray
    first: np.ndarray
    names: tuple[str, ...]

    @classmethod
    def of(cls, datasets: Sequence[Dataset]) -> SeriesGrid:
        """Of splits that follow each other in time."""
        name, place, values, row = (
            np.concatenate(each)
            for each in zip(*(_columns_of(dataset) for dataset in datasets if len(dataset)), strict=True)
        )
        names = tuple(sorted(set(name.tolist())))
        parts, begin, first = [], [0], []
        for each in names:
            mine = np.flatnonzero(name == each)
            mine = mine[np.argsort(place[mine], kind="stable")]
            start, count = int(place[mine[0]]), int(place[mine[-1]] - place[mine[0]]) + 1
            grid, rows = np.full((count, values.shape[1]), np.nan), np.full(count, -1, np.int64)
            grid[place[mine] - start], rows[place[mine] - start] = values[mine], row[mine]
            parts.append((grid, rows))
            begin.append(begin[-1] + count)
            first.append(start)
        whole, rows = (np.concatenate(each) for each in zip(*parts, strict=True))
        seen = np.isfinite(whole)
        filled = np.concatenate([_filled(grid) for grid, _rows in parts])
        return cls(filled, seen, rows, np.array(begin, np.int64), np.array(first, np.int64), names)

    def __len__(self) -> int:
        return len(self.values)

    def series_of(self, index: np.ndarray) -> np.ndarray:
        """The series of each step i64[n]."""
        return np.searchsorted(self.begin, index, side="right") - 1

    def places(self, index: np.ndarray) -> np.ndarray:
        """Place in time of each step i64[n]."""
        which = self.series_of(index)
        return index - self.begin[which] + self.first[which]


def _columns_of(dataset: Dataset) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    name = np.array(dataset.with_format(None)["series"], object)
    values = [np.asarray(part.column(0).combine_chunks().flatten()) for part in batches(dataset, ["target"])]
    place, row = np.array(numbers(dataset, "place", np.int64)), np.array(numbers(dataset, "row", np.int64))
    return name, place, np.concatenate(values).reshape(len(dataset), -1), row


def _filled(values: np.ndarray) -> np.ndarray:
    """Unknown values f64[t, k] as the ones before them; at the beginning as the first known one, 0 without any."""
    known = np.isfinite(values)
    last = np.maximum.accumulate(np.where(known, np.arange(len(values))[:, None], -1), axis=0)
    start = np.where(known.any(0), known.argmax(0), 0)
    filled = np.take_along_axis(values, np.where(last < 0, start, last), axis=0)
    return np.where(np.isfinite(filled), filled, 0.0)
