"""Metrics as a CSV file, a line per value."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from labkit.core.errors import DataError
from labkit.i18n import _
from labkit.runs.store import RunInfo
from labkit.runs.tracking.base import TrackedRun, Tracker, records_of, writable
from labkit.train.logger import Record

COLUMNS = ("run", "step", "split", "name", "value", "time")


class CsvTracker(Tracker):
    """A CSV file with the columns :data:`COLUMNS`; values have all their digits, ``nan`` and ``inf`` included."""

    default = "metrics.csv"

    def __init__(self, info: RunInfo, settings: dict[str, Any], target: str):
        self.place, self._run = target, info.name
        path = Path(target)
        with writable(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(path, "w", encoding="utf-8", newline="")  # noqa: SIM115 (closed by close)
        self._writer = csv.writer(self._file)
        self._writer.writerow(COLUMNS)

    def write(self, records: Sequence[Record]) -> None:
        self._writer.writerows(
            (self._run, each.step, each.split, each.name, repr(each.value), repr(each.time))
            for each in records
        )
        self._file.flush()

    def close(self, finished: bool) -> None:
        self._file.close()

    @classmethod
    def read(cls, target: str) -> Iterator[TrackedRun]:
        """A file of this class, or a table with a column ``step`` (or ``epoch``) and a column per metric, such as
        the one of Keras' ``CSVLogger``."""
        path = Path(target)
        try:
            with open(path, encoding="utf-8-sig", newline="") as file:
                rows = list(csv.DictReader(file))
        except (OSError, ValueError, csv.Error) as error:
            raise DataError(_("{file} cannot be read as a CSV file of metrics: {error}."),
                            file=path.name, error=error) from None  # fmt: skip
        try:
            if rows and set(COLUMNS[1:5]) <= set(rows[0]):
                yield from _long(rows, path.stem)
            else:
                yield _wide(rows, path)
        except (ValueError, TypeError) as error:
            raise DataError(_("{file} cannot be read as a CSV file of metrics: {error}."),
                            file=path.name, error=error) from None  # fmt: skip


def _long(rows: list[dict[str, str]], name: str) -> Iterator[TrackedRun]:
    runs: dict[str, list[Record]] = {}
    for row in rows:
        value = Record(
            0, int(row["step"]), row["split"], row["name"], float(row["value"]), float(row.get("time") or 0)
        )
        runs.setdefault(row.get("run") or name, []).append(value)
    for run, records in runs.items():
        yield TrackedRun(run, run, records)


def _wide(rows: list[dict[str, str]], path: Path) -> TrackedRun:
    columns = list(rows[0]) if rows else []
    step = next((name for name in ("step", "global_step", "epoch") if name in columns), None)
    if step is None:
        raise DataError(
            _("{file} has no column 'step' or 'epoch', and not the columns {columns}."),
            file=path.name, columns=", ".join(COLUMNS[1:5]),
        )  # fmt: skip
    points = [
        (name, int(float(row[step])), float(text), 0.0)
        for row in rows
        for name, text in row.items()
        if name not in (step, "epoch", None) and text not in ("", None)
    ]
    return TrackedRun(path.stem, path.stem, records_of(points))
