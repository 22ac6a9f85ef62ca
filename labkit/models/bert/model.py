"""BERT: a bidirectional Transformer encoder (Devlin et al. 2018, arXiv 1810.04805).

 Post-norm layers, learned positions, erf GELU. The layers are stacked on one first axis and run by a scan, so
compile time does not grow with depth. The model holds parameters only: a key given to the call is the one
source of chance. RoBERTa and DistilBERT are the same network stored another way:
:mod:`labkit.models.bert.layouts`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import PyTree

from labkit.core.config import option
from labkit.core.errors import ConfigError
from labkit.core.shapes import Array, Bool, Float, Int, PRNGKeyArray
from labkit.i18n import _
from labkit.models import fields, weights
from labkit.models import layers as parts
from labkit.models.base import (
    FROM_WIDTH,
    TRANSFORMER_SHARDING,
    Capability,
    DrawingPart,
    Modality,
    ParameterTree,
)
from labkit.models.bert import layouts, sentence
from labkit.models.bert.layouts import FOREIGN, LAYOUTS
from labkit.models.encoder import EMBEDDED, EncoderConfig, EncoderOutput
from labkit.models.last_layer import scan_and_read
from labkit.profile.activations import Activations, transformer

# Sizes: Devlin et al. 2018 (base, large), Turc et al. 2019, arXiv 1908.08962 (tiny to medium), Liu et al.
# 2019, arXiv 1907.11692 (roberta), Sanh et al. 2019, arXiv 1910.01108 (distilbert). heads = width / 64 and
# mlp_width = 4 width unless said otherwise.
PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {"depth": 2, "width": 128},
    "mini": {"depth": 4, "width": 256},
    "small": {"depth": 4, "width": 512},
    "medium": {"depth": 8, "width": 512},
    "base": {"depth": 12, "width": 768},
    "large": {"depth": 24, "width": 1024},
    "roberta-base": {"layout": "roberta", "depth": 12, "width": 768},
    "distilbert-base": {"layout": "distilbert", "depth": 6, "width": 768},
    "minilm-l6": {
        "weights": "minilm-l6",
        "vocab_size": 30522,
        "depth": 6,
        "width": 384,
        "heads": 12,
    },
    "e5-small": {
        "weights": "e5-small",
        "vocab_size": 250037,
        "depth": 12,
        "width": 384,
        "heads": 12,
    },
    "bert-tiny": {"weights": "bert-tiny", "vocab_size": 30522, "depth": 2, "width": 128},
}


@dataclass(frozen=True, init=False)
class BertConfig(EncoderConfig):
    """Configuration of a BERT encoder: a preset, pretrained weights, or sizes.

    Missing fields come from the preset; without a preset from ``config.json`` of the weights; without either
    from the size "base" (heads = width / 64, mlp_width = 4 width). ``weights=""`` uses the sizes of a preset
    with random initialisation. ``vocab_size`` may stay None: the size of the tokenizer then, or of the
    published English one.

    Presets without pretrained weights ("base", "roberta-base", "distilbert-base", …) are randomly
    initialised; ``weights=`` with a folder or "org/name@revision" loads published weights and uses their
    sizes and layout: BERT, RoBERTa, XLM-R, DistilBERT. DistilBERT has no pooler; with pooling "cls" a new one
    with ReLU is added.

    Raises:
        ConfigError: an unknown preset, a value out of range, a width not divisible by the heads, a value that
            the layout does not support.
        WeightsError: the weights cannot be found, or are of another architecture.
    """

    capabilities: ClassVar[frozenset[Capability]] = frozenset(
        {Capability.POOLED, Capability.BIDIRECTIONAL, Capability.SPANS}
    )
    rates: ClassVar[parts.Rates] = parts.Rates(fresh=1e-4, pretrained=3e-5, width=768)
    sharding: ClassVar[tuple[tuple[str, int], ...]] = TRANSFORMER_SHARDING
    lora_targets: ClassVar[tuple[str, ...]] = ("layers/*",)
    default_for: ClassVar[tuple[Modality, ...]] = (Modality.TEXT,)
    first_preset: ClassVar[str] = "minilm-l6"
    model_types: ClassVar[tuple[str, ...]] = tuple(LAYOUTS)
    attends: ClassVar[bool] = True
    word_table: ClassVar[tuple[str, ...]] = ("embeddings", "word")
    shown: ClassVar[tuple[str, ...]] = ("width", "depth", "heads", "mlp_width", "dropout")
    drawing: ClassVar[tuple[DrawingPart, ...]] = (
        DrawingPart("pooler", 8, "block_pooler", 4),
        DrawingPart("layers", 4, "block_layers", 1),
        DrawingPart("embedding", 1, "block_embedding", 5),
    )
    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = PRESETS
    DERIVED: ClassVar[Mapping[str, Callable[[Mapping[str, Any]], Any]]] = FROM_WIDTH
    FROM_WEIGHTS: ClassVar[tuple[str, ...]] = tuple(FOREIGN)
    BROUGHT: ClassVar[tuple[str, ...]] = ("pooling", "layout")

    preset: str = option("", _("Named configuration, or named pretrained weights."), choices=("", *PRESETS))
    weights: str = fields.weights()
    vocab_size: int | None = fields.vocab_size()
    width: int = fields.width(768)
    depth: int = fields.depth(12)
    heads: int = fields.heads(12)
    mlp_width: int = fields.mlp_width(3072)
    max_length: int = fields.max_length(512)
    types: int = option(
        2,
        _("Number of segment (token type) embeddings; 2 for pairs of texts, 0 for DistilBERT."),
        low=0,
        high=10_000,
    )
    dropout: float = fields.dropout(0.1)
    attention_dropout: float = fields.attention_dropout(0.1)
    norm_eps: float = option(
        1e-12, _("Epsilon of layer normalisation, added to the variance."), low=0.0, high=0.1
    )
    activation: str = option(
        "gelu", _("Activation function of the feed-forward network."), choices=tuple(parts.ACTIVATIONS)
    )
    pooling: str = option(
        "auto",
        _(
            "How token states become one vector per text. cls: the pooler on the first token. auto: "
            "cls for classification, otherwise the pooling saved with the weights."
        ),
        choices=("auto", *layouts.POOLINGS),
    )
    layout: str = option(
        "bert", _("Model family whose file format is used for loading and saving."), choices=tuple(LAYOUTS)
    )
    dtype: str = fields.dtype()
    unroll: int = fields.unroll()
    remat: bool = fields.remat()

    @classmethod
    def usual(cls, known: Mapping[str, Any]) -> Mapping[str, Any]:
        """Defaults of the layout."""
        return LAYOUTS.get(known.get("layout", ""), LAYOUTS["bert"]).usual

    @classmethod
    def sizes_from(cls, folder: Path) -> dict[str, Any]:
        """The fields that the weights in a folder decide."""
        return layouts.sizes_from(folder)

    def check(self) -> None:
        """Raise :class:`ConfigError` for a value out of range, for a width that the heads do not divide, and
        for what files of the layout cannot hold."""
        super().check()
        if self.width % self.heads:
            raise ConfigError(
                _("BertConfig.width = {width} is not a multiple of heads = {heads}."),
                width=self.width,
                heads=self.heads,
            )
        for name, value in LAYOUTS[self.layout].fixed.items():
            if (own := getattr(self, name)) != value:
                raise ConfigError(
                    _(
                        "BertConfig.{name} = {own!r}, but layout {layout!r} always has {value!r}: omit "
                        "{name}, or use another layout."),
                    name=name, own=own, layout=self.layout, value=value,
                )  # fmt: skip
        if not self.types and "types" not in LAYOUTS[self.layout].fixed:
            raise ConfigError(
                _("BertConfig.types = 0, but layout {layout!r} has at least 1 segment type."),
                layout=self.layout,
            )

    @property
    def output(self) -> str:
        """Stored name of the last layer of a classifier."""
        return LAYOUTS[self.layout].output

    @property
    def classes(self) -> str:
        """Beginning of the names of its classes in transformers ("Bert")."""
        return LAYOUTS[self.layout].classes

    def fresh_parts(self) -> tuple[str, ...]:
        """ "pooler" where the pretrained weights lack it and the model has one."""
        if not self.weights or self.pooled_by != "cls":
            return ()
        folder = sentence.encoder_folder(self.folder())
        table = layouts.reading(self.layout, folder)
        names = {table.canonical(name) for name in weights.Tensors(folder)}
        return () if any(name.startswith(table.optional) for name in names) else ("pooler",)

    def settled(self, vectors: bool) -> BertConfig:
        """The config with ``pooling`` filled in: "cls" below a head, as the classifiers of transformers have
        it. For sentence vectors that of the weights' sentence-transformers modules; where there are none,
        "mean".

        Raises:
            WeightsError: the folder's modules pool in a way that training does not.
        """
        if self.pooling != "auto":
            return self
        return dataclasses.replace(self, pooling=self.vector_pooling(layouts.POOLINGS) if vectors else "cls")

    @property
    def special_tokens(self) -> tuple[str, ...]:
        """Special tokens of a tokenizer learnt for this model; RoBERTa counts positions from the id of
        padding, 1."""
        return (
            ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
            if LAYOUTS[self.layout].unused
            else super().special_tokens
        )

    @property
    def reads_types(self) -> bool:
        """Whether the model reads type ids: there is more than one kind of segment."""
        return self.types > 1

    @property
    def vocabulary(self) -> int:
        """Entries of the vocabulary: ``vocab_size``, or as many as the published English one of the layout
        has."""
        return self.vocab_size or LAYOUTS[self.layout].vocabulary

    def activations(self, batch: Mapping[str, Any]) -> Activations:
        """What a forward pass computes and keeps of a batch, by formula."""
        return self._activations(batch, None)

    def vector_activations(self, batch: Mapping[str, Any]) -> Activations:
        """The same where only the pooled vectors are read, which may be those of first tokens: one a text."""
        texts = batch["start"].size if "segment" in batch else batch["ids"].shape[0]
        return self._activations(batch, texts if self.pooled_by in ("cls", "first") else None)

    def _activations(self, batch: Mapping[str, Any], reads: int | None) -> Activations:
        return transformer(
            batch["ids"].shape, self.depth, self.width, self.mlp_width, self.heads, dtype=self.dtype, remat=self.remat,
            activation=self.activation, dropout=self.dropout > 0, attention_dropout=self.attention_dropout > 0,
            reads=reads,
        )  # fmt: skip

    def build(self, rngs: nnx.Rngs) -> Bert:
        """A model with fresh parameters: truncated normal (:func:`parts.spread`; embeddings 0.02), biases 0,
        norm scales 1."""
        return Bert(self, rngs)

    def table(self, folder: Path) -> weights.Table:
        """The names of the weights in a folder. The first layer of a RoBERTa or DistilBERT classifier, where
        the file has one, is the pooler."""
        return layouts.reading(self.layout, folder)

    def _load(self, model: Bert, folder: Path) -> weights.LoadReport:
        """A pooler that the weights lack stays as it is."""
        return super()._load(model, sentence.encoder_folder(folder))

    def save(
        self,
        params: ParameterTree,
        folder: str | Path,
        extra: dict[str, Any] | None = None,
        specials: weights.Specials | None = None,
        **more: object,
    ) -> Path:
        """Write parameters as a Hugging Face folder of the config's layout.

        Args:
            params: a :class:`Bert`, its state or a dict of its parameters.
            folder: where; made if it is not there.
            extra: a head's tensors, as :meth:`head_tensors` makes them; the encoder's names then start with
                "bert.", "roberta." or "distilbert.", and the pooler is stored where the layout's classifier
                has it.
            specials: ids of the tokenizer's special tokens; without them those of the published vocabulary.
            more: further keys of config.json ("id2label", "architectures", …).
        """
        settings = layouts.settings(self, specials)
        if self.pooled_by == "cls" and ("pooler", "kernel") not in weights.flatten(params):
            del settings["labkit_pooling"]  # a file without a pooler does not pool by it
        config = {**settings, **more}
        table = LAYOUTS[self.layout].writing(extra or {}, settings.get("pad_token_id"))
        return weights.save_from(params, folder, table, config, extra)

    def save_embedder(
        self,
        params: ParameterTree,
        folder: Path,
        *,
        specials: weights.Specials | None = None,
        max_length: int,
    ) -> None:
        """Write parameters as a folder of sentence-transformers that makes the pooled vectors, 1 long.

        With pooling "cls" the pooler is both in the encoder and a Dense module on its first token.
        """
        if self.pooled_by != "cls":
            super().save_embedder(params, folder, specials=specials, max_length=max_length)
            return
        flat, squash = weights.flatten(params), LAYOUTS[self.layout].squash
        kernel, bias = (np.asarray(flat["pooler", part]) for part in ("kernel", "bias"))
        dense = sentence.Dense(kernel, bias, "ReLU" if squash is jax.nn.relu else "Tanh")
        self.save(params, folder, specials=specials)
        sentence.write(folder, "", "first", self.width, [dense, sentence.Normalize()], max_length)


class Embeddings(nnx.Module):
    """Token + position + segment, normalised, with dropout."""

    def __init__(self, config: BertConfig, rngs: nnx.Rngs):
        self.first = LAYOUTS[config.layout].unused  # row of the first position
        self.word = parts.embed(config.vocabulary, config.width, rngs, EMBEDDED)
        self.position = parts.embed(self.first + config.max_length, config.width, rngs, EMBEDDED)
        self.position.embedding[...] = self.position.embedding[...].at[: self.first].set(0)
        self.kinds = config.types
        if self.kinds:
            self.type = parts.embed(self.kinds, config.width, rngs, EMBEDDED)
        self.norm = parts.norm(config.width, config.norm_eps, config.dtype, rngs)
        self.dropout = config.dropout

    def __call__(
        self,
        ids: Int[Array, "b t"],
        types: Int[Array, "b t"],
        key: PRNGKeyArray | None,
        position: Int[Array, "b t"] | None = None,
    ) -> Float[Array, "b t d"]:
        # A slice where every row counts from 0: cheaper than a look-up, and so is its gradient.
        if position is None:
            place = self.position.embedding[...][None, self.first : self.first + ids.shape[1]]
        else:
            place = self.position(position + self.first)
        x = self.word(ids) + place
        if self.kinds:  # of one kind all tokens are, whatever a tokenizer says of the second text
            x += self.type(types) if self.kinds > 1 else self.type.embedding[...][None]
        return parts.dropout(self.norm(x), self.dropout, key)


class BertLayer(nnx.Module):
    """Self-attention and a feed-forward part, each added to its input and normalised after."""

    def __init__(self, config: BertConfig, rngs: nnx.Rngs):
        d, m, dtype = config.width, config.mlp_width, config.dtype
        self.query, self.key, self.value = (parts.dense(d, d, dtype, rngs) for _ in range(3))
        self.out = parts.dense(d, d, dtype, rngs)
        self.out_norm = parts.norm(d, config.norm_eps, dtype, rngs)
        self.mlp_in, self.mlp_out = parts.dense(d, m, dtype, rngs), parts.dense(m, d, dtype, rngs, width=d)
        self.mlp_norm = parts.norm(d, config.norm_eps, dtype, rngs)
        self.heads, self.activation, self.dtype = config.heads, config.activation, config.dtype
        self.short = parts.halves(dtype)
        self.dropout, self.attention_dropout = config.dropout, config.attention_dropout

    def __call__(
        self, x: Float[Array, "b t d"], bias: Float[Array, "b 1 #t t"], *, key: PRNGKeyArray | None = None
    ) -> Float[Array, "b t d"]:
        heads = parts.together((self.query, self.key, self.value), x)
        return self._mixed(x, *heads, bias, key)

    def read(
        self,
        x: Float[Array, "b t d"],
        bias: Float[Array, "b 1 #t t"],
        place: Int[Array, "b s"] | None,
        *,
        key: PRNGKeyArray | None = None,
    ) -> Float[Array, "b s d"]:
        """The same of the tokens in these columns alone (None: the first)."""
        if place is None:
            seen, bias = x[:, :1], bias[:, :, :1]
        else:
            seen = jnp.take_along_axis(x, place[:, :, None], axis=1)
            bias = jnp.take_along_axis(bias, place[:, None, :, None], axis=2) if bias.shape[2] > 1 else bias
        return self._mixed(seen, self.query(seen), *parts.together((self.key, self.value), x), bias, key)

    def _mixed(
        self, x: Array, query: Array, key: Array, value: Array, bias: Array, rng: PRNGKeyArray | None
    ) -> Float[Array, "b q d"]:
        """What the layer makes of x, whose queries these are."""
        keys = [None] * 3 if rng is None else list(jax.random.split(rng, 3))
        query, key, value = (y.reshape(*y.shape[:2], self.heads, -1) for y in (query, key, value))
        mixed = parts.attend(query, key, value, bias, self.attention_dropout, keys[0], self.short)
        x = self.out_norm(x + parts.dropout(self.out(mixed.reshape(*x.shape[:2], -1)), self.dropout, keys[1]))
        inner = parts.activate(self.activation, self.dtype, self.mlp_in(x))
        return self.mlp_norm(x + parts.dropout(self.mlp_out(inner), self.dropout, keys[2]))

    def looks(self, x: Float[Array, "b t d"], bias: Float[Array, "b 1 #t t"]) -> Float[Array, "b h t t"]:
        """Attention probabilities of this layer for ``x`` (for visualisation)."""
        query, key = (layer(x).reshape(*x.shape[:2], self.heads, -1) for layer in (self.query, self.key))
        scores = jnp.einsum(
            "bqhk,bthk->bhqt", query * query.shape[-1] ** -0.5, key, preferred_element_type=jnp.float32
        )
        return jax.nn.softmax(scores + bias, axis=-1)


class Bert(nnx.Module):
    """The encoder. Parameters under ``embeddings``, ``layers`` (stacked [L, …]) and, with pooling "cls",
    ``pooler``."""

    def __init__(self, config: BertConfig, rngs: nnx.Rngs):
        self.config = config
        self.embeddings = Embeddings(config, rngs)
        self.layers = parts.stack(lambda rngs: BertLayer(config, rngs), config.depth, rngs)
        if config.pooled_by == "cls":
            self.pooler = parts.dense(config.width, config.width, config.dtype, rngs)

    def __call__(
        self,
        ids: Int[Array, "b t"],
        mask: Bool[Array, "b t"],
        types: Int[Array, "b t"] | None = None,
        segments: parts.Segments | None = None,
        *,
        key: PRNGKeyArray | None = None,
    ) -> EncoderOutput:
        """Encode a batch.

        Args:
            ids: token numbers, 0 … vocab_size - 1; larger ones give NaN.
            mask: True at real tokens. Padding changes no result at a real token.
            types: 0 in the first text, 1 in the second; None for all 0. Not read where there are less than
            two kinds.
            segments: positions of the texts in packed rows; each text is then processed independently.
            key: switches dropout on; the same key drops the same values.

        Returns:
            hidden float32 [b, t, d], of no meaning at padding; pooled float32 [b, d]: tanh(dense(first
            token)), with layout "distilbert" relu(dense(first token)), or a pooling of hidden over the real
            tokens (:func:`labkit.models.layers.pool`). In packed rows pooled is [b, s, d], one for every
            text.

        Raises:
            ConfigError: (while tracing) rows longer than ``max_length``.
        """
        x, bias, rest = self._begun(ids, mask, types, segments, key)
        x = parts.scan(self.layers, x, bias, key=rest, unroll=self.config.unroll, remat=self.config.remat)
        hidden = x.astype(jnp.float32)
        if (how := self.config.pooled_by) != "cls":
            pooled = (
                parts.pool(hidden, mask, how)
                if segments is None
                else parts.pool_segments(hidden, segments, how)
            )
        else:
            pooled = self._pooled(x[:, 0] if segments is None else parts.segment_first(x, segments))
        return EncoderOutput(hidden, pooled)

    def vectors(
        self,
        ids: Int[Array, "b t"],
        mask: Bool[Array, "b t"],
        types: Int[Array, "b t"] | None = None,
        segments: parts.Segments | None = None,
        *,
        key: PRNGKeyArray | None = None,
    ) -> Float[Array, "b d"] | Float[Array, "b s d"]:
        """The pooled vectors alone; where they are made of first tokens, the last layer computes no others."""
        if (how := self.config.pooled_by) not in ("cls", "first"):
            return self(ids, mask, types, segments, key=key).pooled
        x, bias, rest = self._begun(ids, mask, types, segments, key)
        place = None if segments is None else segments.start
        settings = {"unroll": self.config.unroll, "remat": self.config.remat}
        x = scan_and_read(self.layers, x, bias, place, key=rest, **settings)
        x = x[:, 0] if segments is None else x
        return self._pooled(x) if how == "cls" else x.astype(jnp.float32)

    def _pooled(self, x: Float[Array, "*s d"]) -> Float[Array, "*s d"]:
        return LAYOUTS[self.config.layout].squash(self.pooler(x)).astype(jnp.float32)

    def _begun(
        self, ids: Array, mask: Array, types: Array | None, segments: parts.Segments | None,
        key: PRNGKeyArray | None,
    ) -> tuple[Float[Array, "b t d"], Float[Array, "b 1 #t t"], PRNGKeyArray | None]:  # fmt: skip
        """What the first layer reads, the bias of attention, and the key of the layers."""
        longest = self.config.max_length
        if segments is None and (length := ids.shape[1]) > longest:
            raise ConfigError(
                _(
                    "rows of {length} tokens exceed max_length = {longest}, the number of positions of "
                    "this BERT. Truncate the texts to {longest} tokens when encoding them."),
                length=length, longest=longest,
            )  # fmt: skip
        types = jnp.zeros_like(ids) if types is None else types
        first, rest = (None, None) if key is None else jax.random.split(key)
        x = self.embeddings(ids, types, first, None if segments is None else segments.position)
        bias = parts.padding_bias(mask) if segments is None else parts.segment_bias(segments.segment)
        return x, bias, rest

    def attention(
        self, ids: Int[Array, "b t"], mask: Bool[Array, "b t"], types: Int[Array, "b t"]
    ) -> Float[Array, "b L h t t"]:
        """Attention probabilities of every layer and head; rows sum to 1 over the tokens that are not
        padding."""
        graph, params = nnx.split(self.layers)
        bias = parts.padding_bias(mask)

        def step(x: Array, layer: PyTree[Array]) -> tuple[Array, Array]:
            module = nnx.merge(graph, layer)
            return module(x, bias), module.looks(x, bias)

        return jnp.moveaxis(jax.lax.scan(step, self.embeddings(ids, types, None), params)[1], 0, 1)

    def layer_ids(self, path: tuple[str, ...]) -> int | np.ndarray:
        """Layer index of a parameter, counted from the input, for freezing and layer-wise learning rates.

        Args:
            path: of a parameter, from this module down.

        Returns:
            0 for the embeddings; int32 [L] = 1 … L for a stacked array, one number a layer along its first
            axis; L + 1 for the pooler. A head that follows counts as L + 1 too.
        """
        depth = self.config.depth
        if path[0] == "layers":
            return np.arange(1, depth + 1, dtype=np.int32)
        return 0 if path[0] == "embeddings" else depth + 1
