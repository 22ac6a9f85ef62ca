"""Coronary heart disease in a hospital that training has not seen: networks against logistic regression and boosting.

``pytest -m soak tests/evidence/test_tables.py -s``: each of four sites is the test rows once, three seeds.
"""

from __future__ import annotations

import time

import numpy as np

import labkit as lk

SITES = ("Cleveland", "Hungary", "Switzerland", "VA Long Beach")
SEEDS = range(3)
MODELS = {
    "FT-Transformer": (lk.models["ft-transformer"](preset="small"), {}),
    "MLP with embedded numbers": (lk.models["mlp"](preset="plr", dropout=0.3), {"learning_rate": 1e-3}),
}


def test_networks_are_at_least_as_good_as_logistic_regression_in_another_hospital(lab, tell):
    gains: dict[str, list[float]] = {name: [] for name in MODELS}
    boosted = []
    for site in SITES:
        rows = lk.load("heart").split(site="site", test_sites=[site], validation=0.15, accept_leakage=True)
        baselines = {}
        for name, (model, settings) in MODELS.items():
            began, found = time.monotonic(), []
            for seed in SEEDS:
                run = lk.fit(
                    rows, model, seed=seed, metric="loss", folder=lab, background=False,
                    name=f"{name} {site} {seed}", **settings,
                )  # fmt: skip
                report = run.diagnostics(positive="disease", baselines=not baselines)
                baselines = baselines or {str(key): each for key, each in report.baselines.items()}
                found.append(report)
            table = found[0].compare(baselines)
            linear = baselines["logistic regression"]
            auroc = float(np.mean([each.scores["auroc"] for each in found]))
            gains[name].append(auroc - linear.scores["auroc"])
            low, high = found[0].intervals["auroc"]
            line = table.loc["logistic regression"]
            tell(
                f"{site}, {len(rows['train'])} → {len(rows['test'])} rows | {name}, {run.info.summary['parameters']:,} "
                f"parameters, {(time.monotonic() - began) / 60:.1f} min | AUROC {auroc:.3f} (seed 0: {low:.3f} – "
                f"{high:.3f}) | gain on logistic regression, seed 0: {line['auroc_gain']:+.3f} "
                f"({line['auroc_gain_low']:+.3f} – {line['auroc_gain_high']:+.3f})"
            )
        for key, each in baselines.items():
            low, high = each.intervals["auroc"]
            tell(f"{site} | {key}: AUROC {each.scores['auroc']:.3f} ({low:.3f} – {high:.3f})")
        boosted.append(baselines["gradient boosting"].scores["auroc"] - linear.scores["auroc"])
    mean = {name: round(float(np.mean(each)), 4) for name, each in gains.items()}
    tell(f"gain on logistic regression, mean of sites: {mean}")
    tell(f"gradient boosting: {np.mean(boosted):+.4f}")
    for name, each in gains.items():
        assert np.mean(each) >= -0.01, name
