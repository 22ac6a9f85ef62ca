"""From records to Arrow files in the cache, a portion at a time, so that no file need fit into memory."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
from datasets import Dataset, Features, Value

from labkit.base.cache import cache_dir, cache_root, fingerprint, writable_cache, write_atomic
from labkit.base.errors import DataError, FolderError
from labkit.data.report import Report

ROW = "__row__"  # int64 column: the number of the record in its source
PORTION = 10_000  # records turned into Arrow at a time
FORMAT = 3  # raise it when what the readers write changes: older cache files are then left alone
SURROGATE = {code: "\ufffd" for code in range(0xD800, 0xE000)}


@dataclass(frozen=True)
class Part:
    """One table as read.

    Attributes:
        table: raw columns and :data:`ROW`.
        report: what reading it refused, repaired or counted; row numbers within this table.
        records: records of the source, refused ones included.
    """

    table: Dataset
    report: Report
    records: int


@dataclass
class Reading:
    """What a reader notes while it yields tables."""

    report: Report = field(default_factory=Report)
    records: int = 0


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
        write_atomic(about, json.dumps({"report": reading.report.to_dict(), "records": reading.records}))
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
    return DataError(f"{name} cannot be read: {error.strerror or error}.")


def _from_cache(data: Path, about: Path) -> Part | None:
    try:
        kept = json.loads(about.read_text(encoding="utf-8"))
        return Part(Dataset.from_file(str(data)), Report.from_dict(kept["report"]), kept["records"])
    except (OSError, ValueError, KeyError, pa.ArrowException):
        return None


def _fail(data: Path) -> Part:
    raise DataError(f"the cache file {data.name} cannot be read back. Is the disk full?")


def in_memory(tables: Iterable[pa.Table], reading: Reading) -> Part:
    """The same for records that are in memory already."""
    portions = list(tables)
    schema = unify([portion.schema for portion in portions])
    table = pa.concat_tables([fit(portion, schema, reading.report) for portion in portions])
    return Part(Dataset(table), reading.report, reading.records)


def _write(path: Path, tables: Iterator[pa.Table], reading: Reading) -> None:
    """Write ``tables`` as one Arrow stream; where their schemas differ, in a second pass with one that holds all."""
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
        for _ in range(count):
            for batch in pa.ipc.open_stream(source):
                yield pa.Table.from_batches([batch])


def unify(schemas: Sequence[pa.Schema]) -> pa.Schema:
    """A schema that holds all of ``schemas``; a column of texts here and numbers there becomes text.

    Raises:
        DataError: a column has kinds that do not go together, like lists and numbers.
    """
    fields: dict[str, pa.DataType] = {}
    for schema in schemas:
        for item in schema:
            fields[item.name] = _wider(fields.get(item.name, pa.null()), item.type, item.name)
    return pa.schema(list(fields.items()), schemas[0].metadata if len(schemas) == 1 else None)


def _wider(one: pa.DataType, two: pa.DataType, name: str) -> pa.DataType:
    try:
        pair = [pa.schema([(name, kind)]) for kind in (one, two)]
        return pa.unify_schemas(pair, promote_options="permissive").field(0).type
    except pa.ArrowException:
        if any(pa.types.is_nested(kind) for kind in (one, two)):
            raise DataError(f"column {name!r} holds {one} in some rows and {two} in others.") from None
        return pa.string()


def fit(table: pa.Table, schema: pa.Schema, report: Report) -> pa.Table:
    """``table`` with the columns of ``schema``; missing columns are null, values that become text are reported."""
    columns = []
    for item in schema:
        if item.name not in table.column_names:
            columns.append(pa.nulls(len(table), item.type))
            continue
        column = table.column(item.name)
        if item.type == pa.string() and not (pa.types.is_string(column.type) or pa.types.is_null(column.type)):
            values = column.to_pylist()
            rows = [row for row, v in zip(table.column(ROW).to_pylist(), values, strict=True) if v is not None]
            report.add("repaired", "number among texts became text", rows, column=item.name)
            column = as_text(values)
        columns.append(column.cast(item.type))
    return pa.table(columns, schema=schema)


def as_text(values: Iterable[Any]) -> pa.Array:
    """Values as Python writes them; None stays null."""
    return pa.array([None if value is None else str(value) for value in values], pa.string())


def table_of(records: Sequence[dict[str, Any]], numbers: Sequence[int], report: Report) -> pa.Table:
    """Records (name → value; a name may be absent) as Arrow, with their ``numbers`` as :data:`ROW`."""
    names = dict.fromkeys(name for record in records for name in record)
    columns = {name: column_of([record.get(name) for record in records], name, numbers, report) for name in names}
    return plain(pa.table({**columns, ROW: pa.array(numbers, pa.int64())}))


def column_of(values: Any, name: str, numbers: Sequence[int], report: Report) -> pa.Array:
    """One column as Arrow. NaN is null; lone surrogates become U+FFFD, numbers among texts become text: reported.

    Raises:
        DataError: the values have kinds that do not go together.
    """
    try:
        return pa.array(values, from_pandas=True)
    except (pa.ArrowException, UnicodeEncodeError, OverflowError):
        pass
    values = [None if isinstance(value, float) and value != value else value for value in values]
    lone = [index for index, value in enumerate(values) if isinstance(value, str) and not _encodes(value)]
    for index in lone:
        values[index] = values[index].translate(SURROGATE)
    report.add("repaired", "lone surrogate became U+FFFD", [numbers[index] for index in lone], column=name)
    try:
        return pa.array(values)
    except (pa.ArrowException, UnicodeEncodeError, OverflowError):
        return _mixed(values, name, numbers, report)


def _mixed(values: list[Any], name: str, numbers: Sequence[int], report: Report) -> pa.Array:
    for number, value in zip(numbers, values, strict=True):
        if not isinstance(value, str | int | float | None):
            raise DataError(f"column {name!r} mixes kinds: row {number} holds a {type(value).__name__}.")
    changed = [n for n, value in zip(numbers, values, strict=True) if value is not None and not isinstance(value, str)]
    report.add("repaired", "number among texts became text", changed, column=name)
    return as_text(values)


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def plain(table: pa.Table) -> pa.Table:
    """``table`` with dictionary columns written out and every text of one Arrow type, string."""
    schema = pa.schema([pa.field(item.name, _plain_type(item.type)) for item in table.schema], table.schema.metadata)
    if schema.equals(table.schema):
        return table
    columns = [column.cast(kind) for column, kind in zip(table.columns, schema.types, strict=True)]
    return pa.table(columns, schema=schema)


def _plain_type(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return pa.string() if pa.types.is_large_string(kind) or pa.types.is_string_view(kind) else kind


def with_features(schema: pa.Schema) -> pa.Schema:
    """``schema`` with :data:`ROW` and with the metadata that tell ``datasets`` of class names and images."""
    features = Features.from_arrow_schema(schema)
    features[ROW] = Value("int64")
    return features.arrow_schema
