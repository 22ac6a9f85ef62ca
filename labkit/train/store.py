"""The run store: one SQLite database a lab folder, the only place where a run and its watchers meet.

The loop writes records and reads commands; panels, the command line and :class:`labkit.train.run.Run` read records
and write commands. Several processes may do so at once (WAL mode). Every method is one short transaction.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple

from labkit.base import guard
from labkit.base.cache import writable
from labkit.base.errors import RunError, nearest

#: What a run can be doing. The last four are final, unless the run is resumed.
STATUSES = (
    "created", "preparing", "compiling", "running", "evaluating", "saving", "paused",
    "finished", "stopped", "failed", "lost",
)  # fmt: skip
OVER = frozenset(STATUSES[-4:])
#: Seconds without a sign of life after which a run whose process is gone counts as lost.
SILENCE = 5.0

_SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (id TEXT PRIMARY KEY, number INTEGER, created REAL, info TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS records (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, run TEXT NOT NULL, step INTEGER NOT NULL, split TEXT NOT NULL,
    name TEXT NOT NULL, value REAL, time REAL NOT NULL);
CREATE INDEX IF NOT EXISTS records_of_run ON records (run, seq);
CREATE INDEX IF NOT EXISTS records_of_split ON records (run, split, seq);
CREATE TABLE IF NOT EXISTS commands (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, run TEXT NOT NULL, name TEXT NOT NULL, value TEXT, time REAL NOT NULL,
    taken INTEGER);
CREATE INDEX IF NOT EXISTS commands_waiting ON commands (run) WHERE taken IS NULL;
"""


class Record(NamedTuple):
    """One measured number: ``split`` is train, validation, test or machine (speed in examples a second, memory in
    bytes); ``step`` counts updates already made."""

    seq: int
    step: int
    split: str
    name: str
    value: float
    time: float


class Command(NamedTuple):
    """What somebody asked a run to do: pause, resume, stop, save, or set (value ``{"learning_rate": x}``,
    ``{"keep": "last"}``)."""

    seq: int
    name: str
    value: Any


@dataclass(frozen=True)
class RunInfo:
    """Everything the store knows about a run besides its records. Times are seconds since 1970."""

    id: str
    name: str
    folder: Path
    status: str = "created"
    message: str = ""
    created: float = 0.0
    started: float | None = None
    ended: float | None = None
    heartbeat: float | None = None
    pid: int | None = None
    step: int = 0
    steps: int = 0
    epoch: int = 0
    epochs: int = 0
    compilations: int = 0
    compile_seconds: float = 0.0
    error: str = ""
    traceback: str = ""
    cure: str = ""
    experiment: str = ""
    environment: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)

    @property
    def over(self) -> bool:
        """True when no process works on the run any more."""
        return self.status in OVER


class StoreError(RunError, sqlite3.OperationalError):
    """The run store cannot be opened, read or written: no right to do so, no room, locked for too long."""


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
        file = str(self.connection.file)  # type: ignore[attr-defined]
        try:
            yield
        except sqlite3.IntegrityError:
            raise
        except sqlite3.OperationalError as error:
            raise _unusable(file, error) from error
        except sqlite3.DatabaseError as error:
            raise RunError(
                f"the run store {file!r} is damaged: {error}. Move this file away, or set LABKIT_FOLDER to another "
                "folder; the folders of the runs stay as they are."
            ) from error


class _Connection(sqlite3.Connection):
    file = Path()

    def cursor(self, factory: Any = _Cursor) -> Any:
        return super().cursor(factory)

    def execute(self, *args: Any) -> Any:
        return self.cursor().execute(*args)

    def executemany(self, *args: Any) -> Any:
        return self.cursor().executemany(*args)

    def executescript(self, *args: Any) -> Any:
        return self.cursor().executescript(*args)


def _unusable(file: str, error: Exception) -> StoreError:
    return StoreError(
        f"the run store {file!r} cannot be used: {error}. Check the rights and the free space of its folder, or set "
        "LABKIT_FOLDER to another."
    )


class Store:
    """The database ``runs.sqlite`` of a lab folder.

    Args:
        folder: the lab folder; by default ``LABKIT_FOLDER``, else ``.labkit`` in the working directory.
            It is made on first use, with a folder per run below it.

    Raises:
        FolderError: the folder cannot be made or written.
        StoreError: the database cannot be used; any method may raise it.
        RunError: the database is damaged.
    """

    def __init__(self, folder: str | Path | None = None):
        self.folder = Path(folder or os.environ.get("LABKIT_FOLDER") or ".labkit").absolute()
        with writable("lab folder", self.folder, "LABKIT_FOLDER"):
            self.folder.mkdir(parents=True, exist_ok=True)
        self.path = self.folder / "runs.sqlite"
        self._local = threading.local()
        self._db().executescript(_SCHEMA)

    def __repr__(self) -> str:
        return f"<run store: {len(self.runs())} runs>"

    def _db(self) -> sqlite3.Connection:
        """This thread's connection, opened anew after a fork."""
        if getattr(self._local, "pid", None) != os.getpid():
            try:
                db = sqlite3.connect(self.path, timeout=60.0, isolation_level=None, factory=_Connection)
            except sqlite3.OperationalError as error:
                raise _unusable(str(self.path), error) from error
            db.file = self.path
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=NORMAL")
            self._local.db, self._local.pid = db, os.getpid()
        return self._local.db

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        db = self._db()
        db.execute("BEGIN IMMEDIATE")
        try:
            yield db
        except BaseException:
            db.rollback()
            raise
        db.execute("COMMIT")

    # --- runs -------------------------------------------------------------------------------------------------

    def create(self, run_id: str, name: str, **values: Any) -> RunInfo:
        """Enter a new run; its folder is ``<lab folder>/<id>``. Raises :class:`RunError` if the id is taken."""
        now, run_id = time.time(), guard.run_id(run_id)
        with self._write() as db:
            number = db.execute("SELECT coalesce(max(number), 0) + 1 FROM runs").fetchone()[0]
            info = json.dumps({"name": name, "status": "created", **values})
            try:
                db.execute("INSERT INTO runs VALUES (?, ?, ?, ?)", (run_id, number, now, info))
            except sqlite3.IntegrityError:
                raise RunError(f"there is a run {run_id!r} already in {self.folder.name}.") from None
        with writable("lab folder", self.folder, "LABKIT_FOLDER"):
            (self.folder / run_id).mkdir(exist_ok=True)
        return self.run(run_id)

    def run(self, run_id: str) -> RunInfo:
        """The run with this id, or the newest with this name; raises :class:`RunError` if there is none."""
        row = self._db().execute("SELECT id, created, info FROM runs WHERE id = ?", (run_id,)).fetchone()
        if row:
            return self._info(*row)
        known = self.runs()
        for info in known:
            if info.name == run_id:
                return info
        hint = nearest(run_id, [name for info in known for name in (info.id, info.name)])
        raise RunError(f"no run {run_id!r} in {self.folder.name}.{hint} `labkit runs` lists them.")

    def runs(self) -> list[RunInfo]:
        """All runs, newest first."""
        rows = self._db().execute("SELECT id, created, info FROM runs ORDER BY number DESC").fetchall()
        return [self._info(*row) for row in rows]

    def update(self, run_id: str, **values: Any) -> None:
        """Change fields of :class:`RunInfo`; in ``summary`` the given keys are merged with those there."""
        with self._write() as db:
            self._change(db, run_id, values)

    def _change(self, db: sqlite3.Connection, run_id: str, values: dict[str, Any]) -> None:
        row = db.execute("SELECT info FROM runs WHERE id = ?", (run_id,)).fetchone()
        if row is None:
            raise RunError(f"no run {run_id!r} in {self.folder.name}.")
        info = json.loads(row[0])
        if "summary" in values:
            values = {**values, "summary": {**info.get("summary", {}), **values["summary"]}}
        db.execute("UPDATE runs SET info = ? WHERE id = ?", (json.dumps({**info, **values}), run_id))

    def _info(self, run_id: str, created: float, text: str) -> RunInfo:
        known = {item.name for item in fields(RunInfo)}
        values = {key: value for key, value in json.loads(text).items() if key in known}
        info = RunInfo(**{**values, "id": run_id, "folder": self.folder / run_id, "created": created})
        if not info.over and _dead(info):
            again = f"lk.open_run({run_id!r}).resume(), or `labkit train --resume {run_id}`"
            cure = f"Resume it from its last checkpoint: {again}."
            object.__setattr__(info, "status", "lost")
            object.__setattr__(info, "cure", cure)
        return info

    # --- records ----------------------------------------------------------------------------------------------

    def write(self, run_id: str, records: Iterable[tuple[int, str, str, float]], **values: Any) -> None:
        """Append records ``(step, split, name, value)`` and update fields of the run."""
        now = time.time()
        with self._write() as db:
            db.executemany(
                "INSERT INTO records (run, step, split, name, value, time) VALUES (?, ?, ?, ?, ?, ?)",
                ((run_id, step, split, name, float(value), now) for step, split, name, value in records),
            )
            self._change(db, run_id, {"heartbeat": now, **values})

    def records(self, run_id: str, after: int = 0, split: str | None = None) -> list[Record]:
        """The records of a run with ``seq > after``, of one split or of all, in the order they were written."""
        query = "SELECT seq, step, split, name, value, time FROM records WHERE run = ? AND seq > ?"
        query += " ORDER BY seq" if split is None else " AND split = ? ORDER BY seq"
        rows = self._db().execute(query, (run_id, after) if split is None else (run_id, after, split))
        return [Record(*row[:4], float("nan") if row[4] is None else row[4], row[5]) for row in rows]

    def forget_after(self, run_id: str, step: int) -> None:
        """Drop the records of later steps: a run that resumes from ``step`` will write them again."""
        with self._write() as db:
            db.execute("DELETE FROM records WHERE run = ? AND step > ?", (run_id, step))

    # --- commands ---------------------------------------------------------------------------------------------

    def command(self, run_id: str, name: str, value: Any = None) -> int:
        """Leave a command for a run; returns its number. The run takes it before its next step."""
        with self._write() as db:
            cursor = db.execute(
                "INSERT INTO commands (run, name, value, time) VALUES (?, ?, ?, ?)",
                (run_id, name, json.dumps(value), time.time()),
            )
        return int(cursor.lastrowid or 0)

    def take(self, run_id: str, step: int, but: str = "") -> list[Command]:
        """The commands that wait for a run, oldest first, marked as taken at ``step``; those named ``but`` wait on."""
        query = "SELECT seq, name, value FROM commands WHERE run = ? AND name != ? AND taken IS NULL ORDER BY seq"
        found = self._db().execute(query, (run_id, but)).fetchall()
        if found:
            with self._write() as db:
                db.executemany("UPDATE commands SET taken = ? WHERE seq = ?", [(step, row[0]) for row in found])
        return [Command(seq, name, json.loads(value)) for seq, name, value in found]

    def settings(self, run_id: str, step: int = 0) -> list[tuple[int, Any]]:
        """Step and value of every ``set`` that was taken at ``step`` or later, in the order they were given; which of
        them count, :class:`labkit.train.overrides.Overrides` says."""
        query = "SELECT taken, value FROM commands WHERE run = ? AND name = 'set' AND taken >= ? ORDER BY seq"
        return [(taken, json.loads(value)) for taken, value in self._db().execute(query, (run_id, step))]

    def taken(self, command: int) -> int | None:
        """The step at which a command was taken; None while it waits."""
        row = self._db().execute("SELECT taken FROM commands WHERE seq = ?", (command,)).fetchone()
        return None if row is None else row[0]


def _dead(info: RunInfo) -> bool:
    """True when a run's process is gone (or, unseen from here, silent) without having said how it ended."""
    if info.pid is None:
        return False
    silent = time.time() - (info.heartbeat or info.created) > SILENCE
    return silent and not _alive(info.pid, info.environment.get("process_started"))


def _alive(pid: int, started: float | None) -> bool:
    import psutil

    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and (
            started is None or abs(process.create_time() - started) < 2
        )
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True
