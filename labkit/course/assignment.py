"""Assignments for classes: a lesson as the source version of an nbgrader assignment (metadata of schema 3)."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

from labkit.core.cache import write_atomic
from labkit.core.errors import ConfigError, os_reason
from labkit.course.exercises import EXERCISES
from labkit.i18n import _

#: The last statement of an exercise's cell.
_CHECK = re.compile(r'\n*lk\.check\("(\d\d\.\w+)", (\w+)\);?\s*$')
_SCHEMA = 3


def assignment(lesson: str | Path, folder: str | Path, points: int = 1) -> Path:
    """Write a lesson for nbgrader: students answer in one cell, and the cell below grades it automatically.

    The file is the source version, with the solutions between nbgrader's marks, which
    ``nbgrader generate_assignment`` removes for the students. Grading needs labkit where it runs. Predictions
    (exercises with a letter) are left as they are.

    Args:
        lesson: the notebook of a lesson.
        folder: where the file goes, under the same name; nbgrader expects ``source/NAME_OF_ASSIGNMENT``.
        points: for each exercise.

    Returns:
        The path of the file.

    Raises:
        ConfigError: the file is not a notebook, has no exercise, or cannot be written.
    """
    lesson, target = Path(lesson), Path(folder) / Path(lesson).name
    try:
        notebook = json.loads(lesson.read_text("utf-8"))
        cells = [part for cell in notebook["cells"] for part in _parts(cell, points)]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            _("{file!r} cannot be read as a notebook: {reason}."),
            file=str(lesson), reason=os_reason(error) if isinstance(error, OSError) else str(error),
        ) from error  # fmt: skip
    if len(cells) == len(notebook["cells"]):
        raise ConfigError(_("{file!r} has no exercise: no cell ends with lk.check(…)."), file=str(lesson))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(target, json.dumps(notebook | {"cells": cells}, indent=1, ensure_ascii=False) + "\n")
    except OSError as error:
        raise ConfigError(
            _("cannot write {out!r}: {reason}."), out=str(target), reason=os_reason(error)
        ) from error
    return target


def _parts(cell: dict[str, Any], points: int) -> list[dict[str, Any]]:
    """A cell as it is, or an exercise as a cell to answer in and one that grades."""
    source = "".join(cell["source"])
    found = _CHECK.search(source) if cell["cell_type"] == "code" else None
    if found is None or found[1] not in EXERCISES or found[1][-1].isalpha():
        return [cell]
    name, answer = found.groups()
    begun = source[: found.start()]
    solved = f"### BEGIN SOLUTION\n{EXERCISES[name].solution}\n### END SOLUTION"
    if not begun.rstrip().endswith("..."):  # a function with a bug: students start from it
        solved = f"{begun}\n\n\n{solved}"
    return [
        _marked(cell, f"answer-{name.replace('.', '-')}", solved, solution=True),
        _marked(
            cell,
            f"check-{name.replace('.', '-')}",
            f'assert lk.check("{name}", {answer})',
            grade=True,
            points=points,
        ),
    ]


def _marked(
    cell: dict[str, Any], name: str, source: str, solution: bool = False, grade: bool = False, points: int = 0
) -> dict[str, Any]:
    made = copy.deepcopy(cell)
    marks: dict[str, Any] = {
        "grade": grade, "grade_id": name, "locked": grade, "schema_version": _SCHEMA, "solution": solution,
        "task": False,
    }  # fmt: skip
    if grade:
        marks["points"] = points
    made.update(id=name, source=source.splitlines(keepends=True), outputs=[], execution_count=None)
    made["metadata"] = {"nbgrader": marks}
    return made
