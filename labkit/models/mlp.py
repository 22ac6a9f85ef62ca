"""Multilayer perceptron for features or flattened images."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Num

from labkit.core.config import option
from labkit.core.errors import ConfigError
from labkit.core.shapes import Array, Bool, PRNGKeyArray
from labkit.i18n import _
from labkit.models import conv, fields, layers
from labkit.models.base import DrawingPart, Modality, ModelConfig
from labkit.models.columns import (
    Columns,
    PeriodicEmbedding,
    PiecewiseLinearEmbedding,
    embedded_width,
    known_cardinalities,
)
from labkit.models.conv import Pooled
from labkit.profile.activations import Activations, dense, number_bytes, scaled_inputs

ACTIVATIONS = {**layers.ACTIVATIONS, "sigmoid": jax.nn.sigmoid, "tanh": jnp.tanh}
PRESETS: dict[str, dict[str, Any]] = {
    "small": {"widths": (128, 128)},
    # The textbook network: sigmoid(W2 sigmoid(W1 x + b1) + b2).
    "two-layer": {"widths": (128, 64), "activation": "sigmoid"},
    # No hidden layer: with the head on top this is logistic (softmax) regression.
    "linear": {"widths": ()},
    # Embedded numbers: nearly as good as Transformers on tables (Gorishniy et al. 2022).
    "plr": {"widths": (128, 128), "numeric_embedding": "plr", "dropout": 0.1},
    "ple": {"widths": (128, 128), "numeric_embedding": "ple", "dropout": 0.1},
}
EMBEDDINGS = ("none", "plr", "ple")


@dataclass(frozen=True, init=False)
class MlpConfig(ModelConfig):
    """Configuration of a multilayer perceptron: a preset or sizes; missing fields are filled in on creation.

    Raises:
        ConfigError: an unknown preset, a value out of range.
    """

    modality: ClassVar[Modality] = Modality.FEATURES
    default_for: ClassVar[tuple[Modality, ...]] = (Modality.FEATURES,)
    first_preset: ClassVar[str] = "small"
    shown: ClassVar[tuple[str, ...]] = ("widths", "numeric_embedding", "dropout")
    drawing: ClassVar[tuple[DrawingPart, ...]] = (
        DrawingPart("embedding", 1, "block_embedding", 5),
        DrawingPart("layers", 4, "block_dense", 4),
    )
    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = PRESETS

    preset: str = option("", _("Named configuration."), choices=("", *PRESETS))
    widths: tuple[int, ...] = option(
        (128, 128), _("Number of units of each hidden layer, from the input upwards."), high=1_000_000
    )
    activation: str = option("relu", _("Activation function after each layer."), choices=tuple(ACTIVATIONS))
    dropout: float = option(0.0, _("Dropout rate after each layer during training."), low=0.0, high=0.9)
    numeric_embedding: str = option(
        "none",
        _(
            "Embedding of numbers: none; plr (periodic functions, a linear layer, ReLU); ple (piecewise-linear between "
            "quantiles of the training rows, a linear layer, ReLU)."
        ),
        choices=EMBEDDINGS,
    )
    embedding_width: int = option(16, _("Dimension of the embedding of a number."), low=1, high=10_000)
    frequencies: int = option(16, _("Number of frequencies of each number."), low=1, high=10_000)
    frequency_scale: float = option(
        0.1, _("Standard deviation of the initial frequencies."), low=1e-6, high=1000.0
    )
    bins: int = option(16, _("ple: bins of each number, between quantiles."), low=1, high=1000)
    edges: tuple[float, ...] | None = option(
        None, _("ple: edges of the bins of every number, one after the other. Default: those of the data.")
    )
    input_shape: tuple[int, ...] | None = option(None, _("Shape of one example. Default: that of the data."))
    cardinalities: tuple[int, ...] | None = fields.cardinalities()
    dtype: str = fields.dtype()

    def check(self) -> None:
        """Raise :class:`ConfigError` for a value out of range."""
        super().check()
        if any(width < 1 for width in self.widths):
            raise ConfigError(_("MlpConfig.widths = {widths!r} must all be at least 1."), widths=self.widths)

    @property
    def rates(self) -> layers.Rates:
        """Default learning rates: greater for sigmoids, whose gradients are smaller."""
        return layers.Rates(fresh=1e-2 if self.activation == "sigmoid" else 3e-3)

    @property
    def depth(self) -> int:
        """Layers, without a head."""
        return len(self.widths)

    @property
    def width(self) -> int:
        """Width of the pooled vector: that of the last layer; without layers, the number of features."""
        return self.widths[-1] if self.widths else self.inputs()

    def build(self, rngs: nnx.Rngs) -> Mlp:
        """A model with fresh parameters: He normal (sigmoids: four times), biases 0.

        Raises:
            ConfigError: without an input shape.
        """
        return Mlp(self, rngs)

    def activations(self, batch: Mapping[str, Any]) -> Activations:
        """What a forward pass computes and keeps of a batch, by formula."""
        inputs = batch["inputs"]
        found, rows, embedded = scaled_inputs(inputs, self.dtype), inputs.shape[0], self.embeds_columns
        if embedded:
            numbers = rows * sum(count == 0 for count in self.columns())
            parts = self.quantile_bins or 2 * self.frequencies
            waves = dense(numbers, 0, parts, "", False, 4)
            layer = dense(numbers, parts, self.embedding_width, "relu", False, number_bytes(self.dtype))
            found += waves + layer
        for number, (before, width) in enumerate(pairwise((self.inputs(), *self.widths))):
            layer = dense(rows, before, width, self.activation, self.dropout > 0, number_bytes(self.dtype))
            found += layer if number or embedded else replace(layer, first=layer.flops)
        return found

    @property
    def embeds_columns(self) -> bool:
        """Whether numbers and categories are read apart."""
        return self.numeric_embedding != "none"

    @property
    def quantile_bins(self) -> int:
        """Bins of every number, whose edges come from the training rows; 0 for none."""
        return self.bins if self.numeric_embedding == "ple" else 0

    def columns(self) -> tuple[int, ...]:
        """Categories of each column, 0 for a number."""
        return known_cardinalities(self.cardinalities, self._features(), type(self).__name__)

    def inputs(self) -> int:
        """Numbers that the first layer reads of an example."""
        if not self.embeds_columns:
            return self._features()
        return embedded_width(self.columns(), self.embedding_width)

    def _features(self) -> int:
        axes = len(self.input_shape or (1,))
        return math.prod(conv.known_shape(self, axes, "(features,)"))


class Mlp(nnx.Module):
    """The layers. Parameters under ``layers/0``, ``layers/1``, …, and ``embedding`` where numbers are embedded."""

    def __init__(self, config: MlpConfig, rngs: nnx.Rngs):
        self.config = config
        sizes = (config.inputs(), *config.widths)
        self.embedding = _embedding(config, rngs) if config.embeds_columns else None
        self.layers = nnx.List(
            [conv.dense(*pair, config.dtype, rngs, config.activation) for pair in pairwise(sizes)]
        )

    def __call__(
        self,
        inputs: Num[Array, "b ..."],
        *,
        key: PRNGKeyArray | None = None,
        real: Bool[Array, " b"] | None = None,
    ) -> Pooled:
        """One vector float32 [b, d] of every example; ``key`` switches dropout on. Bytes are read as 0 … 1.

        ``real`` marks the examples that are not padding; here each is read alone, so it changes nothing.
        """
        x = conv.scaled(inputs, self.config.dtype).reshape(inputs.shape[0], -1)
        x = x if self.embedding is None else self.embedding(x)
        keys = (
            [None] * len(self.layers)
            if key is None
            else list(jax.random.split(key, max(1, len(self.layers))))
        )
        for layer, own in zip(self.layers, keys, strict=False):
            x = layers.dropout(ACTIVATIONS[self.config.activation](layer(x)), self.config.dropout, own)
        return Pooled(x.astype(jnp.float32))

    def layer_ids(self, path: tuple[str, ...]) -> int:
        """Layer index of a parameter, counted from the input: 0 for the embedding, 1 … depth for the layers;
        ``path`` leads to it from this module down."""
        return int(path[1]) + 1 if path[0] == "layers" else 0


def _embedding(config: MlpConfig, rngs: nnx.Rngs) -> PeriodicEmbedding | PiecewiseLinearEmbedding:
    """The embedding of the numbers. Raises :class:`ConfigError` for edges that do not fit."""
    columns, width = config.columns(), config.embedding_width
    if config.numeric_embedding == "plr":
        return PeriodicEmbedding(columns, config.frequencies, config.frequency_scale, width, rngs)
    count = len(Columns(columns).numbers) * (config.bins + 1)
    if config.edges is None or len(config.edges) != count:
        raise ConfigError(
            _(
                "MlpConfig.edges has {given} values; {bins} bins of these columns need {wanted}. Leave it out: it "
                "comes from the training rows."
            ),
            given=len(config.edges or ()), bins=config.bins, wanted=count,
        )  # fmt: skip
    return PiecewiseLinearEmbedding(columns, config.edges, config.bins, width, rngs)
