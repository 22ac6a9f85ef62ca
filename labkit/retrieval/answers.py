"""Answers to questions from indexed texts: the passages found are read by a language model and cited."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from labkit.core import html
from labkit.i18n import _
from labkit.inference.question_answering import QuestionAnsweringPipeline
from labkit.inference.text_generation import TextGenerationPipeline
from labkit.retrieval.bm25 import terms
from labkit.retrieval.hits import Hit

NOT_FOUND = _("This is not in these texts.")
#: Words without content, which support nothing.
_EMPTY = frozenset(
    terms(
        "a an and are as at be by can do does for from has have how i if in is it its not of on or so that the then "
        "there this to was what when where which who will with you your"
    )
)
_PROMPT = (
    "Answer the question in one or two sentences, using only the passages below.\n\n{passages}\n\n"
    "Question: {question}"
)


@dataclass(frozen=True)
class TextAnswer:
    """An answer from indexed texts.

    Attributes:
        question, text: ``text`` is "" where the evidence is too weak, or the model's answer shares no word with the
            passages.
        hits: the passages that were read.
        cited: number of the passage, from 1, that shares most words with the answer; 0 for none.
        support: share of the answer's words that occur in the passages that were read, 0 to 1.
        evidence: how well the best passage fits the question, see ``SearchIndex.evidence``.
        threshold: evidence below which no answer is given; None: not calibrated.
    """

    question: str
    text: str
    hits: Sequence[Hit]
    cited: int
    support: float
    evidence: float
    threshold: float | None

    @property
    def source(self) -> str:
        """Where the cited passage comes from."""
        return self.hits[self.cited - 1].passage.place if self.cited else ""

    def __str__(self) -> str:
        return f"{self.text} [{self.cited}]" if self.text else str(NOT_FOUND)

    def __repr__(self) -> str:
        told = [str(self)]
        if self.text:
            told += [f"[{hit.rank}] {hit.passage.place}" for hit in self.hits]
        return "\n".join([*told, self.about])

    @property
    def about(self) -> str:
        """The evidence, its threshold, and the support."""
        least = "–" if self.threshold is None else f"{self.threshold:.3f}"
        return str(
            _(
                "Evidence {evidence:.3f}, threshold {threshold}, support {support:.2f}",
                evidence=self.evidence, threshold=least, support=self.support,
            )
        )  # fmt: skip

    def _repr_html_(self) -> str:
        lines = [[hit.rank, hit.passage.place, hit.passage.text] for hit in self.hits]
        return html.page(str(self), html.table(("", "", ""), lines, numeric=(0,), limit=400), self.about)


def answer(
    question: str,
    hits: Sequence[Hit],
    evidence: float,
    threshold: float | None,
    model: TextGenerationPipeline | QuestionAnsweringPipeline | None,
    max_new_tokens: int,
) -> TextAnswer:
    """The answer of a model that reads the passages of ``hits``; without a model none."""
    if model is None:
        return TextAnswer(question, "", hits, 0, 0.0, evidence, threshold)
    found = [hit.passage.text for hit in hits]
    if isinstance(model, QuestionAnsweringPipeline):
        spans = model.answer([question] * len(found), found)
        best = max(range(len(spans)), key=lambda place: (bool(spans[place].text), spans[place].probability))
        cited = best + 1 if spans[best].text else 0
        return TextAnswer(question, spans[best].text, hits, cited, float(cited > 0), evidence, threshold)
    listed = "\n\n".join(f"[{number}] {text}" for number, text in enumerate(found, 1))
    prompt = _PROMPT.format(passages=listed, question=question)
    written = model.chat(prompt, max_new_tokens=max_new_tokens)
    words = set(terms(written)) - _EMPTY
    shared = [len(words & set(terms(text))) for text in found]
    known = words & set().union(*(terms(text) for text in found))
    if not max(shared):  # the model has answered from memory
        return TextAnswer(question, "", hits, 0, 0.0, evidence, threshold)
    cited = shared.index(max(shared)) + 1
    return TextAnswer(question, written, hits, cited, len(known) / len(words), evidence, threshold)
