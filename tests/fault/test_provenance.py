"""Checkpoints that belong to another step, run, copy, data set or experiment; and resumes under other conditions."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest

import labkit as lk
from labkit.core import manifest
from labkit.core.errors import RunError
from labkit.data.io.load import open_rows
from labkit.runs.store import Store
from labkit.train.checkpoint import Checkpoints
from labkit.train.experiment import Experiment
from labkit.train.provenance import NAME, Provenance, conditions, differences

from .test_kill import copy_of, kill

EXPERIMENT = Experiment.from_dict({"model": {"name": "mlp"}, "train": {"epochs": 3}})


def provenance(folder: Path, run: str = "a", **changes) -> Provenance:
    known = {
        "experiment": EXPERIMENT,
        "parts": 1,
        "rows": "r",
        "tokenizer": "t",
        "conditions": {"CPU threads": 2},
    }
    folder.mkdir(exist_ok=True)
    return Provenance(folder, run, **{**known, **changes})


def opened(folder: Path, **changes) -> Checkpoints:
    """The checkpoints of a run folder, as a new session of the run opens them."""
    return Checkpoints(folder / "checkpoints", provenance=provenance(folder, **changes))


def session(folder: Path, steps: tuple[int, ...], tools, **changes) -> Checkpoints:
    """A session that goes on from the newest sound checkpoint and saves at ``steps``; all of them stay."""
    checkpoints = opened(folder, **changes)
    newest = checkpoints.newest()
    assert checkpoints.provenance is not None
    checkpoints.provenance.begin(newest or 0, None if newest is None else checkpoints.facts(newest))
    for step in steps:
        checkpoints.write(tools.state_of(step), step, {})
    return checkpoints


@pytest.fixture
def run(tmp_path, tools):
    """The folder of a run with the checkpoints of steps 10 and 20."""
    session(tmp_path / "a", (10, 20), tools)
    return tmp_path / "a"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("step_36", "it was saved at step 20"), ("step_7", "it was saved at step 20"),
        ("step_0020", "the name is not a step"), ("step_-1", "the name is not a step"),
        ("step_1e3", "the name is not a step"), ("step_", "the name is not a step"),
        ("step_²", "the name is not a step"),
        ("step_２０", "the name is not a step"), ("step_20.bak", "the name is not a step"),
    ],
)  # fmt: skip
def test_a_checkpoint_under_another_name_is_set_aside_and_named(run, name, why, tools):
    shutil.copytree(run / "checkpoints" / "step_20", run / "checkpoints" / name)
    checkpoints = opened(run)
    assert checkpoints.newest() == 20 and checkpoints.damaged == [f"{name}: {why}"]
    assert (run / "checkpoints" / "quarantine" / name / "d").is_dir()
    assert tools.plain(checkpoints.restore(20, tools.state_of(0))) == tools.plain(tools.state_of(20))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"run": "b"}, "it belongs to run 'b'"),
        ({"run": "b", "rows": "other"}, "it belongs to run 'b'"),
        ({}, "it was written by another copy of this run"),  # the same id in another lab folder
        (
            {"experiment": EXPERIMENT.replace(train=EXPERIMENT.train.replace(seed=1))},
            "it was written by another copy of this run",
        ),
    ],
)
def test_a_checkpoint_of_another_run_is_set_aside_and_named(run, tmp_path, tools, changes, why):
    session(tmp_path / "other", (30,), tools, **changes)
    shutil.copytree(tmp_path / "other" / "checkpoints" / "step_30", run / "checkpoints" / "step_30")
    checkpoints = opened(run)
    assert checkpoints.newest() == 20 and len(checkpoints.damaged) == 1
    assert checkpoints.damaged[0].startswith(f"step_30: {why}")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"rows": "s"}, "the rows of the run differ from those it was trained on"),
        ({"tokenizer": "u"}, "the tokenizer of the run differs from the one it was trained with"),
        ({"parts": 2}, "the experiment of the run differs (parts 1 → 2)"),
        (
            {"experiment": EXPERIMENT.replace(train=EXPERIMENT.train.replace(epochs=9))},
            "the experiment of the run differs (train.epochs 3 → 9)",
        ),
        (
            {"experiment": Experiment.from_dict({"model": {"name": "mlp", "widths": [7]}})},
            "the experiment of the run differs (model.widths ",
        ),
    ],
)
def test_a_run_whose_data_or_experiment_changed_uses_no_checkpoint(run, changes, why):
    checkpoints = opened(run, **changes)
    assert checkpoints.newest() is None and len(checkpoints.damaged) == 2
    assert all(f": {why}" in text for text in checkpoints.damaged)


def test_settings_that_change_no_number_may_change(run):
    train = EXPERIMENT.train.replace(devices=1, save_minutes=1.0, on_checkpoint_failure="pause", watchdog=0.0)
    assert opened(run, experiment=EXPERIMENT.replace(train=train, name="renamed")).newest() == 20


def test_a_copied_moved_or_linked_run_folder_is_the_same_run(run, tmp_path, tools):
    shutil.copytree(run, copy := tmp_path / "a copy ü")
    shutil.move(run, moved := tmp_path / "moved")
    (link := tmp_path / "link").symlink_to(moved)
    for folder in (copy, moved, link):
        checkpoints = opened(folder)
        assert checkpoints.newest() == 20 and checkpoints.damaged == []
    session(copy, (30,), tools)  # from now on they are two
    session(moved, (30,), tools)
    shutil.rmtree(moved / "checkpoints" / "step_30")
    shutil.copytree(copy / "checkpoints" / "step_30", moved / "checkpoints" / "step_30")
    checkpoints = opened(moved)
    assert checkpoints.newest() == 20 and checkpoints.damaged == [
        "step_30: it was written by another copy of this run"
    ]


def test_what_a_later_session_replaced_does_not_return(run, tools):
    held = run / "held"
    shutil.move(run / "checkpoints" / "step_20", held)
    session(run, (15,), tools)  # from step 10
    shutil.move(held, run / "checkpoints" / "step_20")
    checkpoints = opened(run)
    assert checkpoints.newest() == 15
    assert checkpoints.damaged == ["step_20: the run was resumed from step 10 and replaced it"]


def test_a_session_that_saved_nothing_replaces_nothing(run, tools):
    session(run, (), tools)
    session(run, (), tools)
    assert opened(run).newest() == 20
    session(run, (30,), tools)
    assert opened(run).newest() == 30


def test_links_and_files_from_elsewhere_are_not_used(run, tmp_path):
    place = run / "checkpoints"
    shutil.copytree(place / "step_20", outside := tmp_path / "outside")
    shutil.rmtree(place / "step_20")
    (place / "step_20").symlink_to(outside)
    checkpoints = opened(run)
    assert checkpoints.newest() == 10
    assert checkpoints.damaged == [f"step_20: it is a symbolic link to {str(outside)!r}"]
    assert manifest.damage(outside, alone=True) == []  # nothing behind the link was touched
    (place / "step_10" / "stray").write_text("x")
    assert opened(run).newest() is None


@pytest.mark.parametrize("name", ["", "saving", "quarantine"])
def test_folders_of_checkpoints_that_are_links_are_refused(run, tmp_path, name):
    (outside := tmp_path / "outside").mkdir()
    (outside / "precious").mkdir()
    place = run / "checkpoints" / name
    if place.exists():
        place.rename(tmp_path / "away")
    place.symlink_to(outside)
    with pytest.raises(RunError, match=r"is a symbolic link to .*outside'\. Replace it by the folder itself"):
        opened(run)
    assert (outside / "precious").is_dir()


def resealed(folder: Path, **changes) -> None:
    """Seal a folder with other facts; None: without it."""
    facts = {**(manifest.read(folder) or {}), **changes}
    facts.pop("files")
    manifest.seal(folder, **{name: value for name, value in facts.items() if value is not None})


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        (
            {"run": None, "conditions": None},
            "its manifest lacks run, conditions: it was written by another version of labkit",
        ),
        ({"sessions": 7}, "its manifest lacks sessions"), ({"sessions": [1]}, "its manifest lists no sessions"),
        ({"sessions": [{"id": "x", "start": "0", "note": ""}]}, "its manifest lists no sessions"),
        ({"step": "20"}, "it was saved at step 20"), ({"step": True}, "it was saved at step True"),
        ({"step": None}, "it was saved at step None"), ({"experiment": "[model"}, "its experiment cannot be read"),
        ({"experiment": "a = 1"}, "its experiment cannot be read"),
    ],
)  # fmt: skip
def test_manifests_that_say_too_little_or_nonsense_are_refused_by_name(run, changes, why):
    resealed(run / "checkpoints" / "step_20", **changes)
    checkpoints = opened(run)
    assert checkpoints.newest() == 10 and checkpoints.damaged[0].startswith(f"step_20: {why}")


@pytest.mark.parametrize(
    "files", [{"../x": {"sha256": "", "size": 0}}, {"x": 1}, [], {"/etc/passwd": None}, None]
)
def test_a_manifest_that_reaches_out_of_its_folder_is_damaged(tmp_path, files):
    from labkit.core.cache import fingerprint

    content = {"files": files}
    (tmp_path / manifest.NAME).write_text(json.dumps({**content, "seal": fingerprint(content)}))
    assert manifest.damage(tmp_path) == [f"{manifest.NAME} is damaged"]


@pytest.mark.parametrize("text", ["", "{}", "[]", "[" * 10_000, '{"sessions": [], "seal": "x"}', None])
def test_without_the_list_of_sessions_the_newest_checkpoint_names_them(run, text):
    if text is None:
        (run / NAME).unlink()
    else:
        (run / NAME).write_text(text)
    checkpoints = opened(run)
    assert checkpoints.newest() == 20
    assert checkpoints.provenance is not None
    checkpoints.provenance.begin(20, checkpoints.facts(20))
    state = "missing" if text is None else "damaged"
    said = f"The sessions of the run are taken from the checkpoint of step 20: {NAME} is {state}."
    assert checkpoints.provenance.notes == [said]
    assert opened(run, run="b").newest() is None  # but not for another run


def test_what_is_put_there_while_a_run_saves_is_neither_trusted_nor_removed(run, tmp_path, tools):
    session(tmp_path / "b", (25, 30, 40), tools, run="b")
    checkpoints = session(run, (), tools)
    for step in (25, 30, 40):
        shutil.copytree(tmp_path / "b" / "checkpoints" / f"step_{step}", run / "checkpoints" / f"step_{step}")
    checkpoints.save(tools.state_of(30), 30, 10)
    assert checkpoints.settle() == 30 and checkpoints.steps == [10, 30]
    assert [text.partition(":")[0] for text in checkpoints.damaged] == ["step_30", "step_25", "step_40"]
    assert sorted(path.name for path in (run / "checkpoints" / "quarantine").iterdir()) == [
        "step_25", "step_30", "step_40"
    ]  # fmt: skip
    assert opened(run).newest() == 30


def test_other_conditions_are_named_as_long_as_they_count(run, tools):
    def notes(changed):
        checkpoints = opened(run, conditions=changed)
        newest = checkpoints.newest()
        assert checkpoints.provenance is not None
        checkpoints.provenance.begin(newest, checkpoints.facts(newest))
        return checkpoints.provenance.notes

    assert notes({"CPU threads": 2}) == []
    said = notes({"CPU threads": 1, "xla_cpu_fast": "true"})
    assert len(said) == 1 and "CPU threads 2 → 1; xla_cpu_fast unset → true" in said[0]
    assert said[0].startswith("Not bitwise reproducible: resumed at step 20 under different conditions")
    assert notes({"CPU threads": 2}) == []  # nothing was saved under the others
    session(run, (30,), tools, conditions={"CPU threads": 1})
    said = notes({"CPU threads": 2})
    assert ["2 → 1" in said[0], "1 → 2" in said[1]] == [True, True]  # both count from now on


def test_conditions_hold_what_changes_bits(monkeypatch):
    import jax
    import optax

    summary = {"devices": 3, "precision": "float32"}
    monkeypatch.setenv("NPROC", "5")
    monkeypatch.setenv(
        "XLA_FLAGS", "--xla_cpu_x=1 --xla_dump_to=/d --xla_force_host_platform_device_count=3 --xla_y"
    )
    found = conditions(EXPERIMENT, summary)
    expected = {
        "CPU threads": 5, "devices": 3, "platform": "cpu", "precision": "float32", "labkit": metadata.version("labkit"),
        "jax": jax.__version__, "optax": optax.__version__, "xla_cpu_x": "1", "xla_y": "true",
        "jax_enable_x64": "False",
    }  # fmt: skip
    assert {name: found.get(name) for name in expected} == expected
    assert "xla_dump_to" not in found and not any("force_host" in name for name in found)
    monkeypatch.delenv("NPROC")
    if hasattr(os, "sched_getaffinity"):
        assert conditions(EXPERIMENT, summary)["CPU threads"] == len(os.sched_getaffinity(0))
    assert differences(found, {**found, "jax": "0"}) == [f"jax {jax.__version__} → 0"]


# --- real runs ------------------------------------------------------------------------------------------------------


@pytest.fixture
def killed(finished, reviews, tmp_path):
    """A run of the experiment of ``finished``, saved at every step and killed after step 12."""
    run = copy_of(finished, Store(tmp_path / "lab"), reviews, save_minutes=0.0)
    kill(run, 12)
    return run


def aside(run) -> list[str]:
    return [text for text in run.info.summary["warnings"] if text.startswith("Checkpoint quarantined")]


def test_strangers_among_the_checkpoints_of_a_run_change_nothing(killed, finished, reviews, tmp_path, tools):
    """Rows 2 and 3: copied under another step, and from a run with another seed and equal shapes."""
    other = copy_of(finished, Store(tmp_path / "other"), reviews, seed=1, save_minutes=0.0)
    kill(other, 14)
    place = killed.info.folder / "checkpoints"
    newest = max(Checkpoints(place).steps)
    shutil.copytree(place / f"step_{newest}", place / "step_20")
    theirs = other.info.folder / "checkpoints"
    shutil.copytree(theirs / f"step_{max(Checkpoints(theirs).steps)}", place / "step_22")
    resealed(place / "step_22", step=22)
    killed.resume()
    killed.wait(300)
    tools.same_run(killed, finished)
    assert aside(killed) == [
        f"Checkpoint quarantined: step_20: it was saved at step {newest}.",
        f"Checkpoint quarantined: step_22: it belongs to run {other.id!r}.",
    ]
    assert len(killed.info.summary["quarantined"]) == 2
    losses = [step for step, _ in tools.series(killed, "train", "loss")]
    assert losses == list(range(1, killed.info.steps + 1))


def test_other_rows_in_the_folder_of_a_run_are_an_error_that_says_so(killed, tools):
    rows = open_rows(killed.info.folder / "data")
    train = rows["train"]
    changed = rows.with_splits({**rows.splits, "train": train.select([*range(1, len(train)), 0])})
    changed.save(killed.info.folder / "data")
    killed.resume()
    with pytest.raises(
        lk.LabkitError, match=r"no checkpoint of this run is usable: step_.*: the rows of the run"
    ):
        killed.wait(300)
    killed.resume()  # again: from the start, with a warning
    killed.wait(300)
    assert any("is missing: the run continues from step 0" in x for x in killed.info.summary["warnings"])
    losses = [step for step, _ in tools.series(killed, "train", "loss")]
    assert losses == list(range(1, killed.info.steps + 1))


def test_a_moved_and_linked_lab_with_other_versions_in_the_store_resumes_bitwise(
    killed, finished, tmp_path, tools
):
    shutil.move(tmp_path / "lab", moved := tmp_path / "moved lab ü")
    (link := tmp_path / "link").symlink_to(moved)
    run = lk.open_run(killed.id, link)
    run.store.update(run.id, environment={"jax": "0.1"}, name="renamed")
    run.resume()
    run.wait(300)
    tools.same_run(run, finished)
    assert run.info.summary["warnings"] == finished.info.summary["warnings"]
    assert "quarantined" not in run.info.summary


@pytest.mark.soak
def test_another_number_of_threads_is_named_in_the_run_its_panel_and_the_console(killed, tmp_path):
    words = [
        sys.executable,
        "-m",
        "labkit",
        "train",
        "--resume",
        killed.id,
        "--folder",
        str(tmp_path / "lab"),
    ]
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_multi_thread_eigen=false".strip()
    done = subprocess.run(
        words,
        env={**os.environ, "NPROC": "7", "XLA_FLAGS": flags},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    (said,) = [text for text in killed.info.summary["warnings"] if text.startswith("Not bitwise")]
    cores = len(os.sched_getaffinity(0))
    assert f"CPU threads {cores} → 7; xla_cpu_multi_thread_eigen unset → false" in said
    assert said in done.stderr
    from labkit.viz.run_html import warning_box

    assert f"CPU threads {cores} → 7" in warning_box(killed.info)
    assert "并非逐位一致" in warning_box(killed.info, "zh")


def test_the_model_of_another_run_is_refused_by_every_reader(finished, reviews, tmp_path):
    from labkit.evaluate import run_report
    from labkit.inference.registry import pipeline_of

    run, folder = copy_of(finished, Store(tmp_path / "lab"), reviews), finished.info.folder / "model"
    shutil.copytree(folder, place := run.info.folder / "model")
    said = rf"the folder of run '.*' contains the model of run '{finished.id}'\. Restore its own model"
    for read in (
        lambda: run.predictor, lambda: run.export(tmp_path / "out"), lambda: pipeline_of(run),
        lambda: run_report.folder_of(run),
    ):  # fmt: skip
        with pytest.raises(lk.LabkitError, match=said):
            read()
    (place / manifest.NAME).unlink()  # as labkit says to do with files that were changed on purpose
    assert run.predictor.predict(["dull"]) == finished.predictor.predict(["dull"])
    assert manifest.read(folder)["step"] == finished.info.summary["model_step"]  # type: ignore[index]


def test_a_checkpoint_is_not_saved_before_its_records(finished, reviews, tmp_path, monkeypatch):
    from labkit.train import loop

    run = copy_of(finished, Store(tmp_path / "lab"), reviews)
    written, full = Store.write, SimpleNamespace(on=True)

    def write(self, run_id, records, **values):
        records = list(records)
        if full.on and any(split == "train" for _, split, _, _ in records):
            import sqlite3

            raise sqlite3.OperationalError("database or disk is full")
        return written(self, run_id, records, **values)

    save = loop.TrainingLoop.save

    def saved(self):
        save(self)
        assert not full.on or self.checkpoints.steps == []
        full.on = False

    monkeypatch.setattr(Store, "write", write)
    monkeypatch.setattr(loop.TrainingLoop, "save", saved)
    run.start().wait(300)
    assert run.status == "finished" and not full.on and run.info.summary["saved_step"] == run.info.steps
