"""Poisson-sampled batches in one static shape, for differentially private training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from labkit.data.batching.arrays import ArrayBatches
from labkit.data.batching.base import Batch, Batches
from labkit.data.batching.buckets import BucketBatches


class PoissonBatches(Batches):
    """Batches of which every row is a member independently of the others, with probability ``batch_size / rows``.

    A batch has ``largest`` places; those that no row fills have index -1 and weight 0. Where more rows than
    that are drawn, a uniformly random subset of ``largest`` of them is the batch. A batch may be empty. The
    rows of a step are a pure function of ``words`` and the step.

    Args:
        source: batches of the same rows, of one shape; its order is not used.
        words: secret random words of 32 bits that decide which rows are drawn.
        largest: places of a batch.
    """

    def __init__(self, source: ArrayBatches | BucketBatches, words: Sequence[int], largest: int):
        self._inner, self._words, self.largest = source, tuple(words), largest
        self._rows, self._source = source.members, source._source
        self.batch_size, self.seed, self.shuffle = source.batch_size, source.seed, True
        self.examples, self.plans = source.examples, {}
        self.rate = min(1.0, self.batch_size / max(1, self.examples))

    @property
    def steps_per_epoch(self) -> int:
        """Steps in which a row is drawn once on average."""
        return -(-self.examples // self.batch_size)

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """The one shape, with room for ``largest`` examples."""
        return [(self.largest, *shape[1:]) for shape in self._inner.shapes]

    @property
    def padding_share(self) -> float:
        """Share of the places that hold no example or token, on average."""
        filled = min(self.batch_size, self.examples) / self.largest
        return 1 - filled * (1 - self._inner.padding_share)

    def at(self, step: int) -> Batch:
        """The batch of any step; the same words and step give the same batch, in any process."""
        return self._batch(None, step)

    def drawn(self, step: int) -> np.ndarray:
        """The rows of a step, i32[m], at most :attr:`largest`."""
        bits = np.random.Philox(np.random.SeedSequence([*self._words, step]))
        raw = bits.random_raw(self.examples)
        if self.rate < 1:
            chosen = np.flatnonzero(raw < np.uint64(int(self.rate * 2**64)))
        else:
            chosen = np.arange(self.examples)
        if len(chosen) > self.largest:  # the smallest of independent numbers are a random subset
            chosen = np.sort(chosen[np.argpartition(raw[chosen], self.largest)[: self.largest]])
        return self._rows[chosen]

    def _planned(self, epoch: int) -> None:
        return None

    def _batch(self, plan: None, place: int) -> Batch:
        index = np.full(self.largest, -1, np.int32)
        rows = self.drawn(place)
        index[: len(rows)] = rows
        return self._inner.gather(index)
