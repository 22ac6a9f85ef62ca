"""The repairs of a run store, written down in the lab folder, so that every process that lists the runs names
them."""

from __future__ import annotations

import contextlib
import json
import os
import time
from pathlib import Path

from labkit.i18n import Message, _, plain, revive

FILE = "repairs.jsonl"
#: Seconds for which a repair is named; the file keeps all of them.
SHOWN = 7 * 24 * 3600.0
#: Repairs that are named at once, at most, the latest; bytes at the end of the file that are read for them.
MOST, TAIL = 20, 1 << 16


def add(folder: Path, note: str) -> None:
    """Write down what was found damaged, and what became of it. Raises OSError."""
    line = json.dumps({"time": time.time(), "note": plain(note)}) + "\n"
    with open(folder / FILE, "ab") as file:  # a line is one write: several processes may append
        file.write(line.encode())


def recent(folder: Path) -> list[str]:
    """The repairs of the last days, oldest first, each with its time; what cannot be read of the file is left
    out."""
    notes: list[str] = []
    with contextlib.suppress(OSError), open(folder / FILE, "rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL))
        for line in file:
            with contextlib.suppress(
                ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError
            ):
                found = json.loads(line)
                when, note = float(found["time"]), revive(found["note"])
                if abs(time.time() - when) <= SHOWN and isinstance(note, str):
                    day = time.strftime("%Y-%m-%d %H:%M", time.localtime(when))
                    notes.append(_("{time}: {note}", time=day, note=note))
    return list(dict.fromkeys(notes))[-MOST:]


def unreadable(run: str, reason: str) -> Message:
    """That a run cannot be read, and why."""
    return _("run {run!r} cannot be read: {reason}.", run=run, reason=reason)
