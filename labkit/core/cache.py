"""Cache folder for samples, tokens and compiled programs."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from labkit.core.errors import FolderError, LabkitError, os_reason
from labkit.i18n import _


def cache_root() -> Path:
    """The cache folder: ``LABKIT_CACHE``, or ``labkit`` in the user's cache folder of this platform."""
    if named := os.environ.get("LABKIT_CACHE"):
        return Path(named).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "labkit"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "labkit" / "Cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "labkit"


def cache_dir(*parts: str) -> Path:
    """Make and return a folder of the cache, readable by its owner only (compiled programs are native code).

    Raises:
        FolderError: it cannot be made or written.
    """
    path = cache_root()
    with writable_cache():
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        for part in parts:  # one by one: with parents=True the folders between would be everybody's
            path = path / part
            path.mkdir(exist_ok=True, mode=0o700)
        if not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    return path


def lab_folder(folder: str | Path | None = None) -> Path:
    """The lab folder: ``folder``, else ``LABKIT_FOLDER``, else ``.labkit`` in the working directory. It is not
    made."""
    return Path(folder or os.environ.get("LABKIT_FOLDER") or ".labkit").absolute()


def writable_cache() -> AbstractContextManager[None]:
    """:func:`writable` for the cache."""
    return writable(_("cache folder"), cache_root(), "LABKIT_CACHE")


@contextmanager
def writable(kind: str, folder: Path, variable: str) -> Iterator[None]:
    """Raise :class:`FolderError`, with the variable that names another folder, for whatever the system
    refuses."""
    try:
        yield
    except LabkitError:
        raise
    except OSError as error:
        why = _("it is a file") if folder.is_file() else os_reason(error)
        raise FolderError(
            _("the {kind} {folder!r} is not writable: {why}. Set {variable} to a writable folder."),
            kind=kind, folder=str(folder), why=why, variable=variable,
        ) from error  # fmt: skip


def sha256_file(path: str | Path) -> str:
    """SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint(*objects: object) -> str:
    """SHA-256 over values (str, bytes, numpy arrays, anything JSON can hold); equal content gives equal
    digits.

    Raises:
        TypeError: a value has no stable bytes, such as an array of Python objects.
    """
    import numpy as np  # here: the command line answers without it

    digest = hashlib.sha256()
    for value in objects:
        if isinstance(value, np.ndarray):
            if value.dtype.hasobject:
                raise TypeError("an array of Python objects has no fingerprint: its bytes are addresses.")
            kind, data = f"array {value.dtype.str} {value.shape}", np.ascontiguousarray(value).tobytes()
        elif isinstance(value, bytes):
            kind, data = "bytes", value
        else:
            kind, data = "json", json.dumps(value, sort_keys=True).encode()
        digest.update(f"{kind} {len(data)}\n".encode())
        digest.update(data)
    return digest.hexdigest()


def write_atomic(path: str | Path, content: str | bytes, sync: bool = True) -> None:
    """Write a file so that a reader, or a crash, sees the old content or the new, never a part of it.

    A new file gets the permissions that any new file of this user gets. Without ``sync`` this holds for a
    crash of the process only, not for a power failure.
    """
    path = Path(path)
    data = content.encode() if isinstance(content, str) else content
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with beside.open("xb") as file:
            file.write(data)
            file.flush()
            if sync:
                os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    if sync:
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk: without it a power failure may undo a rename."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
