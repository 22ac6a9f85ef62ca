"""The perceptron against NumPy, and its configs."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from labkit.core.config import dumps, loads
from labkit.core.errors import ConfigError
from labkit.models import models
from labkit.models.mlp import PRESETS, MlpConfig


def filled(config):
    """A model whose biases are not zero, so that a forgotten one is seen."""
    model = config.build(nnx.Rngs(0))
    for number, layer in enumerate(model.layers):
        layer.bias[...] = jnp.linspace(-1, 1, layer.bias[...].size) * (number + 1)
    return model


ACTIVATE = {
    "relu": lambda x: np.maximum(x, 0),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "tanh": np.tanh,
}


@pytest.mark.parametrize("activation", ACTIVATE)
@pytest.mark.parametrize("widths", [(), (5,), (7, 5, 3)])
def test_forward_is_that_of_numpy(activation, widths):
    config = MlpConfig(widths=widths, activation=activation, input_shape=(6,))
    model = filled(config)
    inputs = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
    x = inputs.astype(np.float64)
    for layer in model.layers:
        x = ACTIVATE[activation](x @ np.asarray(layer.kernel[...], np.float64) + np.asarray(layer.bias[...]))
    pooled = model(jnp.asarray(inputs)).pooled
    assert pooled.dtype == jnp.float32 and pooled.shape == (4, config.width)
    np.testing.assert_allclose(pooled, x, rtol=1e-5, atol=1e-5)


def test_the_two_layer_network_of_textbooks():
    config = MlpConfig(preset="two-layer", input_shape=(3,))
    model = filled(config)
    (w1, b1), (w2, b2) = (
        (np.asarray(layer.kernel[...]), np.asarray(layer.bias[...])) for layer in model.layers
    )
    x = np.array([[0.5, -1, 2]], np.float32)
    hidden = 1 / (1 + np.exp(-(x @ w1 + b1)))
    np.testing.assert_allclose(model(jnp.asarray(x)).pooled, 1 / (1 + np.exp(-(hidden @ w2 + b2))), rtol=1e-5)


@pytest.mark.parametrize(("activation", "spread"), [("relu", 1.0), ("tanh", 1.0), ("sigmoid", 4.0)])
def test_new_kernels_are_he_normal_and_four_times_that_before_a_sigmoid(activation, spread):
    layer = MlpConfig(widths=(300,), activation=activation, input_shape=(200,)).build(nnx.Rngs(0)).layers[0]
    assert float(np.std(layer.kernel[...])) == pytest.approx(spread * (2 / 200) ** 0.5, rel=0.02)
    assert not np.any(layer.bias[...])


def test_pictures_are_laid_out_flat_and_bytes_scaled():
    model = filled(MlpConfig(widths=(5,), input_shape=(2, 3, 1)))
    picture = np.arange(0, 240, 20, np.uint8).reshape(2, 2, 3, 1)
    expected = model(jnp.asarray(picture.reshape(2, 6) / 255, jnp.float32)).pooled
    np.testing.assert_allclose(model(jnp.asarray(picture)).pooled, expected, rtol=1e-6)


def test_dropout_needs_a_key():
    model = filled(MlpConfig(widths=(64,), dropout=0.5, input_shape=(6,)))
    x = jnp.ones((8, 6))
    on, again, off = (model(x, key=key).pooled for key in (jax.random.key(0), jax.random.key(0), None))
    assert (on == again).all() and (on == 0).sum() > (off == 0).sum() + 100


@pytest.mark.parametrize(
    ("settings", "parameters", "width", "depth"),
    [
        ({"preset": "small"}, 64 * 128 + 128 + 128 * 128 + 128, 128, 2),
        ({"preset": "two-layer"}, 64 * 128 + 128 + 128 * 64 + 64, 64, 2),
        ({"preset": "linear"}, 0, 64, 0),
        ({"widths": (10,)}, 650, 10, 1),
    ],
)
def test_sizes(settings, parameters, width, depth):
    config = MlpConfig(**settings, input_shape=(64,))
    assert (config.count(), config.width, config.depth) == (parameters, width, depth)
    assert models["mlp"] is MlpConfig and MlpConfig.modality == "features"


def test_layer_ids_count_from_the_input():
    module = MlpConfig(widths=(5, 4, 3), input_shape=(6,)).build(nnx.Rngs(0))
    paths = [tuple(map(str, path)) for path, _ in nnx.to_flat_state(nnx.state(module))]
    assert {path: module.layer_ids(path) for path in paths} == {
        ("layers", str(number), name): number + 1 for number in range(3) for name in ("kernel", "bias")
    }


@pytest.mark.parametrize("preset", ["", *PRESETS])
def test_a_config_travels_to_toml_and_back(preset):
    for config in (MlpConfig(preset=preset), MlpConfig(preset=preset, input_shape=(9,), dropout=0.25)):
        assert loads(MlpConfig, dumps(config)) == config


def test_what_is_wrong_is_said():
    with pytest.raises(
        ConfigError, match=r"MlpConfig\.input_shape is not set\. Set it to the shape of one example: \(feat"
    ):
        MlpConfig().build(nnx.Rngs(0))
    with pytest.raises(ConfigError, match=r"widths = \(3, 0\) must all be at least 1"):
        MlpConfig(widths=(3, 0))
    with pytest.raises(ConfigError, match=r"activation = 'rely' is not one of .* 'relu'"):
        MlpConfig(activation="rely")


def test_mixed_is_float32_but_for_products_of_bfloat16():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(4, 20)), jnp.float32)

    @nnx.jit
    def slopes(model):
        return nnx.value_and_grad(lambda model: (model(x).pooled ** 2).sum())(model)

    models = [
        MlpConfig(widths=(32, 16), input_shape=(20,), dtype=dtype).build(nnx.Rngs(0))
        for dtype in ("mixed", "float32")
    ]
    (ours, mixed), (theirs, exact) = map(slopes, models)
    assert 0 < abs(float(ours - theirs)) < 0.05 * float(theirs)
    for one, other in zip(jax.tree.leaves(mixed), jax.tree.leaves(exact), strict=True):
        assert one.dtype == jnp.float32 and bool(jnp.isfinite(one).all())
        off = float(jnp.linalg.norm(one - other) / jnp.linalg.norm(other))
        assert off < 0.1, "bfloat16 keeps eight bits"
