"""Sources beyond one archive: packages of Debian, samples of several packages, files that are only converted.

The packages are made here; ``apt-get`` is a script that copies them.
"""

from __future__ import annotations

import hashlib
import io
import lzma
import os
import shutil
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from labkit.core.cache import sha256_file
from labkit.core.errors import SampleError
from labkit.hub import download, samples
from labkit.hub.download import Debian, Member, PyPI, Several, extract

CONTENT = {"a.txt": b"first\n", "b.txt": b"second"}
MEMBERS = {name: Member(hashlib.sha256(data).hexdigest(), len(data)) for name, data in CONTENT.items()}


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty cache, no mirror."""
    for name in ("LABKIT_SAMPLES", "LABKIT_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path / "cache"))


def tar(files: dict[str, bytes], link: str = "") -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as file:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
        if link:
            info = tarfile.TarInfo(link)
            info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
            file.addfile(info)
    return made.getvalue()


def ar(members: dict[str, bytes]) -> bytes:
    made = b"!<arch>\n"
    for name, data in members.items():
        made += (
            f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(data):<10}`\n".encode()
            + data
            + b"\n" * (len(data) % 2)
        )
    return made


def deb(path: Path, files: dict[str, bytes] | None = None, link: str = "") -> Debian:
    inside = {f"./usr/share/toy/{name}": data for name, data in (files or CONTENT).items()}
    # the control archive is of odd length, so that the next member stands behind a filler
    control = lzma.compress(tar({"./control": b"Package: toy\n"}))
    control += b"\0" * (4 if len(control) % 2 else 1)
    data = lzma.compress(tar(inside, link))
    path.write_bytes(ar({"debian-binary": b"2.0\n", "control.tar.xz": control, "data.tar.xz": data}))
    take = {name: f"usr/share/toy/{name}" for name in CONTENT}
    return Debian(package="toy", version="1.0-1", file=path.name, sha256=sha256_file(path), size=9, take=take)


def wheel(path: Path, files: dict[str, bytes], take: dict[str, str]) -> PyPI:
    with zipfile.ZipFile(path, "w") as file:
        for name, data in files.items():
            file.writestr(name, data)
    return PyPI(package="toy", version="1.0", file=path.name, sha256=sha256_file(path), size=9, take=take)


def known(monkeypatch: pytest.MonkeyPatch, *sources: download.Source) -> None:
    sample = samples.Sample("toy", "data", "", "CC0-1.0", "this test", MEMBERS, sources)
    monkeypatch.setitem(samples.SAMPLES, "toy", sample)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def kept(folder: Path) -> dict[str, bytes]:
    return {name: data for name, data in contents(folder).items() if name != "sample.json"}


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in for apt-get is a shell script")
def test_apt_get_brings_a_package_of_debian(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = deb(
        tmp_path / "toy_1.0-1_all.deb", link="./usr/share/toy/b.txt"
    )  # a link in the place of a member
    script = f'#!/bin/sh\necho "$@" > {tmp_path}/said\ncp {tmp_path}/{source.file} .\n'
    (tmp_path / "apt-get").write_text(script)
    (tmp_path / "apt-get").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    known(monkeypatch, source)
    assert kept(samples.folder("toy")) == CONTENT
    assert (tmp_path / "said").read_text().split() == ["download", "--quiet", "toy=1.0-1"]
    assert source.label == "Debian toy 1.0-1"

    shutil.rmtree(tmp_path / "cache")
    missing = "E: Version '1.0-1' for 'toy' was not found"
    (tmp_path / "apt-get").write_text(f'#!/bin/sh\necho "{missing}" >&2\nexit 100\n')
    with pytest.raises(SampleError, match=rf"Debian toy 1\.0-1: {missing[3:]}"):
        samples.folder("toy")


def test_without_apt_get_the_file_can_be_brought(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = deb(tmp_path / "toy_1.0-1_all.deb")
    monkeypatch.setenv("PATH", str(tmp_path))
    known(monkeypatch, source)
    reason = r"apt-get is not available; download toy_1\.0-1_all\.deb elsewhere and set LABKIT_SAMPLES"
    with pytest.raises(SampleError, match=reason):
        samples.folder("toy")
    monkeypatch.setenv("LABKIT_SAMPLES", str(tmp_path))
    monkeypatch.setenv("LABKIT_OFFLINE", "1")
    assert kept(samples.folder("toy")) == CONTENT


@pytest.mark.parametrize("harm", ["cut", "no data", "no size", "endless"])
def test_a_damaged_deb_is_a_reason_not_a_crash(
    harm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "toy_1.0-1_all.deb"
    deb(path)
    if harm == "cut":
        os.truncate(path, path.stat().st_size - 120)
    elif harm == "no data":
        path.write_bytes(ar({"debian-binary": b"2.0\n", "control.tar.xz": b"x"}))
    else:
        size = b"-1        " if harm == "no size" else b"9999999999"
        path.write_bytes(path.read_bytes().replace(b"4         `\n", size + b"`\n", 1))
    take = {name: f"usr/share/toy/{name}" for name in CONTENT}
    known(
        monkeypatch, Debian(package="toy", version="1", file=path.name, sha256=sha256_file(path), take=take)
    )
    monkeypatch.setenv("LABKIT_SAMPLES", str(tmp_path))
    monkeypatch.setenv("LABKIT_OFFLINE", "1")
    said = (
        r"toy_1\.0-1_all\.deb: truncated header"
        if harm == "cut"
        else r"contains no data\.tar: damaged, or not a Debian package"
    )
    with pytest.raises(SampleError, match=said):
        samples.folder("toy")


def test_several_packages_make_one_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = wheel(tmp_path / "one-1.0-py3-none-any.whl", {"one/a": b"tsrif\n"}, {"raw/a": "one/a"})
    two = wheel(tmp_path / "two-1.0-py3-none-any.whl", {"two/b": b"second"}, {"b.txt": "two/b"})

    def turn(place: Path) -> None:
        (place / "a.txt").write_bytes((place / "raw/a").read_bytes()[4::-1] + b"\n")

    both = Several(parts=(one, two), finish=turn)
    assert both.size == 18 and both.label == "PyPI toy 1.0 + PyPI toy 1.0"
    assert both.take == {"raw/a": "one/a", "b.txt": "two/b"}
    known(monkeypatch, both)
    ran = []

    def bring(command: list[str], work: Path) -> None:
        ran.append(command)
        shutil.copy(tmp_path / (one, two)[len(ran) - 1].file, work)

    monkeypatch.setattr(download, "run_client", bring)
    assert kept(samples.folder("toy")) == CONTENT, "and what was only converted is gone"
    assert len(ran) == 2

    shutil.rmtree(tmp_path / "cache")  # a mirror must have both
    monkeypatch.setenv("LABKIT_OFFLINE", "1")
    for place, file in (("mirror", one), ("half", two)):
        (tmp_path / place).mkdir()
        shutil.copy(tmp_path / file.file, tmp_path / place)
    monkeypatch.setenv("LABKIT_SAMPLES", os.pathsep.join([str(tmp_path / "half"), str(tmp_path / "mirror")]))
    with pytest.raises(
        SampleError, match=r"mirror \(LABKIT_SAMPLES\): one-1\.0-.*whl and two-1\.0-.*whl not found"
    ):
        samples.folder("toy")
    shutil.copy(tmp_path / two.file, tmp_path / "mirror")
    assert kept(samples.folder("toy")) == CONTENT


def test_one_wrong_package_of_several_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = wheel(tmp_path / "one-1.0-py3-none-any.whl", {"a": CONTENT["a.txt"]}, {"a.txt": "a"})
    two = wheel(tmp_path / "two-1.0-py3-none-any.whl", {"b": CONTENT["b.txt"]}, {"b.txt": "b"})
    (tmp_path / two.file).write_bytes(b"something else")
    known(monkeypatch, Several(parts=(one, two)))
    monkeypatch.setenv("LABKIT_SAMPLES", str(tmp_path))
    monkeypatch.setenv("LABKIT_OFFLINE", "1")
    with pytest.raises(SampleError, match=r"two-1\.0-py3-none-any\.whl has SHA-256 .*, expected "):
        samples.folder("toy")


def test_a_package_for_the_conversion_is_asked_for_before_the_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take = {"raw/a": "a", "b.txt": "b"}
    source = PyPI(
        package="toy",
        version="1",
        file="t.whl",
        sha256="0" * 64,
        take=take,
        finish=print,
        needs="no_such_package",
    )
    known(monkeypatch, source)
    monkeypatch.setattr(download, "run_client", lambda *args: pytest.fail("a client was started"))
    with pytest.raises(
        SampleError, match=r"no_such_package is needed for the conversion: pip install 'labkit\[convert\]'"
    ):
        samples.folder("toy")


@pytest.mark.parametrize(
    ("file", "platform"),
    [
        ("toy-1.0-py3-none-any.whl", []),
        ("toy-1.0-py2.py3-none-any.whl", []),
        (
            "toy-1.0-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
            ["--platform=manylinux2014_x86_64"],
        ),
        ("toy-1.0.tar.gz", []),
    ],
)
def test_a_wheel_for_one_platform_is_fetched_on_all(file: str, platform: list[str], tmp_path: Path) -> None:
    command = PyPI(package="toy", version="1.0", file=file, sha256="0" * 64, take={}).command(tmp_path)
    assert [word for word in command if word.startswith("--platform")] == platform
    assert ("--only-binary=:all:" in command) is file.endswith(".whl")


def test_files_for_a_conversion_keep_their_names_and_stay_inside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {"x/c1": b"one", "x/c2": b"two", "x/cats": b"no", "x/y/c3": b"three", "x/../c4": b"four"}
    archive = tmp_path / "toy.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for name, data in files.items():
            file.writestr(name, data)
    into = tmp_path / "into"
    into.mkdir()
    extract(archive, {"raw/*": "x/*c[0-9]"}, {}, into)
    assert contents(into) == {"raw/c1": b"one", "raw/c2": b"two", "raw/c3": b"three", "raw/c4": b"four"}
    extract(archive, {"tree/**": "x/*c3"}, {}, into)
    assert contents(into)["tree/y/c3"] == b"three"
    with pytest.raises(SampleError, match=r"would be written outside"):
        extract(archive, {"../*": "x/c1"}, {}, into)
    monkeypatch.setattr(download, "NESTED_LIMIT", 2)
    with pytest.raises(SampleError, match="larger than the expected 2 bytes"):
        extract(archive, {"raw/new": "x/c1"}, {}, into)
