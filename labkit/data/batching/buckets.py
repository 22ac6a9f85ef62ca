"""Tokens to batches: a few fixed shapes, little padding, and an order that is a pure function of seed and step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from labkit.core.errors import ConfigError, DataError
from labkit.data.memmap import array, by_kind, histogram, order, portions, take, where
from labkit.data.text.tokens import Tokens
from labkit.i18n import _

Batch = dict[str, np.ndarray]


def choose_buckets(
    lengths: Sequence[int] | np.ndarray, max_length: int, count: int = 4, *, batch_size: int = 1
) -> tuple[int, ...]:
    """The widths of batches that waste the fewest token slots: the exact optimum, by dynamic programming.

    Args:
        lengths: tokens in every row.
        max_length: no bucket is wider than this.
        count: buckets at most (each costs one compilation); fewer are returned where more gain nothing.
        batch_size: when given, the empty places in the last batch of every bucket count as waste too.

    Returns:
        Ascending multiples of 8, the last one the first that holds the longest row (or ``max_length``, if less).

    Raises:
        ConfigError: a row is longer than ``max_length``, or ``count`` or ``batch_size`` is below 1.
    """
    lengths = np.asarray(lengths, np.int64)
    if count < 1 or batch_size < 1:
        raise ConfigError(
            _("count = {count} and batch_size = {batch_size} must be at least 1."), count=count, batch_size=batch_size
        )
    if not lengths.size:
        return (min(8, max_length),)
    if (longest := int(lengths.max())) > max_length:
        raise ConfigError(
            _("the longest row has {longest} tokens, more than max_length = {max_length}."),
            longest=longest,
            max_length=max_length,
        )
    found = histogram(lengths)
    rows = np.bincount(np.minimum(-(-np.arange(len(found)) // 8) * 8, max_length), found).astype(np.int64)
    edges = np.flatnonzero(rows)
    rows = rows[edges]
    below = np.concatenate([[0], np.cumsum(rows)])  # below[j]: rows that fit edges[:j]
    costs, cuts = [np.where(below == 0, 0, np.iinfo(np.int64).max // 2)], []
    for _unused in range(min(count, len(edges))):
        cost, cut = np.full_like(costs[0], np.iinfo(np.int64).max // 2), np.zeros_like(below)
        for j in range(1, len(below)):
            batches = -(-(below[j] - below[:j]) // batch_size)
            slots = costs[-1][:j] + edges[j - 1] * batches * batch_size
            cut[j] = slots.argmin()
            cost[j] = slots[cut[j]]
        costs.append(cost)
        cuts.append(cut)
    used, j, chosen = 1 + int(np.argmin([cost[-1] for cost in costs[1:]])), len(edges), []
    for cut in reversed(cuts[:used]):
        chosen.append(int(edges[j - 1]))
        j = int(cut[j])
    return tuple(reversed(chosen))


class Batches(ABC):
    """Base class of batches: an endless sequence in which every example appears exactly once an epoch.

    A batch is a dict of arrays, among them ``label``, ``weight`` f32 and ``index``: the position of an example, -1 in
    filled-up places, which have weight 0 and label 0. The order is a pure function of seed and step. A subclass plans
    an epoch and gathers one batch of a plan.

    Args:
        examples: with ``label`` i32[n] and, but for ``PairBatches``, ``target`` f32[n, k] or
            None.
        batch_size: examples in a batch; it may be more than there are.
        seed: decides the order, together with the epoch.
        shuffle: mix the examples anew in every epoch; otherwise each epoch is the same.
        weights: f32[n], weight of every example (1 if not given).
        labelled_only: leave examples without a label (-1) out. With False they take part with weight 1 and label 0.

    Attributes:
        examples: how many take part.

    Raises:
        ConfigError: ``batch_size`` or ``seed`` cannot be used.
        DataError: ``weights`` do not fit, or there are examples but none with a label.
    """

    def __init__(
        self,
        examples: Any,
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
        self._plans: dict[int, Any] = {}

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
                _("there is no batch at step {step} ({examples} examples)."), step=step, examples=self.examples
            )
        epoch, place = divmod(int(step), count)
        return self._batch(self._plan(epoch if self.shuffle else 0), place)

    def __len__(self) -> int:
        return self.steps_per_epoch

    def __iter__(self) -> Iterator[Batch]:
        """The batches of the first epoch, in order."""
        return (self.at(step) for step in range(self.steps_per_epoch))

    def _plan(self, epoch: int) -> Any:
        """The plan of an epoch; the last two are kept."""
        plans = self._plans
        if epoch not in plans:
            plans = {**dict(list(plans.items())[-1:]), epoch: self._planned(epoch)}
            self._plans = plans  # in one assignment: other threads see the old ones or the new
        return plans[epoch]

    def _bits(self, epoch: int) -> np.random.BitGenerator:
        """The random bits of an epoch."""
        return np.random.Philox(np.random.SeedSequence([self.seed, epoch]))

    @property
    def _target(self) -> np.ndarray | None:
        return self._source.target

    def _known(self, index: np.ndarray) -> Batch:
        """``label``, ``weight``, ``index`` and, where examples have any, ``target`` of some examples (-1: none)."""
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


class BucketBatches(Batches):
    """Batches of a few widths, each row one example.

    A batch has one of ``shapes`` and is ``{"ids": i32[b, t], "types": i32[b, t], "mask": bool[b, t], "label": i32[b],
    "weight": f32[b], "index": i32[b]}``, with ``"target": f32[b, k]`` where the tokens have targets. ``mask`` is True
    on tokens and ``index`` is the position in ``tokens``. The last batch of every bucket is filled up with examples of
    index -1, weight 0, label 0 and nothing but padding, whose first place is unmasked so that a softmax over it stays
    finite.

    Args:
        tokens: the rows.
        batch_size: b, the same in every batch; it may be more than there are rows.
        buckets: ascending widths t, the last at least the longest row (:func:`choose_buckets`).
        seed: decides the order, together with the epoch.
        shuffle: mix the rows within their bucket, and the batches, anew in every epoch. Otherwise every epoch goes
            bucket by bucket through the rows in their order, and ``index`` puts predictions back in place.
        weights: f32[n], weight of every row of ``tokens`` (1 if not given).
        labelled_only: leave rows without a label (-1) out. With False, to predict or pretrain, they take part with
            weight 1 and label 0.

    Raises:
        ConfigError: ``batch_size``, ``seed`` or ``buckets`` cannot be used.
        DataError: ``weights`` do not fit, or there are rows but none with a label.
    """

    def __init__(
        self,
        tokens: Tokens,
        batch_size: int,
        buckets: Sequence[int],
        seed: int = 0,
        shuffle: bool = True,
        *,
        weights: np.ndarray | None = None,
        labelled_only: bool = True,
    ):
        super().__init__(tokens, batch_size, seed, shuffle, weights, labelled_only)
        self.tokens = tokens
        self._groups = _grouped(self._rows, tokens.lengths, tuple(map(int, buckets)))

    @property
    def steps_per_epoch(self) -> int:
        """Batches in an epoch, the same in each."""
        return sum(-(-len(rows) // self.batch_size) for rows in self._groups.values())

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """The shapes ``(b, t)`` that do occur, narrowest first: one compilation each."""
        return [(self.batch_size, width) for width in self._groups]

    @property
    def padding_share(self) -> float:
        """Share of an epoch's token slots that hold no token, filler examples included; 0 to 1."""
        slots = sum(-(-len(rows) // self.batch_size) * self.batch_size * t for t, rows in self._groups.items())
        length = self.tokens.lengths
        real = sum(int(length[rows[part]].sum()) for rows in self._groups.values() for part in portions(len(rows)))
        return 1 - real / slots if slots else 0.0

    def _planned(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows of every batch i32[steps, b] (-1: filler) and width of every batch."""
        bits = self._bits(epoch)
        wide, steps = self.batch_size, [-(-len(rows) // self.batch_size) for rows in self._groups.values()]
        places, end = array(sum(steps) * wide, np.int32), 0
        for rows, count in zip(self._groups.values(), steps, strict=True):
            order = mixed(bits, len(rows)) if self.shuffle else None
            for part in portions(len(rows)):
                places[end + part.start : end + part.stop] = rows[part if order is None else order[part]]
            places[end + len(rows) : end + count * wide] = -1
            end += count * wide
        places, widths = places.reshape(-1, wide), np.repeat(list(self._groups), steps)
        if not self.shuffle:
            return places, widths
        turn, mixed_up = mixed(bits, len(widths)), array(places.size, np.int32).reshape(places.shape)
        for part in portions(len(turn), wide):
            mixed_up[part] = places[turn[part]]
        return mixed_up, widths[turn]

    def _batch(self, plan: tuple[np.ndarray, np.ndarray], place: int) -> Batch:
        order, widths = plan
        return self._gather(order[place], int(widths[place]))

    def _gather(self, index: np.ndarray, width: int) -> Batch:
        """The batch of some examples (-1: none), all of one width."""
        return {**gathered(self.tokens, index, width), **self._known(index)}


def gathered(tokens: Tokens, index: np.ndarray, width: int) -> Batch:
    """``ids``, ``types`` and ``mask`` of some rows (-1: none), all of one width."""
    real = index >= 0
    start = tokens.offsets.take(index, mode="clip")  # "clip" is the fast mode; -1 becomes 0 and is masked
    length = (tokens.offsets.take(index + 1, mode="clip") - start) * real
    column = np.arange(width)
    mask = column < length[:, None]
    source = start[:, None] + column
    ids = tokens.ids.take(source, mode="clip")
    np.putmask(ids, ~mask, tokens.pad_id)
    types = np.multiply(tokens.types.take(source, mode="clip"), mask, dtype=np.int32)
    mask[~real, 0] = True
    return {"ids": ids, "types": types, "mask": mask}


def mixed(bits: np.random.BitGenerator, count: int) -> np.ndarray:
    """A random order of ``count`` things. From raw bits, which NumPy promises to keep; its shuffles it may change."""
    drawn = array(count, np.uint64)
    for part in portions(count):
        drawn[part] = bits.random_raw(part.stop - part.start)
    return order(drawn)


def _grouped(rows: np.ndarray, lengths: np.ndarray, buckets: tuple[int, ...]) -> dict[int, np.ndarray]:
    """Width → its rows, for the widths that have any; ``lengths`` are those of all rows."""
    if not buckets or buckets[0] < 1 or any(a >= b for a, b in pairwise(buckets)):
        raise ConfigError(_("buckets = {buckets} must be widths in ascending order."), buckets=buckets)
    longest = max((int(lengths[rows[part]].max()) for part in portions(len(rows))), default=0)
    if longest > buckets[-1]:
        raise ConfigError(
            _("the longest row has {longest} tokens, the widest bucket only {bucket}."),
            longest=longest,
            bucket=buckets[-1],
        )
    turn, counts = by_kind(len(rows), lambda part: np.searchsorted(buckets, lengths[rows[part]]), len(buckets))
    rows, ends = take(rows, turn), np.cumsum(counts).tolist()
    return {width: rows[end - count : end]
            for width, count, end in zip(buckets, counts.tolist(), ends, strict=True) if count}  # fmt: skip


def checked_rows(tokens: Any, batch_size: int, seed: int, labelled_only: bool) -> np.ndarray:
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
            _("none of the {n_tokens} rows has a label; to predict, pass labelled_only=False."), n_tokens=len(tokens)
        )
    return rows


def checked_weights(weights: np.ndarray | None, count: int) -> np.ndarray | None:
    if weights is None:
        return None
    weights = np.asarray(weights, np.float32)
    if weights.shape != (count,):
        raise DataError(_("weights have the shape {shape}; there are {count} rows."), shape=weights.shape, count=count)
    good = np.isfinite(weights) & (weights >= 0)
    if not good.all():
        row = int(good.argmin())
        raise DataError(
            _("weights must be finite and not negative; that of row {row} is {weight}."), row=row, weight=weights[row]
        )
    return weights
