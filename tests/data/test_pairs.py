"""Sources and targets side by side, in buckets of the longer one."""

from __future__ import annotations

import numpy as np
import pytest

from labkit.core.errors import DataError
from labkit.data.batching.pairs import PairBatches, TextPairs
from labkit.data.text.tokens import Tokens


def tokens_of(sizes, first):
    ids = np.arange(first, first + sum(sizes), dtype=np.int32)
    return Tokens.unlabelled(ids, np.zeros(len(ids), np.uint8), np.cumsum([0, *sizes]), pad_id=0)


SOURCE, TARGET = tokens_of([3, 9, 5, 2, 7], 100), tokens_of([6, 4, 5, 12, 1], 200)


def test_every_pair_comes_once_an_epoch_with_both_its_texts():
    pairs = TextPairs(SOURCE, TARGET)
    assert pairs.lengths.tolist() == [6, 9, 5, 12, 7]
    batches = PairBatches(pairs, 2, (8, 16), seed=3)
    assert batches.shapes == [(2, 8), (2, 16)] and len(batches) == 3
    seen = []
    for batch in batches:
        for place, number in enumerate(batch["index"].tolist()):
            if number < 0:
                assert batch["weight"][place] == 0 and not batch["target_ids"][place].any()
                continue
            seen.append(number)
            for tokens, ids, mask in ((SOURCE, "ids", "mask"), (TARGET, "target_ids", "target_mask")):
                expected = tokens.ids[tokens.offsets[number] : tokens.offsets[number + 1]]
                np.testing.assert_array_equal(batch[ids][place][batch[mask][place]], expected)
                assert batch[ids].shape == batch[mask].shape and batch[mask][place].sum() == len(expected)
    assert sorted(seen) == [0, 1, 2, 3, 4]
    real = sum(map(int, [*SOURCE.lengths, *TARGET.lengths]))
    assert batches.padding_share == pytest.approx(1 - real / (2 * (4 * 8 + 2 * 16)))


def test_texts_without_partners_are_refused():
    with pytest.raises(DataError, match="5 source texts but 2 target texts"):
        TextPairs(SOURCE, tokens_of([1, 2], 0))
