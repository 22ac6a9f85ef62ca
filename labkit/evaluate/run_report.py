"""Evaluation of runs: report, comparison, calibration and slices."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable, Hashable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from labkit.core.errors import DataError, LabkitError
from labkit.core.registry import ByClass
from labkit.data.answers import answers_of
from labkit.data.groups import groups_of
from labkit.data.io.load import open_rows
from labkit.data.rows import Rows
from labkit.data.tags import tags_of
from labkit.evaluate import ngram
from labkit.evaluate.boosting import FEW, Embed
from labkit.evaluate.calibration import Calibration, calibrate
from labkit.evaluate.caveats import with_warnings
from labkit.evaluate.compare import Comparison
from labkit.evaluate.compare import compare as of_reports
from labkit.evaluate.conclusion import Conclusion, conclude
from labkit.evaluate.decision import check_scenario, decision_of
from labkit.evaluate.diagnostics import DiagnosticReport
from labkit.evaluate.evaluate import EvaluationReport, make_report, with_fitted_baselines
from labkit.evaluate.fairness import FairnessReport, GroupThresholds, thresholds_by_group
from labkit.evaluate.forecast import ForecastReport, forecast_report
from labkit.evaluate.generation import GenerationReport, generation_report
from labkit.evaluate.instruct import compare_responses
from labkit.evaluate.intervals import of_means
from labkit.evaluate.prompting import prompt_report
from labkit.evaluate.recommend import RecommendReport, recommend_report
from labkit.evaluate.report import ClassificationReport
from labkit.evaluate.scores import Scores, assess
from labkit.evaluate.segmentation import SegmentationReport, segmentation_report
from labkit.evaluate.slices import slices as of_groups
from labkit.evaluate.speech import SpeechReport, speech_report
from labkit.evaluate.tagging import FrequentTags, tag_scores
from labkit.evaluate.translation import TranslationReport, translation_report
from labkit.i18n import _
from labkit.inference.embedding import EmbeddingPipeline
from labkit.inference.image_generation import ImageGenerationPipeline
from labkit.inference.predictor import Predictor
from labkit.inference.prompting import PromptClassifier
from labkit.inference.question_answering import by_kind
from labkit.inference.registry import pipeline_of
from labkit.inference.speech_recognition import SpeechRecognitionPipeline
from labkit.inference.translation import TranslationPipeline
from labkit.models.base import Capability
from labkit.runs.handle import RunHandle, model_of
from labkit.tasks.asr import SpeechRecognition
from labkit.tasks.base import ProblemType
from labkit.tasks.forecast import Forecast
from labkit.tasks.instruct import Instruct
from labkit.tasks.lm import LanguageModel
from labkit.tasks.qa import QuestionAnswering
from labkit.tasks.recommend import Recommend
from labkit.tasks.scenario import Scenario
from labkit.tasks.segment import Segment
from labkit.tasks.seq2seq import Seq2Seq
from labkit.tasks.tag import TokenClassification
from labkit.train.processors import load_processor

if TYPE_CHECKING:
    from datasets import Dataset

#: Answers whose time is measured, after one that is not.
TIMED = 20


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

    Translations are also compared with their references by BLEU and chrF++ (:mod:`labkit.evaluate.translation`);
    answers to questions are also compared by the rules of SQuAD 2.0, with intervals and the worst of them.
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


def _tagged(run: RunHandle, rows: Rows, split: str, scores: Scores, baselines: bool) -> None:
    """Add the scores of tags and entities, by sentence, and those of the most frequent tag of each word."""
    words, truth = tags_of(rows[split])
    predicted = [each.tags for each in pipeline_of(run).tag(words)]
    usual = FrequentTags(*tags_of(rows["train"]))(words) if baselines else None
    values, intervals = tag_scores(truth, predicted, usual)
    scores |= values
    scores.intervals |= intervals
    lines = []
    for sentence, right, given in zip(words, truth, predicted, strict=True):
        wrong = [n for n, (one, other) in enumerate(zip(right, given, strict=True)) if one != other]
        if wrong:
            told, answered = (" ".join(f"{sentence[n]}/{tags[n]}" for n in wrong) for tags in (right, given))
            lines.append((" ".join(sentence), told, answered, 1 - len(wrong) / len(right)))
    found = pd.DataFrame(lines, columns=["text", "truth", "answer", "f1"])
    scores.worst = found.sort_values("f1", kind="stable").reset_index(drop=True)


def _ngrams(run: RunHandle, rows: Rows, split: str, scores: Scores, baselines: bool) -> None:
    """Add the scores of n-grams of the training rows."""
    if baselines:
        scores |= ngram.baseline_scores(folder_of(run), rows, split)


def _translations(run: RunHandle, rows: Rows, split: str, scores: Scores, baselines: bool) -> None:
    """Add BLEU and chrF++ of greedy translations, of a translation memory, and the gains over it."""
    scores.translation = report = translation_report(pipeline_of(run), rows, split, baselines=baselines)
    found, intervals = report.scores()
    scores |= found
    scores.intervals |= intervals
    scores.worst = report.to_pandas()


def _before_tuning(run: RunHandle, rows: Rows, split: str, scores: Scores, baselines: bool) -> None:
    """Add the interval of the loss on responses, and that of the pretrained model before the tuning."""
    values, intervals = compare_responses(run, rows, split, baselines)
    scores |= values
    scores.intervals |= intervals


def _transcripts(run: RunHandle, rows: Rows, split: str, scores: Scores, baselines: bool) -> None:
    """Add error rates of greedy decoding, of the most frequent transcript and of the nearest recording."""
    scores.speech = report = speech_report(pipeline_of(run), rows, split, baselines=baselines)
    found, intervals = report.scores()
    scores |= found
    scores.intervals |= intervals
    scores.worst = report.to_pandas()


#: Task → what adds scores to those of its metric state.
MORE_SCORES: ByClass[Callable[[RunHandle, Rows, str, Scores, bool], None]] = ByClass(
    {
        QuestionAnswering: _compared_answers,
        Instruct: _before_tuning,
        LanguageModel: _ngrams,
        TokenClassification: _tagged,
        Seq2Seq: _translations,
        SpeechRecognition: _transcripts,
    }
)


def translations_of(run: RunHandle, split: str, baselines: bool, **settings: Any) -> TranslationReport:
    """The translations of a split by a run, and their scores; see :func:`translation_report`."""
    rows = rows_of(run)
    if not len(rows.splits.get(split, ())):
        raise DataError(
            _("the run has no split {split!r}; it has {splits}."), split=split, splits=", ".join(rows.splits)
        )
    return translation_report(
        pipeline_of(run, TranslationPipeline), rows, split, baselines=baselines, **settings
    )


def transcripts_of(run: RunHandle, split: str, baselines: bool, **settings: Any) -> SpeechReport:
    """The transcripts of a split by a run, and their error rates; see :func:`speech_report`."""
    rows = rows_of(run)
    if not len(rows.splits.get(split, ())):
        raise DataError(
            _("the run has no split {split!r}; it has {splits}."), split=split, splits=", ".join(rows.splits)
        )
    return speech_report(
        pipeline_of(run, SpeechRecognitionPipeline), rows, split, baselines=baselines, **settings
    )


def generation_of(
    run: RunHandle, classifier: RunHandle, split: str, baselines: bool, **settings: Any
) -> GenerationReport:
    """Generated pictures of a run beside those of a split; see :func:`generation_report`."""
    pipeline, rows = pipeline_of(run, ImageGenerationPipeline), rows_of(run)
    return generation_report(pipeline, rows, predictor_of(classifier), split, baselines=baselines, **settings)


#: Task → what makes the report of its runs, where that does not follow from their labels.
REPORTS: ByClass[Callable[[RunHandle, Rows, str, bool], Any]] = ByClass(
    {Forecast: forecast_report, Recommend: recommend_report, Segment: segmentation_report}
)


def evaluate_run(
    run: RunHandle, split: str = "test", baselines: bool = True, scenario: Scenario | None = None
) -> EvaluationReport | ForecastReport | RecommendReport | SegmentationReport | Scores:
    """The report of a run on a split of its rows, whatever kind it is of; for tasks without labels their
    scores. With a scenario, its own or a given one, the report has the expected cost of the decisions.

    Raises:
        RunError: there is no model yet.
        DataError: there are no such rows.
        ConfigError: the scenario does not fit the task.
    """
    folder_of(run)
    own = REPORTS.get(type(run.experiment.task))
    if run.experiment.task.problem_type is None and scenario is not None:
        Scenario.given(scenario).check_for(None, ())
    if own is None and run.experiment.task.problem_type is None:
        return scores_of(run, split, baselines)
    rows = rows_of(run)
    if not len(rows.splits.get(split, ())):
        raise DataError(
            _("the run has no split {split!r}; it has {splits}."), split=split, splits=", ".join(rows.splits)
        )
    if own is not None:
        return own(run, rows, split, baselines)
    predictor = predictor_of(run)
    answers, task = predictor.predict_encoded(rows[split]), predictor.experiment.task
    report = make_report(rows, split, predictor.classes, answers, task, baselines=False)
    with_decision(report, run, rows, scenario, baselines)
    return with_warnings(report, run, rows, split, predictor.processor)


def with_decision(
    report: EvaluationReport,
    run: RunHandle,
    rows: Rows,
    scenario: Scenario | None = None,
    baselines: bool = True,
) -> EvaluationReport:
    """``report`` with baselines if wanted, and with the expected cost of the decisions of a scenario:
    a given one, else that of the run. Its rule is chosen on the validation rows."""
    scenario = run.experiment.scenario if scenario is None else Scenario.given(scenario)
    embed = encoder_of(run, rows) if baselines else None
    if scenario is None:
        return with_fitted_baselines(report, rows, embed) if baselines else report
    check_scenario(scenario, report)
    predictor = predictor_of(run)
    validation = report
    if report.split != "validation":
        answers = predictor.predict_encoded(rows["validation"])
        classes, task = predictor.classes, predictor.experiment.task
        validation = make_report(rows, "validation", classes, answers, task, baselines=False)
    if baselines:
        with_fitted_baselines(report, rows, embed, *([] if validation is report else [validation]))
    slow = latency_of(predictor, rows, report.split) if scenario.latency is not None else None
    report.decision = decision_of(scenario, validation, report, None if slow is None else 1e3 * slow[1])
    return report


def latency_of(predictor: Predictor, rows: Rows, split: str) -> tuple[float, float]:
    """Median and 95th percentile of the seconds of one answer; the first, which compiles, is not counted."""
    part, spent = rows[split], []
    for place in range(TIMED + 1):
        one = part.select([place % len(part)])
        begin = time.perf_counter()
        predictor.predict_encoded(one)
        spent.append(time.perf_counter() - begin)
    return statistics.median(spent[1:]), float(np.quantile(spent[1:], 0.95))


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


def conclusion_of(
    run: RunHandle, report: EvaluationReport | ForecastReport | RecommendReport | SegmentationReport
) -> Conclusion:
    """The conclusion of a report of a run; baselines are fitted unless the report has them."""
    rows = rows_of(run)
    if not report.baselines and not isinstance(report, ForecastReport | RecommendReport | SegmentationReport):
        given = None if report.decision is None else report.decision.scenario
        with_warnings(
            with_decision(report, run, rows, given), run, rows, report.split, predictor_of(run).processor
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
    first: RunHandle | ClassificationReport,
    second: RunHandle | ClassificationReport | PromptClassifier,
    split: str = "test",
) -> Comparison:
    """Compare two runs (or reports) of classifiers, or a run and a prompted language model, on the rows of ``split`` on
    which both were evaluated.

    Both scores, what the first gains with a paired 95 % bootstrap interval, and McNemar's exact test; the
    runs may have been trained in any way on the same data.

    Raises:
        DataError: the runs share no rows, have other classes, or are not classifiers.
    """
    prompted = ""
    if isinstance(second, PromptClassifier):
        if isinstance(first, ClassificationReport):
            raise DataError(
                _("compare a prompted model with a run, or with its report: lk.prompt_report(…).")
            )
        prompted, second = second.title, prompt_report(second, rows_of(first), split, baselines=False)
    names = [
        f"{each.split} {n}" if isinstance(each, ClassificationReport) else each.name
        for n, each in enumerate((first, second), 1)
    ]
    names[1] = prompted or names[1]
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


def diagnostics(
    run: RunHandle,
    split: str = "test",
    positive: str | None = None,
    specificity: float = 0.95,
    baselines: bool = True,
) -> DiagnosticReport:
    """Separation, calibration and net benefit of the probability of one class, of a run that classifies and, with
    ``baselines``, of baselines fitted on its training rows.

    Raises:
        DataError: the run is no classifier, has no such class, or the rows are of one kind only.
    """
    report = report_of(run, split)
    if baselines:
        rows = rows_of(run)
        with_fitted_baselines(report, rows, encoder_of(run, rows))
    return report.diagnostics(positive, specificity)


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
