"""Evaluation of runs: report, comparison, calibration and slices."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Hashable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from labkit.core.errors import DataError, LabkitError
from labkit.core.registry import ByClass
from labkit.data.answers import answers_of
from labkit.data.groups import groups_of
from labkit.data.io.load import open_rows
from labkit.data.rows import Rows
from labkit.evaluate import ngram
from labkit.evaluate.boosting import FEW, Embed
from labkit.evaluate.calibration import Calibration, calibrate
from labkit.evaluate.caveats import with_warnings
from labkit.evaluate.compare import Comparison
from labkit.evaluate.compare import compare as of_reports
from labkit.evaluate.conclusion import Conclusion, conclude
from labkit.evaluate.evaluate import EvaluationReport, make_report, with_fitted_baselines
from labkit.evaluate.fairness import FairnessReport, GroupThresholds, thresholds_by_group
from labkit.evaluate.intervals import of_means
from labkit.evaluate.report import ClassificationReport
from labkit.evaluate.scores import Scores, assess
from labkit.evaluate.slices import slices as of_groups
from labkit.i18n import _
from labkit.inference.embedding import EmbeddingPipeline
from labkit.inference.predictor import Predictor
from labkit.inference.question_answering import by_kind
from labkit.inference.registry import pipeline_of
from labkit.models.base import Capability
from labkit.runs.handle import RunHandle, model_of
from labkit.tasks.base import ProblemType
from labkit.tasks.lm import LanguageModel
from labkit.tasks.qa import QuestionAnswering
from labkit.train.processors import load_processor

if TYPE_CHECKING:
    from datasets import Dataset


def folder_of(run: RunHandle) -> Path:
    """The folder of the trained model of a run. Raises :class:`RunError` while there is none."""
    return model_of(run.info)[0]


def predictor_of(run: RunHandle) -> Predictor:
    """The trained model of a run with labels; kept until there is a newer one.

    Raises:
        RunError: there is no model yet.
        WeightsError: it was trained on a task without labels.
    """
    return pipeline_of(run, Predictor)


def rows_of(run: RunHandle) -> Rows:
    """The rows that the run was given: cleaned, and split."""
    return open_rows(run.info.folder / "data")


def scores_of(run: RunHandle, split: str = "test", baselines: bool = True) -> Scores:
    """The scores of a run of a task without labels on a split of its rows: loss, perplexity, accuracy …

    Answers to questions are also compared by the rules of SQuAD 2.0, with intervals and the worst of them.
    The baseline of a language model is an n-gram model of its training rows (:mod:`labkit.evaluate.ngram`),
    unless ``baselines`` is False.

    Raises:
        RunError: there is no model yet.
        DataError: there are no such rows.
    """
    folder, rows, experiment = folder_of(run), rows_of(run), run.experiment
    scores = assess(folder, rows, split)
    if (more := MORE_SCORES.get(type(experiment.task))) is not None:
        more(run, rows, split, scores, baselines)
    return with_warnings(
        scores, run, rows, split, load_processor(experiment, folder, rows.spec.modality, None)
    )


def _compared_answers(run: RunHandle, rows: Rows, split: str, scores: Scores, baselines: bool) -> None:
    """Add the scores of answers by the rules of SQuAD 2.0, and the threshold of "no answer" that was used."""
    part, answerer = rows[split], pipeline_of(run)
    each = answerer.score_each(part["text"], part["text_pair"], answers_of(part)[0])
    for name, values in by_kind(each):
        scores[name] = float(values.mean())
        scores.intervals |= of_means({name: values})
    if answerer.nullable:
        scores["no_answer_threshold"] = answerer.threshold
    scores.worst = each.sort_values(["f1", "exact"], kind="stable").query("exact < 1")


def _ngrams(run: RunHandle, rows: Rows, split: str, scores: Scores, baselines: bool) -> None:
    """Add the scores of n-grams of the training rows."""
    if baselines:
        scores |= ngram.baseline_scores(folder_of(run), rows, split)


#: Task → what adds scores to those of its metric state.
MORE_SCORES: ByClass[Callable[[RunHandle, Rows, str, Scores, bool], None]] = ByClass(
    {QuestionAnswering: _compared_answers, LanguageModel: _ngrams}
)


def evaluate_run(run: RunHandle, split: str = "test", baselines: bool = True) -> EvaluationReport | Scores:
    """The report of a run on a split of its rows, whatever kind it is of; for tasks without labels their
    scores.

    Raises:
        RunError: there is no model yet.
        DataError: there are no such rows.
    """
    folder_of(run)
    if run.experiment.task.problem_type is None:
        return scores_of(run, split, baselines)
    rows, predictor = rows_of(run), predictor_of(run)
    if not len(rows.splits.get(split, ())):
        raise DataError(
            _("the run has no split {split!r}; it has {splits}."), split=split, splits=", ".join(rows.splits)
        )
    answers, task = predictor.predict_encoded(rows[split]), predictor.experiment.task
    embed = encoder_of(run, rows) if baselines else None
    report = make_report(rows, split, predictor.classes, answers, task, baselines=baselines, embed=embed)
    return with_warnings(report, run, rows, split, predictor.processor)


def encoder_of(run: RunHandle, rows: Rows) -> Embed | None:
    """The pretrained encoder that a run started from, for the nearest neighbours of few labels; None where
    there is none."""
    model = run.experiment.model
    few = len(rows["train"]) <= FEW and run.experiment.task.problem_type is ProblemType.CLASS
    if not (few and model.weights and Capability.BIDIRECTIONAL in model.capabilities):
        return None
    with contextlib.suppress(LabkitError):  # weights of a folder that is gone
        return EmbeddingPipeline(model.weights).embed
    return None


def conclusion_of(run: RunHandle, report: EvaluationReport) -> Conclusion:
    """The conclusion of a report of a run; baselines are fitted unless the report has them."""
    rows = rows_of(run)
    if not report.baselines:
        with_warnings(
            with_fitted_baselines(report, rows, encoder_of(run, rows)),
            run,
            rows,
            report.split,
            predictor_of(run).processor,
        )
    return conclude(report, run, rows.spec.counts.get("train", {}))


def report_of(run: RunHandle, split: str = "test") -> ClassificationReport:
    """The same of a run that classifies. Raises :class:`DataError` for one that is not a single-label
    classifier."""
    report = evaluate_run(run, split, baselines=False)
    if not isinstance(report, ClassificationReport):
        raise DataError(
            _("run {run!r} is not a single-label classifier; use run.evaluate() instead."), run=run.name
        )
    return report


def compare(
    first: RunHandle | ClassificationReport, second: RunHandle | ClassificationReport, split: str = "test"
) -> Comparison:
    """Compare two runs (or reports) of classifiers on the rows of ``split`` on which both were evaluated.

    Both scores, what the first gains with a paired 95 % bootstrap interval, and McNemar's exact test; the
    runs may have been trained in any way on the same data.

    Raises:
        DataError: the runs share no rows, have other classes, or are not classifiers.
    """
    names = [
        f"{each.split} {n}" if isinstance(each, ClassificationReport) else each.name
        for n, each in enumerate((first, second), 1)
    ]
    sources = [
        rows_of(each).source.get("source", "")
        for each in (first, second)
        if not isinstance(each, ClassificationReport)
    ]
    if len(sources) == 2 and all(sources) and sources[0] != sources[1]:
        raise DataError(
            _("{name!r} was trained on {source!r} and {other!r} on {other_source!r}: the data differ."),
            name=names[0], source=sources[0], other=names[1], other_source=sources[1],
        )  # fmt: skip
    reports = [
        each if isinstance(each, ClassificationReport) else report_of(each, split) for each in (first, second)
    ]
    return of_reports(*reports, names=(names[0], names[1]))


def calibration(run: RunHandle, split: str = "test", bins: int = 15) -> Calibration:
    """Confidence against accuracy on ``split``; ``.scaled`` is the same at the temperature fitted on
    validation."""
    return calibrate(report_of(run, "validation"), report_of(run, split), bins)


def slices(run: RunHandle, by: str | Iterable[Hashable] = "length", split: str = "test") -> pd.DataFrame:
    """Scores of parts of a split, weakest first.

    Args:
        run: a run that classifies.
        by: a column of the rows (one of many numbers is cut into four parts), "length" (of the texts, in four
            parts too), or a group for every row of the split.
        split: which rows.

    Raises:
        DataError: there is no such column.
    """
    return sliced(report_of(run, split), rows_of(run)[split], by)


def sliced(report: ClassificationReport, part: Dataset, by: str | Iterable[Hashable]) -> pd.DataFrame:
    """The same for a report and the split that it is of."""
    return of_groups(report, groups_of(part, by) if isinstance(by, str) else list(by))


def fairness(
    run: RunHandle,
    columns: str | Sequence[str],
    split: str = "test",
    positive: str | None = None,
    min_rows: int = 0,
) -> FairnessReport:
    """Rates by group of a run that classifies, and the gaps between the groups.

    Args:
        run: a run that classifies.
        columns: a column of the rows, whether the model reads it or not; several give their intersections.
        split: which rows.
        positive, min_rows: see :class:`~labkit.evaluate.fairness.FairnessReport`.

    Raises:
        DataError: there is no such column or class.
    """
    return report_of(run, split).by_group(columns, positive, None, min_rows)


def group_thresholds(
    run: RunHandle, columns: str | Sequence[str], goal: str = "demographic_parity", positive: str | None = None,
    **costs: float,
) -> GroupThresholds:  # fmt: skip
    """Thresholds by group chosen on the validation rows and judged on the test rows; see
    :func:`labkit.evaluate.fairness.thresholds_by_group`."""
    chosen, judged = report_of(run, "validation"), report_of(run, "test")
    assert chosen.columns_of is not None and judged.columns_of is not None
    groups = chosen.columns_of(columns), judged.columns_of(columns)
    return thresholds_by_group(chosen, judged, groups, goal, positive, **costs)
