"""labkit: deep learning with JAX in JupyterLab and on the command line.

>>> import labkit as lk
>>> rows = lk.load("movie-reviews")
>>> run = lk.fit(rows, lk.models["bert"](preset="minilm-l6"), epochs=2)

Names are imported lazily, so that ``import labkit`` loads neither JAX nor widgets.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import labkit.models
import labkit.runs
import labkit.tasks

if TYPE_CHECKING:
    import labkit.app as panels
    from labkit.api import Runs, fit, import_runs, open_run, serve
    from labkit.app.lab import Lab
    from labkit.broken_run import broken_run
    from labkit.choosing import Study, open_study, studies, study
    from labkit.core.errors import LabkitError
    from labkit.core.registry import Registry
    from labkit.course.diagrams import diagram
    from labkit.course.lesson import check, local, scale, solution
    from labkit.course.progress import progress
    from labkit.course.real_size import real_size
    from labkit.data.batching.base import Batches
    from labkit.data.batching.buckets import BucketBatches, choose_buckets
    from labkit.data.io.load import load
    from labkit.data.prepare.clean import TextCleaner
    from labkit.data.prepare.split import leakage
    from labkit.data.rows import Rows
    from labkit.data.text.encode import encode
    from labkit.data.text.tokenizer import Tokenizer
    from labkit.evaluate.audit import canaries
    from labkit.evaluate.diagnostics import DiagnosticReport
    from labkit.evaluate.judge import judge
    from labkit.evaluate.label_issues import find_label_issues, rows_to_label
    from labkit.evaluate.prompting import compare_prompting, prompt_report
    from labkit.evaluate.report import ClassificationReport
    from labkit.evaluate.run_report import compare
    from labkit.evaluate.select import right_size
    from labkit.evaluate.thresholds import Thresholds
    from labkit.evaluate.translation import TranslationMemory, TranslationReport
    from labkit.folds import out_of_fold
    from labkit.hub.samples import SAMPLES as samples
    from labkit.inference.chatting import ChatPipeline
    from labkit.inference.embedding import EmbeddingPipeline
    from labkit.inference.fill_mask import FillMaskPipeline
    from labkit.inference.forecasting import ForecastPipeline
    from labkit.inference.image_generation import ImageGenerationPipeline
    from labkit.inference.pipeline import Pipeline
    from labkit.inference.predictor import Predictor
    from labkit.inference.prompting import PromptClassifier
    from labkit.inference.question_answering import QuestionAnsweringPipeline
    from labkit.inference.recommending import RecommendPipeline
    from labkit.inference.segmenting import SegmentationPipeline
    from labkit.inference.speech_recognition import SpeechRecognitionPipeline
    from labkit.inference.tagging import TokenClassificationPipeline
    from labkit.inference.text_generation import TextGenerationPipeline
    from labkit.inference.translation import TranslationPipeline
    from labkit.models import models
    from labkit.more_labels import learning_curve
    from labkit.planning import estimate, find_learning_rate, largest_batch, plot_schedule
    from labkit.retrieval.index import SearchIndex
    from labkit.retrieval.report import RetrievalReport
    from labkit.search.space import Range, Space
    from labkit.smaller import distill, prune, quantize
    from labkit.tasks import tasks
    from labkit.tasks.scenario import Scenario
    from labkit.train.callbacks import Callback
    from labkit.train.optimizer import Optimizer, optimizers
    from labkit.train.privacy import Privacy
    from labkit.viz.augmentation import preview_augmentation
    from labkit.viz.plotly import picture
    from labkit.viz.words import choose as language

__version__ = "0.1.0"

#: Public name → "module:attribute"; the module is imported when the name is used.
HOMES = {
    "load": "labkit.data.io.load:load",
    "Rows": "labkit.data.rows:Rows",
    "samples": "labkit.hub.samples:SAMPLES",
    "TextCleaner": "labkit.data.prepare.clean:TextCleaner",
    "leakage": "labkit.data.prepare.split:leakage",
    "Tokenizer": "labkit.data.text.tokenizer:Tokenizer",
    "encode": "labkit.data.text.encode:encode",
    "Batches": "labkit.data.batching.base:Batches",
    "BucketBatches": "labkit.data.batching.buckets:BucketBatches",
    "choose_buckets": "labkit.data.batching.buckets:choose_buckets",
    "estimate": "labkit.planning:estimate",
    "largest_batch": "labkit.planning:largest_batch",
    "find_learning_rate": "labkit.planning:find_learning_rate",
    "plot_schedule": "labkit.planning:plot_schedule",
    "preview_augmentation": "labkit.viz.augmentation:preview_augmentation",
    "fit": "labkit.api:fit",
    "runs": "labkit.api:runs",
    "open_run": "labkit.api:open_run",
    "import_runs": "labkit.api:import_runs",
    "serve": "labkit.api:serve",
    "Scenario": "labkit.tasks.scenario:Scenario",
    "study": "labkit.choosing:study",
    "studies": "labkit.choosing:studies",
    "open_study": "labkit.choosing:open_study",
    "learning_curve": "labkit.more_labels:learning_curve",
    "Study": "labkit.choosing:Study",
    "Space": "labkit.search.space:Space",
    "Range": "labkit.search.space:Range",
    "find_label_issues": "labkit.evaluate.label_issues:find_label_issues",
    "rows_to_label": "labkit.evaluate.label_issues:rows_to_label",
    "out_of_fold": "labkit.folds:out_of_fold",
    "compare": "labkit.evaluate.run_report:compare",
    "canaries": "labkit.evaluate.audit:canaries",
    "prompt_report": "labkit.evaluate.prompting:prompt_report",
    "compare_prompting": "labkit.evaluate.prompting:compare_prompting",
    "ClassificationReport": "labkit.evaluate.report:ClassificationReport",
    "right_size": "labkit.evaluate.select:right_size",
    "distill": "labkit.smaller:distill",
    "quantize": "labkit.smaller:quantize",
    "prune": "labkit.smaller:prune",
    "judge": "labkit.evaluate.judge:judge",
    "SearchIndex": "labkit.retrieval.index:SearchIndex",
    "RetrievalReport": "labkit.retrieval.report:RetrievalReport",
    "Thresholds": "labkit.evaluate.thresholds:Thresholds",
    "DiagnosticReport": "labkit.evaluate.diagnostics:DiagnosticReport",
    "TranslationReport": "labkit.evaluate.translation:TranslationReport",
    "TranslationMemory": "labkit.evaluate.translation:TranslationMemory",
    "Pipeline": "labkit.inference.pipeline:Pipeline",
    "ChatPipeline": "labkit.inference.chatting:ChatPipeline",
    "PromptClassifier": "labkit.inference.prompting:PromptClassifier",
    "TextGenerationPipeline": "labkit.inference.text_generation:TextGenerationPipeline",
    "TranslationPipeline": "labkit.inference.translation:TranslationPipeline",
    "TokenClassificationPipeline": "labkit.inference.tagging:TokenClassificationPipeline",
    "QuestionAnsweringPipeline": "labkit.inference.question_answering:QuestionAnsweringPipeline",
    "EmbeddingPipeline": "labkit.inference.embedding:EmbeddingPipeline",
    "FillMaskPipeline": "labkit.inference.fill_mask:FillMaskPipeline",
    "RecommendPipeline": "labkit.inference.recommending:RecommendPipeline",
    "ImageGenerationPipeline": "labkit.inference.image_generation:ImageGenerationPipeline",
    "SegmentationPipeline": "labkit.inference.segmenting:SegmentationPipeline",
    "SpeechRecognitionPipeline": "labkit.inference.speech_recognition:SpeechRecognitionPipeline",
    "ForecastPipeline": "labkit.inference.forecasting:ForecastPipeline",
    "Predictor": "labkit.inference.predictor:Predictor",
    "Optimizer": "labkit.train.optimizer:Optimizer",
    "Privacy": "labkit.train.privacy:Privacy",
    "Callback": "labkit.train.callbacks:Callback",
    "optimizers": "labkit.train.optimizer:optimizers",
    "language": "labkit.viz.words:choose",
    "panels": "labkit.app:",
    "Lab": "labkit.app.lab:Lab",
    "picture": "labkit.viz.plotly:picture",
    "scale": "labkit.course.lesson:scale",
    "local": "labkit.course.lesson:local",
    "real_size": "labkit.course.real_size:real_size",
    "check": "labkit.course.lesson:check",
    "broken_run": "labkit.broken_run:broken_run",
    "diagram": "labkit.course.diagrams:diagram",
    "solution": "labkit.course.lesson:solution",
    "progress": "labkit.course.progress:progress",
    "LabkitError": "labkit.core.errors:LabkitError",
}

__all__ = [  # noqa: RUF022 (in the order of use)
    "load", "Rows", "samples", "TextCleaner", "leakage", "Tokenizer", "encode", "Batches", "BucketBatches",
    "choose_buckets", "models", "tasks", "optimizers",
    "find_label_issues", "rows_to_label", "out_of_fold",
    "estimate", "largest_batch", "find_learning_rate", "plot_schedule", "preview_augmentation",
    "Optimizer", "Privacy", "Callback", "fit",
    "Scenario", "runs", "open_run", "import_runs", "study", "Space", "Range", "Study", "studies", "open_study",
    "learning_curve", "compare", "right_size", "canaries", "distill", "quantize", "prune", "judge", "PromptClassifier",
    "prompt_report", "compare_prompting",
    "ClassificationReport", "TranslationReport", "TranslationMemory", "SearchIndex", "RetrievalReport", "Thresholds",
    "DiagnosticReport", "Pipeline", "Predictor",
    "TextGenerationPipeline", "ChatPipeline", "TranslationPipeline", "QuestionAnsweringPipeline", "EmbeddingPipeline",
    "TokenClassificationPipeline", "FillMaskPipeline", "ForecastPipeline", "RecommendPipeline", "SegmentationPipeline",
    "ImageGenerationPipeline", "SpeechRecognitionPipeline", "serve", "Lab",
    "panels", "language", "picture", "scale", "local", "real_size", "check", "solution", "progress", "diagram",
    "broken_run", "LabkitError", "__version__",
]  # fmt: skip


class _Registered(ModuleType):
    """``labkit.models`` and ``labkit.tasks`` are packages and also the registries in them:
    ``lk.models["bert"]``.

    Python puts a package under its name in its parent as soon as anything in it is imported, so the two
    cannot be kept apart by giving the registry that name.
    """

    @property
    def _registry(self) -> Registry:
        return vars(self)[self.__name__.rpartition(".")[2]]

    def __getitem__(self, name: str) -> Any:
        return self._registry[name]

    def __iter__(self) -> Any:
        return iter(self._registry)

    def __len__(self) -> int:
        return len(self._registry)

    def __contains__(self, name: object) -> bool:
        return name in self._registry

    def keys(self) -> list[str]:
        return list(self._registry)

    def register(self, name: str, entry: object) -> None:
        """Add a class of one's own under a name; see :meth:`labkit.core.registry.Registry.register`."""
        self._registry.register(name, entry)

    def __repr__(self) -> str:
        return repr(self._registry)


class _Runs(ModuleType):
    """``labkit.runs`` is a package and also a function, for the same reason: ``lk.runs()`` lists the runs."""

    def __call__(self, folder: str | Path | None = None) -> Runs:
        """The runs of a lab folder, newest first."""
        return importlib.import_module("labkit.api").runs(folder)


labkit.models.__class__ = _Registered
labkit.tasks.__class__ = _Registered
labkit.runs.__class__ = _Runs


def __getattr__(name: str) -> Any:
    if name in HOMES:
        module, _, attribute = HOMES[name].partition(":")
        found = importlib.import_module(module)
        value = globals()[name] = getattr(found, attribute) if attribute else found
        return value
    from labkit.core.errors import nearest

    hint = "" if name.startswith("_") else nearest(name, __all__)
    raise AttributeError(f"module 'labkit' has no attribute {name!r}.{hint}", name=name, obj=labkit)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
