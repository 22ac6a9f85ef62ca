"""The convolutional reader of texts: its numbers against NumPy one text at a time, padding, a step of training."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from labkit.core.config import dumps, loads
from labkit.core.errors import ConfigError
from labkit.models.layers import Segments
from labkit.models.text_cnn import PRESETS, TextCnnConfig
from labkit.tasks.classify import Classifier

SMALL = {"vocab_size": 40, "embedding": 3, "filters": 4, "dtype": "float32"}
# Empty, shorter than a window, one window, fewer windows than a pool, a rest after the pools, and one that fills a row.
LENGTHS = (0, 1, 4, 5, 6, 7, 14, 22, 31)


def filled(config):
    model = config.build(nnx.Rngs(0))
    model.embedding.embedding[...] = jax.random.normal(
        jax.random.key(1), model.embedding.embedding[...].shape
    )
    for stage in model.stages:
        stage.bias[...] = jnp.linspace(-0.5, 0.5, stage.bias[...].size)
    return model


def texts(lengths, width, seed=0):
    ids = np.random.default_rng(seed).integers(1, 40, (len(lengths), width)).astype(np.int32)
    return ids, np.arange(width) < np.asarray(lengths)[:, None]


def reference(model, ids, activate=lambda x: np.maximum(x, 0)):
    """One text, its real tokens only, window by window in float64."""
    config = model.config
    x = np.asarray(model.embedding.embedding[...], np.float64)[ids]
    for stage in model.stages:
        kernel, bias = np.asarray(stage.kernel[...], np.float64), np.asarray(stage.bias[...], np.float64)
        x = np.concatenate([x, np.zeros((max(0, config.kernel - len(x)), x.shape[1]))])
        windows = [x[start : start + config.kernel] for start in range(len(x) - config.kernel + 1)]
        y = activate(np.array([np.tensordot(window, kernel, 2) + bias for window in windows]))
        whole = len(y) // config.pool
        x = np.array([y[i * config.pool : (i + 1) * config.pool].max(0) for i in range(whole)] or [y.max(0)])
    return x.mean(0) if config.pooling == "mean" else x.max(0)


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"pooling": "max", "activation": "tanh"},
        {"kernel": 3, "pool": 2, "depth": 3},
        {"kernel": 1, "pool": 1},
    ],
    ids=str,
)
def test_every_text_is_that_of_numpy(more):
    model = filled(TextCnnConfig(**SMALL, **more))
    ids, mask = texts(LENGTHS, 31)
    activate = np.tanh if more.get("activation") else lambda x: np.maximum(x, 0)
    expected = [reference(model, row[:length], activate) for row, length in zip(ids, LENGTHS, strict=True)]
    pooled = nnx.jit(lambda model, ids, mask: model(ids, mask).pooled)(model, ids, mask)
    assert pooled.shape == (len(LENGTHS), model.config.width) and pooled.dtype == jnp.float32
    np.testing.assert_allclose(pooled, expected, rtol=1e-5, atol=1e-5)


def test_padding_and_neighbours_change_nothing():
    model = filled(TextCnnConfig(**SMALL))
    read = nnx.jit(lambda model, ids, mask: model(ids, mask).pooled)
    ids, mask = texts(LENGTHS, 31)
    together = read(model, ids, mask)
    wide, real = texts(LENGTHS, 40, seed=1)  # other words in the padding
    wide[:, :31][mask] = ids[mask]
    np.testing.assert_allclose(read(model, wide, real), together, rtol=1e-5, atol=1e-6)
    for number in (0, 2, 5, 6):
        width = max(LENGTHS[number], 1)  # alone in a row of its own length
        alone = read(model, ids[[number], :width], mask[[number], :width])
        np.testing.assert_allclose(alone[0], together[number], rtol=1e-5, atol=1e-6)


def test_a_hole_is_read_as_zeros_and_the_text_goes_on_after_it():
    model = filled(TextCnnConfig(**SMALL, kernel=3, pool=2, depth=1))
    ids, mask = texts([9], 9)
    mask[0, 4] = False
    pooled = model(jnp.asarray(ids), jnp.asarray(mask)).pooled
    model.embedding.embedding[ids[0, 4]] = 0.0
    assert (ids[0] == ids[0, 4]).sum() == 1, "the word stands nowhere else"
    np.testing.assert_allclose(pooled[0], reference(model, ids[0]), rtol=1e-5, atol=1e-6)


def test_no_gradient_reaches_the_padding():
    model = filled(TextCnnConfig(**SMALL))
    ids = jnp.arange(1, 25).reshape(2, 12)
    mask = jnp.arange(12) < jnp.array([[12], [7]])
    slopes = nnx.jit(nnx.grad(lambda model: (model(ids, mask).pooled ** 2).sum()))(model)
    moved = np.abs(np.asarray(slopes.embedding.embedding[...])).max(1) > 0
    assert set(np.flatnonzero(moved)) <= {*range(1, 13), *range(13, 20)} and moved[1:20].sum() > 12
    assert all(float(jnp.abs(leaf).max()) > 0 for leaf in jax.tree.leaves(slopes.stages))


def test_sizes():
    keras = TextCnnConfig(preset="keras")
    # Words x 100, then windows of 5 x 100 and of 5 x 128 numbers onto 128, with biases.
    assert keras.count() == 20_000 * 100 + (500 * 128 + 128) + (640 * 128 + 128) == 2_146_176
    assert (keras.width, keras.depth, keras.kernel, keras.pool) == (128, 2, 5, 3)
    tiny = TextCnnConfig(preset="tiny", vocab_size=50, depth=3)
    assert tiny.count() == 50 * 32 + 3 * (5 * 32 * 32 + 32) and tiny.width == 32
    assert TextCnnConfig.modality == "text" and tiny.folder() is None and tiny.weights == ""


def test_a_classifier_learns_and_dropout_needs_a_key():
    config = TextCnnConfig(**SMALL, dropout=0.4)
    module = Classifier(filled(config), config.width, 2, 0.0, rngs=nnx.Rngs(1))
    ids, mask = texts((6, 12, 3, 20, 9, 17, 1, 20), 20)
    label = jnp.asarray(np.arange(8) % 2)
    ids[:, 0] = 1 + np.arange(8) % 2  # the first word tells
    batch = {"ids": jnp.asarray(ids), "mask": jnp.asarray(mask), "types": jnp.zeros_like(ids)}
    graph, params = nnx.split(module)

    @jax.jit
    def step(params, key):
        def loss(params):
            chances = jax.nn.log_softmax(nnx.merge(graph, params)(batch, key=key))
            return -jnp.take_along_axis(chances, label[:, None], 1).mean()

        value, slopes = jax.value_and_grad(loss)(params)
        return value, jax.tree.map(lambda leaf, slope: leaf - 0.3 * slope, params, slopes)

    losses = []
    for number in range(40):
        value, params = step(params, jax.random.key(number))
        losses.append(float(value))
    assert losses[0] == pytest.approx(np.log(2), abs=0.1) and np.mean(losses[-5:]) < 0.35
    backbone = nnx.merge(graph, params).backbone
    plain, once, again, other = (
        backbone(batch["ids"], batch["mask"], key=key).pooled
        for key in (None, jax.random.key(0), jax.random.key(0), jax.random.key(1))
    )
    np.testing.assert_array_equal(once, again)
    assert not np.allclose(once, plain) and not np.allclose(once, other)


@pytest.mark.parametrize("dtype", ["bfloat16", "mixed"])
def test_other_precisions_are_close(dtype):
    ids, mask = map(jnp.asarray, texts(LENGTHS, 31))
    sizes = {**SMALL, "embedding": 80, "filters": 80}
    ours, exact = (
        filled(TextCnnConfig(**{**sizes, "dtype": kind}))(ids, mask).pooled for kind in (dtype, "float32")
    )
    off = float(jnp.linalg.norm(ours - exact) / jnp.linalg.norm(exact))
    assert ours.dtype == jnp.float32 and 0 < off < 0.02


def test_layer_ids_count_from_the_input():
    module = TextCnnConfig(**SMALL).build(nnx.Rngs(0))
    found = {
        path[:2]: module.layer_ids(tuple(map(str, path))) for path, _ in nnx.to_flat_state(nnx.state(module))
    }
    assert found == {("embedding", "embedding"): 0, ("stages", 0): 1, ("stages", 1): 2}


def test_it_reads_no_packed_rows():
    model = filled(TextCnnConfig(**SMALL))
    ids, mask = map(jnp.asarray, texts([8], 8))
    segments = Segments(mask.astype(jnp.int32), jnp.arange(8)[None], jnp.zeros((1, 1), jnp.int32))
    with pytest.raises(ConfigError, match=r"does not support packed rows.* packing = 'never'"):
        model(ids, mask, None, segments)
    assert TextCnnConfig.packs is False


@pytest.mark.parametrize("preset", ["", *PRESETS])
def test_a_config_travels_to_toml_and_back(preset):
    for config in (
        TextCnnConfig(preset=preset),
        TextCnnConfig(preset=preset, depth=1, vocab_size=9, pooling="max"),
    ):
        assert loads(TextCnnConfig, dumps(config)) == config


def test_what_is_wrong_is_said():
    with pytest.raises(ConfigError, match=r"TextCnnConfig.preset = 'kera' is not one of .* 'keras'"):
        TextCnnConfig(preset="kera")
    with pytest.raises(ConfigError, match=r"TextCnnConfig.pool = 0 is below the minimum, 1"):
        TextCnnConfig(pool=0)
