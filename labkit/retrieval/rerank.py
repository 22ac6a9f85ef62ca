"""Re-ranking by a cross-encoder: a model of text pairs reads query and passage together (Nogueira & Cho 2019)."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from labkit.core.errors import ConfigError
from labkit.i18n import _
from labkit.inference.predictor import Predictor
from labkit.retrieval.hits import Reranker
from labkit.retrieval.index import SearchIndex
from labkit.tasks.base import ProblemType

RELEVANT, OTHER = "relevant", "other"


def cross_encoder(predictor: Predictor, relevant: str | None = None) -> Reranker:
    """A function for ``rerank=`` of :meth:`SearchIndex.search`, from a model of pairs (query, passage).

    Args:
        predictor: of a classifier or a regression of text pairs, such as ``run.predictor``.
        relevant: class whose probability orders the passages. Default: "relevant", or the only number.

    Raises:
        ConfigError: the classifier has no such class.
    """
    classes = list(predictor.classes)
    place = 0
    if predictor.problem_type is not ProblemType.NUMBER:
        name = RELEVANT if relevant is None else relevant
        if name not in classes:
            raise ConfigError(
                _("the model has no class {name!r}; it has {classes}. Give relevant=."), name=name,
                classes=", ".join(classes),
            )  # fmt: skip
        place = classes.index(name)

    def score(query: str, texts: Sequence[str]) -> np.ndarray:
        if not texts:
            return np.zeros(0)
        return predictor.probabilities([query] * len(texts), list(texts))[:, place]

    return score


def pairs(
    index: SearchIndex,
    queries: Sequence[str],
    relevant: Sequence[Collection[int]],
    positives: int = 4,
    negatives: int = 4,
    seed: int = 0,
) -> list[dict[str, str]]:
    """Training rows for a cross-encoder: queries with relevant and other passages among the 50 that the search finds.

    Both kinds are drawn from the candidates that will be ordered. Were the positives any relevant passages and the
    negatives the first hits, the model would learn that what is similar to the query is wrong.

    Args:
        index: the passages.
        queries, relevant: as for :meth:`SearchIndex.evaluate`.
        positives, negatives: rows of each kind for a query at most. A query none of whose relevant passages is among
            the candidates gets one of the others.
        seed: which are drawn.

    Returns:
        Rows with ``text`` (query), ``text_pair`` (passage), ``label`` ("relevant" or "other") and ``group`` (query).
    """
    random, rows = np.random.default_rng(seed), list[dict[str, str]]()
    for query, right in zip(queries, relevant, strict=True):
        found = index.rank(query, 50)[0].tolist()
        good = [place for place in found if place in right] or random.permutation(sorted(right))[:1].tolist()
        bad = [place for place in found if place not in right]
        chosen = [(place, RELEVANT) for place in random.permutation(good)[:positives].tolist()]
        chosen += [(place, OTHER) for place in random.permutation(bad)[:negatives].tolist()]
        rows += [
            {"text": query, "text_pair": index.passages[place].text, "label": label, "group": query}
            for place, label in chosen
        ]
    return rows
