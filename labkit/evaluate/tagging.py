"""Scores of tagged words: accuracy, and precision, recall and F1 of entities, with intervals by sentence; the most
frequent tag of each word as baseline."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence

import numpy as np

from labkit.data.tags import are_entities, entities
from labkit.evaluate.intervals import Interval, or_wilson

RESAMPLES = 1000
_DRAWN_AT_ONCE = 2**22
Tags = Sequence[Sequence[str]]
Score = Callable[[np.ndarray], dict[str, np.ndarray]]


def counted(truth: Tags, predicted: Tags) -> np.ndarray:
    """Of each sentence its words, those with the right tag, and its entities: found and right, found, and true; i64
    [n, 5]. An entity is right where its words and its type are, as in conlleval and seqeval."""
    lines = []
    for right, given in zip(truth, predicted, strict=True):
        there, found = set(entities(right)), set(entities(given))
        same = sum(one == other for one, other in zip(right, given, strict=True))
        lines.append((len(right), same, len(there & found), len(found), len(there)))
    return np.array(lines, np.int64).reshape(-1, 5)


def rates(sums: np.ndarray, of_entities: bool) -> dict[str, np.ndarray]:
    """Scores [r] from sums over sentences [r, 5]: 0 where nothing is found or sought."""
    words, same, right, found, there = np.asarray(sums, np.float64).T
    scores = {"accuracy": same / np.maximum(words, 1)}
    if of_entities:
        scores["entity_precision"] = right / np.maximum(found, 1)
        scores["entity_recall"] = right / np.maximum(there, 1)
        scores["entity_f1"] = 2 * right / np.maximum(found + there, 1)
    return scores


def tag_scores(
    truth: Tags, predicted: Tags, baseline: Tags | None = None, seed: int = 0
) -> tuple[dict[str, float], dict[str, Interval]]:
    """Scores and their 95 % intervals, from 1,000 resamples of the sentences (Efron 1979): words of one sentence are
    not independent.

    With a ``baseline``, also its scores (``baseline_…``) and what the model gains on it (``…_gain``, paired: both on
    the same resamples).
    """
    of_entities = are_entities({tag for each in truth for tag in each})
    mine = counted(truth, predicted)
    other = None if baseline is None else counted(truth, baseline)

    def score(weights: np.ndarray) -> dict[str, np.ndarray]:
        found = rates(weights @ mine, of_entities)
        if other is None:
            return found
        theirs = rates(weights @ other, of_entities)
        main = ("accuracy", "entity_f1")
        against = {f"baseline_{name}": theirs[name] for name in main if name in theirs}
        return (
            found | against | {f"{name}_gain": found[name] - theirs[name] for name in main if name in theirs}
        )

    rows = len(mine)
    values = {name: float(value[0]) for name, value in score(np.ones((1, rows))).items()}
    if not rows:
        return values, dict.fromkeys(values, (float("nan"), float("nan")))
    random, at_once = np.random.default_rng(seed), max(1, _DRAWN_AT_ONCE // rows)
    parts = [
        score(random.multinomial(rows, np.full(rows, 1 / rows), size=min(at_once, RESAMPLES - start)))
        for start in range(0, RESAMPLES, at_once)
    ]
    intervals: dict[str, Interval] = {}
    for name in values:
        low, high = np.percentile(np.concatenate([part[name] for part in parts]), [2.5, 97.5])
        edges = float(low), float(high)
        intervals[name] = edges if name.endswith("_gain") else or_wilson(edges, rows)
    return values, intervals


class FrequentTags:
    """The most frequent tag of each word in the training rows; of other words the most frequent of all.

    Among equally frequent tags it is the first by name.
    """

    def __init__(self, words: Tags, tags: Tags):
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        for sentence, given in zip(words, tags, strict=True):
            for word, tag in zip(sentence, given, strict=True):
                counts[word][tag] += 1
        whole: Counter[str] = Counter()
        for each in counts.values():
            whole.update(each)
        self._usual = _most(whole)
        self._of = {word: _most(each) for word, each in counts.items()}

    def __call__(self, words: Tags) -> list[list[str]]:
        """The tags of sentences."""
        return [[self._of.get(word, self._usual) for word in sentence] for sentence in words]


def _most(counts: Counter[str]) -> str:
    return min(counts, key=lambda tag: (-counts[tag], tag)) if counts else ""
