"""Words looked up in bulk give the ids that the Rust library gives, whatever the text."""

from __future__ import annotations

import sys
import unicodedata

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Rust
from tokenizers import models, normalizers, pre_tokenizers

import labkit.data.text.tokenizer as module
from labkit.core.errors import DataError
from labkit.data.text import wordpiece as words_module
from labkit.data.text.tokenizer import Tokenizer
from labkit.data.text.wordpiece import Words, fits

TEXTS = [
    "The film was good, really good; the acting wasn't.",
    "a bad film: 'never again', I said - twice!",
    "这部电影很好看，演员也不错。 film",
    "İstanbul ve ılık çay, Ünlü bir Film; naïve café Ångström ß",
    "한국어 영화는 재미있다 and Ελληνικά Σίσυφος and кино",
]
CHARACTERS = (
    "ab Z.,'-_\t\n\x00\x0b\x1f\x7f\x85\xa0éÉİßσς\u0301\u030d\u200b\u2028\u3000\ufeff\ufffd中한ᄀ\u302e😀𝔸ﬁΩÅ"
)


CODES = [c for c in range(sys.maxunicode + 1) if unicodedata.category(chr(c)) not in ("Cs", "Co", "Cn", "Lo")]
CODES += [c for c in range(sys.maxunicode + 1) if unicodedata.category(chr(c)) == "Lo"][::97]


def vocabulary() -> dict[str, int]:
    """A piece for every character, at the start of a word and in it, so that none is lost as [UNK]."""
    forms = {form for c in [*CODES, *map(ord, CHARACTERS)] for form in (chr(c), chr(c).lower())}
    chars = sorted({char for form in forms for char in unicodedata.normalize("NFD", form) + form})
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "film", "good", "##ood", "电影"]
    return {
        piece: n for n, piece in enumerate(dict.fromkeys([*pieces, *chars, *(f"##{char}" for char in chars)]))
    }


@pytest.fixture(scope="module", params=[(True, True), (True, False), (False, True)])
def tokenizer(request) -> Tokenizer:
    lowercase, chinese = request.param
    rust = Rust(models.WordPiece(vocabulary(), unk_token="[UNK]", max_input_chars_per_word=100))
    rust.normalizer = normalizers.BertNormalizer(lowercase=lowercase, handle_chinese_chars=chinese)
    rust.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return Tokenizer(rust)


def both(tokenizer: Tokenizer, texts: list[str], max_length: int = 512):
    """Tokens by look-up, and by Rust alone."""
    before = module.BULK
    try:
        module.BULK = 0
        mine = tokenizer.encode(texts, max_length=max_length)
        module.BULK = sys.maxsize
        return mine, tokenizer.encode(texts, max_length=max_length)
    finally:
        module.BULK = before


def same(mine, theirs) -> bool:
    pairs = [(getattr(mine, name), getattr(theirs, name)) for name in ("ids", "types", "offsets")]
    return (
        all(np.array_equal(a, b) and a.dtype == b.dtype for a, b in pairs)
        and mine.truncated == theirs.truncated
    )


def test_every_character_is_treated_as_rust_does(tokenizer):
    """All of Unicode, each character inside a word, alone, and at the ends of a text."""
    texts = [f"{chr(c)}fi{chr(c)}lm {chr(c)} good{chr(c)}" for c in CODES]
    mine, theirs = both(tokenizer, texts)
    assert same(mine, theirs)
    assert (mine.ids == tokenizer.unk_id).mean() < 0.001, "the characters themselves were compared"


@settings(max_examples=100, deadline=None)
@given(texts=st.lists(st.text(CHARACTERS, max_size=30) | st.text(max_size=20), min_size=1, max_size=20))
def test_any_texts_give_the_same_ids(tokenizer, texts):
    assert same(*both(tokenizer, texts))
    assert same(*both(tokenizer, [text * 40 for text in texts], max_length=8)), (
        "also where most of a text is cut"
    )


@settings(max_examples=50, deadline=None)
@given(
    texts=st.lists(
        st.sampled_from(TEXTS).map(str.upper) | st.text("ab ,", max_size=9), min_size=1, max_size=40
    )
)
def test_pairs_and_arrow_arrays_too(tokenizer, texts):
    others = texts[::-1]
    module_bulk, module.BULK = module.BULK, 0
    try:
        mine = tokenizer.encode(pa.chunked_array([texts[:1], texts[1:]], pa.string()), pa.array(others), 16)
    finally:
        module.BULK = module_bulk
    assert same(mine, tokenizer.encode(texts, others, 16))


def test_portions_and_a_short_memory_change_nothing(tokenizer, monkeypatch):
    texts = [f"{text} {number} word{number % 7}" for number, text in enumerate(TEXTS * 60)]
    expected = tokenizer.encode(texts)
    monkeypatch.setattr(module, "_BYTES", 300)
    monkeypatch.setattr(words_module, "_REMEMBERED", 20)
    assert same(tokenizer.encode(texts), expected)


def test_words_are_remembered_and_forgotten(tokenizer, monkeypatch):
    words = Words(tokenizer.rust)
    words.pieces(pa.array(["good film", "film film"], pa.large_string()))
    assert len(words.known) == 2
    monkeypatch.setattr(words_module, "_REMEMBERED", 5)
    words.pieces(pa.array(["bad"], pa.large_string()))
    assert list(words.known) == ["bad"]


def test_only_tokenizers_that_look_at_one_word_at_a_time(tokenizer):
    assert fits(tokenizer.rust)
    assert not fits(Tokenizer.train(TEXTS, kind="bpe", vocab_size=300).rust)
    other = Rust.from_str(tokenizer.rust.to_str())
    other.encode_special_tokens = True
    assert fits(other)
    other.add_tokens(["good film"])
    assert not fits(other), "a token of two words"
    plain = Rust(models.WordPiece({"[UNK]": 0}, unk_token="[UNK]"))
    plain.encode_special_tokens = True
    plain.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    assert not fits(plain), "no normaliser"


def test_special_tokens_in_a_text_are_plain_text(tokenizer):
    texts = ["[CLS] good [SEP] [MASK]film[PAD]", "[UNK]"] * 200
    mine, theirs = both(tokenizer, texts)
    assert same(mine, theirs)
    assert (mine.ids == tokenizer.cls_id).sum() == len(texts), "one each, put there by number"


def test_a_missing_text_is_named(tokenizer):
    with pytest.raises(DataError, match="text 1 is missing; it must be a string"):
        tokenizer.encode(pa.array(["good", None]))
