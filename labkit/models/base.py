"""Base class of model configs: what an architecture defines for training, drawing, sharding and saving.

An architecture is added by one module with a subclass of :class:`ModelConfig`, and one entry in
:data:`labkit.models.models`.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self, TypeAlias

import jax
import numpy as np
from flax import nnx

from labkit.core.config import Config
from labkit.core.errors import ConfigError, WeightsError
from labkit.hub.pretrained import pinned
from labkit.i18n import _
from labkit.models import weights
from labkit.models.layers import Rates
from labkit.profile.activations import Activations

#: Parameters: a module, its state, or a dict of them (nested, or path → array).
ParameterTree: TypeAlias = nnx.Module | nnx.State | Mapping[Any, Any]


class Modality(StrEnum):
    """What an example is."""

    TEXT = "text"  # a text, or two read as one
    PAIR = "pair"  # a source text and a target text
    IMAGE = "image"
    FEATURES = "features"
    AUDIO = "audio"
    SERIES = "series"
    INTERACTIONS = "interactions"


class Capability(StrEnum):
    """What a model computes, and tasks need."""

    POOLED = "pooled"  # one vector of every example
    CAUSAL = "causal"  # logits of every next token
    BIDIRECTIONAL = "bidirectional"  # hidden states of tokens that read both ways
    SPANS = "spans"  # such hidden states, from which a linear layer reads spans
    SEQ2SEQ = "seq2seq"  # a target text from a source text
    NEXT_ITEM = "next item"  # scores of all items after a history of items
    WINDOW = "window"  # one vector of a window of each value of a series
    PIXELS = "pixels"  # one vector of every pixel
    VELOCITY = "velocity"  # a velocity of every pixel, at a time and under a condition
    FRAMES = "frames"  # hidden states of the frames of a sound


class DrawingPart(NamedTuple):
    """How the parameters of one part of a model are drawn.

    Attributes:
        prefix: beginning of a name in the path of a parameter.
        rank: position in the stack of layers, from the input.
        word: key of its name in the panels' words.
        colour: 1 … 7.
    """

    prefix: str
    rank: int
    word: str
    colour: int


class ModelConfig(Config, ABC):
    """Base class of an architecture's config: a frozen dataclass that builds the model.

    Subclasses are decorated with ``@dataclass(frozen=True, init=False)`` and give every field a default:
    those of a model without a preset. A field that is not given (or None) has the value of the preset, else
    of the stored weights, else that of :attr:`DERIVED`, else its default.

    Attributes:
        modality: what an example is.
        capabilities: what the model computes, and so which tasks can train it.
        flattens: whether a model of features reads pictures and sounds too, as rows of numbers.
        packs: whether a row of a batch can hold several texts.
        pools_last: whether a text's vector is that of its last token.
        attends: whether the model has ``attention(ids, mask, types)``, the weights of every layer and head.
        word_table: where in the model its word embeddings are.
        published: whether :meth:`save` and :meth:`load` use a format that other libraries read.
        model_types: values of ``model_type`` in the config.json of weights that it reads.
        sharding: parameter pattern → axis, counted from the end, that model parallelism divides; the first
            pattern that matches holds, and what none matches is copied.
        lora_targets: linear layers that get low-rank additions, by name pattern, from the model down.
        default_for: modalities of rows for which it is the architecture offered first.
        first_preset: the preset offered first.
        shown: fields at the front of a form, in their order; the others are folded away.
        free: fields that may be changed where pretrained weights fix the sizes.
        drawing: how its parameters are drawn; the first part whose prefix matches holds.
        PRESETS: preset → fields that differ from the defaults; :meth:`presets` gives the complete configs.
        DERIVED: fields whose default follows from other fields.
        FROM_WEIGHTS: fields that a folder of weights decides.
    """

    modality: ClassVar[Modality]
    rates: Rates  # default learning rates
    capabilities: ClassVar[frozenset[Capability]] = frozenset({Capability.POOLED})
    flattens: ClassVar[bool] = True
    packs: ClassVar[bool] = True
    pools_last: ClassVar[bool] = False
    attends: ClassVar[bool] = False
    word_table: ClassVar[tuple[str, ...]] = ()
    published: ClassVar[bool] = False
    model_types: ClassVar[tuple[str, ...]] = ()
    sharding: ClassVar[tuple[tuple[str, int], ...]] = ()
    lora_targets: ClassVar[tuple[str, ...]] = ("*",)
    default_for: ClassVar[tuple[Modality, ...]] = ()
    first_preset: ClassVar[str] = ""
    shown: ClassVar[tuple[str, ...]] = ("width", "depth", "dropout")
    free: ClassVar[tuple[str, ...]] = (
        "max_length",
        "dropout",
        "attention_dropout",
        "pooling",
        "dtype",
        "unroll",
        "remat",
    )
    drawing: ClassVar[tuple[DrawingPart, ...]] = ()
    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    DERIVED: ClassVar[Mapping[str, Callable[[Mapping[str, Any]], Any]]] = {}
    FROM_WEIGHTS: ClassVar[tuple[str, ...]] = ()

    # Fields or properties of every model.
    width: int  # of the pooled vector, or of the hidden states
    depth: int  # layers without a head; the ``layer_ids`` of parameters go from 0 or 1 to this
    # Fields of models that have them; the values of those that do not.
    preset: str = ""
    weights: str = ""  # pretrained weights
    vocab_size: int | None = None  # None: that of the tokenizer
    max_length: int = 0  # maximum tokens per text; 0: reads no texts
    input_shape: tuple[int, ...] | None = None  # None: that of the data
    cardinalities: tuple[int, ...] | None = None  # None: those of the data
    quantile_bins: int = 0  # bins of every number of a table, whose edges come from the training rows
    edges: tuple[float, ...] | None = None  # of these bins; None: those of the data
    embeds_columns: bool = False  # whether numbers and categories of a table are read apart
    dtype: str = "auto"  # what layers compute in

    def __init__(self, *values: object, **named: object):
        fields = dataclasses.fields(self)  # type: ignore[arg-type]
        given = {field.name: value for field, value in zip(fields, values, strict=False)}
        if twice := given.keys() & named.keys():
            raise TypeError(f"{type(self).__name__} got several values for {', '.join(sorted(twice))}")
        given = {
            name: tuple(value) if isinstance(value, list) else value  # as in code and TOML
            for name, value in {**given, **named}.items()
            if value is not None
        }
        complete = self.completed(given)
        if missing := [name for name, value in complete.items() if value is dataclasses.MISSING]:
            raise ConfigError(
                _("{where}: the required setting {missing!r} is missing."),
                where=type(self).__name__, missing=missing[0],
            )  # fmt: skip
        for field in fields:
            object.__setattr__(self, field.name, complete[field.name])
        self.check()

    @classmethod
    def completed(cls, given: dict[str, Any]) -> dict[str, Any]:
        """Every field, from those that are given."""
        known = cls.PRESETS.get(given.get("preset", ""), {})
        if given.get("weights"):
            given = {**given, "weights": pinned(given["weights"])}
        if (
            given.get("weights")
            and not given.get("preset")
            and any(name not in given for name in cls.FROM_WEIGHTS)
        ):
            known = cls.sizes_from(weights.find(given["weights"]))
        known = {**known, **given}
        fields = {field.name: field.default for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
        values = {**fields, **cls.usual(known), **known}
        for name, derived in cls.DERIVED.items():  # in their order: one may read another
            if name not in known:
                values[name] = derived(values)
        return values

    @classmethod
    def usual(cls, known: Mapping[str, Any]) -> Mapping[str, Any]:
        """Defaults that follow from the fields that are known."""
        return {}

    @classmethod
    def sizes_from(cls, folder: Path) -> dict[str, Any]:
        """The fields that the weights in a folder decide. Raises :class:`WeightsError` for another
        architecture."""
        return {}

    @classmethod
    def presets(cls) -> dict[str, Self]:
        """The presets by name, as complete configs."""
        return {name: cls(preset=name) for name in cls.PRESETS}

    # --- the model --------------------------------------------------------------------------------------------

    @abstractmethod
    def build(self, rngs: nnx.Rngs) -> Any:
        """A model with fresh parameters. It has ``config`` and ``layer_ids(path)``, the layer of a parameter."""

    @property
    def output_width(self) -> int:
        """Width of the pooled vector, or of the hidden states, that a head reads."""
        return self.width

    @property
    def layers(self) -> int:
        """Layers without a head: the ``layer_ids`` of parameters go up to this."""
        return self.depth

    @property
    def fixed_vectors(self) -> bool:
        """Whether the vector of an example is the same in training and evaluation while the parameters stay: there is
        no dropout and no normalisation by the batch."""
        return False

    def count(self) -> int:
        """Number of parameters (running statistics are none); nothing is allocated."""
        shapes = nnx.eval_shape(lambda: nnx.state(self.build(nnx.Rngs(0)), nnx.Param))
        return sum(leaf.size for leaf in jax.tree.leaves(shapes))

    @property
    def vocabulary(self) -> int:
        """Entries of the vocabulary of the model that is built; 0 where it reads no tokens."""
        return self.vocab_size or 0

    def activations(self, batch: Mapping[str, Any]) -> Activations | None:
        """What a forward pass computes and keeps of a batch, by formula, for cost estimates.

        Args:
            batch: name → array, or its shape and data type.

        Returns:
            None, the default, where there is no formula: the compiled step is analysed then, in seconds.
        """
        return None

    def vector_activations(self, batch: Mapping[str, Any]) -> Activations | None:
        """The same where only the pooled vectors are read."""
        return self.activations(batch)

    @property
    def shortest(self) -> int:
        """Tokens of a row that the model computes on at least; shorter rows are padded."""
        return 1

    @property
    def special_tokens(self) -> tuple[str, ...]:
        """Special tokens of a tokenizer learnt for this model, in the order of their ids from 0."""
        return ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")

    @property
    def reads_types(self) -> bool:
        """Whether the model reads type ids (first or second text)."""
        return False

    def settled(self, vectors: bool) -> Self:
        """The config with what depends on the task filled in.

        Args:
            vectors: whether the vectors of texts are themselves the result, rather than the input of a head.
        """
        return self

    def head_bias(self, outputs: int) -> bool:
        """Whether a linear head with this number of outputs is trained with a bias."""
        return True

    # --- weights ----------------------------------------------------------------------------------------------

    def folder(self) -> Path | None:
        """The folder of the pretrained weights, fetched on first use; None without any. Raises as
        ``weights.find``."""
        return weights.find(self.weights) if self.weights else None

    def fresh_parts(self) -> tuple[str, ...]:
        """Parts that the pretrained weights lack, so that they start from random values."""
        return ()

    def load(self, model: Any, folder: str | Path | None = None) -> weights.LoadReport:
        """Put the weights of ``folder`` (by default :meth:`folder`) into a model.

        Raises:
            WeightsError: there are no weights, or they do not fit; the model is unchanged then.
        """
        if (folder := folder or self.folder()) is None:
            raise WeightsError(
                _("this {type} has no weights: set weights=, or call load(model, folder)."),
                type=type(self).__name__,
            )
        return self._load(model, Path(folder))

    def _load(self, model: Any, folder: Path) -> weights.LoadReport:
        raise NotImplementedError(f"{type(self).__name__} reads no stored weights.")

    def save(
        self, params: ParameterTree, folder: str | Path, extra: dict[str, Any] | None = None,
        specials: weights.Specials | None = None, **more: object,
    ) -> Path:  # fmt: skip
        """Write parameters in the published format of the architecture, of those that have one.

        Args:
            params: a model, its state or a dict of its parameters.
            folder: where; made if it is not there.
            extra: further tensors, of a head, under their names in that format.
            specials: ids of the tokenizer's special tokens.
            more: further keys of config.json.
        """
        raise NotImplementedError(f"{type(self).__name__} has no published format.")

    def has_classifier(self, folder: Path) -> bool:
        """Whether a folder of weights holds a head that :meth:`load_classifier` reads."""
        return False

    def save_classifier(
        self, params: ParameterTree, folder: Path, kernel: np.ndarray, bias: np.ndarray | None, *,
        specials: weights.Specials | None = None, max_length: int | None = None, **more: object,
    ) -> None:  # fmt: skip
        """Write parameters with a linear head (kernel f32 [d, c], bias f32 [c]) in the published format."""
        raise NotImplementedError(f"{type(self).__name__} has no published format.")

    def load_classifier(self, folder: Path) -> tuple[np.ndarray, np.ndarray | None]:
        """Kernel and bias of the head that :meth:`save_classifier` wrote. Raises :class:`WeightsError` for
        another."""
        raise NotImplementedError(f"{type(self).__name__} has no published format.")


class PublishedConfig(ModelConfig):
    """Base class of architectures whose weights others publish, in a format that other libraries read.

    Attributes:
        BROUGHT: fields that change with the weights.
        DERIVED_FROM: fields that :attr:`DERIVED` reads.
    """

    published: ClassVar[bool] = True

    BROUGHT: ClassVar[tuple[str, ...]] = ()
    DERIVED_FROM: ClassVar[tuple[str, ...]] = ("width",)

    @abstractmethod
    def table(self, folder: Path) -> weights.Table:
        """The names of the weights in a folder."""

    def _load(self, model: Any, folder: Path) -> weights.LoadReport:
        return weights.load_into(model, folder, self.table(folder))

    def to_dict(self) -> dict[str, Any]:
        """The preset and what differs from it; without a preset but with weights, everything.

        Everything, so that an old run's settings can be read where its weights are out of reach.
        """
        own = super().to_dict()
        if self.weights and not self.preset:
            return {name: value for name, value in own.items() if name != "preset"}
        implied = {**Config.to_dict(type(self)(preset=self.preset)), "preset": ""}
        moved = any(
            own[name] != implied[name] for name in self.DERIVED_FROM
        )  # alone they would bring their own
        follow = self.DERIVED if moved else ()
        return {name: value for name, value in own.items() if value != implied.get(name) or name in follow}

    def replace(self, **changes: object) -> Self:
        """A copy with some fields changed; another preset or other weights bring their own sizes with them."""
        if not {"preset", "weights"} & set(changes):
            return super().replace(**changes)
        kept = self.to_dict()
        if not self.preset and self.weights:  # sizes that came from a folder go with it
            kept = {
                name: value for name, value in kept.items() if name not in (*self.FROM_WEIGHTS, *self.BROUGHT)
            }
        return self.from_dict({**kept, **changes})


#: Defaults of Transformers that follow from their width.
FROM_WIDTH: Mapping[str, Callable[[Mapping[str, Any]], Any]] = {
    "heads": lambda known: max(1, known["width"] // 64),
    "mlp_width": lambda known: 4 * known["width"],
}
#: Sharding of Transformers: heads and units of the feed-forward part each on one device, summed up by the
#: matrices that follow (Shoeybi et al., arXiv 1909.08053).
TRANSFORMER_SHARDING: tuple[tuple[str, int], ...] = (
    ("*/query/*", -1),
    ("*/key/*", -1),
    ("*/value/*", -1),
    ("*/mlp_in/*", -1),
    ("*/out/kernel", -2),
    ("*/mlp_out/kernel", -2),
    ("*/word/embedding", -2),
)
