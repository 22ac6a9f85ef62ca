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


def test_a_run_that_is_worked_on_stays(tmp_path) -> None:
    store = Store(tmp_path)
    info = store.create("a", "first", status="finished")
    with (
        file_lock.exclusive(info.folder / "lock", 1.0),
        pytest.raises(RunError, match="stop it before you delete it"),
    ):
        store.delete("a")
    assert store.run("a").folder.is_dir()
