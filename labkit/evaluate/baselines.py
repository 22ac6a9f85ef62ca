"""Baselines of classifiers: the most frequent class, and a linear model on TF-IDF or features.

Both return probabilities f32 [n, c] over all classes of the data; a class without training rows gets 0.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import TfidfVectorizer
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
from labkit.evaluate.report import ClassificationReport
from labkit.i18n import _

if TYPE_CHECKING:
    from datasets import Dataset

# Thai to Lao, Burmese, Khmer, kana, Han: scripts that put no space between words
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)
LONGEST = 20_000  # characters of a text that are read, far beyond what an encoder sees
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
) -> dict[str, ClassificationReport]:
    """Reports of both baselines, fitted on ``train`` and evaluated on ``test``.

    ``train`` and ``test`` are ``datasets.Dataset`` splits (or mappings of columns) with ``text``, ``label``
    (int,
    -1 = unlabelled), ``row`` and, for pairs, ``text_pair``; or, where ``spec`` says so, with pictures or features.
    Raises DataError when ``train`` has no labelled row.
    """
    label, truth = (np.asarray(_column(part, "label"), np.int64) for part in (train, test))
    scored = None
    if spec is None or spec.modality == "text":
        texts, scored = texts_of(train), texts_of(test)
        linear = {_("TF-IDF + logistic regression"): tfidf_logistic(texts, label, scored, classes, seed)}
    else:
        known, asked = (plain_inputs(part, spec) for part in (train, test))
        linear = {_("logistic regression"): logistic(known, label, asked, classes)}
    seen, rows = np.unique(label[label >= 0]).tolist(), _column(test, "row")
    return {
        name: ClassificationReport(
            classes, truth, probability, scored, rows, split=split, seed=seed, seen=seen
        )
        for name, probability in {_("majority class"): majority(label, len(truth), classes), **linear}.items()
    }


def plain_inputs(dataset: Dataset, spec: Spec) -> np.ndarray:
    """What a linear model reads of pictures, features or sounds [n, …]; of sounds the mean and deviation of
    each band of frequencies."""
    inputs = stack(dataset, spec).inputs
    if spec.modality != "audio":
        return inputs
    seen = log_mel(inputs, spec.rate, **frames_of(spec.rate))
    return np.concatenate([seen.mean(1), seen.std(1)], axis=1)


def logistic(
    known: np.ndarray, train_labels: Iterable[int], asked: np.ndarray, classes: Sequence[str]
) -> np.ndarray:
    """Softmax regression on pictures or features [n, …], each standardised by the training rows; f32 [n, c].

    A missing value counts as the mean. With one class to learn from it falls back to :func:`majority`.
    """
    kept, label = _labelled(train_labels, classes)
    if not len(asked) or len(np.unique(label)) < 2:
        return majority(label, len(asked), classes)
    flat = [np.asarray(part, np.float64).reshape(len(part), -1) for part in (known[kept], asked)]
    model = make_pipeline(
        StandardScaler(), SimpleImputer(keep_empty_features=True), LogisticRegression(max_iter=300)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # far enough for a baseline
        model.fit(flat[0], label)
    probability = np.zeros((len(asked), len(classes)), np.float32)
    probability[:, model.classes_] = model.predict_proba(flat[1])
    return probability


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
    kept, label = _labelled(train_labels, classes)
    known = [train_texts[i][:LONGEST] for i in kept]
    if not len(texts) or len(np.unique(label)) < 2:
        return majority(label, len(texts), classes)
    weigh = vectorizer(known, len(classes))
    try:
        features = weigh.fit_transform(known)
    except ValueError:  # scikit-learn's word for an empty vocabulary
        return majority(label, len(texts), classes)
    model = _model(_strength(features, label, seed), seed).fit(features, label)
    probability = np.zeros((len(texts), len(classes)), np.float32)
    probability[:, model.classes_] = model.predict_proba(weigh.transform([text[:LONGEST] for text in texts]))
    return probability


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


def vectorizer(texts: Sequence[str], classes: int) -> TfidfVectorizer:
    unspaced = letters = 0
    for text in texts[:1000]:
        start = text[:1000]
        unspaced += len(_UNSPACED.findall(start))
        letters += sum(map(str.isalpha, start))
    # the default token pattern drops words of one character
    features: dict[str, Any] = {"ngram_range": (1, 2), "token_pattern": r"(?u)\b\w+\b"}
    if 2 * unspaced > letters:
        features = {"ngram_range": (1, 3), "analyzer": "char"}
    return TfidfVectorizer(
        sublinear_tf=True,
        min_df=2 if len(texts) > 1000 else 1,
        max_features=min(200_000, 20_000_000 // classes),  # at most 160 MB of coefficients
        **features,
    )


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


def _column(split: Dataset | Mapping[str, Any], name: str) -> list[Any]:
    return list(split[name])
