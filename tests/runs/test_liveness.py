"""Whether a run is alive is decided from its process, whatever the clocks say; and one starter wins."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from labkit.core.errors import RunError
from labkit.runs import liveness
from labkit.runs.handle import RunHandle
from labkit.runs.liveness import SILENCE, process_record
from labkit.runs.store import Store

STARTABLE = ("created", "stopped", "failed", "lost")
HOUR = 3600.0


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path)
    store.create("a", "first")
    return store


@pytest.fixture
def sleeper():
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    yield process
    process.kill()
    process.wait()


def gone() -> int:
    """The id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    process.wait()
    return process.pid


@pytest.mark.parametrize("off", [-24 * HOUR, -HOUR, 0.0, HOUR, 24 * HOUR])
@pytest.mark.parametrize("status", ["preparing", "compiling", "running", "evaluating", "saving", "paused"])
def test_a_run_whose_process_is_gone_is_lost_at_once_whatever_the_clock(store, status, off):
    store.update("a", status=status, pid=gone(), heartbeat=time.time() + off)
    info = store.run("a")
    assert info.status == "lost" and info.over and "labkit train --resume a" in info.cure
    assert store.claim("a", STARTABLE, status="preparing", pid=os.getpid()).status == "lost"
    assert store.run("a").status == "preparing"


@pytest.mark.parametrize("off", [-24 * HOUR, 0.0, 24 * HOUR])
def test_a_run_of_a_living_process_is_not_lost_however_silent(store, sleeper, off):
    for values in ({}, {"process": process_record(sleeper.pid)}):
        store.update("a", status="compiling", pid=sleeper.pid, heartbeat=time.time() + off, **values)
        assert store.run("a").status == "compiling"
        with pytest.raises(
            RunError, match=rf"'first' is compiling, by process {sleeper.pid}; it cannot be started"
        ):
            store.claim("a", STARTABLE)


def test_the_wall_clock_is_no_part_of_what_identifies_a_process(store, monkeypatch):
    store.update("a", status="running", pid=os.getpid(), process=process_record(), heartbeat=time.time())
    monkeypatch.setattr(time, "time", lambda: 4e9)
    assert store.run("a").status == "running" and process_record() == store.run("a").process


def test_a_process_id_that_was_given_to_another_process_is_not_the_run(store, sleeper):
    first = process_record(sleeper.pid)
    store.update("a", status="running", pid=sleeper.pid, process={**first, "started": "boot 1"})
    assert store.run("a").status == "lost"
    store.update("a", process=first)
    assert store.run("a").status == "running"


def test_a_zombie_is_gone(store):
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    try:
        deadline = time.monotonic() + 60
        store.update("a", status="running", pid=process.pid)
        while store.run("a").status != "lost":
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        process.wait()


def test_a_run_killed_between_preparing_and_its_process_is_lost(store):
    """As a process of an earlier version left it."""
    store.update("a", status="preparing", pid=None, heartbeat=time.time())
    assert store.run("a").status == "preparing"
    for heartbeat in (0, time.time() - SILENCE - 1, time.time() + HOUR):
        store.update("a", heartbeat=heartbeat)
        assert store.run("a").status == "lost"


def test_the_process_that_watches_keeps_a_run_alive_between_two_workers(store, sleeper):
    store.update("a", status="running", pid=gone(), watcher=process_record(sleeper.pid))
    assert store.run("a").status == "running"
    sleeper.kill()
    sleeper.wait()
    assert store.run("a").status == "lost"


def test_heartbeats_decide_only_where_the_process_is_on_another_host(store):
    far = {"pid": os.getpid(), "host": "elsewhere", "started": "x"}
    store.update("a", status="running", pid=os.getpid(), process=far, heartbeat=time.time() - SILENCE - 1)
    with pytest.raises(
        RunError, match=f"is running, by process {os.getpid()} on elsewhere; it cannot be started"
    ):
        store.claim("a", STARTABLE)
    store.update("a", heartbeat=time.time() - liveness.FAR_SILENCE - 1)
    assert store.run("a").status == "lost"


def test_of_many_that_start_a_run_at_once_one_wins(store):
    won, refused, barrier = [], [], threading.Barrier(8)

    def start() -> None:
        barrier.wait()
        try:
            won.append(
                store.claim("a", STARTABLE, status="preparing", pid=os.getpid(), process=process_record())
            )
        except RunError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1 and len(refused) == 7 and all("is preparing" in text for text in refused)


HOLDER = """
import sys, time
from labkit.core import file_lock
with open(sys.argv[1], "a+b") as file:
    file_lock.acquire(file)
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_run_whose_lock_is_held_is_not_started(store):
    """Whatever was recorded of its process, such as one that a container hides."""
    store.update("a", status="running", pid=gone())
    command = [sys.executable, "-c", HOLDER, str(store.folder / "a" / "lock")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(RunError, match="locked by a running process"):
            store.claim("a", STARTABLE, status="preparing")
        assert store.run("a").status == "lost"
        holder.send_signal(signal.SIGKILL)
    assert store.claim("a", STARTABLE, status="preparing", pid=os.getpid())


def test_a_thread_that_ended_without_a_word_does_not_keep_its_run_alive(store):
    def work() -> None:
        raise OSError(28, "No space left on device")

    thread = liveness.Worker("x", work, lambda error: "Make room.")
    liveness.THREADS[str(store.folder), "a"] = thread
    store.update("a", status="running", pid=os.getpid(), process=process_record())
    assert not thread.is_alive()
    thread.start()
    thread.join()
    info = store.run("a")
    assert (info.status, info.cure) == ("lost", "Make room.") and "No space left" in info.error
    with pytest.raises(
        RunError, match=r"run 'first' could not record its final status: OSError.* Make room\."
    ):
        RunHandle(store, "a").wait(10)
