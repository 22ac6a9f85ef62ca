"""BERT with the files of RoBERTa and DistilBERT: folders written here with their names, their arithmetic in NumPy."""

from __future__ import annotations

import json
import math
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file, save_file

from labkit.core.config import dumps, loads
from labkit.core.errors import ConfigError, WeightsError
from labkit.models.bert import layouts
from labkit.models.bert.model import Bert, BertConfig
from labkit.models.encoder import EncoderOutput
from labkit.models.layers import Segments
from labkit.models.weights import Specials

WIDTH, INNER, HEADS, DEPTH, WORDS, LENGTH, CLASSES = 16, 20, 4, 2, 30, 12, 3
#: Names of a layer's parts: as RoBERTa has them (BERT's names), and DistilBERT.
BERT_PARTS = ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense",
              "attention.output.LayerNorm", "intermediate.dense", "output.dense", "output.LayerNorm")  # fmt: skip
DISTILBERT_PARTS = ("attention.q_lin", "attention.k_lin", "attention.v_lin", "attention.out_lin", "sa_layer_norm",
                    "ffn.lin1", "ffn.lin2", "output_layer_norm")  # fmt: skip
CONFIGS: dict[str, dict[str, Any]] = {
    "roberta": {
        "model_type": "roberta",
        "vocab_size": WORDS,
        "hidden_size": WIDTH,
        "num_hidden_layers": DEPTH,
        "num_attention_heads": HEADS,
        "intermediate_size": INNER,
        "max_position_embeddings": LENGTH + 2,
        "type_vocab_size": 1,
        "layer_norm_eps": 1e-5,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.2,
        "pad_token_id": 1,
    },
    "distilbert": {
        "model_type": "distilbert",
        "vocab_size": WORDS,
        "dim": WIDTH,
        "n_layers": DEPTH,
        "n_heads": HEADS,
        "hidden_dim": INNER,
        "max_position_embeddings": LENGTH,
        "activation": "gelu",
        "dropout": 0.1,
        "attention_dropout": 0.2,
        "sinusoidal_pos_embds": False,
        "pad_token_id": 0,
    },
}
FOREIGN = sorted(CONFIGS)


def stored_by(kind: str, headed: bool = True) -> dict[str, np.ndarray]:
    """Random tensors with the names and shapes of RobertaForSequenceClassification and its like, or of the encoder."""
    random = np.random.default_rng(len(kind))
    roberta = kind == "roberta"
    front, layer = f"{kind}.", ("encoder.layer" if roberta else "transformer.layer")
    shapes: dict[str, tuple[int, ...]] = {
        f"{front}embeddings.word_embeddings.weight": (WORDS, WIDTH),
        f"{front}embeddings.position_embeddings.weight": (LENGTH + 2 * roberta, WIDTH),
        f"{front}embeddings.LayerNorm.weight": (WIDTH,),
        f"{front}embeddings.LayerNorm.bias": (WIDTH,),
    }
    if roberta:
        shapes[f"{front}embeddings.token_type_embeddings.weight"] = (1, WIDTH)
    for i in range(DEPTH):
        for part in BERT_PARTS if roberta else DISTILBERT_PARTS:
            n_out = INNER if part in ("intermediate.dense", "ffn.lin1") else WIDTH
            n_in = INNER if part in ("output.dense", "ffn.lin2") else WIDTH
            normal = "orm" in part
            shapes[f"{front}{layer}.{i}.{part}.weight"] = (WIDTH,) if normal else (n_out, n_in)
            shapes[f"{front}{layer}.{i}.{part}.bias"] = (n_out,)
    first, last = ("classifier.dense", "classifier.out_proj") if roberta else ("pre_classifier", "classifier")
    if not headed:
        first = "roberta.pooler.dense" if roberta else "pre_classifier"
    shapes |= {f"{first}.weight": (WIDTH, WIDTH), f"{first}.bias": (WIDTH,)}
    if headed:
        shapes |= {f"{last}.weight": (CLASSES, WIDTH), f"{last}.bias": (CLASSES,)}
    return {name: random.normal(0, 0.5, shape).astype(np.float32) for name, shape in shapes.items()}


def write(folder: Path, kind: str, tensors: dict[str, np.ndarray], **more: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(CONFIGS[kind] | more))
    return folder


def reference(kind: str, stored: dict[str, np.ndarray], ids: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Last hidden states [t, d] and the first layer of the classifier [d] of one text, float64."""
    w = {name: value.astype(np.float64) for name, value in stored.items()}
    roberta = kind == "roberta"
    eps = 1e-5 if roberta else 1e-12

    def dense(x: np.ndarray, name: str) -> np.ndarray:
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        x = x - x.mean(-1, keepdims=True)
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * w[f"{name}.weight"] + w[f"{name}.bias"]

    gelu = np.vectorize(lambda a: a * 0.5 * (1 + math.erf(a / math.sqrt(2))))
    # RoBERTa numbers the tokens of a text from padding_idx + 1 = 2.
    places = [2 + at for at in range(len(ids))] if roberta else list(range(len(ids)))
    x = (
        w[f"{kind}.embeddings.word_embeddings.weight"][ids]
        + w[f"{kind}.embeddings.position_embeddings.weight"][places]
    )
    if roberta:
        x = x + w["roberta.embeddings.token_type_embeddings.weight"][0]
    x = norm(x, f"{kind}.embeddings.LayerNorm")
    for i in range(DEPTH):
        layer = f"roberta.encoder.layer.{i}" if roberta else f"distilbert.transformer.layer.{i}"
        names = [f"{layer}.{part}" for part in (BERT_PARTS if roberta else DISTILBERT_PARTS)]
        q, k, v = (np.stack(np.split(dense(x, name), HEADS, axis=-1)) for name in names[:3])
        odds = np.exp(q @ k.transpose(0, 2, 1) / math.sqrt(WIDTH / HEADS))
        mixed = np.concatenate(list(odds / odds.sum(-1, keepdims=True) @ v), -1)
        x = norm(x + dense(mixed, names[3]), names[4])
        x = norm(x + dense(gelu(dense(x, names[5])), names[6]), names[7])
    if not roberta:
        return x, np.maximum(dense(x[0], "pre_classifier"), 0)
    pooler = "classifier.dense" if "classifier.dense.bias" in w else "roberta.pooler.dense"
    return x, np.tanh(dense(x[0], pooler))


@partial(jax.jit, static_argnums=0)
def compiled(graph: nnx.GraphDef, params: nnx.State, *batch: Any) -> EncoderOutput:
    return nnx.merge(graph, params)(*batch)


def run(model: Bert, *batch: Any) -> EncoderOutput:
    return compiled(*nnx.split(model), *batch)


def loaded(folder: Path, **settings: Any) -> tuple[BertConfig, Bert]:
    config = BertConfig(weights=str(folder), **settings)
    model = config.build(nnx.Rngs(0))
    config.load(model)
    return config, model


TEXTS = ([3, 5, 29, 7, 2], [3, 2], [3, *range(4, 14), 2])
IDS, MASK = np.zeros((3, LENGTH), np.int32), np.zeros((3, LENGTH), bool)
for row, text in enumerate(TEXTS):
    IDS[row, : len(text)], MASK[row, : len(text)] = text, True
IDS[~MASK] = 9  # of no meaning
SECOND = np.where(np.arange(LENGTH) > 2, 1, 0)[None].repeat(3, 0)


@pytest.mark.parametrize("headed", [True, False])
@pytest.mark.parametrize("kind", FOREIGN)
def test_a_folder_of_that_layout_computes_what_numpy_does(kind: str, headed: bool, tmp_path: Path) -> None:
    stored = stored_by(kind, headed)
    _, model = loaded(write(tmp_path, kind, stored))
    out = run(model, jnp.asarray(IDS), jnp.asarray(MASK))
    for row, text in enumerate(TEXTS):
        hidden, pooled = reference(kind, stored, text)
        np.testing.assert_allclose(out.hidden[row, : len(text)], hidden, atol=1e-5)
        np.testing.assert_allclose(out.pooled[row], pooled, atol=1e-5)
    # Neither has a second kind of segments: what a tokenizer says of the second text is not read.
    again = run(model, jnp.asarray(IDS), jnp.asarray(MASK), jnp.asarray(SECOND))
    np.testing.assert_array_equal(out.hidden, again.hidden)


@pytest.mark.parametrize("kind", ["bert", *FOREIGN])
@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_packed_rows_are_read_text_by_text(kind: str, pooling: str) -> None:
    config = BertConfig(layout=kind, vocab_size=WORDS, width=WIDTH, depth=DEPTH, heads=HEADS, mlp_width=INNER,
                        max_length=LENGTH, pooling=pooling)  # fmt: skip
    model = config.build(nnx.Rngs(0))
    model.embeddings.position.embedding[...] *= 20  # so that a wrong position is seen
    packed = np.concatenate([*TEXTS, [9]]).astype(np.int32)[None]
    segment = np.repeat([1, 2, 3, 0], [5, 2, 12, 1])[None].astype(np.int32)
    position = np.concatenate([np.arange(n) for n in (5, 2, 12, 1)])[None].astype(np.int32)
    types = np.zeros_like(packed)
    segments = Segments(jnp.asarray(segment), jnp.asarray(position), jnp.asarray([[0, 5, 7, 0]]))
    whole = run(model, jnp.asarray(packed), jnp.asarray(segment > 0), jnp.asarray(types), segments)
    alone = run(model, jnp.asarray(IDS), jnp.asarray(MASK), jnp.zeros_like(IDS))
    for row, (start, length) in enumerate(((0, 5), (5, 2), (7, 12))):
        np.testing.assert_allclose(
            whole.hidden[0, start : start + length], alone.hidden[row, :length], atol=2e-5
        )
        np.testing.assert_allclose(whole.pooled[0, row], alone.pooled[row], atol=2e-5)


@pytest.mark.parametrize("kind", FOREIGN)
def test_the_sizes_are_read_and_written_back(kind: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "theirs", kind, stored_by(kind))
    config, model = loaded(folder)
    found = {name: getattr(config, name) for name in (field.name for field in fields(BertConfig))}
    eps, types = {"roberta": (1e-5, 1), "distilbert": (1e-12, 0)}[kind]
    assert found == {
        "preset": "", "weights": str(folder), "vocab_size": WORDS, "width": WIDTH, "depth": DEPTH, "heads": HEADS,
        "mlp_width": INNER, "max_length": LENGTH, "types": types, "dropout": 0.1, "attention_dropout": 0.2,
        "norm_eps": eps, "activation": "gelu", "pooling": "auto", "layout": kind, "dtype": "auto", "unroll": 1,
        "remat": False,
    }  # fmt: skip
    again = config.save(model, tmp_path / "ours")
    written = json.loads((again / "config.json").read_text())
    assert written == written | CONFIGS[kind]
    assert written["architectures"] == [{"roberta": "RobertaModel", "distilbert": "DistilBertModel"}[kind]]
    assert BertConfig(weights=str(again)).replace(weights=str(folder)) == config
    assert written["labkit_pooling"] == "cls" and BertConfig(weights=str(again)).pooling == "cls"


@pytest.mark.parametrize("headed", [True, False])
@pytest.mark.parametrize("kind", FOREIGN)
def test_a_folder_goes_in_and_comes_out_bit_for_bit(kind: str, headed: bool, tmp_path: Path) -> None:
    stored = stored_by(kind, headed)
    config, model = loaded(write(tmp_path / "theirs", kind, stored))
    extra, architecture = None, {}
    if headed:
        kernel, bias = config.head_of(stored)
        assert kernel.shape == (WIDTH, CLASSES) and bias.shape == (CLASSES,)
        extra, name = config.head_tensors(kernel, bias)
        architecture = {"architectures": [name]}
    again = config.save(model, tmp_path / "ours", extra, **architecture)
    ours = load_file(again / "model.safetensors")
    expected = stored if headed else {name.removeprefix(f"{kind}."): value for name, value in stored.items()}
    assert ours.keys() == expected.keys()
    for name, value in expected.items():
        assert ours[name].tobytes() == value.tobytes(), name
    said = json.loads((again / "config.json").read_text())["architectures"]
    classes = {"roberta": "Roberta", "distilbert": "DistilBert"}[kind]
    assert said == [f"{classes}{'ForSequenceClassification' if headed else 'Model'}"]


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_classifier_of_labkit_is_one_of_that_layout(kind: str, tmp_path: Path) -> None:
    """Backbone and head, each made here, are what the names in the file mean to a reader that knows only the layout."""
    config, model = loaded(write(tmp_path / "start", kind, stored_by(kind)))
    random = np.random.default_rng(7)
    kernel = jnp.asarray(random.normal(size=(WIDTH, CLASSES)), jnp.float32)
    bias = jnp.asarray(random.normal(size=CLASSES), jnp.float32)
    extra, name = config.head_tensors(kernel, bias)
    folder = config.save(model, tmp_path / "tuned", extra, architectures=[name], id2label={"0": "no"})
    stored = load_file(folder / "model.safetensors")
    logits = run(model, jnp.asarray(IDS), jnp.asarray(MASK)).pooled @ kernel + bias
    last = {"roberta": "classifier.out_proj", "distilbert": "classifier"}[kind]
    for row, text in enumerate(TEXTS):
        _, inner = reference(kind, stored, text)
        theirs = stored[f"{last}.weight"] @ inner + stored[f"{last}.bias"]
        np.testing.assert_allclose(logits[row], theirs, atol=5e-5)
    again, other = loaded(folder)
    np.testing.assert_array_equal(nnx.state(other)["pooler"]["kernel"][...], model.pooler.kernel[...])
    for one, two in zip(again.head_of(stored), (kernel, bias), strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(
    ("kind", "names", "architecture"),
    [
        ("bert", "classifier", "BertForSequenceClassification"),
        ("roberta", "classifier.out_proj", "RobertaForSequenceClassification"),
        ("xlm-roberta", "classifier.out_proj", "XLMRobertaForSequenceClassification"),
        ("distilbert", "classifier", "DistilBertForSequenceClassification"),
    ],
)
def test_a_head_on_the_pooler_is_the_classifier_of_the_layout(
    kind: str, names: str, architecture: str, tmp_path: Path
) -> None:
    config = BertConfig(preset="tiny", vocab_size=5, width=4, heads=1, max_length=3, layout=kind)
    model, kernel, bias = (
        config.build(nnx.Rngs(0)),
        np.arange(8.0, dtype=np.float32).reshape(4, 2),
        np.ones(2),
    )
    config.save_classifier(model, tmp_path, kernel, bias, max_length=3)
    stored, said = (
        load_file(tmp_path / "model.safetensors"),
        json.loads((tmp_path / "config.json").read_text()),
    )
    assert said["architectures"] == [architecture] and said["model_type"] == kind
    encoder = {name for name in stored if name.startswith(f"{kind.removeprefix('xlm-')}.")}
    outside = {name.removesuffix(".weight") for name in set(stored) - encoder if name.endswith(".weight")}
    layer = {"roberta": "classifier.dense", "xlm-roberta": "classifier.dense", "distilbert": "pre_classifier"}
    assert outside == {names} | ({layer[kind]} if kind in layer else set())
    assert BertConfig(weights=str(tmp_path)).pooled_by == "cls"
    np.testing.assert_array_equal(BertConfig(weights=str(tmp_path)).load_classifier(tmp_path)[0], kernel)
    fresh = config.build(nnx.Rngs(1))
    report = config.load(fresh, tmp_path)
    assert not report.missing and set(report.ignored) == {f"{names}.weight", f"{names}.bias"}


@pytest.mark.parametrize("kind", layouts.LAYOUTS)
@pytest.mark.parametrize("pooling", layouts.POOLINGS[1:])
def test_a_head_on_another_pooling_is_a_sentence_folder(kind: str, pooling: str, tmp_path: Path) -> None:
    """No config.json at the root: there is no class of transformers that would compute this."""
    config = BertConfig(
        preset="tiny", vocab_size=5, width=4, heads=1, max_length=3, layout=kind, pooling=pooling
    )
    model, kernel, bias = (
        config.build(nnx.Rngs(0)),
        np.arange(8.0, dtype=np.float32).reshape(4, 2),
        np.ones(2, "f4"),
    )
    config.save_classifier(model, tmp_path, kernel, bias, max_length=3)
    assert not (tmp_path / "config.json").exists() and not (tmp_path / "model.safetensors").exists()
    said = json.loads((tmp_path / "0_Transformer" / "config.json").read_text())
    assert said["architectures"] == [f"{layouts.LAYOUTS[kind].classes}Model"]
    assert not any("pooler" in name for name in load_file(tmp_path / "0_Transformer" / "model.safetensors"))
    again = BertConfig(weights=str(tmp_path), pooling=pooling)
    assert again.layout == kind and BertConfig(weights=str(tmp_path)).settled(vectors=True).pooling == pooling
    for one, two in zip(again.load_classifier(tmp_path), (kernel, bias), strict=True):
        np.testing.assert_array_equal(one, two)
    fresh = again.build(nnx.Rngs(1))
    assert not again.load(fresh).missing
    np.testing.assert_array_equal(fresh.layers.query.kernel[...], model.layers.query.kernel[...])
    with pytest.raises(ConfigError, match=r"has no .*ForSequenceClassification with pooling"):
        config.head_tensors(kernel, bias)


def test_the_first_layer_of_a_classifier_comes_before_an_older_pooler(tmp_path: Path) -> None:
    stored = stored_by("roberta")
    old = {
        f"roberta.pooler.dense.{name}": value
        for name, value in (("weight", np.eye(WIDTH)), ("bias", np.ones(WIDTH)))
    }
    more = {name: value.astype(np.float32) for name, value in old.items()}
    more |= {
        "lm_head.bias": np.zeros(WORDS, np.float32),
        "roberta.embeddings.position_ids": np.zeros((1, 14), np.int64),
    }
    config = BertConfig(weights=str(write(tmp_path, "roberta", stored | more)))
    model = config.build(nnx.Rngs(0))
    report = config.load(model)
    np.testing.assert_array_equal(model.pooler.kernel[...], stored["classifier.dense.weight"].T)
    assert set(report.ignored) == {*more, "classifier.out_proj.weight", "classifier.out_proj.bias"}
    # A head on the mean uses neither.
    mean = config.replace(pooling="mean")
    assert set(mean.load(mean.build(nnx.Rngs(0)), tmp_path).ignored) > {"classifier.dense.weight", *old}


def test_heads_of_pretraining_are_left_and_a_pooler_that_is_not_there_stays_fresh(tmp_path: Path) -> None:
    stored = {name: value for name, value in stored_by("distilbert").items() if "classifier" not in name}
    more = {
        f"{part}.bias": np.zeros(3, np.float32)
        for part in ("vocab_transform", "vocab_layer_norm", "vocab_projector")
    }
    config = BertConfig(weights=str(write(tmp_path, "distilbert", stored | more)))
    report = config.load(config.build(nnx.Rngs(0)))
    assert set(report.ignored) == set(more)
    assert report.missing == ("pre_classifier.weight", "pre_classifier.bias")


def test_rows_of_positions_that_no_token_reads(tmp_path: Path) -> None:
    config = BertConfig(layout="roberta", vocab_size=5, width=4, depth=1, heads=1, max_length=3)
    model = config.build(nnx.Rngs(0))
    stored = load_file(config.save(model, tmp_path) / "model.safetensors")[
        "embeddings.position_embeddings.weight"
    ]
    assert stored.shape == (5, 4) and not stored[:2].any() and stored[2:].all()
    ids = jnp.ones((1, 3), jnp.int32)
    slopes = jax.grad(
        lambda table: (set_positions(model, table)(ids, ids > 0).pooled * jnp.arange(4.0)).sum()
    )
    moved = np.asarray(slopes(model.embeddings.position.embedding[...])).any(axis=1)
    assert moved.tolist() == [False, False, True, True, True]
    with pytest.raises(ConfigError, match="rows of 4 tokens exceed max_length = 3"):
        model(jnp.ones((1, 4), jnp.int32), jnp.ones((1, 4), bool))


@pytest.mark.parametrize("pad", [0, 4])
def test_positions_are_counted_from_the_padding_of_the_tokenizer(pad: int, tmp_path: Path) -> None:
    """As RoBERTa does in transformers; the table there has other unread rows, and the same rows for tokens."""
    config = BertConfig(layout="roberta", vocab_size=9, width=4, depth=1, heads=1, max_length=3)
    model = config.build(nnx.Rngs(0))
    folder = config.save(model, tmp_path, specials=Specials(pad, 2, 3))
    said = json.loads((folder / "config.json").read_text())
    assert (said["pad_token_id"], said["max_position_embeddings"]) == (pad, pad + 1 + 3)
    table = load_file(folder / "model.safetensors")["embeddings.position_embeddings.weight"]
    own = np.asarray(model.embeddings.position.embedding[...])
    assert not table[: pad + 1].any()
    np.testing.assert_array_equal(table[pad + 1 :], own[2:])
    again, back = loaded(folder)
    assert again.max_length == 3
    np.testing.assert_array_equal(back.embeddings.position.embedding[...], own)


def set_positions(model: Bert, table: jax.Array) -> Bert:
    graph, state = nnx.split(model)
    state["embeddings"]["position"]["embedding"] = state["embeddings"]["position"]["embedding"].replace(table)
    return nnx.merge(graph, state)


# Sizes and settings. roberta-base and distilbert-base as published; the two rows no token reads are counted there too.


@pytest.mark.parametrize(
    ("settings", "count"),
    [
        ({"preset": "roberta-base"}, 124_645_632),
        ({"preset": "roberta-base", "vocab_size": 250_002}, 278_043_648),  # XLM-R base
        ({"preset": "distilbert-base", "pooling": "mean"}, 66_362_880),
        ({"preset": "distilbert-base"}, 66_362_880 + 768 * 769),  # with the first layer of its classifier
    ],
)
def test_published_sizes(settings: dict[str, Any], count: int) -> None:
    config = BertConfig(**settings)
    assert config.count() == count
    assert (config.max_length, config.heads, config.mlp_width) == (512, 12, 3072)


def test_presets_of_the_layouts() -> None:
    roberta, distilbert = BertConfig(preset="roberta-base"), BertConfig(preset="distilbert-base")
    assert (roberta.layout, roberta.types, roberta.norm_eps, roberta.vocabulary) == (
        "roberta",
        1,
        1e-5,
        50265,
    )
    assert (distilbert.layout, distilbert.types, distilbert.depth, distilbert.vocabulary) == (
        "distilbert",
        0,
        6,
        30522,
    )
    assert roberta.weights == distilbert.weights == "" and roberta.vocab_size is None


def test_settings_travel_and_other_weights_bring_their_layout(tmp_path: Path) -> None:
    config = BertConfig(layout="distilbert", width=64, depth=2)
    assert config.to_dict() == {
        "layout": "distilbert", "width": 64, "depth": 2, "heads": 1, "mlp_width": 256, "types": 0,
    }  # fmt: skip
    assert loads(BertConfig, dumps(config)) == config
    roberta = BertConfig(weights=str(write(tmp_path / "r", "roberta", stored_by("roberta"))), unroll=2)
    assert loads(BertConfig, dumps(roberta)) == roberta
    other = roberta.replace(weights=str(write(tmp_path / "d", "distilbert", stored_by("distilbert"))))
    assert (other.layout, other.types, other.unroll) == ("distilbert", 0, 2)
    assert roberta.replace(preset="tiny", weights="") == BertConfig(preset="tiny", unroll=2)
    # Settings written before there were layouts are BERT's.
    old = {
        name: value
        for name, value in BertConfig(preset="tiny", weights="x").to_dict().items()
        if name != "layout"
    }
    assert BertConfig.from_dict(old).layout == "bert"


def test_xlm_roberta_stays_what_it_is(tmp_path: Path) -> None:
    stored = stored_by("roberta", headed=False)
    config, model = loaded(write(tmp_path / "in", "roberta", stored, model_type="xlm-roberta"))
    assert (config.layout, config.vocab_size, config.max_length) == ("xlm-roberta", WORDS, LENGTH)
    said = json.loads((config.save(model, tmp_path / "out") / "config.json").read_text())
    assert (said["model_type"], said["architectures"]) == ("xlm-roberta", ["XLMRobertaModel"])


def test_what_config_json_leaves_out_is_what_transformers_takes_it_for(tmp_path: Path) -> None:
    for kind in FOREIGN:
        (tmp_path / "config.json").write_text(json.dumps({"model_type": kind}))
        config = BertConfig(weights=str(tmp_path))
        found = (
            config.vocab_size,
            config.depth,
            config.width,
            config.max_length,
            config.types,
            config.norm_eps,
        )
        assert found == {
            "roberta": (50265, 12, 768, 510, 2, 1e-12), "distilbert": (30522, 6, 768, 512, 0, 1e-12),
        }[kind]  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        (
            {"layout": "distilbert", "types": 2},
            r"types = 2, but layout 'distilbert' always has 0: omit types",
        ),
        (
            {"layout": "distilbert", "norm_eps": 1e-5},
            "norm_eps = 1e-05, but layout 'distilbert' always has 1e-12",
        ),
        ({"types": 0}, "types = 0, but layout 'bert' has at least 1 segment type"),
        (
            {"layout": "robert"},
            "layout = 'robert' is not one of bert, roberta, xlm-roberta, distilbert. Did you mean 'roberta'",
        ),
    ],
)
def test_what_a_layout_cannot_hold_is_refused(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        BertConfig(**settings)


def test_folders_that_are_not_as_supported(tmp_path: Path) -> None:
    write(tmp_path, "roberta", {}, pad_token_id="<pad>")
    with pytest.raises(
        WeightsError, match="pad_token_id = '<pad>'; positions are counted from it: expected a number"
    ):
        BertConfig(weights=str(tmp_path))
    write(tmp_path, "distilbert", {}, activation="silu")
    with pytest.raises(WeightsError, match="activation 'silu'"):
        BertConfig(weights=str(tmp_path))
    write(tmp_path, "distilbert", {}, dim="768")
    with pytest.raises(WeightsError, match="dim = '768'; expected numbers"):
        BertConfig(weights=str(tmp_path))


def test_a_head_that_is_not_there_or_does_not_fit() -> None:
    config = BertConfig(preset="tiny", layout="roberta")
    with pytest.raises(
        WeightsError, match=r"no classifier.out_proj.weight and no classifier.out_proj.bias: .*'roberta'"
    ):
        config.head_of({"classifier.weight": np.zeros((2, 128))})
    with pytest.raises(
        WeightsError, match=r"classifier.weight \[2, 64\] .* not a classifier for vectors of width 128"
    ):
        config.replace(layout="bert").head_of(
            {"classifier.weight": np.zeros((2, 64)), "classifier.bias": np.zeros(2)}
        )


def test_a_file_of_another_layout_is_not_taken(tmp_path: Path) -> None:
    config, _ = loaded(write(tmp_path, "roberta", stored_by("roberta")))
    other = BertConfig.from_dict({**config.to_dict(), "layout": "bert"})
    with pytest.raises(WeightsError, match="37 missing in the file"):
        other.load(other.build(nnx.Rngs(0)))
