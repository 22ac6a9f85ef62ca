"""Time series: times on a grid, gaps, copies, splits by time, windows and their batches."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from datasets import Dataset

import labkit as lk
from labkit.core.errors import ConfigError, DataError
from labkit.data.batching.series import SeriesBatches, SeriesScale, SeriesWindows
from labkit.data.seasonal import back, naive, scales, season_of
from labkit.data.series import SeriesGrid


def hourly(count: int = 100, series: str = "", start: str = "2026-01-01", **columns: object) -> pd.DataFrame:
    times = pd.date_range(start, periods=count, freq="h").strftime("%Y-%m-%d %H:%M")
    values = np.arange(count, dtype=float) + 1000.0 * len(series)
    return pd.DataFrame({"when": times, "shop": series or "x", "sold": values, **columns})


def load(frame: pd.DataFrame, **more: object):
    return lk.load(frame, time="when", number="sold", **more)


#: Frequency of pandas → the step as labkit writes it.
STEPS = {
    "h": "hour", "15min": "15 minutes", "D": "day", "B": "business day", "W-WED": "week", "MS": "month",
    "ME": "month", "QS": "3 months", "YS": "12 months", "30s": "30 seconds", "2D": "2 days",
}  # fmt: skip


@pytest.mark.parametrize("freq", STEPS)
def test_steps_are_detected_and_a_forecast_continues_them(freq):
    times = pd.date_range("2024-01-01" if freq != "ME" else "2024-01-31", periods=60, freq=freq)
    frame = pd.DataFrame({"when": times[:50], "sold": np.arange(50.0)}).drop(index=[7, 20])
    schema = load(frame).schema
    assert str(schema.step) == STEPS[freq]
    grid = SeriesGrid.of([load(frame)["train"]])
    assert len(grid) == 50 and np.flatnonzero(~grid.seen[:, 0]).tolist() == [7, 20]
    after = schema.step.times(grid.first[0] + np.arange(50, 60))
    assert pd.to_datetime(after, unit="s").tolist() == times[50:].tolist()


def test_other_steps_are_read_as_named():
    numbers = pd.DataFrame({"when": [0, 10, 20, 40], "sold": [1.0, 2, 3, 4]})
    assert str(load(numbers).schema.step) == "10" and len(SeriesGrid.of([load(numbers)["train"]])) == 5
    trades = pd.DataFrame(
        {"when": ["2026-01-01 10:00:03", "2026-01-01 10:00:05", "2026-01-01 11:30:00"], "sold": [1.0, 2, 3]}
    )
    rows = load(trades, step="rows")
    assert str(rows.schema.step) == "rows" and rows["train"]["place"] == [0, 1, 2]
    assert str(load(hourly(), step="30 minutes").schema.step) == "30 minutes"
    with pytest.raises(ConfigError, match=r"'fortnight' is not a time step.*\"15 minutes\""):
        load(hourly(), step="fortnight")


def test_rows_are_put_in_the_order_of_time():
    frame = hourly(10).sample(frac=1, random_state=0)
    part = load(frame)["train"]
    assert np.asarray(part["target"])[:, 0].tolist() == list(range(10))
    assert [int(frame["sold"].iloc[row]) for row in part["row"]] == list(range(10))


@pytest.mark.parametrize("split", [False, True], ids=["one table", "two splits"])
def test_a_time_that_occurs_twice_is_refused_by_its_row(split):
    frame = hourly(20)
    again = frame.iloc[[5]].assign(sold=-1.0)
    given = {"train": frame, "test": again} if split else pd.concat([frame, again])
    given = {name: Dataset.from_pandas(part) for name, part in given.items()} if split else given
    with pytest.raises(DataError, match=r"time occurs twice \(1\): row 20.*the time is that of row 5"):
        load(given)
    if not split:
        rows = load(given, on_bad="skip")
        assert len(rows) == 20 and -1.0 not in np.asarray(rows["train"]["target"])
    both = pd.concat([hourly(5, "a"), hourly(5, "bb")])
    assert len(load(both, series="shop")) == 10  # the same time in two series is no copy


def test_irregular_times_are_refused_with_the_row_and_the_remedy():
    frame = hourly(20)
    frame.loc[13, "when"] = "2026-01-01 13:20"
    with pytest.raises(
        DataError, match=r'irregular: row 13 has 2026-01-01 13:20, after 2026-01-01 12:00.*step="rows"'
    ):
        load(frame)
    sparse = hourly(100).iloc[[0, 1, 2, 50, 99]]
    with pytest.raises(DataError, match="95 of 100 steps are missing"):
        load(sparse)
    with pytest.raises(DataError, match="at least two rows"):
        load(hourly(1))


def test_times_that_cannot_be_read_are_refused():
    frame = hourly(40)
    frame.loc[3, "when"] = "soon"
    with pytest.raises(DataError, match=r"no time \(1\): row 3"):
        load(frame)
    assert len(load(frame, on_bad="skip")) == 39
    with pytest.raises(DataError, match=r"'when' has no times.*'1/2/2026'"):
        load(hourly(3).assign(when=["1/2/2026", "2/2/2026", "3/2/2026"]))


def test_missing_steps_and_values_are_unknown_and_counted():
    frame = hourly(30).drop(index=[10, 11]).reset_index(drop=True)
    frame.loc[4, "sold"] = np.nan
    rows = load(frame)
    said = {note.reason: note.detail for note in rows.report.notes if note.action == "counted"}
    assert said["missing time steps"].startswith("2 of 30 (6.7%), the first before row 10")
    assert "missing value, read as unknown" in said
    grid = SeriesGrid.of([rows["train"]])
    assert np.flatnonzero(~grid.seen[:, 0]).tolist() == [4, 10, 11]
    assert grid.values[4, 0] == 3.0 and grid.values[11, 0] == 9.0  # the value before


def test_time_and_other_kinds_of_rows_exclude_each_other():
    for more in ({"label": "shop"}, {"text": "shop"}, {"features": True}):
        with pytest.raises(ConfigError):
            lk.load(hourly(5), time="when", **more)
    with pytest.raises(ConfigError, match="needs the value columns"):
        lk.load(hourly(5), time="when")
    with pytest.raises(ConfigError, match="name the time column"):
        lk.load(hourly(5), number="sold", series="shop")
    rows = load(hourly(50))
    for step in (rows.sample, rows.dedupe):
        with pytest.raises(DataError, match="would leave gaps"):
            step(5) if step == rows.sample else step()
    with pytest.raises(DataError, match="time series"):
        lk.fit(rows, "mlp", task="regress")


def test_splits_are_by_time_for_all_series(tmp_path):
    frame = pd.concat([hourly(100, "a"), hourly(50, "bb", start="2026-01-03 02:00")])
    rows = load(frame, series="shop").split(validation=10, test=0.2)
    ends = {name: (min(part["time"]), max(part["time"])) for name, part in rows.splits.items()}
    assert ends["train"][1] < ends["validation"][0] and ends["validation"][1] < ends["test"][0]
    assert rows.counts() == {"train": 90, "validation": 20, "test": 40}
    assert lk.leakage(rows).share == 0
    rows.save(tmp_path / "rows")
    again = lk.load(tmp_path / "rows")
    assert again.spec == rows.spec and again.fingerprint == rows.fingerprint
    parts = {"train": hourly(50, start="2026-01-04"), "test": hourly(50)}
    wrong = load({name: Dataset.from_pandas(part) for name, part in parts.items()})
    for use in (wrong.split, lambda: lk.fit(wrong, "dlinear")):
        with pytest.raises(DataError, match="test begins before train ends"):
            use()


@pytest.fixture(scope="module")
def windows() -> SeriesWindows:
    rows = load(pd.concat([hourly(60, "a"), hourly(60, "bb")]), series="shop").split(validation=10, test=10)
    whole = SeriesGrid.of(list(rows.splits.values()))
    scale = SeriesScale.fit(SeriesGrid.of([rows["train"]]), ("sold",))
    return SeriesWindows.over(scale(whole), rows["validation"], context=6, horizon=4)


def test_a_horizon_is_in_its_split_and_its_context_before(windows):
    assert len(windows) == 2 * (10 - 4 + 1)
    scale_mean = np.mean([*np.arange(40.0) + 1000, *np.arange(40.0) + 2000])
    spread = np.std([*np.arange(40.0) + 1000, *np.arange(40.0) + 2000])
    truth, seen = windows.targets(np.arange(len(windows)))
    assert seen.all()
    first = truth[0, :, 0] * spread + scale_mean
    assert first == pytest.approx(1000 + np.arange(40.0, 44)), "standardised by the training rows alone"
    before = windows.inputs(np.array([0]))[0, :, 0] * spread + scale_mean
    assert before == pytest.approx(1000 + np.arange(34.0, 40), abs=1e-3)
    last = truth[-1, :, 0] * spread + scale_mean
    assert last == pytest.approx(2000 + np.arange(46.0, 50))


def test_batches_are_a_function_of_seed_and_step(windows):
    made = SeriesBatches(windows, 4, seed=3, labelled_only=False)
    steps = 2 * made.steps_per_epoch
    batches = [made.at(step) for step in range(steps)]
    again = SeriesBatches(windows, 4, seed=3, labelled_only=False)
    for step in (5, 0, 7):
        for name, values in batches[step].items():
            assert np.array_equal(values, again.at(step)[name]), name
    for epoch in (batches[: steps // 2], batches[steps // 2 :]):
        index = np.concatenate([batch["index"] for batch in epoch])
        assert sorted(index[index >= 0].tolist()) == list(range(len(windows)))
    filled = [batch for batch in batches if (batch["index"] < 0).any()]
    assert filled and all(not batch["seen"][batch["index"] < 0].any() for batch in filled)
    order = [
        SeriesBatches(windows, 4, seed=seed, labelled_only=False).at(0)["index"].tolist() for seed in (3, 4)
    ]
    assert order[0] != order[1]


def test_seasonal_naive_by_loops():
    random = np.random.default_rng(0)
    frame = pd.concat([hourly(40, "a"), hourly(30, "bb")]).assign(sold=random.normal(size=70))
    grid = SeriesGrid.of([load(frame, series="shop")["train"]])
    origin = np.array([20, 40 + 20])
    found = naive(grid, origin, 7, 10)
    for place, start in enumerate(origin):
        past = grid.values[:start, 0].tolist()
        for step in range(10):
            past.append(past[-7])
            assert found[place, step, 0] == past[-1]
    assert back(7, 10).tolist() == [7] * 7 + [14] * 3
    want = [
        np.mean([abs(v[t] - v[t - 7]) for t in range(7, len(v))])
        for v in (grid.values[:40, 0], grid.values[40:, 0])
    ]
    assert scales(grid, 7)[:, 0] == pytest.approx(want)


def test_the_season_is_that_of_the_calendar_which_fits_best():
    time = np.arange(24 * 7 * 6)
    random = np.random.default_rng(0).normal(size=len(time))
    daily, weekly = np.sin(2 * np.pi * time / 24), (time // 24 % 7 > 4) * 3.0
    for values, want in ((daily, 24), (daily + weekly, 168), (np.cumsum(random), 1)):
        rows = load(hourly(len(time)).assign(sold=values + 0.01 * random))
        found = season_of(SeriesGrid.of([rows["train"]]), rows.schema.step, 24, None)
        assert found.steps == want and found.detected
    numbers = pd.DataFrame({"when": np.arange(200), "sold": np.tile(np.arange(11.0), 19)[:200]})
    rows = load(numbers)
    assert season_of(SeriesGrid.of([rows["train"]]), rows.schema.step, 5, None).steps == 11
    assert (
        str(season_of(SeriesGrid.of([rows["train"]]), rows.schema.step, 5, 4))
        == "season of 4 steps, as given"
    )
