"""Zip files of a person: what is kept of them, and those that would do harm."""

from __future__ import annotations

import io
import stat
import zipfile
from pathlib import Path

import pytest

from labkit.core import archive
from labkit.core.archive import unpack
from labkit.core.errors import DataError

ENDINGS = (".png", ".csv")


def packed(files: dict[str, bytes], link: str = "") -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in files.items():
            file.writestr(name, data)
        if link:
            info = zipfile.ZipInfo(link)
            info.external_attr = (stat.S_IFLNK | 0o777) << 16
            file.writestr(info, "/etc/passwd")
    return made.getvalue()


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_what_is_read_is_kept_and_nothing_else(tmp_path: Path):
    files = {
        "pets/cat/1.png": b"one", "pets/dog/2.PNG": b"two", "pets/dog/notes.txt": b"", "pets/dog/run.pkl": b"",
        "__MACOSX/pets/cat/._1.png": b"", "pets/.hidden/3.png": b"", "pets/cat/.4.png": b"",
    }  # fmt: skip
    unpack(packed(files, link="pets/cat/link.png"), tmp_path / "a" / "pets", ENDINGS)
    assert names(tmp_path) == ["a/pets/cat/1.png", "a/pets/dog/2.PNG"]
    assert (tmp_path / "a/pets/dog/2.PNG").read_bytes() == b"two"
    out = archive.left_out(packed(files, link="pets/cat/link.png"), ENDINGS)
    assert out == ["pets/dog/notes.txt", "pets/dog/run.pkl", "__MACOSX/pets/cat/._1.png", "pets/.hidden/3.png",
                   "pets/cat/.4.png", "pets/cat/link.png"]  # fmt: skip
    assert list(map(archive.of_system, out)) == [False, False, True, True, True, False]
    unpack(packed({"cat/1.png": b"", "dog/2.png": b""}), tmp_path / "flat", ENDINGS)
    assert names(tmp_path / "flat") == ["cat/1.png", "dog/2.png"]


@pytest.mark.parametrize("name", ["../out.png", "a/../../out.png", "/tmp/out.png", "a/../../pets-2/out.png"])
def test_what_would_lie_outside_is_refused_and_nothing_stays(tmp_path: Path, name: str):
    with pytest.raises(DataError, match="outside its folder"):
        unpack(packed({"cat/1.png": b"x", name: b"x"}), tmp_path / "here" / "pets", ENDINGS)
    assert names(tmp_path) == []


def test_bombs_are_refused_before_they_are_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    bomb = packed({f"cat/{number}.png": bytes(1 << 20) for number in range(3)})
    assert len(bomb) < 5000
    monkeypatch.setattr(archive, "MOST_BYTES", 2 << 20)
    with pytest.raises(DataError, match="3 files of 3,145,728 bytes in total; the limit is"):
        unpack(bomb, tmp_path / "pets", ENDINGS)
    # a file that says it is smaller than it is: what comes out is what it said, and its sum is wrong
    lie = bomb.replace((1 << 20).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    with pytest.raises(DataError, match="not a readable zip file"):
        unpack(lie, tmp_path / "pets", ENDINGS)
    monkeypatch.setattr(archive, "MOST_FILES", 2)
    with pytest.raises(DataError, match="3 files of 3 bytes"):
        unpack(packed({f"cat/{number}.png": b"x" for number in range(3)}), tmp_path / "pets", ENDINGS)
    assert names(tmp_path) == []


def test_what_is_no_whole_zip_file_is_told(tmp_path: Path):
    good = packed({"cat/1.png": b"some bytes that are not the same twice" * 20})
    secret = bytearray(good)
    secret[6] |= 1  # of the file, and of its entry in the directory
    secret[good.index(b"PK\x01\x02") + 8] |= 1
    broken = bytearray(good)
    broken[50] ^= 255
    for content, said in (
        (b"text,label\n", "not a zip file"), (good[:-30], "not a zip file"), (bytes(secret), "password"),
        (bytes(broken), "not a readable zip file"), (packed({"a.pkl": b""}), "no supported file"),
        (packed({f"cat/{'x' * 300}.png": b""}), "cannot be unpacked here"),
    ):  # fmt: skip
        with pytest.raises(DataError, match=said):
            unpack(content, tmp_path / "pets", ENDINGS)
    with pytest.warns(UserWarning, match="Duplicate name"):
        twice = io.BytesIO()
        with zipfile.ZipFile(twice, "w") as file:
            file.writestr("cat/1.png", b"a")
            file.writestr("cat/1.png", b"b")
    with pytest.raises(DataError, match="twice"):
        unpack(twice.getvalue(), tmp_path / "pets", ENDINGS)
    assert names(tmp_path) == []
