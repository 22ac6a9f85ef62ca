"""FT-Transformer and embeddings of numbers against NumPy in float64; categories of a table reach the model."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import labkit as lk
from labkit.core.config import dumps, loads
from labkit.core.errors import ConfigError
from labkit.data.batching.arrays import Standard, stack
from labkit.data.schema import Spec
from labkit.models.columns import quantile_edges
from labkit.models.ft_transformer import FtTransformerConfig
from labkit.models.mlp import MlpConfig
from labkit.train.processors import FeatureProcessor

CARDINALITIES = (0, 3, 0, 2)
#: What each column of four rows is: numbers, and categories of which the last row has none.
NUMBERS = np.array([[0.3, -1.2], [2.0, 0.0], [-0.7, 0.4], [1.1, -0.2]])
CODES = np.array([[2, 0], [0, 1], [1, 1], [-1, -1]])


def features() -> np.ndarray:
    """The rows as standardised features: a feature of a category is positive where it is that of the row."""
    hot = [np.where(np.arange(k) == CODES[:, [n]], 1.9, -0.4) for n, k in enumerate((3, 2))]
    columns = [NUMBERS[:, :1], hot[0], NUMBERS[:, 1:], hot[1]]
    return np.concatenate(columns, 1).astype(np.float32)


def wide(x) -> np.ndarray:
    return np.asarray(x[...], np.float64)


def tokens(module) -> np.ndarray:
    """The feature tokenizer of the paper: x · w + b of numbers, a row of an embedding table plus b of categories."""
    weight, table, bias = wide(module.weight), wide(module.table), wide(module.bias)
    rows = []
    for numbers, codes in zip(NUMBERS, CODES, strict=True):
        found = [x * w for x, w in zip(np.float32(numbers).astype(float), weight, strict=True)]
        for code, start in zip(codes, (0, 3), strict=True):
            found.append(table[start + code] if code >= 0 else np.zeros(table.shape[1]))
        rows.append(np.stack(found) + bias)
    return np.stack(rows)


def normalised(layer, x):
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((x**2).mean(-1, keepdims=True) - x.mean(-1, keepdims=True) ** 2 + 1e-5) * wide(
        layer.scale
    ) + wide(layer.bias)


def linear(layer, x):
    return x @ wide(layer.kernel) + wide(layer.bias)


def forward(model) -> np.ndarray:
    """The published network, every token computed in every layer, one head at a time."""
    heads = model.config.heads
    found = tokens(model.tokens)
    x = np.concatenate([np.tile(wide(model.tokens.cls), (len(found), 1, 1)), found], 1)
    for number, layer in enumerate(model.layers):
        seen = normalised(layer.attention_norm, x) if number else x
        query, key, value = (
            np.split(linear(part, seen), heads, -1) for part in (layer.query, layer.key, layer.value)
        )
        parts = []
        for q, k, v in zip(query, key, value, strict=True):
            scores = np.exp(q @ k.transpose(0, 2, 1) / np.sqrt(q.shape[-1]))
            parts.append(scores / scores.sum(-1, keepdims=True) @ v)
        x = x + linear(layer.out, np.concatenate(parts, -1))
        seen = normalised(layer.mlp_norm, x)
        x = x + linear(
            layer.mlp_out, linear(layer.mlp_in, seen) * np.maximum(linear(layer.mlp_gate, seen), 0)
        )
    return np.maximum(normalised(model.norm, x[:, 0]), 0)


def shaken(model):
    """The model with all parameters moved, so that a forgotten bias is seen."""
    graph, state = nnx.split(model)
    leaves, tree = jax.tree.flatten(state)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    moved = [x + 0.3 * jax.random.normal(key, x.shape) for x, key in zip(leaves, keys, strict=True)]
    return nnx.merge(graph, jax.tree.unflatten(tree, moved))


def test_an_ft_transformer_computes_what_the_paper_says():
    config = FtTransformerConfig(width=16, heads=4, depth=2, input_shape=(7,), cardinalities=CARDINALITIES)
    model = shaken(config.build(nnx.Rngs(0)))
    pooled = model(jnp.asarray(features())).pooled
    assert pooled.shape == (4, 16) and pooled.dtype == jnp.float32
    np.testing.assert_allclose(model.tokens(jnp.asarray(features()))[:, 1:], tokens(model.tokens), atol=1e-5)
    np.testing.assert_allclose(pooled, forward(model), rtol=2e-4, atol=2e-4)


def test_embedded_numbers_of_a_perceptron_are_plr():
    config = MlpConfig(
        widths=(5,), numeric_embedding="plr", frequencies=3, embedding_width=4, frequency_scale=1.0,
        input_shape=(7,), cardinalities=CARDINALITIES,
    )  # fmt: skip
    model = shaken(config.build(nnx.Rngs(0)))
    part, rows = model.embedding, []
    for row in features().astype(float):
        found = []
        for n, x in enumerate((row[0], row[4])):
            angle = 2 * np.pi * wide(part.frequency)[n] * x
            waves = np.concatenate([np.cos(angle), np.sin(angle)])
            found.append(np.maximum(waves @ wide(part.kernel)[n] + wide(part.bias)[n], 0))
        rows.append(np.concatenate([*found, row[1:4], row[5:7]]))
    np.testing.assert_allclose(part(jnp.asarray(features())), np.stack(rows), atol=1e-5)
    expected = np.maximum(linear(model.layers[0], np.stack(rows)), 0)
    np.testing.assert_allclose(model(jnp.asarray(features())).pooled, expected, rtol=1e-4, atol=1e-4)


def test_embedded_numbers_of_a_perceptron_are_piecewise_linear():
    values = np.random.default_rng(1).normal(size=(200, 2)).astype(np.float32)
    values[:150, 1] = 0.5  # most quantiles are equal
    edges = quantile_edges(values, 4)
    np.testing.assert_allclose(edges[0], np.quantile(values[:, 0], [0, 0.25, 0.5, 0.75, 1]), rtol=1e-6)
    config = MlpConfig(
        widths=(5,), numeric_embedding="ple", bins=4, embedding_width=3, input_shape=(7,), cardinalities=CARDINALITIES,
        edges=tuple(edges.ravel().tolist()),
    )  # fmt: skip
    model = shaken(config.build(nnx.Rngs(0)))
    part, rows = model.embedding, []
    inputs = features()
    inputs[0, 0], inputs[1, 0] = -9.0, 9.0  # beyond the training rows
    for row in inputs.astype(float):
        found = []
        for n, x in enumerate((row[0], row[4])):
            own = np.unique(edges[n].astype(float))
            parts = np.zeros(4)
            for t, (low, high) in enumerate(itertools.pairwise(own)):
                before, behind = x < low and t > 0, x >= high and t < len(own) - 2
                parts[t] = 0 if before else 1 if behind else (x - low) / (high - low)
            found.append(np.maximum(parts @ wide(part.kernel)[n] + wide(part.bias)[n], 0))
        rows.append(np.concatenate([*found, row[1:4], row[5:7]]))
    np.testing.assert_allclose(part(jnp.asarray(inputs)), np.stack(rows), rtol=1e-4, atol=1e-4)
    with pytest.raises(ConfigError, match="edges has 10 values; 3 bins of these columns need 8"):
        config.replace(bins=3).build(nnx.Rngs(0))


def test_bins_come_from_the_training_rows_and_stay_with_the_model(tmp_path):
    random = np.random.default_rng(0)
    table = [{"a": float(x), "b": int(x > 0), "town": "xyz"[n % 3], "label": "no" if abs(x) < 0.7 else "yes"}
             for n, x in enumerate(random.normal(size=240))]  # fmt: skip
    rows = lk.load(table, features=True, label="label").split(validation=0.2, test=0.2, accept_leakage=True)
    model = lk.models["mlp"](preset="ple", bins=8, widths=(16,), dropout=0.0)
    run = lk.fit(
        rows, model, epochs=20, batch_size=16, background=False, folder=tmp_path, accept_leakage=True
    )
    assert run.evaluate(baselines=False).scores["f1"] > 0.9
    sized = run.predictor.model.backbone.config
    train = np.sort([row["a"] for row in table])
    assert len(sized.edges) == 2 * 9 and run.experiment.model.edges is None
    standard = run.predictor.processor.standard
    low, high = (sized.edges[place] * standard.scale[0] + standard.mean[0] for place in (0, 8))
    assert train[0] <= low and high <= train[-1]
    exported = lk.Predictor(run.export(tmp_path / "model"))
    table[0].pop("label")
    assert exported.predict(table[:1])[0].probability == run.predict(table[:1])[0].probability


def test_dropout_needs_a_key():
    sizes = {"width": 8, "heads": 2, "depth": 1, "input_shape": (7,), "cardinalities": CARDINALITIES}
    config = FtTransformerConfig(**sizes, residual_dropout=0.5)
    model, x = config.build(nnx.Rngs(0)), jnp.asarray(features())
    on, again, off, plain = (
        model(x, key=key).pooled for key in (jax.random.key(0), jax.random.key(0), None, None)
    )
    assert (on == again).all() and (off == plain).all() and not np.allclose(on, off)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda: FtTransformerConfig(width=10, heads=4), ["width = 10", "heads = 4"]),
        (
            lambda: FtTransformerConfig(input_shape=(5,), cardinalities=(0, 3)).build(nnx.Rngs(0)),
            ["make 4 features", "has 5"],
        ),
        (lambda: FtTransformerConfig().build(nnx.Rngs(0)), ["input_shape is not set"]),
        (lambda: MlpConfig(numeric_embedding="periodic"), ["numeric_embedding", "periodic"]),
        (
            lambda: MlpConfig(numeric_embedding="plr", input_shape=(2,), cardinalities=(3,)).build(
                nnx.Rngs(0)
            ),
            ["make 3 features"],
        ),
    ],
)
def test_what_does_not_fit_is_refused(made, words):
    with pytest.raises(ConfigError) as error:
        made()
    assert all(word in str(error.value) for word in words)


def test_configs_go_to_toml_and_back():
    for config in (FtTransformerConfig(preset="paper", depth=2), MlpConfig(preset="plr", frequencies=8)):
        assert loads(type(config), dumps(config)) == config


def test_the_categories_of_a_table_reach_the_model():
    rows = lk.load(
        {
            "age": [31.0, 44.0, None, 60.0] * 4,
            "town": ["Bonn", "Rome", "Oslo", None] * 4,
            "old": [True, False, True, False] * 4,
            "label": ["a", "b"] * 8,
        },
        features=True,
        label="label",
    )
    arrays = stack(rows["train"], Spec(modality="features"))
    standard = Standard.fit(arrays).replace(columns=rows.schema.features)
    assert standard.cardinalities() == (0, 3, 0)
    processor = FeatureProcessor(arrays.shape, standard, rows.schema.features)
    assert processor.sized(FtTransformerConfig()).columns() == (0, 3, 0)
    assert processor.sized(MlpConfig()).cardinalities is None  # it reads all features alike
    with pytest.raises(ConfigError, match=r"cardinalities = \(0, 2, 0, 0\)"):
        processor.sized(FtTransformerConfig(cardinalities=(0, 2, 0, 0)))
    model = processor.sized(FtTransformerConfig(width=16, heads=2)).build(nnx.Rngs(0))
    # a row without a town has the bias alone as its token
    found = model.tokens(jnp.asarray(standard(arrays).inputs))[:, 1:]
    np.testing.assert_allclose(found[3, 2], model.tokens.bias[2], rtol=1e-6)
    np.testing.assert_allclose(
        found[1, 2] - found[3, 2], model.tokens.table[standard_place(rows)], rtol=1e-4, atol=1e-6
    )


def standard_place(rows) -> int:
    (town,) = (each for each in rows.schema.features if each.name == "town")
    return town.words.index("Rome")
