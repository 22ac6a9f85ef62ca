"""Convolutional networks, plain and residual, against NumPy; the published sizes; their configs."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from labkit.core.config import dumps, loads
from labkit.core.errors import ConfigError
from labkit.models import models, norms
from labkit.models.vision.cnn import PRESETS, CnnConfig


def filled(config):
    model = config.build(nnx.Rngs(0))
    for layer in (*model.convs, *model.dense):
        layer.bias[...] = jnp.linspace(-0.5, 0.5, layer.bias[...].size)
    return model


def numbers(layer):
    bias = 0 if layer.bias is None else np.asarray(layer.bias[...], np.float64)
    return np.asarray(layer.kernel[...], np.float64), bias


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
        [function(x[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2], (1, 2)) for j in range(columns)]
        for i in range(rows)
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


# --- residual networks ------------------------------------------------------------------------------------------------

# Three stages (blocks of both kinds of shape), on pictures of odd and even sides.
RESIDUAL = {
    "pad": {"widths": (2, 3, 5), "blocks": (1, 2, 1), "halving": "pad"},
    "project": {
        "widths": (4, 2),
        "blocks": (1, 2),
        "stem": "large",
        "input_shape": (23, 18, 3),
        "activation": "tanh",
    },
    "pool": {"widths": (2, 4, 4), "blocks": (0, 1, 0), "halving": "pool", "norm": "group", "dense": (5,)},
    "no norm": {"widths": (3, 4), "blocks": (2, 1), "norm": "none"},
}


def residual(case):
    """A model in which no parameter and no running number is what it begins as."""
    config = CnnConfig(**{"input_shape": (9, 6, 2), "dtype": "float32", **RESIDUAL[case]})
    graph, state = nnx.split(nnx.eval_shape(lambda: config.build(nnx.Rngs(0))))
    random = np.random.default_rng(1)

    def drawn(path, leaf):
        positive = {"scale", "var"} & {getattr(part, "key", None) for part in path}
        wide = 0.4 if len(leaf.shape) == 1 else (2 / np.prod(leaf.shape[:-1])) ** 0.5
        values = random.uniform(0.5, 1.5, leaf.shape) if positive else random.normal(0, wide, leaf.shape)
        return jnp.asarray(values, jnp.float32)

    return nnx.merge(graph, jax.tree_util.tree_map_with_path(drawn, state))


class Numpy:
    """A residual network in float64, pixel by pixel. With ``real`` as in training; ``running`` is then what its batch
    norms should remember, in the order in which they are passed."""

    def __init__(self, model, real=None):
        self.model, self.config, self.real, self.running = model, model.config, real, []
        self.activate = np.tanh if self.config.activation == "tanh" else lambda x: np.maximum(x, 0)

    def unit(self, unit, x, stride=1):
        kernel = np.asarray(unit.conv.kernel[...], np.float64)
        half = len(kernel) // 2
        x = np.pad(x, ((0, 0), (half, half), (half, half), (0, 0)))
        places = [
            [
                x[:, i : i + len(kernel), j : j + len(kernel)]
                for j in range(0, x.shape[2] - len(kernel) + 1, stride)
            ]
            for i in range(0, x.shape[1] - len(kernel) + 1, stride)
        ]
        x = np.array([[np.tensordot(place, kernel, 3) for place in row] for row in places]).transpose(
            2, 0, 1, 3
        )
        return x + np.asarray(unit.conv.bias[...]) if unit.norm is None else self.norm(unit.norm, x)

    def norm(self, norm, x):
        scale, bias = np.asarray(norm.scale[...], np.float64), np.asarray(norm.bias[...], np.float64)
        if isinstance(norm, norms.GroupNorm):
            parted = x.reshape(*x.shape[:3], norm.groups, -1)
            mean, var = parted.mean((1, 2, 4), keepdims=True), parted.var((1, 2, 4), keepdims=True)
            return ((parted - mean) / np.sqrt(var + 1e-5)).reshape(x.shape) * scale + bias
        mean, var = np.asarray(norm.mean[...], np.float64), np.asarray(norm.var[...], np.float64)
        if self.real is not None:
            seen = x[self.real].reshape(-1, x.shape[-1])
            new = seen.mean(0), seen.var(0, ddof=1)
            self.running.append((0.9 * mean + 0.1 * new[0], 0.9 * var + 0.1 * new[1]))
            mean, var = new[0], seen.var(0)
        return (x - mean) / np.sqrt(var + 1e-5) * scale + bias

    def block(self, block, x, stride):
        inner = self.unit(block.second, self.activate(self.unit(block.first, x, stride)))
        if block.shortcut is not None:
            return self.activate(inner + self.unit(block.shortcut, x, stride))
        inner[..., : x.shape[-1]] += x[:, ::stride, ::stride]
        return self.activate(inner)

    def __call__(self, x):
        net, config = self.model.residual, self.config
        x, blocks = (
            self.activate(self.unit(net.stem, x, 2 if config.stem == "large" else 1)),
            iter(net.blocks),
        )
        if config.stem == "large":
            y = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-np.inf)
            rows, columns = range(0, x.shape[1], 2), range(0, x.shape[2], 2)
            x = np.array([[y[:, i : i + 3, j : j + 3].max((1, 2)) for j in columns] for i in rows]).transpose(
                2, 0, 1, 3
            )
        for stage, count in enumerate(config.blocks):
            pools = stage > 0 and config.halving == "pool"
            if pools:
                x = pool(self.activate(self.unit(next(blocks).first, x)), np.max)
            for number in range(count):
                x = self.block(next(blocks), x, 2 if stage and not pools and not number else 1)
        assert next(blocks, None) is None
        if not config.dense:
            return x.mean((1, 2))
        x = x.reshape(len(x), -1)
        for layer in self.model.dense:
            kernel, bias = numbers(layer)
            x = self.activate(x @ kernel + bias)
        return x


@pytest.mark.parametrize("case", RESIDUAL)
def test_a_residual_network_is_that_of_numpy(case):
    model = residual(case)
    x = np.random.default_rng(0).normal(size=(2, *model.config.input_shape))
    pooled = nnx.jit(lambda model, x: model(x).pooled)(model, jnp.asarray(x, jnp.float32))
    expected = Numpy(model)(x)
    assert pooled.shape == (2, model.config.width) and pooled.dtype == jnp.float32
    np.testing.assert_allclose(pooled, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("case", ["pad", "project"])
def test_in_training_the_batch_decides_and_is_remembered(case):
    model = residual(case)
    real = np.array([True, True, False, True])
    x = np.random.default_rng(0).normal(size=(4, *model.config.input_shape)) * real[:, None, None, None]
    graph, params, seen = nnx.split(model, nnx.Param, nnx.BatchStat)

    @jax.jit
    def step(params, seen, x, real):
        def loss(params):
            model = nnx.merge(graph, params, seen, copy=True)
            pooled = model(x, key=jax.random.key(0), real=real).pooled
            return (pooled**2 * real[:, None]).sum(), (pooled, nnx.state(model, nnx.BatchStat))

        (_, (pooled, seen)), slopes = jax.value_and_grad(loss, has_aux=True)(params)
        return pooled, seen, slopes

    pooled, seen, slopes = step(params, seen, jnp.asarray(x, jnp.float32), jnp.asarray(real))
    reference = Numpy(model, real)
    expected = reference(x)
    np.testing.assert_allclose(pooled, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())
    nnx.update(model, seen)
    net = model.residual
    order = [
        net.stem,
        *(unit for block in net.blocks for unit in (block.first, block.second, block.shortcut)),
    ]
    order = [unit.norm for unit in order if unit is not None]
    assert len(order) == len(reference.running) == len(jax.tree.leaves(seen)) / 2
    for norm, (mean, variance) in zip(order, reference.running, strict=True):
        np.testing.assert_allclose(norm.mean[...], mean, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(norm.var[...], variance, rtol=1e-4, atol=1e-5)
    assert all(float(jnp.abs(leaf).max()) > 0 for leaf in jax.tree.leaves(slopes)), "every parameter learns"


def test_a_plain_network_with_batch_norm_is_that_of_numpy():
    model = CnnConfig(widths=(3, 4), norm="batch", input_shape=(9, 8, 2), dtype="float32").build(nnx.Rngs(0))
    for norm in model.norms:
        norm.bias[...], norm.mean[...] = (
            jnp.linspace(-1, 1, len(norm.bias)),
            jnp.linspace(0, 1, len(norm.bias)),
        )
    x = np.random.default_rng(0).normal(size=(4, 9, 8, 2))
    real, expected, reference = np.array([True, False, True, True]), x, Numpy(model)
    reference.real = real
    for layer, norm in zip(model.convs, model.norms, strict=True):
        assert layer.bias is None, "the norm has one"
        expected = pool(np.maximum(reference.norm(norm, correlate(expected, layer, same=True)), 0), np.max)
    pooled = model(jnp.asarray(x, jnp.float32), key=jax.random.key(0), real=jnp.asarray(real)).pooled
    np.testing.assert_allclose(pooled, expected.mean((1, 2)), rtol=1e-5, atol=1e-5)
    for norm, (mean, variance) in zip(model.norms, reference.running, strict=True):
        np.testing.assert_allclose(norm.mean[...], mean, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(norm.var[...], variance, rtol=1e-5, atol=1e-6)


def test_without_a_norm_blocks_begin_as_their_shortcuts():
    config = CnnConfig(widths=(4,), blocks=(3,), norm="none", input_shape=(6, 6, 1), dtype="float32")
    model = config.build(nnx.Rngs(0))
    x = jax.random.normal(jax.random.key(0), (2, 6, 6, 1))
    np.testing.assert_allclose(
        model(x).pooled, jax.nn.relu(model.residual.stem(x, False, None)).mean((1, 2)), rtol=1e-6
    )


@pytest.mark.parametrize(
    ("preset", "shape", "head", "published", "depth"),
    [
        ("resnet-9", (32, 32, 3), 512 * 10 + 10, 6_573_130, 8),
        ("resnet-20", (32, 32, 3), 64 * 10 + 10, 269_722, 19),
        ("resnet-18", (224, 224, 3), 512 * 1000 + 1000, 11_689_512, 17),
    ],
)
def test_published_sizes(preset, shape, head, published, depth):
    config = CnnConfig(preset=preset, input_shape=shape)
    assert config.count() + head == published
    assert (config.depth, config.norm) == (depth, "batch")
    sides = {"resnet-9": (4, 4), "resnet-20": (8, 8), "resnet-18": (7, 7)}
    model = nnx.eval_shape(lambda: config.build(nnx.Rngs(0)))
    map_of = jax.eval_shape(lambda model, x: model.residual(x, False, None), model, jnp.zeros((1, *shape)))
    assert config.sides() == map_of.shape[1:3] == sides[preset]


LAYERS = {
    "resnet-9": [
        ("0/first",),
        ("1/first",),
        ("1/second",),
        ("2/first",),
        ("3/first",),
        ("4/first",),
        ("4/second",),
    ],
    "resnet-20": [(f"{number}/{part}",) for number in range(9) for part in ("first", "second")],
    "resnet-18": [
        (f"{number}/first", f"{number}/shortcut")
        if part == "first" and number in (2, 4, 6)
        else (f"{number}/{part}",)
        for number in range(8)
        for part in ("first", "second")
    ],
}


@pytest.mark.parametrize("preset", LAYERS)
def test_layer_ids_of_a_residual_network_count_from_the_input(preset):
    config = CnnConfig(preset=preset, dense=(3,), input_shape=(32, 32, 1))
    module = nnx.eval_shape(lambda: config.build(nnx.Rngs(0)))
    paths = [tuple(map(str, path)) for path, _ in nnx.to_flat_state(nnx.state(module))]
    found = {}
    for path in paths:
        found.setdefault(module.layer_ids(path), set()).add(
            "/".join(path[:-2] if path[0] == "residual" else path[:2])
        )
    blocks = [{f"residual/blocks/{name}" for name in names} for names in LAYERS[preset]]
    assert [found[number + 1] for number in range(len(found))] == [{"residual/stem"}, *blocks, {"dense/0"}]
    assert len(found) == config.depth


def test_sizes():
    lenet = CnnConfig(preset="lenet-5", input_shape=(32, 32, 1))
    assert lenet.count() + 84 * 10 + 10 == 61_706 and (lenet.width, lenet.depth) == (84, 4)
    small = CnnConfig(preset="small", input_shape=(32, 32, 3))
    assert small.count() == 896 + 18_496 + 73_856 and (small.width, small.depth) == (128, 3)
    assert models["cnn"] is CnnConfig and CnnConfig.modality == "image"


def test_it_learns_and_drops():
    model = filled(CnnConfig(widths=(3,), dense=(64,), dropout=0.5, input_shape=(4, 4, 1)))
    x = jnp.ones((4, 4, 4, 1))
    assert (model(x, key=jax.random.key(0)).pooled == 0).sum() > (model(x).pooled == 0).sum() + 20
    slopes = nnx.jit(nnx.grad(lambda model: model(x).pooled.sum()))(model)
    assert all(float(jnp.abs(leaf).max()) > 0 for leaf in jax.tree.leaves(slopes)), "every parameter is used"


def test_layer_ids_count_from_the_input():
    module = CnnConfig(preset="lenet-5", input_shape=(32, 32, 1)).build(nnx.Rngs(0))
    found = {
        path[:2]: module.layer_ids(tuple(map(str, path))) for path, _ in nnx.to_flat_state(nnx.state(module))
    }
    assert found == {("convs", 0): 1, ("convs", 1): 2, ("dense", 0): 3, ("dense", 1): 4}


@pytest.mark.parametrize("preset", ["", *PRESETS])
def test_a_config_travels_to_toml_and_back(preset):
    for config in (CnnConfig(preset=preset), CnnConfig(preset=preset, norm="group", input_shape=(8, 8, 1))):
        assert loads(CnnConfig, dumps(config)) == config


def test_what_is_wrong_is_said():
    with pytest.raises(
        ConfigError, match="8 x 8 pixels are too small for 2 stages with kernels of 5 and padding VALID"
    ):
        CnnConfig(preset="lenet-5", input_shape=(8, 8, 1)).build(nnx.Rngs(0))
    with pytest.raises(
        ConfigError, match=r"input_shape = \(8, 8\) is not the shape of one example: \(height"
    ):
        CnnConfig(input_shape=(8, 8)).build(nnx.Rngs(0))
    with pytest.raises(ConfigError, match="input_shape is not set"):
        CnnConfig().count()
    with pytest.raises(ConfigError, match="widths must not be empty"):
        CnnConfig(widths=())
    with pytest.raises(ConfigError, match="6 x 8 pixels are too small for 4 stages"):
        CnnConfig(preset="resnet-9", input_shape=(6, 8, 1)).build(nnx.Rngs(0))
    with pytest.raises(
        ConfigError, match=r"blocks = \(1,\) must hold a number for each of the widths \(2, 4\): at leas"
    ):
        CnnConfig(widths=(2, 4), blocks=(1,))
    with pytest.raises(
        ConfigError, match=r"blocks = \(0, 0\) must .* at least 0, 1 with halving = 'project'"
    ):
        CnnConfig(widths=(2, 4), blocks=(0, 0))
    with pytest.raises(ConfigError, match=r"kernel = 4 with padding = 'SAME' changes .* Use an odd kernel"):
        CnnConfig(preset="resnet-20", kernel=4)
    with pytest.raises(ConfigError, match=r"widths = \(4, 2\) decrease, .* Use 'project'"):
        CnnConfig(widths=(4, 2), blocks=(1, 1), halving="pad")
    with pytest.raises(ConfigError, match=r"norm = 'bach' is not one of none, batch, group.* 'batch'"):
        CnnConfig(norm="bach")


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
