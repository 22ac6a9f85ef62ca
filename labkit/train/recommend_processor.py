"""Processor of interactions: histories of users as numbers of a catalogue of items."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
from datasets import Dataset

from labkit.core.cache import write_atomic
from labkit.core.config import Config, dumps, load_file, option
from labkit.core.errors import ConfigError, DataError
from labkit.data.arrow import numbers
from labkit.data.batching.histories import HistoryBatches, HistoryWindows
from labkit.data.interactions import Histories
from labkit.data.rows import Rows
from labkit.i18n import _
from labkit.models.base import Modality, ModelConfig
from labkit.tasks.recommend import Recommend
from labkit.train.experiment import Experiment, Training
from labkit.train.processor import Processor, batch_size_of

_FILE = "catalogue.toml"
#: Histories in one compiled call.
BATCH = 64


@dataclass(frozen=True)
class Catalogue(Config):
    """The items that a model knows, in the order of their numbers from 1, and how tables are read."""

    user: str = option("", "Column of the users.")
    item: str = option("", "Column of the items.")
    time: str = option("", "Column of the times.")
    title: str = option("", "Column of the titles; empty for none.")
    items: tuple[str, ...] = option((), "Items.")
    titles: tuple[str, ...] = option((), "Title of each.")

    @property
    def numbers(self) -> dict[str, int]:
        """Item → its number."""
        return {name: number for number, name in enumerate(self.items, start=1)}


def catalogue_of(train: Dataset, least: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Items with ``least`` interactions or more in the training rows, in order of name, and their titles.

    Raises:
        DataError: there are fewer than two.
    """
    names, titles = (np.array(train.with_format(None)[name], object) for name in ("item", "title"))
    found, first, counts = np.unique(names.astype(str), return_index=True, return_counts=True)
    kept = counts >= least
    if int(kept.sum()) < 2:
        raise DataError(
            _("{count} items have {least} training interactions or more; two are needed. Set least lower."),
            count=int(kept.sum()), least=least,
        )  # fmt: skip
    return tuple(found[kept].tolist()), tuple(titles[first[kept]].tolist())


class RecommendProcessor(Processor):
    """Histories of users. A history may begin in earlier splits; what is predicted is in one split."""

    modality = Modality.INTERACTIONS

    def __init__(self, length: int, catalogue: Catalogue, rows: Rows | None = None):
        self.length, self.catalogue, self.rows = length, catalogue, rows
        self.numbers = catalogue.numbers
        self.shape = (len(catalogue.items),)

    @classmethod
    def create(cls, experiment: Experiment, folder: Path, rows: Rows) -> Self:
        """With the items of the training rows."""
        task, schema = experiment.task, rows.schema
        if not isinstance(task, Recommend):
            raise ConfigError(_("interactions are for the task 'recommend'."))
        items, titles = catalogue_of(rows["train"], task.least)
        known = Catalogue(schema.user, schema.item, schema.time, schema.title, items, titles)
        return cls(experiment.model.max_length, known, rows)

    @classmethod
    def load(cls, experiment: Experiment, folder: Path, shape: tuple[int, ...] | None) -> Self:
        """With the items in ``catalogue.toml``."""
        return cls(experiment.model.max_length, load_file(Catalogue, folder / _FILE))

    def check_rows(self, rows: Rows) -> None:
        """Raise :class:`ConfigError`: the catalogue of a model is that of its own training rows."""
        raise ConfigError(_("warm_start is for texts, pictures, sounds and tables, not for interactions."))

    def encode(self, dataset: Dataset) -> HistoryWindows:
        """The histories of a split."""
        times = numbers(dataset, "time", np.float64)
        parts = [dataset]
        if self.rows is not None:
            parts = [
                part
                for part in self.rows.splits.values()
                if numbers(part, "time", np.float64).min() <= times.max()
            ]
        before = -np.inf if self.rows is None or dataset is self.rows["train"] else float(times.min()) - 1e-9
        histories = Histories.of(parts, self.numbers)
        found = HistoryWindows.over(histories, self.length, before)
        if not len(found):
            raise DataError(
                _("no user has two interactions in a split of {n_rows:,} rows."), n_rows=len(dataset)
            )
        return found

    def sized(self, model: ModelConfig) -> ModelConfig:
        """The number of items. Raises :class:`ConfigError` where the model was made for another."""
        if model.input_shape is not None and tuple(model.input_shape) != self.shape:
            raise ConfigError(
                _("input_shape = {input_shape}, but there are {wanted} items."),
                input_shape=tuple(model.input_shape), wanted=self.shape,
            )  # fmt: skip
        return model.replace(input_shape=self.shape)

    def batches(
        self, examples: HistoryWindows, train: Training, model: ModelConfig, parts: int, shuffle: bool
    ) -> tuple[HistoryBatches, str]:
        """Batches of histories."""
        made = HistoryBatches(examples, batch_size_of(train, parts), train.seed, shuffle, labelled_only=False)
        return made, f"histories of {self.length} of {len(self.catalogue.items):,} items"

    def to_predict(self, values: Any, pairs: Any = None) -> HistoryBatches:
        """Batches of new histories, lists of item numbers, in their order."""
        ends = np.cumsum([len(each) for each in values]).astype(np.int64)
        items = np.concatenate([np.asarray(each, np.int32) for each in values])
        offsets = np.concatenate([[0], ends])
        histories = Histories(items, np.zeros(len(items)), offsets, tuple(map(str, range(len(values)))))
        # What follows is not known: a history ends one place further on, where no item is read.
        windows = OpenEnded(histories, offsets[:-1], ends, self.length)
        return HistoryBatches(windows, BATCH, shuffle=False, labelled_only=False)

    def save(self, folder: Path) -> None:
        """``catalogue.toml``."""
        write_atomic(folder / _FILE, dumps(self.catalogue))


@dataclass(frozen=True, eq=False)
class OpenEnded(HistoryWindows):
    """Whole histories, all of which is read: what follows is to be predicted."""

    label: np.ndarray = field(init=False)

    def items(self, index: np.ndarray) -> np.ndarray:
        """Items of some histories i32[b, length + 1], 0 in front of short ones and as the one that follows."""
        found = super().items(index)
        return np.concatenate([found[:, 1:], np.zeros((len(found), 1), np.int32)], axis=1)
