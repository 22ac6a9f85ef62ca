"""VGG: the published sizes, its numbers against NumPy, its configs."""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy.signal import correlate

from labkit.core.config import dumps, loads
from labkit.core.errors import ConfigError, WeightsError
from labkit.models import models, weights
from labkit.models.vision.vgg import PRESETS, VggConfig

TINY = {"preset": "vgg-13", "base_width": 3, "input_shape": (32, 64, 2)}


def filled(config):
    model = config.build(nnx.Rngs(0))
    for layer in (*model.convs, *model.dense):
        layer.bias[...] = jnp.linspace(-0.1, 0.3, layer.bias[...].size)
    return model


def convolved(layer, picture):
    """One picture [y, x, c], channel by channel with SciPy, in float64."""
    kernel, bias = np.asarray(layer.kernel[...], np.float64), np.asarray(layer.bias[...], np.float64)
    maps = [
        sum(correlate(picture[:, :, c], kernel[:, :, c, o], "same") for c in range(picture.shape[2]))
        + bias[o]
        for o in range(len(bias))
    ]
    return np.stack(maps, -1)


def reference(model, stages, pictures, normalise=lambda number, x: x):
    """Pictures [b, y, x, c] through the convolutions; ``normalise`` is called with what each gives."""
    x, layers = pictures.astype(np.float64), iter(enumerate(model.convs))
    for times in stages:
        for number, layer in [next(layers) for _ in range(times)]:
            x = np.maximum(normalise(number, np.stack([convolved(layer, one) for one in x])), 0)
        high, wide = x.shape[1] // 2, x.shape[2] // 2
        x = x.reshape(len(x), high, 2, wide, 2, -1).max((2, 4))
    return x


@pytest.mark.parametrize("head_width", [0, 7])
def test_forward_is_that_of_an_independent_one(head_width):
    config = VggConfig(**TINY, head_width=head_width)
    model = filled(config)
    picture = np.random.default_rng(0).integers(0, 256, (2, 32, 64, 2)).astype(np.uint8)
    expected = reference(model, config.stages, picture / 255)
    if head_width:
        expected = expected.reshape(2, -1)
        for layer in model.dense:
            expected = np.maximum(expected @ np.asarray(layer.kernel[...]) + np.asarray(layer.bias[...]), 0)
    else:
        expected = expected.mean((1, 2))
    pooled = model(jnp.asarray(picture)).pooled
    assert pooled.shape == (2, config.width) and pooled.dtype == jnp.float32
    np.testing.assert_allclose(pooled, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


def test_with_batch_norm_it_is_that_of_an_independent_one_and_remembers():
    config = VggConfig(stages=(1, 2), base_width=3, head_width=0, batch_norm=True, input_shape=(8, 4, 2))
    model = filled(config)
    for norm in model.norms:
        size = norm.bias[...].size
        norm.scale[...], norm.bias[...] = jnp.linspace(0.5, 2, size), jnp.linspace(-0.5, 1, size)
        norm.mean[...], norm.var[...] = jnp.linspace(-1, 1, size), jnp.linspace(0.5, 2, size)
    pictures = np.random.default_rng(0).normal(size=(4, 8, 4, 2))
    real, remembered = np.array([True, True, False, True]), []
    numbers = [[np.asarray(getattr(norm, name)[...], np.float64) for name in ("scale", "bias", "mean", "var")]
               for norm in model.norms]  # fmt: skip

    def in_use(number, x):
        scale, bias, mean, var = numbers[number]
        return (x - mean) / np.sqrt(var + 1e-5) * scale + bias

    def in_training(number, x):
        scale, bias, mean, var = numbers[number]
        seen = x[real].reshape(-1, x.shape[-1])
        remembered.append((0.9 * mean + 0.1 * seen.mean(0), 0.9 * var + 0.1 * seen.var(0, ddof=1)))
        return (x - seen.mean(0)) / np.sqrt(seen.var(0) + 1e-5) * scale + bias

    graph, params, seen = nnx.split(model, nnx.Param, nnx.BatchStat)

    @jax.jit
    def both(params, seen, x, real):
        model = nnx.merge(graph, params, seen, copy=True)
        plain = model(x, real=real).pooled
        return plain, model(x, key=jax.random.key(0), real=real).pooled, nnx.state(model, nnx.BatchStat)

    x = jnp.asarray(pictures, jnp.float32)
    plain, trained, seen = both(params, seen, x, jnp.asarray(real))
    for found, normalise in ((plain, in_use), (trained, in_training)):
        expected = reference(model, config.stages, pictures, normalise).mean((1, 2))
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    nnx.update(model, seen)
    for norm, (mean, var) in zip(model.norms, remembered, strict=True):
        np.testing.assert_allclose(norm.mean[...], mean, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(norm.var[...], var, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("preset", "published", "depth"),
    [
        ("vgg-11", 132_863_336, 10),
        ("vgg-13", 133_047_848, 12),
        ("vgg-16", 138_357_544, 15),
        ("vgg-19", 143_667_240, 18),
        ("vgg-11-bn", 132_868_840, 10),
        ("vgg-13-bn", 133_053_736, 12),
        ("vgg-16-bn", 138_365_992, 15),
        ("vgg-19-bn", 143_678_248, 18),
    ],
)
def test_published_sizes(preset, published, depth):
    config = VggConfig(preset=preset, input_shape=(224, 224, 3))
    assert config.count() + 4096 * 1000 + 1000 == published
    assert (config.width, config.depth) == (4096, depth)


def test_sizes_for_small_pictures():
    config = VggConfig(preset="vgg-11", head_width=0, input_shape=(32, 32, 3))
    assert (config.count(), config.width, config.depth) == (9_220_480, 512, 8)
    config = config.replace(head_width=512)
    assert (config.count(), config.width, config.depth) == (9_220_480 + 2 * 512 * 513, 512, 10)
    assert models["vgg"] is VggConfig and VggConfig.modality == "image"


def test_every_parameter_learns_and_dropout_needs_a_key():
    model = filled(VggConfig(stages=(1, 2), base_width=2, head_width=64, input_shape=(8, 8, 1)))
    x = jax.random.uniform(jax.random.key(0), (4, 8, 8, 1))
    slopes = nnx.jit(nnx.grad(lambda model: model(x).pooled.sum()))(model)
    assert all(float(jnp.abs(leaf).max()) > 0 for leaf in jax.tree.leaves(slopes))
    assert (model(x, key=jax.random.key(1)).pooled == 0).sum() > (model(x).pooled == 0).sum() + 20


def test_layer_ids_count_from_the_input():
    config = VggConfig(base_width=2, head_width=3, batch_norm=True, input_shape=(32, 32, 1))
    module = nnx.eval_shape(lambda: config.build(nnx.Rngs(0)))
    found = {
        path[:2]: module.layer_ids(tuple(map(str, path))) for path, _ in nnx.to_flat_state(nnx.state(module))
    }
    assert {path[1]: number for path, number in found.items() if path[0] == "norms"} == {
        i: i + 1 for i in range(8)
    }
    found = {path: number for path, number in found.items() if path[0] != "norms"}
    assert sorted(found.values()) == list(range(1, config.depth + 1))
    assert found["convs", 0] == 1 and found["dense", 0] == 9 and found["dense", 1] == 10


@pytest.mark.parametrize("preset", ["", *PRESETS])
def test_a_config_travels_to_toml_and_back(preset):
    for config in (VggConfig(preset=preset), VggConfig(preset=preset, head_width=0, input_shape=(32, 32, 3))):
        assert loads(VggConfig, dumps(config)) == config


def test_what_is_wrong_is_said():
    with pytest.raises(ConfigError, match="28 x 28 pixels cannot be halved 5 times: this VGG needs 32 x 32"):
        VggConfig(input_shape=(28, 28, 1)).build(nnx.Rngs(0))
    with pytest.raises(ConfigError, match=r"preset = 'vgg-12' is not one of .* 'vgg-1"):
        VggConfig(preset="vgg-12")
    with pytest.raises(ConfigError, match=r"stages = \(1, 0\) must be one to five"):
        VggConfig(stages=(1, 0))


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A folder of convolutions and the model they are of."""
    folder = tmp_path_factory.mktemp("vgg")
    model = filled(
        VggConfig(stages=(1, 2), base_width=3, head_width=0, pixels="imagenet", input_shape=(8, 8, 3))
    )
    params = {"/".join(path): np.asarray(leaf) for path, leaf in weights.flatten(model).items()}
    pixels = {"range": [0, 255], "channels": "BGR", "mean": [104.007, 116.669, 122.679], "scale": 1.0}
    said = {"model_type": "vgg", "stages": [1, 2], "base_width": 3, "head_width": 0, "pixels": pixels}
    weights.save_own(params, folder, said)
    return folder, model


def test_stored_convolutions_and_their_pixels_are_taken_from_a_folder(stored):
    folder, model = stored
    config = VggConfig(weights=str(folder), input_shape=(8, 8, 3))
    assert (config.stages, config.base_width, config.head_width, config.pixels) == ((1, 2), 3, 0, "imagenet")
    again = config.build(nnx.Rngs(5))
    assert not config.load(again).missing
    picture = np.random.default_rng(2).integers(0, 256, (2, 8, 8, 3)).astype(np.uint8)
    seen = picture[..., ::-1].astype(np.float64) - (104.007, 116.669, 122.679)
    expected = reference(model, config.stages, seen).mean((1, 2))
    for x in (picture, (picture / 255).astype(np.float32)):
        np.testing.assert_allclose(again(jnp.asarray(x)).pooled, expected, rtol=1e-4)
    grey = config.replace(input_shape=(8, 8, 1)).build(nnx.Rngs(0))
    config.load(grey)
    three = again(jnp.asarray(picture[..., :1].repeat(3, -1))).pooled
    np.testing.assert_allclose(grey(jnp.asarray(picture[..., :1])).pooled, three, rtol=1e-6)
    loaded = loads(VggConfig, dumps(config).replace(str(folder), "/nowhere"))  # the folder is needed once
    assert loaded == config.replace(weights="/nowhere")


def test_the_first_stages_serve_alone_and_dense_layers_start_fresh(stored):
    folder, model = stored
    config = VggConfig(weights=str(folder), stages=(1,), head_width=5, input_shape=(2, 2, 3))
    part = config.build(nnx.Rngs(5))
    before = np.array(part.dense[0].kernel[...])
    report = config.load(part)
    assert (
        report.loaded == ("convs/0/kernel", "convs/0/bias")
        and len(report.missing) == len(report.ignored) == 4
    )
    np.testing.assert_array_equal(part.convs[0].kernel[...], model.convs[0].kernel[...])
    np.testing.assert_array_equal(part.dense[0].kernel[...], before)


def test_weights_that_do_not_fit_are_refused(stored, tmp_path):
    folder, _ = stored
    config = VggConfig(weights=str(folder), base_width=4, input_shape=(8, 8, 3))
    with pytest.raises(WeightsError, match=r"convs/0/kernel: file \[3, 3, 3, 3\], model \[3, 3, 3, 4\]"):
        config.load(config.build(nnx.Rngs(0)))
    with pytest.raises(WeightsError, match="has no weights"):
        VggConfig(input_shape=(32, 32, 3)).load(config.build(nnx.Rngs(0)))
    with pytest.raises(ConfigError, match="the pretrained convolutions have none"):
        VggConfig(weights=str(folder), batch_norm=True)
    with pytest.raises(ConfigError, match="grey or RGB images, not 2 channels"):
        VggConfig(pixels="imagenet", input_shape=(32, 32, 2)).build(nnx.Rngs(0))
    said = json.loads((folder / "config.json").read_text())
    for change, message in (
        ({"model_type": "resnet"}, "type 'resnet'; supported: 'vgg'"),
        ({"pixels": {"channels": "RGB"}}, "trained on pixels = {'channels': 'RGB'}"),
    ):
        (tmp_path / "config.json").write_text(json.dumps(said | change))
        with pytest.raises(WeightsError) as error:
            VggConfig(weights=str(tmp_path))
        assert message in str(error.value)


@pytest.mark.samples
def test_the_published_convolutions_see_a_real_picture_as_an_independent_program_does():
    from sklearn.datasets import load_sample_image

    picture = load_sample_image("china.jpg")[200:232, 300:364]
    config = VggConfig(preset="vgg16-trunk", input_shape=picture.shape)
    model = nnx.eval_shape(lambda: config.build(nnx.Rngs(0)))
    assert not config.load(model).missing and config.count() == 14_714_688
    assert config == VggConfig(weights="vgg16-trunk", input_shape=picture.shape).replace(preset="vgg16-trunk")
    seen = picture[None, ..., ::-1].astype(np.float64) - (104.007, 116.669, 122.679)
    expected = many(model, config.stages, seen)
    found = np.asarray(jax.jit(lambda x: model(x).pooled)(jnp.asarray(picture[None])))
    assert np.abs(expected).max() > 1 and (expected > 0).mean() > 0.2  # the features say something
    np.testing.assert_allclose(found, expected.mean((1, 2)), rtol=1e-4, atol=1e-5 * np.abs(expected).max())


def many(model, stages, pictures):
    """As :func:`reference` for many channels: every convolution as nine products of shifted pictures, in float64."""
    x, layers = pictures, iter(model.convs)
    for times in stages:
        for layer in [next(layers) for _ in range(times)]:
            kernel, bias = np.asarray(layer.kernel[...], np.float64), np.asarray(layer.bias[...], np.float64)
            wide = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
            parts = (
                wide[:, i : i + x.shape[1], j : j + x.shape[2]] @ kernel[i, j]
                for i in range(3)
                for j in range(3)
            )
            x = np.maximum(sum(parts) + bias, 0)
        x = x.reshape(len(x), x.shape[1] // 2, 2, x.shape[2] // 2, 2, -1).max((2, 4))
    return x


def test_mixed_is_float32_but_for_products_of_bfloat16():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 32, 32, 3)), jnp.float32)

    @nnx.jit
    def slopes(model):
        return nnx.value_and_grad(lambda model: (model(x).pooled ** 2).sum())(model)

    models = [
        VggConfig(preset="vgg-11", base_width=16, head_width=32, input_shape=(32, 32, 3), dtype=dtype).build(
            nnx.Rngs(0)
        )
        for dtype in ("mixed", "float32")
    ]
    (ours, mixed), (theirs, exact) = map(slopes, models)
    assert 0 < abs(float(ours - theirs)) < 0.05 * float(theirs)
    for one, other in zip(jax.tree.leaves(mixed), jax.tree.leaves(exact), strict=True):
        assert one.dtype == jnp.float32 and bool(jnp.isfinite(one).all())
        off = float(jnp.linalg.norm(one - other) / jnp.linalg.norm(other))
        assert off < 0.1, "bfloat16 keeps eight bits"
