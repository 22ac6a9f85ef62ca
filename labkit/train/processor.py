"""Base class of processors: from rows to batches; made once a run, and kept with the model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Self

from datasets import Dataset

from labkit.core.errors import ConfigError
from labkit.data.batching.base import Batches
from labkit.data.rows import Rows
from labkit.data.text.tokenizer import Tokenizer
from labkit.i18n import _
from labkit.models.base import Modality, ModelConfig
from labkit.tasks.base import ExampleFormat
from labkit.train.experiment import Experiment, Training


class Processor(ABC):
    """Base class of processors: rows of one modality to examples, and examples to batches.

    A subclass is registered for its modality in :data:`labkit.train.processors.PROCESSORS`.

    Attributes:
        modality: what an example is.
        tokenizer: that of texts; None for other modalities.
        max_length: tokens of an example at most; None for other modalities.
        shape: of one array; None for texts, and before the training rows are read.
        example_format: how rows become examples.
        labelled: whether unlabelled examples are skipped.
        tags: names of the tags of words, the classes of pixels, or the characters of transcripts, of the training
            rows; none without these.
    """

    modality: ClassVar[Modality]
    tokenizer: Tokenizer | None = None
    max_length: int | None = None
    shape: tuple[int, ...] | None = None
    example_format: ExampleFormat = ExampleFormat.ROW
    labelled: bool = True
    tags: tuple[str, ...] = ()

    @classmethod
    @abstractmethod
    def create(cls, experiment: Experiment, folder: Path, rows: Rows) -> Self:
        """The processor of a new run. :meth:`encode` of the training rows comes next, and fits what must be
        fitted.

        Args:
            experiment: its settings.
            folder: of the run.
            rows: its rows.
        """

    def check_rows(self, rows: Rows) -> None:  # noqa: B027
        """Raise :class:`DataError` or :class:`ConfigError` where a loaded processor cannot read the rows of another
        run."""

    @classmethod
    @abstractmethod
    def load(cls, experiment: Experiment, folder: Path, shape: tuple[int, ...] | None) -> Self:
        """The processor that :meth:`save` wrote beside a model whose examples have this shape."""

    @property
    def truncates(self) -> bool:
        """Whether texts longer than ``max_length`` lose their end."""
        return self.tokenizer is not None and self.example_format.truncates

    @abstractmethod
    def encode(self, dataset: Dataset) -> Any:
        """The examples of a split; they have ``label``."""

    @abstractmethod
    def sized(self, model: ModelConfig) -> ModelConfig:
        """The model's config with the sizes that come from the data filled in."""

    @abstractmethod
    def batches(
        self, examples: Any, train: Training, model: ModelConfig, parts: int, shuffle: bool
    ) -> tuple[Batches, str]:
        """Batches that can be divided into ``parts``, and the reason for their layout."""

    @abstractmethod
    def to_predict(self, values: object, pairs: object = None) -> Batches:
        """Batches of new examples, in their order."""

    def truncation_note(self, truncated: int, of: int) -> str:
        """What to say where ``truncated`` of ``of`` new examples were longer than the model reads."""
        return _(
            "{truncated:,} of {of:,} texts are longer than the {max_length:,} tokens that the model reads: "
            "their end was left out.",
            truncated=truncated, of=of, max_length=self.max_length,
        )  # fmt: skip

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write what :meth:`load` reads."""


def batch_size_of(train: Training, parts: int = 1) -> int:
    """The batch size. Raises :class:`ConfigError` where ``parts`` do not divide it."""
    assert train.batch_size is not None, "Training.settled has set it"
    if (size := train.batch_size) % parts:
        raise ConfigError(
            _("batch_size = {batch_size} is not divisible by {parts} (devices × accumulate); {fitting} is."),
            batch_size=size, parts=parts, fitting=-(-size // parts) * parts,
        )  # fmt: skip
    return size
