"""Copies of a run's metrics to a tracker, during training or afterwards; and runs made of what a tracker has."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from labkit.core import safety
from labkit.core.extras import require
from labkit.core.text import visible
from labkit.runs.overview import flat_settings
from labkit.runs.store import Store
from labkit.runs.tracking import trackers
from labkit.runs.tracking.base import TrackedRun, Tracker
from labkit.train.logger import Record

#: Seconds between two looks at the store of a run that is followed.
INTERVAL = 1.0
#: Metrics by which an imported run is listed, the first that it has.
SCORES = ("f1", "accuracy", "acc")


class MetricsExport:
    """The copy of a run's metrics in a tracker.

    Args:
        store: the run store.
        run_id: the run.
        to: the name of a tracker.
        target: see :class:`~labkit.runs.tracking.base.Tracker`; empty: the default of the tracker.
        follow: keep copying, in a thread, until the run is over.

    Attributes:
        place: where the copy can be found.
        count: number of records copied.
    """

    def __init__(self, store: Store, run_id: str, to: str, target: str = "", follow: bool = False):
        made: type[Tracker] = trackers[to]
        if made.extra:
            require(made.extra)
        info = store.run(run_id)
        self._store, self._run = store, info.id
        self._tracker = made(info, flat_settings(info), target or made.default)
        self.place, self.count = self._tracker.place, 0
        self._seq = 0
        self._written: dict[tuple[str, str], int] = {}  # series → its last step that was copied
        self._error: BaseException | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, args=(follow,), name="labkit metrics", daemon=True)
        if follow:
            self._thread.start()
        else:
            self._work(follow)
            self.wait()

    def __repr__(self) -> str:
        return f"<metrics in {self.place}: {self.count:,} values>"

    def wait(self, timeout: float | None = None) -> None:
        """Block until the copy is complete.

        Raises:
            Exception: what kept it from being completed.
            TimeoutError: ``timeout`` seconds have passed.
        """
        if not self._ended.wait(timeout):
            raise TimeoutError(f"the copy in {self.place} is not complete after {timeout} s; it goes on.")
        if self._error is not None:
            raise self._error

    def _work(self, follow: bool) -> None:
        finished = False
        try:
            info = self._store.run(self._run)
            self._copy()
            while follow and not info.over:
                self._ended.wait(INTERVAL)
                info = self._store.run(self._run)  # before the copy, so that nothing is missed
                self._copy()
            finished = info.status in ("finished", "stopped") or not info.over
        except BaseException as error:
            self._error = error
        finally:
            try:
                self._tracker.close(finished)
            except Exception as error:
                self._error = self._error or error
            self._ended.set()

    def _copy(self) -> None:
        """Copy what is new. A resumed run writes steps again, with equal values: they are left out."""
        records = self._store.records(self._run, self._seq)
        fresh = [
            each
            for each in records
            if not self._seq or each.step > self._written.get((each.split, each.name), -1)
        ]
        for each in records:
            series = each.split, each.name
            self._written[series] = max(each.step, self._written.get(series, -1))
            self._seq = max(self._seq, each.seq)
        if fresh:
            self._tracker.write(fresh)
            self.count += len(fresh)


def import_runs(store: Store, source: str, target: str = "") -> list[str]:
    """Enter the runs of a tracker in a run store, for comparison: their curves, without a model.

    A run that was imported before is replaced.

    Returns:
        The ids of the runs.
    """
    made: type[Tracker] = trackers[source]
    place = target or made.default
    whole = str(Path(place).resolve()) if Path(place).exists() else place
    return [_entered(store, source, whole, run) for run in made.read(place)]


def _entered(store: Store, source: str, place: str, run: TrackedRun) -> str:
    key = hashlib.sha256(f"{place}\n{run.id}".encode()).hexdigest()[:12]
    run_id = safety.run_id(f"{source}-{key}")
    if any(info.id == run_id for info in store.runs()):
        store.delete(run_id)
    times = [record.time for record in run.records if record.time > 0]
    step = max((record.step for record in run.records), default=0)
    store.create(
        run_id,
        safety.title(visible(run.name, safety.LONGEST_NAME)),
        status="finished" if run.finished else "stopped",
        started=min(times, default=None),
        ended=max(times, default=None),
        step=step,
        steps=step,
        summary={"imported": source, **_scores(run.records)},
    )
    store.write(run_id, [(each.step, each.split, each.name, each.value) for each in run.records])
    store.update(run_id, step=step)  # copies the records to the folder of the run
    return run_id


def _scores(records: Sequence[Record]) -> dict[str, Any]:
    """The best score on the validation rows, by which the list of runs shows an imported run."""
    for name in SCORES:
        values = [each.value for each in records if each.split == "validation" and each.name == name]
        if values:
            return {"metric": name, f"validation_{name}": max(values)}
    return {}
