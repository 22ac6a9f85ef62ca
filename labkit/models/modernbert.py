"""ModernBERT: a bidirectional Transformer encoder for long texts (Warner et al. 2024, arXiv 2412.13663).

 Pre-norm layers without biases, rotary positions, GeGLU (Shazeer 2020, arXiv 2002.05202). Every third layer
attends to the whole text, the others to a window around each token; the two kinds have rotary positions of
different bases. Pretrained weights are read and written in the layout of transformers.
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
from labkit.core.errors import ConfigError, WeightsError
from labkit.core.shapes import Array, Bool, Float, Int, PRNGKeyArray
from labkit.i18n import _
from labkit.models import fields, foreign, layers, lean, weights
from labkit.models.base import FROM_WIDTH, TRANSFORMER_SHARDING, Capability, DrawingPart, ParameterTree
from labkit.models.bert import sentence
from labkit.models.encoder import EMBEDDED, EncoderConfig, EncoderOutput
from labkit.models.foreign import HIDDEN_ACTS
from labkit.profile.activations import Activations, transformer

# Sizes: Warner et al. 2024, table 4. heads = width / 64.
PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {"depth": 4, "width": 128, "heads": 4, "mlp_width": 192, "max_length": 1024},  # for tutorials
    "base": {"depth": 22, "width": 768, "mlp_width": 1152},
    "large": {"depth": 28, "width": 1024, "mlp_width": 2624},
}
VOCABULARY = 50368  # of the published checkpoints
#: Poolings with the prediction head, as transformers calls them in ``classifier_pooling`` …
HEADED = {"cls": "cls", "mean_head": "mean"}
#: … and without it.
PLAIN = ("mean", "first", "max")
FOREIGN = {
    "vocab_size": "vocab_size",
    "width": "hidden_size",
    "depth": "num_hidden_layers",
    "heads": "num_attention_heads",
    "mlp_width": "intermediate_size",
    "max_length": "max_position_embeddings",
    "dropout": "mlp_dropout",
    "attention_dropout": "attention_dropout",
    "norm_eps": "norm_eps",
    "window": "local_attention",
    "activation": "hidden_activation",
}
#: Key of config.json → what its absence means, and the values that this encoder has.
REQUIRED: dict[str, tuple[Any, tuple[Any, ...]]] = {
    **dict.fromkeys(("norm_bias", "attention_bias", "mlp_bias", "classifier_bias"), (False, (False,))),
    **dict.fromkeys(("decoder_bias", "tie_word_embeddings"), (True, (True,))),
}
KINDS = ("full_attention", "sliding_attention")  # layers by config.json


@dataclass(frozen=True, init=False)
class ModernBertConfig(EncoderConfig):
    """Configuration of a ModernBERT encoder: a preset, pretrained weights, or sizes.

    Missing fields come from the preset; without a preset from ``config.json`` of the weights; without either
    from the size "base". ``vocab_size`` may stay None: the size of the tokenizer then, or of the published
    one.

    Raises:
        ConfigError: an unknown preset, a value out of range, a width that the heads do not divide.
        WeightsError: the weights cannot be found, or are of another architecture.
    """

    capabilities: ClassVar[frozenset[Capability]] = frozenset({Capability.POOLED, Capability.BIDIRECTIONAL})
    rates: ClassVar[layers.Rates] = layers.Rates(fresh=1e-4, pretrained=3e-5, width=768)
    sharding: ClassVar[tuple[tuple[str, int], ...]] = (("*/mlp_gate/*", -1), *TRANSFORMER_SHARDING)
    lora_targets: ClassVar[tuple[str, ...]] = ("layers/*",)
    first_preset: ClassVar[str] = "tiny"
    attends: ClassVar[bool] = True
    model_types: ClassVar[tuple[str, ...]] = ("modernbert",)
    word_table: ClassVar[tuple[str, ...]] = ("embeddings", "word")
    shown: ClassVar[tuple[str, ...]] = ("width", "depth", "heads", "mlp_width", "window", "dropout")
    drawing: ClassVar[tuple[DrawingPart, ...]] = (
        DrawingPart("pooler", 8, "block_pooler", 4),
        DrawingPart("norm", 6, "block_norm", 7),
        DrawingPart("layers", 4, "block_layers", 1),
        DrawingPart("attention_norm", 4, "block_layers", 1),
        DrawingPart("embedding", 1, "block_embedding", 5),
    )
    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = PRESETS
    DERIVED: ClassVar[Mapping[str, Callable[[Mapping[str, Any]], Any]]] = FROM_WIDTH
    FROM_WEIGHTS: ClassVar[tuple[str, ...]] = (*FOREIGN, "global_every", "rope_base", "local_rope_base")
    BROUGHT: ClassVar[tuple[str, ...]] = ("pooling",)
    headed: ClassVar[tuple[str, ...]] = tuple(HEADED)
    layout: ClassVar[str] = "modernbert"
    output: ClassVar[str] = "classifier"
    classes: ClassVar[str] = "ModernBert"

    preset: str = option("", _("Named configuration."), choices=("", *PRESETS))
    weights: str = fields.weights()
    vocab_size: int | None = fields.vocab_size()
    width: int = fields.width(768)
    depth: int = fields.depth(22)
    heads: int = fields.heads(12)
    mlp_width: int = fields.mlp_width(1152)
    max_length: int = fields.max_length(8192)
    window: int = option(
        128,
        _("Local attention: tokens around each token that it attends to, half on each side."),
        low=2,
        high=10_000_000,
    )
    global_every: int = option(
        3, _("One layer in so many attends to the whole text, beginning with the first."), low=1, high=10_000
    )
    rope_base: float = option(
        160000.0, _("Base frequency of the rotary positions of global attention."), low=1.0
    )
    local_rope_base: float = option(
        10000.0, _("Base frequency of the rotary positions of local attention."), low=1.0
    )
    dropout: float = fields.dropout(0.0)
    attention_dropout: float = fields.attention_dropout(0.0)
    norm_eps: float = option(
        1e-5, _("Epsilon of layer normalisation, added to the variance."), low=0.0, high=0.1
    )
    activation: str = option(
        "gelu", _("Activation function of the feed-forward network."), choices=tuple(layers.ACTIVATIONS)
    )
    pooling: str = option(
        "auto",
        _("How token states become one vector per text. cls, mean_head: the prediction head on the first token, or on "
          "the mean. auto: that of the weights for classification, mean for sentence vectors."),
        choices=("auto", *HEADED, *PLAIN),
    )  # fmt: skip
    dtype: str = fields.dtype()
    unroll: int = fields.unroll()
    remat: bool = fields.remat()

    @classmethod
    def sizes_from(cls, folder: Path) -> dict[str, Any]:
        """The fields that the weights in a folder decide."""
        return sizes_from(sentence.encoder_folder(folder))

    def check(self) -> None:
        """Raise :class:`ConfigError` for a value out of range and for a width that the heads do not divide."""
        super().check()
        if self.width % (2 * self.heads):
            raise ConfigError(
                _("ModernBertConfig.width = {width} is not a multiple of twice heads = {heads}."),
                width=self.width, heads=self.heads,
            )  # fmt: skip

    def settled(self, vectors: bool) -> ModernBertConfig:
        """The config with ``pooling`` filled in: below a head ``classifier_pooling`` of the weights, or
        "cls". For sentence vectors that of the weights' sentence-transformers modules; where there are none,
        "mean".

        Raises:
            ConfigError: sentence vectors of the prediction head, which sentence-transformers does not have.
        """
        if vectors and self.pooling in HEADED:
            raise ConfigError(
                _("pooling = {pooling!r} is for classification; sentence vectors support {known}."),
                pooling=self.pooling, known=", ".join(PLAIN),
            )  # fmt: skip
        if self.pooling != "auto":
            return self
        if vectors:
            return dataclasses.replace(self, pooling=self.vector_pooling(PLAIN))
        folder = self.folder()
        stored = (
            {} if folder is None else foreign.settings_of(sentence.encoder_folder(folder) / "config.json")
        )
        named = stored.get("classifier_pooling", "cls")
        if named not in HEADED.values():
            raise WeightsError(
                _("{path}: classifier_pooling = {value!r}; supported: {known}."), path=f"{folder}/config.json",
                value=named, known=", ".join(map(repr, HEADED.values())),
            )  # fmt: skip
        return dataclasses.replace(
            self, pooling=next(own for own, theirs in HEADED.items() if theirs == named)
        )

    def fresh_parts(self) -> tuple[str, ...]:
        """ "pooler" where the pretrained weights lack the prediction head and the model has one."""
        if not self.weights or self.pooled_by not in HEADED:
            return ()
        return (
            ()
            if "head.dense.weight" in weights.Tensors(sentence.encoder_folder(self.folder()))
            else ("pooler",)
        )

    @property
    def vocabulary(self) -> int:
        """Entries of the vocabulary."""
        return self.vocab_size or VOCABULARY

    def activations(self, batch: Mapping[str, Any]) -> Activations:
        """What a forward pass computes and keeps of a batch, by formula."""
        return transformer(
            batch["ids"].shape, self.depth, self.width, self.mlp_width, self.heads, dtype=self.dtype, remat=self.remat,
            activation=self.activation, gated=True, dropout=self.dropout > 0,
            attention_dropout=self.attention_dropout > 0,
        )  # fmt: skip

    def build(self, rngs: nnx.Rngs) -> ModernBert:
        """A model with fresh parameters: truncated normal (:func:`layers.spread`; embeddings 0.02), norm
        scales 1, what is added to the sum of layers 1 / sqrt(2 depth) of that."""
        return ModernBert(self, rngs)

    def table(self, folder: Path) -> weights.Table:
        """The names of the weights in a folder."""
        return TABLE

    def _load(self, model: ModernBert, folder: Path) -> weights.LoadReport:
        return super()._load(model, sentence.encoder_folder(folder))

    def save(
        self, params: ParameterTree, folder: str | Path, extra: dict[str, Any] | None = None,
        specials: weights.Specials | None = None, **more: object,
    ) -> Path:  # fmt: skip
        """Write parameters as a Hugging Face folder; see :meth:`~labkit.models.base.ModelConfig.save`."""
        ids = (
            dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"))
            if specials is None
            else specials.settings()
        )
        values, flat = self.values(), weights.flatten(params)
        kinds = [KINDS[bool(number % self.global_every)] for number in range(self.depth)]
        bases = zip(KINDS, (self.rope_base, self.local_rope_base), strict=True)
        config = {
            **{key: values[name] for name, key in FOREIGN.items()},
            **{key: absent for key, (absent, _allowed) in REQUIRED.items()},
            **ids,
            "cls_token_id": ids["bos_token_id"],
            "sep_token_id": ids["eos_token_id"],
            "vocab_size": self.vocabulary,
            "hidden_activation": next(act for act, name in HIDDEN_ACTS.items() if name == self.activation),
            "classifier_activation": next(
                act for act, name in HIDDEN_ACTS.items() if name == self.activation
            ),
            "embedding_dropout": self.dropout,
            "layer_types": kinds,
            "global_attn_every_n_layers": self.global_every,
            "rope_parameters": {kind: {"rope_type": "default", "rope_theta": base} for kind, base in bases},
            "global_rope_theta": self.rope_base,
            "local_rope_theta": self.local_rope_base,
            "classifier_pooling": HEADED.get(self.pooled_by, "mean"),
            "model_type": "modernbert",
            "architectures": ["ModernBertModel"],
            "initializer_range": layers.spread(self.width),
            **more,
        }
        headed = bool(extra) or ("pooler", "dense", "kernel") in flat
        return weights.save_from(params, folder, written(headed), config, extra)


def sizes_from(folder: Path) -> dict[str, Any]:
    """The fields of :class:`ModernBertConfig` that a Hugging Face folder settles.

    Raises:
        WeightsError: no readable config.json, another architecture, or settings that this encoder does not
            have.
    """
    path = folder / "config.json"
    config = foreign.settings_of(path)
    if (kind := config.get("model_type")) not in ModernBertConfig.model_types:
        raise WeightsError(
            _("{folder} contains a model of type {kind!r}; supported: {known}."),
            folder=folder, kind=kind, known="'modernbert'",
        )  # fmt: skip
    act = config.get("hidden_activation", "gelu")
    acts = tuple(HIDDEN_ACTS)
    foreign.check_settings(path, config, {
        **REQUIRED, "hidden_activation": ("gelu", acts), "classifier_activation": ("gelu", (act,)),
    })  # fmt: skip
    sizes = {name: config[key] for name, key in FOREIGN.items() if key in config}
    sizes["activation"] = HIDDEN_ACTS[act]
    foreign.check_sizes(path, {name: value for name, value in sizes.items() if name != "activation"}, FOREIGN)
    depth = sizes.get("depth", 22)
    every = config.get("global_attn_every_n_layers", 3)
    if kinds := config.get("layer_types"):
        every = next(
            (number for number in range(1, depth) if kinds[number : number + 1] == [KINDS[0]]), depth
        )
    if type(every) is not int or every < 1 or (
        kinds and kinds != [KINDS[bool(number % every)] for number in range(depth)]
    ):  # fmt: skip
        raise WeightsError(
            _("{path}: layer_types = {kinds}; supported: global attention in the first layer and every n-th."),
            path=path, kinds=foreign.shown(kinds or every),
        )  # fmt: skip
    rope = config.get("rope_parameters") or {}
    found = {}
    for name, key, layer, usual in (("rope_base", "global_rope_theta", KINDS[0], 160000.0),
                                    ("local_rope_base", "local_rope_theta", KINDS[1], 10000.0)):  # fmt: skip
        about = rope.get(layer) or {} if isinstance(rope, dict) else {}
        foreign.check_settings(path, about, {"rope_type": ("default", ("default",))})
        found[name] = about.get("rope_theta", config.get(key, usual))
    foreign.check_sizes(path, found, {})
    return {**sizes, "global_every": every, **{name: float(value) for name, value in found.items()}}


def written(headed: bool) -> weights.Table:
    """The table of names to write by: in files with a head the encoder's begin with "model."."""
    prefix = "model." if headed else ""
    inside = [dataclasses.replace(entry, foreign=prefix + entry.foreign) for entry in _ENCODER]
    return weights.Table((*inside, *_HEAD))


_LAYER = "layers.{i}"
_ENCODER = (
    weights.Entry("embeddings/word/embedding", "embeddings.tok_embeddings.weight"),
    weights.Entry("embeddings/norm/scale", "embeddings.norm.weight"),
    weights.Entry("attention_norm/scale", f"{_LAYER}.attn_norm.weight", first=1),
    *(weights.Entry(f"layers/{own}/kernel", f"{_LAYER}.attn.Wqkv.weight", (1, 0), (place, 3))
      for place, own in enumerate(("query", "key", "value"))),
    weights.Entry("layers/out/kernel", f"{_LAYER}.attn.Wo.weight", (1, 0)),
    weights.Entry("layers/mlp_norm/scale", f"{_LAYER}.mlp_norm.weight"),
    weights.Entry("layers/mlp_in/kernel", f"{_LAYER}.mlp.Wi.weight", (1, 0), (0, 2)),
    weights.Entry("layers/mlp_gate/kernel", f"{_LAYER}.mlp.Wi.weight", (1, 0), (1, 2)),
    weights.Entry("layers/mlp_out/kernel", f"{_LAYER}.mlp.Wo.weight", (1, 0)),
    weights.Entry("norm/scale", "final_norm.weight"),
)  # fmt: skip
_HEAD = (
    weights.Entry("pooler/dense/kernel", "head.dense.weight", (1, 0)),
    weights.Entry("pooler/norm/scale", "head.norm.weight"),
)
#: Names of parameters to read by.
TABLE = weights.Table(
    (*_ENCODER, *_HEAD), optional=("head.",), ignored=("decoder.", "classifier."), prefix="model."
)  # fmt: skip


class Norms(nnx.Module):
    """Scales [L - 1, d] of the layer normalisation before attention; the first layer has none."""

    def __init__(self, config: ModernBertConfig):
        self.scale = nnx.Param(jnp.ones((config.depth - 1, config.width), jnp.float32))


class ModernBertEmbeddings(nnx.Module):
    """Token embeddings, normalised, with dropout."""

    def __init__(self, config: ModernBertConfig, rngs: nnx.Rngs):
        self.word = layers.embed(config.vocabulary, config.width, rngs, EMBEDDED)
        self.norm = layers.norm(config.width, config.norm_eps, config.dtype, rngs, use_bias=False)
        self.dropout = config.dropout

    def __call__(self, ids: Int[Array, "b t"], key: PRNGKeyArray | None) -> Float[Array, "b t d"]:
        return layers.dropout(self.norm(self.word(ids)), self.dropout, key)


class PredictionHead(nnx.Module):
    """norm(activation(dense(x))): the first layers of a classifier."""

    def __init__(self, config: ModernBertConfig, rngs: nnx.Rngs):
        self.dense = layers.dense(config.width, config.width, config.dtype, rngs, use_bias=False)
        self.norm = layers.norm(config.width, config.norm_eps, config.dtype, rngs, use_bias=False)
        self.activation, self.dtype = config.activation, config.dtype

    def __call__(self, x: Float[Array, "*s d"]) -> Float[Array, "*s d"]:
        return self.norm(layers.activate(self.activation, self.dtype, self.dense(x)))


class ModernBertLayer(nnx.Module):
    """Self-attention and a gated feed-forward part, each fed what is normalised and added to what is not."""

    def __init__(self, config: ModernBertConfig, rngs: nnx.Rngs):
        d, m = config.width, config.mlp_width

        def dense(n_in: int, n_out: int) -> layers.Linear:
            return layers.dense(n_in, n_out, config.dtype, rngs, use_bias=False, width=d)

        self.query, self.key, self.value, self.out = (dense(d, d) for _unused in range(4))
        self.mlp_norm = layers.norm(d, config.norm_eps, config.dtype, rngs, use_bias=False)
        self.mlp_in, self.mlp_gate, self.mlp_out = dense(d, m), dense(d, m), dense(m, d)
        for last in (self.out, self.mlp_out):
            last.kernel[...] = last.kernel[...] * (2 * config.depth) ** -0.5
        self.heads, self.activation, self.eps = config.heads, config.activation, config.norm_eps
        self.dropout, self.attention_dropout = config.dropout, config.attention_dropout
        self.dtype, self.short = config.dtype, layers.halves(config.dtype)

    def __call__(
        self, x: Float[Array, "b t d"], first: Bool[Array, ""], scale: Float[Array, " d"], local: Bool[Array, ""],
        sight: Sight, *, key: PRNGKeyArray | None = None,
    ) -> Float[Array, "b t d"]:  # fmt: skip
        keys = [None] * 4 if key is None else list(jax.random.split(key, 4))
        query, key_, value, bias = self._heads(x, first, scale, local, sight)
        mixed = layers.attend(query, key_, value, bias, self.attention_dropout, keys[0], self.short)
        mixed = mixed.reshape(x.shape)
        x = x + layers.dropout(self.out(mixed), self.attention_dropout, keys[1])
        inner, gate = layers.together((self.mlp_in, self.mlp_gate), self.mlp_norm(x))
        inner = layers.dropout(layers.gated(self.activation, self.dtype, inner, gate), self.dropout, keys[2])
        return x + self.mlp_out(inner)

    def _heads(self, x: Array, first: Array, scale: Array, local: Array, sight: Sight) -> tuple[Array, ...]:
        """Query, key and value of every head, turned, and the bias of this kind of layer."""
        how = scale, None, self.eps, True, self.short
        normal = lean.normalised(x.astype(jnp.float32), *how)
        fed = jnp.where(first, x, normal.astype(x.dtype))
        bias, *turn = (jnp.where(local, near, far) for far, near in zip(*sight, strict=True))
        parts = (y.reshape(*x.shape[:2], self.heads, -1)
                 for y in layers.together((self.query, self.key, self.value), fed))  # fmt: skip
        query, key, value = parts
        return layers.turned(query, (turn[0], turn[1])), layers.turned(key, (turn[0], turn[1])), value, bias

    def looks(
        self, x: Array, first: Array, scale: Array, local: Array, sight: Sight
    ) -> Float[Array, "b h t t"]:
        """Attention probabilities of this layer for ``x`` (for visualisation)."""
        query, key, _value, bias = self._heads(x, first, scale, local, sight)
        scores = jnp.einsum(
            "bqhk,bthk->bhqt", query * query.shape[-1] ** -0.5, key, preferred_element_type=jnp.float32
        )
        return jax.nn.softmax(scores + bias, axis=-1)


#: Bias, cosine and sine of global and of local attention.
Sight = tuple[tuple[Array, Array, Array], tuple[Array, Array, Array]]


class ModernBert(nnx.Module):
    """The encoder. Parameters under ``embeddings``, ``attention_norm`` ([L - 1, d]), ``layers`` (stacked [L,
    …]), ``norm`` and, with a pooling of the prediction head, ``pooler``."""

    def __init__(self, config: ModernBertConfig, rngs: nnx.Rngs):
        self.config = config
        self.embeddings = ModernBertEmbeddings(config, rngs)
        self.attention_norm = Norms(config)
        self.layers = layers.stack(lambda rngs: ModernBertLayer(config, rngs), config.depth, rngs)
        self.norm = layers.norm(config.width, config.norm_eps, config.dtype, rngs, use_bias=False)
        if config.pooled_by in HEADED:
            self.pooler = PredictionHead(config, rngs)

    def __call__(
        self, ids: Int[Array, "b t"], mask: Bool[Array, "b t"], types: Int[Array, "b t"] | None = None,
        segments: layers.Segments | None = None, *, key: PRNGKeyArray | None = None,
    ) -> EncoderOutput:  # fmt: skip
        """Encode a batch; arguments and results as of :class:`labkit.models.bert.model.Bert`, but ``types``
        are not read.

        Raises:
            ConfigError: (while tracing) rows longer than ``max_length``.
        """
        longest = self.config.max_length
        if segments is None and (length := ids.shape[1]) > longest:
            raise ConfigError(
                _("rows of {length} tokens exceed max_length = {longest}, the number of positions of this ModernBERT. "
                  "Truncate the texts to {longest} tokens when encoding them."),
                length=length, longest=longest,
            )  # fmt: skip
        first, rest = (None, None) if key is None else jax.random.split(key)
        x = self.embeddings(ids, first)
        settings = {"unroll": self.config.unroll, "remat": self.config.remat}
        x = layers.scan(self.layers, x, self._sight(mask, segments), key=rest, each=self._each(), **settings)
        hidden = self.norm(x).astype(jnp.float32)
        how = {"cls": "first", "mean_head": "mean"}.get(self.config.pooled_by, self.config.pooled_by)
        pooled = (
            layers.pool(hidden, mask, how)
            if segments is None
            else layers.pool_segments(hidden, segments, how)
        )
        if self.config.pooled_by in HEADED:
            pooled = self.pooler(pooled).astype(jnp.float32)
        return EncoderOutput(hidden, pooled)

    def _each(self) -> tuple[Array, Array, Array]:
        """Of each layer: whether it is the first, the scale of its norm, whether its attention is local."""
        number = jnp.arange(self.config.depth)
        scale = jnp.concatenate([jnp.ones((1, self.config.width)), self.attention_norm.scale[...]])
        return number == 0, scale, number % self.config.global_every > 0

    def _sight(self, mask: Bool[Array, "b t"], segments: layers.Segments | None) -> Sight:
        """What tokens see in layers of global and of local attention, and the turns of their positions."""
        config, column = self.config, jnp.arange(mask.shape[1])
        bias = layers.padding_bias(mask) if segments is None else layers.segment_bias(segments.segment)
        near = jnp.abs(column[:, None] - column) <= config.window // 2
        local = jnp.where(near, bias, jnp.finfo(jnp.float32).min)
        place = column[None] if segments is None else segments.position
        size = config.width // config.heads
        turns = [layers.rotation(place, layers.frequencies(size, base))
                 for base in (config.rope_base, config.local_rope_base)]  # fmt: skip
        return (bias, *turns[0]), (local, *turns[1])

    def attention(
        self, ids: Int[Array, "b t"], mask: Bool[Array, "b t"], types: Int[Array, "b t"]
    ) -> Float[Array, "b L h t t"]:
        """Attention probabilities of every layer and head; rows sum to 1 over the tokens that are not
        padding."""
        graph, params = nnx.split(self.layers)
        sight = self._sight(mask, None)

        def step(x: Array, layer: PyTree[Array]) -> tuple[Array, Array]:
            module = nnx.merge(graph, layer[0])
            return module(x, *layer[1], sight), module.looks(x, *layer[1], sight)

        start = self.embeddings(ids, None)
        return jnp.moveaxis(jax.lax.scan(step, start, (params, self._each()))[1], 0, 1)

    def layer_ids(self, path: tuple[str, ...]) -> int | np.ndarray:
        """Layer index of a parameter, counted from the input: 0 for the embeddings; an array for stacked
        parameters; depth + 1 for what follows. ``path`` leads to it from this module down."""
        depth = self.config.depth
        if path[0] in ("layers", "attention_norm"):
            return np.arange(1 if path[0] == "layers" else 2, depth + 1, dtype=np.int32)
        return 0 if path[0] == "embeddings" else depth + 1
