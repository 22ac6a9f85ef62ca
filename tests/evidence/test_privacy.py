"""Privacy on film reviews: what differential privacy costs, and what membership inference finds.

The head of a frozen encoder: the sentence vectors of MiniLM are computed once, and a linear layer is trained on them.
``python -m pytest -m soak tests/evidence/test_privacy.py -s`` prints the figures.
"""

from __future__ import annotations

import numpy as np
import pytest

import labkit as lk

#: Reviews, of which a quarter is for testing.
COUNT = 5300
HEAD = {
    "epochs": 30,
    "batch_size": 512,
    "learning_rate": 0.01,
    "head_dropout": 0.0,
    "keep": "last",
    "evaluate_every": 10**6,
}


@pytest.fixture(scope="module")
def vectors():
    """The sentence vectors of reviews as a table, split."""
    reviews = lk.load("movie-reviews", min_score=1.0).sample(COUNT, seed=0)
    part = reviews["train"]
    found = np.concatenate(
        [
            lk.EmbeddingPipeline("minilm-l6").embed(list(part["text"][start : start + 500]))
            for start in range(0, len(part), 500)
        ]
    )
    names = [reviews.spec.classes[label] for label in part["label"]]
    columns = {f"x{number}": column.tolist() for number, column in enumerate(found.T)}
    return lk.load({**columns, "label": names}, label="label", features=True).split(
        validation=0.05, test=0.25, seed=0, accept_leakage=True
    )


@pytest.mark.soak
def test_privacy_costs_little_on_a_frozen_encoder_and_ends_the_attack(vectors, lab, tell):
    model = lk.models["mlp"](preset="linear")
    common = {"folder": lab, "background": False, "accept_leakage": True}
    plain = lk.fit(vectors, model, name="plain", **common, **HEAD)
    private = lk.fit(
        vectors, model, name="private", privacy=lk.Privacy(epsilon=8.0, delta=1e-5), **common, **HEAD
    )
    some = vectors.with_splits({**vectors.splits, "train": vectors["train"].select(range(400))})
    large = lk.models["mlp"](preset="small", widths=(256,), dropout=0.0)
    overfitted = lk.fit(some, large, name="overfitted", **common, **{**HEAD, "epochs": 60, "batch_size": 32})
    compared = private.compare(plain)
    tell(compared)
    audits = {run.name: run.audit() for run in (plain, private, overfitted)}
    for name, report in audits.items():
        tell(f"{name}: AUROC {report.scores['auroc']:.3f} "
             f"{report.intervals['auroc']}, TPR {report.scores['tpr']:.3f} {report.intervals['tpr']}")  # fmt: skip
    told = private.info.summary["privacy"]
    tell(told)
    assert told["spent"] <= 8.0
    assert f1(private) > f1(plain) - 0.05
    assert audits["overfitted"].scores["auroc"] > 0.7 and audits["private"].scores["auroc"] < 0.55


def f1(run) -> float:
    """F1 on the test rows."""
    return run.evaluate("test", baselines=False).scores["f1"]
