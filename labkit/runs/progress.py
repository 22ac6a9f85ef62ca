"""A progress bar for the terminal, drawn from the run store."""

from __future__ import annotations

import sys
import time
from typing import TextIO

from tqdm import tqdm

from labkit.core.text import printed, visible
from labkit.runs.store import RunInfo, Store
from labkit.train.logger import Record


class ProgressBar:
    """Loss, F1, speed and time left of a run. Call :meth:`update` now and then, :meth:`close` at the end.

    On a terminal it is one line that changes; elsewhere (a log file) one line for every evaluation.
    """

    def __init__(self, store: Store, run_id: str, file: TextIO | None = None):
        self.store, self.id, self.file = store, run_id, file or sys.stderr
        self.live = bool(getattr(self.file, "isatty", lambda: False)())
        self.bar = tqdm(file=self.file, disable=not self.live, dynamic_ncols=True, unit="step", leave=True)
        self.seen = 0
        self.began = False
        self.shown: dict[str, float] = {}
        self.warned: list[str] = []

    def update(self) -> None:
        """Read what is new in the store and show it."""
        info = self.store.run(self.id)
        self._warn(info)
        for record in self.store.records(self.id, self.seen):
            self.seen = record.seq
            self.shown[f"{record.split} {record.name}"] = record.value
            last = info.summary.get("reported", ("f1",))[-1]
            if not self.live and record.split == "validation" and record.name == last:
                print(self._line(info, record), file=self.file, flush=True)
        if self.live:
            self._draw(info)

    def close(self) -> None:
        """Show the last state and leave the line on the screen."""
        self.update()
        self.bar.close()
        info = self.store.run(self.id)
        if info.status in ("failed", "lost"):
            return
        print(f"{visible(info.name)}: {info.status} after step {info.step} of {info.steps}", file=self.file, flush=True)

    def _warn(self, info: RunInfo) -> None:
        """Print what the run warns of, once."""
        for text in info.summary.get("warnings", ()):
            if text not in self.warned:
                self.warned.append(text)
                tqdm.write(printed(f"{visible(info.name)}: {text}"), file=self.file)

    def _draw(self, info: RunInfo) -> None:
        running = info.status == "running"
        if running and not self.began:  # compiling is no measure of how long the rest will take
            self.began = True
            self.bar.initial, self.bar.start_t = info.step, time.time()
        said = info.name if running else f"{info.name}: {info.status} {info.message}".rstrip()
        self.bar.set_description(visible(said), False)
        self.bar.total = info.steps or None
        self.bar.n = info.step
        speed = info.summary.get("examples_per_second")
        parts = [
            f"{label} {self.shown[key]:.3f}"
            for key, label in (("train loss", "loss"), ("train f1", "F1"), ("validation loss", "val loss"),
                               ("validation f1", "val F1"), ("validation r2", "val R²"),
                               ("validation accuracy", "val accuracy"))
            if key in self.shown and not (key.endswith("accuracy") and "validation f1" in self.shown)
        ]  # fmt: skip
        if speed:
            parts.append(f"{speed:.0f} examples/s")
        self.bar.set_postfix_str(", ".join(parts), False)
        self.bar.refresh()

    def _line(self, info: RunInfo, record: Record) -> str:
        shown = {name: self.shown.get(name, float("nan")) for name in ("train loss", "validation loss")}
        return (
            f"step {record.step} of {info.steps}: loss {shown['train loss']:.4f}, "
            f"validation loss {shown['validation loss']:.4f}, {_named(record.name)} {record.value:.4f}"
        )


def _named(score: str) -> str:
    return "F1" if score == "f1" else visible(score.replace("_", " "))
