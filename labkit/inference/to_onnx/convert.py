"""Conversion of a function of JAX to an ONNX graph: traced with symbolic sizes, operation by operation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from labkit.i18n import _
from labkit.inference.to_onnx.graph import Graph, Tensor, is_fixed
from labkit.inference.to_onnx.operations import IDENTITY, RULES, refused

#: Parameters of an operation that hold the function which it calls.
CALLED = ("call_jaxpr", "jaxpr", "fun_jaxpr")


def traced(function: Callable[..., Any], arguments: Sequence[Any]) -> tuple[Any, Any]:
    """The operations of ``function`` (a ``ClosedJaxpr``) and the shapes of its result."""
    made, shapes = jax.make_jaxpr(function, return_shape=True)(*arguments)
    return made, shapes


def convert(graph: Graph, closed: Any, arguments: Sequence[Tensor]) -> list[Tensor]:
    """Add the operations of a ``ClosedJaxpr`` to a graph.

    Args:
        graph: to which they are added.
        closed: from :func:`traced`.
        arguments: one for each of its inputs.

    Raises:
        ConfigError: an operation has no counterpart; the message names it.
    """
    constants = [Tensor.constant(jax.device_get(value)) for value in closed.consts]
    return _run(graph, closed.jaxpr, constants, arguments)


def _run(graph: Graph, jaxpr: Any, constants: Sequence[Tensor], arguments: Sequence[Tensor]) -> list[Tensor]:
    known: dict[Any, Tensor] = dict(zip(jaxpr.constvars, constants, strict=True))
    known.update(zip(jaxpr.invars, arguments, strict=True))

    def value(atom: Any) -> Tensor:
        return Tensor.constant(np.asarray(atom.val, atom.aval.dtype)) if hasattr(atom, "val") else known[atom]

    for equation in jaxpr.eqns:
        operands = list(map(value, equation.invars))
        found = _equation(graph, equation, operands)
        known.update(zip(equation.outvars, found, strict=True))
    return list(map(value, jaxpr.outvars))


def _equation(graph: Graph, equation: Any, operands: list[Tensor]) -> list[Tensor]:
    name = equation.primitive.name
    results = [variable.aval for variable in equation.outvars]
    if name == "optimization_barrier":
        return operands
    if name == "scan":
        return _scan(graph, equation.params, operands)
    inner = next((equation.params[key] for key in CALLED if key in equation.params), None)
    if inner is not None and name != "while":
        if hasattr(inner, "consts"):
            return convert(graph, inner, operands)
        return _run(graph, inner, (), operands)
    if name not in RULES:
        raise refused(name)
    if (folded := _folded(equation, operands, results)) is not None:
        return folded
    given = SimpleNamespace(name=name, **equation.params)
    made = RULES[name](
        graph, given, results if equation.primitive.multiple_results else results[0], *operands
    )
    return made if isinstance(made, list) else [made]


def _folded(equation: Any, operands: list[Tensor], results: list[Any]) -> list[Tensor] | None:
    """The results of an operation on constants, computed by JAX; None where an operand or a size is not known."""
    name = equation.primitive.name
    if not operands or any(operand.data is None for operand in operands):
        return None
    if name in IDENTITY or name in ("broadcast_in_dim", "transpose"):
        return None  # nothing to compute
    sizes = [size for shape in (*results, *operands) for size in shape.shape]
    if not all(map(is_fixed, sizes)):
        return None
    whole = [np.broadcast_to(operand.data, operand.shape) for operand in operands]  # type: ignore[arg-type]
    found = equation.primitive.bind(*map(jnp.asarray, whole), **equation.params)
    many = found if equation.primitive.multiple_results else [found]
    return [Tensor.constant(jax.device_get(each)) for each in many]


def _scan(graph: Graph, given: Mapping[str, Any], operands: list[Tensor]) -> list[Tensor]:
    """A loop of a known number of rounds, written out."""
    length, body = given["length"], given["jaxpr"]
    if not is_fixed(length):
        raise refused("scan", _("over a dimension of variable size"))
    constants = operands[: given["num_consts"]]
    carried = operands[given["num_consts"] : given["num_consts"] + given["num_carry"]]
    stacked = operands[given["num_consts"] + given["num_carry"] :]
    rows: list[list[Tensor]] = []
    order = range(length - 1, -1, -1) if given["reverse"] else range(length)
    for number in order:
        found = convert(graph, body, [*constants, *carried, *(_row(graph, each, number) for each in stacked)])
        carried, made = found[: len(carried)], found[len(carried) :]
        rows.append(made)
    if given["reverse"]:
        rows.reverse()
    return [*carried, *(_stack(graph, each) for each in zip(*rows, strict=True))]


def _row(graph: Graph, x: Tensor, number: int) -> Tensor:
    """Row ``number`` along the first axis."""
    if x.data is not None:
        held = x.data[number if x.held[0] != 1 or x.shape[0] == 1 else 0]
        return Tensor(x.shape[1:], x.dtype, "", held, held.shape)
    x = graph.whole(x)
    name = graph.node("Gather", x.name, graph.stored(np.array(number, np.int64)), axis=0)
    return Tensor(x.shape[1:], x.dtype, name, None, x.shape[1:])


def _stack(graph: Graph, rows: Sequence[Tensor]) -> Tensor:
    """Rows along a new first axis."""
    if all(row.data is not None and all(map(is_fixed, row.shape)) for row in rows):
        return Tensor.constant(np.stack([np.broadcast_to(row.data, row.shape) for row in rows]))  # type: ignore[arg-type]
    names = [graph.node("Unsqueeze", graph.named(graph.whole(row)), graph.integers(0)) for row in rows]
    shape = (len(rows), *rows[0].shape)
    return Tensor(shape, rows[0].dtype, graph.node("Concat", *names, axis=0), None, shape)
