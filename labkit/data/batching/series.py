"""Windows over time series and their batches: a context to read, and the horizon that follows it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Self

import numpy as np

from labkit.core.config import Config, option
from labkit.core.errors import DataError
from labkit.data.batching.base import Batch, OneShapeBatches
from labkit.data.precision import LARGEST
from labkit.data.series import SeriesGrid
from labkit.i18n import _

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True)
class SeriesScale(Config):
    """Mean and deviation of each value column, of the known values of the training rows."""

    names: tuple[str, ...] = option((), "Value columns.")
    mean: tuple[float, ...] = option((), "Mean of each.")
    scale: tuple[float, ...] = option((), "Standard deviation of each.")

    @classmethod
    def fit(cls, train: SeriesGrid, names: tuple[str, ...]) -> Self:
        """From the training rows alone. Raises :class:`DataError` where a column has no value, or never changes."""
        means, scales = [], []
        for place, name in enumerate(names):
            values = train.values[:, place][train.seen[:, place]]
            if not len(values):
                raise DataError(_("column {column!r} has no value in the training rows."), column=name)
            mean, scale = float(values.mean()), float(values.std())
            if not np.isfinite(scale) or scale <= 1e-12 * max(1.0, abs(mean)):
                raise DataError(
                    _("{name!r} is {middle:g} in every training row: there is nothing to learn."),
                    name=name,
                    middle=mean,
                )
            means.append(mean)
            scales.append(scale)
        return cls(names, tuple(means), tuple(scales))

    def __call__(self, grid: SeriesGrid) -> SeriesGrid:
        """The same series, standardised. Raises :class:`DataError` for values beyond float32."""
        with np.errstate(over="ignore"):  # refused below
            values = (grid.values - np.asarray(self.mean)) / np.asarray(self.scale)
        if (wrong := ~(np.abs(values) <= LARGEST)).any():
            step, place = np.argwhere(wrong)[0].tolist()
            raise DataError(
                _("{label!r} is {target:g} in row {row}, too far from the training rows (standard deviation {scale:g}) "
                  "for float32."),
                label=self.names[place], target=float(grid.values[step, place]), row=int(grid.row[step]),
                scale=self.scale[place],
            )  # fmt: skip
        return replace(grid, values=values)

    def restore(self, values: np.ndarray) -> np.ndarray:
        """Standardised values [n, h, k, …] in their own units, f64."""
        shape = (1, 1, -1, *([1] * (values.ndim - 3)))
        return values.astype(np.float64) * np.reshape(self.scale, shape) + np.reshape(self.mean, shape)


@dataclass(frozen=True, eq=False)
class SeriesWindows:
    """n windows over series.

    Attributes:
        grid: the series, standardised.
        origin: i64[n], the first step of each horizon in the grid.
        context, horizon: steps before the origin and from it on.
        label: i32[n], 0. ``target`` is None and ``truncated`` 0: the windows are cut from the grid.
        short: series that are too short for a window.
    """

    grid: SeriesGrid
    origin: np.ndarray
    context: int
    horizon: int
    short: tuple[str, ...] = ()
    target: None = None
    truncated: int = 0
    label: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "label", np.zeros(len(self.origin), np.int32))

    @classmethod
    def over(cls, grid: SeriesGrid, part: Dataset | None, context: int, horizon: int) -> Self:
        """All windows whose horizon lies in the rows of ``part`` (None: in the whole grid); what comes before is read.

        A window in whose horizon nothing is known is left out.
        """
        found, short = [], []
        spans = _spans(grid, part)
        known = np.concatenate([[0], np.cumsum(grid.seen.any(1))])
        for number, (low, high) in spans.items():
            begin = int(grid.begin[number])
            origin = np.arange(max(low, begin + context), high - horizon + 1)
            if not len(origin):
                short.append(grid.names[number])
            found.append(origin[known[origin + horizon] > known[origin]] if len(origin) else origin)
        every = np.concatenate(found) if found else np.zeros(0, np.int64)
        return cls(grid, every.astype(np.int64), context, horizon, tuple(short))

    def at(self, place: int) -> Self:
        """One of the windows."""
        return type(self)(self.grid, self.origin[place : place + 1], self.context, self.horizon)

    def __len__(self) -> int:
        return len(self.origin)

    def __repr__(self) -> str:
        return f"<windows: {len(self)} of {self.context} + {self.horizon} steps>"

    @property
    def row(self) -> np.ndarray:
        """i64[n], number of the row at each origin; -1 where that step is missing."""
        return self.grid.row[self.origin]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of what is read: (context, values)."""
        return (self.context, self.grid.values.shape[1])

    def inputs(self, index: np.ndarray) -> np.ndarray:
        """Contexts of some windows, f32[b, context, k]."""
        steps = self.origin[index][:, None] + np.arange(-self.context, 0)
        return self.grid.values[steps].astype(np.float32)

    def targets(self, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Horizons of some windows f64[b, horizon, k], and which values are known, bool; none beyond the last step."""
        steps = self.origin[index][:, None] + np.arange(self.horizon)
        there = np.minimum(steps, len(self.grid) - 1)
        return self.grid.values[there], self.grid.seen[there] & (steps < len(self.grid))[..., None]


def _spans(grid: SeriesGrid, part: Dataset | None) -> dict[int, tuple[int, int]]:
    """Number of a series → the first step of the grid that is in ``part``, and the end."""
    if part is None:
        return {n: (int(grid.begin[n]), int(grid.begin[n + 1])) for n in range(len(grid.names))}
    names, places = (
        np.array(part.with_format(None)["series"], object),
        np.asarray(part.with_format(None)["place"]),
    )
    spans = {}
    for number, name in enumerate(grid.names):
        mine = places[names == name]
        if len(mine):
            offset = int(grid.begin[number] - grid.first[number])
            spans[number] = int(mine.min()) + offset, int(mine.max()) + offset + 1
    return spans


class SeriesBatches(OneShapeBatches):
    """Batches of windows of one shape.

    A batch is ``{"inputs": f32[b, context, k], "target": f32[b, horizon, k], "seen": bool[b, horizon, k], "label",
    "weight", "index"}``; ``seen`` marks the values that are known, also in the filled-up places, which have weight 0.
    """

    _source: SeriesWindows

    @property
    def windows(self) -> SeriesWindows:
        """What the batches are made of."""
        return self._source

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """The one shape of ``inputs``; none where there are no examples."""
        return [(self.batch_size, *self._source.shape)] if self.examples else []

    def _batch(self, plan: np.ndarray, place: int) -> Batch:
        index = plan[place]
        some = np.maximum(index, 0)
        target, seen = self._source.targets(some)
        return {
            "inputs": self._source.inputs(some),
            "seen": seen & (index >= 0)[:, None, None],
            **self._known(index),
            "target": target.astype(np.float32),
        }
