"""Words with tags as tokens: the tag of a word is at its first token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from labkit.data.batching.base import Batch
from labkit.data.batching.buckets import BucketBatches
from labkit.data.text.tokens import TokenExamples, Tokens

if TYPE_CHECKING:
    from labkit.data.text.tokenizer import Tokenizer

#: The tag of tokens that have none.
NONE = -1


@dataclass(frozen=True, eq=False)
class TaggedTokens(TokenExamples):
    """n sentences.

    Attributes:
        tokens: the sentences.
        tag: i32[total], of each token the number of its word's tag; -1 at tokens that are not the first of a word,
            at special tokens, and for tags that the training rows lack.
        first: the column of each word's first token, i32[words of the sentence] for each sentence; -1 where a word
            has no token, or was cut off.
    """

    tag: np.ndarray
    first: tuple[np.ndarray, ...]


class TaggedBatches(BucketBatches):
    """As ``BucketBatches``, with ``tag`` i32[b, t]."""

    def __init__(self, examples: TaggedTokens, *args: Any, **settings: Any):
        super().__init__(examples.tokens, *args, labelled_only=False, **settings)
        self.tagged = examples

    def _gather(self, index: np.ndarray, width: int) -> Batch:
        batch = super()._gather(index, width)
        real = index >= 0
        start = self.tokens.offsets.take(index, mode="clip")
        length = (self.tokens.offsets.take(index + 1, mode="clip") - start) * real
        column = np.arange(width)
        tag = self.tagged.tag.take(start[:, None] + column, mode="clip")
        return {**batch, "tag": np.where(column < length[:, None], tag, NONE).astype(np.int32)}


def tagged(
    tokens: Tokens, words: Sequence[Sequence[str]], tokenizer: Tokenizer,
    tags: Sequence[Sequence[str]] | None = None, numbers: Mapping[str, int] | None = None,
) -> TaggedTokens:  # fmt: skip
    """The tokens of sentences with the tags of their words.

    Args:
        tokens: of the sentences, which are their words with single spaces between them.
        words: of each sentence.
        tokenizer: that made ``tokens``.
        tags: of each word; None for new sentences.
        numbers: number of each tag.
    """
    shift = len(tokenizer.single.special[0])
    tag, first = np.full(len(tokens.ids), NONE, np.int32), []
    for place, sentence in enumerate(words):
        room = int(tokens.lengths[place]) - tokenizer.single.size
        text = " ".join(sentence)
        begins = [begin for _piece, _id, (begin, _end) in tokenizer.pieces(text)][:room]
        starts = np.cumsum([0, *(len(word) + 1 for word in sentence)])  # of each word, and of the one behind
        # Byte-level tokens may begin with the space before their word, or be nothing else.
        letters = np.array([at + (text[at : at + 1] == " ") for at in begins], np.int64)
        owner = np.searchsorted(starts, letters, side="right") - 1
        columns = np.full(len(sentence), NONE, np.int32)
        known, at = np.unique(owner, return_index=True)
        inside = (known >= 0) & (known < len(sentence))
        columns[known[inside]] = shift + at[inside]
        first.append(columns)
        if tags is not None and numbers is not None:
            there = columns >= 0
            coded = np.array([numbers.get(name, NONE) for name in tags[place]], np.int32)
            tag[int(tokens.offsets[place]) + columns[there]] = coded[there]
    return TaggedTokens(tokens, tag, tuple(first))
