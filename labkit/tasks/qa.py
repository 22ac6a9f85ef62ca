"""Extractive question answering: the answer is a span of the paragraph (Rajpurkar et al. 2016, arXiv
1606.05250)."""

from __future__ import annotations

import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx, traverse_util

from labkit.core.config import option
from labkit.core.shapes import Array, Float, Int
from labkit.data.answers import answers_of
from labkit.data.batching.buckets import choose_buckets
from labkit.data.batching.qa_windows import WindowBatches, windows
from labkit.data.text.tokenizer import Tokenizer
from labkit.i18n import _
from labkit.models import foreign, layers, weights
from labkit.models.base import Capability, ModelConfig
from labkit.profile.activations import Activations, linear_head
from labkit.profile.compiler import compiler_options
from labkit.tasks.base import (
    Batch,
    ExampleFormat,
    Head,
    Task,
    tokenizer_option,
    vocabulary_option,
)
from labkit.tasks.metrics import AccuracySums

LOWEST = float(jnp.finfo(jnp.float32).min)
#: Entries of config.json: the model was trained on questions without an answer too;
#: :attr:`Answering.threshold`.
NULLABLE, THRESHOLD = "labkit_no_answer", "labkit_no_answer_threshold"
#: Windows in one batch while answers are searched for.
BATCH = 32


@dataclass(frozen=True)
class QuestionAnswering(Task):
    """Settings of question answering. The rows are pairs, question and paragraph, with their answers."""

    needs: ClassVar[Capability] = Capability.SPANS
    needs_pairs: ClassVar[bool] = True
    needs_answers: ClassVar[bool] = True
    rate_factor: ClassVar[float] = 2.5
    shown: ClassVar[tuple[str, ...]] = ("max_length", "stride")
    reading: ClassVar[tuple[str, ...]] = (*Task.reading, "stride")

    max_length: int = option(
        256, _("Window length in tokens: question and part of the context paragraph."), low=32, high=1_000_000
    )
    stride: int = option(
        64,
        _("Overlap in tokens of consecutive windows of a long paragraph (doc stride)."),
        low=0,
        high=1_000_000,
    )
    longest_answer: int = option(30, _("Maximum answer length in tokens."), low=1, high=1_000_000)
    vocabulary: int = vocabulary_option()
    tokenizer: str = tokenizer_option()

    @property
    def example_format(self) -> ExampleFormat:
        """How rows become examples."""
        return ExampleFormat.SPANS

    def build(
        self,
        classes: tuple[str, ...],
        labels: np.ndarray,
        tokenizer: Tokenizer | None = None,
        target: np.ndarray | None = None,
    ) -> Answering:
        """Join the settings to the data: windows with the label 1 belong to questions without an answer."""
        return Answering(self, nullable=bool((labels == 1).any()))

    def restore(self, classes: tuple[str, ...], tokenizer: Tokenizer | None = None) -> Answering:
        """The head of a model that is trained already."""
        return Answering(self)


class Reader(nnx.Module):
    """An encoder and a linear layer with start and end scores for each token."""

    def __init__(self, backbone: nnx.Module, width: int, rngs: nnx.Rngs):
        self.backbone: Any = backbone
        self.head = layers.dense(width, 2, "float32", rngs)

    def __call__(
        self, batch: Batch, *, key: jax.Array | None = None
    ) -> tuple[Float[Array, "b t"], Float[Array, "b t"]]:
        """Scores of beginning and ending at each token; the lowest at the question and padding, not at [CLS]."""
        hidden = self.backbone(batch["ids"], batch["mask"], batch["types"], key=key).hidden
        scores = self.head(hidden)
        column = jnp.arange(hidden.shape[1])
        last = batch["mask"].sum(axis=1, keepdims=True) - 1  # of [SEP]
        may = (column == 0) | ((column >= batch["first"][:, None]) & (column < last))
        scores = jnp.where(may[:, :, None], scores, LOWEST)
        return scores[:, :, 0], scores[:, :, 1]


class Best(NamedTuple):
    """The likeliest answers of windows: ``start`` and ``end`` i32[b], ``score`` f32[b], of the paragraph's
    tokens."""

    start: Int[Array, " b"]
    end: Int[Array, " b"]
    score: Float[Array, " b"]


def best_span(begins: Float[Array, "b t"], ends: Float[Array, "b t"], longest: int) -> Best:
    """The span of the greatest sum of both scores that does not end before it begins, is at most ``longest``
    tokens long, and is not [CLS]."""
    wide = begins.shape[1]
    column = jnp.arange(wide)
    after = column[None, :] - column[:, None]
    allowed = (after >= 0) & (after < longest) & (column[:, None] > 0)
    both = jnp.where(allowed, begins[:, :, None] + ends[:, None, :], 2 * LOWEST / 3)
    place = jnp.argmax(both.reshape(len(both), -1), axis=1)
    score = jnp.take_along_axis(both.reshape(len(both), -1), place[:, None], axis=1)[:, 0]
    return Best((place // wide).astype(jnp.int32), (place % wide).astype(jnp.int32), score)


@dataclass(frozen=True)
class AnswerSpan:
    """An answer: its text, the characters ``start`` … ``end`` of the paragraph, its score, a sum of two
    logits, and its probability, 0 … 1, among all beginnings and ends in its window.

    Where the paragraph holds no answer, ``text`` is empty and ``answered`` False; ``score`` and
    ``probability`` are then those of "no answer". Only a model trained on such questions (SQuAD 2.0) finds
    none.
    """

    text: str
    start: int
    end: int
    score: float
    probability: float

    @property
    def answered(self) -> bool:
        """Whether the paragraph holds an answer."""
        return bool(self.text)


class Candidates(NamedTuple):
    """The best piece of a paragraph for a question, and "no answer" with its score."""

    best: AnswerSpan
    none: AnswerSpan

    @property
    def margin(self) -> float:
        """The score of "no answer" less that of the best piece."""
        return self.none.score - self.best.score


class Search:
    """Searches paragraphs for answers by a module.

    Args:
        module: the reader. config: settings of the task. tokenizer: that of the texts.
    """

    def __init__(self, module: Reader, config: QuestionAnswering, tokenizer: Tokenizer):
        self.config, self.tokenizer = config, tokenizer
        graph, self._state = nnx.split(module)

        @partial(jax.jit, compiler_options=compiler_options())
        def read(state: nnx.State, batch: dict[str, Any]) -> Any:
            begins, ends = nnx.merge(graph, state)(batch)
            best, logsumexp = best_span(begins, ends, config.longest_answer), jax.nn.logsumexp
            whole, none = logsumexp(begins, axis=1) + logsumexp(ends, axis=1), begins[:, 0] + ends[:, 0]
            return best, jnp.exp(best.score - whole), none, jnp.exp(none - whole)

        self._read: Callable[..., Any] = read

    def __call__(self, questions: Sequence[str], paragraphs: Sequence[str]) -> list[Candidates]:
        """The candidates for every question: the best piece of all windows of its paragraph, and "no answer"
        with its least score in any of them."""
        made = windows(questions, paragraphs, self.tokenizer, self.config.max_length, self.config.stride)
        buckets = choose_buckets(made.lengths, self.config.max_length, batch_size=BATCH)
        best: dict[int, AnswerSpan] = {}
        none: dict[int, AnswerSpan] = {}
        for batch in WindowBatches(made, BATCH, buckets, shuffle=False):
            found, chance, null, null_chance = jax.device_get(self._read(self._state, batch))
            for place in np.flatnonzero(batch["index"] >= 0):
                window = int(batch["index"][place])
                example, base = int(made.example[window]), int(made.tokens.offsets[window])
                score, against = float(found.score[place]), float(null[place])
                if example not in none or against < none[example].score:
                    none[example] = AnswerSpan("", 0, 0, against, float(null_chance[place]))
                if example in best and best[example].score >= score:
                    continue
                start = int(made.spans[base + found.start[place], 0])
                end = _with_accents(paragraphs[example], int(made.spans[base + found.end[place], 1]))
                best[example] = AnswerSpan(
                    paragraphs[example][start:end], start, end, score, float(chance[place])
                )
        return [Candidates(best[example], none[example]) for example in range(len(questions))]


def _with_accents(text: str, end: int) -> int:
    """``end`` behind the accents that belong to the letter before it, which tokenizers drop."""
    while 0 < end < len(text) and unicodedata.combining(text[end]):
        end += 1
    return end


def best_threshold(margins: Sequence[float], f1: Sequence[float], answerable: Sequence[bool]) -> float:
    """The threshold of the greatest mean F1, which the evaluation script of SQuAD 2.0 calls
    ``best_f1_thresh``.

    That script takes the greatest :attr:`Candidates.margin` of a question that is answered. Any value below
    the next margin gives the same F1; the one half way divides new questions best. Where every question is
    answered, or none, it is the nearest to 0.

    Args:
        margins: of each question.
        f1: of the best piece of its paragraph.
        answerable: whether it has an answer.
    """
    order = np.argsort(margins, kind="stable")
    sorted_margins = np.asarray(margins, np.float64)[order]
    gain = np.cumsum(np.where(answerable, f1, -1.0)[order])  # in F1, over "no answer" for every question
    gain[:-1][sorted_margins[1:] == sorted_margins[:-1]] = -np.inf  # equal margins are answered together
    best = int(np.argmax(gain))
    if gain[best] <= 0:
        return min(0.0, float(sorted_margins[0]) - 1.0)
    if best == len(gain) - 1:
        return max(0.0, float(sorted_margins[-1]))
    return float(sorted_margins[best : best + 2].mean())


def has_reader(folder: Path) -> bool:
    """Whether a folder of weights holds a head for answers."""
    return foreign.names_class(folder, "ForQuestionAnswering") and "qa_outputs.weight" in weights.Tensors(
        folder
    )


@dataclass(frozen=True, eq=False)
class Answering(Head):
    """A linear layer that scores at which tokens an answer begins and ends.

    ``nullable``: some training questions have no answer, so the score of [CLS] is that of "no answer" (SQuAD
    2.0, Rajpurkar et al. 2018, arXiv 1806.03822); where it is greater than that of the best piece by more
    than ``threshold``, the answer is none.
    """

    config: QuestionAnswering
    nullable: bool = False
    threshold: float = 0.0

    train_metrics: ClassVar[tuple[str, ...]] = ("accuracy",)

    @property
    def unused(self) -> tuple[str, ...]:
        """Prefixes of parameters that nothing reads; they are not stored."""
        return ("backbone/pooler/",)

    @property
    def eval_metrics(self) -> tuple[str, ...]:
        """Metrics recorded of an evaluation."""
        return ("loss", "accuracy")

    def init(self, model: ModelConfig, rngs: nnx.Rngs) -> Reader:
        """The model of config ``model`` with a new head."""
        return Reader(model.build(rngs), model.output_width, rngs)

    def save(
        self, params: dict[str, np.ndarray], model: ModelConfig, folder: Path, specials: weights.Specials
    ) -> None:
        """Write the model of config ``model`` in the layout of its family."""
        tensors = {"qa_outputs.weight": params["head/kernel"].T, "qa_outputs.bias": params["head/bias"]}
        name = f"{model.classes}ForQuestionAnswering"
        known = {NULLABLE: True, THRESHOLD: self.threshold} if self.nullable else {}
        model.save(weights.backbone(params), folder, tensors, specials, architectures=[name], **known)

    def fitted(
        self, params: dict[str, np.ndarray], model: ModelConfig, rows: Any, tokenizer: Tokenizer | None
    ) -> Self:
        """The head with the :attr:`threshold` of the greatest F1 on ``rows``; unchanged where these are not
        questions of both kinds, with and without an answer."""
        texts = answers_of(rows)[0] if self.nullable else []
        answerable = [len(truths) > 0 for truths in texts]
        if tokenizer is None or all(answerable) or not any(answerable):
            return self
        module = nnx.eval_shape(lambda: self.init(model, nnx.Rngs(0)))
        nnx.update(module, traverse_util.unflatten_dict(params, sep="/"))
        found = Search(module, self.config, tokenizer)(rows["text"], rows["text_pair"])
        f1 = [overlap(one.best.text, right_answers(truths)) for one, truths in zip(found, texts, strict=True)]
        return replace(self, threshold=best_threshold([one.margin for one in found], f1, answerable))

    def load(self, module: Reader, folder: Path, model: ModelConfig) -> None:
        """Put the head that :meth:`save` wrote into a module."""
        tensors = weights.Tensors(folder)
        kernel, bias = (jnp.asarray(tensors.checked(f"qa_outputs.{part}")) for part in ("weight", "bias"))
        nnx.update(module, {"head": {"kernel": kernel.T, "bias": bias}})

    def pretrained(self, model: ModelConfig) -> tuple[bool, str]:
        """Whether the pretrained weights have a head for answers."""
        folder = model.folder()
        return folder is not None and has_reader(folder), ""

    def empty(self) -> AccuracySums:
        """The metric sums over no examples."""
        return AccuracySums.empty()

    def activations(self, model: ModelConfig, batch: Mapping[str, Any]) -> Activations | None:
        """What the loss of a batch computes and keeps, by formula; None where the model has none."""
        found = model.activations(batch)
        return found and found + linear_head(batch["ids"].size, model.output_width, 2, False)

    def loss(
        self, module: Reader, batch: Batch, key: jax.Array | None
    ) -> tuple[Float[Array, ""], Float[Array, ""], AccuracySums]:
        """The mean of the cross-entropies of where the answer begins and ends: the sum over windows, each
        times its weight; the sum of weights; and the sums to report. A window without the answer aims at
        [CLS]."""
        begins, ends = module(batch, key=key)
        losses, right = jnp.zeros(len(begins)), jnp.ones(len(begins), bool)
        for scores, target in ((begins, batch["start"]), (ends, batch["end"])):
            chosen = jnp.take_along_axis(scores, target[:, None], axis=1)[:, 0]
            losses += 0.5 * (jax.nn.logsumexp(scores, axis=1) - chosen)
            right &= jnp.argmax(scores, axis=1) == target
        weight = batch["weight"]
        real = weight > 0
        total = jnp.sum(jnp.where(real, losses * weight, 0))
        counts = jnp.sum(right & real, dtype=jnp.int32), jnp.sum(real, dtype=jnp.int32)
        sums = AccuracySums(total, jnp.sum(weight), *counts)
        return total, sums.weight, sums


# How answers are compared: the rules published with SQuAD 2.0, and for all scripts.

#: Scripts written without blanks between words: each character is a token (first and last code point of
#: blocks).
_UNSPACED = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F), (0xA9E0, 0xA9FF), (0xAA60, 0xAA7F),  # Myanmar
    (0x1780, 0x17FF), (0x19E0, 0x19FF),  # Khmer
    (0x2E80, 0x2FDF), (0x3005, 0x3007), (0x3021, 0x3029),  # radicals and numerals
    (0x3031, 0x312F), (0x31A0, 0x31FF),  # kana, bopomofo
    (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF),  # Chinese characters
)  # fmt: skip
_ARTICLES = frozenset(("a", "an", "the"))
_ASCII_PUNCTUATION = frozenset(string.punctuation)


def tokens(answer: str) -> list[str]:
    """Words of an answer as its scores compare them: in Unicode form NFKC, without case, punctuation,
    invisible characters and English articles; in scripts without blanks every character."""
    same = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", answer).casefold())
    return [
        word
        for run in "".join(filter(_compared, same)).split()
        for word in _words(run)
        if word not in _ARTICLES
    ]


def _compared(char: str) -> bool:
    kind = unicodedata.category(char)
    return char.isspace() or not (char in _ASCII_PUNCTUATION or kind[0] == "P" or kind in ("Cc", "Cf"))


def _words(run: str) -> Iterator[str]:
    """A run without blanks as words, and single characters where the script has no blanks."""
    begin = 0
    for place, char in enumerate(run):
        code = ord(char)
        if code > 0xDFF and any(first <= code <= last for first, last in _UNSPACED):
            yield from filter(None, (run[begin:place], char))
            begin = place + 1
    if run[begin:]:
        yield run[begin:]


def right_answers(truths: Sequence[str]) -> list[str]:
    """The right answers that have tokens; the empty one, which is "no answer", where none has."""
    return [truth for truth in truths if tokens(truth)] or [""]


def normalised(answer: str) -> str:
    """The tokens of an answer with single blanks between them."""
    return " ".join(tokens(answer))


def exact(answer: str, truths: Sequence[str]) -> float:
    """1 where the answer is one of the right ones, by :func:`normalised`; else 0."""
    return float(any(normalised(answer) == normalised(truth) for truth in truths))


def overlap(answer: str, truths: Sequence[str]) -> float:
    """The best F1 of the answer's tokens against those of a right one."""
    return max((_f1(tokens(answer), tokens(truth)) for truth in truths), default=0.0)


def _f1(found: list[str], truth: list[str]) -> float:
    if not found or not truth:
        return float(found == truth)
    common = sum((Counter(found) & Counter(truth)).values())
    return 2 * common / (len(found) + len(truth))
