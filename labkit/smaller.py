"""Smaller models on purpose: distillation, quantisation and pruning of trained models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labkit.api import Run, fit
from labkit.evaluate.run_report import rows_of
from labkit.inference.smaller import PrunedPredictor, QuantizedPredictor
from labkit.runs.handle import RunHandle, model_of
from labkit.search.student import student_rows

if TYPE_CHECKING:
    from labkit.data.io.load import RowSource
    from labkit.train.experiment import ModelSource


def distill(
    run: RunHandle,
    rows: RowSource | Sequence[str],
    model: ModelSource = "textcnn",
    *,
    training_rows: bool = True,
    name: str = "",
    folder: str | Path | None = None,
    **options: Any,
) -> Run:
    """Train a smaller model towards the answers of a trained classifier of texts on unlabelled rows.

    Args:
        run: the teacher.
        rows: texts without labels: a list, or anything that :func:`labkit.load` takes; of rows with splits the
            training rows. Labels are not used.
        model: the student, see :func:`labkit.fit`.
        training_rows: use the training rows of the teacher too, with its answers and, for ``label_share``, their
            labels.
        name: a name for the run.
        folder: the lab folder; by default that of the teacher.
        **options: ``temperature``, ``label_share`` and the options of :func:`labkit.fit`.

    Returns:
        The run of the student: its validation and test rows are those of the teacher.

    Raises:
        ConfigError: the teacher does not classify texts, or a setting is invalid.
        DataError: no rows, or more than 1 % of the validation or test rows also occur in them.
    """
    made = student_rows(run, rows, training_rows)
    student = name or f"{run.name} distilled"
    return fit(made, model, task="distill", name=student, folder=folder or run.store.folder, **options)


def quantize(run: RunHandle, bits: int = 8) -> QuantizedPredictor:
    """The trained model of a run with weights of 8 or 4 bits; see
    :class:`~labkit.inference.smaller.QuantizedPredictor`. On CPUs it saves memory, not time."""
    return QuantizedPredictor(model_of(run.info)[0], bits)


def prune(run: RunHandle, heads: float = 0.25, units: float = 0.25) -> PrunedPredictor:
    """The trained BERT of a run without the least important attention heads and feed-forward units, by its
    validation rows; see :class:`~labkit.inference.smaller.PrunedPredictor`."""
    return PrunedPredictor(model_of(run.info)[0], rows_of(run)["validation"], heads, units)
