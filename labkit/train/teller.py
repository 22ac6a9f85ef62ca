"""What a run tells its store, of which nothing is lost while the disk is full; and an exception as what is told."""

from __future__ import annotations

import errno
import sqlite3
import time
import traceback
from typing import Any

from labkit.base.errors import LabkitError
from labkit.train.store import Store

#: Seconds for which the last word of a run waits for room on the disk.
LAST_WORD = 60
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES)


class Teller:
    """The voice of one run.

    Attributes:
        records: ``(step, split, name, value)`` that are told next.
    """

    def __init__(self, store: Store, run_id: str):
        self.store, self.id = store, run_id
        self.records: list[tuple[int, str, str, float]] = []
        self._untold: dict[str, Any] = {}

    def note(self, **values: Any) -> None:
        """Have fields told with what is told next."""
        summary = {**self._untold.get("summary", {}), **values.get("summary", {})}
        self._untold |= {**values, "summary": summary} if summary else values

    def tell(self, **values: Any) -> None:
        """Write the records and these fields; what a full disk refuses is kept and told with the next."""
        self.note(**values)
        records, self.records, untold, self._untold = self.records, [], self._untold, {}
        try:
            self.store.write(self.id, records, **untold)
        except sqlite3.OperationalError:
            self.records, self._untold = records + self.records, untold

    def waiting(self, step: int) -> list[tuple[str, Any]]:
        """Name and value of the commands that wait for the run, taken at ``step``; on a full disk they wait on."""
        try:
            return [(command.name, command.value) for command in self.store.take(self.id, step)]
        except sqlite3.OperationalError:
            return []


def say_at_last(store: Store, run_id: str, values: dict[str, Any]) -> None:
    """The last word of a run; on a full disk it is tried again for a while."""
    until = time.monotonic() + LAST_WORD
    while True:
        try:
            return store.update(run_id, **values)
        except sqlite3.OperationalError:
            if time.monotonic() > until:
                raise
            time.sleep(0.5)


def told(error: Exception, batch_size: int, shape: str) -> dict[str, str]:
    """An exception as fields of the run: what, where and, as far as known, the cure.

    Args:
        error: what ended the run.
        batch_size: of its experiment.
        shape: of its last batch, empty before the first.
    """
    text, cure = str(error), ""
    if "RESOURCE_EXHAUSTED" in text or isinstance(error, MemoryError):
        cure = (
            f"Out of memory{f' at a batch of {shape}' if shape else ''}. Try batch_size={max(1, batch_size // 2)}; or "
            "accumulate=2, which computes a batch in two parts; or a smaller max_length or model. When other programs "
            "have given memory back, the run can be resumed as it is."
        )
    elif isinstance(error, OSError) and error.errno in _NO_ROOM:
        cure = "Make room on the disk of the lab folder, or make it writable; then resume the run."
    elif not isinstance(error, LabkitError):
        cure = "This is not an error labkit knows. The traceback says where it arose; the run can be resumed."
    return {"error": f"{type(error).__name__}: {text}", "cure": cure, "traceback": traceback.format_exc()}
