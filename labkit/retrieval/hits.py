"""What a search finds: passages with rank and score."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from labkit.core import html
from labkit.core.text import one_line
from labkit.i18n import _
from labkit.retrieval.passages import Passage

#: (query, passages) → their relevance f64[n], greater is better.
Reranker = Callable[[str, Sequence[str]], np.ndarray]


@dataclass(frozen=True)
class Hit:
    """A passage that was found: its ``place`` in the index, ``rank`` from 1, and ``score`` of the method."""

    passage: Passage
    place: int
    rank: int
    score: float


class Hits(list[Hit]):
    """The hits of a query, the best first; ``query`` and ``method``."""

    def __init__(self, found: Sequence[Hit], query: str, method: str):
        super().__init__(found)
        self.query, self.method = query, method

    def __repr__(self) -> str:
        lines = [
            f"{hit.rank}. {hit.score:.3f}  {hit.passage.place}: {one_line(hit.passage.text)[:160]}"
            for hit in self
        ]
        return "\n".join(lines) or str(_("Nothing was found."))

    def _repr_html_(self) -> str:
        lines = [[hit.rank, f"{hit.score:.3f}", hit.passage.place, hit.passage.text] for hit in self]
        return html.page(self.query, html.table(("", "", "", ""), lines, numeric=(0, 1), limit=400))
