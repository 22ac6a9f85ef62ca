"""``labkit`` on a disk that fills up: ``python full_process.py BALLAST STEP LEFT SECONDS ARGUMENTS OF LABKIT …``.

Before the update after ``STEP`` the file ``BALLAST`` takes all room but ``LEFT`` bytes; ``SECONDS`` later it is removed
(-1: never).
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from typing import Any

from labkit.cli.main import app
from labkit.runs import logger
from labkit.train.prefetch import Prefetcher

#: Seconds for which a run that is at its end waits for room: less than the usual ones.
WAIT = 10


def fill(path: Path, left: int) -> None:
    """Write a file until the disk has only so many bytes left."""
    room = os.statvfs(path.parent)
    with open(path, "wb", buffering=0) as file:
        try:
            file.write(bytes(max(0, room.f_bavail * room.f_frsize - left)))
            while left == 0:
                file.write(bytes(4096))
        except OSError:
            pass


def prepare(ballast: Path, step: int, left: int, seconds: float) -> None:
    take = Prefetcher.take

    def filling(self: Any, at: int, *values: Any) -> Any:
        if at >= step and self.batches.shuffle and not ballast.exists() and not done:
            done.append(True)
            fill(ballast, left)
            if seconds >= 0:
                threading.Timer(seconds, ballast.unlink).start()
        return take(self, at, *values)

    done: list[bool] = []
    Prefetcher.take = filling  # type: ignore[method-assign]
    logger.WAIT = WAIT


if __name__ == "__main__":
    prepare(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
    sys.argv[1:] = sys.argv[5:]
    app()
