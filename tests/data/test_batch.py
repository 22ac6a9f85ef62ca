"""Batches: every example once an epoch, in fixed shapes, a function of seed and step; buckets are optimal."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.core.errors import ConfigError, DataError
from labkit.data.batching.buckets import BucketBatches, choose_buckets
from labkit.data.text.tokenizer import Tokenizer
from labkit.data.text.tokens import Tokens

KINDS = {
    "ids": np.int32,
    "types": np.int32,
    "mask": bool,
    "label": np.int32,
    "weight": np.float32,
    "index": np.int32,
}
PAD = 9
lengths_of_rows = st.lists(st.integers(2, 40), min_size=1, max_size=60)


def tokens_of(lengths, label=None) -> Tokens:
    """Row i holds the ids 100 i + 10, 100 i + 11, …, so that every token tells where it comes from."""
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    ids = np.concatenate([np.arange(n) + 100 * i + 10 for i, n in enumerate(lengths)]).astype(np.int32)
    label = np.arange(len(lengths)) % 3 if label is None else label
    return Tokens(
        ids, (ids % 2).astype(np.uint8), offsets, np.asarray(label, np.int32), np.arange(len(lengths)), PAD
    )


def slots(lengths, buckets, batch_size=1) -> int:
    """Token slots of an epoch, by brute force."""
    places = [min(b for b in buckets if b >= n) for n in lengths]
    return sum(-(-places.count(b) // batch_size) * batch_size * b for b in buckets)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(1, 48), min_size=1, max_size=30), st.integers(1, 4), st.sampled_from([1, 3, 8]))
def test_buckets_are_optimal(lengths, count, batch):
    buckets = choose_buckets(lengths, 48, count, batch_size=batch)
    assert (
        all(b % 8 == 0 for b in buckets) and list(buckets) == sorted(set(buckets)) and len(buckets) <= count
    )
    assert max(lengths) <= buckets[-1] < max(lengths) + 8
    candidates = [b for b in range(8, 49, 8) if b < buckets[-1]]
    least = min(
        (slots(lengths, (*chosen, buckets[-1]), batch), k + 1)
        for k in range(count)
        for chosen in itertools.combinations(candidates, k)
    )
    assert (slots(lengths, buckets, batch), len(buckets)) == least, (
        "fewest slots, and of those the fewest buckets"
    )


def test_buckets_of_a_large_data_set():
    lengths = np.minimum(np.random.default_rng(0).lognormal(4, 1, 1_000_000).astype(int) + 2, 512)
    buckets = choose_buckets(lengths, 512)
    assert len(buckets) == 4 and buckets[-1] == 512
    chosen, even = (np.take(b, np.searchsorted(b, lengths)).sum() for b in (buckets, (128, 256, 384, 512)))
    assert chosen < 0.85 * even


def test_buckets_at_the_edges():
    assert choose_buckets([], 128) == (8,)
    assert choose_buckets([100, 3], 100, 2) == (8, 100), "no wider than the model's positions"
    assert choose_buckets([5, 6], 4096) == (8,)
    with pytest.raises(ConfigError, match="longest row has 9 tokens, more than max_length = 8"):
        choose_buckets([9], 8)
    with pytest.raises(ConfigError, match="count = 0"):
        choose_buckets([9], 16, 0)


@pytest.mark.parametrize("batch_size", [1, 7, 64, 1000])
@settings(max_examples=25, deadline=None)
@given(lengths=lengths_of_rows, shuffle=st.booleans(), seed=st.integers(0, 2**40), data=st.data())
def test_every_example_once_an_epoch_and_whole(batch_size, lengths, shuffle, seed, data):
    label = data.draw(st.lists(st.integers(-1, 2), min_size=len(lengths), max_size=len(lengths)))
    labelled = max(label) >= 0 and data.draw(st.booleans())
    tokens = tokens_of(lengths, label)
    buckets = choose_buckets(lengths, 40, 3)
    batches = BucketBatches(tokens, batch_size, buckets, seed=seed, shuffle=shuffle, labelled_only=labelled)
    expected = [i for i in range(len(lengths)) if label[i] >= 0 or not labelled]
    for epoch in (0, 1, 5):
        seen, places, used = [], 0, set()
        for step in range(epoch * len(batches), (epoch + 1) * len(batches)):
            batch = batches.at(step)
            check(batch, tokens, lengths)
            seen += batch["index"][batch["weight"] == 1].tolist()
            places += batch["ids"].size
            used.add(batch["ids"].shape)
        assert sorted(seen) == expected
        assert sorted(used) == sorted(batches.shapes)
        real = sum(lengths[i] for i in expected)
        assert batches.padding_share == pytest.approx(1 - real / places)
    assert batches.examples_per_step * batches.steps_per_epoch == pytest.approx(len(expected))


def check(batch, tokens, lengths) -> None:
    assert {name: value.dtype.type for name, value in batch.items()} == {**KINDS, "mask": np.bool_}
    for i, place in enumerate(batch["index"]):
        ids, mask, types = batch["ids"][i], batch["mask"][i], batch["types"][i]
        if place < 0:
            assert batch["weight"][i] == 0 == batch["label"][i] and mask.tolist() == [True] + [False] * (
                len(ids) - 1
            )
            assert set(ids.tolist()) == {PAD} and not types.any()
            continue
        n = lengths[place]
        assert ids[:n].tolist() == [100 * place + 10 + j for j in range(n)] and set(ids[n:].tolist()) <= {PAD}
        assert types[:n].tolist() == [number % 2 for number in ids[:n]] and not types[n:].any()
        assert mask.tolist() == [True] * n + [False] * (len(ids) - n)
        assert batch["label"][i] == max(0, tokens.label[place]) and batch["weight"][i] == 1


def same(a, b) -> bool:
    return all(np.array_equal(a[name], b[name]) for name in KINDS)


def test_a_batch_is_a_function_of_seed_and_step():
    tokens = tokens_of([5, 12, 30, 7] * 20)
    one, other = (BucketBatches(tokens, 8, (8, 16, 32), seed=3) for _ in range(2))
    steps = range(4 * len(one))
    forward = [one.at(step) for step in steps]
    for step in [*reversed(steps), 0, 25, 3]:
        assert same(forward[step], other.at(step))
    assert len(one.plans) == 2, "of all epochs only two are kept"
    assert not all(
        same(a, b) for a, b in zip(forward, BucketBatches(tokens, 8, (8, 16, 32), seed=4), strict=False)
    )
    assert all(same(a, b) for a, b in zip(forward, one, strict=False))


def test_the_order_does_not_change_with_process_or_version():
    # written down once: a run resumed after an upgrade of NumPy, or elsewhere, must go on with the same batches
    batches = BucketBatches(tokens_of([4, 12] * 5), 3, (8, 16), seed=7)
    assert [batches.at(step)["index"].tolist() for step in range(8)] == [
        [9, 5, -1], [7, 3, 1], [2, 0, -1], [8, 6, 4],
        [5, 9, 3], [7, 1, -1], [2, 8, 6], [4, 0, -1],
    ]  # fmt: skip


def test_epochs_and_buckets_are_mixed():
    batches = BucketBatches(tokens_of([4, 12, 30] * 64), 16, (8, 16, 32))
    orders = [[batches.at(e * len(batches) + s) for s in range(len(batches))] for e in range(3)]
    widths = [[batch["ids"].shape[1] for batch in order] for order in orders]
    assert widths[0] != widths[1] != widths[2] and all(sorted(w) == sorted(widths[0]) for w in widths)
    assert widths[0] != sorted(widths[0])
    mates = [{frozenset(batch["index"].tolist()) for batch in order} for order in orders]
    assert not mates[0] & mates[1], "who is in a batch with whom changes too"


def test_unshuffled_batches_put_predictions_back_in_order():
    lengths = [30, 4, 12, 5, 31, 6, 13]
    batches = BucketBatches(tokens_of(lengths), 2, (8, 16, 32), shuffle=False)
    assert [batch["index"].tolist() for batch in batches] == [[1, 3], [5, -1], [2, 6], [0, 4]]
    assert same(batches.at(0), batches.at(4)), "every epoch is the same"
    answer = np.full(len(lengths), -1)
    for batch in batches:
        real = batch["index"] >= 0
        answer[batch["index"][real]] = batch["mask"][real].sum(1)
    assert answer.tolist() == lengths


def test_rows_without_a_label():
    tokens = tokens_of([4] * 6, label=[1, -1, 2, -1, -1, 0])
    learn = BucketBatches(tokens, 4, (8,), shuffle=False)
    assert [batch["index"].tolist() for batch in learn] == [[0, 2, 5, -1]]
    predict = BucketBatches(tokens, 4, (8,), shuffle=False, labelled_only=False)
    first, second = predict
    assert first["index"].tolist() == [0, 1, 2, 3] and first["weight"].tolist() == [1, 1, 1, 1]
    assert first["label"].tolist() == [1, 0, 2, 0] and second["weight"].tolist() == [1, 1, 0, 0]
    with pytest.raises(
        DataError, match="none of the 2 rows has a label; to predict, pass labelled_only=False"
    ):
        BucketBatches(tokens_of([4, 4], label=[-1, -1]), 4, (8,))


def test_example_weights():
    weights = np.array([0.5, 0, 2], np.float32)
    (batch,) = BucketBatches(tokens_of([4, 5, 6]), 4, (8,), shuffle=False, weights=weights)
    assert batch["weight"].tolist() == [0.5, 0, 2, 0] and batch["index"].tolist() == [0, 1, 2, -1]
    with pytest.raises(DataError, match=r"shape \(2,\); there are 3 rows"):
        BucketBatches(tokens_of([4, 5, 6]), 4, (8,), weights=weights[:2])
    for bad in (np.nan, np.inf, -1.0):
        with pytest.raises(DataError, match="row 1 is"):
            BucketBatches(tokens_of([4, 5, 6]), 4, (8,), weights=np.array([1, bad, 1]))


def test_from_texts_to_a_batch():
    tokenizer = Tokenizer.train(["good film", "dull film"] * 2, vocab_size=60)
    tokens = tokenizer.encode(["good film", "film " * 40, ""], max_length=16)
    buckets = choose_buckets(tokens.lengths, 16)
    first, *_, last = BucketBatches(tokens, 2, buckets, shuffle=False, labelled_only=False)
    assert tokenizer.decode(first["ids"][0]) == "good film" and first["index"].tolist() == [0, 2]
    assert last["ids"].shape == (2, 16) and last["index"].tolist() == [1, -1]
    assert (last["ids"][1] == tokenizer.pad_id).all()


def test_what_is_wrong_is_said():
    tokens = tokens_of([4, 20])
    for buckets in ((), (16, 8), (8, 8), (0, 32)):
        with pytest.raises(ConfigError, match="ascending order"):
            BucketBatches(tokens, 2, buckets)
    with pytest.raises(ConfigError, match="longest row has 20 tokens, but the widest bucket only 16"):
        BucketBatches(tokens, 2, (8, 16))
    with pytest.raises(ConfigError, match="batch_size = 0"):
        BucketBatches(tokens, 0, (32,))
    with pytest.raises(ConfigError, match="seed = -1"):
        BucketBatches(tokens, 1, (32,), seed=-1)
    with pytest.raises(DataError, match="no batch at step -1"):
        BucketBatches(tokens, 1, (32,)).at(-1)
    nothing = np.empty(0, np.int32)
    empty = BucketBatches(Tokens(nothing, nothing, np.zeros(1, np.int64), nothing, nothing, PAD), 2, (8,))
    assert list(empty) == [] and empty.shapes == [] and empty.padding_share == 0
    with pytest.raises(DataError, match=r"no batch at step 0 \(0 examples\)"):
        empty.at(0)
