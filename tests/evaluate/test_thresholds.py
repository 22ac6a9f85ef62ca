"""Curves of one class against the rest agree with scikit-learn at every threshold."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn.metrics as sk

from labkit.core.errors import DataError
from labkit.evaluate.report import ClassificationReport
from labkit.evaluate.thresholds import Thresholds, class_to_find


@pytest.fixture(params=["continuous", "tied"])
def scored(request):
    random = np.random.default_rng(3)
    positive = random.random(300) < 0.3
    score = np.clip(random.normal(0.4 + 0.2 * positive, 0.2), 0, 1)
    return np.round(score, 1) if request.param == "tied" else score, positive


def test_curves_agree_with_scikit_learn(scored):
    score, positive = scored
    found = Thresholds(score, positive)
    precision, recall, threshold = sk.precision_recall_curve(positive, score)
    np.testing.assert_allclose(found.threshold, threshold[::-1])
    np.testing.assert_allclose(found.precision, precision[:-1][::-1])
    np.testing.assert_allclose(found.recall, recall[:-1][::-1])
    alarms, recall, _ = sk.roc_curve(positive, score, drop_intermediate=False)
    np.testing.assert_allclose(found.false_alarms, alarms[1:])
    np.testing.assert_allclose(found.recall, recall[1:])
    assert found.roc_auc == pytest.approx(sk.roc_auc_score(positive, score), abs=1e-12)
    assert found.average_precision == pytest.approx(sk.average_precision_score(positive, score), abs=1e-12)


def test_any_threshold_agrees_with_scikit_learn(scored):
    score, positive = scored
    found = Thresholds(score, positive)
    for threshold in (-1.0, 0.0, 0.35, 0.4, float(score.max()), 1.1):
        called = score >= threshold
        at = found.at(threshold)
        want = sk.precision_recall_fscore_support(positive, called, average="binary", zero_division=0)[:3]
        assert (at["precision"], at["recall"], at["f1"]) == pytest.approx(want)
        assert (at["found"], at["missed"]) == (called.sum(), (positive & ~called).sum())


def test_the_best_threshold_is_the_best_of_all(scored):
    score, positive = scored
    found = Thresholds(score, positive)
    best = max(sk.f1_score(positive, score >= threshold) for threshold in np.unique(score))
    assert found.at(found.best())["f1"] == pytest.approx(best) == found.f1.max()
    assert list(found.table().columns) == ["threshold", "precision", "recall", "f1", "false_alarms", "found"]


def test_thresholds_of_a_report_leave_out_what_does_not_count():
    probability = np.asarray([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6]], np.float32)
    found = Thresholds.of(ClassificationReport(["a", "b"], [0, 1, -1], probability), "b")
    assert (found.positives, found.negatives, found.roc_auc) == (1, 1, 1.0)
    with pytest.raises(DataError, match="Did you mean 'a'"):
        Thresholds.of(ClassificationReport(["a", "b"], [0], probability[:1]), "aa")


def test_one_kind_of_rows_and_none():
    found = Thresholds([0.5, 0.5], [False, False])
    assert np.isnan(found.roc_auc) and np.isnan(found.best()) and found.at(0.5)["precision"] == 0
    for score, positive, said in (
        ([], [], "0 rows"),
        ([np.nan], [True], "1 of them without"),
        ([1.0], [], "shape"),
    ):
        with pytest.raises(DataError, match=said):
            Thresholds(score, positive)
    with pytest.raises(DataError, match="Did you mean 'recall'"):
        Thresholds([0.5], [True]).best("recal")


@pytest.mark.parametrize(
    ("counts", "wanted"),
    [
        ({"no": 50, "yes": 40}, "yes"),  # named as positive
        ({"negative": 9, "positive": 50}, "positive"),
        ({"ham": 90, "junk": 10}, "junk"),  # the rarest
        ({"a": 90, "b": 30, "c": 1}, "b"),  # too few rows of c for a curve
        ({"a": 3, "b": 2, "c": 0}, "a"),
    ],
)
def test_the_class_to_find(counts, wanted):
    truth = np.repeat(np.arange(len(counts)), list(counts.values()))
    report = ClassificationReport(tuple(counts), truth, np.eye(len(counts))[truth])
    assert class_to_find(report) == wanted
