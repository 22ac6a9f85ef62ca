"""Encoder-decoder Transformer (Vaswani et al. 2017, arXiv 1706.03762).

 One table of embeddings serves the source, the target and the output; positions are sinusoids and no
parameters. Each stack is run by a scan. The model holds parameters only: a key given to a call is the one
source of chance.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import PyTree

from labkit.core.config import option
from labkit.core.errors import ConfigError, WeightsError
from labkit.core.shapes import Array, Bool, Float, Int, PRNGKeyArray
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
from labkit.models.seq2seq import layout
from labkit.models.seq2seq.layers import ACTIVATIONS, LOWEST, NORM_EPS, DecoderLayer, EncoderLayer, sinusoids
from labkit.profile.activations import Activations, transformer

# Sizes: Vaswani et al. 2017, table 3. heads = width / 64 and mlp_width = 4 width unless said otherwise.
PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {"encoder_depth": 2, "decoder_depth": 2, "width": 128, "heads": 4},  # for tutorials
    "base": {"encoder_depth": 6, "decoder_depth": 6, "width": 512},
    "big": {"encoder_depth": 6, "decoder_depth": 6, "width": 1024, "dropout": 0.3},
}
VOCABULARY = 37000  # shared pieces of the published English-German model


@dataclass(frozen=True, init=False)
class TransformerConfig(PublishedConfig):
    """Configuration of an encoder-decoder Transformer: a preset, pretrained weights, or sizes.

    Missing fields come from the preset; without a preset from ``config.json`` of the weights; without either
    from the size "base" (heads = width / 64, mlp_width = 4 width). ``vocab_size`` may stay None: the size of
    the tokenizer that source and target share then, or 37,000.

    Raises:
        ConfigError: an unknown preset, a value out of range, a width that the heads do not divide.
        WeightsError: the weights cannot be found, or are of another architecture.
    """

    modality: ClassVar[Modality] = Modality.PAIR
    capabilities: ClassVar[frozenset[Capability]] = frozenset({Capability.SEQ2SEQ})
    rates: ClassVar[layers.Rates] = layers.Rates(fresh=3e-4, pretrained=3e-5, width=768)
    sharding: ClassVar[tuple[tuple[str, int], ...]] = TRANSFORMER_SHARDING
    lora_targets: ClassVar[tuple[str, ...]] = ("encoder/*", "decoder/*")
    first_preset: ClassVar[str] = "tiny"
    model_types: ClassVar[tuple[str, ...]] = tuple(layout.KINDS)
    word_table: ClassVar[tuple[str, ...]] = ("word",)
    shown: ClassVar[tuple[str, ...]] = (
        "width",
        "encoder_depth",
        "decoder_depth",
        "heads",
        "mlp_width",
        "dropout",
    )
    drawing: ClassVar[tuple[DrawingPart, ...]] = (
        DrawingPart("decoder", 5, "block_decoder", 3),
        DrawingPart("encoder", 4, "block_encoder", 1),
        DrawingPart("word", 1, "block_embedding", 5),
    )
    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = PRESETS
    DERIVED: ClassVar[Mapping[str, Callable[[Mapping[str, Any]], Any]]] = FROM_WIDTH
    FROM_WEIGHTS: ClassVar[tuple[str, ...]] = (*layout.FOREIGN, "norm_first", "output_bias")
    # A packed row of sources would need a row of just their targets beside it, and what fills one overflows
    # the other.
    packs: ClassVar[bool] = False

    preset: str = option("", _("Named configuration."), choices=("", *PRESETS))
    weights: str = option(
        "", _("Pretrained weights: a folder or org/name@revision. Empty: random initialisation.")
    )
    vocab_size: int | None = fields.vocab_size()
    width: int = fields.width(512)
    encoder_depth: int = option(6, _("Number of encoder layers."), low=1, high=10_000)
    decoder_depth: int = option(6, _("Number of decoder layers."), low=1, high=10_000)
    heads: int = fields.heads(8)
    mlp_width: int = fields.mlp_width(2048)
    max_length: int = option(512, _("Maximum length of source and target in tokens."), low=1, high=10_000_000)
    dropout: float = fields.dropout(0.1)
    attention_dropout: float = fields.attention_dropout(0.0)
    activation: str = option(
        "relu", _("Activation function of the feed-forward network."), choices=tuple(ACTIVATIONS)
    )
    norm_first: bool = option(
        False,
        _(
            "Pre-norm: layer normalisation before each block instead of after it (post-norm, as published). "
            "More stable for deep models."
        ),
    )
    output_bias: bool = option(
        False,
        _(
            "Bias of the output projection over the vocabulary, as in Marian (absent in the original Transformer)."
        ),
    )
    dtype: str = fields.dtype()
    unroll: int = fields.unroll()
    remat: bool = fields.remat()

    @classmethod
    def sizes_from(cls, folder: Path) -> dict[str, Any]:
        """The fields that the weights in a folder decide."""
        return layout.sizes_from(folder)

    def check(self) -> None:
        """Raise :class:`ConfigError` for a value out of range and for a width that the heads do not divide."""
        super().check()
        if self.width % self.heads:
            raise ConfigError(
                _("TransformerConfig.width = {width} is not a multiple of heads = {heads}."),
                width=self.width,
                heads=self.heads,
            )

    @property
    def depth(self) -> int:
        """Layers of both stacks, one after the other."""
        return self.encoder_depth + self.decoder_depth

    @property
    def vocabulary(self) -> int:
        """Entries of the vocabulary: ``vocab_size``, or as many as the published model has."""
        return self.vocab_size or VOCABULARY

    def activations(self, batch: Mapping[str, Any]) -> Activations:
        """What a forward pass computes and keeps of a batch, by formula."""
        sizes = (self.width, self.mlp_width, self.heads)
        settings: dict[str, Any] = {
            "dtype": self.dtype, "remat": self.remat, "activation": self.activation, "dropout": self.dropout > 0,
            "attention_dropout": self.attention_dropout > 0,
        }  # fmt: skip
        source, target = batch["ids"].shape, batch["target_ids"].shape
        encoder = transformer(source, self.encoder_depth, *sizes, **settings)
        return encoder + transformer(target, self.decoder_depth, *sizes, **settings, memory=source[1])

    def build(self, rngs: nnx.Rngs) -> Transformer:
        """A model with fresh parameters: truncated normal (:func:`parts.spread`; embeddings 1 / sqrt(width)),
        biases 0, norm scales 1."""
        return Transformer(self, rngs)

    def table(self, folder: Path) -> weights.Table:
        """The names of the weights in a folder."""
        return layout.TABLE

    def _load(self, model: Transformer, folder: Path) -> weights.LoadReport:
        """Put the weights of ``folder`` (by default :meth:`folder`) into a model; a bias they lack stays as
        it is.

        Raises:
            WeightsError: there are no weights, or they do not fit, or they have an output bias other than
                zero and the model has none; the model is unchanged then.
        """
        stored = weights.Tensors(folder)
        if not model.config.output_bias and layout.BIAS in stored and stored[layout.BIAS].any():
            raise WeightsError(
                _("{folder} has a {bias}, but this model has no output bias: set output_bias=True."),
                folder=folder,
                bias=layout.BIAS,
            )
        return super()._load(model, folder)

    def save(
        self,
        params: ParameterTree,
        folder: str | Path,
        extra: dict[str, Any] | None = None,
        specials: weights.Specials | None = None,
        **more: object,
    ) -> Path:
        """Write parameters as a Hugging Face folder: a MarianMTModel, or with ``norm_first`` a Pegasus model.

        Args:
            params: a :class:`Transformer`, its state or a dict of its parameters.
            folder: where; made if it is not there.
            extra: further tensors under their foreign names.
            specials: ids of the tokenizer's special tokens; other readers need them to write texts.
            more: further keys of config.json.
        """
        flat = weights.flatten(params)
        vocab_size = flat["word", "embedding"].shape[0]
        # What other readers ask for and labkit does not: a bias, whose zeros change no score, and Pegasus
        # positions.
        fixed = {} if ("output_bias",) in flat else {layout.BIAS: np.zeros((1, vocab_size), np.float32)}
        if self.norm_first:
            places = sinusoids(self.max_length, self.width)
            fixed |= {f"model.{side}.embed_positions.weight": places for side in ("encoder", "decoder")}
        config = {**layout.settings(self, vocab_size, specials), **more}
        return weights.save_from(flat, folder, layout.TABLE, config, {**fixed, **(extra or {})})


class Decoded(NamedTuple):
    """Output: ``hidden`` f32 [b, t, d] of the decoder's last layer; ``memory`` f32 [b, s, d]."""

    hidden: Float[Array, "b t d"]
    memory: Float[Array, "b s d"]


class DecoderCache(NamedTuple):
    """What decoding keeps from step to step, in the dtype that layers compute in.

    ``keys`` and ``values`` of self-attention have p places, of which ``used`` are filled in each row; those
    of the memory are computed once, and ``mask`` says which of its tokens are real.
    """

    keys: Float[Array, "L b p h k"]
    values: Float[Array, "L b p h k"]
    memory_keys: Float[Array, "L b s h k"]
    memory_values: Float[Array, "L b s h k"]
    mask: Bool[Array, "b s"]
    used: Int[Array, " b"]


class Transformer(nnx.Module):
    """Encoder and decoder. Parameters under ``word`` (the shared table), ``encoder`` and ``decoder`` (stacked
    [L, …]), with ``norm_first`` ``encoder_norm`` and ``decoder_norm``, with ``output_bias`` that one, [1, v]."""

    def __init__(self, config: TransformerConfig, rngs: nnx.Rngs):
        self.config = config
        vocab_size, d, dtype = config.vocabulary, config.width, config.dtype
        self.word = layers.embed(vocab_size, d, rngs, d**-0.5)  # of size 1 once scaled, as positions are
        self.encoder = layers.stack(lambda rngs: EncoderLayer(config, rngs), config.encoder_depth, rngs)
        self.decoder = layers.stack(lambda rngs: DecoderLayer(config, rngs), config.decoder_depth, rngs)
        if config.norm_first:
            self.encoder_norm, self.decoder_norm = (layers.norm(d, NORM_EPS, dtype, rngs) for _ in range(2))
        if config.output_bias:
            self.output_bias = nnx.Param(jnp.zeros((1, vocab_size), jnp.float32))

    def __call__(
        self,
        source: Int[Array, "b s"],
        source_mask: Bool[Array, "b s"],
        target: Int[Array, "b t"],
        target_mask: Bool[Array, "b t"],
        *,
        key: PRNGKeyArray | None = None,
    ) -> Decoded:
        """Encode the sources and decode the true targets (teacher forcing).

        Args:
            source: token numbers, 0 … vocab_size - 1; larger ones give NaN. Texts begin in the first column.
            source_mask: True at real tokens. Padding changes no result at a real token.
            target: the same of the targets, shifted: the first is the one that every text starts with.
            target_mask: the same of the targets.
            key: switches dropout on; the same key drops the same values.

        Returns:
            hidden float32 [b, t, d], whose column i depends on target[:, : i + 1] and the source, and whose
            :meth:`logits` are for the token after; memory float32 [b, s, d]. Both of no meaning at padding.

        Raises:
            ConfigError: (while tracing) rows longer than ``max_length``.
        """
        first, second, third = (None,) * 3 if key is None else jax.random.split(key, 3)
        memory = self.encode(source, source_mask, key=first)
        x = self._embedded(target, second)
        rest = _before(target_mask), memory.astype(x.dtype), layers.padding_bias(source_mask)
        x = layers.scan(self.decoder, x, *rest, key=third, unroll=self.config.unroll, remat=self.config.remat)
        return Decoded(self._last(x, "decoder_norm"), memory)

    def encode(
        self, ids: Int[Array, "b s"], mask: Bool[Array, "b s"], *, key: PRNGKeyArray | None = None
    ) -> Float[Array, "b s d"]:
        """The memory of source texts, float32; arguments and errors as above."""
        first, second = (None,) * 2 if key is None else jax.random.split(key)
        x, bias = self._embedded(ids, first), layers.padding_bias(mask)
        x = layers.scan(self.encoder, x, bias, key=second, unroll=self.config.unroll, remat=self.config.remat)
        return self._last(x, "encoder_norm")

    def cross_attention(
        self,
        source: Int[Array, "b s"],
        source_mask: Bool[Array, "b s"],
        target: Int[Array, "b t"],
        target_mask: Bool[Array, "b t"],
    ) -> Float[Array, "b L h t s"]:
        """Probabilities of the attention of every target token to the source, of every layer and head of the
        decoder; column i of the targets is what is read when the token after it is predicted."""
        memory = self.encode(source, source_mask)
        x = self._embedded(target, None)
        rest = _before(target_mask), memory.astype(x.dtype), layers.padding_bias(source_mask)
        graph, params = nnx.split(self.decoder)

        def one(x: Array, layer: PyTree[Array]) -> tuple[Array, Array]:
            module = nnx.merge(graph, layer)
            return module(x, *rest), module.looks(x, *rest)

        return jnp.moveaxis(jax.lax.scan(one, x, params)[1], 0, 1)

    def logits(self, hidden: Float[Array, "*s d"]) -> Float[Array, "*s v"]:
        """Scores, float32, of every piece of the vocabulary: products with the shared table."""
        table = self.word.embedding[...]
        if self.config.dtype == "mixed":
            scores = layers.product(hidden, table.T)
        else:
            short = layers.compute_dtype(self.config.dtype)
            pair = hidden.astype(short), table.astype(short)
            scores = jnp.einsum("...d,vd->...v", *pair, preferred_element_type=jnp.float32)
        if not self.config.output_bias:
            return scores
        return scores + self.output_bias[...].reshape((1,) * (scores.ndim - 1) + (-1,))

    def start(self, memory: Float[Array, "b s d"], mask: Bool[Array, "b s"], length: int) -> DecoderCache:
        """An empty cache for targets of at most ``length`` tokens; keys and values of the memory are computed
        here.

        Raises:
            ConfigError: ``length`` is more than ``max_length``.
        """
        self._check(length)
        config, dtype = self.config, layers.compute_dtype(self.config.dtype)
        graph, params = nnx.split(self.decoder.cross)
        memory = memory.astype(dtype)

        def one(nothing: None, layer: PyTree[Array]) -> tuple[None, list[Array]]:
            return nothing, nnx.merge(graph, layer).project(memory, "key", "value")

        _, across = jax.lax.scan(one, None, params)
        shape = (config.decoder_depth, len(memory), length, config.heads, config.width // config.heads)
        keys, values = jnp.zeros(shape, dtype), jnp.zeros(shape, dtype)
        return DecoderCache(keys, values, *across, mask, jnp.zeros(len(memory), jnp.int32))

    def step(
        self, ids: Int[Array, "b t"], count: Int[Array, " b"], cache: DecoderCache
    ) -> tuple[Float[Array, "b t d"], DecoderCache]:
        """Go on by ``count[i]`` tokens in row i; serves a prompt of many tokens and decoding one by one.

        Args:
            ids: the next tokens of every row; beyond its count they are padding.
            count: how many are real, 0 … t.
            cache: of :meth:`start` or of the last step. A row that runs over its length gives NaN.

        Returns:
            hidden float32 [b, t, d], of no meaning at padding, and the cache to go on with.
        """
        length, column = cache.keys.shape[2], jnp.arange(ids.shape[1])[None]
        position = cache.used[:, None] + column
        real = column < count[:, None]
        # The table has a row for every place, and a look-up beyond it gives NaN; padding is looked up at the
        # first.
        where = jnp.take(sinusoids(length, self.config.width), jnp.where(real, position, 0), axis=0)
        seen = jnp.arange(length)[None, None] <= position[:, :, None]
        shared = (
            jnp.where(real, position, length),
            jnp.where(seen, 0.0, LOWEST)[:, None],
            layers.padding_bias(cache.mask),
        )
        graph, params = nnx.split(self.decoder)

        def one(x: Array, layer: tuple[Any, tuple[Array, ...]]) -> tuple[Array, tuple[Array, Array]]:
            return nnx.merge(graph, layer[0]).step(x, *shared, layer[1])

        x, (keys, values) = jax.lax.scan(
            one,
            self._placed(ids, where),
            (params, cache[:4]),
            unroll=min(self.config.unroll, len(cache.keys)),
        )
        return self._last(x, "decoder_norm"), cache._replace(
            keys=keys, values=values, used=cache.used + count
        )

    def layer_ids(self, path: tuple[str, ...]) -> int | np.ndarray:
        """Layer index of a parameter, counted from the input, for freezing and layer-wise learning rates.

        Args:
            path: of a parameter, from this module down.

        Returns:
            0 for the embeddings; int32 [L] for a stacked array, one number a layer along its first axis: 1 …
            E in the encoder of E layers, E + 1 … E + D in the decoder of D; a last norm has the number of the
            layer before it; E + D + 1 for the output bias.
        """
        encoder, both = self.config.encoder_depth, self.config.depth
        stacks = {"encoder": np.arange(1, encoder + 1), "decoder": np.arange(encoder + 1, both + 1)}
        if path[0] in stacks:
            return stacks[path[0]].astype(np.int32)
        return {"word": 0, "encoder_norm": encoder, "decoder_norm": both}.get(path[0], both + 1)

    def _embedded(self, ids: Int[Array, "b t"], key: PRNGKeyArray | None) -> Float[Array, "b t d"]:
        self._check(length := ids.shape[1])
        return layers.dropout(
            self._placed(ids, sinusoids(length, self.config.width)[None]), self.config.dropout, key
        )

    def _placed(
        self, ids: Int[Array, "b t"], where: Float[Array, "#b t d"] | np.ndarray
    ) -> Float[Array, "b t d"]:
        """Scaled embeddings with positions, in the dtype that layers compute in (sections 3.4 and 3.5)."""
        x = self.word(ids) * math.sqrt(self.config.width) + where
        return x.astype(layers.compute_dtype(self.config.dtype))

    def _last(self, x: Float[Array, "b t d"], norm: str) -> Float[Array, "b t d"]:
        """What leaves a stack."""
        return (getattr(self, norm)(x) if self.config.norm_first else x).astype(jnp.float32)

    def _check(self, length: int) -> None:
        if length > (longest := self.config.max_length):
            raise ConfigError(
                _(
                    "rows of {length} tokens exceed max_length = {longest} of this Transformer. Truncate "
                    "the texts to {longest} tokens when encoding them, or increase max_length, which adds "
                    "no parameters."),
                length=length, longest=longest,
            )  # fmt: skip


def _before(mask: Bool[Array, "b t"]) -> Float[Array, "b 1 t t"]:
    """The bias of attention to real tokens up to each."""
    return jnp.where(mask[:, None, None, :] & np.tri(mask.shape[1], dtype=bool)[None, None], 0.0, LOWEST)
