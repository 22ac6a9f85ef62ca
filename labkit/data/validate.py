"""Validation of tables: usable rows are numbered, others rejected by row number."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset

from labkit.core.errors import DataError
from labkit.data import memmap
from labkit.data.answers import check_answers, named_answers
from labkit.data.arrow import batches, numbers
from labkit.data.cells import Column
from labkit.data.columns import (
    RESERVED,
    Choice,
    check_columns,
    free_name,
    label_column,
    names_of,
    note_alike,
    text_columns,
)
from labkit.data.conversations import PAIR, conversation_column, prompt_columns, with_conversations
from labkit.data.features import tabular
from labkit.data.interactions import read_interactions
from labkit.data.io.arrow_cache import MIXED, ROW, Part, as_text
from labkit.data.labels import (
    Labels,
    choose_classes,
    near_class,
    note_doubtful,
    present,
    read_labels,
    renamed,
)
from labkit.data.masks import with_masks
from labkit.data.report import Note, Report, visible
from labkit.data.rows import Rows
from labkit.data.schema import Spec
from labkit.data.series import SeriesRows, finished_series, note_unused, read_series
from labkit.data.tags import TEXT, tag_columns, with_tags
from labkit.data.targets import OUTSIDE, as_column, read_targets, wants_targets
from labkit.data.transcripts import transcript_column, with_transcripts
from labkit.i18n import _, joined
from labkit.i18n.labels import split_name

LONG = 1_000_000  # characters
HIDDEN = r"[\x{200b}-\x{200f}\x{202a}-\x{202e}\x{2060}-\x{2064}\x{2066}-\x{2069}\x{feff}]"
CONTROL = r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x{9f}]"
ODD = {_("control characters"): CONTROL, _("zero-width or bidirectional characters"): HIDDEN}


def make_rows(
    parts: Mapping[str, Part], choice: Choice, source: dict[str, Any], settled: Iterable[Note] = ()
) -> Rows:
    """Rows from tables as read.

    Args:
        parts: split → table.
        choice: what the caller says.
        source: how to load the rows again.
        settled: refusals by design of the source, which are reported but raise nothing.

    Raises:
        DataError: see :func:`labkit.data.io.load.load`.
    """
    first = next(iter(parts.values())).table
    report, starts = _numbered(parts)
    total = sum(part.records for part in parts.values())
    if not all(len(part.table) for part in parts.values()):
        raise_refused(report, choice.on_bad, total)
        _check_left({name: part.table for name, part in parts.items()}, (), report)
    note_alike(names_of(first), report)
    for name, part in parts.items():
        check_columns(part.table, choice.groups, name)
    if choice.user is not None:
        return _interactions(parts, choice, starts, source, report, total, settled)
    rows = {name: _row_numbers(part.table, starts[name]) for name, part in parts.items()}
    unusable: dict[str, np.ndarray] = {}
    if (tagged := tag_columns(first, choice, report)) is not None:
        parts, unusable = with_tags(parts, tagged, rows, report)
        choice = replace(choice, text=TEXT, label=False, tags=None)
        first = next(iter(parts.values())).table
    elif (talks := conversation_column(first, choice, report)) is not None:
        parts, unusable = with_conversations(parts, talks, rows, report)
        choice = replace(choice, text=(TEXT, PAIR), label=False, messages=None)
        first = next(iter(parts.values())).table
    elif (prompts := prompt_columns(first, choice, report)) is not None:
        choice = replace(choice, text=prompts, label=False)
    if (spoken := transcript_column(first, choice, report)) is not None:
        parts, unusable = with_transcripts(parts, spoken, rows, report)
        choice = replace(choice, label=False, transcript=None)
        first = next(iter(parts.values())).table
    mask_classes: tuple[str, ...] = ()
    if choice.masked:
        parts, unusable, mask_classes = with_masks(parts, choice, rows, report)
        choice = replace(choice, label=False, classes=None)
        first = next(iter(parts.values())).table
    text = text_columns(first, choice, report) if choice.kind == "text" else ()
    label = label_column(parts, text, choice, report)
    parts = _with_answers(parts, choice, text, rows, report)
    _check_mixed(report, (*text, *choice.number, *_labels(label, choice)))
    texts, bad = {}, {}
    for name, part in parts.items():
        check_columns(part.table, (*text, *([label] if name == "train" and label else [])), name)
        texts[name], bad[name] = _read_texts(part.table, text, rows[name], name, report)
        if name in unusable:
            bad[name] |= unusable[name]
        strict = label is None and not choice.number and not isinstance(choice.label, tuple)
        check_answers(part.table, text, texts[name], rows[name], name, report, bad[name], strict)
    problem_type, values = "class", dict.fromkeys(parts)
    if wants_targets(parts, choice, label):
        found = read_targets(parts, choice, label, rows, report, bad)
        problem_type, classes, used, ids, values = (
            found.problem_type,
            found.names,
            found.columns,
            found.known,
            found.values,
        )
    else:
        ids, classes = _class_ids(parts, label, rows, choice, report, bad)
        used = (label,) if label else ()
    columns: tuple[Column, ...] = ()
    if choice.features:
        parts, columns = tabular(parts, choice, used, rows, report, bad)
    series = read_series(parts, choice, rows, report, bad) if choice.time is not None else None
    raise_refused(report, choice.on_bad, total)
    told = ", ".join(used) or None
    if series is not None:
        return _series(series, parts, values, rows, used, choice, source, report.merge(settled))
    _settle_missing(ids, rows, bad, told, choice, report)
    splits = {
        name: _finished(
            part.table, text, used, texts[name], ids[name], values[name], rows[name], bad[name], report
        )
        for name, part in parts.items()
    }
    _check_left(splits, classes if problem_type == "class" else (), report)
    spec = Spec(
        text=text,
        label=told,
        classes=classes,
        problem_type=problem_type,
        modality=choice.kind,
        rate=choice.rate,
        transcript=spoken or "",
        features=columns,
        mask_classes=mask_classes,
    )
    return Rows(splits, spec, report.merge(settled), source)


def _interactions(
    parts: Mapping[str, Part], choice: Choice, starts: Mapping[str, int], source: dict[str, Any], report: Report,
    total: int, settled: Iterable[Note],
) -> Rows:  # fmt: skip
    """Rows of interactions of users with items, in the order of time."""
    rows = {name: _row_numbers(part.table, starts[name]) for name, part in parts.items()}
    bad = {name: np.zeros(len(part.table), bool) for name, part in parts.items()}
    splits = read_interactions(parts, choice, rows, report, bad)
    raise_refused(report, choice.on_bad, total)
    _check_left(splits, (), report)
    spec = Spec(
        modality="interactions", user=choice.user or "", item=choice.item or "", title=choice.title or "",
        time=choice.time or "",
    )  # fmt: skip
    return Rows(splits, spec, report.merge(settled), source)


def _series(
    found: SeriesRows, parts: Mapping[str, Part], values: Mapping[str, Any], rows: Mapping[str, np.ndarray],
    names: tuple[str, ...], choice: Choice, source: dict[str, Any], report: Report,
) -> Rows:  # fmt: skip
    """Rows of time series, in the order of series and time."""
    note_unused(next(iter(parts.values())).table, choice, names, report)
    splits = {
        split: finished_series(found, split, values[split], rows[split], names, report) for split in parts
    }
    _check_left(splits, (), report)
    spec = Spec(
        label=", ".join(names), classes=names, problem_type="number", modality="series", time=choice.time or "",
        series=choice.series or "", step=found.step,
    )  # fmt: skip
    return Rows(splits, spec, report, source)


def _with_answers(
    parts: Mapping[str, Part], choice: Choice, text: tuple[str, ...], rows: Mapping[str, np.ndarray], report: Report
) -> Mapping[str, Part]:  # fmt: skip
    """The parts with the answers of the column that ``answer`` names."""
    if choice.answer is None:
        return parts
    answered = {}
    for name, part in parts.items():
        check_columns(part.table, (choice.answer, *text), name)
        table = named_answers(part.table, choice.answer, text, rows[name], name, report)
        answered[name] = replace(part, table=table)
    return answered


def _labels(label: str | None, choice: Choice) -> tuple[str, ...]:
    if isinstance(choice.label, tuple):
        return choice.label
    return (label,) if label else ()


def _check_mixed(report: Report, used: Iterable[str]) -> None:
    """Raise for a text or a target of several kinds; in a column that nobody named they are kept as JSON."""
    for note in report.of("repaired").get(MIXED, []):
        if note.column in used:
            raise DataError(
                _("column {column!r} has mixed types: row {row} contains a {detail}."),
                column=note.column, row=note.row, detail=note.detail,
            )  # fmt: skip


def _row_numbers(table: Dataset, start: int) -> np.ndarray:
    rows = numbers(table, ROW, np.int64)
    return np.add(rows, start, out=rows)


def _numbered(parts: Mapping[str, Part]) -> tuple[Report, dict[str, int]]:
    """One report with running row numbers, and the number at which each split starts."""
    report, starts, start = Report(), {}, 0
    for name, part in parts.items():
        report = report.merge(part.report.moved(start, name if len(parts) > 1 else None))
        starts[name], start = start, start + part.records
    return report, starts


def _read_texts(
    table: Dataset, names: tuple[str, ...], rows: np.ndarray, split: str, report: Report
) -> tuple[dict[str, pa.ChunkedArray], np.ndarray]:
    """Columns of which something had to be repaired, and which rows have no text, bool[n]."""
    repaired: dict[str, pa.ChunkedArray] = {}
    bad = np.zeros(len(table), bool)
    for name in names:
        chunks: list[pa.Array] = []
        changed, start = False, 0
        for part in batches(table, [name]):
            here = slice(start, start + len(part))
            chunk, fixed = _as_valid_text(part.column(0), name, rows[here], split, report)
            bad[here] |= _check_texts(chunk, name, rows[here], split, report)
            chunks.extend([chunk] if fixed else part.column(0).chunks)  # as mapped: memory stays flat
            changed, start = changed or fixed, here.stop
        if changed:
            repaired[name] = pa.chunked_array(chunks, pa.string())
    return repaired, bad


def _as_valid_text(
    values: pa.ChunkedArray, name: str, rows: np.ndarray, split: str, report: Report
) -> tuple[pa.Array, bool]:
    """Texts, and whether they differ from ``values``: numbers are written out, bytes that are not UTF-8
    replaced."""
    texts, kind = values.combine_chunks(), values.type
    if isinstance(texts, pa.ChunkedArray):
        texts = pa.concat_arrays(texts.chunks) if texts.num_chunks else pa.array([], kind)
    if pa.types.is_null(kind):
        return texts.cast(pa.string()), True
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
        there = np.asarray(pc.is_valid(texts))
        report.add("repaired", _("numbers converted to text"), rows[there], column=name, split=split)
        return as_text(texts.to_pylist()), True
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise DataError(
            _("column {column!r} contains {kind}, not text. Pass text=… with a text column."),
            column=name,
            kind=kind,
        )
    try:
        texts.validate(full=True)
        return texts, False
    except pa.ArrowInvalid:
        mended = [
            None if b is None else b.decode("utf-8", "replace") for b in texts.cast(pa.binary()).to_pylist()
        ]
    fixed = pa.array(mended, pa.string())
    damaged = np.asarray(pc.fill_null(pc.not_equal(fixed.cast(pa.binary()), texts.cast(pa.binary())), False))
    report.add(
        "repaired", _("bytes invalid in UTF-8 replaced by U+FFFD"), rows[damaged], column=name, split=split
    )
    return fixed, True


def _check_texts(texts: pa.Array, name: str, rows: np.ndarray, split: str, report: Report) -> np.ndarray:
    """Which rows have no text, bool[n]; refuse them, and count what is odd in the others."""
    empty = np.asarray(pc.fill_null(pc.equal(pc.utf8_trim_whitespace(texts), ""), True))
    report.add("refused", _("empty text"), rows[empty], column=name, split=split)
    if pc.any(
        pc.match_substring_regex(texts, f"{CONTROL}|{HIDDEN}")
    ).as_py():  # one pass where there is nothing
        for reason, pattern in ODD.items():
            found = np.asarray(pc.fill_null(pc.match_substring_regex(texts, pattern), False))
            report.add("counted", reason, rows[found], column=name, split=split)
    long = np.asarray(pc.fill_null(pc.greater(pc.utf8_length(texts), LONG), False))
    report.add("counted", _("text longer than a million characters"), rows[long], column=name, split=split)
    return empty


def _class_ids(
    parts: Mapping[str, Part], label: str | None, rows: dict[str, np.ndarray], choice: Choice, report: Report,
    bad: dict[str, np.ndarray],
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:  # fmt: skip
    """Split → class ids int32[n] (-1 missing, -2 unseen), and the classes; a label outside them marks a bad
    row."""
    if label is None:
        return {name: _missing_everywhere(len(part.table)) for name, part in parts.items()}, ()
    keep = [str(name) for name in choice.classes or ()]
    found = {}
    for name, part in parts.items():
        labels = Labels(_missing_everywhere(len(part.table)), ())
        if label in part.table.column_names:
            labels = read_labels(part.table, label, rows[name], keep, report)
        found[name] = renamed(labels.without(bad[name]), choice.classes)
    classes = choose_classes(found, choice.classes, label)
    if choice.classes is None:
        note_doubtful(classes, label, report)
    ids = {name: labels.ids(classes) for name, labels in found.items()}
    for name, labels in found.items():
        for position in sorted(set(labels.index[ids[name] == -2].tolist())):
            where, called = labels.index == position, labels.names[position]
            if choice.classes is None:
                detail = _(
                    "<unseen>: {called!r} is not among the labels of train", called=visible(called, 60)
                )
                report.add(
                    "counted", _("unseen label"), rows[name][where], column=label, detail=detail, split=name
                )
            else:
                detail = near_class(called, classes)
                report.add("refused", OUTSIDE, rows[name][where], column=label, detail=detail, split=name)
                bad[name] |= where
    _count_untrained(ids, rows, classes, label, report)
    return ids, classes


def _missing_everywhere(count: int) -> np.ndarray:
    index = memmap.array(count, np.int32)
    index[:] = -1
    return index


def _count_untrained(
    ids: dict[str, np.ndarray],
    rows: dict[str, np.ndarray],
    classes: tuple[str, ...],
    label: str,
    report: Report,
) -> None:
    """Count rows of classes, named by the caller or the column, of which ``train`` has none."""
    trained = present(ids.get("train", np.empty(0, np.int32)))
    if not trained:
        return
    for name, found in ids.items():
        for absent in sorted(present(found) - trained):
            detail = _("no row of {label!r} in train", label=visible(classes[absent], 60))
            report.add("counted", _("class without training rows"), rows[name][found == absent], column=label,
                       detail=detail, split=name)  # fmt: skip


def raise_refused(report: Report, on_bad: str, total: int) -> None:
    """Raise :class:`DataError` that lists the refused rows, of ``total``, unless ``on_bad`` is "skip"."""
    refused = report.counts().get("refused", {})
    if not refused or on_bad == "skip":
        return
    lines = [_("{refused:,} of {total:,} rows are unusable:", refused=sum(refused.values()), total=total)]
    for reason, notes in report.of("refused").items():
        places = joined(_("; "), map(_place, notes[:5]))
        lines.append(_("  {reason} ({n:,}): {places}", reason=reason, n=refused[reason], places=places))
    lines.append(
        _('Fix them in the source, or pass on_bad="skip" to skip them; rows.report then lists each.')
    )
    raise DataError(joined("\n", lines))


def _place(note: Note) -> str:
    where = _("row {row}", row=note.row)
    if note.split:
        where = _("row {row} of {split}", row=note.row, split=split_name(note.split))
    return _("{where} ({detail})", where=where, detail=visible(note.detail, 200)) if note.detail else where


def _settle_missing(
    ids: dict[str, np.ndarray], rows: dict[str, np.ndarray], bad: dict[str, np.ndarray], label: str | None,
    choice: Choice, report: Report,
) -> None:  # fmt: skip
    """Raise for, refuse or count rows without a label; unseen labels (-2) become -1 here."""
    if label is not None:
        gone = {name: (found == -1) & ~bad[name] for name, found in ids.items()}
        if choice.missing == "error" and any(where.any() for where in gone.values()):
            raise _missing(label, gone, rows)
        for name, where in gone.items():
            action = "refused" if choice.missing == "drop" else "counted"
            report.add(action, _("missing label"), rows[name][where], column=label, split=name)
            if choice.missing == "drop":
                bad[name] |= where
    for found in ids.values():
        np.maximum(found, -1, out=found)


def _missing(label: str, gone: dict[str, np.ndarray], rows: dict[str, np.ndarray]) -> DataError:
    found = joined(_(", "), (
        _("{n:,} of {total:,} in {split} (rows {rows})", n=int(where.sum()), total=len(where), split=split_name(name),
          rows=", ".join([*map(str, rows[name][where][:5]), *(["…"] if where.sum() > 5 else [])]))
        for name, where in gone.items()
        if where.any()
    ))  # fmt: skip
    return DataError(
        _(
            'labels are missing in column {label!r}: {found}. Pass missing="drop" to drop these rows, or '
            'missing="keep" to keep them as unlabelled.'),
        label=label, found=found,
    )  # fmt: skip


def _finished(
    table: Dataset, text: tuple[str, ...], used: tuple[str, ...], texts: dict[str, pa.Array], ids: np.ndarray,
    targets: np.ndarray | None, rows: np.ndarray, bad: np.ndarray, report: Report,
) -> Dataset:  # fmt: skip
    """The split with the normalised columns in front, without the bad rows; other columns are only renamed."""
    there = [name for name in table.column_names if name not in used]
    names = dict(zip(text, RESERVED, strict=False))
    moved = _moved_away([name for name in there if name not in texts], names, report)
    columns: dict[str, Any] = {new: texts.get(old, old) for old, new in names.items()}
    columns["label"] = ids
    if targets is not None:
        columns["target"] = as_column(targets)
    columns["row"] = rows
    columns |= {moved.get(name, name): name for name in there if name not in names and name != ROW}
    table = memmap.assembled(table, columns)
    return memmap.chosen(table, np.flatnonzero(~bad)) if bad.any() else table


def _moved_away(columns: list[str], names: dict[str, str], report: Report) -> dict[str, str]:
    """New names for source columns that are called like a normalised one and are not it."""
    others = [name for name in columns if name not in RESERVED]
    return {
        name: free_name(name, others, report) for name in columns if name in RESERVED and name not in names
    }


def _check_left(splits: Mapping[str, Dataset], classes: tuple[str, ...], report: Report) -> None:
    """Raise for a split without rows; say where all rows are of one class."""
    for name, dataset in splits.items():
        if not len(dataset):
            counts = report.counts().get("refused", {})
            refused = joined(
                _(", "), [_("{reason} {n:,}", reason=reason, n=n) for reason, n in counts.items()]
            )
            raise DataError(
                _(
                    "0 rows remain in {split}. Rejected: {refused}. If this split is not needed, choose "
                    "others with split=…."),
                split=split_name(name), refused=refused or _("none, the split was empty"),
            )  # fmt: skip
    if len(classes) == 1:
        report.add(
            "counted",
            _("only one class"),
            detail=_("{label!r}; classification needs two", label=visible(classes[0], 60)),
        )
