"""Helpers of the course: quick or full problem sizes, self-checking exercises and their solutions."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TypeVar

from labkit.core.errors import ConfigError, nearest
from labkit.course.answers import Blank, Exercise, given
from labkit.course.exercises import EXERCISES
from labkit.course.progress import TRIES, answers_so_far, record, tries
from labkit.i18n import _, translate
from labkit.viz.words import language, word

#: Values of LABKIT_SCALE: sizes for a first reading (usual), or the real ones.
SCALES = ("tutorial", "full")


_T = TypeVar("_T")


def scale(tutorial: _T, full: _T) -> _T:
    """``tutorial``, or ``full`` where the environment variable LABKIT_SCALE is "full".

    Raises:
        ConfigError: LABKIT_SCALE is something else.
    """
    return full if full_size() else tutorial


def local(english: _T, chinese: _T) -> _T:
    """``chinese`` where panels are in Chinese (``LABKIT_LANGUAGE=zh``), ``english`` otherwise.

    A lesson that is the same in both languages takes its texts, samples and models from here.
    """
    return chinese if language() == "zh" else english


def full_size() -> bool:
    """Whether LABKIT_SCALE asks for the real size of a lesson.

    Raises:
        ConfigError: LABKIT_SCALE is neither "tutorial" nor "full".
    """
    asked = os.environ.get("LABKIT_SCALE") or SCALES[0]
    if asked not in SCALES:
        raise ConfigError(
            _("LABKIT_SCALE = {asked!r} is not one of {known}.{hint}"),
            asked=asked, known=", ".join(SCALES), hint=nearest(asked, SCALES),
        )  # fmt: skip
    return asked == "full"


@dataclass(frozen=True)
class ExerciseResult:
    """The result of :func:`check`; true where the answer is right.

    Attributes:
        name: of the exercise.
        right: None where there is no answer yet.
        said: the sentence that is shown.
    """

    name: str
    right: bool | None
    said: str

    def __bool__(self) -> bool:
        return bool(self.right)

    def __repr__(self) -> str:
        return self.said


def check(name: str, answer: object) -> ExerciseResult:
    """Check the answer to an exercise. A wrong one gets the reason and a hint; ``...`` is no answer yet.

    The result is false where the answer is wrong or missing, so that ``assert lk.check("05.1", f1_score)`` can
    grade it.

    Args:
        name: of the exercise, such as "05.1".
        answer: a value, a function, which is then called with a few arguments, or a run.

    Raises:
        ConfigError: there is no such exercise; the message names the nearest one.
    """
    exercise, shown = _exercise(name), language()
    try:
        wrong = exercise.check(given(answer))
    except Blank:
        return ExerciseResult(name, None, word("exercise_waiting", shown, name=name))
    record(name, wrong)
    if not wrong:
        said = word("exercise_right", shown, name=name)
        reason = f" {translate(exercise.hint, shown)}" if name[-1].isalpha() else ""
        return ExerciseResult(name, True, said + reason)
    return ExerciseResult(
        name, False, word("exercise_wrong", shown, name=name, what=wrong, hint=exercise.hint)
    )


def _exercise(name: str) -> Exercise:
    if name not in EXERCISES:
        raise ConfigError(_("unknown exercise {name!r}.{hint}"), name=name, hint=nearest(name, EXERCISES))
    return EXERCISES[name]


@dataclass(frozen=True)
class Solution:
    """The solution of an exercise, or why it is not shown yet.

    Attributes:
        name: of the exercise.
        code: Python that solves it; "" while it is not shown.
        said: the sentence shown instead.
    """

    name: str
    code: str
    said: str = ""

    def __repr__(self) -> str:
        return self.code or self.said

    def _repr_markdown_(self) -> str:
        return f"```python\n{self.code}\n```" if self.code else self.said


def solution(name: str) -> Solution:
    """The solution of an exercise, after two wrong answers or a right one.

    Raises:
        ConfigError: there is no such exercise; the message names the nearest one.
    """
    exercise, answer = _exercise(name), answers_so_far().get(name, {})
    if answer.get("solved") or tries(answer) >= TRIES:
        return Solution(name, exercise.solution)
    return Solution(name, "", word("exercise_solution", language(), name=name, n=TRIES - tries(answer)))
