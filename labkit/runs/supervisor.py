"""Supervisor process: detects dead or hanging training processes and restarts them.

 ``python -m labkit.runs.supervisor LAB_FOLDER RUN_ID [PROCESSES]``. It knows the run store and its child
processes and
never loads JAX: it can report whatever happens there. A run restarts from its newest checkpoint, at most
:data:`MOST` times in a row without a new one.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import NamedTuple

import psutil

from labkit.core.errors import LabkitError, RunError, headed
from labkit.core.huge_pages import with_huge_pages
from labkit.i18n import _
from labkit.runs.liveness import process_record
from labkit.runs.logger import no_room, with_room
from labkit.runs.store import Store, StoreError, make_room
from labkit.train.process_group import COORDINATOR, COUNT, INDEX

#: Times that a run is begun again without having saved anything new.
MOST = 3
#: Usual steps without a sign of life after which a run hangs, if they last longer than the experiment's
#: ``watchdog``.
STEPS = 20
#: That of an experiment that names none.
WATCHDOG = 60.0
#: Seconds between two looks, and for which processes may write their stacks or end by themselves.
LOOK, GRACE = 0.2, 15.0
#: What is watched; compiling and reading data take as long as they take.
WATCHED = ("running", "evaluating")


class End(NamedTuple):
    """How the processes of a run ended: "done", "died" or "hung"; and how it is reported."""

    how: str
    code: int
    text: str = ""


class Supervisor:
    """Starts the processes of a run and watches them.

    Args:
        store: where the run lives.
        run_id: its id.
        processes: how many work on it together, on this machine.
        command: what starts one of them, by its index.
    """

    def __init__(
        self, store: Store, run_id: str, processes: int = 1, command: Callable[[int], list[str]] | None = None
    ):
        self.store, self.id, self.count = store, run_id, processes
        self.folder = store.run(run_id).folder
        self.command = command or self._worker
        self.stopping = False
        self._told_to_stop = False

    def run(self) -> int:
        """Work on the run until it is over; returns the exit code of its leading process."""
        tries, saved = 0, None
        self._record(watcher=process_record())
        while True:
            end = self._once()
            info = self.store.run(self.id)
            if end.how == "done" or self.stopping:
                return end.code
            if (now := info.summary.get("saved_step")) != saved:
                tries, saved = 0, now
            tries += 1
            restarts = int(info.summary.get("restarts", 0))
            if tries > MOST or not self._may_begin_again(end):
                self._give_up(end, tries - 1)
                return 1
            self._record(
                status="preparing", message=_("{end}: restarted", end=end.text), pid=os.getpid(),
                process=process_record(), environment={},
                summary={"restarts": restarts + 1, "restarted_because": end.text},
            )  # fmt: skip

    def _record(self, **values: object) -> None:
        """Change fields of the run; on a full disk it is tried again for a while."""
        with_room(self.store, lambda: self.store.update(self.id, **values))

    def stop(self, *_: object) -> None:
        """End the run at its next step (the second time: at once)."""
        if self.stopping:
            raise KeyboardInterrupt
        self.stopping = True

    def _may_begin_again(self, end: End) -> bool:
        """A process alone that was killed most likely asked for more memory than there is: it would do so
        again."""
        return end.how == "hung" or self.count > 1

    def _give_up(self, end: End, tries: int) -> None:
        times = _(" It was restarted {tries} times without progress.", tries=tries) if tries else ""
        cure = _(
            "The run can be resumed from its last checkpoint: lk.open_run({run_id!r}).resume().",
            run_id=self.id,
        )
        if end.how == "died" and end.code == -signal.SIGKILL:
            cure = _(
                "The system probably killed it for lack of memory: try half the batch_size, or accumulate=2. {cure}",
                cure=cure,
            )
        error = headed(RunError(_("{end}.{times}"), end=end.text, times=times))
        self._record(status="failed", error=error, cure=cure, ended=time.time())

    # --- one attempt ------------------------------------------------------------------------------------------

    def _once(self) -> End:
        port = _free_port() if self.count > 1 else 0
        started = [self._start(index, port) for index in range(self.count)]
        try:
            return self._watch(started)
        finally:
            for process in started:
                with contextlib.suppress(OSError):
                    process.kill()
                process.wait()

    def _worker(self, index: int) -> list[str]:
        return [sys.executable, "-m", "labkit.runs.worker", str(self.store.folder), self.id]

    def _start(self, index: int, port: int) -> subprocess.Popen[bytes]:
        environment = with_huge_pages()
        if self.count > 1:
            environment |= {COORDINATOR: f"127.0.0.1:{port}", COUNT: str(self.count), INDEX: str(index)}
        with open(self._log(index), "ab") as log:
            return subprocess.Popen(
                self.command(index), stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment
            )

    def _log(self, index: int) -> Path:
        return self.folder / (f"worker-{index}.log" if index else "worker.log")

    def _watch(self, started: list[subprocess.Popen[bytes]]) -> End:
        heard, since, most = None, time.monotonic(), 0
        watchdog = self._watchdog()
        while True:
            time.sleep(LOOK)
            most = max(most, _memory(started[0].pid))
            for index, process in enumerate(started):
                if process.poll() is not None and (
                    end := self.end_of(index, process.returncode, most, started)
                ):
                    return end
            self._pass_on_stop()
            info = self.store.run(self.id)
            if info.status not in WATCHED or info.heartbeat != heard:
                heard, since = info.heartbeat, time.monotonic()
                continue
            patience = max(watchdog, STEPS / max(info.summary.get("steps_per_second", 1.0), 1e-6))
            if watchdog and time.monotonic() - since > patience:
                silent, where = time.monotonic() - since, self._dump(started)
                told = _(
                    "no step for {seconds:.0f} s; the stack traces are in {file}",
                    seconds=silent,
                    file=where.name,
                )
                return End("hung", 1, told)

    def _watchdog(self) -> float:
        seconds = self.store.run(self.id).settings("train").get("watchdog", WATCHDOG)
        return float(seconds) if isinstance(seconds, int | float) else WATCHDOG

    def end_of(self, index: int, code: int, most: int, started: list[subprocess.Popen[bytes]]) -> End | None:
        """What it means that a process has ended; None while a good end is followed by the others'."""
        if code in (0, 1) and (self.store.run(self.id).over or self._taken_up(started)):
            until = time.monotonic() + GRACE
            while any(process.poll() is None for process in started) and time.monotonic() < until:
                time.sleep(LOOK)
            return End("done", started[0].poll() or 0)
        if code == 0 and index:
            return None
        which = _("the process")
        if len(started) > 1:
            which = _("process {index} of {n}", index=index, n=len(started))
        memory = _(", peak memory {size:.1f} GB", size=most / 1e9) if index == 0 and most else ""
        if code < 0:
            told = _(
                "{process} was killed by {signal}{memory}",
                process=which,
                signal=_signal(-code),
                memory=memory,
            )
            return End("died", code, told)
        told = _("{process} exited with code {code}{memory}", process=which, code=code, memory=memory)
        if code and (last := self.last_line(index)):
            told = _("{told}: {last}", told=told, last=last)
        return End("died", code, told)

    def _taken_up(self, started: list[subprocess.Popen[bytes]]) -> bool:
        """True if other processes have already restarted the run."""
        pid = self.store.run(self.id).pid
        return pid is not None and pid not in {os.getpid(), *(process.pid for process in started)}

    def last_line(self, index: int) -> str:
        """What the log of a process ends with: the error, where Python has raised one."""
        lines = self._log(index).read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1][:300] if lines else ""

    def _dump(self, started: list[subprocess.Popen[bytes]]) -> Path:
        """Have every process write what each of its threads is at."""
        for process in started:
            if hasattr(signal, "SIGUSR1"):
                process.send_signal(signal.SIGUSR1)
        time.sleep(1.0)
        return self.folder / "stacks.txt"

    def _pass_on_stop(self) -> None:
        if self.stopping and not self._told_to_stop:
            with contextlib.suppress(StoreError):  # on a full disk it is said again at the next look
                self.store.command(self.id, "stop")
                self._told_to_stop = True


def _memory(pid: int) -> int:
    try:
        return psutil.Process(pid).memory_info().rss
    except psutil.Error:
        return 0


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def main() -> int:
    """Watch over the run named on the command line. SIGTERM ends it at the next step, saved."""
    folder, run_id, *rest = sys.argv[1:]
    try:
        supervisor = Supervisor(Store(folder), run_id, int(rest[0]) if rest else 1)

        def stop(signum: int, frame: FrameType | None) -> None:
            supervisor.stop()

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        return supervisor.run()
    except LabkitError as error:
        print(f"{error} {make_room(run_id) if no_room(error) else ''}".rstrip(), file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
