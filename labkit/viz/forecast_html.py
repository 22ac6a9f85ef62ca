"""Time series and forecasts as charts and HTML."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from labkit.core import html
from labkit.core.html import Html
from labkit.core.text import one_line
from labkit.core.units import plain
from labkit.data.rows import Rows
from labkit.data.series import SeriesGrid
from labkit.evaluate.forecast import ForecastReport
from labkit.i18n import translate
from labkit.i18n.labels import split_name
from labkit.viz.figure import Axis, Band, FigureSpec, Heatmap, Line, Mark, Plot, Rule
from labkit.viz.svg import inline
from labkit.viz.words import word

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Series whose values are drawn, and forecasts of an evaluation.
DRAWN, SHOWN = 3, 3
#: Steps of the past that are drawn before a forecast, in horizons.
PAST = 3
#: Lines of tables.
LINES = 30
_SCORES = ("mase", "mae", "rmse", "smape", "pinball", "coverage")


def of_rows(rows: Rows, language: str) -> Html:
    """The first series of rows, a line for each value column, the splits in different colours."""
    step, names = rows.schema.step, rows.schema.classes
    assert step is not None, "series have a step"
    grid = SeriesGrid.of(list(rows.splits.values()))
    ends = _ends(rows)
    parts = []
    for number, name in list(enumerate(grid.names))[:DRAWN]:
        here = np.arange(grid.begin[number], grid.begin[number + 1])
        times = step.times(grid.places(here))
        for column, title in enumerate(names[:DRAWN]):
            values = np.where(grid.seen[here, column], grid.values[here, column], np.nan)
            marks: list[Mark] = []
            for colour, (split, (low, high)) in enumerate(ends.items(), start=1):
                inside = np.where((times >= low) & (times <= high), values, np.nan)
                label = translate(split_name(split), language) if len(ends) > 1 else ""
                marks.append(Line(here - here[0], inside, label, colour))
            span = f"{step.shown(times[0])} – {step.shown(times[-1])}"
            said = f"{one_line(title, 60)}{f' ({one_line(name, 40)})' if name else ''}"
            spec = FigureSpec([Plot(marks, said, Axis(f"{span} ({step})"), Axis())], f"{said}: {span}", 720)
            parts.append(inline(spec))
    if left := len(grid.names) - DRAWN:
        parts.append(
            html.paragraph(word("series_more", language, count=f"{left:,}"), "quiet")
            if left > 0
            else Html("")
        )
    return html.joined(html.heading(word("series_shown", language), 4), *parts)


def _ends(rows: Rows) -> dict[str, tuple[float, float]]:
    found = {}
    for split, part in rows.splits.items():
        times = np.asarray(part.with_format(None)["time"])
        found[split] = float(times.min()), float(times.max())
    return found


def fan(
    past: np.ndarray, answers: np.ndarray, levels: Sequence[float], title: str, x: str, language: str,
    truth: np.ndarray | None = None,
) -> FigureSpec:  # fmt: skip
    """A forecast after its past: the median as a line, a band for each pair of quantiles.

    Args:
        past: f64[t]. answers: f64[h, q]. truth: f64[h], NaN where unknown; None where it is not known yet.
        levels: the quantiles.
        title, x: what is drawn, and over which times.
    """
    before, ahead = np.arange(-len(past), 0), np.arange(len(answers))
    pairs = [(n, len(levels) - 1 - n) for n in range(len(levels) // 2)]
    marks: list[Mark] = [
        Band(
            ahead, answers[:, low], answers[:, high], f"{levels[high] - levels[low]:.0%}" if n == 0 else "", 2
        )
        for n, (low, high) in enumerate(pairs)
    ]
    marks.append(Line(before, past, word("past", language), 1))
    if truth is not None:
        marks.append(Line(ahead, truth, word("truth", language), 3))
    marks.append(Line(ahead, answers[:, list(levels).index(0.5)], word("forecast_median", language), 2))
    last = plain(float(answers[-1, list(levels).index(0.5)]), 4)
    return FigureSpec([Plot(marks, title, Axis(x))], f"{title}, {x}: {last}", 720, 230)


def table_of(frame: pd.DataFrame, language: str) -> Html:
    """Forecasts as a table: times and quantiles."""
    shown = frame if frame["series"].any() else frame.drop(columns="series")
    shown = shown if shown["column"].nunique() > 1 else shown.drop(columns="column")
    known = {
        "time": word("time", language),
        "series": word("series", language),
        "column": word("value", language),
    }
    lines = [
        [plain(value, 5) if isinstance(value, float) else str(value) for value in line]
        for line in shown.head(LINES).astype(object).itertuples(index=False)
    ]
    numeric = [place for place, name in enumerate(shown.columns) if name.startswith("q")]
    head = [known.get(name, name) for name in shown.columns]
    return html.scrolled(html.table(head, lines, numeric=numeric), word("forecast_median", language))


def report(found: ForecastReport, language: str) -> Html:
    """The scores with intervals, errors by step, and some forecasts beside what came."""
    cards = []
    for name in _SCORES:
        low, high = found.intervals[name]
        share = name == "coverage"
        told = (lambda value: f"{value:.1%}") if share else (lambda value: plain(value, 4))
        title = word(f"score_{name}", language, nominal=f"{found.nominal:.0%}")
        cards.append((f"{title} ({told(low)} – {told(high)})", told(found.scores[name])))
    cards.append((word("origins", language), f"{len(found.origins.place):,}"))
    warnings = [html.note(translate(text, language), "warn") for text in found.warnings]
    about = word("forecast_intervals", language, block=found.block)
    season = translate(str(found.origins.season), language)
    steps = found.per_step
    head = [
        word("step", language),
        *(word(f"score_{name}", language, nominal="") for name in steps.columns[:-1]),
    ]
    lines = [[str(step), *(plain(float(value), 4) for value in line[:-1])]
             for step, line in zip(steps.index[:LINES], steps.to_numpy()[:LINES], strict=True)]  # fmt: skip
    several = []
    if len(found.per_series) > 1:
        name, value = word("series", language), word("value", language)
        ranked = found.per_series.sort_values("mase", ascending=False)[:LINES]
        rows = [[*map(str, index), *(plain(float(each), 4) for each in line[:-1])]
                for index, line in zip(ranked.index, ranked.to_numpy(), strict=True)]  # fmt: skip
        table = html.table([name, value, *head[1:]], rows, numeric=range(2, len(head) + 1))
        several = [html.details(word("error_by_series", language), table)]
    return html.joined(
        *warnings, html.cards(cards), html.paragraph(f"{about} {season}.", "quiet"), *_examples(found, language),
        html.details(word("error_by_step", language), html.table(head, lines, numeric=range(1, len(head)))), *several,
    )  # fmt: skip


def _examples(found: ForecastReport, language: str) -> list[Html]:
    """Forecasts from evenly spaced origins; the past is not part of a report."""
    origins, charts = found.origins, []
    for place in np.unique(np.linspace(0, len(origins.place) - 1, SHOWN).round().astype(int)):
        truth = np.where(origins.seen[place, :, 0], origins.truth[place, :, 0], np.nan)
        step = origins.step
        (first,) = step.times(origins.place[place : place + 1])
        name = origins.names[origins.series[place]]
        title = f"{origins.columns[0]}{f' ({name})' if name else ''}, {step.shown(first)}"
        spec = fan(
            np.zeros(0),
            found.answers[place, :, 0],
            found.levels,
            title,
            word("step", language),
            language,
            truth,
        )
        (plot,) = spec.plots
        bare = [
            replace(mark, label="") for mark in plot.marks if not isinstance(mark, Rule | Heatmap)
        ]  # no room for a legend
        charts.append(inline(FigureSpec([replace(plot, marks=bare)], spec.alt, 420, 200)))
    about = html.paragraph(word("forecast_colours", language, range=f"{found.nominal:.0%}"), "quiet")
    return [html.heading(word("forecast_examples", language), 4), about, html.side_by_side(*charts)]
