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
from labkit.models.conv import Pooled
from labkit.profile.activations import Activations, dense, number_bytes, scaled_inputs

ACTIVATIONS = {**layers.ACTIVATIONS, "sigmoid": jax.nn.sigmoid, "tanh": jnp.tanh}
PRESETS: dict[str, dict[str, Any]] = {
    "small": {"widths": (128, 128)},
    # The textbook network: sigmoid(W2 sigmoid(W1 x + b1) + b2).
    "two-layer": {"widths": (128, 64), "activation": "sigmoid"},
    # No hidden layer: with the head on top this is logistic (softmax) regression.
    "linear": {"widths": ()},
}


@dataclass(frozen=True, init=False)
class MlpConfig(ModelConfig):
    """Configuration of a multilayer perceptron: a preset or sizes; missing fields are filled in on creation.

    Raises:
        ConfigError: an unknown preset, a value out of range.
    """

    modality: ClassVar[Modality] = Modality.FEATURES
    default_for: ClassVar[tuple[Modality, ...]] = (Modality.FEATURES,)
    first_preset: ClassVar[str] = "small"
    shown: ClassVar[tuple[str, ...]] = ("widths", "dropout")
    drawing: ClassVar[tuple[DrawingPart, ...]] = (DrawingPart("layers", 4, "block_dense", 4),)
    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = PRESETS

    preset: str = option("", _("Named configuration."), choices=("", *PRESETS))
    widths: tuple[int, ...] = option(
        (128, 128), _("Number of units of each hidden layer, from the input upwards."), high=1_000_000
    )
    activation: str = option("relu", _("Activation function after each layer."), choices=tuple(ACTIVATIONS))
    dropout: float = option(0.0, _("Dropout rate after each layer during training."), low=0.0, high=0.9)
    input_shape: tuple[int, ...] | None = option(None, _("Shape of one example. Default: that of the data."))
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
        return self.widths[-1] if self.widths else self._features()

    def build(self, rngs: nnx.Rngs) -> Mlp:
        """A model with fresh parameters: He normal (sigmoids: four times), biases 0.

        Raises:
            ConfigError: without an input shape.
        """
        return Mlp(self, self._features(), rngs)

    def activations(self, batch: Mapping[str, Any]) -> Activations:
        """What a forward pass computes and keeps of a batch, by formula."""
        inputs = batch["inputs"]
        found = scaled_inputs(inputs, self.dtype)
        for first, (before, width) in enumerate(pairwise((self._features(), *self.widths))):
            layer = dense(
                inputs.shape[0], before, width, self.activation, self.dropout > 0, number_bytes(self.dtype)
            )
            found += layer if first else replace(layer, first=layer.flops)
        return found

    def _features(self) -> int:
        axes = len(self.input_shape or (1,))
        return math.prod(conv.known_shape(self, axes, "(features,)"))


class Mlp(nnx.Module):
    """The layers. Parameters under ``layers/0``, ``layers/1``, …"""

    def __init__(self, config: MlpConfig, features: int, rngs: nnx.Rngs):
        self.config = config
        sizes = (features, *config.widths)
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
        x = conv.scaled(inputs, self.config.dtype).reshape(len(inputs), -1)
        keys = (
            [None] * len(self.layers)
            if key is None
            else list(jax.random.split(key, max(1, len(self.layers))))
        )
        for layer, own in zip(self.layers, keys, strict=False):
            x = layers.dropout(ACTIVATIONS[self.config.activation](layer(x)), self.config.dropout, own)
        return Pooled(x.astype(jnp.float32))

    def layer_ids(self, path: tuple[str, ...]) -> int:
        """Layer index of a parameter, counted from the input, 1 … depth; ``path`` leads to it from this
        module down."""
        return int(path[1]) + 1
