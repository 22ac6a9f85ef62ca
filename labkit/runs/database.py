"""SQLite database of the run store: tables, row checksums and error translation.

 SQLite notices a damaged page only where it breaks the structure; a flipped bit in a number is read as
another number. Every row therefore carries a checksum, and :class:`Tally` counts the records of a run, so
that a lost one is noticed.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import sqlite3
import struct
import sys
import time
import zlib
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from labkit.core.errors import RunError
from labkit.i18n import _

SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (
    id TEXT PRIMARY KEY, number INTEGER, created REAL, info TEXT NOT NULL, revision INTEGER, seal TEXT);
CREATE TABLE IF NOT EXISTS records (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, run TEXT NOT NULL, step INTEGER NOT NULL, split TEXT NOT NULL,
    name TEXT NOT NULL, value REAL, time REAL NOT NULL, seal INTEGER);
CREATE INDEX IF NOT EXISTS records_of_run ON records (run, seq);
CREATE INDEX IF NOT EXISTS records_of_split ON records (run, split, seq);
CREATE TABLE IF NOT EXISTS tallies (
    run TEXT NOT NULL, split TEXT NOT NULL, count INTEGER NOT NULL, total INTEGER NOT NULL, PRIMARY KEY (run, split));
CREATE TABLE IF NOT EXISTS commands (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, run TEXT NOT NULL, name TEXT NOT NULL, value TEXT, time REAL NOT NULL,
    taken INTEGER, seal TEXT);
CREATE INDEX IF NOT EXISTS commands_waiting ON commands (run) WHERE taken IS NULL;
"""
#: Columns that a store of an earlier version lacks.
_ADDED = {
    "runs": {"revision": "INTEGER", "seal": "TEXT"},
    "records": {"seal": "INTEGER"},
    "commands": {"seal": "TEXT"},
}
#: The columns of each table that its checksum covers, in this order.
SEALED = {
    "runs": ("id", "number", "created", "info", "revision"),
    "records": ("seq", "run", "step", "split", "name", "value", "time"),
    "commands": ("seq", "run", "name", "value", "time", "taken"),
}
PACKED = struct.Struct("<qqdd")
_NAN = float("nan")


class StoreError(RunError, sqlite3.OperationalError):
    """The run store cannot be opened, read or written: no right to do so, no room, locked for too long."""


class Damaged(RunError):
    """What the database holds is not what was written.

    Attributes:
        run: the run whose rows are damaged; None where it is more than that.
    """

    def __init__(self, file: Path, why: object, run: str | None = None):
        said = f"{why}" if run is None else f"{why}, of run {run!r}"
        super().__init__(
            _(
                "the run store {file!r} is damaged: {said}. Move this file away, or set LABKIT_FOLDER "
                "to another folder; the run folders are not affected.",
                file=str(file),
                said=said,
            )
        )
        self.why, self.run = why if isinstance(why, str) else str(why), run


class _Cursor(sqlite3.Cursor):
    """A cursor whose errors are labkit's, and name the file."""

    def execute(self, *args: Any) -> sqlite3.Cursor:
        with self._named():
            return super().execute(*args)

    def executemany(self, *args: Any) -> sqlite3.Cursor:
        with self._named():
            return super().executemany(*args)

    def executescript(self, *args: Any) -> sqlite3.Cursor:
        with self._named():
            return super().executescript(*args)

    def fetchone(self) -> Any:
        with self._named():
            return super().fetchone()

    def fetchall(self) -> list[Any]:
        with self._named():
            return super().fetchall()

    def __next__(self) -> Any:
        with self._named():
            return super().__next__()

    @contextmanager
    def _named(self) -> Iterator[None]:
        file = self.connection.file  # type: ignore[attr-defined]
        try:
            yield
        except (
            sqlite3.DatabaseError,
            UnicodeDecodeError,
        ) as error:  # this for messages that repeat damaged text
            raise _explained(file, error) from error


class Stamp(NamedTuple):
    """What distinguishes the files of a database from others that have their names later; None where there is
    none.

    Besides the database itself, its write-ahead log and the index of that (``-wal`` and ``-shm``).
    """

    main: tuple[int, int] | None
    log: tuple[int, int] | None
    index: tuple[int, int] | None


class Connection(sqlite3.Connection):
    """A connection to a run store; ``stamp`` identifies the files that it has open."""

    file = Path()
    stamp = Stamp(None, None, None)

    def is_apart(self, now: Stamp) -> bool:
        """Whether it has another database open than the one whose stamp is ``now``."""
        return self.stamp.main != now.main

    def has_lost_its_log(self, now: Stamp) -> bool:
        """Whether the log of the database was removed: what others write goes elsewhere. SQLite itself
        removes it only when the last connection is closed."""
        if self.stamp.main is None or self.stamp.main != now.main:
            return False
        return (self.stamp.log, self.stamp.index) != (now.log, now.index)

    def close(self) -> None:
        super().close()
        self.stamp = Stamp(None, None, None)

    def __del__(
        self,
    ) -> None:  # a thread that ends drops its connection; Python 3.13 warns of one that is open
        with suppress(sqlite3.Error):
            self.close()

    def cursor(self, factory: Any = _Cursor) -> Any:
        return super().cursor(factory)

    def execute(self, *args: object) -> Any:
        return self.cursor().execute(*args)

    def executemany(self, *args: object) -> Any:
        return self.cursor().executemany(*args)

    def executescript(self, *args: object) -> Any:
        return self.cursor().executescript(*args)


#: Connections that were abandoned, and the process that did so.
_ABANDONED: list[tuple[int, Connection]] = []
#: Errors of SQLite that mean a damaged file: no such table or column, a broken structure, a row that
#: contradicts an index, no database at all.
_DAMAGE = {sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH,
           sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT}  # fmt: skip


def _explained(file: Path, error: sqlite3.DatabaseError | UnicodeDecodeError) -> RunError:
    """An error of SQLite as labkit's: damage, or what the system refuses."""
    code = getattr(error, "sqlite_errorcode", None)
    if (code is None and "decode" in str(error)) or (code is not None and code & 0xFF in _DAMAGE):
        return Damaged(file, error)
    if code == sqlite3.SQLITE_IOERR_SHORT_READ:
        return Damaged(file, _("its write-ahead log is not whole"))
    if code is not None and code & 0xFF == sqlite3.SQLITE_BUSY and _is_empty(file):
        return Damaged(file, _("it is empty"))  # under those who have it open, whose locks stay
    return unusable(file, error)


def unusable(file: Path, error: object) -> StoreError:
    """The error of a store that the system does not let be used."""
    return StoreError(
        _(
            "the run store {file!r} cannot be used: {error}. Check the permissions and free space of its "
            "folder, or set LABKIT_FOLDER to another."),
        file=str(file), error=error,
    )  # fmt: skip


def _is_empty(path: Path) -> bool:
    with suppress(OSError):
        return path.stat().st_size == 0
    return False


def stamp_of(path: Path) -> Stamp:
    """The stamp of the files that a database has now."""
    return Stamp(_inode(str(path)), _inode(f"{path}-wal"), _inode(f"{path}-shm"))


def _inode(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def connect(path: Path) -> Connection:
    """Open a database, its tables made or brought to this version.

    Raises:
        StoreError: it cannot be opened or written.
        Damaged: it is not a database of runs.
    """
    while True:
        db = opened(path)
        db.execute("PRAGMA synchronous=NORMAL")
        db.execute("PRAGMA schema_version").fetchone()  # the file is opened here
        before = stamp_of(path)
        db.execute("PRAGMA journal_mode=WAL")
        if not _current(db):  # this opens the log, so that it stays
            _upgrade(db)
        db.stamp = stamp_of(path)
        if not db.is_apart(before):
            return db
        abandon(db)  # another process has replaced it meanwhile


def opened(path: Path) -> Connection:
    """A connection to a database as it is."""
    try:
        db = sqlite3.connect(path, timeout=60.0, isolation_level=None, factory=Connection)
    except sqlite3.Error as error:
        raise unusable(path, error) from error
    db.file = path
    db.text_factory = _decoded
    return db


def _decoded(text: bytes) -> str:
    """Text of the database; what is no UTF-8 has another checksum then, which hides one row instead of all."""
    return text.decode("utf-8", "replace")


def abandon(db: Connection) -> None:
    """Leave a connection to a file that loses its name, open until :func:`release`, and at the end of the
    process: SQLite removes the write-ahead log by its name when it closes a database, and that name may
    belong to another."""
    if sys.platform == "win32":  # where a file that is open keeps its name
        with suppress(sqlite3.Error):
            db.close()
        return
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(db))
    _ABANDONED.append((os.getpid(), db))


def release(used: Collection[Connection]) -> None:
    """Close the abandoned connections of this thread whose three files have lost their names, but for those
    in use.

    SQLite removes nothing then, as it finds that the database was moved; and no lock of this process is lost,
    as none of its other connections has one of these files open.
    """
    for each in list(_ABANDONED):
        pid, db = each
        if pid != os.getpid() or db in used:
            continue
        if any(old and old == new for old, new in zip(db.stamp, stamp_of(db.file), strict=True)):
            continue
        try:
            db.close()
        except sqlite3.Error:  # of another thread
            continue
        _ABANDONED.remove(each)
        ctypes.pythonapi.Py_DecRef(ctypes.py_object(db))


def _columns(db: Connection, table: str) -> set[str]:
    return {row[1] for row in db.execute(f"PRAGMA table_info({table})")}


def _current(db: Connection) -> bool:
    return bool(_columns(db, "tallies")) and all(
        set(added) <= _columns(db, table) for table, added in _ADDED.items()
    )  # fmt: skip


def _upgrade(db: Connection) -> None:
    """Make the tables, or add to those of an earlier version what they lack, with checksums of what is there."""
    db.executescript(SCHEMA)
    db.execute("BEGIN IMMEDIATE")
    try:
        old = [table for table, added in _ADDED.items() if not set(added) <= _columns(db, table)]
        for table in old:
            for column, kind in _ADDED[table].items():
                if column not in _columns(db, table):
                    db.execute(f"ALTER TABLE {table} ADD COLUMN {column} {kind}")
        if old:
            db.execute("UPDATE runs SET revision = coalesce(revision, 0)")
            for table in old:
                columns = SEALED[table]
                rows = db.execute(f"SELECT rowid, {', '.join(columns)} FROM {table}").fetchall()
                seals = [(seal_of(table, row[1:]), row[0]) for row in rows]
                db.executemany(f"UPDATE {table} SET seal = ? WHERE rowid = ?", seals)
            for (run,) in db.execute("SELECT DISTINCT run FROM records").fetchall():
                count(db, run)
        db.execute("COMMIT")
    except BaseException:
        db.rollback()
        raise


# --- checksums --------------------------------------------------------------------------------------------------------


def seal_of(table: str, row: Iterable[Any]) -> Any:
    """The checksum of a row, given the values of :data:`SEALED`; None for a row of records of other types."""
    if table == "records":
        seq, run, step, split, name, value, when = row
        try:
            return record_seal(series_seal(run, split, name), seq, step, value, when)
        except (struct.error, TypeError):
            return None
    text = json.dumps(list(row), default=repr)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def series_seal(run: str, split: str, name: str) -> int:
    """The part of the checksum that all records of a series share."""
    return zlib.crc32(f"{run}\0{split}\0{name}".encode("utf-8", "replace"))


def record_seal(series: int, seq: int, step: int, value: float | None, when: float) -> int:
    """The checksum of one record of a series. SQLite stores NaN as NULL: both have the same."""
    value = _NAN if value is None or value != value else value
    return zlib.crc32(PACKED.pack(seq, step, value, when), series)


def count(db: Connection, run: str) -> None:
    """Count the records of a run anew."""
    db.execute("DELETE FROM tallies WHERE run = ?", (run,))
    db.execute(
        "INSERT INTO tallies SELECT run, split, count(*), sum(seal) FROM records WHERE run = ? GROUP BY run, split",
        (run,),
    )


def problems(path: Path) -> str:
    """What is wrong with the structure of a database; empty for one that is sound."""
    until = time.monotonic() + 1.0  # a new one is empty for a moment
    while _is_empty(path):
        if time.monotonic() > until:
            return _("it is empty")
        time.sleep(0.05)
    try:
        db = opened(path)
        try:
            found = [row[0] for row in db.execute("PRAGMA integrity_check(3)")]
            missing = [t for t, columns in SEALED.items() if not {*columns, "seal"} <= _columns(db, t)]
        finally:
            db.close()
    except Damaged as error:
        return error.why
    except StoreError:
        return ""
    if missing:
        return _("the table {table!r} is not there as it was made", table=missing[0])
    return "" if found == ["ok"] else " ".join(found[0].replace("*** in database main ***", "").split())[:200]
