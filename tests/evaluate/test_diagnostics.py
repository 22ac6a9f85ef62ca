"""AUROC, average precision, Brier score, sensitivity and net benefit against scikit-learn and loops."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score, roc_curve

import labkit as lk
from labkit.core.errors import DataError
from labkit.evaluate.diagnostics import DiagnosticReport
from labkit.evaluate.report import ClassificationReport


def drawn(rows=120, seed=0, digits=2):
    """Truth, and probabilities that know something of it, with many ties."""
    random = np.random.default_rng(100 + seed)  # not the seed of the resamples
    truth = random.random(rows) < 0.3
    return truth, np.round(np.clip(0.25 * truth + 0.7 * random.random(rows), 0, 1), digits)


def by_scikit_learn(truth, probability, specificity=0.95):
    alarms, recall, _ = roc_curve(truth, probability, drop_intermediate=False)
    return {
        "auroc": roc_auc_score(truth, probability),
        "auprc": average_precision_score(truth, probability),
        "brier": brier_score_loss(truth, probability),
        "sensitivity": recall[alarms <= 1 - specificity + 1e-12].max(),
    }


@pytest.mark.parametrize("digits", [1, 2, 9])
@pytest.mark.parametrize("specificity", [0.8, 0.95, 1.0])
def test_scores_are_those_of_scikit_learn(digits, specificity):
    truth, probability = drawn(digits=digits)
    found = DiagnosticReport(probability, truth, specificity=specificity).scores
    assert found == pytest.approx(by_scikit_learn(truth, probability, specificity), abs=1e-12)


def test_intervals_are_those_of_resampled_rows():
    truth, probability = drawn(60)
    report = DiagnosticReport(probability, truth, seed=3)
    random, draws = np.random.default_rng(3), {name: [] for name in report.scores}
    for counts in random.multinomial(60, np.full(60, 1 / 60), size=1000):
        rows = np.repeat(np.arange(60), counts)
        for name, value in by_scikit_learn(truth[rows], probability[rows]).items():
            draws[name].append(value)
    for name, values in draws.items():
        assert report.intervals[name] == pytest.approx(np.percentile(values, [2.5, 97.5]), abs=1e-9)


def test_the_net_benefit_is_that_of_vickers_and_elkin():
    truth, probability = drawn()
    curve = DiagnosticReport(probability, truth).decision_curve((0.1, 0.25, 0.5))
    for line in curve.itertuples():
        t = line.threshold
        hits = sum(p >= t and y for p, y in zip(probability, truth, strict=True)) / len(truth)
        alarms = sum(p >= t and not y for p, y in zip(probability, truth, strict=True)) / len(truth)
        assert line.net_benefit == pytest.approx(hits - alarms * t / (1 - t))
        assert line.treat_all == pytest.approx(truth.mean() - (1 - truth.mean()) * t / (1 - t))
        assert line.low <= line.net_benefit <= line.high
        assert line.treated == pytest.approx((probability >= t).mean())
    # treating everybody is what a model does whose probabilities are all at least the threshold
    always = DiagnosticReport(np.full(len(truth), 0.99), truth).decision_curve((0.3,))
    assert always.net_benefit[0] == pytest.approx(always.treat_all[0])


def reports():
    truth, probability = drawn()
    _, other = drawn(seed=1)
    both = [np.stack([1 - p, p], 1) for p in (probability, np.clip(other, 0, 1))]
    model, baseline = (ClassificationReport(("no", "yes"), truth.astype(int), each) for each in both)
    return model.with_baselines({"constant": baseline}), truth, (probability, other)


def test_a_classifier_and_its_baselines_are_compared_on_the_same_resamples():
    report, truth, (probability, other) = reports()
    found = report.diagnostics()
    assert found.name == "yes"
    table = found.compare(found.baselines)
    ours, theirs = by_scikit_learn(truth, probability), by_scikit_learn(truth, other)
    assert table.loc["constant", "auroc_gain"] == pytest.approx(ours["auroc"] - theirs["auroc"], abs=1e-6)
    assert table.loc["constant", "brier_gain"] == pytest.approx(theirs["brier"] - ours["brier"], abs=1e-6)
    gains = []
    for counts in np.random.default_rng(0).multinomial(120, np.full(120, 1 / 120), size=1000):
        rows = np.repeat(np.arange(120), counts)
        gains.append(roc_auc_score(truth[rows], probability[rows]) - roc_auc_score(truth[rows], other[rows]))
    low, high = np.percentile(gains, [2.5, 97.5])
    assert table.loc["constant", ["auroc_gain_low", "auroc_gain_high"]].tolist() == pytest.approx(
        [low, high], abs=1e-6
    )
    shown = str(found)
    assert "sensitivity at specificity 0.95" in shown and "net benefit" in shown and "constant" in shown
    assert set(found.to_dict()["scores"]) == {"auroc", "auprc", "brier", "sensitivity"}


def test_one_class_of_several_is_judged_against_the_others():
    random = np.random.default_rng(0)
    probability = random.dirichlet(np.ones(3), 90)
    truth = random.integers(0, 3, 90)
    truth[:5] = -1  # unlabelled
    report = ClassificationReport(("a", "b", "c"), truth, probability)
    found = report.diagnostics("b", specificity=0.9)
    expected = by_scikit_learn(truth[5:] == 1, np.float32(probability[5:, 1]).astype(float), 0.9)
    assert found.scores == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda: DiagnosticReport([0.1, 1.2], [True, False]), ["1 of 2", "row 1", "1.2"]),
        (lambda: DiagnosticReport([0.1, float("nan")], [True, False]), ["1 of 2", "nan"]),
        (lambda: DiagnosticReport([0.1, 0.2], [True, True], "sick"), ["all rows", "'sick'"]),
        (lambda: DiagnosticReport([0.1, 0.2], [False, False], "sick"), ["no row", "'sick'"]),
        (lambda: DiagnosticReport([0.1], [True, False]), ["(1,)", "(2,)"]),
        (lambda: DiagnosticReport([0.1, 0.2], [True, False], specificity=95), ["specificity = 95"]),
        (lambda: DiagnosticReport([0.1, 0.2], [True, False]).decision_curve((0.5, 1.0)), ["threshold 1.0"]),
        (lambda: reports()[0].diagnostics("yess"), ["'yess'", "yes"]),
    ],
)
def test_what_is_no_diagnosis_is_refused(made, words):
    with pytest.raises(DataError) as error:
        made()
    assert all(word in str(error.value) for word in words), error.value


def test_it_is_public():
    assert lk.DiagnosticReport is DiagnosticReport
