"""Limits for foreign ``tokenizer.json`` files: output length, time and ids.

 A normalizer that doubles a letter twenty-eight times turns a sentence into gigabytes, and the Rust library
then aborts the process. So growth is computed from the file, before any text is read.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import tokenizers

from labkit.core.errors import DataError
from labkit.i18n import _

GROWTH = 32  # times its length that a text may have after all steps
PREPENDED = 1_000  # characters put in front of a text, at most
STEPS = 200  # of a pipeline
WORD = 1_000  # characters of a word that WordPiece looks up: its time grows with their square
SECONDS = 2.0  # that all probes, each of some hundred characters, may take
#: Rows of an embedding table without an entry in the vocabulary: the greatest id is below the larger of the
#: two.
FREE_IDS, SPARSE = 100_000, 8
#: What lets a regular expression match at a place without a character.
_EMPTY = re.compile(r"[*?^$|]|\{0|\{,|\\[bBAzZGKyY]|\(\?")


def check(rust: tokenizers.Tokenizer) -> None:
    """Raise :class:`DataError` where a text could cost far more than its length, or an id far more than the
    vocabulary.

    Args:
        rust: a tokenizer as read; no text has been given to it.
    """
    stages = [*_steps(rust.normalizer), *_steps(rust.pre_tokenizer)]
    for steps in (stages, _steps(rust.decoder)):
        if len(steps) > STEPS:
            raise DataError(
                _("the tokenizer has {n_steps:,} steps; the maximum is {steps}."),
                n_steps=len(steps),
                steps=STEPS,
            )
        if (growth := math.prod(map(_growth, steps))) > GROWTH:
            worst = max(steps, key=_growth)
            raise DataError(
                _(
                    "the tokenizer may lengthen a text by a factor of {growth} ({type}: {own_growth}); "
                    "the maximum is {most}. Use the tokenizer of the original publisher."),
                growth=_shown(growth), type=worst["type"], own_growth=_shown(_growth(worst)), most=GROWTH,
            )  # fmt: skip
    if (size := sum(len(step.get("prepend", "")) for step in stages)) > PREPENDED:
        raise DataError(
            _(
                "the tokenizer puts {size:,} characters in front of a text; at most {prepended:,} are allowed."
            ),
            size=size,
            prepended=PREPENDED,
        )
    size = getattr(rust.model, "max_input_chars_per_word", None) or 0
    if size > WORD:
        raise DataError(
            _("the tokenizer has max_input_chars_per_word = {size:,}; at most {word:,} is allowed."),
            size=size,
            word=WORD,
        )
    patterns = [step["pattern"]["Regex"] for step in stages if "Regex" in (step.get("pattern") or {})]
    if patterns:
        _probe(rust, patterns)


def check_ids(highest: int, entries: int) -> None:
    """Raise :class:`DataError` for an id that would make an embedding table far larger than the vocabulary."""
    if highest >= max(FREE_IDS, SPARSE * entries):
        raise DataError(
            _(
                "the tokenizer's vocabulary has {entries:,} tokens but the id {highest:,}; an embedding "
                "table with a row per id would be far larger than the vocabulary. Download or copy the "
                "tokenizer again."),
            entries=entries, highest=highest,
        )  # fmt: skip


@contextmanager
def running() -> Iterator[None]:
    """Raise :class:`DataError` where the Rust library fails on a text."""
    try:
        yield
    except BaseException as error:
        if not is_rust(error):
            raise
        raise DataError(
            _("the tokenizer failed on a text ({error}). Use another tokenizer, or shorten the text."),
            error=str(error)[:200],
        ) from None


def is_rust(error: BaseException) -> bool:
    """Whether the Rust library raised an error: a bare Exception, or a panic, which is a BaseException of its
    own."""
    return type(error) is Exception or type(error).__name__ == "PanicException"


def _steps(part: Any) -> list[dict[str, Any]]:
    """The steps of a normalizer, pre-tokenizer or decoder, those of sequences one by one."""
    return [] if part is None else _flat(json.loads(part.__getstate__()))


def _flat(part: dict[str, Any]) -> list[dict[str, Any]]:
    inner = [step for key in ("normalizers", "pretokenizers", "decoders") for step in part.get(key) or ()]
    return [step for each in inner for step in _flat(each)] if part["type"] == "Sequence" else [part]


def _growth(step: dict[str, Any]) -> int:
    """Characters that a step may make of one."""
    if step["type"] == "Replace":
        size, pattern = len(step["content"]), step["pattern"]
        if "String" in pattern:
            length = len(pattern["String"])
            return max(1, -(-size // length)) if length else 1 + size
        return max(1, size) + bool(size and _EMPTY.search(pattern["Regex"]))
    if step["type"] == "ByteLevel":
        return 4  # one for each byte
    if step["type"] == "Precompiled":
        return max(2, -(-_longest(step["precompiled_charsmap"]) // 4))
    return 1


def _longest(table: str) -> int:
    """Bytes of the longest text in a table of sentencepiece: the size of an index, the index, texts ended by
    NUL."""
    try:
        raw = base64.b64decode(table)
        texts = raw[4 + struct.unpack("<I", raw[:4])[0] :].split(b"\0")
    except (binascii.Error, struct.error):
        return 0
    longest = max(map(len, texts), default=0)
    return 4 if longest <= 64 else longest  # U+FDFA is 18 letters; few characters are so long


def _probe(rust: tokenizers.Tokenizer, patterns: list[str]) -> None:
    """Run the regular expressions on ever longer repetitions of what they mention; the time must not explode."""
    letters = list(dict.fromkeys("a 0.A" + "".join(re.findall(r"[^\W_]", "".join(patterns))[:200])))[:40]
    begin = time.perf_counter()
    for size in (8, 16, 24, 32, 48, 64, 128, 256):
        for letter in letters:
            with running():
                if rust.normalizer is not None:
                    rust.normalizer.normalize_str(letter * size)
                if rust.pre_tokenizer is not None:
                    rust.pre_tokenizer.pre_tokenize_str(letter * size)
            if time.perf_counter() - begin > SECONDS:
                raise DataError(
                    _(
                        "the tokenizer's regular expressions take more than {seconds:g} s for texts of "
                        "{size} characters. Use the tokenizer of the original publisher."),
                    seconds=SECONDS, size=size,
                )  # fmt: skip


def _shown(count: int) -> str:
    return f"{count:,}" if count < 10**12 else "more than a trillion"
