"""Folders that ``transformers`` wrote (``golden/make.py``) give its answers here, and are written back as they were."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from labkit.core.errors import ConfigError, WeightsError
from labkit.models import weights
from labkit.models.gpt.model import GptConfig
from labkit.models.layers import Segments
from labkit.models.modernbert import ModernBertConfig
from labkit.tasks.decoding import Generation, step_of, write

from .golden.make import DECODERS, ENCODERS, KEPT


def answers(name: str) -> dict[str, Any]:
    kept = dict(np.load(KEPT / f"{name}.npz"))
    return {**kept, "ids": jnp.asarray(kept["ids"], jnp.int32), "real": jnp.asarray(kept["real"])}


def assert_close(ours: Any, theirs: np.ndarray, real: Any = slice(None)) -> None:
    ours, theirs = np.asarray(ours)[real], theirs[real]
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= 1e-4 * np.abs(theirs).max()


def assert_same_tensors(one: Path, other: Path) -> None:
    before, after = weights.Tensors(one), weights.Tensors(other)
    assert set(before) == set(after)
    assert all(np.array_equal(before[each], after[each]) for each in before)


def opened(config: Any) -> Any:
    model = config.build(nnx.Rngs(7))
    assert not config.load(model).missing
    return model


def changed(name: str, folder: Path, **settings: Any) -> str:
    """A copy of a folder with other settings in its config.json; those that are None are taken out."""
    config = {**json.loads((KEPT / name / "config.json").read_text()), **settings}
    (folder / "config.json").write_text(
        json.dumps({key: value for key, value in config.items() if value is not None})
    )
    (folder / "model.safetensors").write_bytes((KEPT / name / "model.safetensors").read_bytes())
    return str(folder)


@pytest.mark.parametrize("name", DECODERS)
def test_a_decoder_gives_the_logits_of_transformers(name: str) -> None:
    config, kept = GptConfig(weights=str(KEPT / name)), answers(name)
    model = opened(config)
    assert_close(
        model.logits(model(kept["ids"], kept["real"]).hidden), kept["logits"], np.asarray(kept["real"])
    )


@pytest.mark.parametrize("name", DECODERS)
def test_a_decoder_writes_with_its_cache_what_transformers_writes(name: str) -> None:
    config, kept = GptConfig(weights=str(KEPT / name)), answers(name)
    model, how = opened(config), Generation(max_new_tokens=8)
    cache = model.start(1, 28)
    made = write(step_of(model), kept["ids"][:1], jnp.array([20]), cache, (23 + 1,), how, jax.random.key(0))
    assert np.asarray(made.ids)[0].tolist() == kept["written"][0].tolist()


@pytest.mark.parametrize("name", DECODERS)
def test_a_packed_row_gives_the_logits_of_its_texts(name: str) -> None:
    config, kept = GptConfig(weights=str(KEPT / name)), answers(name)
    model = opened(config)
    first, second = kept["ids"][1, :5], kept["ids"][2, :13]
    segments = Segments(
        jnp.array([[1] * 5 + [2] * 13]), jnp.array([[*range(5), *range(13)]]), jnp.array([[0, 5]])
    )  # fmt: skip
    ids = jnp.concatenate([first, second])[None]
    found = np.asarray(model.logits(model(ids, jnp.ones_like(ids, bool), None, segments).hidden))[0]
    assert_close(found[:5], kept["logits"][1, :5])
    assert_close(found[5:], kept["logits"][2, :13])


@pytest.mark.parametrize("name", ENCODERS)
def test_an_encoder_gives_the_hidden_states_of_transformers(name: str) -> None:
    config, kept = ModernBertConfig(weights=str(KEPT / name), pooling="mean"), answers(name)
    model = opened(config)
    found = model(kept["ids"], kept["real"])
    assert_close(found.hidden, kept["hidden"], np.asarray(kept["real"]))
    means = np.stack([row[:count].mean(0) for row, count in zip(kept["hidden"], (20, 5, 13), strict=True)])
    assert_close(found.pooled, means)
    segments = Segments(
        jnp.array([[1] * 5 + [2] * 13 + [0] * 2]), jnp.array([[*range(5), *range(13), 0, 0]]), jnp.array([[0, 5]])
    )  # fmt: skip
    ids = jnp.concatenate([kept["ids"][1, :5], kept["ids"][2, :13], jnp.zeros(2, jnp.int32)])[None]
    packed = model(ids, segments.segment > 0, None, segments)
    assert_close(packed.hidden[0, :5], kept["hidden"][1, :5])
    assert_close(packed.hidden[0, 5:18], kept["hidden"][2, :13])
    assert_close(packed.pooled[0], means[1:])
    looks = model.attention(kept["ids"], kept["real"], jnp.zeros_like(kept["ids"]))
    assert looks.shape == (3, 4, 4, 20, 20)
    np.testing.assert_allclose(looks.sum(-1), 1, rtol=1e-5)
    assert np.all(np.asarray(looks)[:, 1, :, 0, 3:] == 0) and np.all(np.asarray(looks)[:, 0, :, 0, 3:5] > 0)


@pytest.mark.parametrize("name", ENCODERS)
def test_an_encoder_is_written_back_as_it_was(name: str, tmp_path: Path) -> None:
    config = ModernBertConfig(weights=str(KEPT / name), pooling="mean")
    config.save(opened(config), tmp_path)
    assert_same_tensors(KEPT / name, tmp_path)
    again = ModernBertConfig(weights=str(tmp_path), pooling="mean")
    assert again.replace(weights=config.weights, pooling="mean") == config
    assert ModernBertConfig.from_dict(config.to_dict()) == config


@pytest.mark.parametrize("name", ("modernbert-first", "modernbert-mean"))
def test_a_classifier_is_written_back_as_it_was(name: str, tmp_path: Path) -> None:
    config = ModernBertConfig(weights=str(KEPT / name)).settled(vectors=False)
    kernel, bias = config.load_classifier(KEPT / name)
    config.save_classifier(opened(config), tmp_path, kernel, bias)
    assert_same_tensors(KEPT / name, tmp_path)
    assert ModernBertConfig(weights=str(tmp_path)).settled(vectors=False).pooling == config.pooling


@pytest.mark.parametrize(("settings", "message"), (
    ({"norm_bias": True}, "norm_bias = True; supported: False"),
    ({"tie_word_embeddings": False}, "tie_word_embeddings = False"),
    ({"hidden_activation": "silu"}, "hidden_activation = 'silu'"),
    ({"classifier_activation": "relu"}, "classifier_activation = 'relu'; supported: 'gelu'"),
    ({"layer_types": ["full_attention"] * 2 + ["sliding_attention"] * 2}, "layer_types = .*supported: global"),
    ({"layer_types": None, "global_attn_every_n_layers": 0}, "supported: global attention"),
    ({"rope_parameters": {"full_attention": {"rope_type": "yarn"}}}, "rope_type = 'yarn'"),
    ({"num_hidden_layers": 10_000}, "num_hidden_layers = 10,000"),
))  # fmt: skip
def test_a_modernbert_that_labkit_does_not_have(
    settings: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(WeightsError, match=message):
        ModernBertConfig(weights=changed("modernbert", tmp_path, **settings))


@pytest.mark.parametrize("name", DECODERS)
def test_a_decoder_is_written_back_as_it_was(name: str, tmp_path: Path) -> None:
    config = GptConfig(weights=str(KEPT / name))
    config.save(opened(config), tmp_path)
    assert_same_tensors(KEPT / name, tmp_path)
    again = GptConfig(weights=str(tmp_path))
    assert again.replace(weights=config.weights) == config
    assert GptConfig.from_dict(config.to_dict()) == config


@pytest.mark.parametrize(("name", "settings", "message"), (
    ("qwen2", {"use_sliding_window": True}, "use_sliding_window = True; supported: False"),
    ("qwen2", {"layer_types": ["full_attention", "sliding_attention"]}, "layer_types has 'sliding_attention'"),
    ("qwen3", {"attention_bias": True}, "attention_bias = True"),
    ("llama3", {"mlp_bias": True}, "mlp_bias = True"),
    ("llama3", {"rope_parameters": {"rope_type": "yarn", "factor": 2.0}}, "rope_type = 'yarn'; supported: 'default', "),
    ("llama3", {"rope_parameters": {"type": "dynamic", "factor": 2.0}}, "rope_type = 'dynamic'"),
    ("llama3", {"rope_parameters": None, "rope_scaling": {"type": "linear"}}, "factor = None; expected a positive"),
    ("llama3", {"rope_parameters": {"rope_type": "linear", "factor": "2"}}, "factor = '2'; expected a positive"),
    ("qwen3", {"model_type": "qwen3_moe"}, "a model of type 'qwen3_moe'; supported: 'gpt2', 'llama', "),
    ("qwen3", {"head_dim": "6"}, "head_dim = '6'; expected"),
))  # fmt: skip
def test_what_labkit_does_not_have_is_refused(
    name: str, settings: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(WeightsError, match=message):
        GptConfig(weights=changed(name, tmp_path, **settings))


def test_both_spellings_of_a_scaling_are_read(tmp_path: Path) -> None:
    old = {"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 3.0,
           "original_max_position_embeddings": 16}  # fmt: skip
    told = changed("llama3", tmp_path, rope_parameters=None, rope_scaling=old, rope_theta=100.0)
    config = GptConfig(weights=told)
    assert (config.rope_scaling, config.rope_base) == ((4.0, 1.0, 3.0, 16.0), 100.0)
    assert config.replace(weights="") == GptConfig(weights=str(KEPT / "llama3")).replace(weights="")


@pytest.mark.parametrize(("settings", "message"), (
    ({"family": "llama", "rope_scaling": (2.0, 1.0)}, "rope_scaling"),
    ({"family": "llama", "rope_scaling": (2.0, 3.0, 1.0, 16.0)}, "rope_scaling"),
    ({"family": "gpt2", "rope_scaling": (2.0,)}, "rope_scaling = \\(2.0,\\), but family 'gpt2' has \\(\\)"),
    ({"family": "gpt2", "head_dim": 8}, "head_dim = 8, but family 'gpt2'"),
    ({"family": "qwen3", "head_dim": 7}, "head dimension 7 is odd"),
))  # fmt: skip
def test_settings_that_cannot_be(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        GptConfig(width=32, depth=1, heads=2, **settings)
