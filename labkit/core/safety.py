"""Validation of untrusted input: file types, safetensors, paths, names, URLs.

 Archives are unpacked by :mod:`labkit.hub.download` and :mod:`labkit.core.archive` alone, which validate
member paths here; addresses are fetched by :mod:`labkit.hub.web` alone, which asks here whom it may talk to.
"""

from __future__ import annotations

import ipaddress
import json
import math
import os
import pickletools
import re
import stat
import struct
from collections import Counter
from pathlib import Path
from typing import Any

from labkit.core.errors import ConfigError, DataError, LabkitError, WeightsError
from labkit.i18n import _

# --- kinds of files -----------------------------------------------------------------------------------------------

#: Endings of formats that can run code when they are opened, or that hold what cannot be checked.
UNSAFE = frozenset({
    ".pkl", ".pickle", ".joblib", ".dill", ".cloudpickle", ".pyc", ".pt", ".pth", ".bin", ".ckpt", ".npy", ".npz",
    ".h5", ".hdf5", ".keras", ".pb", ".onnx", ".gguf", ".msgpack", ".model", ".mlmodel", ".mat", ".rds", ".rdata",
})  # fmt: skip
#: First bytes → what a file is. A pickle of protocol 2 and later begins with its number, an older one with an
#: opcode.
_FIRST: tuple[tuple[bytes, str], ...] = (
    (rb"\x80[\x02-\x05]", _("a pickle")),
    (rb"(?:\(|c[\w.]+\n[\w.]+\n|\]q|\}q)", _("a pickle")),
    (rb"PK\x03\x04", _("a ZIP archive")),
    (rb"\x93NUMPY", _("a NumPy file")),
    (rb"\x89HDF", _("an HDF5 file")),
    (rb"GGUF", _("a GGUF file")),
    (rb"\x1f\x8b", _("a gzip archive")),
    (rb"BZh", _("a bzip2 archive")),
    (rb"\xfd7zXZ", _("an xz archive")),
    (rb"\x28\xb5\x2f\xfd", _("a zstandard archive")),
    (rb"PAR1", _("a Parquet file")),
    (
        rb"version https://git-lfs",
        _("a Git LFS pointer, not the file itself; run `git lfs pull` in that folder"),
    ),
)


def kind_of(head: bytes, text: bool = False) -> str | None:
    """What a file is by its first bytes; None for anything that is not known.

    Args:
        head: 32 bytes or more, where there are so many.
        text: whether text may be expected there: then the opcodes of old pickles, which are letters, say
            nothing.
    """
    for number, (pattern, kind) in enumerate(_FIRST):
        if not (text and number == 1) and re.match(pattern, head):
            return kind
    return None


def is_old_pickle(path: Path) -> bool:
    """Whether a file of text is a pickle of protocol 0 or 1 from beginning to end; it is parsed, not opened."""
    if path.stat().st_size > 1 << 20 or kind_of((data := path.read_bytes())[:64]) != "a pickle":
        return False
    try:
        return [code.name for code, _, _ in pickletools.genops(data)][-1] == "STOP"
    except Exception:  # the parser raises whatever the bytes bring
        return False


# --- safetensors --------------------------------------------------------------------------------------------------

#: Bytes of a header, tensors, and dimensions of one, at most: beyond them a file is made to cost, not to be
#: read.
HEADER, TENSORS, DIMENSIONS = 32 << 20, 100_000, 16
LARGEST = 1 << 40  # entries along one dimension
_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16,
    "I32": 32, "U32": 32, "F32": 32, "I64": 64, "U64": 64, "F64": 64,
}  # fmt: skip


def check_safetensors(path: Path) -> None:
    """Raise :class:`WeightsError` for a file whose header is inconsistent or exceeds the limits; no tensor is
    read."""
    safetensors_header(path)


def safetensors_header(path: Path) -> dict[str, dict[str, Any]]:
    """Name → dtype, shape and data_offsets of the tensors of a file, checked; no tensor is read.

    The header is a length (u64), then JSON: name → dtype, shape, begin and end in the rest of the file.

    Raises:
        WeightsError: the header is damaged, does not match the file, names a tensor twice, or exceeds the
            limits.
    """
    size = path.stat().st_size
    with open(path, "rb") as file:
        head = file.read(8)
        length = struct.unpack("<Q", head)[0] if len(head) == 8 else size
        if length > size - 8:
            raise WeightsError(_("{path} is damaged or not safetensors: the header is truncated."), path=path)
        if length > HEADER:
            raise WeightsError(
                _("{path}: its header has {length:,} bytes; at most {header:,} are read."),
                path=path, length=length, header=HEADER,
            )  # fmt: skip
        text = file.read(length)
    try:
        header = json.loads(text, object_pairs_hook=once)
        tensors = {name: told for name, told in header.items() if name != "__metadata__"}
        if len(tensors) > TENSORS:
            raise WeightsError(
                _("{path} holds {n_tensors:,} tensors; at most {tensors:,} are read."),
                path=path, n_tensors=len(tensors), tensors=TENSORS,
            )  # fmt: skip
        places = sorted(_place(path, name, told) for name, told in tensors.items())
    except (ValueError, AttributeError, KeyError, TypeError, RecursionError) as error:
        if isinstance(error, LabkitError):
            raise
        raise WeightsError(
            _("{path} is damaged or not safetensors: its header cannot be read ({error})."),
            path=path,
            error=error,
        ) from None
    end = 0
    for begin, stop in places:
        if begin != end:
            raise WeightsError(
                _("{path} is damaged or not safetensors: its tensors overlap or leave gaps at byte {end:,}."),
                path=path,
                end=end,
            )
        end = stop
    if end != size - 8 - length:
        raise WeightsError(
            _("{path} is damaged or not safetensors: {n_bytes:,} bytes for tensors of {end:,}."),
            path=path, n_bytes=size - 8 - length, end=end,
        )  # fmt: skip
    return tensors


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; a name given twice raises, since readers differ in which of the two they take."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise ValueError(_("the key {twice!r} occurs twice", twice=twice[:80]))
    return found


def _place(path: Path, name: str, told: dict[str, Any]) -> tuple[int, int]:
    shape, (begin, end) = told["shape"], told["data_offsets"]
    if len(shape) > DIMENSIONS or any(type(n) is not int or n < 0 for n in (*shape, begin, end)):
        raise WeightsError(
            _("{path}: the tensor {name!r} has an invalid shape or offset."), path=path, name=name[:80]
        )
    if told["dtype"] not in _BITS:
        raise WeightsError(
            _("{path} is damaged or of an unsupported kind: the tensor {name!r} has the dtype {dtype!r}; "
              "supported: {known}."),
            path=path, name=name[:80], dtype=str(told["dtype"])[:40], known=", ".join(_BITS),
        )  # fmt: skip
    if any(n > LARGEST for n in shape):  # [0, 2**62] has no numbers, but no array has this shape either
        raise WeightsError(
            _("{path}: the tensor {name!r} has an invalid shape or offset."), path=path, name=name[:80]
        )
    if math.prod(shape) * _BITS[told["dtype"]] // 8 != end - begin:
        raise WeightsError(
            _("{path}: the tensor {name!r} has {n_bytes:,} bytes, which does not match its shape."),
            path=path, name=name[:80], n_bytes=end - begin,
        )  # fmt: skip
    return begin, end


# --- small files ----------------------------------------------------------------------------------------------------

SMALL = 64 << 20  # bytes of a file of settings


def small_text(path: Path, kind: type[LabkitError]) -> str:
    """The text of a file of settings; raises an error of this ``kind`` where it is not UTF-8, is a pipe or
    too large.

    Raises:
        OSError: there is no such file.
    """
    check_regular(path, kind)
    if (size := path.stat().st_size) > SMALL:
        raise kind(
            _("{path} has {size:,} bytes; a settings file may have at most {small:,}."),
            path=path,
            size=size,
            small=SMALL,
        )
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise kind(
            _("{path} is not UTF-8 text ({error}). Fetch or copy it again."), path=path, error=error
        ) from None


def check_regular(path: Path, kind: type[LabkitError]) -> None:
    """Raise an error of this ``kind`` for a named pipe, a socket or a device: reading one may never end."""
    mode = path.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise kind(
            _(
                "{file!r} is a named pipe, a socket or a device, not a regular file. Copy its content to a file."
            ),
            file=path.name,
        )


# --- places and names ---------------------------------------------------------------------------------------------

_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
#: What Windows takes for devices, whatever the ending.
_DEVICES = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\..*)?", re.IGNORECASE)
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029\u202a-\u202e\u2066-\u2069]")
LONGEST_NAME = 120


#: Files and folders that systems and editors add to what a person packs, without those that begin with a dot.
_SYSTEM = frozenset({
    "__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__pycache__", "$recycle.bin",
    "system volume information", "@eadir", "lost+found", "_success",
})  # fmt: skip


def system_file(name: str) -> bool:
    """Whether a file or folder of this name was made by a system or an editor, not by the person who owns the
    data."""
    return name.startswith((".", "~$")) or name.lower() in _SYSTEM


def inside(folder: Path, name: str, kind: type[LabkitError] = DataError, *, reading: bool = False) -> Path:
    """The place of ``name`` in a folder, links followed; raises an error of this ``kind`` if it is outside."""
    try:
        path = (folder / name).resolve()
        if path.is_relative_to(folder.resolve()) and "\0" not in name:
            return path
    except (OSError, ValueError):
        pass
    if reading:
        raise kind(_("{name!r} points outside its folder."), name=name[:200])
    raise kind(_("{name!r} would be written outside its folder."), name=name[:200])


def run_id(name: str) -> str:
    """``name`` where it is fit to be a run's folder on every system. Raises :class:`ConfigError` otherwise."""
    if not _ID.fullmatch(name) or _DEVICES.fullmatch(name) or name.endswith("."):
        raise ConfigError(
            _("{name!r} is not a valid run id: use a-z, 0-9, '.', '_' and '-', at most 64 characters."),
            name=name[:80],
        )
    return name


def title(name: str) -> str:
    """``name`` where it can be shown as a run's: any language, on one line. Raises :class:`ConfigError`
    otherwise."""
    if len(name) > LONGEST_NAME:
        raise ConfigError(
            _("the name {name!r}… has {n_name} characters; the maximum is {longest_name}."),
            name=name[:40], n_name=len(name), longest_name=LONGEST_NAME,
        )  # fmt: skip
    if found := _CONTROL.search(name):
        raise ConfigError(
            _("the name {name!r} contains the control character {found!r}; remove it."),
            name=name[:80],
            found=found[0],
        )
    return name


# --- addresses ----------------------------------------------------------------------------------------------------


def public_address(address: str) -> bool:
    """Whether an IP address is one of the open internet: not this machine, its network, or a cloud's
    metadata."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    inner = [getattr(found, name, None) for name in ("ipv4_mapped", "sixtofour")]
    teredo = getattr(found, "teredo", None)
    if found.version == 6 and found in ipaddress.ip_network("64:ff9b::/96"):  # NAT64 carries any IPv4 address
        inner.append(ipaddress.IPv4Address(int(found) & 0xFFFFFFFF))
    inner = [each for each in (*inner, *(teredo or ())) if each is not None]
    return all(each.is_global and not each.is_multicast for each in (inner or [found]))


def offline() -> bool:
    """Whether ``LABKIT_OFFLINE`` forbids the network."""
    return os.environ.get("LABKIT_OFFLINE", "0") not in ("", "0")
