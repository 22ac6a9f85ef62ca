"""Checkpoints that can be trusted: whole or not there, exact, named when damaged, and never promised too early."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from labkit.core import manifest
from labkit.core.errors import RunError
from labkit.train.checkpoint import Checkpoints, writer_lock


@pytest.fixture
def two(tmp_path, tools):
    """A folder with the checkpoints of steps 1 and 2."""
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    for step in (1, 2):
        checkpoints.save(tools.state_of(step), step, None)
        assert checkpoints.settle() == step
    checkpoints.close()
    return checkpoints.folder


def tree(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        digest.update(f"{path.relative_to(folder)} {path.stat().st_mtime_ns}".encode())
        digest.update(path.read_bytes() if path.is_file() else b"")
    return digest.hexdigest()


def test_state_exact_dtype_shape_and_bits_of_everything(two, tools):
    restored = Checkpoints(two).restore(2, tools.state_of(0))
    assert tools.plain(restored) == tools.plain(tools.state_of(2))


def damages(path: Path):
    """The ways to damage a file, as functions of its path."""
    data, drawn = path.read_bytes(), np.random.default_rng(len(path.name))
    for _ in range(5):
        place, bit = int(drawn.integers(len(data))), int(drawn.integers(8))
        flipped = bytearray(data)
        flipped[place] ^= 1 << bit
        yield f"flip {place}.{bit}", lambda p, flipped=flipped: p.write_bytes(flipped)
    yield "truncated", lambda p: p.write_bytes(data[: len(data) // 2])
    yield "deleted", lambda p: p.unlink()
    if any(data):
        yield "zeros", lambda p: p.write_bytes(bytes(len(data)))


def test_corrupt_files_are_found_named_and_passed_over(two, tmp_path, tools):
    tried = 0
    for file in sorted(path for path in (two / "step_2").rglob("*") if path.is_file()):
        name = file.relative_to(two / "step_2").as_posix()
        for what, harm in damages(file):
            copy = tmp_path / "copy"
            shutil.copytree(two, copy)
            harm(copy / "step_2" / name)
            checkpoints = Checkpoints(copy)
            assert checkpoints.newest() == 1, (name, what)
            assert name in checkpoints.damaged[0] and checkpoints.damaged[0].startswith("step_2: "), (
                name,
                what,
            )
            assert (copy / "quarantine" / "step_2").is_dir() and checkpoints.steps == [1]
            shutil.rmtree(copy)
            tried += 1
    assert tried >= 60
    assert tools.plain(Checkpoints(two).restore(1, tools.state_of(0))) == tools.plain(tools.state_of(1))


def test_without_damage_the_newest_is_the_newest(two):
    checkpoints = Checkpoints(two)
    assert checkpoints.newest() == 2 and checkpoints.damaged == [] and checkpoints.steps == [1, 2]


def test_there_are_always_two_and_the_best_stays(tmp_path, tools):
    checkpoints = Checkpoints(tmp_path / "c")
    for step, best in ((1, 1), (2, 1), (3, 1), (4, 4), (5, 4)):
        checkpoints.save(tools.state_of(step), step, best)
        checkpoints.settle()
        assert len(checkpoints.steps) == min(step, 2) and {step, best} <= set(checkpoints.steps)
    checkpoints.close()


def test_wrong_arch_or_type_of_a_state_is_refused_with_the_paths(two, tools):
    checkpoints = Checkpoints(two)
    with pytest.raises(
        RunError,
        match=r"(?s)does not match.*backbone/a/kernel.*saved float32\[64, 64\], expected float32\[8, 8\]",
    ):
        checkpoints.restore(2, tools.state_of(0, width=8))
    with pytest.raises(
        RunError, match=r"(?s)backbone/b/kernel.*saved float32\[64, 64\], expected bfloat16\[64, 64\]"
    ):
        checkpoints.restore(2, tools.state_of(0, kind="bfloat16"))  # Orbax would cast without a word


def test_what_was_never_promised_is_cleared_away_and_nothing_else(two):
    (two / "saving" / "3" / "d").mkdir(parents=True)
    (two / "saving" / "3.orbax-checkpoint-tmp").mkdir()
    (two / "mine.txt").write_text("a user's")
    assert Checkpoints(two).newest() == 2
    assert list((two / "saving").iterdir()) == [] and (two / "mine.txt").exists()


def test_a_step_is_not_saved_before_it_was_read_back(tmp_path, tools, monkeypatch):
    checkpoints = Checkpoints(tmp_path / "c")
    monkeypatch.setattr(manifest, "damage", lambda place, only=None: ["d/x has a different SHA-256"])
    checkpoints.save(tools.state_of(1), 1, None)
    with pytest.raises(RunError, match="step 1 not saved: what was written is not what the disk gives back"):
        checkpoints.settle()
    assert checkpoints.steps == [] and checkpoints.settle() is None
    checkpoints.close()


def quiet(test):
    """Orbax's own threads and loops complain as well when a write fails."""
    for kind in ("PytestUnhandledThreadExceptionWarning", "PytestUnraisableExceptionWarning"):
        test = pytest.mark.filterwarnings(f"ignore::pytest.{kind}")(test)
    return test


# --- no room ----------------------------------------------------------------------------------------------------


def test_enospc_is_foreseen(two, tools, monkeypatch):
    from collections import namedtuple

    checkpoints = Checkpoints(two)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: namedtuple("Usage", "free")(1_000_000))
    with pytest.raises(RunError, match=r"step 3 not saved: 4 MB needed, 1 MB free in .*checkpoints"):
        checkpoints.save(tools.state_of(3), 3, None)
    assert checkpoints.newest() == 2


@quiet
def test_enospc_in_the_midst_is_told_and_overcome(small_disk, tools, monkeypatch):
    place = small_disk(6)
    checkpoints = Checkpoints(place / "checkpoints")
    monkeypatch.setattr(
        checkpoints, "missing_room", lambda state: ""
    )  # as if another program had been quicker
    big = {step: tools.state_of(step, width=400) for step in (1, 2)}  # 2.5 MB that cannot be compressed
    checkpoints.save(big[1], 1, None)
    assert checkpoints.settle() == 1
    (place / "ballast").write_bytes(bytes(2_500_000))
    checkpoints.save(big[2], 2, None)
    with pytest.raises(
        RunError, match=r"step 2 not saved: No space left on device\. Earlier checkpoints are intact"
    ):
        checkpoints.settle()
    assert checkpoints.newest() == 1 and list((checkpoints.folder / "saving").iterdir()) == []
    assert tools.plain(checkpoints.restore(1, big[2])) == tools.plain(big[1])
    (place / "ballast").unlink()
    checkpoints.save(big[2], 2, None)
    assert checkpoints.settle() == 2 and checkpoints.newest() == 2
    checkpoints.close()


def test_writes_that_go_on_after_a_failed_save_leave_nothing(tmp_path, tools, monkeypatch):
    """Orbax raises the first error of its parallel writes; the others still create their files."""
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    going = []

    def save(place: Path, **_: object) -> None:
        def write() -> None:
            for number in range(30):
                late = place.with_name(place.name + ".orbax-checkpoint-tmp") / str(number)
                with contextlib.suppress(OSError):  # removed meanwhile
                    late.mkdir(parents=True, exist_ok=True)
                    (late / "0").write_bytes(b"late")
                time.sleep(0.01)

        going.append(threading.Thread(target=write))
        going[-1].start()
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(checkpoints.checkpointer, "save", save)
        checkpoints.save(tools.state_of(1), 1, None)
        with pytest.raises(RunError, match="step 1 not saved: No space left on device"):
            checkpoints.settle()
        assert not going[0].is_alive() and list((checkpoints.folder / "saving").iterdir()) == []
    checkpoints.save(tools.state_of(1), 1, None)
    assert checkpoints.settle() == checkpoints.newest() == 1
    checkpoints.close()


LIMITED = """
import resource, signal, sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from conftest import plain, state_of
from labkit.core.errors import RunError
from labkit.train.checkpoint import Checkpoints
checkpoints = Checkpoints(Path(sys.argv[1]))
checkpoints.save(state_of(1), 1, None)
assert checkpoints.settle() == 1
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
checkpoints.save(state_of(2, 400), 2, None)
try:
    checkpoints.settle()
except RunError as error:
    print(error)
else:
    raise SystemExit("a checkpoint larger than any file may be was told as saved")
assert checkpoints.newest() == 1 and plain(checkpoints.restore(1, state_of(0))) == plain(state_of(1))
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
checkpoints.save(state_of(2, 400), 2, None)
assert checkpoints.settle() == checkpoints.newest() == 2
"""


def test_enospc_by_a_limit_on_the_size_of_files(tmp_path):
    command = [sys.executable, "-c", LIMITED, str(tmp_path / "c"), str(Path(__file__).parent)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and "step 2 not saved" in done.stdout, done.stderr[-2000:] + done.stdout


@quiet
def test_a_folder_that_cannot_be_written_is_told(small_disk, tools):
    place = small_disk(12)
    checkpoints = Checkpoints(place / "checkpoints")
    checkpoints.save(tools.state_of(1), 1, None)
    checkpoints.settle()
    subprocess.run(["mount", "-o", "remount,ro", place], check=True)
    checkpoints.save(tools.state_of(2), 2, None)
    with pytest.raises(RunError, match=r"step 2 not saved: Read-only file system\."):
        checkpoints.settle()
    assert checkpoints.newest() == 1
    subprocess.run(["mount", "-o", "remount,rw", place], check=True)
    checkpoints.save(tools.state_of(2), 2, None)
    assert checkpoints.settle() == 2
    checkpoints.close()


# --- two writers, and death -----------------------------------------------------------------------------------------

HOLDER = """
import sys, time
from pathlib import Path
from labkit.train.checkpoint import writer_lock
with writer_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def test_two_writers_the_second_learns_at_once_and_changes_no_byte(two):
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(two)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout and holder.stdout.readline() == "held\n"
        before, begin = tree(two), time.monotonic()
        told = rf"already running, by process {holder.pid} on .*lk.open_run"
        with pytest.raises(RunError, match=told), writer_lock(two):
            raise AssertionError("two hold the lock")
        assert time.monotonic() - begin < 1.0 and tree(two) == before
    finally:
        holder.kill()
        holder.communicate()
    with writer_lock(two):  # the system has freed it
        pass


SAVER = """
import sys
import threading
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from conftest import state_of
from labkit.train.checkpoint import Checkpoints, writer_lock
folder = Path(sys.argv[1])
with writer_lock(folder):
    checkpoints = Checkpoints(folder / "checkpoints")
    step = checkpoints.newest() or 0
    print("newest", step, flush=True)
    while True:
        step += 1
        checkpoints.save(state_of(step, 600), step, None)
        print("begun", step, flush=True)
        print("saved", checkpoints.settle(), flush=True)
"""


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.soak)])
def test_kill_save_loses_nothing_promised(tmp_path, tools, kills):
    drawn, promised = np.random.default_rng(kills), 0
    for number in range(kills):
        command = [sys.executable, "-c", SAVER, str(tmp_path), str(Path(__file__).parent)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as saver:
            assert saver.stdout
            begun, duration, begin = 0, 0.1, 0.0
            for line in saver.stdout:
                word, step = line.split()
                if word == "newest":
                    assert int(step) >= promised, f"kill {number}: {promised} was promised, {step} is there"
                elif word == "begun":
                    begun, begin = begun + 1, time.monotonic()
                    if begun == 3:  # the duration of a save is known by now
                        time.sleep(float(drawn.uniform(0, duration)))
                        os.kill(saver.pid, signal.SIGKILL)
                else:
                    promised, duration = int(step), time.monotonic() - begin
        assert saver.returncode == -signal.SIGKILL
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    newest = checkpoints.newest()
    assert newest is not None and newest >= promised and checkpoints.damaged == []
    assert tools.plain(checkpoints.restore(newest, tools.state_of(0, 600))) == tools.plain(
        tools.state_of(newest, 600)
    )
    left = [
        path.name
        for path in checkpoints.folder.rglob("*")
        if "tmp" in path.name or path.parent.name == "saving"
    ]
    assert left == []
