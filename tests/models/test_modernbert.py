"""ModernBERT learns every task that it supports, with low-rank additions and packed rows, and is exported as others
read it. That its numbers are those of transformers: ``test_golden.py``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import labkit as lk
from labkit.core.errors import ConfigError
from labkit.models.modernbert import ModernBertConfig
from labkit.train.experiment import learners

SIZES: dict[str, Any] = {"width": 32, "depth": 3, "heads": 2, "mlp_width": 48, "max_length": 64, "window": 8}
ROWS = [{"text": f"the {('film', 'plot', 'play')[place % 3]} number {place} was {('dull', 'great')[place % 2]} .",
         "label": ("bad", "good")[place % 2]} for place in range(96)]  # fmt: skip


def fit(folder: Path, task: str = "classify", model: Any = None, **settings: Any) -> Any:
    rows = ROWS if task == "classify" else lk.load(ROWS, text="text", label="label")
    usual = {
        "epochs": 2,
        "batch_size": 8,
        "max_length": 32,
        "vocabulary": 100,
        "learning_rate": 5e-3,
        "buckets": 1,
    }
    return lk.fit(
        rows, model or ModernBertConfig(**SIZES), task=task, folder=folder, background=False, **{**usual, **settings}
    )  # fmt: skip


def test_sizes_of_the_published_models() -> None:
    # Without the prediction head: the numbers of parameters of ModernBertModel.
    counts = {name: ModernBertConfig(preset=name, pooling="mean").count() for name in ("base", "large")}
    assert counts == {"base": 149_014_272, "large": 394_781_696}


@pytest.mark.parametrize("pooling", ("mean_head", "mean"))
def test_a_classifier_is_trained_packed_and_exported(pooling: str, tmp_path: Path) -> None:
    run = fit(tmp_path / "lab", model=ModernBertConfig(**SIZES, pooling=pooling), packing="always", trainable="lora",
              lora_rank=4, learning_rate=1e-2)  # fmt: skip
    assert run.info.summary["layout"].startswith("packed")
    made = run.info.summary
    additions, last = 3 * (4 * 4 * (32 + 32) + 4 * 2 * (32 + 48) + 4 * (48 + 32)), 32 + 33 * 2
    assert made["trainable"] == additions + last + (32 * 33 if pooling != "mean" else 0)
    texts = ["the film was dull .", "a great play ."]
    ours = run.predictor.probabilities(texts)
    folder = run.export(tmp_path / "out")
    np.testing.assert_allclose(lk.Predictor(folder).probabilities(texts), ours, rtol=1e-5)
    if pooling != "mean":  # a folder of sentence-transformers then
        (folder / "labkit.toml").unlink()
        np.testing.assert_allclose(lk.Predictor(folder).probabilities(texts), ours, rtol=1e-4)


@pytest.mark.soak
def test_masked_words_and_vectors_are_learnt(tmp_path: Path) -> None:
    run = fit(tmp_path / "lab", "pretrain", next_sentence=False, accept_leakage=True)
    own = run.fill("the film number 3 was [MASK] .")
    folder = run.export(tmp_path / "out")
    (folder / "labkit.toml").unlink()
    again = lk.FillMaskPipeline(folder).fill("the film number 3 was [MASK] .")
    assert [each.token for each in again[0]] == [each.token for each in own[0]]
    vectors = lk.EmbeddingPipeline(folder).embed(["the film", "a play"])
    assert vectors.shape == (2, 32)
    run = fit(tmp_path / "lab", "embed", ModernBertConfig(weights=str(folder)), epochs=1)
    assert np.linalg.norm(run.embed("the film")) == pytest.approx(1, rel=1e-5)


def test_what_it_does_not_support(tmp_path: Path) -> None:
    assert "modernbert" in learners(lk.tasks["pretrain"]) and "modernbert" not in learners(lk.tasks["qa"])
    with pytest.raises(ConfigError, match="pooling = 'cls' is for classification"):
        fit(tmp_path, "embed", ModernBertConfig(**SIZES, pooling="cls"))
    with pytest.raises(ConfigError, match="not a multiple of twice heads = 3"):
        ModernBertConfig(**{**SIZES, "heads": 3})
    with pytest.raises(ConfigError, match="rows of 65 tokens exceed max_length = 64"):
        ModernBertConfig(**SIZES).build(nnx.Rngs(0))(jnp.zeros((1, 65), int), jnp.ones((1, 65), bool))


def test_dropout_and_gradients_reach_every_parameter() -> None:
    config = ModernBertConfig(**SIZES, vocab_size=30, dropout=0.2, attention_dropout=0.2)
    graph, state = nnx.split(config.build(nnx.Rngs(0)))
    ids, real = jnp.arange(20).reshape(2, 10), jnp.ones((2, 10), bool)

    def made(state: Any, key: Any) -> Any:
        return nnx.merge(graph, state)(ids, real, key=key).pooled

    one, two = (made(state, jax.random.key(seed)) for seed in (0, 1))
    assert np.array_equal(one, made(state, jax.random.key(0))) and not np.allclose(one, two)
    gradients = jax.grad(lambda state: jnp.sum(made(state, None) * jnp.arange(32)))(state)
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(gradients))
