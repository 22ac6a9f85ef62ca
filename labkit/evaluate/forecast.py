"""Evaluation of forecasts by rolling origin: point errors, quantiles, and a seasonal naive baseline.

A forecast is made from every step of the split; the horizons overlap. Intervals are by the circular block bootstrap of
the origins (Politis & Romano 1992), blocks at least as long as a horizon, all series resampled together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import pandas as pd

from labkit.core.config import checked_seed
from labkit.core.errors import DataError
from labkit.core.units import plain
from labkit.data.rows import Rows
from labkit.data.seasonal import Season, naive, naive_quantiles, scales, season_of
from labkit.data.series import SeriesGrid
from labkit.data.time_steps import TimeStep
from labkit.evaluate.compared_report import ComparedReport
from labkit.evaluate.intervals import Interval, finite_percentiles
from labkit.evaluate.shown import SCORED, Table
from labkit.i18n import _
from labkit.inference.forecasting import ForecastPipeline
from labkit.inference.registry import pipeline_of

if TYPE_CHECKING:
    from labkit.runs.handle import RunHandle

RESAMPLES = 1000
#: Blocks of origins below which an interval rests on too little.
FEW_BLOCKS = 10
SEASONAL, LAST = _("seasonal naive"), _("last value")


@dataclass(frozen=True, eq=False)
class Origins:
    """Where forecasts were made, and what came: n origins, h steps, k value columns.

    Attributes:
        series: i64[n], number in ``names``.
        place: i64[n], place in time of the first step.
        row: i64[n], number of its row; -1 where that step has none.
        truth: f64[n, h, k]. seen: bool, which of it is known.
        scale: f64[n, k], denominators of MASE.
        names, columns: of series and values.
        step: between two values.
        season: of the baseline and of MASE.
    """

    series: np.ndarray
    place: np.ndarray
    row: np.ndarray
    truth: np.ndarray
    seen: np.ndarray
    scale: np.ndarray
    names: tuple[str, ...]
    columns: tuple[str, ...]
    step: TimeStep
    season: Season


class ForecastReport(ComparedReport):
    """Quantile forecasts beside what came.

    Args:
        origins: where they were made, and the truth.
        answers: f64[n, h, k, q], ascending along q.
        levels: the quantiles, with 0.5 among them.

    Scores, all over the known values of all forecasts: ``mae`` and ``rmse`` of the median; ``mase``, its absolute error
    ÷ that of the seasonal naive forecast one season ahead in the training rows of the series; ``smape``, the mean of
    2 |error| ÷ (|truth| + |forecast|), 0 to 2; ``pinball``, a mean over the quantiles; ``coverage``, the share of
    values between the lowest and the highest quantile, which should be :attr:`nominal`.
    """

    headlines: ClassVar[tuple[str, ...]] = ("mase", "mae", "rmse", "smape", "pinball", "coverage")
    main: ClassVar[str] = "mase"
    better: ClassVar[int] = -1

    def __init__(
        self,
        origins: Origins,
        answers: np.ndarray,
        levels: Sequence[float],
        *,
        split: str = "test",
        seed: int = 0,
    ):
        self.origins, self.levels, self.split, self.seed = origins, tuple(levels), split, checked_seed(seed)
        self.answers = np.asarray(answers, np.float64)
        self.baselines: dict[str, Self] = {}
        if self.answers.shape != (*origins.truth.shape, len(self.levels)):
            raise DataError(
                _("answers of shape {shape}; these origins need {wanted}."), shape=self.answers.shape,
                wanted=(*origins.truth.shape, len(self.levels)),
            )  # fmt: skip

    @property
    def median(self) -> np.ndarray:
        """The forecasts f64[n, h, k]."""
        return self.answers[..., self.levels.index(0.5)]

    @property
    def nominal(self) -> float:
        """The share of values that the lowest and the highest quantile should enclose."""
        return self.levels[-1] - self.levels[0]

    @property
    def rows(self) -> np.ndarray:
        """Row number of each origin."""
        return self.origins.row

    # --- scores -----------------------------------------------------------------------------------------------

    @cached_property
    def _terms(self) -> dict[str, np.ndarray]:
        """What the scores are means of, f64[n, h, k], and 0 where nothing is known; ``…_n``: 1 where it counts."""
        found, seen = self.origins, self.origins.seen
        truth = np.where(seen, found.truth, 0.0)
        error = np.where(seen, self.median - truth, 0.0)
        scaled = np.abs(error) / found.scale[:, None, :]
        size = np.abs(truth) + np.abs(np.where(seen, self.median, 0.0))
        levels = np.array(self.levels)
        off = truth[..., None] - self.answers
        pinball = np.maximum(levels * off, (levels - 1) * off).mean(-1)
        inside = (self.answers[..., 0] <= truth) & (truth <= self.answers[..., -1])
        counted = seen.astype(np.float64)
        return {
            "mae": np.abs(error), "rmse": error**2, "smape": 2 * np.abs(error) / np.where(size > 0, size, 1.0),
            "pinball": np.where(seen, pinball, 0.0), "coverage": (inside & seen).astype(np.float64), "n": counted,
            "mase": np.where(seen & np.isfinite(scaled), scaled, 0.0), "mase_n": counted * np.isfinite(scaled),
        }  # fmt: skip

    @cached_property
    def _by_time(self) -> dict[str, np.ndarray]:
        """Sums of the terms by the time of the origin, all series together, f64[times]."""
        _times, which = np.unique(self.origins.place, return_inverse=True)
        return {name: np.bincount(which, each.sum((1, 2))) for name, each in self._terms.items()}

    def _scored(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Scores [r] with each time taken ``weights`` [r, times] times."""
        sums = {name: weights @ each for name, each in self._by_time.items()}
        with np.errstate(invalid="ignore", divide="ignore"):
            means = {name: sums[name] / sums["mase_n" if name == "mase" else "n"] for name in self.headlines}
        return {**means, "rmse": np.sqrt(means["rmse"])}

    @cached_property
    def scores(self) -> dict[str, float]:
        """Every score by name."""
        found = self._scored(np.ones((1, len(self._by_time["n"]))))
        scores = {name: float(each[0]) for name, each in found.items()}
        return scores if len(self.levels) > 1 else {**scores, "coverage": float("nan")}

    @property
    def block(self) -> int:
        """Origins of a block of the bootstrap: a horizon, and no less than the cube root of all."""
        times = len(self._by_time["n"])
        return min(times, max(self.answers.shape[1], round(times ** (1 / 3))))

    @cached_property
    def _draws(self) -> dict[str, np.ndarray]:
        return self._scored(block_weights(len(self._by_time["n"]), self.block, self.seed))

    @cached_property
    def intervals(self) -> dict[str, Interval]:
        """95 % intervals of every score; see the module."""
        return {name: finite_percentiles(each) for name, each in self._draws.items() if name in self.scores}

    def ratio(self, other: Self) -> tuple[float, float, float]:
        """The error of this report ÷ that of another on the same origins, as ``mase``, with a paired 95 % interval. For
        one series of one value it is the ratio of their mean absolute errors."""
        self._check_pair("", other)
        low, high = finite_percentiles(self._draws["mase"] / other._draws["mase"])
        return self.scores["mase"] / other.scores["mase"], low, high

    def _gains(self, other: Self) -> dict[str, float]:
        """The gain, and ``ratio``, that of their errors."""
        ratio = dict(zip(("ratio", "ratio_low", "ratio_high"), self.ratio(other), strict=True))
        return super()._gains(other) | ratio

    def _has_rows_of(self, other: Self) -> bool:
        mine, theirs = self.origins, other.origins
        return mine is theirs or (
            mine.names == theirs.names and mine.columns == theirs.columns
            and all(np.array_equal(getattr(mine, part), getattr(theirs, part))
                    for part in ("series", "place", "seen"))
        )  # fmt: skip

    # --- tables -----------------------------------------------------------------------------------------------

    @cached_property
    def per_step(self) -> pd.DataFrame:
        """``mae``, ``mase``, ``pinball`` and ``coverage`` of every step of the horizon."""
        return self._grouped((0, 2), pd.RangeIndex(1, self.answers.shape[1] + 1, name="step"))

    @cached_property
    def per_series(self) -> pd.DataFrame:
        """The same of every series and value column."""
        parts = []
        for number, name in enumerate(self.origins.names):
            mine = self.origins.series == number
            if mine.any():
                index = pd.MultiIndex.from_product([[name], self.origins.columns], names=["series", "column"])
                parts.append(self._grouped((0, 1), index, mine))
        return pd.concat(parts)

    def _grouped(self, axes: tuple[int, int], index: pd.Index, part: Any = slice(None)) -> pd.DataFrame:
        sums = {name: each[part].sum(axes) for name, each in self._terms.items()}
        with np.errstate(invalid="ignore", divide="ignore"):
            return pd.DataFrame({
                name: sums[name] / sums["mase_n" if name == "mase" else "n"]
                for name in ("mae", "mase", "pinball", "coverage")
            } | {"n": sums["n"].astype(int)}, index=index)  # fmt: skip

    def predictions(self) -> pd.DataFrame:
        """Every forecast: ``series``, ``origin`` and ``time`` (of the first and of this step), ``step``, ``column``,
        ``truth`` (NaN where it is unknown) and the quantiles."""
        count, horizon, columns = self.origins.truth.shape
        steps = np.arange(horizon)
        place = self.origins.place[:, None] + steps
        flat = self.answers.reshape(-1, len(self.levels))
        return pd.DataFrame({
            "series": np.repeat(np.array(self.origins.names, object)[self.origins.series], horizon * columns),
            "origin": np.repeat(self._times(self.origins.place), horizon * columns),
            "time": np.repeat(self._times(place.reshape(-1)), columns),
            "step": np.tile(np.repeat(steps + 1, columns), count),
            "column": np.tile(np.array(self.origins.columns, object), count * horizon),
            "truth": np.where(self.origins.seen, self.origins.truth, np.nan).reshape(-1),
            **{f"q{level:g}": flat[:, n] for n, level in enumerate(self.levels)},
        })  # fmt: skip

    def mistakes(self, n: int = 10) -> pd.DataFrame:
        """The ``n`` origins with the largest absolute error over their horizon, in MASE's units, the worst first."""
        error = self._terms["mase"].sum((1, 2)) / np.maximum(self._terms["mase_n"].sum((1, 2)), 1)
        worst = np.argsort(-error, kind="stable")[:n]
        return pd.DataFrame({
            "row": self.origins.row[worst],
            "series": np.array(self.origins.names, object)[self.origins.series[worst]],
            "origin": self._times(self.origins.place[worst]), "mase": error[worst],
        })  # fmt: skip

    def _times(self, places: np.ndarray) -> np.ndarray:
        step = self.origins.step
        return np.array([step.shown(time) for time in step.times(places)], object)

    def to_dict(self) -> dict[str, Any]:
        """All numbers as JSON values (NaN as None)."""
        plain_ = lambda value: None if np.isnan(value) else float(value)  # noqa: E731
        return {
            "split": self.split, "seed": self.seed, "origins": len(self.origins.place), "block": self.block,
            "season": self.origins.season.steps, "levels": list(self.levels),
            "scores": {name: plain_(value) for name, value in self.scores.items()},
            "intervals": {name: [plain_(low), plain_(high)] for name, (low, high) in self.intervals.items()},
        }  # fmt: skip

    # --- what is shown ----------------------------------------------------------------------------------------

    def _heading(self) -> str:
        count, horizon, _columns = self.origins.truth.shape
        series, season = len(np.unique(self.origins.series)), self.origins.season
        return f"{self.split}: {count:,} origins of {horizon} steps, {series:,} series; {season}"

    def _tables(self) -> list[Table]:
        scored = [
            [name, f"{self.scores[name]:.4g}", "{:.4g} to {:.4g}".format(*self.intervals[name])]
            for name in self.headlines
        ]
        scored[-1][0] += f" (nominal {self.nominal:.0%})"
        tables: list[Table] = [(SCORED, scored)]
        if self.baselines:
            lines = []
            for name, line in self.compare(self.baselines).to_dict(orient="index").items():
                ends = ("", "_low", "_high")
                value = "{:.4g}  ({:.4g} to {:.4g})".format(*(line[self.main + end] for end in ends))
                ratio = ""
                if name != "model":
                    ratio = "{:.3f}  ({:.3f} to {:.3f})".format(*(line[f"ratio{end}"] for end in ends))
                lines.append([str(name), value, ratio])
            tables.append((["", "mase (95 % interval)", "error of the model ÷ its error"], lines))
        steps = self.per_step
        shown = np.unique(np.linspace(0, len(steps) - 1, 8).round().astype(int))
        each = [[str(steps.index[n]), *(plain(float(v), 4) for v in steps.iloc[n])] for n in shown]
        return [*tables, (["step", *map(str, steps.columns)], each)]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._heading()}, {self.main} {self.scores[self.main]:.4g})"


def block_weights(times: int, block: int, seed: int, resamples: int = RESAMPLES) -> np.ndarray:
    """How often each of ``times`` origins is drawn in each resample, i64[resamples, times]: circular blocks."""
    random, blocks = np.random.default_rng(seed), -(-times // block)
    start = random.integers(times, size=(resamples, blocks))
    place = (start[:, :, None] + np.arange(block)) % times
    place = place.reshape(resamples, -1)[:, :times]
    weights = np.zeros((resamples, times), np.int64)
    np.add.at(weights, (np.arange(resamples)[:, None], place), 1)
    return weights


def forecast_report(
    run: RunHandle, rows: Rows, split: str = "test", baselines: bool = True
) -> ForecastReport:
    """The report of a run on a split of its rows, with the seasonal naive forecast and the last value beside it.

    Args:
        run: of the task "forecast".
        rows: what it was given.
        split: which rows.
        baselines: whether to include the baselines.
    """
    pipeline: ForecastPipeline = pipeline_of(run, ForecastPipeline)
    return report_of(pipeline, rows, split, baselines)


def report_of(pipeline: ForecastPipeline, rows: Rows, split: str, baselines: bool = True) -> ForecastReport:
    """The same of a pipeline."""
    windows, grid = pipeline.windows(rows, split)
    train = SeriesGrid.of([rows["train"]])
    assert rows.schema.step is not None, "series have a step"
    horizon, index = pipeline.horizon, np.arange(len(windows))
    season = season_of(train, rows.schema.step, horizon, pipeline.head.config.season)
    own = dict(zip(train.names, scales(train, season.steps), strict=True))
    unknown = np.full(grid.values.shape[1], np.nan)
    by_series = np.stack([own.get(name, unknown) for name in grid.names])
    steps = windows.origin[index][:, None] + np.arange(horizon)
    series = grid.series_of(windows.origin)
    origins = Origins(
        series, grid.places(windows.origin), windows.row, grid.values[steps], grid.seen[steps], by_series[series],
        grid.names, pipeline.names, rows.schema.step, season,
    )  # fmt: skip
    report = ForecastReport(origins, pipeline.quantiles(windows), pipeline.levels, split=split)
    report.warnings = tuple(_warnings(report, windows.short))
    if not baselines:
        return report
    others = {}
    for name, length in {SEASONAL: season.steps, LAST: 1}.items():
        if name == SEASONAL or season.steps > 1:
            points = naive(grid, windows.origin, length, horizon)
            bands = naive_quantiles(train, points, length, pipeline.levels)
            others[name] = ForecastReport(origins, bands, pipeline.levels, split=split)
    return report.with_baselines(others)


def _warnings(report: ForecastReport, short: tuple[str, ...]) -> list[str]:
    found, origins = [], report.origins
    if (blocks := len(report._by_time["n"]) / report.block) < FEW_BLOCKS:
        found.append(
            _("The intervals rest on only {blocks:.1f} horizons that do not overlap; evaluate on a longer split.",
              blocks=blocks)
        )  # fmt: skip
    truth = origins.truth[origins.seen]
    if len(truth) and (truth.min() < 0 < truth.max() or not np.abs(truth).min()):
        found.append(_("Some values are 0 or change their sign: sMAPE says little of them."))
    if short:
        found.append(
            _("{count:,} series are too short for a window and are not evaluated: {names}.", count=len(short),
              names=", ".join(short[:5]))
        )  # fmt: skip
    return found
