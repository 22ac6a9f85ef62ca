"""Weights from the hub by branch, through a mirror, and from ModelScope; upload of a run. Servers are local."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest

from labkit.api import Run
from labkit.core.errors import WeightsError
from labkit.hub import modelscope, pretrained, upload, web

from ..models.golden.make import KEPT

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILES = {path.name: path.read_bytes() for path in (KEPT / "qwen2").iterdir()}


class Hub(http.server.BaseHTTPRequestHandler):
    """The hub's interface of files, with one repository whose branch ``main`` is at :data:`COMMIT`."""

    asked: list[str]

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        type(self).asked.append(self.path)
        headers, body = {}, b""
        path = self.path.split("?")[0]
        name = path.rpartition("/")[2]
        if path in [f"/api/models/org/name/revision/{each}" for each in ("main", COMMIT)]:
            siblings = [{"rfilename": each} for each in FILES]
            body = json.dumps({"id": "org/name", "sha": COMMIT, "siblings": siblings}).encode()
        elif path.startswith("/api/models/org/name/tree/"):
            body = json.dumps([
                {"type": "file", "path": each, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
                for each, data in FILES.items()
            ]).encode()  # fmt: skip
        elif path.startswith(f"/org/name/resolve/{COMMIT}/") and name in FILES:
            body = FILES[name]
            headers = {"ETag": f'"{hashlib.sha1(body).hexdigest()}"', "X-Repo-Commit": COMMIT}
        self.send_response(200 if body else 404)
        for key, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[str]:
    Hub.asked = []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_branch_is_loaded_from_the_mirror_that_hf_endpoint_names(hub: str, tmp_path: Path) -> None:
    code = "from labkit.hub import pretrained as p; print(p.pinned('org/name@main')); print(p.find('org/name@main'))"
    env = {**os.environ, "HF_ENDPOINT": hub, "HF_HOME": str(tmp_path), "HF_HUB_DISABLE_XET": "1",
           "NO_PROXY": "127.0.0.1"}  # fmt: skip
    env = {key: value for key, value in env.items() if key not in ("HF_HUB_OFFLINE", "LABKIT_OFFLINE")}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    name, folder = done.stdout.split()
    assert name == f"org/name@{COMMIT}"
    assert {path.name: path.read_bytes() for path in Path(folder).iterdir()} == FILES
    assert any("resolve" in path for path in Hub.asked)


def test_names_that_stay_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "org" / "name@main").mkdir(parents=True)
    for name in (
        "minilm-l6",
        "/some/folder",
        f"org/name@{COMMIT}",
        "org/name@main",
        "modelscope:org/name@master",
    ):
        assert pretrained.pinned(name) == name


def test_a_branch_that_cannot_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(self: Any, repo: str, **options: Any) -> Any:
        raise OSError(f"404 for {options['revision']}")

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", fails)
    with pytest.raises(WeightsError, match=r"org/name@next could not be downloaded .*OSError: 404 for next"):
        pretrained.find("org/name@next")


# --- ModelScope ---------------------------------------------------------------------------------------------------


def served(monkeypatch: pytest.MonkeyPatch, folder: Path, files: dict[str, bytes], **wrong: str) -> list[str]:
    """Let ``web.fetched`` answer as ModelScope; ``wrong``: SHA-256 that its list states for a file."""
    asked: list[str] = []
    base = "https://www.modelscope.cn/api/v1/models/org/name/repo"
    listed = [
        {"Path": path, "Type": "blob", "Sha256": wrong.get(path, hashlib.sha256(data).hexdigest())}
        for path, data in files.items()
    ]
    listing = json.dumps({"Code": 200, "Data": {"Files": [{"Path": "x", "Type": "tree"}, *listed]}}).encode()
    replies = {
        f"{base}?Revision=v1.0&FilePath={path.replace('/', '%2F')}": data for path, data in files.items()
    }
    replies[f"{base}/files?Revision=v1.0&Recursive=true"] = listing

    def fetched(address: str, *limits: Any) -> Path:
        asked.append(address)
        place = folder / str(len(asked))
        place.write_bytes(replies[address])
        return place

    monkeypatch.setattr(web, "fetched", fetched)
    monkeypatch.setenv("LABKIT_CACHE", str(folder / "cache"))
    return asked


def test_a_model_of_modelscope_is_fetched_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    files = {**FILES, "1_Pooling/config.json": b"{}", "pytorch_model.bin": b"pickle", "README.md": b"text"}
    asked = served(monkeypatch, tmp_path, files)
    folder = pretrained.find("modelscope:org/name@v1.0")
    found = {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }
    assert found == {**FILES, "1_Pooling/config.json": b"{}"}
    before = len(asked)
    assert (
        pretrained.find("modelscope:org/name@v1.0") == folder and len(asked) == before + 1
    )  # the list alone


def test_what_modelscope_does_not_give(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    served(monkeypatch, tmp_path, FILES, **{"config.json": "0" * 64})
    with pytest.raises(WeightsError, match=r"config.json of modelscope:org/name@v1.0 has the SHA-256"):
        pretrained.find("modelscope:org/name@v1.0")
    with pytest.raises(WeightsError, match="expected 'modelscope:org/name@revision'"):
        modelscope.folder("modelscope:org/name")
    served(monkeypatch, tmp_path, {"../outside.json": b"{}"})
    with pytest.raises(WeightsError, match="outside its folder"):
        pretrained.find("modelscope:org/name@v1.0")
    monkeypatch.setattr(web, "fetched", lambda *args: tmp_path / "1")
    (tmp_path / "1").write_text('{"Code": 404}')
    with pytest.raises(WeightsError, match="could not be downloaded"):
        pretrained.find("modelscope:org/name@v1.0")


# --- upload -------------------------------------------------------------------------------------------------------


class Api:
    """The calls of ``HfApi`` that an upload makes."""

    calls: list[tuple[Any, ...]]

    def __init__(self, **settings: Any):
        type(self).calls = [("token", settings["token"])]

    def create_repo(self, repo: str, **settings: Any) -> None:
        self.calls.append(("repo", repo, settings))

    def create_branch(self, repo: str, **settings: Any) -> None:
        self.calls.append(("branch", repo, settings))

    def upload_folder(self, **settings: Any) -> Any:
        if settings["revision"] == "locked":
            raise PermissionError("403 Forbidden")
        files = sorted(path.name for path in Path(settings["folder_path"]).iterdir())
        self.calls.append(("upload", settings["repo_id"], settings["revision"], files))
        return SimpleNamespace(oid=COMMIT)


def test_a_model_is_uploaded_to_a_branch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"")
    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    monkeypatch.delenv("LABKIT_OFFLINE", raising=False)
    settings: dict[str, Any] = {"private": True, "token": "t"}
    made = upload.upload(tmp_path, "org/name", revision="next", **settings)
    assert made == f"org/name@{COMMIT}"
    assert Api.calls == [
        ("token", "t"), ("repo", "org/name", {"private": True, "exist_ok": True}),
        ("branch", "org/name", {"branch": "next", "exist_ok": True}),
        ("upload", "org/name", "next", ["model.safetensors"]),
    ]  # fmt: skip
    upload.upload(tmp_path, "org/name", revision="main", **settings)
    assert [call[0] for call in Api.calls] == ["token", "repo", "upload"]
    with pytest.raises(WeightsError, match=r"uploaded to org/name@locked \(PermissionError: 403 Forbidden\)"):
        upload.upload(tmp_path, "org/name", revision="locked", **settings)
    with pytest.raises(WeightsError, match="'name' is no name of a repository"):
        upload.upload(tmp_path, "name", revision="main", **settings)
    monkeypatch.setenv("LABKIT_OFFLINE", "1")
    with pytest.raises(WeightsError, match="LABKIT_OFFLINE is set"):
        upload.upload(tmp_path, "org/name", revision="main", **settings)


def test_a_run_is_exported_and_uploaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def export(run: Any, folder: Path, card: Any = None) -> Path:
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        return folder

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    monkeypatch.setattr(Run, "export", export)
    monkeypatch.delenv("LABKIT_OFFLINE", raising=False)
    run = object.__new__(Run)
    assert run.push_to_hub("org/name", revision="next", token="t") == f"org/name@{COMMIT}"
    assert Api.calls[-1] == ("upload", "org/name", "next", ["config.json"])
