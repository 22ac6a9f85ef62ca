"""Locks on files: one holder at a time among all processes of a machine, freed by the system when the holder
dies."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

try:
    import fcntl

    def acquire(file: IO[Any]) -> None:
        """Lock an open file. Raises OSError where another holder has it."""
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

except ImportError:  # Windows
    import msvcrt

    def acquire(file: IO[Any]) -> None:
        """Lock an open file. Raises OSError where another holder has it."""
        file.seek(1 << 20)  # beyond what is written, which others may then read
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]


def is_free(path: Path) -> bool:
    """Whether nobody holds the lock file ``path``. Raises OSError where it cannot be opened."""
    with open(path, "a+b") as file:
        try:
            acquire(file)
        except OSError:
            return False
    return True


@contextlib.contextmanager
def exclusive(path: Path, seconds: float) -> Iterator[None]:
    """Hold the lock file ``path``; wait at most so many seconds for another holder.

    Raises:
        OSError: the file cannot be opened, or another process still holds it.
    """
    until = time.monotonic() + seconds
    with open(path, "a+b") as file:
        while True:
            try:
                acquire(file)
                break
            except OSError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.05)
        yield
