"""Progress over the course: wrong answers and solved exercises, as ``course.json`` in the lab folder."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from labkit.core.cache import lab_folder, write_atomic
from labkit.core.file_lock import exclusive
from labkit.core.html import table
from labkit.course.exercises import EXERCISES
from labkit.viz.words import language, word

#: Wrong answers after which the solution is shown.
TRIES = 2
_FILE = "course.json"
_LOCK_SECONDS = 5.0
#: Lab folder → its entries in this process, for folders that cannot be read or written.
_here: dict[Path, dict[str, dict[str, Any]]] = {}


def answers_so_far() -> dict[str, dict[str, Any]]:
    """Exercise → ``{"wrong": count, "last": what was wrong, "solved": bool}``, of those answered at least once."""
    folder = lab_folder()
    try:
        kept = json.loads((folder / _FILE).read_text("utf-8"))
    except (OSError, ValueError):  # none yet, not readable, or damaged
        kept = {}
    found = {**_here.get(folder, {}), **(kept if isinstance(kept, dict) else {})}
    return {name: one for name, one in found.items() if name in EXERCISES and isinstance(one, dict)}


def record(name: str, wrong: str) -> None:
    """Note an answer: what is wrong with it, or "" where it is right. The same wrong answer again is no new try.

    An exercise works in a folder that cannot be written, too: its progress then lasts as long as the process.
    """
    folder = lab_folder()
    with contextlib.ExitStack() as held:
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            held.enter_context(exclusive(folder / f".{_FILE}.lock", _LOCK_SECONDS))
        found = answers_so_far()
        before = found.get(name, {})
        again = not wrong or before.get("last") == str(wrong)
        found[name] = {
            "wrong": tries(before) + (not again),
            "last": str(wrong) or before.get("last", ""),
            "solved": not wrong or bool(before.get("solved")),
        }
        _here.setdefault(folder, {})[name] = found[name]
        with contextlib.suppress(OSError):
            write_atomic(folder / _FILE, json.dumps(found, indent=1))


def tries(answer: dict[str, Any]) -> int:
    """Wrong answers of an entry, which may come from a file that somebody has edited."""
    count = answer.get("wrong")
    return count if isinstance(count, int) and count > 0 else 0


@dataclass(frozen=True)
class CourseProgress:
    """Solved exercises per lesson.

    Attributes:
        lessons: lesson, such as "03" → (solved, all).
    """

    lessons: dict[str, tuple[int, int]]
    _language: str = field(default="en", repr=False)

    def __iter__(self) -> Iterator[str]:
        return iter(self.lessons)

    def _rows(self) -> list[tuple[str, str]]:
        rows = [(lesson, f"{solved} / {count}") for lesson, (solved, count) in self.lessons.items()]
        solved, count = (sum(each) for each in zip(*self.lessons.values(), strict=True))
        return [*rows, (word("course_all", self._language), f"{solved} / {count}")]

    def _heads(self) -> tuple[str, str]:
        return word("course_lesson", self._language), word("course_solved", self._language)

    def __repr__(self) -> str:
        return "\n".join(f"{lesson:<8}{solved}" for lesson, solved in (self._heads(), *self._rows()))

    def _repr_html_(self) -> str:
        return table(self._heads(), self._rows())


def progress() -> CourseProgress:
    """How many exercises of each lesson are solved, in this lab folder. ``lk.progress()`` as the last line of a
    cell shows a table."""
    found = answers_so_far()
    lessons: dict[str, tuple[int, int]] = {}
    for name in EXERCISES:
        lesson = name.partition(".")[0]
        solved, count = lessons.get(lesson, (0, 0))
        lessons[lesson] = solved + bool(found.get(name, {}).get("solved")), count + 1
    return CourseProgress(lessons, language())
