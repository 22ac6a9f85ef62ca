"""Scenarios: the rule of the least cost on validation rows equals a search over all; costs have intervals."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax

import labkit as lk
from labkit.core.config import dumps, loads
from labkit.core.errors import ConfigError, DataError
from labkit.evaluate.decision import choose_rule, decision_of
from labkit.evaluate.multilabel import MultilabelReport
from labkit.evaluate.regression import RegressionReport
from labkit.evaluate.report import ClassificationReport

CLASSES = ("ham", "spam", "news")


def classified(seed: int, split: str, n: int = 80, c: int = 3) -> ClassificationReport:
    random = np.random.default_rng(seed)
    truth = random.integers(0, c, n)
    truth[0] = -1  # unlabelled rows cost nothing
    logits = random.normal(size=(n, c)) + 1.5 * np.eye(c)[truth]
    return ClassificationReport(CLASSES[:c], truth, softmax(logits, -1), split=split)


def labelled(seed: int, split: str, n: int = 60) -> MultilabelReport:
    random = np.random.default_rng(seed)
    truth = (random.random((n, 3)) < 0.3).astype(float)
    answers = 1 / (1 + np.exp(-(2 * truth - 1 + random.normal(size=(n, 3)))))
    return MultilabelReport(CLASSES, truth, answers, np.arange(n) > 0, split=split)


def numbered(seed: int, split: str, n: int = 60) -> RegressionReport:
    random = np.random.default_rng(seed)
    truth = random.normal(size=(n, 2))
    return RegressionReport(
        ("a", "b"), truth, truth + random.gamma(2, size=(n, 2)), np.arange(n) > 1, split=split
    )


@pytest.mark.parametrize("seed", range(4))
def test_the_threshold_has_the_least_cost_of_all_thresholds_on_validation(seed):
    scenario = lk.Scenario(positive="spam", false_positive=10, false_negative=3)
    validation, test = classified(seed, "validation"), classified(seed + 10, "test")
    found = decision_of(scenario, validation, test)

    def cost(report, threshold):
        total = 0.0
        for truth, chance in zip(report.truth, report.probability[:, 1], strict=True):
            if truth >= 0:
                act = chance >= threshold
                total += 10 * (act and truth != 1) + 3 * (not act and truth == 1)
        return total / int((report.truth >= 0).sum())

    every = [*validation.probability[:, 1], 2.0, 0.0]
    assert cost(validation, found.rule.threshold) == pytest.approx(
        min(cost(validation, each) for each in every)
    )
    assert found.cost == pytest.approx(1000 * cost(test, found.rule.threshold))
    table = found.table
    assert table.loc["never act", "cost"] == pytest.approx(1000 * cost(test, 2.0))
    assert table.loc["always act", "cost"] == pytest.approx(1000 * cost(test, 0.0))
    assert (table["low"] <= table["cost"]).all() and (table["cost"] <= table["high"]).all()


def test_a_decision_among_classes_takes_the_least_expected_cost():
    scenario = lk.Scenario(mistakes={"spam": {"ham": 5.0}, "news": {"spam": 0.5}}, mistake=2.0)
    validation, test = classified(1, "validation"), classified(2, "test")
    rule = choose_rule(scenario, validation)
    matrix = {("spam", "ham"): 5.0, ("news", "spam"): 0.5}
    heat = np.log(test.probability.astype(float)) / rule.temperature
    expected = []
    for row in softmax(heat, -1):
        costs = [
            sum(row[t] * matrix.get((CLASSES[t], CLASSES[a]), 2.0) for t in range(3) if t != a)
            for a in range(3)
        ]
        expected.append(int(np.argmin(costs)))
    assert rule.decide(test.probability).tolist() == expected
    paid = [matrix.get((CLASSES[t], CLASSES[a]), 2.0) * (t != a)
            for t, a in zip(test.truth, expected, strict=True) if t >= 0]  # fmt: skip
    assert decision_of(scenario, validation, test).cost == pytest.approx(1000 * np.mean(paid))


def test_labels_and_numbers_have_the_rule_of_the_least_cost_too():
    scenario = lk.Scenario(false_positive=1, false_negative=4)
    validation = labelled(0, "validation")
    rule = choose_rule(scenario, validation)
    kept = slice(1, None)

    def cost(threshold):
        given, truth = validation.answers[kept] >= threshold, validation.truth[kept] > 0.5
        return (given & ~truth).sum() + 4 * (~given & truth).sum()

    assert cost(rule.threshold) == min(map(cost, [*validation.answers[kept].ravel(), 0.0, 2.0]))
    assert rule.costs(validation).sum() == pytest.approx(cost(rule.threshold))

    scenario = lk.Scenario(too_high=1, too_low=3, volume=10, unit="EUR")
    validation, test = numbered(0, "validation"), numbered(1, "test")
    found = decision_of(scenario, validation, test)
    for place in range(2):
        error = (validation.truth - validation.answers)[2:, place]
        paid = [(np.maximum(o - error, 0) + 3 * np.maximum(error - o, 0)).sum() for o in error]
        mine = found.rule.offsets[place]
        assert (np.maximum(mine - error, 0) + 3 * np.maximum(error - mine, 0)).sum() == pytest.approx(
            min(paid)
        )
    off = (test.answers + found.rule.offsets - test.truth)[2:]
    assert found.cost == pytest.approx(10 * (np.maximum(off, 0) + 3 * np.maximum(-off, 0)).sum(-1).mean())
    assert "a day" in str(found) and "EUR" in str(found)


def test_no_mistake_is_no_proof_of_no_cost():
    truth = np.arange(40) % 2
    probability = np.eye(2)[truth]
    sure = {split: ClassificationReport(CLASSES[:2], truth, probability, split=split)
            for split in ("validation", "test")}  # fmt: skip
    scenario = lk.Scenario(positive="spam", false_positive=2, false_negative=7, volume=100, target=10)
    found = decision_of(scenario, sure["validation"], sure["test"])
    low, high = found.interval
    share = 1.959964**2 / (40 + 1.959964**2)  # Wilson's interval of 0 of 40
    assert found.cost == 0 and low == 0 and high == pytest.approx(100 * 7 * share, rel=1e-4)
    assert not found.enough and "not certain" in str(found)
    assert decision_of(scenario.replace(target=70.0), sure["validation"], sure["test"]).enough
    slow = decision_of(scenario.replace(target=70.0, latency=5.0), sure["validation"], sure["test"], 8.0)
    assert not slow.enough and "Too slow" in str(slow)


def test_the_rule_is_never_chosen_on_test_rows():
    with pytest.raises(DataError, match="validation"):
        choose_rule(lk.Scenario(positive="spam"), classified(0, "test"))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"positive": "spm"}, "spam"),
        ({"false_positive": 2.0}, "needs positive"),
        ({"too_high": 2.0}, "does not apply"),
        ({"mistakes": {"spam": {"hm": 1.0}}}, "ham"),
        ({"positive": "spam", "false_positive": 0.0, "false_negative": 0.0}, "costs 0"),
        ({"mistake": 0.0}, "costs 0"),
    ],
)
def test_a_scenario_that_does_not_fit_is_refused(settings, said):
    with pytest.raises(ConfigError, match=said):
        choose_rule(lk.Scenario(**settings), classified(0, "validation"))


@pytest.mark.parametrize("settings", [
    {"false_positive": -1.0}, {"false_negative": float("nan")}, {"mistakes": {"a": {"b": -2.0}}}, {"budget": 0.0},
    {"positive": "a", "mistakes": {"a": {"b": 2.0}}}, {"mistakes": {"a": {"a": 2.0}}}, {"volume": 0},
])  # fmt: skip
def test_values_out_of_range_are_refused(settings):
    with pytest.raises(ConfigError):
        lk.Scenario(**settings)


def test_a_scenario_goes_to_toml_and_back():
    scenario = lk.Scenario(
        decision="Which mails?", mistakes={"spam": {"ham": 2.0}}, volume=3000, must_not="No."
    )
    assert loads(lk.Scenario, dumps(scenario)) == scenario
