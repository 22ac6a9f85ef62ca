"""Doubtful labels by confident learning, and which rows to label next.

 Confident learning (Northcutt, Jiang and Chuang, JAIR 2021, arXiv 1911.00068): out-of-fold probabilities say
for every row what a model expects that has not seen its label. A class counts as confidently predicted where
its probability reaches its mean over the rows labelled so. Counts of (label, confident class), calibrated to
the counts of the labels, estimate how many rows of each class are of another one; so many rows are doubtful,
those with the greatest margin between the two classes.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedKFold

from labkit.core.config import checked_seed, known_settings
from labkit.core.errors import ConfigError, DataError, nearest
from labkit.data.arrow import numbers, text_columns
from labkit.data.prepare.corrections import check_single_label
from labkit.data.prepare.dedupe import digests
from labkit.evaluate.fast_learner import AUTO, FastLearner
from labkit.i18n import _

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from labkit.data.rows import Rows

STRATEGIES = ("margin", "entropy", "confidence")
#: Slack in comparing a probability with its threshold, as cleanlab has it; the least threshold.
_SLACK, _LEAST = 1e-6, 1e-5


@known_settings
def find_label_issues(
    rows: Rows,
    probabilities: ArrayLike | None = None,
    *,
    encoder: str | None = AUTO,
    folds: int = 5,
    seed: int = 0,
) -> pd.DataFrame:
    """Rank the labelled rows of all splits by how likely their label is wrong.

    Args:
        rows: rows of one class each.
        probabilities: [n, c] of all rows (split after split), each by a model that was not trained on that row,
            such as :func:`labkit.out_of_fold` makes; default: those of a fast learner, see
            :func:`out_of_fold_probabilities`.
        encoder: sentence encoder of the fast learner for texts. "auto": "minilm-l6" (of texts that are not English
            "e5-small") where it is in the cache, as it finds more of the wrong labels; None: TF-IDF alone.
        folds, seed: of the fast learner.

    Returns:
        ``attrs["learner"]`` of the table names the learner that was used. A line for every labelled row, most doubtful
        first: ``split``, ``row``, ``given_label``,
        ``predicted_label``, ``label_quality`` (probability of the given label), ``is_label_issue`` and, for
        texts, ``text``. Rows flagged as issues come first.

    Raises:
        DataError: the rows have several labels or numbers, fewer than two classes, a class of one row, or
            ``probabilities`` has another shape or is not a distribution.
    """
    check_single_label(rows)
    labels = _labels(rows)
    known, learner = np.flatnonzero(labels >= 0), str(_("given probabilities"))
    if probabilities is None:
        fast = FastLearner(rows, encoder, checked_seed(seed))
        found, learner = _out_of_fold(rows, fast, folds, seed), fast.name
    else:
        found = _checked(probabilities, len(labels), len(rows.schema.classes))
    quality = found[known, labels[known]]
    doubtful = issues(labels[known], found[known])
    order = np.lexsort((quality, ~doubtful))
    table = _table(rows, known[order])
    names = np.asarray(rows.schema.classes, object)
    table.insert(2, "given_label", names[labels[known[order]]])
    table.insert(3, "predicted_label", names[found[known[order]].argmax(1)])
    table.insert(4, "label_quality", quality[order].astype(np.float64))
    table.insert(5, "is_label_issue", doubtful[order])
    table.attrs["learner"] = learner
    return table


@known_settings
def out_of_fold_probabilities(
    rows: Rows, *, encoder: str | None = AUTO, folds: int = 5, seed: int = 0
) -> np.ndarray:
    """Probabilities f32 [n, c] of all rows, each by a fast learner that was fitted without it.

    Texts: logistic regression on TF-IDF, with ``encoder`` ("minilm-l6", "e5-small"; "auto": where cached) averaged with
    logistic regression on sentence embeddings. Tables: gradient boosting. Pictures and sounds: logistic regression.
    Equal rows are in the same fold, so that a copy cannot confirm a wrong label. Unlabelled rows get the
    probabilities of a learner fitted on all labelled ones.
    """
    check_single_label(rows)
    return _out_of_fold(rows, FastLearner(rows, encoder, checked_seed(seed)), folds, seed)


def _out_of_fold(rows: Rows, learner: FastLearner, folds: int, seed: int) -> np.ndarray:
    labels = _labels(rows)
    known, unknown = np.flatnonzero(labels >= 0), np.flatnonzero(labels < 0)
    found = np.zeros((len(labels), len(rows.schema.classes)), np.float32)
    for train, test in fold_places(labels[known], copies_of(rows)[known], folds, seed):
        found[known[test]] = learner.predict(known[train], labels[known[train]], known[test])
    if unknown.size:
        found[unknown] = learner.predict(known, labels[known], unknown)
    return found


def fold_places(
    labels: np.ndarray, groups: np.ndarray, folds: int, seed: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """(train, test) places of stratified folds in which equal ``groups`` are together.

    Raises:
        ConfigError: fewer than two folds.
        DataError: fewer than two classes, or too few distinct rows.
    """
    if isinstance(folds, bool) or not isinstance(folds, int) or folds < 2:
        raise ConfigError(_("folds = {folds!r}; it must be a whole number from 2 on."), folds=folds)
    _unused, first, group = np.unique(groups, return_index=True, return_inverse=True)
    counts = np.bincount(labels[first]) if len(labels) else np.zeros(0, np.int64)
    if np.count_nonzero(counts) < 2:
        raise DataError(_("doubtful labels need labelled rows of at least two classes."))
    if (largest := int(counts.max())) < 2:
        raise DataError(_("doubtful labels need a class with at least two different rows."))
    fold = np.zeros(len(first), np.int64)
    split = StratifiedKFold(min(folds, largest), shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # classes of fewer rows than folds: not in every fold
        for number, (_train, test) in enumerate(split.split(first, labels[first])):
            fold[test] = number
    of_row = fold[group.reshape(-1)]
    return [(np.flatnonzero(of_row != n), np.flatnonzero(of_row == n)) for n in range(min(folds, largest))]


def issues(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Whether each label is doubtful, bool [n]: confident learning, pruned by noise rate.

    Args:
        labels: int [n], all labelled.
        probabilities: [n, c], out of fold.
    """
    counts = _pruned_counts(confident_joint(labels, probabilities))
    doubtful = np.zeros(len(labels), bool)
    for given in range(probabilities.shape[1]):
        here = np.flatnonzero(labels == given)
        if len(here) < 2:
            continue
        for other in np.flatnonzero(counts[given]).tolist():
            if other != given:
                margin = probabilities[here, other] - probabilities[here, given]
                doubtful[here[np.argsort(-margin)[: counts[given, other]]]] = True
    likeliest = probabilities.copy()
    likeliest[np.arange(len(labels)), labels] += _SLACK  # a tie is no doubt
    return doubtful & (likeliest.argmax(1) != labels)


def confident_joint(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Estimated counts [c, c] of rows by given label (down) and true class (across); rows sum to the counts of
    the labels."""
    classes = probabilities.shape[1]
    support = np.bincount(labels, minlength=classes)
    threshold = np.full(classes, 2.0)
    for each in np.flatnonzero(support).tolist():
        threshold[each] = max(float(np.mean(probabilities[:, each][labels == each])), _LEAST)
    confident = probabilities >= threshold - _SLACK
    several = confident.sum(1) > 1
    guess = np.where(several, probabilities.argmax(1), confident.argmax(1))
    sure = confident.any(1)
    joint = np.bincount(labels[sure] * classes + guess[sure], minlength=classes**2).reshape(classes, classes)
    np.fill_diagonal(joint, np.maximum(joint.diagonal(), 1))
    shares = joint / joint.sum(1, keepdims=True) * support[:, None]
    return _rounded(shares / max(shares.sum(), 1e-100) * support.sum())


def _pruned_counts(joint: np.ndarray) -> np.ndarray:
    """The counts with at least one row left in every class, as many taken off the others."""
    kept = np.maximum(joint.diagonal(), 1)
    others = np.maximum(np.count_nonzero(joint, axis=1) - 1.0, 1.0)
    counts = np.maximum(joint - ((kept - joint.diagonal()) / others)[:, None], 0)
    np.fill_diagonal(counts, kept)
    return _rounded(counts.astype(np.int64).T).T


def _rounded(counts: np.ndarray) -> np.ndarray:
    """Whole numbers whose rows have the rounded sums of the rows of ``counts``."""
    whole = np.round(counts)
    for line, exact in zip(whole, np.asarray(counts, np.float64), strict=True):
        missing = int(np.round(exact.sum()) - line.sum())
        while missing:
            step = 1 if missing > 0 else -1
            order = np.argsort(exact - line)[::-step]
            line[order[: abs(missing)]] += step
            missing = int(np.round(exact.sum()) - line.sum())
    return whole.astype(np.int64)


@known_settings
def rows_to_label(
    rows: Rows,
    count: int = 20,
    *,
    strategy: str = "margin",
    encoder: str | None = AUTO,
    seed: int = 0,
) -> pd.DataFrame:
    """The unlabelled rows whose label would teach a model most (active learning), most useful first.

    A fast learner is fitted on the labelled rows; the rows about which it is least sure come first. While fewer
    than two classes have labels there is nothing to be unsure about, and the rows are drawn at random. Equal rows
    are listed once.

    Args:
        rows: with unlabelled ones among them, such as rows whose label cell is empty.
        count: number of rows.
        strategy: "margin" (smallest difference between the two likeliest classes), "entropy" (greatest), or
            "confidence" (smallest probability of the likeliest class).
        encoder: pretrained sentence encoder, such as "minilm-l6": far better with few labels (8 per class). "auto": one
            that is in the cache, see :func:`find_label_issues`.
        seed: of the learner, and of the draw.

    Returns:
        ``split``, ``row``, ``predicted_label`` (None at first), ``probability``, ``usefulness`` and, for texts,
        ``text``.

    Raises:
        ConfigError: there is no such strategy.
        DataError: the rows have several labels or numbers, or all are labelled.
    """
    if strategy not in STRATEGIES:
        raise ConfigError(
            _("strategy = {strategy!r}: no such strategy.{hint} Available: {known}."),
            strategy=strategy, hint=nearest(str(strategy), STRATEGIES), known=", ".join(STRATEGIES),
        )  # fmt: skip
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise ConfigError(_("count = {count!r}; it must be a whole number from 1 on."), count=count)
    check_single_label(rows)
    labels, learner = _labels(rows), FastLearner(rows, encoder, checked_seed(seed))
    known, unknown = np.flatnonzero(labels >= 0), np.flatnonzero(labels < 0)
    if not unknown.size:
        raise DataError(_("every row has a label already."))
    copies = copies_of(rows)
    unknown = unknown[np.unique(copies[unknown], return_index=True)[1]]
    names = np.asarray([*rows.schema.classes, None], object)
    if len(np.unique(labels[known])) < 2:
        order = np.random.Generator(np.random.Philox(seed)).permutation(len(unknown))[:count]
        best = np.full(len(order), len(names) - 1)
        chance = use = np.full(len(order), np.nan)
    else:
        found = learner.predict(known, labels[known], unknown)
        every = usefulness(found, strategy)
        order = np.argsort(-every, kind="stable")[:count]
        best, chance, use = found[order].argmax(1), found[order].max(1), every[order]
    table = _table(rows, unknown[order])
    table.insert(2, "predicted_label", names[best])
    table.insert(3, "probability", np.asarray(chance, np.float64))
    table.insert(4, "usefulness", np.asarray(use, np.float64))
    table.attrs["learner"] = learner.name
    return table


def usefulness(probabilities: np.ndarray, strategy: str) -> np.ndarray:
    """How unsure probabilities [n, c] are, from 0 to 1 (to log c for the entropy)."""
    if strategy == "entropy":
        kept = np.maximum(np.asarray(probabilities, np.float64), 1e-12)
        return -(kept * np.log(kept)).sum(1)
    ordered = np.sort(np.asarray(probabilities, np.float64), axis=1)
    return 1 - ordered[:, -1] if strategy == "confidence" else 1 - (ordered[:, -1] - ordered[:, -2])


def copies_of(rows: Rows) -> np.ndarray:
    """A number for every row of all splits, the same for exact copies (of the normalised texts, or of all values)."""
    words = np.concatenate([digests(part, words=2) for part in rows.splits.values()])
    return np.unique(words, axis=0, return_inverse=True)[1].reshape(-1)


def _labels(rows: Rows) -> np.ndarray:
    return np.concatenate([numbers(part, "label") for part in rows.splits.values()]).astype(np.int64)


def _checked(probabilities: ArrayLike, rows: int, classes: int) -> np.ndarray:
    found = np.asarray(probabilities, np.float64)
    if found.shape != (rows, classes):
        raise DataError(
            _("probabilities has shape {shape}; {rows} rows of {classes} classes need {wanted}."),
            shape=found.shape, rows=rows, classes=classes, wanted=(rows, classes),
        )  # fmt: skip
    if not ((found >= 0).all() and (np.abs(found.sum(1) - 1) < 1e-3).all()):
        raise DataError(_("probabilities must not be negative, and each row must sum to 1."))
    return found


def _table(rows: Rows, places: np.ndarray) -> pd.DataFrame:
    """Split, row number and text of rows by their places in all splits, one after the other."""
    ends = np.cumsum([0, *map(len, rows.splits.values())])
    part = np.searchsorted(ends, places, side="right") - 1
    names = list(rows.splits)
    numbered = np.concatenate([numbers(each, "row") for each in rows.splits.values()])
    table = pd.DataFrame({"split": [names[n] for n in part], "row": numbered[places].astype(np.int64)})
    if rows.schema.modality == "text":
        parts = rows.splits
        columns = text_columns(parts[names[0]])
        for column in columns:
            every = [text for each in parts.values() for text in each[column]]
            table[column] = [every[place] for place in places.tolist()]
    return table
