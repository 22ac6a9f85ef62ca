"""``labkit lab``: the tutorials reach the user's folder, his edits stay his, and Jupyter is started as it is."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

import labkit
from labkit.cli import lab
from labkit.cli.lab import MANIFEST, TOUR, copy_notebooks, lab_command, split_arguments, tutorials
from labkit.core.errors import LabkitError


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "package"
    (folder / "data").mkdir(parents=True)
    (folder / TOUR).write_text("tour 1")
    (folder / "01_next.ipynb").write_text("next 1")
    (folder / "data" / "small.csv").write_text("text\n")
    for hidden in (".ipynb_checkpoints", "__pycache__"):
        (folder / hidden).mkdir()
        (folder / hidden / "x").write_text("x")
    return folder


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "mine"


def content(folder: Path) -> dict[str, str]:
    paths = (path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    return {path.relative_to(folder).as_posix(): path.read_text() for path in paths}


FIRST = {TOUR: "tour 1", "01_next.ipynb": "next 1", "data/small.csv": "text\n"}


def test_a_new_folder_gets_every_file_and_nothing_hidden(source, mine) -> None:
    copied = copy_notebooks(source, mine)
    assert content(mine) == FIRST
    assert sorted(copied.added) == sorted(FIRST) and not (copied.updated or copied.kept or copied.offered)


def test_a_second_start_changes_nothing(source, mine) -> None:
    copy_notebooks(source, mine)
    before = {path: path.stat().st_mtime_ns for path in mine.rglob("*.ipynb")}
    assert copy_notebooks(source, mine) == lab.Copied()
    assert {path: path.stat().st_mtime_ns for path in mine.rglob("*.ipynb")} == before


def test_an_edit_is_never_overwritten(source, mine) -> None:
    copy_notebooks(source, mine)
    (mine / TOUR).write_text("my notes")
    copied = copy_notebooks(source, mine)
    assert content(mine) == {**FIRST, TOUR: "my notes"} and copied.kept == [TOUR] and copied.offered == []


def test_a_new_version_replaces_what_was_not_edited(source, mine) -> None:
    copy_notebooks(source, mine)
    (source / TOUR).write_text("tour 2")
    copied = copy_notebooks(source, mine)
    assert copied.updated == [TOUR] and content(mine) == {**FIRST, TOUR: "tour 2"}


def test_a_new_version_of_an_edited_file_is_put_beside_it_once(source, mine) -> None:
    copy_notebooks(source, mine)
    (mine / TOUR).write_text("my notes")
    (source / TOUR).write_text("tour 2")
    assert copy_notebooks(source, mine).offered == ["00_tour.new.ipynb"]
    assert content(mine) == {**FIRST, TOUR: "my notes", "00_tour.new.ipynb": "tour 2"}
    (mine / "00_tour.new.ipynb").unlink()  # no, thanks
    assert copy_notebooks(source, mine).offered == [] and "00_tour.new.ipynb" not in content(mine)


def test_an_offered_version_gives_way_to_a_newer_one_unless_edited(source, mine) -> None:
    copy_notebooks(source, mine)
    (mine / TOUR).write_text("my notes")
    for version in ("tour 2", "tour 3"):
        (source / TOUR).write_text(version)
        assert copy_notebooks(source, mine).offered == ["00_tour.new.ipynb"]
        assert (mine / "00_tour.new.ipynb").read_text() == version
    (mine / "00_tour.new.ipynb").write_text("my notes on 3")
    (source / TOUR).write_text("tour 4")
    assert copy_notebooks(source, mine).offered == ["00_tour.new2.ipynb"]
    assert (mine / "00_tour.new.ipynb").read_text() == "my notes on 3" and (
        mine / TOUR
    ).read_text() == "my notes"


def test_taking_the_offered_version_makes_the_file_follow_again(source, mine) -> None:
    copy_notebooks(source, mine)
    (mine / TOUR).write_text("my notes")
    (source / TOUR).write_text("tour 2")
    copy_notebooks(source, mine)
    (mine / "00_tour.new.ipynb").replace(mine / TOUR)
    (source / TOUR).write_text("tour 3")
    assert copy_notebooks(source, mine).updated == [TOUR]


def test_a_deleted_tutorial_comes_back(source, mine) -> None:
    copy_notebooks(source, mine)
    (mine / TOUR).unlink()
    assert copy_notebooks(source, mine).added == [TOUR] and content(mine) == FIRST


@pytest.mark.parametrize("manifest", [None, "{", "[1]", '{"00_tour.ipynb": 3}', "\udcff"])
def test_a_file_of_unknown_origin_counts_as_the_users(manifest, source, mine) -> None:
    mine.mkdir(parents=True)
    (mine / TOUR).write_text("was here before")
    if manifest is not None:
        (mine / MANIFEST).write_bytes(manifest.encode("utf-8", "surrogateescape"))
    copied = copy_notebooks(source, mine)
    assert (mine / TOUR).read_text() == "was here before" and copied.offered == ["00_tour.new.ipynb"]
    assert set(json.loads((mine / MANIFEST).read_text())) == set(FIRST)


def test_a_place_that_cannot_be_written_is_said(source, tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LabkitError, match=r"cannot copy the tutorials to .*file.*Choose another folder"):
        copy_notebooks(source, tmp_path / "file" / "x")


def test_jupyter_keeps_its_defaults(tmp_path) -> None:
    command = lab_command(tmp_path, ["--no-browser"])
    assert command == [
        sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={tmp_path.resolve()}",
        "--LabApp.default_url=/lab/tree/00_tour.ipynb",
        f"--ServerApp.tornado_settings={{'websocket_max_message_size': {lab.LARGEST}}}",
        f"--LabApp.extra_labextensions_path={lab.LABEXTENSIONS}", "--no-browser",
    ]  # fmt: skip
    words = " ".join(lab_command(tmp_path))
    assert not re.search(r"token|password|ip=|allow|xsrf|config", words, re.IGNORECASE)


@pytest.mark.parametrize(
    ("language", "name"), [("en", "00_start_here.ipynb"), ("zh", "00_start_here.zh.ipynb")]
)
def test_the_page_to_start_from_offers_the_panel_and_the_tour(language, name, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("LABKIT_LANGUAGE", language)
    copy_notebooks(tutorials(), tmp_path)
    assert f"--LabApp.default_url=/lab/tree/{name}" in lab_command(tmp_path)
    text, panel, course = json.loads((tmp_path / name).read_text("utf-8"))["cells"]
    assert "".join(panel["source"]) == "import labkit as lk\n\nlk.Lab()"
    links = re.findall(r"\]\((\S+?)\)", "".join([*text["source"], *course["source"]]))
    assert TOUR.replace(".ipynb", ".zh.ipynb" if language == "zh" else ".ipynb") in links
    assert all((tmp_path / link).is_file() for link in links)


def test_the_extension_of_jupyterlab_is_found_by_its_folder() -> None:
    about = json.loads((lab.LABEXTENSIONS / "labkit" / "package.json").read_text("utf-8"))
    assert about["name"] == "labkit" and about["version"] == labkit.__version__
    assert (lab.LABEXTENSIONS / "labkit" / about["jupyterlab"]["_build"]["load"]).is_file()


def test_an_option_of_the_user_wins(tmp_path) -> None:
    command = lab_command(tmp_path, ["--LabApp.default_url=/lab", "--ServerApp.root_dir=/data"])
    assert [word for word in command if "default_url" in word or "root_dir" in word] == command[-2:]
    assert command[-2:] == ["--LabApp.default_url=/lab", "--ServerApp.root_dir=/data"]


@pytest.mark.parametrize(
    ("words", "folder", "options"),
    [
        ([], "labkit-notebooks", []),
        (["here"], "here", []),
        (["--port", "9999"], "labkit-notebooks", ["--port", "9999"]),
        (["here", "--port", "9999", "--no-browser"], "here", ["--port", "9999", "--no-browser"]),
    ],
)
def test_the_folder_comes_first_and_the_rest_is_jupyters(words, folder, options) -> None:
    assert split_arguments(words) == (Path(folder), options)


def test_a_notebook_is_not_a_folder(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("notes").write_text("")
    for word in ("00_tour.ipynb", "notes"):
        with pytest.raises(LabkitError, match=rf"'{word}' is a file; `labkit lab` needs a working folder"):
            split_arguments([word])


def test_the_tutorials_are_found_inside_the_package_or_beside_it(tmp_path, monkeypatch) -> None:
    package = tmp_path / "labkit"
    monkeypatch.setattr(lab, "__file__", str(package / "cli" / "lab.py"))
    with pytest.raises(LabkitError, match=r"the tutorials are missing"):
        lab.tutorials()
    for place in (tmp_path / "notebooks", package / "notebooks"):  # the one inside goes first
        place.mkdir(parents=True)
        (place / TOUR).write_text("")
        assert lab.tutorials() == place


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="POSIX signals")
def test_the_server_asks_for_its_token_and_opens_on_the_tour(source, mine, tmp_path) -> None:
    copy_notebooks(source, mine)
    home = {"HOME": str(tmp_path / "home"), "JUPYTER_RUNTIME_DIR": str(tmp_path / "run")}
    home |= {
        "JUPYTER_CONFIG_DIR": str(tmp_path / "config"),
        "JUPYTERLAB_SETTINGS_DIR": str(tmp_path / "settings"),
    }
    root = ["--allow-root"] if os.getuid() == 0 else []
    code = "import pathlib, sys; from labkit.cli.lab import start; start(pathlib.Path(sys.argv[1]), sys.argv[2:])"
    command = [sys.executable, "-c", code, str(mine), "--no-browser", *root]
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(command, env={**os.environ, **home}, stderr=log)
    try:
        url = server_url(server, tmp_path)
        base, token = url["url"], url["token"]
        assert len(token) >= 32 and Path(url["root_dir"]) == mine.resolve()
        assert status(f"{base}api/contents/data/small.csv") == 403
        assert status(f"{base}api/contents/data/small.csv?token={token}") == 200
        with browser().open(f"{base}?token={token}", timeout=30) as page:
            assert page.url.partition("?")[0].endswith("/lab/tree/00_tour.ipynb")
        server.send_signal(signal.SIGTERM)  # reaches Jupyter itself: the command has become Jupyter
        assert server.wait(30) == 0
    finally:
        server.kill()
        server.wait()


def browser() -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(urllib.request.HTTPCookieProcessor())


def server_url(server: subprocess.Popen, folder: Path) -> dict:
    """What the running server says of itself, once it answers."""
    for _ in range(600):
        assert server.poll() is None, (folder / "log").read_text()
        for file in (folder / "run").glob("jpserver-*.json"):
            try:
                found = json.loads(file.read_text())
                status(found["url"] + "api")
                return found
            except (ValueError, urllib.error.URLError):
                break
        time.sleep(0.1)
    raise AssertionError("no server within a minute")


def status(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code
