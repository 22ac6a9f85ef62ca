"""Buffered run logger over the run store.

Records are kept in memory while the disk is full; :func:`with_room` waits for room on it.
"""

from __future__ import annotations

import errno
import logging
import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from labkit.runs.store import RunInfo, Store, make_room
from labkit.train.logger import Record

#: Seconds for which a run that is at its end waits for room on the disk, all in all.
WAIT = 60
#: What the system refuses where a disk is full or at its quota, read-only, broken or gone.
_NO_ROOM = (
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE,
    errno.ENODEV,
)  # fmt: skip
_REFUSED = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN,
            sqlite3.SQLITE_PERM}  # fmt: skip
#: What SQLite says of them where an error of it holds no code.
_SAID = ("disk is full", "disk I/O error", "readonly database", "unable to open database")
_LOG = logging.getLogger("labkit.runs")


class RunLogger:
    """The log of one run in the run store (:class:`labkit.train.logger.Logger`).

    Attributes:
        records: ``(step, split, name, value)`` to be written next.
    """

    def __init__(self, store: Store, run_id: str):
        self.store, self.id = store, run_id
        self.records: list[tuple[int, str, str, float]] = []
        self._fields: dict[str, Any] = {}

    @property
    def run(self) -> RunInfo:
        """The fields of the run now."""
        return self.store.run(self.id)

    @property
    def folder(self) -> Path:
        """The folder of the run."""
        return self.run.folder

    def update(self, **fields: object) -> None:
        """Write fields at once; raises what prevents it."""
        self.store.update(self.id, **fields)

    def note(self, **fields: Any) -> None:
        """Add fields to the next write; entries of ``summary`` are merged."""
        summary = {**self._fields.get("summary", {}), **fields.get("summary", {})}
        self._fields |= {**fields, "summary": summary} if summary else fields

    def log(self, **fields: object) -> None:
        """Write the records and these fields; what cannot be written on a full disk is kept for the next
        write."""
        self.note(**fields)
        try:
            self._write()
            report_trouble(self.store, "")
        except sqlite3.OperationalError as error:
            report_trouble(self.store, f"{_first_line(error)} The run goes on; its records wait in memory.")

    def flush(self, **fields: object) -> None:
        """Write the records and these fields; waits a while for room on a full disk, then raises."""
        self.note(**fields)
        with_room(self.store, self._write)

    def _write(self) -> None:
        records, self.records, fields, self._fields = self.records, [], self._fields, {}
        try:
            self.store.write(self.id, records, **fields)
        except BaseException:
            self.records, self._fields = records + self.records, fields
            raise

    def commands(self, step: int) -> list[tuple[str, Any]]:
        """Take the waiting commands at ``step``: name and value of each; on a full disk they stay in the
        store."""
        try:
            return [(command.name, command.value) for command in self.store.take(self.id, step)]
        except sqlite3.OperationalError:
            given, self.store.unwritten = self.store.unwritten, []
            return [(name, None) for name in given]

    def settings(self) -> list[tuple[int, Any]]:
        """The ``set`` commands of all sessions: the step at which each was taken, and its values."""
        return self.store.settings(self.id)

    def recorded(self, split: str) -> list[Record]:
        """All records of a split, those not yet written included."""
        now = time.time()
        waiting = [
            Record(0, step, part, name, value, now)
            for step, part, name, value in self.records
            if part == split
        ]
        return self.store.records(self.id, split=split) + waiting

    def forget_after(self, step: int) -> None:
        """Delete the records of later steps."""
        self.store.forget_after(self.id, step)

    def with_room(self, action: Callable[[], None]) -> None:
        """Call ``action``, which writes to the disk; where there is no room it is called again, for
        :data:`WAIT` seconds at most."""
        with_room(self.store, action)

    def cure(self, error: BaseException) -> str:
        """What to do about a full disk; empty for other errors."""
        return make_room(self.id) if no_room(error) else ""


class ReadOnlyLogger(RunLogger):
    """The log for a process that does not lead: it reads the run, and its writes do nothing."""

    def update(self, **fields: object) -> None:
        """Nothing: the leading process writes."""

    def forget_after(self, step: int) -> None:
        """Nothing: the leading process writes."""

    def _write(self) -> None:
        self.records, self._fields = [], {}

    def commands(self, step: int) -> list[tuple[str, Any]]:
        """None: the leading process takes the commands and broadcasts them."""
        return []


def report_trouble(store: Store, message: str) -> None:
    """Log, once, that the store cannot be written, or (with an empty text) that it can be written again."""
    if message != store.trouble:
        _LOG.warning("%s", message or "The run store can be written again.")
        store.trouble = message


def with_room(store: Store, action: Callable[[], None]) -> None:
    """Do what writes to the lab folder; where the disk is full, wait for room and try again.

    All waits of a run together last :data:`WAIT` seconds at most, unless something could be written in
    between.

    Raises:
        Exception: what ``action`` raised last.
    """
    begin, waited = time.monotonic(), store.waited
    while True:
        try:
            action()
            store.waited = 0.0
            return report_trouble(store, "")
        except Exception as error:
            store.waited = waited + time.monotonic() - begin
            if not no_room(error) or store.waited > WAIT:
                raise
            report_trouble(
                store,
                f"Waiting for room on the disk of the lab folder, {WAIT} s at most: {_first_line(error)}",
            )
            time.sleep(0.5)


def no_room(error: BaseException | None) -> bool:
    """Whether an error, or one that it came from, says that the disk takes nothing, whichever library raised
    it."""
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
