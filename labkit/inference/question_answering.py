"""Extractive question answering: the span of a paragraph that answers a question."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd

from labkit.core.config import known_settings
from labkit.core.errors import DataError
from labkit.data.batching.buckets import choose_buckets
from labkit.data.batching.qa_windows import WindowBatches, windows
from labkit.data.model_input import texts_of
from labkit.i18n import _
from labkit.inference.pipeline import Pipeline
from labkit.tasks.qa import NULLABLE, QuestionAnswering, best_span, exact, overlap, right_answers
from labkit.train.processors import BATCH


@dataclass(frozen=True)
class AnswerSpan:
    """An answer: its text, the characters ``start`` … ``end`` of the paragraph, its score, a sum of two logits, and its
    probability, 0 … 1, among all beginnings and ends in its window.

    Where the paragraph holds no answer, ``text`` is empty and ``answered`` False; ``score`` and ``probability`` are
    then those of "no answer". Only a model trained on such questions (SQuAD 2.0) finds none.
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


class QuestionAnsweringPipeline(Pipeline):
    """A model of the task "qa" that a run has written or exported: it finds the answer to a question in a paragraph."""

    task = QuestionAnswering

    def __init__(self, source: str | Path, device: jax.Device | None = None):
        super().__init__(source, device)
        config = json.loads((Path(source) / "config.json").read_text(encoding="utf-8"))
        self.nullable = bool(config.get(NULLABLE))
        self._read = self._compile(self._best)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.tokenizer.vocab_size} tokens>"

    def _used(self, module: Any) -> Any:
        return module

    def _best(self, module: Any, batch: dict[str, Any]) -> Any:
        """The best span of every window with its probability, and the score and probability of "no answer"."""
        begins, ends = module(batch)
        best, logsumexp = best_span(begins, ends, self.experiment.task.longest_answer), jax.nn.logsumexp
        whole, none = logsumexp(begins, axis=1) + logsumexp(ends, axis=1), begins[:, 0] + ends[:, 0]
        return best, jax.numpy.exp(best.score - whole), none, jax.numpy.exp(none - whole)

    @known_settings
    def answer(self, questions: str | Sequence[str], paragraphs: str | Sequence[str], *, threshold: float = 0.0) -> Any:
        """The likeliest piece of every paragraph for its question, a list; for a single question and paragraph the
        :class:`AnswerSpan` alone. Of a long paragraph it is the best of its windows.

        A model trained on questions without an answer finds none where the score of "no answer" (the logits of [CLS]
        as beginning and end, the least of all windows) is greater than that of the best piece by more than
        ``threshold``: a greater one makes it answer more questions.

        Raises:
            DataError: a text is missing or blank, or there are not as many paragraphs as questions.
        """
        if isinstance(questions, str) and isinstance(paragraphs, str):
            return self.answer([questions], [paragraphs], threshold=threshold)[0]
        if isinstance(questions, str) or isinstance(paragraphs, str):
            raise DataError(_("give one question with one paragraph, or lists of them of the same length."))
        questions, paragraphs = texts_of(questions, "question", False), texts_of(paragraphs, "paragraph", False)
        if not questions and not paragraphs:
            return []
        made = windows(questions, paragraphs, self.tokenizer, self.max_length, self.experiment.task.stride)
        buckets = choose_buckets(made.lengths, self.max_length, batch_size=BATCH)
        best: dict[int, AnswerSpan] = {}
        none: dict[int, AnswerSpan] = {}
        for index, results in self._results(self._read, WindowBatches(made, BATCH, buckets, shuffle=False)):
            found, chance, null, null_chance = results
            for place, window in enumerate(index.tolist()):
                example, base = int(made.example[window]), int(made.tokens.offsets[window])
                score, against = float(found.score[place]), float(null[place])
                if example not in none or against < none[example].score:
                    none[example] = AnswerSpan("", 0, 0, against, float(null_chance[place]))
                if example in best and best[example].score >= score:
                    continue
                start = int(made.spans[base + found.start[place], 0])
                end = _whole(paragraphs[example], int(made.spans[base + found.end[place], 1]))
                best[example] = AnswerSpan(paragraphs[example][start:end], start, end, score, float(chance[place]))
        return [
            none[example] if self.nullable and none[example].score - best[example].score > threshold else best[example]
            for example in range(len(questions))
        ]

    __call__ = answer

    def judge(
        self, questions: Sequence[str], paragraphs: Sequence[str], truths: Sequence[Sequence[str]]
    ) -> dict[str, float]:
        """``exact`` and ``f1``, each 0 … 1, of the answers by the rules of SQuAD 2.0; ``truths`` are the right ones,
        none for a question without an answer. Where there are both kinds of questions, ``HasAns_…`` and ``NoAns_…``
        are the scores of each kind."""
        return {name: float(values.mean()) for name, values in by_kind(self.judged(questions, paragraphs, truths))}

    def judged(
        self, questions: Sequence[str], paragraphs: Sequence[str], truths: Sequence[Sequence[str]]
    ) -> pd.DataFrame:
        """The same of every question, in their order: ``question``, ``truth`` (the first; "" for none), ``answer``,
        both scores, and ``answerable``, whether there is a right answer."""
        found = [one.text for one in self.answer(questions, paragraphs)]
        pairs = [(text, right_answers(right)) for text, right in zip(found, truths, strict=True)]
        return pd.DataFrame({
            "question": list(questions), "truth": [(*each, "")[0] for each in truths], "answer": found,
            "exact": [exact(*pair) for pair in pairs], "f1": [overlap(*pair) for pair in pairs],
            "answerable": [len(right) > 0 for right in truths],
        })  # fmt: skip


def by_kind(judged: pd.DataFrame) -> Iterator[tuple[str, np.ndarray]]:
    """Names and values of the scores that SQuAD 2.0 reports, from :meth:`QuestionAnsweringPipeline.judged`: of all
    questions, and of those with and without an answer where there are both."""
    answerable = judged["answerable"].to_numpy()
    kinds = {"": np.full(len(judged), True)}
    if 0 < answerable.sum() < len(answerable):
        kinds |= {"HasAns_": answerable, "NoAns_": ~answerable}
    for kind, chosen in kinds.items():
        for name in ("exact", "f1"):
            yield f"{kind}{name}", judged[name].to_numpy()[chosen]


def _whole(text: str, end: int) -> int:
    """``end`` behind the accents that belong to the letter before it, which tokenizers drop."""
    while 0 < end < len(text) and unicodedata.combining(text[end]):
        end += 1
    return end
