"""The heads of pretraining against NumPy, on random weights and on real ones, and their files."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file, save_file

from labkit.core.errors import ConfigError, WeightsError
from labkit.hub import samples
from labkit.models import weights
from labkit.models.bert import heads as bert_heads
from labkit.models.bert.heads import PretrainingHeads
from labkit.models.bert.model import BertConfig

SMALL = BertConfig(vocab_size=40, width=16, depth=2, heads=2, mlp_width=24, max_length=10)
#: Layout → names of dense, norm and the bias of the masked-word head.
NAMES = {
    "bert": ("cls.predictions.transform.dense", "cls.predictions.transform.LayerNorm", "cls.predictions"),
    "roberta": ("lm_head.dense", "lm_head.layer_norm", "lm_head"),
    "distilbert": ("vocab_transform", "vocab_layer_norm", "vocab_projector"),
}
FOLLOWS = "cls.seq_relationship"


def noisy(module: Any, seed: int = 0) -> Any:
    """A module whose every parameter is away from its initial value."""
    keys = iter(jax.random.split(jax.random.key(seed), 100))
    nnx.update(
        module, jax.tree.map(lambda p: p + 0.3 * jax.random.normal(next(keys), p.shape), nnx.state(module))
    )
    return module


def made(config: BertConfig = SMALL) -> tuple[Any, PretrainingHeads]:
    return noisy(config.build(nnx.Rngs(0))), noisy(PretrainingHeads(config, nnx.Rngs(1)), 1)


def reference(
    stored: dict[str, np.ndarray], layout: str, hidden: np.ndarray, eps: float = 1e-12
) -> np.ndarray:
    """Scores of all words for hidden states [m, d], float64, from the tensors of a file."""
    dense, norm, last = NAMES[layout]
    endings = (".gamma", ".weight"), (".beta", ".bias")
    w = {}
    for name, value in stored.items():
        for old, new in endings:
            name = name.removesuffix(old) + new if name.endswith(old) else name
        w[name] = value.astype(np.float64)
    x = hidden @ w[f"{dense}.weight"].T + w[f"{dense}.bias"]
    x = x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))
    x = x - x.mean(-1, keepdims=True)
    x = x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * w[f"{norm}.weight"] + w[f"{norm}.bias"]
    return x @ w[f"{layout}.embeddings.word_embeddings.weight"].T + w[f"{last}.bias"]


@pytest.mark.parametrize("layout", list(NAMES))
def test_scores_are_those_of_numpy(layout: str, tmp_path: Path) -> None:
    config = BertConfig(layout=layout, width=16, **sizes())
    model, heads = made(config)
    stored = load_file(bert_heads.save(config, model, heads, tmp_path) / "model.safetensors")
    hidden = np.random.default_rng(0).normal(size=(3, 5, 16)).astype(np.float32)
    table = model.embeddings.word.embedding[...]
    scores = heads.mlm_logits(jnp.asarray(hidden), table)
    assert scores.shape == (3, 5, 40) and scores.dtype == jnp.float32
    np.testing.assert_allclose(scores, reference(stored, layout, hidden, config.norm_eps), atol=2e-5)
    # On the tokens that are asked for alone.
    chosen = heads.mlm_logits(jnp.asarray(hidden[[0, 2], [4, 1]]), table)
    np.testing.assert_allclose(chosen, scores[jnp.asarray([0, 2]), jnp.asarray([4, 1])], atol=1e-5)
    if layout == "bert":
        theirs = hidden @ stored[f"{FOLLOWS}.weight"].T + stored[f"{FOLLOWS}.bias"]
        np.testing.assert_allclose(heads.nsp_logits(jnp.asarray(hidden)), theirs, atol=1e-5)
    else:
        with pytest.raises(ConfigError, match=f"layout '{layout}' has no next-sentence head.*next_sentence"):
            heads.nsp_logits(jnp.asarray(hidden))


def sizes() -> dict[str, int]:
    return {
        name: getattr(SMALL, name) for name in ("vocab_size", "depth", "heads", "mlp_width", "max_length")
    }


@pytest.mark.samples
def test_scores_of_real_weights_are_those_of_numpy() -> None:
    folder, config = samples.folder("bert-tiny"), BertConfig(preset="bert-tiny")
    model, heads = config.build(nnx.Rngs(0)), PretrainingHeads(config, nnx.Rngs(0))
    config.load(model)
    report = bert_heads.load(heads, folder)
    assert report.missing == (f"{FOLLOWS}.weight", f"{FOLLOWS}.bias") and not report.cast
    assert report.loaded == ("transform/kernel", "transform/bias", "norm/scale", "norm/bias", "bias")
    ids = jnp.asarray([[101, 1996, 3007, 1997, 2605, 2003, 103, 1012, 102]])
    hidden = model(ids, ids > 0).hidden[0]
    scores = heads.mlm_logits(hidden, model.embeddings.word.embedding[...])
    expected = reference(load_file(folder / "model.safetensors"), "bert", np.asarray(hidden, np.float64))
    assert np.abs(np.asarray(scores) - expected).max() <= 1e-4
    assert np.abs(expected).max() > 1  # real scores, not zeros


def test_sizes_are_those_of_bert_for_pretraining() -> None:
    config = BertConfig(preset="base")
    shapes = nnx.eval_shape(lambda: nnx.state(PretrainingHeads(config, nnx.Rngs(0)), nnx.Param))
    assert config.count() + sum(leaf.size for leaf in jax.tree.leaves(shapes)) == 110_106_428


@pytest.mark.parametrize("layout", list(NAMES))
def test_all_goes_out_and_comes_back(layout: str, tmp_path: Path) -> None:
    config = BertConfig(layout=layout, width=16, **sizes())
    model, heads = made(config)
    folder = bert_heads.save(config, model, heads, tmp_path, note="kept")
    said = json.loads((folder / "config.json").read_text())
    architecture = {"bert": "BertForPreTraining", "roberta": "RobertaForMaskedLM"}.get(
        layout, "DistilBertForMaskedLM"
    )
    assert (said["architectures"], said["note"]) == ([architecture], "kept")
    stored = load_file(folder / "model.safetensors")
    dense, norm, last = NAMES[layout]
    follows = {f"{FOLLOWS}.weight", f"{FOLLOWS}.bias"} if layout == "bert" else set()
    own = (
        {f"{part}.{kind}" for part in (dense, norm) for kind in ("weight", "bias")}
        | {f"{last}.bias"}
        | follows
    )
    pooler = {"pre_classifier.weight", "pre_classifier.bias"} if layout == "distilbert" else set()
    assert {name for name in stored if not name.startswith(f"{layout}.")} == own | pooler
    other, again = config.build(nnx.Rngs(5)), PretrainingHeads(config, nnx.Rngs(5))
    config.load(other, folder)
    report = bert_heads.load(again, weights.Tensors(folder))
    assert not report.missing and set(report.ignored) == set(stored) - own
    for one, two in ((model, other), (heads, again)):
        first, second = weights.flatten(one), weights.flatten(two)
        assert first.keys() == second.keys()
        assert all(np.array_equal(first[path], second[path]) for path in first)


def test_without_a_pooler_it_is_a_masked_language_model() -> None:
    assert bert_heads.architecture(SMALL.replace(pooling="mean")) == "BertForMaskedLM"


def test_parameters_of_a_run_are_named_as_the_module_s() -> None:
    heads = made()[1]
    flat = {path: np.asarray(value) for path, value in weights.flatten(heads).items()}
    one, two = bert_heads.tensors_of(flat), bert_heads.tensors_of(heads)
    assert one.keys() == two.keys() and all(np.array_equal(one[name], two[name]) for name in one)
    assert one["cls.predictions.transform.dense.weight"].flags.c_contiguous
    np.testing.assert_array_equal(
        one["cls.predictions.transform.dense.weight"], heads.transform.kernel[...].T
    )


def rewritten(folder: Path, change: dict[str, np.ndarray | None]) -> Path:
    """The folder with some tensors changed, or gone (None)."""
    stored = {
        name: np.array(value) for name, value in load_file(folder / "model.safetensors").items()
    } | change
    save_file(
        {name: value for name, value in stored.items() if value is not None}, folder / "model.safetensors"
    )
    return folder


def read_error(folder: Path) -> str:
    """What loading raises; the module must be as before."""
    heads = made()[1]
    before = jax.tree.map(np.asarray, weights.flatten(heads))
    with pytest.raises(WeightsError) as caught:
        bert_heads.load(heads, folder)
    assert all(np.array_equal(value, before[path]) for path, value in weights.flatten(heads).items())
    return str(caught.value)


def test_either_head_may_be_absent_but_not_a_part_of_it(tmp_path: Path) -> None:
    folder = bert_heads.save(SMALL, *made(), tmp_path)
    gone: dict[str, np.ndarray | None] = {f"{FOLLOWS}.weight": None, f"{FOLLOWS}.bias": None}
    report = bert_heads.load(PretrainingHeads(SMALL, nnx.Rngs(0)), rewritten(folder, gone))
    assert report.missing == tuple(gone)
    rewritten(folder, {"cls.predictions.bias": None, "cls.predictions.surprise": np.zeros(1, np.float32)})
    message = read_error(folder)
    assert "1 missing in the file:\n  cls.predictions.bias\n" in message
    assert "1 unexpected in the file:\n  cls.predictions.surprise\n" in message
    # An encoder alone: both stay fresh.
    encoder = SMALL.save(made()[0], tmp_path / "encoder")
    assert bert_heads.load(PretrainingHeads(SMALL, nnx.Rngs(0)), encoder).loaded == ()


def test_older_names_and_tied_tables(tmp_path: Path) -> None:
    model, heads = made()
    folder = bert_heads.save(SMALL, model, heads, tmp_path)
    table = np.asarray(model.embeddings.word.embedding[...])
    norm = "cls.predictions.transform.LayerNorm"
    rewritten(
        folder,
        {
            f"{norm}.weight": None,
            f"{norm}.bias": None,
            f"{norm}.gamma": np.asarray(heads.norm.scale[...]),
            f"{norm}.beta": np.asarray(heads.norm.bias[...]),
            "cls.predictions.decoder.weight": table,
            "cls.predictions.decoder.bias": np.asarray(heads.bias[...]),
        },
    )
    again = PretrainingHeads(SMALL, nnx.Rngs(0))
    bert_heads.load(again, folder)
    np.testing.assert_array_equal(again.norm.scale[...], heads.norm.scale[...])
    rewritten(folder, {"cls.predictions.decoder.weight": table + 1})
    assert "cls.predictions.decoder.weight" in (said := read_error(folder)) and "not tied" in said


def test_heads_of_another_width_or_vocabulary_do_not_fit(tmp_path: Path) -> None:
    config = SMALL.replace(vocab_size=41)
    assert "cls.predictions.bias: file [41], model [40]" in read_error(
        bert_heads.save(config, *made(config), tmp_path)
    )


@pytest.mark.parametrize(("dtype", "tolerance"), [("mixed", 0.1), ("bfloat16", 0.2), ("float16", 0.02)])
def test_precision_shortens_products_and_nothing_else(dtype: str, tolerance: float) -> None:
    model, heads = made()
    table = model.embeddings.word.embedding[...]
    hidden = jax.random.normal(jax.random.key(2), (6, 16))
    graph = nnx.graphdef(nnx.eval_shape(lambda: PretrainingHeads(SMALL.replace(dtype=dtype), nnx.Rngs(0))))
    short = nnx.merge(graph, nnx.state(heads))
    ours, exact = short.mlm_logits(hidden, table), heads.mlm_logits(hidden, table)
    assert ours.dtype == jnp.float32 and 0 < float(jnp.abs(ours - exact).max()) < tolerance

    def slopes(heads: PretrainingHeads) -> Any:
        def loss(heads: PretrainingHeads, table: jax.Array) -> jax.Array:
            return (
                jax.nn.log_softmax(heads.mlm_logits(hidden, table))[:, 3] + heads.nsp_logits(hidden)[:, 0]
            ).sum()

        with jax.numpy_rank_promotion("raise"):
            return nnx.grad(loss, argnums=(0, 1))(heads, table)

    for one, other in zip(jax.tree.leaves(slopes(short)), jax.tree.leaves(slopes(heads)), strict=True):
        assert one.dtype == jnp.float32 and other.any(), "every parameter learns, the table too"
        assert float(jnp.linalg.norm(one - other)) < 0.05 * float(jnp.linalg.norm(other))
