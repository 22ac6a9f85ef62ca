"""Formulas of what layers compute, and keep for the backward pass, of one batch.

 The config of an architecture adds up its layers with them
(:meth:`labkit.models.base.ModelConfig.activations`); nothing is built, traced or compiled. Bytes kept are
those of the arrays that JAX saves for the derivative of each layer,
counted by data type: 4 or 2 bytes a number as layers compute in float32 or half precision, 1 for a mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np

#: Numbers that the derivative of an activation function keeps of each unit, as multiples of a number of 4
#: bytes.
KEPT = {
    "relu": 1.25,
    "gelu": 4.0,
    "gelu_tanh": 6.0,
    "silu": 6.0,
    "swish": 4.0,
    "tanh": 1.0,
    "sigmoid": 1.0,
    "": 0.0,
}
#: The same of a normalisation, of each channel of each pixel.
NORMS = {"none": 0.0, "batch": 1.0, "group": 3.0}
#: Bytes in use beside what is kept while a layer is differentiated, of what it keeps, or of its result; and
#: bytes read and written for each byte that is kept. Fitted to XLA's plans and counts.
WORKING, WORKING_OF_RECOMPUTED, WORKING_OF_MAPS = 1.0, 1.5, 1.75
MOVED_IN_TRANSFORMERS, MOVED_IN_MAPS = 16.0, 5.0


@dataclass(frozen=True)
class Activations:
    """What a forward pass computes and keeps of a batch.

    Attributes:
        kept: bytes kept for the backward pass.
        peak: bytes kept or in use at the moment of the backward pass that needs most.
        moved: bytes read and written in both passes.
        flops: of its matrix products and convolutions.
        attention: the part of ``flops`` in products of attention, many small ones at once.
        first: the part of ``flops`` whose input has no derivative: that of the first layer.
        again: FLOPs that the backward pass computes again.
    """

    kept: float = 0.0
    peak: float = 0.0
    moved: float = 0.0
    flops: float = 0.0
    attention: float = 0.0
    first: float = 0.0
    again: float = 0.0

    def __add__(self, other: Activations) -> Activations:
        """One layer after the other: the backward pass begins with the last and frees what each has kept."""
        return Activations(
            self.kept + other.kept, max(self.peak, self.kept + other.peak), self.moved + other.moved,
            self.flops + other.flops, self.attention + other.attention, self.first + other.first,
            self.again + other.again,
        )  # fmt: skip

    def times(self, depth: int) -> Activations:
        """A scan over ``depth`` of these layers; what they keep is freed at its end."""
        rest = (depth * part for part in (self.moved, self.flops, self.attention, self.first, self.again))
        return Activations(depth * self.kept, (depth - 1) * self.kept + self.peak, *rest)

    def recomputed(self, carried: float) -> Activations:
        """The layer if its forward pass is repeated in the backward pass and ``carried`` bytes, its input,
        are kept."""
        working = WORKING_OF_RECOMPUTED * self.kept
        return replace(self, kept=carried, peak=carried + working, moved=1.3 * self.moved, again=self.flops)


def number_bytes(dtype: str) -> int:
    """Bytes of a number that a layer keeps: on a CPU XLA stores numbers of half precision as float32."""
    half = jax.default_backend() != "cpu" and dtype in ("auto", "bfloat16", "float16")
    return 2 if half else 4


def half(dtype: str) -> bool:
    """Whether gradients keep bfloat16: where layers compute in it, and in mixed precision."""
    return dtype in ("mixed", "bfloat16") or (dtype == "auto" and jax.default_backend() != "cpu")


def transformer(
    batch: Sequence[int], depth: int, width: int, mlp: int, heads: int, *, dtype: str, activation: str, remat: bool,
    dropout: bool, attention_dropout: bool, shared: float = 1.0, gated: bool = False, memory: int | None = None,
    inner: int | None = None, normalised: bool = False, reads: int | None = None,
) -> Activations:  # fmt: skip
    """Embeddings and a stack of layers: self-attention, attention to a memory where there is one, and a
    feed-forward part.

    Args:
        batch: (rows, tokens of a row).
        depth: layers. width, mlp, heads, activation, dropout, attention_dropout: of each.
        dtype: what layers compute in; what norms and sums keep is float32.
        remat: whether the forward pass of a layer is repeated in the backward pass.
        shared: keys and values as a share of the queries.
        gated: whether the feed-forward part has a gate.
        memory: tokens of a row of the memory.
        inner: width of all heads together; default: that of the layer.
        normalised: whether queries and keys are.
        reads: tokens that are read of the last layer; default: all.
    """
    (rows, length), size, inner = batch, number_bytes(dtype), inner or width
    tokens, parts = rows * length, 2 if memory is None else 3
    scores = rows * heads * length * length
    # What gradients keep in half width, see labkit/models/lean.py; and the factors of products.
    short = 2 if half(dtype) else size
    factor = 2 if dtype == "mixed" else size

    def layer(read: int) -> Activations:
        """One of which so many tokens are read."""
        share, shown = read / tokens, scores * read / tokens
        kept = read * (
            parts * (short * width + 4)
            + factor * (width + inner + mlp)
            + short * 2 * inner
            + parts * dropout * width
            + short * (2 if gated else 1) * mlp
        )
        kept += tokens * (factor * width + short * 2 * inner) + shown * short
        kept += tokens * (short * inner + 4) * (1 + shared) * normalised
        flops = 2 * width * (read * (2 * inner + (3 if gated else 2) * mlp) + tokens * 2 * shared * inner)
        attention = 4.0 * shown * inner / heads
        if memory is not None:
            across = share * rows * heads * length * memory
            kept += (
                read * (2 * factor + 2 * short) * width + rows * memory * 2 * short * width + across * short
            )
            flops += 2 * width * width * (2 * read + 2 * rows * memory)
            attention += 4.0 * across * width / heads
        found = Activations(
            kept, kept * (1 + WORKING), MOVED_IN_TRANSFORMERS * kept, flops + attention, attention
        )
        return found.recomputed(4.0 * tokens * width) if remat else found

    looked_up = tokens * width * (4 + dropout)
    whole = Activations(looked_up, looked_up)
    if reads is None:
        return whole + layer(tokens).times(depth)
    return whole + layer(tokens).times(depth - 1) + layer(min(reads, tokens))


def scaled_inputs(inputs: Any, dtype: str) -> Activations:
    """Bytes that are read as numbers 0 … 1; other inputs are read in place."""
    kept = float(np.prod(inputs.shape)) * number_bytes(dtype) if inputs.dtype.itemsize == 1 else 0.0
    return Activations(kept, kept, 2 * kept)


def dense(
    rows: int, inputs: int, outputs: int, activation: str = "", dropout: bool = False, size: int = 4
) -> Activations:
    """A linear layer with its activation; the input of the layer that follows is counted here. The
    derivatives of tanh and the sigmoid need their result, which is that input."""
    numbers = 1.0 if activation in ("tanh", "sigmoid") else KEPT.get(activation, 6.0) + 1
    kept = rows * outputs * (numbers * size + 5 * dropout)
    return Activations(kept, kept, MOVED_IN_MAPS * kept, 2.0 * rows * inputs * outputs)


def linear_head(rows: int, inputs: int, outputs: int, dropout: bool) -> Activations:
    """Dropout and a linear layer."""
    kept = 5.0 * rows * inputs * dropout
    moved = (46.0 if dropout else 12.0) * rows * inputs  # random bits are many operations
    return Activations(kept, kept + 4.0 * rows * inputs, moved, 2.0 * rows * inputs * outputs)
