"""Tokenised rows as flat arrays, cached and memory-mapped."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from labkit.core.cache import cache_dir, cache_root, fingerprint
from labkit.core.errors import DataError
from labkit.data.arrow import batches
from labkit.data.text.tokenizer import Tokenizer
from labkit.data.text.tokens import DTYPES, Tokens
from labkit.i18n import _

if TYPE_CHECKING:
    import datasets
    import pyarrow as pa
    from numpy.typing import DTypeLike


_FORMAT = 1
_CHUNK = 20_000  # rows tokenised at a time, at most
_BYTES = 2_000_000  # of a table tokenised at a time, as nearly as its first rows tell
_DAY = 86_400.0  # seconds after which a half-written entry is surely left over


def encode(dataset: datasets.Dataset, tokenizer: Tokenizer, max_length: int, cache: bool = True) -> Tokens:
    """Tokenise a data set, or load the tokens from the cache.

    Args:
        dataset: with the column ``text``, and if there are any ``text_pair``, ``label`` (else -1) and ``row``
            (else counted from 0).
        tokenizer: as in :meth:`Tokenizer.encode`.
        max_length: maximum tokens per row.
        cache: save the arrays in the cache folder, keyed by a hash of the tokenizer, ``max_length`` and all
            texts, labels and row numbers, and memory-map them. Damaged entries (by size and checksum) are
            recomputed.

    Raises:
        DataError: there is no column ``text``, or a text is missing.
        OSError: the cache cannot be written (disk full); nothing half-made stays.
    """
    if "text" not in dataset.column_names:
        raise DataError(
            _("the data set has no column 'text', only {column_names}."),
            column_names=", ".join(dataset.column_names),
        )
    if not cache:
        return _joined(list(_chunks(dataset, tokenizer, max_length)), tokenizer.pad_id)
    key = fingerprint(_FORMAT, tokenizer.fingerprint, max_length, _content(dataset))
    tokens = _open(cache_root() / "tokens" / key)
    if tokens is None:
        tokens = _made(cache_dir("tokens") / key, _chunks(dataset, tokenizer, max_length), tokenizer.pad_id)
    return tokens


def _tables(dataset: datasets.Dataset) -> Iterator[Any]:
    """Arrow tables of the columns that matter, a few megabytes each, with no text missing."""
    names = [name for name in ("text", "text_pair", "label", "row") if name in dataset.column_names]
    head = next(batches(dataset, names, 100), None)
    rows = max(100, _BYTES * len(head) // max(1, head.nbytes)) if head else _CHUNK
    done = 0
    for table in batches(dataset, names, min(rows, _CHUNK)):
        for name in names:
            if name.startswith("text") and table.column(name).null_count:
                place = done + table.column(name).is_null().to_pylist().index(True)
                raise DataError(
                    _("example {place} has no {name}; drop such rows when loading, or fill them in."),
                    place=place,
                    name=name,
                )
        yield table
        done += len(table)


def _chunks(dataset: datasets.Dataset, tokenizer: Tokenizer, max_length: int) -> Iterator[Tokens]:
    done = 0
    for table in _tables(dataset):
        columns = {name: table.column(name) for name in table.column_names}
        tokens = tokenizer.encode(columns["text"], columns.get("text_pair"), max_length)
        label = _numbers(columns["label"]).astype(np.int32) if "label" in columns else tokens.label
        row = _numbers(columns["row"]) if "row" in columns else tokens.row + done
        yield replace(tokens, label=label, row=row)
        done += len(tokens)


def _numbers(column: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """An Arrow column of integers as i64; nulls are -1."""
    return column.cast("int64").fill_null(-1).to_numpy()


def _content(dataset: datasets.Dataset) -> list[str]:
    """Digests of the columns, straight from Arrow's buffers and blind to how they are cut into chunks."""
    digests: dict[str, Any] = {}
    for table in _tables(dataset):
        for name in table.column_names:
            column = table.column(name)
            if not name.startswith("text"):
                digests.setdefault(name, hashlib.sha256()).update(_numbers(column).tobytes())
                continue
            for array in column.cast("large_string").chunks:
                length, data = _buffers(array)
                digests.setdefault(f"{name} lengths", hashlib.sha256()).update(length)
                digests.setdefault(name, hashlib.sha256()).update(data)
    return [f"{name} {digest.hexdigest()}" for name, digest in sorted(digests.items())]


def _buffers(array: pa.Array) -> tuple[bytes, memoryview]:
    """The lengths (i64) of an Arrow array of strings, and its UTF-8 bytes."""
    _, offsets, data = array.buffers()
    if not len(array) or offsets is None:
        return b"", memoryview(b"")
    ends = np.frombuffer(offsets, np.int64)[array.offset : array.offset + len(array) + 1]
    return np.diff(ends).tobytes(), memoryview(data or b"")[int(ends[0]) : int(ends[-1])]


def _joined(parts: list[Tokens], pad_id: int) -> Tokens:
    base = np.cumsum([0] + [len(part.ids) for part in parts])
    arrays = {
        name: np.concatenate([np.empty(0, kind), *(getattr(part, name) for part in parts)], dtype=kind)
        for name, kind in DTYPES.items()
        if name != "offsets"
    }
    ends = [part.offsets[1:] + start for part, start in zip(parts, base, strict=False)]
    offsets = np.concatenate([np.zeros(1, np.int64), *ends])
    return Tokens(**arrays, offsets=offsets, pad_id=pad_id, truncated=sum(part.truncated for part in parts))


def _open(folder: Path) -> Tokens | None:
    """The tokens of a cache entry, or None where it is missing or damaged."""
    try:
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        for name in DTYPES:
            if _checksum(folder / f"{name}.npy") != meta["files"][name]:
                return None
        arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in DTYPES}
        plain = {
            name: np.asarray(array) for name, array in arrays.items()
        }  # a view; np.memmap is slow to index
        return Tokens(**plain, pad_id=meta["pad_id"], truncated=meta["truncated"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _made(folder: Path, chunks: Iterator[Tokens], pad_id: int) -> Tokens:
    """Write an entry beside its place, then move it there; whoever comes first wins, the content is the same."""
    for old in folder.parent.glob(".writing-*"):
        if time.time() - old.stat().st_mtime > _DAY:
            shutil.rmtree(old, ignore_errors=True)
    work = Path(tempfile.mkdtemp(prefix=".writing-", dir=folder.parent))
    try:
        write_tokens(work, chunks, pad_id)
        if _open(folder) is None:
            shutil.rmtree(folder, ignore_errors=True)  # damaged
            with suppress(OSError):
                os.rename(work, folder)
        tokens = _open(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    if tokens is None:
        raise DataError(
            _("tokens cannot be cached in {folder!r}: set LABKIT_CACHE to another folder."),
            folder=str(folder.parent),
        )
    return tokens


def write_tokens(folder: Path, chunks: Iterator[Tokens], pad_id: int) -> None:
    """Write portions of tokens as one file for each column."""
    columns = {name: _Column(folder / f"{name}.npy", kind) for name, kind in DTYPES.items()}
    truncated = 0
    try:
        columns["offsets"].add(np.zeros(1, np.int64))
        for part in chunks:
            columns["offsets"].add(part.offsets[1:] + columns["ids"].count)
            for name in ("ids", "types", "label", "row"):
                columns[name].add(getattr(part, name))
            truncated += part.truncated
    finally:
        for column in columns.values():
            column.close()
    files = {name: _checksum(folder / f"{name}.npy") for name in DTYPES}
    meta = {"format": _FORMAT, "pad_id": pad_id, "truncated": truncated, "files": files}
    (folder / "meta.json").write_text(json.dumps(meta), encoding="utf-8")


class _Column:
    """A ``.npy`` file that grows: NumPy leaves room in the header for the length, which is written when
    closing."""

    def __init__(self, path: Path, kind: DTypeLike | None):
        self.file = open(path, "w+b")  # noqa: SIM115 (see close)
        self.kind, self.count = np.dtype(kind), 0
        self._header()

    def add(self, values: np.ndarray) -> None:
        self.file.write(np.ascontiguousarray(values, self.kind).tobytes())
        self.count += len(values)

    def close(self) -> None:
        with self.file:
            self.file.seek(0)
            self._header()

    def _header(self) -> None:
        descr = np.lib.format.dtype_to_descr(self.kind)
        shape = {"descr": descr, "fortran_order": False, "shape": (self.count,)}
        np.lib.format.write_array_header_1_0(self.file, shape)


def _checksum(path: Path) -> list[int]:
    """Size in bytes and CRC-32 of a file: a flipped bit would silently be a wrong word."""
    size = code = 0
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            size, code = size + len(block), zlib.crc32(block, code)
    return [size, code]
