"""Evaluation of a model on a split: the report of its problem type, with baselines."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from labkit.data.groups import columns_of
from labkit.data.rows import Rows
from labkit.data.targets import targets_of
from labkit.evaluate import baselines as class_baselines
from labkit.evaluate import target_baselines
from labkit.evaluate.boosting import Embed, Fitted
from labkit.evaluate.multilabel import MultilabelReport
from labkit.evaluate.regression import RegressionReport
from labkit.evaluate.report import ClassificationReport
from labkit.models.base import Modality
from labkit.tasks.base import ProblemType, Task

EvaluationReport = ClassificationReport | MultilabelReport | RegressionReport


def make_report(
    rows: Rows,
    split: str,
    classes: Sequence[str],
    answers: np.ndarray,
    task: Task,
    *,
    baselines: bool = True,
    embed: Embed | None = None,
) -> EvaluationReport:
    """The report of ``answers`` on a split.

    Args:
        rows: what the model was trained on.
        split: the one that was answered.
        classes: names of the classes, or of the numbers.
        answers: probabilities f32[n, c], or the numbers f32[n, k].
        task: its settings; the report follows from its problem type.
        baselines: fit baselines on the training rows and include them.
        embed: vectors of texts for the nearest neighbours; default: components of their TF-IDF.
    """
    part = rows[split]
    texts = part["text"] if rows.spec.modality == Modality.TEXT else None
    if task.problem_type is ProblemType.CLASS:
        seen = sorted(set(rows["train"]["label"]) - {-1})
        report: EvaluationReport
        report = classified = ClassificationReport(
            classes, part["label"], answers, texts, part["row"], split=split, seen=seen
        )
        classified.columns_of = functools.partial(columns_of, part, features=rows.schema.features)
    else:
        given = (classes, targets_of(part), answers, np.asarray(part["label"]) >= 0, texts, part["row"])
        if task.problem_type is ProblemType.LABELS:
            report = MultilabelReport(*given, split=split, threshold=task.threshold)
        else:
            report = RegressionReport(*given, split=split)
    return with_fitted_baselines(report, rows, embed) if baselines else report


def with_fitted_baselines(
    report: EvaluationReport, rows: Rows, embed: Embed | None = None, *others: EvaluationReport
) -> EvaluationReport:
    """``report``, including baselines fitted on the training rows; ``others``: reports of the same model on other
    splits, which get the same ones."""
    train = rows["train"]
    if isinstance(report, ClassificationReport):
        found = class_baselines.fit(train, report.classes, rows.spec, embed=embed)
        seen = sorted(set(train["label"]) - {-1})
        for each in (report, *others):
            assert isinstance(each, ClassificationReport)
            part, split = rows[each.split], each.split
            each.with_baselines(
                class_baselines.reports_of(found, part, report.classes, rows.spec, split=split, seen=seen)
            )
        return report
    fitted = target_baselines.fit(train, rows.spec)
    for each in (report, *others):
        _with_target_baselines(each, fitted, rows)
    return report


def _with_target_baselines(report: Any, fitted: Mapping[str, Fitted], rows: Rows) -> None:
    given, part = (report.counted, report.texts, report.rows), rows[report.split]
    report.with_baselines({
        name: type(report)(report.names, report.truth, each.answer(part), *given, split=report.split)
        for name, each in fitted.items()
    })  # fmt: skip
