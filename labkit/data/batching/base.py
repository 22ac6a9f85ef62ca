"""Base class of batches; the order of examples is a pure function of seed and step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from labkit.core.errors import ConfigError, DataError
from labkit.data.memmap import array, order, portions, where
from labkit.i18n import _

Batch = dict[str, np.ndarray]


class EncodedExamples(Protocol):
    """What batches are made of: the examples of a split as a model reads them."""

    @property
    def label(self) -> np.ndarray: ...

    @property
    def target(self) -> np.ndarray | None: ...

    @property
    def truncated(self) -> int: ...

    def __len__(self) -> int: ...


class Batches(ABC):
    """Base class of batches: an endless sequence in which every example appears exactly once an epoch.

    A batch is a dict of arrays, among them ``label``, ``weight`` f32 and ``index``: the position of an
    example, -1 in filled-up places, which have weight 0 and label 0. The order is a pure function of seed and
    step. A subclass plans an epoch and gathers one batch of a plan.

    Args:
        examples: with ``label`` i32[n] and, but for ``PairBatches``, ``target`` f32[n, k] or
            None.
        batch_size: examples in a batch; it may be more than there are.
        seed: decides the order, together with the epoch.
        shuffle: mix the examples anew in every epoch; otherwise each epoch is the same.
        weights: f32[n], weight of every example (1 if not given).
        labelled_only: leave examples without a label (-1) out. With False they take part with weight 1 and
            label 0.

    Attributes:
        examples: how many take part.

    Raises:
        ConfigError: ``batch_size`` or ``seed`` cannot be used.
        DataError: ``weights`` do not fit, or there are examples but none with a label.
    """

    def __init__(
        self,
        examples: EncodedExamples,
        batch_size: int,
        seed: int = 0,
        shuffle: bool = True,
        weights: np.ndarray | None = None,
        labelled_only: bool = True,
    ):
        self._rows = checked_rows(examples, batch_size, seed, labelled_only)
        self._weights = checked_weights(weights, len(examples))
        self._source = examples
        self.batch_size, self.seed, self.shuffle = int(batch_size), int(seed), shuffle
        self.examples = len(self._rows)
        self.plans: dict[int, Any] = {}

    @property
    @abstractmethod
    def steps_per_epoch(self) -> int:
        """Batches in an epoch, the same in each."""

    @property
    @abstractmethod
    def shapes(self) -> Sequence[tuple[int, ...]]:
        """The shapes that occur, one compilation each; none where there are no examples."""

    @property
    @abstractmethod
    def padding_share(self) -> float:
        """Share of an epoch's places that hold nothing, 0 to 1."""

    @abstractmethod
    def _planned(self, epoch: int) -> Any:
        """The order of an epoch, from ``seed`` and ``epoch`` alone."""

    @abstractmethod
    def _batch(self, plan: Any, place: int) -> Batch:
        """The batch at a place of an epoch's plan."""

    @property
    def members(self) -> np.ndarray:
        """Positions of the examples that take part, i32[n]."""
        return self._rows

    @property
    def truncated(self) -> int:
        """EncodedExamples that were longer than the model reads and lost their end."""
        return self._source.truncated

    @property
    def examples_per_step(self) -> float:
        """Real examples in a batch, on average."""
        return self.examples / max(1, self.steps_per_epoch)

    def at(self, step: int) -> Batch:
        """The batch of any step of any epoch; the same seed and step give the same batch, in any process.

        Raises:
            DataError: a negative step, or there are no examples.
        """
        count = self.steps_per_epoch
        if step < 0 or not count:
            raise DataError(
                _("no batch at step {step} ({examples} examples)."), step=step, examples=self.examples
            )
        epoch, place = divmod(int(step), count)
        return self._batch(self._plan(epoch if self.shuffle else 0), place)

    def __len__(self) -> int:
        return self.steps_per_epoch

    def __iter__(self) -> Iterator[Batch]:
        """The batches of the first epoch, in order."""
        return (self.at(step) for step in range(self.steps_per_epoch))

    def array_shape(self, name: str, array: np.ndarray, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape that an array of a batch has where the batch has one of :attr:`shapes`.

        Args:
            name: of the array.
            array: the one in any batch.
            shape: one of :attr:`shapes`; several are buckets [b, t].
        """
        several = len(self.shapes) > 1
        return tuple(shape) if several and array.ndim == 2 and name != "target" else array.shape

    def _plan(self, epoch: int) -> Any:
        """The plan of an epoch; the last two are kept."""
        plans = self.plans
        if epoch not in plans:
            plans = {**dict(list(plans.items())[-1:]), epoch: self._planned(epoch)}
            self.plans = plans  # in one assignment: other threads see the old ones or the new
        return plans[epoch]

    def _bits(self, epoch: int) -> np.random.BitGenerator:
        """The random bits of an epoch."""
        return np.random.Philox(np.random.SeedSequence([self.seed, epoch]))

    @property
    def _target(self) -> np.ndarray | None:
        return self._source.target

    def _known(self, index: np.ndarray) -> Batch:
        """``label``, ``weight``, ``index`` and, where examples have any, ``target`` of some examples (-1:
        none)."""
        real = index >= 0
        weight = real if self._weights is None else self._weights.take(index, mode="clip") * real
        known = {
            "label": np.maximum(self._source.label.take(index, mode="clip"), 0) * real,
            "weight": weight.astype(np.float32),
            "index": index.copy(),
        }
        if self._target is not None:
            target = self._target.take(index, 0, mode="clip")
            known["target"] = target * real[..., None].astype(np.float32)
        return known


class OneShapeBatches(Batches):
    """Base class of batches of one shape: the plan of an epoch has the examples of every batch i32[steps, b] (-1:
    filler)."""

    @property
    def steps_per_epoch(self) -> int:
        """Batches in an epoch, the same in each."""
        return -(-self.examples // self.batch_size)

    @property
    def padding_share(self) -> float:
        """Share of an epoch's places that hold no example; 0 to 1."""
        places = self.steps_per_epoch * self.batch_size
        return 1 - self.examples / places if places else 0.0

    def _planned(self, epoch: int) -> np.ndarray:
        order = np.full((self.steps_per_epoch, self.batch_size), -1, np.int32)
        mine = self._rows[mixed(self._bits(epoch), self.examples)] if self.shuffle else self._rows
        order.flat[: self.examples] = mine
        return order


def mixed(bits: np.random.BitGenerator, count: int) -> np.ndarray:
    """A random order of ``count`` things. From raw bits, which NumPy promises to keep; its shuffles it may
    change."""
    drawn = array(count, np.uint64)
    for part in portions(count):
        drawn[part] = bits.random_raw(part.stop - part.start)
    return order(drawn)


def checked_rows(tokens: EncodedExamples, batch_size: int, seed: int, labelled_only: bool) -> np.ndarray:
    """The rows that take part, i32[n]; raises what :class:`Batches` raises."""
    if batch_size < 1 or seed < 0:
        raise ConfigError(
            _("batch_size = {batch_size} must be at least 1 and seed = {seed} at least 0."),
            batch_size=batch_size,
            seed=seed,
        )
    rows = where(len(tokens), lambda part: (tokens.label[part] >= 0) | (not labelled_only))
    if len(tokens) and not len(rows):
        raise DataError(
            _("none of the {n_tokens} rows has a label; to predict, pass labelled_only=False."),
            n_tokens=len(tokens),
        )
    return rows


def checked_weights(weights: np.ndarray | None, count: int) -> np.ndarray | None:
    if weights is None:
        return None
    weights = np.asarray(weights, np.float32)
    if weights.shape != (count,):
        raise DataError(
            _("weights have the shape {shape}; there are {count} rows."), shape=weights.shape, count=count
        )
    good = np.isfinite(weights) & (weights >= 0)
    if not good.all():
        row = int(good.argmin())
        raise DataError(
            _("weights must be finite and not negative; that of row {row} is {weight}."),
            row=row,
            weight=weights[row],
        )
    return weights
