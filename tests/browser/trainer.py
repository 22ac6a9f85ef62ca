"""A run that trains nothing: a thread that writes records to the run store and obeys its commands, step by step.

It lets the panel's tests decide when a run steps, pauses, fails and ends. Used inside the kernels of browser tests.
"""

from __future__ import annotations

import math
import os
import threading
import time
from typing import Any

from labkit.runs.handle import RunHandle
from labkit.runs.store import Store

CODE = 'import labkit as lk\nrun = lk.fit(rows, lk.models["bert"](preset="tiny"))\n'
TOML = "[train.optimizer]\nlearning_rate = 3e-5\n"


class FakeRun(RunHandle):
    """A run whose code is given, not derived."""

    def code(self) -> str:
        return CODE

    def show(self) -> None:
        from labkit.app.live import show

        show(self)

    _ipython_display_ = show


def start(
    folder: str, name: str = "fake", steps: int = 400, pace: float = 0.05, every: int = 10, error: str = ""
) -> FakeRun:
    """Begin a run of ``steps`` steps of ``pace`` seconds; with ``error`` it fails after the last one."""
    store = Store(folder)
    number = len(store.runs()) + 1
    store.create(f"run-{number}", name, experiment=TOML, steps=steps, epochs=2, pid=os.getpid())
    run = FakeRun(store, f"run-{number}")
    work = threading.Thread(
        target=_work, args=(store, run.id, steps, pace, every, error), name="trainer", daemon=True
    )
    work.start()
    return run


def _work(store: Store, run: str, steps: int, pace: float, every: int, error: str) -> None:
    rate, status = 3e-5, "finished"
    store.update(run, status="compiling", started=time.time())
    constant = ("the most frequent class", "f1", 0.33, 0.5)
    summary = {"steps_per_second": 1 / pace, "classes": ["negative", "positive"], "constant": constant}
    store.update(run, status="running", compilations=2, summary=summary)
    for step in range(1, steps + 1):
        rate, stopped = _obey(store, run, step - 1, rate)
        if stopped:
            status = "stopped"
            break
        store.write(run, _measure(step, steps, every, rate), step=step, epoch=2 * step // steps)
        time.sleep(pace)
    ended: dict[str, Any] = {"status": status}
    if error:
        ended = {
            "status": "failed",
            "error": error,
            "cure": f"cure for {error}",
            "traceback": f"Traceback: {error}",
        }
    store.update(run, ended=time.time(), **ended)


def _measure(step: int, steps: int, every: int, rate: float) -> list[tuple[int, str, str, float]]:
    fall = math.exp(-3 * step / steps)
    found = [
        (step, "train", "loss", 0.7 * fall + 0.03 * math.sin(step)),
        (step, "train", "learning_rate", rate),
    ]
    found.append((step, "train", "gradient_norm", 1 + fall * (1 + math.sin(step))))
    if step % every == 0:
        found += [(step, "validation", f"f1/{k}", 0.95 - (0.4 + 0.2 * k) * fall) for k in (0, 1)]
        found += [
            (step, "machine", "examples_per_second", 300 + 20 * math.cos(step)),
            (step, "machine", "memory", 5e8),
        ]
        found += [(step, "train", "f1", 1 - 0.6 * fall), (step, "validation", "loss", 0.7 * fall + 0.05)]
        found += [(step, "validation", "f1", 0.95 - 0.6 * fall)]
    return found


def _obey(store: Store, run: str, step: int, rate: float) -> tuple[float, bool]:
    """Take the commands; stays here while paused. Returns the learning rate, and whether the run is to end."""
    paused = False
    while True:
        for command in store.take(run, step):
            if command.name == "stop":
                return rate, True
            if command.name == "set":
                rate = command.value.get("learning_rate", rate)
            if command.name in ("pause", "resume"):
                paused = command.name == "pause"
                store.update(run, status="paused" if paused else "running", message="")
        if not paused:
            return rate, False
        time.sleep(0.02)
