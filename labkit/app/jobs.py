"""Background jobs of panels, in a thread that exists only while there are jobs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from labkit.data.arrow import without_bars


@dataclass
class Job:
    """Something to compute, and what takes the result."""

    name: str
    number: int
    work: Callable[[], Any]
    deliver: Callable[[Any], None]
    due: float
    cancelled: bool = False
    result: Any = None
    error: BaseException | None = None


class Jobs:
    """Jobs that are done one after the other, in a thread; of several by one name only the newest counts.

    Args:
        arrived: called in the thread when a job is done; :meth:`take` then gives it.
    """

    def __init__(self, arrived: Callable[[], None]):
        self._arrived = arrived
        self._lock = threading.Condition()
        self._waiting: dict[str, Job] = {}
        self._newest: dict[str, int] = {}
        self._done: list[Job] = []
        self._open = 0  # asked for, and neither used nor replaced
        self._thread: threading.Thread | None = None
        self._doing: Job | None = None
        self._closed = False

    @property
    def busy(self) -> bool:
        """Whether there is something to do or to use."""
        return self._open > 0

    def put(
        self, name: str, work: Callable[[], Any], deliver: Callable[[Any], None], wait: float = 0.0
    ) -> None:
        """Do ``work`` in ``wait`` seconds, unless there is another job of this name by then."""
        with self._lock:
            if self._closed:
                return
            if name not in self._waiting:
                self._open += 1
            number = self._newest[name] = self._newest.get(name, 0) + 1
            self._waiting[name] = Job(name, number, work, deliver, time.monotonic() + wait)
            self._start()
            self._lock.notify_all()

    def cancel(self, name: str) -> None:
        """Drop a job that waits or is being done, with its result. One that is being done is not interrupted, but
        later jobs do not wait for it."""
        with self._lock:
            if self._waiting.pop(name, None) is not None:
                self._open -= 1
            if self._doing is not None and self._doing.name == name:
                self._doing.cancelled, self._doing = True, None
                self._open -= 1
                self._thread = None  # it ends with the job
                if self._waiting:
                    self._start()
            if name in self._newest:
                self._newest[name] += 1  # what is done and not yet used counts no more
        self._arrived()

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="labkit work", daemon=True)
            self._thread.start()

    def take(self, use: Callable[[Job], None]) -> None:
        """Give what is done to ``use``; results that a newer job will replace are dropped."""
        with self._lock:
            done, self._done = self._done, []
        for job in done:
            try:
                if self._newest[job.name] == job.number and not self._closed:
                    use(job)
            finally:
                with self._lock:
                    self._open -= 1

    def close(self) -> None:
        """Drop what waits and what comes; a job that is being done is not stopped."""
        with self._lock:
            self._closed = True
            self._open -= len(self._waiting)
            self._waiting.clear()
            self._lock.notify_all()

    def _run(self) -> None:
        while (job := self._next()) is not None:
            try:
                with without_bars():
                    job.result = job.work()
            except BaseException as error:  # whatever it is, it is shown in the panel
                job.error = error
            with self._lock:
                if job.cancelled:
                    return
                self._doing = None
                self._done.append(job)
            self._arrived()

    def _next(self) -> Job | None:
        """The job that is due first, when it is; None when there is none, and the thread ends."""
        with self._lock:
            while self._waiting:
                job = min(self._waiting.values(), key=lambda job: job.due)
                rest = job.due - time.monotonic()
                if rest <= 0:
                    self._doing = self._waiting.pop(job.name)
                    return self._doing
                self._lock.wait(rest)
            self._thread = None
            return None
