"""Residual networks (He et al. 2015, arXiv 1512.03385) up to the last map: a layer with its norm, a block,
the whole.

``config`` is a :class:`labkit.models.vision.cnn.CnnConfig` everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import jax.numpy as jnp
from flax import nnx

from labkit.core.shapes import Array, Bool, Float
from labkit.models import conv, norms
from labkit.models.base import ModelConfig
from labkit.profile.activations import Activations

STEMS = ("small", "large")
HALVINGS = ("pad", "project", "pool")


class Unit(nnx.Module):
    """A convolution and its norm. Without a norm the convolution has a bias."""

    def __init__(
        self, channels: int, features: int, size: int, stride: int, config: ModelConfig, rngs: nnx.Rngs
    ):
        # As much padding on both sides, as published: SAME would shift a strided layer by a pixel against its
        # shortcut.
        settings: dict[str, Any] = {"stride": stride, "padding": "HALF", "dtype": config.dtype}
        self.conv = conv.Conv(channels, features, size, use_bias=config.norm == "none", **settings, rngs=rngs)
        self.norm = norms.norm(config.norm, features, config.dtype)

    def __call__(
        self, x: Float[Array, "b y x c"], training: bool, real: Bool[Array, " b"] | None
    ) -> Float[Array, "b Y X o"]:
        x = self.conv(x)
        return x if self.norm is None else self.norm(x, training, real)


class ResidualBlock(nnx.Module):
    """Two layers added to what goes in, non-linear after the first and after the sum.

    Where the shapes differ, what goes in is thinned out by the stride and filled up with channels of zeros
    (option A of the paper) or, with halving "project", goes through a layer with kernels of one pixel (option
    B).
    """

    def __init__(self, channels: int, features: int, stride: int, config: ModelConfig, rngs: nnx.Rngs):
        self.first = Unit(channels, features, config.kernel, stride, config, rngs)
        self.second = Unit(features, features, config.kernel, 1, config, rngs)
        if (
            config.norm == "none"
        ):  # begin as the shortcut alone, lest the numbers grow with depth (arXiv 1901.09321)
            self.second.conv.kernel[...] = jnp.zeros_like(self.second.conv.kernel[...])
        projects = config.halving == "project" and (channels, stride) != (features, 1)
        self.shortcut = Unit(channels, features, 1, stride, config, rngs) if projects else None
        self.stride, self.more, self.activation = stride, features - channels, config.activation

    def __call__(
        self, x: Float[Array, "b y x c"], training: bool, real: Bool[Array, " b"] | None
    ) -> Float[Array, "b Y X o"]:
        activate = conv.ACTIVATIONS[self.activation]
        inner = self.second(activate(self.first(x, training, real)), training, real)
        if self.shortcut is not None:
            return activate(inner + self.shortcut(x, training, real))
        thin = x[:, :: self.stride, :: self.stride]
        return activate(inner + jnp.pad(thin, ((0, 0), (0, 0), (0, 0), (0, self.more))))


class StageEntry(nnx.Module):
    """What begins a stage where halving is "pool": a layer, its non-linearity and a pool."""

    def __init__(self, channels: int, features: int, config: ModelConfig, rngs: nnx.Rngs):
        self.first = Unit(channels, features, config.kernel, 1, config, rngs)
        self.pooling, self.activation = config.pooling, config.activation

    def __call__(
        self, x: Float[Array, "b y x c"], training: bool, real: Bool[Array, " b"] | None
    ) -> Float[Array, "b Y X o"]:
        return conv.POOLS[self.pooling](conv.ACTIVATIONS[self.activation](self.first(x, training, real)))


class Residual(nnx.Module):
    """The network up to its last map. Parameters under ``stem`` and ``blocks/0``, …

    The blocks are not scanned. XLA leaves its fast convolution inside a loop on a CPU: a training step of a
    ResNet-20 took 4,000 ms scanned and 154 unrolled, its compilation 3.2 s and 1.7 s.
    """

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs):
        self.large, self.activation = config.stem == "large", config.activation
        size, stride = (7, 2) if self.large else (config.kernel, 1)
        self.stem = Unit(config.input_shape[-1], config.widths[0], size, stride, config, rngs)
        self.blocks = nnx.List(_blocks(config, rngs))

    def __call__(
        self, x: Float[Array, "b y x c"], training: bool, real: Bool[Array, " b"] | None
    ) -> Float[Array, "b Y X o"]:
        x = conv.ACTIVATIONS[self.activation](self.stem(x, training, real))
        x = conv.overlapping_max_pool(x) if self.large else x
        for block in self.blocks:
            x = block(x, training, real)
        return x

    def layer_ids(self, path: tuple[str, ...]) -> int:
        """Layer index of a parameter, counted from the
        input, from 1; ``path`` leads to it from this module down. A shortcut
        counts as the first layer of its block."""
        if path[0] == "stem":
            return 1
        before = sum(2 if isinstance(block, ResidualBlock) else 1 for block in self.blocks[: int(path[1])])
        return 1 + before + (2 if path[2] == "second" else 1)


def _blocks(config: ModelConfig, rngs: nnx.Rngs) -> Iterator[StageEntry | ResidualBlock]:
    before = config.widths[0]
    for number, (width, blocks) in enumerate(zip(config.widths, config.blocks, strict=True)):
        stride = 2 if number else 1
        if number and config.halving == "pool":
            yield StageEntry(before, width, config, rngs)
            before, stride = width, 1
        for _ in range(blocks):
            yield ResidualBlock(before, width, stride, config, rngs)
            before, stride = width, 1


def activations(
    config: ModelConfig, rows: int, side: tuple[int, int], channels: int, settings: dict[str, Any]
) -> tuple[Activations, tuple[int, int]]:
    """What a forward pass of :class:`Residual` computes and keeps, by formula, and the size of its last map."""
    before, large = config.widths[0], config.stem == "large"
    stem = {**settings, "kernel": 7, "stride": 2} if large else settings
    found, side = conv.convolution_activations(
        rows, side, channels, before, **stem, pool="max" if large else ""
    )
    found = replace(found, first=found.flops)
    for number, (width, blocks) in enumerate(zip(config.widths, config.blocks, strict=True)):
        stride = 2 if number else 1
        if number and config.halving == "pool":
            entry, side = conv.convolution_activations(
                rows, side, before, width, **settings, pool=config.pooling
            )
            found, before, stride = found + entry, width, 1
        for _ in range(blocks):
            if config.halving == "project" and (before, stride) != (width, 1):
                shortcut = {**settings, "kernel": 1, "activation": ""}
                found += conv.convolution_activations(rows, side, before, width, stride=stride, **shortcut)[0]
            first, side = conv.convolution_activations(rows, side, before, width, stride=stride, **settings)
            found += first + conv.convolution_activations(rows, side, width, width, **settings)[0]
            before, stride = width, 1
    return found, side


def layers(config: ModelConfig) -> int:
    """Layers with parameters; shortcuts are not counted."""
    entries = len(config.widths) - 1 if config.halving == "pool" else 0
    return 1 + entries + 2 * sum(config.blocks)


def sides(config: ModelConfig, high: int, wide: int) -> tuple[int, int]:
    """Height and width of the last map of pictures of so many pixels; 0 where a pool has nothing left."""
    if config.stem == "large":
        high, wide = (-(-side // 4) for side in (high, wide))
    for _ in config.widths[1:]:
        high, wide = (side // 2 if config.halving == "pool" else -(-side // 2) for side in (high, wide))
    return high, wide
