"""Rows of a student: texts with the answers of a teacher, for distillation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from labkit.core.errors import ConfigError, DataError
from labkit.data.io.load import load
from labkit.data.report import Note
from labkit.data.rows import Rows
from labkit.data.soft_labels import soft_labelled, texts_of
from labkit.evaluate.run_report import predictor_of, rows_of
from labkit.i18n import _
from labkit.runs.handle import RunHandle
from labkit.tasks.base import ProblemType

if TYPE_CHECKING:
    from labkit.data.io.load import RowSource


def student_rows(run: RunHandle, rows: RowSource | Sequence[str], training_rows: bool = True) -> Rows:
    """Rows for a student: the texts of ``rows`` with the answers of the teacher, and its own splits.

    Args:
        run: the teacher.
        rows: texts without labels: a list, or anything that :func:`labkit.load` takes.
        training_rows: use the training rows of the teacher too.

    Raises:
        ConfigError: the teacher does not classify texts.
        DataError: no rows.
    """
    teacher, own = predictor_of(run), rows_of(run)
    if teacher.problem_type is not ProblemType.CLASS or own.spec.modality != "text":
        raise ConfigError(
            _("distillation needs a teacher that predicts one class of texts; run {run!r} is of {modality} for "
              "{problem!r}."),
            run=run.name, modality=own.spec.modality, problem=str(teacher.problem_type),
        )  # fmt: skip
    texts, pairs = _texts(rows, len(own.schema.text))
    texts = [teacher.clean(text) for text in texts]
    pairs = None if pairs is None else [teacher.clean(text) for text in pairs]
    if not texts:
        raise DataError(_("there are no rows to distil on."))
    answers = teacher.probabilities(texts, pairs, clean=False)
    first = 1 + max(int(np.max(part["row"], initial=-1)) for part in own.splits.values())
    columns = [(texts, pairs, answers.argmax(-1), first + np.arange(len(texts)), answers)]
    if training_rows:
        train = own["train"]
        found, label = teacher.predict_encoded(train), np.asarray(train["label"])
        label = np.where(label < 0, found.argmax(-1), label)
        columns.insert(0, (*texts_of(train), label, np.asarray(train["row"]), found))
    splits = {"train": soft_labelled(columns)}
    for split in (split for split in own.splits if split != "train"):
        part = own[split]
        label = np.asarray(part["label"])
        known = np.eye(len(teacher.classes), dtype=np.float32)[label] * (label >= 0)[:, None]
        splits[split] = soft_labelled([(*texts_of(part), label, np.asarray(part["row"]), known)])
    note = Note(
        None, None, "counted", _("labelled by a teacher"), _("{count:,} rows by run {run!r}",
                                                             count=len(texts), run=run.id),
    )  # fmt: skip
    made = own.with_splits(splits, [note])
    cleaning = [step for step in own.source.get("steps", ()) if step["do"] == "clean"]
    return replace(made, source={"source": "", **({"steps": cleaning} if cleaning else {})})


def _texts(rows: RowSource | Sequence[str], count: int) -> tuple[list[str], list[str] | None]:
    """Texts, and second texts of pairs, without labels."""
    if count == 1 and isinstance(rows, list | tuple) and all(isinstance(text, str) for text in rows):
        return list(rows), None
    given: Rows = rows if isinstance(rows, Rows) else load(rows, label=False)  # type: ignore[arg-type]
    if len(given.schema.text) != count:
        raise DataError(
            _("the teacher reads {count} texts per row; these rows have {found}."),
            count=count, found=len(given.schema.text),
        )  # fmt: skip
    return texts_of(given["train"] if "train" in given.splits else next(iter(given.splits.values())))
