"""Reading of data sets as Arrow in ordered chunks, faster than ``datasets`` iteration."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import math
import threading
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from labkit.data import memmap

if TYPE_CHECKING:
    from datasets import Dataset
    from numpy.typing import DTypeLike

BATCH = 10_000  # rows in a table, at most
_BYTES = 1 << 25  # bytes in a table, at most, unless a single row has more
LEAST_BYTES = 256  # bytes of an array that is known by its bytes, not as text
_OFTEN = 8  # tables after which Arrow gives the memory back that it does not use


class _Bars:
    """The progress bars of ``datasets``, which are on or off for the whole process."""

    lock, users, shown = threading.Lock(), 0, False


@contextlib.contextmanager
def without_bars() -> Iterator[None]:
    """No progress bars of ``datasets`` meanwhile, in any thread: for work whose output belongs to no cell."""
    from datasets import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    with _Bars.lock:
        if not _Bars.users:
            _Bars.shown = not are_progress_bars_disabled()
            disable_progress_bars()
        _Bars.users += 1
    try:
        yield
    finally:
        with _Bars.lock:
            _Bars.users -= 1
            if not _Bars.users and _Bars.shown:
                enable_progress_bars()


def text_columns(dataset: Dataset) -> list[str]:
    """The normalised text columns that ``dataset`` has: none, ``text``, or ``text`` and ``text_pair``."""
    return [name for name in ("text", "text_pair") if name in dataset.column_names]


def nested(kind: pa.DataType) -> bool:
    """Whether a value of this type is made of others: lists, structs, arrays as ``datasets`` keeps them."""
    return pa.types.is_nested(kind) or isinstance(kind, pa.BaseExtensionType)


def batches(dataset: Dataset, columns: list[str] | None = None, size: int = BATCH) -> Iterator[pa.Table]:
    """Arrow tables of up to ``size`` rows, in order; what is mapped from the disk is read no further than
    that."""
    for number, table in enumerate(_batches(dataset, columns, size), start=1):
        yield table
        if number % _OFTEN == 0:
            pa.default_memory_pool().release_unused()  # else it keeps several times what is needed at once


def _batches(dataset: Dataset, columns: list[str] | None, size: int) -> Iterator[pa.Table]:
    table = dataset.data.table
    table = table.select(dataset.column_names if columns is None else columns)
    if len(table) and table.num_columns:
        size = max(1, min(size, _BYTES * len(table) // max(1, table.nbytes)))  # pictures are wide
    if dataset._indices is None:
        yield from grouped(table, size)
        return
    parts = table.to_batches()
    ends = np.cumsum([0, *map(len, parts)])
    for chosen in dataset._indices.table.column(0).chunks:
        for start in range(0, len(chosen), size):
            yield _taken(parts, ends, chosen[start : start + size].to_numpy().astype(np.int64), table.schema)


def grouped(table: pa.Table, size: int) -> Iterator[pa.Table]:
    """A table as it is stored, nothing copied; only small pieces are put together."""
    held: list[pa.RecordBatch] = []
    for part in filter(len, table.to_batches(max_chunksize=size)):
        if held and (sum(map(len, held)) + len(part) > size or len(part) >= size // 10):
            yield pa.Table.from_batches(held)
            held = []
        held.append(part)
        if len(part) >= size // 10:
            yield pa.Table.from_batches(held)
            held = []
    if held:
        yield pa.Table.from_batches(held)


def _taken(parts: list[pa.RecordBatch], ends: np.ndarray, rows: np.ndarray, schema: pa.Schema) -> pa.Table:
    """Some rows of a table in pieces that end at ``ends``; datasets itself would take them one by one, in
    Python."""
    order = None if (rows[1:] >= rows[:-1]).all() else np.argsort(rows, kind="stable")
    rows = rows if order is None else rows[order]
    which = np.searchsorted(ends, rows, side="right") - 1
    cuts = np.flatnonzero(np.diff(which, prepend=-1, append=len(parts)))
    found = [
        _rows_of(parts[which[start]], rows[start:end] - ends[which[start]])
        for start, end in pairwise(cuts.tolist())
    ]
    table = pa.Table.from_batches(found, schema)
    return table if order is None else table.combine_chunks().take(pa.array(np.argsort(order)))


def _rows_of(part: pa.RecordBatch, rows: np.ndarray) -> pa.RecordBatch:
    """Some rows, in ascending order; pictures and sounds as wholes, where Arrow takes list by list."""
    first, last = int(rows[0]), int(rows[-1]) + 1
    index, columns = pa.array(rows - first), []
    for values in part.slice(first, last - first).columns:
        found = stacked(values) if nested(values.type) else None
        if found is None or found[0].nbytes < LEAST_BYTES:
            columns.append(values.take(index))
        else:
            columns.append(as_lists(found[rows - first], values.type))
    return pa.RecordBatch.from_arrays(columns, schema=part.schema)


def as_lists(array: np.ndarray, kind: pa.DataType) -> pa.Array:
    """An array as nested lists of a type that :func:`stacked` reads; the numbers are not copied."""
    kinds = [kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind]
    while nested(kinds[-1]):
        kinds.append(kinds[-1].value_type)
    made = pa.array(array.reshape(-1), kinds.pop())
    for length, each in zip(reversed(array.shape[1:]), reversed(kinds), strict=True):
        if pa.types.is_fixed_size_list(each):
            made = pa.FixedSizeListArray.from_arrays(made, type=each)
        else:
            wide = np.int32 if pa.types.is_list(each) else np.int64
            ends = pa.array(np.arange(0, len(made) + 1, length, wide))
            made = (pa.ListArray if wide is np.int32 else pa.LargeListArray).from_arrays(
                ends, made, type=each
            )
    return pa.ExtensionArray.from_storage(kind, made) if isinstance(kind, pa.BaseExtensionType) else made


def column(dataset: Dataset, name: str) -> pa.ChunkedArray:
    """One column as Arrow."""
    if dataset._indices is None:
        return dataset.data.table.column(name)
    tables = [part.column(0) for part in batches(dataset, [name])]
    kind = dataset.data.table.schema.field(name).type
    return pa.chunked_array([chunk for part in tables for chunk in part.chunks], kind)


def numbers(dataset: Dataset, name: str, kind: DTypeLike | None = None) -> np.ndarray:
    """One column of whole numbers, out of memory (:mod:`labkit.data.memmap`); nulls are -1."""
    kind = kind or dataset.data.table.schema.field(name).type.to_pandas_dtype()
    out, done = memmap.array(len(dataset), kind), 0
    for part in batches(dataset, [name]):
        values = part.column(0)
        out[done : done + len(part)] = np.asarray(values.fill_null(-1) if values.null_count else values)
        done += len(part)
    return out


# --- values written out ----------------------------------------------------------------------------------------------


def written(values: pa.ChunkedArray) -> Iterator[bytes]:
    """``repr`` of each value as UTF-8. Pictures and sounds, nested lists of small integers, need no Python
    objects."""
    for chunk in values.chunks:
        made = _written_lists(chunk)
        yield from made or (repr(value).encode("utf-8", "surrogatepass") for value in chunk.to_pylist())


def contents(values: pa.ChunkedArray) -> Iterator[bytes]:
    """What tells each value from others: pictures and sounds by their type, shape and bytes, anything else written
    out (:func:`written`), and small arrays too, so that older splits stay what they were."""
    for chunk in values.chunks:
        for part in _alike(chunk):
            if (found := large(part)) is None:
                yield from written(pa.chunked_array([part]))
            else:
                head, rows = found
                yield from (head + row.tobytes() for row in rows)


def digest(columns: Iterable[pa.ChunkedArray]) -> bytes:
    """SHA-256 of :func:`contents` of a column, the same however it is cut into pieces."""
    kinds, numbers = hashlib.sha256(), hashlib.sha256()
    for part in (part for column in columns for chunk in column.chunks for part in _alike(chunk)):
        if (found := large(part)) is None:
            for value in written(pa.chunked_array([part])):
                kinds.update(b"%d %b" % (len(value), value))
        else:
            kinds.update(found[0] * len(part))
            numbers.update(np.ascontiguousarray(found[1]))
    return kinds.digest() + numbers.digest()


def _alike(values: pa.Array) -> Iterator[pa.Array]:
    """Values in pieces of one shape, so that it plays no part which others are in a piece: all together, or each."""
    single = nested(values.type) and stacked(values) is None and len(values) > 1
    yield from (values.slice(place, 1) for place in range(len(values))) if single else (values,)


def large(values: pa.Array) -> tuple[bytes, np.ndarray] | None:
    """Pictures and sounds as type and shape, and their numbers [n, k]; None for anything that is known as text."""
    found = stacked(values) if nested(values.type) else None
    if found is None or found[0].nbytes < LEAST_BYTES:
        return None
    found = found.astype(found.dtype.newbyteorder("<"), copy=False)
    return f"{found.dtype.str} {found.shape[1:]} ".encode(), found.reshape(len(found), -1)


def stacked(lists: pa.Array) -> np.ndarray | None:
    """Nested lists of one shape and of integers of 8 or 16 bits, without missing values, as one array; None for
    anything else. Nothing is copied."""
    if isinstance(lists, pa.ExtensionArray):
        lists = lists.storage
    shape, count = [], len(lists)
    while (
        pa.types.is_list(lists.type)
        or pa.types.is_large_list(lists.type)
        or pa.types.is_fixed_size_list(lists.type)
    ):
        if lists.null_count or not len(lists) or (length := _length(lists)) is None:
            return None
        shape.append(length)
        lists = lists.flatten()
    if not shape or lists.null_count or lists.type not in (pa.uint8(), pa.int8(), pa.uint16(), pa.int16()):
        return None
    return lists.to_numpy().reshape(count, *shape)


def _length(lists: pa.Array) -> int | None:
    """The length of all lists of an array, if it is the same and above 0."""
    if pa.types.is_fixed_size_list(lists.type):
        return lists.type.list_size or None
    ends = np.frombuffer(lists.buffers()[1], np.int32 if pa.types.is_list(lists.type) else np.int64)
    sizes = np.diff(ends[lists.offset : lists.offset + len(lists) + 1])
    return int(sizes[0]) if sizes[0] and (sizes == sizes[0]).all() else None


def _written_lists(lists: pa.Array) -> Iterator[bytes] | None:
    """The same for lists of one shape without missing values; None for anything else."""
    found = stacked(lists)
    if found is None:
        return None
    values, shape = found.reshape(len(found), -1), found.shape[1:]
    digits, marks = _digits(values.dtype.str), _marks(shape)
    closing = marks.astype(digits.dtype) << (8 * (digits.itemsize - 1))
    values = values.view(f"u{values.itemsize}")
    return (_joined(digits[row] | closing, len(shape)) for row in values)


def _joined(words: np.ndarray, axes: int) -> bytes:
    """Words of digits and marks as one text: the marks become commas and brackets."""
    text = words.tobytes().translate(None, b"\0")
    for mark in range(axes + 1):
        between = b"]" * mark + b", " + b"[" * mark if mark < axes else b"]" * axes
        text = text.replace(bytes([mark + 1]), between)
    return b"[" * axes + text


@functools.cache
def _digits(kind: str) -> np.ndarray:
    """The decimal digits of every integer of a type, by its bits: a word each, whose last byte is free."""
    bits = np.dtype(kind).itemsize * 8
    texts = [str(value) for value in np.arange(1 << bits, dtype=f"u{bits // 8}").view(kind).tolist()]
    word = 4 if max(map(len, texts)) < 4 else 8
    return np.array(texts, f"S{word}").view(f"<u{word}")


@functools.lru_cache(maxsize=8)
def _marks(shape: tuple[int, ...]) -> np.ndarray:
    """For each number of an array of this shape, 1 and how many axes end with it."""
    marks = np.ones(math.prod(shape), np.uint8)
    for axes in range(1, len(shape) + 1):
        size = math.prod(shape[-axes:])
        marks[size - 1 :: size] = axes + 1
    return marks
