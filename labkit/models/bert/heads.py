"""The heads that BERT is pretrained with: masked language model and next sentence (Devlin et al. 2018, 3.1).

RoBERTa, DistilBERT and ModernBERT have only the first one, under other names.
"""

from __future__ import annotations

from pathlib import Path

import jax.numpy as jnp
import numpy as np
from flax import nnx

from labkit.core.errors import ConfigError, WeightsError
from labkit.core.shapes import Array, Float
from labkit.i18n import _
from labkit.models import foreign, layers, weights
from labkit.models.base import ModelConfig, ParameterTree
from labkit.models.bert.layouts import LAYOUTS, dense, norm

#: Layout → the last product, whose kernel is the encoder's table of words; some files hold it once more.
TIED = {
    "bert": "cls.predictions.decoder",
    "roberta": "lm_head.decoder",
    "xlm-roberta": "lm_head.decoder",
    "distilbert": "vocab_projector",
    "modernbert": "decoder",
}
#: Layout → stored names of the table of words.
WORDS = {
    **{name: (f"{each.prefix}embeddings.word_embeddings.weight", "embeddings.word_embeddings.weight")
       for name, each in LAYOUTS.items()},
    "modernbert": ("model.embeddings.tok_embeddings.weight",),
}  # fmt: skip


def _table(
    transform: str, normed: str, last: str, optional: tuple[str, ...], follows: str = ""
) -> weights.Table:
    return weights.Table(
        entries=(
            *dense("transform", transform),
            *norm("norm", normed),
            weights.Entry("bias", f"{last}.bias"),
            *(dense("follows", follows) if follows else ()),
        ),
        optional=optional,
        ignored=(*(layout.prefix for layout in LAYOUTS.values()), "embeddings.", "encoder.", "transformer.", "pooler.",
                 "pre_classifier.", "classifier.", "qa_outputs.", *(f"{name}." for name in TIED.values())),
        renamed=((".gamma", ".weight"), (".beta", ".bias")),
    )  # fmt: skip


#: Layout → names of the heads' parameters.
TABLES = {
    "bert": _table(
        "cls.predictions.transform.dense",
        "cls.predictions.transform.LayerNorm",
        "cls.predictions",
        ("cls.predictions.", "cls.seq_relationship."),
        "cls.seq_relationship",
    ),
    "roberta": _table("lm_head.dense", "lm_head.layer_norm", "lm_head", ("lm_head.",)),
    "distilbert": _table("vocab_transform", "vocab_layer_norm", "vocab_projector", ("vocab_",)),
}
TABLES["xlm-roberta"] = TABLES["roberta"]
TABLES["modernbert"] = weights.Table(
    entries=(
        weights.Entry("transform/kernel", "head.dense.weight", (1, 0)),
        weights.Entry("norm/scale", "head.norm.weight"),
        weights.Entry("bias", "decoder.bias"),
    ),
    optional=("head.", "decoder."),
    ignored=("model.", "classifier.", "decoder.weight"),
)


class PretrainingHeads(nnx.Module):
    """Both heads on a :class:`~labkit.models.bert.model.Bert`; the first one alone in layouts that have no
    other.

    Parameters under ``transform`` (d² + d), ``norm`` (2 d), ``bias`` (v) and, with layout "bert", ``follows``
    (2 d + 2). The first head ends in the encoder's own table of words, which is given to the call.

    Args:
        config: a :class:`labkit.models.bert.model.BertConfig`.
        rngs: for the parameters.
    """

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs):
        d, self.layout = config.width, config.layout
        biased = any(entry.own == "transform/bias" for entry in TABLES[self.layout].entries)
        self.transform = layers.dense(d, d, config.dtype, rngs, use_bias=biased)
        self.norm = layers.norm(d, config.norm_eps, config.dtype, rngs, use_bias=biased)
        self.bias = nnx.Param(jnp.zeros((config.vocabulary,), jnp.float32))
        if self.layout == "bert":
            self.follows = layers.dense(d, 2, "float32", rngs)
        self.activation, self.dtype = config.activation, config.dtype

    def mlm_logits(self, hidden: Float[Array, "*s d"], table: Float[Array, "v d"]) -> Float[Array, "*s v"]:
        """Scores of every piece of the vocabulary.

        Args:
            hidden: last hidden states, of any leading axes: gather the hidden tokens first ([m, d]), for of
                all the arithmetic of pretraining this product is a large part.
            table: ``model.embeddings.word.embedding``.

        Returns:
            float32 logits: norm(activation(dense(hidden))) @ tableᵀ + bias.
        """
        x = self.norm(layers.ACTIVATIONS[self.activation](self.transform(hidden)))
        short = layers.compute_dtype(self.dtype)
        if self.dtype == "mixed" or short == jnp.bfloat16:
            scores = layers.product(
                x.astype(jnp.float32), table.T
            )  # its gradients are products of bfloat16 too
        else:
            product = {"preferred_element_type": jnp.float32}
            scores = jnp.einsum("...d,vd->...v", x.astype(short), table.astype(short), **product)
        return scores + jnp.expand_dims(self.bias[...], tuple(range(x.ndim - 1)))

    def nsp_logits(self, pooled: Float[Array, "*s d"]) -> Float[Array, "*s c"]:
        """Scores, float32 [*s, 2], of the second text following the first (0) and of its being another (1).

        Raises:
            ConfigError: the layout has no such head.
        """
        if self.layout != "bert":
            raise ConfigError(
                _(
                    "layout {layout!r} has no next-sentence head: only BERT was trained with one. "
                    "Set next_sentence = False, or use layout 'bert'."),
                layout=self.layout,
            )  # fmt: skip
        return self.follows(pooled).astype(jnp.float32)


def architecture(config: ModelConfig, next_sentence: bool = True) -> str:
    """What config.json calls an encoder of this config with these heads; ``next_sentence``: with the second
    one, which transformers has on the pooler alone."""
    both = config.layout == "bert" and config.pooled_by == "cls" and next_sentence
    return f"{config.classes}For{'PreTraining' if both else 'MaskedLM'}"


def tensors_of(heads: ParameterTree, layout: str = "bert") -> dict[str, np.ndarray]:
    """The parameters of heads (the module, its state or a dict of them) under Hugging Face names.

    They are the ``extra`` of :meth:`labkit.models.bert.model.BertConfig.save`.
    """
    flat = weights.flatten(heads)
    return {
        entry.foreign: array
        for path, entry in TABLES[layout].of(flat)
        for array in entry.arrays(np.asarray(flat[path]))
    }


def save(
    config: ModelConfig, model: ParameterTree, heads: ParameterTree, folder: str | Path, **more: object
) -> Path:
    """Write an encoder with its heads: ``BertForPreTraining`` of transformers, or the layout's
    ``…ForMaskedLM``.

    Args:
        config: of the encoder.
        model: its parameters; ``heads``: theirs.
        folder: made if it is not there.
        more: further keys of config.json.
    """
    return config.save(
        model, folder, tensors_of(heads, config.layout), **{"architectures": [architecture(config)], **more}
    )


def has_heads(folder: Path, layout: str) -> bool:
    """Whether a folder of weights holds the head of masked language modelling."""
    named = any(foreign.names_class(folder, ending) for ending in ("ForMaskedLM", "ForPreTraining"))
    return named and any(name.startswith(TABLES[layout].optional[0]) for name in weights.Tensors(folder))


def load(heads: PretrainingHeads, source: weights.Tensors | str | Path) -> weights.LoadReport:
    """Put the heads of a folder into a module; a head that it lacks as a whole stays as it is and is
    reported.

    Raises:
        WeightsError: a head is there in part, or does not fit, or ends in a table that is not the encoder's;
            the module is unchanged then.
    """
    tensors = source if isinstance(source, weights.Tensors) else weights.Tensors(source)
    names, own = set(tensors), f"{TIED[heads.layout]}.weight"
    word = next((name for name in WORDS[heads.layout] if name in names), None)
    if word and own in names and not np.array_equal(tensors[own], tensors[word]):
        raise WeightsError(
            _(
                "{own} in {folder} differs from {word}: the output embeddings of this head are not tied. "
                "Supported: heads tied to the encoder's embeddings (tie_word_embeddings)."),
            own=own, folder=tensors.folder, word=word,
        )  # fmt: skip
    return weights.load_into(heads, tensors.folder, TABLES[heads.layout])
