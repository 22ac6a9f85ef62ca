"""SASRec: a causal Transformer over the items of a user (Kang & McAuley 2018, arXiv 1808.09781)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from labkit.core.config import option
from labkit.core.errors import ConfigError
from labkit.core.shapes import Array, Float, Int, PRNGKeyArray
from labkit.i18n import _
from labkit.models import fields, layers
from labkit.models.base import TRANSFORMER_SHARDING, Capability, DrawingPart, Modality, ModelConfig
from labkit.models.bert.model import BertLayer
from labkit.models.layers import Rates
from labkit.profile.activations import Activations, transformer

PRESETS: dict[str, dict[str, Any]] = {
    "small": {"width": 64, "depth": 2, "heads": 1, "mlp_width": 64}
}  # the paper's
DERIVED: Mapping[str, Callable[[Mapping[str, Any]], Any]] = {
    "heads": lambda known: max(1, known["width"] // 64),
    "mlp_width": lambda known: known["width"],
}


@dataclass(frozen=True, init=False)
class SasRecConfig(ModelConfig):
    """Configuration of SASRec. Its layers are those of BERT, read from left to right: they normalise after each part,
    where the paper normalises before.

    Raises:
        ConfigError: a value out of range, a width that the heads do not divide.
    """

    modality: ClassVar[Modality] = Modality.INTERACTIONS
    capabilities: ClassVar[frozenset[Capability]] = frozenset({Capability.NEXT_ITEM})
    packs: ClassVar[bool] = False
    default_for: ClassVar[tuple[Modality, ...]] = (Modality.INTERACTIONS,)
    first_preset: ClassVar[str] = "small"
    shown: ClassVar[tuple[str, ...]] = ("width", "depth", "max_length", "dropout")
    sharding: ClassVar[tuple[tuple[str, int], ...]] = TRANSFORMER_SHARDING
    drawing: ClassVar[tuple[DrawingPart, ...]] = (
        DrawingPart("items", 0, "block_items", 1),
        DrawingPart("position", 0, "block_items", 1),
        DrawingPart("layers", 1, "block_layers", 2),
    )
    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = PRESETS
    DERIVED: ClassVar[Mapping[str, Callable[[Mapping[str, Any]], Any]]] = DERIVED
    rates: ClassVar[Rates] = Rates(fresh=1e-3)  # type: ignore[misc]

    preset: str = option("", _("Named configuration."), choices=("", *PRESETS))
    width: int = fields.width(64)
    depth: int = fields.depth(2)
    heads: int = fields.heads(1)
    mlp_width: int = fields.mlp_width(64)
    max_length: int = option(50, _("Items of a history that are read, the latest."), low=2, high=10_000)
    dropout: float = fields.dropout(0.2)
    attention_dropout: float = fields.attention_dropout(0.0)
    activation: str = option(
        "relu", _("Activation function of the feed-forward part."), choices=tuple(layers.ACTIVATIONS)
    )
    norm_eps: float = option(1e-5, _("Epsilon of layer normalisation."), low=0.0, high=1.0)
    input_shape: tuple[int, ...] | None = option(None, _("Number of items. Default: that of the data."))
    dtype: str = fields.dtype()
    unroll: int = fields.unroll()
    remat: bool = fields.remat()

    def check(self) -> None:
        """Raise :class:`ConfigError` for a value out of range."""
        super().check()
        if self.width % self.heads:
            raise ConfigError(
                _("SasRecConfig.width = {width} is not a multiple of heads = {heads}."),
                width=self.width, heads=self.heads,
            )  # fmt: skip

    @property
    def item_count(self) -> int:
        """Items of the catalogue. Raises :class:`ConfigError` where the data have not said yet."""
        if self.input_shape is None:
            raise ConfigError(_("SasRecConfig.input_shape is not set. Set it to the number of items."))
        return self.input_shape[0]

    def build(self, rngs: nnx.Rngs) -> SasRec:
        """A model with fresh parameters: truncated normal, biases 0, norm scales 1."""
        return SasRec(self, rngs)

    def activations(self, batch: Mapping[str, Any]) -> Activations:
        """What a forward pass computes and keeps of a batch, by formula."""
        return transformer(
            batch["items"].shape, self.depth, self.width, self.mlp_width, self.heads, dtype=self.dtype,
            remat=self.remat, activation=self.activation, dropout=self.dropout > 0,
            attention_dropout=self.attention_dropout > 0,
        )  # fmt: skip


class SasRec(nnx.Module):
    """The decoder. Parameters under ``items`` (row 0 is no item), ``position`` and ``layers`` (stacked [L, …])."""

    def __init__(self, config: SasRecConfig, rngs: nnx.Rngs):
        self.config = config
        self.items = layers.embed(1 + config.item_count, config.width, rngs, 0.02)
        self.position = layers.embed(config.max_length, config.width, rngs, 0.02)
        self.layers = layers.stack(lambda rngs: BertLayer(config, rngs), config.depth, rngs)  # type: ignore[arg-type]

    def __call__(self, items: Int[Array, "b t"], *, key: PRNGKeyArray | None = None) -> Float[Array, "b t d"]:
        """Hidden states f32[b, t, d] of histories, aligned at their end; ``key`` switches dropout on."""
        config, steps = self.config, items.shape[1]
        first, rest = (None, None) if key is None else jax.random.split(key)
        x = self.items(items) * config.width**0.5 + self.position.embedding[...][None, -steps:]
        x = layers.dropout(x, config.dropout, first)
        seen = (items > 0)[:, None, :] & jnp.tri(steps, dtype=bool)[None]
        bias = jnp.where(seen, 0.0, jnp.finfo(jnp.float32).min)[:, None]
        x = layers.scan(self.layers, x, bias, key=rest, unroll=config.unroll, remat=config.remat)
        return x.astype(jnp.float32)

    def scores(self, hidden: Float[Array, "*s d"]) -> Float[Array, "*s v"]:
        """Scores of all items, the first is none."""
        return hidden @ self.items.embedding[...].T

    def layer_ids(self, path: tuple[str, ...]) -> int | np.ndarray:
        """0 for items and positions; 1 … L for the stacked layers."""
        return np.arange(1, self.config.depth + 1, dtype=np.int32) if path[0] == "layers" else 0
