"""Lessons as assignments: exercises are split into an answer and its grading, with the metadata of nbgrader."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

from labkit.core.errors import ConfigError
from labkit.course.assignment import assignment
from labkit.course.exercises import EXERCISES

from .lessons import LESSONS, exercises, read, source

ENGLISH = [path for path in LESSONS if not path.name.endswith(".zh.ipynb")]
#: The keys of schema 3 by the documentation of nbgrader; ``points`` only where a cell is graded.
KEYS = {"grade", "grade_id", "locked", "schema_version", "solution", "task"}


def marked(path: Path) -> list[tuple[dict[str, Any], str]]:
    return [
        (cell["metadata"]["nbgrader"], source(cell))
        for cell in read(path)["cells"]
        if "nbgrader" in cell["metadata"]
    ]


@pytest.mark.parametrize("lesson", ENGLISH, ids=lambda path: path.stem)
def test_every_exercise_becomes_an_answer_and_a_test_of_it(lesson: Path, tmp_path: Path) -> None:
    made = assignment(lesson, tmp_path / "source" / "week 1", points=2)
    assert made == tmp_path / "source" / "week 1" / lesson.name
    asked = [name for cell in read(lesson)["cells"] for name in exercises(cell) if name[-1].isdigit()]
    cells = marked(made)
    assert len(cells) == 2 * len(asked) and len({marks["grade_id"] for marks, _ in cells}) == len(cells)
    for name, (answer, code), (check, claim) in zip(asked, cells[::2], cells[1::2], strict=True):
        assert set(answer) == KEYS and set(check) == {*KEYS, "points"} and check["points"] == 2
        assert (answer["solution"], answer["locked"], check["grade"], check["locked"]) == (
            True,
            False,
            True,
            True,
        )
        begin, end = code.index("### BEGIN SOLUTION"), code.index("### END SOLUTION")
        assert code[begin:end].strip().endswith(EXERCISES[name].solution)
        # the solution makes the name that is graded
        graded = claim.partition(", ")[2].rstrip(")")
        names = {
            getattr(target, "id", "")
            for node in ast.parse(EXERCISES[name].solution).body
            for target in (getattr(node, "targets", []) or [])
        } | {
            node.name
            for node in ast.parse(EXERCISES[name].solution).body
            if isinstance(node, ast.FunctionDef)
        }
        assert graded in names, name


def test_what_is_no_lesson_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.ipynb"
    for content, said in (("{", "cannot be read as a notebook"), ('{"cells": []}', "has no exercise")):
        other.write_text(content)
        with pytest.raises(ConfigError, match=said):
            assignment(other, tmp_path / "out")
    with pytest.raises(ConfigError, match="cannot be read as a notebook: No such file"):
        assignment(tmp_path / "none.ipynb", tmp_path / "out")
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot write"):
        assignment(ENGLISH[0], tmp_path / "file")
