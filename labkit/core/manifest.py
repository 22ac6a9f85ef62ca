"""Folder manifests: SHA-256 and size of every file, written last, to detect damage.

 Neither safetensors nor Orbax's storage has a checksum over its content: a flipped bit is read as another
number.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from pathlib import Path, PurePosixPath
from typing import Any

from labkit.core.cache import fingerprint, sha256_file, sync_folder, write_atomic
from labkit.core.errors import os_reason
from labkit.i18n import _

NAME = "labkit-manifest.json"


def seal(folder: Path, **facts: object) -> None:
    """Bring every file of a folder to the disk, hash what lies there and write the manifest, with ``facts``
    (JSON).

    Raises:
        OSError: a file cannot be read, or the manifest not be written; then the folder is not sealed.
    """
    (folder / NAME).unlink(missing_ok=True)
    files = {}
    for path in _files(folder):
        _to_disk(path)
        files[path.relative_to(folder).as_posix()] = {
            "sha256": sha256_file(path),
            "size": path.stat().st_size,
        }
    for inner in {path.parent for path in _files(folder)}:
        sync_folder(inner)
    content = {"files": files, **facts}
    write_atomic(folder / NAME, json.dumps({**content, "seal": fingerprint(content)}, indent=1) + "\n")


def open_seal(folder: Path) -> None:
    """Take the manifest away before files of the folder are replaced."""
    (folder / NAME).unlink(missing_ok=True)


def read(folder: Path) -> dict[str, Any] | None:
    """What the manifest says; None where there is none that is whole."""
    try:
        content = json.loads((folder / NAME).read_text(encoding="utf-8"))
        whole = content.pop("seal") == fingerprint(content)
        return content if whole and all(_is_entry(*item) for item in content["files"].items()) else None
    except (OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError):
        return None


def _is_entry(name: Any, file: Any) -> bool:
    """Whether a manifest can say this of a file in its folder."""
    parts = PurePosixPath(name).parts
    inside = bool(parts) and ".." not in parts and not PurePosixPath(name).is_absolute()
    return inside and isinstance(file["sha256"], str) and isinstance(file["size"], int)


def damage(folder: Path, only: Collection[str] | None = None, alone: bool = False) -> list[str]:
    """What is not as it was when the folder was sealed, a phrase a file; empty when all is well.

    Args:
        folder: with a manifest or without, which is damage too.
        only: look at these files alone, where the manifest names them.
        alone: files that the manifest does not name, and links, are damage too. Hidden files are none.
    """
    if (content := read(folder)) is None:
        there = (folder / NAME).exists()
        return [_("{name} is damaged", name=NAME) if there else _("{name} is missing", name=NAME)]
    found = []
    for name, told in content["files"].items():
        if only is None or name in only:
            found += _difference(folder / name, name, told)
    return found + (_unknown(folder, content["files"]) if alone else [])


def _unknown(folder: Path, files: Collection[str]) -> list[str]:
    """What a folder holds besides sealed files, a phrase each."""
    found = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            found.append(_("{name} is a symbolic link", name=name))
        elif path.is_file() and name not in files and name != NAME and not path.name.startswith("."):
            found.append(_("{name} is not listed in the manifest", name=name))
    return found


def _difference(path: Path, name: str, told: dict[str, Any]) -> list[str]:
    try:
        size = path.stat().st_size
        if size != told["size"]:
            return [
                _("{name} has {size:,} bytes, expected {sealed:,}", name=name, size=size, sealed=told["size"])
            ]
        return [] if sha256_file(path) == told["sha256"] else [_("{name} has a different SHA-256", name=name)]
    except OSError as error:
        return [_("{name} cannot be read ({reason})", name=name, reason=os_reason(error))]


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _to_disk(path: Path) -> None:
    """Wait until a file is on the disk, and let the system forget it, so that it is read back from there."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
