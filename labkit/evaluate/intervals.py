"""Bootstrap confidence intervals of classification scores.

 Resampling n rows with replacement and counting them again is one multinomial draw over the cells of the
count table, so the draws below are exactly the nonparametric bootstrap (Efron 1979) of every score made of
counts, at a cost that does not grow with n.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from scipy.sparse import csr_matrix
from scipy.stats import norm

from labkit.tasks.metrics import summary

Interval = tuple[float, float]
_DRAWN_AT_ONCE = 2**22  # counts held at a time: 32 MB


def bootstrap(
    confusion: np.ndarray, *, resamples: int = 1000, level: float = 0.95, seed: int = 0
) -> dict[str, Interval]:
    """Percentile intervals of every score of :func:`~labkit.tasks.metrics.scores`, from a confusion matrix
    [c, c].

    Name → (low, high); NaN where the matrix is empty. The same seed gives the same intervals. A score of 0 or
    1 in every resample gets Wilson's interval, see :func:`or_wilson`.
    """
    confusion = np.asarray(confusion)
    truth, predicted = np.nonzero(confusion)
    counts = confusion[truth, predicted]
    found = _intervals(counts, _scorer(truth, predicted, counts, len(confusion)), resamples, level, seed)
    support = confusion.sum(1)
    whole, each = float(support.sum()), support[support > 0]
    average = (
        len(each) ** 2 / (1 / each).sum() if len(each) else 0.0
    )  # rows of equal variance for a macro average
    return {
        name: or_wilson(edges, whole if name == "accuracy" else average, level)
        for name, edges in found.items()
    }


def or_wilson(interval: Interval, rows: float, level: float = 0.95) -> Interval:
    """An interval of a score from 0 to 1; Wilson's (1927) where every resample of the rows scores 0 or 1.

    The bootstrap has nothing to resample where no row is wrong, or none is right. Wilson's interval is
    honest then: 56 of 56 right gives 0.936 to 1.
    """
    low, high = interval
    if low != high or low not in (0.0, 1.0) or rows <= 0:
        return interval
    width = norm.ppf(0.5 + level / 2) ** 2
    return (rows / (rows + width), 1.0) if low else (0.0, width / (rows + width))


def difference(
    truth: np.ndarray,
    predicted: np.ndarray,
    other: np.ndarray,
    classes: int,
    *,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Interval]:
    """Paired intervals of score(predicted) - score(other), both on the same rows; all three are int [n].

    A resampled row brings both predictions along, so what is hard for both cancels and the interval is
    narrower than two separate ones would suggest.
    """
    triples, counts = np.unique(
        np.stack([truth, predicted, other]).astype(np.int64), axis=1, return_counts=True
    )
    ours = _scorer(triples[0], triples[1], counts, classes)
    theirs = _scorer(triples[0], triples[2], counts, classes)

    def score(draws: np.ndarray) -> dict[str, np.ndarray]:
        base = theirs(draws)
        return {name: value - base[name] for name, value in ours(draws).items()}

    return _intervals(counts, score, resamples, level, seed)


def of_means(
    values: Mapping[str, np.ndarray], *, resamples: int = 1000, level: float = 0.95, seed: int = 0
) -> dict[str, Interval]:
    """Percentile intervals of the means of some values of rows, each [n]; NaN where there are none."""
    table = np.stack([np.asarray(each, np.float64) for each in values.values()], axis=1)

    def score(draws: np.ndarray) -> dict[str, np.ndarray]:
        return dict(zip(values, (draws @ table / max(len(table), 1)).T, strict=True))

    return _intervals(np.ones(len(table), np.int64), score, resamples, level, seed)


Score = Callable[[np.ndarray], dict[str, np.ndarray]]


def _scorer(truth: np.ndarray, predicted: np.ndarray, counts: np.ndarray, classes: int) -> Score:
    """Scores of draws [r, k], where cell k holds rows of class ``truth[k]`` predicted as ``predicted[k]``;
    ``counts`` [k] are those of all rows."""
    by_truth = _grouping(truth, classes, np.ones(len(truth), bool))
    by_predicted = _grouping(predicted, classes, np.ones(len(truth), bool))
    by_hit = _grouping(truth, classes, truth == predicted)
    whole = (counts @ by_hit, counts @ by_truth, counts @ by_predicted)
    return lambda draws: summary(draws @ by_hit, draws @ by_truth, draws @ by_predicted, whole)


def _grouping(group: np.ndarray, groups: int, kept: np.ndarray) -> csr_matrix:
    """The sparse [k, groups] matrix that sums cells into their group."""
    return csr_matrix((kept.astype(np.int64), (np.arange(len(group)), group)), shape=(len(group), groups))


def _intervals(
    counts: np.ndarray, score: Score, resamples: int, level: float, seed: int
) -> dict[str, Interval]:
    total = int(counts.sum())
    if total == 0:
        return {name: (float("nan"), float("nan")) for name in score(np.zeros((1, len(counts)), np.int64))}
    random, share = np.random.default_rng(seed), counts / total
    at_once = max(1, _DRAWN_AT_ONCE // len(counts))
    parts = [
        score(random.multinomial(total, share, size=min(at_once, resamples - start)))
        for start in range(0, resamples, at_once)
    ]
    edges = [50 * (1 - level), 50 * (1 + level)]
    drawn = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return {name: _edges(values, edges) for name, values in drawn.items()}


def _edges(values: np.ndarray, percent: list[float]) -> Interval:
    low, high = np.percentile(values, percent)
    return float(low), float(high)


def percentiles(values: np.ndarray) -> Interval:
    """The middle 95 % of resamples [r]."""
    return _edges(values, [2.5, 97.5])


def finite_percentiles(values: np.ndarray) -> Interval:
    """As :func:`percentiles`, without the resamples that have no score (NaN); NaN where none has one."""
    if not np.isfinite(values).any():
        return float("nan"), float("nan")
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return float(low), float(high)
