"""labkit: answers to texts, one turn after the other: classes, vectors or generated tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from labkit.inference.embedding import EmbeddingPipeline
from labkit.inference.predictor import Predictor
from labkit.inference.text_generation import TextGenerationPipeline

from . import cases
from .turns import Turns


def work(turns: Turns, settings: dict[str, Any]) -> None:
    """Answer as ``settings`` say.

    Args:
        turns: see :class:`labkit.benchmarks.turns.Turns`; a step is a text, or a new token.
        settings: ``kind`` ("classify", "embed", "generate"), ``model``, ``dtype``, ``texts`` (a file, a text a
            line).
    """
    kind, texts = settings["kind"], Path(settings["texts"]).read_text(encoding="utf-8").splitlines()
    made = {"classify": Predictor, "embed": EmbeddingPipeline, "generate": TextGenerationPipeline}
    pipeline: Any = made[kind](settings["model"], dtype=settings["dtype"])
    about = {"dtype": settings["dtype"], "bytes": pipeline.bytes, **cases.versions()}
    if kind == "generate":
        (prompt,) = texts

        def answer(count: int) -> int:
            return len(pipeline.ids_of(pipeline.generate(prompt, max_new_tokens=count)))  # greedy
    else:

        def answer(count: int) -> int:
            pipeline(texts[:count])
            return count

    answer(settings["steps"])
    turns.ready(**about)
    while True:
        done = answer(turns.wanted)
        turns.passed(tokens=done, examples=done, steps=turns.wanted)
