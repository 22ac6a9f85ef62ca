"""The cache folder, fingerprints, and files that are whole or not there."""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.core import cache
from labkit.core.cache import cache_dir, cache_root, fingerprint, sha256_file, write_atomic

posix = pytest.mark.skipif(os.name != "posix", reason="POSIX permissions")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_folder_named_in_the_environment_is_the_cache(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path / "mine"))
    assert cache_root() == tmp_path / "mine" and not cache_root().exists()
    assert cache_dir("tokens", "abc") == tmp_path / "mine" / "tokens" / "abc"
    assert cache_dir("tokens", "abc").is_dir()


@pytest.mark.parametrize(
    ("platform", "variables", "place"),
    [
        ("linux", {}, ".cache/labkit"),
        ("linux", {"XDG_CACHE_HOME": "/x"}, "/x/labkit"),
        ("darwin", {}, "Library/Caches/labkit"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/labkit/Cache"),
    ],
)
def test_each_platform_has_its_place(platform, variables, place, monkeypatch) -> None:
    for name in ("LABKIT_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    assert cache_root() == Path.home() / place


@posix
def test_only_the_owner_can_enter_the_cache(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path / "cache"))
    cache_dir("compiled")
    assert mode(tmp_path / "cache") == 0o700 and mode(tmp_path / "cache" / "compiled") == 0o700


def test_the_hash_of_a_file(tmp_path) -> None:
    (tmp_path / "x").write_bytes(b"abc" * 100_000)
    assert sha256_file(tmp_path / "x") == hashlib.sha256(b"abc" * 100_000).hexdigest()


def test_a_fingerprint_is_the_same_in_another_process() -> None:
    code = (
        "from labkit.core.cache import fingerprint as f; print(f('a', {'y': 1, 'x': [2]}, b'c', 1.5, None))"
    )
    other = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()
    assert other == fingerprint("a", {"x": [2], "y": 1}, b"c", 1.5, None)


def test_a_fingerprint_tells_kinds_borders_dtypes_and_shapes_apart() -> None:
    zeros = np.zeros(4, np.int32)
    values = [
        ("ab",), ("a", "b"), ("", "ab"), (b"ab",), ("ab", ""), (1,), ("1",), (True,), (None,), (),
        (zeros,), (zeros.reshape(2, 2),), (zeros.view(np.float32),), (zeros.astype(np.int64),), (zeros.tobytes(),),
    ]  # fmt: skip
    assert len({fingerprint(*value) for value in values}) == len(values)


def test_the_layout_of_an_array_in_memory_does_not_count() -> None:
    table = np.arange(12).reshape(3, 4)
    assert fingerprint(table) == fingerprint(np.asfortranarray(table)) != fingerprint(table.T)


def test_an_array_of_objects_has_no_fingerprint() -> None:
    with pytest.raises(TypeError, match="array of Python objects"):
        fingerprint(np.array(["a", None], dtype=object))


@given(st.lists(st.text() | st.binary(), max_size=4), st.lists(st.text() | st.binary(), max_size=4))
def test_only_equal_content_has_equal_fingerprints(one, other) -> None:
    assert (fingerprint(*one) == fingerprint(*other)) == (one == other)


def test_writing_replaces_the_whole_file_and_leaves_nothing_beside_it(tmp_path) -> None:
    target = tmp_path / "x.json"
    write_atomic(target, "long content")
    write_atomic(str(target), "né")
    assert target.read_bytes() == "né".encode() and os.listdir(tmp_path) == ["x.json"]
    write_atomic(target, b"\x00")
    assert target.read_bytes() == b"\x00"


def test_after_a_failed_write_the_old_content_stands_alone(tmp_path, monkeypatch) -> None:
    target = tmp_path / "x"
    write_atomic(target, "old")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomic(target, "new")
    assert target.read_text() == "old" and os.listdir(tmp_path) == ["x"]


@posix
def test_a_written_file_has_the_permissions_of_any_new_file(tmp_path) -> None:
    (tmp_path / "usual").write_text("")
    write_atomic(tmp_path / "atomic", "")
    assert mode(tmp_path / "atomic") == mode(tmp_path / "usual")
