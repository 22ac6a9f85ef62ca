"""What the configs of all architectures have in common."""

from __future__ import annotations

from typing import ClassVar

from labkit.base.config import Config


class ModelConfig(Config):
    """Base class of an architecture's config: a frozen dataclass that builds the model.

    Attributes:
        reads: what an example is: "text", "pair", "image" or "features".
        packs: whether a row of a batch can hold several texts.
        pools_last: whether a text's vector is that of its last token.
    """

    reads: ClassVar[str]
    packs: ClassVar[bool] = True
    pools_last: ClassVar[bool] = False

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
