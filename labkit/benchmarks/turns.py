"""The worker's side of a paired measurement: JSON lines in and out. Standard library only, for any interpreter.

The driver sends the settings as the first line; the worker sets itself up and says ``{"ready": {…}}``; then every
``{"steps": n}`` is answered with ``{"seconds": …, "steps": …, "tokens": …, "examples": …}``. ``{"end": true}``, or the
end of the input, ends the worker.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any


class Over(BaseException):
    """The driver wants no more turns. No ``Exception``, so that no training loop takes it for a failure of its own."""


class Turns:
    """The turns that the driver asks for, seen from inside any training loop: it says :meth:`passed` at every step.

    Args:
        read: gives the driver's next line, empty at the end.
        write: takes a line for the driver.
    """

    def __init__(self, read: Callable[[], str], write: Callable[[str], None]):
        self._read, self._write = read, write
        #: Called before the clock of a turn starts, with its number of steps.
        self.prepare: Callable[[int], None] = lambda steps: None
        #: Called before the clock of a turn stops: waits for results that are still being computed.
        self.settle: Callable[[], None] = lambda: None
        #: Called after the clock has stopped: further values for the answer.
        self.more: Callable[[], dict[str, Any]] = dict
        self.wanted = 0  # steps of the turn that are still to come

    def ready(self, **about: Any) -> None:
        """Say what was set up, and wait for the first turn. Raises :class:`Over` where there is none."""
        self._say({"ready": about})
        self._wait()

    def passed(self, tokens: int = 0, examples: int = 0, steps: int = 1) -> None:
        """Steps were made, with so many real tokens and examples. At the end of a turn it is answered here.

        Raises:
            Over: there are no more turns.
        """
        self.wanted -= steps
        for name, value in (("steps", steps), ("tokens", tokens), ("examples", examples)):
            self._sums[name] += value
        if self.wanted <= 0:
            self.settle()
            seconds = time.perf_counter() - self._begin
            self._say({"seconds": seconds, **self._sums, **self.more()})
            self._wait()

    def next(self) -> dict[str, Any]:
        """The driver's next line. Raises :class:`Over` at the end."""
        message = json.loads(self._read() or '{"end": true}')
        if message.get("end"):
            raise Over
        return message

    def _wait(self) -> None:
        self.wanted = int(self.next()["steps"])
        self._sums = {"steps": 0, "tokens": 0, "examples": 0}
        self.prepare(self.wanted)
        self._begin = time.perf_counter()

    def _say(self, message: dict[str, Any]) -> None:
        self._write(json.dumps(message) + "\n")


def serve(work: Callable[[Turns, dict[str, Any]], None]) -> None:
    """Run ``work(turns, settings)`` until the driver ends it. A missing package is reported by name."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints goes to standard error and never between the answers

    def write(line: str) -> None:
        answers.write(line)
        answers.flush()

    turns = Turns(sys.stdin.readline, write)
    try:
        work(turns, turns.next())
    except Over:
        pass
    except ModuleNotFoundError as error:
        write(json.dumps({"missing": error.name}) + "\n")
        raise SystemExit(1) from None


def best(trials: dict[str, Callable[[], float]]) -> tuple[str, dict[str, float]]:
    """The variant whose trial gives the greatest rate. All are tried in turn, then the better half again, and so on.

    Returns:
        its name, and the best rate of every variant.
    """
    rates, left = dict.fromkeys(trials, 0.0), list(trials)
    while len(left) > 1:
        for name in left:
            rates[name] = max(rates[name], trials[name]())
        left = sorted(left, key=rates.__getitem__, reverse=True)[: len(left) // 2]
    return left[0], rates
