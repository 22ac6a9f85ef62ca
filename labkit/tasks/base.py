"""Base classes of tasks: settings (:class:`Task`), head and loss (:class:`Head`), and metric state
(:class:`MetricState`).

A task is added by one module with a subclass of each, and one entry in :data:`labkit.tasks.tasks`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from labkit.core.config import Config, option
from labkit.core.shapes import Array, Float
from labkit.data.rows import Rows
from labkit.data.text.tokenizer import Tokenizer
from labkit.i18n import _
from labkit.models import weights
from labkit.models.base import Capability, Modality, ModelConfig
from labkit.profile.activations import Activations

Batch = dict[str, Any]
#: Settings that say something for texts only.
OF_TEXTS = dict.fromkeys(("max_length", "vocabulary", "tokenizer", "stride"), (Modality.TEXT,))


def vocabulary_option(default: int | None = 8000, help: str | None = None) -> Any:
    """The field ``vocabulary`` of tasks of texts. ``help``: another text than the usual one."""
    usual = _("Vocabulary size of the tokenizer that is trained when the model has none.")
    if default is None:
        usual = _(
            "Vocabulary size of the tokenizer that is trained when the model has none. Default: chosen from the texts."
        )
    return option(default, help or usual, low=100, high=1_000_000)


def tokenizer_option(kind: str = "wordpiece") -> Any:
    """The field ``tokenizer`` of tasks of texts; ``kind`` is the default."""
    choices = (kind, *(each for each in ("wordpiece", "bpe") if each != kind))
    return option(kind, _("Subword algorithm of that tokenizer."), choices=choices)


@runtime_checkable
class PoolsAlone(Protocol):
    """A backbone that computes the pooled vectors without the hidden states of the last layer."""

    def vectors(self, *args: Any, key: jax.Array | None = None) -> Any:
        """The pooled vectors f32[b, d], or [b, s, d] of packed texts."""


def vectors(
    backbone: Any, *args: Any, key: jax.Array | None = None
) -> Float[Array, "b d"] | Float[Array, "b s d"]:
    """The pooled vectors of texts; a backbone that can computes nothing else."""
    if isinstance(backbone, PoolsAlone):
        return backbone.vectors(*args, key=key)
    return backbone(*args, key=key).pooled


class ProblemType(StrEnum):
    """What the labels of rows are; the values are those of :attr:`labkit.data.schema.Spec.problem_type`."""

    CLASS = "class"  # one of several classes
    LABELS = "labels"  # any number of several labels
    NUMBER = "number"  # one number, or several


class ExampleFormat(StrEnum):
    """How rows become examples."""

    ROW = "rows"  # a row is an example
    TWO_TEXTS = "two texts"  # the two texts of a row are read one by one
    TRANSLATION = "translation"  # the first text of a row is a source, the second its target
    STREAM = "stream"  # windows of the running text
    PASSAGES = "pairs"  # two passages of the running text
    SPANS = "spans"  # a question and a window over its paragraph
    CONVERSATION = "conversation"  # messages of a user and responses
    TAGS = "tags"  # a sentence with a tag for every word
    MASKS = "masks"  # a picture with a class for every pixel
    HISTORIES = "histories"  # items of a user in the order of time, and at each the one that follows
    TRANSCRIPTS = "transcripts"  # a sound, and the characters of what is said in it
    WINDOWS = "windows"  # a window over a time series, and the steps that follow it

    @property
    def running(self) -> bool:
        """Whether the rows are one running text, which is split in its order."""
        return self in (ExampleFormat.STREAM, ExampleFormat.PASSAGES)

    @property
    def by_row(self) -> bool:
        """Whether an example is a row of the table."""
        return self in (
            ExampleFormat.ROW,
            ExampleFormat.TWO_TEXTS,
            ExampleFormat.TRANSLATION,
            ExampleFormat.TAGS,
            ExampleFormat.CONVERSATION,
            ExampleFormat.MASKS,
            ExampleFormat.TRANSCRIPTS,
        )

    @property
    def truncates(self) -> bool:
        """Whether texts longer than ``max_length`` lose their end, and are reported."""
        return self in (ExampleFormat.ROW, ExampleFormat.TWO_TEXTS, ExampleFormat.TAGS)


class MetricState(ABC):
    """Sums over examples from which metrics are computed: a pytree of arrays that merges by addition.

    A subclass is a frozen dataclass registered by ``jax.tree_util.register_dataclass``; settings that its
    metrics need are static fields. Sums are never averaged: a mean of means is a bug.
    """

    def merge(self, other: Self) -> Self:
        """The sums over the examples of both."""
        return jax.tree.map(jnp.add, self, other)

    @abstractmethod
    def compute(self) -> dict[str, float]:
        """Metrics by name, NaN where nothing was counted. Transfers to the host explicitly, so that a
        transfer guard lets it pass."""


class Task(Config, ABC):
    """Base class of a task's settings: which rows it learns from, which models can learn it, and its head.

    Subclasses are frozen dataclasses whose fields are settings (:func:`labkit.core.config.option`).

    Attributes:
        problem_type: what the labels of rows are; None for tasks that learn from unlabelled rows.
        modalities: what an example may be.
        needs: what a model must compute.
        rate_factor: default learning rate ÷ that of a classifier.
        fresh_rate_factor: of new weights, a further factor on that rate.
        fresh_batch: default batch size of a model with new weights.
        needs_pairs: whether each row must have two texts.
        needs_teacher: whether each training row must have the probabilities of a teacher.
        needs_answers: whether each row must have answers in its paragraph.
        needs_tags: whether each row must have a tag for every word.
        needs_masks: whether each picture must have a class for every pixel.
        class_condition: whether the classes of rows are a condition of the model, so that no other labels fit.
        needs_transcripts: whether each row must be a sound with a transcript.
        pooled_vectors: whether the vectors of texts are themselves the result, rather than the input of a
        head.
        reads_special: whether an exported tokenizer reads special tokens within a text.
        writes: whether the model continues a text, so that an exported tokenizer adds nothing after a prompt.
        whole_length: whether an exported tokenizer truncates at the positions of the model, not at
        ``max_length``.
        usual_preset: preset of an architecture that forms begin with; "": that of the architecture.
        usual_trainable: which parameters forms train at first.
        shown: fields at the front of a form, in their order; the others are folded away.
        applies: field → modalities for which it says something; a field that is not listed applies to all.
        reading: fields that decide how rows are read.
    """

    problem_type: ClassVar[ProblemType | None] = None
    modalities: ClassVar[tuple[Modality, ...]] = (Modality.TEXT,)
    needs: ClassVar[Capability] = Capability.POOLED
    rate_factor: ClassVar[float] = 1.0
    fresh_rate_factor: ClassVar[float] = 1.0
    fresh_batch: ClassVar[int] = 32
    needs_pairs: ClassVar[bool] = False
    needs_answers: ClassVar[bool] = False
    needs_tags: ClassVar[bool] = False
    needs_masks: ClassVar[bool] = False
    needs_transcripts: ClassVar[bool] = False
    class_condition: ClassVar[bool] = False
    needs_teacher: ClassVar[bool] = False
    pooled_vectors: ClassVar[bool] = False
    reads_special: ClassVar[bool] = False
    writes: ClassVar[bool] = False
    whole_length: ClassVar[bool] = False
    usual_preset: ClassVar[str] = ""
    usual_trainable: ClassVar[str] = "full"
    shown: ClassVar[tuple[str, ...]] = ("max_length",)
    applies: ClassVar[Mapping[str, tuple[Modality, ...]]] = OF_TEXTS
    reading: ClassVar[tuple[str, ...]] = ("max_length", "tokenizer", "vocabulary")

    # Settings that a task of texts may declare as fields; the values of tasks that do not.
    max_length: int | None = None  # tokens of an example at most; None: chosen from the data
    vocabulary: int | None = (
        8000  # size of a vocabulary to learn where the model brings no tokenizer; None: by the texts
    )
    tokenizer: str = "wordpiece"  # its kind
    threshold: float = 0.5  # probability from which a label applies
    stride: int = 0  # tokens that two windows over a paragraph share

    @property
    def example_format(self) -> ExampleFormat:
        """How rows become examples."""
        return ExampleFormat.ROW

    def build(
        self,
        classes: tuple[str, ...],
        labels: np.ndarray,
        tokenizer: Tokenizer | None = None,
        target: np.ndarray | None = None,
    ) -> Head:
        """The head for these data; by default it depends on none of them.

        Args:
            classes: names of the classes, or of the numbers, in the order of the head's outputs; empty
            without labels.
            labels: i32[n], of the training examples: a class id, 0 where an example has several labels or
                numbers, -1 for one to pass over.
            tokenizer: that of texts; None for other modalities.
            target: f32[n, c], several labels (0 or 1) or numbers of the training examples; None where each
                has one class.

        Raises:
            DataError: nothing can be learned from these data.
        """
        return self.restore(classes, tokenizer)

    @abstractmethod
    def restore(self, classes: tuple[str, ...], tokenizer: Tokenizer | None = None) -> Head:
        """The head of a model that is trained already."""

    def for_rows(self, rows: Rows) -> Self:
        """The same with settings that were left to the data filled in."""
        return self

    @classmethod
    def idle(cls, modality: str) -> tuple[str, ...]:
        """Fields that say nothing for examples of ``modality``."""
        return tuple(name for name, those in cls.applies.items() if modality not in those)


@dataclass(frozen=True, eq=False)
class Head(ABC):
    """Base class of a task joined to its data: it makes the module, its loss and its metrics.

    Attributes:
        config: settings of the task.
        classes: names of the outputs, where they have names.
        bias: f64[k], the bias of a trained last layer before it was rounded to float32; None where it is not
        needed.
        largest: bound on the stored weights of the head; larger ones are damage.
        monitor: metric by which checkpoints are compared, unless the settings name another.
        train_metrics: metrics recorded of the training batches, in addition to the loss.
    """

    config: Task
    classes: tuple[str, ...] = field(default=(), kw_only=True)
    bias: np.ndarray | None = field(default=None, kw_only=True)

    largest: ClassVar[float] = weights.LARGEST
    monitor: ClassVar[str] = "loss"
    train_metrics: ClassVar[tuple[str, ...]] = ()

    @property
    def unused(self) -> tuple[str, ...]:
        """Prefixes of parameters that nothing reads; they are not stored."""
        return ()

    @property
    def eval_metrics(self) -> tuple[str, ...]:
        """Metrics recorded of an evaluation."""
        return ("loss", *self.train_metrics)

    # --- what is compiled -------------------------------------------------------------------------------------

    @abstractmethod
    def init(self, model: ModelConfig, rngs: nnx.Rngs) -> Any:
        """The model of config ``model`` as ``backbone`` of a module, with a new head."""

    @abstractmethod
    def empty(self) -> MetricState:
        """The metric sums over no examples."""

    @abstractmethod
    def loss(
        self, module: Any, batch: Batch, key: jax.Array | None
    ) -> tuple[Float[Array, ""], Float[Array, ""], MetricState]:
        """The loss of a batch and its metric sums.

        Args:
            module: what :meth:`init` made.
            batch: arrays of ``Batches``, b examples; of weight 0 where it is filled up.
            key: while training, of dropout and other chance; None to evaluate.

        Returns:
            The sum of the examples' losses, each times its weight; the sum of these weights, by which the
            step divides; and the metric sums of the batch.
        """

    def predict(self, module: Any, batch: Batch) -> Float[Array, "b c"] | Float[Array, "b s c"]:
        """Probability of every class, or the numbers of a regression; [b, s, c] for packed rows. Only tasks
        with a :attr:`Task.problem_type` have it."""
        raise NotImplementedError(f"{type(self).__name__} predicts no classes or numbers.")

    def batch_target(self, target: np.ndarray, label: np.ndarray) -> np.ndarray:
        """The targets [n, k] as the batches hold them; ``label`` i32[n] is -1 where one is not known."""
        return target

    @property
    def reads_vectors(self) -> bool:
        """Whether the head can be trained on the vectors of examples, ``batch["vectors"]`` f32[b, d], which stay the
        same where the backbone is not trained."""
        return False

    def output_bias(self, params: dict[str, np.ndarray]) -> np.ndarray | None:
        """The bias of the last layer in the units of the predictions, f64[k]; None where float32 is enough."""
        return None

    def activations(self, model: ModelConfig, batch: Mapping[str, Any]) -> Activations | None:
        """What the loss of a batch computes and keeps, by formula, for cost estimates.

        Returns:
            None, the default, where there is no formula: the compiled step is analysed then, in seconds.
        """
        return None

    # --- the model on disk ------------------------------------------------------------------------------------

    def check_loaded(self, report: weights.LoadReport) -> None:  # noqa: B027
        """Raise :class:`WeightsError` where pretrained weights lack a part that must not start from random
        values."""

    def finalize(self, params: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Trained parameters as they are stored; the model of :meth:`Task.restore` reads them."""
        return params

    def from_stored(self, params: dict[str, np.ndarray], stored: Head) -> dict[str, np.ndarray]:
        """The inverse of :meth:`finalize`: parameters of a stored model as training continues from them.

        Args:
            params: flat, name (``backbone/…``, ``head/…``) → array; not changed.
            stored: the head of that model, with the same outputs.
        """
        return params

    def fitted(
        self, params: dict[str, np.ndarray], model: ModelConfig, rows: Any, tokenizer: Tokenizer | None
    ) -> Self:
        """The head with what is chosen on the validation rows once training has ended, such as a threshold.

        Args:
            params: flat, name (``backbone/…``, ``head/…``) → array; of the model that is stored.
            model: config of the backbone.
            rows: the validation rows. tokenizer: that of texts.
        """
        return self

    def get_config(self) -> dict[str, Any]:
        """Entries of config.json that describe the task, such as the names of the classes."""
        return {}

    def save(
        self, params: dict[str, np.ndarray], model: ModelConfig, folder: Path, specials: weights.Specials
    ) -> None:
        """Write a trained model, backbone and head, in the published format of its architecture.

        Args:
            params: flat, name (``backbone/…``, ``head/…``) → array.
            model: config of the backbone.
            folder: where; made if it is not there.
            specials: ids of the tokenizer's special tokens.
        """
        model.save(weights.backbone(params), folder, specials=specials, **self.get_config())

    def load(self, module: Any, folder: Path, model: ModelConfig) -> None:  # noqa: B027
        """Put the head that :meth:`save` wrote into a module whose backbone is loaded; nothing where there is
        none."""

    def pretrained(self, model: ModelConfig) -> tuple[bool, str]:
        """Whether training starts from a head in the folder of the pretrained weights, by :meth:`start`; and
        what to warn of, "" for nothing."""
        return False, ""

    def start(self, module: Any, folder: Path, model: ModelConfig) -> None:
        """Put the pretrained head of a folder into a module whose backbone is loaded."""
        self.load(module, folder, model)
