"""Processor of time series: windows over the values, standardised by the training rows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from datasets import Dataset

from labkit.core.cache import write_atomic
from labkit.core.config import Config, dumps, load_file, option
from labkit.core.errors import ConfigError, DataError
from labkit.data.batching.series import SeriesBatches, SeriesScale, SeriesWindows
from labkit.data.rows import Rows
from labkit.data.series import SeriesGrid
from labkit.data.time_steps import TimeStep
from labkit.i18n import _
from labkit.models.base import Modality, ModelConfig
from labkit.tasks.forecast import Forecast
from labkit.train.experiment import Experiment, Training
from labkit.train.processor import Processor, batch_size_of

_FILE = "series.toml"
#: Series that are named where they are too short.
NAMED = 5
#: Windows in one compiled call of a forecast.
FEW, BATCH = 8, 256


@dataclass(frozen=True)
class SeriesColumns(Config):
    """How the tables of a model are read: kept with it, so that new rows are read as the training rows."""

    time: str = option("", "Column of the times.")
    series: str = option("", "Column that names the series; empty for a single one.")
    numbers: tuple[str, ...] = option((), "Value columns.")
    step: TimeStep = option(help="Time between two values.", factory=TimeStep)
    scale: SeriesScale | None = option(None, "Mean and deviation of the training rows.")


class SeriesProcessor(Processor):
    """Windows over series. The context of a window may reach into earlier splits; its horizon is in one split.

    Attributes:
        scale: of the values; None before the training rows are read.
        grid: all splits of the run's rows; None of a model in a folder, which reads what it is given.
    """

    modality = Modality.SERIES

    def __init__(self, task: Forecast, columns: SeriesColumns, rows: Rows | None = None):
        assert task.horizon is not None and task.context is not None, "Forecast.for_rows has set them"
        self.horizon, self.context, self.columns = task.horizon, task.context, columns
        self.grid = None if rows is None else grid_of(rows)
        self.scale = columns.scale
        self.shape = (self.context, len(columns.numbers)) if rows is None else None

    @classmethod
    def create(cls, experiment: Experiment, folder: Path, rows: Rows) -> Self:
        """Not fitted yet."""
        task = experiment.task.for_rows(rows)
        if not isinstance(task, Forecast):
            raise ConfigError(_("time series are for the task 'forecast'."))
        schema = rows.schema
        assert schema.step is not None, "series have a step"
        return cls(task, SeriesColumns(schema.time, schema.series, schema.classes, schema.step), rows)

    @classmethod
    def load(cls, experiment: Experiment, folder: Path, shape: tuple[int, ...] | None) -> Self:
        """With the scale and the columns in ``series.toml``."""
        assert isinstance(experiment.task, Forecast)
        return cls(experiment.task, load_file(SeriesColumns, folder / _FILE))

    def check_rows(self, rows: Rows) -> None:
        """Raise :class:`ConfigError`: windows reach over the series of the run that the model was trained in."""
        raise ConfigError(_("warm_start is for texts, pictures, sounds and tables, not for time series."))

    def encode(self, dataset: Dataset) -> SeriesWindows:
        """The windows of a split; the first call, with the training rows, fits the scale.

        Raises:
            DataError: the split has no window.
        """
        if self.scale is None:
            self.scale = SeriesScale.fit(SeriesGrid.of([dataset]), self.columns.numbers)
            self.columns = self.columns.replace(scale=self.scale)
            self.shape = (self.context, len(self.columns.numbers))
        grid = self.scale(self.grid if self.grid is not None else SeriesGrid.of([dataset]))
        found = SeriesWindows.over(grid, dataset, self.context, self.horizon)
        if not len(found):
            raise DataError(
                _("no window of {context} + {horizon} steps fits into a split of {n_rows:,} rows: set context or "
                  "horizon lower, or make the split larger."),
                context=self.context, horizon=self.horizon, n_rows=len(dataset),
            )  # fmt: skip
        return found

    def sized(self, model: ModelConfig) -> ModelConfig:
        """The shape of a context. Raises :class:`ConfigError` where the model was made for another."""
        if model.input_shape is not None and tuple(model.input_shape) != self.shape:
            raise ConfigError(
                _("input_shape = {input_shape}, but an example has the shape {wanted}."),
                input_shape=tuple(model.input_shape), wanted=self.shape,
            )  # fmt: skip
        return model.replace(input_shape=self.shape)

    def batches(
        self, examples: SeriesWindows, train: Training, model: ModelConfig, parts: int, shuffle: bool
    ) -> tuple[SeriesBatches, str]:
        """Batches of windows."""
        made = SeriesBatches(examples, batch_size_of(train, parts), train.seed, shuffle, labelled_only=False)
        told = f"windows of {self.context} + {self.horizon} steps of {len(examples.grid.names)} series"
        if examples.short:
            names = ", ".join(examples.short[:NAMED]) + (", …" if len(examples.short) > NAMED else "")
            told += f"; too short: {len(examples.short)} ({names})"
        return made, told

    def to_predict(self, values: Any, pairs: Any = None) -> SeriesBatches:
        """Batches of the windows over a grid, in their order."""
        return SeriesBatches(values, FEW if len(values) <= FEW else BATCH, shuffle=False, labelled_only=False)

    def save(self, folder: Path) -> None:
        """``series.toml``."""
        write_atomic(folder / _FILE, dumps(self.columns))


def grid_of(rows: Rows) -> SeriesGrid:
    """All splits of rows on one grid."""
    return SeriesGrid.of(list(rows.splits.values()))
