"""Small convolutional networks against NumPy, and their configs."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from labkit.base.config import dumps, loads
from labkit.base.errors import ConfigError
from labkit.models import models
from labkit.models.cnn import PRESETS, CnnConfig


def filled(config):
    model = config.build(nnx.Rngs(0))
    for layer in (*model.convs, *model.dense):
        layer.bias[...] = jnp.linspace(-0.5, 0.5, layer.bias[...].size)
    return model


def numbers(layer):
    return np.asarray(layer.kernel[...], np.float64), np.asarray(layer.bias[...], np.float64)


def correlate(x, layer, same):
    """Every pixel by itself: the sum over its neighbourhood, in float64."""
    kernel, bias = numbers(layer)
    size = len(kernel)
    if same:
        x = np.pad(x, ((0, 0), (size // 2,) * 2, (size // 2,) * 2, (0, 0)))
    rows, columns = x.shape[1] - size + 1, x.shape[2] - size + 1
    y = np.empty((len(x), rows, columns, kernel.shape[-1]))
    for i in range(rows):
        for j in range(columns):
            y[:, i, j] = np.tensordot(x[:, i : i + size, j : j + size], kernel, 3) + bias
    return y


def pool(x, function):
    rows, columns = x.shape[1] // 2, x.shape[2] // 2
    squares = [
        [function(x[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2], (1, 2)) for j in range(columns)] for i in range(rows)
    ]
    return np.array(squares).transpose(2, 0, 1, 3)


@pytest.mark.parametrize("shape", [(9, 8, 2), (4, 4, 1)])
def test_a_network_of_relus_is_that_of_numpy(shape):
    model = filled(CnnConfig(widths=(4, 5), input_shape=shape))
    x = np.random.default_rng(0).normal(size=(3, *shape))
    pooled = model(jnp.asarray(x, jnp.float32)).pooled
    for layer in model.convs:
        x = pool(np.maximum(correlate(x, layer, same=True), 0), np.max)
    np.testing.assert_allclose(pooled, x.mean((1, 2)), rtol=1e-5, atol=1e-5)
    assert pooled.dtype == jnp.float32


def test_lenet_is_that_of_numpy_and_reads_bytes():
    model = filled(CnnConfig(preset="lenet-5", input_shape=(18, 16, 1)))
    picture = np.random.default_rng(1).integers(0, 256, (2, 18, 16, 1)).astype(np.uint8)
    x = picture / 255
    for layer in model.convs:
        x = pool(np.tanh(correlate(x, layer, same=False)), np.mean)
    x = x.reshape(2, -1)
    for layer in model.dense:
        kernel, bias = numbers(layer)
        x = np.tanh(x @ kernel + bias)
    np.testing.assert_allclose(model(jnp.asarray(picture)).pooled, x, rtol=1e-5, atol=1e-5)


def test_sizes():
    lenet = CnnConfig(preset="lenet-5", input_shape=(32, 32, 1))
    assert lenet.count() + 84 * 10 + 10 == 61_706 and (lenet.width, lenet.depth) == (84, 4)
    small = CnnConfig(preset="small", input_shape=(32, 32, 3))
    assert small.count() == 896 + 18_496 + 73_856 and (small.width, small.depth) == (128, 3)
    assert models["cnn"] is CnnConfig and CnnConfig.reads == "image"


def test_it_learns_and_drops():
    model = filled(CnnConfig(widths=(3,), dense=(64,), dropout=0.5, input_shape=(4, 4, 1)))
    x = jnp.ones((4, 4, 4, 1))
    assert (model(x, key=jax.random.key(0)).pooled == 0).sum() > (model(x).pooled == 0).sum() + 20
    slopes = nnx.jit(nnx.grad(lambda model: model(x).pooled.sum()))(model)
    assert all(float(jnp.abs(leaf).max()) > 0 for leaf in jax.tree.leaves(slopes)), "every parameter is used"


def test_layer_ids_count_from_the_input():
    module = CnnConfig(preset="lenet-5", input_shape=(32, 32, 1)).build(nnx.Rngs(0))
    found = {path[:2]: module.layer_ids(tuple(map(str, path))) for path, _ in nnx.to_flat_state(nnx.state(module))}
    assert found == {("convs", 0): 1, ("convs", 1): 2, ("dense", 0): 3, ("dense", 1): 4}


@pytest.mark.parametrize("preset", ["", *PRESETS])
def test_a_config_travels_to_toml_and_back(preset):
    for config in (CnnConfig(preset=preset), CnnConfig(preset=preset, widths=(3,), input_shape=(8, 8, 1))):
        assert loads(CnnConfig, dumps(config)) == config


def test_what_is_wrong_is_said():
    with pytest.raises(
        ConfigError, match="8 x 8 pixels are too small for 2 stages with kernels of 5 and padding VALID"
    ):
        CnnConfig(preset="lenet-5", input_shape=(8, 8, 1)).build(nnx.Rngs(0))
    with pytest.raises(ConfigError, match=r"input_shape = \(8, 8\) is not the shape of one example: \(height"):
        CnnConfig(input_shape=(8, 8)).build(nnx.Rngs(0))
    with pytest.raises(ConfigError, match="input_shape is not known yet"):
        CnnConfig().count()
    with pytest.raises(ConfigError, match="widths must not be empty"):
        CnnConfig(widths=())


def test_mixed_is_float32_but_for_products_of_bfloat16():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 8, 8, 3)), jnp.float32)

    @nnx.jit
    def slopes(model):
        return nnx.value_and_grad(lambda model: (model(x).pooled ** 2).sum())(model)

    models = [
        CnnConfig(widths=(80, 80), dense=(16,), input_shape=(8, 8, 3), dtype=dtype).build(nnx.Rngs(0))
        for dtype in ("mixed", "float32")
    ]
    (ours, mixed), (theirs, exact) = map(slopes, models)
    assert 0 < abs(float(ours - theirs)) < 0.05 * float(theirs)
    for one, other in zip(jax.tree.leaves(mixed), jax.tree.leaves(exact), strict=True):
        assert one.dtype == jnp.float32 and bool(jnp.isfinite(one).all())
        off = float(jnp.linalg.norm(one - other) / jnp.linalg.norm(other))
        assert off < 0.1, "bfloat16 keeps eight bits"
