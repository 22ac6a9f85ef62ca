"""Which pipeline opens the models of a task; the models of runs, each opened once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias

from labkit.core.plugins import load as allow
from labkit.core.registry import ByClass
from labkit.inference.chatting import ChatPipeline
from labkit.inference.embedding import EmbeddingPipeline
from labkit.inference.fill_mask import FillMaskPipeline
from labkit.inference.forecasting import ForecastPipeline
from labkit.inference.image_generation import ImageGenerationPipeline
from labkit.inference.pipeline import Pipeline, experiment_in
from labkit.inference.predictor import Predictor
from labkit.inference.question_answering import QuestionAnsweringPipeline
from labkit.inference.recommending import RecommendPipeline
from labkit.inference.segmenting import SegmentationPipeline
from labkit.inference.speech_recognition import SpeechRecognitionPipeline
from labkit.inference.tagging import TokenClassificationPipeline
from labkit.inference.text_generation import TextGenerationPipeline
from labkit.inference.translation import TranslationPipeline
from labkit.runs.handle import RunHandle, model_of
from labkit.tasks.asr import SpeechRecognition
from labkit.tasks.base import Task
from labkit.tasks.embed import Embed
from labkit.tasks.forecast import Forecast
from labkit.tasks.generate_images import GenerateImages
from labkit.tasks.instruct import Instruct
from labkit.tasks.lm import LanguageModel
from labkit.tasks.pretrain import Pretrain
from labkit.tasks.qa import QuestionAnswering
from labkit.tasks.recommend import Recommend
from labkit.tasks.segment import Segment
from labkit.tasks.seq2seq import Seq2Seq
from labkit.tasks.tag import TokenClassification

#: Task → the pipeline of its models.
PIPELINES: ByClass[type[Pipeline]] = ByClass(
    {
        Task: Predictor,
        Embed: EmbeddingPipeline,
        Instruct: ChatPipeline,
        LanguageModel: TextGenerationPipeline,
        Pretrain: FillMaskPipeline,
        QuestionAnswering: QuestionAnsweringPipeline,
        Seq2Seq: TranslationPipeline,
        TokenClassification: TokenClassificationPipeline,
        Segment: SegmentationPipeline,
        GenerateImages: ImageGenerationPipeline,
        Forecast: ForecastPipeline,
        Recommend: RecommendPipeline,
        SpeechRecognition: SpeechRecognitionPipeline,
    }
)


#: Pipelines that answer rows of tables, for files and over HTTP.
ROW_PIPELINES = (Predictor, TokenClassificationPipeline)
RowPipeline: TypeAlias = Predictor | TokenClassificationPipeline


def row_pipeline(folder: str | Path, plugins: Sequence[str] = ()) -> RowPipeline:
    """A folder written by a run, opened by the pipeline of its task that answers rows.

    Raises:
        WeightsError: its task has none.
    """
    allow(plugins)
    return row_kind(experiment_in(Path(folder)).task)(folder, plugins=plugins)


def row_kind(task: Task) -> type[RowPipeline]:
    """The pipeline of a task that answers rows; that of classes and numbers where there is none, which says so."""
    found = PIPELINES.get(type(task))
    return next((kind for kind in ROW_PIPELINES if found is not None and issubclass(found, kind)), Predictor)


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
