"""Samples come whole, checked and from the first source that works; an error names every source that did not.

The packages here are made by the tests; those marked ``samples`` use the real ones.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from labkit.core.cache import sha256_file
from labkit.core.errors import SampleError
from labkit.hub import download, samples
from labkit.hub.download import Carrier, Hub, Installed, Member, Npm, PyPI, extract
from tests.shown import shown_html

CONTENT = {"a.txt": b"first\n", "deep/b.json": b'{"b": 1}'}
MEMBERS = {name: Member(hashlib.sha256(data).hexdigest(), len(data)) for name, data in CONTENT.items()}
REVISION = "0123456789abcdef0123456789abcdef01234567"

# A package whose build script, run by pip, leaves a trace and tells the metadata.
BACKEND = """
import os, pathlib
pathlib.Path(os.environ["TRACE"]).write_text("ran")
def prepare_metadata_for_build_wheel(folder, settings=None):
    info = pathlib.Path(folder, "toy-1.0.dist-info")
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\\nName: toy\\nVersion: 1.0\\n")
    return info.name
def build_wheel(*args, **settings):
    raise NotImplementedError
"""


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty cache, no mirror, and a pip that knows only the folder ``index``."""
    for name in ("LABKIT_SAMPLES", "LABKIT_OFFLINE", "PIP_EXTRA_INDEX_URL", "PIP_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    settings = {"LABKIT_CACHE": tmp_path / "cache", "PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": 1}
    for name, value in {
        **settings,
        "PIP_FIND_LINKS": tmp_path / "index",
        "TRACE": tmp_path / "trace",
    }.items():
        monkeypatch.setenv(name, str(value))
    (tmp_path / "index").mkdir()


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in files.items():
            file.writestr(name, data)
    return path


def tarred(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as file:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    return path


def wheel(folder: Path, content: dict[str, bytes] = CONTENT) -> PyPI:
    info = {"METADATA": b"Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n", "RECORD": b""}
    info["WHEEL"] = b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    files = {f"toy/{name}": data for name, data in content.items()} | {"toy/__init__.py": b"raise SystemExit"}
    path = zipped(
        folder / "toy-1.0-py3-none-any.whl", files | {f"toy-1.0.dist-info/{n}": d for n, d in info.items()}
    )
    take = {name: f"toy/{name}" for name in CONTENT}
    return PyPI(
        package="toy",
        version="1.0",
        file=path.name,
        sha256=sha256_file(path),
        size=path.stat().st_size,
        take=take,
    )


def sdist(folder: Path) -> PyPI:
    inner = tarred(folder / "inner.tgz", {f"data/{name}": data for name, data in CONTENT.items()})
    project = b'[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    files = {"toy-1.0/pyproject.toml": project, "toy-1.0/backend.py": BACKEND.encode()}
    path = tarred(folder / "toy-1.0.tar.gz", files | {"toy-1.0/inner.tgz": inner.read_bytes()})
    inner.unlink()
    take = {name: f"toy-1.0/inner.tgz!data/{name}" for name in CONTENT}
    return PyPI(package="toy", version="1.0", file=path.name, sha256=sha256_file(path), take=take)


def known(monkeypatch: pytest.MonkeyPatch, *sources: download.Source) -> None:
    sample = samples.Sample("toy", "data", "a <b>toy</b>", "CC0-1.0", "this test", MEMBERS, sources)
    monkeypatch.setitem(samples.SAMPLES, "toy", sample)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def leftovers(tmp_path: Path) -> list[str]:
    return [
        path.name for path in (tmp_path / "cache/samples").iterdir() if path.name not in ("toy", ".toy.lock")
    ]


@pytest.mark.parametrize("make", [wheel, sdist])
def test_pip_brings_the_members_and_nothing_else(
    make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make(tmp_path / "index")
    known(monkeypatch, source)
    assert not samples.is_cached("toy")
    seen: list[tuple[int, int]] = []
    place = samples.folder("toy", lambda done, total: seen.append((done, total)))
    found = contents(place)
    record = json.loads(found.pop("sample.json"))
    assert found == CONTENT
    assert record["source"] == "PyPI toy 1.0" and record["licence"] == "CC0-1.0"
    assert record["members"] == {name: member.sha256 for name, member in MEMBERS.items()}
    assert seen[-1] == (source.size, source.size)
    assert leftovers(tmp_path) == []

    shutil.rmtree(tmp_path / "index")  # from now on the cache alone gives it
    assert samples.folder("toy") == place and samples.is_cached("toy")


def test_pip_runs_nothing_of_a_package_that_is_not_the_pinned_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = sdist(tmp_path / "index")
    known(monkeypatch, replace(source, sha256="0" * 64))
    with pytest.raises(SampleError, match="DO NOT MATCH THE HASHES"):
        samples.folder("toy")
    assert not (tmp_path / "trace").exists()
    known(monkeypatch, source)
    samples.folder("toy")
    assert (tmp_path / "trace").exists(), "the trace would have shown it"


def test_without_a_source_the_error_says_why_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = wheel(tmp_path / "index")
    shutil.rmtree(tmp_path / "index")
    monkeypatch.setenv("PATH", str(tmp_path))  # without npm
    npm = Npm(package="@toy/toy", version="1.0", file="toy.tgz", sha256="0" * 64, take=source.take)
    known(monkeypatch, source, npm, Installed(package="no_such_package", take=source.take))
    with pytest.raises(SampleError) as error:
        samples.folder("toy")
    lines = str(error.value).splitlines()
    assert lines[0] == "sample 'toy' (0.0 MB) is not in the cache, and all sources failed:"
    assert lines[1].startswith(
        "  - PyPI toy 1.0: Could not find a version that satisfies the requirement toy==1.0"
    )
    assert lines[2] == "  - npm @toy/toy 1.0: npm is not installed; install Node.js"
    assert lines[3] == "  - installed no_such_package: the package no_such_package is not installed"
    assert lines[4] == "With a network connection, download it with: labkit samples fetch toy"
    assert leftovers(tmp_path) == []


def test_offline_no_client_starts_and_a_mirror_is_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known(monkeypatch, wheel(tmp_path / "index"))
    monkeypatch.setenv("LABKIT_OFFLINE", "1")
    monkeypatch.setattr(download, "run_client", lambda *args: pytest.fail("a client was started"))
    with pytest.raises(SampleError, match=r"PyPI toy 1\.0: not tried, LABKIT_OFFLINE is set"):
        samples.folder("toy")
    monkeypatch.setenv("LABKIT_SAMPLES", os.pathsep.join([str(tmp_path), str(tmp_path / "index")]))
    assert set(contents(samples.folder("toy"))) == {*CONTENT, "sample.json"}


def test_a_wrong_file_in_the_mirror_gives_way_to_the_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = wheel(tmp_path / "index")
    known(monkeypatch, source)
    (tmp_path / source.file).write_bytes(b"something else")
    monkeypatch.setenv("LABKIT_SAMPLES", str(tmp_path))
    assert (samples.folder("toy") / "a.txt").read_bytes() == CONTENT["a.txt"]
    monkeypatch.setenv("LABKIT_OFFLINE", "1")
    shutil.rmtree(samples.folder("toy"))
    with pytest.raises(
        SampleError, match=f"has SHA-256 {hashlib.sha256(b'something else').hexdigest()}, expected "
    ):
        samples.folder("toy")


def test_the_next_source_is_tried_when_one_has_other_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = wheel(tmp_path, {**CONTENT, "a.txt": b"fIrst\n"})  # same length, another byte
    shutil.move(tmp_path / other.file, tmp_path / "index")
    with pytest.raises(SampleError, match=r"not the expected content: a\.txt"):
        known(monkeypatch, other)
        samples.folder("toy")
    (tmp_path / "fill").mkdir()
    second = sdist(tmp_path / "fill")
    monkeypatch.setenv("PIP_FIND_LINKS", f"{tmp_path / 'index'} {tmp_path / 'fill'}")
    known(monkeypatch, other, second)
    assert (samples.folder("toy") / "a.txt").read_bytes() == CONTENT["a.txt"]


def test_npm_packs_into_the_work_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if sys.platform == "win32":
        pytest.skip("the stand-in for npm is a shell script")
    lines = [b'{"id": 1}', b'{"id": 2}\n']
    path = tarred(
        tmp_path / "toy.tgz",
        {"package/x/1.json": lines[0], "package/no.json": b"-", "package/y/2.json": lines[1]},
    )
    member = Member(hashlib.sha256(b'{"id": 1}\n{"id": 2}\n').hexdigest(), 20)
    (tmp_path / "npm").write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/said\ncp {path} .\n')
    (tmp_path / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    take = {"all.jsonl": "package/*/*.json"}
    npm = Npm(package="@toy/toy", version="1.0", file=path.name, sha256=sha256_file(path), take=take)
    sample = samples.Sample("toy", "data", "", "", "", {"all.jsonl": member}, (npm,))
    monkeypatch.setitem(samples.SAMPLES, "toy", sample)
    assert (samples.folder("toy") / "all.jsonl").read_bytes() == b'{"id": 1}\n{"id": 2}\n'
    said = (tmp_path / "said").read_text()
    assert said.startswith("pack @toy/toy@1.0 --ignore-scripts ")


class FakeHub(BaseHTTPRequestHandler):
    """The three answers of the hub that a snapshot of one commit needs."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        names = [*CONTENT, "large.bin"]
        if path == f"/api/models/org/toy/revision/{REVISION}":
            info = {"id": "org/toy", "sha": REVISION, "siblings": [{"rfilename": name} for name in names]}
            return self.answer(json.dumps(info).encode())
        if path == f"/api/models/org/toy/tree/{REVISION}":
            tree = [{"type": "file", "path": name, "size": 1, "oid": "0" * 40} for name in names]
            return self.answer(json.dumps(tree).encode())
        name = path.removeprefix(f"/org/toy/resolve/{REVISION}/")
        return self.answer(CONTENT[name]) if name in CONTENT else self.send_error(404)

    def answer(self, data: bytes) -> None:
        self.send_response(200)
        headers = {
            "Content-Length": len(data),
            "ETag": f'"{hashlib.sha1(data).hexdigest()}"',
            "X-Repo-Commit": REVISION,
        }
        for name, value in headers.items():
            self.send_header(name, str(value))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    def log_message(self, *args: object) -> None:
        pass


def test_the_hub_is_asked_for_one_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    constants = pytest.importorskip("huggingface_hub.constants")
    server = ThreadingHTTPServer(("127.0.0.1", 0), FakeHub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    home = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setattr(constants, "ENDPOINT", home)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", home + "/{repo_id}/resolve/{revision}/{filename}"
    )
    known(monkeypatch, Hub(repo="org/toy", revision=REVISION, take={name: name for name in CONTENT}))
    try:
        found = contents(samples.folder("toy"))
    finally:
        server.shutdown()
        server.server_close()
    assert json.loads(found.pop("sample.json"))["source"] == "hub org/toy@0123456"
    assert found == CONTENT
    shutil.rmtree(tmp_path / "cache")
    with pytest.raises(SampleError, match=r"hub org/toy@0123456: \w+Error: "):
        samples.folder("toy")


def test_a_hub_revision_is_a_whole_commit() -> None:
    with pytest.raises(
        SampleError, match=r"revision 'main' of org/toy is not a commit: give all 40 digits\."
    ):
        Hub(repo="org/toy", revision="main", take={})


def test_an_installed_package_is_found_but_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "site" / "explosive_toy"
    for name, data in {**CONTENT, "__init__.py": b"raise RuntimeError('imported')"}.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_bytes(data)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    known(monkeypatch, Installed(package="explosive_toy", take={name: name for name in CONTENT}))
    monkeypatch.setenv("LABKIT_OFFLINE", "1")  # needs no network
    assert set(contents(samples.folder("toy"))) == {*CONTENT, "sample.json"}


def test_verify_finds_a_changed_byte_and_fetches_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known(monkeypatch, wheel(tmp_path / "index"))
    monkeypatch.setenv("LABKIT_SAMPLES", str(tmp_path / "index"))  # spares the time of pip
    damaged = samples.folder("toy") / "deep/b.json"
    assert samples.verify("toy") == []
    damaged.write_bytes(b'{"b": 2}')
    assert samples.is_cached("toy"), "sizes alone cannot tell"
    assert samples.verify("toy") == ["deep/b.json"]
    assert damaged.read_bytes() == CONTENT["deep/b.json"] and samples.verify("toy") == []


@pytest.mark.parametrize("harm", ["cut", "missing", "no record", "half a record", "older table"])
def test_a_cache_that_is_not_whole_is_filled_again(
    harm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known(monkeypatch, wheel(tmp_path / "index"))
    monkeypatch.setenv("LABKIT_SAMPLES", str(tmp_path / "index"))  # spares the time of pip
    place = samples.folder("toy")
    record = place / "sample.json"
    if harm == "cut":
        os.truncate(place / "a.txt", 2)
    elif harm == "missing":
        (place / "a.txt").unlink()
    elif harm == "no record":
        record.unlink()
    elif harm == "half a record":
        os.truncate(record, 20)
    else:
        record.write_text(record.read_text().replace(MEMBERS["a.txt"].sha256, "1" * 64))
    assert not samples.is_cached("toy")
    samples.folder("toy")
    assert (place / "a.txt").read_bytes() == CONTENT["a.txt"] and samples.verify("toy") == []
    assert leftovers(tmp_path) == []


# What another process does with the sample: argv holds the source and the members as JSON, and one of the ends below.
OTHER = """
import json, os, sys
from labkit.hub import download as fetch, samples
source, members = json.loads(sys.argv[1])
members = {name: fetch.Member(*pair) for name, pair in members.items()}
samples.SAMPLES["toy"] = samples.Sample("toy", "data", "", "", "", members, (fetch.PyPI(**source),))
run = fetch.run_client
def traced(*args):
    with open(os.environ["TRACE"], "a") as file:
        file.write("fetched\\n")
    run(*args)
fetch.run_client = traced
if sys.argv[2] == "dies":  # when all is downloaded
    samples.os.replace = lambda *args: os._exit(9)
assert (samples.folder("toy") / "a.txt").read_bytes() == b"first\\n"
"""


def other_process(source: PyPI, end: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", OTHER, json.dumps([vars(source), MEMBERS]), end]
    return subprocess.Popen(command, cwd=Path(samples.__file__).parents[2])


@pytest.mark.parametrize("stale", [False, True])
def test_of_many_processes_one_fetches(stale: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = wheel(tmp_path / "index")
    known(monkeypatch, source)
    if stale:
        monkeypatch.setenv("LABKIT_SAMPLES", str(tmp_path / "index"))
        (samples.folder("toy") / "a.txt").unlink()
        monkeypatch.delenv("LABKIT_SAMPLES")
    others = [other_process(source, "well") for _ in range(4)]
    assert [other.wait(60) for other in others] == [0] * 4
    assert (tmp_path / "trace").read_text() == "fetched\n"
    assert set(contents(samples.folder("toy"))) == {*CONTENT, "sample.json"} and leftovers(tmp_path) == []


def test_of_many_threads_one_fetches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known(monkeypatch, wheel(tmp_path / "index"))
    monkeypatch.setenv("LABKIT_SAMPLES", str(tmp_path / "index"))
    fills, together = [], threading.Barrier(8)
    fill = samples.fill_sample
    monkeypatch.setattr(samples, "fill_sample", lambda *args: (fills.append(args), fill(*args)))

    def get() -> Path:
        together.wait(20)
        return samples.folder("toy", False)

    with ThreadPoolExecutor(8) as pool:
        places = {job.result() for job in [pool.submit(get) for _ in range(8)]}
    assert len(places) == 1 and len(fills) == 1


def test_a_killed_fetch_leaves_no_half_sample_and_no_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = wheel(tmp_path / "index")
    known(monkeypatch, source)
    assert other_process(source, "dies").wait(60) == 9
    assert not samples.is_cached("toy") and not samples.place_of(samples.SAMPLES["toy"]).exists()
    assert len(leftovers(tmp_path)) == 1, "what it was working on"
    samples.folder("toy")
    assert leftovers(tmp_path) == [] and samples.verify("toy") == []


def test_a_cache_that_cannot_be_written_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known(monkeypatch, wheel(tmp_path / "index"))

    def refuse(handle: int) -> None:
        raise PermissionError(13, "Permission denied", "/somewhere")

    monkeypatch.setattr(samples, "lock_file", refuse)
    with pytest.raises(
        SampleError, match=r"the cache is not writable: .*'/somewhere'\. Set LABKIT_CACHE to another"
    ):
        samples.folder("toy")


def test_an_interrupted_fetch_is_interrupted_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(command: list[str], work: Path) -> None:
        (work / "half.whl").write_bytes(bytes(10))
        raise KeyboardInterrupt

    known(monkeypatch, wheel(tmp_path / "index"), sdist(tmp_path / "index"))
    monkeypatch.setattr(download, "run_client", interrupt)
    with pytest.raises(KeyboardInterrupt):
        samples.folder("toy")
    assert leftovers(tmp_path) == [] and not samples.is_cached("toy")


def test_an_archive_gives_no_link_and_nothing_beyond_its_known_size(tmp_path: Path) -> None:
    link = tmp_path / "link.tar"
    with tarfile.open(link, "w") as file:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
            info = tarfile.TarInfo("a.txt")
            info.type, info.linkname = kind, "/etc/passwd"
            file.addfile(info)
    zip_link = tmp_path / "link.zip"
    with zipfile.ZipFile(zip_link, "w") as archive:
        info = zipfile.ZipInfo("a.txt")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    into = tmp_path / "into"
    into.mkdir()
    for path in (link, zip_link):
        extract(path, {"a.txt": "a.txt"}, MEMBERS, into)
        assert list(into.iterdir()) == []
    bomb = zipped(tmp_path / "bomb.zip", {"a.txt": bytes(50_000_000)})
    with pytest.raises(SampleError, match=r"a\.txt is larger than the expected 6 bytes"):
        extract(bomb, {"a.txt": "a.txt"}, MEMBERS, into)
    assert (into / "a.txt").stat().st_size <= 1 << 20, "it stopped at the first piece"
    with pytest.raises(SampleError, match=r"'\.\./a\.txt' would be written outside"):
        extract(bomb, {"../a.txt": "a.txt"}, {"../a.txt": MEMBERS["a.txt"]}, into)


def test_an_archive_in_an_archive_is_bounded_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = zipped(tmp_path / "inner.zip", CONTENT)
    outer = tarred(tmp_path / "outer.tgz", {"x/inner.zip": inner.read_bytes()})
    into = tmp_path / "into"
    into.mkdir()
    take = {name: f"x/inner.zip!{name}" for name in CONTENT}
    extract(outer, take, MEMBERS, into)
    assert contents(into) == CONTENT
    monkeypatch.setattr(download, "NESTED_LIMIT", 10)
    with pytest.raises(SampleError, match="larger than the expected 10 bytes"):
        extract(outer, take, MEMBERS, tmp_path / "again")


def test_a_damaged_archive_is_a_reason_not_a_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = sdist(tmp_path / "index")
    path = tmp_path / "index" / whole.file
    os.truncate(path, path.stat().st_size // 2)
    known(monkeypatch, replace(whole, sha256=sha256_file(path)))
    monkeypatch.setenv("LABKIT_SAMPLES", str(tmp_path / "index"))
    monkeypatch.setenv("LABKIT_OFFLINE", "1")
    with pytest.raises(SampleError, match=r"Compressed file ended before|unexpected end of data"):
        samples.folder("toy")


@pytest.mark.parametrize(("progress", "shown"), [(True, True), (False, False), (None, False)])
def test_the_bar_names_the_sample(
    progress: bool | None,
    shown: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    monkeypatch.setenv("LABKIT_FOREGROUND", "1")
    known(monkeypatch, wheel(tmp_path / "index"))
    samples.folder("toy", progress)
    said = capsys.readouterr()
    assert ("toy from PyPI toy 1.0" in said.err) is shown and said.out == ""


def test_bytes_are_reported_while_they_arrive(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    with download.watch_size(tmp_path, 1000, lambda done, total: seen.append((done, total))):
        for part in range(3):
            (tmp_path / f"part{part}").write_bytes(bytes(300))
            time.sleep(0.5)
            if part == 1:
                (tmp_path / "part0").unlink()  # clients move files about; the bar does not go back
    assert seen == [(300, 1000), (600, 1000), (1000, 1000)]


def test_the_table_shows_what_is_cached_and_escapes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known(monkeypatch, wheel(tmp_path / "index"))
    lines = {line.split()[0]: line for line in repr(samples.SAMPLES).splitlines()}
    assert "no      CC0-1.0" in lines["toy"] and lines["name"].split()[:5] == [
        "name",
        "kind",
        "size",
        "cached",
        "licence",
    ]
    samples.folder("toy")
    (row,) = (row for row in samples.describe() if row["name"] == "toy")
    assert row["cached"] is True and row["size"] == 14 and row["sources"] == ["PyPI toy 1.0"]
    assert "a &lt;b&gt;toy&lt;/b&gt;" in shown_html(samples.SAMPLES)


def test_an_unknown_name_gets_the_nearest_one() -> None:
    with pytest.raises(
        SampleError, match=r"unknown sample 'movie-review'\. Did you mean 'movie-reviews'\? Known: "
    ):
        samples.folder("movie-review")


@pytest.mark.parametrize("sample", samples.SAMPLES.values(), ids=list(samples.SAMPLES))
def test_the_table_is_complete(sample: samples.Sample) -> None:
    assert all(len(member.sha256) == 64 and member.size > 0 for member in sample.members.values())
    assert sample.licence and sample.origin and sample.about
    for source in sample.sources:
        taken = {target for target in source.take if not target.startswith("raw/")}
        assert taken <= set(sample.members)
        assert source.finish or taken == set(source.take) == set(sample.members)
        assert not source.network or source.size > 0
        for part in getattr(source, "parts", [source]):
            assert not isinstance(part, Carrier) or (
                len(part.sha256) == 64 and part.version.split(":")[-1] in part.file
            )


LARGE = {name for name, sample in samples.SAMPLES.items() if sample.size > 200_000_000}
ALL = [pytest.param(name, marks=[pytest.mark.slow] * (name in LARGE)) for name in samples.SAMPLES]


@pytest.mark.samples
@pytest.mark.parametrize("name", ALL)
def test_the_real_samples_are_what_the_table_says(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # the user's cache and network
    folder = samples.folder(name)
    assert samples.verify(name) == []
    assert set(contents(folder)) == {*samples.SAMPLES[name].members, "sample.json"}
