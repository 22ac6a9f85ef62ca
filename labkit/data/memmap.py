"""Out-of-core arrays with one entry per row: memory-mapped temporary files, sorted in chunks.

 The system takes pages of a mapped file back when memory is short, and the file is gone with its array. What
a table of any length asks of memory itself is a few portions.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from datasets import Dataset, Features
from datasets.features.features import generate_from_arrow_type

from labkit.core.cache import cache_dir

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

PORTION = 1 << 17  # entries worked on at a time
_SMALL = 1 << 22  # bytes up to which an array is kept in memory

Kinds = Callable[[slice], np.ndarray]


def array(count: int, kind: DTypeLike | None) -> np.ndarray:
    """Room for ``count`` numbers, not set to anything: in a file in the cache folder, or in memory where it
    is small.

    In memory too where the folder cannot be written or the disk is full.
    """
    kind = np.dtype(kind)
    size = count * kind.itemsize
    if size > _SMALL:
        try:
            with tempfile.TemporaryFile(dir=cache_dir("work")) as file:
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(file.fileno(), 0, size)  # a disk that is full says so now
                return np.asarray(
                    np.memmap(file, kind, "r+" if hasattr(os, "posix_fallocate") else "w+", 0, (count,))
                )
        except OSError:
            pass
    return np.empty(count, kind)


def portions(count: int, wide: int = 1) -> Iterator[slice]:
    """0 … count-1 in portions; ``wide``: numbers that an entry has."""
    size = max(1, PORTION // wide)
    return (slice(start, min(start + size, count)) for start in range(0, count, size))


def take(values: np.ndarray, index: np.ndarray, kind: DTypeLike | None = None) -> np.ndarray:
    """``values[index]``, as ``kind``."""
    out = array(len(index), kind or values.dtype)
    for part in portions(len(index)):
        out[part] = values[index[part]]
    return out


def where(count: int, test: Kinds) -> np.ndarray:
    """The places at which ``test`` of a portion is true, ascending, i32 or i64."""
    found = array(sum(int(np.count_nonzero(test(part))) for part in portions(count)), _index(count))
    end = 0
    for part in portions(count):
        here = np.flatnonzero(test(part))
        found[end : end + len(here)] = here + part.start
        end += len(here)
    return found


def histogram(values: np.ndarray) -> np.ndarray:
    """``np.bincount``, of integers of any width without a wide copy."""
    found = np.zeros(int(values.max(initial=-1)) + 1, np.int64)
    for part in portions(len(values)):
        found += np.bincount(values[part], minlength=len(found))
    return found


def by_kind(count: int, kinds: Kinds, top: int) -> tuple[np.ndarray, np.ndarray]:
    """The stable order of ``count`` small numbers, and how many there are of each: a counting sort.

    Args:
        count: n.
        kinds: the numbers of a portion, each in 0 … top-1; asked twice.
        top: how many different numbers there may be.

    Returns:
        What ``np.argsort(numbers, kind="stable")`` returns, i32[n] (i64 where n asks for it), and counts
        i64[top].
    """
    narrow = np.uint16 if top <= 1 << 16 else np.int64  # NumPy sorts 16 bits by radix
    counts = np.zeros(top, np.int64)
    for part in portions(count):
        counts += np.bincount(kinds(part), minlength=top)
    begin = np.cumsum(counts) - counts
    out = array(count, _index(count))
    for part in portions(count):
        here = kinds(part).astype(narrow)
        found = np.bincount(here, minlength=top)
        place = np.repeat(begin - (np.cumsum(found) - found), found) + np.arange(len(here))
        out[place] = np.argsort(here, kind="stable") + part.start
        begin += found
    return out, counts


def order(values: np.ndarray) -> np.ndarray:
    """``np.argsort(values, kind="stable")`` of u64 that are as good as drawn, by their first bits, then by
    the rest.

    Returns:
        i32[n], or i64 where n asks for it. Values that are not spread evenly cost memory, up to that of the
        whole.
    """
    bits = max(1, (len(values) // PORTION).bit_length() + 1)
    out, counts = by_kind(
        len(values), lambda part: (values[part] >> np.uint64(64 - bits)).astype(np.int64), 1 << bits
    )
    end = 0
    for count in counts.tolist():
        here = out[end : end + count]
        here[:] = here[np.argsort(values[here], kind="stable")]
        end += count
    return out


def _index(count: int) -> Any:
    return np.int32 if count < 1 << 31 else np.int64


# --- the same for data sets, which copy the numbers into memory (select() even into a Python list) -------------------


def chosen(dataset: Dataset, places: np.ndarray) -> Dataset:
    """``dataset.select(places)``.

    Args:
        dataset: of n rows.
        places: integers in 0 … n-1, in any order.
    """
    if len(places) * 8 <= _SMALL:
        return dataset.select(places.astype(np.int64))
    stored = _stored(dataset, places)
    table = pa.table({"indices": _as_arrow(stored)})
    made = Dataset(
        dataset.data, dataset.info.copy(), dataset.split, table, _fingerprint(dataset, "chosen", stored)
    )
    form = dataset.format
    made.set_format(form["type"], form["columns"], form["output_all_columns"], **form["format_kwargs"])
    return made


def _stored(dataset: Dataset, places: np.ndarray) -> np.ndarray:
    """Positions of the chosen rows in the stored table, u64[n]."""
    out = array(len(places), np.uint64)
    stored = None if dataset._indices is None else dataset._indices.column(0)
    for part in portions(len(places)):
        out[part] = places[part] if stored is None else stored.take(pa.array(places[part])).to_numpy()
    return out


def with_column(dataset: Dataset, name: str, values: np.ndarray) -> Dataset:
    """``dataset.add_column(name, values)``; the values are not copied and must not be changed any more."""
    made = _fingerprint(dataset, name, values)
    return dataset.add_column(name, _as_arrow(values), new_fingerprint=made)


def assembled(
    dataset: Dataset, columns: Mapping[str, str | np.ndarray | pa.Array | pa.ChunkedArray]
) -> Dataset:
    """A data set of columns of ``dataset`` and of new ones, in one step: ``datasets`` copies all that it
    knows of every column whenever one is added, renamed or removed, which for wide tables takes time by the
    square of their width.

    Args:
        dataset: of n rows.
        columns: name → which column of ``dataset`` it is, or n new values; arrays of NumPy are not copied and
            must not be changed any more.
    """
    dataset = dataset.flatten_indices() if dataset._indices is not None else dataset
    table, known = dataset.data.table, dataset.info.features
    digest = hashlib.sha256(dataset._fingerprint.encode())
    arrays, kinds = [], {}
    for name, values in columns.items():
        if isinstance(values, str):
            arrays.append(table.column(values))
            kinds[name] = known[values]
            told: Iterable[Any] = (values.encode("utf-8", "surrogatepass"),)
        else:
            made = _as_arrow(values) if isinstance(values, np.ndarray) else values
            arrays.append(made)
            kinds[name] = generate_from_arrow_type(made.type)
            pieces = made.chunks if isinstance(made, pa.ChunkedArray) else [made]
            told = (
                part
                for piece in pieces
                for part in (repr((piece.offset, len(piece))).encode(), *piece.buffers())
            )
        digest.update(f" {name} {kinds[name]} ".encode("utf-8", "surrogatepass"))
        for part in told:
            digest.update(b"" if part is None else part)
    schema = Features(kinds).arrow_schema
    return Dataset(pa.Table.from_arrays(arrays, schema=schema), fingerprint=digest.hexdigest()[:16])


def _as_arrow(values: np.ndarray) -> pa.Array:
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [None, pa.py_buffer(values)])


def _fingerprint(dataset: Dataset, what: str, values: np.ndarray) -> str:
    digest = hashlib.sha256(f"{dataset._fingerprint} {what} {values.dtype.str}".encode())
    digest.update(np.ascontiguousarray(values))
    return digest.hexdigest()[:16]
