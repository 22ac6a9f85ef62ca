"""n-grams against a slow implementation of the formula, and against what must be so whatever the counts."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import labkit as lk
from labkit.core.errors import ConfigError, DataError
from labkit.evaluate.ngram import NGram
from labkit.evaluate.scores import Scores
from labkit.viz import report_html


def slow(text: list[int], vocabulary: int, order: int):
    """Chen & Goodman's formula, gram by gram in dictionaries: a function (context, token) → chance."""
    grams = [Counter(tuple(text[i : i + k]) for i in range(len(text) - k + 1)) for k in range(1, order + 1)]
    counts = [Counter(gram[1:] for gram in grams[k]) for k in range(1, order)] + [grams[-1]]

    def discount(k: int, count: int) -> float:
        n = Counter(counts[k].values())
        base = n[1] / max(n[1] + 2 * n[2], 1)
        times = min(count, 3)
        cut = times - (times + 1) * base * n[times + 1] / max(n[times], 1)
        return cut if cut > 0 else times / 2

    def chance(context: tuple[int, ...], token: int) -> float:
        if len(context) + 1 > order:
            return chance(context[1:], token)
        lower = chance(context[1:], token) if context else 1 / vocabulary
        known = {gram[-1]: count for gram, count in counts[len(context)].items() if gram[:-1] == context}
        if not known:
            return lower
        k, total = len(context), sum(known.values())
        own = known.get(token, 0)
        left = sum(discount(k, count) for count in known.values()) / total
        return max(own - discount(k, own), 0) / total + left * lower if own else left * lower

    return chance


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(2, 6), st.integers(4, 60))
def test_chances_are_those_of_the_formula_and_sum_to_one(seed, order, vocabulary, length):
    random = np.random.default_rng(seed)
    text, other = (
        random.integers(0, vocabulary - 1, length),
        random.integers(0, vocabulary, 12),
    )  # one was never seen
    model, chance = NGram(vocabulary, order).fit(text), slow(text.tolist(), vocabulary, order)
    told = np.exp(model.log_chances(other))
    expected = [chance(tuple(other[max(0, i - order + 1) : i]), other[i]) for i in range(len(other))]
    np.testing.assert_allclose(told, expected, rtol=1e-9)
    last = [np.exp(model.log_chances(np.append(other, token))[-1]) for token in range(vocabulary)]
    assert sum(last) == pytest.approx(1, abs=1e-9)


@settings(max_examples=200)
@given(st.integers(0, 10**6), st.integers(1, 5), st.integers(2, 6), st.integers(6, 60))
def test_what_was_never_seen_has_some_chance_whatever_the_counts(seed, order, kinds, length):
    text = np.random.default_rng(seed).integers(0, kinds, length)
    told = NGram(9, order).fit(text).log_chances(np.array([0, 1, 7, 8, 0]))
    assert np.isfinite(told).all() and told[2] < 0


def test_longer_contexts_help_where_the_text_has_them():
    random = np.random.default_rng(0)
    steps = random.integers(0, 2, 20_000)
    text = np.cumsum(np.where(steps, 1, 3)) % 10  # after each of ten tokens two can come: log 2 nats
    loss = [-NGram(10, order).fit(text[:15_000]).log_chances(text[15_000:]).mean() for order in (1, 2, 3)]
    assert loss[0] == pytest.approx(np.log(10), abs=0.02) and loss[1] == pytest.approx(np.log(2), abs=0.01)
    assert loss[2] < loss[1] + 0.02


def test_what_cannot_be_counted_is_said():
    with pytest.raises(ConfigError, match="order and a vocabulary of 1 or more, not 0, 5"):
        NGram(5, 0)
    with pytest.raises(DataError, match="5-grams need at least 5 tokens; there are 3"):
        NGram(5).fit([1, 2, 3])
    with pytest.raises(DataError, match="from 0 to 7 are not all in a vocabulary of 5"):
        NGram(5, 2).fit([0, 7])
    with pytest.raises(ConfigError, match="not fitted yet"):
        NGram(5).log_chances([1])


def test_a_language_model_is_judged_beside_its_n_grams(tmp_path):
    text = (
        " ".join(
            f"the {noun} saw the {other} ." for noun in ("cat", "dog", "cow") for other in ("hen", "fox")
        )
        + " "
    )
    rows = lk.load([{"text": text}] * 30, text="text", label=False)
    model = lk.models["gpt"](depth=1, width=16, heads=2, max_length=32)
    run = lk.fit(
        rows,
        model,
        task="lm",
        folder=tmp_path,
        background=False,
        epochs=1,
        batch_size=4,
        max_length=32,
        vocabulary=280,
    )
    scores = run.evaluate("test")
    assert (
        0 < scores["ngram_loss"] < 0.5 < scores["loss"]
    )  # the text comes again and again: five tokens tell the next
    assert scores["ngram_perplexity"] == pytest.approx(np.exp(scores["ngram_loss"]))
    assert "ngram_loss" not in run.evaluate("test", baselines=False)


def test_a_model_worse_than_n_grams_says_so_in_its_first_line():
    worse = Scores("test", {"perplexity": 150.0, "ngram_perplexity": 120.0}, "lm", 10)
    first = repr(worse).splitlines()[0]
    assert first.startswith("Worse than a baseline: perplexity 150") and "120" in first
    assert worse.verdict in worse._repr_html_() and "lk-bad" in report_html.scores(worse, "zh")
    assert Scores("test", {"perplexity": 100.0, "ngram_perplexity": 120.0}).verdict == ""
    assert Scores("test", {"perplexity": 100.0}).verdict == ""
