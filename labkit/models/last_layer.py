"""Stacked layers of which the last computes only the tokens that are read.

Where a text is pooled by its first token nobody reads the last layer's other tokens: of them it needs keys and values
only. The parameters stay in one stack; so a loop of its own adds up their gradients, in place, where that of
``jax.lax.scan`` would take the stack apart and put it together again.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from labkit.core.shapes import Array, Float, Int, PRNGKeyArray


def scan_and_read(
    layers: nnx.Module, x: Float[Array, "b t d"], bias: Float[Array, "b 1 #t t"], place: Int[Array, "b s"] | None, *,
    key: PRNGKeyArray | None = None, unroll: int = 1, remat: bool = False,
) -> Float[Array, "b s d"]:  # fmt: skip
    """The tokens at ``place`` (None: the first) after stacked layers, as of :func:`labkit.models.layers.scan`.

    Args:
        layers: whose method ``read(x, bias, place, key=key)`` gives what the layer makes of the tokens at a place.
        x: what the first layer reads.
        bias: of attention; a constant.
        place: columns.
        key: switches dropout on.
        unroll, remat: as of ``scan``.
    """
    graph, params = nnx.split(layers)
    leaves, tree = jax.tree.flatten(params)
    keys = None if key is None else jax.random.split(key, len(leaves[0]))

    def layer(p: list[Array], x: Array, key: Any, bias: Array, place: Array | None) -> Array:
        return nnx.merge(graph, jax.tree.unflatten(tree, p))(x, bias, key=key)

    def read(p: list[Array], x: Array, key: Any, bias: Array, place: Array | None) -> Array:
        return nnx.merge(graph, jax.tree.unflatten(tree, p)).read(x, bias, place, key=key)

    if remat:
        layer, read = (jax.checkpoint(each, prevent_cse=False) for each in (layer, read))
    return _run(layer, read, min(unroll, len(leaves[0])), leaves, x, (keys, bias, place))


def _run(
    layer: Callable[..., Any], read: Callable[..., Any], unroll: int, params: list[Array], x: Array, constants: Any
) -> Array:  # fmt: skip
    """All layers but the last by ``layer``, the last by ``read``; ``constants``, the keys first, get no gradient."""
    depth = len(params[0])
    structure: dict[str, Any] = {}  # which parameters are trained, and what the derivative of a layer keeps

    def at(stack: Any, number: Any) -> Any:
        return jax.tree.map(lambda a: lax.dynamic_index_in_dim(a, number, keepdims=False), stack)

    def forward(params: list[Array], x: Array, constants: Any) -> Array:
        keys, *more = constants

        def step(x: Array, number: Array) -> tuple[Array, None]:
            return layer(at(params, number), x, at(keys, number), *more), None

        x, _ = lax.scan(step, x, jnp.arange(depth - 1), unroll=unroll)
        return read(at(params, depth - 1), x, at(keys, depth - 1), *more)

    def differentiated(params: list[Any], x: Any, constants: Any) -> tuple[Array, Any]:
        moves = structure["moves"] = [each.perturbed for each in params]
        params, x, (keys, *more) = jax.tree.map(
            lambda each: each.value, (params, x, constants), is_leaf=_is_primal
        )

        def split(call: Callable[..., Any], x: Array, number: Any) -> tuple[Array, Any, list[Array]]:
            """A layer's result; its derivative, with respect to what is trained and x; and its parameters."""
            p, key = at(params, number), at(keys, number)

            def of(trained: list[Array], x: Array) -> Array:
                new = iter(trained)
                whole = [next(new) if moving else each for each, moving in zip(p, moves, strict=True)]
                return call(whole, x, key, *more)

            return *jax.vjp(of, list(itertools.compress(p, moves)), x), p

        def step(x: Array, number: Array) -> tuple[Array, list[Array]]:
            x, back, p = split(layer, x, number)
            kept, structure["tree"] = jax.tree.flatten(back)
            # The parameters among it are there already.
            own = [next((i for i, leaf in enumerate(p) if leaf is each), None) for each in kept]
            structure["own"] = own
            return x, [each for each, place in zip(kept, own, strict=True) if place is None]

        x, kept = lax.scan(step, x, jnp.arange(depth - 1), unroll=unroll)
        x, back, _ = split(read, x, depth - 1)
        return x, (params, kept, back)

    def backward(held: Any, slope: Array) -> tuple[list[Array | None], Array, None]:
        (params, kept, back), moves = held, structure["moves"]
        last, slope = back(slope)
        trained = itertools.compress(params, moves)
        sums = [jnp.zeros_like(a).at[depth - 1].set(g) for a, g in zip(trained, last, strict=True)]

        def step(carry: Any, one: Any) -> tuple[Any, None]:
            (sums, slope), (number, kept) = carry, one
            p, rest = at(params, number), iter(kept)
            leaves = [next(rest) if place is None else p[place] for place in structure["own"]]
            found, slope = jax.tree.unflatten(structure["tree"], leaves)(slope)
            put = lax.dynamic_update_index_in_dim
            return ([put(a, g, number, 0) for a, g in zip(sums, found, strict=True)], slope), None

        layers = jnp.arange(depth - 1), kept
        (sums, slope), _ = lax.scan(step, (sums, slope), layers, reverse=True, unroll=unroll)
        found = iter(sums)
        return [next(found) if moving else None for moving in moves], slope, None

    run = jax.custom_vjp(forward)
    run.defvjp(differentiated, backward, symbolic_zeros=True)
    return run(params, x, constants)


def _is_primal(each: object) -> bool:
    return isinstance(each, jax.custom_derivatives.CustomVJPPrimal)
