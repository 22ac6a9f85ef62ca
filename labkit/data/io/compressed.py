"""Reading of compressed tables, unpacked temporarily."""

from __future__ import annotations

import bz2
import gzip
import lzma
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any

import pyarrow as pa

from labkit.core.cache import cache_dir
from labkit.core.errors import DataError
from labkit.core.safety import system_file
from labkit.i18n import _

_PORTION = 1 << 20
#: Bytes that unpacking leaves free on the disk.
_SPARE = 1 << 30


def _zstd(path: Path) -> Any:
    return pa.input_stream(str(path), compression="zstd")


def _zip(path: Path) -> IO[bytes]:
    return zipfile.ZipFile(path).open(_member(path))


OPENERS: dict[str, Callable[[Path], Any]] = {
    ".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open, ".zst": _zstd, ".zip": _zip,
}  # fmt: skip


def ending(path: Path) -> str:
    """The ending that says how to read a table: ``.csv`` of ``reviews.csv``, of ``reviews.csv.gz``, and of a
    zip file with one CSV file in it.

    Raises:
        DataError: a zip file with several files, or with none.
    """
    last = path.suffix.lower()
    if last == ".zip" and path.is_file():
        return PurePosixPath(_member(path)).suffix.lower()
    return Path(path.stem).suffix.lower() if last in OPENERS else last


def _member(path: Path) -> str:
    """The one file in a zip file, without those that systems add."""
    try:
        with zipfile.ZipFile(path) as file:
            names = [
                info.filename
                for info in file.infolist()
                if not info.is_dir() and not any(map(system_file, PurePosixPath(info.filename).parts))
            ]
    except (zipfile.BadZipFile, OSError) as error:
        raise DataError(
            _("{file!r} is not a complete ZIP archive: {error}."), file=path.name, error=error
        ) from None
    if len(names) != 1:
        listed = ", ".join(names[:8]) or "nothing"
        raise DataError(
            _("{file!r} contains {n_names} files ({listed}); unpack it and give the path of the folder."),
            file=path.name, n_names=len(names), listed=listed,
        )  # fmt: skip
    return names[0]


@contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """The file itself, or its content in a file of the same name that is gone afterwards.

    Raises:
        DataError: the content is damaged, or the disk too small for it.
    """
    packing = path.suffix.lower()
    if packing not in OPENERS:
        yield path
        return
    with tempfile.TemporaryDirectory(dir=cache_dir("work")) as folder:
        place = Path(folder) / path.name
        try:
            with OPENERS[packing](path) as source, open(place, "xb") as file:
                while block := source.read(_PORTION):
                    if shutil.disk_usage(folder).free < _SPARE:
                        raise DataError(
                            _("{file!r} cannot be unpacked: not enough disk space."), file=path.name
                        )
                    file.write(block)
        except (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, RuntimeError) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(
                _("{file!r} is damaged or does not match its file extension: {error}."),
                file=path.name,
                error=error,
            ) from error
        yield place
