"""The token cache: same arrays, found again by content, and rebuilt when anything is wrong with it."""

from __future__ import annotations

import os
import time
from pathlib import Path

import datasets
import numpy as np
import pytest

from labkit.core.cache import cache_dir
from labkit.core.errors import DataError
from labkit.data.text import encode as module
from labkit.data.text.encode import encode
from labkit.data.text.tokenizer import Tokenizer
from labkit.data.text.tokens import DTYPES

TEXTS = ["a good film", "", "电影 好", "a dull film " * 9, "naïve ☃ 10"] * 4


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(TEXTS, vocab_size=120)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def calls(monkeypatch) -> list[int]:
    """How many texts were tokenised, a number for every call."""
    seen: list[int] = []
    whole = Tokenizer.encode

    def counted(self, texts, *rest):
        seen.append(len(texts))
        return whole(self, texts, *rest)

    monkeypatch.setattr(Tokenizer, "encode", counted)
    return seen


def table(texts=TEXTS, **columns) -> datasets.Dataset:
    count = len(texts)
    basic = {
        "text": list(texts),
        "label": [i % 3 - 1 for i in range(count)],
        "row": [2 * i + 1 for i in range(count)],
    }
    return datasets.Dataset.from_dict({**basic, **columns})


def same(a, b) -> bool:
    plain = (a.pad_id, a.truncated) == (b.pad_id, b.truncated)
    return plain and all(np.array_equal(getattr(a, name), getattr(b, name)) for name in DTYPES)


def entry() -> Path:
    (folder,) = cache_dir("tokens").iterdir()
    return folder


def test_rows_come_out_with_their_labels_and_numbers(tokenizer, monkeypatch):
    monkeypatch.setattr(module, "_CHUNK", 3)
    tokens = encode(table(), tokenizer, 12)
    expected = tokenizer.encode(TEXTS, None, 12)
    for name in ("ids", "types", "offsets"):
        assert np.array_equal(getattr(tokens, name), getattr(expected, name))
    assert tokens.label.tolist() == [i % 3 - 1 for i in range(20)] and tokens.row.tolist() == list(
        range(1, 41, 2)
    )
    assert tokens.truncated == 4 == expected.truncated
    for name, kind in DTYPES.items():
        assert getattr(tokens, name).dtype == kind
        with pytest.raises(ValueError, match="read-only"):
            getattr(tokens, name)[0] = 1
    assert same(tokens, encode(table(), tokenizer, 12, cache=False))


def test_pairs_and_missing_columns(tokenizer, monkeypatch):
    monkeypatch.setattr(module, "_CHUNK", 3)
    pairs = TEXTS[::-1]
    tokens = encode(table(text_pair=pairs).remove_columns(["label", "row"]), tokenizer, 14)
    assert same(tokens, tokenizer.encode(TEXTS, pairs, 14))


def test_done_once(tokenizer, calls, tmp_path):
    first = encode(table(), tokenizer, 12)
    assert sum(calls) == 20
    again = Tokenizer.load(tokenizer.save(tmp_path))
    assert same(first, encode(table(), again, 12)), "the same data, in other objects"
    assert sum(calls) == 20
    assert {item.name for item in entry().iterdir()} == {"meta.json", *(f"{name}.npy" for name in DTYPES)}


def test_the_content_decides_not_how_it_is_stored(tokenizer, calls, monkeypatch):
    monkeypatch.setattr(module, "_CHUNK", 7)
    plain = table()
    expected = encode(plain, tokenizer, 12)
    shuffled = plain.select([*range(10, 20), *range(10)]).select([*range(10, 20), *range(10)])
    parts = datasets.concatenate_datasets([plain.select(range(7)), plain.select(range(7, 20))])
    large = plain.cast_column("text", datasets.Value("large_string"))
    more = plain.add_column("other", list(range(20)))
    for one in (shuffled, parts, large, more):
        assert same(expected, encode(one, tokenizer, 12))
    assert sum(calls) == 20


def test_another_text_label_row_length_or_tokenizer_is_another_entry(tokenizer, calls):
    base = table()
    encode(base, tokenizer, 12)
    others = [
        table(["a good fil", "m", *TEXTS[2:]]),  # the same characters, cut elsewhere
        table(label=[0] * 20),
        table(row=list(range(20))),
        base.select(range(19)),
        base.select([1, 0, *range(2, 20)]),
        table(text_pair=TEXTS),
        base.remove_columns("label"),
    ]
    for other in others:
        assert same(encode(other, tokenizer, 12), encode(other, tokenizer, 12, cache=False))
    encode(base, tokenizer, 13)
    encode(base, Tokenizer.train(TEXTS, vocab_size=120, lowercase=False), 12)
    assert len(list(cache_dir("tokens").iterdir())) == 3 + len(others)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


DAMAGES = {
    "cut short": lambda path: path.write_bytes(path.read_bytes()[:-3]),
    "empty": lambda path: path.write_bytes(b""),
    "gone": Path.unlink,
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"\0" * 8),
    "one bit": flip,
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["ids.npy", "offsets.npy", "meta.json"])
def test_a_damaged_entry_is_made_again(tokenizer, calls, name, damage):
    expected = encode(table(), tokenizer, 12, cache=False)
    encode(table(), tokenizer, 12)
    done = sum(calls)
    DAMAGES[damage](entry() / name)
    assert same(expected, encode(table(), tokenizer, 12))
    assert sum(calls) == done + 20
    assert same(expected, encode(table(), tokenizer, 12))
    assert sum(calls) == done + 20, "and found whole the next time"


def test_an_interrupted_writer_leaves_nothing(tokenizer, monkeypatch):
    monkeypatch.setattr(module, "_CHUNK", 6)
    whole = Tokenizer.encode

    def breaks(self, texts, *rest):
        if len(texts) < 6:
            raise KeyboardInterrupt
        return whole(self, texts, *rest)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Tokenizer, "encode", breaks)
        encode(table(), tokenizer, 12)
    assert list(cache_dir("tokens").iterdir()) == []
    killed, fresh = cache_dir("tokens", ".writing-killed"), cache_dir("tokens", ".writing-fresh")
    long_ago = time.time() - 2 * 86_400
    os.utime(killed, (long_ago, long_ago))
    encode(table(), tokenizer, 12)
    assert not killed.exists() and fresh.exists(), (
        "what a killed process left goes, another's work in progress stays"
    )


def test_two_writers_at_once_both_get_the_tokens(tokenizer, monkeypatch):
    expected = encode(table(), tokenizer, 12, cache=False)
    inner = module.write_tokens

    def second_one_is_faster(*arguments):
        inner(*arguments)
        monkeypatch.setattr(module, "write_tokens", inner)
        assert same(expected, encode(table(), tokenizer, 12))

    monkeypatch.setattr(module, "write_tokens", second_one_is_faster)
    assert same(expected, encode(table(), tokenizer, 12))
    assert len(list(cache_dir("tokens").iterdir())) == 1


def test_no_rows(tokenizer):
    empty = table().select([])
    for cache in (True, True, False):
        tokens = encode(empty, tokenizer, 12, cache=cache)
        assert len(tokens) == 0 and tokens.offsets.tolist() == [0]


def test_what_is_wrong_is_said(tokenizer, monkeypatch):
    with pytest.raises(DataError, match="no column 'text', only words, label"):
        encode(datasets.Dataset.from_dict({"words": ["a"], "label": [1]}), tokenizer, 12)
    monkeypatch.setattr(module, "_CHUNK", 3)
    for cache in (True, False):
        with pytest.raises(DataError, match="example 4 has no text;"):
            encode(table(["a"] * 4 + [None, "b"]), tokenizer, 12, cache=cache)
    nobody = encode(table(label=[None] * 20), tokenizer, 12)
    assert set(nobody.label.tolist()) == {-1}, "a missing label never becomes class 0"
