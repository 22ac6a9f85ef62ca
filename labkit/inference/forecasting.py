"""Forecasts: quantiles of the next steps of time series."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from labkit.core.errors import DataError
from labkit.data.batching.series import SeriesWindows
from labkit.data.io.load import load
from labkit.data.rows import Rows
from labkit.data.series import SeriesGrid
from labkit.i18n import _
from labkit.inference.pipeline import Pipeline
from labkit.tasks.forecast import Forecast, Forecasting
from labkit.train.series_processor import SeriesProcessor, grid_of

if TYPE_CHECKING:
    import pandas as pd

    from labkit.data.io.load import RowSource


class ForecastPipeline(Pipeline):
    """A model of the task "forecast" that a run has written or exported.

    Attributes:
        horizon, context: steps that are forecast, and steps before them that are read.
        levels: quantiles that are forecast, ascending; they do not cross.
        names: value columns.
    """

    task = Forecast
    head: Forecasting
    processor: SeriesProcessor

    def __init__(self, *given: Any, **settings: Any):
        super().__init__(*given, **settings)
        self._answer = self.compiled(self.head.forecast)
        self.horizon, self.context = self.processor.horizon, self.processor.context
        self.levels, self.names = self.head.config.quantiles, self.processor.columns.numbers

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {', '.join(self.names)}, {self.horizon} steps after {self.context}>"

    def _used(self, module: Any) -> Any:
        return module

    def quantiles(self, windows: SeriesWindows) -> np.ndarray:
        """The quantiles of the horizon of every window, f64[n, h, k, q], in the units of the values."""
        shape = (len(windows), self.horizon, len(self.names), len(self.levels))
        found = np.zeros(shape, np.float32)
        for index, part in self._results(self._answer, self.processor.to_predict(windows)):
            found[index] = part
        assert self.processor.scale is not None, "a trained model has it"
        answers = self.processor.scale.restore(found)
        if not np.isfinite(answers).all():
            raise DataError(
                _("{n_wrong} of {n} predictions are not finite: training diverged."),
                n_wrong=int((~np.isfinite(answers)).any((1, 2, 3)).sum()), n=len(answers),
            )  # fmt: skip
        return answers

    def windows(self, rows: Rows, split: str) -> tuple[SeriesWindows, SeriesGrid]:
        """The windows of a split of rows, whose context may be in earlier splits; and the values in their own units."""
        assert self.processor.scale is not None, "a trained model has it"
        grid = grid_of(rows)
        found = SeriesWindows.over(self.processor.scale(grid), rows[split], self.context, self.horizon)
        if not len(found):
            raise DataError(
                _("no window of {context} + {horizon} steps fits into {split}: it has {n_rows:,} rows."),
                context=self.context, horizon=self.horizon, split=split, n_rows=len(rows[split]),
            )  # fmt: skip
        return found, grid

    def read(self, table: RowSource, **options: Any) -> Rows:
        """The past of series as rows: a table with the columns of the training rows; see :func:`labkit.load`."""
        if isinstance(table, Rows):
            return table
        columns = self.processor.columns
        step = None if columns.step.kind == "number" else str(columns.step)
        return load(
            table,
            time=columns.time,
            number=columns.numbers,
            series=columns.series or None,
            step=step,
            **options,
        )

    def forecast(self, table: RowSource, **options: Any) -> pd.DataFrame:
        """The next steps after the end of every series.

        Args:
            table: the past of the series, with the columns of the training rows: a file, a frame, or what else
                :func:`labkit.load` reads. At least ``context`` steps of each series; earlier ones are not read.
            options: further arguments of :func:`labkit.load`, such as ``delimiter`` or ``decimal``.

        Returns:
            A row for each series, step and value column: ``series``, ``time``, ``column``, and a column for each
            quantile (``q0.1``, ``q0.5``, ``q0.9``). Times are those of the steps; where the step is "rows", they are
            1, 2, 3 …

        Raises:
            DataError: a series is too short, or the table cannot be read.
        """
        rows = self.read(table, **options)
        return self.frame(rows, self.ends(rows))

    def ends(self, rows: Rows) -> SeriesWindows:
        """The windows at the end of every series. Raises :class:`DataError` for a series that is too short."""
        grid = grid_of(rows)
        lengths = np.diff(grid.begin)
        if (short := lengths < self.context).any():
            place = int(short.argmax())
            raise DataError(
                _("series {name!r} has {steps:,} steps; the model reads {context:,}. Give a longer past."),
                name=grid.names[place] or "-", steps=int(lengths[place]), context=self.context,
            )  # fmt: skip
        assert self.processor.scale is not None, "a trained model has it"
        return SeriesWindows(self.processor.scale(grid), grid.begin[1:], self.context, self.horizon)

    def frame(self, rows: Rows, windows: SeriesWindows) -> pd.DataFrame:
        """The forecasts after some windows over rows; see :meth:`forecast`."""
        import pandas as pd

        answers, grid, step = self.quantiles(windows), windows.grid, rows.schema.step
        assert step is not None, "series have a step"
        count, horizon, columns, _levels = answers.shape
        places = grid.places(windows.origin - 1)[:, None] + np.arange(1, horizon + 1)
        if step.kind == "rows":
            times: Any = np.tile(np.arange(1, horizon + 1), count)
        else:
            moments = step.times(places.reshape(-1))
            times = pd.to_datetime(np.round(moments * 1e3), unit="ms") if step.dates else moments
        names = np.array(grid.names, object)[grid.series_of(windows.origin - 1)]
        flat = answers.reshape(-1, len(self.levels))
        return pd.DataFrame({
            "series": np.repeat(names, horizon * columns), "time": np.repeat(times, columns),
            "column": np.tile(np.array(self.names, object), count * horizon),
            **{f"q{level:g}": flat[:, n] for n, level in enumerate(self.levels)},
        })  # fmt: skip

    __call__ = forecast
