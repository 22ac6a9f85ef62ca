"""Figures of a lesson at its quick and at its real size: ``lk.real_size("08", {"F1": 0.77})``."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from labkit.core.cache import write_atomic
from labkit.core.errors import ConfigError
from labkit.core.html import table
from labkit.course.exercises import EXERCISES
from labkit.course.lesson import full_size
from labkit.i18n import _
from labkit.viz.words import language, word

#: Measured figures, one file for each lesson, written by ``test_a_lesson_runs_at_its_real_size``.
RESULTS = Path(__file__).parent / "results"
#: Environment variable: folder to which a run at its real size writes its figures.
FOLDER = "LABKIT_RESULTS"

Figure = float | tuple[float, float, float]


@dataclass(frozen=True)
class RealSize:
    """The figures of a lesson: those of this run, and those stored from its real size.

    Attributes:
        lesson: such as "08".
        here: name of a figure → its value in this run, or (value, low, high).
        real: the same at the real size; a figure that was not measured is missing.
        minutes: of the run at the real size; None where there was none.
        date: of that run, as 2026-11-30.
        processors: CPU cores of that run.
        command: that repeats it.
    """

    lesson: str
    here: dict[str, tuple[float, ...]]
    real: dict[str, tuple[float, ...]]
    minutes: float | None = None
    date: str = ""
    processors: int = 0
    command: str = ""
    _language: str = field(default="en", repr=False)
    _full: bool = field(default=False, repr=False)

    def _heads(self) -> tuple[str, str, str]:
        here = word("course_full" if self._full else "course_quick", self._language)
        return word("course_figure", self._language), here, word("course_real", self._language)

    def _rows(self) -> list[tuple[str, str, str]]:
        missing = word("course_unmeasured", self._language)
        return [
            (name, _shown(value), _shown(self.real[name]) if name in self.real else missing)
            for name, value in self.here.items()
        ]

    def _caption(self) -> str:
        if self.minutes is None:
            return ""
        return word(
            "course_measured", self._language,
            minutes=f"{self.minutes:.0f}", cores=self.processors, date=self.date, command=self.command,
        )  # fmt: skip

    def __repr__(self) -> str:
        rows = [self._heads(), *self._rows()]
        widths = [max(len(row[place]) for row in rows) for place in range(3)]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows
        ]
        return "\n".join(line.rstrip() for line in (*lines, self._caption()) if line)

    def _repr_html_(self) -> str:
        return table(self._heads(), self._rows(), caption=self._caption())


def real_size(lesson: str, figures: Mapping[str, Figure]) -> RealSize:
    """The figures of this run next to those that the lesson reached at its real size (``LABKIT_SCALE=full``).

    The stored ones come from the long test that runs each lesson at its real size. A figure that was never
    measured there is shown as such.

    Args:
        lesson: such as "08".
        figures: name → value, or (value, low, high) with a 95 % interval.

    Raises:
        ConfigError: there is no such lesson.
    """
    lessons = sorted({name.partition(".")[0] for name in EXERCISES})
    if lesson not in lessons:
        raise ConfigError(
            _("unknown lesson {lesson!r}. Known: {known}"), lesson=lesson, known=", ".join(lessons)
        )
    here = {
        name: tuple(float(each) for each in (value if isinstance(value, tuple) else (value,)))
        for name, value in figures.items()
    }
    if full_size() and os.environ.get(FOLDER):
        write_atomic(Path(os.environ[FOLDER]) / f"{lesson}.json", json.dumps({"figures": here}, indent=1))
    stored = measured(lesson)
    real = {name: tuple(value) for name, value in stored.pop("figures", {}).items()}
    return RealSize(lesson, here, real, **stored, _language=language(), _full=full_size())


def measured(lesson: str) -> dict[str, Any]:
    """The stored figures of a lesson at its real size; empty where it has not been measured."""
    file = RESULTS / f"{lesson}.json"
    return json.loads(file.read_text("utf-8")) if file.exists() else {}


def _shown(value: tuple[float, ...]) -> str:
    whole = all(each.is_integer() or abs(each) >= 1000 for each in value)
    small = 0 < max(map(abs, value)) < 0.01
    digits = ",.0f" if whole else ".3f"
    first, *interval = (format(each, ".2g" if small else digits) for each in value)
    return f"{first} ({' … '.join(interval)})" if interval else first
