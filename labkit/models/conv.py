"""Layers for image models: convolution and pooling. Images are [b, y, x, c].

 Letters of this file: b pictures, y rows and x columns of one (Y and X of the result), c channels in, o
channels out, i rows and j columns of a kernel. Parameters are float32; what a layer computes in is said when
it is made.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial, reduce
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax
from jaxtyping import Num

from labkit.core.errors import ConfigError, nearest
from labkit.core.shapes import Array, Float
from labkit.i18n import _
from labkit.models import layers
from labkit.models.base import ModelConfig
from labkit.models.layers import compute_dtype
from labkit.profile.activations import KEPT, MOVED_IN_MAPS, NORMS, WORKING_OF_MAPS, Activations, number_bytes

AXES = ("NHWC", "HWIO", "NHWC")
PADDINGS = ("SAME", "VALID", "HALF")
ACTIVATIONS = {**layers.ACTIVATIONS, "sigmoid": jax.nn.sigmoid, "tanh": jnp.tanh}
# One object for the whole process: NNX compares initialisers by identity when it compares two models'
# structure.
INITIAL = nnx.initializers.he_normal()
# The slope of a sigmoid at 0 is a quarter: kernels four times as large keep the size of signals and
# gradients.
INITIAL_SIGMOID = nnx.initializers.variance_scaling(2.0 * 4**2, "fan_in", "truncated_normal")

_plain: ContextVar[bool] = ContextVar("plain", default=False)


@contextmanager
def plain_convolutions() -> Iterator[None]:
    """Convolutions traced inside are XLA's own, for programs that run elsewhere, never the forms that are faster on
    this CPU."""
    before = _plain.set(True)
    try:
        yield
    finally:
        _plain.reset(before)


class Pooled(NamedTuple):
    """What a model without states of its tokens returns: one vector of each example, ``pooled`` float32 [b,
    d]."""

    pooled: Float[Array, "b d"]


@runtime_checkable
class FeatureMaps(Protocol):
    """A backbone that makes its vector from a last map of convolutions."""

    def feature_map(self, inputs: Any) -> Any:
        """The map [b, Y, X, o] after the last convolution and its activation, before it is pooled; not for training."""

    def from_map(self, x: Any) -> Pooled:
        """The vector of such a map."""


def convolve(
    x: Float[Array, "b y x c"],
    kernel: Float[Array, "i j c o"],
    strides: tuple[int, int] = (1, 1),
    padding: str = "SAME",
    mixed: bool = False,
) -> Float[Array, "b Y X o"]:
    """Cross-correlate pictures with a kernel; the numbers of ``lax.conv_general_dilated``, and its gradients.

    ``padding`` is "SAME" or "VALID" as XLA understands them, or "HALF": half the kernel on every side, as
    PyTorch's networks have it. With strides "SAME" pads an even picture at its end only.

    On a GPU or TPU, and for larger pictures on a CPU, it is XLA's own. On a CPU, pictures hardly larger than
    the kernel (the last two stages of a VGG at 32 x 32) are better multiplied once for each place of the
    kernel, and so are those under a kernel of one pixel:

    - Where the picture or the result is smaller than the kernel, XLA leaves its fast code for a plain loop of 1 to 8
      GFLOP/s, forward or backward: 32 pictures of 2 x 2 pixels and 512 channels under 3 x 3 took 1,160 ms
      with their gradients, this form 24.
    - Only pixels that a place meets are multiplied, not the zeros around: of 4 x 4 pixels under 3 x 3 that is 100
      products of 144. Processor time, forward and backward, was 0.7 of XLA's; of 8 x 8 pixels it was the
      same.
    - A kernel of one pixel is a product of matrices: 0.4 of XLA's time at 32 x 32 pixels and 64 channels.

    With ``mixed`` these products, forward and backward, are of numbers rounded to bfloat16 and summed in
    float32 (see :func:`parts.product`), where that pays: :func:`_pays`. Elsewhere it is float32 as without.

    Neighbourhoods laid side by side (im2col) took 1.3 to 1.7 times the time of this form, and i j times the
    memory; so they did in bfloat16 (the better of its two forms: 1.1 to 1.9 times). They are faster in the
    first layer, and for the gradient of the kernel in small inner ones: :func:`lays_out`.
    """
    _check_padding(padding)
    if padding == "HALF":
        pads = [(size // 2, size // 2) for size in kernel.shape[:2]]
    else:
        pads = lax.padtype_to_pads(x.shape[1:3], kernel.shape[:2], strides, padding)
    sides = zip(x.shape[1:3], kernel.shape[:2], strides, pads, strict=True)
    out = [(side + before + after - size) // stride + 1 for side, size, stride, (before, after) in sides]
    if min(out) < 1:
        raise ConfigError(
            _(
                "an image of {height} x {width} pixels is too small for a kernel of {kernel_height} x "
                "{kernel_width} without padding. Use larger images or fewer stages."),
            height=x.shape[1], width=x.shape[2], kernel_height=kernel.shape[0], kernel_width=kernel.shape[1],
        )  # fmt: skip
    if jax.default_backend() == "cpu" and not _plain.get():
        places = tuple(_places(x.shape[1:3], kernel.shape[:2], strides, pads, out))
        if mixed and _pays(x.shape, kernel.shape, out):
            return _of_bfloat16(x, kernel, places)
        if kernel.shape[:2] == (1, 1) or min(*x.shape[1:3], *out) <= max(kernel.shape[:2]) + 1:
            return _by_places(x, kernel, places, jnp.matmul)
        if strides == (1, 1) and x.dtype == jnp.float32 and lays_out(x.shape, kernel.shape, out):
            return _laid_out(x, kernel, tuple(pads))
    return lax.conv_general_dilated(x, kernel, strides, pads, dimension_numbers=AXES)


class Place(NamedTuple):
    """One place of a kernel and what it meets: ``given`` of the picture and ``fed`` of the result are as
    large."""

    i: int
    j: int
    given: tuple[AxisSlice, AxisSlice]
    fed: tuple[AxisSlice, AxisSlice]


class AxisSlice(NamedTuple):
    """Pixels of an axis: the first, every how many, how many there are, and how many lie after the last."""

    first: int
    stride: int
    count: int
    rest: int


def _places(
    side: tuple[int, int],
    size: tuple[int, int],
    strides: tuple[int, int],
    pads: Sequence[tuple[int, int]],
    out: list[int],
) -> Iterator[Place]:
    """The places of a kernel that meet a pixel at all."""
    for i, j in np.ndindex(*size):
        rows, columns = (_met(*end) for end in zip((i, j), side, strides, pads, out, strict=True))
        if rows and columns:
            yield Place(i, j, (rows[0], columns[0]), (rows[1], columns[1]))


def _met(
    place: int, side: int, stride: int, pads: tuple[int, int], out: int
) -> tuple[AxisSlice, AxisSlice] | None:
    """On one axis: from which pixels of the picture a place of the kernel takes, and which of the result it
    feeds.

    Pixel Y of the result has this place on pixel Y stride + place - padding of the picture.
    """
    shift = place - pads[0]
    first, last = max(0, -(shift // stride)), min(out - 1, (side - 1 - shift) // stride)
    if last < first:
        return None
    start, count = first * stride + shift, last - first + 1
    end = start + (count - 1) * stride
    return AxisSlice(start, stride, count, side - 1 - end), AxisSlice(first, 1, count, out - 1 - last)


def _cut(x: Array, where: tuple[AxisSlice, AxisSlice], before: int = 1) -> Array:
    """The pixels at ``where`` on two axes, which ``before`` others precede."""
    cuts = (slice(part.first, part.first + (part.count - 1) * part.stride + 1, part.stride) for part in where)
    return x[(slice(None),) * before + tuple(cuts)]


def _laid(x: Float[Array, "b v w c"], where: tuple[AxisSlice, AxisSlice]) -> Float[Array, "b y x c"]:
    """What :func:`_cut` cut, back at its pixels of the whole; the others are zero."""
    around = [(part.first, part.rest, part.stride - 1) for part in where]
    return lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *around, (0, 0, 0)])


def _by_places(
    x: Float[Array, "b y x c"], kernel: Float[Array, "i j c o"], places: tuple[Place, ...], multiply: Any
) -> Float[Array, "b Y X o"]:
    """The same as one matrix product for each place of the kernel, with those pixels only that this place
    meets."""
    found = []
    for place in places:
        part = _cut(x, place.given)
        made = multiply(part.reshape(-1, x.shape[-1]), kernel[place.i, place.j])
        found.append(_laid(made.reshape(*part.shape[:3], -1), place.fed))
    return reduce(jnp.add, found)


# Measured forward and backward, 32 pictures under 3 x 3, in time of one core with AVX-512 BF16, mixed / the
# faster form in float32, by side, c and o: 16, 32, 64: 1.26; 16, 64, 128: 0.92; 8, 64, 128: 0.85; 8, 128,
# 256: 0.61; 8, 256, 256: 0.55; 4, 256, 512: 0.57; 4, 512, 512: 0.50; 2, 512, 512: 0.64; 32, 3, 64 (without
# the picture's gradient): 6. What is won grows with the operations to a number moved, c o / (c + o): 21, 43,
# 43, 85, 128 and more.
LEAST_INTENSITY = 40
# The products of all places are in memory at once before they are added: of 16 x 16 pixels and 128 channels
# 36 MiB.
MOST_BYTES = 2**28


def _pays(shape: tuple[int, ...], kernel: tuple[int, ...], out: Sequence[int]) -> bool:
    """Whether products of bfloat16, one for each place of the kernel, are faster than float32, and not too
    large."""
    c, o = kernel[2:]
    return c * o >= LEAST_INTENSITY * (c + o) and _at_once(shape, kernel, out) <= MOST_BYTES


def _at_once(shape: tuple[int, ...], kernel: tuple[int, ...], out: Sequence[int]) -> int:
    """Bytes of the products of all places of a kernel."""
    c, o = kernel[2:]
    return 4 * kernel[0] * kernel[1] * shape[0] * max(shape[1] * shape[2] * c, out[0] * out[1] * o)


def convolution_activations(
    rows: int, side: Sequence[int], channels: int, features: int, kernel: int = 3, stride: int = 1,
    padding: int | None = None, norm: str = "none", activation: str = "relu", pool: str = "", dtype: str = "float32",
    plain: bool = False,
) -> tuple[Activations, tuple[int, int]]:  # fmt: skip
    """A convolution of pictures with its norm, activation and 2 × 2 pooling ("max", "mean" or none); and the
    height and width of its result.

    ``padding`` is the number of pixels on every side; None: half the kernel. Products with padding count no
    FLOPs. ``plain``: of a network without shortcuts, in which XLA keeps the products of several layers in
    mixed precision.
    """
    around = kernel // 2 if padding is None else padding
    size, out = number_bytes(dtype), [(one + 2 * around - kernel) // stride + 1 for one in side]
    met = places = 1.0  # pairs of a pixel and a place of the kernel on it; places that are on any pixel
    for one, many in zip(side, out, strict=True):
        at = np.arange(many)[:, None] * stride + np.arange(kernel) - around
        inside = (at >= 0) & (at < one)
        met, places = met * int(inside.sum()), places * int(inside.any(0).sum())
    elements = rows * out[0] * out[1] * features
    high, wide = (one // 2 for one in out) if pool else out
    after = rows * high * wide * features
    kept = elements * (NORMS[norm] + KEPT.get(activation, 6.0)) * size + after * (size + (pool == "max"))
    moved, working = (
        MOVED_IN_MAPS * kept,
        elements * size * (1.0 if pool == "mean" else WORKING_OF_MAPS),
    )  # the derivative of a mean is no array
    if (
        jax.default_backend() == "cpu"
    ):  # on which small pictures are multiplied once for each place of the kernel
        shapes = (rows, *side, channels), (kernel, kernel, channels, features), out
        if dtype == "mixed" and _pays(*shapes):
            kept += 2.0 * (rows * side[0] * side[1] * channels + kernel**2 * channels * features)
            kept += _at_once(*shapes) * plain
            working += _at_once(*shapes) * (not plain)
        elif kernel == 1 or min(*side, *out) <= kernel + 1:
            kept += rows * met * channels * size + 4.0 * places * channels * features
        elif stride == 1 and size == 4 and lays_out((rows, *side, channels), shapes[1], out):
            beside = 4.0 * rows * out[0] * out[1] * channels * kernel
            kept += LAID_OUT_FIRST * beside * kernel if channels <= FEW_CHANNELS else LAID_OUT_INSIDE * beside
    return Activations(kept, kept + working, moved, 2.0 * rows * channels * features * met), (high, wide)


# Measured with stride 1 and 3 x 3 places, two cores with AVX-512, this form / XLA's by side, c, o and pictures.
# Forward: 32, 3, 32, 32: 0.41; 128: 0.53; 64, 3, 32, 32: 0.69; 32, 1, 32, 32: 0.83; but 32, 3, 48, 32: 1.5;
# 32, 4, 32, 32: 1.9, for XLA's own takes channels by fours. Gradient of the kernel: 32, 1, 32, 32: 0.31;
# 32, 3, 32, 32: 0.47; 32, 3, 64, 32: 0.55; 64, 3, 32, 32: 0.56; 32, 3, 16, 32: 1.0; 28, 1, 6, 32 (5 x 5): 1.4;
# and of inner layers, the columns of the kernel alone laid out: 16, 32, 64, 32: 0.71 to 0.83; 16, 64, 64, 32:
# 0.57 to 0.69; 16, 64, 128, 32: 0.83; but 8, 64, 128, 32: 1.1; 32, 16, 16, 32: 2.4; 16, 32, 64, 128: 5, where the
# copies no longer fit in the cache.
FEW_CHANNELS, MANY_FEATURES = 4, 32
INNER_SIDES, INNER_CHANNELS = range(12, 17), 32
MOST_LAID_OUT, MOST_LAID_OUT_INSIDE = 2**24, 2**23
#: Memory that XLA plans for them, as multiples of all places of a first layer, and of a row of places of an inner one.
LAID_OUT_FIRST, LAID_OUT_INSIDE = 0.9, 2.8


def lays_out(shape: tuple[int, ...], kernel: tuple[int, ...], out: Sequence[int]) -> bool:
    """Whether a convolution of stride 1 has a faster gradient of its kernel as a product with neighbourhoods
    laid side by side."""
    high, wide, c, o = kernel
    places = 4 * shape[0] * out[0] * out[1] * c * wide
    if c <= FEW_CHANNELS:
        return o >= MANY_FEATURES and places * high <= MOST_LAID_OUT
    inside = c >= INNER_CHANNELS and o >= INNER_CHANNELS and {*shape[1:3], *out} <= {*INNER_SIDES}
    return inside and places <= MOST_LAID_OUT_INSIDE


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _laid_out(
    x: Float[Array, "b y x c"], kernel: Float[Array, "i j c o"], pads: tuple[tuple[int, int], ...]
) -> Float[Array, "b Y X o"]:
    """The convolution of stride 1, in the faster of two forms; the gradient of its kernel as products of
    pictures laid out with the places of a kernel first."""
    high, wide, c, o = kernel.shape
    if c % 4 == 0 or o > MANY_FEATURES:
        return lax.conv_general_dilated(x, kernel, (1, 1), pads, dimension_numbers=AXES)
    x = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    rows, columns = x.shape[1] - high + 1, x.shape[2] - wide + 1
    near = [x[:, i : i + rows, j : j + columns] for i, j in np.ndindex(high, wide)]
    flat = jnp.concatenate(near, -1).reshape(-1, high * wide * c)
    return (flat @ kernel.reshape(-1, o)).reshape(len(x), rows, columns, o)


def _laid_out_forward(
    x: Array, kernel: Array, pads: tuple[tuple[int, int], ...]
) -> tuple[Array, tuple[Array, Array]]:
    return _laid_out(x, kernel, pads), (x, kernel)


def _laid_out_backward(
    pads: tuple[tuple[int, int], ...], kept: tuple[Array, Array], slope: Float[Array, "b Y X o"]
) -> tuple[Array, Array]:
    x, kernel = kept
    high, wide, c, o = kernel.shape
    rows, columns = slope.shape[1:3]
    plain = partial(lax.conv_general_dilated, window_strides=(1, 1), padding=pads, dimension_numbers=AXES)
    to_x = jax.linear_transpose(lambda x: plain(x, kernel), x)(slope)[0]
    turned, flat = jnp.pad(x.transpose(3, 0, 1, 2), ((0, 0), (0, 0), *pads)), slope.reshape(-1, o)
    if c <= FEW_CHANNELS:
        near = [turned[:, :, i : i + rows, j : j + columns] for i, j in np.ndindex(high, wide)]
        return to_x, (jnp.stack(near).reshape(high * wide * c, -1) @ flat).reshape(kernel.shape)
    beside = jnp.stack([turned[:, :, :, j : j + columns] for j in range(wide)])
    cuts = [beside[:, :, :, i : i + rows].reshape(wide * c, -1) for i in range(high)]
    return to_x, jnp.stack([(cut @ flat).reshape(wide, c, o) for cut in cuts])


_laid_out.defvjp(_laid_out_forward, _laid_out_backward)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _of_bfloat16(
    x: Float[Array, "b y x c"], kernel: Float[Array, "i j c o"], places: tuple[Place, ...]
) -> Float[Array, "b Y X o"]:
    return _by_places(x.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16), places, _wide)


def _of_bfloat16_forward(
    x: Array, kernel: Array, places: tuple[Place, ...]
) -> tuple[Array, tuple[Array, Array]]:
    # Kept in half the bytes, and turned: the factor of the kernel's gradient wants the summed axes last.
    x, kernel = x.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16)
    return _by_places(x, kernel, places, _wide), (x.transpose(3, 0, 1, 2), kernel)


def _of_bfloat16_backward(
    places: tuple[Place, ...], kept: tuple[Array, Array], slope: Float[Array, "b Y X o"]
) -> tuple[Array, Array]:
    turned, kernel = kept
    slope = slope.astype(jnp.bfloat16)
    to_x, to_kernel = [], {}
    for place in places:
        part = _cut(slope, place.fed)
        flat = part.reshape(-1, part.shape[-1])
        back = _wide(flat, kernel[place.i, place.j], 1).reshape(*part.shape[:3], -1)
        to_x.append(_laid(back, place.given))
        to_kernel[place.i, place.j] = _wide(
            _cut(turned, place.given, before=2).reshape(len(turned), -1), flat
        )
    none = jnp.zeros(kernel.shape[2:], jnp.float32)
    high, wide = kernel.shape[:2]
    rows = [jnp.stack([to_kernel.get((i, j), none) for j in range(wide)]) for i in range(high)]
    return reduce(jnp.add, to_x), jnp.stack(rows)


_of_bfloat16.defvjp(_of_bfloat16_forward, _of_bfloat16_backward)


def _wide(a: Float[Array, "n k"], b: Array, axis: int = 0) -> Float[Array, "n m"]:
    """``a`` times ``b``, summed in float32 over the last axis of the one and ``axis`` of the other."""
    return lax.dot_general(a, b, (((1,), (axis,)), ((), ())), preferred_element_type=jnp.float32)


def max_pool(x: Float[Array, "b y x c"], window: int = 2) -> Float[Array, "b Y X c"]:
    """The greatest value of every ``window`` x ``window`` square, squares side by side; incomplete windows at
    the edge are dropped.

    The gradient goes to the first of equal values, row by row, as that of ``lax.reduce_window`` does. That
    gradient, XLA's select-and-scatter, is slow on a CPU; here the forward pass keeps one byte for every
    square, the position of its maximum, instead of the image.
    """
    high, wide = x.shape[1] // window, x.shape[2] // window
    return _pool(x[:, : high * window, : wide * window], window)


def _squares(x: Float[Array, "b y x c"], window: int) -> list[Float[Array, "b Y X c"]]:
    """The values at each place of the squares: first row first."""
    return [x[:, i::window, j::window] for i in range(window) for j in range(window)]


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def _pool(x: Float[Array, "b y x c"], window: int) -> Float[Array, "b Y X c"]:
    return reduce(jnp.maximum, _squares(x, window))


def _pool_forward(x: Float[Array, "b y x c"], window: int) -> tuple[Array, Array]:
    values = _squares(x, window)
    kind = jnp.uint8 if window <= 16 else jnp.int32  # window squared places
    most, place = values[0], jnp.zeros(values[0].shape, kind)
    for number, value in enumerate(values[1:], 1):
        place = jnp.where(value > most, kind(number), place)
        most = jnp.maximum(most, value)
    return most, place


def _pool_backward(
    window: int, place: Array, slope: Float[Array, "b Y X c"]
) -> tuple[Float[Array, "b y x c"]]:
    b, high, wide, c = slope.shape
    shape = (b, high, window, wide, window, c)
    here = lax.broadcasted_iota(place.dtype, shape, 2) * window + lax.broadcasted_iota(place.dtype, shape, 4)
    slopes = jnp.where(
        place[:, :, None, :, None] == here, slope[:, :, None, :, None], jnp.zeros((), slope.dtype)
    )
    return (slopes.reshape(b, high * window, wide * window, c),)


_pool.defvjp(_pool_forward, _pool_backward)


def overlapping_max_pool(x: Float[Array, "b y x c"]) -> Float[Array, "b Y X c"]:
    """The greatest value of the 3 x 3 pixels around every other pixel of every other row, as ResNets begin.

    The numbers of ``lax.reduce_window`` with a padding of one pixel, and its gradient; one axis after the
    other, each as :func:`max_pool` does it.
    """
    for axis in (2, 1):
        pads = [(0, x.shape[axis] % 2 if axis == each else 0, 0) for each in range(4)]
        x = _greatest_of_three(lax.pad(x, jnp.asarray(-jnp.inf, x.dtype), pads), axis)
    return x


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def _greatest_of_three(x: Float[Array, "b y x c"], axis: int) -> Float[Array, "b Y X c"]:
    """The greatest of pixels 2i - 1, 2i and 2i + 1 of an axis of even length; nothing lies before the first."""
    return _three_forward(x, axis)[0]


def _three_forward(x: Float[Array, "b y x c"], axis: int) -> tuple[Array, Array]:
    here, after = (lax.slice_in_dim(x, first, None, 2, axis) for first in (0, 1))
    before = _shifted(after, 1, -jnp.inf, axis)
    place = jnp.where(here > before, jnp.uint8(1), jnp.uint8(0))
    most = jnp.maximum(before, here)
    return jnp.maximum(most, after), jnp.where(after > most, jnp.uint8(2), place)


def _three_backward(
    axis: int, place: Array, slope: Float[Array, "b Y X c"]
) -> tuple[Float[Array, "b y x c"]]:
    before, here, after = (
        jnp.where(place == number, slope, jnp.zeros((), slope.dtype)) for number in range(3)
    )
    pairs = jnp.stack([here, after + _shifted(before, -1, 0, axis)], axis + 1)
    return (pairs.reshape(*(side * (1 + (axis == each)) for each, side in enumerate(slope.shape))),)


_greatest_of_three.defvjp(_three_forward, _three_backward)


def _shifted(x: Float[Array, "b y x c"], by: int, fill: float, axis: int) -> Float[Array, "b y x c"]:
    """Every pixel ``by`` places further along an axis; what leaves it is lost."""
    return lax.pad(
        x, jnp.asarray(fill, x.dtype), [(by, -by, 0) if axis == each else (0, 0, 0) for each in range(4)]
    )


def mean_pool(x: Float[Array, "b y x c"], window: int = 2) -> Float[Array, "b Y X c"]:
    """The mean of every ``window`` x ``window`` square, squares side by side; incomplete windows at the edge
    are dropped."""
    high, wide = x.shape[1] // window, x.shape[2] // window
    x = x[:, : high * window, : wide * window]
    return x.reshape(x.shape[0], high, window, wide, window, x.shape[3]).mean((2, 4))


def global_mean(x: Float[Array, "b y x c"]) -> Float[Array, "b c"]:
    """The mean over all pixels, taken in float32."""
    return x.mean((1, 2), dtype=jnp.float32)


POOLS = {"max": max_pool, "mean": mean_pool}


class Conv(nnx.Module):
    """A convolution and its bias, where it has one: kernel [size, size, c, o] He normal, bias [o] zero."""

    def __init__(
        self,
        channels: int,
        features: int,
        size: int = 3,
        *,
        stride: int = 1,
        padding: str = "SAME",
        use_bias: bool = True,
        dtype: str = "auto",
        rngs: nnx.Rngs,
    ):
        _check_padding(padding)
        self.kernel = nnx.Param(INITIAL(rngs.params(), (size, size, channels, features), jnp.float32))
        self.bias = nnx.Param(jnp.zeros(features, jnp.float32)) if use_bias else None
        self.strides, self.padding = (stride, stride), padding
        self.dtype, self.mixed = compute_dtype(dtype), dtype == "mixed"

    def __call__(self, x: Float[Array, "b y x c"]) -> Float[Array, "b Y X o"]:
        kernel = self.kernel[...].astype(self.dtype)
        x = convolve(x.astype(self.dtype), kernel, self.strides, self.padding, self.mixed)
        return x if self.bias is None else x + self.bias[...].astype(self.dtype)


def scaled(inputs: Num[Array, "*s"], dtype: str) -> Float[Array, "*s"]:
    """What a model computes on: bytes 0 … 255 as 0 … 1, other numbers as they are."""
    kind = compute_dtype(dtype)
    return inputs.astype(kind) / 255 if inputs.dtype == jnp.uint8 else inputs.astype(kind)


def dense(n_in: int, n_out: int, dtype: str, rngs: nnx.Rngs, activation: str = "relu") -> nnx.Linear:
    """A linear layer of a network without normalisation: kernel [n_in, n_out] He normal, four times that
    before a sigmoid, bias [n_out] zero.

    ``parts.dense`` starts smaller, as Transformers do; deep plain networks do not learn from that.
    """
    dot = _product if dtype == "mixed" else lax.dot_general
    initial = INITIAL_SIGMOID if activation == "sigmoid" else INITIAL
    return nnx.Linear(
        n_in, n_out, kernel_init=initial, dtype=compute_dtype(dtype), dot_general=dot, rngs=rngs
    )


def _product(
    x: Float[Array, "b n"], kernel: Float[Array, "n m"], dimensions: Any, **_: Any
) -> Float[Array, "b m"]:
    return layers.product(x, kernel)


def known_shape(config: ModelConfig, axes: int, of: str) -> tuple[int, ...]:
    """``config.input_shape``, checked: it must be there and have ``axes`` axes, all positive.

    Raises:
        ConfigError: otherwise; the text says what to do.
    """
    shape, name = config.input_shape, type(config).__name__
    if shape is None:
        raise ConfigError(
            _("{name}.input_shape is not set. Set it to the shape of one example: {of}."), name=name, of=of
        )
    if len(shape) != axes or min(shape) < 1:
        raise ConfigError(
            _("{name}.input_shape = {shape!r} is not the shape of one example: {of}."),
            name=name,
            shape=shape,
            of=of,
        )
    return tuple(shape)


def _check_padding(padding: str) -> None:
    if padding not in PADDINGS:
        raise ConfigError(
            _("padding = {padding!r} is not one of {known}.{hint}"),
            padding=padding, known=", ".join(PADDINGS), hint=nearest(padding, PADDINGS),
        )  # fmt: skip
