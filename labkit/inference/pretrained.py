"""Pretrained weights by name as models that answer: the experiment that a folder of transformers stands for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from labkit.core.errors import WeightsError
from labkit.data.text.special_tokens import json_of
from labkit.i18n import _
from labkit.models import foreign, models, weights
from labkit.models.base import Capability, Modality, ModelConfig
from labkit.models.bert import sentence
from labkit.tasks.base import Head, Task
from labkit.tasks.classify import MULTI_LABEL, Classify
from labkit.tasks.multilabel import MultiLabel
from labkit.tasks.qa import QuestionAnswering, has_reader
from labkit.tasks.regress import Regress
from labkit.tasks.tag import TokenClassification, has_tagger
from labkit.train.context import Precise, load_module
from labkit.train.experiment import Experiment
from labkit.train.processors import Processor, load_processor

#: Windows over a paragraph and longest answer, in tokens, with which transformers searches for answers.
WINDOW, STRIDE, LONGEST_ANSWER = 384, 128, 15


def config_of(name: str, capability: Capability, **settings: object) -> ModelConfig:
    """The config of the architecture that reads the weights ``name``.

    Raises:
        WeightsError: the weights cannot be found, or no architecture with this capability reads them.
    """
    path = sentence.encoder_folder(weights.find(name)) / "config.json"
    kind = foreign.settings_of(path).get("model_type")
    able = [cls for cls in models.values() if capability in cls.capabilities]
    if (found := next((cls for cls in able if kind in cls.model_types), None)) is None:
        raise WeightsError(
            _("{folder} contains a model of type {kind!r}; supported: {known}."), folder=path.parent, kind=kind,
            known=", ".join(repr(each) for cls in able for each in cls.model_types),
        )  # fmt: skip
    return found(weights=name, **settings)


def open_classifier(name: str, precise: Precise) -> tuple[Experiment, Any, Head, Processor]:
    """The experiment, module, head and processor of a folder with a ``…ForSequenceClassification``.

    Its outputs are read as transformers reads them: by ``problem_type``; without it a single output is the
    logit of one label, and several are those of classes.

    Raises:
        WeightsError: it holds no such head.
    """
    model, folder = config_of(name, Capability.BIDIRECTIONAL), weights.find(name)
    model = model.settled(vectors=False)
    if not model.has_classifier(folder):
        raise WeightsError(
            _("weights {name!r} have no classifier (…ForSequenceClassification). Train one, or use another "
              "pipeline: lk.EmbeddingPipeline, lk.FillMaskPipeline, lk.QuestionAnsweringPipeline."),
            name=name,
        )  # fmt: skip
    about = folder / "config.json"
    classes, kind = foreign.label_names(about), foreign.settings_of(about).get("problem_type")
    length = _length(folder, model)
    task: Task = Classify(max_length=length)
    if kind == "regression":
        task = Regress(max_length=length)
    elif kind == MULTI_LABEL or (kind is None and len(classes) == 1):
        task = MultiLabel(max_length=length)
    return _opened(Experiment(model, task=task), folder, classes, precise)


def open_reader(name: str, precise: Precise) -> tuple[Experiment, Any, Head, Processor]:
    """The experiment, module, head and processor of a folder with a ``…ForQuestionAnswering``.

    Raises:
        WeightsError: it holds no such head.
    """
    model, folder = config_of(name, Capability.SPANS), weights.find(name)
    if not has_reader(folder):
        raise WeightsError(_("weights {name!r} have no head for answers (…ForQuestionAnswering)."), name=name)
    length = min(_length(folder, model), WINDOW)
    task = QuestionAnswering(
        max_length=length, stride=min(length // 3, STRIDE), longest_answer=LONGEST_ANSWER
    )
    return _opened(Experiment(model, task=task), folder, (), precise)


def open_tagger(name: str, precise: Precise) -> tuple[Experiment, Any, Head, Processor]:
    """The experiment, module, head and processor of a folder with a ``…ForTokenClassification``.

    Raises:
        WeightsError: it holds no such head.
    """
    model, folder = config_of(name, Capability.SPANS), weights.find(name)
    if not has_tagger(folder):
        raise WeightsError(_("weights {name!r} have no head for tags (…ForTokenClassification)."), name=name)
    task = TokenClassification(max_length=min(_length(folder, model), WINDOW))
    return _opened(Experiment(model, task=task), folder, foreign.label_names(folder / "config.json"), precise)


def _opened(
    experiment: Experiment, folder: Path, classes: tuple[str, ...], precise: Precise
) -> tuple[Experiment, Any, Head, Processor]:
    processor = load_processor(experiment, folder, Modality.TEXT, ())
    return experiment, *load_module(experiment, folder, classes, processor, precise), processor


def _length(folder: Path, model: ModelConfig) -> int:
    """Tokens of a text at most: ``model_max_length`` of the tokenizer, as far as the model has positions."""
    longest = json_of(folder / "tokenizer_config.json").get("model_max_length")
    known = isinstance(longest, int | float) and longest >= 8
    return int(min(longest, model.max_length)) if known else model.max_length
