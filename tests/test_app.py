"""``labkit app``: what it writes, and how Voilà is started; the page itself is opened in tests/browser."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import nbformat
import pytest
from typer.testing import CliRunner

from labkit.cli import app, main
from labkit.cli.lab import LARGEST
from labkit.core import extras
from labkit.core.errors import LabkitError


def test_the_notebook_works_in_the_users_folder(tmp_path: Path) -> None:
    notebook = app.write_files(tmp_path)
    book = nbformat.read(notebook, as_version=4)
    nbformat.validate(book)
    assert [cell.source for cell in book.cells] == [
        f"import os\n\nos.chdir({str(tmp_path)!r})\n\nimport labkit as lk\n\nlk.Lab()\n"
    ]
    page = (notebook.parent / "voila" / "templates" / "labkit" / "index.html.j2").read_text()
    assert "http" not in page and "super.super()" in page
    assert json.loads((notebook.parent / "voila" / "templates" / "labkit" / "conf.json").read_text())
    assert sorted(path.name for path in tmp_path.iterdir()) == [".labkit"]


def test_it_listens_here_only_and_asks_for_a_token(tmp_path: Path) -> None:
    notebook = app.write_files(tmp_path)
    call = app.command(notebook)
    assert call[:4] == [sys.executable, "-m", "voila", str(notebook)]
    size = f"--Voila.tornado_settings={{'websocket_max_message_size': {LARGEST}}}"
    rate = "--ZMQChannelsWebsocketConnection.limit_rate=False"
    late = "--VoilaExecutor.iopub_timeout=120"
    assert call[4:] == ["--Voila.ip=127.0.0.1", "--template=labkit", "--token", size, rate, late]
    mine = app.command(notebook, ["--token=abc", "--port=1", "--Voila.ip=0.0.0.0"])
    assert mine[4:] == [
        "--template=labkit",
        size,
        rate,
        late,
        "--token=abc",
        "--port=1",
        "--Voila.ip=0.0.0.0",
    ]
    assert app.environment(notebook)["JUPYTER_PATH"].split(os.pathsep)[0] == str(notebook.parent)


def test_it_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "is_installed", lambda module: module != "voila")
    with pytest.raises(LabkitError, match=r"voila.*python -m pip install 'labkit\[app\]'"):
        app.start(tmp_path)
    told = CliRunner().invoke(main.app, ["app", str(tmp_path)])
    assert told.exit_code == 2 and "labkit[app]" in told.stderr
    (tmp_path / "file").write_text("")
    with pytest.raises(LabkitError, match="cannot write to"):
        app.write_files(tmp_path / "file")


def test_the_command_becomes_voila(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called = []
    monkeypatch.setattr(app.os, "execve", lambda *arguments: called.append(arguments))
    monkeypatch.setattr(app.subprocess, "call", lambda *arguments, **options: 0)
    monkeypatch.setattr(extras, "is_installed", lambda module: True)
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(main.app, ["app", "work", "--port=8899"]).exit_code == 0
    assert called[0][1][-1] == "--port=8899" and Path.cwd() == tmp_path / "work"
