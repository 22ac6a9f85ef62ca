"""The run store: what is written is read, by several processes too."""

from __future__ import annotations

import gc
import math
import shutil
import subprocess
import sys

import psutil
import pytest

from labkit.core.errors import RunError
from labkit.runs.handle import RunHandle
from labkit.runs.store import Store


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "lab")


def test_records_come_back_in_order_and_to_the_last_bit(store):
    store.create("a", "first")
    values = [0.1, 1 / 3, 1e-300, math.pi, 0.0]
    store.write("a", [(step, "train", "loss", value) for step, value in enumerate(values)], step=5)
    read = store.records("a")
    assert [record.value.hex() for record in read] == [float(value).hex() for value in values]
    assert [record.step for record in read] == [0, 1, 2, 3, 4]
    assert store.records("a", after=read[2].seq) == read[3:]
    assert store.run("a").step == 5
    store.write("a", [(5, "validation", "loss", 0.5)])
    assert [record.split for record in store.records("a", split="validation")] == ["validation"]


def test_a_value_that_is_not_a_number_stays_one(store):
    store.create("a", "first")
    store.write("a", [(1, "train", "loss", math.nan), (2, "train", "loss", math.inf)])
    assert math.isnan(store.records("a")[0].value) and store.records("a")[1].value == math.inf


def test_runs_are_newest_first_and_found_by_id_or_name(store):
    for run_id, name in (("a", "bert"), ("b", "bert"), ("c", "other")):
        store.create(run_id, name)
    assert [info.id for info in store.runs()] == ["c", "b", "a"]
    assert store.run("a").id == "a"
    assert store.run("bert").id == "b"
    with pytest.raises(RunError, match=r"no run 'othr'.*Did you mean 'other'"):
        store.run("othr")
    with pytest.raises(RunError, match="already"):
        store.create("a", "again")


def test_summaries_merge_and_other_fields_are_replaced(store):
    store.create("a", "first")
    store.update("a", summary={"x": 1}, status="running")
    store.update("a", summary={"y": 2})
    info = store.run("a")
    assert info.summary == {"x": 1, "y": 2} and info.status == "running"


def test_a_command_is_taken_once_and_remembers_the_step(store):
    store.create("a", "first")
    first = store.command("a", "set", {"learning_rate": 1e-3})
    second = store.command("a", "stop")
    assert store.taken(first) is None
    assert [(c.name, c.value) for c in store.take("a", 7)] == [
        ("set", {"learning_rate": 1e-3}),
        ("stop", None),
    ]
    assert store.take("a", 8) == []
    assert store.taken(first) == store.taken(second) == 7


def test_later_records_are_forgotten_for_a_resumed_run(store):
    store.create("a", "first")
    store.create("b", "second")
    for run in "ab":
        store.write(run, [(step, "train", "loss", 1.0) for step in range(1, 6)])
    store.forget_after("a", 3)
    assert [record.step for record in store.records("a")] == [1, 2, 3]
    assert len(store.records("b")) == 5


WRITER = """
import sys
from labkit.runs.handle import RunHandle
from labkit.runs.store import Store
store = Store(sys.argv[1])
store.create(sys.argv[2], "writer")
for step in range(500):
    store.write(sys.argv[2], [(step, "train", "loss", step / 7)], step=step)
"""


@pytest.mark.soak
def test_store_race_of_eight_processes_loses_nothing(store):
    workers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(store.folder), name]) for name in "abcdefgh"
    ]
    assert [worker.wait(300) for worker in workers] == [0] * 8
    assert store.connection().execute("PRAGMA integrity_check").fetchone() == ("ok",)
    for name in "abcdefgh":
        assert [(r.step, r.value) for r in store.records(name)] == [(step, step / 7) for step in range(500)]


def test_repairs_leave_no_files_open(tmp_path):
    """A store that is damaged again and again, and lab folders that are removed, by one process."""
    mine, before = psutil.Process(), 0
    for number in range(12):
        folder = tmp_path / f"lab-{number % 2}"
        shutil.rmtree(folder, ignore_errors=True)
        store = Store(folder)
        store.create("a", "first")
        store.write("a", [(1, "train", "loss", 0.5)], step=1)
        for file in folder.glob("runs.sqlite*"):
            file.unlink()
        if number % 3:
            store.path.write_bytes(b"no database " * 1000)
        assert [info.id for info in store.runs()] == ["a"]
        store.create("b", "second")
        assert [info.id for info in Store(folder).runs()] == ["b", "a"]
        gc.collect()
        if number == 3:
            before = mine.num_fds()
    assert mine.num_fds() <= before + 3


def test_a_run_whose_lab_folder_was_removed_says_so(tmp_path):
    """Also where another process has made the folder again meanwhile."""
    store = Store(tmp_path / "lab")
    store.create("a", "first")
    run = RunHandle(store, "a")
    shutil.rmtree(tmp_path / "lab")
    with pytest.raises(RunError, match="its folder is gone"):
        _ = run.status
    Store(tmp_path / "lab").create("b", "second")
    with pytest.raises(RunError, match="no run 'a' in lab any more: its folder is gone"):
        _ = run.status
