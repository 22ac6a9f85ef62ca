"""Tokenizer: converts text to token ids; loaded from files or trained. Wraps the Rust ``tokenizers`` library.

 The special tokens around a text are those of the file's post-processor. A file that adds none, and a
vocabulary learnt here, gets BERT's form: ``[CLS] text [SEP]``, or ``[CLS] text [SEP] other [SEP]`` with types
0 and 1, and a saved file says so. Special tokens are put in by number, never found in a text: a user's
``"[CLS]"`` stays the five characters it is. (Other readers of a saved ``tokenizer.json`` treat it as the
special token, unless ``split_special_tokens`` is set in ``tokenizer_config.json``, as
:meth:`Tokenizer.export` sets it.)
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import chain, islice, pairwise
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tokenizers

from labkit.core.cache import fingerprint
from labkit.core.errors import ConfigError, DataError, nearest
from labkit.data.arrow import batches
from labkit.data.text import limits, templates, tokenizer_files
from labkit.data.text.special_tokens import NAMED, ROLES, Said, Special, resolve
from labkit.data.text.templates import Template
from labkit.data.text.tokens import Tokens
from labkit.data.text.vocabulary import SPECIAL, learn_bpe, learn_wordpiece
from labkit.data.text.wordpiece import Words, fits, ranges
from labkit.i18n import _

if TYPE_CHECKING:
    from datasets import Dataset

#: What is read of one text at most, in characters: a bound on time (about a second). Text after it counts as
#: cut.
READ = 1_000_000

_KINDS = {"wordpiece": 32, "bpe": 256 + len(ROLES)}  # kind → the smallest vocabulary that makes sense
_AT_ONCE = 2000  # texts given to Rust at once: it needs some hundred bytes for a token
#: From this many texts on, the words of all of them are looked up at once.
BULK = 200
_BYTES = 2_000_000  # of text are looked up at once: arrays of that many numbers
Texts = Sequence[str] | pa.Array | pa.ChunkedArray
_SURROGATE = re.compile("[\ud800-\udfff]")


class Tokenizer:
    """Converts texts to token ids. Create one with :meth:`load` or :meth:`train`.

    Attributes:
        vocab_size: rows of the embedding table: the largest id + 1.
        pad_id: padding id. Without a padding token it is the end token; padding is masked, so any id works.
        unk_id: unknown-token id; ``pad_id`` if there is no such token.
        cls_id, mask_id: ids of the start token and of the mask token; None if missing.
        sep_id: id of the token that ends a text.
        end_id: the token with which a model that writes text ends it …
        end_ids: … and all that end it; the file of a model may name several.
        start_id: the token that a decoder of target texts begins with.
        roles: ids of all special tokens.
        single, pair: special tokens around one text and around two.

    Args:
        rust: a ``tokenizers.Tokenizer``; its padding and truncation are switched off, and special tokens that
            it does not declare are declared.
        said: what files say about special tokens; by default they go by their names.

    Raises:
        DataError: the vocabulary has no token that ends a text, or the post-processor changes the order of
            texts.
    """

    def __init__(self, rust: tokenizers.Tokenizer, said: Said | None = None):
        rust.no_padding()
        rust.no_truncation()
        rust.encode_special_tokens = True  # that is: take special-token text in a text for plain text
        self.rust, self._said = rust, said or Said()
        vocab = rust.get_vocab()
        self.vocab_size = 1 + max(vocab.values(), default=-1)
        limits.check_ids(self.vocab_size - 1, len(vocab))
        own = templates.of(rust)
        around = (own[0].before, own[0].after) if own else ()
        self.roles = roles = resolve(self._said, vocab.get, self.vocab_size, *around)
        if roles.sep is None or not roles.ends:
            known = " or ".join(ROLES["sep"])
            raise DataError(
                _(
                    "the tokenizer's vocabulary ({n_vocab} tokens) has no end token: no {known}. Set "
                    "eos_token in tokenizer_config.json."),
                n_vocab=len(vocab), known=known,
            )  # fmt: skip
        self._declare(roles)
        if own is None:
            own = templates.bert(roles.cls, roles.sep)
            rust.post_processor = templates.processor(rust, own)
        self.single, self.pair = own
        self.cls_id, self.sep_id, self.mask_id = roles.cls, roles.sep, roles.mask
        self.end_ids, self.end_id = roles.ends, roles.ends[0] if roles.eos is None else roles.eos
        self.pad_id = self.end_id if roles.pad is None else roles.pad
        self.unk_id = self.pad_id if roles.unk is None else roles.unk
        self.start_id = self.pad_id if roles.start is None else roles.start
        special = {number for number, token in rust.get_added_tokens_decoder().items() if token.special}
        self._reserved = np.zeros(self.vocab_size, bool)
        self._reserved[list(special)] = True
        if roles.unk is not None:
            self._reserved[roles.unk] = False
        self._lock = Lock()  # of the words, which learn

    def _declare(self, roles: Special) -> None:
        """Make the tokens of all roles special ones, so that other programs leave them out of texts too.

        Of ids that ``config.json`` gives only those with such a name: a text may end at an ordinary piece.
        """
        declared = {number for number, token in self.rust.get_added_tokens_decoder().items() if token.special}
        ids = (roles.pad, roles.unk, roles.cls, roles.sep, roles.mask, roles.bos, *roles.ends)
        known = {name for names in ROLES.values() for name in names} | set(self._said.names.values())
        names = {
            self.rust.id_to_token(number): None
            for number in ids
            if number is not None and number not in declared
        }
        if names := [name for name in names if name in known]:
            self.rust.add_special_tokens(names)

    @classmethod
    def load(cls, path: str | Path) -> Tokenizer:
        """Read a tokenizer from a folder in the Hugging Face layout, or from one of its files.

        ``tokenizer.json`` is preferred; else ``vocab.txt`` is read as BERT's WordPiece, with
        ``do_lower_case``, ``strip_accents`` and ``tokenize_chinese_chars`` from ``tokenizer_config.json``
        beside it. Without that file a vocabulary that lower-casing would not change is taken for a
        lower-casing one. Else ``vocab.json`` and ``merges.txt`` are read as the byte-level BPE of GPT-2 and
        RoBERTa. Special tokens have the names that ``tokenizer_config.json`` and ``special_tokens_map.json``
        give, or the usual ones; ``config.json`` and ``generation_config.json`` say which tokens begin and end
        what a model writes.

        Raises:
            DataError: there is no such file, it cannot be read, or there is no token that ends a text.
        """
        return cls(*tokenizer_files.read(Path(path)))

    @classmethod
    def train(
        cls,
        texts: Texts | Iterable[str] | Dataset,
        kind: str = "wordpiece",
        vocab_size: int = 8000,
        lowercase: bool = True,
        min_frequency: int = 2,
        special_tokens: Sequence[str] = SPECIAL,
    ) -> Tokenizer:
        """Train a tokenizer on texts in any language; deterministic.

        Args:
            texts: strings, an Arrow column of them, or a data set, of which the column ``text`` is taken.
                They are gone through three times and not held in memory; of an iterator, which ends, a list
                is made first.
            kind: ``"wordpiece"`` (BERT's; every Chinese character is a word) or ``"bpe"`` (on bytes, so it
            knows all).
            vocab_size: vocabulary size, special tokens included.
            lowercase: fold case (WordPiece then also drops accents, as BERT does).
            min_frequency: minimum frequency of a token (with WordPiece also of a character).
            special_tokens: names for padding, unknown pieces, begin, end and mask, in the order of their ids
                from 0.

        Raises: ConfigError, DataError: an unknown kind, a vocabulary too small for it; no text, or values
            that are not strings.
        """
        if kind not in _KINDS:
            raise ConfigError(
                _("unknown tokenizer type {kind!r}.{hint} Known: {known}."),
                kind=kind, hint=nearest(kind, _KINDS), known=", ".join(_KINDS),
            )  # fmt: skip
        if vocab_size < _KINDS[kind]:
            raise ConfigError(
                _("vocab_size = {vocab_size} is too small for {kind}: at least {least}."),
                vocab_size=vocab_size, kind=kind, least=_KINDS[kind],
            )  # fmt: skip
        texts = list(texts) if isinstance(texts, Iterator) else texts
        count, filled = 0, False
        for part in _portions(texts):
            count, filled = count + len(part), filled or any(text.strip() for text in part)
        if not filled:
            raise DataError(
                _("there is no text to train a tokenizer on ({count} rows, all empty)."), count=count
            )
        learn = learn_wordpiece if kind == "wordpiece" else learn_bpe
        return cls(learn(lambda: _portions(texts), vocab_size, lowercase, min_frequency, special_tokens))

    def save(self, folder: str | Path) -> Path:
        """Save to a folder that :meth:`load` reads; returns the path of ``tokenizer.json``.

        Names of special tokens that the vocabulary does not show go to ``tokenizer_config.json``, lists of
        end tokens to ``generation_config.json``.
        """
        return tokenizer_files.save(self.rust, self._said, Path(folder))

    def export(
        self,
        folder: str | Path,
        model_max_length: int,
        *,
        types: bool = True,
        prompts: bool = False,
        read_special: bool = False,
        **more: object,
    ) -> None:
        """Write ``tokenizer.json``, ``tokenizer_config.json`` and ``special_tokens_map.json``, from which
        ``transformers.AutoTokenizer`` makes the ids of :meth:`encode`.

        Args:
            folder: where; made if it is not there.
            model_max_length: tokens that the model reads.
            types: whether the model reads type ids (BERT); other models get none.
            prompts: for a language model: texts get only what :meth:`prompt` puts in front of them, and rows
                are padded at their beginning.
            read_special: whether special tokens are recognised where a text spells them, as in a prompt, or
                ``[MASK]`` of a masked language model. By default they are text there as here.
            **more: further keys of ``tokenizer_config.json``, which win over these.
        """
        mask = None if self.mask_id is None else self.names([self.mask_id])[0]
        rust = tokenizer_files.with_mask(self.rust, mask, special=True)
        if prompts:
            rust.post_processor = templates.processor(rust, self._prompts)
        inputs = (
            ["input_ids", "token_type_ids", "attention_mask"] if types else ["input_ids", "attention_mask"]
        )
        settings = {
            "model_max_length": model_max_length, "model_input_names": inputs, "split_special_tokens": not read_special,
            **({"padding_side": "left"} if prompts else {}), **more,
        }  # fmt: skip
        roles = replace(self.roles, pad=self.pad_id, eos=self.end_id)
        tokenizer_files.export(rust, self._said, roles, Path(folder), settings)

    @property
    def _prompts(self) -> templates.Templates:
        """The beginning of a row that this tokenizer's file prescribes for texts that go on (Llama's
        ``<s>``)."""
        start = () if self.single.after else self.single.special[0]
        return Template((start, ()), (0,)), Template((start, (), ()), (0, 0))

    def prompt(self, text: str) -> np.ndarray:
        """Ids, i32, of a text that a model goes on with: no end token, and a start token only where the file
        puts one in front of texts without ending them."""
        return np.array(
            [*(number for number, _ in self._prompts[0].special[0]), *self.numbers(text)], np.int32
        )

    def masked(self, text: str) -> list[int]:
        """The ids of a text's pieces, with the mask where the text has its name or ``[MASK]``.

        Raises:
            ConfigError: the vocabulary has no mask.
        """
        if self.mask_id is None:
            raise ConfigError(
                _("masked language modelling needs a token such as [MASK]; the tokenizer has none.")
            )
        name, usual = self.names([self.mask_id])[0], ROLES["mask"][0]
        text = _well_formed(_checked([text])[0][:READ])
        with limits.running():
            found = self._masking.encode(text.replace(usual, name), add_special_tokens=False).ids
        return [
            self.unk_id if self._reserved[number] and number != self.mask_id else number for number in found
        ]

    def row(self, first: Sequence[int], second: Sequence[int] | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Ids and types, i32, of a row of the pieces of one text or two with the special tokens of the form."""
        form, texts = (self.single, (first,)) if second is None else (self.pair, (first, second))
        ids, types = [], []
        for place, part in enumerate(form.special):
            ids += [number for number, _ in part]
            types += [kind for _, kind in part]
            if place < len(texts):
                ids += list(texts[place])
                types += [form.types[place]] * len(texts[place])
        return np.array(ids, np.int32), np.array(types, np.int32)

    def numbers(self, text: str) -> list[int]:
        """The ids of a text's pieces, without special tokens; of :data:`READ` characters at most."""
        return [number for _, number, _ in self.pieces(text)]

    @property
    def running(self) -> tuple[Tokenizer, int]:
        """Makes the rows of a running text, each with its end token; and the number of tokens to skip in
        front."""
        if self.single.after == (self.end_id,):
            return self, len(self.single.before)
        before = self._prompts[0].special[0]
        return self._with(Template((before, ((self.end_id, 0),)), (0,))), 0

    @property
    def targets(self) -> Tokenizer:
        """Makes the rows that a decoder of target texts writes: ``start text end``."""
        return self._with(Template((((self.start_id, 0),), ((self.end_id, 0),)), (0,)))

    @property
    def passages(self) -> Tokenizer:
        """Makes the rows ``[CLS] text [SEP]`` from which pairs of passages are taken.

        Raises:
            ConfigError: the vocabulary has no token that begins a row.
        """
        if self.cls_id is None:
            raise ConfigError(_("next_sentence needs a start token such as [CLS]; the tokenizer has none."))
        return self._with(templates.bert(self.cls_id, self.sep_id)[0])

    def _with(self, single: Template) -> Tokenizer:
        """This tokenizer with another form of one text."""
        if single == self.single:
            return self
        rust = tokenizers.Tokenizer.from_str(self.rust.to_str())
        rust.post_processor = templates.processor(rust, (single, self.pair))
        return Tokenizer(rust, self._said)

    def open_ended(self) -> Tokenizer:
        """This tokenizer without end tokens behind its rows where they are also its padding: transformers
        reads the last token that is none as the last of a text."""
        if self.pad_id not in self.single.after:
            return self
        rust = tokenizers.Tokenizer.from_str(self.rust.to_str())
        cut = [replace(form, special=(*form.special[:-1], ())) for form in (self.single, self.pair)]
        rust.post_processor = templates.processor(rust, (cut[0], cut[1]))
        return Tokenizer(rust, self._said)

    @property
    def reserved(self) -> np.ndarray:
        """Which tokens are special and never represent text, bool[vocab_size]."""
        return self._reserved.copy()

    @property
    def continues(self) -> np.ndarray:
        """Which pieces go on the word before them, bool[vocab_size]: only WordPiece marks them, with ``##``."""
        prefix = getattr(self.rust.model, "continuing_subword_prefix", None) or "\0"
        goes_on = [number for piece, number in self.rust.get_vocab().items() if piece.startswith(prefix)]
        return np.isin(np.arange(self.vocab_size), goes_on) & ~self._reserved

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of everything that decides what :meth:`encode` returns."""
        return fingerprint("labkit tokenizer 1", self.rust.to_str(), READ)

    def encode(self, texts: Texts, pairs: Texts | None = None, max_length: int = 512) -> Tokens:
        """Encode texts to token ids, in parallel, with special tokens.

        Args:
            texts: n texts, or an Arrow array of them. Lone surrogates become U+FFFD; nothing that is a string
            raises.
            pairs: n second texts, or None.
            max_length: maximum tokens per row, special tokens included. Longer rows are truncated at the end;
                in pairs the longer text first ("longest_first" of transformers).

        Returns:
            n rows with ``label`` -1 and ``row`` 0 … n-1; ``truncated`` counts the rows that were cut. Only as
            much of a long text is read as is needed, and never more than ``READ`` characters.

        Raises:
            DataError: a text is not a string, or there are not as many pairs as texts.
            ConfigError: ``max_length`` leaves no room for text.
        """
        texts = _checked(texts)
        form = self.single if pairs is None else self.pair
        room = max_length - form.size
        if room < (1 if pairs is None else 2):
            raise ConfigError(
                _("max_length = {max_length} leaves no room for text besides the special tokens."),
                max_length=max_length,
            )
        first, length, cut = self._numbers(texts, room)
        if pairs is None:
            keep = np.minimum(length, room)
            return self._lay(form, cut | (keep < length), (first, length, keep))
        pairs = _checked(pairs)
        if len(pairs) != len(texts):
            raise DataError(
                _("{n_texts} texts but {n_pairs} second texts."), n_texts=len(texts), n_pairs=len(pairs)
            )
        second, other, cut_other = self._numbers(pairs, room)
        keep, keep_other = _kept(length, other, room)
        cut |= cut_other | (keep < length) | (keep_other < other)
        return self._lay(form, cut, (first, length, keep), (second, other, keep_other))

    def places(self, text: str, pair: str | None, max_length: int) -> list[tuple[int, int]]:
        """Where each text begins in its row of :meth:`encode`, and how many of its pieces are there."""
        form = self.single if pair is None else self.pair
        room, size = max_length - form.size, np.array([len(self.numbers(text))])
        if pair is None:
            return [(len(form.special[0]), int(min(size[0], room)))]
        first, second = (int(kept[0]) for kept in _kept(size, np.array([len(self.numbers(pair))]), room))
        begin = len(form.special[0])
        return [(begin, first), (begin + first + len(form.special[1]), second)]

    def pieces(self, text: str) -> list[tuple[str, int, tuple[int, int]]]:
        """``(piece, id, (start, end))`` for display, without special tokens; start and end count characters
        of text."""
        with limits.running():
            found = self.rust.encode(_well_formed(_checked([text])[0][:READ]), add_special_tokens=False)
        ids = (self.unk_id if self._reserved[number] else number for number in found.ids)
        return list(zip(found.tokens, ids, found.offsets, strict=True))

    def names(self, ids: Iterable[int]) -> list[str]:
        """The pieces of some ids as the vocabulary spells them, special tokens too."""
        return [self.rust.id_to_token(int(number)) or "" for number in ids]

    @property
    def chat_template(self) -> Any:
        """The Jinja template of conversations that the tokenizer's files have; None without any."""
        return self._said.chat_template

    @property
    def role_names(self) -> dict[str, str]:
        """Role ("bos", "eos", "pad", …) → name of its special token, of those that the files or the
        vocabulary name."""
        ids = {role: number for role, number in vars(self.roles).items() if role in NAMED} | {
            "eos": self.end_id
        }
        return {role: self.names([number])[0] for role, number in ids.items() if number is not None}

    def special(self, name: str) -> int | None:
        """The id of the special token of this name, such as "<|im_end|>"; None where the vocabulary has none."""
        number = self.rust.token_to_id(name)
        return number if number is not None and self._reserved[number] else None

    def decode(self, ids: Iterable[int]) -> str:
        """Decode ids to text, skipping special tokens."""
        with limits.running():
            return self.rust.decode([int(number) for number in ids], skip_special_tokens=True)

    def __repr__(self) -> str:
        return f"<tokenizer: {type(self.rust.model).__name__}, {self.vocab_size} pieces>"

    @cached_property
    def _masking(self) -> tokenizers.Tokenizer:
        """Recognises the mask in a text, and no other special token: those stay text as they are marked
        special."""
        return tokenizer_files.with_mask(self.rust, self.names([self.mask_id])[0], special=False)

    @cached_property
    def _words(self) -> Words | None:
        return Words(self.rust) if fits(self.rust) else None

    def _numbers(self, texts: list[str] | pa.Array, room: int) -> tuple[np.ndarray, ...]:
        """Flat ids i32, lengths i64[n] and whether a text went on after what was read, bool[n]."""
        limit = max(512, 8 * room)  # characters; most texts have fewer than 8 to a token
        most = max(READ, limit)
        if len(texts) < BULK or self._words is None:
            texts = texts.to_pylist() if isinstance(texts, pa.Array) else texts
            some = [
                self._some(texts[i : i + _AT_ONCE], limit, most, room) for i in _starts(len(texts), _AT_ONCE)
            ]
        else:
            array = _as_array(texts)
            cuts = _cuts(array, _BYTES)
            some = [self._bulk(array[start:end], limit, most, room) for start, end in pairwise(cuts)]
        return tuple(np.concatenate(parts) for parts in zip(*some, strict=True))

    def _bulk(
        self, texts: pa.Array, limit: int, most: int, room: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The numbers of many texts by their words; the few that need more care go to :meth:`_some`."""
        size = pc.utf8_length(texts).to_numpy()
        long = np.flatnonzero(size > limit)
        read = texts
        if len(long):
            heads = texts.to_pylist()
            for i in long.tolist():
                heads[i] = head_of(heads[i], limit)
            read = pa.array(heads, pa.large_string())
        with self._lock:
            ids, length, unclear = self._words.pieces(read)
        ids[self._reserved[ids]] = self.unk_id
        again = np.union1d(unclear, long[length[long] <= room]).astype(np.int64)
        if len(again):
            more, count, _ = self._some(texts.take(pa.array(again)).to_pylist(), limit, most, room)
            ids, length = _replaced(ids, length, again, more, count)
        return ids, length, size > most

    def _some(
        self, texts: list[str], limit: int, most: int, room: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        found = self._cut([head_of(text, limit) for text in texts])
        sparse = [i for i, text in enumerate(texts) if len(text) > limit and len(found[i]) <= room]
        if sparse:
            more = self._cut([head_of(texts[i], most) for i in sparse])
            for i, encoding in zip(sparse, more, strict=True):
                found[i] = encoding
        length = np.fromiter(map(len, found), np.int64, len(found))
        ids = np.fromiter(chain.from_iterable(one.ids for one in found), np.int32, int(length.sum()))
        ids[self._reserved[ids]] = self.unk_id  # a vocabulary may hold "[CLS]" as a word of its own
        return ids, length, np.fromiter((len(text) > most for text in texts), bool, len(texts))

    def _cut(self, texts: list[str]) -> list[Any]:
        with limits.running():
            return self.rust.encode_batch_fast(texts, add_special_tokens=False)

    def _lay(
        self, form: Template, cut: np.ndarray, *texts: tuple[np.ndarray, np.ndarray, np.ndarray]
    ) -> Tokens:
        """Put the kept part of every text (flat ids, lengths, lengths to keep) between the special tokens."""
        size = form.size + sum(keep for _, _, keep in texts)
        offsets = np.concatenate([[0], np.cumsum(size)]).astype(np.int64)
        out, types = np.empty(int(offsets[-1]), np.int32), np.zeros(int(offsets[-1]), np.uint8)
        place = offsets[:-1].copy()
        for number, part in enumerate(form.special):
            for token, kind in part:
                out[place], types[place] = token, kind
                place += 1
            if number < len(texts):
                ids, length, keep = texts[number]
                where = ranges(place, keep)
                out[where], types[where] = ids[ranges(np.cumsum(length) - length, keep)], form.types[number]
                place += keep
        return Tokens.unlabelled(out, types, offsets, self.pad_id, int(cut.sum()))


def _kept(one: np.ndarray, two: np.ndarray, room: int) -> tuple[np.ndarray, np.ndarray]:
    """How many tokens of each text of a pair are kept in ``room``: the shorter text whole where it leaves the
    other at least as much, else half each; an odd token goes to the longer text, to the second of equal ones."""
    short = np.where(np.minimum(one, two) <= room // 2, np.minimum(one, two), room // 2)
    first_is_longer = one > two
    keep = np.where(first_is_longer, np.minimum(one, room - short), short)
    other = np.where(first_is_longer, short, np.minimum(two, room - short))
    whole = one + two <= room
    return np.where(whole, one, keep), np.where(whole, two, other)


def _starts(count: int, step: int) -> range:
    """Where portions of ``step`` begin; one begins even where there is nothing."""
    return range(0, max(1, count), step)


def _cuts(texts: pa.Array, size: int) -> list[int]:
    """Where to cut an array into portions of about ``size`` bytes, each of one text at least."""
    offsets = np.frombuffer(texts.buffers()[1], np.int64)[texts.offset : texts.offset + len(texts) + 1]
    full = np.searchsorted(offsets, np.arange(offsets[0] + size, offsets[-1], size))
    return np.unique([0, *full, len(texts)]).tolist()


def _as_array(texts: list[str] | pa.Array) -> pa.Array:
    if isinstance(texts, pa.Array):
        return texts
    try:
        return pa.array(texts, pa.large_string())
    except UnicodeEncodeError:
        return pa.array([_well_formed(text) for text in texts], pa.large_string())


def _replaced(
    ids: np.ndarray, length: np.ndarray, rows: np.ndarray, other: np.ndarray, count: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Flat ids and lengths with those of some ``rows`` (ascending) exchanged for others."""
    source = np.cumsum(length) - length
    source[rows] = len(ids) + np.cumsum(count) - count
    length = length.copy()
    length[rows] = count
    return np.concatenate([ids, other])[ranges(source, length)], length


def _checked(texts: Texts | Iterable[str], first: int = 0) -> list[str] | pa.Array:
    if isinstance(texts, pa.Array | pa.ChunkedArray):
        if texts.null_count:
            raise DataError(
                _("text {number} is missing; it must be a string."),
                number=texts.is_null().index(True).as_py(),
            )
        array = texts.cast(pa.large_string())
        return (
            array
            if isinstance(array, pa.Array)
            else pa.concat_arrays(array.chunks or [pa.array([], array.type)])
        )
    if isinstance(texts, str):
        raise DataError(_("pass a list of texts, not one string: [{texts!r}]."), texts=texts[:40])
    texts = list(texts)
    for i, text in enumerate(texts, first):
        if not isinstance(text, str):
            raise DataError(
                _("text {i} is {text!r}, a {type}; it must be a string."),
                i=i,
                text=text,
                type=type(text).__name__,
            )
    return texts


def _portions(texts: Texts | Iterable[str] | Dataset) -> Iterator[list[str]]:
    """Texts, checked and well formed, some at a time."""
    if isinstance(texts, str):
        _checked(texts)  # says what is needed
    if isinstance(texts, pa.Array | pa.ChunkedArray):
        parts: Iterator[Any] = (texts[start : start + _AT_ONCE] for start in range(0, len(texts), _AT_ONCE))
    elif hasattr(texts, "column_names"):
        parts = (table.column(0) for table in batches(texts, ["text"], _AT_ONCE))
    else:
        source = iter(texts)
        parts = iter(lambda: list(islice(source, _AT_ONCE)), [])
    done = 0
    for part in parts:
        strings = part if isinstance(part, list) else part.to_pylist()
        yield [_well_formed(text) for text in _checked(strings, done)]
        done += len(part)


def _well_formed(text: str) -> str:
    """The text with every lone surrogate, which UTF-8 cannot hold, as U+FFFD; the length stays."""
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


def head_of(text: str, limit: int) -> str:
    """The first ``limit`` characters, well formed, back to white space so that the last word is whole.

    More than ``limit / 2`` characters without white space are cut where they are (Chinese, or no language).
    """
    if len(text) <= limit:
        return _well_formed(text)
    head = text[:limit]
    whole = head.rsplit(None, 1)[:1]
    return _well_formed(whole[0] if whole and len(whole[0]) > limit // 2 else head)
