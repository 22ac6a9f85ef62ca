"""Optimizer and schedule: which parameters move, by how much, when."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
import optax

from labkit.base.config import Config, option
from labkit.base.errors import ConfigError
from labkit.base.shapes import Array, Float, Int

#: Depth of a parameter: 0 for embeddings, 1 … L inside the trunk (an array for stacked layers), above that the head.
LayerOf = Callable[[str], "int | np.ndarray"]


@dataclass(frozen=True)
class Optimizer(Config):
    """AdamW (Loshchilov & Hutter, arXiv 1711.05101) with warm-up, decay, clipping, freezing and layer-wise rates."""

    learning_rate: float = option(3e-5, "Greatest learning rate, reached after the warm-up.", low=0.0)
    schedule: str = option("linear", "How the rate falls after the warm-up.", choices=("linear", "cosine", "constant"))
    warmup: float = option(0.1, "Share of all steps in which the rate rises from 0.", low=0.0, high=1.0)
    weight_decay: float = option(0.01, "Decoupled weight decay; biases and norms are spared.", low=0.0)
    clip: float = option(1.0, "Greatest global norm of a gradient; 0 switches clipping off.", low=0.0)
    beta1: float = option(0.9, "Decay of the mean of gradients.", low=0.0, high=0.9999)
    beta2: float = option(0.999, "Decay of the mean of squared gradients.", low=0.0, high=0.99999)
    epsilon: float = option(1e-8, "Added to the root of the squared mean.", low=0.0)
    layer_decay: float = option(1.0, "Rate of a layer ÷ rate of the layer above it.", low=0.0, high=1.0)
    freeze: tuple[str, ...] = option((), "Parameters that stay as they are, by name pattern, such as trunk/*.")
    freeze_layers: int = option(0, "Freeze the embeddings and this many of the lowest layers; 0: nothing.", low=0)

    def shape(self, step: Int[Array, ""], total: int) -> Float[Array, ""]:
        """The schedule's factor, 0 … 1, for the update that follows ``step`` updates out of ``total``."""
        rise = max(1, round(self.warmup * total)) if self.warmup else 0
        up = (step + 1) / max(rise, 1)
        along = jnp.clip((step - rise) / max(total - rise, 1), 0.0, 1.0)
        down = {"linear": 1 - along, "cosine": 0.5 * (1 + jnp.cos(np.pi * along)), "constant": jnp.ones_like(along)}
        return jnp.where(step < rise, up, down[self.schedule]).astype(jnp.float32)

    def multipliers(self, shapes: Mapping[str, tuple[int, ...]], layer_of: LayerOf, top: int) -> dict[str, np.ndarray]:
        """Factor on the learning rate of every parameter, f32, broadcastable to it; 0 where it is frozen.

        Args:
            shapes: parameter name → shape.
            layer_of: parameter name → its depth (see :data:`LayerOf`).
            top: depth of the head.

        Raises:
            ConfigError: a ``freeze`` pattern matches no parameter, or nothing is left to train.
        """
        for pattern in self.freeze:
            if not fnmatch.filter(shapes, pattern):
                raise ConfigError(f"Optimizer.freeze: {pattern!r} matches no parameter. They are: {', '.join(shapes)}.")
        result = {name: self._multiplier(name, shape, layer_of(name), top) for name, shape in shapes.items()}
        if not any(factor.any() for factor in result.values()):
            raise ConfigError("Optimizer: every parameter is frozen; nothing is left to train.")
        return result

    def _multiplier(self, name: str, shape: tuple[int, ...], layer: int | np.ndarray, top: int) -> np.ndarray:
        layer = np.asarray(layer)
        factor = np.float32(self.layer_decay) ** (top - layer).astype(np.float32)
        frozen = any(fnmatch.fnmatch(name, pattern) for pattern in self.freeze)
        kept = (layer > self.freeze_layers) if self.freeze_layers else np.ones_like(layer, bool)
        factor = np.where(kept & (not frozen), factor, 0.0).astype(np.float32)
        return factor.reshape(factor.shape + (1,) * (len(shape) - factor.ndim)) if factor.ndim else factor

    def build(self, decayed: Mapping[str, bool]) -> optax.GradientTransformation:
        """The transformation from gradients to directions; the step multiplies them by the learning rate.

        Args:
            decayed: parameter name → whether weight decay applies to it.
        """
        parts = [optax.clip_by_global_norm(self.clip)] if self.clip else []
        parts.append(optax.scale_by_adam(self.beta1, self.beta2, self.epsilon))
        if self.weight_decay:
            parts.append(optax.add_decayed_weights(self.weight_decay, mask=dict(decayed)))
        return optax.chain(*parts)


def decays(name: str) -> bool:
    """Weight decay is for matrices and tables; biases and the scales of norms are spared."""
    return name.rsplit("/", 1)[-1] in ("kernel", "embedding")
