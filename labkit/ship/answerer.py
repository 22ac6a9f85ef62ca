"""A reader on disk, ready to answer questions on paragraphs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd
from flax import nnx

from labkit.base.config import loads
from labkit.base.errors import WeightsError
from labkit.data.batch import choose_buckets
from labkit.data.spans import WindowBatches, windows
from labkit.tasks import tasks
from labkit.tasks.qa import Answer, best_span, exact, overlap
from labkit.train.compilation import use_compilation_cache
from labkit.train.experiment import Experiment
from labkit.train.inputs import BATCH
from labkit.train.setup import load_model


@dataclass(frozen=True)
class Found:
    """An answer: its text, the characters ``start`` … ``end`` of the paragraph, its score, a sum of two logits, and its
    probability, 0 … 1, among all beginnings and ends in its window."""

    text: str
    start: int
    end: int
    score: float
    probability: float


class Answerer:
    """A model folder that a run of the task "qa" has written or exported.

    Raises:
        WeightsError: the folder is none of labkit's, or its model has learnt something else.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        if not (self.folder / "labkit.toml").exists():
            raise WeightsError(f"{self.folder.name!r} holds no labkit.toml; give a folder made by run.export(folder).")
        use_compilation_cache()
        experiment: Experiment = loads(Experiment, (self.folder / "labkit.toml").read_text(encoding="utf-8"))
        if not isinstance(experiment.task, Answer):
            learnt = tasks.name_of(experiment.task)
            raise WeightsError(f"{self.folder.name!r} has learnt {learnt!r}; only a model of the task 'qa' answers.")
        self.task = experiment.task
        module, _, self.inputs = load_model(experiment, self.folder)
        graph, self._state = nnx.split(module)

        @jax.jit
        def read(state: Any, batch: dict[str, Any]) -> Any:
            begins, ends = nnx.merge(graph, state)(batch)
            best, logsumexp = best_span(begins, ends, self.task.longest_answer), jax.nn.logsumexp
            return best, jax.numpy.exp(best.score - logsumexp(begins, axis=1) - logsumexp(ends, axis=1))

        self._read = read

    def answer(self, questions: Sequence[str], paragraphs: Sequence[str]) -> list[Found]:
        """The likeliest piece of every paragraph for its question; of a long paragraph the best of its windows.

        Raises:
            TypeError: one string where a list of strings is needed.
            DataError: there are not as many paragraphs as questions.
        """
        if isinstance(questions, str) or isinstance(paragraphs, str):
            raise TypeError("answer takes lists of texts: answer([question], [paragraph]).")
        if not len(questions):
            return []
        questions, paragraphs = list(questions), list(paragraphs)
        made = windows(questions, paragraphs, self.inputs.tokenizer, self.task.max_length, self.task.stride)
        buckets = choose_buckets(made.lengths, self.task.max_length, batch_size=BATCH)
        best: dict[int, Found] = {}
        for batch in WindowBatches(made, BATCH, buckets, shuffle=False):
            found, chance = jax.device_get(self._read(self._state, batch))
            for place in np.flatnonzero(batch["index"] >= 0):
                window = int(batch["index"][place])
                example, base = int(made.example[window]), int(made.tokens.offsets[window])
                score = float(found.score[place])
                if example in best and best[example].score >= score:
                    continue
                start = int(made.spans[base + found.start[place], 0])
                end = int(made.spans[base + found.end[place], 1])
                best[example] = Found(paragraphs[example][start:end], start, end, score, float(chance[place]))
        return [best[example] for example in range(len(questions))]

    def judge(
        self, questions: Sequence[str], paragraphs: Sequence[str], truths: Sequence[Sequence[str]]
    ) -> dict[str, float]:
        """``exact`` and ``f1``, each 0 … 1, of the answers by the rules of SQuAD; ``truths`` are the right ones."""
        return self.judged(questions, paragraphs, truths)[["exact", "f1"]].mean().to_dict()

    def judged(
        self, questions: Sequence[str], paragraphs: Sequence[str], truths: Sequence[Sequence[str]]
    ) -> pd.DataFrame:
        """The same of every question, in their order: ``question``, ``truth`` (the first), ``answer``, both scores."""
        found = [one.text for one in self.answer(questions, paragraphs)]
        pairs = list(zip(found, truths, strict=True))
        return pd.DataFrame({
            "question": list(questions), "truth": [each[0] for each in truths], "answer": found,
            "exact": [exact(*pair) for pair in pairs], "f1": [overlap(*pair) for pair in pairs],
        })  # fmt: skip
