"""Batch and group normalisation for images [b, y, x, c].

Statistics are taken in float32 whatever a layer computes in. Additional shape letters: g groups of channels.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from labkit.core.shapes import Array, Bool, Float
from labkit.models.layers import compute_dtype

KINDS = ("none", "batch", "group")
GROUPS = 32  # Wu & He 2018; fewer where they would have less than two channels


def norm(kind: str, channels: int, dtype: str) -> BatchNorm | GroupNorm | None:
    """A new layer of one of :data:`KINDS`; None for "none"."""
    makers = {"batch": BatchNorm, "group": GroupNorm}
    return None if kind == "none" else makers[kind](channels, dtype=dtype)


class BatchNorm(nnx.Module):
    """Batch normalisation (Ioffe & Szegedy 2015, arXiv 1502.03167): ``scale``, ``bias`` [c]; running
    ``mean``, ``var``.

    The running statistics are ``nnx.BatchStat``, float32 [c]; a training step reads them back with
    ``nnx.state(module, nnx.BatchStat)`` in the trace in which it merged the module. On several devices the
    sums go over all of a batch, on any device.
    """

    def __init__(self, channels: int, *, momentum: float = 0.9, eps: float = 1e-5, dtype: str = "auto"):
        self.scale, self.bias = nnx.Param(jnp.ones(channels)), nnx.Param(jnp.zeros(channels))
        self.mean, self.var = nnx.BatchStat(jnp.zeros(channels)), nnx.BatchStat(jnp.ones(channels))
        self.momentum, self.eps, self.dtype = momentum, eps, compute_dtype(dtype)

    def __call__(
        self, x: Float[Array, "b y x c"], training: bool = False, real: Bool[Array, " b"] | None = None
    ) -> Float[Array, "b y x c"]:
        """Normalise every channel, then scale and shift it.

        Args:
            x: pictures.
            training: normalise by the mean and variance of this batch and move the running ones a tenth of
                the way (1 - momentum) towards them, the variance as that of a sample (n - 1), as PyTorch
                does. Otherwise normalise by the running ones, which stay as they are.
            real: the examples that count; None for all. Others are normalised along with them. Of a batch
                without any, nothing is remembered.
        """
        scale, bias = self.scale[...], self.bias[...]
        if not training:
            slope = scale * lax.rsqrt(self.var[...] + self.eps)
            return ((x.astype(jnp.float32) - self.mean[...]) * slope + bias).astype(self.dtype)
        real = jnp.ones(len(x), bool) if real is None else real
        y, mean, var, count = _by_batch(x.astype(self.dtype), scale, bias, real, self.eps)
        step = jnp.where(count > 0, 1 - self.momentum, 0.0)
        sample = var * (count / jnp.maximum(count - 1, 1))
        for running, new in ((self.mean, mean), (self.var, sample)):
            running[...] = running[...] + step * (lax.stop_gradient(new) - running[...])
        return y


# Sums go over each example first: these are many and so shared among the cores, and the mask is small.
# Against the derivative that JAX finds, the one below took 0.5 to 0.9 of the time on a CPU, forward and
# backward, and keeps only x.
@partial(jax.custom_vjp, nondiff_argnums=(4,))
def _by_batch(
    x: Float[Array, "b y x c"],
    scale: Float[Array, " c"],
    bias: Float[Array, " c"],
    real: Bool[Array, " b"],
    eps: float,
) -> tuple[Float[Array, "b y x c"], Float[Array, " c"], Float[Array, " c"], Float[Array, ""]]:
    """Normalised by the real examples; with their mean and variance, and the number of their pixels.

    The derivative is that of the first of the four: what is remembered teaches nothing.
    """
    return _by_batch_forward(x, scale, bias, real, eps)[0]


def _by_batch_forward(x: Array, scale: Array, bias: Array, real: Array, eps: float) -> tuple[Any, Any]:
    wide = x.astype(jnp.float32)
    count = real.sum(dtype=jnp.float32) * (x.shape[1] * x.shape[2])
    held = jnp.maximum(count, 1)
    mean = _total(wide, real) / held
    var = _total(jnp.square(wide - mean), real) / held
    inverse = lax.rsqrt(var + eps)
    y = (wide - mean) * (scale * inverse) + bias
    return (y.astype(x.dtype), mean, var, count), (x, mean, inverse, scale, real, held)


def _by_batch_backward(
    eps: float, kept: tuple[Any, ...], slopes: tuple[Array, ...]
) -> tuple[Array, Array, Array, None]:
    x, mean, inverse, scale, real, held = kept
    slope, apart = slopes[0].astype(jnp.float32), (x.astype(jnp.float32) - mean) * inverse
    to_scale, to_bias = _total(slope * apart), _total(slope)
    through = jnp.where(real[:, None, None, None], (to_bias + apart * to_scale) / held, 0)
    return (scale * inverse * (slope - through)).astype(x.dtype), to_scale, to_bias, None


_by_batch.defvjp(_by_batch_forward, _by_batch_backward)


def _total(x: Float[Array, "b y x c"], real: Bool[Array, " b"] | None = None) -> Float[Array, " c"]:
    each = x.sum((1, 2))
    return (each if real is None else jnp.where(real[:, None], each, 0)).sum(0)


class GroupNorm(nnx.Module):
    """Group normalisation (Wu & He 2018, arXiv 1803.08494): every picture by itself; ``scale``, ``bias`` [c].

    For small batches, whose statistics are poor. The groups are 32, or the power of two below that divides
    the channels and leaves two at least in each.
    """

    def __init__(self, channels: int, *, eps: float = 1e-5, dtype: str = "auto"):
        self.scale, self.bias = nnx.Param(jnp.ones(channels)), nnx.Param(jnp.zeros(channels))
        self.groups, self.eps, self.dtype = groups(channels), eps, compute_dtype(dtype)

    def __call__(
        self, x: Float[Array, "b y x c"], training: bool = False, real: Bool[Array, " b"] | None = None
    ) -> Float[Array, "b y x c"]:
        """Normalise every group of every picture, then scale and shift every channel.

        ``training`` and ``real`` are those of :class:`BatchNorm`; here they change nothing.
        """
        parted = x.astype(jnp.float32).reshape(*x.shape[:3], self.groups, -1)
        apart = parted - parted.mean((1, 2, 4), keepdims=True)
        even = apart * lax.rsqrt(jnp.square(apart).mean((1, 2, 4), keepdims=True) + self.eps)
        return (even.reshape(x.shape) * self.scale[...] + self.bias[...]).astype(self.dtype)


def groups(channels: int) -> int:
    """How many groups :class:`GroupNorm` makes of so many channels."""
    most = math.gcd(channels, GROUPS)
    return most // 2 if most == channels > 1 else most
