"""Evaluation of a model on a split: the report of its problem type, with baselines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from labkit.data.rows import Rows
from labkit.data.targets import targets_of
from labkit.evaluate import target_baselines
from labkit.evaluate.baselines import baselines as class_baselines
from labkit.evaluate.multilabel import MultilabelReport
from labkit.evaluate.regression import RegressionReport
from labkit.evaluate.report import ClassificationReport
from labkit.models.base import Modality
from labkit.tasks.base import ProblemType, Task

EvaluationReport = ClassificationReport | MultilabelReport | RegressionReport


def make_report(
    rows: Rows, split: str, classes: Sequence[str], answers: np.ndarray, task: Task, *, baselines: bool = True
) -> EvaluationReport:
    """The report of ``answers`` on a split.

    Args:
        rows: what the model was trained on.
        split: the one that was answered.
        classes: names of the classes, or of the numbers.
        answers: probabilities f32[n, c], or the numbers f32[n, k].
        task: its settings; the report follows from its problem type.
        baselines: fit baselines on the training rows and include them.
    """
    part, train = rows[split], rows["train"]
    texts = part["text"] if rows.spec.modality == Modality.TEXT else None
    if task.problem_type is ProblemType.CLASS:
        seen = sorted(set(train["label"]) - {-1})
        report = ClassificationReport(classes, part["label"], answers, texts, part["row"], split=split, seen=seen)
        return (
            report.with_baselines(class_baselines(train, part, classes, rows.spec, split=split))
            if baselines
            else report
        )
    tags = task.problem_type is ProblemType.LABELS
    kind, more = (MultilabelReport, {"threshold": task.threshold}) if tags else (RegressionReport, {})
    truth, counted = targets_of(part), np.asarray(part["label"]) >= 0

    def made(found: np.ndarray, **settings: Any) -> MultilabelReport | RegressionReport:
        return kind(classes, truth, found, counted, texts, part["row"], split=split, **settings)

    report = made(answers, **more)
    learnt = target_baselines.answers(train, part, rows.spec) if baselines else {}
    others: dict[str, Any] = {name: made(found) for name, found in learnt.items()}
    return report.with_baselines(others)
