"""Metrics in Trackio, whose projects are in a folder of the user (``TRACKIO_DIR``)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any

from labkit.core.errors import DataError
from labkit.core.extras import require
from labkit.i18n import _
from labkit.runs.store import RunInfo
from labkit.runs.tracking.base import TrackedRun, Tracker, records_of, tag_of
from labkit.train.logger import Record


class TrackioTracker(Tracker):
    """A run of the project ``target``, named ``NAME-ID``. An earlier export of the same run is deleted. Trackio keeps
    the time of writing, not that of the record."""

    extra = "trackio"
    default = "labkit"

    def __init__(self, info: RunInfo, settings: dict[str, Any], target: str):
        require(self.extra)
        import trackio

        name = f"{info.name}-{info.id}"
        if target in _projects():
            for run in trackio.Api().runs(target):
                if run.name == name:
                    run.delete()
        self._run = trackio.init(
            project=target, name=name, config=settings, embed=False, auto_log_gpu=False, auto_log_cpu=False
        )
        self.place = f"trackio show --project {target}"

    def write(self, records: Sequence[Record]) -> None:
        for step, group in groupby(records, lambda record: record.step):
            self._run.log({tag_of(each): each.value for each in group}, step=step)

    def close(self, finished: bool) -> None:
        self._run.finish()

    @classmethod
    def read(cls, target: str) -> Iterator[TrackedRun]:
        """The runs of a project."""
        require(cls.extra)
        import trackio
        from trackio.sqlite_storage import SQLiteStorage

        if target not in (known := _projects()):
            raise DataError(_("Trackio has no project {project!r}. It has: {known}."),
                            project=target, known=", ".join(known) or "-")  # fmt: skip
        for run in trackio.Api().runs(target):
            points = [
                (tag, int(row["step"]), float(value), datetime.fromisoformat(row["timestamp"]).timestamp())
                for row in SQLiteStorage.get_logs(target, run.name, run_id=run.id)
                for tag, value in row.items()
                if tag not in ("step", "timestamp")
                and isinstance(value, int | float)
                and not isinstance(value, bool)
            ]
            yield TrackedRun(str(run.id), run.name, records_of(points))


def _projects() -> list[str]:
    from trackio.sqlite_storage import SQLiteStorage

    return sorted(SQLiteStorage.get_projects())
