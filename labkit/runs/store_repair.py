"""Repair of a damaged run store from the run folders.

A damaged database gets another name and stays; what of it still has the right checksums is taken over.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from labkit.i18n import _, joined, ngettext
from labkit.runs import database, run_record
from labkit.runs.database import SEALED, Connection, seal_of

#: The ids of runs that are texts, as all were written.
_IDS = "SELECT id FROM runs NOT INDEXED WHERE typeof(id) = 'text'"


class Salvage(NamedTuple):
    """The rows of a database whose checksums are right, by run."""

    runs: dict[str, tuple[str, int, float, dict[str, Any], int]]
    commands: dict[str, list[dict[str, Any]]]
    records: dict[str, dict[int, list[Any]]]


def missing(db: Connection, folder: Path) -> list[Path]:
    """The folders of runs that the database does not know."""
    known = {row[0] for row in db.execute("SELECT id FROM runs NOT INDEXED")}
    with os.scandir(folder) as entries:
        found = [Path(entry.path) for entry in entries if entry.name not in known and entry.is_dir()]
    return sorted(path for path in found if run_record.is_run(path))


def unreadable(db: Connection, folder: Path) -> dict[str, str]:
    """The runs whose folders do not say enough for the database to know them, each with the reason."""
    found: dict[str, str] = {}
    for path in missing(db, folder):
        held = run_record.read(path)
        if held.row is None:
            found[path.name] = (
                joined(", ", held.notes) if held.notes else _("its experiment.toml cannot be read")
            )
    return found


def outdated(db: Connection, folder: Path) -> list[Path]:
    """The folders of runs whose rows are older than the copies in the folders: the last changes of the
    database were lost, as with its write-ahead log. They are all looked at where it is so of the copy that
    was written last."""
    query = (
        "SELECT id, revision FROM runs NOT INDEXED WHERE typeof(id) = 'text' AND typeof(revision) = 'integer'"
    )
    known = dict(db.execute(query).fetchall())
    written: dict[str, int] = {}
    for run in known:
        with contextlib.suppress(OSError, ValueError):
            written[run] = os.stat(folder / run / run_record.RUN).st_mtime_ns
    late: list[Path] = []
    for run in sorted(written, key=written.__getitem__, reverse=True):
        if run_record.revision(folder / run) > known[run]:
            late.append(folder / run)
        elif not late:
            break
    return late


def renew(db: Connection, folders: Iterable[Path]) -> list[str]:
    """Bring the rows of runs up to the copies in their folders where those are newer; returns what happened."""
    notes: list[str] = []
    for folder in folders:
        with _transaction(db):  # a copy is written before the change is committed
            held, now = run_record.read(folder), _revision(db, folder.name)
            if held.row is None or (now is not None and held.row[4] <= now):
                continue
            _enter(db, held.row, held.commands, held.records, held.whole)
        notes.append(
            _("run {run!r}: the last changes of the run store were lost and were restored from its folder.",
              run=folder.name)
        )  # fmt: skip
    return notes


def adopt(
    db: Connection, folders: Iterable[Path], salvage: Salvage | None = None
) -> tuple[list[str], list[str]]:
    """Enter the runs of folders, from what each holds; returns their ids, and what of them was lost."""
    salvage = salvage or Salvage({}, {}, {})
    kept = {folder.name: (folder, run_record.read(folder)) for folder in folders}
    kept |= {run: (None, run_record.Kept(None, [], {}, [])) for run in salvage.runs if run not in kept}
    entered, notes = [], []
    sure = sorted(kept.items(), key=lambda item: item[1][1].row is None or not item[1][1].row[1])
    for run, (folder, held) in sure:
        rows = [row for row in (held.row, salvage.runs.get(run)) if row is not None]
        if not rows:
            continue  # it is listed as unreadable
        row = max(rows, key=lambda row: row[4])
        commands = salvage.commands.get(run, []) if row is not held.row else held.commands
        old = salvage.records.get(run, {})
        if row is held.row:  # what the newer copy lacks was forgotten
            old = {seq: record for seq, record in old.items() if seq > held.whole}
        with _transaction(db):
            if db.execute("SELECT 1 FROM runs WHERE id = ?", (run,)).fetchone():
                continue  # another process was first
            moved = _enter(db, row, commands, {**held.records, **old})
        if moved and folder is not None:  # the numbers of its records were taken
            run_record.forget(folder)
        entered.append(run)
        notes += [_("run {run!r}: {what}.", run=run, what=joined(", ", held.notes))] if held.notes else []
    return entered, notes


def bring_over(old: Connection, db: Connection) -> list[str]:
    """Bring a database up to what a connection to the one before it still sees; returns the runs that were
    changed.

    The files of ``old`` have lost their names, so that only those who have them open can read what was
    written last.
    """
    found = Salvage({}, {}, {})
    with contextlib.suppress(database.Damaged, database.StoreError):
        for table in ("runs", "commands"):
            for *values, seal in _sound_rows(old, table):
                _add(found, table, values, seal)
    changed = []
    for run, row in found.runs.items():
        now = _revision(db, run)
        if now is None:
            continue  # its folder is gone
        newer = row[4] > now
        if newer:
            with contextlib.suppress(database.Damaged, database.StoreError):
                for *values, seal in _sound_rows(old, "records", "WHERE run = ?", run):
                    _add(found, "records", values, seal)
        known = {seq for (seq,) in db.execute("SELECT seq FROM commands WHERE run = ?", (run,))}
        commands = [command for command in found.commands.get(run, []) if command["seq"] not in known]
        if newer or commands:
            with _transaction(db):
                there = db.execute(
                    "SELECT number, created, info, revision FROM runs WHERE id = ?", (run,)
                ).fetchone()
                kept = row if newer else (run, *there[:2], json.loads(there[2]), there[3])
                _enter(db, kept, commands, found.records.get(run, {}))
            changed.append(run)
    return changed


def _revision(db: Connection, run: str) -> int | None:
    row = db.execute(
        "SELECT revision FROM runs WHERE id = ? AND typeof(revision) = 'integer'", (run,)
    ).fetchone()
    return None if row is None else row[0]


def _enter(
    db: Connection,
    row: Sequence[Any],
    commands: list[dict[str, Any]],
    records: dict[int, list[Any]],
    whole: int = 0,
) -> bool:
    """Insert a run with its commands and records; returns whether the records got other numbers. Records that
    are there are forgotten where ``records`` lack them, up to the number ``whole``."""
    run, number, created, info, revision = row
    if not number:
        query = "SELECT coalesce(max(number), 0) FROM runs WHERE created <= ?"
        number = db.execute(query, (created,)).fetchone()[0]
    put_run(db, (run, number, created, info, revision))
    for command in commands:
        there = db.execute("SELECT run FROM commands WHERE seq = ?", (command.get("seq"),)).fetchone()
        if there is None or there[0] != run:
            put_command(db, command, anew=there is not None)
    has = {row[0] for row in db.execute("SELECT seq FROM records NOT INDEXED WHERE run = ?", (run,))}
    gone = [(seq,) for seq in has if seq <= whole and seq not in records]
    db.executemany("DELETE FROM records WHERE seq = ?", gone)
    rows = [sound for seq in sorted(set(records) - has) if (sound := _sound(run, records[seq]))]
    span = (rows[0][0], rows[-1][0]) if rows else (0, 0)
    others = {row[0] for row in db.execute("SELECT seq FROM records WHERE seq BETWEEN ? AND ?", span)}
    moved = any(row[0] in others for row in rows)
    if moved:
        last = db.execute(
            "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'records'"
        ).fetchone()[0]
        rows = [(last + 1 + place, *row[1:]) for place, row in enumerate(rows)]
    put_records(db, run, rows)
    database.count(db, run)
    return moved


def _sound(run: str, row: list[Any]) -> tuple[Any, ...] | None:
    """Sequence number, step, split, name, value and time of a record whose checksum is right."""
    try:
        seq, step, split, name, value, when, seal = row
        return (
            (seq, step, split, name, value, when)
            if seal_of("records", (seq, run, *row[1:6])) == seal
            else None
        )
    except (ValueError, TypeError):
        return None


def put_run(db: Connection, row: Sequence[Any]) -> None:
    """Insert or replace the row of a run."""
    run, number, created, info, revision = row
    values = (run, number, float(created), json.dumps(info), revision)
    db.execute("INSERT OR REPLACE INTO runs (id, number, created, info, revision, seal) VALUES (?, ?, ?, ?, ?, ?)",
               (*values, seal_of("runs", values)))  # fmt: skip


def put_records(db: Connection, run: str, rows: Iterable[tuple[Any, ...]]) -> None:
    """Insert or replace records of a run: sequence number, step, split, name, value, time."""
    db.executemany(
        "INSERT OR REPLACE INTO records (seq, run, step, split, name, value, time, seal) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        ((row[0], run, *row[1:], seal_of("records", (row[0], run, *row[1:]))) for row in rows),
    )


def put_command(db: Connection, command: dict[str, Any], anew: bool = False) -> None:
    """Insert a command; ``anew`` with its own number."""
    columns = SEALED["commands"][1:] if anew else SEALED["commands"]
    values = tuple(command.get(column) for column in columns)
    places = ", ".join("?" * len(columns))
    cursor = db.execute(f"INSERT INTO commands ({', '.join(columns)}) VALUES ({places})", values)
    seal_command(db, cursor.lastrowid)


def seal_command(db: Connection, seq: int | None) -> None:
    """Renew the checksum of a command."""
    row = db.execute(f"SELECT {', '.join(SEALED['commands'])} FROM commands WHERE seq = ?", (seq,)).fetchone()
    db.execute("UPDATE commands SET seal = ? WHERE seq = ?", (seal_of("commands", row), seq))


@contextlib.contextmanager
def _transaction(db: Connection) -> Any:
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.rollback()
        raise


# --- the whole database -----------------------------------------------------------------------------------------------


def replace(path: Path, why: str) -> list[str]:
    """Give a damaged database another name and make it again from the folders of the runs; returns what
    happened.

    Whoever calls this holds the lock of the store, and has abandoned connections to the old database.
    """
    aside = set_aside(path)
    salvage = salvaged(aside)
    db = database.connect(path)
    try:
        entered, lost = adopt(db, missing(db, path.parent), salvage)
    finally:
        db.close()
    told = ngettext(
        "the run store was damaged ({why}); it was made again from the run folders, with one run. The damaged file "
        "is now {file!r}.",
        "the run store was damaged ({why}); it was made again from the run folders, with {n} runs. The damaged file "
        "is now {file!r}.",
    )
    return [told.fill(why=why, n=len(entered), file=aside.name), *lost]


def set_aside(path: Path) -> Path:
    """Give a database, or the write-ahead log of one that was removed, another name; returns that.

    Whoever calls this holds the lock of the store.
    """
    aside = path.with_name(f"{path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}")
    while any(Path(f"{aside}{suffix}").exists() for suffix in ("-wal", "")):
        aside = aside.with_name(f"{aside.name}-2")
    for suffix in ("-wal", "-shm", ""):  # the log first: SQLite would apply it to the new database
        with contextlib.suppress(FileNotFoundError):
            os.rename(f"{path}{suffix}", f"{aside}{suffix}")
    return aside


def is_removed(path: Path) -> bool:
    """Whether a database was removed and its write-ahead log was not: SQLite could not make another one
    there."""
    return not path.exists() and any(Path(f"{path}{suffix}").exists() for suffix in ("-wal", "-shm"))


def salvaged(path: Path) -> Salvage:
    """What a damaged database still holds with the right checksums."""
    found = Salvage({}, {}, {})
    try:
        db = database.opened(path)
    except database.StoreError:
        return found
    for table in SEALED:
        with contextlib.suppress(database.Damaged, database.StoreError):  # what comes before is kept
            for *values, seal in _sound_rows(db, table):
                _add(found, table, values, seal)
    with contextlib.suppress(sqlite3.Error):
        db.close()
    return found


def _sound_rows(db: Connection, table: str, where: str = "NOT INDEXED", *values: object) -> Iterator[Any]:
    """The rows of a table whose checksums are right, with these."""
    for row in db.execute(f"SELECT {', '.join(SEALED[table])}, seal FROM {table} {where}", values):
        if row[-1] is not None and seal_of(table, row[:-1]) == row[-1]:
            yield row


def _add(found: Salvage, table: str, values: list[Any], seal: object) -> None:
    if table == "runs":
        run, number, created, text, revision = values
        found.runs[run] = (run, number, created, json.loads(text), revision)
    elif table == "commands":
        found.commands.setdefault(values[1], []).append(dict(zip(SEALED["commands"], values, strict=True)))
    else:
        seq, run, *rest = values
        found.records.setdefault(run, {})[seq] = [seq, *rest, seal]


# --- single rows ------------------------------------------------------------------------------------------------------


def mend(path: Path, run: str | None) -> list[str]:
    """Restore rows whose checksums are wrong from the run folders; returns what happened, a sentence each.

    Args:
        path: the database, whose structure is sound.
        run: the run whose records are looked at; None for all. The rows of runs and commands are always
            looked at.
    """
    db = database.opened(path)
    try:
        with _transaction(db):
            notes = _mend_runs(db, path.parent) + _mend_commands(db, path.parent)
            runs = [run] if run is not None else [row[0] for row in db.execute(_IDS)]
            for each in runs:
                notes += _missing_commands(db, path.parent / each, each)
                notes += _mend_records(db, path.parent / each, each)
    finally:
        db.close()
    return notes


def _mend_runs(db: Connection, folder: Path) -> list[str]:
    notes: list[str] = []
    for *values, seal in db.execute(
        f"SELECT {', '.join(SEALED['runs'])}, seal FROM runs NOT INDEXED"
    ).fetchall():
        if seal_of("runs", values) == seal:
            continue
        run = str(values[0])
        held = run_record.read(folder / run) if "/" not in run and (folder / run).is_dir() else None
        if held is not None and held.row is not None:
            db.execute("DELETE FROM runs WHERE id = ?", (values[0],))
            put_run(db, held.row)
            notes.append(
                _(
                    "run {run!r}: its row in the run store was damaged and was restored from its folder.",
                    run=run,
                )
            )
    return notes


def _mend_commands(db: Connection, folder: Path) -> list[str]:
    notes: list[str] = []
    columns = SEALED["commands"]
    for *values, seal in db.execute(
        f"SELECT {', '.join(columns)}, seal FROM commands NOT INDEXED"
    ).fetchall():
        if seal_of("commands", values) == seal:
            continue
        seq, run = values[0], str(values[1])
        held = run_record.read(folder / run).commands if "/" not in run and (folder / run).is_dir() else []
        good = next((command for command in held if command.get("seq") == seq), None)
        db.execute("DELETE FROM commands WHERE seq = ?", (seq,))
        if good is not None:
            put_command(db, good)
        if good is not None:
            note = _(
                "run {run!r}: a command in the run store was damaged and was restored from its folder.",
                run=run,
            )
        else:
            note = _(
                "run {run!r}: a command in the run store was damaged and could not be restored.", run=run
            )
        notes.append(note)
    return notes


def _missing_commands(db: Connection, folder: Path, run: str) -> list[str]:
    """Restore the commands of a run that its folder has and the database has not."""
    there = {seq for (seq,) in db.execute("SELECT seq FROM commands WHERE run = ?", (run,))}
    gone = [command for command in run_record.commands(folder) if command.get("seq") not in there]
    for command in gone:
        taken = db.execute("SELECT 1 FROM commands WHERE seq = ?", (command.get("seq"),)).fetchone()
        put_command(db, command, anew=taken is not None)
    told = ngettext(
        "run {run!r}: a command was missing in the run store and was restored from its folder.",
        "run {run!r}: {n} commands were missing in the run store and were restored from its folder.",
    )
    return [told.fill(run=run, n=len(gone))] if gone else []


def _mend_records(db: Connection, folder: Path, run: str) -> list[str]:
    query = "SELECT seq, step, split, name, value, time, seal FROM records NOT INDEXED WHERE run = ?"
    rows = {row[0]: list(row) for row in db.execute(query, (run,))}
    sound = {seq: found for seq, row in rows.items() if (found := _sound(run, row))}
    held = run_record.read(folder).records if folder.is_dir() else {}
    restored = {seq: found for seq, row in held.items() if seq not in sound and (found := _sound(run, row))}
    counted = db.execute(
        "SELECT coalesce(sum(count), 0), coalesce(sum(total), 0) FROM tallies WHERE run = ?", (run,)
    ).fetchone()
    before = (sum(1 for _ in sound), sum(row[6] for seq, row in rows.items() if seq in sound))
    bad = [(seq,) for seq in rows if seq not in sound]
    if not bad and not restored and counted == before:
        return []
    db.executemany("DELETE FROM records WHERE seq = ?", bad)
    put_records(db, run, restored.values())
    database.count(db, run)
    db.execute("REINDEX records")
    lost = max(counted[0] - len(sound) - len(restored), len([1 for (seq,) in bad if seq not in restored]), 0)
    notes: list[str] = []
    if restored:
        told = ngettext(
            "run {run!r}: a record in the run store was damaged and was restored from its folder.",
            "run {run!r}: {n} records in the run store were damaged and were restored from its folder.",
        )
        notes.append(told.fill(run=run, n=len(restored)))
    if lost:
        told = ngettext(
            "run {run!r}: a record was damaged and could not be restored.",
            "run {run!r}: {n} records were damaged and could not be restored.",
        )
        notes.append(told.fill(run=run, n=lost))
    return notes or [_("run {run!r}: the count of its records was damaged and was set right.", run=run)]
