"""Text CNN: embeddings, stages of convolution and max pooling along the text, then global pooling.

 The classifier of the Keras examples; convolution over word vectors is from Kim 2014 (arXiv 1408.5882). The
model holds
parameters only: a key given to the call is the one source of chance.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import jax.numpy as jnp
from flax import nnx

from labkit.core.config import option
from labkit.core.errors import ConfigError
from labkit.core.shapes import Array, Bool, Float, Int, PRNGKeyArray, Size
from labkit.i18n import _
from labkit.models import conv, fields, layers
from labkit.models.base import DrawingPart, Modality, ModelConfig
from labkit.models.conv import Pooled
from labkit.profile.activations import KEPT, MOVED_IN_MAPS, WORKING_OF_MAPS, Activations, number_bytes

PRESETS: dict[str, dict[str, Any]] = {
    "keras": {"embedding": 100, "filters": 128},
    "tiny": {"embedding": 32, "filters": 32},
}
VOCABULARY = 20000  # words of the Keras examples


@dataclass(frozen=True, init=False)
class TextCnnConfig(ModelConfig):
    """Configuration of the network: a preset or sizes; missing fields are filled in on creation.

    Missing fields come from the preset, by default "keras". ``vocab_size`` may stay None: the size of the
    tokenizer then, or 20,000.

    Raises:
        ConfigError: an unknown preset, a value out of range.
    """

    modality: ClassVar[Modality] = Modality.TEXT
    rates: ClassVar[layers.Rates] = layers.Rates(fresh=1.5e-3, width=128)
    first_preset: ClassVar[str] = "tiny"
    word_table: ClassVar[tuple[str, ...]] = ("embedding",)
    shown: ClassVar[tuple[str, ...]] = ("depth", "embedding", "filters", "dropout")
    drawing: ClassVar[tuple[DrawingPart, ...]] = (
        DrawingPart("stages", 4, "block_conv", 3),
        DrawingPart("embedding", 1, "block_embedding", 5),
    )
    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = PRESETS
    packs: ClassVar[bool] = (
        False  # in a packed row a window would read the end of one text and the start of the next
    )

    preset: str = option("", _("Named configuration."), choices=("", *PRESETS))
    vocab_size: int | None = fields.vocab_size()
    embedding: int = option(100, _("Dimension of the token embeddings."), low=1, high=1_000_000)
    filters: int = option(128, _("Number of convolution filters in each stage."), low=1, high=1_000_000)
    kernel: int = option(5, _("Kernel size of the convolutions in tokens."), low=1, high=10_000)
    pool: int = option(3, _("Pool size of the max pooling in each stage."), low=1, high=10_000)
    depth: int = option(2, _("Number of stages, each a convolution and max pooling."), low=1, high=1_000)
    dropout: float = option(0.2, _("Dropout rate of the embeddings during training."), low=0.0, high=0.9)
    max_length: int = fields.max_length(512)
    activation: str = option(
        "relu", _("Activation function after each convolution."), choices=tuple(conv.ACTIVATIONS)
    )
    pooling: str = option("mean", _("Global pooling over the text: mean or max."), choices=("mean", "max"))
    dtype: str = fields.dtype()

    @property
    def width(self) -> int:
        """Width of the pooled vector: that of the last stage."""
        return self.filters

    @property
    def shortest(self) -> int:
        """Tokens of a row that leaves one place after the last stage."""
        length = 1
        for _unused in range(self.depth):
            length = length * self.pool + self.kernel - 1
        return length

    def activations(self, batch: Mapping[str, Any]) -> Activations:
        """What a forward pass computes and keeps of a batch, by formula."""
        (rows, length), size = batch["ids"].shape, number_bytes(self.dtype)
        looked_up = rows * length * self.embedding * (4.0 + 6 * (self.dropout > 0))
        found = Activations(looked_up, looked_up, MOVED_IN_MAPS * looked_up)
        channels = self.embedding
        for _unused in range(self.depth):
            length = max(length, self.kernel) - self.kernel + 1
            elements = rows * length * self.filters
            # the windows laid out for a product, and what the activation, the mask and the pool keep of its
            # result
            kept = (
                self.kernel * rows * length * channels * size
                + elements * (KEPT[self.activation] + 2.5) * size
            )
            flops = 2.0 * elements * self.kernel * channels
            found += Activations(
                kept, kept + 3 * WORKING_OF_MAPS * elements * size, MOVED_IN_MAPS * kept, flops
            )
            length, channels = max(length // self.pool, 1), self.filters
        return found

    def build(self, rngs: nnx.Rngs) -> TextCnn:
        """A model with fresh parameters: embeddings truncated normal 0.02, kernels He normal, biases 0."""
        return TextCnn(self, rngs)


class Stage(nnx.Module):
    """A convolution along the text, a non-linearity and a max-pool: kernel [w, c, d] He normal, bias [d]
    zero."""

    def __init__(self, channels: int, config: TextCnnConfig, rngs: nnx.Rngs):
        shape = (config.kernel, channels, config.filters)
        self.kernel = nnx.Param(conv.INITIAL(rngs.params(), shape, jnp.float32))
        self.bias = nnx.Param(jnp.zeros(config.filters, jnp.float32))
        self.config = config

    def __call__(
        self, x: Float[Array, "b t c"], length: Int[Array, " b"]
    ) -> tuple[Float[Array, "b u d"], Int[Array, " b"]]:
        """What the stage makes of rows of which the first ``length`` places count, and how many of its places
        do.

        Places that do not count must be zero, and are so in the result.
        """
        window, pool, dtype = self.config.kernel, self.config.pool, x.dtype
        x = _at_least(x, window, 0)
        kernel, bias = self.kernel[...].astype(dtype), self.bias[...].astype(dtype)
        y = conv.convolve(x[:, None], kernel[None], padding="VALID", mixed=self.config.dtype == "mixed")[:, 0]
        y = conv.ACTIVATIONS[self.config.activation](y + bias)
        windows = jnp.maximum(length - window + 1, 1)
        lowest = jnp.finfo(dtype).min
        y = _at_least(jnp.where(_first(windows, y.shape[1]), y, lowest), pool, lowest)
        count = y.shape[1] // pool
        y = y[:, : count * pool].reshape(y.shape[0], count, pool, -1).max(2)
        length = jnp.maximum(windows // pool, 1)
        return jnp.where(_first(length, count), y, 0), length


class TextCnn(nnx.Module):
    """The network up to its last hidden vector. Parameters under ``embedding`` and ``stages/0``, …"""

    def __init__(self, config: TextCnnConfig, rngs: nnx.Rngs):
        self.config = config
        self.embedding = layers.embed(config.vocab_size or VOCABULARY, config.embedding, rngs, 0.02)
        widths = (config.embedding, *(config.filters,) * (config.depth - 1))
        self.stages = nnx.List([Stage(width, config, rngs) for width in widths])

    def __call__(
        self,
        ids: Int[Array, "b t"],
        mask: Bool[Array, "b t"],
        types: Int[Array, "b t"] | None = None,
        segments: layers.Segments | None = None,
        *,
        key: PRNGKeyArray | None = None,
    ) -> Pooled:
        """One vector float32 [b, d] of every text.

        As in Keras a convolution has a result where all of its window lies in the text, a pool where all of
        its neighbours are such results, and the remainder at the end is dropped. A text too short for one
        window is read as if zeros followed it up to one window, and fewer results than a pool takes are one
        pool. So every text, an empty one too, has at least one place in every stage, and what it becomes
        depends on its own tokens only: not on the padding, nor on the batch.

        Args:
            ids: token numbers, 0 … vocab_size - 1; larger ones give NaN.
            mask: True at real tokens; a text ends at its last one, and others within it are read as zeros.
            types: 0 in the first text of a pair, 1 in the second: not read, the separator between them is.
            segments: must be None.
            key: switches dropout on; the same key drops the same values.

        Raises:
            ConfigError: (while tracing) packed rows.
        """
        if segments is not None:
            raise ConfigError(
                _(
                    "a TextCnn does not support packed rows: convolutions would mix neighbouring "
                    "texts. Train it with packing = 'never'."
                )
            )
        length = jnp.max(jnp.where(mask, jnp.arange(1, mask.shape[1] + 1), 0), axis=1)
        x = layers.dropout(self.embedding(ids), self.config.dropout, key)
        x = jnp.where(mask[:, :, None], x, 0).astype(layers.compute_dtype(self.config.dtype))
        for stage in self.stages:
            x, length = stage(x, length)
        x, here = x.astype(jnp.float32), _first(length, x.shape[1])
        if self.config.pooling == "mean":
            return Pooled(layers.masked_mean(x, here[:, :, 0]))
        return Pooled(jnp.where(here, x, -jnp.inf).max(1))

    def layer_ids(self, path: tuple[str, ...]) -> int:
        """Layer index of a parameter, counted from the
        input: 0 for the embeddings, 1 … depth for the stages; ``path`` leads to it
        from this module down."""
        return 0 if path[0] == "embedding" else int(path[1]) + 1


def _first(count: Int[Array, " b"], places: Size) -> Bool[Array, "b t 1"]:
    """True at the first ``count`` of so many places."""
    return (jnp.arange(places) < count[:, None])[:, :, None]


def _at_least(x: Float[Array, "b t c"], places: int, fill: object) -> Float[Array, "b u c"]:
    """Rows of so many places at least; those that are added hold ``fill``."""
    return jnp.pad(x, ((0, 0), (0, max(0, places - x.shape[1])), (0, 0)), constant_values=fill)
