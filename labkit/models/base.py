"""What the configs of all architectures have in common."""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar

from labkit.base.config import Config


class Modality(StrEnum):
    """What an example is."""

    TEXT = "text"  # a text, or two read as one
    PAIR = "pair"  # a source text and a target text
    IMAGE = "image"
    FEATURES = "features"
    AUDIO = "audio"


class Capability(StrEnum):
    """What a model computes, and tasks need."""

    POOLED = "pooled"  # one vector of every example
    CAUSAL = "causal"  # logits of every next token
    BIDIRECTIONAL = "bidirectional"  # hidden states of tokens that read both ways
    SEQ2SEQ = "seq2seq"  # a target text from a source text


class ModelConfig(Config):
    """Base class of an architecture's config: a frozen dataclass that builds the model.

    Attributes:
        modality: what an example is.
        capabilities: what the model computes, and so which tasks can train it.
        packs: whether a row of a batch can hold several texts.
        pools_last: whether a text's vector is that of its last token.
        published: whether :meth:`save` and :meth:`load` use a format that other libraries read.
    """

    modality: ClassVar[Modality]
    capabilities: ClassVar[frozenset[Capability]] = frozenset({Capability.POOLED})
    packs: ClassVar[bool] = True
    pools_last: ClassVar[bool] = False
    published: ClassVar[bool] = False

    # Fields of models that have them; the values of those that do not.
    preset: str = ""
    weights: str = ""  # pretrained weights
    vocab_size: int | None = None  # None: that of the tokenizer
    max_length: int = 0  # tokens of a text at most; 0: reads no texts
    input_shape: tuple[int, ...] | None = None  # None: that of the data

    @property
    def special_tokens(self) -> tuple[str, ...]:
        """Special tokens of a tokenizer learnt for this model, in the order of their ids from 0."""
        return ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")

    @property
    def reads_types(self) -> bool:
        """Whether the model reads type ids (first or second text)."""
        return False

    def fresh_parts(self) -> tuple[str, ...]:
        """Parts that the pretrained weights lack, so that they start from random values."""
        return ()

    def settled(self, vectors: bool) -> ModelConfig:
        """The config with what depends on the task filled in.

        Args:
            vectors: whether the vectors of texts are themselves the result, rather than the input of a head.
        """
        return self

    def head_bias(self, outputs: int) -> bool:
        """Whether a linear head with this number of outputs is trained with a bias."""
        return True
