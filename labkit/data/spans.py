"""Questions on paragraphs whose answers are pieces of them: windows over long paragraphs, and where the answer lies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from labkit.base.errors import ConfigError, DataError
from labkit.data.batch import Batch, Batches
from labkit.data.tokens import Tokens

if TYPE_CHECKING:
    from labkit.data.text import Tokenizer

#: Columns in which answers may stand: their text, and where it begins in the paragraph, in characters.
TEXT, START = "answer", "answer_start"


@dataclass(frozen=True, eq=False)
class Windows:
    """n windows ``[CLS] question [SEP] part of the paragraph [SEP]``, several to a row where its paragraph is long; the
    special tokens are those of the tokenizer's pairs.

    Attributes:
        tokens: the windows; ``label`` is 0.
        start, end: i32[n], first and last token of the answer in the window; 0, which is ``[CLS]``, where it is not
            there whole.
        example: i64[n], the row of the data set.
        first: i32[n], the column where the paragraph's tokens begin.
        spans: i32[total, 2], characters of the paragraph that each token stands for; of no meaning elsewhere.
    """

    tokens: Tokens
    start: np.ndarray
    end: np.ndarray
    example: np.ndarray
    first: np.ndarray
    spans: np.ndarray

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def label(self) -> np.ndarray:
        """Zeros, i32[n]: every window takes part."""
        return self.tokens.label

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of every window, i64[n]."""
        return self.tokens.lengths

    @property
    def truncated(self) -> int:
        """Questions that were cut."""
        return self.tokens.truncated


class WindowBatches(Batches):
    """As :class:`labkit.data.batch.Batches`, with ``start``, ``end`` and ``first`` i32[b] beside the windows."""

    def __init__(self, windows: Windows, *args: Any, **settings: Any):
        super().__init__(windows.tokens, *args, **settings)
        self.windows = windows

    def _gather(self, index: np.ndarray, width: int) -> Batch:
        real = index >= 0
        more = {
            name: (getattr(self.windows, name).take(index, mode="clip") * real).astype(np.int32)
            for name in ("start", "end", "first")
        }
        return {**super()._gather(index, width), **more}


def windows(
    questions: Sequence[str],
    paragraphs: Sequence[str],
    tokenizer: Tokenizer,
    max_length: int,
    stride: int,
    answers: Sequence[tuple[int, int]] | None = None,
) -> Windows:
    """Cut paragraphs into windows that overlap, each behind its question, as BERT was fine-tuned on SQuAD.

    Args:
        questions, paragraphs: n texts each.
        tokenizer: makes the tokens.
        max_length: tokens of a window at most.
        stride: paragraph tokens that a window and the next have in common.
        answers: characters (start, end) of each answer in its paragraph; without them ``start`` and ``end`` are 0.

    Raises:
        ConfigError: a window leaves no room for a paragraph beside a question of half its length and the overlap.
        DataError: there are not as many paragraphs as questions.
    """
    if len(questions) != len(paragraphs):
        raise DataError(f"{len(questions)} questions but {len(paragraphs)} paragraphs.")
    longest, form = max_length // 2, tokenizer.pair  # of a question; what is longer is cut
    if max_length - longest - form.size <= stride or stride < 0:
        raise ConfigError(
            f"max_length = {max_length} has no room for stride = {stride} tokens that windows share: it must be below "
            f"{max_length - longest - form.size}."
        )
    asked, read = ([_pieces(tokenizer, text) for text in texts] for texts in (questions, paragraphs))
    ids, types, size, found, chars = [], [], [], [], []
    cut = 0
    for example, ((question, _), (paragraph, places)) in enumerate(zip(asked, read, strict=True)):
        cut += len(question) > longest
        question = question[:longest]
        room, begin = max_length - len(question) - form.size, 0
        first = len(question) + len(form.special[0]) + len(form.special[1])
        while True:
            part, where = paragraph[begin : begin + room], places[begin : begin + room]
            row, kinds = tokenizer.row(question, part)
            ids.append(row)
            types.append(kinds)
            chars += [np.zeros((first, 2), np.int32), where, np.zeros((len(form.after), 2), np.int32)]
            size.append(len(row))
            start, end = _answer(where, answers[example]) if answers is not None else (-1, -1)
            found.append((first + start, first + end, example, first) if start >= 0 else (0, 0, example, first))
            if begin + room >= len(paragraph):
                break
            begin += room - stride
    told = np.array(found, np.int64).reshape(-1, 4)
    offsets = np.cumsum([0, *size]).astype(np.int64)
    flat = np.concatenate([np.empty(0, np.int32), *ids]).astype(np.int32)
    kinds = np.concatenate([np.empty(0, np.uint8), *types]).astype(np.uint8)
    label = np.zeros(len(told), np.int32)
    tokens = Tokens(flat, kinds, offsets, label, told[:, 2].copy(), tokenizer.pad_id, cut)
    spans = np.concatenate([np.empty((0, 2), np.int32), *chars]).astype(np.int32)
    start, end, first = (told[:, column].astype(np.int32) for column in (0, 1, 3))
    return Windows(tokens, start, end, told[:, 2], first, spans)


def _pieces(tokenizer: Tokenizer, text: str) -> tuple[list[int], np.ndarray]:
    """Numbers of a text's pieces, and the characters that each stands for, i32[k, 2]."""
    found = tokenizer.pieces(text)
    return [number for _, number, _ in found], np.array([place for _, _, place in found], np.int32).reshape(-1, 2)


def _answer(places: np.ndarray, answer: tuple[int, int]) -> tuple[int, int]:
    """First and last of some tokens that cover characters; -1 where they do not all lie among them."""
    start, end = answer
    inside = np.flatnonzero((places[:, 1] > start) & (places[:, 0] < end))
    if not len(inside) or places[inside[0], 0] > start or places[inside[-1], 1] < end:
        return -1, -1
    return int(inside[0]), int(inside[-1])


def has_answers(names: Sequence[str]) -> bool:
    """Whether columns of these names hold what :func:`answers_of` reads."""
    return "answers" in names or (TEXT in names and START in names)


def answers_of(dataset: Any) -> tuple[list[list[str]], list[tuple[int, int]]]:
    """The right answers of every row, of which there may be several, and the characters of the first.

    They stand in ``answer`` and ``answer_start`` (a text and a number), or in ``answers`` as SQuAD has them:
    ``{"text": [...], "answer_start": [...]}``.

    Raises:
        DataError: there are no such columns, or an answer does not stand where it is said to.
    """
    names = dataset.column_names
    if "answers" in names:
        all_of = [(list(one["text"]), list(one["answer_start"])) for one in dataset["answers"]]
    elif TEXT in names and START in names:
        all_of = [([text], [start]) for text, start in zip(dataset[TEXT], dataset[START], strict=True)]
    else:
        raise DataError(
            f"questions need their answers: columns {TEXT!r} and {START!r}, or 'answers' as in SQuAD. The rows have "
            f"{', '.join(names)}."
        )
    spans = []
    for row, ((texts, starts), paragraph) in enumerate(zip(all_of, dataset["text_pair"], strict=True)):
        if not texts or texts[0] != paragraph[(begin := int(starts[0])) : begin + len(texts[0])]:
            said = f"{texts[0]!r} at character {starts[0]}" if texts else "nothing"
            raise DataError(f"example {row}: the answer, {said}, does not stand there in its paragraph.")
        spans.append((begin, begin + len(texts[0])))
    return [texts for texts, _ in all_of], spans
