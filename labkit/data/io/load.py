"""``load``: read files, folders, tables in memory, samples and hub data sets into
:class:`labkit.data.rows.Rows`."""

from __future__ import annotations

import inspect
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
import pyarrow as pa

from labkit.core.config import check_names
from labkit.core.errors import ConfigError, DataError, LabkitError, SampleError, nearest
from labkit.core.safety import inside, offline
from labkit.data.arrow import numbers
from labkit.data.columns import Choice
from labkit.data.dataset import DAMAGED, MARK
from labkit.data.io.arrow_cache import ROW, Part, unreadable
from labkit.data.io.csv import Dialect, dialect
from labkit.data.io.files import read_file
from labkit.data.io.folders import (
    Found,
    Parts,
    canonical,
    in_order,
    looks_like_files,
    named_files,
    read_folder,
)
from labkit.data.io.media import Shape, shape_of
from labkit.data.io.memory import memory_parts
from labkit.data.labels import Classes
from labkit.data.recipe import recorded, source_of
from labkit.data.report import Note, Report
from labkit.data.rows import Rows
from labkit.data.schema import Spec, check_splits, with_counts
from labkit.data.validate import make_rows, raise_refused
from labkit.hub.web import fetched, shown_address
from labkit.i18n import _

HUB_NAME = re.compile(r"([\w.-]+/[\w.-]+)(?:@([\w./-]+))?")


@contextmanager
def _readable() -> Iterator[None]:
    """Raise :class:`DataError` for a file or folder that the system does not let be read."""
    try:
        yield
    except LabkitError:
        raise
    except OSError as error:
        raise unreadable(error) from error


@runtime_checkable
class _Query(Protocol):
    """A query that has not run yet, such as a lazy frame of polars."""

    collect: Callable[..., Any]


@runtime_checkable
class _ArrowStream(Protocol):
    """A table of another library that hands its rows over as Arrow: a frame of polars, a result of DuckDB."""

    def __arrow_c_stream__(self, requested_schema: object = None) -> object: ...


#: What :func:`load` reads: rows that are loaded already, a name, path or address, columns, records, tuples, a
#: data set, a table of Arrow, or a frame or query of another library.
RowSource: TypeAlias = (
    Rows | str | os.PathLike[str] | Mapping[str, Any] | Iterable[Any] | _ArrowStream | _Query
)


@recorded
@_readable()
def load(
    x: RowSource,
    *,
    text: str | Sequence[str] | None = None,
    label: str | Sequence[str] | bool | None = None,
    classes: Classes | None = None,
    number: str | Sequence[str] | None = None,
    separator: str | None = None,
    answer: str | None = None,
    tags: str | None = None,
    messages: str | None = None,
    transcript: str | None = None,
    features: bool | Sequence[str] = False,
    groups: str | Sequence[str] | None = None,
    indicators: bool | None = None,
    time: str | None = None,
    series: str | None = None,
    step: str | None = None,
    user: str | None = None,
    item: str | None = None,
    title: str | None = None,
    decimal: str | None = None,
    split: str | Sequence[str] | None = None,
    on_bad: str = "error",
    missing: str = "error",
    revision: str | None = None,
    subset: str | None = None,
    names: Sequence[str] | None = None,
    delimiter: str | None = None,
    encoding: str | None = None,
    quotes: bool = True,
    escapechar: str | None = None,
    sheet: str | None = None,
    size: int | Sequence[int] | None = None,
    masks: str | None = None,
    seconds: float | None = None,
    rate: int | None = None,
    **options: object,
) -> Rows:
    """Load labelled examples. Nothing is changed or dropped silently: ``rows.report`` lists all changes by
    row number.

    Args:
        x: rows in memory: a list of dicts, of tuples (with ``names``), a dict of columns, a frame (pandas,
            polars), an Arrow table or what hands its rows over as Arrow (DuckDB), a ``datasets.Dataset`` or
            ``DatasetDict``, a dict of these by split. Or a path: of a file (CSV, TSV, JSON lines, JSON,
            Parquet, Excel, plain text with a text a line; also .gz, .bz2, .xz, .zst, or a .zip of one file);
            of a folder with such a file for each split (train.csv, test.csv, …), with a folder of texts
            (.txt), pictures (.png, .jpg …) or sounds (.wav) for each class (pos/, neg/; also inside train/,
            test/), with pictures in images/ and a mask for each in masks/ (also inside train/, test/), with a
            table that names pictures, sounds or texts in it; or written by :meth:`Rows.save`.
            Or the address of such a file (https://…); the name of a sample (``labkit samples``); or a hub
            name, "organisation/name". A path wins over a sample.
        text: text column, or two columns for pairs. Default: detected by common names, otherwise the column
            with the longest texts.
        label: label column; False for none. Default: detected by common names, otherwise a column with few
            distinct values. A column of lists, or several columns of 0 and 1 (one per label), gives several
            labels per row.
        classes: class names in the order of their ids, or label → name (``{"0": "bad", "1": "good"}``).
            Default: those of a ``ClassLabel`` column, otherwise the sorted labels of train (numerically if
            numbers).
        number: regression target column(s), instead of ``label``; of time series their value column(s).
        separator: separator between several labels in one text column, such as "comedy;drama".
        answer: answer column of question answering, with ``text=(question, paragraph)``: the answer texts, whose
            places are in ``answer_start`` or are searched in the paragraphs; or answers as in SQuAD.
        tags: column with a tag for every word (lists, or texts divided by spaces) of token classification; ``text``
            names that of the words ("tokens"). Files in CoNLL format (.conll, .bio, .iob, .iob2) have both.
        messages: column of conversations for instruction tuning: lists of ``{"role": …, "content": …}`` with the roles
            system, user and assistant (also ``from`` and ``value``, human and gpt), or such lists as JSON. Pairs of a
            prompt and a response are ``text=("prompt", "response")``, ``label=False``. Default: detected.
        transcript: column with the words spoken in each sound, for speech recognition; the table names the sound files.
            Sounds with a transcript are never cut: one longer than ``seconds`` (default: the longest, at most 30) is
            refused.
        features: input columns (numbers, dates, categories), instead of ``text``; True for all usable columns
            except identifiers and ``groups``. Categories are one-hot encoded.
        groups: columns of a table to keep though the model does not read them, for scores by group, such as "sex"
            (texts, pictures and sounds keep all columns), or for a split by site or by time.
        indicators: for columns of numbers, dates and booleans that lack values in train, add a feature that is 1
            where the value is missing. A missing value itself is read as the mean of train. Default: False, but for
            samples with many missing values.
        time: time column of a table of time series, whose values are ``number``: dates, or numbers. Rows are put in
            the order of time; a time that occurs twice is refused, a missing step is an unknown value.
        series: column that names the series, where there are several.
        step: time between two values: "hour", "15 minutes", "day", "business day", "week", "month", a number where
            times are numbers, or "rows" for the order of the rows alone. Default: detected.
        user, item: columns of a table of interactions, with ``time``: who chose or rated what, and when. A rating is
            not read: every row counts as a choice.
        title: column of the titles of items.
        decimal: decimal mark, "." or ",", of ambiguous numbers such as "1,234".
        split: load only this split or these; for a single table, its name (default: "train").
        on_bad: unusable rows (ragged, not JSON, empty text, label outside ``classes``, answer that does not
            match the paragraph): "error" raises and lists their numbers, "skip" skips them.
        missing: rows without a label: "error" raises and lists their numbers, "drop" drops them, "keep" keeps
            them as unlabelled (-1).
        revision: the version of a hub data set; required for one, best a commit.
        subset: the configuration of a hub data set that has several.
        names: column names of a CSV or Excel file without a header line, or of rows that are tuples.
        delimiter, encoding: of a CSV file; detected by default (encoding also for JSON and .txt).
        quotes: False where ``"`` is plain text in a CSV file.
        escapechar: "\\\\" for a CSV file that writes quotes as ``\\"``, and NULL as ``\\N``, as MySQL does.
        sheet: of an Excel file; left out: the first that has rows.
        size: image folders: side in pixels, or (height, width), to resize to. Default: the common size if
            there is one, otherwise the most common shorter side, at most 128.
        masks: name of the subfolder with the masks of a folder of pictures. Default: "masks" or another usual name
            beside "images". A mask has the name of its picture and a value for every pixel; ``classes`` names the
            values.
        seconds, rate: sound folders: length in seconds (default: the 95th percentile, at most 10) and
            sampling rate in Hz (16,000).
        options: of a sample, such as ``min_score`` of movie-reviews.

    Raises:
        DataError: some rows are unusable; the message lists them and the options.
        SampleError: a sample or a hub data set cannot be fetched.
        ConfigError: an argument does not apply to this source.
    """
    text = text if text is None or isinstance(text, str) else tuple(text)
    file = {
        "names": names and tuple(names), "delimiter": delimiter, "encoding": encoding, "quotes": quotes,
        "escapechar": escapechar, "sheet": sheet,
    }  # fmt: skip
    file = {name: value for name, value in file.items() if value not in (None, True)}
    shape = {"size": size, "masks": masks, "seconds": seconds, "rate": rate}
    media = {name: value for name, value in shape.items() if value is not None}
    hub = {name: value for name, value in (("revision", revision), ("subset", subset)) if value is not None}
    label = label if label is None or isinstance(label, str | bool) else tuple(label)
    columns = features if isinstance(features, bool) else _names(features)
    choice = Choice(
        text=text, label=label, classes=classes, on_bad=on_bad, missing=missing, separator=separator, features=columns,
        answer=answer, tags=tags, messages=messages, transcript=transcript, decimal=decimal,
        number=() if number is None else _names(number),
        groups=() if groups is None else _names(groups), indicators=indicators, time=time, series=series, step=step,
        user=user, item=item, title=title, kind=_kind(user, time, features),
    )  # fmt: skip
    usual = Choice()
    said = {
        name: value
        for name, value in vars(choice).items()
        if value != getattr(usual, name) and name != "kind"
    }
    wanted = split if split is None or isinstance(split, str) else tuple(split)
    said |= {} if wanted is None else {"split": wanted}
    if isinstance(x, str | os.PathLike):
        given = os.fspath(x)
        source = {"source": given, **_plain({**said, **file, **media, **hub, **options})}
        return _from_name(given, choice, wanted, file, media, hub, options, source)
    if _is_tuples(x):
        file.pop("names", None)
    _no_use({**file, **media, **hub, **options}, f"rows in memory ({type(x).__name__})")
    return _checked(make_rows(_read(memory_parts(x, names), wanted), choice, {"source": "", **_plain(said)}))


@dataclass(frozen=True)
class Read:
    """A table as read, before columns are assigned roles.

    Attributes:
        table: the columns by their own names; of a CSV file all are texts.
        rows: i64[n], number of each row in the source; refused rows are missing here and in ``table``.
        report: what reading refused, repaired and counted.
    """

    table: pa.Table
    rows: np.ndarray
    report: Report


@_readable()
def read_table(x: Any, *, split: str | None = None, on_bad: str = "error", **file: object) -> Read:
    """Read one table exactly as :func:`load` does, without choosing a text or a label.

    Args:
        x: a path, an https address, or rows in memory; see :func:`load`.
        split: the split to read where the source has several.
        on_bad: "error" raises for rows that cannot be read, with their numbers; "skip" leaves them out.
        file: ``names``, ``delimiter``, ``encoding``, ``quotes``, ``escapechar``, ``sheet``; see :func:`load`.

    Raises:
        DataError: there is no such table, it has several splits and none is named, or rows are refused.
        SampleError: an address cannot be fetched.
        ConfigError: an unknown option, or one that does not go with this source.
    """
    Choice(on_bad=on_bad)  # checks it
    found = _table_parts(x, dialect(**file))
    parts = found.parts
    if found.kind != "text":
        raise DataError(_("{path!r} is a folder of images or sounds, not a table."), path=os.fspath(x))
    if split is None and len(parts) > 1:
        raise DataError(
            _("there are several splits: {parts}. Choose one with split=…."), parts=", ".join(parts)
        )
    part = next(iter(_read(parts, split).values()))
    raise_refused(part.report, on_bad, part.records)
    rows = np.array(numbers(part.table, ROW, np.int64))
    table = part.table.remove_columns([ROW]).with_format("arrow")[:]
    return Read(table, rows, part.report.merge(found.notes))


def _table_parts(x: RowSource, how: Dialect) -> Found:
    """Rows in memory, a path or an address as tables, also where they name pictures."""
    if not isinstance(x, str | os.PathLike):
        usual = vars(Dialect())
        given = {name: value for name, value in vars(how).items() if value != usual[name]}
        if _is_tuples(x):
            given.pop("names", None)
        _no_use(given, f"rows in memory ({type(x).__name__})")
        return Found(memory_parts(x, how.names))
    name = os.fspath(x)
    if "://" in name:
        return _found(fetched(name), how)
    path = Path(name).expanduser()
    if not path.exists():
        folder = path.parent if path.parent.is_dir() else Path()
        near = nearest(path.name, (child.name for child in folder.iterdir()))
        raise DataError(_("file or folder {name!r} not found.{near}"), name=name, near=near)
    return _found(path, how)


@_readable()
def peek(path: str | os.PathLike[str], n: int = 3, **file: object) -> dict[str, list[Any]]:
    """The columns of a file or folder with their first ``n`` values; empty for a folder of images or sounds
    by class.

    Args:
        path: of what :func:`load` reads.
        file: ``names``, ``delimiter``, ``encoding``, ``quotes``, ``escapechar``, ``sheet``; see :func:`load`.

    Raises:
        DataError: there is no such file, or it cannot be read.
    """
    found = _table_parts(path, dialect(**file))
    if found.kind != "text":
        return {}
    table = next(iter(found.parts.values()))().table
    return table.remove_columns([ROW]).with_format(None)[:n] if len(table) else {}


def _is_tuples(x: Any) -> bool:
    return isinstance(x, list | tuple) and bool(x) and isinstance(x[0], list | tuple)


def _kind(user: str | None, time: str | None, features: object) -> str:
    """What the rows of a table are, by the columns that were named."""
    if user is not None:
        return "interactions"
    return "series" if time is not None else "features" if features else "text"


def _names(given: str | Iterable[str]) -> tuple[str, ...]:
    """One name or several as a tuple."""
    return (given,) if isinstance(given, str) else tuple(given)


def _plain(options: dict[str, Any]) -> dict[str, Any]:
    """Options as TOML and JSON hold them."""
    plain: dict[str, Any] = {}
    for name, value in options.items():
        if isinstance(value, Mapping):
            plain[name] = {str(key): str(item) for key, item in value.items()}
        else:
            plain[name] = value if isinstance(value, str | int | float) else list(value)
    return plain


def _no_use(options: Mapping[str, Any], where: str) -> None:
    check_names(
        "load", options, [name for name in inspect.signature(load).parameters if name not in ("x", "options")]
    )
    if options:
        raise ConfigError(
            _("load does not accept {options} for {where}; remove it."),
            options=", ".join(options),
            where=where,
        )


def _from_name(
    name: str, choice: Choice, wanted: Any, file: dict[str, Any], media: dict[str, Any], hub: dict[str, Any],
    options: dict[str, Any], source: dict[str, Any],
) -> Rows:  # fmt: skip
    from labkit.hub.samples import SAMPLES

    if "://" in name:
        _no_use({**media, **hub, **options}, _("the address {name!r}", name=shown_address(name)))
        return _checked(
            make_rows(_read(_found(fetched(name), dialect(**file)).parts, wanted), choice, source)
        )
    path = Path(name).expanduser()
    if path.exists():
        _no_use({**hub, **options}, _("the path {name!r}", name=name))
        if (path / MARK).is_file():
            _no_use({key: value for key, value in source.items() if key not in ("source",)}, _("saved rows"))
            return open_rows(path)
        tables = choice.text is not None or bool(choice.features) or choice.time is not None
        found = _found(
            path, dialect(**file), shape_of(**media, transcribed=choice.transcript is not None), tables
        )
        if found.kind == "text":
            _no_use(media, f"{name!r}, which is no folder of pictures or sounds")
        if not found.tables:
            _no_use(file, f"the folder {name!r} of files by class")
        kind = choice.kind if found.kind == "text" else found.kind
        choice = replace(
            choice, kind=kind, masked=found.masked, rate=found.shape.rate if kind == "audio" else 0
        )
        return _checked(make_rows(_read(found.parts, wanted), choice, source, found.notes))
    _no_use(media, f"{name!r}, which is no folder of pictures or sounds")
    _no_use(file, _("{name!r}, which is not a local file", name=name))
    if name in SAMPLES:
        _no_use(hub, _("the sample {name!r}", name=name))
        return _sample(name, choice, wanted, options, source)
    if found := HUB_NAME.fullmatch(name):
        _no_use(options, _("the hub name {name!r}", name=name))
        parts = _hub_parts(found.group(1), hub.get("revision") or found.group(2), hub.get("subset"))
        return make_rows(_read(parts, wanted), choice, source)
    raise DataError(_unknown(path, name, SAMPLES))


def open_rows(folder: str | Path) -> Rows:
    """Rows written by ``rows.save``, memory-mapped.

    Raises:
        DataError: the folder was not written by ``rows.save``, or a file of it is missing or damaged.
    """
    from datasets import Dataset

    folder = Path(folder)
    try:
        about = json.loads((folder / MARK).read_text(encoding="utf-8"))
        source = source_of(about["source"])
        files = {name: str(inside(folder, file, reading=True)) for name, file in about["splits"].items()}
        splits = {name: Dataset.from_file(file) for name, file in files.items()}
        spec, report = Spec.from_dict(about["spec"]), Report.from_dict(about["report"])
        rows = Rows(splits, spec, report, source)
        if rows.counts() != spec.rows:
            raise ValueError(f"it holds {rows.counts()} rows where {MARK} says {spec.rows}")
        check_splits(spec, splits)
        if (
            len(set(spec.classes)) < len(spec.classes)
            or len(spec.text) > 2
            or with_counts(spec, splits) != spec
        ):
            raise ValueError(f"its texts and labels are not those that {MARK} describes")
    except (*DAMAGED, LabkitError) as error:
        raise DataError(
            _("{folder!r} does not contain complete saved rows: {error}. Save them again."),
            folder=str(folder),
            error=str(error).rstrip("."),
        ) from error
    rows.__dict__["spec"] = spec
    return rows


def _unknown(path: Path, name: str, samples: Mapping[str, Any]) -> str:
    data = [known for known, sample in samples.items() if sample.kind == "data"]
    folder = path.parent if path.parent.is_dir() else Path()
    near = nearest(path.name, [*(child.name for child in folder.iterdir()), *data])
    return _(
                    "{name!r} is neither a local file or folder, nor a sample ({data}), nor a hub name "
            "(organisation/name).{near}",
        name=name, data=", ".join(data), near=near,
    )  # fmt: skip


def _found(path: Path, dialect: Dialect, shape: Shape | None = None, tables: bool = True) -> Found:
    """What a file or folder holds; with ``tables`` they stay tables where they name pictures or sounds."""
    if path.is_dir():
        if (path / "dataset_dict.json").is_file() or (path / "dataset_info.json").is_file():
            from datasets import load_from_disk

            return Found(memory_parts(load_from_disk(str(path))))
        return read_folder(path, dialect, shape or Shape(), tables)
    if shape and not tables and (found := named_files(path.parent, {"": [path]}, dialect, shape)):
        return replace(found, notes=())
    return Found({"": lambda: read_file(path, dialect)})


def _checked(rows: Rows) -> Rows:
    """Raise :class:`DataError` where the texts were not chosen by the caller and are names of files."""
    name = rows.spec.text[0] if rows.spec.text else None
    first = next(iter(rows.splits.values()))
    if name and "text" not in rows.source and looks_like_files(first["text"][:100]):
        raise DataError(
            _(
                "column {name!r} contains file names, and no other column contains texts. Load the folder "
                "that contains both the files and the table, or name the text column with text=…."),
            name=name,
        )  # fmt: skip
    return rows


def _read(parts: Parts, wanted: str | tuple[str, ...] | None) -> dict[str, Part]:
    """The wanted splits, read; ``""`` stands for a single table, whose split has the wanted name or is
    "train"."""
    if list(parts) == [""]:
        if wanted is not None and not isinstance(wanted, str):
            raise DataError(
                _("the data is a single table, not the splits {wanted}: split= accepts one name for it."),
                wanted=", ".join(wanted),
            )
        return {canonical(wanted or "train"): parts[""]()}
    names = [canonical(name) for name in ([wanted] if isinstance(wanted, str) else wanted or parts)]
    for name in names:
        if name not in parts:
            raise DataError(
                _("no split {name!r}.{hint} Available: {parts}."),
                name=name, hint=nearest(name, parts), parts=", ".join(parts),
            )  # fmt: skip
    return {name: parts[name]() for name in in_order(dict.fromkeys(names))}


def _sample(name: str, choice: Choice, wanted: Any, options: dict[str, Any], source: dict[str, Any]) -> Rows:
    from labkit.hub import datasets

    raw = datasets.table(name, **options)
    notes = [
        Note(row, None, "refused", reason, _("set by the sample {name}", name=name))
        for row, reason in raw.notes
    ]
    parts: Parts = {
        split: lambda table=table: Part(table.rename_column("row", ROW), Report(), len(table) + len(notes))
        for split, table in raw.splits.items()
    }
    label = raw.label or None if raw.labelled else False
    told = Choice(**{
        **vars(choice), "kind": raw.kind, "text": choice.text or (raw.text if raw.kind == "text" else None),
        "label": label if choice.label is None else choice.label, "classes": choice.classes or raw.classes,
        "number": choice.number or raw.number, "features": choice.features or raw.encoded,
        "tags": choice.tags or raw.tags or None, "transcript": choice.transcript or raw.transcript or None,
        "rate": raw.rate,
        "groups": tuple(dict.fromkeys((*raw.groups, *choice.groups))),
        "masked": raw.masked,
        "indicators": raw.indicators if choice.indicators is None else choice.indicators,
        "time": choice.time or raw.time or None, **raw.interactions,
    })  # fmt: skip
    return make_rows(_read(parts, wanted), told, source, notes)


def _hub_parts(name: str, revision: str | None, subset: str | None) -> Parts:
    if revision is None:
        raise DataError(
            _(
                '{name!r} on the hub can change: pin a revision with lk.load({name!r}, revision="…"), the '
                "commit shown under Files. ({name!r} is neither a local file or folder nor a sample.)"),
            name=name,
        )  # fmt: skip
    from datasets import load_dataset

    if offline():
        raise SampleError(_("LABKIT_OFFLINE is set, so {name!r} cannot be fetched from the hub."), name=name)
    try:
        found = load_dataset(name, subset, revision=revision)
    except Exception as error:  # the client raises whatever its layers raise
        raise SampleError(
            _("the hub data set {name!r} at revision {revision!r} could not be loaded: {error} Check the "
              "name, the revision, subset=… and the network (HF_HUB_OFFLINE)."),
            name=name, revision=revision, error=_first_line(error),
        ) from error  # fmt: skip
    return memory_parts(found)


def _first_line(error: Exception) -> str:
    text = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {text[0][:300]}"
