"""FT-Transformer: a Transformer over the columns of a table (Gorishniy et al. 2021, arXiv 2106.11959).

Every column becomes a token (:class:`labkit.models.columns.FeatureTokenizer`); the state of a [CLS] token after
pre-norm layers with gated (ReGLU) feed-forward parts is the vector of a row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Num

from labkit.core.config import option
from labkit.core.errors import ConfigError
from labkit.core.shapes import Array, Bool, Float, PRNGKeyArray
from labkit.i18n import _
from labkit.models import conv, fields, layers
from labkit.models.base import TRANSFORMER_SHARDING, DrawingPart, Modality, ModelConfig
from labkit.models.columns import FeatureTokenizer, known_cardinalities
from labkit.models.conv import Pooled
from labkit.profile.activations import Activations, scaled_inputs, transformer

PRESETS: dict[str, dict[str, Any]] = {
    "small": {"width": 64, "heads": 8},
    # The default of the authors.
    "paper": {"width": 192, "heads": 8},
}
EPSILON = 1e-5


@dataclass(frozen=True, init=False)
class FtTransformerConfig(ModelConfig):
    """Configuration of an FT-Transformer: a preset or sizes; missing fields are filled in on creation.

    Raises:
        ConfigError: an unknown preset, a value out of range, or a width that ``heads`` does not divide.
    """

    modality: ClassVar[Modality] = Modality.FEATURES
    embeds_columns: ClassVar[bool] = True
    flattens: ClassVar[bool] = False
    rates: ClassVar[layers.Rates] = layers.Rates(fresh=1e-3, width=64)
    first_preset: ClassVar[str] = "small"
    sharding: ClassVar[tuple[tuple[str, int], ...]] = TRANSFORMER_SHARDING[:3] + TRANSFORMER_SHARDING[4:5]
    lora_targets: ClassVar[tuple[str, ...]] = ("layers/*",)
    drawing: ClassVar[tuple[DrawingPart, ...]] = (
        DrawingPart("tokens", 1, "block_embedding", 5),
        DrawingPart("layers", 4, "block_layers", 1),
        DrawingPart("norm", 7, "block_norm", 7),
    )
    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = PRESETS
    DERIVED: ClassVar[Mapping[str, Callable[[Mapping[str, Any]], Any]]] = {
        "mlp_width": lambda known: max(1, known["width"] * 4 // 3)
    }

    preset: str = option("", _("Named configuration."), choices=("", *PRESETS))
    width: int = fields.width(64)
    depth: int = fields.depth(3)
    heads: int = fields.heads(8)
    mlp_width: int = fields.mlp_width(85)
    dropout: float = option(0.1, _("Dropout rate in the feed-forward network."), low=0.0, high=0.9)
    attention_dropout: float = fields.attention_dropout(0.2)
    residual_dropout: float = option(
        0.0, _("Dropout rate of what each part adds to its input."), low=0.0, high=0.9
    )
    input_shape: tuple[int, ...] | None = option(None, _("Shape of one example. Default: that of the data."))
    cardinalities: tuple[int, ...] | None = fields.cardinalities()
    dtype: str = fields.dtype()

    def check(self) -> None:
        """Raise :class:`ConfigError` for a value out of range."""
        super().check()
        if self.width % self.heads:
            raise ConfigError(
                _("FtTransformerConfig.width = {width} is not divisible by heads = {heads}."),
                width=self.width,
                heads=self.heads,
            )

    def build(self, rngs: nnx.Rngs) -> FtTransformer:
        """A model with fresh parameters.

        Raises:
            ConfigError: without an input shape, or with cardinalities of another one.
        """
        return FtTransformer(self, rngs)

    def columns(self) -> tuple[int, ...]:
        """Categories of each column, 0 for a number."""
        (features,) = conv.known_shape(self, 1, "(features,)")
        return known_cardinalities(self.cardinalities, features, type(self).__name__)

    def activations(self, batch: Mapping[str, Any]) -> Activations:
        """What a forward pass computes and keeps of a batch, by formula."""
        inputs = batch["inputs"]
        return scaled_inputs(inputs, self.dtype) + transformer(
            (inputs.shape[0], len(self.columns()) + 1), self.depth, self.width, self.mlp_width, self.heads,
            dtype=self.dtype, activation="relu", remat=False, dropout=self.dropout > 0,
            attention_dropout=self.attention_dropout > 0, gated=True, reads=inputs.shape[0],
        )  # fmt: skip


class Layer(nnx.Module):
    """Attention and a gated feed-forward network, each added to its normalised input; the first layer's attention
    reads its input as it is."""

    def __init__(self, config: FtTransformerConfig, first: bool, rngs: nnx.Rngs):
        self.config, width, dtype = config, config.width, config.dtype
        self.query, self.key, self.value, self.out = (
            layers.dense(width, width, dtype, rngs) for _unused in range(4)
        )
        self.mlp_in, self.mlp_gate = (
            layers.dense(width, config.mlp_width, dtype, rngs) for _unused in range(2)
        )
        self.mlp_out = layers.dense(config.mlp_width, width, dtype, rngs)
        self.attention_norm = None if first else layers.norm(width, EPSILON, dtype, rngs)
        self.mlp_norm = layers.norm(width, EPSILON, dtype, rngs)

    def __call__(
        self, x: Float[Array, "b t d"], reads: int, key: PRNGKeyArray | None
    ) -> Float[Array, "b u d"]:
        """The states of the first ``reads`` tokens."""
        of = self.config
        keys = [None] * 4 if key is None else list(jax.random.split(key, 4))
        seen = x if self.attention_norm is None else self.attention_norm(x)
        parts = [self.query(seen[:, :reads]), *layers.together((self.key, self.value), seen)]
        query, to, value = (part.reshape(*part.shape[:2], of.heads, -1) for part in parts)
        bias = jnp.zeros((1, 1, 1, x.shape[1]), jnp.float32)
        mixed = of.dtype == "mixed"
        found = layers.attend(query, to, value, bias, of.attention_dropout, keys[0], mixed)
        found = self.out(found.reshape(*found.shape[:2], -1))
        x = x[:, :reads] + layers.dropout(found, of.residual_dropout, keys[1])
        value, gate = layers.together((self.mlp_in, self.mlp_gate), self.mlp_norm(x))
        hidden = layers.dropout(value * jax.nn.relu(gate), of.dropout, keys[2])
        return x + layers.dropout(self.mlp_out(hidden), of.residual_dropout, keys[3])


class FtTransformer(nnx.Module):
    """The layers. Parameters under ``tokens``, ``layers/0``, ``layers/1``, …, ``norm``"""

    def __init__(self, config: FtTransformerConfig, rngs: nnx.Rngs):
        self.config = config
        self.tokens = FeatureTokenizer(config.columns(), config.width, rngs)
        self.layers = nnx.List([Layer(config, number == 0, rngs) for number in range(config.depth)])
        self.norm = layers.norm(config.width, EPSILON, config.dtype, rngs)

    def __call__(
        self,
        inputs: Num[Array, "b f"],
        *,
        key: PRNGKeyArray | None = None,
        real: Bool[Array, " b"] | None = None,
    ) -> Pooled:
        """One vector float32 [b, d] of every row; ``key`` switches dropout on.

        ``real`` marks the rows that are not padding; here each is read alone, so it changes nothing.
        """
        x, last = self.tokens(conv.scaled(inputs, self.config.dtype)), len(self.layers) - 1
        keys = [None] * len(self.layers) if key is None else list(jax.random.split(key, len(self.layers)))
        for number, (layer, own) in enumerate(zip(self.layers, keys, strict=True)):
            x = layer(x, 1 if number == last else x.shape[1], own)  # of the last layer [CLS] alone is read
        return Pooled(jax.nn.relu(self.norm(x[:, 0])).astype(jnp.float32))

    def layer_ids(self, path: tuple[str, ...]) -> int:
        """Layer index of a parameter, counted from the input: 0 for the tokens, 1 … depth for the layers, depth + 1
        for the last normalisation; ``path`` leads to it from this module down."""
        if path[0] == "layers":
            return int(path[1]) + 1
        return 0 if path[0] == "tokens" else self.config.depth + 1
