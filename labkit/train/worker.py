"""A process of its own for one run: it outlives the notebook that started it.

``python -m labkit.train.worker LAB_FOLDER RUN_ID``. Everything it has to say goes to the run store.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from types import FrameType

from labkit.base.pages import with_huge_pages
from labkit.train.store import RunInfo, Store


def start(store: Store, info: RunInfo) -> int:
    """Start a detached worker for a run; returns its process id."""
    with open(info.folder / "worker.log", "ab") as log:
        options = {"creationflags": 0x00000208} if sys.platform == "win32" else {"start_new_session": True}
        process = subprocess.Popen(
            [sys.executable, "-m", "labkit.train.worker", str(store.folder), info.id],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, close_fds=True, env=with_huge_pages(), **options,
        )  # fmt: skip
    threading.Thread(target=process.wait, daemon=True).start()  # or it would stay as a zombie when it has ended
    return process.pid


def main() -> int:
    """Do the run named on the command line. SIGTERM ends it at the next step, saved, with exit code 0."""
    folder, run_id = sys.argv[1:3]
    store = Store(folder)

    def stop(signum: int, frame: FrameType | None) -> None:
        store.command(run_id, "stop")

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    from labkit.train.loop import work
    from labkit.train.run import process_of

    store.update(run_id, pid=os.getpid(), **process_of())
    work(store, run_id)
    return 1 if store.run(run_id).status == "failed" else 0


if __name__ == "__main__":
    sys.exit(main())
