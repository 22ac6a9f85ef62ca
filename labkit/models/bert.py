"""BERT: a Transformer that reads a text from both sides (Devlin et al. 2018, arXiv 1810.04805).

Post-norm layers, learned positions, erf GELU. The layers are stacked on one first axis and run by a scan, so compile
time does not grow with depth. The model holds parameters only: a key given to the call is the one source of chance.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from labkit.base.config import Config, option
from labkit.base.errors import ConfigError, WeightsError
from labkit.base.shapes import Array, Bool, Float, Int, PRNGKeyArray
from labkit.models import parts, weights

# Sizes: Devlin et al. 2018 (base, large), Turc et al. 2019, arXiv 1908.08962 (tiny to medium). heads = width / 64 and
# mlp_width = 4 width unless said otherwise.
PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {"depth": 2, "width": 128},
    "mini": {"depth": 4, "width": 256},
    "small": {"depth": 4, "width": 512},
    "medium": {"depth": 8, "width": 512},
    "base": {"depth": 12, "width": 768},
    "large": {"depth": 24, "width": 1024},
    "minilm-l6": {
        "weights": "minilm-l6",
        "vocab_size": 30522,
        "depth": 6,
        "width": 384,
        "heads": 12,
        "pooling": "mean",
    },
    # These weights have no pooler, so the mean starts from what they know.
    "bert-tiny": {"weights": "bert-tiny", "vocab_size": 30522, "depth": 2, "width": 128, "pooling": "mean"},
}
VOCABULARY = 30522  # of the published English checkpoints
USUAL = {
    "weights": "",
    "max_length": 512,
    "types": 2,
    "dropout": 0.1,
    "attention_dropout": 0.1,
    "norm_eps": 1e-12,
    "activation": "gelu",
    "pooling": "cls",
}
# Field → key of a Hugging Face config.json.
FOREIGN = {
    "vocab_size": "vocab_size",
    "width": "hidden_size",
    "depth": "num_hidden_layers",
    "heads": "num_attention_heads",
    "mlp_width": "intermediate_size",
    "max_length": "max_position_embeddings",
    "types": "type_vocab_size",
    "dropout": "hidden_dropout_prob",
    "attention_dropout": "attention_probs_dropout_prob",
    "norm_eps": "layer_norm_eps",
    "activation": "hidden_act",
}
HIDDEN_ACTS = {"gelu": "gelu", "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "relu": "relu"}


@dataclass(frozen=True)
class BertConfig(Config):
    """Which BERT: a preset, or stored weights, or sizes; what is left out is filled in on creation.

    A field that is not given comes from the preset; without a preset from ``config.json`` of the weights; without
    either from the size "base" (heads = width / 64, mlp_width = 4 width). ``weights=""`` asks for a preset's sizes with
    fresh parameters. ``vocab_size`` may stay None: the size of the tokenizer then, or 30,522.

    Raises:
        ConfigError: an unknown preset, a value out of range, a width that the heads do not divide.
        WeightsError: the weights cannot be found, or are of another architecture.
    """

    reads: ClassVar[str] = "text"

    preset: str = option("", "named size, or named pretrained weights", choices=("", *PRESETS))
    weights: str = option(None, "pretrained weights: a sample, a folder or org/name@revision; empty for fresh ones")
    vocab_size: int | None = option(None, "entries of the vocabulary; left out, those of the tokenizer", low=1)
    width: int = option(None, "width of the hidden states", low=1)
    depth: int = option(None, "number of layers", low=1)
    heads: int = option(None, "attention heads in each layer", low=1)
    mlp_width: int = option(None, "width of the feed-forward part", low=1)
    max_length: int = option(None, "longest text, in tokens", low=1)
    types: int = option(None, "kinds of segments (first and second text)", low=1)
    dropout: float = option(None, "share of hidden values dropped while training", low=0.0, high=0.9)
    attention_dropout: float = option(None, "share of attention dropped while training", low=0.0, high=0.9)
    norm_eps: float = option(None, "added to the variance in layer normalisation", low=0.0)
    activation: str = option(None, "non-linearity of the feed-forward part", choices=tuple(parts.ACTIVATIONS))
    pooling: str = option(None, "what stands for a text: its first token, or the mean", choices=("cls", "mean"))
    dtype: str = option("auto", "what layers compute in; auto: bfloat16 on GPU and TPU", choices=parts.DTYPES)
    unroll: int = option(1, "layers laid out in one turn of the loop: faster steps, slower compilation", low=1)
    remat: bool = option(False, "compute hidden values again for the gradient: less memory, a third more arithmetic")

    def __post_init__(self) -> None:
        known = dict(PRESETS.get(self.preset, {}))
        if not self.preset and self.weights and any(getattr(self, name) is None for name in FOREIGN):
            known = sizes_from(weights.find(self.weights))
        for name, value in {**PRESETS["base"], **USUAL, **known}.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        for name, value in {"heads": max(1, self.width // 64), "mlp_width": 4 * self.width}.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        self.check()

    def check(self) -> None:
        """Raise :class:`ConfigError` for a value out of range and for a width that the heads do not divide."""
        super().check()
        if self.width % self.heads:
            raise ConfigError(f"BertConfig.width = {self.width} is not a multiple of heads = {self.heads}.")

    def to_dict(self) -> dict[str, Any]:
        """The preset and what differs from it; without a preset but with weights, everything.

        Everything, so that an old run's settings can be read where its weights are out of reach.
        """
        own = super().to_dict()
        if self.weights and not self.preset:
            return {name: value for name, value in own.items() if name != "preset"}
        implied = {**Config.to_dict(BertConfig(preset=self.preset)), "preset": ""}
        follow = ("heads", "mlp_width") if self.width != implied["width"] else ()  # a width alone would bring its own
        return {name: value for name, value in own.items() if value != implied.get(name) or name in follow}

    def replace(self, **changes: Any) -> BertConfig:
        """A copy with some fields changed; another preset or other weights bring their own sizes with them."""
        if not {"preset", "weights"} & set(changes):
            return super().replace(**changes)
        kept = self.to_dict()
        if not self.preset and self.weights:  # sizes that came from a folder go with it
            kept = {name: value for name, value in kept.items() if name not in (*FOREIGN, "pooling")}
        return BertConfig.from_dict({**kept, **changes})

    def build(self, rngs: nnx.Rngs) -> Bert:
        """A model with fresh parameters: truncated normal 0.02, biases 0, norm scales 1."""
        return Bert(self, rngs)

    def count(self) -> int:
        """Number of parameters; nothing is allocated."""
        shapes = nnx.eval_shape(lambda: nnx.state(self.build(nnx.Rngs(0)), nnx.Param))
        return sum(leaf.size for leaf in jax.tree.leaves(shapes))

    def folder(self) -> Path | None:
        """The folder of the pretrained weights, fetched on first use; None without any. Raises as ``weights.find``."""
        return weights.find(self.weights) if self.weights else None

    def load(self, model: Bert, folder: str | Path | None = None) -> weights.LoadReport:
        """Put the weights of ``folder`` (by default :meth:`folder`) into a model; a pooler they lack stays as it is.

        Raises:
            WeightsError: there are no weights, or they do not fit; the model is unchanged then.
        """
        if (folder := folder or self.folder()) is None:
            raise WeightsError("this BertConfig names no weights: set weights=, or give load(model, folder).")
        return weights.load_into(model, folder, TABLE)

    def save(self, params: Any, folder: str | Path, extra: dict[str, Any] | None = None, **more: Any) -> Path:
        """Write parameters as a Hugging Face folder.

        Args:
            params: a :class:`Bert`, its state or a dict of its parameters.
            folder: where; made if it is not there.
            extra: a head's tensors ("classifier.weight" [c, d], "classifier.bias" [c]); the encoder's names then start
                with "bert.".
            more: further keys of config.json ("id2label", "architectures", …). Readers other than labkit do not know
                mean pooling of a classifier ("labkit_pooling").
        """
        own = {key: getattr(self, name) for name, key in FOREIGN.items()}
        config = {
            **own,
            "vocab_size": self.vocab_size or VOCABULARY,
            "hidden_act": next(act for act, name in HIDDEN_ACTS.items() if name == self.activation),
            "model_type": "bert",
            "architectures": ["BertModel"],
            "initializer_range": 0.02,
            "pad_token_id": 0,
            "position_embedding_type": "absolute",
            "labkit_pooling": self.pooling,
            **more,
        }
        return weights.save_from(params, folder, TABLE, config, extra, prefix="bert." if extra else "")


def sizes_from(folder: str | Path) -> dict[str, Any]:
    """The fields of :class:`BertConfig` that a Hugging Face folder settles.

    Pooling is that of ``labkit_pooling`` in ``config.json``, or the mean where the sentence-transformers file
    ``1_Pooling/config.json`` says so.

    Raises:
        WeightsError: no readable config.json, another architecture than BERT, positions other than absolute ones.
    """
    config = _json(Path(folder) / "config.json")
    if (kind := config.get("model_type")) != "bert":
        raise WeightsError(f"{folder} holds a model of type {kind!r}; supported here: 'bert'.")
    if (positions := config.get("position_embedding_type", "absolute")) != "absolute":
        raise WeightsError(f"{folder} has {positions!r} positions; supported: 'absolute'.")
    if config.get("is_decoder") or config.get("add_cross_attention"):
        raise WeightsError(f"{folder} holds a decoder (is_decoder or add_cross_attention); supported: encoders.")
    if (act := config.get("hidden_act", "gelu")) not in HIDDEN_ACTS:
        raise WeightsError(f"{folder} has activation {act!r}; supported: {', '.join(HIDDEN_ACTS)}.")
    sizes = {name: config[key] for name, key in FOREIGN.items() if key in config} | {"activation": HIDDEN_ACTS[act]}
    numbers = [name for name in sizes if name != "activation"]
    if bad := [f"{FOREIGN[name]} = {sizes[name]!r}" for name in numbers if type(sizes[name]) not in (int, float)]:
        raise WeightsError(f"{folder}/config.json: {', '.join(bad)}; expected numbers.")
    pooling = Path(folder) / "1_Pooling" / "config.json"
    mean = pooling.is_file() and _json(pooling).get("pooling_mode_mean_tokens")
    return {"vocab_size": VOCABULARY, "pooling": config.get("labkit_pooling", "mean" if mean else "cls"), **sizes}


class Encoded(NamedTuple):
    """What the encoder returns: ``hidden`` f32 [b, t, d] of the last layer; ``pooled`` f32 [b, d], packed [b, s, d]."""

    hidden: Float[Array, "b t d"]
    pooled: Float[Array, "b d"] | Float[Array, "b s d"]


class Embeddings(nnx.Module):
    """Token + position + segment, normalised, with dropout."""

    def __init__(self, config: BertConfig, rngs: nnx.Rngs):
        self.word = parts.embed(config.vocab_size or VOCABULARY, config.width, rngs)
        self.position = parts.embed(config.max_length, config.width, rngs)
        self.type = parts.embed(config.types, config.width, rngs)
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
        place = self.position.embedding[...][None, : ids.shape[1]] if position is None else self.position(position)
        return parts.dropout(self.norm(self.word(ids) + place + self.type(types)), self.dropout, key)


class Layer(nnx.Module):
    """Self-attention and a feed-forward part, each added to its input and normalised after."""

    def __init__(self, config: BertConfig, rngs: nnx.Rngs):
        d, m, dtype = config.width, config.mlp_width, config.dtype
        self.query, self.key, self.value = (parts.dense(d, d, dtype, rngs) for _ in range(3))
        self.out = parts.dense(d, d, dtype, rngs)
        self.out_norm = parts.norm(d, config.norm_eps, dtype, rngs)
        self.mlp_in, self.mlp_out = parts.dense(d, m, dtype, rngs), parts.dense(m, d, dtype, rngs)
        self.mlp_norm = parts.norm(d, config.norm_eps, dtype, rngs)
        self.heads, self.activation = config.heads, config.activation
        self.dropout, self.attention_dropout = config.dropout, config.attention_dropout

    def __call__(
        self, x: Float[Array, "b t d"], bias: Float[Array, "b 1 #t t"], *, key: PRNGKeyArray | None = None
    ) -> Float[Array, "b t d"]:
        keys = [None] * 3 if key is None else list(jax.random.split(key, 3))
        heads = (*x.shape[:2], self.heads, -1)
        query, key_, value = (y.reshape(heads) for y in parts.together((self.query, self.key, self.value), x))
        mixed = parts.attend(query, key_, value, bias, self.attention_dropout, keys[0]).reshape(x.shape)
        x = self.out_norm(x + parts.dropout(self.out(mixed), self.dropout, keys[1]))
        inner = parts.ACTIVATIONS[self.activation](self.mlp_in(x))
        return self.mlp_norm(x + parts.dropout(self.mlp_out(inner), self.dropout, keys[2]))


class Bert(nnx.Module):
    """The encoder. Parameters under ``embeddings``, ``layers`` (stacked [L, …]) and, with pooling "cls", ``pooler``."""

    def __init__(self, config: BertConfig, rngs: nnx.Rngs):
        self.config = config
        self.embeddings = Embeddings(config, rngs)
        self.layers = parts.stack(lambda rngs: Layer(config, rngs), config.depth, rngs)
        if config.pooling == "cls":
            self.pooler = parts.dense(config.width, config.width, config.dtype, rngs)

    def __call__(
        self,
        ids: Int[Array, "b t"],
        mask: Bool[Array, "b t"],
        types: Int[Array, "b t"] | None = None,
        segments: parts.Segments | None = None,
        *,
        key: PRNGKeyArray | None = None,
    ) -> Encoded:
        """Encode a batch.

        Args:
            ids: token numbers, 0 … vocab_size - 1; larger ones give NaN.
            mask: True at real tokens. Padding changes no result at a real token.
            types: 0 in the first text, 1 in the second; None for all 0.
            segments: where the texts stand when a row holds several; each is then read as if it stood alone.
            key: switches dropout on; the same key drops the same values.

        Returns:
            hidden float32 [b, t, d], of no meaning at padding; pooled float32 [b, d]: tanh(dense(first token)), or the
            mean of hidden over the real tokens. In packed rows pooled is [b, s, d], one for every text.

        Raises:
            ConfigError: (while tracing) rows longer than ``max_length``.
        """
        longest = self.config.max_length
        if segments is None and (length := ids.shape[1]) > longest:
            raise ConfigError(
                f"rows of {length} tokens are longer than max_length = {longest}, the positions this BERT "
                f"has. Cut the texts to {longest} tokens when encoding them."
            )
        types = jnp.zeros_like(ids) if types is None else types
        first, rest = (None, None) if key is None else jax.random.split(key)
        x = self.embeddings(ids, types, first, None if segments is None else segments.position)
        bias = parts.padding_bias(mask) if segments is None else parts.segment_bias(segments.segment)
        x = parts.scan(self.layers, x, bias, key=rest, unroll=self.config.unroll, remat=self.config.remat)
        hidden = x.astype(jnp.float32)
        if self.config.pooling == "mean":
            pooled = parts.masked_mean(hidden, mask) if segments is None else parts.segment_mean(hidden, segments)
        else:
            pooled = x[:, 0] if segments is None else parts.segment_first(x, segments)
            pooled = jnp.tanh(self.pooler(pooled)).astype(jnp.float32)
        return Encoded(hidden, pooled)

    def layer_ids(self, path: tuple[str, ...]) -> int | np.ndarray:
        """How far from the input a parameter lies, for freezing and layer-wise learning rates.

        Args:
            path: of a parameter, from this module down.

        Returns:
            0 for the embeddings; int32 [L] = 1 … L for a stacked array, one number a layer along its first axis; L + 1
            for the pooler. A head that follows counts as L + 1 too.
        """
        depth = self.config.depth
        if path[0] == "layers":
            return np.arange(1, depth + 1, dtype=np.int32)
        return 0 if path[0] == "embeddings" else depth + 1


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path} cannot be read ({error}). Give a folder in the Hugging Face layout.") from None
    if not isinstance(value, dict):
        raise WeightsError(f"{path} holds a {type(value).__name__}, not a table of settings.")
    return value


def _dense(own: str, foreign: str) -> list[weights.Entry]:
    return [
        weights.Entry(f"{own}/kernel", f"{foreign}.weight", (1, 0)),
        weights.Entry(f"{own}/bias", f"{foreign}.bias"),
    ]


def _norm(own: str, foreign: str) -> list[weights.Entry]:
    return [weights.Entry(f"{own}/scale", f"{foreign}.weight"), weights.Entry(f"{own}/bias", f"{foreign}.bias")]


def _embed(own: str, foreign: str) -> list[weights.Entry]:
    return [weights.Entry(f"embeddings/{own}/embedding", f"embeddings.{foreign}_embeddings.weight")]


LAYER = "encoder.layer.{i}"
TABLE = weights.Table(
    entries=(
        *_embed("word", "word"),
        *_embed("position", "position"),
        *_embed("type", "token_type"),
        *_norm("embeddings/norm", "embeddings.LayerNorm"),
        *_dense("layers/query", f"{LAYER}.attention.self.query"),
        *_dense("layers/key", f"{LAYER}.attention.self.key"),
        *_dense("layers/value", f"{LAYER}.attention.self.value"),
        *_dense("layers/out", f"{LAYER}.attention.output.dense"),
        *_norm("layers/out_norm", f"{LAYER}.attention.output.LayerNorm"),
        *_dense("layers/mlp_in", f"{LAYER}.intermediate.dense"),
        *_dense("layers/mlp_out", f"{LAYER}.output.dense"),
        *_norm("layers/mlp_norm", f"{LAYER}.output.LayerNorm"),
        *_dense("pooler", "pooler.dense"),
    ),
    optional=("pooler.",),
    ignored=("cls.predictions.", "cls.seq_relationship.", "classifier.", "embeddings.position_ids"),
    prefix="bert.",
    renamed=((".gamma", ".weight"), (".beta", ".bias")),
)
