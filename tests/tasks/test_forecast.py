"""Forecasting: the architectures and the loss by NumPy, quantiles in order, one short run that many tests read."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from flax import nnx
from typer.testing import CliRunner

import labkit as lk
from labkit.api import train
from labkit.cli.main import app
from labkit.core.errors import ConfigError, DataError
from labkit.models.forecast.dlinear import DLinearConfig
from labkit.models.forecast.patchtst import PatchTstConfig
from labkit.tasks.forecast import Forecast, level_of

LEVELS = (0.1, 0.5, 0.9)


def table(count: int = 160) -> pd.DataFrame:
    """Two series of two values with a season of 6 hours; some hours are missing."""
    random, parts = np.random.default_rng(0), []
    for shop in ("north", "south"):
        time = np.arange(count)
        wave = np.sin(2 * np.pi * time / 6)
        frame = pd.DataFrame({
            "when": pd.date_range("2026-01-01", periods=count, freq="h"), "shop": shop,
            "sold": 50 + 20 * wave + random.normal(size=count),
            "visits": 500 - 90 * wave + 5 * random.normal(size=count),
        })  # fmt: skip
        parts.append(frame.drop(index=[20, 21, 100]))
    return pd.concat(parts, ignore_index=True)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "sales.csv"
    table().to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def rows(file):
    return lk.load(file, time="when", number=("sold", "visits"), series="shop").split(validation=20, test=30)


SETTINGS = {"context": 12, "horizon": 4, "epochs": 3, "batch_size": 16, "learning_rate": 5e-3}


@pytest.fixture(scope="module")
def run(rows, tmp_path_factory):
    made = lk.fit(rows, "dlinear", folder=tmp_path_factory.mktemp("lab"), background=False, **SETTINGS)
    assert made.status == "finished"
    return made


def test_dlinear_by_loops():
    config = DLinearConfig(kernel=5, input_shape=(9, 1))
    x = np.random.default_rng(0).normal(size=(3, 9)).astype(np.float32)
    found = np.asarray(config.build(nnx.Rngs(0))(jnp.asarray(x)).pooled)
    for row, mine in zip(x, found, strict=True):
        padded = [row[0]] * 2 + row.tolist() + [row[-1]] * 2
        trend = np.array([np.mean(padded[place : place + 5]) for place in range(9)])
        assert mine == pytest.approx(np.concatenate([row - trend, trend]), abs=1e-5)


def test_patchtst_reads_patches_of_the_window_with_its_end_repeated():
    config = PatchTstConfig(width=8, heads=2, mlp_width=16, depth=1, patch=4, stride=2, input_shape=(10, 1))
    model = config.build(nnx.Rngs(0))
    x = np.random.default_rng(0).normal(size=(3, 10)).astype(np.float32)
    found = np.asarray(model(jnp.asarray(x)).pooled)
    assert config.patches == 5 and found.shape == (3, 5 * 8) == (3, config.output_width)
    alone = np.asarray(model(jnp.asarray(x[1:2])).pooled)
    assert found[1] == pytest.approx(alone[0], abs=1e-5), "an answer does not depend on the other examples"
    with pytest.raises(ConfigError, match="shorter than a patch of 16"):
        PatchTstConfig(input_shape=(8, 1))
    with pytest.raises(ConfigError, match="steps would be skipped"):
        PatchTstConfig(patch=4, stride=5)


@pytest.mark.parametrize("normalise", ["instance", "last"])
def test_normalisation_is_undone_in_the_forecast(normalise):
    head = Forecast(horizon=3, context=8, normalise=normalise).restore(("a",))
    module = head.init(DLinearConfig(kernel=3, input_shape=(8, 1)), nnx.Rngs(0))
    module.head.kernel[...] = jax.random.normal(jax.random.key(0), module.head.kernel.shape)
    x = np.random.default_rng(0).normal(size=(4, 8, 1)).astype(np.float32)
    plain, moved = (np.asarray(module(jnp.asarray(given), 3)) for given in (x, x + 100))
    assert moved == pytest.approx(plain + 100, abs=2e-3)
    if normalise == "instance":
        assert np.asarray(module(jnp.asarray(5 * x), 3)) == pytest.approx(5 * plain, abs=2e-3)
        middle, spread = level_of(jnp.asarray(x[..., 0]), "instance")
        assert np.asarray(middle)[:, 0] == pytest.approx(x[..., 0].mean(1), abs=1e-5)
        assert np.asarray(spread)[:, 0] == pytest.approx(x[..., 0].std(1), abs=1e-4)
    assert (np.diff(plain, axis=-1) >= 0).all(), "quantiles do not cross"


def test_values_are_forecast_on_their_own():
    head = Forecast(horizon=2, context=6).restore(("a", "b"))
    module = head.init(DLinearConfig(kernel=3, input_shape=(6, 2)), nnx.Rngs(0))
    x = np.random.default_rng(0).normal(size=(2, 6, 2)).astype(np.float32)
    both = np.asarray(module(jnp.asarray(x), 3))
    for place in range(2):
        assert both[:, :, place] == pytest.approx(
            np.asarray(module(jnp.asarray(x[..., place : place + 1]), 3))[:, :, 0], abs=1e-5
        )


def test_the_loss_is_pinball_over_known_values():
    random = np.random.default_rng(1)
    head = Forecast(horizon=3, context=8).restore(("a", "b"))
    module = head.init(DLinearConfig(kernel=3, input_shape=(8, 2)), nnx.Rngs(0))
    seen = random.random((4, 3, 2)) > 0.3
    seen[2] = False
    batch = {
        "inputs": random.normal(size=(4, 8, 2)).astype(np.float32), "seen": seen, "index": np.arange(4, dtype=np.int32),
        "target": random.normal(size=(4, 3, 2)).astype(np.float32), "weight": np.array([1, 1, 1, 0], np.float32),
        "label": np.zeros(4, np.int32),
    }  # fmt: skip
    batch = {name: jnp.asarray(values) for name, values in batch.items()}
    total, weight, sums = head.loss(module, batch, None)
    batch = {name: np.asarray(values) for name, values in batch.items()}
    found, want, errors, inside, count = np.asarray(module(jnp.asarray(batch["inputs"]), 3)), 0.0, [], 0, 0
    for row in range(3):
        losses = []
        for step, column in np.argwhere(seen[row]):
            truth = batch["target"][row, step, column]
            each = [
                max(q * (truth - f), (q - 1) * (truth - f))
                for q, f in zip(LEVELS, found[row, step, column], strict=True)
            ]
            losses.append(np.mean(each))
            errors.append(abs(truth - found[row, step, column, 1]))
            inside += found[row, step, column, 0] <= truth <= found[row, step, column, 2]
            count += 1
        want += np.mean(losses) if losses else 0.0
    assert float(total) == pytest.approx(want, rel=1e-5) and float(weight) == 3
    scores = sums.merge(head.empty()).compute()
    assert scores["mae"] == pytest.approx(np.mean(errors), rel=1e-5)
    assert scores["coverage"] == pytest.approx(inside / count) and scores["loss"] == pytest.approx(
        want / 3, rel=1e-5
    )


def test_settings_that_the_data_decide():
    def sized(count: int, freq: str, **given: int) -> tuple[int | None, int | None]:
        frame = pd.DataFrame(
            {"when": pd.date_range("2020-01-01", periods=count, freq=freq), "value": np.arange(count)}
        )
        found = Forecast(**given).for_rows(lk.load(frame, time="when", number="value"))
        return found.horizon, found.context

    assert sized(5000, "h") == (24, 168)
    assert sized(1000, "B") == (5, 96)
    assert sized(100, "MS") == (12, 25)  # a quarter of the rows
    assert sized(5000, "h", horizon=48) == (48, 192)
    assert sized(5000, "h", horizon=3, context=7) == (3, 7)


@pytest.mark.parametrize("quantiles", [(0.1, 0.9), (0.9, 0.5, 0.1), (0.5, 0.5), (0.0, 0.5), ()])
def test_quantiles_that_make_no_sense_are_refused(quantiles):
    with pytest.raises(ConfigError, match=r"must be ascending numbers between 0 and 1, with 0\.5 among them"):
        Forecast(quantiles=quantiles)


def test_a_forecast_learns_the_season(run):
    report = run.evaluate()
    ratio, _low, high = report.ratio(report.baselines["seasonal naive"])
    assert ratio < high and report.scores["mase"] < report.baselines["last value"].scores["mase"]
    history = run.history[run.history.split == "validation"]
    assert {"loss", "mae", "coverage"} <= set(history.columns) and history["loss"].iloc[-1] < history[
        "loss"
    ].iloc[0]


def test_a_forecast_continues_every_series(run, rows, file, tmp_path):
    found = run.forecast()
    assert (
        list(found.columns) == ["series", "time", "column", "q0.1", "q0.5", "q0.9"]
        and len(found) == 2 * 4 * 2
    )
    assert found["time"].min() == pd.Timestamp("2026-01-07 16:00") and found["time"].max() == pd.Timestamp(
        "2026-01-07 19:00"
    )
    assert (found["q0.1"] <= found["q0.5"]).all() and (found["q0.5"] <= found["q0.9"]).all()
    folder = run.export(tmp_path / "model")
    pipeline = lk.ForecastPipeline(folder)
    again = pipeline(str(file))
    pd.testing.assert_frame_equal(again, found)
    tail = table().groupby("shop").tail(30)
    pd.testing.assert_frame_equal(pipeline.forecast(tail), found, rtol=1e-4)
    assert "lk.ForecastPipeline" in (folder / "README.md").read_text()
    with pytest.raises(DataError, match="series 'north' has 5 steps; the model reads 12"):
        pipeline.forecast(table().groupby("shop").tail(5))
    with pytest.raises(DataError, match="has no column 'visits'"):
        pipeline.forecast(table().drop(columns="visits"))
    with pytest.raises(lk.LabkitError, match=r"run\.forecast\(table\)"):
        lk.Predictor(folder)


def test_training_resumes_bit_for_bit(run, rows, tmp_path):
    with pytest.raises(lk.LabkitError, match="the power was cut"):
        lk.fit(rows, "dlinear", folder=tmp_path, background=False, callbacks=[Cut()], **SETTINGS)
    (cut,) = lk.runs(tmp_path)
    assert cut.status == "failed" and 0 < cut.info.step < run.info.steps
    cut.resume().wait(120)
    assert cut.status == "finished"
    for name in ("loss", "mae", "coverage"):
        assert cut.info.summary[f"validation_{name}"] == run.info.summary[f"validation_{name}"]
    pd.testing.assert_frame_equal(cut.forecast(), run.forecast(), check_exact=True)


class Cut(lk.Callback):
    """Fails once, in the second epoch."""

    failed = False

    def on_step(self, progress, *more):
        if progress.step >= 20 and not Cut.failed:
            Cut.failed = True
            raise RuntimeError("the power was cut")


def test_copied_code_and_toml_give_the_same_run(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scope: dict = {}
    exec(run.code(), scope)
    scope["run"].wait(120)
    (tmp_path / "experiment.toml").write_text(run.toml())
    for other in (scope["run"], train(tmp_path / "experiment.toml", folder=tmp_path / "other")):
        assert other.info.summary["validation_loss"] == run.info.summary["validation_loss"]


def test_the_command_writes_what_the_run_forecasts(run, file, tmp_path):
    cli, out = CliRunner(), tmp_path / "next.csv"
    folder = run.export(tmp_path / "model")
    done = cli.invoke(app, ["forecast", str(folder), "--file", str(file), "--out", str(out)])
    assert done.exit_code == 0, done.output
    written = pd.read_csv(out, parse_dates=["time"])
    pd.testing.assert_frame_equal(written, run.forecast(), check_dtype=False, rtol=1e-5)
    for wrong, said in (
        (["forecast", str(folder)], "give the past"),
        (["forecast", "x", "--out", "a.pdf"], "written as .csv"),
    ):
        refused = cli.invoke(app, wrong)
        assert refused.exit_code == 2 and said in refused.output


def test_what_cannot_be_forecast_is_refused(rows, tmp_path):
    with pytest.raises(ConfigError, match="differential privacy"):
        lk.fit(rows, "dlinear", folder=tmp_path, privacy=lk.Privacy(epsilon=5.0, delta=1e-3))
    with pytest.raises(ConfigError, match=r"mlp does not support 'forecast'.*: dlinear, patchtst"):
        lk.fit(rows, "mlp", task="forecast", folder=tmp_path)
    with pytest.raises(DataError, match="is texts; DLinearConfig expects time series"):
        lk.fit(
            [{"text": "a b", "label": "x"}, {"text": "c d", "label": "y"}] * 10,
            "dlinear",
            task="forecast",
            folder=tmp_path,
        )
    with pytest.raises(lk.LabkitError, match=r"no window of 100 \+ 30 steps fits"):
        lk.fit(rows, "dlinear", folder=tmp_path, background=False, context=100, horizon=30)
