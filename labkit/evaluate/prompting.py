"""Evaluation of a prompted language model as a classifier, beside trained models and baselines."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd

from labkit.core.errors import ConfigError, DataError
from labkit.data.io.load import open_rows
from labkit.data.rows import Rows
from labkit.evaluate.evaluate import make_report
from labkit.evaluate.report import ClassificationReport
from labkit.i18n import _
from labkit.inference.predictor import Predictor
from labkit.inference.prompting import CALIBRATIONS, MODEL, PromptClassifier
from labkit.inference.registry import pipeline_of
from labkit.inference.text_generation import TextGenerationPipeline
from labkit.runs.handle import RunHandle
from labkit.tasks.classify import Classify

#: Score → its names in a table.
_SCORES = ("f1", "accuracy")


def prompt_report(
    classifier: PromptClassifier,
    rows: Rows,
    split: str = "test",
    *,
    baselines: bool = True,
    limit: int | None = None,
) -> ClassificationReport:
    """The report of a prompted model on a split, as that of a trained one.

    Args:
        classifier: with the classes of the rows.
        rows: rows with one class each.
        split: which of them.
        baselines: fit baselines on the training rows and include them.
        limit: rows at most, drawn at random by a fixed seed; None: all.

    Raises:
        DataError: other classes, or no such rows.
    """
    if classifier.classes != rows.spec.classes:
        raise DataError(
            _("the prompted model predicts {classes}; the rows have {wanted}."),
            classes=", ".join(classifier.classes), wanted=", ".join(rows.spec.classes) or _("none"),
        )  # fmt: skip
    rows = _limited(rows, split, limit, 0)
    answers = classifier.predict_probabilities(rows[split]["text"]).astype(np.float32)
    report = make_report(rows, split, classifier.classes, answers, Classify(), baselines=baselines)
    assert isinstance(report, ClassificationReport)
    return report


def compare_prompting(
    run: RunHandle,
    shots: Sequence[int] = (0, 4),
    model: str | TextGenerationPipeline = MODEL,
    *,
    split: str = "test",
    limit: int | None = 300,
    calibrations: Sequence[str] = CALIBRATIONS,
    seed: int = 0,
    instruction: str = "",
    words: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """A run, the baselines of its rows, and a language model that is prompted for the same classes, on the same rows.

    Args:
        run: a run that classifies texts.
        shots: numbers of examples in the prompt, each a row of the table.
        model: the chat model that is prompted.
        split: which rows.
        limit: rows at most, drawn at random by ``seed``; None: all.
        calibrations: of the prompted model, each a row of the table.
        seed: of the examples and of ``limit``.
        instruction, words: of the prompts; see :class:`labkit.PromptClassifier`.

    Returns:
        A row for the run, each prompted model and each baseline: ``f1`` and ``accuracy`` with 95 % intervals
        (``f1_low``, ``f1_high`` …); the paired ``gain`` in F1 of the run (``gain_low``, ``gain_high``); ``labels``, the
        number of labelled rows that it was given; ``ms``, milliseconds a text, with compilation.

    Raises:
        ConfigError: no shots or no calibrations.
        DataError: the run does not classify texts.
    """
    if not shots or not calibrations:
        raise ConfigError(_("give at least one number of shots and one calibration."))
    rows = _limited(open_rows(run.info.folder / "data"), split, limit, seed)
    part, count = rows[split], int((np.asarray(rows["train"]["label"]) >= 0).sum())
    PromptClassifier.check_rows(rows)
    predictor = pipeline_of(run, Predictor)
    opened = model if isinstance(model, TextGenerationPipeline) else TextGenerationPipeline(model)
    reports: dict[str, ClassificationReport] = {}
    labels, spent = {run.name: count}, dict[str, float]()

    def timed(name: str, answer: Callable[[], np.ndarray]) -> np.ndarray:
        begin = time.perf_counter()
        answers = answer()
        spent[name] = 1e3 * (time.perf_counter() - begin) / len(part)
        return answers.astype(np.float32)

    def report_of(answers: np.ndarray, baselines: bool = False) -> ClassificationReport:
        made = make_report(rows, split, rows.spec.classes, answers, Classify(), baselines=baselines)
        assert isinstance(made, ClassificationReport)
        return made

    own = report_of(timed(run.name, lambda: predictor.predict_encoded(part)), baselines=True)
    for number in shots:
        classifier = PromptClassifier.of(
            rows, number, seed=seed, model=opened, instruction=instruction, words=words
        )
        logs: np.ndarray | None = None
        for calibration in calibrations:
            name = f"{number}-shot" if calibration == "none" else f"{number}-shot, {calibration}"
            labels[name] = number
            if logs is None:
                logs = timed(name, lambda made=classifier: made.log_likelihoods(part["text"])).astype(
                    np.float64
                )
            spent.setdefault(name, next(reversed(spent.values())))
            reports[name] = report_of(classifier.probabilities_of(logs, calibration).astype(np.float32))
    for name, report in own.baselines.items():
        reports[str(name)], labels[str(name)] = report, count
    compared = own.compare(reports, run.name)
    lines = {}
    for name, report in {run.name: own, **reports}.items():
        line: dict[str, float] = {}
        for score in _SCORES:
            low, high = report.intervals[score]
            line |= {score: report.scores[score], f"{score}_low": low, f"{score}_high": high}
        if name != run.name:
            gains = compared.loc[name].to_dict()
            line |= {key: float(gains[f"f1_{key}"]) for key in ("gain", "gain_low", "gain_high")}
        lines[name] = line | {"labels": labels[name], "ms": spent.get(name, float("nan"))}
    return pd.DataFrame.from_dict(lines, orient="index").rename_axis("model")


def _limited(rows: Rows, split: str, limit: int | None, seed: int) -> Rows:
    """The rows with no more than ``limit`` of a split."""
    if not len(rows.splits.get(split, ())):
        raise DataError(
            _("no split {split!r}; available: {splits}."), split=split, splits=", ".join(rows.splits)
        )
    part = rows[split]
    if limit is None or limit >= len(part):
        return rows
    if limit < 1:
        raise ConfigError(_("limit = {limit} must be at least 1."), limit=limit)
    chosen = np.sort(np.random.default_rng(seed).choice(len(part), limit, replace=False))
    return rows.with_splits({**rows.splits, split: part.select(chosen)})
