"""Comparison of a trained model with a constant prediction, and the likely cause if it is not better."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from labkit.core.registry import ByClass
from labkit.data import memmap
from labkit.data.batching.arrays import Arrays, MaskedArrays
from labkit.data.batching.dialogues import DialogueTokens
from labkit.data.batching.histories import HistoryWindows
from labkit.data.batching.pairs import TextPairs
from labkit.data.batching.qa_windows import Windows
from labkit.data.batching.series import SeriesWindows
from labkit.data.batching.speech import BLANK, SpokenFrames
from labkit.data.batching.tagged import TaggedTokens
from labkit.data.masks import UNKNOWN
from labkit.data.text.tokens import Tokens
from labkit.i18n import _
from labkit.i18n.labels import score_name, split_name
from labkit.tasks import LOWER, metrics
from labkit.tasks.asr import SpeechRecognition
from labkit.tasks.base import Head, ProblemType
from labkit.tasks.ctc import greedy_edits
from labkit.tasks.forecast import Forecast
from labkit.tasks.instruct import Instruct
from labkit.tasks.lm import LanguageModel
from labkit.tasks.segment import Segment, iou, mean_iou
from labkit.tasks.seq2seq import Seq2Seq
from labkit.train.default_rates import default_rate

#: A model counts as no better than a constant answer within this share of what there is to gain.
MARGIN = 0.02
#: The training loss hardly moved where it fell by less than this share.
MOVED = 0.1
#: Training diverged where its loss rose by this factor.
DIVERGED = 1.2
#: A learning rate is far from the default beyond this factor.
FAR = 3.0
#: Steps of a short run; share of the most frequent class from which classes count as imbalanced; share of
#: tokens lost to truncation that can explain a failure.
FEW_STEPS, IMBALANCED, LOST = 100, 0.8, 0.25


class ConstantBaseline(NamedTuple):
    """The best constant answer and its score on the validation rows."""

    name: str
    metric: str
    value: float
    share: float = 0.0  # of the training rows that are of the most frequent class


def constant_of(
    head: Head,
    train: Tokens
    | TextPairs
    | Windows
    | TaggedTokens
    | DialogueTokens
    | Arrays
    | SeriesWindows
    | HistoryWindows
    | SpokenFrames,
    validation: Tokens
    | TextPairs
    | Windows
    | TaggedTokens
    | DialogueTokens
    | Arrays
    | SeriesWindows
    | HistoryWindows
    | SpokenFrames,
) -> ConstantBaseline | None:
    """What a constant prediction would score on ``validation``; None for tasks that have none to compare
    with.

    Args:
        head: of the task.
        train, validation: the examples.
    """
    of = CONSTANTS.get(type(head.config))
    if of is None and head.config.problem_type is not None:
        of = _BY_PROBLEM[head.config.problem_type]
    return of(head, train, validation) if of else None


def _of_classes(head: Head, train: Tokens | Arrays, validation: Tokens | Arrays) -> ConstantBaseline | None:
    return majority(len(head.classes), np.asarray(train.label), np.asarray(validation.label))


def _of_labels(head: Head, train: Tokens | Arrays, validation: Tokens | Arrays) -> ConstantBaseline | None:
    known, asked = (
        np.asarray(part.target)[np.asarray(part.label) >= 0] > 0.5 for part in (train, validation)
    )
    return frequent_labels(known, asked, head.config.threshold)


def _of_numbers(head: Head, train: Tokens | Arrays, validation: Tokens | Arrays) -> ConstantBaseline:
    return ConstantBaseline(_("the mean"), "r2", 0.0)


def _of_tokens(head: Head, train: Tokens, validation: Tokens) -> ConstantBaseline:
    return ConstantBaseline(_("the token frequencies"), "loss", _unigram(train, validation))


def _of_responses(head: Head, train: DialogueTokens, validation: DialogueTokens) -> ConstantBaseline:
    value = _frequencies(train.tokens.ids[train.learnt], validation.tokens.ids[validation.learnt])
    return ConstantBaseline(_("the token frequencies"), "loss", value)


def _of_targets(head: Head, train: TextPairs, validation: TextPairs) -> ConstantBaseline:
    return _of_tokens(head, train.target, validation.target)


def _of_windows(head: Head, train: SeriesWindows, validation: SeriesWindows) -> ConstantBaseline | None:
    """The last value of each window, repeated: its mean absolute error, in deviations of the training rows."""
    total, count = 0.0, 0
    for part in memmap.portions(len(validation), validation.horizon):
        index = np.arange(part.start, part.stop)
        truth, seen = validation.targets(index)
        last = validation.grid.values[validation.origin[index] - 1]
        total += float((np.abs(truth - last[:, None]) * seen).sum())
        count += int(seen.sum())
    return ConstantBaseline(_("the last value, repeated"), "mae", total / count) if count else None


def _of_pixels(head: Head, train: MaskedArrays, validation: MaskedArrays) -> ConstantBaseline | None:
    """The most frequent class of the training pixels: its mIoU on those of the validation rows."""
    count = len(head.classes)
    known, asked = (
        np.bincount(part.mask.reshape(-1), minlength=UNKNOWN + 1)[:count] for part in (train, validation)
    )
    if not known.any() or not asked.any():
        return None
    confusion = np.zeros((count, count))
    confusion[:, known.argmax()] = asked
    share = float(known.max() / known.sum())
    return ConstantBaseline(_("the most frequent class"), "miou", mean_iou(iou(confusion)), share)


def _of_transcripts(head: Head, train: SpokenFrames, validation: SpokenFrames) -> ConstantBaseline | None:
    """The most frequent transcript of the training rows, as frames with a blank behind each character."""
    known = Counter(map(tuple, np.split(train.characters, train.ends[1:-1])))
    usual = min(known.items(), key=lambda each: (-each[1], each[0]))[0]
    frames = np.ravel([(character, BLANK) for character in usual])
    count = np.diff(validation.ends)
    total = int(count.sum())
    if not total or not len(frames):
        return None
    said = np.zeros((len(count), validation.longest), np.int32)
    said[np.arange(validation.longest) < count[:, None]] = validation.characters
    best = np.broadcast_to(frames.astype(np.int32), (len(count), len(frames)))
    edits = greedy_edits(
        jnp.asarray(best), jnp.full(len(count), len(frames)), jnp.asarray(said), jnp.asarray(count, jnp.int32)
    )
    return ConstantBaseline(_("the most frequent transcript"), "cer", float(edits.sum()) / total)


_Of = Callable[[Head, Any, Any], ConstantBaseline | None]
_BY_PROBLEM: dict[ProblemType, _Of] = {
    ProblemType.CLASS: _of_classes,
    ProblemType.LABELS: _of_labels,
    ProblemType.NUMBER: _of_numbers,
}
#: Task → its best constant prediction, where that does not follow from its problem type.
CONSTANTS: ByClass[_Of] = ByClass(
    {
        LanguageModel: _of_tokens,
        Instruct: _of_responses,
        Seq2Seq: _of_targets,
        Forecast: _of_windows,
        Segment: _of_pixels,
        SpeechRecognition: _of_transcripts,
    }
)


def majority(classes: int, train: np.ndarray, labels: np.ndarray) -> ConstantBaseline | None:
    """The most frequent class of the training labels, and its macro-F1 on ``labels``; -1 marks an unlabelled
    row."""
    counts = np.bincount(train[train >= 0], minlength=classes)
    support = np.bincount(labels[labels >= 0], minlength=classes)
    if not counts.any() or not support.any():
        return None
    given = np.arange(classes) == counts.argmax()
    scores = metrics.summary(support * given, support, support.sum() * given)
    return ConstantBaseline(
        _("the most frequent class"), "f1", float(scores["f1"]), float(counts.max() / counts.sum())
    )


def frequent_labels(train: np.ndarray, labels: np.ndarray, threshold: float) -> ConstantBaseline | None:
    """The labels that apply to a share of ``threshold`` of the training rows, and their macro-F1 on
    ``labels``, both bool [n, c]."""
    if not len(train) or not len(labels):
        return None
    given, support = train.mean(0) >= threshold, labels.sum(0)
    f1 = metrics.rates(support * given, support, len(labels) * given)["f1"].mean()
    return ConstantBaseline(_("the most frequent labels"), "f1", float(f1))


def _unigram(train: Tokens, validation: Tokens) -> float:
    """Cross-entropy of the validation tokens, in nats, by how often each was in training (add-one)."""
    return _frequencies(np.asarray(train.ids), np.asarray(validation.ids))


def _frequencies(ids: np.ndarray, asked: np.ndarray) -> float:
    """The same of arrays of token numbers."""
    counts = np.bincount(ids, minlength=int(max(ids.max(initial=0), asked.max(initial=0))) + 1) + 1.0
    return float(-np.log(counts[asked] / counts.sum()).mean())


class Outcome(NamedTuple):
    """What a finished run says of itself."""

    warnings: list[
        str
    ]  # that it is no better than a constant answer, or learnt nothing, and the likely cause
    cause: str  # what would explain a poor score, where something would


def outcome_of(
    experiment: Any, summary: dict[str, Any], losses: Sequence[float], scores: dict[str, float]
) -> Outcome:
    """The outcome of a run.

    Args:
        experiment: what was run.
        summary: of the run, with ``constant`` and ``truncation``.
        losses: of the training steps.
        scores: of the model that is kept, on the validation rows, by metric.
    """
    if not losses:
        return Outcome([], "")
    constant = ConstantBaseline(*summary["constant"]) if summary.get("constant") else None
    few = max(3, len(losses) // 20)
    first, last = float(np.mean(losses[:few])), float(np.mean(losses[-few:]))
    problem, far = no_better(constant, scores, "validation"), _far_from_default(experiment)
    stuck = not np.isfinite(last) or last > (1 - MOVED) * first
    lost = summary.get("truncation", {}).get("lost", 0.0)
    cause = _cause(experiment, lost, constant, len(losses), (first, last), far)
    if problem:
        likely = cause or _fit((first, last), experiment.train.optimizer.learning_rate)
        return Outcome([problem, likely], likely)
    if stuck and far:
        told = _("The training loss hardly fell, from {first:.4g} to {last:.4g}: {far}")
        return Outcome([told.fill(first=first, last=last, far=far)], cause)
    return Outcome([], cause)


def no_better(constant: ConstantBaseline | None, scores: dict[str, float], split: str) -> str:
    """What to say of a model that scores no better than a constant answer on a split; empty for one that
    does."""
    if constant is None or np.isnan(score := scores.get(constant.metric, np.nan)):
        return ""
    if constant.metric in LOWER:
        fails = score >= (1 - MARGIN) * constant.value
    else:
        fails = score - constant.value <= MARGIN * (1 - constant.value)
    name = score_name(constant.metric)
    if not fails:
        return ""
    return _(
        "No better than {constant}: {metric} of {split} {score:.3f}; a constant prediction gets {value:.3f}.",
        constant=constant.name, metric=name, split=split_name(split), score=score, value=constant.value,
    )  # fmt: skip


def _far_from_default(experiment: Any) -> str:
    """What to say of a learning rate far from the default of its model; empty for one that is not."""
    optimizer = experiment.train.optimizer
    rate, usual = optimizer.learning_rate, default_rate(optimizer, experiment.model, experiment.task)
    if rate is None or 1 / FAR < rate / usual < FAR:
        return ""
    if rate < usual:
        return _(
            "the learning rate {rate:g} is probably too low (default of this model: {usual:g}).",
            rate=rate,
            usual=usual,
        )
    return _(
        "the learning rate {rate:g} is probably too high (default of this model: {usual:g}).",
        rate=rate,
        usual=usual,
    )


def _cause(
    experiment: Any,
    lost: float,
    constant: ConstantBaseline | None,
    steps: int,
    losses: tuple[float, float],
    far: str,
) -> str:
    """The likely cause of a poor score, as a sentence with what to do; empty where none is apparent."""
    first, last = losses
    if not np.isfinite(last) or last > DIVERGED * first:
        return _(
                            "Likely cause: training diverged; the loss rose from {first:.4g} to {last:.4g}. Lower the "
                "learning rate (currently {learning_rate:g}).",
            first=first, last=last, learning_rate=experiment.train.optimizer.learning_rate,
        )  # fmt: skip
    if far:
        return _("Likely cause: {far}", far=far)
    if constant is not None and constant.share >= IMBALANCED:
        return _(
            "Likely cause: class imbalance, {share:.0%} of the training rows are of one class. Try "
            'class_weights="balanced".',
            share=constant.share,
        )
    if steps < FEW_STEPS:
        return _(
            "Likely cause: only {steps} training steps. Train for more epochs, or with a smaller batch_size.",
            steps=steps,
        )
    if lost >= LOST:
        return _(
            "Likely cause: truncation lost {lost:.0%} of the tokens. Try a larger max_length.", lost=lost
        )
    return ""


def _fit(losses: tuple[float, float], rate: float) -> str:
    """Whether a model that is worth nothing underfits or overfits, and what to do."""
    first, last = losses
    if last > (1 - MOVED) * first:
        return _(
                            "Likely cause: underfitting; the training loss hardly fell, from {first:.4g} to "
                "{last:.4g}. Try more epochs or another learning rate (currently {rate:g}); or the labels "
                "cannot be predicted from the inputs.",
            first=first, last=last, rate=rate,
        )  # fmt: skip
    return _(
                    "Likely cause: overfitting; the training loss fell from {first:.4g} to {last:.4g} without "
            "improving validation. Try more training rows, fewer epochs or a smaller model; or the labels "
            "cannot be predicted from the inputs.",
        first=first, last=last,
    )  # fmt: skip
