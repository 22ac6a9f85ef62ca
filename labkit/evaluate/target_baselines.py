"""Baselines for multi-label and regression: constant prediction and linear model."""

from __future__ import annotations

import warnings
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
from labkit.evaluate.baselines import LONGEST, plain_inputs, texts_of, vectorizer
from labkit.i18n import _

if TYPE_CHECKING:
    from datasets import Dataset
    from numpy.typing import ArrayLike

#: Strengths of the penalty that ridge regression chooses from, by leaving one row out at a time.
PENALTIES = np.logspace(-3, 4, 15)


def answers(train: Dataset, test: Dataset, spec: Spec) -> dict[str, np.ndarray]:
    """What the baselines answer for the rows of ``test``, having learnt from ``train``, each [n, k]: shares
    f32, numbers f64.

    Several labels: how often each applies, and a logistic regression for each; numbers: their mean, and ridge
    regression (Hoerl & Kennard 1970). Both linear models read TF-IDF of texts, or standardised features.

    Raises:
        DataError: no training row has a target.
    """
    target, kept = targets_of(train), np.flatnonzero(np.asarray(train["label"]) >= 0)
    if target is None or not len(kept):
        raise DataError(_("a baseline needs training rows with targets; there are none."))
    target = target[kept].astype(np.float64)
    known, asked = _features(train, test, spec, kept)
    constant = np.tile(target.mean(0), (len(test), 1))
    if spec.problem_type == "labels":
        learnt = constant.copy()
        if known is not None:
            for place in np.flatnonzero((target.min(0) < 0.5) & (target.max(0) > 0.5)):
                learnt[:, place] = _logistic(known, target[:, place] > 0.5, asked)
        linear = _("TF-IDF + logistic regression") if spec.modality == "text" else _("logistic regression")
        return {_("share of each label"): constant.astype(np.float32), linear: learnt.astype(np.float32)}
    learnt = constant if known is None else _ridge(known, target, asked)
    linear = _("TF-IDF + ridge regression") if spec.modality == "text" else _("ridge regression")
    return {_("mean"): constant, linear: learnt}


def _features(train: Dataset, test: Dataset, spec: Spec, kept: np.ndarray) -> tuple[Any, Any]:
    """What both linear models read, of the kept training rows and of the rows asked for; None without any
    word."""
    if spec.modality != "text":
        flat = [plain_inputs(part, spec).reshape(len(part), -1).astype(np.float64) for part in (train, test)]
        ready = make_pipeline(StandardScaler(), SimpleImputer(keep_empty_features=True)).fit(flat[0][kept])
        return ready.transform(flat[0][kept]), ready.transform(flat[1])
    texts = texts_of(train)
    known = [texts[int(i)][:LONGEST] for i in kept]
    weigh = vectorizer(known, 2)
    try:
        return weigh.fit_transform(known), weigh.transform([text[:LONGEST] for text in texts_of(test)])
    except ValueError:  # scikit-learn's word for an empty vocabulary
        return None, None


def _logistic(known: ArrayLike, truth: np.ndarray, asked: ArrayLike) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # far enough for a baseline
        return LogisticRegression(C=4.0, max_iter=300).fit(known, truth).predict_proba(asked)[:, 1]


def _ridge(known: ArrayLike, target: np.ndarray, asked: ArrayLike) -> np.ndarray:
    """Ridge regression on the numbers, each standardised, so that one penalty suits all."""
    middle, spread = target.mean(0), np.where(target.std(0) > 0, target.std(0), 1)
    model = RidgeCV(PENALTIES).fit(known, (target - middle) / spread)
    return model.predict(asked).reshape(-1, target.shape[1]) * spread + middle
