"""Time steps of series: from times to positions on a regular grid, and back."""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass
from typing import Self

import numpy as np

from labkit.core.config import Config, option
from labkit.core.errors import ConfigError, DataError
from labkit.data.cells import DAY
from labkit.i18n import _

#: Steps of equal length by name, in seconds.
UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": DAY, "week": 7 * DAY}
BUSINESS, ROWS = "business day", "rows"
KINDS = ("seconds", "business", "months", "number", "rows")
_WRITTEN = re.compile(r"(?:(\d+(?:\.\d+)?) ?)?(second|minute|hour|day|week|month|business day)s?")
#: Share of the steps that may be missing.
MOST_MISSING = 0.5
#: Seconds by which a time may miss its place on the grid.
EXACT = 1e-3


@dataclass(frozen=True)
class TimeStep(Config):
    """The step between two values of a series."""

    kind: str = option(
        "seconds",
        "seconds, business (Monday to Friday), months, number (times are plain numbers), or rows (their order alone).",
        choices=KINDS,
    )
    size: float = option(1.0, "Length of a step in its unit.", low=0.0)
    phase: float = option(0.0, "Seconds, or the number, by which times miss multiples of the step.")
    month: int = option(0, "Of steps of several months: the first month, counted from January 1970.")
    dates: bool = option(True, "Whether times are dates.")
    last: bool = option(False, "Of months: whether times are last days of a month.")

    @classmethod
    def parse(cls, written: str, times: np.ndarray, dates: bool) -> Self:
        """The step that a user names: "rows", "hour", "15 minutes", "day", "business day", "month", or a number.

        Raises:
            ConfigError: it is none of these.
        """
        if written == ROWS:
            return cls("rows", dates=dates)
        found = _WRITTEN.fullmatch(written.strip())
        if not dates:
            try:
                size = float(written)
            except ValueError:
                size = 0.0
            if size > 0:
                return cls("number", size, float(times[0] % size) if len(times) else 0.0, dates=False)
        if not found or not dates or float(found[1] or 1) <= 0:
            raise ConfigError(
                _('step = {step!r} is not a time step of these times. Examples: "hour", "15 minutes", "day", '
                  '"business day", "month", or "rows" for the order of the rows alone.'),
                step=written,
            )  # fmt: skip
        size, unit = float(found[1] or 1), found[2]
        first = float(times[0]) if len(times) else 0.0
        if unit == BUSINESS:
            return cls("business", 1.0, first % DAY)
        if unit == "month":
            return cls._months(size, times)
        return cls("seconds", size * UNITS[unit], first % (size * UNITS[unit]))

    @classmethod
    def _months(cls, size: float, times: np.ndarray) -> Self:
        month, rest, last = _months_of(times)
        size = float(int(size)) or 1.0
        first = int(month[0] % size) if len(month) else 0
        ends = bool(len(times)) and bool(last.all()) and len(np.unique(rest)) > 1
        phase = float(times[0] % DAY) if ends else float(rest[0]) if len(rest) else 0.0
        return cls("months", size, phase, first, last=ends)

    @classmethod
    def detect(cls, times: list[np.ndarray], dates: bool) -> Self | None:
        """The step of series of ascending times f64[n]; None where there are fewer than two times.

        The step is the most frequent difference, or a calendar step where that fits all times.
        """
        gaps = [np.diff(each) for each in times if len(each) > 1]
        if not gaps:
            return None
        found, first = np.concatenate(gaps), next(float(each[0]) for each in times if len(each))
        values, counts = np.unique(np.round(found, 6), return_counts=True)
        usual = float(values[counts.argmax()])
        if not dates:
            return cls("number", usual, first % usual, dates=False)
        every = np.concatenate(times)
        if usual == DAY and (found > DAY).any() and (_weekday(every) < 5).all():
            return cls("business", 1.0, first % DAY)
        if usual >= 28 * DAY:
            _month, rest, last = _months_of(every)
            if len(np.unique(rest)) == 1 or last.all():
                apart = np.concatenate([np.diff(_months_of(each)[0]) for each in times if len(each) > 1])
                sizes, often = np.unique(apart, return_counts=True)
                return cls._months(float(max(1, sizes[often.argmax()])), every)
        return cls("seconds", usual, first % usual)

    def positions(self, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Places on the grid i64[n], and which times are not on it, bool[n]. Rows: ``times`` are counted from 0."""
        times = np.asarray(times, np.float64)
        if self.kind == "rows":
            return np.arange(len(times)), np.zeros(len(times), bool)
        if self.kind == "business":
            days = np.floor((times - self.phase) / DAY + EXACT / DAY).astype(np.int64)
            place = np.busday_count("1970-01-01", days.astype("datetime64[D]")).astype(np.int64)
            return place, (np.abs(times - self.phase - days * DAY) > EXACT) | (_weekday(times) > 4)
        if self.kind == "months":
            month, rest, last = _months_of(times)
            on = (
                last & (np.abs(times % DAY - self.phase) < EXACT)
                if self.last
                else np.abs(rest - self.phase) < EXACT
            )
            place = (month - self.month) // int(self.size)
            return place.astype(np.int64), ~on | ((month - self.month) % int(self.size) > 0)
        exact = (times - self.phase) / self.size
        place = np.round(exact)
        return place.astype(np.int64), np.abs(exact - place) * self.size > max(EXACT, 1e-6 * self.size)

    def times(self, places: np.ndarray) -> np.ndarray:
        """The times at places of the grid f64[n]."""
        places = np.asarray(places, np.int64)
        if self.kind == "business":
            days = np.busday_offset("1970-01-01", places, roll="forward").astype(np.int64)
            return days * float(DAY) + self.phase
        if self.kind == "months":
            months = (places * int(self.size) + self.month).astype("datetime64[M]")
            if self.last:
                return ((months + 1).astype("datetime64[D]").astype(np.int64) - 1) * float(DAY) + self.phase
            return months.astype("datetime64[D]").astype(np.int64) * float(DAY) + self.phase
        return places.astype(np.float64) if self.kind == "rows" else places * self.size + self.phase

    @property
    def seasons(self) -> tuple[int, ...]:
        """Seasons of the calendar in steps, the shortest first; none for numbers and rows."""
        if self.kind == "business":
            return 5, 261
        if self.kind == "months":
            return (int(12 // self.size),) if self.size in (1, 2, 3, 4, 6) else ()
        if self.kind != "seconds":
            return ()
        year = 365.25 * DAY
        found = {round(span / self.size) for span in (DAY, 7 * DAY) if span % self.size == 0}
        if self.size >= DAY:
            found.add(round(year / self.size))
        return tuple(sorted(each for each in found if each > 1))

    def __str__(self) -> str:
        """As a user writes it; :meth:`parse` reads it."""
        if self.kind in ("rows", "business"):
            return {"rows": ROWS, "business": BUSINESS}[self.kind]
        if self.kind == "number":
            return f"{self.size:g}"
        size, unit = self.size, "month"
        if self.kind == "seconds":
            unit = next(name for name in reversed(UNITS) if size % UNITS[name] == 0 or name == "second")
            size /= UNITS[unit]
        return unit if size == 1 else f"{size:g} {unit}s"

    def shown(self, time: float) -> str:
        """A time as text: a date, with the time of day where there is one; or a number."""
        if not self.dates:
            return f"{time:.12g}"
        moment = datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=round(float(time), 3))
        day = moment.date().isoformat()
        if not time % DAY:
            return day
        return f"{day} {moment.strftime('%H:%M' if not time % 60 else '%H:%M:%S')}"


def check_steps(
    step: TimeStep, series: list[tuple[str, np.ndarray, np.ndarray]], column: str
) -> list[np.ndarray]:
    """Places of every series i64[n], its times in order.

    Args:
        step: of all of them.
        series: (name, ascending times f64[n], row numbers i64[n]) of each.
        column: of the times.

    Raises:
        DataError: a time is not on the grid, or more than half of the steps are missing.
    """
    found, steps, known = [], 0, 0
    for _name, times, rows in series:
        places, off = step.positions(times)
        if off.any():
            place = int(off.argmax())
            before = step.shown(float(times[place - 1])) if place else "–"
            raise DataError(
                _("the times in column {column!r} are irregular: row {row} has {time}, after {before}; the step is "
                  "{step}. Pass step=… with the right step, aggregate the rows to it, or pass "
                  'step="rows" to read the rows in their order alone.'),
                column=column, row=int(rows[place]), time=step.shown(float(times[place])), before=before,
                step=str(step),
            )  # fmt: skip
        found.append(places)
        steps += int(places[-1] - places[0]) + 1 if len(places) else 0
        known += len(places)
    if steps and 1 - known / steps > MOST_MISSING:
        raise DataError(
            _("the times in column {column!r} are irregular: with the step {step}, {missing:,} of {steps:,} steps are "
              "missing. Pass step=… with the right step, aggregate the rows to it, or pass "
              'step="rows" to read the rows in their order alone.'),
            column=column, step=str(step), missing=steps - known, steps=steps,
        )  # fmt: skip
    return found


def _weekday(times: np.ndarray) -> np.ndarray:
    """0 for Monday … 6 for Sunday."""
    return (np.floor(np.asarray(times) / DAY).astype(np.int64) + 3) % 7


def _months_of(times: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Months since 1970 i64[n], seconds since the first of the month f64[n], and which are last days of a month."""
    times = np.asarray(times, np.float64)
    days = np.floor(times / DAY).astype(np.int64).astype("datetime64[D]")
    months = days.astype("datetime64[M]")
    rest = times - months.astype("datetime64[D]").astype(np.int64) * float(DAY)
    last = (days + 1).astype("datetime64[M]") > months
    return months.astype(np.int64), rest, last
