"""Calibration error against the sum written out, and a temperature that is found again."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.special
from scipy.optimize import minimize

from labkit.core.errors import DataError
from labkit.evaluate.calibration import Calibration, calibrate, fit_temperature, with_temperature
from labkit.evaluate.report import ClassificationReport
from tests.shown import shown_html


def drawn(temperature: float, n: int = 4000, classes: int = 3, seed: int = 0) -> ClassificationReport:
    """Rows whose truth is drawn from softmax(logits), while the model claims softmax(logits * temperature)."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 1.5, (n, classes))
    chance = scipy.special.softmax(logits, -1)
    truth = (chance.cumsum(-1) > random.random((n, 1))).argmax(-1)
    return ClassificationReport(
        list("abcdefg")[:classes], truth, scipy.special.softmax(logits * temperature, -1), split="made"
    )


def test_the_error_is_the_sum_of_guo_and_others():
    report, bins = drawn(2.0, n=500), 10
    found, confidence = Calibration.of(report, bins), report.probability.max(-1)
    right, total, gaps = report.predicted == report.truth, 0.0, []
    for number in range(bins):
        mine = (confidence > number / bins) & (confidence <= (number + 1) / bins)
        if mine.any():
            gaps.append(abs(right[mine].mean() - confidence[mine].mean()))
            total += mine.sum() / len(mine) * gaps[-1]
    assert found.error == pytest.approx(total, abs=1e-6) and found.greatest == pytest.approx(
        max(gaps), abs=1e-6
    )
    assert found.count.sum() == 500 and len(found.table()) == len(gaps)


def test_the_temperature_is_found_again_and_mends_the_calibration():
    assert fit_temperature(drawn(3.0)) == pytest.approx(3.0, rel=0.06)
    assert fit_temperature(drawn(0.5)) == pytest.approx(0.5, rel=0.06)
    found = calibrate(drawn(3.0), drawn(3.0, seed=1))
    assert found.scaled is not None and found.error > 0.15 > 0.03 > found.scaled.error
    assert "0.0" in repr(found) and "at temperature 3." in repr(found) and "<table" in shown_html(found)


def test_the_temperature_is_that_of_a_general_minimiser():
    report = drawn(1.7, n=300)
    logits = np.log(report.probability.astype(np.float64))

    def loss(value):
        return -scipy.special.log_softmax(logits / value[0], -1)[np.arange(300), report.truth].mean()

    want = minimize(loss, [1.0], method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-12}).x[0]
    assert fit_temperature(report) == pytest.approx(want, rel=1e-3)


def test_a_temperature_changes_no_prediction_and_keeps_distributions():
    report = drawn(1.0, n=50)
    scaled = with_temperature(report.probability, 4.0)
    np.testing.assert_array_equal(scaled.argmax(-1), report.predicted)
    np.testing.assert_allclose(scaled.sum(-1), 1)
    np.testing.assert_allclose(with_temperature(report.probability, 1.0), report.probability, rtol=1e-5)
    assert np.isfinite(with_temperature([[1.0, 0.0]], 0.5)).all()


def test_nothing_to_calibrate():
    empty = ClassificationReport(["a", "b"], [-1], [[0.5, 0.5]], split="validation")
    assert np.isnan(Calibration.of(empty).error) and np.isnan(Calibration.of(empty).greatest)
    with pytest.raises(DataError, match="no labelled row in 'validation'"):
        fit_temperature(empty)
    with pytest.raises(DataError, match="bins = 0"):
        Calibration.of(empty, 0)
    with pytest.raises(DataError, match="must be above 0"):
        with_temperature([[1.0]], 0.0)
