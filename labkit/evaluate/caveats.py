"""Warnings of a report: truncation, and models not better than a constant answer or than a baseline."""

from __future__ import annotations

from typing import Any

import numpy as np

from labkit.data.rows import Rows
from labkit.data.targets import targets_of
from labkit.evaluate.baselines import LONGEST
from labkit.evaluate.regression import RegressionReport
from labkit.evaluate.report import ClassificationReport
from labkit.evaluate.report_base import RowReport
from labkit.evaluate.scores import Scores
from labkit.i18n import _
from labkit.runs.handle import RunHandle
from labkit.tasks.base import Task
from labkit.train.outcome import ConstantBaseline, frequent_labels, majority, no_better
from labkit.train.processors import Processor
from labkit.train.truncation import message, truncation


def with_warnings(report: Any, run: RunHandle, rows: Rows, split: str, processor: Processor) -> Any:
    """``report`` with its ``warnings``.

    Args:
        report: of ``run``, on ``split``.
        run: says the likely cause of a failure.
        rows: what the run was given.
        split: which of them were evaluated.
        processor: of the model.
    """
    found = []
    if processor.truncates:
        cut = truncation(processor, rows[split], processor.encode(rows[split]))
        found += [message(cut, split)] if cut else []
        if cut and getattr(report, "baselines", None):
            found.append(
                _(
                    "The baselines use more of each text than the model: up to {longest:,} "
                    "characters, while the model is limited to {max_length} tokens.",
                    longest=LONGEST,
                    max_length=cut["max_length"],
                )
            )
    if not isinstance(report, Scores):
        constant = no_better(_constant(report, rows, run.experiment.task), report.scores, split)
        found += [constant] if constant else []
        if (constant or report.verdict) and (cause := run.info.summary.get("cause", "")):
            found.append(cause)
    report.warnings = tuple(found)
    return report


def _constant(report: ClassificationReport | RowReport, rows: Rows, task: Task) -> ConstantBaseline | None:
    """The best constant answer by the training rows, and its score on the rows of a report."""
    label = np.asarray(rows["train"]["label"])
    if isinstance(report, ClassificationReport):
        return majority(len(report.classes), label, report.truth[report.counted])
    if isinstance(report, RegressionReport):
        return ConstantBaseline(_("the mean"), "r2", 0.0)
    known = targets_of(rows["train"])
    assert known is not None, "rows with several labels have targets"
    return frequent_labels(known[label >= 0] > 0.5, report.truth[report.counted] > 0.5, task.threshold)
