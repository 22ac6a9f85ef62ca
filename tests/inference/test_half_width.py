"""Pipelines in half width, and how often they compile."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import labkit as lk
from labkit.core.errors import ConfigError
from labkit.inference.pipeline import rounded_up
from labkit.models.gpt.model import GptConfig

COMPILED = "/jax/core/compile/backend_compile_duration"


@pytest.fixture
def compiled():
    """The programs that were compiled since, as a list that grows."""
    found: list[str] = []
    listener = lambda event, *_more, **_named: found.append(event) if event == COMPILED else None  # noqa: E731
    jax.monitoring.register_event_duration_secs_listener(listener)
    yield found
    jax.monitoring.unregister_event_duration_listener(listener)


@pytest.fixture(scope="module")
def writer(tmp_path_factory):
    """A small decoder with new weights, in a folder as transformers has them."""
    from labkit.data.text.tokenizer import Tokenizer

    folder = tmp_path_factory.mktemp("writer")
    tokenizer = Tokenizer.train(
        ["a small text of a few words, again and again"] * 8, kind="bpe", vocab_size=300
    )
    config = GptConfig(family="llama", width=64, depth=3, heads=4, kv_heads=2, mlp_width=96, max_length=512,
                       vocab_size=tokenizer.vocab_size)  # fmt: skip
    config.save(config.build(nnx.Rngs(0)), folder)
    tokenizer.save(folder)
    return folder


def test_sizes_are_few():
    assert [rounded_up(n) for n in range(1, 18)] == [1, 2, 3, 4, *[6] * 2, *[8] * 2, *[12] * 4, *[16] * 4, 24]
    assert [rounded_up(n, 32) for n in (1, 32, 33, 65, 97, 129)] == [32, 32, 64, 96, 128, 192]


@pytest.mark.soak
def test_unstacked_layers_write_what_stacked_ones_do(writer):
    pipeline = lk.TextGenerationPipeline(writer, dtype="float32")
    config = GptConfig(weights=str(writer))
    model = config.build(nnx.Rngs(0))
    config.load(model)
    text = "a small text"
    ids = pipeline.ids_of(text)
    for _unused in range(12):
        seen = model(jnp.asarray(ids)[None], jnp.ones((1, len(ids)), bool))
        ids = np.append(ids, np.asarray(model.logits(seen.hidden))[0, -1].argmax())
    written = pipeline.generate(text, max_new_tokens=12)
    assert written == pipeline.tokenizer.decode(ids[len(pipeline.ids_of(text)) :])


def test_no_recompilation_of_prompts_of_similar_size(writer, compiled):
    pipeline = lk.TextGenerationPipeline(writer)
    pipeline.generate(["a", "text of words"], max_new_tokens=20)
    assert compiled
    compiled.clear()
    for prompts, number in (
        (["again", "small"], 7),
        (
            [
                "a small",
                "few",
            ],
            32,
        ),
        (["words and words", "a"], 9),
    ):
        pipeline.generate(prompts, max_new_tokens=number)
    assert not compiled


def test_several_prompts_together_are_written_as_each_alone(writer):
    pipeline = lk.TextGenerationPipeline(writer)
    prompts = ["a", "small text of words", "again and again", "few", "of a"]
    together = pipeline.generate(prompts, max_new_tokens=10)
    assert together == [pipeline.generate(prompt, max_new_tokens=10) for prompt in prompts]


def test_half_width_decides_as_float32_where_the_margin_is_wide(writer):
    exact, half = (lk.TextGenerationPipeline(writer, dtype=dtype) for dtype in ("float32", "bfloat16"))
    ids = jnp.arange(40, dtype=jnp.int32)[None] % exact.tokenizer.vocab_size
    mask = jnp.ones(ids.shape, bool)
    logits = [np.asarray(each.model.logits(each.model(ids, mask).hidden)) for each in (exact, half)]
    off = np.abs(logits[0] - logits[1]).max()
    assert 0 < off < 0.02 * np.abs(logits[0]).max()
    best = np.sort(logits[0], -1)
    sure = best[..., -1] - best[..., -2] > 2 * off
    assert sure.any() and (logits[0].argmax(-1) == logits[1].argmax(-1))[sure].all()
    kernels = [leaf for leaf in jax.tree.leaves(half._state) if leaf.ndim == 2]
    assert sum(leaf.dtype == jnp.bfloat16 for leaf in kernels) >= len(kernels) - 1


def test_unknown_dtype_is_refused(writer):
    with pytest.raises(ConfigError, match=r"unknown dtype 'bfloat32'. Did you mean 'bfloat16'\?|Known"):
        lk.TextGenerationPipeline(writer, dtype="bfloat32")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """A small encoder with new weights, in a folder as transformers has them."""
    from labkit.data.text.tokenizer import Tokenizer
    from labkit.models.bert.model import BertConfig

    folder = tmp_path_factory.mktemp("encoder")
    tokenizer = Tokenizer.train(["a small text of a few words, again and again"] * 8, vocab_size=120)
    config = BertConfig(preset="tiny", width=64, depth=2, heads=4, mlp_width=96, max_length=128, pooling="mean",
                        vocab_size=tokenizer.vocab_size)  # fmt: skip
    config.save(config.build(nnx.Rngs(0)), folder)
    tokenizer.save(folder)
    return folder


def some_texts(count: int) -> list[str]:
    words = ["a", "small", "text", "of", "few", "words", "again", "and"]
    random = np.random.default_rng(0)
    return [" ".join(random.choice(words, int(random.integers(1, 60)))) for _unused in range(count)]


def test_vectors_of_many_texts_are_those_of_each(encoder, monkeypatch):
    monkeypatch.setattr("labkit.inference.pipeline.PORTION", 16)
    pipeline, texts = lk.EmbeddingPipeline(encoder, dtype="float32"), some_texts(70)
    found = pipeline.embed(texts)
    assert np.abs(found - [pipeline.embed(text) for text in texts]).max() < 1e-5


def test_vectors_in_half_width_are_near_those_in_float32(encoder):
    texts = some_texts(40)
    exact, half = (
        lk.EmbeddingPipeline(encoder, dtype=dtype).embed(texts) for dtype in ("float32", "bfloat16")
    )
    cosines = (exact * half).sum(1)
    assert cosines.min() > 0.999 and np.abs(exact - half).max() > 0


def test_no_recompilation_of_texts_of_similar_size(encoder, compiled):
    pipeline, texts = lk.EmbeddingPipeline(encoder), some_texts(200)
    pipeline.embed(texts)
    compiled.clear()
    pipeline.embed(texts[100:] + texts[:100] + texts[:33])
    assert not compiled


@pytest.mark.parametrize("count", [0, 1, 5, 32, 70])
def test_only_one_batch_of_sorted_texts_is_not_full(encoder, count):
    processor = lk.EmbeddingPipeline(encoder).processor
    batches = processor.to_predict(some_texts(count))
    indices = [batch["index"] for batch in batches]
    found = np.concatenate(indices) if indices else np.zeros(0)
    assert sorted(found[found >= 0]) == list(range(count))
    assert sum((index < 0).any() for index in indices) <= 1
