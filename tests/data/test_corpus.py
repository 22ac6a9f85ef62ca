"""Windows of a stream and pairs of passages: every token once, in order, and labels that tell the truth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.core.errors import ConfigError, DataError
from labkit.data.batching.corpus import sentence_pairs, stream
from labkit.data.text.tokens import Tokens

CLS, SEP = 1, 2


def rows_of(sizes: list[int]) -> Tokens:
    """Rows [CLS] … [SEP] whose inner tokens count on from 10, so that every one is known by its number."""
    ids, offsets, number = [], [0], 10
    for size in sizes:
        ids += [CLS, *range(number, number + size), SEP]
        number += size
        offsets.append(len(ids))
    flat = np.array(ids, np.int32)
    return Tokens.unlabelled(flat, np.zeros(len(flat), np.uint8), np.array(offsets), pad_id=0)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=12), st.integers(2, 9))
def test_windows_hold_every_token_once_and_in_order(sizes, length):
    tokens = rows_of(sizes)
    expected = [int(number) for number in tokens.ids if number != CLS]
    if len(expected) < 2:
        with pytest.raises(DataError, match="needs more text"):
            stream(tokens, length)
        return
    found = stream(tokens, length)
    left = len(expected) % length
    assert found.ids.tolist() == (expected[:-1] if left == 1 else expected)
    widths = np.diff(found.offsets)
    assert (widths[:-1] == length).all() and 2 <= widths[-1] <= length
    assert (found.label == 0).all() and len(found) == len(widths)
    belongs = np.repeat(tokens.row, np.array(sizes) + 1)
    np.testing.assert_array_equal(found.row, belongs[found.offsets[:-1]])


def parts(tokens: Tokens, number: int) -> tuple[np.ndarray, np.ndarray]:
    ids = tokens.ids[tokens.offsets[number] : tokens.offsets[number + 1]]
    types = tokens.types[tokens.offsets[number] : tokens.offsets[number + 1]]
    ends = np.flatnonzero(ids == SEP)
    assert ids[0] == CLS and len(ends) == 2 and ends[1] == len(ids) - 1
    np.testing.assert_array_equal(types, np.arange(len(ids)) > ends[0])
    return ids[1 : ends[0]], ids[ends[0] + 1 : -1]


@given(
    st.lists(st.lists(st.integers(1, 12), min_size=1, max_size=30), min_size=2, max_size=4), st.integers(0, 9)
)
def test_pairs_follow_each_other_where_their_label_says_so(documents, seed):
    sizes = [size for document in documents for size in document]
    numbers = np.repeat(np.arange(len(documents)), [len(document) for document in documents])
    tokens = rows_of(sizes)
    home = np.repeat(numbers, sizes)  # the document of every inner token
    try:
        found = sentence_pairs(tokens, numbers, 19, seed)
    except DataError:
        return
    firsts = []
    for number in range(len(found)):
        a, b = parts(found, number)
        firsts.append(a)
        assert 1 <= len(a) <= 8 and 1 <= len(b) <= 8
        for part in (a, b):
            np.testing.assert_array_equal(part, np.arange(part[0], part[0] + len(part)))
            assert len(set(home[part - 10])) == 1
        cut = len(a) == 8  # what was cut off stood between the two
        if found.label[number] == 0:
            assert home[a[0] - 10] == home[b[0] - 10] and (b[0] > a[-1] if cut else b[0] == a[-1] + 1)
        else:
            assert b[0] != a[-1] + 1 and not set(a) & set(b)
    assert len(found) == 0 or len(np.concatenate(firsts)) == len(set(np.concatenate(firsts).tolist()))
    assert abs(int(found.label.sum()) - len(found) / 2) <= 0.5


def test_most_of_a_long_paragraph_is_read():
    tokens = rows_of([100] * 20)
    found = sentence_pairs(
        tokens, np.zeros(20, int), 43, 0
    )  # passages of twenty tokens, of paragraphs of a hundred
    firsts = np.concatenate([parts(found, number)[0] for number in range(len(found))])
    assert len(firsts) > 0.8 * 1000  # half of the text stands first in a pair
    assert np.bincount((firsts - 10) // 100, minlength=20).min() > 20
    assert found.row.tolist() == sorted(found.row.tolist()) and set(found.row.tolist()) <= set(
        tokens.row.tolist()
    )


def test_the_same_seed_gives_the_same_pairs_and_another_one_others():
    tokens, one = rows_of([5] * 60), np.zeros(60, int)
    first, again, other = (sentence_pairs(tokens, one, 23, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.ids, again.ids)
    assert first.label.tolist() != other.label.tolist()


def test_what_is_too_little_is_said():
    with pytest.raises(ConfigError, match="max_length = 7 is too small"):
        sentence_pairs(rows_of([5] * 9), np.zeros(9, int), 7, 0)
    with pytest.raises(DataError, match="needs at least four passages of 30 tokens; there are 1"):
        sentence_pairs(rows_of([2] * 3), np.zeros(3, int), 64, 0)


def test_rows_that_were_cut_before_are_counted():
    cut = replace(rows_of([9, 9, 9, 9, 9]), truncated=2)
    assert stream(cut, 8).truncated == 2
    whole = sentence_pairs(replace(cut, truncated=0), np.zeros(5), 23, 0).truncated
    assert sentence_pairs(cut, np.zeros(5), 23, 0).truncated == whole + 2
    skipped = stream(rows_of([3, 3]), 4, skip=0)
    assert skipped.ids.tolist() == [CLS, 10, 11, 12, SEP, CLS, 13, 14, 15, SEP]
