"""Sums over tokens, from which the metrics of language models are computed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import jax
import jax.numpy as jnp

from labkit.core.shapes import Array, Bool, Float, Int
from labkit.profile.activations import Activations
from labkit.tasks.base import MetricState
from labkit.tasks.metrics import mean_loss

#: Logits made at once, at most, as numbers: a large vocabulary goes through in portions.
AT_ONCE = 2**24


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class TokenSums(MetricState):
    """Sums over the tokens to predict. Counts are int32: float32 stops counting at 2**24."""

    loss_sum: Float[Array, ""]  # sum of weight * -log probability, in nats
    weight: Float[Array, ""]  # sum of weights
    right: Int[Array, ""]  # tokens whose likeliest piece is the true one
    tokens: Int[Array, ""]  # tokens with a weight above 0

    @classmethod
    def empty(cls) -> Self:
        """The sums over no tokens."""
        nothing = jnp.zeros((), jnp.float32)
        return cls(nothing, nothing, jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))

    def compute(self) -> dict[str, float]:
        """``loss`` in nats a token, ``perplexity`` = exp(loss), ``bits`` a token, and ``accuracy``."""
        host = jax.device_get(self)
        loss = mean_loss(host)
        accuracy = int(host.right) / int(host.tokens) if host.tokens else float("nan")
        perplexity = math.exp(min(loss, 700.0)) if loss == loss else float("nan")
        return {"loss": loss, "perplexity": perplexity, "bits": loss / math.log(2), "accuracy": accuracy}


def row_losses(
    logits_of: Callable[[Any], Any],
    hidden: Float[Array, "b t d"],
    target: Int[Array, "b t"],
    counted: Bool[Array, "b t"],
) -> Float[Array, " b"]:
    """The sum of -log probability of the counted tokens of each row, in nats; logits are made row by row.

    Args:
        logits_of: a function from hidden states [m, d] to logits float32 [m, v].
        hidden: of the target tokens.
        target: their true pieces.
        counted: which of them are summed.
    """

    def one(row: tuple[Array, Array, Array]) -> Array:
        hidden, target, counted = row
        logits = logits_of(hidden)
        losses = (
            jax.nn.logsumexp(logits, axis=-1) - jnp.take_along_axis(logits, target[:, None], axis=-1)[:, 0]
        )
        return jnp.sum(jnp.where(counted, losses, 0))

    return jax.lax.map(one, (hidden, target, counted))


def token_logits(tokens: int, width: int, vocabulary: int) -> Activations:
    """What :func:`token_sums` computes and keeps, by formula."""
    numbers, flops = tokens * vocabulary, 2.0 * tokens * width * vocabulary
    kept, again = 4.0 * tokens * width, flops if numbers > AT_ONCE else 0.0
    return Activations(
        kept, kept + 8.0 * numbers / -(-numbers // AT_ONCE), 48.0 * numbers, flops, again=again
    )


def token_sums(
    logits_of: Callable[[Any], Any],
    hidden: Float[Array, "n d"],
    target: Int[Array, " n"],
    weight: Float[Array, " n"],
    vocabulary: int,
    smoothing: float = 0.0,
) -> tuple[Float[Array, ""], TokenSums]:
    """Cross-entropy of tokens, and the sums of it.

    Where all logits together would be more than :data:`AT_ONCE` numbers they are made in portions, forward
    and again for the gradient, so that memory does not grow with tokens times vocabulary.

    Args:
        logits_of: a function from hidden states [m, d] to logits float32 [m, v].
        hidden: of the target tokens.
        target: their true pieces.
        weight: their weights; 0 for tokens without target.
        vocabulary: v.
        smoothing: share of the aim that is spread over the vocabulary; not part of the sums.

    Returns:
        The loss to train on (the sum of weight times loss), and the sums.
    """

    def some(part: tuple[Array, Array, Array]) -> tuple[Array, TokenSums]:
        hidden, target, weight = part
        logits = logits_of(hidden)
        total = jax.nn.logsumexp(logits, axis=-1)
        losses = total - jnp.take_along_axis(logits, target[:, None], axis=-1)[:, 0]
        counted = weight > 0
        right = jnp.sum((jnp.argmax(logits, -1) == target) & counted, dtype=jnp.int32)
        plain = jnp.sum(jnp.where(counted, losses * weight, 0))
        sums = TokenSums(plain, jnp.sum(weight), right, jnp.sum(counted, dtype=jnp.int32))
        if smoothing:
            aim = (1 - smoothing) * losses + smoothing * (total - logits.mean(-1))
            return jnp.sum(jnp.where(counted, aim * weight, 0)), sums
        return plain, sums

    count = hidden.shape[0]
    portions = -(-count * vocabulary // AT_ONCE)
    if portions <= 1:
        return some((hidden, target, weight))
    size = -(-count // portions)
    more = portions * size - count
    whole = (jnp.pad(hidden, ((0, more), (0, 0))), jnp.pad(target, (0, more)), jnp.pad(weight, (0, more)))
    cut = jax.tree.map(lambda x: x.reshape(portions, size, *x.shape[1:]), whole)
    found = jax.lax.map(jax.checkpoint(some), cut)
    return jax.tree.map(lambda x: x.sum(0), found)
