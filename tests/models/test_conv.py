"""Convolution and pooling against XLA's own, in every size a picture or a kernel can have; norms against NumPy."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jax import lax

from labkit.core.errors import ConfigError
from labkit.models import conv, norms


def xla(x, kernel, strides, padding):
    if padding == "HALF":
        padding = [(side // 2, side // 2) for side in kernel.shape[:2]]
    return lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))


def numbers(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def with_gradients(function, slope, *given):
    """The value and the gradients, compiled as one."""
    y, back = jax.vjp(function, *given)
    return y, *back(slope)


both = jax.jit(with_gradients, static_argnums=0)


def close(ours, theirs):
    """Within 1e-5 of the greatest value: sums of a hundred products differ in their last bits."""
    for one, other in zip(ours, theirs, strict=True):
        assert one.shape == other.shape and one.dtype == other.dtype
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5 * max(1, float(np.abs(other).max())))


@settings(max_examples=14, deadline=None)
@given(
    high=st.integers(1, 11),
    wide=st.integers(1, 11),
    size=st.sampled_from([1, 3, 5]),
    stride=st.integers(1, 2),
    padding=st.sampled_from(conv.PADDINGS),
    seed=st.integers(0, 99),
)
@example(
    high=2, wide=2, size=3, stride=1, padding="SAME", seed=0
)  # smaller than the kernel: far below the kernel
@example(high=8, wide=8, size=5, stride=2, padding="SAME", seed=0)  # the result is smaller than the kernel
@example(high=8, wide=6, size=1, stride=2, padding="HALF", seed=0)  # the shortcut of a residual block
@example(high=8, wide=10, size=3, stride=2, padding="HALF", seed=0)  # which SAME would shift by a pixel
@example(high=9, wide=7, size=3, stride=2, padding="VALID", seed=0)  # XLA's own form, with a rest at the edge
def test_convolve_and_its_gradients_are_those_of_xla(high, wide, size, stride, padding, seed):
    x, kernel = numbers(seed, 2, high, wide, 3), numbers(seed + 1, size, size, 3, 4)
    if padding == "VALID" and min(high, wide) < size:
        with pytest.raises(
            ConfigError, match=f"{high} x {wide} pixels is too small for a kernel of {size} x {size}"
        ):
            conv.convolve(jnp.asarray(x), jnp.asarray(kernel), (stride, stride), padding)
        return
    forms = [partial(form, strides=(stride, stride), padding=padding) for form in (conv.convolve, xla)]
    slope = numbers(seed + 2, *jax.eval_shape(forms[1], x, kernel).shape)
    close(*(both(form, slope, x, kernel) for form in forms))


@pytest.mark.parametrize(("side", "size", "padding"), [(2, 3, "SAME"), (6, 5, "VALID"), (1, 5, "SAME")])
def test_no_slow_convolution_is_left_on_a_cpu(side, size, padding):
    x, kernel = numbers(0, 2, side, side, 3), numbers(1, size, size, 3, 4)

    def compiled(function):
        return jax.jit(jax.grad(lambda *given: function(*given, (1, 1), padding).sum(), (0, 1))).lower(
            x, kernel
        )

    assert "stablehlo.convolution" not in compiled(conv.convolve).as_text()
    assert "stablehlo.convolution" in compiled(xla).as_text()


def test_other_backends_keep_xla_s_form(monkeypatch):
    x, kernel = numbers(0, 1, 2, 2, 3), numbers(1, 3, 3, 3, 4)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert "conv_general_dilated" in str(jax.make_jaxpr(conv.convolve)(x, kernel))
    x, kernel = numbers(0, 1, 4, 4, 80), numbers(1, 3, 3, 80, 80)
    traced = str(jax.make_jaxpr(partial(conv.convolve, mixed=True))(x, kernel))
    assert "conv_general_dilated" in traced and "bf16" not in traced


@pytest.mark.parametrize(
    ("shape", "size", "stride", "padding"),
    [
        ((2, 5, 4), 3, 1, "SAME"),
        ((1, 2, 2), 3, 1, "SAME"),
        ((2, 7, 6), 3, 2, "VALID"),
        ((1, 6, 5), 5, 2, "SAME"),
    ],
)
def test_mixed_products_are_those_of_rounded_numbers(shape, size, stride, padding):
    c = o = 2 * conv.LEAST_INTENSITY
    x, kernel = numbers(0, *shape, c), numbers(1, size, size, c, o)
    forms = [
        partial(conv.convolve, strides=(stride, stride), padding=padding, mixed=True),
        partial(xla, strides=(stride, stride), padding=padding),
    ]
    slope = numbers(2, *jax.eval_shape(forms[1], x, kernel).shape)
    found = both(forms[0], slope, x, kernel)
    rounded = [jnp.asarray(given, jnp.bfloat16).astype(jnp.float32) for given in (slope, x, kernel)]
    close(found, both(forms[1], *rounded))  # nothing else is rounded, neither products nor sums
    for one, other in zip(found, both(forms[1], slope, x, kernel), strict=True):
        assert float(jnp.abs(one - other).max()) < 0.01 * float(jnp.abs(other).max())
        assert float(jnp.abs(one - other).max()) > 0


@pytest.mark.parametrize(
    ("shape", "size", "features", "padding"),
    [
        ((2, 9, 7, 3), 3, 32, "SAME"),  # the first layer: forward and backward
        ((1, 8, 8, 1), 5, 32, "VALID"),
        ((2, 8, 6, 2), 3, 40, "HALF"),  # backward alone
        ((1, 7, 9, 4), (3, 1), 32, "SAME"),
        ((2, 16, 12, 32), 3, 36, "SAME"),  # an inner layer
        ((1, 16, 14, 40), 3, 32, "VALID"),
    ],
)
def test_pictures_laid_out_give_the_convolution_and_its_gradients(shape, size, features, padding):
    kernel = numbers(1, *np.broadcast_to(size, 2), shape[-1], features)
    x, forms = (
        numbers(0, *shape),
        [partial(form, strides=(1, 1), padding=padding) for form in (conv.convolve, xla)],
    )
    out = jax.eval_shape(forms[1], x, kernel).shape
    assert conv.lays_out(x.shape, kernel.shape, out[1:3])
    close(*(both(form, numbers(2, *out), x, kernel) for form in forms))
    each = [jax.vmap(jax.grad(lambda k, x, form=form: form(x[None], k).sum()), (None, 0)) for form in forms]
    close([each[0](kernel, x)], [each[1](kernel, x)])  # example by example, as private training has them


@pytest.mark.parametrize(
    ("shape", "features"),
    [((32, 32, 32, 3), 16), ((32, 8, 8, 64), 128), ((128, 16, 16, 32), 64), ((64, 224, 224, 3), 64)],
)
def test_pictures_are_not_laid_out_where_that_is_slower_or_too_large(shape, features):
    assert not conv.lays_out(shape, (3, 3, shape[-1], features), shape[1:3])


def test_mixed_multiplies_bfloat16_into_float32():
    x, kernel = numbers(0, 1, 4, 4, 80), numbers(1, 3, 3, 80, 80)
    slopes = jax.grad(lambda *given: (conv.convolve(*given, mixed=True) ** 2).sum(), (0, 1))
    lines = [
        line for line in jax.jit(slopes).lower(x, kernel).as_text().splitlines() if "dot_general" in line
    ]
    assert len(lines) == 3 * 9, "forward and two gradients, once for each place"
    for line in lines:
        assert line.count("bf16>") == 2 and line.rstrip().split("-> ")[1].split(" loc")[0].endswith(
            "xf32>"
        ), line
        assert "contracting_dims = [1] x" in line, (
            "summed over the last axis of the left factor: XLA's fast form"
        )


@pytest.mark.parametrize(
    ("shape", "channels"), [((1, 4, 4), (3, 64)), ((1, 16, 16), (32, 64)), ((64, 64, 64), (128, 128))]
)
def test_mixed_is_float32_where_that_is_faster_or_smaller(shape, channels):
    x = jax.ShapeDtypeStruct((*shape, channels[0]), np.float32)
    kernel = jax.ShapeDtypeStruct((3, 3, *channels), np.float32)
    traced = jax.make_jaxpr(partial(conv.convolve, mixed=True))(x, kernel)
    assert "bf16" not in str(traced)


def test_a_mixed_layer_returns_float32_and_has_other_numbers():
    x = numbers(0, 2, 4, 4, 80)
    ours, theirs = (conv.Conv(80, 80, dtype=dtype, rngs=nnx.Rngs(0))(x) for dtype in ("mixed", "float32"))
    assert ours.dtype == jnp.float32 and 0 < float(jnp.abs(ours - theirs).max()) < 0.02 * float(
        jnp.abs(theirs).max()
    )


def reduced(x, window):
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, window, window, 1), (1, window, window, 1), "VALID")


@settings(max_examples=12, deadline=None)
@given(
    high=st.integers(2, 9),
    wide=st.integers(2, 9),
    window=st.integers(1, 3),
    levels=st.sampled_from([2, 3, 1000]),
)
def test_max_pool_is_reduce_window_also_where_values_are_equal(high, wide, window, levels):
    window = min(window, high, wide)
    x = jnp.asarray(np.random.default_rng(high * wide).integers(0, levels, (2, high, wide, 3)), jnp.float32)
    slope = numbers(0, 2, high // window, wide // window, 3)
    ours, theirs = (both(partial(form, window=window), slope, x) for form in (conv.max_pool, reduced))
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_place_in_a_large_square_fits_its_number():
    x = jnp.zeros((1, 17, 17, 1)).at[0, 16, 16, 0].set(1.0)
    assert float(jax.jit(jax.grad(lambda x: conv.max_pool(x, 17).sum()))(x)[0, 16, 16, 0]) == 1


def test_max_pool_keeps_its_data_type_and_nan():
    x = jnp.full((1, 4, 4, 1), -1.0, jnp.bfloat16).at[0, 0, 1, 0].set(jnp.nan)
    y, back = jax.vjp(conv.max_pool, x)
    assert y.dtype == jnp.bfloat16 and back(y)[0].dtype == jnp.bfloat16
    assert np.isnan(np.asarray(y, np.float32))[0, :, :, 0].tolist() == [[True, False], [False, False]]


def overlapping(x):
    pads = ((0, 0), (1, 1), (1, 1), (0, 0))
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 3, 3, 1), (1, 2, 2, 1), pads)


@settings(max_examples=8, deadline=None)
@given(high=st.integers(1, 9), wide=st.integers(1, 9), levels=st.sampled_from([1, 2, 1000]))
def test_the_overlapping_pool_is_reduce_window_also_where_values_are_equal(high, wide, levels):
    x = jnp.asarray(np.random.default_rng(high * wide).integers(0, levels, (2, high, wide, 3)), jnp.float32)
    slope = numbers(0, 2, (high + 1) // 2, (wide + 1) // 2, 3)
    ours, theirs = (both(form, slope, x) for form in (conv.overlapping_max_pool, overlapping))
    np.testing.assert_array_equal(ours[0], theirs[0])
    close(ours[1:], theirs[1:])  # the places are the same, what they are given is summed in another order


def test_mean_pool_and_global_mean():
    x = np.arange(2 * 5 * 4 * 3, dtype=np.float32).reshape(2, 5, 4, 3)
    expected = np.array([[x[:, i : i + 2, j : j + 2].mean((1, 2)) for j in (0, 2)] for i in (0, 2)])
    np.testing.assert_allclose(conv.mean_pool(jnp.asarray(x)), expected.transpose(2, 0, 1, 3), rtol=1e-6)
    np.testing.assert_allclose(conv.global_mean(jnp.asarray(x)), x.mean((1, 2)), rtol=1e-6)


def test_a_layer_adds_its_bias_and_computes_in_its_own_type():
    layer = conv.Conv(3, 4, 5, stride=2, dtype="bfloat16", rngs=nnx.Rngs(0))
    layer.bias[...] = jnp.arange(4.0)
    assert layer.kernel[...].shape == (5, 5, 3, 4) and layer.kernel[...].dtype == jnp.float32
    x = jnp.asarray(numbers(0, 2, 9, 9, 3))
    y = layer(x)
    assert y.dtype == jnp.bfloat16 and y.shape == (2, 5, 5, 4)
    np.testing.assert_allclose(
        y, xla(x, layer.kernel[...], (2, 2), "SAME") + np.arange(4), rtol=0.05, atol=0.05
    )
    spread = float(conv.Conv(64, 64, rngs=nnx.Rngs(0)).kernel[...].std())
    assert spread == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.03), "He et al. 2015"


def test_bytes_are_scaled_and_other_numbers_left():
    assert conv.scaled(jnp.array([0, 51, 255], jnp.uint8), "float32").tolist() == pytest.approx([0, 0.2, 1])
    assert conv.scaled(jnp.array([0.0, 51.0]), "float32").tolist() == [0, 51]


def test_a_padding_nobody_knows():
    with pytest.raises(ConfigError, match=r"padding = 'SAMES' is not one of SAME, VALID.* 'SAME'"):
        conv.convolve(jnp.zeros((1, 4, 4, 1)), jnp.zeros((3, 3, 1, 1)), padding="SAMES")


def normalised(x, real, scale, bias):
    """By mean and variance of the real pictures, channel by channel, in float64; with the two, as of a sample."""
    y, means, variances = np.empty(x.shape), [], []
    for c in range(x.shape[-1]):
        seen = x[real, :, :, c].ravel()
        means.append(seen.mean())
        variances.append(seen.var(ddof=1))
        y[..., c] = (x[..., c] - seen.mean()) / np.sqrt(seen.var() + 1e-5) * scale[c] + bias[c]
    return y, np.array(means), np.array(variances)


def batch_norm(channels=3):
    layer = norms.BatchNorm(channels, dtype="float32")
    layer.scale[...], layer.bias[...] = jnp.linspace(0.5, 2, channels), jnp.linspace(-1, 1, channels)
    layer.mean[...], layer.var[...] = jnp.linspace(0, 1, channels), jnp.linspace(1, 3, channels)
    return layer


@pytest.mark.parametrize("real", [None, [True, False, True, True]], ids=["all", "some"])
def test_batch_norm_in_training_is_that_of_numpy_and_remembers(real):
    layer = batch_norm()
    x = numbers(0, 4, 5, 2, 3) * 3 + 7
    x = x if real is None else x.at[1].set(0.0)  # filler
    before = [np.asarray(value[...]) for value in (layer.scale, layer.bias, layer.mean, layer.var)]
    y = layer(x, True, None if real is None else jnp.asarray(real))
    which = np.ones(4, bool) if real is None else np.array(real)
    expected, mean, variance = normalised(np.asarray(x, np.float64), which, *before[:2])
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(layer.mean[...], 0.9 * before[2] + 0.1 * mean, rtol=1e-5)
    np.testing.assert_allclose(layer.var[...], 0.9 * before[3] + 0.1 * variance, rtol=1e-5)


def test_batch_norm_in_use_takes_what_it_remembers_and_keeps_it():
    layer = batch_norm()
    x, running = numbers(0, 2, 3, 3, 3), [np.asarray(layer.mean[...]), np.asarray(layer.var[...])]
    scale, bias = layer.scale[...], layer.bias[...]
    found = jax.jit(lambda x: layer(x))(x)  # a change would be an error here
    np.testing.assert_allclose(
        found, (x - running[0]) / np.sqrt(running[1] + 1e-5) * scale + bias, rtol=1e-5, atol=1e-6
    )
    np.testing.assert_array_equal([layer.mean[...], layer.var[...]], running)


def plain_batch_norm(x, scale, bias, real):
    weight = real[:, None, None, None] / (real.sum() * x.shape[1] * x.shape[2])
    mean = (weight * x).sum((0, 1, 2))
    variance = (weight * (x - mean) ** 2).sum((0, 1, 2))
    return (x - mean) / jnp.sqrt(variance + 1e-5) * scale + bias


@pytest.mark.parametrize("real", [[True] * 4, [False, True, True, False]], ids=["all", "some"])
def test_the_gradients_of_batch_norm_are_those_of_its_formula(real):
    real = jnp.asarray(real)
    x, slope, layer = numbers(0, 4, 3, 5, 3) + 2, numbers(1, 4, 3, 5, 3), batch_norm()
    graph, params, seen = nnx.split(layer, nnx.Param, nnx.BatchStat)

    @jax.jit
    def ours(params, seen, x):  # as a step of training does it
        def loss(params, x):
            layer = nnx.merge(graph, params, seen, copy=True)
            return (layer(x, True, real) * slope).sum(), nnx.state(layer, nnx.BatchStat)

        (_, seen), slopes = jax.value_and_grad(loss, (0, 1), has_aux=True)(params, x)
        return seen, slopes

    after, (of_params, of_x) = ours(params, seen, x)
    given = (x, layer.scale[...], layer.bias[...])
    expected = jax.jit(jax.grad(lambda *given: (plain_batch_norm(*given, real) * slope).sum(), (0, 1, 2)))(
        *given
    )
    close((of_x, of_params["scale"][...], of_params["bias"][...]), expected)
    before = {name: np.asarray(seen[name][...]) for name in ("mean", "var")}
    layer(x, True, real)
    for name, value in before.items():
        np.testing.assert_allclose(after[name][...], getattr(layer, name)[...], rtol=1e-6)
        assert not np.allclose(after[name][...], value)


def test_batch_norm_remembers_nothing_of_a_batch_without_examples():
    layer = batch_norm()
    before = [np.asarray(layer.mean[...]), np.asarray(layer.var[...])]
    y = layer(jnp.zeros((2, 3, 3, 3)), True, jnp.zeros(2, bool))
    np.testing.assert_array_equal([layer.mean[...], layer.var[...]], before)
    assert bool(jnp.isfinite(y).all())


def test_batch_norm_takes_statistics_in_float32_of_small_floats():
    layer = norms.BatchNorm(2, dtype="bfloat16")
    x = (numbers(0, 64, 8, 8, 2) + 100).astype(jnp.bfloat16)
    y = layer(x, True)
    expected, mean, _ = normalised(np.asarray(x, np.float64), np.ones(64, bool), [1, 1], [0, 0])
    assert y.dtype == jnp.bfloat16 and layer.mean[...].dtype == layer.var[...].dtype == jnp.float32
    np.testing.assert_allclose(layer.mean[...], 0.1 * mean, rtol=1e-5)
    np.testing.assert_allclose(y.astype(jnp.float32), expected, rtol=2**-8, atol=1e-3)


def test_group_norm_is_that_of_numpy():
    layer = norms.GroupNorm(6, dtype="float32")
    layer.scale[...], layer.bias[...] = jnp.linspace(0.5, 2, 6), jnp.linspace(-1, 1, 6)
    x = numbers(0, 2, 3, 4, 6) + 3
    groups = np.asarray(x, np.float64).reshape(2, 12, 2, 3).transpose(0, 2, 1, 3).reshape(4, 36)
    even = (groups - groups.mean(1, keepdims=True)) / np.sqrt(groups.var(1, keepdims=True) + 1e-5)
    even = even.reshape(2, 2, 12, 3).transpose(0, 2, 1, 3).reshape(2, 3, 4, 6)
    expected = even * np.asarray(layer.scale[...]) + np.asarray(layer.bias[...])
    for training in (False, True):
        np.testing.assert_allclose(
            layer(x, training, jnp.array([True, False])), expected, rtol=1e-5, atol=1e-5
        )


@pytest.mark.parametrize(
    ("channels", "groups"), [(1, 1), (2, 1), (6, 2), (9, 1), (16, 8), (32, 16), (64, 32), (512, 32)]
)
def test_groups_divide_the_channels_and_hold_two_at_least(channels, groups):
    assert norms.groups(channels) == groups
