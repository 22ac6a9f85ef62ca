"""Drift: do new examples come from the distribution of the training rows?

A two-sample permutation test of the energy distance (Székely and Rizzo, 2013) on the inputs of the model: for texts
the square roots of the token frequencies (hashed), whose distance is that of Hellinger; for images, sounds and features
the standardised inputs. No label is needed, and the false-alarm rate is the level of the test, whatever the
distribution.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from labkit.core.errors import DataError
from labkit.core.registry import ByClass
from labkit.data.rows import Rows
from labkit.i18n import _
from labkit.inference.predictor import Predictor
from labkit.train.processor import Processor
from labkit.train.processors import ArrayProcessor, TextProcessor

#: Training rows that new examples are compared with; new examples per test; level of the test.
#: A watch makes many tests, so its level is low.
REFERENCE, WINDOW, LEVEL = 500, 100, 0.02
#: Random permutations of a test; features of an example at most; examples of a test at least.
PERMUTATIONS, WIDTH, FEWEST = 399, 1024, 20
#: A multiplier that spreads neighbouring token ids over the hashed features (Knuth's multiplicative hash).
_SPREAD = 2654435761


@dataclass(frozen=True)
class DriftResult:
    """The result of one test.

    Attributes:
        p_value: share of permutations with at least this distance; small values speak for drift.
        distance: the energy distance; 0 for equal distributions.
        examples: number of new examples.
        level: the false-alarm rate of :attr:`alarm`.
    """

    p_value: float
    distance: float
    examples: int
    level: float = LEVEL

    @property
    def alarm(self) -> bool:
        """Whether the new examples differ from the training rows."""
        return self.p_value <= self.level

    def __str__(self) -> str:
        found = _("drift") if self.alarm else _("no drift found")
        return f"{found}: p = {self.p_value:.3g}, n = {self.examples}"


class DriftTest:
    """Compares new examples with a random sample of the training rows.

    Args:
        predictor: the model; its tokenizer or standardisation makes the features.
        rows: the rows that it was trained on; the train split is used.
        level: the false-alarm rate of one test.
        seed: of the sample and the permutations.

    Raises:
        DataError: there are fewer than 20 training rows.
    """

    def __init__(self, predictor: Predictor, rows: Rows, level: float = LEVEL, seed: int = 0):
        self.level, self._predictor = level, predictor
        self._random = np.random.default_rng(seed)
        self._reference = reference_of(predictor.processor, rows, self._random)
        self._center, self._scale = self._reference.mean(0), self._reference.std(0)
        self._scale[self._scale < 1e-6] = 1.0
        self._scaled = not isinstance(predictor.processor, TextProcessor)  # frequencies have one scale
        self._reference = self._standardised(self._reference)
        self._within = _distances(self._reference, self._reference)

    def __call__(self, examples: Any, pairs: list[str] | None = None) -> DriftResult:
        """Test new examples, as :meth:`labkit.Predictor.predict` takes them.

        Raises:
            DataError: they are fewer than 20, or not what the model reads.
        """
        return self.test(features_of(self._predictor, examples, pairs))

    def test(self, features: np.ndarray) -> DriftResult:
        """Test the features f32[n, d] of new examples (:func:`features_of`)."""
        if (count := len(features)) < FEWEST:
            raise DataError(_("a test for drift needs at least {fewest} examples, not {count}."),
                            fewest=FEWEST, count=count)  # fmt: skip
        new = self._standardised(features)
        across = _distances(self._reference, new)
        distances = np.block([[self._within, across], [across.T, _distances(new, new)]])
        total = len(distances)
        chosen = np.zeros((total, PERMUTATIONS + 1), np.float32)
        chosen[total - count :, 0] = 1
        for column in range(1, PERMUTATIONS + 1):
            chosen[self._random.permutation(total)[:count], column] = 1
        energy = _energy(distances, chosen)
        p_value = float(np.mean(energy >= energy[0] - 1e-7))
        return DriftResult(p_value, float(energy[0]), count, self.level)

    def _standardised(self, features: np.ndarray) -> np.ndarray:
        return (features - self._center) / self._scale if self._scaled else features


class DriftWatch:
    """Tests every ``window`` new examples of an endpoint, in a thread of its own.

    Args:
        test: the test.
        window: examples per test; windows do not overlap.
        report: called with every result.

    Attributes:
        last: the newest result; None before the first.
        windows, alarms: numbers of tests and of alarms.
    """

    def __init__(
        self,
        test: DriftTest,
        window: int = WINDOW,
        report: Callable[[DriftResult], None] = lambda _result: None,
    ):
        self.last: DriftResult | None = None
        self.windows = self.alarms = 0
        self._test, self._window, self._report = test, max(window, FEWEST), report
        self._features: list[np.ndarray] = []
        self._lock = threading.Lock()
        self._work = ThreadPoolExecutor(1, thread_name_prefix="labkit drift")

    def add(self, predictor: Predictor, examples: Any, pairs: list[str] | None) -> None:
        """Take note of examples that were predicted; returns at once."""
        self._work.submit(self._add, predictor, examples, pairs)

    def _add(self, predictor: Predictor, examples: Any, pairs: list[str] | None) -> None:
        self._features += list(features_of(predictor, examples, pairs))
        while len(self._features) >= self._window:
            window, self._features = self._features[: self._window], self._features[self._window :]
            result = self._test.test(np.stack(window))
            with self._lock:
                self.last, self.windows, self.alarms = result, self.windows + 1, self.alarms + result.alarm
            self._report(result)

    def close(self) -> None:
        """Finish the tests that wait."""
        self._work.shutdown()


def _distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Euclidean distances f32[m, n]."""
    squares = (first**2).sum(1)[:, None] + (second**2).sum(1) - 2 * first @ second.T
    return np.sqrt(np.maximum(squares, 0)).astype(np.float32)


def _energy(distances: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Energy distances f32[p] between the rows that are chosen (1) and those that are not (0) in f32[n, p]."""
    count = chosen.sum(0)
    rest = len(chosen) - count
    sums = distances @ chosen
    inside = (chosen * sums).sum(0)
    across = sums.sum(0) - inside
    outside = distances.sum() - 2 * across - inside
    return 2 * across / (count * rest) - inside / count**2 - outside / rest**2


# --- features -----------------------------------------------------------------------------------------------------


def features_of(predictor: Predictor, examples: Any, pairs: list[str] | None = None) -> np.ndarray:
    """Features f32[n, d] of examples as :meth:`labkit.Predictor.predict` takes them."""
    made = _FEATURES.get(type(predictor.processor))
    if made is None:
        raise DataError(_("this model has no test for drift."))
    return made(predictor.processor, *predictor.inputs(examples, pairs))


def reference_of(processor: Processor, rows: Rows, random: np.random.Generator) -> np.ndarray:
    """Features of a random sample of the training rows."""
    made = _FEATURES.get(type(processor))
    if made is None:
        raise DataError(_("this model has no test for drift."))
    dataset = rows["train"]
    if (count := len(dataset)) < FEWEST:
        raise DataError(_("a test for drift needs at least {fewest} training rows, not {count}."),
                        fewest=FEWEST, count=count)  # fmt: skip
    sample = dataset.select(np.sort(random.permutation(count)[:REFERENCE]))
    if isinstance(processor, ArrayProcessor):
        return made(processor, processor.raw(sample).inputs, None)
    return made(
        processor, sample["text"], sample["text_pair"] if "text_pair" in sample.column_names else None
    )


def _token_features(processor: TextProcessor, texts: Any, pairs: Any) -> np.ndarray:
    """Square roots of the frequencies of the (hashed) tokens of each text."""
    tokens = processor.tokenizer.encode(
        list(texts), None if pairs is None else list(pairs), processor.max_length
    )
    counts = np.zeros((len(tokens), WIDTH), np.float32)
    row = np.repeat(np.arange(len(tokens)), np.diff(tokens.offsets))
    np.add.at(counts, (row, (tokens.ids.astype(np.uint64) * _SPREAD >> 12) % WIDTH), 1)
    return np.sqrt(counts / np.maximum(counts.sum(1, keepdims=True), 1))


def _array_features(processor: ArrayProcessor, values: Any, pairs: Any) -> np.ndarray:
    """The inputs of the model, averaged over neighbours where there are many."""
    inputs = np.asarray(processor.to_predict(values).arrays.inputs, np.float32)
    flat = np.nan_to_num(inputs.reshape(len(inputs), -1))
    if flat.shape[1] <= WIDTH:
        return flat
    starts = np.linspace(0, flat.shape[1], WIDTH, endpoint=False).astype(int)
    return np.add.reduceat(flat, starts, axis=1) / np.diff([*starts, flat.shape[1]])


_FEATURES: ByClass[Callable[[Any, Any, Any], np.ndarray]] = ByClass(
    {TextProcessor: _token_features, ArrayProcessor: _array_features}
)
