"""What the configs of all architectures have in common."""

from __future__ import annotations

from typing import ClassVar

from labkit.base.config import Config


class ModelConfig(Config):
    """Base class of an architecture's config: a frozen dataclass that builds the model.

    Attributes:
        reads: what an example is: "text", "pair", "image" or "features".
        packs: whether a row of a batch can hold several texts.
    """

    reads: ClassVar[str]
    packs: ClassVar[bool] = True

    def head_bias(self, outputs: int) -> bool:
        """Whether a linear head with this number of outputs is trained with a bias."""
        return True
