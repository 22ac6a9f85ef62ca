"""Pretraining from scratch on six novels: hidden words, next sentences, and what a classifier gains by it."""

from __future__ import annotations

import numpy as np
import pytest
from flax import nnx

import labkit as lk

SEEDS = (0, 1, 2)


@pytest.fixture(scope="module")
def novels():
    """Whole chapters are in one part: the paragraphs of a chapter are about one thing."""
    return lk.load("austen").split(group="chapter", stratify=False, seed=0, accept_leakage=True)


@pytest.fixture(scope="module")
def pretrained(novels, lab, full):
    model = lk.models["bert"](preset="tiny", heads=4, max_length=64, dropout=0.0, attention_dropout=0.0)
    return lk.fit(
        novels, model, task="pretrain", folder=lab, background=False, epochs=30 if full else 6, batch_size=32,
        max_length=64, vocabulary=2000, buckets=1, chosen=0.2, learning_rate=1.2e-3, beta2=0.98,
        weight_decay=0.02, schedule="cosine", warmup=0.04, accept_leakage=True,
    )  # fmt: skip


def test_hidden_words_and_next_sentences_are_told_better_than_by_chance(novels, pretrained, tell):
    scores = pretrained.evaluate("test")
    tokenizer = lk.Tokenizer.load(pretrained.info.folder / "model")
    ids = tokenizer.encode(novels["test"]["text"], max_length=1000).ids
    counts = np.bincount(ids[~tokenizer.reserved[ids]])
    share = counts[counts > 0] / counts.sum()
    frequent, entropy = float(share.max()), float(-(share * np.log(share)).sum())
    tell(f"hidden words: accuracy {scores['accuracy']:.4f}, loss {scores['masked_loss']:.3f} nats; always the most "
         f"frequent piece {frequent:.4f}, entropy of the frequencies {entropy:.3f}")  # fmt: skip
    tell(f"next sentence: accuracy {scores['next_accuracy']:.4f}, F1 {scores['next_f1']:.4f}; by chance 0.5")
    assert scores["accuracy"] > 2 * frequent and scores["masked_loss"] < entropy - 0.3
    assert scores["next_accuracy"] > 0.62


@pytest.mark.xfail(
    strict=True, reason="measured after 2,670 steps: F1 0.45 from the checkpoint, 0.51 from random weights"
)
def test_a_classifier_begins_better_from_the_checkpoint(novels, pretrained, lab, tmp_path, tell, over_seeds):
    """Which novel is a paragraph from? 300 labelled paragraphs; the same model and tokenizer from random weights."""
    folder = pretrained.export(tmp_path / "pretrained")
    config, few = lk.models["bert"](weights=str(folder), pooling="mean"), {**novels.splits}
    few["train"] = novels.sample(300, seed=0)["train"]
    rows, found = novels.with_splits(few), {"pretrained": [], "random": []}
    for seed in SEEDS:
        random = tmp_path / f"random-{seed}"
        config.save(config.build(nnx.Rngs(seed)), random)
        lk.Tokenizer.load(folder).save(random)
        for name, weights in (("pretrained", folder), ("random", random)):
            model = lk.models["bert"](weights=str(weights), pooling="mean")
            run = lk.fit(
                rows, model, folder=lab, background=False, epochs=15, batch_size=16, max_length=64, buckets=1,
                packing="never", learning_rate=2e-3, seed=seed, accept_leakage=True,
            )  # fmt: skip
            report = run.evaluate("test", baselines=seed == 0)
            found[name].append(report.scores["f1"])
            tell(f"{name}, seed {seed}: F1 {report.scores['f1']:.4f}, 95 % over rows {report.intervals['f1']}")
            for other, baseline in report.baselines.items():
                tell(f"{other}: F1 {baseline.scores['f1']:.4f}")
    gains = np.subtract(found["pretrained"], found["random"])
    mean, low, high = over_seeds(gains)
    tell(f"the checkpoint gains {mean:+.4f} F1 (95 % over {len(SEEDS)} seeds {low:+.4f} to {high:+.4f})")
    assert min(gains) > 0 and low > 0
