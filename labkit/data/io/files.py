"""Readers of files: CSV, JSON, Parquet, Excel and plain text, compressed or not, whole or in shards."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from datasets import Features, Value, concatenate_datasets

from labkit.core.cache import sha256_file
from labkit.core.errors import ConfigError, DataError, nearest
from labkit.core.safety import UNSAFE, check_regular, is_old_pickle, kind_of
from labkit.data import memmap
from labkit.data.arrow import batches, numbers
from labkit.data.io.arrow_cache import (
    PORTION,
    ROW,
    Part,
    Reading,
    cached,
    dictionaries,
    fit,
    plain,
    unify,
    with_features,
)
from labkit.data.io.compressed import OPENERS, ending, unpacked
from labkit.data.io.conll import conll_sentences, conll_table
from labkit.data.io.csv import Dialect, named, note_encoding, read_csv
from labkit.data.io.encoding import LOST, detect
from labkit.data.io.excel import read_excel
from labkit.data.io.json import read_json
from labkit.data.labels import class_names
from labkit.data.report import Report, visible
from labkit.i18n import _

if TYPE_CHECKING:
    from datasets.features.features import FeatureType

Reader = Callable[[Path, Dialect, Reading], Iterator[pa.Table]]


def read_file(path: Path, dialect: Dialect) -> Part:
    """One file as a table.

    Raises:
        DataError: the file is of another kind than its name says, of no kind that is read, or has no rows.
    """
    check_regular(path, DataError)
    kind = ending(path)
    reader = _reader(path, kind)
    _check_options(path, kind, dialect)
    if path.suffix.lower() not in OPENERS:
        _check_content(path, kind)
    return cached(
        [kind, sha256_file(path), repr(dialect)], lambda reading: _read(path, kind, reader, dialect, reading)
    )


def _read(path: Path, kind: str, reader: Reader, dialect: Dialect, reading: Reading) -> Iterator[pa.Table]:
    with unpacked(path) as place:
        _check_content(place, kind)
        yield from reader(place, dialect, reading)


def _reader(path: Path, kind: str) -> Reader:
    if kind in UNSAFE:
        raise _unsafe(path, _("a {kind} file", kind=kind))
    if kind not in READERS:
        known = ", ".join(READERS)
        raise DataError(
            _("{file!r} has an unsupported file type; supported: {known}.{hint}"),
            file=path.name, known=known, hint=nearest(kind, READERS),
        )  # fmt: skip
    return READERS[kind]


def _check_options(path: Path, kind: str, dialect: Dialect) -> None:
    """Raise :class:`ConfigError` for an option that files of this kind have no use for."""
    used, usual = OPTIONS.get(READERS[kind], ()), vars(Dialect())
    if odd := [name for name, value in vars(dialect).items() if value != usual[name] and name not in used]:
        known = _("; they accept {used}", used=", ".join(used)) if used else ""
        raise ConfigError(
            _("{file!r}: {kind} files do not accept the option {odd}: remove it{known}."),
            file=path.name, kind=kind, odd=", ".join(odd), known=known,
        )  # fmt: skip


def _check_content(path: Path, kind: str) -> None:
    with open(path, "rb") as file:
        found = kind_of(file.read(64), text=True)
    if found == "a pickle" or is_old_pickle(path):
        raise _unsafe(path, _("a pickle"))
    if found and found != _CONTENT.get(kind):
        raise DataError(
            _("{file!r} is {found}, which does not match its file extension; unpack it or rename it."),
            file=path.name,
            found=found,
        )


def _unsafe(path: Path, found: str) -> DataError:
    return DataError(
        _(
            "{file!r} is {found}, a format that can execute code when opened or is not a table; labkit "
            "does not open it. Save the table as Parquet or CSV with the program that created it."),
        file=path.name, found=found,
    )  # fmt: skip


def read_lines(path: Path, dialect: Dialect, reading: Reading) -> Iterator[pa.Table]:
    """Plain text, column ``text``: one text a line; blank lines are skipped and counted."""
    encoding = detect(path, dialect.encoding)
    note_encoding(encoding, reading.report)
    name = (dialect.names or ("text",))[0]
    texts: list[str] = []
    start = 0
    with encoding.open(path) as file:
        for line_number, line in enumerate(file, start=1):
            if not line.strip():
                reading.report.add("counted", _("blank line"), detail=_("line {line}", line=line_number))
                continue
            if not encoding.sure and LOST in line:
                reading.report.add(
                    "repaired",
                    _("bytes invalid in {encoding} replaced by U+FFFD", encoding=encoding.name),
                    [reading.records],
                )
            texts.append(line.rstrip("\r\n"))
            reading.records += 1
            if len(texts) >= PORTION:
                yield _numbered_texts(name, texts, start)
                texts, start = [], reading.records
    if not reading.records:
        raise DataError(_("{file!r} has 0 rows: it is empty."), file=path.name)
    if texts:
        yield _numbered_texts(name, texts, start)


def _numbered_texts(name: str, texts: list[str], start: int) -> pa.Table:
    return pa.table(
        {name: pa.array(texts, pa.string()), ROW: pa.array(range(start, start + len(texts)), pa.int64())}
    )


def read_conll(path: Path, dialect: Dialect, reading: Reading) -> Iterator[pa.Table]:
    """Sentences in CoNLL format, columns ``tokens`` and ``tags``, a portion at a time."""
    encoding = detect(path, dialect.encoding)
    note_encoding(encoding, reading.report)
    with encoding.open(path) as file:
        found = conll_sentences(file, path.name)
        while part := list(itertools.islice(found, PORTION)):
            yield conll_table(part, reading.records)
            reading.records += len(part)
    if not reading.records:
        raise DataError(_("{file!r} has 0 rows: it is empty."), file=path.name)


def read_parquet(path: Path, dialect: Dialect, reading: Reading) -> Iterator[pa.Table]:
    """Parquet, a portion of a row group at a time; class names that ``datasets`` stored are kept."""
    try:
        with pq.ParquetFile(path) as file:
            named(file.schema_arrow.names, path.name, reading.report)
            categories = dictionaries(file.metadata.metadata)
            empty = plain(file.schema_arrow.empty_table(), reading, categories)
            schema = with_features(empty.schema)
            for batch in file.iter_batches(batch_size=PORTION):
                table = plain(pa.Table.from_batches([batch]), reading, categories)
                numbers = pa.array(range(reading.records, reading.records + len(table)), pa.int64())
                reading.records += len(table)
                yield table.append_column(ROW, numbers).cast(schema)
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            _("{file!r} is not a complete Parquet file: {error}."), file=path.name, error=error
        ) from error
    if not reading.records:
        raise DataError(_("{file!r} has 0 rows."), file=path.name)


READERS: dict[str, Reader] = {
    ".csv": read_csv, ".tsv": read_csv, ".tab": read_csv,
    ".jsonl": read_json, ".ndjson": read_json, ".json": read_json,
    ".parquet": read_parquet, ".pq": read_parquet,
    ".xlsx": read_excel, ".xlsm": read_excel,
    ".txt": read_lines,
    ".conll": read_conll, ".bio": read_conll, ".iob": read_conll, ".iob2": read_conll,
}  # fmt: skip
#: Options of reading that each reader looks at.
OPTIONS: dict[Reader, tuple[str, ...]] = {
    read_csv: ("delimiter", "encoding", "quotes", "names", "escapechar"),
    read_json: ("encoding", "names"),
    read_excel: ("names", "sheet"),
    read_lines: ("encoding", "names"),
    read_conll: ("encoding",),
}
#: Endings of files that are not text → what their first bytes say.
_CONTENT = {
    ".parquet": _("a Parquet file"), ".pq": _("a Parquet file"),
    ".xlsx": _("a ZIP archive"), ".xlsm": _("a ZIP archive"),
}  # fmt: skip


def read_shards(files: Sequence[Path], dialect: Dialect) -> Part:
    """Files one after the other as one table. A column that holds whole numbers in one file and fractions,
    texts or nothing in another gets the type that holds them all.

    Raises:
        DataError: two files have other columns, or types that do not go together.
    """
    parts = [read_file(path, dialect) for path in files]
    if len(parts) == 1:
        return parts[0]
    starts = [0, *itertools.accumulate(part.records for part in parts)]
    features = _common(files, [part.table.features for part in parts])
    categories = frozenset().union(*(part.categories for part in parts))
    moved = [part.report.moved(start, None) for part, start in zip(parts, starts, strict=False)]
    report = functools.reduce(Report.merge, moved)
    report.add(
        "counted", _("files read as one table"), detail=visible(", ".join(path.name for path in files), 400)
    )
    if all(part.table.features == features for part in parts):
        tables = [
            memmap.with_column(
                part.table.remove_columns(ROW), ROW, numbers(part.table, ROW, np.int64) + start
            )
            for part, start in zip(parts, starts, strict=False)
        ]
        return Part(concatenate_datasets(tables), report, starts[-1], categories)

    def read(reading: Reading) -> Iterator[pa.Table]:
        for part, start in zip(parts, starts, strict=False):
            for table in batches(part.table):
                rows = pc.add(table.column(ROW), start)
                table = table.set_column(table.column_names.index(ROW), ROW, rows)
                yield fit(table, features.arrow_schema, reading.report)
        reading.records = starts[-1]

    joined = cached(["shards", [sha256_file(path) for path in files], repr(dialect)], read)
    return Part(joined.table, report.merge(joined.report), joined.records, categories)


def _common(files: Sequence[Path], features: Sequence[Features]) -> Features:
    """The columns of all files, each with a type that holds what any of them has."""
    names = list(dict.fromkeys(name for found in features for name in found if name != ROW))
    common = {}
    for name in names:
        having = [(path, found[name]) for path, found in zip(files, features, strict=True) if name in found]
        lacking = [path for path, found in zip(files, features, strict=True) if name not in found]
        if lacking and not all(ending(path) in (".jsonl", ".ndjson", ".json") for path in files):
            raise DataError(
                _("{file!r} lacks the column {column!r} of {other_file!r}."),
                file=lacking[0].name, column=name, other_file=having[0][0].name,
            )  # fmt: skip
        common[name] = having[0][1]
        for path, feature in having[1:]:
            try:
                common[name] = _wider(common[name], feature, name)
            except (DataError, TypeError):
                before, here = having[0], (path, feature)
                raise DataError(
                    _(
                        "column {column!r} has type {kind} in {file!r} but {other_kind} in "
                        "{other_file!r}."),
                    column=name, kind=_kind(before[1]), file=before[0].name, other_kind=_kind(here[1]),
                    other_file=here[0].name,
                ) from None  # fmt: skip
    return Features({**common, ROW: Value("int64")})


def _wider(one: FeatureType, two: FeatureType, name: str) -> Any:
    if one == two:
        return one
    if class_names(one) or class_names(two):
        raise TypeError
    schemas = [Features({name: feature}).arrow_schema.remove_metadata() for feature in (one, two)]
    return Features.from_arrow_schema(unify(schemas))[name]


def _kind(feature: FeatureType) -> str:
    return visible(str(feature.dtype) if isinstance(feature, Value) else str(feature), 100)
