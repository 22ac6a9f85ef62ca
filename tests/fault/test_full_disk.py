"""A disk that takes nothing to the end of a run: it waits, recovers, or ends with an exit code and what to do."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time

import pyarrow as pa
import pytest
from safetensors import SafetensorError

import labkit as lk
from labkit.api import Run as LabRun
from labkit.api import interrupt_stops
from labkit.core.errors import FolderError, RunError
from labkit.core.huge_pages import with_huge_pages
from labkit.runs import logger, store_repair
from labkit.runs.handle import RunHandle
from labkit.runs.logger import RunLogger, no_room, with_room
from labkit.runs.store import Store, StoreError
from labkit.train.failure import failure_fields
from labkit.train.orbax_errors import silence_orbax


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


def of_sqlite(code: int, text: str) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError(text)
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        *(
            (OSError(code, os.strerror(code)), True)
            for code in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)
        ),
        (PermissionError(errno.EACCES, "Permission denied"), True),
        (FolderError("the lab folder 'x' cannot be written: No space left on device. Set …"), True),
        (SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"), True),
        (SafetensorError("I/O error: Disk quota exceeded (os error 122)"), True),
        (pa.ArrowException("error writing bytes to file. Detail: [errno 28] No space left on device"), True),
        (caused(ValueError("write failed"), OSError(errno.ENOSPC, "x")), True),
        (
            caused(StoreError("the run store"), of_sqlite(sqlite3.SQLITE_FULL, "database or disk is full")),
            True,
        ),
        (of_sqlite(sqlite3.SQLITE_IOERR | 3 << 8, "disk I/O error"), True),
        (sqlite3.OperationalError("database or disk is full"), True),
        (sqlite3.OperationalError("attempt to write a readonly database"), True),
        (of_sqlite(sqlite3.SQLITE_BUSY, "database is locked"), False),
        (FileNotFoundError(errno.ENOENT, "No such file or directory"), False),
        (KeyError("No"), False),
    ],
    ids=str,
)
def test_whatever_library_says_it_a_full_disk_is_known_and_the_cure_is_named(error, expected, tmp_path):
    assert no_room(error) is expected
    cure = failure_fields(error, 16, "", RunLogger(Store(tmp_path), "a").cure(error))["cure"]
    assert ("Free space on the disk" in cure and "labkit train --resume a" in cure) is expected


def test_a_write_that_finds_no_room_is_tried_again_for_a_bounded_time(tmp_path, monkeypatch):
    monkeypatch.setattr(logger, "WAIT", 2.0)
    store, tries = Store(tmp_path), []

    def full(until: int):
        tries.append(store.trouble)
        if len(tries) < until:
            raise OSError(errno.ENOSPC, "No space left on device")

    with_room(store, lambda: full(3))
    assert tries[0] == "" and "Waiting for room" in tries[1] and store.trouble == "" and len(tries) == 3
    begin = time.monotonic()
    for _ in range(2):  # all waits of a run together
        with pytest.raises(OSError, match="No space"):
            with_room(store, lambda: full(1000))
    assert 2 < time.monotonic() - begin < 5
    with pytest.raises(KeyError):
        with_room(store, lambda: {}[0])


def test_an_interrupt_stops_a_run_that_cannot_be_told_through_the_store(tmp_path, monkeypatch):
    store = Store(tmp_path)
    run = LabRun(store, store.create("a", "first", status="running", pid=os.getpid()).id)
    log = RunLogger(store, "a")
    with monkeypatch.context() as patch, interrupt_stops(run):
        patch.setattr(Store, "transaction", lambda self: (_ for _ in ()).throw(StoreError("disk is full")))
        os.kill(os.getpid(), signal.SIGINT)
        patch.setattr(Store, "take", lambda *_: (_ for _ in ()).throw(StoreError("disk is full")))
        assert [log.commands(3), log.commands(3)] == [[("stop", None)], []]
    assert log.commands(4) == []


@pytest.fixture
def full(monkeypatch):
    """Makes every write to a run store fail from a step on, as long as the list that it gives is empty."""
    room: list[int] = []
    write, put = Store.write, store_repair.put_run

    def limited(self, run_id, records, **values):
        if values.get("step", 0) >= 13:
            limited.reached = True
        return write(self, run_id, records, **values)

    def refused(db, row):
        if limited.reached and not room:
            raise StoreError("the run store cannot be used: disk full.") from sqlite3.OperationalError(
                "disk is full"
            )
        return put(db, row)

    limited.reached = False
    monkeypatch.setattr(Store, "write", limited)
    monkeypatch.setattr(store_repair, "put_run", refused)
    monkeypatch.setattr(logger, "WAIT", 1.0)
    return room


@pytest.mark.parametrize("background", [False, True])
def test_a_run_that_can_never_write_how_it_ended_leaves_nobody_waiting(
    full, reviews, tiny, settings, tmp_path, background, finished, tools
):
    """Not its thread, not the foreground, and none who waits for it with a handle of his own."""
    raised: list[threading.ExceptHookArgs] = []
    before, threading.excepthook = threading.excepthook, raised.append
    said = r"could not record its final status: StoreError.*disk full.*Free space on the disk.*labkit train --resume"
    try:
        with pytest.raises(RunError, match=said):
            lk.fit(reviews, tiny, folder=tmp_path, background=background, **settings).wait(120)
    finally:
        threading.excepthook = before
    assert raised == []
    run = lk.runs(tmp_path)[0]
    with pytest.raises(RunError, match=said):
        run.wait(10)
    assert run.status == "lost"
    full.append(1)
    run.resume().wait(300)
    tools.same_run(run, finished)


def test_a_run_goes_on_when_there_is_room_again_at_its_end(
    full, reviews, tiny, settings, tmp_path, finished, tools, monkeypatch
):
    monkeypatch.setattr(logger, "WAIT", 120.0)
    run = lk.fit(reviews, tiny, folder=tmp_path, background=True, **settings)
    tools.wait_for(lambda: "Waiting for room" in run.store.trouble or run.info.over)
    assert not run.info.over, run.info.error
    full.append(1)
    run.wait(120)
    assert run.store.trouble == ""
    tools.same_run(run, finished)  # the best evaluation too, which could not be written when it was needed


@pytest.mark.parametrize("late", [True, False])
def test_only_the_tracebacks_of_orbax_are_left_out(monkeypatch, late):
    printed: list[object] = []
    monkeypatch.setattr(threading, "excepthook", printed.append)
    monkeypatch.setattr(sys, "unraisablehook", printed.append)
    silence_orbax.__wrapped__()
    loop = asyncio.new_event_loop()
    loop.close()

    def call() -> None:
        loop.call_soon_threadsafe(print) if late else loop.run_in_executor(None, print)

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    assert len(printed) == (not late)


# --- a real disk, a real process ------------------------------------------------------------------------------------

TRAIN = """
import os, resource, shutil, sys, threading, time
from pathlib import Path
from labkit.runs import logger
from labkit.api import Store
from labkit.train.loop import TrainingLoop
logger.WAIT = 3.0
folder, run, how = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
call, done = TrainingLoop.run_steps, []
def keep_full():
    with open(folder.parent / "ballast", "ab", buffering=0) as file:
        while True:
            try:
                file.write(bytes(4096))
            except OSError:
                time.sleep(0.001)
def fill(self, portion):
    if self.step + portion.steps <= 14 or done:
        return call(self, portion)
    done.append(1)
    if how == "disk":
        threading.Thread(target=keep_full, daemon=True).start()
        time.sleep(0.2)
    if how == "limit":
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    if how == "removed":
        shutil.rmtree(folder)
    return call(self, portion)
TrainingLoop.run_steps = fill
sys.argv = ["labkit", "train", "--resume", run, "--folder", str(folder)]
from labkit.cli.main import main
main()
"""


@pytest.mark.parametrize(
    "how", ["disk", *(pytest.param(how, marks=pytest.mark.soak) for how in ("limit", "removed"))]
)
def test_labkit_train_ends_with_an_exit_code_and_what_to_do(how, finished, reviews, tmp_path, tools, request):
    place = request.getfixturevalue("small_disk")(7) if how == "disk" else tmp_path
    experiment = finished.experiment.replace(train=finished.experiment.train.replace(save_minutes=0.0))
    run = RunHandle.create(Store(place / "lab"), experiment, reviews)
    command = [sys.executable, "-c", TRAIN, str(place / "lab"), run.id, how]
    done = subprocess.run(command, env=with_huge_pages(), capture_output=True, text=True, timeout=300)
    assert done.returncode not in (0, -9) and "Traceback" not in done.stderr, done.stderr[-3000:]
    said = " ".join(done.stderr.split())
    if how == "removed":
        ends = (
            "its folder is gone",
            "ended without reporting a status. Resume it",
            "could not record its final status",
            "failed:",
        )
        assert any(end in said for end in ends), said[-2000:]  # what is still there when it is looked for
        return
    assert "Free space on the disk" in said and f"labkit train --resume {run.id}" in said, said[-2000:]
    with contextlib.suppress(FileNotFoundError):
        (place / "ballast").unlink()
    assert run.status in ("failed", "lost") and not (run.info.folder / "model" / "model.safetensors").exists()
    run.resume().wait(300)
    tools.same_run(run, finished)
    shutil.rmtree(place / "lab")
