"""Seasonal naive forecasts: the value of one season before; and which season fits best."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from labkit.data.series import SeriesGrid
from labkit.data.time_steps import TimeStep
from labkit.i18n import _

#: Seasons that are tried where the calendar gives none, at most.
TRIED = 400


@dataclass(frozen=True)
class Season:
    """Steps of a season, and where it comes from."""

    steps: int
    detected: bool

    def __str__(self) -> str:
        if self.detected:
            return _("season of {steps} steps, detected", steps=self.steps)
        return _("season of {steps} steps, as given", steps=self.steps)


def season_of(train: SeriesGrid, step: TimeStep, horizon: int, given: int | None) -> Season:
    """The season of the calendar, or 1, with the smallest error of seasonal naive forecasts of the training rows.

    Where the step has no calendar, every season up to a third of the shortest series, at most :data:`TRIED`, is tried.
    """
    if given is not None:
        return Season(given, False)
    longest = int(np.diff(train.begin).max())
    tried = [1, *step.seasons] if step.seasons else range(1, min(TRIED, longest // 3) + 1)
    errors = {each: _error(train, each, horizon) for each in tried}
    known = {each: error for each, error in errors.items() if np.isfinite(error)}
    return Season(min(known, key=lambda each: (known[each], each)) if known else 1, True)


def back(season: int, horizon: int) -> np.ndarray:
    """Steps from each step of a horizon back to the value that a seasonal naive forecast repeats, i64[horizon]."""
    ahead = np.arange(1, horizon + 1)
    return season * -(-ahead // season)


def _error(train: SeriesGrid, season: int, horizon: int) -> float:
    """Mean absolute error over the horizon, of values in deviations of their column."""
    spread = np.where(train.values.std(0) > 0, train.values.std(0), 1.0)
    total, count = 0.0, 0
    for apart in np.unique(back(season, horizon)):
        weight = int((back(season, horizon) == apart).sum())
        for begin, end in zip(train.begin[:-1], train.begin[1:], strict=True):
            if end - begin <= apart:
                continue
            both = train.seen[begin + apart : end] & train.seen[begin : end - apart]
            error = np.abs(train.values[begin + apart : end] - train.values[begin : end - apart]) / spread
            total += weight * float(error[both].sum())
            count += weight * int(both.sum())
    return total / count if count else np.nan


def naive(grid: SeriesGrid, origin: np.ndarray, season: int, horizon: int) -> np.ndarray:
    """Seasonal naive forecasts f64[n, horizon, k] from origins i64[n] of a grid; the first value of a series where
    there is no season before."""
    start = grid.begin[grid.series_of(origin)]
    place = origin[:, None] + np.arange(horizon) - back(season, horizon)
    return grid.values[np.maximum(place, start[:, None])]


def naive_quantiles(
    train: SeriesGrid, points: np.ndarray, season: int, levels: tuple[float, ...]
) -> np.ndarray:
    """Quantiles f64[n, horizon, k, q] around naive forecasts ``points``: those of their errors on the training rows,
    step by step; the median is the forecast itself."""
    horizon, columns = points.shape[1:]
    offsets = np.zeros((horizon, columns, len(levels)))
    for apart in np.unique(back(season, horizon)):
        where = back(season, horizon) == apart
        for column in range(columns):
            errors = []
            for begin, end in zip(train.begin[:-1], train.begin[1:], strict=True):
                if end - begin > apart:
                    late, early = slice(begin + apart, end), slice(begin, end - apart)
                    both = train.seen[late, column] & train.seen[early, column]
                    errors.append((train.values[late, column] - train.values[early, column])[both])
            found = np.concatenate(errors) if errors else np.zeros(0)
            if len(found):
                offsets[where, column] = np.quantile(found, levels)
    offsets[..., levels.index(0.5)] = 0.0
    return np.sort(points[..., None] + offsets, axis=-1)


def scales(train: SeriesGrid, season: int) -> np.ndarray:
    """The denominators of MASE (Hyndman & Koehler 2006) f64[series, k]: the mean absolute difference of training values
    a season apart; NaN where there is none, or it is 0."""
    found = np.full((len(train.names), train.values.shape[1]), np.nan)
    for number, (begin, end) in enumerate(zip(train.begin[:-1], train.begin[1:], strict=True)):
        if end - begin > season:
            both = train.seen[begin + season : end] & train.seen[begin : end - season]
            apart = np.abs(train.values[begin + season : end] - train.values[begin : end - season])
            count = both.sum(0)
            mean = (apart * both).sum(0) / np.maximum(count, 1)
            found[number] = np.where((count > 0) & (mean > 0), mean, np.nan)
    return found
