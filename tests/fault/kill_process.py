"""Works on runs that are killed in a phase: a line on the standard input is ``LAB RUN PHASE COUNT SECONDS``.

``COUNT`` events of the phase pass first; ``SECONDS`` after the next one a process that works on the run is killed by
SIGKILL. The answer is its exit code, 3 where the run ended before.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

import labkit.data.features
import labkit.models.bert.model
import labkit.models.mlp  # noqa: F401 (here, so that no process imports them again)
from labkit.runs.liveness import process_fields
from labkit.runs.logger import RunLogger
from labkit.runs.store import Store
from labkit.train.loop import work
from labkit.train.step import TrainStep


class Killing:
    """Counts the events of a phase and kills the process at one of them."""

    def __init__(self, count: int, seconds: float):
        self.left, self.seconds = count, seconds

    def __call__(self) -> None:
        self.left -= 1
        if self.left == -1 and self.seconds:
            threading.Timer(self.seconds, self.kill).start()
        elif self.left == -1:
            self.kill()

    @staticmethod
    def kill() -> None:
        os.kill(os.getpid(), signal.SIGKILL)


def before(
    kind: type, name: str, event: Callable[[], None], when: Callable[..., bool] = lambda *_, **__: True
) -> None:
    """Have a method report an event before it does its work."""
    method: Any = getattr(kind, name)

    def changed(self: Any, *values: Any, **named: Any) -> Any:
        if when(*values, **named):
            event()
        return method(self, *values, **named)

    setattr(kind, name, changed)


def files(event: Callable[[], None], folder: str) -> None:
    """Report an event before a file below a folder of the run is opened, made, renamed or removed."""

    def hear(name: str, values: tuple[Any, ...]) -> None:
        changes = ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.link", "os.truncate")
        writes = name == "open" and bool((values[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
        if (name in changes or writes) and f"/{folder}" in os.fsdecode(str(values[0])):
            event()

    sys.addaudithook(hear)


def aim(phase: str, event: Callable[[], None]) -> None:
    """Have the events of a phase reported."""
    if phase == "compile":
        before(TrainStep, "compile", event)
    elif phase == "evaluate":
        before(Store, "write", event, lambda *_, **values: values.get("status") == "evaluating")
    elif phase == "save":
        files(event, "checkpoints")
    elif phase == "model":
        files(event, "model")
    else:  # between states: before the store is told of anything
        before(Store, "write", event)
        before(Store, "update", event)


def killed(folder: str, run_id: str, phase: str, count: str, seconds: str) -> int:
    """Work on a run; returns only where it ends before the kill."""
    store = Store(folder)
    store.update(run_id, pid=os.getpid(), **process_fields())
    aim(phase, Killing(int(count), float(seconds)))
    work(RunLogger(store, run_id))
    time.sleep(2 * float(seconds))
    return 3


def main() -> None:
    """Fork a process for every line, which saves the imports, and say how it ended."""
    for line in sys.stdin:
        if not (child := os.fork()):
            code = 1
            try:
                code = killed(*line.split())
            except BaseException:
                traceback.print_exc()
            os._exit(code)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
