"""Buffered run logger; keeps records in memory while the disk is full."""

from __future__ import annotations

import errno
import logging
import os
import sqlite3
import time
import traceback
from collections.abc import Callable
from typing import Any

from labkit.core.errors import LabkitError, headed
from labkit.i18n import _
from labkit.train.store import Record, Store, make_room

#: Seconds for which a run that is at its end waits for room on the disk, all in all.
LAST_WORD = 60
#: What the system refuses where a disk is full or at its quota, read-only, broken or gone.
_NO_ROOM = (
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE,
    errno.ENODEV,
)  # fmt: skip
_REFUSED = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN,
            sqlite3.SQLITE_PERM}  # fmt: skip
#: What SQLite says of them where an error of it holds no code.
_SAID = ("disk is full", "disk I/O error", "readonly database", "unable to open database")
_LOG = logging.getLogger("labkit.train")


class Teller:
    """The voice of one run.

    Attributes:
        records: ``(step, split, name, value)`` to log next.
    """

    def __init__(self, store: Store, run_id: str):
        self.store, self.id = store, run_id
        self.records: list[tuple[int, str, str, float]] = []
        self._untold: dict[str, Any] = {}

    def note(self, **values: Any) -> None:
        """Log fields together with the next records."""
        summary = {**self._untold.get("summary", {}), **values.get("summary", {})}
        self._untold |= {**values, "summary": summary} if summary else values

    def tell(self, **values: Any) -> None:
        """Write the records and these fields; records refused by a full disk are kept and written later."""
        self.note(**values)
        try:
            self._write()
            trouble(self.store, "")
        except sqlite3.OperationalError as error:
            trouble(self.store, f"{_first_line(error)} The run goes on; its records wait in memory.")

    def tell_at_last(self, **values: Any) -> None:
        """Write the records and these fields; on a full disk it is tried again for a while, and then raised."""
        self.note(**values)
        with_room(self.store, self._write)

    def _write(self) -> None:
        records, self.records, untold, self._untold = self.records, [], self._untold, {}
        try:
            self.store.write(self.id, records, **untold)
        except BaseException:
            self.records, self._untold = records + self.records, untold
            raise

    def waiting(self, step: int) -> list[tuple[str, Any]]:
        """Name and value of the commands that wait for the run, taken at ``step``; on a full disk they wait on."""
        try:
            return [(command.name, command.value) for command in self.store.take(self.id, step)]
        except sqlite3.OperationalError:
            given, self.store.unwritten = self.store.unwritten, []
            return [(name, None) for name in given]

    def recorded(self, split: str) -> list[Record]:
        """The records of a split, those too that wait for room on the disk."""
        now = time.time()
        waiting = [Record(0, step, *rest, now) for step, *rest in self.records if rest[0] == split]
        return self.store.records(self.id, split=split) + waiting

    def with_room(self, action: Callable[[], None]) -> None:
        """Do what writes to the disk; where there is no room it is tried again, :data:`LAST_WORD` seconds at most."""
        with_room(self.store, action)


def trouble(store: Store, said: str) -> None:
    """Say, once, that the store cannot be written, or (with an empty text) that it can be written again."""
    if said != store.trouble:
        _LOG.warning("%s", said or "The run store can be written again.")
        store.trouble = said


def with_room(store: Store, action: Callable[[], None]) -> None:
    """Do what writes to the lab folder; where the disk is full, wait for room and try again.

    All waits of a run together last :data:`LAST_WORD` seconds at most, unless something could be written in between.

    Raises:
        Exception: what ``action`` raised last.
    """
    begin, waited = time.monotonic(), store.waited
    while True:
        try:
            action()
            store.waited = 0.0
            return trouble(store, "")
        except Exception as error:
            store.waited = waited + time.monotonic() - begin
            if not no_room(error) or store.waited > LAST_WORD:
                raise
            trouble(
                store, f"Waiting for room on the disk of the lab folder, {LAST_WORD} s at most: {_first_line(error)}"
            )
            time.sleep(0.5)


def no_room(error: BaseException | None) -> bool:
    """Whether an error, or one that it came from, says that the disk takes nothing, whichever library raised it."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            return True
        if isinstance(error, sqlite3.Error) and (getattr(error, "sqlite_errorcode", 0) & 0xFF) in _REFUSED:
            return True
        if any(said in str(error) for said in (*map(os.strerror, _NO_ROOM), *_SAID)):
            return True
        error = error.__cause__ or error.__context__
    return False


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0][:200]


def told(error: Exception, batch_size: int, shape: str, run_id: str = "") -> dict[str, str]:
    """An exception as fields of the run: what, where and, as far as known, the cure.

    Args:
        error: what ended the run.
        batch_size: of its experiment.
        shape: of its last batch, empty before the first.
        run_id: of the run.
    """
    text, cure = str(error), ""
    if "RESOURCE_EXHAUSTED" in text or isinstance(error, MemoryError):
        cure = _(
                            "Out of memory{where}. Try batch_size={batch_size}; or accumulate=2 (gradient "
                "accumulation); or a smaller max_length or model. Once other programs have freed memory, "
                "the run can be resumed unchanged.",
            where=_(" at a batch of {shape}", shape=shape) if shape else "", batch_size=max(1, batch_size // 2),
        )  # fmt: skip
    elif no_room(error):
        cure = make_room(run_id)
    elif not isinstance(error, LabkitError):
        cure = _("Unexpected error. The traceback shows where it occurred; the run can be resumed.")
    return {"error": headed(error), "cure": cure, "traceback": traceback.format_exc()}
