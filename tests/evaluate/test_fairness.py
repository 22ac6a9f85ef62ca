"""Fairness by group: every figure equals fairlearn's; intervals, intersections, small groups, thresholds by group."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import accuracy_score, f1_score, precision_score

import labkit as lk
from labkit.core.errors import ConfigError, DataError
from labkit.evaluate.fairness import FairnessReport, thresholds_by_group, wilson
from labkit.evaluate.report import ClassificationReport


def made(seed: int, n: int = 600, groups: int = 3) -> tuple[ClassificationReport, np.ndarray]:
    """A report of a noisy classifier that favours the first group, and the groups."""
    random = np.random.default_rng(seed)
    group = random.choice([f"g{n}" for n in range(groups)], n, p=random.dirichlet(np.full(groups, 5.0)))
    truth = (random.random(n) < 0.4).astype(int)
    logit = 2.5 * (truth - 0.5) + random.normal(size=n) + 0.8 * (group == "g0")
    chance = 1 / (1 + np.exp(-logit))
    return ClassificationReport(["no", "yes"], truth, np.stack([1 - chance, chance], 1), seed=seed), group


@pytest.mark.parametrize("seed", range(6))
def test_rates_and_gaps_equal_those_of_fairlearn(seed):
    metrics = pytest.importorskip("fairlearn.metrics")
    report, group = made(seed, groups=2 + seed % 3)
    found = report.by_group({"group": group})
    truth, predicted = report.truth, report.predicted
    frame = metrics.MetricFrame(
        metrics={
            "selection_rate": metrics.selection_rate,
            "true_positive_rate": metrics.true_positive_rate,
            "false_positive_rate": metrics.false_positive_rate,
            "positive_predictive_value": precision_score,
            "accuracy": accuracy_score,
        },
        y_true=truth,
        y_pred=predicted,
        sensitive_features=group,
    )
    assert found.positive == "yes" and found.groups == sorted(set(group))
    for rate in frame.by_group.columns:
        np.testing.assert_allclose(found.table[rate], frame.by_group[rate], atol=1e-9, rtol=0)
    given = {"y_true": truth, "y_pred": predicted, "sensitive_features": group}
    expected = {
        "demographic_parity_difference": metrics.demographic_parity_difference(**given),
        "demographic_parity_ratio": metrics.demographic_parity_ratio(**given),
        "equalized_odds_difference": metrics.equalized_odds_difference(**given),
        "equal_opportunity_difference": metrics.true_positive_rate_difference(**given),
        "false_positive_rate_difference": metrics.false_positive_rate_difference(**given),
        "predictive_parity_difference": frame.difference()["positive_predictive_value"],
        "accuracy_difference": metrics.accuracy_score_difference(**given),
    }
    assert set(found.gaps) == set(expected)
    for name, value in expected.items():
        assert found.gaps[name][0] == pytest.approx(value, abs=1e-9), name
    assert found.worst == frame.by_group["accuracy"].idxmin()
    for name, line in found.table.iterrows():
        here = group == name
        assert line["f1"] == pytest.approx(f1_score(truth[here], predicted[here], average="macro"), abs=1e-9)
        assert line["base_rate"] == pytest.approx(truth[here].mean())


def test_intersections_equal_those_of_fairlearn():
    metrics = pytest.importorskip("fairlearn.metrics")
    report, group = made(1, 900)
    age = np.random.default_rng(3).choice(["old", "young"], 900)
    found = report.by_group({"group": group, "age": age})
    frame = metrics.MetricFrame(
        metrics=metrics.selection_rate, y_true=report.truth, y_pred=report.predicted,
        sensitive_features={"group": group, "age": age},
    )  # fmt: skip
    assert {", ".join(key): value for key, value in frame.by_group.items()} == pytest.approx(
        found.table["selection_rate"].to_dict(), abs=1e-9
    )
    assert found.table.index.name == "group, age"


@pytest.mark.parametrize(("count", "total"), [(0, 5), (5, 5), (3, 40), (200, 1000), (1, 1)])
def test_intervals_of_rates_are_wilson_s(count, total):
    expected = binomtest(count, total).proportion_ci(method="wilson")
    np.testing.assert_allclose(wilson(count, total), (expected.low, expected.high), atol=1e-12)
    assert all(map(math.isnan, wilson(0, 0)))


def test_the_interval_of_a_gap_covers_it():
    """The gap of selection rates between two fixed populations, over 60 samples: covered in at least 85 %."""
    covered = 0
    for seed in range(60):
        random = np.random.default_rng(seed)
        group = np.repeat(["a", "b"], 250)
        chosen = random.random(500) < np.where(group == "a", 0.5, 0.3)
        chance = np.where(chosen, 0.9, 0.1)
        truth = random.integers(0, 2, 500)
        report = ClassificationReport(["no", "yes"], truth, np.stack([1 - chance, chance], 1), seed=seed)
        _value, low, high = report.by_group({"g": group}).gaps["demographic_parity_difference"]
        covered += low <= 0.2 <= high
    assert covered >= 51


def test_small_groups_and_missing_rates_are_named_and_can_be_left_out():
    truth = np.array([0, 1] * 50 + [0, 0, 0])
    chance = np.where(truth == 1, 0.8, 0.2).astype(float)
    chance[-1] = 0.9
    group = ["big"] * 100 + ["small", None, float("nan")]
    report = ClassificationReport(["no", "yes"], truth, np.stack([1 - chance, chance], 1))
    found = report.by_group({"g": group})
    assert found.groups == ["big", "missing", "small"] and found.worst == "big"
    assert math.isnan(found.table.loc["small", "true_positive_rate"])
    text = str(found)
    assert "Fewer than 30 rows, too few to judge: missing (2), small (1)." in text
    assert "No positive row, so that a rate is missing: missing, small." in text
    assert found.gaps["false_positive_rate_difference"][0] == pytest.approx(0.5)
    assert found.gaps["equal_opportunity_difference"][0] == 0
    kept = report.by_group({"g": group}, min_rows=30)
    assert kept.gaps["false_positive_rate_difference"] == (0, 0, 0) and len(kept.table) == 3
    assert found.to_dict()["groups"]["small"]["true_positive_rate"] is None


def test_several_classes_are_judged_one_against_the_others():
    random = np.random.default_rng(0)
    truth, group = random.integers(0, 3, 300), random.choice(["a", "b"], 300)
    chance = random.dirichlet(np.ones(3), 300)
    report = ClassificationReport(["x", "y", "z"], truth, chance)
    found = report.by_group({"g": group}, positive="y")
    for name in ("a", "b"):
        here = group == name
        assert found.table.loc[name, "selection_rate"] == pytest.approx((chance.argmax(1)[here] == 1).mean())
    with pytest.raises(DataError, match="there is no class 'w'"):
        report.by_group({"g": group}, positive="w")
    cut = report.by_group({"g": group}, positive="y", thresholds={"a": 0.9, "b": 0.1})
    assert cut.table.loc["a", "selection_rate"] < cut.table.loc["b", "selection_rate"]
    with pytest.raises(DataError, match="there is no threshold for the groups b"):
        report.by_group({"g": group}, thresholds={"a": 0.5})


@pytest.mark.parametrize("goal", ["demographic_parity", "equal_opportunity"])
def test_thresholds_by_group_close_the_gap_and_state_their_price(goal):
    chosen, first = made(10, 3000, 2)
    judged, second = made(11, 3000, 2)
    found = thresholds_by_group(chosen, judged, ({"g": first}, {"g": second}), goal)
    gap = f"{goal}_difference"
    assert found.before.gaps[gap][0] > 0.08 > 0.06 > found.after.gaps[gap][0]
    predicted = judged.probability[:, 1] >= np.array([found.thresholds[name] for name in second])
    price = (judged.predicted == judged.truth).mean() - (predicted == judged.truth).mean()
    assert found.price == pytest.approx(price) and found.interval[0] <= price <= found.interval[1]
    rate = found.table()
    assert "accuracy lost" in str(found) and set(rate.index) == {"g0", "g1"}
    dear = thresholds_by_group(chosen, judged, ({"g": first}, {"g": second}), goal, false_negative_cost=8)
    assert dear.after.table["selection_rate"].mean() > found.after.table["selection_rate"].mean()
    with pytest.raises(ConfigError, match="Did you mean"):
        thresholds_by_group(chosen, judged, ({"g": first}, {"g": second}), goal[:-1])
    with pytest.raises(DataError, match="no row of the groups other"):
        thresholds_by_group(chosen, judged, ({"g": first}, {"g": ["other"] * 3000}), goal)


@pytest.mark.parametrize(
    ("groups", "said"),
    [
        ({}, "name at least one column"),
        ({"g": ["a"]}, "1 groups for 600 rows"),
        ({"g": range(600)}, "at most 200"),
    ],
)
def test_groups_that_do_not_fit_are_refused(groups, said):
    with pytest.raises(DataError, match=said):
        FairnessReport(made(0)[0], groups)


def test_a_run_knows_columns_that_its_model_does_not_read(tmp_path):
    random = np.random.default_rng(5)
    n = 400
    sex, income = random.choice(["female", "male"], n), random.normal(size=n)
    granted = np.where(income + 0.5 * (sex == "male") + 0.5 * random.normal(size=n) > 0, "yes", "no")
    age = random.integers(18, 80, n)
    lines = [f"{a:.4f},{b},{c},{d}" for a, b, c, d in zip(income, sex, age, granted, strict=True)]
    (tmp_path / "t.csv").write_text("\n".join(["income,sex,age,granted", *lines]), encoding="utf-8")
    rows = lk.load(tmp_path / "t.csv", features=["income"], label="granted", groups=["sex", "age"])
    rows = rows.split(validation=0.2, test=0.4)
    run = lk.fit(rows, lk.models["mlp"](preset="linear"), epochs=20, learning_rate=0.1, folder=tmp_path / "lab",
                 background=False)  # fmt: skip
    found = run.fairness(["sex", "age"])
    assert found.columns == ("sex", "age") and len(found.groups) == 8  # four ranges of the age
    by_sex = run.fairness("sex")
    test = rows["test"]
    predicted = np.array([each.label for each in run.predict([[value] for value in test["income"]])])
    for name in ("female", "male"):
        here = np.array(test["sex"]) == name
        assert by_sex.table.loc[name, "selection_rate"] == pytest.approx((predicted[here] == "yes").mean())
    report = run.evaluate(baselines=False)
    assert report.by_group("sex").gaps == by_sex.gaps
    assert run.group_thresholds("sex").after.split == "test"
    with pytest.raises(DataError, match="Did you mean 'sex'"):
        run.fairness("sexx")
    with pytest.raises(DataError, match="does not know the columns"):
        made(0)[0].by_group("sex")
