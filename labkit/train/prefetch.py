"""Prefetching: a thread prepares batches and transfers them to the device one step ahead."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple, Protocol, Self

import numpy as np

from labkit.train.step import TrainStep


class BatchSource(Protocol):
    """What a feed needs of a sequence of batches."""

    def at(self, step: int) -> dict[str, np.ndarray]:
        """The batch of a step."""
        ...


class MultiBatch(NamedTuple):
    """What one call of the compiled step works on."""

    batch: dict[str, Any]  # on the device; with a first axis [most] where the feed stacks
    steps: int  # updates in this call
    count: Any  # the same number on the device


class Prefetcher:
    """The batches of a run, in the order of its steps.

    Args:
        batches: a pure function of the step, so that what was made ahead for nothing is simply made again.
        steps: where the batches are placed.
        most: updates in one call; above 1 that many batches are stacked on a first axis.
    """

    def __init__(self, batches: BatchSource, steps: TrainStep, most: int = 1):
        self.batches, self.steps, self.most = batches, steps, most
        self._maker = ThreadPoolExecutor(1, "labkit-feed")
        self._ahead: dict[tuple[int, int], Future[MultiBatch]] = {}

    def take(self, step: int, count: int, then: int) -> MultiBatch:
        """The batches of ``count`` steps from ``step`` on, and begin with those of the ``then`` steps that
        follow."""
        found = self._ahead.pop((step, count), None)
        self._drop()
        portion = found.result() if found else self._make(step, count)
        if then:
            self._ahead[step + count, then] = self._maker.submit(self._make, step + count, then)
        return portion

    def _make(self, step: int, count: int) -> MultiBatch:
        if self.most == 1:
            return MultiBatch(self.steps.place(self.batches.at(step)), 1, None)
        first = self.batches.at(step)
        stacked = {name: np.zeros((self.most, *x.shape), x.dtype) for name, x in first.items()}
        for place in range(count):
            batch = self.batches.at(step + place) if place else first
            for name, array in batch.items():
                stacked[name][place] = array
        return MultiBatch(
            self.steps.place(stacked, stacked=True), count, self.steps.replicate(np.int32(count))
        )

    def _drop(self) -> None:
        for future in self._ahead.values():
            future.cancel()
        self._ahead.clear()

    def close(self) -> None:
        """End the thread."""
        self._drop()
        self._maker.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
