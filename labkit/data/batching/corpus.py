"""Examples from running text: token windows (language modelling) and pairs of neighbouring passages (NSP)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from labkit.core.errors import ConfigError, DataError
from labkit.data.text.tokens import Tokens
from labkit.data.text.wordpiece import ranges
from labkit.i18n import _


def stream(tokens: Tokens, length: int, skip: int = 1) -> Tokens:
    """Concatenated rows cut into windows of ``length`` tokens, as decoders are trained (Radford et al. 2019).

    Args:
        tokens: whole rows ``[CLS] … [SEP]``; without ``[CLS]``; ``[SEP]`` ends a row.
        length: tokens of a window. The last window may be shorter, but has two tokens at least.
        skip: tokens at the beginning of every row that are left out.

    Returns:
        Windows with label 0; ``row`` is that of a window's first token. ``truncated`` counts the rows that
        were cut when they were tokenised.

    Raises:
        DataError: there are fewer than two tokens.
    """
    keep = np.ones(len(tokens.ids), bool)
    for place in range(skip):
        keep[np.asarray(tokens.offsets[:-1]) + place] = False
    ids = np.asarray(tokens.ids)[keep]
    if len(ids) < 2:
        raise DataError(
            _("language modelling needs more text: {n_rows} rows have only {n} tokens."),
            n_rows=len(tokens),
            n=len(ids),
        )
    starts = np.arange(0, len(ids), length)
    starts = starts[len(ids) - starts >= 2]
    offsets = np.append(starts, min(len(ids), starts[-1] + length)).astype(np.int64)
    ends = np.cumsum(np.diff(tokens.offsets) - skip)
    row = np.asarray(tokens.row)[np.searchsorted(ends, starts, side="right")]
    label = np.zeros(len(starts), np.int32)
    ids = ids[: offsets[-1]]
    return Tokens(ids, np.zeros(len(ids), np.uint8), offsets, label, row, tokens.pad_id, tokens.truncated)


def sentence_pairs(tokens: Tokens, documents: np.ndarray, length: int, seed: int) -> Tokens:
    """Pairs of passages for next-sentence prediction (Devlin et al. 2018, 3.1).

    Neighbouring rows of a document are put together to passages of about half of ``length``; a row that is
    longer than that, a paragraph, is taken in even pieces of a quarter. Of two passages that follow each
    other the second is kept in every other pair (label 0, "is next"); in the others it is replaced by a
    random passage (label 1, "is not"), as in the layout of Hugging Face.

    Args:
        tokens: whole rows ``[CLS] … [SEP]`` in the order of the text, a sentence or a paragraph each.
        documents: the document of every row, i64[n]; no pair reaches over the end of one.
        length: tokens of a pair at most, ``[CLS] a [SEP] b [SEP]``; types are 0 and 1.
        seed: decides which pairs are torn apart, and what stands in.

    Returns:
        The pairs; ``row`` is that of the first passage's first row. ``truncated`` counts passages that were
        cut, and rows that were when they were tokenised.

    Raises:
        ConfigError: ``length`` is below 8.
        DataError: fewer than four passages.
    """
    if length < 8:
        raise ConfigError(
            _("max_length = {length} is too small for two passages; the minimum is 8."), length=length
        )
    half = (length - 3) // 2
    whole = np.diff(tokens.offsets) - 2  # without the special tokens
    pieces = np.where(whole > half, -(-whole // max(half // 2, 1)), 1)
    of = np.repeat(np.arange(len(whole)), pieces)  # the row of every piece
    place = np.arange(len(of)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    size = whole[of] // pieces[of] + (place < whole[of] % pieces[of])
    documents, begin = np.asarray(documents)[of], np.cumsum(size) - size
    new = np.append(True, documents[1:] != documents[:-1])
    first = np.flatnonzero(new)
    within = begin - np.repeat(begin[first], np.diff(np.append(first, len(size))))
    unit = np.append(True, new[1:] | (within[1:] // half != within[:-1] // half))
    rows = np.flatnonzero(unit)  # the first piece of every passage
    inner = np.asarray(tokens.ids)[ranges(np.asarray(tokens.offsets[:-1]) + 1, whole)]
    start = begin[rows]
    full = np.diff(np.append(start, len(inner)))
    there = full > 0
    rows, start, full = rows[there], start[there], full[there]
    count, document = np.minimum(full, half), documents[rows]
    if len(rows) < 4:
        raise DataError(
            _("next-sentence prediction needs at least four passages of {half} tokens; there are {n_rows}."),
            half=half,
            n_rows=len(rows),
        )
    place = np.arange(len(rows)) - np.repeat(*_firsts(document))
    follows = np.append(document[1:] == document[:-1], False)
    one = np.flatnonzero(follows & (place % 2 == 0))
    random = np.random.Generator(np.random.Philox(seed))
    torn = random.permutation(len(one)) % 2 == 1
    # Any passage but the pair's own two: counted on from the second, round the end.
    other = (one + 1 + random.integers(1, len(rows) - 1, len(one))) % len(rows)
    two = np.where(torn, other, one + 1)
    a, b = count[one], count[two]
    offsets = np.append(0, np.cumsum(a + b + 3)).astype(np.int64)
    ids, types = np.empty(offsets[-1], np.int32), np.zeros(offsets[-1], np.uint8)
    cls, sep = tokens.ids[tokens.offsets[0]], tokens.ids[tokens.offsets[1] - 1]
    at = offsets[:-1]
    ids[at], ids[at + 1 + a], ids[offsets[1:] - 1] = cls, sep, sep
    ids[ranges(at + 1, a)] = inner[ranges(start[one], a)]
    ids[ranges(at + 2 + a, b)] = inner[ranges(start[two], b)]
    types[ranges(at + 2 + a, b + 1)] = 1
    cut = tokens.truncated + int((full[one] > half).sum() + (full[two] > half).sum())
    made = Tokens.unlabelled(ids, types, offsets, tokens.pad_id, cut)
    return replace(made, label=torn.astype(np.int32), row=np.asarray(tokens.row)[of[rows[one]]])


def _firsts(document: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where every document begins, and how many passages it has."""
    first = np.flatnonzero(np.append(True, document[1:] != document[:-1]))
    return first, np.diff(np.append(first, len(document)))
