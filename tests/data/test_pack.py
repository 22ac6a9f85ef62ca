"""Packing: every example once an epoch and whole, no row too full, other companions every epoch, and when it pays."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.core.errors import ConfigError, DataError
from labkit.data.batching.packing import BatchLayout, PackedBatches, choose, plan_rows
from labkit.data.text.tokens import Tokens

KINDS = {"ids": np.int32, "types": np.int32, "segment": np.int32, "position": np.int32, "start": np.int32,
         "label": np.int32, "weight": np.float32, "index": np.int32}  # fmt: skip
PAD = 9
some_lengths = st.lists(st.integers(2, 40), min_size=1, max_size=80)


def tokens_of(lengths, label=None) -> Tokens:
    """Row i holds the ids 100 i + 10, 100 i + 11, …, so that every token tells where it comes from."""
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    ids = np.concatenate([np.arange(n) + 100 * i + 10 for i, n in enumerate(lengths)]).astype(np.int32)
    label = np.arange(len(lengths)) % 3 if label is None else label
    return Tokens(
        ids, (ids % 2).astype(np.uint8), offsets, np.asarray(label, np.int32), np.arange(len(lengths)), PAD
    )


def sentences(count: int, seed: int = 0) -> np.ndarray:
    """Lengths like those of sentences: 3 to 64, 22 on average."""
    return np.clip(np.random.default_rng(seed).lognormal(3, 0.5, count).astype(int), 3, 64)


# --- the plan --------------------------------------------------------------------------------------------------------


@settings(max_examples=300, deadline=None)
@given(lengths=some_lengths, more=st.integers(0, 60), most=st.none() | st.integers(1, 6))
def test_a_plan_seats_every_example_once_and_fills_no_row_too_full(lengths, more, most):
    lengths, width = np.array(lengths), max(lengths) + more
    plan = plan_rows(lengths, width, most)
    table = plan.seat(lengths)
    assert sorted(table[table >= 0].tolist()) == list(range(len(lengths)))
    assert table.shape == (plan.rows, plan.most) and plan.most <= (most or width)
    filled = np.where(table >= 0, lengths[table], 0)
    assert (filled.sum(axis=1) <= width).all() and (filled.sum(axis=1) > 0).all()
    assert (filled == np.repeat(plan.patterns, plan.counts, axis=0)).all(), (
        "each row holds the lengths planned for it"
    )
    again = plan_rows(lengths[::-1], width, most)
    assert (again.patterns == plan.patterns).all() and (again.counts == plan.counts).all(), (
        "the histogram decides"
    )


@settings(max_examples=200, deadline=None)
@given(lengths=some_lengths, more=st.integers(0, 60))
def test_the_plan_is_best_fit_decreasing(lengths, more):
    """As many rows as the textbook's algorithm, which goes through the examples one by one."""
    width = max(lengths) + more
    room: list[int] = []
    for length in sorted(lengths, reverse=True):
        fits = [left for left in room if left >= length]
        if fits:
            room.remove(min(fits))
        room.append((min(fits) if fits else width) - length)
    plan = plan_rows(lengths, width)
    assert plan.rows == len(room)
    assert Counter(np.repeat(width - plan.patterns.sum(axis=1), plan.counts).tolist()) == Counter(room)


def test_equal_lengths_take_their_places_in_the_order_given():
    plan = plan_rows([4, 4, 4, 4, 2], 10)
    assert plan.seat(np.array([4, 4, 4, 4, 2])).tolist() == [[0, 1, 4], [2, 3, -1]]
    assert plan.seat(np.array([4, 4, 4, 4, 2]), np.array([3, 0, 4, 1, 2])).tolist() == [[3, 0, 4], [1, 2, -1]]


def test_a_million_lengths_are_planned_at_once_and_almost_without_padding():
    lengths = np.minimum(np.random.default_rng(0).lognormal(3.5, 0.8, 1_000_000).astype(int) + 2, 512)
    plan = plan_rows(lengths, 1024, 64)
    assert lengths.sum() / (plan.rows * 1024) > 0.98
    assert len(plan.counts) < 5000, "so few kinds of row that the work does not grow with the examples"
    table = plan.seat(lengths)
    assert (np.bincount(table[table >= 0], minlength=len(lengths)) == 1).all()


def test_a_plan_says_what_does_not_fit():
    with pytest.raises(ConfigError, match="examples of 2 to 9 tokens do not fit rows of 8"):
        plan_rows([9, 2], 8)
    with pytest.raises(ConfigError, match="most = 0 must be at least 1"):
        plan_rows([9], 16, 0)
    assert plan_rows([], 16).rows == 0


# --- the choice ------------------------------------------------------------------------------------------------------


def test_sentences_are_packed_and_the_reason_says_why():
    lengths = sentences(8000)
    layout = choose(lengths, 128, 32)
    assert layout.packed and len(layout.widths) == 1 and layout.width % 8 == 0
    assert layout.padding_share < 0.02
    assert layout.reason.startswith(f"packed: rows of {layout.width} tokens hold ")
    assert "texts each" in layout.reason and "4 buckets would pad" in layout.reason
    batches = PackedBatches(tokens_of(lengths), 32, layout)
    assert batches.padding_share == pytest.approx(layout.padding_share), "what was promised is what is got"
    assert batches.examples_per_step == pytest.approx(32, rel=0.1)


@pytest.mark.parametrize("lengths", [[64] * 500, [128] * 30 + [121] * 400, [8]])
def test_texts_of_one_length_are_left_alone(lengths):
    layout = choose(lengths, 128, 8)
    assert not layout.packed and layout.most == 1
    assert "packing would save" in layout.reason


def test_attention_decides_too():
    """In a narrow model attention is dear, so that wide rows cost more than padding does."""
    lengths = np.random.default_rng(0).integers(40, 129, 4000)
    wide, narrow = choose(lengths, 128, 16, cost=1e6), choose(lengths, 128, 16, cost=20.0)
    assert wide.packed and (not narrow.packed or narrow.width < wide.width)


@settings(max_examples=60, deadline=None)
@given(lengths=some_lengths, batch_size=st.integers(1, 50), cost=st.sampled_from([100.0, 2304.0]))
def test_whatever_is_chosen_can_be_used(lengths, batch_size, cost):
    layout = choose(lengths, 40, batch_size, cost=cost)
    assert max(lengths) <= layout.width and 0 <= layout.padding_share < 1
    if layout.packed:
        batches = PackedBatches(tokens_of(lengths), batch_size, layout)
        assert batches.padding_share == pytest.approx(layout.padding_share)
        assert len(batches.tokens) > batches.plan.rows, "some row is shared"


@settings(max_examples=60, deadline=None)
@given(lengths=some_lengths, batch_size=st.integers(1, 50), parts=st.sampled_from([1, 2, 8]))
def test_what_is_asked_for_is_done(lengths, batch_size, parts):
    layout = choose(lengths, 40, batch_size, packing="always", parts=parts)
    batches = PackedBatches(tokens_of(lengths), batch_size, layout, parts=parts)
    assert layout.packed and layout.reason.startswith("packed: ")
    assert batches.rows % parts == 0 and batches.rows < batches.plan.rows + parts
    assert batches.padding_share == pytest.approx(layout.padding_share)
    never = choose(lengths, 40, batch_size, packing="never")
    assert not never.packed and never.reason.endswith("packing was not asked for")


def test_nothing_to_choose_from():
    with pytest.raises(
        ConfigError, match=r"packing = 'allways' is not one of auto, always, never. Did you mean"
    ):
        choose([3], 128, 8, packing="allways")

    assert not choose([], 128, 8).packed
    with pytest.raises(ConfigError, match="cost = 0 must be above 0"):
        choose([3], 128, 8, cost=0)


# --- the batches -----------------------------------------------------------------------------------------------------


def unpacked(batch: dict[str, np.ndarray]) -> dict[int, list[int]]:
    """Example → its ids, read off the segments of a batch."""
    found = {}
    for row, slot in np.argwhere(batch["index"] >= 0).tolist():
        found[int(batch["index"][row, slot])] = batch["ids"][row, batch["segment"][row] == slot + 1].tolist()
    return found


@pytest.mark.parametrize("batch_size", [1, 7, 64, 1000])
@settings(max_examples=25, deadline=None)
@given(
    lengths=some_lengths,
    more=st.integers(0, 80),
    shuffle=st.booleans(),
    seed=st.integers(0, 2**40),
    data=st.data(),
)
def test_every_example_once_an_epoch_and_whole(batch_size, lengths, more, shuffle, seed, data):
    label = data.draw(st.lists(st.integers(-1, 2), min_size=len(lengths), max_size=len(lengths)))
    labelled = max(label) >= 0 and data.draw(st.booleans())
    tokens = tokens_of(lengths, label)
    weights = np.arange(len(lengths)) / 7 + 0.5
    batches = PackedBatches(tokens, batch_size, max(lengths) + more, seed, shuffle, weights=weights,
                            labelled_only=labelled)  # fmt: skip
    expected = [i for i in range(len(lengths)) if label[i] >= 0 or not labelled]
    assert batches.examples == len(expected)
    for epoch in (0, 1, 5):
        seen, real = [], 0
        for step in range(epoch * len(batches), (epoch + 1) * len(batches)):
            batch = batches.at(step)
            assert {name: array.dtype for name, array in batch.items()} == KINDS
            b, t = batches.shapes[0]
            for name, array in batch.items():
                assert array.shape == (
                    (b, t) if name in ("ids", "types", "segment", "position") else (b, batches.slots)
                )
            padding = batch["segment"] == 0
            assert (batch["ids"][padding] == PAD).all() and not batch["position"][padding].any()
            assert not batch["types"][padding].any()
            empty = batch["index"] < 0
            assert (batch["index"][empty] == -1).all()
            assert not any(batch[name][empty].any() for name in ("label", "weight", "start"))
            for i, ids in unpacked(batch).items():
                assert ids == tokens.ids[tokens.offsets[i] : tokens.offsets[i + 1]].tolist()
                row, slot = np.argwhere(batch["index"] == i)[0]
                assert batch["label"][row, slot] == max(label[i], 0) and batch["weight"][
                    row, slot
                ] == np.float32(weights[i])
                here = slice(batch["start"][row, slot], batch["start"][row, slot] + len(ids))
                assert (batch["segment"][row, here] == slot + 1).all()
                assert batch["position"][row, here].tolist() == list(range(len(ids)))
                assert (
                    batch["types"][row, here] == tokens.types[tokens.offsets[i] : tokens.offsets[i + 1]]
                ).all()
                seen.append(i)
            real += int((~padding).sum())
        assert sorted(seen) == expected
        assert batches.padding_share == pytest.approx(1 - real / (len(batches) * b * t))


def test_an_epoch_is_a_function_of_seed_and_epoch_and_seats_other_companions():
    tokens = tokens_of(sentences(300))

    def companions(step: int, seed: int = 4) -> list[set[int]]:
        return [set(row[row >= 0].tolist()) for row in PackedBatches(tokens, 16, 64, seed).at(step)["index"]]

    count = len(PackedBatches(tokens, 16, 64))
    assert companions(2) == companions(2) and companions(count + 1) == companions(count + 1)
    assert companions(0) != companions(0, seed=5)
    first, second = (
        {frozenset(row) for step in range(count) for row in companions(step + at)} for at in (0, count)
    )
    assert len(first & second) < 0.3 * len(first), "most rows hold other examples together in the next epoch"
    still = PackedBatches(tokens, 16, 64, shuffle=False)
    assert all((still.at(1)[name] == still.at(1 + count)[name]).all() for name in KINDS)


def test_the_last_batch_is_filled_up_with_empty_rows():
    batches = PackedBatches(tokens_of([10, 10, 10]), 2, 10, shuffle=False)
    assert (batches.shapes, len(batches), batches.slots) == ([(2, 10)], 2, 1)
    last = batches.at(1)
    assert last["index"].tolist() == [[2], [-1]] and not last["segment"][1].any()
    assert batches.padding_share == 0.25 and batches.examples_per_step == 1.5


def test_rows_hold_the_batch_size_on_average():
    for batch_size in (16, 32, 100):
        batches = PackedBatches(tokens_of(sentences(4000)), batch_size, 128)
        assert batches.examples_per_step == pytest.approx(batch_size, rel=0.2)
        assert batches.slots <= 3 * round(128 / sentences(4000).mean()), "label arrays stay small"


def test_batches_say_what_they_cannot_use():
    tokens = tokens_of([4, 5])
    with pytest.raises(ConfigError, match="batch_size = 0 must be at least 1"):
        PackedBatches(tokens, 0, 8)
    with pytest.raises(ConfigError, match="do not fit rows of 4"):
        PackedBatches(tokens, 1, 4)
    with pytest.raises(
        ConfigError, match=r"this layout is not packed \(so it is\): use BucketBatches with its widths"
    ):
        PackedBatches(tokens, 1, BatchLayout(False, (8, 16), 1, 0.1, "so it is"))
    with pytest.raises(DataError, match="weights have the shape"):
        PackedBatches(tokens, 1, 8, weights=np.ones(3))
    with pytest.raises(DataError, match="none of the 2 rows has a label"):
        PackedBatches(tokens_of([4, 5], [-1, -1]), 1, 8)
    with pytest.raises(DataError, match="no batch at step -1"):
        PackedBatches(tokens, 1, 8).at(-1)


def test_no_examples_are_no_batches():
    none = Tokens(np.empty(0, np.int32), np.empty(0, np.uint8), np.zeros(1, np.int64), np.empty(0, np.int32),
                  np.empty(0, np.int64), PAD)  # fmt: skip
    batches = PackedBatches(none, 4, 16)
    assert (len(batches), batches.shapes, batches.padding_share, list(batches)) == (0, [], 0.0, [])
