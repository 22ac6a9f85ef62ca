"""Vocabularies of tokenizers: read from files, or trained on texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, processors, trainers

from labkit.core.errors import DataError
from labkit.data.text import templates
from labkit.data.text.special_tokens import ROLES
from labkit.i18n import _

#: What labkit's own vocabularies begin with.
SPECIAL = [names[0] for names in ROLES.values()]
#: Texts, some at a time, from their beginning at every call.
Portions = Callable[[], Iterator[list[str]]]


def from_list(file: Path, options: dict[str, Any]) -> tokenizers.Tokenizer:
    """BERT's WordPiece over the pieces of a ``vocab.txt``, in the order of their ids.

    Args:
        options: ``do_lower_case``, ``strip_accents`` and ``tokenize_chinese_chars``, where
            ``tokenizer_config.json`` has them.

    Raises:
        DataError: there is no token that begins or ends a row.
    """
    # "\n" only: splitlines() would also split at the U+2028 or U+0085 that a vocabulary may hold
    lines = file.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    vocab = {line.rstrip("\r"): number for number, line in enumerate(lines)}
    words = (piece for piece in vocab if not (piece.startswith("[") and piece.endswith("]")))
    lowercase = options.get("do_lower_case")
    if lowercase is None:
        lowercase = all(
            word == word.lower() for word in words
        )  # not isupper(): "ᴬ" is upper but has no lower case
    missing = [
        " or ".join(ROLES[role][:2]) for role in ("unk", "cls", "sep") if not set(ROLES[role]) & set(vocab)
    ]
    if missing:
        raise DataError(
            _("the tokenizer's vocabulary ({n_vocab} tokens) has no {missing}."),
            n_vocab=len(vocab),
            missing=", no ".join(missing),
        )
    return _wordpiece(
        vocab, lowercase, options.get("strip_accents"), options.get("tokenize_chinese_chars", True)
    )


def from_merges(vocab: Path, merges: Path, space: bool, special: Sequence[str]) -> tokenizers.Tokenizer:
    """Byte-level BPE of GPT-2, RoBERTa or BART over a ``vocab.json`` and a ``merges.txt``.

    Args:
        space: whether a blank is put in front of a text (``add_prefix_space``).
        special: names of special tokens. With ``<s>`` and ``</s>`` the form is RoBERTa's, else nothing is
            added.
    """
    rust = tokenizers.Tokenizer(models.BPE.from_file(str(vocab), str(merges)))
    rust.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=space)
    rust.decoder = decoders.ByteLevel()
    # The mask takes the blank in front of it, which belongs to the piece that it hides.
    rust.add_special_tokens(
        [AddedToken(name, lstrip=name in ROLES["mask"], special=True) for name in special]
    )
    ends = [(name, rust.token_to_id(name)) for name in ("</s>", "<s>") if name in special]
    if len(ends) == 2:
        rust.post_processor = processors.RobertaProcessing(*ends, trim_offsets=True, add_prefix_space=space)
    else:
        rust.post_processor = processors.ByteLevel(trim_offsets=False)
    return rust


def _wordpiece(
    vocab: dict[str, int], lowercase: bool, strip_accents: bool | None = None, chinese: bool = True
) -> tokenizers.Tokenizer:
    """BERT's WordPiece over a vocabulary; accents go with the case unless told otherwise."""
    unknown = next((name for name in ROLES["unk"] if name in vocab), ROLES["unk"][0])
    rust = tokenizers.Tokenizer(models.WordPiece(vocab, unk_token=unknown, max_input_chars_per_word=100))
    rust.normalizer = normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=chinese, strip_accents=strip_accents, lowercase=lowercase
    )
    rust.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    rust.decoder = decoders.WordPiece()
    return _with_special(rust)


def _with_special(rust: tokenizers.Tokenizer) -> tokenizers.Tokenizer:
    """Declare the special tokens and the BERT form, so that a saved file is whole for other programs too."""
    known = {
        role: next(name for name in names if rust.token_to_id(name) is not None)
        for role, names in ROLES.items()
        if any(rust.token_to_id(name) is not None for name in names)
    }
    rust.add_special_tokens(list(known.values()))
    if "cls" in known and "sep" in known:
        cls, sep = (rust.token_to_id(known[role]) for role in ("cls", "sep"))
        rust.post_processor = templates.processor(rust, templates.bert(cls, sep))
    return rust


def learn_wordpiece(
    portions: Portions, vocab_size: int, lowercase: bool, least: int, special: Sequence[str] = SPECIAL
) -> tokenizers.Tokenizer:
    """BERT's WordPiece over pieces learnt from texts that are gone through three times; ``special`` tokens
    come first, in their order."""
    rust = _wordpiece({name: number for number, name in enumerate(special)}, lowercase)
    alphabet = _alphabet(portions, rust, least, vocab_size - len(special))
    letters = [piece for piece in alphabet if len(piece) == 1]
    # The trainer numbers continuation characters in the order of a hash table, which differs from one process
    # to the next, and breaks ties by number. Handed in as special tokens they have fixed numbers;
    # `_wordpiece` forgets that.
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size, min_frequency=least, special_tokens=[*special, *alphabet], show_progress=False,
        initial_alphabet=letters, limit_alphabet=len(letters),
    )  # fmt: skip
    rust.train_from_iterator(portions(), trainer)
    return _wordpiece(rust.get_vocab(), lowercase)


def _alphabet(portions: Portions, rust: tokenizers.Tokenizer, least: int, room: int) -> list[str]:
    """Characters, most frequent first, each followed by ``##`` and itself where it can go on a word."""
    raw = np.zeros(0x110000, np.int64)  # of each code point
    for part in portions():
        found = np.bincount(np.frombuffer("".join(part).encode("utf-32-le"), np.uint32))
        raw[: len(found)] += found
    seen: Counter[str] = Counter()
    inner: set[str] = set()
    for code in np.flatnonzero(raw).tolist():
        char, count = chr(code), int(raw[code])
        words = [
            word for word, _ in rust.pre_tokenizer.pre_tokenize_str(rust.normalizer.normalize_str("a" + char))
        ]
        inner.update(words[0][1:])
        for letter in "".join(words)[1:]:
            seen[letter] += count
    chosen: list[str] = []
    for letter in sorted((one for one in seen if seen[one] >= least), key=lambda one: (-seen[one], one)):
        forms = [letter, f"##{letter}"] if letter in inner else [letter]
        if len(chosen) + len(forms) > room:
            break
        chosen += forms
    return chosen


def learn_bpe(
    portions: Portions, vocab_size: int, lowercase: bool, least: int, special: Sequence[str] = SPECIAL
) -> tokenizers.Tokenizer:
    """Pairs of bytes put together, the most frequent first; ``special`` tokens come first, in their order."""
    rust = tokenizers.Tokenizer(models.BPE())
    if lowercase:
        rust.normalizer = normalizers.Lowercase()
    rust.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    rust.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, min_frequency=least, special_tokens=list(special),
        show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    rust.train_from_iterator(portions(), trainer)
    return _with_special(rust)
