"""New rows with labels in the columns and classes of the rows that a model was trained on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from datasets import Dataset, concatenate_datasets

from labkit.core.errors import DataError
from labkit.data.arrow import column, text_columns, without_bars
from labkit.data.cells import Column
from labkit.data.dataset import SplitDataset
from labkit.data.prepare.dedupe import digests
from labkit.data.report import CAP, Note, Report, visible
from labkit.data.targets import as_column, targets_of
from labkit.i18n import _, joined

#: Kinds of columns whose one feature has the same meaning in every table.
_PLAIN = ("number", "boolean", "date", "duration")


def aligned(new: SplitDataset, known: SplitDataset) -> tuple[Dataset, Report]:
    """All labelled rows of ``new`` as one split with the columns, features and classes of ``known``; and what was
    left out: unlabelled rows, and rows with a class, a label or a category that the training rows do not have.

    Raises:
        DataError: they are of another kind, a column is missing or of another kind, or no row is left.
    """
    mine, theirs = new.schema, known.schema
    for what, found, wanted in (
        (_("modality"), mine.modality, theirs.modality), (_("problem type"), mine.problem_type, theirs.problem_type),
        (_("number of texts"), len(mine.text), len(theirs.text)),
    ):  # fmt: skip
        if found != wanted:
            raise DataError(
                _("the new rows do not fit the model: {what} {found!r}, and {wanted!r} in training."),
                what=what, found=found, wanted=wanted,
            )  # fmt: skip
    part = concatenate_datasets(list(new.splits.values())).with_format(None)
    report = Report()
    label, target, usable = _labels(part, mine.classes, known, report)
    columns: dict[str, pa.Array | pa.ChunkedArray] = {}
    if theirs.modality == "features":
        values, there = _features(part, mine.features, theirs.features, report)
        columns |= {name: pa.array(each) for name, each in values.items()}
        usable &= there
    else:
        same = [name for name in core_columns(known) if name not in ("label", "row", "target")]
        if missing := [name for name in same if name not in part.column_names]:
            raise DataError(
                _("split {name!r} lacks the columns {missing}."), name="train", missing=", ".join(missing)
            )
        columns |= {name: column(part, name) for name in same}
    table = {
        "label": pa.array(label.astype(np.int32)),
        "row": pa.array(np.asarray(part["row"], np.int64)),
        **columns,
    }
    made = Dataset(pa.table(table))
    if target is not None:
        made = Dataset(made.data.table.append_column("target", as_column(target)))
    kept = made.select(np.flatnonzero(usable))
    if not len(kept):
        why = joined(_("; "), report.counts().get("refused", {}))
        raise DataError(_("none of the {count:,} new rows can be used: {why}."), count=len(part), why=why)
    return kept, report


def core_columns(rows: SplitDataset) -> list[str]:
    """The columns that training reads: labels, row numbers, and what the model reads."""
    train = rows.splits["train"]
    names = ["label", "row", *(["target"] if "target" in train.column_names else [])]
    if rows.schema.modality == "features":
        features = [name for each in rows.schema.features for name in each.features]
        return names + (features or [name for name in train.column_names if name not in names])
    own = text_columns(train) or [
        name for name in train.column_names if name in ("image", "audio", "sound", "file")
    ]
    return names + own


def copies_of_known(part: Dataset, known: Sequence[Dataset]) -> np.ndarray:
    """Which rows of a split are also in one of the others, bool [n]: the same text (normalised), or features."""
    read = [name for name in part.column_names if name not in ("label", "row", "target")]
    digest = lambda each: digests(each.with_format(None).select_columns([*read, "label", "row"]))[:, 0]  # noqa: E731
    return np.isin(digest(part), np.concatenate([digest(each) for each in known]))


def appended(first: Dataset, *others: Dataset) -> Dataset:
    """The rows of several splits with the columns and types of the first."""
    kind, names = first.features, list(first.features)
    same = [each.with_format(None).select_columns(names) for each in others if len(each)]
    return concatenate_datasets(
        [first.with_format(None), *(each if each.features == kind else each.cast(kind) for each in same)]
    )


def renumbered(part: Dataset, first: int) -> Dataset:
    """The rows with ``first`` added to their row numbers, which so differ from those of earlier rows."""
    numbers = pa.array(np.asarray(part["row"], np.int64) + first)
    kept, names = part.remove_columns("row"), part.column_names
    with without_bars():
        return kept.add_column("row", numbers).select_columns(names)


def _labels(
    part: Dataset, classes: Sequence[str], known: SplitDataset, report: Report
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
    """Class ids or marks i32[n], targets f32[n, k] or None, and usable rows bool[n]."""
    given, row, wanted = np.asarray(part["label"]), np.asarray(part["row"]), known.schema.classes
    usable = given >= 0
    report.add("refused", _("no label"), row[~usable])
    if known.schema.problem_type == "class":
        place = np.array([wanted.index(name) if name in wanted else -1 for name in classes] or [-1])
        label = np.where(usable, place[np.maximum(given, 0)], -1)
        new = usable & (label < 0)
        report.add("refused", _("class without training rows"), row[new],
                   detail=[visible(classes[each], 60) for each in given[new][:CAP]])  # fmt: skip
        target = None
        if (
            "target" in known.splits["train"].column_names
        ):  # a distilled model: all of the probability on the label
            target = np.eye(len(wanted), dtype=np.float32)[np.maximum(label, 0)]
        return label, target, label >= 0
    target = targets_of(part)
    assert target is not None
    if known.schema.problem_type == "number":
        if missing := [name for name in wanted if name not in classes]:
            raise DataError(_("the new rows have no number {name!r}; they have {known}."), name=missing[0],
                            known=", ".join(classes) or _("none"))  # fmt: skip
        return given, target[:, [list(classes).index(name) for name in wanted]], usable
    made = np.zeros((len(part), len(wanted)), target.dtype)
    extra = np.zeros(len(part), bool)
    for place, name in enumerate(classes):
        if name in wanted:
            made[:, wanted.index(name)] = target[:, place]
        else:
            extra |= target[:, place] > 0.5
    report.add("refused", _("label without training rows"), row[usable & extra])
    return given, made, usable & ~extra


def _features(
    part: Dataset, mine: Sequence[Column], theirs: Sequence[Column], report: Report
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Features as the training rows have them, and usable rows bool[n]."""
    own, row, usable = {each.name: each for each in mine}, np.asarray(part["row"]), np.ones(len(part), bool)
    made: dict[str, np.ndarray] = {}
    for how in theirs:
        if how.name not in own:
            raise DataError(_("the new rows have no column {column!r}; the model needs {known}."), column=how.name,
                            known=visible(", ".join(each.name for each in theirs), 400))  # fmt: skip
        given = own[how.name]
        values = np.stack([np.asarray(part[name], np.float64) for name in given.features], 1)
        if (
            how.kind in _PLAIN
            and given.kind == how.kind
            and (given.percent, given.zoned) == (how.percent, how.zoned)
        ):
            made[how.features[0]] = values[:, 0]
            continue
        if {how.kind, given.kind} == {"number", "boolean"}:  # 0 and 1 are read as either
            made[how.features[0]] = values[:, 0]
            continue
        if how.kind != "category" or given.kind != "category":
            raise DataError(
                _("column {column!r} is read as {found} in the new rows, and as {wanted} in training: load the new "
                  "rows so that both agree."),
                column=how.name, found=given.kind, wanted=how.kind,
            )  # fmt: skip
        there = (values > 0).any(1)
        place = np.array([how.words.index(word) if word in how.words else -1 for word in given.words])[
            values.argmax(1)
        ]
        unknown = there & (place < 0)
        report.add("refused", _("category without training rows"), row[unknown], column=how.name,
                   detail=[visible(given.words[each], 60) for each in values.argmax(1)[unknown][:CAP]])  # fmt: skip
        usable &= ~unknown
        for number, name in enumerate(how.features):
            made[name] = (there & (place == number)).astype(np.float64)
    return made, usable


def note_of_copies(rows: np.ndarray) -> Note:
    """The note on new rows that were left out because the earlier rows have them already."""
    return Note(None, None, "counted", _("new rows among the earlier rows left out"), f"{len(rows):,}")
