"""Low-rank additions: where they go, that they begin as nothing, and that merging changes no result."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from labkit.core.errors import ConfigError
from labkit.models import layers, lora
from labkit.models.bert.model import BertConfig
from labkit.train.step import flatten

CONFIG = BertConfig(preset="tiny", width=8, depth=2, heads=2, mlp_width=12, max_length=6, vocab_size=20)
IDS = jnp.arange(12).reshape(2, 6)


def pooled(model):
    return np.asarray(model(IDS, IDS >= 0).pooled)


def test_an_addition_begins_as_nothing_and_goes_only_where_it_is_asked_for():
    model = CONFIG.build(nnx.Rngs(0))
    before = pooled(model)
    names = lora.add(model, 2, 4.0, ("layers/query", "layers/mlp_*"), nnx.Rngs(1))
    assert sorted(names) == ["layers/mlp_in", "layers/mlp_out", "layers/query"]
    np.testing.assert_array_equal(pooled(model), before)
    flat = flatten(nnx.to_pure_dict(nnx.state(model)))
    assert flat["layers/query/lora_a"].shape == (2, 8, 2) and flat["layers/mlp_in/lora_b"].shape == (2, 2, 12)
    assert not np.array_equal(flat["layers/query/lora_a"][0], flat["layers/query/lora_a"][1])
    assert np.abs(flat["layers/mlp_out/lora_a"]).max() <= 12**-0.5


@pytest.mark.parametrize("dtype", ["float32", "mixed"])
def test_merged_is_added(dtype):
    config = CONFIG.replace(dtype=dtype)
    model = config.build(nnx.Rngs(0))
    lora.add(model, 2, 3.0, ("layers/*",), nnx.Rngs(1))
    flat = flatten(nnx.to_pure_dict(nnx.state(model)))
    random = np.random.default_rng(0)
    flat = {
        n: random.normal(0, 1, v.shape).astype("f4") if n.endswith("lora_b") else v for n, v in flat.items()
    }
    nested: dict = {}
    for name, value in flat.items():
        *place, last = name.split("/")
        node = nested
        for part in place:
            node = node.setdefault(part, {})
        node[last] = jnp.asarray(value)
    nnx.update(model, nested)
    merged = lora.merge(flat, 3.0 / 2)
    assert not any("lora" in name for name in merged)
    kernel = flat["layers/out/kernel"][1] + 1.5 * flat["layers/out/lora_a"][1] @ flat["layers/out/lora_b"][1]
    np.testing.assert_allclose(merged["layers/out/kernel"][1], kernel, atol=1e-6)
    plain = config.build(nnx.Rngs(0))
    untouched = pooled(plain)
    plain_state = nnx.state(plain)
    for path, leaf in nnx.to_flat_state(plain_state):
        leaf.set_value(jnp.asarray(merged["/".join(map(str, path))]))
    nnx.update(plain, plain_state)
    tolerance = 1e-5 if dtype == "float32" else 2e-2
    np.testing.assert_allclose(pooled(plain), pooled(model), atol=tolerance)
    assert np.abs(pooled(model) - untouched).max() > 3 * tolerance  # the additions do something


def test_the_gradient_reaches_the_additions_without_the_kernels():
    layer = layers.dense(4, 3, "float32", nnx.Rngs(0))
    holder = nnx.Module()
    holder.layer = layer
    lora.add(holder, 2, 2.0, ("layer",), nnx.Rngs(1))
    x = jnp.ones((5, 4))
    graph, state = nnx.split(layer)
    values = nnx.to_pure_dict(state)

    def loss(b):
        return jnp.sum(nnx.merge(graph, {**values, "lora_b": b})(x) ** 2)

    gradient = jax.grad(loss)(jnp.zeros((2, 3)))
    np.testing.assert_allclose(gradient, (x @ values["lora_a"]).T @ (2 * x @ values["kernel"]), rtol=1e-5)


def test_what_cannot_be_added_is_said():
    model = CONFIG.build(nnx.Rngs(0))
    with pytest.raises(ConfigError, match=r"'lyers/\*'.*match no linear layer.*layers/query"):
        lora.add(model, 2, 4.0, ("lyers/*",), nnx.Rngs(1))
    with pytest.raises(ConfigError, match=r"lora_rank = 9 is too large for layers/query \[8, 8\]"):
        lora.add(model, 9, 4.0, ("layers/query",), nnx.Rngs(1))
