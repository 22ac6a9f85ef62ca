"""Liveness check of a run's process by process id and start time.

 The start time is counted by the kernel and does not follow the wall clock, so a clock that is set changes
nothing, and a process id that the system has given to another process is not mistaken for the run's. Only
where the process belongs to another host do heartbeats decide.
"""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from labkit.core.errors import headed

#: Seconds without a heartbeat after which a run in preparation that names no process counts as lost …
SILENCE = 5.0
#: … and one whose process belongs to another host; compiling and reading data send no heartbeats.
FAR_SILENCE = 600.0


#: Packages whose versions are recorded with a run.
_VERSIONS = (
    "labkit",
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "tokenizers",
    "datasets",
    "numpy",
)


class Worker(threading.Thread):
    """A thread that works on a run; ``error`` and ``cure`` say what ended it where it could not write that
    down."""

    def __init__(self, name: str, work: Callable[[], None], cure: Callable[[BaseException], str]):
        super().__init__(name=name, daemon=True)
        self.error = self.cure = ""
        self._work, self._cure_of = work, cure

    def run(self) -> None:
        """Work; an error is kept for whoever waits."""
        try:
            self._work()
        except BaseException as error:
            self.error, self.cure = headed(error), self._cure_of(error)


#: (lab folder, run id) → the thread of this process that works on the run.
THREADS: dict[tuple[str, str], Worker] = {}


def has_thread(folder: Path, run_id: str) -> bool:
    """Whether a thread of this process works on a run."""
    thread = THREADS.get((str(folder), run_id))
    return thread is not None and thread.is_alive()


def process_record(pid: int | None = None) -> dict[str, Any]:
    """The identity of a process of this host (by default this one): id, host and start time."""
    pid = os.getpid() if pid is None else pid
    return {"pid": pid, "host": host(), "started": start_time(pid)}


@functools.cache
def host() -> str:
    """The name of this host."""
    return socket.gethostname()


def start_time(pid: int) -> str:
    """When a process began, as text that is equal for the same process only; empty where it cannot be known."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, IndexError):
            return f"{_boot()} {_stat(pid)[19]}"
        return ""
    import psutil

    with contextlib.suppress(psutil.Error):
        return f"{psutil.Process(pid).create_time():.3f}"
    return ""


@functools.cache
def _boot() -> str:
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    return ""


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat behind the name of the program, which may hold spaces and brackets."""
    return Path(f"/proc/{pid}/stat").read_text("utf-8", errors="replace").rpartition(")")[2].split()


def is_alive(process: Mapping[str, Any]) -> bool:
    """Whether a process of this host, as :func:`process_record` describes it, still runs."""
    import psutil

    pid, started = process["pid"], process.get("started", "")
    if not isinstance(pid, int) or not 0 < pid < 2**31 or not psutil.pid_exists(pid):
        return False
    with contextlib.suppress(psutil.Error):
        if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return False
    now = start_time(pid)
    return not now or not started or now == started


@runtime_checkable
class RunProcess(Protocol):
    """What is read here of :class:`labkit.runs.store.RunInfo`: who works on a run, and when it was last heard
    of."""

    id: str
    created: float
    heartbeat: float | None
    pid: int | None
    process: dict[str, Any]
    watcher: dict[str, Any]


def is_dead(info: Any, folder: Path) -> bool:
    """Whether nobody works any more on a run that has not recorded its end.

    Args:
        info: what the store knows of the run.
        folder: the lab folder.
    """
    processes = [_process_of(info), info.watcher]
    known = [process for process in processes if process.get("pid") is not None]
    if not known:  # whoever began it was killed before it could write who it is
        return info.status == "preparing" and _silent(info, SILENCE)
    for process in known:
        if process.get("host", host()) != host():
            if not _silent(info, FAR_SILENCE):
                return False
        elif is_alive(process) and not _thread_ended(info, folder, process):
            return False
    return True


def _process_of(info: RunProcess) -> dict[str, Any]:
    """The process that works on a run; one of which only the id was recorded counts as a process of this
    host."""
    if info.process.get("pid") == info.pid:
        return info.process
    return {"pid": info.pid}


def _thread_ended(info: RunProcess, folder: Path, process: Mapping[str, Any]) -> bool:
    thread = THREADS.get((str(folder), info.id)) if process["pid"] == os.getpid() else None
    return thread is not None and not thread.is_alive()


def _silent(info: RunProcess, seconds: float) -> bool:
    """Whether the last heartbeat is long ago; one in the future comes from another clock and counts the same."""
    return abs(time.time() - (info.created if info.heartbeat is None else info.heartbeat)) > seconds


def described(info: Any) -> str:
    """Which process works on a run, as a phrase that begins with a comma; empty where none is recorded."""
    process = info.watcher if info.watcher.get("pid") is not None else _process_of(info)
    if process.get("pid") is None:
        return ""
    where = process.get("host", host())
    return f", by process {process['pid']}" + (f" on {where}" if where != host() else "")


def process_fields() -> dict[str, Any]:
    """This process as fields of the run: its identity, and its environment, versions and platform."""
    found: dict[str, Any] = {"python": platform.python_version(), "platform": platform.platform(terse=True)}
    for package in _VERSIONS:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    found["command"] = os.path.basename(sys.argv[0] or "python")
    return {"environment": found, "process": process_record()}
