"""Warnings of a report: truncation, and models not better than a constant or linear baseline."""

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
from labkit.i18n.labels import score_name, split_name
from labkit.runs.handle import RunHandle
from labkit.tasks.base import Task
from labkit.train.outcome import ConstantBaseline, frequent_labels, majority, no_better
from labkit.train.processors import Processor
from labkit.train.truncation import message, truncation

#: Baselines that always give the same answer.
CONSTANT = ("majority class", "share of each label", "mean")


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
        poor = list(filter(None, [constant, _worse(report, split)]))
        summary = run.info.summary
        found += [*poor, *filter(None, [summary.get("cause", "")])] if poor else []
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


def _worse(report: ClassificationReport | RowReport, split: str) -> str:
    """What to say of a linear baseline that is better than the model; empty where none is."""
    metric = "r2" if "r2" in report.scores else "f1"
    for name, other in report.baselines.items():
        mine, theirs = report.scores[metric], other.scores[metric]
        if name not in CONSTANT and mine < theirs:
            return _(
                "Worse than the linear baseline ({baseline}): {metric} of {split} {score:.3f}, against {value:.3f}.",
                baseline=name, metric=score_name(metric), split=split_name(split), score=mine, value=theirs,
            )  # fmt: skip
    return ""
