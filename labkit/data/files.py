"""Readers of files and folders: CSV, JSON lines, Parquet, one file per split, one folder per class."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from labkit.base.cache import fingerprint, sha256_file
from labkit.base.errors import DataError, nearest
from labkit.base.guard import UNSAFE, kind_of
from labkit.data.csvfile import Dialect, named, note_encoding, read_csv
from labkit.data.decode import LOST, detect
from labkit.data.media import Shape, class_files, medium_of, read_folder, settled
from labkit.data.spool import PORTION, ROW, Part, Reading, cached, plain, table_of, with_features

SPLITS = {
    "train": "train", "training": "train",
    "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation",
    "test": "test", "testing": "test",
}  # fmt: skip


def read_file(path: Path, dialect: Dialect) -> Part:
    """One file as a table.

    Raises:
        DataError: the file is of another kind than its name says, of no kind that is read, or has no rows.
    """
    reader = _reader(path)
    key = [path.suffix.lower(), sha256_file(path), repr(dialect)]
    return cached(key, lambda reading: reader(path, dialect, reading))


def _reader(path: Path) -> Callable[[Path, Dialect, Reading], Iterator[pa.Table]]:
    suffix = path.suffix.lower()
    with open(path, "rb") as file:
        kind = kind_of(file.read(64), text=True)
    if suffix in UNSAFE or kind == "a pickle":
        raise DataError(
            f"{path.name!r} is {kind or f'a {suffix} file'}, a format that can run code when it is opened or is no "
            f"table; labkit never opens it. Save the table as Parquet or CSV where it was made."
        )
    if suffix not in READERS:
        known = ", ".join(READERS)
        raise DataError(f"{path.name!r} is of no kind that labkit reads ({known}).{nearest(suffix, READERS)}")
    if kind and not (kind == "a Parquet file" and suffix in (".parquet", ".pq")):
        raise DataError(f"{path.name!r} is {kind}, not what its name says; unpack it, or give it the right name.")
    return READERS[suffix]


def read_jsonl(path: Path, dialect: Dialect, reading: Reading) -> Iterator[pa.Table]:
    """JSON lines: an object on each line; other lines are refused by number."""
    encoding = detect(path, dialect.encoding)
    note_encoding(encoding, reading.report)
    records: list[dict[str, Any]] = []
    numbers: list[int] = []
    full = 0  # portions yielded
    with encoding.open(path) as file:
        for line_number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            number, reading.records = reading.records, reading.records + 1
            if not encoding.sure and LOST in line:
                reading.report.add("repaired", f"bytes that are not {encoding.name} became U+FFFD", [number])
            try:
                records.append(_json_object(line))
                numbers.append(number)
            except (ValueError, RecursionError) as error:
                _check_array(path, line, line_number)
                reading.report.add("refused", "not a JSON object", [number], detail=f"line {line_number}: {error}")
            if len(records) >= PORTION:
                yield table_of(records, numbers, reading.report)
                records, numbers, full = [], [], full + 1
    if not reading.records:
        raise DataError(f"{path.name!r} has 0 rows: it is empty.")
    if records or not full:
        yield table_of(records, numbers, reading.report)


def _json_object(line: str) -> dict[str, Any]:
    value = json.loads(line, object_pairs_hook=_once)
    if not isinstance(value, dict):
        raise ValueError(f"a {type(value).__name__}, not an object")
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(n for n in names if names.count(n) > 1)!r} stands there twice")
    return found


def _check_array(path: Path, line: str, line_number: int) -> None:
    if line_number == 1 and line.lstrip("\ufeff \t").startswith("["):
        raise DataError(f"{path.name!r} is one JSON array; write an object on each line (JSON lines) instead.")


def read_lines(path: Path, dialect: Dialect, reading: Reading) -> Iterator[pa.Table]:
    """Plain text, column ``text``: one text a line; blank lines are left out and counted."""
    encoding = detect(path, dialect.encoding)
    note_encoding(encoding, reading.report)
    name = (dialect.names or ("text",))[0]
    texts: list[str] = []
    start = 0
    with encoding.open(path) as file:
        for line_number, line in enumerate(file, start=1):
            if not line.strip():
                reading.report.add("counted", "blank line", detail=f"line {line_number}")
                continue
            if not encoding.sure and LOST in line:
                reading.report.add("repaired", f"bytes that are not {encoding.name} became U+FFFD", [reading.records])
            texts.append(line.rstrip("\r\n"))
            reading.records += 1
            if len(texts) >= PORTION:
                yield _numbered_texts(name, texts, start)
                texts, start = [], reading.records
    if not reading.records:
        raise DataError(f"{path.name!r} has 0 rows: it is empty.")
    if texts:
        yield _numbered_texts(name, texts, start)


def _numbered_texts(name: str, texts: list[str], start: int) -> pa.Table:
    return pa.table({name: pa.array(texts, pa.string()), ROW: pa.array(range(start, start + len(texts)), pa.int64())})


def read_parquet(path: Path, dialect: Dialect, reading: Reading) -> Iterator[pa.Table]:
    """Parquet, a portion of a row group at a time; class names that ``datasets`` stored are kept."""
    try:
        with pq.ParquetFile(path) as file:
            named(file.schema_arrow.names, path.name, reading.report)
            empty = plain(file.schema_arrow.empty_table())
            schema = with_features(empty.schema)
            for batch in file.iter_batches(batch_size=PORTION):
                table = plain(pa.Table.from_batches([batch]))
                numbers = pa.array(range(reading.records, reading.records + len(table)), pa.int64())
                reading.records += len(table)
                yield table.append_column(ROW, numbers).cast(schema)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path.name!r} is no whole Parquet file: {error}.") from error
    if not reading.records:
        raise DataError(f"{path.name!r} has 0 rows.")


READERS: dict[str, Callable[[Path, Dialect, Reading], Iterator[pa.Table]]] = {
    ".csv": read_csv, ".tsv": read_csv, ".tab": read_csv,
    ".jsonl": read_jsonl, ".ndjson": read_jsonl, ".json": read_jsonl,
    ".parquet": read_parquet, ".pq": read_parquet,
    ".txt": read_lines,
}  # fmt: skip


def canonical(name: str) -> str:
    """``train``, ``validation`` or ``test`` for the names these go by; any other name as it is."""
    return SPLITS.get(name.lower(), name)


def in_order(splits: dict[str, Any]) -> dict[str, Any]:
    """Train, validation, test, then the others by name."""
    first = ("train", "validation", "test")
    return {name: splits[name] for name in (*first, *sorted(set(splits) - set(first))) if name in splits}


def media_parts(folder: Path, shape: Shape) -> tuple[str, Shape, dict[str, Callable[[], Part]]] | None:
    """For a folder of pictures or sounds by class: their kind, the shape they are brought to, and split → a function
    that reads it; else None.

    Raises:
        DataError: it holds both.
    """
    inner = {canonical(child.name): child for child in _folders(folder) if child.name.lower() in SPLITS}
    found = {name: files for name, child in inner.items() if (files := class_files(child))}
    if not found and (files := class_files(folder)):
        inner, found = {"train": folder}, {"train": files}
    if not found:
        return None
    shape = settled(found.get("train") or next(iter(found.values())), shape)
    parts = {name: partial(read_folder, inner[name], files, shape) for name, files in in_order(found).items()}
    return medium_of([files[0] for files in found.values()]), shape, parts


def folder_parts(folder: Path, dialect: Dialect) -> dict[str, Callable[[], Part]]:
    """Split → a function that reads it, for a folder of files by split or of texts by class.

    Raises:
        DataError: the folder holds neither, or two files for one split.
    """
    if found := _split_files(folder):
        return {name: partial(_read_files, files, dialect) for name, files in in_order(found).items()}
    inner = {canonical(child.name): child for child in _folders(folder) if child.name.lower() in SPLITS}
    inner = {name: child for name, child in inner.items() if class_files(child, (".txt",))}
    if not inner and class_files(folder, (".txt",)):
        inner = {"train": folder}
    if inner:
        return {name: partial(_read_classes, child, dialect) for name, child in in_order(inner).items()}
    listed = ", ".join(sorted(child.name for child in folder.iterdir())[:12]) or "nothing"
    raise DataError(
        f"the folder {folder.name!r} holds {listed}. Give it a file for each split (train.csv, validation.csv, "
        "test.csv; or .tsv, .jsonl, .parquet) or a folder of files for each class (pos/, neg/): texts (.txt), pictures "
        "(.png, .jpg …) or sounds (.wav)."
    )


def _folders(folder: Path) -> list[Path]:
    return sorted(child for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))


def _split_files(folder: Path) -> dict[str, list[Path]]:
    """Split → its file, or its shards (train-00000-of-00002.parquet), in order."""
    files = sorted(child for child in folder.iterdir() if child.is_file() and child.suffix.lower() in READERS)
    found: dict[str, list[Path]] = {}
    for path in files:
        name, shards = re.fullmatch(r"(.+?)(-\d+-of-\d+)?", path.stem).groups()  # type: ignore[union-attr]
        if name.lower() not in SPLITS:
            continue
        split = canonical(name)
        if split in found and (not shards or found[split][0].suffix != path.suffix):
            raise DataError(f"{found[split][0].name!r} and {path.name!r} are both the split {split!r}: move one away.")
        found.setdefault(split, []).append(path)
    if not found and len(files) == 1:
        return {"train": files}
    return found


def _read_files(files: list[Path], dialect: Dialect) -> Part:
    from datasets import concatenate_datasets

    parts = [read_file(path, dialect) for path in files]
    if len(parts) == 1:
        return parts[0]
    tables, report, start = [], parts[0].report, 0
    for index, part in enumerate(parts):
        if part.table.features != parts[0].table.features:
            raise DataError(f"{files[index].name!r} has other columns than {files[0].name!r}.")
        numbers = [number + start for number in part.table[ROW]]
        tables.append(part.table.remove_columns(ROW).add_column(ROW, numbers))
        report = report.merge(part.report.moved(start, None)) if index else report
        start += part.records
    return Part(concatenate_datasets(tables), report, start)


def _read_classes(folder: Path, dialect: Dialect) -> Part:
    """Texts named by their folder: columns ``text``, ``label`` and ``file``."""
    files = class_files(folder, (".txt",))
    names = [path.relative_to(folder).as_posix() for path in files]
    key = [fingerprint(names, [sha256_file(path) for path in files]), dialect.encoding]
    return cached(key, lambda reading: _texts(files, names, dialect, reading))


def _texts(files: list[Path], names: list[str], dialect: Dialect, reading: Reading) -> Iterator[pa.Table]:
    records: list[dict[str, Any]] = []
    for number, (path, name) in enumerate(zip(files, names, strict=True)):
        encoding = detect(path, dialect.encoding)
        with encoding.open(path) as file:
            text = file.read()
        if encoding.guessed:
            reading.report.add("counted", "encoding guessed", [number], detail=f"{name}: {encoding.name}")
        if not encoding.sure and LOST in text:
            reading.report.add("repaired", f"bytes that are not {encoding.name} became U+FFFD", [number], detail=name)
        records.append({"text": text, "label": path.parent.name, "file": name})
        reading.records = number + 1
        if len(records) >= PORTION or number + 1 == len(files):
            yield table_of(records, range(number + 1 - len(records), number + 1), reading.report)
            records = []
