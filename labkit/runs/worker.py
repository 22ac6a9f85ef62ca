"""Worker process of a detached run, which outlives the notebook that started it.

 ``python -m labkit.runs.worker LAB_FOLDER RUN_ID``, usually started by :mod:`labkit.runs.supervisor`.
Everything it has to say goes to the run store. In multi-process runs, the environment identifies each process
(:mod:`labkit.train.process_group`).
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

from labkit.core.errors import LabkitError
from labkit.core.huge_pages import with_huge_pages
from labkit.runs.logger import ReadOnlyLogger, RunLogger, no_room, with_room
from labkit.runs.store import RunInfo, Store, StoreError, make_room

#: Exit code of a run that SIGTERM has stopped under a cluster's scheduler: begin it again (sysexits'
#: EX_TEMPFAIL).
AGAIN = 75
#: The most memory that a worker may take, in bytes, where somebody has set it; else what is free when it
#: starts.
MEMORY = "LABKIT_MEMORY"


def start(store: Store, info: RunInfo, processes: int = 1) -> int:
    """Start so many detached workers for a run, and the process that watches over them; returns the latter's
    id."""
    with open(info.folder / "worker.log", "ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "labkit.runs.supervisor", str(store.folder), info.id, str(processes)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, close_fds=True, env=with_huge_pages(), **apart(),
        )  # fmt: skip
    threading.Thread(
        target=process.wait, daemon=True
    ).start()  # or it would stay as a zombie when it has ended
    return process.pid


def apart() -> dict[str, Any]:
    """How a process is started that no terminal and no notebook takes with it."""
    return {"creationflags": 0x00000208} if sys.platform == "win32" else {"start_new_session": True}


def main() -> int:
    """Do the run named on the command line. SIGTERM ends it at the next step, saved, with exit code 0."""
    folder, run_id = sys.argv[1:3]
    try:
        return _work(Store(folder), run_id)
    except LabkitError as error:
        print(f"{error} {make_room(run_id) if no_room(error) else ''}".rstrip(), file=sys.stderr)
        return 1


def _work(store: Store, run_id: str) -> int:
    asked: list[int] = []
    if hasattr(signal, "SIGUSR1"):
        stacks = open(store.run(run_id).folder / "stacks.txt", "a", encoding="utf-8")  # noqa: SIM115 (open to the end)
        faulthandler.register(signal.SIGUSR1, stacks, all_threads=True)

    def stop(signum: int, frame: FrameType | None) -> None:
        asked.append(signum)  # in a thread: the signal may come in the middle of a transaction of this one
        threading.Thread(target=ask_to_stop, daemon=True).start()

    def ask_to_stop() -> None:
        while True:
            with contextlib.suppress(StoreError):  # on a full disk the run waits as well
                store.command(run_id, "stop")
                return
            time.sleep(0.5)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    from labkit.runs.liveness import process_fields
    from labkit.train.loop import work
    from labkit.train.process_group import CLUSTER, join

    group = join()
    # Of several processes the leading one alone listens: what it is told, it tells the others.
    signal.signal(signal.SIGTERM, stop if group.lead else signal.SIG_IGN)
    limit_memory()
    if group.lead:
        with_room(store, lambda: store.update(run_id, pid=os.getpid(), **process_fields()))
    work((RunLogger if group.lead else ReadOnlyLogger)(store, run_id), group)
    status = store.run(run_id).status
    if status == "stopped" and asked and os.environ.get(CLUSTER):
        return AGAIN
    return 1 if status == "failed" else 0


def limit_memory() -> None:
    """Have the system refuse this process more memory than there is, which JAX raises as an error; without a
    limit it would end the process silently. Not with accelerators, whose drivers reserve without using."""
    import jax
    import psutil

    if sys.platform != "linux" or jax.default_backend() != "cpu":
        return
    import resource

    status = Path("/proc/self/status").read_text(encoding="ascii")
    now = 1024 * int(status.partition("VmData:")[2].split()[0])
    free = float(os.environ.get(MEMORY) or psutil.virtual_memory().available)
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    most = now + int(free)
    resource.setrlimit(resource.RLIMIT_DATA, (most if hard < 0 else min(most, hard), hard))


if __name__ == "__main__":
    sys.exit(main())
