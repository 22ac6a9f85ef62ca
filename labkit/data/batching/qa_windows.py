"""Windows over long paragraphs for extractive question answering, with answer positions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from labkit.core.errors import ConfigError, DataError
from labkit.data.batching.base import Batch
from labkit.data.batching.buckets import BucketBatches
from labkit.data.text.tokens import TokenExamples, Tokens
from labkit.i18n import _

if TYPE_CHECKING:
    from labkit.data.text.tokenizer import Tokenizer


@dataclass(frozen=True, eq=False)
class Windows(TokenExamples):
    """n windows ``[CLS] question [SEP] part of the paragraph [SEP]``, several to a row where its paragraph is
    long; the special tokens are those of the tokenizer's pairs.

    Attributes:
        tokens: the windows; ``label`` is 1 where the question has no answer at all, else 0.
        start, end: i32[n], first and last token of the answer in the window; 0, which is ``[CLS]``, where it
            is not there whole.
        example: i64[n], the row of the data set.
        first: i32[n], the column where the paragraph's tokens begin.
        spans: i32[total, 2], character span of each token in the paragraph; of no meaning elsewhere.
    """

    start: np.ndarray
    end: np.ndarray
    example: np.ndarray
    first: np.ndarray
    spans: np.ndarray


class WindowBatches(BucketBatches):
    """As ``BucketBatches``, with ``start``, ``end`` and ``first`` i32[b] for each window."""

    def __init__(self, windows: Windows, *args: Any, **settings: Any):
        super().__init__(windows.tokens, *args, **settings)
        self.windows = windows

    def _gather(self, index: np.ndarray, width: int) -> Batch:
        real = index >= 0
        made = self.windows
        spans = {"start": made.start, "end": made.end, "first": made.first}
        more = {name: (span.take(index, mode="clip") * real).astype(np.int32) for name, span in spans.items()}
        return {**super()._gather(index, width), **more}


def windows(
    questions: Sequence[str],
    paragraphs: Sequence[str],
    tokenizer: Tokenizer,
    max_length: int,
    stride: int,
    answers: Sequence[tuple[int, int] | None] | None = None,
) -> Windows:
    """Cut paragraphs into windows that overlap, each behind its question, as BERT was fine-tuned on SQuAD.

    An answer that every window cuts gets one more window, which holds it whole.

    Args:
        questions, paragraphs: n texts each.
        tokenizer: makes the tokens.
        max_length: tokens of a window at most.
        stride: paragraph tokens that a window and the next have in common.
        answers: characters (start, end) of each answer in its paragraph, None for a question without one;
            without them ``start`` and ``end`` are 0.

    Raises:
        ConfigError: a window leaves no room for a paragraph after a question of half its length and the
            overlap, or for an answer.
        DataError: there are not as many paragraphs as questions, or the tokenizer makes no token of an
            answer.
    """
    if len(questions) != len(paragraphs):
        raise DataError(
            _("{n_questions} questions but {n_paragraphs} paragraphs."),
            n_questions=len(questions),
            n_paragraphs=len(paragraphs),
        )
    longest, form = max_length // 2, tokenizer.pair  # of a question; what is longer is cut
    if max_length - longest - form.size <= stride or stride < 0:
        raise ConfigError(
            _(
                "stride = {stride} is too large for max_length = {max_length}: the overlap of windows "
                "must be below {limit}."),
            max_length=max_length, stride=stride, limit=max_length - longest - form.size,
        )  # fmt: skip
    asked, read = ([_pieces(tokenizer, text) for text in texts] for texts in (questions, paragraphs))
    ids, types, size, found, chars = [], [], [], [], []
    cut = 0
    for example, ((question, _unused), (paragraph, places)) in enumerate(zip(asked, read, strict=True)):
        cut += len(question) > longest
        question = question[:longest]
        room = max_length - len(question) - form.size
        first = len(question) + len(form.special[0]) + len(form.special[1])
        span = None if answers is None else answers[example]
        begins = [*range(0, max(1, len(paragraph) - stride), room - stride)]
        start, end = (-1, -1) if span is None else _tokens(places, span, example, paragraphs[example])
        if span is not None and not any(begin <= start and end < begin + room for begin in begins):
            if end - start >= room:
                raise ConfigError(
                    _(
                        "example {example}: the answer has {n_tokens} tokens, but a window has room for "
                        "only {room}. Increase max_length, or drop the row."),
                    example=example, n_tokens=end - start + 1, room=room,
                )  # fmt: skip
            begins.append(min(max(0, start - (room - (end - start + 1)) // 2), len(paragraph) - room))
        for begin in begins:
            part, where = paragraph[begin : begin + room], places[begin : begin + room]
            row, kinds = tokenizer.row(question, part)
            ids.append(row)
            types.append(kinds)
            chars += [np.zeros((first, 2), np.int32), where, np.zeros((len(form.after), 2), np.int32)]
            size.append(len(row))
            whole = begin <= start and end < begin + room
            here = (first + start - begin, first + end - begin) if whole else (0, 0)
            found.append((*here, example, first, answers is not None and span is None))
    told = np.array(found, np.int64).reshape(-1, 5)
    offsets = np.cumsum([0, *size]).astype(np.int64)
    flat = np.concatenate([np.empty(0, np.int32), *ids]).astype(np.int32)
    kinds = np.concatenate([np.empty(0, np.uint8), *types]).astype(np.uint8)
    label = told[:, 4].astype(np.int32)
    tokens = Tokens(flat, kinds, offsets, label, told[:, 2].copy(), tokenizer.pad_id, cut)
    spans = np.concatenate([np.empty((0, 2), np.int32), *chars]).astype(np.int32)
    start, end, first = (told[:, column].astype(np.int32) for column in (0, 1, 3))
    return Windows(tokens, start, end, told[:, 2], first, spans)


def _pieces(tokenizer: Tokenizer, text: str) -> tuple[list[int], np.ndarray]:
    """Token ids of a text, and their character spans, i32[k, 2]."""
    found = tokenizer.pieces(text)
    return [number for _, number, _ in found], np.array([place for _, _, place in found], np.int32).reshape(
        -1, 2
    )


def _tokens(places: np.ndarray, span: tuple[int, int], example: int, paragraph: str) -> tuple[int, int]:
    """First and last of a paragraph's tokens that an answer is made of. A character without a token, such as
    an accent that the tokenizer drops, does not count."""
    start, end = span
    inside = np.flatnonzero((places[:, 1] > start) & (places[:, 0] < end))
    if not len(inside):
        raise DataError(
            _("example {example}: the tokenizer produces no token for the answer {answer!r}."),
            example=example,
            answer=paragraph[start:end],
        )
    return int(inside[0]), int(inside[-1])
