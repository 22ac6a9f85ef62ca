"""Tables of several sites: columns kept apart, split by site and time, FT-Transformer, the tab Diagnostics."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner

import labkit as lk
from labkit.app.state import State
from labkit.app.steps.data import Data
from labkit.app.steps.evaluate import TABS, Evaluate
from labkit.app.steps.prepare import Prepare
from labkit.cli.main import app
from labkit.core.config import dumps, loads
from labkit.train.experiment import Experiment


@pytest.fixture(scope="module")
def patients(tmp_path_factory):
    """A table of three sites with missing values."""
    folder = tmp_path_factory.mktemp("patients")
    random = np.random.default_rng(5)
    n = 240
    pressure = random.normal(120, 15, n)
    pain = random.choice(["none", "typical", "atypical"], n)
    sick = pressure / 15 + 2 * (pain == "typical") + random.normal(size=n) > 9
    frame = pd.DataFrame(
        {
            "pressure": np.where(random.random(n) < 0.2, np.nan, pressure.round(1)),
            "pain": pain,
            "site": random.choice(["Bonn", "<b>Rome</b>", "Oslo"], n),
            "year": random.integers(2000, 2010, n),
            "label": np.where(sick, "sick", "well"),
        }
    )
    frame.to_csv(folder / "patients.csv", index=False)
    return folder / "patients.csv"


@pytest.fixture(scope="module")
def run(patients, tmp_path_factory):
    """An FT-Transformer that was never shown Oslo."""
    rows = lk.load(patients, features=True, label="label", groups=["site", "year"], indicators=True)
    rows = rows.split(site="site", test_sites=["Oslo"], validation=0.2, accept_leakage=True)
    model = lk.models["ft-transformer"](width=16, heads=2, depth=2)
    return lk.fit(rows, model, epochs=12, batch_size=16, learning_rate=5e-3, background=False, name="oslo",
                  folder=tmp_path_factory.mktemp("lab"))  # fmt: skip


@pytest.mark.soak
def test_an_ft_transformer_learns_saves_and_answers(run, patients, tmp_path):
    frame = pd.read_csv(patients)
    names = {name for how in run.rows.spec.features for name in how.features}
    assert names == {"pressure", "pressure missing", "pain=atypical", "pain=none", "pain=typical"}
    report = run.evaluate("test", baselines=False)
    assert len(report.rows) == (frame.site == "Oslo").sum()
    assert report.diagnostics("sick").scores["auroc"] > 0.75
    run.export(tmp_path / "model")
    again = lk.Predictor(tmp_path / "model")
    few = frame[frame.site == "Oslo"].head(4)
    answers = [list(each.probability.values()) for each in again.predict(few[["pressure", "pain"]])]
    place = [report.rows.tolist().index(row) for row in few.index]
    np.testing.assert_allclose(answers, report.probability[place], atol=1e-5)


def test_an_experiment_file_trains_the_same_model(run, tmp_path):
    experiment = loads(Experiment, dumps(run.experiment))
    assert experiment == run.experiment and experiment.model.width == 16
    (tmp_path / "oslo.toml").write_text(dumps(run.experiment), encoding="utf-8")
    done = CliRunner().invoke(app, ["train", str(tmp_path / "oslo.toml"), "--folder", str(tmp_path / "lab")])
    assert done.exit_code == 0, done.output
    again = lk.runs(tmp_path / "lab")[0]
    first, second = (each.evaluate("test", baselines=False).probability for each in (run, again))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
    ("language", "words"),
    [("en", ("Decision curve", "treat all", "AUROC gain")), ("zh", ("决策曲线", "全部干预", "AUROC 增益"))],
)
def test_the_tab_shows_the_report_with_its_baselines(run, language, words):
    panel = Evaluate(state=State(run=run, language=language))
    panel.settle(120)
    view = panel.diagnostics
    report = run.evaluate("test", baselines=False)
    truth = report.truth == report.classes.index("sick")
    expected = roc_auc_score(truth, report.probability[:, report.classes.index("sick")])
    view.positive.value = "sick"
    panel.settle(120)
    assert view.found.scores["auroc"] == pytest.approx(expected, abs=1e-6)
    assert f"<b>{expected:.3f}</b>" in view.shown.value
    assert len(view.found.baselines) >= 3  # fitted meanwhile
    assert all(word in view.shown.value for word in words), view.shown.value
    view.specificity.value = 0.8
    panel.settle(120)
    assert view.found.specificity == 0.8 and "80 %" in view.shown.value
    panel.tabs.selected_index = TABS.index("tab_diagnostics")
    code = panel.code().replace('"', "'")
    assert "run.diagnostics('test', 'sick', specificity=0.8)" in code
    panel.close()


def test_the_command_prints_what_the_run_says(run):
    arguments = ["diagnostics", "oslo", "--positive", "sick", "--folder", str(run.store.folder)]
    done = CliRunner().invoke(app, [*arguments, "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == json.loads(json.dumps(run.diagnostics(positive="sick").to_dict()))
    text = CliRunner().invoke(app, arguments).stdout
    assert "sensitivity at specificity 0.95" in text and "logistic regression" in text
    wrong = CliRunner().invoke(
        app, ["diagnostics", "oslo", "--positive", "sik", "--folder", str(run.store.folder)]
    )
    assert wrong.exit_code == 2 and "'sick'" in wrong.output


def test_panels_keep_columns_apart_and_split_by_site_and_time(patients):
    state = State(language="en")
    data = Data(state=state)
    data.way.value, data.path.value = "path", str(patients)
    data.load.click()
    data.settle(60)
    data.features.value, data.label.value = True, "label"
    data.settle(60)
    data.groups.value, data.indicators.value = ("site", "year"), True
    data.settle(60)
    assert data.problem is None, data.problem
    assert state.options["groups"] == ["site", "year"] and state.options["indicators"] is True
    assert "pressure missing" in state.rows["train"].column_names
    assert "site=Oslo" not in state.rows["train"].column_names
    assert data.groups.value == ("site", "year") and data.indicators.value
    prepare = Prepare(state=state)
    prepare.settle(60)
    prepare.site.value = "site"
    assert list(prepare.test_sites.options) == ["<b>Rome</b>", "Bonn", "Oslo"]
    prepare.test_sites.value = ("Oslo",)
    prepare.settle(60)
    assert state.steps == ({"do": "split", "site": "site", "test_sites": ["Oslo"]},)
    assert set(state.prepared()["test"]["site"]) == {"Oslo"}
    code = state.code(model=False).replace('"', "'")
    assert "groups=['site', 'year']" in code and "site='site', test_sites=('Oslo',)" in code
    prepare.site.value, prepare.time.value = "", "year"
    prepare.settle(60)
    assert state.steps == ({"do": "split", "time": "year"},)
    split = state.prepared()
    assert max(map(int, split["train"]["year"])) < min(map(int, split["test"]["year"]))
    for panel in (data, prepare):
        panel.close()
