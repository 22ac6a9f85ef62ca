"""AdamW in few passes over memory: state and numbers are those of optax.

Written as a chain (clip, moments, decay, rate), an update writes the clipped gradient, and copies both moments whole
because the new parameters are computed from the old ones. Here clipping is a factor, and the new parameters are
computed from the new moments.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax

from labkit.core.shapes import Array, Bool, Float

Params = dict[str, Any]


@dataclass(frozen=True)
class AdamW:
    """An update by AdamW (Loshchilov & Hutter, arXiv 1711.05101) with a clipped gradient.

    Attributes:
        beta1, beta2, epsilon: those of ``optax.scale_by_adam``.
        clip: greatest norm of the gradient; 0: any.
        decay: parameter name → weight decay.
    """

    beta1: float
    beta2: float
    epsilon: float
    clip: float
    decay: Mapping[str, float]

    def update(
        self, gradient: Params, state: Any, params: Params, *, norm: Float[Array, ""], finite: Bool[Array, ""],
        rate: Callable[[str], Float[Array, "*s"]],
    ) -> tuple[Params, Any]:  # fmt: skip
        """Parameters and state after an update; where it is not ``finite``, those before.

        Args:
            gradient: by name.
            state: of the optax chain that holds one ``optax.ScaleByAdamState``.
            params: by name.
            norm: of the gradient.
            finite: whether to update at all.
            rate: parameter name → learning rate, broadcastable to it.
        """
        leaves, tree = jax.tree.flatten(state, is_leaf=_is_adam)
        place = next(number for number, leaf in enumerate(leaves) if _is_adam(leaf))
        old = leaves[place]
        scale = jnp.where(norm < self.clip, 1.0, self.clip / norm) if self.clip else jnp.ones(())
        count = jnp.asarray(optax.safe_increment(old.count))
        first, second = (1 / (1 - beta ** count.astype(jnp.float32)) for beta in (self.beta1, self.beta2))
        mu, nu, moved = {}, {}, {}
        for name, p in params.items():
            g, m, v = gradient[name] * scale.astype(gradient[name].dtype), old.mu[name], old.nu[name]
            m = mu[name] = jnp.where(finite, self.beta1 * m + (1 - self.beta1) * g, m)
            v = nu[name] = jnp.where(finite, self.beta2 * v + (1 - self.beta2) * jnp.square(g), v)
            step = m * first / (jnp.sqrt(v * second) + self.epsilon)
            if self.decay[name]:
                step = step + self.decay[name] * p
            moved[name] = jnp.where(finite, p - (rate(name) * step).astype(p.dtype), p)
        leaves[place] = old._replace(count=jnp.where(finite, count, old.count), mu=mu, nu=nu)
        return moved, jax.tree.unflatten(tree, leaves)


def _is_adam(leaf: object) -> bool:
    return isinstance(leaf, optax.ScaleByAdamState)
