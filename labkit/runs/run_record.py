"""Record of a run in its own folder, from which the run store can be restored.

 ``run.json`` is replaced as a whole whenever something durable changes; ``records.jsonl`` is appended to at
the same moments, a line for every few hundred records with a checksum before it. Both are copies of what the
database holds: a copy that cannot be written, on a full disk, is made up for at the next change.
"""

from __future__ import annotations

import contextlib
import json
import tomllib
import zlib
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from labkit.core import safety
from labkit.core.cache import fingerprint, write_atomic
from labkit.i18n import _, ngettext

RUN, RECORDS = "run.json", "records.jsonl"
#: Records in a line; a damaged line loses no more than these.
LINE = 200
#: What changes with every flush of the loop and is not worth a copy by itself.
VOLATILE = frozenset({"heartbeat", "step", "epoch", "steps_per_second", "examples_per_second"})


class Kept(NamedTuple):
    """What a run folder holds of its run.

    Attributes:
        row: id, number, created, info (a table) and revision.
        commands: rows of the table of commands, each as column → value.
        records: sequence number → the row of the record, its checksum last.
        notes: what of it is damaged, a phrase each.
        whole: sequence number up to which ``records`` are all that the run had.
    """

    row: tuple[str, int, float, dict[str, Any], int] | None
    commands: list[dict[str, Any]]
    records: dict[int, list[Any]]
    notes: list[str]
    whole: int = 0


def durable(before: dict[str, Any], after: dict[str, Any]) -> bool:
    """Whether the fields of a run changed in more than what every flush changes."""

    def lasting(info: dict[str, Any]) -> dict[str, Any]:
        kept = {key: value for key, value in info.items() if key not in VOLATILE}
        return {**kept, "summary": {k: v for k, v in info.get("summary", {}).items() if k not in VOLATILE}}

    return lasting(before) != lasting(after)


def write(
    folder: Path,
    row: tuple[str, int, float, dict[str, Any], int],
    commands: list[dict[str, Any]],
    copied: int,
) -> None:
    """Replace what the folder holds of a run, but for its records, which were copied up to the sequence
    number ``copied``. Raises OSError."""
    content = {"run": list(row), "commands": commands, "copied": copied}
    text = json.dumps({**content, "seal": fingerprint(content)}, indent=1) + "\n"
    write_atomic(folder / RUN, text, sync=False)


def append(folder: Path, records: Iterable[Sequence[Any]], anew: bool = False) -> int:
    """Append rows of records, or write all of them ``anew``; returns the last sequence number. Raises
    OSError."""
    last = 0
    place = folder / RECORDS
    beside = place.with_name(f".{RECORDS}.new")
    with open(beside if anew else place, "wb" if anew else "ab") as file:
        if file.tell():
            file.write(b"\n")  # after a line that a full disk has cut
        rest = iter(records)
        while rows := list(islice(rest, LINE)):
            text = json.dumps([list(row) for row in rows]).encode()
            file.write(b"%08x " % zlib.crc32(text) + text + b"\n")
            last = rows[-1][0]
    if anew:
        beside.replace(place)
    return last


def copied(folder: Path) -> int:
    """The sequence number up to which the records of a run were copied; 0 where that is not known."""
    try:
        return int(_content(folder)["copied"]) if (folder / RECORDS).exists() else 0
    except (OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError):
        return 0


def forget(folder: Path) -> None:
    """Remove the copy of the records, which is out of date and cannot be written anew."""
    with contextlib.suppress(OSError):
        (folder / RECORDS).unlink(missing_ok=True)


def read(folder: Path) -> Kept:
    """What a run folder holds of its run; damaged parts are skipped and noted."""
    notes: list[str] = []
    row, commands = _run(folder, notes)
    if row is None and (row := _from_experiment(folder)) is not None:
        notes.append(_("its status, times and scores are not known any more"))
    records, damaged = _records(folder)
    if damaged:
        text = ngettext("a line of {file} cannot be read", "{n} lines of {file} cannot be read")
        notes.append(text.fill(n=damaged, file=RECORDS))
    return Kept(row, commands, records, notes, 0 if damaged else copied(folder))


def commands(folder: Path) -> list[dict[str, Any]]:
    """The commands of a run when they were last copied."""
    return _run(folder, [])[1]


def revision(folder: Path) -> int:
    """How often the row of a run had changed when it was last copied; -1 where that is not known."""
    row, _unused = _run(folder, [])
    return -1 if row is None else row[4]


def is_run(folder: Path) -> bool:
    """Whether a folder is that of a run."""
    return (folder / RUN).is_file() or (folder / "experiment.toml").is_file()


def _run(folder: Path, notes: list[str]) -> tuple[Any, list[dict[str, Any]]]:
    try:
        content = _content(folder)
        run_id, number, created, info, revision = content["run"]
        if safety.run_id(run_id) != folder.name:
            notes.append(_("{file} is that of run {run!r}", file=RUN, run=run_id))
            return None, []
        return (run_id, int(number), float(created), dict(info), int(revision)), list(content["commands"])
    except (OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        if not isinstance(error, FileNotFoundError):
            notes.append(_("{file} is damaged", file=RUN))
        return None, []


def _content(folder: Path) -> dict[str, Any]:
    content = json.loads((folder / RUN).read_text("utf-8"))
    if content.pop("seal") != fingerprint(content):
        raise ValueError("its checksum does not fit")
    return content


def _from_experiment(folder: Path) -> tuple[str, int, float, dict[str, Any], int] | None:
    """A run of which only the experiment and its checkpoints are left: it can be opened and resumed."""
    try:
        place = folder / "experiment.toml"
        text = place.read_text("utf-8")
        found = tomllib.loads(text)
        created = place.stat().st_mtime
        name = found.get("name") or found.get("model", {}).get("name") or folder.name
        safety.run_id(folder.name)
    except (OSError, ValueError, AttributeError, RecursionError):
        return None
    return folder.name, 0, created, {"name": str(name), "status": "lost", "experiment": text}, 0


def _records(folder: Path) -> tuple[dict[int, list[Any]], int]:
    """The records in the folder, and the number of lines that cannot be read."""
    found: dict[int, list[Any]] = {}
    damaged = 0
    with contextlib.suppress(OSError), open(folder / RECORDS, "rb") as file:
        for line in file:
            if not (line := line.strip()):
                continue
            crc, _, text = line.partition(b" ")
            try:
                if int(crc, 16) != zlib.crc32(text):
                    raise ValueError("its checksum does not fit")
                for row in json.loads(text):
                    found[int(row[0])] = row
            except (ValueError, TypeError, IndexError, RecursionError):
                damaged += 1
    return found, damaged
