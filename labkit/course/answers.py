"""Checking of exercise answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from labkit.i18n import _

#: What is wrong with an answer, in a few words; "" where it is right.
Check = Callable[[Any], str]


@dataclass(frozen=True)
class Exercise:
    """How an answer is checked, and the hint for a wrong one."""

    check: Check
    hint: str


class Blank(Exception):
    """A function handed in as an answer does nothing yet."""


def equals(value: object, tolerance: float = 1e-4) -> Check:
    """The answer is ``value``: numbers and arrays up to a relative or absolute ``tolerance``, others exactly."""
    return lambda answer: "" if _same(answer, value, tolerance) else _("{answer}.", answer=_short(answer))


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
        except Exception as error:  # an answer of another kind than the condition expects
            return _(
                "{answer} cannot be inspected ({type}: {error}).",
                answer=_short(answer), type=type(error).__name__, error=error,
            )  # fmt: skip

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
    return found.shape == wanted.shape and bool(np.allclose(found, wanted, rtol=tolerance, atol=tolerance))


def _short(value: object) -> str:
    """A value in one line of at most 60 characters."""
    text = " ".join(repr(value.tolist() if isinstance(value, np.ndarray) else value).split())
    return text if len(text) <= 60 else text[:59] + "…"
