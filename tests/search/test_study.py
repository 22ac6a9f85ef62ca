"""Studies: survivors equal runs that were never paused, a kill changes nothing, and the table is what it says."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest

import labkit as lk
from labkit.choosing import create
from labkit.core.errors import ConfigError, DataError, RunError
from labkit.runs.store import Store
from labkit.search.costs import money
from labkit.viz.study import as_html

SHARED = {"max_length": 32, "batch_size": 16, "buckets": 1, "vocabulary": 300, "epochs": 4}
PRICES = {"hour": 3.6, "hosted": 1.0, "currency": "CNY"}


def candidates():
    """Three text CNNs, which differ in their learning rate."""
    cnn, rates = lk.models["textcnn"], {"quick": 1e-2, "steady": 3e-3, "slow": 1e-6}
    return {name: (cnn(preset="tiny"), {"learning_rate": rate}) for name, rate in rates.items()}


def wait_for(condition, seconds=240):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def started(reviews, folder, **changes):
    settings = {"eta": 3, "finish": 1, "name": "sizes", "prices": PRICES, **SHARED, **changes}
    return create(reviews, candidates(), folder=folder, **settings)


@pytest.fixture(scope="module")
def study(reviews, tmp_path_factory):
    made = started(reviews, tmp_path_factory.mktemp("study"))
    made.work()
    return made


def runs_of(study):
    """Name → exact losses, F1 and the bytes of the model, of every candidate that was trained."""
    found = {}
    for each in study.record.candidates:
        if each.kind != "run":
            continue
        run = study.run(each.name)
        records = [
            (r.step, r.split, r.name, r.value.hex())
            for r in run.store.records(run.id)
            if r.split != "machine"
        ]
        model = (run.info.folder / "model" / "model.safetensors").read_bytes()
        found[each.name] = (each.status, each.scores, sorted(records), model)
    return found


def survivor(study):
    (name,) = (
        each.name for each in study.record.candidates if each.kind == "run" and each.status == "finished"
    )
    return name


def test_the_poor_are_left_out_early_and_the_best_finishes(study):
    found = {each.name: each for each in study.record.candidates if each.kind == "run"}
    assert study.status == "finished" and study.record.shares == [1 / 3]
    best = {}
    for name, each in found.items():
        info, records = study.run(name).info, study.store.records(each.run, split="validation")
        best[name] = max(r.value for r in records if r.name == "f1" and r.step <= each.rungs[0])
        assert each.scores["0"] == best[name] and each.rungs[0] == info.steps // 4  # 4 epochs
        finished = info.status == "finished" and info.step == info.steps and set(each.scores) == {"0", "1"}
        left = info.status == "stopped" and info.step == each.rungs[0] and each.status == "pruned"
        assert finished if name == survivor(study) else left
    assert best[survivor(study)] == max(best.values())
    baselines = {"majority class", "TF-IDF + logistic regression", "nearest neighbours"}
    assert baselines <= {each.name for each in study.record.candidates if each.status == "finished"}


def test_a_survivor_is_bit_for_bit_the_run_that_was_never_paused(study, reviews, tmp_path):
    paused = study.run(survivor(study))
    whole = lk.api.Run.create(Store(tmp_path), paused.experiment, reviews)
    whole.start().wait(300)
    for split in ("train", "validation"):
        ours, theirs = (
            [(r.step, r.name, r.value.hex()) for r in run.store.records(run.id, split=split)]
            for run in (paused, whole)
        )
        assert sorted(ours) == sorted(theirs)
    ours, theirs = ((run.info.folder / "model" / "model.safetensors").read_bytes() for run in (paused, whole))
    assert ours == theirs


KILLED = """
import sys, labkit as lk
lk.open_study(sys.argv[1], sys.argv[2]).work()
"""


def test_killed_stopped_out_of_budget_and_continued_it_ends_alike(study, reviews, tmp_path):
    made, want = started(reviews, tmp_path), runs_of(study)
    worker = subprocess.Popen([sys.executable, "-c", KILLED, made.id, str(tmp_path)], stderr=subprocess.PIPE)
    wait_for(lambda: any(made.store.records(each.run) for each in made.record.candidates if each.run))
    worker.send_signal(signal.SIGKILL)
    worker.communicate()
    assert worker.returncode == -signal.SIGKILL
    assert made.status == "lost" and not made.active
    made.resume()
    wait_for(lambda: made.record.candidates[1].status == "training")
    with pytest.raises(RunError, match="already running"):
        made.work()
    made.stop()
    assert made.wait(120).status == "stopped"
    made.work(budget=1e-3)
    assert made.status == "stopped" and "Stopped: the budget of 0.001 minutes is used up" in repr(made)
    made.work()
    assert made.status == "finished" and runs_of(made) == want


def test_the_table_has_scores_intervals_costs_and_money(study, reviews):
    table = study.table()
    order = list(table.index)
    best = table["validation"][:-2].max()
    assert table.loc[order[0], "validation"] == best and table.loc[order[0], "gain"] == 0
    assert [table.loc[name, "status"] for name in order[-2:]] == ["pruned"] * 2 and table["f1"][
        -2:
    ].isna().all()
    for name in [survivor(study)]:
        report, line = study.run(name).evaluate("test", baselines=False), table.loc[name]
        assert line["f1"] == report.scores["f1"] and (line["low"], line["high"]) == report.intervals["f1"]
        assert line["validation"] == pytest.approx(study.run(name).info.summary["validation_f1"])
        assert line["parameters"] == study.run(name).info.summary["parameters"]
        assert line["gain_low"] <= line["gain"] <= line["gain_high"]
        assert 0 < line["ms_p50"] <= line["ms_p95"] and 0 < line["wh_low"] <= line["wh_high"]
        assert line["training_price"] == pytest.approx(line["seconds"] * 3.6 / 3600)
        assert line["price_1000"] == pytest.approx(line["ms_p50"] * 3.6 / 3600)
        assert line["break_even"] == pytest.approx(1000 * line["training_price"] / (1.0 - line["price_1000"]))
    linear = table.loc["TF-IDF + logistic regression"]
    peer = study.run(survivor(study)).evaluate("test").baselines["TF-IDF + logistic regression"]
    assert linear["f1"] == peer.scores["f1"] and linear["ms_p50"] > 0 and pd.isna(linear["flops"])


def test_the_choice_is_that_of_the_rule_and_is_tested_on_other_rows(study):
    sizing = study.choice()
    reports = {name: each.validation for name, each in study.results.items()}
    cost = {name: study.table().loc[name, "parameters"] for name in reports}
    assert sizing.choice == lk.right_size(reports, cost).choice
    assert sizing.choice in study.front() and "Take " in study.summary()
    name = survivor(study)
    tested = study.test(name, "majority class")
    assert tested.first.split == "test" and tested.gain() == pytest.approx(
        study.table().loc[name, "f1"] - study.table().loc["majority class", "f1"]
    )
    html = as_html(study)
    assert "<svg" in html and "CNY" in html and name in html
    assert len(study.figure().data) == 2


def test_rows_of_other_origin_join_the_table(study, tmp_path):
    name = survivor(study)
    folder = study.run(name).export(tmp_path / "out")
    study.add("exported", folder, bytes=123.0)
    table = study.table()
    assert table.loc["exported", "f1"] == table.loc[name, "f1"] and table.loc["exported", "bytes"] == 123
    answers = {split: np.eye(2)[np.asarray(study.rows[split]["label"])] for split in ("validation", "test")}
    study.add("oracle", answers=answers, parameters=7)
    assert study.table().index[0] == "oracle" and study.choice().choice == "oracle"
    with pytest.raises(ConfigError, match="already has a candidate 'oracle'"):
        study.add("oracle", answers=answers)
    with pytest.raises(DataError, match="lack the rows of 'test'"):
        study.add("half", answers={"validation": answers["validation"]})
    with pytest.raises(DataError, match="shape"):
        study.add("short", answers={split: each[1:] for split, each in answers.items()})
    with pytest.raises(ConfigError, match="no cost 'price'"):
        study.add("priced", answers=answers, price=3)


def test_a_space_is_drawn_and_asked_and_a_failure_does_not_end_the_study(reviews, tmp_path):
    space = lk.Space("textcnn", {"learning_rate": lk.Range(1e-4, 1e-2, log=True), "preset": ["tiny"]}, samples=2,
                     sampler="optuna", seed=1)  # fmt: skip
    broken = lk.models["bert"](preset="tiny", weights=str(tmp_path / "gone"))
    made = lk.study(
        reviews, {"cnn": space, "broken": broken}, folder=tmp_path, finish=1, eta=2, background=False,
        baselines=False, **{**SHARED, "epochs": 1},
    )  # fmt: skip
    found = {each.name: each for each in made.record.candidates}
    assert list(found) == ["cnn 01", "cnn 02", "broken"]
    assert found["broken"].status == "failed" and "broken failed: " in repr(made)
    known = [(found["cnn 01"].values, found["cnn 01"].scores["0"])]
    assert found["cnn 01"].values == space.ask(0, []) and found["cnn 02"].values == space.ask(1, known)
    assert made.status == "finished" and len(made.results) == 1
    assert [each.id for each in lk.studies(tmp_path)] == [made.id] and len(lk.runs(tmp_path)) == 2
    made.delete()
    assert not lk.studies(tmp_path) and not lk.runs(tmp_path)
    with pytest.raises(RunError, match="no study"):
        lk.open_study(made.id, tmp_path)


@pytest.mark.parametrize(
    ("given", "options", "said"),
    [
        ({"a": "textcnn"}, {"eta": 1}, "eta = 1 must be a whole number of 2 or more"),
        (
            {"a": "textcnn"},
            {"cost": "parameter"},
            "cost = 'parameter' must be one of .* Did you mean 'parameters'",
        ),
        ({"a": "textcnn"}, {"prices": {"hours": 1}}, "prices has 'hours'.* Did you mean 'hour'"),
        (
            {"a": "textcnn"},
            {"prices": {"hour": -1}},
            "the price 'hour' is -1; it must be a number of 0 or more",
        ),
        ({"a": "textcnn"}, {"task": "lm"}, "compares models that predict a class, labels or a number"),
        ({"a": ("textcnn", {"metric": "f1"}), "b": "textcnn"}, {}, "by different metrics: f1, the default"),
        ({"majority class": "textcnn"}, {}, "two candidates are named 'majority class'"),
        ([], {"baselines": False}, "a study needs candidates"),
        ({"a": "textcn"}, {}, "textcnn"),
    ],
)
def test_what_cannot_be_compared_is_refused_by_name(reviews, tmp_path, given, options, said):
    with pytest.raises(lk.LabkitError, match=said):
        create(reviews, given, folder=tmp_path, **options)
    assert not lk.studies(tmp_path)


def test_money_by_hand():
    costs = {"ms_p50": 36.0, "wh_1000_high": 2.0}
    assert money(7200, (1.0, 500.0), costs, {"hour": 5.0, "hosted": 0.1}) == pytest.approx(
        {"training_price": 10.0, "price_1000": 0.05, "break_even": 200_000.0}
    )
    assert money(7200, (1.0, 500.0), costs, {"kwh": 0.6})["training_price"] == pytest.approx(0.3)
    assert money(7200, (1.0, 500.0), costs, {"kwh": 0.6})["price_1000"] == pytest.approx(0.0012)
    assert money(0, (0, 0), costs, {"hour": 5.0, "hosted": 0.01})["break_even"] == float("inf")


def test_a_scenario_orders_by_cost_and_stops_at_its_target(study, reviews, tmp_path):
    names = reviews.schema.classes
    scenario = lk.Scenario(positive=names[1], false_positive=1, false_negative=6, volume=1000, latency=1e6)
    record = study.record
    kept = dict(record.settings)
    record.settings["scenario"] = scenario.to_dict()  # the same answers, by what mistakes cost
    record.save(study.folder)
    try:
        judged = lk.open_study(study.id, study.store.folder)
        table, found = judged.table(), judged.results
        order = [name for name in table.index if name in found]
        costs = {name: each.chosen_by.costs for name, each in found.items()}
        assert order[0] == min(costs, key=lambda name: costs[name].mean())
        for name in order:
            report = found[name].test
            act = report.probability[:, 1] >= found[name].decision.rule.threshold
            paid = 1000 * (1.0 * (act & (report.truth != 1)) + 6.0 * (~act & (report.truth == 1))).mean()
            assert table.loc[name, "decision_cost"] == pytest.approx(paid)
            assert table.loc[name, "saving"] == pytest.approx(table.loc[order[0], "decision_cost"] - paid)
        chosen, size = judged.choice().choice, table["parameters"]
        gap = {name: costs[name] - costs[order[0]] for name in order}
        enough = [
            name for name in order if gap[name].mean() <= gap[name].std() / len(gap[name]) ** 0.5 + 1e-12
        ]
        assert chosen == min(enough, key=lambda name: size[name])
        shown = as_html(judged)
        assert "expected cost a day" in shown and "leads: expected cost a day" in judged.summary()
        record.settings["scenario"] = scenario.replace(latency=1e-6).to_dict()
        record.save(study.folder)
        assert "so not chosen" in lk.open_study(study.id, study.store.folder).summary()
    finally:
        record.settings = kept
        record.save(study.folder)
    easy = scenario.replace(target=1e9, budget=5.0)
    made = lk.study(reviews, candidates(), scenario=easy, folder=tmp_path, background=False, **SHARED)
    assert {each.status for each in made.record.candidates if each.kind == "run"} == {"pruned"}
    assert not lk.runs(tmp_path) and "meets the target of the scenario" in made.summary()
    with pytest.raises(ConfigError, match="no class 'x'"):
        lk.study(
            reviews,
            candidates(),
            scenario=lk.Scenario(positive="x"),
            folder=tmp_path,
            background=False,
            **SHARED,
        )
