"""Gradients clipped row by row and noised: the mechanism of DP-SGD, Abadi et al., arXiv 1607.00133."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from labkit.core.shapes import PRNGKeyArray

#: Keeps the factor of a gradient of norm 0 finite.
_LEAST_NORM = 1e-12


@dataclass(frozen=True)
class NoisySum:
    """The mean gradient of a batch, of which one row changes the sum by ``clip`` at most.

    Attributes:
        clip: greatest norm of the gradient of a row.
        noise: standard deviation of the noise ÷ ``clip``.
        expected: rows of a batch on average, by which the noised sum is divided; the number that was drawn
            would itself say something of the rows.
    """

    clip: float
    noise: float
    expected: float

    def clipped(self, gradient: dict[str, Any]) -> dict[str, Any]:
        """The gradient of one row, no longer than ``clip``; 0 where it is not finite."""
        norm = jnp.sqrt(sum(jnp.sum(jnp.square(leaf.astype(jnp.float32))) for leaf in gradient.values()))
        factor = jnp.minimum(1.0, self.clip / jnp.maximum(norm, _LEAST_NORM))
        finite = jnp.isfinite(norm)
        return {
            name: jnp.where(finite, leaf.astype(jnp.float32) * factor, 0.0) for name, leaf in gradient.items()
        }

    def noised(self, total: dict[str, Any], key: PRNGKeyArray) -> dict[str, Any]:
        """The sum of clipped gradients with noise, divided by the expected number of rows."""
        scale, names = self.noise * self.clip, sorted(total)
        keys = dict(zip(names, jax.random.split(key, len(names)), strict=True))
        return {
            name: (leaf + scale * jax.random.normal(keys[name], leaf.shape, jnp.float32)) / self.expected
            for name, leaf in total.items()
        }
