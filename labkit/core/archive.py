"""Safe, atomic unpacking of user-supplied zip files."""

from __future__ import annotations

import io
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path, PurePosixPath

from labkit.core.errors import DataError
from labkit.core.safety import inside, system_file
from labkit.i18n import _

#: Files of a zip file, and bytes of all of them, at most.
MOST_FILES, MOST_BYTES = 50_000, 1 << 30
_PORTION = 1 << 20


def unpack(content: bytes, into: Path, endings: Collection[str]) -> None:
    """Unpack a zip file into the new folder ``into``.

    Files with these endings are kept; hidden ones, links, and what macOS adds are passed over. Where all lies
    in one folder within another, as when a folder of folders was packed, the outer one is left out.

    Raises:
        DataError: it is not a complete zip file, or has a password; it holds none of these files; one of them
            would be written outside of the folder, or twice; there are more or larger ones than are unpacked.
    """
    into.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=into.parent, prefix=".unpacking-") as work:
        place = Path(work) / "files"
        place.mkdir()
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as file:
                _keep(file, place, endings)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
            raise DataError(
                _("{into!r} is not a readable zip file: {error}."), into=into.name, error=error
            ) from error
        except OSError as error:  # names that this system cannot have, a full disk
            raise DataError(
                _("{into!r} cannot be unpacked here: {error}."), into=into.name, error=error
            ) from error
        _inner(place).rename(into)


def left_out(content: bytes, endings: Collection[str]) -> list[str]:
    """Names of the files in a zip file that :func:`unpack` passes over, but for folders."""
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        return [info.filename for info in file.infolist() if not (info.is_dir() or _is_wanted(info, endings))]


def _keep(file: zipfile.ZipFile, place: Path, endings: Collection[str]) -> None:
    wanted = [info for info in file.infolist() if _is_wanted(info, endings)]
    if not wanted:
        raise DataError(_("the zip file contains no supported file ({endings})."), endings=", ".join(endings))
    size = sum(
        info.file_size for info in wanted
    )  # no more comes out of a file than it says, or it is damaged
    if len(wanted) > MOST_FILES or size > MOST_BYTES:
        raise DataError(
            _(
                "the zip file contains {n_files:,} files of {size:,} bytes in total; the limit is "
                "{most_files:,} files and {most_bytes:,} bytes. Unpack it next to the notebook and give "
                "the path of the folder."),
            n_files=len(wanted), size=size, most_files=MOST_FILES, most_bytes=MOST_BYTES,
        )  # fmt: skip
    for info in wanted:
        target = inside(place, info.filename)
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            raise DataError(_("the zip file contains {file!r} twice."), file=info.filename[:200])
        with file.open(info) as stream, open(target, "xb") as out:
            while portion := stream.read(_PORTION):
                out.write(portion)


def of_system(name: str) -> bool:
    """Whether a file in a zip file, or a folder that it is in, was made by a system or an editor."""
    return any(system_file(part) for part in PurePosixPath(name).parts if part not in ("..", "."))


def _is_wanted(info: zipfile.ZipInfo, endings: Collection[str]) -> bool:
    path, hidden = PurePosixPath(info.filename), of_system(info.filename)
    link = stat.S_ISLNK(info.external_attr >> 16)
    return not (info.is_dir() or hidden or link) and path.suffix.lower() in endings


def _inner(folder: Path) -> Path:
    """The folder, or the only one in it that itself holds folders, or tables."""
    children = list(folder.iterdir())
    if len(children) == 1 and children[0].is_dir() and any(child.is_dir() for child in children[0].iterdir()):
        return _inner(children[0])
    return folder
