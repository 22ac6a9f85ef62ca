"""A run store that is damaged or gone: noticed, restored from the run folders, and nothing false is read."""

from __future__ import annotations

import json
import logging
import os
import random
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

import labkit as lk
from labkit.app.runs import choices
from labkit.app.state import State
from labkit.app.steps.train import Train
from labkit.core.errors import RunError
from labkit.runs import run_record
from labkit.runs.store import RunInfo, Store
from labkit.train.logger import Record

EXPERIMENT = '[model]\nname = "bert"\n[train]\nepochs = 2\n'


@pytest.fixture(autouse=True)
def quiet(caplog):
    caplog.set_level(logging.ERROR, "labkit.store")


@pytest.fixture
def lab(tmp_path) -> Path:
    """A lab folder with three runs, all of whose records are in their folders too."""
    store = Store(tmp_path / "lab")
    for number, run in enumerate("abc"):
        store.create(run, f"run {run}", experiment=EXPERIMENT, steps=40)
        store.write(run, [(step, "train", "loss", step / 7 + number) for step in range(40)], step=40)
        store.write(run, [(step, "validation", "f1", 1 / (step + 2 + number)) for step in range(0, 40, 10)])
        store.command(run, "set", {"learning_rate": 0.1 + number})
        store.take(run, 12)
        store.update(run, status="finished", summary={"saved_step": 40, "validation_f1": 0.5 + number})
    store.connection().execute("PRAGMA wal_checkpoint(TRUNCATE)")
    store.connection().close()
    return tmp_path / "lab"


def told(folder: Path) -> dict[str, tuple[RunInfo, list[Record], list[tuple[int, object]]]]:
    """All that a store says of its runs."""
    store = Store(folder)
    return {info.id: (info, store.records(info.id), store.settings(info.id)) for info in store.runs()}


def alter(lab: Path, statement: str, *values: object) -> None:
    db = sqlite3.connect(lab / "runs.sqlite")
    db.execute(statement, values)
    db.commit()
    db.close()


def remove(path: Path) -> None:
    path.unlink()


def empty(path: Path) -> None:
    path.write_bytes(b"")


def garbage(path: Path) -> None:
    path.write_bytes(random.Random(0).randbytes(20_000))


def halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-4096])


def no_tables(path: Path) -> None:
    path.unlink()
    sqlite3.connect(path).execute("CREATE TABLE other (x)").connection.close()


def no_records(path: Path) -> None:
    db = sqlite3.connect(path)
    db.execute("DROP TABLE records")
    db.commit()
    db.close()


def another_schema(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content.replace(b"split TEXT NOT NULL", b"splat TEXT NOT NULL"))


@pytest.mark.parametrize(
    "damage",
    [
        remove,
        pytest.param(
            empty, marks=pytest.mark.soak
        ),  # SQLite waits a minute for the connections that are open
        garbage,
        halve,
        cut,
        no_tables,
        no_records,
        another_schema,
    ],
)
def test_a_store_that_is_damaged_as_a_whole_is_made_again_from_the_run_folders(lab, damage):
    before = told(lab)
    damage(lab / "runs.sqlite")
    store = Store(lab)
    assert [info.id for info in store.runs()] == ["c", "b", "a"]
    assert told(lab) == before
    store.write("a", [(41, "train", "loss", 0.5)])  # and it goes on
    assert Store(lab).records("a")[-1].step == 41
    kept = list(lab.glob("runs.sqlite.damaged-*"))
    assert bool(kept) == (damage not in (remove, no_tables, no_records)) or damage in (remove, empty)
    if damage not in (cut, no_records):  # where no page is lost, or only records were looked for
        assert store.notes


def test_the_damaged_file_is_kept_as_it_was(lab):
    garbage(lab / "runs.sqlite")
    content = (lab / "runs.sqlite").read_bytes()
    runs = lk.runs(lab)
    (aside,) = lab.glob("runs.sqlite.damaged-*")
    assert aside.read_bytes() == content
    assert aside.name in repr(runs) and "made again from the run folders, with 3 runs" in repr(runs)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE runs SET info = substr(info, 1, 40) WHERE id = 'b'",
        "UPDATE runs SET info = json_set(info, '$.summary', 5) WHERE id = 'b'",
        "UPDATE runs SET info = replace(info, '0.5', '0.9') WHERE id = 'a'",
        "UPDATE runs SET info = '[]' WHERE id = 'b'",
        "UPDATE runs SET info = x'ff00ff' WHERE id = 'b'",
        "UPDATE runs SET info = CAST(x'ff00ff' AS TEXT) WHERE id = 'b'",
        "UPDATE runs SET number = 99 WHERE id = 'a'",
        "UPDATE runs SET revision = 'x' WHERE id = 'a'",
        "UPDATE runs SET revision = NULL",
        "UPDATE runs SET id = 5 WHERE id = 'b'",
        "UPDATE runs SET id = NULL WHERE id = 'b'",
        "UPDATE runs SET id = x'ff00' WHERE id = 'b'",
        "UPDATE runs SET id = CAST(x'ff00' AS TEXT) WHERE id = 'b'",
        "UPDATE runs SET id = '../b' WHERE id = 'b'",
        "UPDATE commands SET run = 5, seq = 7 WHERE run = 'a'",
        "UPDATE runs SET id = 'z' WHERE id = 'b'",
        "DELETE FROM runs WHERE id = 'b'",
        "UPDATE records SET value = value + 1 WHERE run = 'a' AND split = 'validation'",
        "UPDATE records SET value = 'x' WHERE seq = 3",
        "UPDATE records SET step = 'x' WHERE seq = 3",
        "UPDATE records SET name = CAST(x'ff' AS TEXT) WHERE seq = 3",
        "UPDATE records SET run = 'q' WHERE seq = 3",
        "DELETE FROM records WHERE run = 'c' AND step = 20",
        "DELETE FROM records",
        "UPDATE tallies SET count = count + 1",
        "UPDATE commands SET value = '{\"learning_rate\": 100.0}' WHERE run = 'a'",
        "UPDATE commands SET value = '{' WHERE run = 'a'",
        "UPDATE commands SET taken = 13 WHERE run = 'a'",
    ],
)
def test_rows_that_were_altered_are_restored_from_the_run_folders(lab, statement):
    before = told(lab)
    alter(lab, statement)
    store = Store(lab)
    now = {info.id: (info, store.records(info.id), store.settings(info.id)) for info in store.runs()}
    now = {run: found for run, found in now.items() if run in before}
    assert now == before
    assert store.notes and told(lab) == before


@pytest.mark.parametrize("text", ['{"name": "cut', "5", '{"name": "b", "status": "odd"}', '{"name": 5}'])
def test_a_row_that_nothing_can_restore_hides_only_itself_and_is_named(lab, text):
    for file in ("run.json", "records.jsonl"):
        (lab / "b" / file).unlink()
    alter(lab, "UPDATE runs SET info = ? WHERE id = 'b'", text)
    runs = lk.runs(lab)
    assert [run.id for run in runs] == ["c", "a"]
    assert "run 'b' cannot be read: its row in the run store is damaged." in repr(runs)
    with pytest.raises(RunError, match=r"run 'b' of lab cannot be read"):
        lk.open_run("b", lab)
    assert lk.open_run("run a", lab).id == "a"
    offered = choices(State(folder=lab, language="en"))
    assert [run for _, run in offered] == ["c", "a", "b"]
    assert offered[-1][0] == "run 'b' cannot be read: its row in the run store is damaged."
    assert "无法读取" in choices(State(folder=lab, language="zh"))[-1][0]
    done = subprocess.run(
        [sys.executable, "-m", "labkit", "runs", "--folder", str(lab)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0 and "run 'b' cannot be read" in done.stdout and "Traceback" not in done.stderr


@pytest.mark.parametrize("content", ["{", "[]", '{"run": 5}', ""])
def test_a_folder_that_does_not_say_which_run_it_was_is_named(lab, content):
    (lab / "b" / "run.json").write_text(content)
    remove(lab / "runs.sqlite")
    runs = lk.runs(lab)
    assert [run.id for run in runs] == ["c", "a"]
    assert "run 'b' cannot be read: run.json is damaged." in runs.notes
    assert (
        "run 'b' cannot be read: run.json is damaged."
        in dict((b, a) for a, b in choices(State(folder=lab)))["b"]
    )
    with pytest.raises(RunError, match=r"run 'b' of lab cannot be read: run.json is damaged"):
        lk.open_run("b", lab)


def test_every_process_names_a_repair_once(lab):
    garbage(lab / "runs.sqlite")
    assert len(Store(lab).runs()) == 3  # the repair
    alter(lab, "UPDATE runs SET number = 99 WHERE id = 'a'")
    assert len(Store(lab).runs()) == 3  # another
    said = (
        "it was made again from the run folders, with 3 runs",
        "run 'a': its row in the run store was damaged",
    )
    commands = {
        "labkit runs": ["-m", "labkit", "runs", "--folder", str(lab)],
        "Python": ["-c", "import sys, labkit; print(labkit.runs(sys.argv[1]).notes)", str(lab)],
    }
    for words in commands.values():
        done = subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=300)
        assert done.returncode == 0 and [done.stdout.count(text) for text in said] == [1, 1], done
    panel = Train(state=State(folder=lab, language="zh"))
    assert "run store" not in panel.repairs.value and panel.repairs.value.count("<p") == 2
    panel.close()
    assert [lk.runs(lab).notes[0].count(said[0]), len(lk.runs(lab).notes)] == [1, 2]


def test_what_cannot_be_read_of_the_repairs_is_left_out(lab):
    deep = "[" * 9999
    for line in (
        "{",
        "5",
        "[]",
        '{"time": 1e999, "note": "x"}',
        '{"time": "x"}',
        '{"time": 1, "note": "long ago"}',
        deep,
    ):
        with open(lab / "repairs.jsonl", "a") as file:
            file.write(line + "\n")
    assert lk.runs(lab).notes == []
    alter(lab, "DELETE FROM records")
    Store(lab).records("a")
    assert len(lk.runs(lab).notes) == 1


def test_flipped_bits_are_noticed(lab):
    """Every number and text that is read is the one that was written, or the store says what is lost."""
    before = told(lab)
    content = (lab / "runs.sqlite").read_bytes()
    draw = random.Random(1)
    restored = 0
    for _ in range(60):
        changed = bytearray(content)
        changed[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        for file in lab.glob("runs.sqlite*"):
            file.unlink()
        (lab / "runs.sqlite").write_bytes(changed)
        store = Store(lab)
        now = {info.id: (info, store.records(info.id), store.settings(info.id)) for info in store.runs()}
        assert now == before
        restored += bool(store.notes)
    assert restored


def test_a_damaged_record_of_the_folder_is_not_believed(lab):
    before = told(lab)
    for file in ("run.json", "records.jsonl"):
        place = lab / "a" / file
        place.write_bytes(place.read_bytes().replace(b"0.5", b"0.9").replace(b"[3, 3", b"[3, 4"))
    assert told(lab) == before  # the store is sound
    (lab / "a" / "experiment.toml").write_text(EXPERIMENT)
    remove(lab / "runs.sqlite")
    store = Store(lab)
    assert "run 'a': run.json is damaged, its status, times and scores are not known any more" in " ".join(
        store.notes
    )
    info, records = store.run("a"), store.records("a")
    assert (info.status, info.name, info.summary) == ("lost", "bert", {})
    assert set(records) < set(before["a"][1])


def test_a_run_without_its_record_can_be_opened_and_resumed(lab):
    """Runs of earlier versions have only their experiment and their checkpoints."""
    (lab / "a" / "experiment.toml").write_text(EXPERIMENT)
    (lab / "a" / "run.json").unlink()
    remove(lab / "runs.sqlite")
    run = lk.open_run("a", lab)
    assert (run.name, run.status, run.info.experiment) == ("bert", "lost", EXPERIMENT)
    assert "labkit train --resume a" in run.info.cure
    assert len(run.store.records("a")) == 44  # those it has
    assert "scores are not known any more" in " ".join(run.store.notes)


def test_a_folder_from_another_lab_is_taken_up_and_one_of_another_name_is_not(lab, tmp_path):
    store = Store(tmp_path / "other")
    store.create("d", "run d")
    store.write("d", [(1, "train", "loss", 0.25)])
    store.update("d", status="stopped")
    shutil.copytree(tmp_path / "other" / "d", lab / "d")
    shutil.copytree(lab / "a", lab / "a copy")
    shutil.copytree(lab / "a", lab / "a2")
    shutil.copytree(tmp_path, tmp_path.parent / f"{tmp_path.name}-2", ignore=lambda *_: [])
    found = told(lab)
    assert set(found) == {"a", "b", "c", "d"}
    assert [(r.step, r.value) for r in found["d"][1]] == [(1, 0.25)] and len(found["a"][1]) == 44


def test_a_store_of_an_earlier_version_gets_checksums(tmp_path):
    (tmp_path / "a").mkdir()
    db = sqlite3.connect(tmp_path / "runs.sqlite")
    db.executescript("""
        CREATE TABLE runs (id TEXT PRIMARY KEY, number INTEGER, created REAL, info TEXT NOT NULL);
        CREATE TABLE records (seq INTEGER PRIMARY KEY AUTOINCREMENT, run TEXT NOT NULL, step INTEGER NOT NULL,
            split TEXT NOT NULL, name TEXT NOT NULL, value REAL, time REAL NOT NULL);
        CREATE TABLE commands (seq INTEGER PRIMARY KEY AUTOINCREMENT, run TEXT NOT NULL, name TEXT NOT NULL,
            value TEXT, time REAL NOT NULL, taken INTEGER);
        INSERT INTO runs VALUES ('a', 1, 5.5, '{"name": "old", "status": "stopped"}');
        INSERT INTO records (run, step, split, name, value, time) VALUES ('a', 1, 'train', 'loss', 0.5, 1.0);
        INSERT INTO records (run, step, split, name, value, time) VALUES ('a', 2, 'train', 'loss', NULL, 1.0);
        INSERT INTO commands (run, name, value, time, taken) VALUES ('a', 'set', '{"keep": "last"}', 1.0, 1);
    """)
    db.close()
    store = Store(tmp_path)
    assert store.run("a").name == "old" and store.run("a").created == 5.5
    assert store.records("a")[0].value == 0.5 and store.settings("a") == [(1, {"keep": "last"})]
    store.update("a", status="lost")
    remove(tmp_path / "runs.sqlite")
    assert len(Store(tmp_path).records("a")) == 2 and Store(tmp_path).run("a").name == "old"


@pytest.mark.parametrize("files", ["runs.sqlite*", "runs.sqlite"])
def test_a_store_removed_under_those_who_use_it_is_made_again(lab, files):
    store, other = Store(lab), Store(lab)
    assert len(store.runs()) == len(other.runs()) == 3
    store.write("b", [(40, "train", "loss", 0.5)], status="running", pid=os.getpid())
    for file in lab.glob(files):
        file.unlink()
    store.write("a", [(41, "train", "loss", 0.5)], step=41)
    assert other.run("a").step == 41 and [r.step for r in other.records("a")][-1] == 41
    garbage(lab / "runs.sqlite")
    other.write("b", [(41, "train", "loss", 0.5)], step=41)
    assert store.run("b").step == 41


LOGS = [("-wal",), ("-shm",), ("-wal", "-shm")]


@pytest.mark.parametrize("files", LOGS)
@pytest.mark.parametrize("first", ["write", "read", "other"])
def test_a_log_that_is_removed_under_those_who_use_the_store_is_noticed(lab, files, first):
    """Nothing is lost, neither what was not copied to the run folders nor a command, whoever notices it first."""
    store = Store(lab)
    store.forget_after("b", 20)
    store.write("b", [(step, "train", "loss", step / 9) for step in range(40, 50)], step=49, status="running",
                pid=os.getpid())  # fmt: skip
    store.write(
        "b", [(step, "train", "loss", step / 9) for step in range(50, 60)], step=59
    )  # in the log only
    given = store.command("b", "save")
    before = {run: store.records(run) for run in "abc"}
    for suffix in files:
        (lab / f"runs.sqlite{suffix}").unlink()
    if first == "other":
        words = [sys.executable, "-m", "labkit", "runs", "--folder", str(lab)]
        done = subprocess.run(words, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0 and "run c" in done.stdout, done.stderr
    elif first == "write":
        store.update("a", summary={"x": 5})
    assert {run: store.records(run) for run in "abc"} == before
    assert store.run("b").step == 59 and store.taken(given) is None
    assert [command.name for command in store.take("b", 59)] == ["save"]
    again = Store(lab)
    assert {run: again.records(run) for run in "abc"} == before and again.run("b").step == 59
    assert any("write-ahead log" in note or "run store was damaged" in note for note in again.notes)


def test_a_log_that_is_removed_when_nobody_uses_the_store_is_noticed(lab):
    """What was copied to the run folders is restored from there; what was forgotten stays forgotten."""
    words = [sys.executable, "-c", WITHOUT_END, str(lab)]
    subprocess.run(words, check=True, timeout=300)
    (lab / "runs.sqlite-wal").unlink()
    store = Store(lab)
    assert (store.run("b").status, store.run("b").summary["validation_f1"]) == ("stopped", 0.75)
    assert [r.step for r in store.records("b")] == [*range(21), 0, 10, 20, 41]
    assert "run 'b': the last changes of the run store were lost" in " ".join(store.notes)
    assert store.run("a").status == "finished" and len(store.records("a")) == 44


WITHOUT_END = """
import os, sys
from labkit.runs.store import Store
store = Store(sys.argv[1])
store.forget_after("b", 20)
store.write("b", [(41, "train", "loss", 0.5)], status="stopped", summary={"validation_f1": 0.75})
os._exit(0)
"""


@pytest.mark.parametrize("files", LOGS)
def test_a_log_that_is_removed_while_several_processes_write_loses_no_record(lab, files):
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(lab), run], stderr=subprocess.PIPE)
        for run in "abc"
    ]
    store = Store(lab)
    while min(store.run(run).step for run in "abc") < 60:
        assert not any(writer.poll() for writer in writers)
    for suffix in files:
        (lab / f"runs.sqlite{suffix}").unlink()
    for writer in writers:
        _, problem = writer.communicate(timeout=300)
        assert writer.returncode == 0, problem.decode()[-2000:]
    db = sqlite3.connect(lab / "runs.sqlite")
    assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    for run in "abc":
        found = [r for r in Store(lab).records(run) if r.step > 40]
        assert [r.step for r in found] == list(range(41, 300)) and all(r.value == r.step / 7 for r in found)


WRITER = """
import sys
from labkit.runs.store import Store
store = Store(sys.argv[1])
for step in range(41, 300):
    store.write(sys.argv[2], [(step, "train", "loss", step / 7)], step=step)
    if step % 20 == 0:
        store.update(sys.argv[2], summary={"saved_step": step})
store.update(sys.argv[2], status="stopped")
"""


def test_damage_while_several_processes_write_ends_with_one_sound_store(lab):
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(lab), run], stderr=subprocess.PIPE)
        for run in "abc"
    ]
    store = Store(lab)
    while store.run("a").step < 60:
        assert not any(writer.poll() for writer in writers)
    garbage(lab / "new")
    (lab / "new").replace(lab / "runs.sqlite")
    for writer in writers:
        _, problem = writer.communicate(timeout=300)
        assert writer.returncode == 0, problem.decode()[-2000:]
    db = sqlite3.connect(lab / "runs.sqlite")
    assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    for run in "abc":
        found = Store(lab).records(run)
        assert found[-1].step == 299 and all(r.value == r.step / 7 for r in found if r.step > 40)


# --- the copy in the run folder ---------------------------------------------------------------------------------------


def test_a_flush_of_the_loop_copies_nothing_and_a_change_that_lasts_copies_all(tmp_path):
    store = Store(tmp_path)
    store.create("a", "first")
    before = (tmp_path / "a" / "run.json").read_bytes()
    store.write("a", [(1, "train", "loss", float("nan"))], step=1, epoch=1, summary={"steps_per_second": 3.0})
    assert (tmp_path / "a" / "run.json").read_bytes() == before and not (
        tmp_path / "a" / "records.jsonl"
    ).exists()
    store.update("a", status="running")
    kept = run_record.read(tmp_path / "a")
    assert kept.row[3]["status"] == "running" and kept.row[3]["step"] == 1 and len(kept.records) == 1


def test_forgotten_records_are_forgotten_in_the_folder(tmp_path):
    store = Store(tmp_path)
    store.create("a", "first")
    store.write("a", [(step, "train", "loss", 0.5) for step in range(9)], status="running")
    store.forget_after("a", 3)
    store.write("a", [(step, "train", "loss", 0.25) for step in range(4, 6)], status="finished")
    before = store.records("a")
    remove(tmp_path / "runs.sqlite")
    assert Store(tmp_path).records("a") == before and [r.step for r in before] == [0, 1, 2, 3, 4, 5]


def test_a_copy_that_cannot_be_written_is_made_up_for(tmp_path, monkeypatch):
    store = Store(tmp_path)
    store.create("a", "first")

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(run_record, "append", full)
        store.write("a", [(1, "train", "loss", 0.5)], status="running")
    with monkeypatch.context() as patch:
        patch.setattr(run_record, "write", full)
        store.write("a", [(2, "train", "loss", 0.25)], status="evaluating")
    with open(tmp_path / "a" / "records.jsonl", "ab") as file:
        file.write(b'deadbeef [[7, 7, "tra')  # cut by a full disk
    store.write("a", [(3, "train", "loss", 0.125)], status="finished")
    before = store.records("a")
    remove(tmp_path / "runs.sqlite")
    assert Store(tmp_path).records("a") == before and len(before) == 3


def test_settings_of_an_experiment_that_cannot_be_read_are_empty():
    for text in ("", "[train", "train = 5", "a = " + "[" * 5000, '[train]\noptimizer = "x"'):
        info = RunInfo("a", "a", Path(), experiment=text)
        assert info.settings("train", "optimizer") == {}
    assert RunInfo("a", "a", Path(), experiment=EXPERIMENT).settings("train") == {"epochs": 2}
    assert json.dumps(RunInfo("a", "a", Path(), experiment=EXPERIMENT).settings())
