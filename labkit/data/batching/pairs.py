"""Batches of text pairs encoded separately: source and target, or two texts of the same meaning."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from labkit.core.errors import DataError
from labkit.data.batching.base import Batch
from labkit.data.batching.buckets import BucketBatches, gathered
from labkit.data.text.tokens import Tokens
from labkit.i18n import _


@dataclass(frozen=True, eq=False)
class TextPairs:
    """n pairs of tokenised texts. ``label`` is 0 and ``row`` the row number in the source."""

    source: Tokens
    target: Tokens

    def __post_init__(self) -> None:
        if len(self.source) != len(self.target):
            raise DataError(
                _("{n_source} source texts but {n_target} target texts."),
                n_source=len(self.source),
                n_target=len(self.target),
            )

    def __len__(self) -> int:
        return len(self.source)

    @cached_property
    def label(self) -> np.ndarray:
        """Zeros, i32[n]: every pair takes part."""
        return np.zeros(len(self), np.int32)

    @property
    def row(self) -> np.ndarray:
        """Row numbers in the source, i64[n]."""
        return self.source.row

    @cached_property
    def lengths(self) -> np.ndarray:
        """Tokens of the longer text of every pair, i64[n]."""
        return np.maximum(self.source.lengths, self.target.lengths)

    @property
    def truncated(self) -> int:
        """Texts that were cut to the greatest length."""
        return self.source.truncated + self.target.truncated


class PairBatches(BucketBatches):
    """As ``BucketBatches``, with ``target_ids`` i32[b, t] and ``target_mask`` bool[b, t]; the
    bucket of a pair is that of its longer text."""

    tokens: TextPairs  # type: ignore[assignment]

    @property
    def padding_share(self) -> float:
        """Share of an epoch's token slots, of sources and targets, that hold no token; 0 to 1."""
        slots = sum(
            -(-len(rows) // self.batch_size) * self.batch_size * t for t, rows in self._groups.items()
        )
        sizes = self.tokens.source.lengths + self.tokens.target.lengths
        real = sum(int(sizes[rows].sum()) for rows in self._groups.values())
        return 1 - real / (2 * slots) if slots else 0.0

    @property
    def _target(self) -> None:
        return None

    def _gather(self, index: np.ndarray, width: int) -> Batch:
        source, target = (
            gathered(tokens, index, width) for tokens in (self.tokens.source, self.tokens.target)
        )
        return {**source, "target_ids": target["ids"], "target_mask": target["mask"], **self._known(index)}
