"""Bucketed batches of tokens: few fixed shapes, little padding, order a pure function of seed and step."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from labkit.core.errors import ConfigError
from labkit.data.batching.base import Batch, Batches, mixed
from labkit.data.memmap import array, by_kind, histogram, portions, take
from labkit.data.text.tokens import Tokens
from labkit.i18n import _


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
        Ascending multiples of 8, the last one the first that holds the longest row (or ``max_length``, if
        less).

    Raises:
        ConfigError: a row is longer than ``max_length``, or ``count`` or ``batch_size`` is below 1.
    """
    lengths = np.asarray(lengths, np.int64)
    if count < 1 or batch_size < 1:
        raise ConfigError(
            _("count = {count} and batch_size = {batch_size} must be at least 1."),
            count=count,
            batch_size=batch_size,
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


class BucketBatches(Batches):
    """Batches of a few widths, each row one example.

    A batch has one of ``shapes`` and is ``{"ids": i32[b, t], "types": i32[b, t], "mask": bool[b, t], "label":
    i32[b], "weight": f32[b], "index": i32[b]}``, with ``"target": f32[b, k]`` where the tokens have targets.
    ``mask`` is True on tokens and ``index`` is the position in ``tokens``. The last batch of every bucket is
    filled up with examples of index -1, weight 0, label 0 and nothing but padding, whose first place is
    unmasked so that a softmax over it stays finite.

    Args:
        tokens: the rows.
        batch_size: b, the same in every batch; it may be more than there are rows.
        buckets: ascending widths t, the last at least the longest row (:func:`choose_buckets`).
        seed: decides the order, together with the epoch.
        shuffle: mix the rows within their bucket, and the batches, anew in every epoch. Otherwise every epoch
            goes bucket by bucket through the rows in their order, and ``index`` puts predictions back in
            place.
        weights: f32[n], weight of every row of ``tokens`` (1 if not given).
        labelled_only: leave rows without a label (-1) out. With False, to predict or pretrain, they take part
            with weight 1 and label 0.

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
        slots = sum(
            -(-len(rows) // self.batch_size) * self.batch_size * t for t, rows in self._groups.items()
        )
        length = self.tokens.lengths
        real = sum(
            int(length[rows[part]].sum()) for rows in self._groups.values() for part in portions(len(rows))
        )
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

    def gather(self, index: np.ndarray) -> Batch:
        """The batch of some examples (-1: none), of the greatest width."""
        return self._gather(index, self.shapes[-1][1])

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


def _grouped(rows: np.ndarray, lengths: np.ndarray, buckets: tuple[int, ...]) -> dict[int, np.ndarray]:
    """Width → its rows, for the widths that have any; ``lengths`` are those of all rows."""
    if not buckets or buckets[0] < 1 or any(a >= b for a, b in pairwise(buckets)):
        raise ConfigError(_("buckets = {buckets} must be widths in ascending order."), buckets=buckets)
    longest = max((int(lengths[rows[part]].max()) for part in portions(len(rows))), default=0)
    if longest > buckets[-1]:
        raise ConfigError(
            _("the longest row has {longest} tokens, but the widest bucket only {bucket}."),
            longest=longest,
            bucket=buckets[-1],
        )
    turn, counts = by_kind(
        len(rows), lambda part: np.searchsorted(buckets, lengths[rows[part]]), len(buckets)
    )
    rows, ends = take(rows, turn), np.cumsum(counts).tolist()
    return {width: rows[end - count : end]
            for width, count, end in zip(buckets, counts.tolist(), ends, strict=True) if count}  # fmt: skip
