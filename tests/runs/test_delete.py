"""Runs are deleted with all they have; those that are worked on are not."""

from __future__ import annotations

import pytest

from labkit.core import file_lock
from labkit.core.errors import RunError
from labkit.runs.store import Store


def rows(store: Store, run: str) -> int:
    return len(store.records(run, 0))


def test_a_run_is_deleted_with_its_rows_and_its_folder(tmp_path) -> None:
    store = Store(tmp_path)
    for run in ("a", "b"):
        info = store.create(run, run, status="finished", experiment='model = {name = "mlp"}')
        (info.folder / "checkpoints").mkdir()
        (info.folder / "experiment.toml").write_text("")
        store.write(run, [(1, "train", "loss", 0.5)], step=1)
    store.delete("a")
    for seen in (store, Store(tmp_path)):  # no folder is left that would be entered again
        assert [info.id for info in seen.runs()] == ["b"] and rows(seen, "a") == 0 and rows(seen, "b") == 1
    assert not (tmp_path / "a").exists() and (tmp_path / "b" / "checkpoints").is_dir()
    assert not any(path.name.startswith(".deleted") for path in tmp_path.iterdir())
    with pytest.raises(RunError, match="no run 'a'"):
        store.delete("a")
    assert store.create("a", "again").status == "created"


def test_a_deleted_run_can_be_restored_until_it_is_deleted_for_ever(tmp_path, monkeypatch) -> None:
    store = Store(tmp_path)
    for run in ("a", "b"):
        info = store.create(run, f"name {run}", status="finished", experiment='model = {name = "mlp"}')
        store.write(run, [(1, "train", "loss", 0.5), (2, "validation", "f1", 0.25)], step=2)
        (info.folder / "model").mkdir()
    before, records = store.run("a"), [record[1:5] for record in store.records("a")]
    store.delete("a", forever=False)
    for seen in (store, Store(tmp_path)):
        assert [info.id for info in seen.runs()] == ["b"] and not seen.notes
    store.delete("b")  # another one, for ever: the trash of the first stays
    restored = store.restore("a")
    assert (restored.name, restored.status, restored.created) == (before.name, before.status, before.created)
    assert [record[1:5] for record in store.records("a")] == records and (restored.folder / "model").is_dir()
    assert not store.notes and not (tmp_path / ".deleted").exists()
    with pytest.raises(RunError, match="'b' cannot be restored"):
        store.restore("b")
    store.delete("a", forever=False)
    monkeypatch.setattr("labkit.runs.store.UNDO", -1)
    store.create("c", "c", status="finished")
    store.delete("c", forever=False)  # what was deleted long ago goes
    assert not (tmp_path / ".deleted").exists()


def test_a_run_that_is_worked_on_stays(tmp_path) -> None:
    store = Store(tmp_path)
    info = store.create("a", "first", status="finished")
    with (
        file_lock.exclusive(info.folder / "lock", 1.0),
        pytest.raises(RunError, match="stop it before you delete it"),
    ):
        store.delete("a")
    assert store.run("a").folder.is_dir()
