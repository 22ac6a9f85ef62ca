"""Membership inference: the attack's figures against independent computations, and audits of runs."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score, roc_curve
from typer.testing import CliRunner

import labkit as lk
from labkit.cli.main import app
from labkit.core.errors import ConfigError, DataError
from labkit.evaluate.audit import canaries
from labkit.evaluate.membership import (
    MembershipReport,
    auroc,
    calibrated,
    epsilon_low,
    fits,
    true_positives,
)


@pytest.mark.parametrize("ties", [False, True])
def test_auroc_and_true_positives_are_those_of_scikit_learn(ties):
    random = np.random.default_rng(0)
    members, others = random.normal(0.7, 1, 400), random.normal(0, 1, 300)
    if ties:
        members, others = members.round(), others.round()
    truth = np.repeat([1, 0], [400, 300])
    scores = np.concatenate([members, others])
    assert auroc(members, others) == pytest.approx(roc_auc_score(truth, scores), abs=1e-12)
    false, true, _thresholds = roc_curve(truth, scores, drop_intermediate=False)
    assert true_positives(members, others) == pytest.approx(true[false <= 0.01].max(), abs=1e-12)


def test_the_intervals_cover_the_truth():
    """AUROC of two normal distributions at distance d: Phi(d / sqrt 2)."""
    random, truth, hits = np.random.default_rng(1), stats.norm.cdf(0.5 / np.sqrt(2)), 0
    for seed in range(10):
        report = MembershipReport(random.normal(0.5, 1, 200), random.normal(0, 1, 200), seed=seed)
        low, high = report.intervals["auroc"]
        assert low < report.scores["auroc"] < high
        hits += low <= truth <= high
    assert hits >= 8


def test_the_epsilon_of_canaries_is_that_of_the_tail_of_the_binomial():
    trained = np.arange(300) % 2 == 0
    perfect = trained.astype(float) + np.arange(300) * 1e-6
    low = epsilon_low(perfect, trained)
    chance = np.exp(low) / (1 + np.exp(low))
    assert stats.binom.sf(199, 200, chance) == pytest.approx(0.05, abs=1e-6), "200 of 200 guesses right"
    assert epsilon_low(np.random.default_rng(0).normal(size=300), trained) < 0.5
    assert epsilon_low(-perfect, trained) == 0.0


@pytest.mark.parametrize("epsilon", [0.5, 2.0])
def test_the_epsilon_of_canaries_does_not_exceed_that_of_randomised_response(epsilon):
    """Its epsilon is exact: the bound may exceed it in 5 % of the trials."""
    random, exceeded = np.random.default_rng(0), 0
    chance = np.exp(epsilon) / (1 + np.exp(epsilon))
    for _trial in range(200):
        trained = random.random(300) < 0.5
        told = np.where(random.random(300) < chance, trained, ~trained)
        exceeded += epsilon_low(told + random.random(300) * 1e-3, trained) > epsilon
    assert exceeded <= stats.binom(200, 0.05).ppf(0.999)


def test_fits_are_log_odds_likelihoods_and_squared_errors():
    answers = np.array([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]], np.float32)
    np.testing.assert_allclose(fits(answers, np.array([0, 1])), np.log([0.7 / 0.3, 0.1 / 0.9]), rtol=1e-6)
    labels = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 1.0]])
    expected = [np.log(0.7 * 0.8 * 0.9), np.log(0.9 * 0.1 * 0.8)]
    np.testing.assert_allclose(fits(answers, labels), expected, rtol=1e-6)
    np.testing.assert_allclose(fits(answers, labels, True), -((answers - labels) ** 2).mean(1), rtol=1e-6)
    assert np.isfinite(fits(np.array([[1.0, 0.0], [0.0, 1.0]], np.float32), np.array([0, 0]))).all()


def test_calibration_takes_away_how_hard_a_row_is():
    random = np.random.default_rng(0)
    hard, member = random.normal(0, 5, 400), np.arange(400) < 200
    trained = np.stack([half := random.random(400) < 0.5, ~half])
    references = hard + trained * 1.0 + random.normal(0, 0.3, (2, 400))
    scores = hard + member * 1.0 + random.normal(0, 0.3, 400)
    better = calibrated(scores, references, trained)
    assert auroc(scores[:200], scores[200:]) < 0.6 and auroc(better[:200], better[200:]) > 0.95


@pytest.fixture(scope="module")
def noisy():
    """Labels that nothing can predict: whoever is right on the training rows has memorised them."""
    random = np.random.default_rng(0)
    rows = [
        {**{f"x{n}": float(value) for n, value in enumerate(line)}, "label": str(random.integers(2))}
        for line in random.normal(size=(240, 8))
    ]
    return lk.load(rows, label="label", features=True).split(validation=0.1, test=0.45, seed=0)


SETTINGS = {
    "background": False,
    "epochs": 60,
    "batch_size": 32,
    "evaluate_every": 1000,
    "learning_rate": 0.02,
    "keep": "last",
}
MODEL = {"preset": "small", "widths": (64,), "dropout": 0.0}


@pytest.fixture(scope="module")
def memorised(noisy, tmp_path_factory):
    folder = tmp_path_factory.mktemp("memorised")
    return lk.fit(noisy, lk.models["mlp"](**MODEL), folder=folder, head_dropout=0.0, **SETTINGS)


def test_the_audit_finds_what_was_memorised(memorised, noisy):
    report = memorised.audit()
    assert report.scores["auroc"] > 0.8 and report.intervals["auroc"][0] > 0.7
    answers = memorised.predictor.predict_encoded(noisy["train"])[
        np.arange(len(noisy["train"])), noisy["train"]["label"]
    ]
    others = memorised.predictor.predict_encoded(noisy["test"])[
        np.arange(len(noisy["test"])), noisy["test"]["label"]
    ]
    truth = np.repeat([1, 0], [len(answers), len(others)])
    assert report.scores["auroc"] == pytest.approx(
        roc_auc_score(truth, np.concatenate([answers, others])), abs=1e-3
    )
    stored = memorised.info.summary["audit"]
    assert stored["auroc"] == report.scores["auroc"] and stored["tpr"] == report.scores["tpr"]
    assert (stored["auroc_low"], stored["auroc_high"]) == report.intervals["auroc"]
    assert f"AUROC {stored['auroc']:.4g} (" in memorised.card(measure=False).text
    assert "AUROC" in str(report) and report.to_dict()["members"] == len(noisy["train"])


def test_the_audit_of_a_private_run_finds_little(noisy, tmp_path):
    run = lk.fit(noisy, lk.models["mlp"](**MODEL), folder=tmp_path, head_dropout=0.0,
                 privacy=lk.Privacy(epsilon=2.0, delta=1e-3, noise_seed=0), **{**SETTINGS, "epochs": 10})  # fmt: skip
    report = run.audit()
    assert report.scores["auroc"] < 0.6
    assert report.bound == pytest.approx(np.exp(report.epsilon) * 0.01 + 1e-3) and report.epsilon <= 2.0


def test_the_command_prints_the_same_audit(memorised):
    words = ["runs", "audit", memorised.id, "--json", "--folder", str(memorised.store.folder)]
    told = json.loads(CliRunner().invoke(app, words, catch_exceptions=False).stdout)
    assert told["scores"] == pytest.approx(memorised.audit().scores)
    assert "AUROC" in CliRunner().invoke(app, [*words[:3], *words[4:]], catch_exceptions=False).stdout


def test_reference_runs_are_trained_on_halves(memorised):
    """With two of them one out-of-sample score is subtracted from each row's: on labels without any rule, noise."""
    report = memorised.audit(references=2)
    assert report.scores["auroc"] > 0.55 and "2 reference runs" in str(report)
    assert report.scores["loss_auroc"] == memorised.audit().scores["auroc"]


def test_canaries_that_were_trained_on_are_told_apart(noisy, tmp_path):
    rows, planted = canaries(noisy, 60, seed=1)
    assert len(planted) == 60 and 15 < planted.trained.sum() < 45
    before = dict(zip(noisy["train"]["row"], noisy["train"]["label"], strict=True))
    after = dict(zip(rows["train"]["row"], rows["train"]["label"], strict=True))
    for row, label, trained in zip(planted.rows["row"], planted.rows["label"], planted.trained, strict=True):
        assert label != before[row] and (after.get(row) == label) == trained
    assert len(after) == len(before) - (~planted.trained).sum() and "canaries" in str(rows.report)
    again = canaries(noisy, 60, seed=1)[1]
    assert list(again.rows["row"]) == list(planted.rows["row"]) and (again.trained == planted.trained).all()
    run = lk.fit(rows, lk.models["mlp"](**MODEL), folder=tmp_path, head_dropout=0.0, **SETTINGS)
    report = run.audit(canaries=planted)
    assert report.scores["canary_auroc"] > 0.8 and report.scores["epsilon_low"] > 0.3


@pytest.mark.parametrize(
    ("settings", "error", "told"),
    [
        ({"split": "train"}, DataError, "not trained on"),
        ({"split": "other"}, DataError, "not trained on"),
        ({"references": 1}, ConfigError, "references = 1"),
        ({"reference": 2}, ConfigError, "references"),
    ],
)
def test_what_cannot_be_audited_is_refused_by_name(memorised, settings, error, told):
    with pytest.raises(error, match=told):
        memorised.audit(**settings)


def test_canaries_need_classes_and_enough_rows(noisy):
    with pytest.raises(DataError, match="labelled training rows allow"):
        canaries(noisy, 10_000)
    numbers = lk.load([{"a": float(n), "y": n * 0.5} for n in range(60)], number="y", features=True).split(
        seed=0
    )
    with pytest.raises(DataError, match="one of several classes"):
        canaries(numbers, 5)
