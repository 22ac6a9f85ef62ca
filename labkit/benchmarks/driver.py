"""Driver of paired measurements: two workers take turns, and the ratios of their rates are compared.

On a machine whose speed wavers, two measurements one after the other compare two moments as much as two programs. Here
the programs alternate A B A B … in short turns, each idle while the other works; a ratio is taken of every pair, and
the median of the ratios is the result.
"""

from __future__ import annotations

import contextlib
import json
import math
import queue
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from labkit.core.errors import LabkitError

#: Pairs that are not counted: caches fill, clocks of the processor settle.
WARM = 3
#: Lines of a dead worker's standard error that are shown.
TAIL = 15
#: What another interpreter needs to run a peer.
CURE = "Install the peers with pip install 'labkit[peers]', or name an interpreter that has them with --peer-python."


class Worker:
    """A worker process and the turns it takes.

    Args:
        name: the worker's file in this folder, without its ending.
        settings: the settings sent to the worker first.
        python: the interpreter that runs it.
        patience: seconds to wait for an answer.
        command: what to run instead, for a worker that lies elsewhere.
    """

    def __init__(
        self,
        name: str,
        settings: dict[str, Any],
        python: str = sys.executable,
        patience: float = 1800.0,
        command: Sequence[str] = (),
    ):
        self.name, self.patience = name, patience
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115 (closed below)
        line = list(command) or [python, str(Path(__file__).parent), name]
        try:
            self._process = subprocess.Popen(
                line,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                text=True,
                encoding="utf-8",
            )
        except OSError as error:
            self._errors.close()
            raise LabkitError(
                f"cannot start {line[0]}: {error.strerror}. Name an interpreter that is there."
            ) from None
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._listen, name=f"listens to {name}", daemon=True).start()
        try:
            self._send(settings)
            #: What the worker says of itself: its settings, what it compiled, which variant of itself was the fastest.
            self.about: dict[str, Any] = self._receive()["ready"]
        except BaseException:
            self._process.kill()
            self.close()
            raise

    def turn(self, steps: int) -> dict[str, Any]:
        """Let the worker take some steps: ``seconds`` by its own clock, ``steps``, real ``tokens``, ``examples``.

        Raises:
            LabkitError: the worker died or gave no answer; the end of its standard error is in the text.
        """
        self._send({"steps": steps})
        return self._receive()

    def close(self) -> None:
        """End the worker."""
        with contextlib.suppress(OSError, ValueError):
            self._send({"end": True})
        with contextlib.suppress(OSError, ValueError):
            self._process.stdin.close()  # type: ignore[union-attr]
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._errors.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _send(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(BrokenPipeError):  # a dead worker is reported when its answer does not come
            self._process.stdin.write(json.dumps(message) + "\n")  # type: ignore[union-attr]
            self._process.stdin.flush()  # type: ignore[union-attr]

    def _listen(self) -> None:
        with contextlib.closing(self._process.stdout) as lines:  # type: ignore[type-var]
            for line in lines:  # type: ignore[union-attr]
                self._lines.put(line)
        self._lines.put("")

    def _receive(self) -> dict[str, Any]:
        try:
            line = self._lines.get(timeout=self.patience)
        except queue.Empty:
            raise LabkitError(f"{self.name} gave no answer in {self.patience:.0f} s.{self._said()}") from None
        try:
            message = json.loads(line)
        except ValueError:
            code = f" (exit code {self._process.wait()})" if not line else ""
            raise LabkitError(f"{self.name} ended without an answer{code}.{self._said()}") from None
        if missing := message.get("missing"):
            raise LabkitError(f"{self.name} needs the package {missing!r}, which is not installed. {CURE}")
        return message

    def _said(self) -> str:
        self._errors.seek(0)
        tail = self._errors.read().splitlines()[-TAIL:]
        return "".join(f"\n  {line}" for line in tail)


def paired(ours: Worker, peer: Worker, pairs: int, steps: int = 1, warm: int = WARM) -> list[tuple[Any, Any]]:
    """Turns of both, ours first in every pair; the first ``warm`` pairs are not in the list."""
    turns = [(ours.turn(steps), peer.turn(steps)) for _ in range(warm + pairs)]
    return turns[warm:]


def compare(turns: Sequence[tuple[dict[str, Any], dict[str, Any]]], unit: str = "steps") -> dict[str, Any]:
    """Rates of ours ÷ the peer's, from pairs of turns.

    Args:
        turns: as :func:`paired` returns them.
        unit: what is counted: "tokens", "examples" or "steps".

    Returns:
        ``value`` the median of the pairs' ratios, ``quartiles`` of them, ``ours`` and ``peer`` the median rates in
        units a second, ``overall`` the ratio of the rates over all turns, ``pairs``, ``unit``.
    """
    rates = [tuple(turn[unit] / turn["seconds"] for turn in pair) for pair in turns]
    ratios = [ours / peer for ours, peer in rates]
    whole = [sum(pair[i][unit] for pair in turns) / sum(pair[i]["seconds"] for pair in turns) for i in (0, 1)]
    return {
        "value": statistics.median(ratios),
        "quartiles": quartiles(ratios),
        "ours": statistics.median(rate for rate, _ in rates),
        "peer": statistics.median(rate for _, rate in rates),
        "overall": whole[0] / whole[1],
        "pairs": len(ratios),
        "unit": unit,
    }


def quartiles(values: Sequence[float]) -> tuple[float, float]:
    """The first and the third quartile."""
    if len(values) < 2:
        return values[0], values[0]
    first, _, third = statistics.quantiles(values, n=4, method="inclusive")
    return first, third


def lower_bound(values: Sequence[float]) -> float:
    """The lower end of the 95 % interval of the median, by order statistics; the least of fewer than six values."""
    count, below, place = len(values), 0.0, 0
    while below + math.comb(count, place) / 2**count <= 0.025:
        below += math.comb(count, place) / 2**count
        place += 1
    return sorted(values)[max(place - 1, 0)]
