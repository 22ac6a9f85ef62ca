"""Folders of labkit's own that cannot be made or written, and a run store that cannot be opened."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import labkit as lk
from labkit.core.errors import DataError, FolderError, LabkitError, RunError
from labkit.runs.store import Store, StoreError

CSV = "text,label\ngood film,pos\nbad film,neg\n"


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    (tmp_path / "r.csv").write_text(CSV)
    (tmp_path / "file").write_text("")
    return tmp_path / "r.csv"


@pytest.mark.parametrize("below", ["", "cache"])
def test_a_cache_that_is_a_file_is_named_with_its_variable(
    csv: Path, below: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("LABKIT_CACHE", str(csv.parent / "file" / below))
    with pytest.raises(
        FolderError, match=r"the cache folder '.*file.*' is not writable: .*Set LABKIT_CACHE to"
    ):
        lk.load(csv)
    monkeypatch.delenv("LABKIT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(csv.parent / "file"))
    with pytest.raises(FolderError, match=r"'.*file/labkit' is not writable: Not a directory"):
        lk.load(csv)


def test_a_cache_without_the_right_to_write(csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path / "cache"))
    first = lk.load(csv)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert lk.load(csv).fingerprint == first.fingerprint  # what is in it is read
    csv.write_text(CSV + "fine film,pos\n")
    with pytest.raises(FolderError, match=r"is not writable: Permission denied\. Set LABKIT_CACHE"):
        lk.load(csv)


def test_a_disk_that_fills_up_while_a_table_is_read(
    csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path / "cache"))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("labkit.data.io.arrow_cache._write_streams", full)
    with pytest.raises(FolderError, match="is not writable: No space left on device"):
        lk.load(csv)


def test_a_lab_folder_that_is_a_file(csv: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LABKIT_FOLDER", str(csv.parent / "file"))
    with pytest.raises(
        FolderError, match=r"the lab folder '.*file' is not writable: it is a file\. Set LABKIT_FOLDER"
    ):
        lk.runs()


def test_a_store_that_cannot_be_opened(tmp_path: Path):
    (tmp_path / "lab" / "runs.sqlite").mkdir(parents=True)
    with pytest.raises(StoreError, match=r"runs\.sqlite' cannot be used: unable to open database file"):
        Store(tmp_path / "lab")


def test_a_store_that_stays_damaged_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    Store(tmp_path / "lab").create("a", "a")
    for other in tmp_path.glob("lab/runs.sqlite-*"):
        other.unlink()
    (tmp_path / "lab" / "runs.sqlite").write_bytes(b"no database at all, but some text of some length" * 50)
    monkeypatch.setattr("labkit.runs.store_repair.replace", lambda *_: [])
    with pytest.raises(
        RunError, match=r"runs\.sqlite' is damaged: file is not a database\. Move this file away"
    ):
        Store(tmp_path / "lab")


def test_rows_saved_where_nothing_can_be_written(csv: Path):
    with pytest.raises(DataError, match=r"file/rows' is not writable: (File exists|Not a directory)"):
        lk.load(csv).save(csv.parent / "file" / "rows")


def test_a_source_that_the_system_does_not_let_be_read(csv: Path, monkeypatch: pytest.MonkeyPatch):
    def denied(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("labkit.data.io.files.sha256_file", denied)
    with pytest.raises(DataError, match=r"'.*r\.csv' cannot be read: Permission denied"):
        lk.load(csv)


def test_the_command_line_prints_one_sentence(csv: Path):
    env = {**os.environ, "LABKIT_FOLDER": str(csv.parent / "file")}
    done = subprocess.run([sys.executable, "-m", "labkit", "runs"], env=env, capture_output=True, text=True)
    assert (
        done.returncode == 2
        and done.stderr.startswith("labkit: the lab folder '")
        and "LABKIT_FOLDER" in done.stderr
    )
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(
    not shutil.which("setpriv") or os.name != "posix" or os.geteuid(), reason="needs root and setpriv"
)
def test_an_ordinary_user_in_a_folder_that_is_read_only(csv: Path, request: pytest.FixtureRequest):
    place = Path(tempfile.mkdtemp())
    request.addfinalizer(lambda: shutil.rmtree(place))
    shutil.copy(csv, place / "r.csv")
    folder = place / "ro"
    folder.mkdir(mode=0o555)
    place.chmod(0o755)
    code = (
        "import labkit as lk\n"
        "for call in (lambda: lk.load('../r.csv'), lk.runs):\n"
        "    try: call()\n"
        "    except lk.LabkitError as error: print(error)\n"
    )
    env = {name: value for name, value in os.environ.items() if not name.startswith("LABKIT")}
    env |= {"XDG_CACHE_HOME": str(folder), "HF_HOME": str(place / "hf"), "PYTHONDONTWRITEBYTECODE": "1"}
    user = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
    done = subprocess.run(
        [*user, sys.executable, "-c", code], env=env, cwd=folder, capture_output=True, text=True
    )
    if "ModuleNotFoundError" in done.stderr:
        pytest.skip("another user cannot read the environment")
    assert done.stdout.count("Permission denied") == 2, done.stderr
    assert "LABKIT_CACHE" in done.stdout and "LABKIT_FOLDER" in done.stdout


def test_folder_errors_are_labkits_and_the_systems():
    assert issubclass(FolderError, LabkitError) and issubclass(FolderError, OSError)
