"""Reports of forecasts: scores by utilsforecast and by loops, block bootstrap, baselines."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import utilsforecast.losses as oracle

from labkit.core.errors import DataError
from labkit.data.seasonal import Season
from labkit.data.time_steps import TimeStep
from labkit.evaluate.forecast import ForecastReport, Origins, block_weights

LEVELS = (0.1, 0.5, 0.9)
COUNT, HORIZON = 40, 3


@pytest.fixture(scope="module")
def made() -> tuple[ForecastReport, ForecastReport, np.ndarray]:
    random = np.random.default_rng(0)
    history = random.normal(10, 3, size=(2, 30))
    truth = random.normal(10, 3, size=(COUNT, HORIZON, 1))
    scale = np.abs(history[:, 4:] - history[:, :-4]).mean(1)
    series, place = np.repeat([0, 1], COUNT // 2), np.tile(np.arange(COUNT // 2), 2)
    origins = Origins(
        series, place, np.arange(COUNT), truth, np.ones(truth.shape, bool), scale[series][:, None], ("a", "b"), ("y",),
        TimeStep("number", dates=False), Season(4, False),
    )  # fmt: skip
    reports = [
        ForecastReport(
            origins, np.sort(truth[..., None] + random.normal(0, spread, size=(COUNT, HORIZON, 1, 3))), LEVELS
        )
        for spread in (1.0, 2.0)
    ]
    return reports[0], reports[1], history


def test_scores_are_those_of_utilsforecast(made):
    report, _other, history = made
    frame = report.predictions().rename(columns={"series": "unique_id", "truth": "y"})
    frame["one"] = "all"

    def mean(loss: Any) -> float:
        return float(loss(frame, ["q0.5"], id_col="one", target_col="y")["q0.5"].iloc[0])

    assert report.scores["mae"] == pytest.approx(mean(oracle.mae))
    assert report.scores["rmse"] == pytest.approx(mean(oracle.rmse))
    assert report.scores["smape"] == pytest.approx(2 * mean(oracle.smape))
    pinball = [
        float(
            oracle.quantile_loss(frame, {"m": f"q{level:g}"}, q=level, id_col="one", target_col="y")[
                "m"
            ].iloc[0]
        )
        for level in LEVELS
    ]
    assert report.scores["pinball"] == pytest.approx(np.mean(pinball))
    train = pd.DataFrame({"unique_id": np.repeat(["a", "b"], 30), "y": history.reshape(-1)})
    mase = oracle.mase(frame, ["q0.5"], seasonality=4, train_df=train)[
        "q0.5"
    ].mean()  # both series are as long
    assert report.scores["mase"] == pytest.approx(mase)
    inside = (frame["q0.1"] <= frame["y"]) & (frame["y"] <= frame["q0.9"])
    assert report.scores["coverage"] == pytest.approx(inside.mean())
    by_step = frame.assign(error=(frame["y"] - frame["q0.5"]).abs()).groupby("step")["error"].mean()
    assert report.per_step["mae"].tolist() == pytest.approx(by_step.tolist())
    by_series = frame.assign(error=(frame["y"] - frame["q0.5"]).abs()).groupby("unique_id")["error"].mean()
    assert report.per_series["mae"].tolist() == pytest.approx(by_series.tolist())


def test_unknown_values_count_nowhere(made):
    report, _other, _history = made
    seen = np.ones((COUNT, HORIZON, 1), bool)
    seen[::3, 1] = False
    truth = np.where(seen, report.origins.truth, 1e9)
    origins = Origins(**{**vars(report.origins), "truth": truth, "seen": seen})
    found = ForecastReport(origins, report.answers, LEVELS)
    want = np.abs(report.median - report.origins.truth)[seen].mean()
    assert found.scores["mae"] == pytest.approx(want)
    assert found.per_step["n"].tolist() == [COUNT, COUNT - 14, COUNT]


def test_blocks_are_drawn_whole_and_all_series_together(made):
    weights = block_weights(20, 4, seed=0, resamples=200)
    assert (weights.sum(1) == 20).all()
    random = np.random.default_rng(0)
    start = random.integers(20, size=(200, 5))
    for row in range(200):
        want = np.zeros(20, int)
        for begin in start[row]:
            for step in range(4):
                want[(begin + step) % 20] += 1
        assert weights[row].tolist() == want.tolist()
    report, other, _history = made
    assert report.block == HORIZON
    times = report.origins.place
    drawn = block_weights(20, report.block, report.seed)
    error = np.abs(report.median - report.origins.truth)
    maes = []
    for row in drawn:
        taken = row[times][:, None, None]
        maes.append((error * taken).sum() / (taken * np.ones_like(error)).sum())
    assert report.intervals["mae"] == pytest.approx(np.percentile(maes, [2.5, 97.5]))
    ratio, low, high = report.ratio(other)
    assert low < ratio < high < 1 and ratio == pytest.approx(report.scores["mase"] / other.scores["mase"])
    table = report.with_baselines({"wider": other}).compare({"wider": other})
    assert table.loc["wider", "gain"] == pytest.approx(other.scores["mase"] - report.scores["mase"])
    assert table.loc["wider", "gain_low"] > 0 and report.verdict == ""
    assert other.with_baselines({"narrow": report}).verdict.startswith("Worse than a baseline: MASE")
    assert "season of 4 steps, as given" in str(report) and "error of the model ÷ its error" in str(report)


def test_overlapping_errors_make_wider_intervals_than_independent_rows():
    random = np.random.default_rng(0)
    walk = np.convolve(random.normal(size=415), np.ones(16) / 16, "valid")[:400, None, None]
    origins = Origins(
        np.zeros(400, int), np.arange(400), np.arange(400), np.abs(walk), np.ones((400, 1, 1), bool), np.ones((400, 1)),
        ("",), ("y",), TimeStep("number", dates=False), Season(1, False),
    )  # fmt: skip
    plain = ForecastReport(origins, np.zeros((400, 1, 1, 1)), (0.5,))
    low, high = plain.intervals["mae"]
    independent = 2 * 1.96 * np.abs(walk).std() / 20
    assert high - low > 1.5 * independent and np.isnan(plain.scores["coverage"])


def test_reports_of_other_origins_are_not_compared(made):
    report, other, _history = made
    moved = Origins(**{**vars(other.origins), "place": other.origins.place + 1})
    with pytest.raises(DataError, match="evaluated on other rows"):
        report.compare({"x": ForecastReport(moved, other.answers, LEVELS)})
    with pytest.raises(DataError, match="answers of shape"):
        ForecastReport(report.origins, other.answers[..., :2], LEVELS)
