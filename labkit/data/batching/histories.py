"""Batches of histories: items in the order of time, and at each the item that follows."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from labkit.data.batching.base import Batch, OneShapeBatches
from labkit.data.interactions import Histories


@dataclass(frozen=True, eq=False)
class HistoryWindows:
    """n pieces of histories of at most ``length`` items each; a longer history is cut into several from its end.

    Attributes:
        histories: of the users.
        begin, end: i64[n], items of each piece, of which the first is read only.
        length: items that are read.
    """

    histories: Histories
    begin: np.ndarray
    end: np.ndarray
    length: int
    target: None = None
    truncated: int = 0
    label: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "label", np.zeros(len(self.begin), np.int32))

    @classmethod
    def over(cls, histories: Histories, length: int, after: float = -np.inf) -> HistoryWindows:
        """All pieces in which something later than ``after`` is to be predicted."""
        begin, end = [], []
        for low, high in zip(histories.offsets[:-1].tolist(), histories.offsets[1:].tolist(), strict=True):
            while high - low >= 2:
                start = max(low, high - length - 1)
                if histories.time[high - 1] > after:
                    begin.append(start)
                    end.append(high)
                high = start + 1
        return cls(histories, np.array(begin, np.int64), np.array(end, np.int64), length)

    def __len__(self) -> int:
        return len(self.begin)

    def items(self, index: np.ndarray) -> np.ndarray:
        """Items of some pieces i32[b, length + 1], 0 in front of short ones."""
        place = self.end[index][:, None] + np.arange(-self.length - 1, 0)
        inside = place >= self.begin[index][:, None]
        return np.where(inside, self.histories.item[np.maximum(place, 0)], 0).astype(np.int32)


class HistoryBatches(OneShapeBatches):
    """Batches of pieces: ``{"items": i32[b, t], "next": i32[b, t], "label", "weight", "index"}``; 0 is no item."""

    _source: HistoryWindows

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """The one shape of ``items``; none where there are no examples."""
        return [(self.batch_size, self._source.length)] if self.examples else []

    @property
    def padding_share(self) -> float:
        """Share of an epoch's places that hold no item, 0 to 1."""
        places = self.steps_per_epoch * self.batch_size * self._source.length
        return 1 - float((self._source.end - self._source.begin - 1).sum()) / places if places else 0.0

    def _batch(self, plan: np.ndarray, place: int) -> Batch:
        index = plan[place]
        items = self._source.items(np.maximum(index, 0)) * (index >= 0)[:, None]
        return {
            "items": items[:, :-1].astype(np.int32),
            "next": items[:, 1:].astype(np.int32),
            **self._known(index),
        }
