"""Forecasts in the step Predict: after the end of the rows or of another table, or from a time of the test rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import ipywidgets as widgets
import numpy as np

from labkit.app.widgets.answers import LONGEST, Asking
from labkit.app.widgets.download import Download
from labkit.core import html, source_code
from labkit.core.html import Html
from labkit.data.batching.series import SeriesWindows
from labkit.data.series import SeriesGrid
from labkit.data.time_steps import TimeStep
from labkit.evaluate import run_report
from labkit.inference.answer_files import csv_of
from labkit.inference.forecasting import ForecastPipeline
from labkit.train.series_processor import grid_of
from labkit.viz import forecast_html
from labkit.viz.svg import inline

if TYPE_CHECKING:
    from datasets import Dataset

#: Series whose forecast is drawn.
DRAWN = 4


class Question(NamedTuple):
    """A table of the past, "" for the rows of the run; and the place of a row of a split to forecast from."""

    path: str
    split: str = ""
    place: int = -1


class Forecasted(NamedTuple):
    """The forecasts, and their charts."""

    frame: Any
    charts: list[Html]


class Forecasts(Asking):
    """A model of time series forecasts the next steps."""

    verb = "forecast_on"
    tool: ForecastPipeline

    def build(self) -> Sequence[widgets.Widget]:
        self.path = widgets.Text(
            description=self.word("past_table"), placeholder=self.word("past_of_run"), continuous_update=False
        )
        self.path.layout.width, self.path.style.description_width = "480px", "auto"
        self.link = Download(label=self.word("download_forecast"))
        self.taken: Question | None = None
        return self.path, self.link

    def take(self, part: Dataset, place: int) -> None:
        """Forecast from a time of the data, where what came is known."""
        run = self.panel.state.run
        assert run is not None
        rows = run_report.rows_of(run)
        split = next(name for name in ("test", "validation", "train") if len(rows.splits.get(name, ())))
        self.taken = Question("", split, place)

    def asked(self) -> Question:
        taken, self.taken = self.taken, None
        return taken or Question(self.path.value.strip()[:LONGEST])

    def answer(self, asked: tuple[Any, ...]) -> Forecasted:
        path, split, place = asked
        run = self.panel.state.run
        assert run is not None
        rows = self.tool.read(path) if path else run_report.rows_of(run)
        if split:
            windows, _values = self.tool.windows(rows, split)
            windows = windows.at(min(place, len(windows) - 1))
        else:
            windows = self.tool.ends(rows)
        frame = self.tool.frame(rows, windows)
        return Forecasted(
            frame, list(self._charts(grid_of(rows), windows, frame, rows.schema.step, bool(split)))
        )

    def _charts(
        self, grid: SeriesGrid, windows: SeriesWindows, frame: Any, step: TimeStep, known: bool
    ) -> Iterator[Html]:
        """The past and the forecast of the first series; with ``known`` also what came."""
        tool, count = self.tool, len(self.tool.names)
        answers = frame[[f"q{level:g}" for level in tool.levels]].to_numpy()
        answers = answers.reshape(len(windows), tool.horizon, count, len(tool.levels))
        values = np.where(grid.seen, grid.values, np.nan)
        for number, end in enumerate(windows.origin[:DRAWN].tolist()):
            series = int(grid.series_of(np.array([end - 1]))[0])
            begin = max(int(grid.begin[series]), end - min(forecast_html.PAST * tool.horizon, tool.context))
            first, last = step.times(grid.places(np.array([begin, end - 1])))
            over = f"{step.shown(first)} – {step.shown(last)} + {tool.horizon} ({step})"
            for place, column in enumerate(tool.names[:DRAWN]):
                truth = values[end : end + tool.horizon, place] if known else None
                title = f"{column} ({grid.names[series]})" if grid.names[series] else column
                fan = answers[number, :, place]
                yield inline(
                    forecast_html.fan(
                        values[begin:end, place], fan, tool.levels, title, over, self.language, truth
                    )
                )

    def shown(self, asked: tuple[Any, ...], found: Forecasted) -> Html:
        self.link.offer(lambda: csv_of(found.frame), "forecast.csv")
        return html.joined(*found.charts, forecast_html.table_of(found.frame, self.language))

    def code(self, asked: tuple[Any, ...]) -> list[str]:
        given = (asked[0],) if asked[0] else ()
        return [source_code.line(source_code.call("run.forecast", *given))]
