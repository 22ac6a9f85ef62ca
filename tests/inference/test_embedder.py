"""Vectors of texts: from a run, from weights without a pooler, and the angles that real weights are known by."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file, save_file

import labkit as lk
from labkit.core.errors import WeightsError

TEXTS = ["a fine film", "dull and far too long, with nothing to say", "good"]


def test_vectors_of_a_run_are_what_its_encoder_pools(finished, tmp_path):
    folder = finished.export(tmp_path / "out")
    found = lk.EmbeddingPipeline(folder).embed(TEXTS)
    config = lk.models["bert"](weights=str(folder))
    model = config.build(nnx.Rngs(0))
    config.load(model)
    for text, vector in zip(TEXTS, found, strict=True):
        ids = lk.Tokenizer.load(folder).encode([text], max_length=32).ids[None]
        pooled = np.asarray(jax.jit(lambda ids: model(ids, ids >= 0).pooled)(ids)[0])
        np.testing.assert_allclose(vector, pooled / np.linalg.norm(pooled), atol=1e-5)
    np.testing.assert_array_equal(finished.embed(TEXTS), found)
    seen, tokenizer = lk.EmbeddingPipeline(folder).attention(TEXTS[0], "dull"), lk.Tokenizer.load(folder)
    asked = tokenizer.encode(TEXTS[:1], ["dull"])
    assert list(seen.tokens) == tokenizer.names(asked.ids) and seen.tokens[0] == "[CLS]"
    assert seen.weights.shape == (2, 2, len(seen.tokens), len(seen.tokens))
    np.testing.assert_allclose(seen.weights.sum(-1), 1, atol=1e-5)
    again = lk.EmbeddingPipeline(folder, device=jax.devices()[-1])
    assert repr(again) == "<EmbeddingPipeline: vectors of 16>" and again.embed([]).shape == (0, 16)
    np.testing.assert_allclose(again(TEXTS[0]), found[0], atol=1e-6)


def test_weights_without_a_pooler_give_the_mean(finished, tmp_path):
    folder = finished.export(tmp_path / "out")
    for name in ("labkit.toml", "labkit-manifest.json"):
        (folder / name).unlink()
    tensors = load_file(folder / "model.safetensors")
    left = {name: value for name, value in tensors.items() if "pooler" not in name}
    save_file(left, folder / "model.safetensors")
    model = lk.EmbeddingPipeline(str(folder))
    config = lk.models["bert"](weights=str(folder), pooling="mean")
    same = config.build(nnx.Rngs(0))
    config.load(same)
    ids = jnp.asarray(lk.Tokenizer.load(folder).encode(TEXTS[:1]).ids[None])
    mean = np.asarray(jax.jit(lambda ids: same(ids, ids >= 0).pooled)(ids)[0])
    np.testing.assert_allclose(model.embed(TEXTS)[0], mean / np.linalg.norm(mean), atol=1e-5)
    cosines = model.similarity(TEXTS, TEXTS[:2])
    assert cosines.shape == (3, 2) and np.diag(cosines) == pytest.approx([1, 1], abs=1e-5)


def test_models_that_make_no_vectors_are_refused(tmp_path):
    text = [{"text": f"the cat saw the dog {number} times"} for number in range(40)]
    model = lk.models["gpt"](depth=1, width=16, heads=2, max_length=32)
    run = lk.fit(
        lk.load(text, label=False), model, task="lm", folder=tmp_path, background=False, epochs=1, max_length=16,
        vocabulary=280,
    )  # fmt: skip
    with pytest.raises(WeightsError, match="'model' contains a gpt; embeddings need an encoder: bert"):
        run.embed(["the cat"])
    with pytest.raises(WeightsError, match="nor a folder that exists"):
        lk.EmbeddingPipeline("minilm-l7")


@pytest.mark.samples
@pytest.mark.parametrize(
    ("name", "texts", "near", "far"),
    [
        (
            "minilm-l6",
            ["A man is playing a guitar on stage.", "Someone performs music with a guitar.",
             "The stock market fell sharply today."],
            (0, 1, 0.686), (0, 2, -0.083),
        ),
        (
            "e5-small",
            ["query: 今天天气很好", "query: The weather is nice today", "query: I like to eat apples"],
            (0, 1, 0.895), (0, 2, 0.765),
        ),
    ],
)  # fmt: skip
def test_real_weights_have_the_published_angles(name, texts, near, far):
    cosines = lk.EmbeddingPipeline(name).similarity(texts)
    for one, other, cosine in (near, far):
        assert cosines[one, other] == pytest.approx(cosine, abs=0.003)


@pytest.mark.samples
def test_the_preset_says_what_the_folder_says():
    preset, read = lk.models["bert"](preset="e5-small"), lk.models["bert"](weights="e5-small")
    names = set(type(preset).__dataclass_fields__) - {"preset"}
    assert {name: getattr(preset, name) for name in names} == {name: getattr(read, name) for name in names}
