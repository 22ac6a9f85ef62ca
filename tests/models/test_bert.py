"""BERT against an independent implementation, and what its callers rely on."""

from __future__ import annotations

import math
import subprocess
import sys
from functools import cache, partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from labkit.core.config import dumps, loads
from labkit.core.errors import ConfigError
from labkit.hub import samples
from labkit.models import layers as parts
from labkit.models import models
from labkit.models.bert.model import PRESETS, Bert, BertConfig
from labkit.models.encoder import EncoderOutput
from labkit.models.weights import LoadReport

SMALL = BertConfig(vocab_size=50, width=32, depth=3, heads=4, mlp_width=48, max_length=24)
SENTENCES = (
    "A man is playing a guitar on stage.",
    "Someone performs music with a guitar.",
    "The stock market fell sharply today.",
    "No.",
    "Despite its length, and the commas, this sentence says nothing that the others, which are shorter, do not say.",
)


# The independent implementation: plain NumPy, float64, one text at a time and never padded, names as in the file.


def reference(
    folder: Path, ids: list[int], types: list[int], heads: int
) -> tuple[list[np.ndarray], np.ndarray | None]:
    """Hidden states [t, d] after every layer, and tanh(pooler) of the first token where the file has a pooler."""
    stored = load_file(folder / "model.safetensors")
    endings = {"gamma": "weight", "beta": "bias"}
    w = {}
    for name, value in stored.items():
        *front, last = name.removeprefix("bert.").split(".")
        w[".".join([*front, endings.get(last, last)])] = value.astype(np.float64)

    def dense(x: np.ndarray, name: str) -> np.ndarray:
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        x = x - x.mean(-1, keepdims=True)
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-12) * w[f"{name}.weight"] + w[f"{name}.bias"]

    def split(x: np.ndarray) -> np.ndarray:
        return np.stack(np.split(x, heads, axis=-1))

    def attention(x: np.ndarray, name: str) -> np.ndarray:
        q, k, v = (split(dense(x, f"{name}.self.{part}")) for part in ("query", "key", "value"))
        odds = np.exp(q @ k.transpose(0, 2, 1) / math.sqrt(q.shape[-1]))
        mixed = odds / odds.sum(-1, keepdims=True) @ v
        return norm(
            x + dense(np.concatenate(list(mixed), -1), f"{name}.output.dense"), f"{name}.output.LayerNorm"
        )

    gelu = np.vectorize(lambda a: a * 0.5 * (1 + math.erf(a / math.sqrt(2))))
    x = w["embeddings.word_embeddings.weight"][ids] + w["embeddings.position_embeddings.weight"][: len(ids)]
    x = norm(x + w["embeddings.token_type_embeddings.weight"][types], "embeddings.LayerNorm")
    hidden = []
    while (layer := f"encoder.layer.{len(hidden)}") + ".output.dense.bias" in w:
        x = attention(x, f"{layer}.attention")
        inner = gelu(dense(x, f"{layer}.intermediate.dense"))
        x = norm(x + dense(inner, f"{layer}.output.dense"), f"{layer}.output.LayerNorm")
        hidden.append(x)
    return hidden, np.tanh(dense(x[0], "pooler.dense")) if "pooler.dense.bias" in w else None


def padded(rows: list[list[int]]) -> tuple[jax.Array, jax.Array]:
    """Rows of different length as ids i32[b, t] and mask bool[b, t], t the next multiple of 8."""
    length = -(-max(map(len, rows)) // 8) * 8
    ids = np.zeros((len(rows), length), np.int32)
    for row, values in zip(ids, rows, strict=True):
        row[: len(values)] = values
    return jnp.asarray(ids), jnp.arange(length)[None] < jnp.asarray([[len(row)] for row in rows])


@partial(jax.jit, static_argnums=0)
def compiled(
    graph: nnx.GraphDef, params: nnx.State, *batch: jax.Array, key: jax.Array | None = None
) -> EncoderOutput:
    return nnx.merge(graph, params)(*batch, key=key)


def run(model: Bert, *batch: jax.Array, key: jax.Array | None = None) -> EncoderOutput:
    """A compiled call; models of one structure share the compilation."""
    return compiled(*nnx.split(model), *batch, key=key)


@partial(jax.jit, static_argnums=0)
def every_layer(
    graph: nnx.GraphDef, params: nnx.State, ids: jax.Array, mask: jax.Array, types: jax.Array
) -> jax.Array:
    """Hidden states after every layer, [L, b, t, d]."""
    model = nnx.merge(graph, params)
    layer_graph, layers = nnx.split(model.layers)

    def step(x: jax.Array, layer: nnx.State) -> tuple[jax.Array, jax.Array]:
        x = nnx.merge(layer_graph, layer)(x, parts.padding_bias(mask))
        return x, x

    return jax.lax.scan(step, model.embeddings(ids, types, None), layers)[1]


def worst_difference(model: Bert, folder: Path, rows: list[list[int]], segments: list[list[int]]) -> float:
    """The greatest |difference| to the reference over all layers, rows and real tokens, pooled output included."""
    (ids, mask), (types, _) = padded(rows), padded(segments)
    states, out = every_layer(*nnx.split(model), ids, mask, types), run(model, ids, mask, types)
    worst = 0.0
    for row, (tokens, kinds) in enumerate(zip(rows, segments, strict=True)):
        expected, tanh = reference(folder, tokens, kinds, model.config.heads)
        pooled = tanh if model.config.pooling == "cls" else expected[-1].mean(0)
        for ours, theirs in zip([*states, out.hidden], [*expected, expected[-1]], strict=True):
            worst = max(worst, np.abs(ours[row, : len(tokens)] - theirs).max())
        worst = max(worst, np.abs(out.pooled[row] - pooled).max())
    return float(worst)


def noisy(config: BertConfig, seed: int = 0) -> Bert:
    """A model whose every parameter, norms and biases too, is away from its initial value."""
    model = config.build(nnx.Rngs(seed))
    keys = iter(jax.random.split(jax.random.key(seed + 1), 100))
    nnx.update(
        model, jax.tree.map(lambda p: p + 0.2 * jax.random.normal(next(keys), p.shape), nnx.state(model))
    )
    return model


@cache
def real(name: str) -> tuple[Bert, LoadReport, Path]:
    """A pretrained model, what loading it reported, and its folder."""
    config = BertConfig(preset=name).settled(vectors=True)
    model = config.build(nnx.Rngs(0))
    return model, config.load(model), samples.folder(name)


def like(model: Bert, **changes: object) -> Bert:
    """A model with the same parameters and other settings."""
    graph = nnx.graphdef(nnx.eval_shape(lambda: model.config.replace(**changes).build(nnx.Rngs(0))))
    return nnx.merge(graph, nnx.state(model))


@pytest.fixture(scope="module")
def small() -> Bert:
    return noisy(SMALL)


@pytest.fixture(scope="module")
def batch() -> tuple[jax.Array, jax.Array]:
    return padded([[2, 7, 8, 9, 3], [2, 3], [2, *range(10, 29), 3]])


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_parity_of_every_layer_on_random_weights(pooling: str, tmp_path: Path) -> None:
    model = noisy(SMALL.replace(pooling=pooling))
    model.config.save(model, tmp_path)
    rows = [[2, 7, 8, 3, 9, 3], [2, 3], [2, *range(10, 29), 3]]
    segments = [[0, 0, 0, 0, 1, 1], [0, 0], [0] * 10 + [1] * 11]
    assert worst_difference(model, tmp_path, rows, segments) <= 1e-5


@pytest.mark.samples
@pytest.mark.parametrize("name", ["minilm-l6", "bert-tiny"])
def test_parity_of_every_layer_on_real_weights(name: str) -> None:
    model, report, folder = real(name)
    assert not report.missing and not report.cast and len(report.loaded) == 21
    rows = [encoding.ids for encoding in tokenizer(folder).encode_batch(list(SENTENCES))]
    assert worst_difference(model, folder, rows, [[0] * len(row) for row in rows]) <= 1e-4


@pytest.mark.samples
def test_sentence_vectors_of_minilm_have_the_published_angles() -> None:
    model, _, folder = real("minilm-l6")
    ids, mask = padded([encoding.ids for encoding in tokenizer(folder).encode_batch(list(SENTENCES))])
    vectors = run(model, ids, mask, jnp.zeros_like(ids)).pooled
    vectors /= jnp.linalg.norm(vectors, axis=1, keepdims=True)
    assert float(vectors[0] @ vectors[1]) == pytest.approx(0.686, abs=0.002)
    assert float(vectors[0] @ vectors[2]) == pytest.approx(-0.083, abs=0.002)


@pytest.mark.samples
@pytest.mark.parametrize("name", ["minilm-l6", "bert-tiny"])
def test_a_preset_says_what_config_json_says(name: str) -> None:
    preset, read = BertConfig(preset=name), BertConfig(weights=str(samples.folder(name)))
    assert settings_of(preset) == settings_of(read)


def settings_of(config: BertConfig) -> dict[str, object]:
    return {
        name: getattr(config, name)
        for name in BertConfig.__dataclass_fields__
        if name not in ("preset", "weights")
    }


def tokenizer(folder: Path) -> Tokenizer:
    loaded = Tokenizer.from_file(str(folder / "tokenizer.json"))
    loaded.no_padding()
    loaded.no_truncation()
    return loaded


# Devlin et al. 2018, Turc et al. 2019: millions with the masked-word head, d² + d, 2 d and one bias a word.
@pytest.mark.parametrize(
    ("preset", "published", "exact"),
    [
        ("tiny", 4.4, 4_385_920),
        ("mini", 11.3, 11_170_560),
        ("small", 29.1, 28_763_648),
        ("medium", 41.7, 41_373_184),
        ("base", 110.1, 109_482_240),
        ("large", 336.2, 335_141_888),
    ],
)
def test_parameter_counts_are_the_published_ones(preset: str, published: float, exact: int) -> None:
    config = BertConfig(preset=preset)
    head = config.width**2 + 3 * config.width + 30522
    assert config.count() == exact
    assert (config.count() + head) / 1e6 == pytest.approx(published, abs=0.06)


def test_without_the_pooler_the_mean_needs_fewer_parameters() -> None:
    assert BertConfig(preset="base", pooling="mean").count() == 109_482_240 - 768 * 769


def test_count_agrees_with_a_built_model_and_only_parameters_are_held(small: Bert) -> None:
    leaves = jax.tree.leaves(nnx.state(small, nnx.Param))
    assert SMALL.count() == sum(leaf.size for leaf in leaves)
    assert len(jax.tree.leaves(nnx.state(small))) == len(leaves)
    assert {leaf.dtype for leaf in leaves} == {jnp.dtype("float32")}


def test_two_models_of_one_config_have_equal_structure() -> None:
    graphs = [nnx.graphdef(SMALL.build(nnx.Rngs(seed))) for seed in (0, 1)]
    assert graphs[0] == graphs[1] and hash(graphs[0]) == hash(graphs[1])


def test_initial_values(small: Bert) -> None:
    state = nnx.to_pure_dict(nnx.state(SMALL.replace(width=64, depth=4, vocab_size=500).build(nnx.Rngs(0))))
    kernels = state["layers"]["query"]["kernel"]
    assert kernels.shape == (4, 64, 64)
    assert len({float(kernel[0, 0]) for kernel in kernels}) == 4, "layers must not start equal"
    # at width 768 that of Devlin et al.; cut at two standard deviations, which makes the rest narrower
    sizes = ((kernels, 0.02 * (768 / 64) ** 0.5), (state["embeddings"]["word"]["embedding"], 0.02))
    for values, size in sizes:
        assert abs(values).max() <= 2 * size + 1e-7
        assert float(values.std()) == pytest.approx(size * 0.8796, rel=0.03)
    assert not state["layers"]["mlp_in"]["bias"].any()
    assert (state["layers"]["out_norm"]["scale"] == 1).all()


def test_the_scan_equals_a_loop_over_the_layers(small: Bert, batch: tuple[jax.Array, jax.Array]) -> None:
    ids, mask = batch
    key = jax.random.key(5)
    graph, params = nnx.split(small.layers)

    @jax.jit
    def loop(key: jax.Array) -> jax.Array:
        first, rest = jax.random.split(key)
        keys = jax.random.split(rest, SMALL.depth)
        x = small.embeddings(ids, jnp.zeros_like(ids), first)
        for index in range(SMALL.depth):
            layer = nnx.merge(graph, jax.tree.map(lambda leaf: leaf[index], params))  # noqa: B023 (called at once)
            x = layer(x, parts.padding_bias(mask), key=keys[index])
        return x

    np.testing.assert_allclose(run(small, ids, mask, key=key).hidden, loop(key), atol=1e-5)


@pytest.mark.parametrize("unroll", [2, 99])
def test_unrolling_changes_no_result(unroll: int, small: Bert, batch: tuple[jax.Array, jax.Array]) -> None:
    unrolled = run(like(small, unroll=unroll), *batch).hidden
    np.testing.assert_allclose(unrolled, run(small, *batch).hidden, atol=2e-6)


def test_the_program_does_not_grow_with_depth(batch: tuple[jax.Array, jax.Array]) -> None:
    def lines(depth: int) -> int:
        model = SMALL.replace(depth=depth).build(nnx.Rngs(0))
        return str(jax.make_jaxpr(lambda key: model(*batch, key=key))(jax.random.key(0))).count("\n")

    assert lines(2) == lines(9)


def test_padding_changes_nothing_at_real_tokens(small: Bert, batch: tuple[jax.Array, jax.Array]) -> None:
    ids, mask = batch
    other = jnp.where(mask, ids, 17)  # other ids under the padding
    whole, again = run(small, ids, mask), run(small, other, mask)
    np.testing.assert_array_equal(jnp.where(mask[..., None], whole.hidden - again.hidden, 0), 0)
    np.testing.assert_array_equal(whole.pooled, again.pooled)
    np.testing.assert_allclose(
        run(small, ids[:1, :5], mask[:1, :5]).hidden[0], whole.hidden[0, :5], atol=2e-6
    )


def test_segments_default_to_the_first(small: Bert, batch: tuple[jax.Array, jax.Array]) -> None:
    ids, mask = batch
    np.testing.assert_array_equal(
        run(small, ids, mask).hidden, run(small, ids, mask, jnp.zeros_like(ids)).hidden
    )
    assert abs(run(small, ids, mask).hidden - run(small, ids, mask, jnp.ones_like(ids)).hidden).max() > 1e-3


def test_dropout_is_a_function_of_the_key(small: Bert, batch: tuple[jax.Array, jax.Array]) -> None:
    plain = run(small, *batch).pooled
    one, again, other = (run(small, *batch, key=jax.random.key(seed)).pooled for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert abs(one - other).max() > 1e-3 and abs(one - plain).max() > 1e-3


@pytest.mark.parametrize(
    "rates", [{"dropout": 0.5, "attention_dropout": 0.0}, {"dropout": 0.0, "attention_dropout": 0.5}]
)
def test_each_kind_of_dropout_acts_alone(
    rates: dict[str, float], small: Bert, batch: tuple[jax.Array, jax.Array]
) -> None:
    model = like(small, **rates)
    np.testing.assert_array_equal(run(model, *batch).hidden, run(small, *batch).hidden)
    assert abs(run(model, *batch, key=jax.random.key(0)).hidden - run(model, *batch).hidden).max() > 1e-3


def test_no_random_number_is_compiled_without_a_key_or_a_rate(
    small: Bert, batch: tuple[jax.Array, jax.Array]
) -> None:
    still = like(small, dropout=0.0, attention_dropout=0.0)

    def draws(model: Bert) -> bool:
        jaxpr = str(jax.make_jaxpr(lambda key: model(*batch, key=key))(jax.random.key(0)))
        return (
            "random_bits" in jaxpr or "random_unwrap" in jaxpr
        )  # by JAX, or by labkit from the words of the key

    assert draws(small) and not draws(still)
    assert "random" not in str(jax.make_jaxpr(lambda: small(*batch))())


@pytest.mark.parametrize(("rate", "shape"), [(0.1, (200, 1000)), (0.5, (40, 5001)), (0.9, (400_000,))])
def test_dropout_keeps_the_mean_and_drops_the_share_it_says(rate: float, shape: tuple[int, ...]) -> None:
    out = np.asarray(parts.dropout(jnp.ones(shape), rate, jax.random.key(3)))
    deviation = math.sqrt(rate * (1 - rate) / out.size)
    assert (out == 0).mean() == pytest.approx(rate, abs=4 * deviation + 1e-5)
    assert np.unique(out[out != 0]) == pytest.approx([1 / (1 - rate)], rel=2e-4)
    assert out.mean() == pytest.approx(1, abs=4 * deviation / (1 - rate))


def test_neighbours_are_dropped_independently() -> None:
    kept = (
        np.asarray(parts.dropout(jnp.ones((500, 400)), 0.5, jax.random.key(4))) > 0
    )  # two elements share a draw
    for shifted in (kept[:, 1:] == kept[:, :-1], kept[1:] == kept[:-1]):
        assert shifted.mean() == pytest.approx(0.5, abs=4 * 0.5 / math.sqrt(shifted.size))


def test_attention_equals_that_of_jax() -> None:
    query, key, value = (jax.random.normal(jax.random.key(i), (2, 6, 4, 8)) for i in range(3))
    mask = jnp.arange(6)[None] < jnp.asarray([[6], [2]])
    theirs = jax.nn.dot_product_attention(query, key, value, mask=mask[:, None, None, :])
    np.testing.assert_allclose(parts.attend(query, key, value, parts.padding_bias(mask)), theirs, atol=1e-6)


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_gradients_are_finite_and_reach_every_parameter(pooling: str) -> None:
    model = noisy(SMALL.replace(pooling=pooling))
    ids = jnp.asarray([[2, 5, 6, 3], [2, 0, 0, 0], [0, 0, 0, 0]])
    mask = jnp.asarray(
        [[True] * 4, [True, False, False, False], [False] * 4]
    )  # the last row has no token at all
    graph, params = nnx.split(model)

    def loss(params: nnx.State) -> jax.Array:
        pooled = nnx.merge(graph, params)(
            ids, mask, jnp.asarray([[0, 0, 1, 1]] * 3), key=jax.random.key(0)
        ).pooled
        return (pooled * jnp.arange(32.0)[None]).sum()

    with jax.numpy_rank_promotion("raise"):
        gradients = nnx.to_pure_dict(jax.jit(jax.grad(loss))(params))
    for path, gradient in jax.tree_util.tree_leaves_with_path(gradients):
        assert jnp.isfinite(gradient).all(), path
        # a bias of the keys moves all scores of a query alike, which softmax does not see
        assert "key" in str(path) or gradient.any(), path


@pytest.mark.parametrize(("dtype", "tolerance"), [("bfloat16", 0.1), ("float16", 0.02)])
def test_computing_in_sixteen_bits(
    dtype: str, tolerance: float, small: Bert, batch: tuple[jax.Array, jax.Array]
) -> None:
    short = like(small, dtype=dtype)
    assert {leaf.dtype for leaf in jax.tree.leaves(nnx.state(short))} == {jnp.dtype("float32")}
    program = str(jax.make_jaxpr(lambda: short(*batch, key=jax.random.key(0)))())
    assert {"bfloat16": "bf16", "float16": "f16"}[dtype] + "[3,24,48]" in program
    out = run(short, *batch)
    assert out.hidden.dtype == out.pooled.dtype == jnp.float32
    difference = abs(jnp.where(batch[1][..., None], out.hidden - run(small, *batch).hidden, 0)).max()
    assert 0 < difference < tolerance


def test_activations_differ_as_they_should(small: Bert, batch: tuple[jax.Array, jax.Array]) -> None:
    def hidden(activation: str) -> jax.Array:
        return run(like(small, activation=activation), *batch).hidden

    np.testing.assert_array_equal(hidden("gelu"), run(small, *batch).hidden)
    assert (
        1e-6
        < abs(hidden("gelu") - hidden("gelu_tanh")).max()
        < 2e-2
        < abs(hidden("gelu") - hidden("relu")).max()
    )


def test_rows_longer_than_the_positions_are_refused(small: Bert) -> None:
    ids = jnp.ones((1, 25), jnp.int32)
    with pytest.raises(
        ConfigError, match=r"rows of 25 tokens exceed max_length = 24.*Truncate the texts to 24"
    ):
        jax.jit(small.__call__)(ids, ids > 0)


def test_layer_ids_follow_the_way_of_the_signal(small: Bert) -> None:
    ids = {path: small.layer_ids(path) for path, _ in nnx.to_flat_state(nnx.state(small))}
    assert {int(value) for path, value in ids.items() if path[0] == "embeddings"} == {0}
    assert {int(value) for path, value in ids.items() if path[0] == "pooler"} == {4}
    stacked = [value for path, value in ids.items() if path[0] == "layers"]
    assert len(stacked) == 16 and all(np.array_equal(value, [1, 2, 3]) for value in stacked)


# Settings.


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_a_preset_is_one_line_of_toml(preset: str) -> None:
    config = BertConfig(preset=preset)
    assert dumps(config) == f'preset = "{preset}"\n'
    assert loads(BertConfig, dumps(config)) == config


@pytest.mark.parametrize(
    ("config", "kept"),
    [
        (BertConfig(), {}),
        (BertConfig(preset="tiny", dropout=0.0, unroll=2), {"preset": "tiny", "dropout": 0.0, "unroll": 2}),
        (BertConfig(preset="tiny", vocab_size=900), {"preset": "tiny", "vocab_size": 900}),
        (BertConfig(preset="minilm-l6", weights=""), {"preset": "minilm-l6", "weights": ""}),
        (BertConfig(width=128, depth=2), {"width": 128, "depth": 2, "heads": 2, "mlp_width": 512}),
    ],
)
def test_settings_keep_what_differs_and_round_trip(config: BertConfig, kept: dict[str, object]) -> None:
    assert config.to_dict() == kept
    assert loads(BertConfig, dumps(config)) == config


def test_sizes_that_are_left_out_are_filled_in() -> None:
    config = BertConfig(preset="small")
    assert (config.depth, config.width, config.heads, config.mlp_width) == (4, 512, 8, 2048)
    assert (config.vocab_size, config.weights, config.pooling) == (None, "", "auto")
    assert BertConfig().replace(weights="") == BertConfig(preset="").replace(depth=12)
    minilm = BertConfig(preset="minilm-l6")
    assert (minilm.heads, minilm.mlp_width, minilm.weights) == (12, 1536, "minilm-l6")


def test_another_preset_brings_its_sizes_and_own_choices_stay() -> None:
    config = BertConfig(preset="tiny", dropout=0.3).replace(preset="base", unroll=4)
    assert config == BertConfig(preset="base", dropout=0.3, unroll=4)
    assert BertConfig(preset="minilm-l6").replace(vocab_size=77).width == 384


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"preset": "minilm"}, "BertConfig.preset = 'minilm' is not one of .* Did you mean 'minilm-l6'?"),
        ({"preset": "tiny", "heads": 3}, "width = 128 is not a multiple of heads = 3"),
        (
            {"preset": "tiny", "pooling": "median"},
            "pooling = 'median' is not one of auto, cls, mean, first, max",
        ),
        ({"preset": "tiny", "dropout": 1.0}, "dropout = 1.0 is above the maximum, 0.9"),
        ({"preset": "tiny", "depht": 3}, "no setting 'depht'. Did you mean 'depth'?"),
        ({"preset": "tiny", "width": "128"}, "width = '128' is a str; it must be int"),
    ],
)
def test_bad_settings_say_what_is_wrong(settings: dict[str, object], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        BertConfig.from_dict(settings)


def test_the_registry_knows_bert_and_loads_jax_late() -> None:
    assert models["bert"] is BertConfig
    with pytest.raises(ConfigError, match=r"unknown architecture 'brt'. Did you mean 'bert'?"):
        models["brt"]
    check = "import sys, labkit.models as m; list(m.models); sys.exit('jax' in sys.modules or 'flax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
