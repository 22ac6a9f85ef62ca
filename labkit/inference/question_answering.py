"""Question answering with a trained model on disk."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
import pandas as pd

from labkit.core.config import known_settings
from labkit.core.errors import DataError, WeightsError
from labkit.data.model_input import texts_of
from labkit.i18n import _
from labkit.inference.pipeline import Pipeline, is_folder
from labkit.inference.pretrained import open_reader
from labkit.models import weights
from labkit.models.base import Capability
from labkit.tasks.qa import NULLABLE, THRESHOLD, QuestionAnswering, Search, exact, overlap, right_answers

if TYPE_CHECKING:
    from flax import nnx


class QuestionAnsweringPipeline(Pipeline):
    """A model of the task "qa" that a run has written or exported, or pretrained weights of a
    ``…ForQuestionAnswering`` of transformers: it finds the answer to a question in a paragraph."""

    task, pretrained = QuestionAnswering, Capability.SPANS

    def __init__(
        self, source: str | Path, device: jax.Device | None = None, plugins: Sequence[str] = (), dtype: str = "auto"
    ):  # fmt: skip
        super().__init__(source, device, plugins, dtype)
        folder = Path(source) if is_folder(source) else weights.find(str(source))
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        self.nullable, self.threshold = bool(config.get(NULLABLE)), config.get(THRESHOLD, 0.0)
        if not isinstance(self.threshold, int | float) or not math.isfinite(self.threshold):
            raise WeightsError(
                _("config.json of {folder!r}: {name} = {value!r} is not a finite number. Export the model again."),
                folder=folder.name, name=THRESHOLD, value=self.threshold,
            )  # fmt: skip
        self._search = Search(self.model, self.experiment.task, self.tokenizer)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.tokenizer.vocab_size} tokens>"

    def _load_weights(self, name: str) -> Any:
        """A reader with its head; sets its experiment, head, processor and tokenizer."""
        self.experiment, module, self.head, self.processor = open_reader(name, self._precise)
        self.tokenizer, self.max_length = self.processor.tokenizer, self.processor.max_length
        return module

    def _used(self, module: nnx.Module) -> Any:
        return module

    @known_settings
    def answer(
        self,
        questions: str | Sequence[str],
        paragraphs: str | Sequence[str],
        *,
        threshold: float | None = None,
    ) -> Any:
        """The likeliest piece of every paragraph for its question, a list; for a single question and
        paragraph the :class:`~labkit.tasks.qa.AnswerSpan` alone. Of a long paragraph it is the best of its
        windows.

        A model trained on questions without an answer finds none where the score of "no answer" (the logits
        of [CLS] as beginning and end, the least of all windows) is greater than that of the best piece by
        more than ``threshold``: a greater one makes it answer more questions. Left out, it is the one of the
        greatest F1 on the validation rows of the training run.

        Raises:
            DataError: a text is missing or blank, or there are not as many paragraphs as questions.
        """
        if isinstance(questions, str) and isinstance(paragraphs, str):
            return self.answer([questions], [paragraphs], threshold=threshold)[0]
        if isinstance(questions, str) or isinstance(paragraphs, str):
            raise DataError(_("give one question with one paragraph, or lists of them of the same length."))
        questions, paragraphs = (
            texts_of(questions, "question", False),
            texts_of(paragraphs, "paragraph", False),
        )
        if not questions and not paragraphs:
            return []
        limit = self.threshold if threshold is None else threshold
        return [
            one.none if self.nullable and one.margin > limit else one.best
            for one in self._search(questions, paragraphs)
        ]

    __call__ = answer

    def evaluate(
        self, questions: Sequence[str], paragraphs: Sequence[str], truths: Sequence[Sequence[str]]
    ) -> dict[str, float]:
        """``exact`` and ``f1``, each 0 … 1, of the answers by the rules of SQuAD 2.0; ``truths`` are the
        right ones, none for a question without an answer. Where there are both kinds of questions,
        ``HasAns_…`` and ``NoAns_…`` are the scores of each kind."""
        return {
            name: float(values.mean())
            for name, values in by_kind(self.score_each(questions, paragraphs, truths))
        }

    def score_each(
        self, questions: Sequence[str], paragraphs: Sequence[str], truths: Sequence[Sequence[str]]
    ) -> pd.DataFrame:
        """The same of every question, in their order: ``question``, ``truth`` (the first; "" for none),
        ``answer``, both scores, and ``answerable``, whether there is a right answer."""
        found = [one.text for one in self.answer(questions, paragraphs)]
        pairs = [(text, right_answers(right)) for text, right in zip(found, truths, strict=True)]
        return pd.DataFrame({
            "question": list(questions), "truth": [(*each, "")[0] for each in truths], "answer": found,
            "exact": [exact(*pair) for pair in pairs], "f1": [overlap(*pair) for pair in pairs],
            "answerable": [len(right) > 0 for right in truths],
        })  # fmt: skip


def by_kind(each: pd.DataFrame) -> Iterator[tuple[str, np.ndarray]]:
    """Names and values of the scores that SQuAD 2.0 reports, from
    :meth:`QuestionAnsweringPipeline.score_each`: of all questions, and of those with and without an answer
    where there are both."""
    answerable = each["answerable"].to_numpy()
    kinds = {"": np.full(len(each), True)}
    if 0 < answerable.sum() < len(answerable):
        kinds |= {"HasAns_": answerable, "NoAns_": ~answerable}
    for kind, chosen in kinds.items():
        for name in ("exact", "f1"):
            yield f"{kind}{name}", each[name].to_numpy()[chosen]
