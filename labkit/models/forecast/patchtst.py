"""PatchTST: a Transformer over patches of a window (Nie et al. 2023, arXiv 2211.14730)."""

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
from labkit.core.shapes import Array, Float, PRNGKeyArray
from labkit.i18n import _
from labkit.models import conv, fields, layers
from labkit.models.base import TRANSFORMER_SHARDING, Capability, DrawingPart, Modality, ModelConfig
from labkit.models.bert.model import BertLayer
from labkit.models.conv import Pooled
from labkit.models.layers import Rates
from labkit.profile.activations import Activations, transformer

PRESETS: dict[str, dict[str, Any]] = {
    "small": {"width": 64, "depth": 2, "heads": 4, "mlp_width": 128},
    "base": {"width": 128, "depth": 3, "heads": 16, "mlp_width": 256},  # the size of the paper
}
DERIVED: Mapping[str, Callable[[Mapping[str, Any]], Any]] = {
    "heads": lambda known: max(1, known["width"] // 16),
    "mlp_width": lambda known: 2 * known["width"],
}


@dataclass(frozen=True, init=False)
class PatchTstConfig(ModelConfig):
    """Configuration of PatchTST. Its layers are those of BERT: they normalise each patch, where the paper
    normalises the batch, so that an answer does not depend on the other examples.

    Raises:
        ConfigError: a value out of range, a width that the heads do not divide.
    """

    modality: ClassVar[Modality] = Modality.SERIES
    capabilities: ClassVar[frozenset[Capability]] = frozenset({Capability.WINDOW})
    packs: ClassVar[bool] = False
    first_preset: ClassVar[str] = "small"
    shown: ClassVar[tuple[str, ...]] = ("width", "depth", "heads", "patch", "dropout")
    sharding: ClassVar[tuple[tuple[str, int], ...]] = TRANSFORMER_SHARDING
    drawing: ClassVar[tuple[DrawingPart, ...]] = (
        DrawingPart("patches", 0, "block_patches", 1),
        DrawingPart("position", 0, "block_patches", 1),
        DrawingPart("layers", 1, "block_layers", 2),
    )
    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = PRESETS
    DERIVED: ClassVar[Mapping[str, Callable[[Mapping[str, Any]], Any]]] = DERIVED
    rates: ClassVar[Rates] = Rates(fresh=1e-3)  # type: ignore[misc]

    preset: str = option("", _("Named configuration."), choices=("", *PRESETS))
    width: int = fields.width(64)
    depth: int = fields.depth(2)
    heads: int = fields.heads(4)
    mlp_width: int = fields.mlp_width(128)
    patch: int = option(16, _("Steps of a patch."), low=1, high=10_000)
    stride: int = option(8, _("Steps from one patch to the next."), low=1, high=10_000)
    dropout: float = fields.dropout(0.1)
    attention_dropout: float = fields.attention_dropout(0.0)
    activation: str = option(
        "gelu", _("Activation function of the feed-forward part."), choices=tuple(layers.ACTIVATIONS)
    )
    norm_eps: float = option(1e-5, _("Epsilon of layer normalisation."), low=0.0, high=1.0)
    input_shape: tuple[int, ...] | None = option(None, _("Shape of one example. Default: that of the data."))
    dtype: str = fields.dtype()
    unroll: int = fields.unroll()
    remat: bool = fields.remat()

    def check(self) -> None:
        """Raise :class:`ConfigError` for a value out of range."""
        super().check()
        if self.width % self.heads:
            raise ConfigError(
                _("PatchTstConfig.width = {width} is not a multiple of heads = {heads}."),
                width=self.width, heads=self.heads,
            )  # fmt: skip
        if self.stride > self.patch:
            raise ConfigError(
                _("PatchTstConfig.stride = {stride} is longer than a patch of {patch} steps: steps would be skipped."),
                stride=self.stride, patch=self.patch,
            )  # fmt: skip
        if self.input_shape and self.input_shape[0] < self.patch:
            raise ConfigError(
                _("a context of {context} steps is shorter than a patch of {patch} steps: set patch and stride lower."),
                context=self.input_shape[0], patch=self.patch,
            )  # fmt: skip

    @property
    def patches(self) -> int:
        """Patches of a window; the last one reads the last value repeated."""
        return (conv.known_shape(self, 2, "(steps, values)")[0] - self.patch) // self.stride + 2

    @property
    def output_width(self) -> int:
        """Width of the vector: the hidden states of all patches, end to end."""
        return self.patches * self.width

    def build(self, rngs: nnx.Rngs) -> PatchTst:
        """A model with fresh parameters: truncated normal, biases 0, norm scales 1."""
        return PatchTst(self, rngs)

    def activations(self, batch: Mapping[str, Any]) -> Activations:
        """What a forward pass computes and keeps of a batch, by formula."""
        rows = batch["inputs"].shape[0] * batch["inputs"].shape[2]
        return transformer(
            (rows, self.patches), self.depth, self.width, self.mlp_width, self.heads, dtype=self.dtype,
            remat=self.remat, activation=self.activation, dropout=self.dropout > 0,
            attention_dropout=self.attention_dropout > 0,
        )  # fmt: skip


class PatchTst(nnx.Module):
    """The encoder. Parameters under ``patches``, ``position`` and ``layers`` (stacked [L, …])."""

    def __init__(self, config: PatchTstConfig, rngs: nnx.Rngs):
        self.config = config
        self.patches = layers.dense(config.patch, config.width, config.dtype, rngs)
        self.position = layers.embed(config.patches, config.width, rngs, 0.02)
        self.layers = layers.stack(lambda rngs: BertLayer(config, rngs), config.depth, rngs)  # type: ignore[arg-type]

    def __call__(self, inputs: Float[Array, "b t"], *, key: PRNGKeyArray | None = None) -> Pooled:
        """Hidden states of all patches f32[b, n d] of windows; ``key`` switches dropout on."""
        config = self.config
        padded = jnp.pad(inputs, ((0, 0), (0, config.stride)), mode="edge")
        steps = np.arange(config.patches)[:, None] * config.stride + np.arange(config.patch)
        first, rest = (None, None) if key is None else jax.random.split(key)
        x = self.patches(padded[:, steps]) + self.position.embedding[...][None]
        x = layers.dropout(x, config.dropout, first)
        bias = jnp.zeros((inputs.shape[0], 1, 1, config.patches), jnp.float32)
        x = layers.scan(self.layers, x, bias, key=rest, unroll=config.unroll, remat=config.remat)
        return Pooled(x.astype(jnp.float32).reshape(inputs.shape[0], -1))

    def layer_ids(self, path: tuple[str, ...]) -> int | np.ndarray:
        """0 for patches and positions; 1 … L for the stacked layers."""
        return np.arange(1, self.config.depth + 1, dtype=np.int32) if path[0] == "layers" else 0
