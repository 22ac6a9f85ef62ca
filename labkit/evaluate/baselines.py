"""Baselines of classifiers: the most frequent class, a linear model on TF-IDF or features, gradient boosting, and
for few labels the nearest neighbours.

All return probabilities f32 [n, c] over all classes of the data; a class without training rows gets 0.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.model_selection import StratifiedKFold
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from labkit.core.errors import DataError
from labkit.data.batching.arrays import stack
from labkit.data.io.audio import frames_of, log_mel
from labkit.data.schema import Spec
from labkit.evaluate import boosting
from labkit.evaluate.boosting import LONGEST, Embed, Fitted, Maker, vectorizer
from labkit.evaluate.report import ClassificationReport
from labkit.i18n import _

if TYPE_CHECKING:
    from datasets import Dataset

_STRENGTHS = (
    1.0,
    4.0,
    16.0,
    64.0,
)  # inverse regularisation tried; TF-IDF rows have length 1 and want little of it
_SEARCHED = 600_000  # feature values times (classes - 1) at most in the search for it: seconds, however long the texts


def baselines(
    train: Any,
    test: Any,
    classes: Sequence[str],
    spec: Spec | None = None,
    *,
    split: str = "test",
    seed: int = 0,
    embed: Embed | None = None,
) -> dict[str, ClassificationReport]:
    """Reports of all baselines, fitted on ``train`` and evaluated on ``test``.

    ``train`` and ``test`` are ``datasets.Dataset`` splits (or mappings of columns) with ``text``, ``label``
    (int,
    -1 = unlabelled), ``row`` and, for pairs, ``text_pair``; or, where ``spec`` says so, with pictures or features.
    Raises DataError when ``train`` has no labelled row.
    """
    label = np.asarray(_column(train, "label"), np.int64)
    seen = np.unique(label[label >= 0]).tolist()
    found = fit(train, classes, spec, seed=seed, embed=embed)
    return reports_of(found, test, classes, spec, split=split, seed=seed, seen=seen)


def reports_of(
    fitted: Mapping[str, Fitted],
    part: Any,
    classes: Sequence[str],
    spec: Spec | None = None,
    *,
    split: str = "test",
    seed: int = 0,
    seen: Iterable[int] | None = None,
) -> dict[str, ClassificationReport]:
    """Reports of fitted baselines on a split; ``seen``: the class ids that training rows had."""
    truth, rows = np.asarray(_column(part, "label"), np.int64), _column(part, "row")
    texts = texts_of(part) if spec is None or spec.modality == "text" else None
    return {
        name: ClassificationReport(
            classes, truth, each.answer(part), texts, rows, split=split, seed=seed, seen=seen
        )
        for name, each in fitted.items()
    }


def fit(
    train: Any, classes: Sequence[str], spec: Spec | None = None, *, seed: int = 0, embed: Embed | None = None
) -> dict[str, Fitted]:
    """All baselines of a classifier, fitted on ``train``, by name; see :func:`makers`."""
    return boosting.fitted(makers(train, classes, spec, seed=seed, embed=embed))


def makers(
    train: Any, classes: Sequence[str], spec: Spec | None = None, *, seed: int = 0, embed: Embed | None = None
) -> dict[str, Maker]:
    """What fits each baseline of a classifier on ``train``, by name.

    Gradient boosting reads tables, and texts through :class:`~labkit.evaluate.boosting.TextVectors`; nearest
    neighbours are for texts with few labels, and read ``embed`` (default: the same vectors).
    """
    label = np.asarray(_column(train, "label"), np.int64)
    kept, known = _labelled(label, classes)
    constant = Fitted(lambda rows: majority(label, _length(rows), classes), len(classes))
    found: dict[str, Maker] = {_("majority class"): lambda: constant}
    if spec is None or spec.modality == "text":
        texts = texts_of(train)

        def of_words() -> Fitted:
            learnt, size = _tfidf_logistic(texts, label, classes, seed)
            return Fitted(lambda rows: learnt(texts_of(rows)), size)

        found[_("TF-IDF + logistic regression")] = of_words
        read = [texts[i] for i in kept]
        return found | boosting.of_texts(read, known, len(classes), texts_of, seed, embed)
    inputs, asked = plain_inputs(train, spec), functools.partial(plain_inputs, spec=spec)

    def of_features() -> Fitted:
        linear, size = logistic(inputs, label, classes)
        return Fitted(lambda rows: linear(asked(rows)), size)

    found[_("logistic regression")] = of_features
    if spec.modality == "features":
        found |= boosting.of_tables(inputs[kept], known, len(classes), asked, seed)
    return found


def plain_inputs(dataset: Dataset, spec: Spec) -> np.ndarray:
    """What a linear model reads of pictures, features or sounds [n, …]; of sounds the mean and deviation of
    each band of frequencies."""
    inputs = stack(dataset, spec).inputs
    if spec.modality != "audio":
        return inputs
    seen = log_mel(inputs, spec.rate, **frames_of(spec.rate))
    return np.concatenate([seen.mean(1), seen.std(1)], axis=1)


def logistic(
    known: np.ndarray, train_labels: Iterable[int], classes: Sequence[str]
) -> tuple[Callable[[np.ndarray], np.ndarray], int]:
    """Softmax regression on pictures or features [n, …], each standardised by the training rows: what answers
    others with f32 [n, c], and how many numbers it holds.

    A missing value counts as the mean. With one class to learn from it falls back to :func:`majority`.
    """
    train_labels = list(train_labels)
    kept, label = _labelled(train_labels, classes)
    if len(np.unique(label)) < 2:
        return (lambda asked: majority(train_labels, len(asked), classes)), len(classes)
    model = make_pipeline(
        StandardScaler(), SimpleImputer(keep_empty_features=True), LogisticRegression(max_iter=300)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # far enough for a baseline
        model.fit(_flat(known[kept]), label)

    def answer(asked: np.ndarray) -> np.ndarray:
        probability = np.zeros((len(asked), len(classes)), np.float32)
        if len(asked):
            probability[:, model.classes_] = model.predict_proba(_flat(asked))
        return probability

    return answer, model[-1].coef_.size + model[-1].intercept_.size


def _flat(inputs: np.ndarray) -> np.ndarray:
    return np.asarray(inputs, np.float64).reshape(len(inputs), -1)


def majority(train_labels: Iterable[int], n: int, classes: Sequence[str]) -> np.ndarray:
    """The class shares of the labelled training rows for each of ``n`` rows, f32 [n, c]: always the same
    guess."""
    share = np.bincount(_labelled(train_labels, classes)[1], minlength=len(classes)).astype(np.float64)
    return np.tile((share / share.sum()).astype(np.float32), (n, 1))


def tfidf_logistic(
    train_texts: Sequence[str],
    train_labels: Iterable[int],
    texts: Sequence[str],
    classes: Sequence[str],
    seed: int = 0,
) -> np.ndarray:
    """Logistic regression, one class against the rest, on sublinear TF-IDF; f32 [n, c] for ``texts``.

    Features are words and word pairs, or 1 to 3 characters where most letters are of a script written without
    spaces (Chinese, Japanese, Thai). The regularisation is chosen by macro-F1 in 3-fold cross-validation on
    training rows (on a sample of them where they are many). Texts are read up to 20,000 characters. With
    nothing to learn from (one class, no word), it falls back to :func:`majority`.
    """
    return _tfidf_logistic(train_texts, train_labels, classes, seed)[0](texts)


def _tfidf_logistic(
    train_texts: Sequence[str], train_labels: Iterable[int], classes: Sequence[str], seed: int
) -> tuple[Callable[[Sequence[str]], np.ndarray], int]:
    """What answers texts as :func:`tfidf_logistic` says, and how many numbers it holds."""
    train_labels = list(train_labels)
    kept, label = _labelled(train_labels, classes)
    known = [train_texts[i][:LONGEST] for i in kept]

    def constant(texts: Sequence[str]) -> np.ndarray:
        return majority(train_labels, len(texts), classes)

    if len(np.unique(label)) < 2:
        return constant, len(classes)
    weigh = vectorizer(known, len(classes))
    try:
        features = weigh.fit_transform(known)
    except ValueError:  # scikit-learn's word for an empty vocabulary
        return constant, len(classes)
    model = _model(_strength(features, label, seed), seed).fit(features, label)

    def answer(texts: Sequence[str]) -> np.ndarray:
        probability = np.zeros((len(texts), len(classes)), np.float32)
        if len(texts):
            read = weigh.transform([text[:LONGEST] for text in texts])
            probability[:, model.classes_] = model.predict_proba(read)
        return probability

    size = features.shape[1]
    return answer, len(model.estimators_) * (size + 1) + size


def _labelled(labels: Iterable[int], classes: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Positions and class ids of the labelled rows."""
    label = np.asarray(list(labels), np.int64)
    if label.size and label.max() >= len(classes):
        raise DataError(
            _("Training label {label} is out of range: there are {n_classes} classes."),
            label=label.max(),
            n_classes=len(classes),
        )
    kept = np.flatnonzero(label >= 0)
    if not kept.size:
        raise DataError(
            _("A baseline needs labelled training rows; none of the {n} has a label."), n=label.size
        )
    return kept, label[kept]


def _model(strength: float, seed: int) -> OneVsRestClassifier:
    # On sparse text liblinear is several times faster than lbfgs and as good; 0.01 is its own default
    # tolerance.
    linear = LogisticRegression(C=strength, solver="liblinear", tol=0.01, max_iter=1000, random_state=seed)
    return OneVsRestClassifier(linear)


def _strength(features: Any, label: np.ndarray, seed: int) -> float:
    """The inverse regularisation with the best macro-F1 in 3 folds, on a sample of the rows where they are
    many."""
    size = np.bincount(label)
    rows = np.random.default_rng(seed).permutation(np.flatnonzero(size[label] >= 3))
    rows = rows[: max(1, len(label) * _SEARCHED // (features.nnz * max(1, len(np.unique(label)) - 1)))]
    rows = rows[
        np.bincount(label[rows], minlength=len(size))[label[rows]] >= 3
    ]  # every fold trains on every class
    if len(np.unique(label[rows])) < 2:
        return 16.0
    features, label = features[rows], label[rows]
    guess = {strength: np.empty_like(label) for strength in _STRENGTHS}
    for train, test in StratifiedKFold(3, shuffle=True, random_state=seed).split(features, label):
        for strength, found in guess.items():
            found[test] = _model(strength, seed).fit(features[train], label[train]).predict(features[test])
    return max(guess, key=lambda strength: f1_score(label, guess[strength], average="macro"))


def texts_of(split: Any) -> list[str]:
    columns = getattr(split, "column_names", None) or list(split.keys())
    first = _column(split, "text")
    if "text_pair" not in columns:
        return first
    return [f"{text}\n{pair}" for text, pair in zip(first, _column(split, "text_pair"), strict=True)]


def _length(split: Any) -> int:
    return len(_column(split, "row"))


def _column(split: Dataset | Mapping[str, Any], name: str) -> list[Any]:
    return list(split[name])
