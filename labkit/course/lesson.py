"""Helpers of the course: quick or full problem sizes, and self-checking exercises."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TypeVar

from labkit.core.errors import ConfigError, nearest
from labkit.course.answers import Blank, given
from labkit.course.exercises import EXERCISES
from labkit.i18n import _
from labkit.viz.words import language, word

#: Values of LABKIT_SCALE: sizes for a first reading (usual), or the real ones.
SCALES = ("tutorial", "full")


_T = TypeVar("_T")


def scale(tutorial: _T, full: _T) -> _T:
    """``tutorial``, or ``full`` where the environment variable LABKIT_SCALE is "full".

    Raises:
        ConfigError: LABKIT_SCALE is something else.
    """
    asked = os.environ.get("LABKIT_SCALE") or SCALES[0]
    if asked not in SCALES:
        raise ConfigError(
            _("LABKIT_SCALE = {asked!r} is not one of {known}.{hint}"),
            asked=asked, known=", ".join(SCALES), hint=nearest(asked, SCALES),
        )  # fmt: skip
    return tutorial if asked == "tutorial" else full


@dataclass(frozen=True)
class ExerciseResult:
    """What :func:`check` says of an answer; true where it is right. ``right`` is None where there is none
    yet."""

    name: str
    right: bool | None
    said: str

    def __bool__(self) -> bool:
        return bool(self.right)

    def __repr__(self) -> str:
        return self.said


def check(name: str, answer: object) -> ExerciseResult:
    """Check the answer to an exercise: an answer still ``...`` waits, a wrong one gets what is wrong and a
    hint.

    Args:
        name: of the exercise, such as "05.1".
        answer: a value, or a function that is then called with a few arguments.

    Raises:
        ConfigError: there is no such exercise; the message names the nearest one.
    """
    if name not in EXERCISES:
        raise ConfigError(_("unknown exercise {name!r}.{hint}"), name=name, hint=nearest(name, EXERCISES))
    exercise, shown = EXERCISES[name], language()
    try:
        wrong = exercise.check(given(answer))
    except Blank:
        return ExerciseResult(name, None, word("exercise_waiting", shown, name=name))
    if not wrong:
        return ExerciseResult(name, True, word("exercise_right", shown, name=name))
    return ExerciseResult(
        name, False, word("exercise_wrong", shown, name=name, what=wrong, hint=exercise.hint)
    )
