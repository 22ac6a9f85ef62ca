"""LoRA adapters for linear layers (Hu et al. 2021, arXiv 2106.09685): adding and merging."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from labkit.core.errors import ConfigError
from labkit.i18n import _
from labkit.models.layers import ADDED, Linear


def add(module: nnx.Module, rank: int, alpha: float, targets: Sequence[str], rngs: nnx.Rngs) -> list[str]:
    """Give linear layers an addition ``alpha / rank · a b``, in place; it changes no result, since b begins
    at zero.

    Args:
        module: the model, which may be abstract; weights it is to have are loaded before.
        rank: r; a is [..., n, r], uniform in ±1 / sqrt(n), and b is [..., r, m]. Stacked layers get one each.
        alpha: see above.
        targets: patterns of names of layers, from ``module`` down ("backbone/layers/query").
        rngs: for a.

    Returns:
        The names of the layers that got one.

    Raises:
        ConfigError: no linear layer has such a name, or ``rank`` is more than a layer's smaller side.
    """
    linear = {_name(path): node for path, node in nnx.iter_graph(module) if isinstance(node, Linear)}
    chosen = [name for name in linear if any(fnmatch.fnmatch(name, pattern) for pattern in targets)]
    if not chosen:
        known = ", ".join(linear) or "none"
        raise ConfigError(
            _("lora_targets = {targets!r} match no linear layer. Available: {known}."),
            targets=tuple(targets),
            known=known,
        )
    for name in chosen:
        layer = linear[name]
        *lead, n, m = layer.kernel.shape
        if rank > min(n, m):
            raise ConfigError(
                _("lora_rank = {rank} is too large for {name} [{n}, {m}]; the maximum is {most}."),
                rank=rank, name=name, n=n, m=m, most=min(n, m),
            )  # fmt: skip
        bound = n**-0.5
        layer.lora_a = nnx.Param(
            jax.random.uniform(rngs.params(), (*lead, n, rank), jnp.float32, -bound, bound)
        )
        layer.lora_b = nnx.Param(jnp.zeros((*lead, rank, m), jnp.float32))
        layer.lora_scale = alpha / rank
    return chosen


def merge(params: Mapping[str, Any], scale: float) -> dict[str, np.ndarray]:
    """Flat parameters with every addition put into its kernel: kernel + ``scale`` · a b; without any, as they
    are."""
    merged = {
        name: np.asarray(value) for name, value in params.items() if name.rsplit("/", 1)[-1] not in ADDED
    }
    for name in (name.removesuffix("/lora_a") for name in params if name.endswith("/lora_a")):
        a, b = (np.asarray(params[f"{name}/{factor}"]) for factor in ADDED)
        merged[f"{name}/kernel"] = merged[f"{name}/kernel"] + np.float32(scale) * (a @ b)
    return merged


def _name(path: tuple[Any, ...]) -> str:
    return "/".join(map(str, path))
