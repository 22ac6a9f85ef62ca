"""Evaluation of a search: NDCG@10, Recall@100 and MRR@10 with intervals over queries, and paired gains."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import cached_property

import numpy as np
import pandas as pd

from labkit.core import html
from labkit.core.errors import DataError
from labkit.evaluate.intervals import Interval, of_means
from labkit.i18n import _

METRICS = ("ndcg@10", "recall@100", "mrr@10")


def ndcg(found: Sequence[int], relevant: Collection[int], top: int = 10) -> float:
    """Normalised discounted cumulative gain of a ranking (Järvelin & Kekäläinen 2002): 1 where all that is relevant
    comes first."""
    gains = [place in relevant for place in found[:top]]
    discounts = 1 / np.log2(np.arange(2, top + 2))
    return float(
        discounts[: len(gains)] @ np.asarray(gains, float) / discounts[: min(len(relevant), top)].sum()
    )


def recall(found: Sequence[int], relevant: Collection[int], top: int = 100) -> float:
    """Share of what is relevant among the first ``top``."""
    return len(set(found[:top]) & set(relevant)) / len(relevant)


def reciprocal_rank(found: Sequence[int], relevant: Collection[int], top: int = 10) -> float:
    """1 ÷ the rank of the first relevant passage; 0 where none is among the first ``top``."""
    return next((1 / rank for rank, place in enumerate(found[:top], 1) if place in relevant), 0.0)


class RetrievalReport:
    """Scores of one or several rankings for the same queries.

    Args:
        rankings: name of a method → for each query the places of passages, the best first.
        relevant: for each query the places of the relevant passages, at least one.
        queries: their texts.

    Raises:
        DataError: no queries, one without a relevant passage, or numbers that differ.
    """

    def __init__(
        self,
        rankings: Mapping[str, Sequence[Sequence[int]]],
        relevant: Sequence[Collection[int]],
        queries: Sequence[str] = (),
    ):
        self.rankings = {name: [list(map(int, one)) for one in each] for name, each in rankings.items()}
        self.relevant, self.queries = [set(map(int, one)) for one in relevant], list(queries)
        if not self.relevant or any(len(each) != len(self.relevant) for each in self.rankings.values()):
            raise DataError(_("as many rankings as queries are needed, and at least one query."))
        if empty := [number for number, one in enumerate(self.relevant) if not one]:
            raise DataError(_("query {number} has no relevant passage."), number=empty[0])

    @cached_property
    def each(self) -> dict[tuple[str, str], np.ndarray]:
        """(method, metric) → the score of every query."""
        of = {"ndcg@10": ndcg, "recall@100": recall, "mrr@10": reciprocal_rank}
        return {
            (name, metric): np.asarray([of[metric](*pair) for pair in zip(each, self.relevant, strict=True)])
            for name, each in self.rankings.items()
            for metric in METRICS
        }

    def score(self, method: str, metric: str = "ndcg@10") -> float:
        """Mean over queries."""
        return float(self._of(method, metric).mean())

    def interval(self, method: str, metric: str = "ndcg@10") -> Interval:
        """95 % bootstrap interval over queries."""
        return of_means({"": self._of(method, metric)})[""]

    def gain(self, method: str, other: str, metric: str = "ndcg@10") -> tuple[float, float, float]:
        """Score of a method less that of another on the same queries, with its paired 95 % interval."""
        difference = self._of(method, metric) - self._of(other, metric)
        return (float(difference.mean()), *of_means({"": difference})[""])

    def table(self) -> pd.DataFrame:
        """A line for each method: scores and intervals."""
        lines = []
        for name in self.rankings:
            line: dict[str, object] = {"method": name}
            for metric in METRICS:
                low, high = self.interval(name, metric)
                line |= {metric: self.score(name, metric), f"{metric} low": low, f"{metric} high": high}
            lines.append(line)
        return pd.DataFrame(lines)

    def __repr__(self) -> str:
        told = str(_("Search report: {queries:,} queries", queries=len(self.relevant)))
        return f"{told}\n{self.table().round(3).to_string(index=False)}"

    def _repr_html_(self) -> str:
        table = self.table().round(3)
        lines = html.table(list(table.columns), table.to_numpy().tolist(), numeric=range(1, table.shape[1]))
        return html.page(repr(self).split("\n")[0], lines)

    def _of(self, method: str, metric: str) -> np.ndarray:
        if (method, metric) not in self.each:
            raise DataError(
                _("no scores of {method!r} by {metric!r}. Methods: {methods}; metrics: {metrics}."),
                method=method, metric=metric, methods=", ".join(self.rankings), metrics=", ".join(METRICS),
            )  # fmt: skip
        return self.each[method, metric]
