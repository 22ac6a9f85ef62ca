"""A progress bar for the terminal, drawn from the run store."""

from __future__ import annotations

import math
import shutil
import sys
import time
from typing import TextIO

from tqdm import tqdm

from labkit.core.text import one_line, printed, visible
from labkit.core.units import duration
from labkit.runs.store import RunInfo, Store
from labkit.train.logger import Record

#: Split and metric of what a bar shows besides the steps → its label; the last ones are left out of a narrow
#: line.
_LIVE = {"train loss": "loss", "train f1": "F1", "validation loss": "val loss"}
#: The line on a terminal of 80 columns or more, and on a narrower one; columns that all but its texts take.
_WIDE = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]"
_NARROW, _FIXED = "{desc}: {percentage:3.0f}%|{bar}| {remaining}", 54


class ProgressBar:
    """Loss, F1, speed and time left of a run. Call :meth:`update` now and then, :meth:`close` at the end.

    On a terminal it is a bar below a table with a line for every evaluation; elsewhere (a log file) a
    sentence for every evaluation.
    """

    def __init__(self, store: Store, run_id: str, file: TextIO | None = None):
        self.store, self.id, self.file = store, run_id, file or sys.stderr
        self.live = bool(getattr(self.file, "isatty", lambda: False)())
        self.bar = tqdm(file=self.file, disable=not self.live, leave=True)
        self.seen = 0
        self.began = False
        self.shown: dict[str, float] = {}
        self.warned: list[str] = []
        self.tabled = False  # whether the head of the table is printed

    def update(self) -> None:
        """Read what is new in the store and show it."""
        info = self.store.run(self.id)
        self._warn(info)
        for record in self.store.records(self.id, self.seen):
            self.seen = record.seq
            self.shown[f"{record.split} {record.name}"] = record.value
            last = info.summary.get("reported", ("f1",))[-1]
            if record.split == "validation" and record.name == last:
                if self.live:
                    self._add_row(info, record)
                else:
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
        print(
            f"{visible(info.name)}: {info.status} after step {info.step} of {info.steps}",
            file=self.file,
            flush=True,
        )
        for text in info.summary.get("advice", ()):
            print(printed(f"{visible(info.name)}: {text}"), file=self.file, flush=True)

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
        width = shutil.get_terminal_size().columns
        text = info.name if running else f"{info.name}: {info.status} {info.message}".rstrip()
        text = one_line(text, max(width // 3, 8))
        self.bar.set_description(text, False)
        self.bar.total = info.steps or None
        self.bar.n = info.step
        parts = [f"{label} {self.shown[key]:.3f}" for key, label in _LIVE.items() if key in self.shown]
        if speed := info.summary.get("examples_per_second"):
            parts.append(f"{speed:.0f} examples/s")
        room = width - len(text) - _FIXED
        while parts and len(", ".join(parts)) > room:
            parts.pop()
        self.bar.bar_format, self.bar.ncols = _WIDE if width >= 80 else _NARROW, width - 1
        self.bar.set_postfix_str(", ".join(parts), False)
        self.bar.refresh()

    def _add_row(self, info: RunInfo, record: Record) -> None:
        """A line of the table of evaluations, above the bar; before the first one its head."""
        epoch = record.step * info.epochs / info.steps if info.steps else 0.0
        losses = (self.shown.get(name, math.nan) for name in ("train loss", "validation loss"))
        cells = [f"{epoch:.4g}", f"{record.step}", *(f"{loss:.4f}" for loss in losses), f"{record.value:.4f}",
                 duration(record.time - (info.started or record.time))]  # fmt: skip
        head = ["epoch", "step", "loss", "val loss", _named(record.name), "time"]
        lines = [] if self.tabled else [head]
        self.tabled = True
        for line in (*lines, cells):
            tqdm.write(" ".join(f"{cell:>9}" for cell in line), file=self.file)

    def _line(self, info: RunInfo, record: Record) -> str:
        shown = {name: self.shown.get(name, float("nan")) for name in ("train loss", "validation loss")}
        return (
            f"step {record.step} of {info.steps}: loss {shown['train loss']:.4f}, "
            f"validation loss {shown['validation loss']:.4f}, {_named(record.name)} {record.value:.4f}"
        )


def _named(score: str) -> str:
    return "F1" if score == "f1" else visible(score.replace("_", " "))
