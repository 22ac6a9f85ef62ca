"""Baselines that are not linear: gradient boosting, and the nearest neighbours for few labels.

 Gradient boosting is scikit-learn's histogram form (Ke et al., LightGBM, 2017), the usual bar on tables. Texts
become 100 components of their TF-IDF (latent semantic analysis, Deerwester 1990).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.decomposition import TruncatedSVD
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import normalize
from threadpoolctl import threadpool_limits

from labkit.i18n import _

# Thai to Lao, Burmese, Khmer, kana, Han: scripts that put no space between words
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)
LONGEST = 20_000  # characters of a text that are read, far beyond what an encoder sees
#: Components of the TF-IDF of texts.
COMPONENTS = 100
#: Labels up to which they are few, and neighbours that vote.
FEW, NEIGHBOURS = 1000, 5
#: Training rows × features × outputs × trees at most, which take about half a minute; the fewest and most trees.
_WORK, _TREES = 1e9, (20, 100)
#: Leaves of a tree at most.
LEAVES = 31
#: Texts → vectors [n, d], of a pretrained encoder.
Embed = Callable[[Sequence[str]], np.ndarray]


@dataclass(frozen=True)
class Fitted:
    """A baseline fitted on training rows.

    Attributes:
        answer: rows of a split → answers [n, k]: probabilities f32, numbers f64.
        parameters: how many numbers it holds.
    """

    answer: Callable[[Any], np.ndarray]
    parameters: int


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


class TextVectors:
    """Texts as components of their TF-IDF, of length 1; ``fits`` is False where there are too few words."""

    def __init__(self, texts: Sequence[str], classes: int, seed: int):
        known = [text[:LONGEST] for text in texts]
        self._weigh, self.fits = vectorizer(known, classes), True
        try:
            weights = self._weigh.fit_transform(known)
        except ValueError:  # scikit-learn's word for an empty vocabulary
            self.fits = False
            return
        width = min(COMPONENTS, min(weights.shape) - 1)
        self.fits = width >= 2
        if self.fits:
            self._reduce = TruncatedSVD(width, random_state=seed).fit(weights)
            self.parameters = len(self._weigh.idf_) * (1 + width)

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        read = self._weigh.transform([text[:LONGEST] for text in texts])
        return normalize(self._reduce.transform(read))


#: What fits a baseline when it is called; None where these rows have nothing for it to learn from.
Maker = Callable[[], Fitted | None]


def of_texts(
    texts: Sequence[str],
    label: np.ndarray,
    classes: int,
    read: Callable[[Any], Sequence[str]],
    seed: int,
    embed: Embed | None = None,
) -> dict[str, Maker]:
    """Gradient boosting and, for few labels, nearest neighbours on texts of known classes, by name.

    Args:
        texts, label: of the training rows.
        classes: number of classes.
        read: rows of a split → their texts.
        seed: of the components and of the boosting.
        embed: vectors for the neighbours; None: the components of TF-IDF.
    """
    if len(np.unique(label)) < 2:
        return {}
    vectors = functools.cache(lambda: TextVectors(texts, classes, seed))

    def boosting() -> Fitted | None:
        return on_vectors(vectors(), lambda inputs: boosted(inputs, label, classes, seed), texts, read)

    def neighbours() -> Fitted | None:
        if embed is None and not vectors().fits:
            return None
        return nearest(texts, label, classes, read, embed or vectors())

    found: dict[str, Maker] = {_("TF-IDF + SVD + gradient boosting"): boosting}
    return found | ({_("nearest neighbours"): neighbours} if len(texts) <= FEW else {})


def on_vectors(
    vectors: TextVectors,
    learn: Callable[[np.ndarray], Fitted],
    texts: Sequence[str],
    read: Callable[[Any], Sequence[str]],
) -> Fitted | None:
    """What ``learn`` makes of the vectors of texts; None where they have too few words."""
    if not vectors.fits:
        return None
    learnt = learn(vectors(texts))
    return Fitted(lambda rows: learnt.answer(vectors(read(rows))), learnt.parameters + vectors.parameters)


def of_tables(
    inputs: np.ndarray, label: np.ndarray, classes: int, read: Callable[[Any], np.ndarray], seed: int
) -> dict[str, Maker]:
    """Gradient boosting on the features of a table, by name; empty with one class."""
    if len(np.unique(label)) < 2:
        return {}

    def boosting() -> Fitted:
        learnt = boosted(inputs.reshape(len(inputs), -1), label, classes, seed)
        return Fitted(lambda rows: learnt.answer(read(rows)), learnt.parameters)

    return {_("gradient boosting"): boosting}


def fitted(makers: Mapping[str, Maker]) -> dict[str, Fitted]:
    """All baselines that have something to learn from."""
    return {name: found for name, make in makers.items() if (found := make()) is not None}


def boosted(inputs: np.ndarray, label: np.ndarray, classes: int, seed: int) -> Fitted:
    """Gradient boosting on numbers [n, d], where NaN is missing; its answers are f32 [n, classes]."""
    known = np.unique(label)
    outputs = 1 if len(known) < 3 else len(known)
    inputs, label = _within_work(inputs, label, outputs, seed)
    with one_thread():
        model = HistGradientBoostingClassifier(**_settings(inputs, outputs, seed)).fit(inputs, label)

    def answer(asked: np.ndarray) -> np.ndarray:
        probability = np.zeros((len(asked), classes), np.float32)
        if len(asked):
            with one_thread():
                probability[:, model.classes_] = model.predict_proba(asked.reshape(len(asked), -1))
        return probability

    return Fitted(answer, _numbers(model, outputs))


def boosted_numbers(inputs: np.ndarray, target: np.ndarray, seed: int) -> Fitted:
    """Gradient boosting of numbers [n, k], one after the other; its answers are f64 [n, k]."""
    inputs, target = _within_work(inputs, target, target.shape[1], seed)
    settings = _settings(inputs, target.shape[1], seed)
    with one_thread():
        models = [HistGradientBoostingRegressor(**settings).fit(inputs, each) for each in target.T]

    def answer(asked: np.ndarray) -> np.ndarray:
        if not len(asked):
            return np.zeros((0, len(models)))
        with one_thread():
            return np.stack([model.predict(asked.reshape(len(asked), -1)) for model in models], axis=1)

    return Fitted(answer, sum(_numbers(model, 1) for model in models))


def one_thread() -> threadpool_limits:
    """Trees are grown by one thread: where cores are shared, threads that wait for each other by spinning take
    20 times as long."""
    return threadpool_limits(1, "openmp")


def nearest(
    texts: Sequence[str], label: np.ndarray, classes: int, read: Callable[[Any], Sequence[str]], embed: Embed
) -> Fitted:
    """The classes of the nearest texts, by the cosine of their vectors, the nearer the more."""
    vectors = normalize(embed(texts))
    model = KNeighborsClassifier(min(NEIGHBOURS, len(texts)), weights=lambda far: 1 / (far + 0.1))
    model.fit(vectors, label)

    def answer(rows: Any) -> np.ndarray:
        asked = read(rows)
        probability = np.zeros((len(asked), classes), np.float32)
        if len(asked):
            probability[:, model.classes_] = model.predict_proba(normalize(embed(asked)))
        return probability

    return Fitted(answer, vectors.size)


def _within_work(inputs: np.ndarray, target: np.ndarray, outputs: int, seed: int) -> tuple[Any, Any]:
    """All training rows, or a sample of so many that a few trees can be grown from them."""
    most = int(_WORK / (_TREES[0] * max(1, inputs.shape[1]) * outputs))
    if len(inputs) <= most:
        return inputs, target
    rows = np.sort(np.random.default_rng(seed).permutation(len(inputs))[: max(most, 1000)])
    return inputs[rows], target[rows]


def _settings(inputs: np.ndarray, outputs: int, seed: int) -> dict[str, Any]:
    trees = int(np.clip(_WORK / max(1, inputs.size * outputs), *_TREES))
    leaf = int(np.clip(len(inputs) // 20, 1, 20))  # scikit-learn's 20 would never split so few rows
    return {"max_iter": trees, "max_leaf_nodes": LEAVES, "min_samples_leaf": leaf, "random_state": seed}


def _numbers(model: Any, outputs: int) -> int:
    """Numbers in the trees, at most: a feature and a threshold, or a value, for every node."""
    return 2 * (2 * LEAVES - 1) * model.n_iter_ * outputs
