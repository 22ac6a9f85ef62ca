"""Fields that the configs of several architectures have."""

from __future__ import annotations

from typing import Any

from labkit.core.config import option
from labkit.i18n import _
from labkit.models.layers import DTYPES


def weights() -> Any:
    """Pretrained weights by name; empty for none."""
    text = _(
        "Pretrained weights: a sample name, a folder or org/name@revision. Empty: random initialisation."
    )
    return option("", text)


def vocab_size() -> Any:
    """Rows of the embedding table; None until the tokenizer is known."""
    return option(None, _("Vocabulary size. Default: that of the tokenizer."), low=1, high=10_000_000)


def width(default: int) -> Any:
    """Dimension of the hidden states."""
    return option(default, _("Dimension of the hidden states."), low=1, high=1_000_000)


def depth(default: int) -> Any:
    """Number of layers."""
    return option(default, _("Number of Transformer layers."), low=1, high=10_000)


def heads(default: int) -> Any:
    """Attention heads per layer."""
    return option(default, _("Number of attention heads per layer."), low=1, high=10_000)


def mlp_width(default: int) -> Any:
    """Hidden dimension of the feed-forward network."""
    return option(default, _("Hidden dimension of the feed-forward network."), low=1, high=10_000_000)


def max_length(default: int) -> Any:
    """Maximum tokens per text."""
    return option(default, _("Maximum sequence length in tokens."), low=1, high=10_000_000)


def dropout(default: float) -> Any:
    """Dropout rate of the hidden states."""
    return option(default, _("Dropout rate of the hidden states during training."), low=0.0, high=0.9)


def attention_dropout(default: float) -> Any:
    """Dropout rate of the attention probabilities."""
    return option(
        default, _("Dropout rate of the attention probabilities during training."), low=0.0, high=0.9
    )


def cardinalities() -> Any:
    """Categories of the columns of a table; None until the data are known."""
    text = _("Number of categories of each column, 0 for a number. Default: those of the data.")
    return option(None, text, low=0, high=1_000_000)


def dtype() -> Any:
    """What layers compute in."""
    text = _("Compute dtype of the layers. auto: bfloat16 on GPU and TPU, float32 on CPU.")
    return option("auto", text, choices=DTYPES)


def unroll() -> Any:
    """Layers in one iteration of the scan."""
    text = _("Layers unrolled per iteration of the scan over layers: faster steps, slower compilation.")
    return option(1, text, low=1, high=10_000)


def remat() -> Any:
    """Whether the backward pass computes activations again."""
    text = _("Recompute activations in the backward pass (gradient checkpointing): less memory, about a third more "
             "computation.")  # fmt: skip
    return option(False, text)
