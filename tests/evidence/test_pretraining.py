"""Pretraining from scratch on six novels: hidden words, next sentences, and what a classifier gains by it."""

from __future__ import annotations

import re

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
def pretrained(novels, lab):
    """Attention finds the neighbours after some 1,300 steps; before, no more than frequencies is learnt."""
    model = lk.models["bert"](preset="tiny", heads=4, max_length=64, dropout=0.0, attention_dropout=0.0)
    return lk.fit(
        novels, model, task="pretrain", folder=lab, background=False, epochs=9, batch_size=32, max_length=64,
        vocabulary=6000, buckets=1, mask_probability=0.2, optimizer="muon", learning_rate=3e-3, beta2=0.98,
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
    assert scores["accuracy"] > 4 * frequent and scores["masked_loss"] < entropy - 1.2
    assert scores["next_accuracy"] > 0.6


def sentences(part, count: int) -> list[dict[str, str]]:
    """Sentences without capitals and stops, every other one with its words in an order by chance."""
    random = np.random.default_rng(0)
    found = [
        re.findall(r"[a-z']+", each.lower())
        for text in part["text"]
        for each in re.split(r"(?<=[.!?])\s+", text)
    ]
    found = [words for words in found if 6 <= len(words) <= 25]
    chosen = [found[number] for number in random.permutation(len(found))[:count]]
    return [
        {
            "text": " ".join(random.permutation(words) if place % 2 else words),
            "label": ("kept", "shuffled")[place % 2],
        }
        for place, words in enumerate(chosen)
    ]


def test_a_classifier_begins_better_from_the_checkpoint(novels, pretrained, lab, tmp_path, tell, over_seeds):
    """Are the words of a sentence in their order? 400 labelled sentences; the same model and tokenizer from random
    weights. Bags of words cannot tell; what pretraining has learnt of neighbours can."""
    folder = pretrained.export(tmp_path / "pretrained")
    config, found = lk.models["bert"](weights=str(folder), pooling="mean"), {"pretrained": [], "random": []}
    parts = {name: lk.load(sentences(novels[name], count), text="text", label="label")["train"]
             for name, count in (("train", 400), ("validation", 600), ("test", 1200))}  # fmt: skip
    rows = lk.load(sentences(novels["train"], 400), text="text", label="label").with_splits(parts)
    for seed in SEEDS:
        random = tmp_path / f"random-{seed}"
        config.save(config.build(nnx.Rngs(seed)), random)
        lk.Tokenizer.load(folder).save(random)
        for name, weights in (("pretrained", folder), ("random", random)):
            model = lk.models["bert"](weights=str(weights), pooling="mean")
            run = lk.fit(
                rows, model, folder=lab, background=False, epochs=10, batch_size=16, max_length=32, buckets=1,
                packing="never", learning_rate=1e-3, seed=seed,
            )  # fmt: skip
            report = run.evaluate("test", baselines=seed == 0)
            found[name].append(report.scores["f1"])
            tell(
                f"{name}, seed {seed}: F1 {report.scores['f1']:.4f}, 95 % over rows {report.intervals['f1']}"
            )
            for other, baseline in report.baselines.items():
                tell(f"{other}: F1 {baseline.scores['f1']:.4f}")
    gains = np.subtract(found["pretrained"], found["random"])
    mean, low, high = over_seeds(gains)
    tell(f"the checkpoint gains {mean:+.4f} F1 (95 % over {len(SEEDS)} seeds {low:+.4f} to {high:+.4f})")
    assert min(gains) > 0 and low > 0
