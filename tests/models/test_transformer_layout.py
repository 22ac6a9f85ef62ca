"""Settings and folders of Transformers: the same bits and settings back, and what does not fit refused."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file, save_file

from labkit.core.config import dumps, loads
from labkit.core.errors import ConfigError, WeightsError
from labkit.models import weights
from labkit.models.seq2seq import layers
from labkit.models.seq2seq.model import PRESETS, Transformer, TransformerConfig

# More layers in one stack than in the other, so that mixing them up is seen.
SMALL = TransformerConfig(
    vocab_size=50, width=32, encoder_depth=3, decoder_depth=2, heads=4, mlp_width=48, max_length=24
)


def abstract(config: TransformerConfig) -> Transformer:
    """A model of shapes."""
    return nnx.eval_shape(lambda: config.build(nnx.Rngs(0)))


def noisy(config: TransformerConfig, seed: int = 0) -> Transformer:
    """A model whose every parameter, norms and biases too, is away from its initial value."""
    random, (graph, shapes) = np.random.default_rng(seed), nnx.split(abstract(config))
    values = [
        (
            path,
            leaf.replace(jnp.asarray((path[-1] == "scale") + random.normal(0, 0.2, leaf.shape), jnp.float32)),
        )
        for path, leaf in nnx.to_flat_state(shapes)
    ]
    return nnx.merge(graph, nnx.from_flat_state(values))


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({}, "marian"),
        ({"output_bias": True, "activation": "swish"}, "marian"),
        ({"norm_first": True, "activation": "gelu_tanh", "attention_dropout": 0.1}, "pegasus"),
    ],
)
def test_a_folder_gives_back_the_same_bits_and_settings(changes: dict, kind: str, tmp_path: Path) -> None:
    config = SMALL.replace(**changes)
    model = noisy(config)
    config.save(model, tmp_path, pad_token_id=49, eos_token_id=3)
    written = json.loads((tmp_path / "config.json").read_text())
    assert written["model_type"] == kind
    assert (written["pad_token_id"], written["eos_token_id"], written["decoder_start_token_id"]) == (49, 3, 0)
    assert load_file(tmp_path / "model.safetensors")["final_logits_bias"].shape == (1, 50)

    found = TransformerConfig(weights=str(tmp_path))
    assert dataclasses.replace(found, weights="") == config
    other = noisy(found, seed=5)
    report = found.load(other)
    assert not report.missing and not report.cast
    positions = tuple(f"model.{side}.embed_positions.weight" for side in ("decoder", "encoder"))
    assert sorted(report.ignored) == [
        *["final_logits_bias"] * (not config.output_bias),
        *positions * config.norm_first,
    ]
    for ours, theirs in zip(
        jax.tree.leaves(nnx.state(model)), jax.tree.leaves(nnx.state(other)), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_tied_copies_and_stored_sinusoids_are_left_unread(tmp_path: Path) -> None:
    model = noisy(SMALL.replace(output_bias=True))
    table = np.asarray(model.word.embedding[...])
    copies = {f"model.{side}.embed_tokens.weight": table for side in ("encoder", "decoder")} | {
        "lm_head.weight": table
    }
    model.config.save(
        model, tmp_path, {**copies, "model.encoder.embed_positions.weight": layers.sinusoids(24, 32)}
    )
    report = model.config.load(noisy(model.config, seed=5), tmp_path)
    assert set(report.ignored) == {*copies, "model.encoder.embed_positions.weight"}


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    model = noisy(SMALL.replace(output_bias=True))
    model.config.save(model, tmp_path)
    plain, first = noisy(SMALL), noisy(SMALL.replace(norm_first=True, output_bias=True))
    before = plain.word.embedding[...]
    with pytest.raises(WeightsError, match=r"has a final_logits_bias, .* set output_bias=True"):
        plain.config.load(plain, tmp_path)
    np.testing.assert_array_equal(plain.word.embedding[...], before)
    with pytest.raises(WeightsError, match=r"missing in the file:\n  model.encoder.layer_norm.weight"):
        first.config.load(first, tmp_path)
    with pytest.raises(WeightsError, match="has no weights"):
        SMALL.load(plain)

    tensors = load_file(tmp_path / "model.safetensors")
    del tensors["final_logits_bias"], tensors["model.decoder.layers.1.encoder_attn.k_proj.bias"]
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(
        WeightsError, match=r"1 missing in the file:\n  model.decoder.layers.1.encoder_attn.k_proj.bias"
    ):
        model.config.load(model, tmp_path)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"model_type": "bart"}, "of type 'bart'; supported: 'marian', 'pegasus'"),
        ({"scale_embedding": False}, "scale_embedding = False; supported: True"),
        ({"scale_embedding": None}, "scale_embedding = False; supported: True"),  # left out
        (
            {"share_encoder_decoder_embeddings": False},
            "share_encoder_decoder_embeddings = False; supported: True",
        ),
        ({"tie_word_embeddings": False}, "tie_word_embeddings = False"),
        ({"decoder_ffn_dim": 99}, "encoder_ffn_dim = 48 and decoder_ffn_dim = 99; they must agree"),
        ({"decoder_attention_heads": 2}, "encoder_attention_heads = 4 and decoder_attention_heads = 2"),
        ({"activation_function": "mish"}, "activation_function = 'mish'; supported: relu, gelu"),
        ({"d_model": "32"}, "d_model = '32'; expected numbers"),
        ({"encoder_layers": None}, "lacks encoder_layers"),  # left out
    ],
)
def test_folders_of_other_kinds_are_refused(changes: dict[str, object], text: str, tmp_path: Path) -> None:
    SMALL.save(noisy(SMALL), tmp_path)
    config = {**json.loads((tmp_path / "config.json").read_text()), **changes}
    config = {key: value for key, value in config.items() if value is not None}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError, match=text):
        TransformerConfig(weights=str(tmp_path))


def test_every_parameter_has_its_name(tmp_path: Path) -> None:
    """The table covers the model and nothing else: as many numbers in the file as the config counts."""
    for first in (False, True):
        config = SMALL.replace(norm_first=first, output_bias=True)
        config.save(noisy(config), tmp_path)
        stored = load_file(tmp_path / "model.safetensors")
        positions = {name: stored.pop(name) for name in list(stored) if "embed_positions" in name}
        assert sum(array.size for array in stored.values()) == config.count()
        assert len(weights.flatten(abstract(config))) == 44 + 4 * first
        # Pegasus readers look for the sinusoids.
        assert {array.shape for array in positions.values()} == ({(24, 32)} if first else set())


# Settings.


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_a_preset_is_one_line_of_toml(preset: str) -> None:
    config = TransformerConfig(preset=preset)
    assert dumps(config) == f'preset = "{preset}"\n'
    assert loads(TransformerConfig, dumps(config)) == config


@pytest.mark.parametrize(
    ("config", "kept"),
    [
        (TransformerConfig(), {}),
        (TransformerConfig(preset="tiny", norm_first=True), {"preset": "tiny", "norm_first": True}),
        (TransformerConfig(preset="big", dropout=0.1), {"preset": "big", "dropout": 0.1}),
        (TransformerConfig(width=128), {"width": 128, "heads": 2, "mlp_width": 512}),
    ],
)
def test_settings_keep_what_differs_and_round_trip(
    config: TransformerConfig, kept: dict[str, object]
) -> None:
    assert config.to_dict() == kept
    assert loads(TransformerConfig, dumps(config)) == config


def test_sizes_are_those_of_the_paper() -> None:
    fields = (
        "encoder_depth",
        "decoder_depth",
        "width",
        "heads",
        "mlp_width",
        "dropout",
        "norm_first",
        "activation",
    )
    sizes = {
        name: tuple(getattr(TransformerConfig(preset=name), field) for field in fields) for name in PRESETS
    }
    assert sizes == {
        "tiny": (2, 2, 128, 4, 512, 0.1, False, "relu"),
        "base": (6, 6, 512, 8, 2048, 0.1, False, "relu"),
        "big": (6, 6, 1024, 16, 4096, 0.3, False, "relu"),
    }
    assert TransformerConfig(preset="tiny", dropout=0.2).replace(preset="big") == TransformerConfig(
        "big", dropout=0.2
    )
    assert TransformerConfig.modality == "pair" and not TransformerConfig.packs


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"preset": "bse"}, "TransformerConfig.preset = 'bse' is not one of .* Did you mean 'base'?"),
        ({"preset": "tiny", "heads": 3}, "width = 128 is not a multiple of heads = 3"),
        ({"preset": "tiny", "activation": "reul"}, "Did you mean 'relu'?"),
        ({"preset": "tiny", "encoder_depth": 0}, "encoder_depth = 0 is below the minimum, 1"),
        ({"preset": "tiny", "decoder_dept": 3}, "no setting 'decoder_dept'. Did you mean 'decoder_depth'?"),
        ({"preset": "tiny", "norm_first": "yes"}, "norm_first = 'yes' is a str; it must be bool"),
    ],
)
def test_bad_settings_say_what_is_wrong(settings: dict[str, object], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        TransformerConfig.from_dict(settings)
