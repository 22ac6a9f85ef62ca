"""Fairness of an income model on the census sample: figures equal fairlearn's; what equal rates cost."""

from __future__ import annotations

import numpy as np
import pytest

import labkit as lk

FEATURES = [
    "age",
    "education-num",
    "capital-gain",
    "capital-loss",
    "hours-per-week",
    "workclass",
    "occupation",
]


def test_gaps_of_an_income_model_equal_those_of_fairlearn(lab, tell):
    metrics = pytest.importorskip("fairlearn.metrics")
    rows = lk.load("adult", features=FEATURES, groups=["sex", "race"]).split(validation=0.2, test=0.3)
    run = lk.fit(rows, lk.models["mlp"](preset="small"), epochs=5, folder=lab, background=False)
    report = run.evaluate(baselines=False)
    for columns in ("sex", "race", ["sex", "race"]):
        names = [columns] if isinstance(columns, str) else columns
        found = report.by_group(columns, positive=">50K", min_rows=0)
        groups = {name: rows["test"][name] for name in names}
        given = {
            "y_true": (report.truth == 1).astype(int), "y_pred": (report.predicted == 1).astype(int),
            "sensitive_features": groups,
        }  # fmt: skip
        expected = {
            "demographic_parity_difference": metrics.demographic_parity_difference(**given),
            "equalized_odds_difference": metrics.equalized_odds_difference(**given),
            "equal_opportunity_difference": metrics.true_positive_rate_difference(**given),
        }
        for name, value in expected.items():
            assert found.gaps[name][0] == pytest.approx(value, abs=1e-9)
        tell(
            f"by {columns}: {[(name, [round(v, 3) for v in found.gaps[name]]) for name in expected]}, {found.worst}"
        )
    for goal in ("demographic_parity", "equal_opportunity"):
        found = run.group_thresholds("sex", goal, ">50K")
        gap = f"{goal}_difference"
        tell(
            f"{goal}: {found.before.gaps[gap][0]:.3f} → {found.after.gaps[gap][0]:.3f}, accuracy lost "
            f"{found.price:+.4f} ({found.interval[0]:+.4f} to {found.interval[1]:+.4f})"
        )
        assert found.after.gaps[gap][0] < 0.5 * found.before.gaps[gap][0]
        assert np.isfinite(found.price)
