"""Embeddings of the columns of a table: one vector of each number and of each category.

Inputs are standardised features, as :class:`labkit.data.batching.arrays.Standard` makes them: a column of
numbers is one feature, a column of k categories k features, of which the one of its category is positive and
the others are negative. A missing category has no positive feature.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from labkit.core.errors import ConfigError
from labkit.core.shapes import Array, Float
from labkit.i18n import _


class Columns:
    """Where the columns of a table are among its features.

    Args:
        cardinalities: categories of each column, 0 for a number.

    Attributes:
        numbers: i64[n], places of the numbers.
        categories: i64[m, k], places of the categories of each such column, k being the largest number of them;
            filled up with 0.
        real: bool[m, k], False where ``categories`` is filled up.
    """

    def __init__(self, cardinalities: Sequence[int]):
        starts = np.concatenate([[0], np.cumsum([count or 1 for count in cardinalities])]).astype(np.int64)
        self.numbers = np.array(
            [start for start, count in zip(starts, cardinalities, strict=False) if not count], np.int64
        )
        several = [(int(start), count) for start, count in zip(starts, cardinalities, strict=False) if count]
        widest = max((count for _, count in several), default=0)
        self.categories = np.zeros((len(several), widest), np.int64)
        self.real = np.zeros((len(several), widest), bool)
        for place, (start, count) in enumerate(several):
            self.categories[place, :count] = np.arange(start, start + count)
            self.real[place, :count] = True
        self.coded = np.sort(self.categories[self.real])  # places of all categories


def known_cardinalities(given: Sequence[int] | None, features: int, name: str) -> tuple[int, ...]:
    """Categories of each column, 0 for a number; without any ``given`` all features are numbers.

    Raises:
        ConfigError: they do not make this number of features.
    """
    if given is None:
        return (0,) * features
    if any(count < 0 for count in given) or sum(count or 1 for count in given) != features:
        raise ConfigError(
            _(
                "{name}.cardinalities = {given} make {made} features, but an example has {features}. A number is "
                "0 and makes one feature; a column of k categories is k."),
            name=name, given=tuple(given), made=sum(count or 1 for count in given), features=features,
        )  # fmt: skip
    return tuple(given)


def uniform(rngs: nnx.Rngs, shape: tuple[int, ...]) -> nnx.Param:
    """New weights from -1 / √d to 1 / √d for vectors of width d (Gorishniy et al. 2021, arXiv 2106.11959)."""
    edge = shape[-1] ** -0.5
    return nnx.Param(jax.random.uniform(rngs.params(), shape, jnp.float32, -edge, edge))


class FeatureTokenizer(nnx.Module):
    """One vector of every column: x · w + b of a number, a row of a table plus b of a category (Gorishniy et al.
    2021, arXiv 2106.11959, section 3.3); b alone of a missing category. A [CLS] token comes first.

    Parameters: ``cls`` [d], ``weight`` [n, d], ``table`` [features of categories, d], ``bias`` [columns, d], numbers
    first.
    """

    def __init__(self, cardinalities: Sequence[int], width: int, rngs: nnx.Rngs):
        self.cardinalities = tuple(cardinalities)
        columns = Columns(cardinalities)
        self.cls = uniform(rngs, (width,))
        self.weight = uniform(rngs, (len(columns.numbers), width))
        self.table = uniform(rngs, (len(columns.coded), width))
        self.bias = uniform(rngs, (len(cardinalities), width))

    def __call__(self, inputs: Float[Array, "b f"]) -> Float[Array, "b t d"]:
        """The vectors: [CLS], those of the numbers, those of the categories."""
        columns = Columns(self.cardinalities)
        found = [inputs[:, columns.numbers, None] * self.weight[...].astype(inputs.dtype)]
        if len(columns.coded):
            rows = np.searchsorted(columns.coded, columns.categories)
            hot = (inputs[:, columns.categories] > 0) & columns.real
            table = self.table[...].astype(inputs.dtype)[rows]
            found.append(jnp.einsum("bck,ckd->bcd", hot.astype(inputs.dtype), table))
        tokens = jnp.concatenate(found, axis=1) + self.bias[...].astype(inputs.dtype)
        cls = jnp.broadcast_to(self.cls[...].astype(inputs.dtype), (inputs.shape[0], 1, tokens.shape[-1]))
        return jnp.concatenate([cls, tokens], axis=1)


class PeriodicEmbedding(nnx.Module):
    """PLR embedding of numbers: relu(linear([cos(2π c x), sin(2π c x)])) with learnt frequencies c, a linear layer
    for each number (Gorishniy et al. 2022, arXiv 2203.05556, section 3.3). Categories stay as they are.

    Parameters: ``frequency`` [n, k] normal with deviation ``scale``, ``kernel`` [n, 2 k, d], ``bias`` [n, d].
    """

    def __init__(
        self, cardinalities: Sequence[int], frequencies: int, scale: float, width: int, rngs: nnx.Rngs
    ):
        self.cardinalities = tuple(cardinalities)
        count = len(Columns(cardinalities).numbers)
        self.frequency = nnx.Param(
            scale * jax.random.normal(rngs.params(), (count, frequencies), jnp.float32)
        )
        edge = (2 * frequencies) ** -0.5
        shapes = (count, 2 * frequencies, width), (count, width)
        self.kernel, self.bias = (
            nnx.Param(jax.random.uniform(rngs.params(), shape, jnp.float32, -edge, edge)) for shape in shapes
        )

    def __call__(self, inputs: Float[Array, "b f"]) -> Float[Array, "b g"]:
        """The embedded numbers and the categories in one row."""
        columns = Columns(self.cardinalities)
        angle = 2 * math.pi * self.frequency[...] * inputs[:, columns.numbers, None].astype(jnp.float32)
        waves = jnp.concatenate([jnp.cos(angle), jnp.sin(angle)], axis=-1).astype(inputs.dtype)
        found = jnp.einsum("bnk,nkd->bnd", waves, self.kernel[...].astype(inputs.dtype))
        found = jax.nn.relu(found + self.bias[...].astype(inputs.dtype)).reshape(inputs.shape[0], -1)
        return jnp.concatenate([found, inputs[:, columns.coded]], axis=1)


def quantile_edges(values: np.ndarray, bins: int) -> np.ndarray:
    """Edges of the bins of a piecewise-linear encoding: the quantiles 0, 1 / bins … 1 of the training rows.

    Args:
        values: f[rows, n], numbers.
        bins: bins of each number at most; equal quantiles make fewer.

    Returns:
        f32[n, bins + 1], ascending; a number of fewer bins has its last edge repeated.
    """
    edges = np.zeros((values.shape[1], bins + 1), np.float32)
    for place, column in enumerate(np.asarray(values, np.float64).T):
        found = np.unique(np.quantile(column, np.linspace(0, 1, bins + 1)).astype(np.float32))
        edges[place, : len(found)], edges[place, len(found) :] = found, found[-1]
    return edges


def piecewise_linear(numbers: Float[Array, "b n"], edges: np.ndarray) -> Float[Array, "b n k"]:
    """The piecewise-linear encoding of numbers (Gorishniy et al. 2022, arXiv 2203.05556, equation 1): how far a number
    is through each bin, 0 before it and 1 behind it; the first bin has no lower bound and the last no upper one.

    Args:
        numbers: f[b, n].
        edges: f32[n, k + 1] of :func:`quantile_edges`; a bin of width 0 is 0.
    """
    low, width = edges[:, :-1], np.diff(edges)
    real = width > 0
    share = (numbers[:, :, None] - low) / np.where(real, width, 1)
    first = np.arange(width.shape[1]) == 0
    last = np.arange(width.shape[1]) == np.maximum(real.sum(axis=1, keepdims=True), 1) - 1
    share = jnp.where(first, share, jnp.maximum(share, 0))
    share = jnp.where(last, share, jnp.minimum(share, 1))
    return jnp.where(real, share, 0)


class PiecewiseLinearEmbedding(nnx.Module):
    """Piecewise-linear encoding of numbers, a linear layer for each, ReLU (PLE-LR of Gorishniy et al. 2022, arXiv
    2203.05556, sections 3.2 and 3.4). Categories stay as they are.

    ``edges`` [n, k + 1] are part of the config and not trained. Parameters: ``kernel`` [n, k, d], ``bias`` [n, d].
    """

    def __init__(
        self, cardinalities: Sequence[int], edges: Sequence[float], bins: int, width: int, rngs: nnx.Rngs
    ):
        self.cardinalities, self.edges, self.bins = tuple(cardinalities), tuple(edges), bins
        count = len(Columns(cardinalities).numbers)
        scale = bins**-0.5
        self.kernel, self.bias = (
            nnx.Param(jax.random.uniform(rngs.params(), shape, jnp.float32, -scale, scale))
            for shape in ((count, bins, width), (count, width))
        )

    def __call__(self, inputs: Float[Array, "b f"]) -> Float[Array, "b g"]:
        """The embedded numbers and the categories in one row."""
        columns = Columns(self.cardinalities)
        edges = np.array(self.edges, np.float32).reshape(len(columns.numbers), self.bins + 1)
        parts = piecewise_linear(inputs[:, columns.numbers].astype(jnp.float32), edges).astype(inputs.dtype)
        found = jnp.einsum("bnk,nkd->bnd", parts, self.kernel[...].astype(inputs.dtype))
        found = jax.nn.relu(found + self.bias[...].astype(inputs.dtype)).reshape(len(inputs), -1)
        return jnp.concatenate([found, inputs[:, columns.coded]], axis=1)


def embedded_width(cardinalities: Sequence[int], width: int) -> int:
    """Numbers in a row that an embedding of numbers returns."""
    return sum(count or width for count in cardinalities)
