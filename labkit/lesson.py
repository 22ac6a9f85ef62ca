"""What the course needs of its own: sizes fit for a first reading, and exercises that check themselves."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from labkit.base.errors import ConfigError, nearest
from labkit.i18n import _
from labkit.panels.words import language, word

#: Values of LABKIT_SCALE: sizes for a first reading (usual), or the real ones.
SCALES = ("tutorial", "full")


def scale(tutorial: Any, full: Any) -> Any:
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


#: What is wrong with an answer, in a few words; "" where it is right.
Judge = Callable[[Any], str]


@dataclass(frozen=True)
class Exercise:
    """How an answer is judged, and the hint that a wrong one gets, also in Chinese where the lesson is."""

    judge: Judge
    hint: str
    hint_zh: str = ""


@dataclass(frozen=True)
class Verdict:
    """What :func:`check` says of an answer; true where it is right. ``right`` is None where there is none yet."""

    name: str
    right: bool | None
    said: str

    def __bool__(self) -> bool:
        return bool(self.right)

    def __repr__(self) -> str:
        return self.said


class _Blank(Exception):
    """A function handed in as an answer does nothing yet."""


def check(name: str, answer: Any) -> Verdict:
    """Judge the answer to an exercise: an answer still ``...`` waits, a wrong one gets what is wrong and a hint.

    Args:
        name: of the exercise, such as "05.1".
        answer: a value, or a function that is then called with a few arguments.

    Raises:
        ConfigError: there is no such exercise; the message tells the nearest one.
    """
    from labkit.exercises import EXERCISES

    if name not in EXERCISES:
        raise ConfigError(_("there is no exercise {name!r}.{hint}"), name=name, hint=nearest(name, EXERCISES))
    exercise, shown = EXERCISES[name], language()
    try:
        wrong = exercise.judge(_given(answer))
    except _Blank:
        return Verdict(name, None, word("exercise_waiting", shown, name=name))
    if not wrong:
        return Verdict(name, True, word("exercise_right", shown, name=name))
    return Verdict(name, False, word("exercise_wrong", shown, name=name, what=wrong, hint=exercise.hint))


def equals(value: Any, tolerance: float = 1e-4) -> Judge:
    """The answer is ``value``: numbers and arrays up to a relative or absolute ``tolerance``, others exactly."""
    return lambda answer: "" if _same(answer, value, tolerance) else _("{answer}.", answer=_short(answer))


def computes(*cases: tuple[tuple[Any, ...], Any], tolerance: float = 1e-4) -> Judge:
    """The answer is a function; a case is its arguments and what it must return for them."""

    def judge(answer: Any) -> str:
        if not callable(answer):
            return _("{answer} is not a function.", answer=_short(answer))
        for arguments, value in cases:
            call = f"{getattr(answer, '__name__', 'answer')}({', '.join(map(_short, arguments))})"
            try:
                found = answer(*arguments)
            except Exception as error:  # the reader's own code: it may do anything
                return _("{call} raises {type}: {error}.", call=call, type=type(error).__name__, error=error)
            if not _same(_given(found), value, tolerance):
                return _("{call} gives {found}, not {value}.", call=call, found=_short(found), value=_short(value))
        return ""

    return judge


def holds(condition: Callable[[Any], bool], otherwise: str) -> Judge:
    """The answer has a property; ``otherwise`` says what it lacks."""

    def judge(answer: Any) -> str:
        try:
            return "" if condition(answer) else otherwise
        except Exception as error:  # an answer of another kind than the condition expects
            return _(
                "{answer} cannot be looked at ({type}: {error}).",
                answer=_short(answer), type=type(error).__name__, error=error,
            )  # fmt: skip

    return judge


def _given(answer: Any) -> Any:
    if answer is None or answer is ...:
        raise _Blank
    return answer


def _same(answer: Any, value: Any, tolerance: float) -> bool:
    answer = answer.item() if isinstance(answer, np.generic) else answer
    if isinstance(value, str | bool | tuple | set | frozenset):
        return type(answer) is type(value) and answer == value
    try:
        found, wanted = np.asarray(answer, float), np.asarray(value, float)
    except (TypeError, ValueError):
        return False
    return found.shape == wanted.shape and bool(np.allclose(found, wanted, rtol=tolerance, atol=tolerance))


def _short(value: Any) -> str:
    """A value in one line of at most 60 characters."""
    text = " ".join(repr(value.tolist() if isinstance(value, np.ndarray) else value).split())
    return text if len(text) <= 60 else text[:59] + "…"
