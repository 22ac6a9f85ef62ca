"""Checking of exercise answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from labkit.i18n import _

#: Answers to a question with a choice.
LETTERS = ("A", "B", "C")
#: What is wrong with an answer, in a few words; "" where it is right.
Check = Callable[[Any], str]


@dataclass(frozen=True)
class Exercise:
    """How an answer is checked, the hint for a wrong one, and a solution.

    Attributes:
        solution: Python code whose last statement makes the answer: a function, or a name that is assigned.
    """

    check: Check
    hint: str
    solution: str


class Blank(Exception):
    """A function handed in as an answer does nothing yet."""


def equals(value: object, tolerance: float = 1e-4) -> Check:
    """The answer is ``value``: numbers and arrays up to an absolute ``tolerance``, others exactly."""
    return lambda answer: "" if _same(answer, value, tolerance) else _("{answer}.", answer=_short(answer))


def choice(letter: str) -> Check:
    """The answer is this one of the letters A, B and C."""

    def check(answer: object) -> str:
        if not isinstance(answer, str) or answer.upper() not in LETTERS:
            return _(
                "{answer} is not one of the letters {letters}.",
                answer=_short(answer),
                letters=", ".join(LETTERS),
            )
        return "" if answer.upper() == letter else _("{answer}.", answer=_short(answer.upper()))

    return check


def computes(*cases: tuple[tuple[Any, ...], Any], tolerance: float = 1e-4) -> Check:
    """The answer is a function; a case is its arguments and what it must return for them."""

    def check(answer: object) -> str:
        if not callable(answer):
            return _("{answer} is not a function.", answer=_short(answer))
        for arguments, value in cases:
            call = f"{getattr(answer, '__name__', 'answer')}({', '.join(map(_short, arguments))})"
            try:
                found = answer(*arguments)
            except Exception as error:  # the reader's own code: it may do anything
                return _("{call} raises {type}: {error}.", call=call, type=type(error).__name__, error=error)
            if not _same(given(found), value, tolerance):
                return _(
                    "{call} returns {found}, expected {value}.",
                    call=call,
                    found=_short(found),
                    value=_short(value),
                )
        return ""

    return check


def holds(condition: Callable[[Any], bool], otherwise: str) -> Check:
    """The answer has a property; ``otherwise`` says what it lacks."""

    def check(answer: object) -> str:
        try:
            return "" if condition(answer) else otherwise
        except Blank:
            raise
        except Exception as error:  # an answer of another kind than the condition expects
            return _(
                "{answer} cannot be inspected ({type}: {error}).",
                answer=_short(answer), type=type(error).__name__, error=error,
            )  # fmt: skip

    return check


def names(right: dict[str, str]) -> Check:
    """The answer gives the right name to every key, in a dictionary. A wrong one gets the number of right names."""

    def check(answer: object) -> str:
        if not isinstance(answer, dict) or set(answer) != set(right):
            return _("the answer is a dictionary with the keys {keys}.", keys=", ".join(right))
        if ... in answer.values():
            raise Blank
        found = sum(str(answer[key]).strip().lower() == name for key, name in right.items())
        return (
            "" if found == len(right) else _("{found} of {count} are right.", found=found, count=len(right))
        )

    return check


def reaches(
    score: str,
    least: float,
    *,
    train_rows: int | None = None,
    parameters: int | None = None,
    validation_rows: int = 0,
) -> Check:
    """The answer is a run that reaches a score on its validation rows, within limits on what it may use.

    Args:
        score: name of the score, such as "f1".
        least: the least value of it.
        train_rows: the largest number of training rows.
        parameters: the number that its parameters must stay below.
        validation_rows: the least number of validation rows, without which a score says little.
    """

    def check(run: Any) -> str:
        try:
            size = run.info.summary["parameters"]
            rows, used = len(run.rows["validation"]), len(run.rows["train"])
            found = run.evaluate("validation", baselines=False).scores[score]
        except Exception as error:  # another kind of answer than a run with this score
            return _(
                "{answer} cannot be inspected ({type}: {error}).",
                answer=_short(run), type=type(error).__name__, error=error,
            )  # fmt: skip
        if parameters is not None and size >= parameters:
            return _(
                "the model has {size:,} parameters; fewer than {limit:,} are allowed.",
                size=size,
                limit=parameters,
            )
        if train_rows is not None and used > train_rows:
            return _(
                "it was trained on {used:,} rows; at most {limit:,} are allowed.", used=used, limit=train_rows
            )
        if rows < validation_rows:
            return _(
                "it has {rows:,} validation rows; at least {limit:,} are needed.",
                rows=rows,
                limit=validation_rows,
            )
        if found < least:
            return _(
                "its {score} on validation rows is {found:.3f}; {least} is needed.",
                score=score,
                found=found,
                least=least,
            )
        return ""

    return check


def given(answer: object) -> Any:
    if answer is None or answer is ...:
        raise Blank
    return answer


def _same(answer: object, value: object, tolerance: float) -> bool:
    answer = answer.item() if isinstance(answer, np.generic) else answer
    if isinstance(value, str | bool | tuple | set | frozenset):
        return type(answer) is type(value) and answer == value
    try:
        found, wanted = np.asarray(answer, float), np.asarray(value, float)
    except (TypeError, ValueError):
        return False
    return found.shape == wanted.shape and bool(np.allclose(found, wanted, rtol=0, atol=tolerance))


def _short(value: object) -> str:
    """A value in one line of at most 60 characters."""
    text = " ".join(repr(value.tolist() if isinstance(value, np.ndarray) else value).split())
    return text if len(text) <= 60 else text[:59] + "…"
