"""Baselines for multi-label and regression: constant prediction, linear model and gradient boosting."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from labkit.core.errors import DataError
from labkit.data.schema import Spec
from labkit.data.targets import targets_of
from labkit.evaluate.baselines import plain_inputs, texts_of
from labkit.evaluate.boosting import (
    LONGEST,
    Fitted,
    Maker,
    TextVectors,
    boosted,
    boosted_numbers,
    fitted,
    on_vectors,
    vectorizer,
)
from labkit.i18n import _

if TYPE_CHECKING:
    from datasets import Dataset
    from numpy.typing import ArrayLike

#: Strengths of the penalty that ridge regression chooses from, by leaving one row out at a time.
PENALTIES = np.logspace(-3, 4, 15)


def answers(train: Dataset, test: Dataset, spec: Spec) -> dict[str, np.ndarray]:
    """What the baselines answer for the rows of ``test``, having learnt from ``train``, each [n, k]: shares
    f32, numbers f64; see :func:`fit`."""
    return {name: each.answer(test) for name, each in fit(train, spec).items()}


def fit(train: Dataset, spec: Spec, seed: int = 0) -> dict[str, Fitted]:
    """All baselines of several labels or numbers, fitted on ``train``, by name; see :func:`makers`."""
    return fitted(makers(train, spec, seed))


def makers(train: Dataset, spec: Spec, seed: int = 0) -> dict[str, Maker]:
    """What fits each baseline of several labels or numbers on ``train``, by name.

    Several labels: how often each applies, a logistic regression for each, and gradient boosting for each;
    numbers: their mean, ridge regression (Hoerl & Kennard 1970), and gradient boosting. The linear models
    read TF-IDF of texts, or standardised features; boosting reads tables and the components of texts.

    Raises:
        DataError: no training row has a target.
    """
    target, kept = targets_of(train), np.flatnonzero(np.asarray(train["label"]) >= 0)
    if target is None or not len(kept):
        raise DataError(_("a baseline needs training rows with targets; there are none."))
    target, text, known = target[kept].astype(np.float64), spec.modality == "text", train.select(kept)
    several = spec.problem_type == "labels"
    share, kind = target.mean(0), np.float32 if several else np.float64
    boost = _boosted_labels if several else boosted_numbers

    def constant() -> Fitted:
        return Fitted(lambda rows: np.tile(share, (len(rows), 1)).astype(kind), len(share))

    def linear() -> Fitted:
        read = _reader(known, spec)
        if read is None:
            return constant()
        learnt, size = (_logistics if several else _ridge)(read(known), target)
        return Fitted(lambda rows: learnt(read(rows)).astype(kind), size)

    def boosting() -> Fitted | None:
        if not text:
            found: Fitted | None = boost(_inputs(known, spec), target, seed)
        else:
            texts = texts_of(known)
            learn = lambda inputs: boost(inputs, target, seed)  # noqa: E731
            found = on_vectors(TextVectors(texts, 2, seed), learn, texts, texts_of)
        if found is None:
            return None
        answer = found.answer if text else lambda rows: found.answer(_inputs(rows, spec))
        return Fitted(lambda rows: answer(rows).astype(kind), found.parameters)

    names = (_("share of each label"), _("TF-IDF + logistic regression"), _("logistic regression"))
    if not several:
        names = (_("mean"), _("TF-IDF + ridge regression"), _("ridge regression"))
    made: dict[str, Maker] = {names[0]: constant, names[1] if text else names[2]: linear}
    if text:
        made[_("TF-IDF + SVD + gradient boosting")] = boosting
    elif spec.modality == "features":
        made[_("gradient boosting")] = boosting
    return made


def _inputs(rows: Dataset, spec: Spec) -> np.ndarray:
    return plain_inputs(rows, spec).reshape(len(rows), -1).astype(np.float64)


def _reader(known: Dataset, spec: Spec) -> Callable[[Dataset], Any] | None:
    """What turns rows into what a linear model reads, fitted on training rows; None without any word."""
    if spec.modality != "text":
        ready = make_pipeline(StandardScaler(), SimpleImputer(keep_empty_features=True))
        ready.fit(_inputs(known, spec))
        return lambda rows: ready.transform(_inputs(rows, spec))
    texts = [text[:LONGEST] for text in texts_of(known)]
    weigh = vectorizer(texts, 2)
    try:
        weigh.fit(texts)
    except ValueError:  # scikit-learn's word for an empty vocabulary
        return None
    return lambda rows: weigh.transform([text[:LONGEST] for text in texts_of(rows)])


def _boosted_labels(inputs: np.ndarray, target: np.ndarray, seed: int) -> Fitted:
    """Gradient boosting for each label; the share of those that apply to all rows, or to none."""
    share = target.mean(0)
    learnt = {
        int(place): boosted(inputs, (target[:, place] > 0.5).astype(np.int64), 2, seed)
        for place in np.flatnonzero((target.min(0) < 0.5) & (target.max(0) > 0.5))
    }

    def answer(asked: np.ndarray) -> np.ndarray:
        found = np.tile(share, (len(asked), 1))
        for place, each in learnt.items():
            found[:, place] = each.answer(asked)[:, 1]
        return found

    return Fitted(answer, sum(each.parameters for each in learnt.values()))


def _logistics(known: ArrayLike, target: np.ndarray) -> tuple[Callable[[Any], np.ndarray], int]:
    """A logistic regression for each label; the share of those that apply to all rows, or to none."""
    share, learnt = target.mean(0), {}
    for place in np.flatnonzero((target.min(0) < 0.5) & (target.max(0) > 0.5)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # far enough for a baseline
            model = LogisticRegression(C=4.0, max_iter=300)
            learnt[int(place)] = model.fit(known, target[:, place] > 0.5)

    def answer(asked: Any) -> np.ndarray:
        found = np.tile(share, (asked.shape[0], 1))
        for place, each in learnt.items():
            if asked.shape[0]:
                found[:, place] = each.predict_proba(asked)[:, 1]
        return found

    return answer, sum(each.coef_.size + 1 for each in learnt.values())


def _ridge(known: ArrayLike, target: np.ndarray) -> tuple[Callable[[Any], np.ndarray], int]:
    """Ridge regression on the numbers, each standardised, so that one penalty suits all."""
    middle, spread = target.mean(0), np.where(target.std(0) > 0, target.std(0), 1)
    model = RidgeCV(PENALTIES).fit(known, (target - middle) / spread)
    width = target.shape[1]
    return lambda asked: model.predict(asked).reshape(-1, width) * spread + middle, model.coef_.size + width
