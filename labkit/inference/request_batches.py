"""Batching of concurrent requests: those that wait while the model computes are predicted together.

There is no waiting time: a request that finds the model idle starts at once. A batch that fails, or whose results
carry notes on single examples, is predicted again request by request, so that every answer is that of its request
alone.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np

#: Examples and second texts → predictions, one per example.
Predict = Callable[[Any, list[str] | None], Any]


@dataclass(frozen=True)
class Request:
    """Examples that wait for their predictions; requests with equal ``group`` may share a batch."""

    examples: Any
    pairs: list[str] | None
    group: Hashable
    future: Future[Any] = field(default_factory=Future)

    @property
    def size(self) -> int:
        """Number of examples."""
        return len(self.examples)


class RequestBatches:
    """One thread that predicts batches of requests, in the order of their arrival.

    Args:
        predict: predicts examples; exceptions become those of the requests.
        size: maximum examples per batch; a larger request is a batch of its own.
        observe: called with the number of requests and of examples of each batch.
    """

    def __init__(
        self, predict: Predict, size: int, observe: Callable[[int, int], None] = lambda *_unused: None
    ):
        self._predict, self._size, self._observe = predict, size, observe
        self._waiting: deque[Request] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="labkit endpoint model", daemon=True)
        self._thread.start()

    def __len__(self) -> int:
        """Number of requests that wait."""
        return len(self._waiting)

    def submit(self, examples: Any, pairs: list[str] | None) -> Future[Any]:
        """The predictions of a request, once they are there."""
        request = Request(examples, pairs, group_of(examples, pairs))
        with self._changed:
            if self._closed:
                raise RuntimeError("the endpoint is closed")
            self._waiting.append(request)
            self._changed.notify()
        return request.future

    def close(self) -> None:
        """Predict what waits, then end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        while batch := self._next():
            running = [request for request in batch if request.future.set_running_or_notify_cancel()]
            if running:
                self._observe(len(running), sum(request.size for request in running))
                self._answer(running)

    def _next(self) -> list[Request]:
        """The oldest request and those behind it that fit in its batch; empty once the queue is closed."""
        with self._changed:
            while not (self._waiting or self._closed):
                self._changed.wait()
            if not self._waiting:
                return []
            batch = [self._waiting.popleft()]
            room = self._size - batch[0].size
            while (
                self._waiting and self._waiting[0].group == batch[0].group and self._waiting[0].size <= room
            ):
                batch.append(self._waiting.popleft())
                room -= batch[-1].size
        return batch

    def _answer(self, batch: list[Request]) -> None:
        if len(batch) > 1:
            try:
                found = self._predict(*_joined(batch))
            except BaseException:
                found = None  # one of them is at fault: which one, predicting them alone will show
            if found is not None and len(found) == sum(map(_size, batch)) and not getattr(found, "notes", ()):
                start = 0
                for request in batch:
                    request.future.set_result(found[start : start + request.size])
                    start += request.size
                return
        for request in batch:
            try:
                request.future.set_result(self._predict(request.examples, request.pairs))
            except BaseException as error:  # a panic of a library in Rust is no Exception
                request.future.set_exception(error)


def _size(request: Request) -> int:
    return request.size


def group_of(examples: Any, pairs: list[str] | None) -> Hashable:
    """What requests must have in common to share a batch: the kind of their examples. Tables are joined only if
    every row has the same columns with values of the same types, since types are detected by column."""
    if isinstance(examples, np.ndarray):
        return "inputs", examples.shape[1:], examples.dtype.kind
    if not any(isinstance(each, dict) for each in examples):
        return "texts", pairs is not None
    kinds = {tuple(sorted((name, type(value).__name__) for name, value in row.items())) for row in examples}
    return ("records", *kinds) if len(kinds) == 1 else object()


def _joined(batch: list[Request]) -> tuple[Any, list[str] | None]:
    """The examples and second texts of all requests of a batch."""
    if isinstance(batch[0].examples, np.ndarray):
        return np.concatenate([request.examples for request in batch]), None
    examples = [example for request in batch for example in request.examples]
    if batch[0].pairs is None:
        return examples, None
    return examples, [pair for request in batch for pair in request.pairs or ()]
