"""Arrow cache: records are written in chunks, so that no file needs to fit in memory."""

from __future__ import annotations

import base64
import json
import os
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset, Features, Value
from datasets.features.features import generate_from_arrow_type
from datasets.table import MemoryMappedTable

from labkit.core.cache import cache_dir, cache_root, fingerprint, writable_cache, write_atomic
from labkit.core.errors import DataError, FolderError, os_reason
from labkit.data.cells import category_name
from labkit.data.report import Report, visible
from labkit.i18n import _

ROW = "__row__"  # int64 column: the number of the record in its source
PORTION = 10_000  # records turned into Arrow at a time
DEEP = 20  # levels of lists and dicts in a type; Arrow writes 64 at most, and ``datasets`` hashes recursively
FORMAT = 5  # raise it when what the readers write changes: older cache files are then left alone
MIXED = _("mixed types converted to JSON text")
LONE = _("lone surrogates replaced by U+FFFD")
SURROGATE = {code: "\ufffd" for code in range(0xD800, 0xE000)}


@dataclass(frozen=True)
class Part:
    """One table as read.

    Attributes:
        table: raw columns and :data:`ROW`.
        report: what reading it refused, repaired or counted; row numbers within this table.
        records: records of the source, refused ones included.
        categories: columns whose type says that they hold categories (dictionaries), kept as texts.
    """

    table: Dataset
    report: Report
    records: int
    categories: frozenset[str] = frozenset()


@dataclass
class Reading:
    """What a reader notes while it yields tables."""

    report: Report = field(default_factory=Report)
    records: int = 0
    categories: set[str] = field(default_factory=set)


Reader = Callable[[Reading], Iterator[pa.Table]]


def cached(key: Sequence[Any], read: Reader) -> Part:
    """The table that ``read`` yields, from the cache if it is there; memory-mapped either way.

    Args:
        key: all that the table depends on: the content's hash and the options of reading.
        read: yields tables that each have the column :data:`ROW`; their schemas may differ.
    """
    place = cache_root() / "rows" / fingerprint(FORMAT, *key)
    data, about = place.with_suffix(".arrow"), place.with_suffix(".json")
    if found := _from_cache(data, about):
        return found
    cache_dir("rows")
    reading = Reading()
    with writable_cache():
        _write(data, _source(read(reading)), reading)
        # the note is written last: where it stands, the data are whole
        kept = {
            "report": reading.report.to_dict(), "records": reading.records, "categories": sorted(reading.categories),
        }  # fmt: skip
        write_atomic(about, json.dumps(kept))
    return _from_cache(data, about) or _fail(data)


def _source(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """``tables``, whose errors of the system are of the source, not of the cache."""
    try:
        yield from tables
    except FolderError:
        raise
    except OSError as error:
        raise unreadable(error) from error


def unreadable(error: OSError) -> DataError:
    """What the system says of a file of data that cannot be read."""
    name = f"{os.fspath(error.filename)!r}" if error.filename else "the source"
    return DataError(_("{name} cannot be read: {reason}."), name=name, reason=os_reason(error))


def _from_cache(data: Path, about: Path) -> Part | None:
    try:
        kept = json.loads(about.read_text(encoding="utf-8"))
        report, categories = Report.from_dict(kept["report"]), frozenset(kept["categories"])
        table = MemoryMappedTable.from_file(str(data))
        return Part(Dataset(table, fingerprint=data.stem[:16]), report, kept["records"], categories)
    except (OSError, ValueError, KeyError, pa.ArrowException):
        return None


def _fail(data: Path) -> Part:
    raise DataError(_("the cache file {file} is incomplete. Is the disk full?"), file=data.name)


def in_memory(tables: Iterable[pa.Table], reading: Reading) -> Part:
    """The same for records that are in memory already."""
    portions = [plain(table, reading) for table in tables]
    schema = unify([portion.schema for portion in portions])
    table = pa.concat_tables([fit(portion, schema, reading.report) for portion in portions])
    return Part(Dataset(table), reading.report, reading.records, frozenset(reading.categories))


def _write(path: Path, tables: Iterator[pa.Table], reading: Reading) -> None:
    """Write ``tables`` as one Arrow stream; where their schemas differ, in a second pass with one that holds
    all."""
    handle, first = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".part")
    os.close(handle)
    second = f"{first}.2"
    try:
        schemas = _write_streams(first, tables)
        if len(schemas) > 1:
            schema = unify(schemas)
            with pa.OSFile(second, "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
                for table in _read_streams(first, len(schemas)):
                    writer.write_table(fit(table, schema, reading.report))
            os.replace(second, first)
        os.replace(first, path)
    finally:
        for name in (first, second):
            Path(name).unlink(missing_ok=True)


def _write_streams(path: str, tables: Iterator[pa.Table]) -> list[pa.Schema]:
    """Write tables one after the other, a new stream wherever the schema changes; return the schemas."""
    schemas: list[pa.Schema] = []
    writer: Any = None
    with pa.OSFile(path, "wb") as sink:
        for table in tables:
            if not schemas or not table.schema.equals(schemas[-1]):
                if writer:
                    writer.close()
                schemas.append(table.schema)
                writer = pa.ipc.new_stream(sink, table.schema)
            writer.write_table(table)
        if writer:
            writer.close()
    return schemas


def _read_streams(path: str, count: int) -> Iterator[pa.Table]:
    with pa.memory_map(path) as source:
        for _unused in range(count):
            for batch in pa.ipc.open_stream(source):
                yield pa.Table.from_batches([batch])


def unify(schemas: Sequence[pa.Schema]) -> pa.Schema:
    """A schema that holds all of ``schemas``; a column whose types have nothing in common becomes text."""
    fields: dict[str, pa.DataType] = {}
    for schema in schemas:
        for item in schema:
            fields[item.name] = _wider(fields.get(item.name, pa.null()), item.type)
    return pa.schema(list(fields.items()), schemas[0].metadata if len(schemas) == 1 else None)


def _wider(one: pa.DataType, two: pa.DataType) -> pa.DataType:
    try:
        pair = [pa.schema([("", kind)]) for kind in (one, two)]
        return pa.unify_schemas(pair, promote_options="permissive").field(0).type
    except pa.ArrowException:
        return pa.string()


def fit(table: pa.Table, schema: pa.Schema, report: Report) -> pa.Table:
    """``table`` with the columns of ``schema``; missing columns are null, values that change are reported."""
    columns, known = [], set(table.column_names)
    for item in schema:
        if item.name not in known:
            columns.append(pa.nulls(len(table), item.type))
            continue
        column = table.column(item.name)
        if item.type == pa.string() and not (
            pa.types.is_string(column.type) or pa.types.is_null(column.type)
        ):
            there = np.asarray(pc.is_valid(column))
            rows = np.asarray(table.column(ROW))[there]
            if pa.types.is_nested(column.type):
                report.add("repaired", MIXED, rows, column=item.name, detail=_python_name(column.type))
            else:
                report.add(
                    "repaired", _("numbers in a text column converted to text"), rows, column=item.name
                )
            column = as_text(column.to_pylist())
        try:
            columns.append(column.cast(item.type))
        except pa.ArrowInvalid:  # a whole number beyond 2^53 among fractions
            columns.append(column.cast(item.type, safe=False))
            report.add("repaired", _("integers beyond 2^53 rounded"), column=item.name)
    return pa.table(columns, schema=schema)


def _python_name(kind: pa.DataType) -> str:
    return "dict" if pa.types.is_struct(kind) else "list"


def as_text(values: Iterable[Any]) -> pa.Array:
    """Values as Python writes them, lists and dicts as JSON; None stays null."""
    texts = [None if value is None else _text(value) for value in values]
    return pa.array(
        [text if text is None or _encodes(text) else text.translate(SURROGATE) for text in texts], pa.string()
    )


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, dict | list | tuple):
        try:
            return json.dumps(value, ensure_ascii=False, default=str)
        except (RecursionError, ValueError):  # ValueError: it contains itself
            raise DataError(_("a cell has a list or dict that is nested too deeply to be read.")) from None
    return str(value)


def check_column_names(names: Iterable[Any], where: str = "the records") -> None:
    """Raise :class:`DataError` for a column that is called like :data:`ROW`, or with a NUL, where Arrow ends
    names."""
    names = list(names)
    if ROW in names:
        raise DataError(_("the column name {row!r} is reserved by labkit: rename the column."), row=ROW)
    if odd := next((name for name in names if isinstance(name, str) and "\0" in name), None):
        raise DataError(
            _(
                "{where}: the name of column {number}, {odd!r}, contains a NUL character. Remove it; for "
                "UTF-16 files pass encoding='utf-16'."),
            where=where, number=names.index(odd) + 1, odd=visible(odd, 60),
        )  # fmt: skip


def table_of(records: Sequence[dict[str, Any]], numbers: Sequence[int], report: Report) -> pa.Table:
    """Records (name → value; a name may be absent) as Arrow, with their ``numbers`` as :data:`ROW`."""
    names = dict.fromkeys(name for record in records for name in record)
    if odd := [name for name in names if isinstance(name, str) and not _encodes(name)]:
        known = {name: name.translate(SURROGATE) for name in odd}
        report.add(
            "repaired", LONE, [None] * len(odd), column=known[odd[0]], detail=_("in the name of a column")
        )
        records = [{known.get(name, name): value for name, value in record.items()} for record in records]
        called = [known.get(name, name) for name in names]
        if len(names := dict.fromkeys(called)) < len(called):
            raise DataError(
                _("several columns have the name {name!r} after conversion to valid Unicode: rename them."),
                name=known[odd[0]],
            )
    check_column_names(names)
    columns = {
        name: column_of([record.get(name) for record in records], name, numbers, report) for name in names
    }
    return pa.table({**columns, ROW: pa.array(numbers, pa.int64())})


def column_of(values: Any, name: str, numbers: Sequence[int], report: Report) -> pa.Array:
    """One column as Arrow. NaN is null; lone surrogates become U+FFFD; values of several kinds become text:
    reported.

    Categories of pandas become a dictionary of texts, its periods and intervals texts.
    """
    if isinstance(kind := getattr(values, "dtype", None), pd.CategoricalDtype):
        words = pa.array([category_name(value) for value in kind.categories], pa.string())
        codes = np.asarray(values.codes)
        return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32(), mask=codes < 0), words)
    if isinstance(kind, pd.PeriodDtype | pd.IntervalDtype | pd.SparseDtype):
        values = [None if gone else value for value, gone in zip(values, pd.isna(values), strict=True)]
        values = values if isinstance(kind, pd.SparseDtype) else [value and str(value) for value in values]
    try:
        if not (isinstance(values, list) and any(isinstance(value, set | frozenset) for value in values)):
            made = pa.array(values, from_pandas=True)
            return made if not is_deep(made.type) else _as_deep_texts(values, name, numbers, report)
    except (pa.ArrowException, UnicodeEncodeError, OverflowError, ValueError, TypeError):
        pass
    values = [_simple(value) for value in values]
    lone = [index for index, value in enumerate(values) if isinstance(value, str) and not _encodes(value)]
    for index in lone:
        values[index] = values[index].translate(SURROGATE)
    report.add("repaired", LONE, [numbers[index] for index in lone], column=name)
    try:
        made = pa.array(values)
    except (pa.ArrowException, UnicodeEncodeError, OverflowError, ValueError, TypeError):
        return _mixed(values, name, numbers, report)
    return made if not is_deep(made.type) else _as_deep_texts(values, name, numbers, report)


def is_deep(kind: pa.DataType) -> bool:
    """Whether a type is nested more deeply than Arrow writes to files."""
    inner, levels = [kind], 0
    while inner and levels < DEEP:
        inner = [part.field(place).type for part in inner for place in range(part.num_fields)]
        levels += 1
    return bool(inner)


def _as_deep_texts(values: Iterable[Any], name: str, numbers: Sequence[int], report: Report) -> pa.Array:
    there = [number for number, value in zip(numbers, values, strict=True) if value is not None]
    report.add("repaired", _("type kept as text"), there, column=name, detail=_("nested too deeply"))
    return as_text(values)


def _simple(value: object) -> Any:
    """A value as Arrow holds it: no NaN, lists for arrays and for sets, which have no fixed order."""
    if isinstance(value, float) and value != value:
        return None
    if isinstance(value, set | frozenset):
        return sorted(value, key=str)
    return value.tolist() if isinstance(value, np.ndarray) else value


def _mixed(values: list[Any], name: str, numbers: Sequence[int], report: Report) -> pa.Array:
    odd = [not isinstance(value, str | int | float | np.number | None) for value in values]
    for number, value, other in zip(numbers, values, odd, strict=True):
        if other:
            report.add("repaired", MIXED, [number], column=name, detail=type(value).__name__)
    changed = [
        number
        for number, value, other in zip(numbers, values, odd, strict=True)
        if value is not None and not isinstance(value, str) and not other
    ]
    report.add("repaired", _("numbers in a text column converted to text"), changed, column=name)
    return as_text(values)


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def plain(table: pa.Table, reading: Reading, categories: Collection[str] = ()) -> pa.Table:
    """``table`` with types that ``datasets`` holds; what has none becomes text, which is noted in
    ``reading``.

    A dictionary becomes a column of texts that counts as categories, and so do the columns named in
    ``categories``.
    """
    columns, fields = [], []
    for item, column in zip(table.schema, table.columns, strict=True):
        if item.name in categories and not pa.types.is_nested(item.type):
            column = column if pa.types.is_dictionary(item.type) else column.dictionary_encode()
            item = item.with_type(column.type)
        if pa.types.is_dictionary(item.type):
            reading.categories.add(item.name)
        kind = _plain_type(item.type)
        if kind is None:
            kind, column = pa.string(), _as_texts(column)
            if not any(
                note.column == item.name and note.reason == "type kept as text"
                for note in reading.report.notes
            ):
                reading.report.add(
                    "repaired", _("type kept as text"), column=item.name, detail=str(item.type)[:100]
                )
        elif kind != item.type:
            column = _cast(column, kind)
        columns.append(column)
        fields.append(pa.field(item.name, kind))
    return pa.table(columns, schema=pa.schema(fields, table.schema.metadata))


def dictionaries(metadata: Mapping[bytes, bytes] | None) -> frozenset[str]:
    """Columns that were dictionaries when a Parquet file was written; reading it gives dictionaries of texts
    alone."""
    written = (metadata or {}).get(b"ARROW:schema")
    if written is None:
        return frozenset()
    schema = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(written)))
    return frozenset(item.name for item in schema if pa.types.is_dictionary(item.type))


def _plain_type(kind: pa.DataType) -> pa.DataType | None:
    """The type that a column of ``kind`` is kept in; None where its values become texts."""
    if is_deep(kind):
        return None
    t = pa.types
    if t.is_dictionary(kind):
        inner = _plain_type(kind.value_type)
        return pa.string() if inner is not None and not t.is_nested(inner) else None
    if t.is_large_string(kind) or t.is_string_view(kind):
        return pa.string()
    if t.is_binary_view(kind):
        return pa.binary()
    if t.is_float16(kind):
        return pa.float32()
    if t.is_decimal(kind) and kind.bit_width < 128:
        return pa.decimal128(kind.precision, kind.scale)
    if isinstance(kind, pa.Bool8Type):
        return pa.bool_()
    if isinstance(kind, pa.JsonType):
        return pa.string()
    if isinstance(kind, pa.BaseExtensionType):
        return kind if type(kind).__module__.startswith("datasets.") else None
    if t.is_list(kind) or t.is_large_list(kind) or t.is_list_view(kind) or t.is_large_list_view(kind):
        inner = _plain_type(kind.value_type)
        if inner is None:
            return None
        return (
            pa.large_list(inner) if t.is_large_list(kind) or t.is_large_list_view(kind) else pa.list_(inner)
        )
    if t.is_fixed_size_list(kind):
        inner = _plain_type(kind.value_type)
        return None if inner is None else pa.list_(inner, kind.list_size)
    if t.is_struct(kind):
        inner = [(item.name, _plain_type(item.type)) for item in kind]
        return None if any(found is None for _, found in inner) else pa.struct(inner)
    odd = (t.is_map, t.is_union, t.is_run_end_encoded, t.is_interval)
    return None if any(test(kind) for test in odd) else kind


def _cast(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    """``column`` as ``kind``; non-text categories by their names."""
    if pa.types.is_dictionary(column.type) and not pa.types.is_string(column.type.value_type):
        names = [None if value is None else category_name(value) for value in column.to_pylist()]
        return pa.chunked_array([pa.array(names, pa.string())])
    if isinstance(column.type, pa.JsonType):
        column = pa.chunked_array([chunk.storage for chunk in column.chunks], column.type.storage_type)
    return column.cast(kind)


def _as_texts(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if isinstance(column.type, pa.BaseExtensionType) and column.type.extension_name.startswith("pandas."):
        values = [None if pd.isna(value) else value for value in column.to_pandas()]
    else:
        values = (
            column.to_pylist(maps_as_pydicts="lossy") if pa.types.is_map(column.type) else column.to_pylist()
        )
    return pa.chunked_array([as_text(values)])


def with_features(schema: pa.Schema) -> pa.Schema:
    """``schema`` with :data:`ROW` and with the metadata that tell ``datasets`` of class names and images."""
    features = Features.from_arrow_schema(schema)
    found = features.arrow_schema
    for item in schema:
        if item.type != found.field(item.name).type:  # kept in another type than the metadata say
            features[item.name] = generate_from_arrow_type(item.type)
    features[ROW] = Value("int64")
    return features.arrow_schema
