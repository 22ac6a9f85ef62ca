"""Time series in the panels: data with a chart, the model, evaluation, forecasts with a band, in both languages."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import labkit as lk
from labkit.app.goals import Chosen, guess, of_options
from labkit.app.state import State
from labkit.app.steps.data import Data
from labkit.app.steps.evaluate import Evaluate
from labkit.app.steps.model import Model
from labkit.app.steps.predict import Predict
from labkit.app.steps.prepare import Prepare


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "sales.csv"
    time = np.arange(120)
    times = pd.date_range("2026-01-01", periods=120, freq="h").strftime("%Y-%m-%d %H:%M")
    pd.DataFrame({"time": times, "shop": "x", "sold": np.sin(time) + 0.01 * time}).to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def run(file, tmp_path_factory):
    rows = lk.load(str(file), time="time", number="sold").split(validation=0.2, test=0.2)
    settings = {"context": 8, "horizon": 3, "epochs": 1}
    return lk.fit(rows, "dlinear", folder=tmp_path_factory.mktemp("lab"), background=False, **settings)


def settled(panel):
    panel.settle(120)
    assert panel.problem is None, panel.problem
    return panel


def test_a_table_of_times_is_offered_as_a_forecast(file, tmp_path):
    columns = pd.read_csv(file).to_dict("list")
    chosen = guess(columns)
    assert chosen == Chosen("forecast", label="sold", time="time")
    assert of_options(chosen.options()) == chosen and chosen.options() == {"time": "time", "number": "sold"}
    state = State(folder=tmp_path, language="en")
    data = settled(Data(state=state))
    data.way.value, data.path.value = "path", str(file)
    data.load.click()
    settled(data)
    assert data.goal.value == "forecast" and data.time.value == "time" and data.label.value == "sold"
    assert "Series over time" in data.overview.value and "2026-01-05 23:00 (hour)" in data.overview.value
    assert "2026-01-01 05:00" in data.browser.page.value
    assert "lk.load(" in data.code() and "number=['sold'], time='time')" in data.code()
    data.series.value = "shop"
    settled(data)
    assert state.rows.schema.series == "shop" and "sold (x)" in data.overview.value
    prepare = settled(Prepare(state=state))
    assert prepare.copying.layout.display == "none" and prepare.stratify.layout.display == "none"
    assert "96" in prepare.parted.value and "12" in prepare.parted.value
    model = settled(Model(state=state))
    assert [name for _label, name in model.which.options] == ["dlinear", "patchtst"]
    assert "task='forecast'" in model.code()
    for panel in (data, prepare, model):
        panel.close()


@pytest.mark.parametrize(("language", "words"), [("en", ("Values within the 80% range", "forecast")),
                                                 ("zh", ("80%", "预测"))])  # fmt: skip
def test_a_run_is_evaluated_and_forecasts(run, file, language, words):
    evaluate = settled(Evaluate(run, language=language))
    assert words[0] in evaluate.scores.value and "<svg" in evaluate.scores.value
    assert evaluate.tabs.layout.display == "none" and "MASE" in evaluate.conclusion.value
    assert evaluate.downloads["predictions"].name.endswith("-predictions.csv")
    predict = settled(Predict(run, language=language))
    predict.go.click()
    settled(predict)
    assert "2026-01-06 02:00" in predict.answer.value and "<svg" in predict.answer.value
    assert words[1] in predict.answer.value and "run.forecast()" in predict.code()
    assert predict.asking.link.name == "forecast.csv"
    predict.any.click()
    settled(predict)
    assert predict.answer.value.count("<path") > 3
    predict.asking.path.value = str(file)
    predict.go.click()
    settled(predict)
    assert f"run.forecast({str(file)!r})" in predict.code()
    for panel in (evaluate, predict):
        panel.close()


def test_the_live_chart_compares_with_the_last_value(run):
    name, metric, value, _share = run.info.summary["constant"]
    assert (str(name), metric) == ("the last value, repeated", "mae") and value > 0
