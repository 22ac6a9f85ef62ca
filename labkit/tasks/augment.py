"""Random image augmentation inside the compiled step: shift, flip, mixup."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Num

from labkit.core.errors import ConfigError
from labkit.core.shapes import Array, Float, Int, PRNGKeyArray
from labkit.data.masks import UNKNOWN
from labkit.i18n import _

#: What may be done to pictures: a move by up to an eighth of the side (He et al., arXiv 1512.03385, 4.2, 4 of
#: 32 pixels, zeros coming in), a mirror image for every second one.
KINDS = ("none", "shift", "flip", "shift-flip")


def augment(inputs: Num[Array, "b ..."], kinds: str, key: PRNGKeyArray) -> Num[Array, "b ..."]:
    """Randomly augment each image [b, y, x, c] independently.

    Raises:
        ConfigError: (while tracing) the examples are not images.
    """
    if inputs.ndim != 4:
        raise ConfigError(
            _("augment = {kinds!r} needs images [b, y, x, c]; these examples have shape {shape}."),
            kinds=kinds,
            shape=inputs.shape[1:],
        )
    count, high, wide, channels = inputs.shape
    move, mirror = jax.random.split(key)
    if "shift" in kinds:
        by = max(1, high // 8), max(1, wide // 8)
        most = jnp.array([2 * by[0], 2 * by[1]])
        corners = jax.random.randint(move, (count, 2), 0, most + 1)
        padded = jnp.pad(inputs, ((0, 0), (by[0], by[0]), (by[1], by[1]), (0, 0)))

        def cut(picture: Array, corner: Array) -> Array:
            return lax.dynamic_slice(picture, (corner[0], corner[1], 0), (high, wide, channels))

        inputs = jax.vmap(cut)(padded, corners)
    if "flip" in kinds:
        turned = jax.random.bernoulli(mirror, 0.5, (count, 1, 1, 1))
        inputs = jnp.where(turned, inputs[:, :, ::-1], inputs)
    return inputs


def augment_masked(
    inputs: Num[Array, "b y x c"], mask: Num[Array, "b y x"], kinds: str, key: PRNGKeyArray
) -> tuple[Num[Array, "b y x c"], Int[Array, "b y x"]]:
    """The same for pictures and their masks, which move alike; pixels that a shift brings in have no known class."""
    # A shift brings zeros in: 0 stands for unknown meanwhile.
    marked = (mask.astype(jnp.int32) + 1)[..., None] % (UNKNOWN + 1)
    moved = augment(marked, kinds, key)[..., 0]
    return augment(inputs, kinds, key), (moved - 1) % (UNKNOWN + 1)


def mixup(
    inputs: Num[Array, "b ..."], real: Float[Array, " b"], alpha: float, key: PRNGKeyArray
) -> tuple[Float[Array, "b ..."], Int[Array, " b"], Float[Array, ""]]:
    """Mix every example with another one of the batch (Zhang et al., arXiv 1710.09412).

    Args:
        inputs: bytes are read as 0 … 1, other numbers as they are.
        real: weight of every example; one of weight 0 (filler) is mixed with none.
        alpha: the share is drawn from Beta(alpha, alpha), once for the batch.
        key: random key.

    Returns:
        The mixed inputs; the partner of every example; and the weight of the original example, 0 … 1.
    """
    share_key, order_key = jax.random.split(key)
    share = jax.random.beta(share_key, alpha, alpha)
    mine = jnp.arange(len(inputs))
    partner = jax.random.permutation(order_key, len(inputs))
    partner = jnp.where((real > 0) & (real[partner] > 0), partner, mine)
    x = inputs / jnp.float32(255) if inputs.dtype == jnp.uint8 else inputs
    return share * x + (1 - share) * x[partner], partner, share
