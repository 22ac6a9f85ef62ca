"""Fast WordPiece: NumPy splits texts into words, Arrow deduplicates them, Rust tokenises each distinct word
once.

BERT's normaliser and pre-tokenizer look at one character at a time. Their result per character is computed
once; from then on cutting a text is a look-up for each character, and finds the words that Rust would find.
"""

from __future__ import annotations

import json
import unicodedata
from itertools import chain

import numpy as np
import pyarrow as pa
import tokenizers

from labkit.data.text import limits

_REMEMBERED = (
    500_000  # characters of the words whose pieces are kept; beyond, all are learnt anew: some 20 MB
)
# What a character is: white space, part of a word, a word of its own, nothing, unclear, or not met before.
_SPACE, _LETTER, _ALONE, _GONE, _ASK, _NEW = range(6)


def fits(rust: tokenizers.Tokenizer) -> bool:
    """Whether a tokenizer looks at one character, then at one word, at a time."""
    about = json.loads(rust.to_str())
    kinds = [(about[part] or {}).get("type") for part in ("normalizer", "pre_tokenizer", "model")]
    plain = all(token["special"] for token in about["added_tokens"])
    return (
        plain and rust.encode_special_tokens and kinds == ["BertNormalizer", "BertPreTokenizer", "WordPiece"]
    )


class Words:
    """Cuts texts into words and remembers the pieces of these. Not for two threads at once.

    Args:
        rust: a tokenizer that :func:`fits`.
    """

    def __init__(self, rust: tokenizers.Tokenizer):
        self._rust = rust
        self._model = tokenizers.Tokenizer(rust.model)  # the model alone: words come to it as they are
        self._kind = np.full(0x110000, _NEW, np.uint8)
        self._becomes = np.zeros(0x110000, np.uint32)  # code point → code point
        self._forget()

    def pieces(self, texts: pa.Array) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Ids of the pieces of many texts.

        Args:
            texts: n strings of type ``large_string``, none missing.

        Returns:
            Flat ids i32; pieces of every text i64[n]; and the texts that must be tokenised by Rust instead,
            i64[k]: they have
            no pieces here.
        """
        chars, bounds = _characters(texts)
        kinds = self._kind[chars]
        if (kinds == _NEW).any():
            self._learn(np.unique(chars[kinds == _NEW]).tolist())
            kinds = self._kind[chars]
        unclear = np.empty(0, np.int64)
        if (kinds >= _ASK).any():
            unclear = np.unique(np.searchsorted(bounds, np.flatnonzero(kinds == _ASK), side="right") - 1)
            kinds[ranges(bounds[unclear], np.diff(bounds)[unclear])] = _GONE
        if (kinds == _GONE).any():
            stays = kinds != _GONE
            bounds = np.concatenate([[0], np.cumsum(stays)])[bounds]
            chars, kinds = chars[stays], kinds[stays]
        solid = kinds != _SPACE
        starts = kinds == _ALONE
        starts[1:] |= (kinds[1:] == _LETTER) & (kinds[:-1] != _LETTER)
        opening = bounds[:-1][np.diff(bounds) > 0]
        starts[opening] = solid[opening]
        begin = np.flatnonzero(starts)
        number = self._numbers(_strings(self._becomes[chars[solid]], np.flatnonzero(starts[solid])))
        count = self._count[number]
        ids = self._ids[ranges(self._first[number], count)]
        before = np.concatenate([[0], np.cumsum(count)])  # pieces before every word
        return ids, np.diff(before[np.searchsorted(begin, bounds)]), unclear

    def _learn(self, codes: list[int]) -> None:
        """What the Rust library makes of characters; those it does not treat alone and simply are unclear."""
        for code in codes:
            self._kind[code], self._becomes[code] = self._seen(chr(code))

    def _seen(self, char: str) -> tuple[int, int]:
        normal = self._rust.normalizer.normalize_str(f"a{char}b")
        if not (normal.startswith("a") and normal.endswith("b")) or _moves(char):
            return _ASK, 0
        inner = normal[1:-1]
        if not inner:
            return _GONE, 0
        core = inner.strip(" ") or " "
        if len(core) > 1:
            return _ASK, 0
        found = [word for word, _ in self._rust.pre_tokenizer.pre_tokenize_str(normal)]
        forms = {("a", "b"): _SPACE, (f"a{core}b",): _LETTER, ("a", core, "b"): _ALONE}
        return forms.get(tuple(found), _ASK), ord(core)

    def _numbers(self, words: pa.Array) -> np.ndarray:
        """Place of every word among those that are remembered, i64[n]."""
        encoded = words.dictionary_encode()
        distinct = encoded.dictionary.to_pylist()
        if self._characters > _REMEMBERED:
            self._forget()
        known = self.known
        new = [word for word in distinct if word not in known]
        with limits.running():
            found = self._model.encode_batch_fast(new, add_special_tokens=False)
        count = np.fromiter(map(len, found), np.int64, len(found))
        ids = np.fromiter(chain.from_iterable(one.ids for one in found), np.int32, int(count.sum()))
        self._ids = np.concatenate([self._ids, ids])
        self._count = np.concatenate([self._count, count])
        self._first = np.cumsum(self._count) - self._count
        known.update(zip(new, range(len(known), len(known) + len(new)), strict=True))
        self._characters += sum(map(len, new))
        place = np.fromiter(map(known.__getitem__, distinct), np.int64, len(distinct))
        return place[encoded.indices.to_numpy()]

    def _forget(self) -> None:
        self.known: dict[str, int] = {}
        self._characters = 0
        self._ids, self._count, self._first = (
            np.empty(0, np.int32),
            np.empty(0, np.int64),
            np.empty(0, np.int64),
        )


def _moves(char: str) -> bool:
    """Whether taking accents off could move a character past its neighbours (or nobody knows)."""
    parts = unicodedata.normalize("NFD", char)
    return any(unicodedata.category(p) == "Cn" or (unicodedata.combining(p) and unicodedata.category(p) != "Mn")
               for p in parts)  # fmt: skip


def _characters(texts: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Code points of all texts, u8 or u32[c], and where each begins and ends, i64[n + 1]."""
    _, offsets, data = texts.buffers()
    bounds = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    raw = np.frombuffer(data or b"", np.uint8)[bounds[0] : bounds[-1]]
    bounds = bounds - bounds[0]
    if not len(raw) or raw.max() < 128:
        return raw, bounds
    before = np.concatenate([[0], np.cumsum((raw & 0xC0) != 0x80)])  # characters before every byte
    return np.frombuffer(raw.tobytes().decode().encode("utf-32-le"), np.uint32), before[bounds]


def _strings(chars: np.ndarray, begin: np.ndarray) -> pa.Array:
    """Words that begin at these of all characters, as Arrow strings."""
    if not len(chars) or chars.max() < 128:
        data, offsets = chars.astype(np.uint8).tobytes(), np.append(begin, len(chars))
    else:
        data = chars.astype("<u4").tobytes().decode("utf-32-le").encode()
        size = 1 + (chars >= 0x80).astype(np.int64) + (chars >= 0x800) + (chars >= 0x10000)
        offsets = np.concatenate([[0], np.cumsum(size)])[np.append(begin, len(chars))]
    return pa.LargeStringArray.from_buffers(
        len(begin), pa.py_buffer(offsets.astype(np.int64)), pa.py_buffer(data)
    )


def ranges(start: np.ndarray, length: np.ndarray) -> np.ndarray:
    """``start[0], start[0]+1, …`` (length[0] of them), then the same for 1, 2, …, in one flat array."""
    return np.repeat(start - (np.cumsum(length) - length), length) + np.arange(int(length.sum()))
