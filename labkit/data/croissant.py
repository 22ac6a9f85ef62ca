"""Data cards: rows as Parquet files with their description in Croissant (JSON-LD, MLCommons, version 1.0)."""

from __future__ import annotations

import datetime
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from labkit.core.errors import DataError, os_reason
from labkit.data.arrow import batches
from labkit.data.dataset import SplitDataset
from labkit.i18n import _

NAME = "croissant.json"
#: Columns that labkit adds, and what they mean.
_OWN = {
    "text": "The text.",
    "text_pair": "The second text.",
    "label": "The class, empty where unlabelled.",
    "row": "Number of the row in the source, from 0.",
    "target": "The targets: 0 or 1 for each label, or numbers.",
}
_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}


def save_croissant(
    rows: SplitDataset,
    folder: str | Path,
    *,
    name: str = "",
    description: str = "",
    licence: str = "",
    url: str = "",
    cite: str = "",
    creator: str = "",
    version: str = "1.0.0",
) -> Path:
    """Write a Parquet file for each split and ``croissant.json``, which describes them for search engines and
    loaders: files with hashes, columns with types, licence, and what was refused or repaired.

    Args:
        rows: texts or tables.
        folder: a new or empty folder.
        name: of the data set; default: that of the source.
        description: what the rows are and how they were collected.
        licence: its name, or the address of its text.
        url: where the data set is described.
        cite: how to cite it.
        creator: who made it.
        version: major.minor.patch.

    Returns:
        The path of ``croissant.json``.

    Raises:
        DataError: rows of pictures or sounds; the folder is not empty or cannot be written.
    """
    folder = Path(folder)
    if rows.schema.modality in ("image", "audio"):
        raise DataError(
            _("rows of the modality {modality!r} cannot be described: Croissant needs their files. Use rows.save()."),
            modality=rows.schema.modality,
        )  # fmt: skip
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise DataError(_("{folder!r} is not empty; choose a new folder."), folder=str(folder))
        folder.mkdir(parents=True, exist_ok=True)
        files = {split: _write(rows, split, folder) for split in rows.splits}
        about = _described(rows, files, name or _name(rows))
        given = {
            "description": description, "license": licence, "url": url, "citeAs": cite,
            "creator": {"@type": "sc:Organization", "name": creator} if creator else "", "version": version,
        }  # fmt: skip
        about |= {key: value for key, value in given.items() if value}
        path = folder / NAME
        path.write_text(json.dumps(about, indent=2, ensure_ascii=False), encoding="utf-8")
        return path
    except OSError as error:
        raise DataError(
            _("{folder!r} is not writable: {reason}."), folder=str(folder), reason=os_reason(error)
        ) from error


def _write(rows: SplitDataset, split: str, folder: Path) -> tuple[str, pa.Schema, str, int]:
    """Write a split; file name, schema, SHA-256 and size of the file. Class ids become names."""
    place = folder / f"{list(rows.splits).index(split)}-{_safe(split)}.parquet"
    dataset = rows[split]
    schema = pa.schema([_kind(field, rows) for field in dataset.features.arrow_schema])
    names = pa.array([*rows.schema.classes], pa.string())
    with pq.ParquetWriter(place, schema) as writer:
        for table in batches(dataset):
            columns = []
            for field in schema:
                column = table.column(field.name)
                if field.name == "label" and _named(rows):
                    ids = column.combine_chunks()
                    columns.append(names.take(pc.if_else(pc.less(ids, 0), None, ids)))
                else:
                    columns.append(column.cast(field.type))
            writer.write_table(pa.table(columns, schema=schema))
    digest = hashlib.sha256()
    with open(place, "rb") as file:
        while part := file.read(1 << 20):
            digest.update(part)
    return place.name, schema, digest.hexdigest(), place.stat().st_size


def _kind(field: pa.Field, rows: SplitDataset) -> pa.Field:
    if field.name == "label" and _named(rows):
        return pa.field("label", pa.string())
    return pa.field(field.name, field.type)


def _named(rows: SplitDataset) -> bool:
    return rows.schema.problem_type == "class"


def _described(
    rows: SplitDataset, files: dict[str, tuple[str, pa.Schema, str, int]], name: str
) -> dict[str, Any]:
    report = "; ".join(
        f"{action}: {reason} {count:,}"
        for action, reasons in rows.report.counts().items()
        for reason, count in reasons.items()
    )
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": name,
        "description": f"{len(rows):,} rows written by labkit.",
        "datePublished": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "identifier": f"sha256:{rows.fingerprint}",
        **({"rai:dataPreprocessingProtocol": report} if report else {}),
        "distribution": [
            {
                "@type": "cr:FileObject",
                "@id": file,
                "name": file,
                "contentUrl": file,
                "contentSize": f"{size} B",
                "encodingFormat": "application/x-parquet",
                "sha256": digest,
            }
            for file, _schema, digest, size in files.values()
        ],
        "recordSet": [
            {
                "@type": "cr:RecordSet",
                "@id": split,
                "name": split,
                "description": f"The split {split}: {len(rows[split]):,} rows.",
                "field": [_field(column, split, file) for column in schema if _type(column.type)],
            }
            for split, (file, schema, _digest, _size) in files.items()
        ],
    }


def _field(column: pa.Field, split: str, file: str) -> dict[str, Any]:
    repeated = pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type)
    return {
        "@type": "cr:Field",
        "@id": f"{split}/{column.name}",
        "name": column.name,
        "description": _OWN.get(column.name, f"Column {column.name}."),
        "dataType": _type(column.type),
        **({"repeated": True} if repeated else {}),
        "source": {"fileObject": {"@id": file}, "extract": {"column": column.name}},
    }


def _type(kind: pa.DataType) -> str:
    """The type of a column in Croissant's words; "" for what it has no word for."""
    if pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        kind = kind.value_type
    tests = (
        (pa.types.is_boolean, "sc:Boolean"),
        (pa.types.is_integer, "sc:Integer"),
        (pa.types.is_floating, "sc:Float"),
        (pa.types.is_string, "sc:Text"),
        (pa.types.is_large_string, "sc:Text"),
        (pa.types.is_date, "sc:Date"),
        (pa.types.is_timestamp, "sc:DateTime"),
    )
    return next((word for test, word in tests if test(kind)), "")


def _name(rows: SplitDataset) -> str:
    source = str(rows.source.get("source", ""))
    return _safe(os.path.basename(source.rstrip("/"))) or "rows"


def _safe(text: str) -> str:
    return "".join(each if each.isalnum() or each in "-_." else "-" for each in text)[:80]
