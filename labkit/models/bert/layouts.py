"""File layouts of the BERT family: keys of ``config.json`` and names of parameters.

=========== ============================================================= ==================================
layout      checkpoints                                                   what differs
=========== ============================================================= ==================================
bert        BERT (Devlin et al. 2018, arXiv 1810.04805)
roberta     RoBERTa (Liu et al. 2019, arXiv 1907.11692)                   positions count from 2, one kind of
                                                                          segment, norm epsilon 1e-5
xlm-roberta XLM-R (Conneau et al. 2019, arXiv 1911.02116)                 as RoBERTa; another tokenizer
distilbert  DistilBERT (Sanh et al. 2019, arXiv 1910.01108)               no kinds of segments, no pooler: the
                                                                          classifier begins with a ReLU layer
=========== ============================================================= ==================================

 The layers compute alike in all four. A config is read here by its fields alone, so that this file does not
import :mod:`labkit.models.bert.model`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from labkit.core.errors import WeightsError
from labkit.core.shapes import Array
from labkit.i18n import _
from labkit.models import foreign, weights
from labkit.models.base import ModelConfig
from labkit.models.bert import sentence
from labkit.models.foreign import HIDDEN_ACTS
from labkit.models.layers import spread

# Field → key of config.json, as BERT and RoBERTa have it.
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
DISTILBERT_FOREIGN = {
    "vocab_size": "vocab_size",
    "width": "dim",
    "depth": "n_layers",
    "heads": "n_heads",
    "mlp_width": "hidden_dim",
    "max_length": "max_position_embeddings",
    "dropout": "dropout",
    "attention_dropout": "attention_dropout",
    "activation": "activation",
}
#: How a model is trained to make one vector of a text: the pooler on its first token; a pooling of hidden
#: states.
POOLINGS = ("cls", "mean", "first", "max")


def dense(own: str, foreign: str) -> list[weights.Entry]:
    """The entries of a linear layer; its kernel is stored [out, in]."""
    return [
        weights.Entry(f"{own}/kernel", f"{foreign}.weight", (1, 0)),
        weights.Entry(f"{own}/bias", f"{foreign}.bias"),
    ]


def norm(own: str, foreign: str) -> list[weights.Entry]:
    """The entries of a layer normalisation."""
    return [
        weights.Entry(f"{own}/scale", f"{foreign}.weight"),
        weights.Entry(f"{own}/bias", f"{foreign}.bias"),
    ]


def _encoder(embeddings: dict[str, str], layer: str, parts: dict[str, str]) -> tuple[weights.Entry, ...]:
    entries = [
        weights.Entry(f"embeddings/{own}/embedding", f"embeddings.{foreign}_embeddings.weight")
        for own, foreign in embeddings.items()
    ]
    entries += norm("embeddings/norm", "embeddings.LayerNorm")
    for own, theirs in parts.items():
        entries += (norm if own.endswith("norm") else dense)(f"layers/{own}", f"{layer}.{{i}}.{theirs}")
    return tuple(entries)


_BERT = _encoder(
    {"word": "word", "position": "position", "type": "token_type"},
    "encoder.layer",
    {
        "query": "attention.self.query",
        "key": "attention.self.key",
        "value": "attention.self.value",
        "out": "attention.output.dense",
        "out_norm": "attention.output.LayerNorm",
        "mlp_in": "intermediate.dense",
        "mlp_out": "output.dense",
        "mlp_norm": "output.LayerNorm",
    },
)
_DISTILBERT = _encoder(
    {"word": "word", "position": "position"},
    "transformer.layer",
    {
        "query": "attention.q_lin",
        "key": "attention.k_lin",
        "value": "attention.v_lin",
        "out": "attention.out_lin",
        "out_norm": "sa_layer_norm",
        "mlp_in": "ffn.lin1",
        "mlp_out": "ffn.lin2",
        "mlp_norm": "output_layer_norm",
    },
)


@dataclass(frozen=True)
class Layout:
    """How one family of checkpoints is stored.

    Args:
        kind: the ``model_type`` of its config.json.
        classes: what its classes are called ("BertModel", "BertForSequenceClassification"), without the
        ending.
        prefix: prefix of the encoder's names in files with a head.
        encoder: entries of the encoder.
        other_heads: beginnings of names of heads that are not read.
        says: further entries of ``config.json``.
        foreign: field → key of ``config.json``.
        usual: fields that have another usual value than BERT's.
        silent: fields of which ``config.json`` may say nothing, and what transformers takes them for then.
        fixed: fields of which it can say nothing, and what they always are.
        vocabulary: size of the published English vocabulary.
        unused: first rows of the table of positions that no token reads.
        pooler: what the dense layer on the first token is called in an encoder's file …
        classifier_pooler: … and in a classifier's, where it is the head's own first layer.
        output: the last layer of a classifier that reads the pooler.
        squash: what follows the pooler's product.
    """

    kind: str
    classes: str
    prefix: str
    encoder: tuple[weights.Entry, ...]
    other_heads: tuple[str, ...]
    says: Mapping[str, Any]
    foreign: Mapping[str, str] = field(default_factory=lambda: FOREIGN)
    usual: Mapping[str, Any] = field(default_factory=dict)
    silent: Mapping[str, Any] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    vocabulary: int = 30522
    unused: int = 0
    pooler: str = "pooler.dense"
    classifier_pooler: str = "pooler.dense"
    output: str = "classifier"
    squash: Callable[[Array], Array] = jnp.tanh

    def reading(self, names: Iterable[str], pad: int | None = None) -> weights.Table:
        """The table to read a file with these names by; its positions are counted from the id ``pad`` of
        padding.

        Where it is a classifier's, the head's first layer is the pooler: the last layer was trained on that
        one.
        """
        headed = f"{self.classifier_pooler}.weight" in set(names)
        pooler = self.classifier_pooler if headed else self.pooler
        return weights.Table(
            entries=(*self._counted(pad), *dense("pooler", pooler)),
            optional=(f"{pooler}.",),
            ignored=(*self.other_heads, "pooler.", "classifier.", "qa_outputs.", "embeddings.position_ids"),
            prefix=self.prefix,
            renamed=((".gamma", ".weight"), (".beta", ".bias")),
        )

    def _counted(self, pad: int | None) -> tuple[weights.Entry, ...]:
        """The entries of the encoder, for a file whose positions are counted from another id than the
        published."""
        if not self.unused or pad is None or pad + 1 == self.unused:
            return self.encoder
        place = "embeddings/position/embedding"
        return tuple(
            replace(entry, unread=(self.unused, pad + 1)) if entry.own == place else entry
            for entry in self.encoder
        )

    def writing(self, extra: Mapping[str, Any], pad: int | None = None) -> weights.Table:
        """The table to write an encoder by, with the tensors ``extra`` of a head, or none, beside it;
        positions are counted from the id ``pad`` of padding."""
        pooler = self.classifier_pooler if f"{self.output}.weight" in extra else self.pooler
        prefix = self.prefix if extra else ""
        outside = "" if pooler == "pooler.dense" else pooler  # a part of the head, not of the encoder
        entries = (*self._counted(pad), *dense("pooler", pooler))
        return weights.Table(
            tuple(
                entry
                if outside and entry.foreign.startswith(outside)
                else replace(entry, foreign=prefix + entry.foreign)
                for entry in entries
            )
        )


_ROBERTA = Layout(
    kind="roberta",
    classes="Roberta",
    prefix="roberta.",
    encoder=_BERT,
    other_heads=("lm_head.",),
    says={"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "position_embedding_type": "absolute"},
    usual={"types": 1, "norm_eps": 1e-5},
    silent={"types": 2, "norm_eps": 1e-12, "max_length": 510},
    vocabulary=50265,
    unused=2,
    classifier_pooler="classifier.dense",
    output="classifier.out_proj",
)
LAYOUTS = {
    "bert": Layout(
        kind="bert",
        classes="Bert",
        prefix="bert.",
        encoder=_BERT,
        other_heads=("cls.predictions.", "cls.seq_relationship."),
        says={"pad_token_id": 0, "position_embedding_type": "absolute"},
    ),
    "roberta": _ROBERTA,
    "xlm-roberta": replace(_ROBERTA, kind="xlm-roberta", classes="XLMRoberta", vocabulary=250002),
    "distilbert": Layout(
        kind="distilbert",
        classes="DistilBert",
        prefix="distilbert.",
        encoder=_DISTILBERT,
        other_heads=("vocab_transform.", "vocab_layer_norm.", "vocab_projector."),
        says={"pad_token_id": 0, "sinusoidal_pos_embds": False, "tie_weights_": True},
        foreign=DISTILBERT_FOREIGN,
        usual={"types": 0},
        silent={"depth": 6},
        fixed={"types": 0, "norm_eps": 1e-12},
        pooler="pre_classifier",
        classifier_pooler="pre_classifier",
        squash=jax.nn.relu,
    ),
}


def sizes_from(folder: str | Path) -> dict[str, Any]:
    """The fields of ``BertConfig`` that a Hugging Face folder settles, its layout included.

    Pooling is that of ``labkit_pooling`` in ``config.json``.

    Raises:
        WeightsError: no readable config.json, another architecture, positions other than absolute ones, a
            pooling that training does not have.
    """
    folder = sentence.encoder_folder(folder)
    path = folder / "config.json"
    config = foreign.settings_of(path)
    if not isinstance(kind := config.get("model_type"), str) or kind not in LAYOUTS:
        raise WeightsError(
            _("{folder} contains a model of type {kind!r}; supported: {known}."),
            folder=folder, kind=kind, known=", ".join(map(repr, LAYOUTS)),
        )  # fmt: skip
    layout = LAYOUTS[kind]
    if (positions := config.get("position_embedding_type", "absolute")) != "absolute":
        raise WeightsError(
            _("{folder} has {positions!r} positions; supported: 'absolute'."),
            folder=folder,
            positions=positions,
        )
    if config.get("is_decoder") or config.get("add_cross_attention"):
        raise WeightsError(
            _("{folder} contains a decoder (is_decoder or add_cross_attention); supported: encoders."),
            folder=folder,
        )
    act = config.get(layout.foreign["activation"], "gelu")
    if not isinstance(act, str) or act not in HIDDEN_ACTS:
        raise WeightsError(
            _("{folder} has activation {act!r}; supported: {known}."),
            folder=folder, act=act, known=", ".join(HIDDEN_ACTS),
        )  # fmt: skip
    sizes = {name: config[key] for name, key in layout.foreign.items() if key in config}
    sizes["activation"] = HIDDEN_ACTS[act]
    numbers = {name: value for name, value in sizes.items() if name != "activation"}
    foreign.check_sizes(path, numbers, layout.foreign)
    if "max_length" in sizes:
        sizes["max_length"] -= first_position(layout, config)
    return {
        "layout": kind,
        "vocab_size": layout.vocabulary,
        "pooling": config.get("labkit_pooling", "auto"),
        **layout.silent,
        **layout.fixed,
        **sizes,
    }


def reading(layout: str, folder: Path) -> weights.Table:
    """The table to read the encoder of a folder by."""
    path = folder / "config.json"
    config = foreign.settings_of(path) if path.is_file() else {}
    return LAYOUTS[layout].reading(weights.Tensors(folder), first_position(LAYOUTS[layout], config) - 1)


def first_position(layout: Layout, config: Mapping[str, Any]) -> int:
    """Row of the table of positions that the first token reads: RoBERTa counts from the id of padding.

    Raises:
        WeightsError: that id is not a number.
    """
    if not layout.unused:
        return 0
    if type(pad := config.get("pad_token_id", layout.unused - 1)) is not int or pad < 0:
        raise WeightsError(
            _("config.json: pad_token_id = {pad!r}; positions are counted from it: expected a number."),
            pad=pad,
        )
    return pad + 1


def settings(config: ModelConfig, specials: weights.Specials | None = None) -> dict[str, Any]:
    """The entries of ``config.json`` that say what a :class:`labkit.models.bert.model.BertConfig` says."""
    layout = LAYOUTS[config.layout]
    ids = {**layout.says, **({} if specials is None else specials.settings())}
    ids = {name: value for name, value in ids.items() if name in layout.says}
    values = config.values()
    own = {key: values[name] for name, key in layout.foreign.items()}
    return {
        **own,
        layout.foreign["vocab_size"]: config.vocabulary,
        layout.foreign["max_length"]: config.max_length + first_position(layout, ids),
        layout.foreign["activation"]: next(
            act for act, name in HIDDEN_ACTS.items() if name == config.activation
        ),
        "model_type": layout.kind,
        "architectures": [f"{layout.classes}Model"],
        "initializer_range": spread(config.width),  # of the layers; embeddings have 0.02
        **ids,
        "labkit_pooling": config.pooled_by,
    }
