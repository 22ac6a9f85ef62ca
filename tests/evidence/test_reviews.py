"""Sentiment of film reviews: a text CNN beside TF-IDF, and low-rank additions against training everything."""

from __future__ import annotations

import pytest

import labkit as lk
from labkit.evaluate.intervals import difference

SEEDS = (0, 1, 2)


@pytest.fixture(scope="module")
def reviews():
    return lk.load("movie-reviews", min_score=1.0).dedupe().split(validation=300, test=1500, seed=0)


def test_a_text_cnn_beside_tfidf(reviews, lab, tell):
    """No bar: both figures are told, whichever wins; each must have learnt."""
    run = lk.fit(
        reviews, lk.models["textcnn"](preset="keras", max_length=64), folder=lab, background=False, epochs=5,
        batch_size=64, learning_rate=1e-3, max_length=64, buckets=1, vocabulary=8000,
    )  # fmt: skip
    report = run.evaluate("test")
    peer = report.baselines["TF-IDF + logistic regression"]
    both = difference(report.truth, report.predicted, peer.predicted, 2)["f1"]
    tell(
        f"text CNN: F1 {report.scores['f1']:.4f} {report.intervals['f1']}; TF-IDF + logistic regression: "
        f"{peer.scores['f1']:.4f} {peer.intervals['f1']}; paired difference {both[0]:+.4f} to {both[1]:+.4f}"
    )
    assert report.scores["f1"] > 0.65 and peer.scores["f1"] > 0.65


def test_low_rank_additions_come_near_training_everything(reviews, lab, tell, over_seeds):
    """On the whole sample. With 1,600 of its rows additions stay behind, by 1.0 points of F1 after two passes, by 1.5
    after three (three seeds)."""
    model = lk.models["bert"](preset="minilm-l6")
    usual = {"epochs": 2, "batch_size": 32, "max_length": 64, "background": False, "folder": lab}
    ways = {  # those of lesson 08
        "full": {"learning_rate": 1e-4, "layer_decay": 0.9},
        "lora": {"learning_rate": 2e-3, "trainable": "lora", "lora_rank": 8, "lora_alpha": 16.0},
    }
    found, share = {name: [] for name in ways}, 0.0
    for seed in SEEDS:
        reports = {}
        for name, settings in ways.items():
            run = lk.fit(reviews, model, seed=seed, **usual, **settings)
            reports[name] = run.evaluate("test", baselines=False)
            summary = run.info.summary
            found[name].append(f1 := reports[name].scores["f1"])
            trained = f"{summary['trainable']:,} of {summary['parameters']:,} parameters trained"
            tell(f"{name}, seed {seed}: F1 {f1:.4f}, {trained}")
            share = summary["trainable"] / summary["parameters"]
        low, high = difference(
            reports["full"].truth, reports["lora"].predicted, reports["full"].predicted, 2
        )["f1"]
        tell(f"seed {seed}: LoRA - full, paired 95 % over rows {low:+.4f} to {high:+.4f}")
    mean = {name: over_seeds(values)[0] for name, values in found.items()}
    tell(
        f"mean over seeds: full {mean['full']:.4f}, LoRA {mean['lora']:.4f}, {share:.2%} of the parameters trained"
    )
    assert share < 0.02 and mean["lora"] >= mean["full"] - 0.01
