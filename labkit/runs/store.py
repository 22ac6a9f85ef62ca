"""Run store: one SQLite database per lab folder, shared by runs and their observers.

 The loop writes records and reads commands; panels, the command line and
:class:`~labkit.runs.handle.RunHandle` read records and write commands. Several processes may do so at once
(WAL mode). Every method is one short transaction.

 Every row has a checksum (:mod:`labkit.runs.database`), and every run folder a copy of the rows of its run
(:mod:`labkit.runs.run_record`). What is damaged is noticed and restored from there
(:mod:`labkit.runs.store_repair`).
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import struct
import time
import tomllib
import zlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple

from labkit.core import file_lock, safety
from labkit.core.cache import lab_folder, writable
from labkit.core.errors import ConfigError, RunError, nearest
from labkit.i18n import _, joined, plain, revive
from labkit.runs import database, liveness, run_record, store_repair
from labkit.runs.database import SEALED, Damaged, StoreError, seal_of
from labkit.runs.liveness import SILENCE
from labkit.runs.store_connection import Connected, guarded
from labkit.train.logger import Record

__all__ = ["OVER", "SILENCE", "STATUSES", "Command", "Damaged", "RunInfo", "Store", "StoreError"]

#: What a run can be doing. The last four are final, unless the run is resumed.
STATUSES = (
    "created", "preparing", "compiling", "running", "evaluating", "saving", "paused",
    "finished", "stopped", "failed", "lost",
)  # fmt: skip
OVER = frozenset(STATUSES[-4:])
#: Folder below the lab folder in which deleted runs end.
DELETED = ".deleted"
#: Seconds for which a deleted run can be restored.
UNDO = 86_400
#: Bytes free on a disk below which it counts as full.
FULL = 1 << 20


class Command(NamedTuple):
    """What somebody asked a run to do: pause, resume, stop, save, or set (value ``{"learning_rate": x}``,
    ``{"keep": "last"}``)."""

    seq: int
    name: str
    value: Any


@dataclass(frozen=True)
class RunInfo:
    """Everything the store knows about a run besides its records. Times are seconds since 1970.

    ``process`` identifies the process that works on it, ``watcher`` the one that supervises that, as
    :func:`labkit.runs.liveness.process_record` describes them.
    """

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
    process: dict[str, Any] = field(default_factory=dict)
    watcher: dict[str, Any] = field(default_factory=dict)
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

    def settings(self, *sections: str) -> dict[str, Any]:
        """A section of the experiment as it is written, or all of it; empty where it cannot be read."""
        try:
            found: Any = tomllib.loads(self.experiment)
        except (tomllib.TOMLDecodeError, RecursionError):
            return {}
        for section in sections:
            found = found.get(section)
            if not isinstance(found, dict):
                return {}
        return found


#: Field of :class:`RunInfo` → the types that its value may have; the others are text.
_KINDS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("started", "ended", "heartbeat"), (int, float, type(None))),
    **dict.fromkeys(("step", "steps", "epoch", "epochs", "compilations"), (int,)),
    **dict.fromkeys(("environment", "summary", "process", "watcher"), (dict,)),
    "pid": (int, type(None)),
    "compile_seconds": (int, float),
}


class Store(Connected):
    """The database ``runs.sqlite`` of a lab folder.

    Args:
        folder: the lab folder; by default ``LABKIT_FOLDER``, else ``.labkit`` in the working directory.
            It is made on first use, with a folder per run below it.

    Attributes:
        trouble: why a run of this process cannot write to it now; empty when it can.
        waited: seconds for which it has waited for room since it last could.
        unwritten: names of commands to a run of this process that could not be written.

    Raises:
        FolderError: the folder cannot be made or written.
        StoreError: the database cannot be used; any method may raise it.
        RunError: the database is damaged.
    """

    def __init__(self, folder: str | Path | None = None):
        if not isinstance(folder, str | os.PathLike | None):
            raise ConfigError(
                _("the lab folder is a path, such as '.labkit', not a {type}. Rows are given to lk.fit(rows, model) or "
                  "lk.panels.Data(rows)."),
                type=type(folder).__name__,
            )  # fmt: skip
        self.folder = lab_folder(folder)
        with writable(_("lab folder"), self.folder, "LABKIT_FOLDER"):
            self.folder.mkdir(parents=True, exist_ok=True)
        super().__init__(self.folder / "runs.sqlite")
        self.trouble, self.waited = "", 0.0
        self.unwritten: list[str] = []
        self._copied: dict[str, int] = {}  # run → sequence number up to which its folder has its records
        self._open()

    def __repr__(self) -> str:
        return f"<run store: {len(self.runs())} runs>"

    @guarded
    def _open(self) -> None:
        self.connection()

    def _renewed(self, run_id: str) -> None:
        self._copied.pop(run_id, None)

    # --- runs -------------------------------------------------------------------------------------------------

    @guarded
    def create(self, run_id: str, name: str, content: Path | None = None, **values: object) -> RunInfo:
        """Enter a new run; its folder is ``<lab folder>/<id>``, made of the folder ``content`` where that is
        given.

        Raises:
            RunError: the id is taken.
        """
        now, run_id = time.time(), safety.run_id(run_id)
        with self.transaction() as db:
            if db.execute("SELECT 1 FROM runs WHERE id = ?", (run_id,)).fetchone():
                raise RunError(
                    _("run {run_id!r} already exists in {folder}."), run_id=run_id, folder=self.folder.name
                )
            number = db.execute("SELECT coalesce(max(number), 0) + 1 FROM runs").fetchone()[0]
            with writable(_("lab folder"), self.folder, "LABKIT_FOLDER"):
                if content is None:
                    (self.folder / run_id).mkdir(exist_ok=True)
                else:  # before its record is copied there: a folder with a record is that of a run
                    content.rename(self.folder / run_id)
            store_repair.put_run(
                db, (run_id, number, now, plain({"name": name, "status": "created", **values}), 0)
            )
            self._copy(db, run_id)
        return self.run(run_id)

    @guarded
    def run(self, run_id: str) -> RunInfo:
        """The run with this id, or the newest with this name; raises :class:`RunError` if there is none, or
        if its row is damaged and nothing can restore it."""
        query = f"SELECT {', '.join(SEALED['runs'])}, seal FROM runs WHERE id = ?"
        row = self.connection().execute(query, (run_id,)).fetchone()
        if row and (info := self._read(row)) is not None:
            return info
        if reason := self.unreadable().get(run_id):
            raise RunError(
                _("run {run_id!r} of {folder} cannot be read: {reason}."),
                run_id=run_id, folder=self.folder.name, reason=reason,
            )  # fmt: skip
        known = self.runs()
        for info in known:
            if run_id in (info.id, info.name):
                return info
        hint = nearest(run_id, [name for info in known for name in (info.id, info.name)])
        raise RunError(
            _("no run {run_id!r} in {folder}.{hint} List them with `labkit runs`."),
            run_id=run_id, folder=self.folder.name, hint=hint,
        )  # fmt: skip

    @guarded
    def delete(self, run_id: str, forever: bool = True) -> None:
        """Delete a run: its rows here and its folder; unless ``forever``, :meth:`restore` brings it back for a
        day.

        Raises:
            RunError: it is being worked on, or there is none.
        """
        info = self.run(run_id)
        with writable(_("lab folder"), self.folder, "LABKIT_FOLDER"):
            busy = not info.over and info.status != "created"
            if busy or (info.folder.is_dir() and not file_lock.is_free(info.folder / "lock")):
                raise RunError(_("run {run!r} is {state}; stop it before you delete it."),
                               run=info.name, state=info.status)  # fmt: skip
            aside = self.folder / DELETED / info.id
            with self.transaction() as db:
                self._copy(db, info.id)
                for table, column in (
                    ("runs", "id"),
                    ("records", "run"),
                    ("tallies", "run"),
                    ("commands", "run"),
                ):
                    db.execute(f"DELETE FROM {table} WHERE {column} = ?", (info.id,))
                if info.folder.is_dir():  # by its name alone the store would enter it again
                    aside.parent.mkdir(exist_ok=True)
                    info.folder.rename(aside)
            if aside.is_dir():
                os.utime(aside)
            self._empty_trash(info.id if forever else "")
        self._renewed(info.id)

    def _empty_trash(self, run_id: str) -> None:
        """Remove the folders of a deleted run, and of those that were deleted long ago."""
        trash = self.folder / DELETED
        for folder in list(trash.glob("*")):
            with contextlib.suppress(OSError):
                if folder.name == run_id or time.time() - folder.stat().st_mtime > UNDO:
                    shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):  # others are there
            trash.rmdir()

    @guarded
    def restore(self, run_id: str) -> RunInfo:
        """Bring back a deleted run. Raises :class:`RunError` where it is gone for good."""
        place, aside = self.folder / safety.run_id(run_id), self.folder / DELETED / run_id
        if not aside.is_dir() or place.exists():
            raise RunError(_("the deleted run {run_id!r} cannot be restored any more."), run_id=run_id)
        with writable(_("lab folder"), self.folder, "LABKIT_FOLDER"):
            db = self.connection()
            aside.rename(place)
            if not db.execute("SELECT 1 FROM runs WHERE id = ?", (run_id,)).fetchone():
                store_repair.adopt(db, [place])
        self._empty_trash("")
        return self.run(run_id)

    def runs(self) -> list[RunInfo]:
        """All runs that can be read, newest first."""
        return self._all()[0]

    @guarded
    def unreadable(self) -> dict[str, str]:
        """The runs that cannot be read, by the names of their folders, each with the reason."""
        hidden = dict.fromkeys(self._all()[1], _("its row in the run store is damaged"))
        return hidden | store_repair.unreadable(self.connection(), self.folder)

    def _all(self) -> tuple[list[RunInfo], list[str]]:
        """The runs that can be read, and the ids of those that cannot, even after a repair."""
        found, hidden = self._listed()
        if hidden:
            self._repair(Damaged(self.path, "checksums are wrong", hidden[0]))
            self._connect()  # which enters the folders of runs whose rows have lost their ids
            found, hidden = self._listed()
        return found, hidden

    @guarded
    def _listed(self) -> tuple[list[RunInfo], list[str]]:
        query = f"SELECT {', '.join(SEALED['runs'])}, seal FROM runs ORDER BY number DESC"
        rows = self.connection().execute(query).fetchall()
        if len({row[0] for row in rows}) < len(rows):
            raise Damaged(self.path, "a run is there twice")
        read = [(str(row[0]), self._read(row)) for row in rows]
        return [info for _, info in read if info is not None], [run for run, info in read if info is None]

    @guarded
    def update(self, run_id: str, **values: object) -> None:
        """Change fields of :class:`RunInfo`; in ``summary`` the given keys are merged with those there."""
        with self.transaction() as db:
            self._change(db, run_id, values)

    @guarded
    def claim(self, run_id: str, statuses: Collection[str], **values: object) -> RunInfo:
        """Change fields of a run that is in one of ``statuses``, and on which nobody works; returns it as it
        was.

        Raises:
            RunError: it is being worked on, or has another status.
        """
        with self.transaction() as db:
            info = self._read(self._row(db, run_id))
            if info is None:
                raise Damaged(self.path, "its row has a wrong checksum", run_id)
            if info.status not in statuses:
                state = info.status + ("" if info.over else liveness.described(info))
                raise RunError(_("run {run!r} is {state}; it cannot be started."), run=info.name, state=state)
            with writable(_("lab folder"), self.folder, "LABKIT_FOLDER"):
                free = file_lock.is_free(info.folder / "lock")
            if not free:
                raise RunError(_("run {run!r} is locked by a running process."), run=info.name)
            self._change(db, run_id, values)
        return info

    def _row(self, db: database.Connection, run_id: str) -> tuple[Any, ...]:
        row = db.execute(
            f"SELECT {', '.join(SEALED['runs'])}, seal FROM runs WHERE id = ?", (run_id,)
        ).fetchone()
        if row is None:
            raise RunError(_("no run {run_id!r} in {folder}."), run_id=run_id, folder=self.folder.name)
        return row

    def _change(self, db: database.Connection, run_id: str, values: dict[str, Any]) -> None:
        *row, seal = self._row(db, run_id)
        if seal_of("runs", row) != seal:
            raise Damaged(self.path, "its row has a wrong checksum", run_id)
        before, values = json.loads(row[3]), plain(values)
        if "summary" in values:
            values = {**values, "summary": {**before.get("summary", {}), **values["summary"]}}
        after = {**before, **values}
        store_repair.put_run(db, (*row[:3], after, row[4] + 1))
        if run_record.durable(before, after):
            self._copy(db, run_id)

    def _copy(self, db: database.Connection, run_id: str, anew: bool = False) -> None:
        """Bring the copy in the run folder up to date; where that fails, the next change makes up for it."""
        folder = self.folder / run_id
        after = 0
        if not anew and (folder / run_record.RECORDS).exists():
            after = self._copied.get(run_id) or run_record.copied(folder)
        try:
            which = "FROM records WHERE run = ? AND seq > ? ORDER BY seq"
            if db.execute(f"SELECT seq {which} LIMIT 1", (run_id, after)).fetchone():
                rows = db.execute(
                    f"SELECT seq, step, split, name, value, time, seal {which}", (run_id, after)
                )
                after = run_record.append(folder, rows, anew=after == 0)
            elif anew:
                run_record.forget(folder)
            *row, _ = self._row(db, run_id)
            columns = SEALED["commands"]
            query = f"SELECT {', '.join(columns)} FROM commands WHERE run = ? ORDER BY seq"
            commands = [dict(zip(columns, command, strict=True)) for command in db.execute(query, (run_id,))]
            run_record.write(folder, (row[0], row[1], row[2], json.loads(row[3]), row[4]), commands, after)
            self._copied[run_id] = after
        except OSError:
            self._copied.pop(run_id, None)
            if anew:
                run_record.forget(folder)

    def _read(self, row: tuple[Any, ...]) -> RunInfo | None:
        """The RunInfo of a row; None for a damaged row."""
        *values, seal = row
        if seal_of("runs", values) != seal:
            return None
        try:
            found = revive(json.loads(values[3]))
            known = {item.name: found[item.name] for item in fields(RunInfo) if item.name in found}
        except (ValueError, TypeError, RecursionError):
            return None
        if any(not isinstance(value, _KINDS.get(name, (str,))) for name, value in known.items()):
            return None
        run_id, created = values[0], values[2]
        info = RunInfo(**{**known, "id": run_id, "folder": self.folder / run_id, "created": created})
        if info.status not in STATUSES:
            return None
        if not info.over and info.status != "created" and liveness.is_dead(info, self.folder):
            self._lost(info)
        elif info.status == "lost" and not info.cure:  # restored from its experiment alone
            object.__setattr__(info, "cure", resume_hint(run_id))
        return info

    def _lost(self, info: RunInfo) -> None:
        """Give a run whose process is gone the status "lost", and say how it goes on."""
        cure = make_room(info.id) if _is_full(self.folder) else resume_hint(info.id)
        thread = liveness.THREADS.get((str(self.folder), info.id))
        if isinstance(thread, liveness.Worker) and info.pid == os.getpid():
            object.__setattr__(info, "error", thread.error)
            cure = thread.cure or cure
        object.__setattr__(info, "status", "lost")
        object.__setattr__(info, "cure", cure)

    # --- records ----------------------------------------------------------------------------------------------

    @guarded
    def write(self, run_id: str, records: Iterable[tuple[int, str, str, float]], **values: object) -> None:
        """Append records ``(step, split, name, value)`` and update fields of the run."""
        now = time.time()
        rows = [(step, split, name, float(value)) for step, split, name, value in records]
        series = {key: database.series_seal(run_id, *key) for key in {row[1:3] for row in rows}}
        tallies: dict[str, list[int]] = {}
        with self.transaction() as db:
            seq = db.execute(
                "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'records'"
            ).fetchone()[0]
            sealed = []
            for step, split, name, value in rows:
                seq += 1
                seal = database.record_seal(series[split, name], seq, step, value, now)
                sealed.append((seq, run_id, step, split, name, value, now, seal))
                tally = tallies.setdefault(split, [0, 0])
                tally[0] += 1
                tally[1] += seal
            db.executemany(
                "INSERT INTO records (seq, run, step, split, name, value, time, seal) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                sealed,
            )
            db.executemany(
                "INSERT INTO tallies VALUES (?, ?, ?, ?) ON CONFLICT (run, split) DO UPDATE SET "
                "count = count + excluded.count, total = total + excluded.total",
                [(run_id, split, *tally) for split, tally in tallies.items()],
            )
            self._change(db, run_id, {"heartbeat": now, **values})

    @guarded
    def records(self, run_id: str, after: int = 0, split: str | None = None) -> list[Record]:
        """The records of a run with ``seq > after``, of one split or of all, in the order they were written."""
        db = self.connection()
        query = "SELECT seq, step, split, name, value, time, seal FROM records WHERE run = ? AND seq > ?"
        query += " ORDER BY seq" if split is None else " AND split = ? ORDER BY seq"
        lenient, db.text_factory = db.text_factory, str  # fast; text that is no UTF-8 raises
        db.execute("BEGIN")  # the records and their count are those of one moment
        try:
            rows = db.execute(query, (run_id, after) if split is None else (run_id, after, split)).fetchall()
            told = dict[str, tuple[int, int]]()
            if not after:
                query = "SELECT split, count, total FROM tallies WHERE run = ?"
                told = {row[0]: row[1:] for row in db.execute(query, (run_id,))}
        finally:
            db.rollback()
            db.text_factory = lenient
        found = self._checked(run_id, rows)
        if not after:
            seen: dict[str, list[int]] = {}
            for row in rows:
                tally = seen.setdefault(row[2], [0, 0])
                tally[0] += 1
                tally[1] += row[6]
            wanted = {
                name: tuple(tally) for name, tally in told.items() if tally[0] and split in (None, name)
            }
            if {name: tuple(tally) for name, tally in seen.items()} != wanted:
                raise Damaged(self.path, "records are missing", run_id)
        return found

    def _checked(self, run_id: str, rows: list[tuple[Any, ...]]) -> list[Record]:
        """Rows of the table as records. Raises :class:`Damaged` where a checksum is wrong."""
        series: dict[tuple[str, str], int] = {}
        found, pack, crc, nan = (
            [],
            database.PACKED.pack,
            zlib.crc32,
            float("nan"),
        )  # no call of labkit for each row
        try:
            for seq, step, split, name, value, when, seal in rows:
                if (key := (split, name)) not in series:
                    series[key] = database.series_seal(run_id, split, name)
                value = nan if value is None else value
                if crc(pack(seq, step, value, when), series[key]) != seal:
                    raise Damaged(self.path, "a record has a wrong checksum", run_id)
                found.append(Record(seq, step, split, name, value, when))
        except (struct.error, TypeError):
            raise Damaged(self.path, "a record is of another type", run_id) from None
        return found

    @guarded
    def forget_after(self, run_id: str, step: int) -> None:
        """Drop the records of later steps: a run that resumes from ``step`` will write them again."""
        with self.transaction() as db:
            if db.execute("DELETE FROM records WHERE run = ? AND step > ?", (run_id, step)).rowcount:
                database.count(db, run_id)
                self._copy(db, run_id, anew=True)

    # --- commands ---------------------------------------------------------------------------------------------

    @guarded
    def command(self, run_id: str, name: str, value: object = None) -> int:
        """Leave a command for a run; returns its number. The run takes it before its next step."""
        with self.transaction() as db:
            cursor = db.execute(
                "INSERT INTO commands (run, name, value, time) VALUES (?, ?, ?, ?)",
                (run_id, name, json.dumps(value), time.time()),
            )
            seq = int(cursor.lastrowid or 0)
            store_repair.seal_command(db, seq)
        return seq

    @guarded
    def take(self, run_id: str, step: int, but: str = "") -> list[Command]:
        """The commands that wait for a run, oldest first, marked as taken at ``step``; those named ``but``
        wait on."""
        found = self._commands("run = ? AND name != ? AND taken IS NULL", run_id, but)
        if found:
            with self.transaction() as db:
                for command in found:
                    db.execute("UPDATE commands SET taken = ? WHERE seq = ?", (step, command["seq"]))
                    store_repair.seal_command(db, command["seq"])
                self._copy(db, run_id)
        return [Command(command["seq"], command["name"], json.loads(command["value"])) for command in found]

    @guarded
    def settings(self, run_id: str, step: int = 0) -> list[tuple[int, Any]]:
        """Step and value of every ``set`` that was taken at ``step`` or later, in the order they were given;
        which of them count, :class:`labkit.train.overrides.Overrides` says."""
        there = {command["seq"] for command in self._commands("run = ?", run_id)}
        if any(command.get("seq") not in there for command in run_record.commands(self.folder / run_id)):
            raise Damaged(self.path, "commands are missing", run_id)
        found = self._commands("run = ? AND name = 'set' AND taken >= ?", run_id, step)
        return [(command["taken"], json.loads(command["value"])) for command in found]

    def _commands(self, where: str, run_id: str, *values: object) -> list[dict[str, Any]]:
        """Rows of commands, oldest first. Raises :class:`Damaged` where a checksum is wrong."""
        columns = SEALED["commands"]
        query = f"SELECT {', '.join(columns)}, seal FROM commands WHERE {where} ORDER BY seq"
        rows = self.connection().execute(query, (run_id, *values)).fetchall()
        if any(seal_of("commands", row[:-1]) != row[-1] for row in rows):
            raise Damaged(self.path, "a command has a wrong checksum", run_id)
        return [dict(zip(columns, row, strict=False)) for row in rows]

    @guarded
    def taken(self, command: int) -> int | None:
        """The step at which a command was taken; None while it waits."""
        row = self.connection().execute("SELECT taken FROM commands WHERE seq = ?", (command,)).fetchone()
        return None if row is None else row[0]


def make_room(run_id: str = "") -> str:
    """What to do where the disk of a lab folder takes nothing."""
    room = _("Free space on the disk of the lab folder, or make it writable; then resume the run.")
    return joined(" ", [room, resume_hint(run_id)]) if run_id else room


def resume_hint(run_id: str) -> str:
    """How a run is resumed, in Python and in a terminal."""
    return _(
        "Resume it from its last checkpoint: lk.open_run({run_id!r}).resume(), or `labkit train --resume {run_id}`.",
        run_id=run_id,
    )


def _is_full(folder: Path) -> bool:
    try:
        return shutil.disk_usage(folder).free < FULL
    except OSError:
        return False
