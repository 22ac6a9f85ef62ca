"""Sequence packing: several examples per row of fixed width, and when it pays off.

 Best fit, the longest first, on the histogram of lengths (Krell et al., arXiv 2107.02027): what is planned is
how many rows hold which lengths, so that a million examples cost no more than a thousand, and every epoch can
seat other examples of the same lengths together.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from labkit.core.errors import ConfigError, nearest
from labkit.data.batching.base import Batch, Batches, mixed
from labkit.data.batching.buckets import choose_buckets
from labkit.data.memmap import array, by_kind, histogram, portions, take
from labkit.data.text.tokens import Tokens
from labkit.i18n import _

#: Packed rows must save this share of the work of buckets to be chosen.
GAIN = 0.03
_WIDEST = 4  # rows are at most this many times as wide as the longest example
_CANDIDATES = 24  # widths tried at most
_CROWD = 3  # a row holds at most this many times as many examples as the mean row


@dataclass(frozen=True, eq=False)
class PackingPlan:
    """How many examples of which lengths share a row.

    Attributes:
        patterns: i32[p, s], lengths of the examples of a row, descending, 0 in empty slots; p different kinds
        of row.
        counts: i64[p], rows of each kind.
        width: tokens that a row has room for.
    """

    patterns: np.ndarray
    counts: np.ndarray
    width: int

    @property
    def rows(self) -> int:
        """Rows of all kinds together."""
        return int(self.counts.sum())

    @property
    def most(self) -> int:
        """Examples in the fullest row, s."""
        return self.patterns.shape[1]

    def seat(self, lengths: np.ndarray, order: np.ndarray | None = None) -> np.ndarray:
        """Examples by row, i32[rows, s], -1 in empty slots; equal lengths take their places in ``order``.

        Args:
            lengths: those that were planned for, i64[n].
            order: a permutation of 0 … n-1 (theirs, if not given).
        """
        size = self.rows * self.most
        ends = np.cumsum(self.counts) * self.most

        def wanted(part: slice) -> np.ndarray:  # lengths at these places of all rows, end to end
            place = np.arange(part.start, part.stop)
            return self.patterns[np.searchsorted(ends, place, side="right"), place % self.most]

        def held(part: slice) -> np.ndarray:
            return lengths[part if order is None else order[part]]

        places, counts = by_kind(size, wanted, self.width + 1)
        turn, _ = by_kind(len(lengths), held, self.width + 1)
        table, free = array(size, np.int32), int(counts[0])
        for part in portions(free):
            table[places[part]] = -1
        for part in portions(len(turn)):
            here = turn[part]
            table[places[free + part.start : free + part.stop]] = here if order is None else order[here]
        return table.reshape(self.rows, self.most)


def plan_rows(lengths: Sequence[int] | np.ndarray, width: int, most: int | None = None) -> PackingPlan:
    """Which lengths share a row of ``width`` tokens: best fit, the longest first, on the histogram.

    Args:
        lengths: tokens of every example, each at least 1.
        width: tokens of a row.
        most: maximum examples per row (default: no limit).

    Raises:
        ConfigError: an example is longer than ``width`` or empty, or ``most`` is below 1.
    """
    lengths = np.asarray(lengths)
    most = width if most is None else most
    if most < 1:
        raise ConfigError(_("most = {most} must be at least 1."), most=most)
    if not lengths.size:
        return PackingPlan(np.zeros((0, 1), np.int32), np.zeros(0, np.int64), width)
    if lengths.max() > width or lengths.min() < 1:
        raise ConfigError(
            _("examples of {lowest} to {highest} tokens do not fit rows of {width}."),
            lowest=lengths.min(), highest=lengths.max(), width=width,
        )  # fmt: skip
    rows = _filled(histogram(lengths), width, most)
    widest = max(len(pattern) for pattern in rows)
    patterns = np.array([pattern + (0,) * (widest - len(pattern)) for pattern in rows], np.int32)
    return PackingPlan(patterns, np.array(list(rows.values()), np.int64), width)


def _filled(counts: np.ndarray, width: int, most: int) -> dict[tuple[int, ...], int]:
    """Pattern → rows. Rows with room are kept by how much they have, so that the tightest fit is found at
    once."""
    done: dict[tuple[int, ...], int] = {}
    room: dict[int, list[tuple[tuple[int, ...], int]]] = {}  # room left → rows that may still be filled
    sizes: list[int] = []  # the keys of `room`, ascending

    def put(pattern: tuple[int, ...], left: int, count: int) -> None:
        if not count:
            return
        if not left or len(pattern) == most:
            done[pattern] = done.get(pattern, 0) + count
        else:
            if left not in room:
                room[left] = []
                insort(sizes, left)
            room[left].append((pattern, count))

    for length in np.flatnonzero(counts)[::-1].tolist():
        wanted = int(counts[length])
        while wanted:
            place = bisect_left(sizes, length)
            if place < len(sizes):
                left = sizes[place]
                pattern, free = room[left].pop()
                if not room[left]:
                    del room[left], sizes[place]
            else:
                pattern, left, free = (), width, wanted  # as many new rows as it takes
            each = min(
                left // length, most - len(pattern)
            )  # the row just used is the tightest fit for the next one
            full = min(free, wanted // each)
            put(pattern + (length,) * each, left - each * length, full)
            wanted -= full * each
            rest = wanted if full < free and wanted < each else 0
            if rest:
                put(pattern + (length,) * rest, left - rest * length, 1)
                wanted, full = 0, full + 1
            if pattern and free > full:
                put(pattern, left, free - full)
    for groups in room.values():
        for pattern, count in groups:
            done[pattern] = done.get(pattern, 0) + count
    return done


@dataclass(frozen=True)
class BatchLayout:
    """How examples are put into batches: several to a row, or each alone in a row of one of some widths.

    Attributes:
        packed: whether rows are shared.
        widths: tokens of a row: one width if packed, else the buckets.
        most: maximum examples per row.
        padding_share: share of an epoch's token slots without a token, 0 to 1.
        reason: why, in a sentence.
    """

    packed: bool
    widths: tuple[int, ...]
    most: int
    padding_share: float
    reason: str

    @property
    def width(self) -> int:
        """Tokens of the widest row."""
        return self.widths[-1]


def choose(
    lengths: Sequence[int] | np.ndarray,
    max_length: int,
    batch_size: int,
    buckets: int = 4,
    cost: float = 2304.0,
    *,
    packing: str = "auto",
    parts: int = 1,
) -> BatchLayout:
    """Packed rows or buckets, whichever costs less by the histogram of lengths.

    A row of t tokens costs ``t * (1 + t / cost)``: the second part is attention, which grows with the square.

    Args:
        lengths: tokens of every example.
        max_length: what no example exceeds.
        batch_size: examples in a step, on average.
        buckets: widths at most, if examples are not packed.
        cost: tokens at which attention costs as much as all else: 6 times the width of a Transformer.
        packing: ``"always"`` or ``"never"`` leave no choice.
        parts: what the rows of a packed batch must be divisible by.

    Raises:
        ConfigError: as in ``choose_buckets``, or ``cost`` or ``packing`` cannot be used.
    """
    lengths = np.asarray(lengths, np.int64)
    widths = choose_buckets(lengths, max_length, buckets, batch_size=batch_size)
    if cost <= 0:
        raise ConfigError(_("cost = {cost} must be above 0."), cost=cost)
    if packing not in (known := ("auto", "always", "never")):
        raise ConfigError(
            _("packing = {packing!r} is not one of {known}.{hint}"),
            packing=packing, known=", ".join(known), hint=nearest(packing, known),
        )  # fmt: skip
    if not lengths.size:
        return BatchLayout(False, widths, 1, 0.0, "nothing to pack: there are no examples.")
    found = histogram(lengths)
    rows = np.bincount(np.searchsorted(widths, np.flatnonzero(found)), found[found > 0], len(widths)).astype(
        np.int64
    )
    alone = {
        width: -(-count // batch_size) * batch_size
        for width, count in zip(widths, rows.tolist(), strict=True)
    }
    padding = 1 - lengths.sum() / sum(width * count for width, count in alone.items())
    work = sum(_work(width, cost) * count for width, count in alone.items())
    told = f"{len(widths)} bucket{'s' * (len(widths) > 1)}"
    always = packing == "always"
    found = (
        _packed(lengths, batch_size, cost, parts, math.inf if always else work)
        if packing != "never"
        else None
    )
    if found is None or (found[0] > (1 - GAIN) * work and not always):
        gain = "nothing" if found is None or found[0] >= work else f"only {100 * (1 - found[0] / work):.1f} %"
        gain = "was not asked for" if packing == "never" else f"would save {gain}"
        reason = (
            f"{told} of {', '.join(map(str, widths))} tokens, {_percent(padding)} padding; packing {gain}"
        )
        return BatchLayout(False, widths, 1, float(padding), reason)
    _unused, plan, slots = found
    share = 1 - lengths.sum() / slots
    reason = (
        f"packed: rows of {plan.width} tokens hold {len(lengths) / plan.rows:.1f} texts each, {_percent(share)} "
        f"padding; {told} would pad {_percent(padding)}"
    )
    return BatchLayout(True, (plan.width,), plan.most, float(share), reason)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.095 else f"{100 * share:.1f} %"


def _work(width: int, cost: float) -> float:
    return width * (1 + width / cost)


def _packed(
    lengths: np.ndarray, batch_size: int, cost: float, parts: int, limit: float
) -> tuple[float, PackingPlan, int] | None:
    """The packing of least work, and less than ``limit``: its work, plan, and token slots of an epoch.

    Without a limit there is always one; else only those count that share rows and come near the batch size.
    """
    total, least = int(lengths.sum()), -(-int(lengths.max()) // 8) * 8
    step = max(8, -(-least * (_WIDEST - 1) // (8 * _CANDIDATES)) * 8)
    best: tuple[float, PackingPlan, int] | None = None
    far = limit == math.inf  # whether the best so far does not come near the batch size
    for width in range(least, _WIDEST * least + 1, step):
        if total * (1 + width / cost) >= limit:
            break  # wider rows cost more even without any padding
        plan = plan_rows(lengths, width, crowd(lengths, width))
        a_batch = rows_in_batch(len(lengths), plan.rows, batch_size, parts)
        rows = -(-plan.rows // a_batch) * a_batch
        work = _work(width, cost) * rows
        near = abs(len(lengths) * a_batch / plan.rows / batch_size - 1) <= 0.1 or a_batch >= plan.rows
        good = near and plan.rows < len(lengths)
        if (good and (far or work < limit)) or (best is None and far):
            best, far = (work, plan, rows * width), not good
            limit = math.inf if far else work
    return best


def crowd(lengths: np.ndarray, width: int) -> int:
    """Examples that a row may hold at most: labels and pooled vectors have this many slots in every row."""
    return max(4, _CROWD * round(width * len(lengths) / max(1, int(lengths.sum()))))


def rows_in_batch(examples: int, rows: int, batch_size: int, parts: int = 1) -> int:
    """Rows that hold ``batch_size`` examples, on average: a multiple of ``parts``, and no more than are
    needed."""
    return parts * max(1, min(round(batch_size * rows / examples / parts), -(-rows // parts)))


class PackedBatches(Batches):
    """Batches of one width, with several examples in a row.

    A batch is ``{"ids", "types", "segment", "position": i32[b, t]; "start", "label", "index": i32[b, s];
    "weight": f32[b, s]}``, with ``"target": f32[b, s, k]`` where the tokens have targets. ``segment`` is 0 at
    padding and 1 … s at the tokens of a row's examples, ``position`` counts from 0 in each, ``start`` is the
    column of its first token and ``index`` its position in ``tokens``. An empty slot has start 0, label 0,
    weight 0 and index -1. The last batch is filled up with rows of empty slots.

    Args:
        tokens: the examples.
        batch_size: examples in a batch, on average: b is as many rows as hold them.
        layout: t, or a layout with ``packed`` (:func:`choose`).
        seed: decides the order, together with the epoch.
        shuffle: seat other examples of the same lengths together, and mix the rows, in every epoch.
        weights: f32[n], weight of every example of ``tokens`` (1 if not given).
        labelled_only: leave examples without a label (-1) out. With False they take part with weight 1 and
        label 0.
        parts: what b must be divisible by (devices, or parts of a step).

    Attributes:
        slots: s, examples in the fullest row.

    Raises:
        ConfigError: ``batch_size``, ``seed`` or the width cannot be used, or the layout is not packed.
        DataError: ``weights`` do not fit, or there are examples but none with a label.
    """

    def __init__(
        self,
        tokens: Tokens,
        batch_size: int,
        layout: BatchLayout | int,
        seed: int = 0,
        shuffle: bool = True,
        *,
        weights: np.ndarray | None = None,
        labelled_only: bool = True,
        parts: int = 1,
    ):
        if parts < 1:
            raise ConfigError(_("parts = {parts} must be at least 1."), parts=parts)
        if isinstance(layout, BatchLayout) and not layout.packed:
            raise ConfigError(
                _("this layout is not packed ({reason}): use BucketBatches with its widths."),
                reason=layout.reason,
            )
        super().__init__(tokens, batch_size, seed, shuffle, weights, labelled_only)
        self.tokens = tokens
        self._lengths = take(tokens.lengths, self._rows, np.int32)
        width = layout.width if isinstance(layout, BatchLayout) else int(layout)
        most = layout.most if isinstance(layout, BatchLayout) else crowd(self._lengths, width)
        self.plan = plan_rows(self._lengths, width, most)
        self.slots, self.width = self.plan.most, width
        self.rows = (
            rows_in_batch(self.examples, self.plan.rows, self.batch_size, parts) if self.examples else parts
        )

    @property
    def steps_per_epoch(self) -> int:
        """Batches in an epoch, the same in each."""
        return -(-self.plan.rows // self.rows)

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """The only shape ``(b, t)``."""
        return [(self.rows, self.width)] if self.examples else []

    @property
    def padding_share(self) -> float:
        """Share of an epoch's token slots that hold no token, empty rows included; 0 to 1."""
        slots = self.steps_per_epoch * self.rows * self.width
        return 1 - int(self._lengths.sum()) / slots if slots else 0.0

    def _planned(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Examples of every row i32[rows, s] (-1: none) and the row's kind i32[rows]."""
        bits = self._bits(epoch)
        table = self.plan.seat(self._lengths, mixed(bits, self.examples) if self.shuffle else None)
        turn, ends = mixed(bits, len(table)) if self.shuffle else None, np.cumsum(self.plan.counts)
        count = self.steps_per_epoch * self.rows
        seats, kinds = array(count * self.slots, np.int32).reshape(-1, self.slots), array(count, np.int32)
        seats[len(table) :], kinds[len(table) :] = -1, len(ends)
        for part in portions(len(table), self.slots):
            rows = np.arange(part.start, part.stop) if turn is None else turn[part]
            there = table[rows]
            seats[part] = np.where(there < 0, np.int32(-1), self._rows[there])
            kinds[part] = np.searchsorted(ends, rows, side="right")
        return seats, kinds

    @cached_property
    def _forms(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of every kind of row, an empty one the last: segment and position i32[p + 1, t], start i32[p + 1,
        s].

        They depend on lengths alone, so that a batch only looks them up.
        """
        patterns = np.concatenate([self.plan.patterns, np.zeros((1, self.slots), np.int32)])
        ends = patterns.cumsum(axis=1, dtype=np.int32)
        column = np.arange(self.width, dtype=np.int32)
        segment = np.zeros((len(patterns), self.width), np.int32)
        for end in ends.T:
            segment += column >= end[:, None]
        start = np.where(patterns > 0, ends - patterns, 0).astype(np.int32)
        real = column < ends[:, -1:]
        position = column - np.take_along_axis(start, np.minimum(segment, self.slots - 1), axis=1)
        return (
            np.where(real, segment + 1, 0).astype(np.int32),
            np.where(real, position, 0).astype(np.int32),
            start,
        )

    def _batch(self, plan: tuple[np.ndarray, np.ndarray], place: int) -> Batch:
        rows = slice(place * self.rows, (place + 1) * self.rows)
        index, kinds = (part[rows] for part in plan)
        tokens, (segments, positions, starts) = self.tokens, self._forms
        segment, position, start = segments[kinds], positions[kinds], starts[kinds]
        first = np.zeros(
            (len(index), self.slots + 1), np.int64
        )  # where every segment begins; segment 0 is padding
        np.take(tokens.offsets, index, out=first[:, 1:], mode="clip")
        source = np.take_along_axis(first, segment, axis=1)
        source += position
        ids, types = tokens.ids.take(source), tokens.types.take(source).astype(np.int32)
        padding = segment == 0
        ids[padding], types[padding] = tokens.pad_id, 0
        return {
            "ids": ids,
            "types": types,
            "segment": segment,
            "position": position,
            "start": start,
            **self._known(index),
        }
