"""GPT: a causal Transformer decoder, in the variants of GPT-2, Llama and Qwen.

 All families normalise before each part and once at the end. "gpt2" (Radford et al. 2019): layer
normalisation, learned positions, GELU. "llama" (Touvron et al. 2023, arXiv 2302.13971): RMS normalisation
(arXiv 1910.07467), rotary positions (arXiv 2104.09864), SwiGLU (arXiv 2002.05202), keys and values shared by
groups of heads (arXiv 2305.13245), no biases. "qwen2" (arXiv 2407.10671) is Llama with biases of query, key
and value; "qwen3" (arXiv 2505.09388) has none, but normalises every head of query and key. The layers are run
by a scan; the model holds parameters only, and a key given to a call is the one source of chance.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from labkit.core.config import option
from labkit.core.errors import ConfigError, WeightsError
from labkit.core.shapes import Array, Bool, Float, Int, PRNGKeyArray, Size
from labkit.i18n import _
from labkit.models import fields, layers, weights
from labkit.models.base import (
    FROM_WIDTH,
    TRANSFORMER_SHARDING,
    Capability,
    DrawingPart,
    Modality,
    ParameterTree,
    PublishedConfig,
)
from labkit.models.gpt import layout
from labkit.models.gpt.layers import LOWEST, GptLayer, norm, rotation
from labkit.profile.activations import Activations, transformer

# Sizes of GPT-2: Radford et al. 2019, table 2; the smaller ones are those of nanoGPT's older sister minGPT.
PRESETS: dict[str, dict[str, Any]] = {
    "nano": {
        "depth": 3,
        "width": 48,
        "heads": 3,
        "dropout": 0.0,
    },  # too small to overfit more than a few pages
    "micro": {"depth": 4, "width": 128, "heads": 4},
    "mini": {"depth": 6, "width": 192, "heads": 6},
    "small": {"depth": 12, "width": 768},
    "medium": {"depth": 24, "width": 1024},
    "large": {"depth": 36, "width": 1280},
    "xl": {"depth": 48, "width": 1600},
    "modern-tiny": {"family": "llama", "depth": 4, "width": 128, "heads": 4, "kv_heads": 2, "mlp_width": 384},
    "smollm2-135m": {
        "family": "llama",
        "weights": "smollm2-135m",
        "vocab_size": 49152,
        "depth": 30,
        "width": 576,
        "heads": 9,
        "kv_heads": 3,
        "mlp_width": 1536,
        "max_length": 2048,
        "rope_base": 100000.0,
        "dropout": 0.0,
    },
}
VOCABULARY = 50257  # of the published checkpoints


@dataclass(frozen=True, init=False)
class GptConfig(PublishedConfig):
    """Configuration of a GPT decoder: a preset, pretrained weights, or sizes.

    Missing fields come from the preset; without a preset from ``config.json`` of the weights; without either
    from the size "small" (heads = width / 64, mlp_width = 4 width). ``vocab_size`` may stay None: the size of
    the tokenizer then, or 50,257.

    Raises:
        ConfigError: an unknown preset, a value out of range, heads that do not divide the width, or groups
        the heads.
        WeightsError: the weights cannot be found, or are of another architecture.
    """

    modality: ClassVar[Modality] = Modality.TEXT
    capabilities: ClassVar[frozenset[Capability]] = frozenset({Capability.POOLED, Capability.CAUSAL})
    pools_last: ClassVar[bool] = True
    rates: ClassVar[layers.Rates] = layers.Rates(fresh=2e-4, pretrained=3e-5, width=768)
    sharding: ClassVar[tuple[tuple[str, int], ...]] = TRANSFORMER_SHARDING
    lora_targets: ClassVar[tuple[str, ...]] = ("layers/*",)
    first_preset: ClassVar[str] = "micro"
    model_types: ClassVar[tuple[str, ...]] = tuple(layout.FOREIGN)
    word_table: ClassVar[tuple[str, ...]] = ("word",)
    shown: ClassVar[tuple[str, ...]] = ("family", "width", "depth", "heads", "mlp_width", "dropout")
    drawing: ClassVar[tuple[DrawingPart, ...]] = (
        DrawingPart("layers", 4, "block_layers", 1),
        DrawingPart("word", 1, "block_embedding", 5),
        DrawingPart("position", 1, "block_embedding", 5),
        DrawingPart("norm", 6, "block_norm", 7),
    )
    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = PRESETS
    DERIVED: ClassVar[Mapping[str, Callable[[Mapping[str, Any]], Any]]] = {
        **FROM_WIDTH,
        "kv_heads": lambda known: known["heads"],
    }
    DERIVED_FROM: ClassVar[tuple[str, ...]] = ("width", "heads")
    FROM_WEIGHTS: ClassVar[tuple[str, ...]] = layout.FIELDS

    preset: str = option("", _("Named configuration, or named pretrained weights."), choices=("", *PRESETS))
    weights: str = fields.weights()
    family: str = option(
        "gpt2",
        _(
            "Layer design: gpt2; llama (RMSNorm, SwiGLU, rotary positions); qwen2 and qwen3, variants of llama."
        ),
        choices=tuple(layout.FOREIGN),
    )
    vocab_size: int | None = fields.vocab_size()
    width: int = fields.width(768)
    depth: int = fields.depth(12)
    heads: int = fields.heads(12)
    kv_heads: int = option(
        12, _("Number of key-value heads (grouped-query attention); not gpt2."), low=1, high=10_000
    )
    head_dim: int = option(0, _("Dimension of an attention head. 0: width / heads."), low=0, high=1_000_000)
    mlp_width: int = fields.mlp_width(3072)
    max_length: int = fields.max_length(1024)
    dropout: float = option(0.1, _("Dropout rate during training."), low=0.0, high=0.9)
    norm_eps: float = option(
        1e-5, _("Epsilon of the normalisation, added to the variance."), low=0.0, high=0.1
    )
    rope_base: float = option(
        10000.0, _("Base frequency of the rotary position embeddings (rope_theta); not gpt2."), low=1.0
    )
    rope_scaling: tuple[float, ...] = option(
        (),
        _(
            "Scaling of the rotary positions for longer texts. Empty: none. One number: the factor (linear). "
            "Four: factor, low_freq_factor, high_freq_factor, original length (llama3)."
        ),
        low=1e-9,
    )
    tied: bool = option(True, _("Tie the input and output embeddings."))
    dtype: str = fields.dtype()
    unroll: int = fields.unroll()
    remat: bool = fields.remat()

    @classmethod
    def sizes_from(cls, folder: Path) -> dict[str, Any]:
        """The fields that the weights in a folder decide."""
        return layout.sizes_from(folder)

    def check(self) -> None:
        """Raise :class:`ConfigError` for a value out of range, and for numbers of heads that do not fit."""
        super().check()
        if self.width % self.heads and not self.head_dim:
            raise ConfigError(
                _("GptConfig.width = {width} is not a multiple of heads = {heads}."),
                width=self.width,
                heads=self.heads,
            )
        if self.heads % self.kv_heads:
            raise ConfigError(
                _("GptConfig.heads = {heads} is not a multiple of kv_heads = {kv_heads}."),
                heads=self.heads,
                kv_heads=self.kv_heads,
            )
        scaling = self.rope_scaling
        if len(scaling) not in map(len, layout.SCALINGS.values()) or (
            len(scaling) > 1 and scaling[1] >= scaling[2]
        ):
            raise ConfigError(
                _("GptConfig.rope_scaling = {scaling!r}; expected none, one or four numbers, low before high."),
                scaling=scaling,
            )  # fmt: skip
        if self.family == "gpt2":
            own = {"kv_heads": self.heads, "tied": True, "head_dim": 0, "rope_scaling": ()}
            values = self.values()
            if other := [name for name, value in own.items() if values[name] != value]:
                raise ConfigError(
                    _("GptConfig.{name} = {value!r}, but family 'gpt2' has {own!r}; other values are for the other "
                      "families."),
                    name=other[0], value=values[other[0]], own=own[other[0]],
                )  # fmt: skip
        elif self.head_size % 2:
            raise ConfigError(
                _("GptConfig: the head dimension {width} is odd; rotary positions need an even one."),
                width=self.head_size,
            )

    @property
    def head_size(self) -> int:
        """Dimension of an attention head."""
        return self.head_dim or self.width // self.heads

    @property
    def vocabulary(self) -> int:
        """Entries of the vocabulary: ``vocab_size``, or as many as GPT-2 has."""
        return self.vocab_size or VOCABULARY

    def activations(self, batch: Mapping[str, Any]) -> Activations:
        """What a forward pass computes and keeps of a batch, by formula."""
        llama = self.family != "gpt2"  # or one of its variants
        return transformer(
            batch["ids"].shape, self.depth, self.width, self.mlp_width, self.heads, dtype=self.dtype, remat=self.remat,
            activation="silu" if llama else "gelu_tanh", gated=llama, shared=self.kv_heads / self.heads,
            dropout=self.dropout > 0, attention_dropout=self.dropout > 0, inner=self.heads * self.head_size,
            normalised=self.family == "qwen3",
        )  # fmt: skip

    def build(self, rngs: nnx.Rngs) -> Gpt:
        """A model with fresh parameters: truncated normal (:func:`parts.spread`), what is added to the sum of
        layers 1 / sqrt(2 depth) of that."""
        return Gpt(self, rngs)

    def table(self, folder: Path) -> weights.Table:
        """The names of the weights in a folder of this family."""
        return layout.TABLES[self.family]

    def head_bias(self, outputs: int) -> bool:
        """Whether a head on the last token is trained with a bias: that of transformers has none, but GPT-2's
        last norm has one, into which a bias of not more outputs than the width is folded when the model is
        saved."""
        return self.family == "gpt2" and outputs <= self.width

    def save_classifier(
        self,
        params: ParameterTree,
        folder: Path,
        kernel: np.ndarray,
        bias: np.ndarray | None,
        *,
        specials: weights.Specials | None = None,
        max_length: int = 0,
        **more: object,
    ) -> None:
        """Write parameters with a linear head on the last token: ``…ForSequenceClassification`` of
        transformers.

        That head has no bias. GPT-2's is folded into the bias of the last norm; a bias that cannot be (of
        another family, or of more outputs than the width) is stored as ``score.bias``, which
        :func:`~labkit.inference.export.export` refuses.

        Args:
            params: a :class:`Gpt`, its state or a dict of its parameters.
            folder: where; made if it is not there.
            kernel: f32 [d, c]. bias: f32 [c] or None.
            specials: ids of the tokenizer's special tokens.
            max_length: not written.
            more: further keys of config.json.
        """
        flat, extra = (
            dict(weights.flatten(params)),
            {"score.weight": np.ascontiguousarray(np.asarray(kernel).T)},
        )
        if bias is not None and self.family == "gpt2":
            wide = np.asarray(kernel, np.float64)
            moved = np.linalg.lstsq(wide.T, np.asarray(bias, np.float64), rcond=None)[0]
            if np.abs(moved @ wide - bias).max() <= 1e-6 * max(1e-30, np.abs(bias).max()):
                flat["norm", "bias"] = (np.asarray(flat["norm", "bias"], np.float64) + moved).astype(
                    np.float32
                )
                bias = None
        if bias is not None and np.any(bias):
            extra["score.bias"] = np.asarray(bias)
        name = f"{layout.CLASSES[self.family]}ForSequenceClassification"
        self.save(flat, folder, extra, specials=specials, architectures=[name], **more)

    def has_classifier(self, folder: Path) -> bool:
        """Whether a folder holds a classifier of transformers on the last token."""
        return "score.weight" in weights.Tensors(folder)

    def load_classifier(self, folder: Path) -> tuple[np.ndarray, np.ndarray | None]:
        """Kernel f32 [d, c] and bias f32 [c], or None, of the head that :meth:`save_classifier` wrote.

        Raises:
            WeightsError: there is no such head.
        """
        tensors = weights.Tensors(folder)
        if "score.weight" not in tensors:
            raise WeightsError(
                _("{folder} has no score.weight: it contains no classifier. Train a head."), folder=folder
            )
        kernel = np.asarray(tensors.checked("score.weight", weights.UNITS), np.float32).T
        if "score.bias" not in tensors:
            return kernel, None
        return kernel, np.asarray(tensors.checked("score.bias", weights.UNITS), np.float32)

    def save(
        self,
        params: ParameterTree,
        folder: str | Path,
        extra: dict[str, Any] | None = None,
        specials: weights.Specials | None = None,
        **more: object,
    ) -> Path:
        """Write parameters as a Hugging Face folder of the family.

        Args:
            params: a :class:`Gpt`, its state or a dict of its parameters.
            folder: where; made if it is not there.
            extra: a head's tensors.
            specials: ids of the tokenizer's special tokens, for config.json.
            more: further keys of config.json ("id2label", …).
        """
        flat = weights.flatten(params)
        config = {**layout.settings(self, flat["word", "embedding"].shape[0], specials), **more}
        prefix = "transformer." if self.family == "gpt2" else ""
        return weights.save_from(flat, folder, layout.TABLES[self.family], config, extra, prefix)


class GptOutput(NamedTuple):
    """Output: ``hidden`` f32 [b, t, d] after the last norm; ``pooled`` f32 [b, d], packed [b, s, d]: the
    hidden state of each text's last token."""

    hidden: Float[Array, "b t d"]
    pooled: Float[Array, "b d"] | Float[Array, "b s d"]


class KeyValueCache(NamedTuple):
    """Keys and values from step to step, of stacked layers [L, b, g, p, k], of unstacked ones a list with as many
    [b, g, p, k]: p places, of which ``used`` are filled in each row."""

    keys: Any
    values: Any
    used: Int[Array, " b"]


class Gpt(nnx.Module):
    """The decoder. Parameters under ``word``, for GPT-2 ``position``, ``layers`` (stacked [L, …]), ``norm``
    and, where the output is not tied, ``output`` [d, v]."""

    rounded: nnx.Param | None = None  # the table of words [v, d] as a factor of products, of :meth:`decoder`

    def __init__(self, config: GptConfig, rngs: nnx.Rngs):
        self.config = config
        vocab_size = config.vocabulary
        self.word = layers.embed(vocab_size, config.width, rngs)
        if config.family == "gpt2":
            self.position = layers.embed(config.max_length, config.width, rngs)
        self.layers = layers.stack(lambda rngs: GptLayer(config, rngs), config.depth, rngs)
        self.norm = norm(config, rngs)
        if not config.tied:
            self.output = layers.dense(config.width, vocab_size, config.dtype, rngs, use_bias=False)

    def __call__(
        self,
        ids: Int[Array, "b t"],
        mask: Bool[Array, "b t"],
        types: Int[Array, "b t"] | None = None,
        segments: layers.Segments | None = None,
        *,
        key: PRNGKeyArray | None = None,
    ) -> GptOutput:
        """Read a batch.

        Args:
            ids: token numbers, 0 … vocab_size - 1; larger ones give NaN.
            mask: True at real tokens, which come first in a row. Padding changes no result at a real token.
            types: of no meaning here.
            segments: positions of the texts in packed rows; each text is then processed independently.
            key: switches dropout on; the same key drops the same values.

        Returns:
            hidden float32 [b, t, d], whose column i depends on tokens up to i and whose :meth:`logits` are
            for the token after; of no meaning at padding. pooled float32 [b, d] or, packed, [b, s, d].

        Raises:
            ConfigError: (while tracing) rows longer than ``max_length``.
        """
        length = ids.shape[1]
        if segments is None:
            self._check(length)
        first, rest = (None, None) if key is None else jax.random.split(key)
        place = jnp.arange(length)[None] if segments is None else segments.position
        x = layers.dropout(self._placed(ids, place), self.config.dropout, first)
        if segments is None:
            column = jnp.arange(length)
            bias = jnp.where(column[:, None] >= column, 0.0, LOWEST)[None, None]
        else:
            bias = layers.segment_bias(segments.segment, causal=True)
        turn = rotation(self.config, place)
        x = layers.scan(
            self.layers, x, bias, turn, key=rest, unroll=self.config.unroll, remat=self.config.remat
        )
        hidden = self.norm(x).astype(jnp.float32)
        if segments is None:
            last = jnp.maximum(mask.sum(axis=1) - 1, 0)[:, None]
        else:
            places = jnp.arange(1, segments.start.shape[1] + 1)
            count = jnp.sum(segments.segment[:, :, None] == places, axis=1)
            last = jnp.maximum(segments.start + count - 1, 0)
        pooled = jnp.take_along_axis(hidden, last[:, :, None], axis=1)
        return GptOutput(hidden, pooled[:, 0] if segments is None else pooled)

    def logits(self, hidden: Float[Array, "*s d"]) -> Float[Array, "*s v"]:
        """Scores, float32, of every piece of the vocabulary."""
        if not self.config.tied:
            return self.output(hidden).astype(jnp.float32)
        if self.rounded is not None:
            return layers.scores(hidden, self.rounded[...])
        table = self.word.embedding[...]
        if self.config.dtype == "mixed":
            return layers.product(hidden, table.T)
        short = layers.compute_dtype(self.config.dtype)
        pair = hidden.astype(short), table.astype(short)
        return jnp.einsum("...d,vd->...v", *pair, preferred_element_type=jnp.float32)

    def start(self, count: int, length: int) -> KeyValueCache:
        """An empty cache for ``count`` texts of at most ``length`` tokens.

        Raises:
            ConfigError: ``length`` is more than ``max_length``.
        """
        self._check(length)
        config = self.config
        shape = (config.depth, count, config.kv_heads, length, config.head_size)
        empty: Any = jnp.zeros(shape, layers.compute_dtype(config.dtype))
        if isinstance(self.layers, nnx.List):
            empty = list(empty)
        return KeyValueCache(empty, empty, jnp.zeros(count, jnp.int32))

    def step(
        self, ids: Int[Array, "b t"], count: Int[Array, " b"], cache: KeyValueCache
    ) -> tuple[Float[Array, "b t d"], KeyValueCache]:
        """Go on by ``count[i]`` tokens in row i; serves a prompt of many tokens and writing one by one.

        Args:
            ids: the next tokens of every row; beyond its count they are padding.
            count: how many are real, 0 … t.
            cache: of :meth:`start` or of the last step. What runs over its length is dropped.

        Returns:
            hidden float32 [b, t, d], of no meaning at padding, and the cache to go on with.
        """
        length = jax.tree.leaves(cache.keys)[0].shape[-2]
        column = jnp.arange(ids.shape[1])[None]
        position = cache.used[:, None] + column
        seen = jnp.arange(length)[None, None] <= position[:, :, None]
        bias = jnp.where(seen, 0.0, LOWEST)[:, None]
        fits = jnp.minimum(count, length - cache.used)
        safe = jnp.where(column < fits[:, None], position, 0)
        shared = cache.used, fits, bias, rotation(self.config, safe)
        x = self._placed(ids, safe)
        if isinstance(self.layers, nnx.List):
            kept = []
            for layer, *old in zip(self.layers, cache.keys, cache.values, strict=True):
                x, new = layer.step(x, *shared, *old)
                kept.append(new)
            keys, values = map(list, zip(*kept, strict=True))
        else:
            graph, params = nnx.split(self.layers)

            def one(x: Array, layer: tuple[Any, Array, Array]) -> tuple[Array, tuple[Array, Array]]:
                return nnx.merge(graph, layer[0]).step(x, *shared, *layer[1:])

            unroll = min(self.config.unroll, self.config.depth)
            x, (keys, values) = jax.lax.scan(one, x, (params, cache.keys, cache.values), unroll=unroll)
        return self.norm(x).astype(jnp.float32), KeyValueCache(keys, values, cache.used + count)

    def decoder(self) -> Gpt:
        """This model, changed for use by :meth:`step`: its layers unstacked, its kernels rounded once where products
        round them."""
        self.layers = layers.unstack(self.layers)
        layers.halve(self)
        if self.config.tied and layers.halves(self.config.dtype):
            self.rounded = nnx.Param(self.word.embedding[...].astype(jnp.bfloat16))
        return self

    def layer_ids(self, path: tuple[str, ...]) -> int | np.ndarray:
        """Layer index of a parameter, counted from the input, for freezing and layer-wise learning rates: 0
        for the embeddings; int32 [L] = 1 … L for stacked arrays; L + 1 for what follows. ``path`` leads to it
        from this module down."""
        if path[0] == "layers":
            return np.arange(1, self.config.depth + 1, dtype=np.int32)
        return 0 if path[0] in ("word", "position") else self.config.depth + 1

    def _placed(self, ids: Int[Array, "b t"], place: Int[Array, "#b t"]) -> Float[Array, "b t d"]:
        x = self.word(ids)
        if self.config.family == "gpt2":
            x = x + self.position(place)
        return x.astype(layers.compute_dtype(self.config.dtype))

    def _check(self, length: Size) -> None:
        if length > (longest := self.config.max_length):
            raise ConfigError(
                _(
                    "rows of {length} tokens exceed max_length = {longest}, the number of positions of "
                    "this GPT. Truncate the texts to {longest} tokens when encoding them."),
                length=length, longest=longest,
            )  # fmt: skip
