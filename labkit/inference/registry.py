"""Which pipeline opens the models of a task; the models of runs, each opened once."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from labkit.core.registry import ByClass
from labkit.inference.embedding import EmbeddingPipeline
from labkit.inference.fill_mask import FillMaskPipeline
from labkit.inference.pipeline import Pipeline
from labkit.inference.predictor import Predictor
from labkit.inference.question_answering import QuestionAnsweringPipeline
from labkit.inference.text_generation import TextGenerationPipeline
from labkit.inference.translation import TranslationPipeline
from labkit.runs.handle import RunHandle, model_of
from labkit.tasks.base import Task
from labkit.tasks.embed import Embed
from labkit.tasks.lm import LanguageModel
from labkit.tasks.pretrain import Pretrain
from labkit.tasks.qa import QuestionAnswering
from labkit.tasks.seq2seq import Seq2Seq

#: Task → the pipeline of its models.
PIPELINES: ByClass[type[Pipeline]] = ByClass(
    {
        Task: Predictor,
        Embed: EmbeddingPipeline,
        LanguageModel: TextGenerationPipeline,
        Pretrain: FillMaskPipeline,
        QuestionAnswering: QuestionAnsweringPipeline,
        Seq2Seq: TranslationPipeline,
    }
)


def pipeline_of(run: RunHandle, kind: type[Pipeline] | None = None) -> Any:
    """The trained model of a run, opened as ``kind``, by default as its task needs it.

    The newest few stay open, with what was compiled for them, until the run has a newer model.

    Raises:
        RunError: the run has no model yet.
        WeightsError: its model is damaged, or was trained for a task that ``kind`` does not support.
    """
    folder, stamp = model_of(run.info)
    task = type(run.experiment.task)  # read first: the plugins of one's own run are allowed
    return _opened(kind or PIPELINES.get(task) or Predictor, folder, stamp)


@lru_cache(maxsize=4)
def _opened(kind: type[Pipeline], folder: Path, stamp: int) -> Pipeline:
    return kind(folder)
