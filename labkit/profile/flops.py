"""FLOP count of a jaxpr, equal to XLA's cost analysis.

Nothing is compiled. The rules are those of XLA before it fuses: a product of matrices or a convolution counts two
operations for each term that is not padding, an element-wise operation one for each element (integers and comparisons
too), a reduction one for each element that disappears, a move of data none. Roots, exponentials and similar are
counted separately, as ``transcendentals``. One thing XLA does otherwise: it counts the body of a loop once, here it
counts as often as it turns.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.extend.core
import jax.numpy as jnp
import numpy as np


def names_in(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(text.split())


#: One operation for each element of the result.
ARITHMETIC = names_in(
    """abs add add_any and ceil clamp complex conj convert_element_type div eq eq_to floor ge gt imag is_finite le
    le_to lt lt_to max min mul ne neg nextafter not or population_count real rem round select_n shift_left
    shift_right_arithmetic shift_right_logical sign square sub xor reduce_precision"""
)
#: XLA puts these in a class of their own.
TRANSCENDENTAL = names_in(
    """acos acosh asin asinh atan atan2 atanh cbrt cos cosh erf exp exp2 expm1 log log1p logistic pow rsqrt sin sinh
    sqrt tan tanh"""
)
#: Data that moves, or names that change.
FREE = names_in(
    """bitcast_convert_type broadcast broadcast_in_dim concatenate copy copy_p device_put dynamic_slice
    dynamic_update_slice expand_dims gather iota mesh_cast optimization_barrier pad random_unwrap random_wrap
    reshape rev reshard sharding_constraint slice split squeeze stop_gradient transpose"""
)
#: Each element that disappears costs one operation (an arg-maximum compares values and places and looks for NaN: nine).
REDUCTIONS = names_in("reduce_sum reduce_max reduce_min reduce_prod reduce_and reduce_or reduce_xor")
CUMULATIVE = names_in("cumsum cumprod cummax cummin cumlogsumexp")


@dataclass
class Work:
    """Operations of a jaxpr, and where they are made.

    ``products`` are the part of ``flops`` in products of matrices and convolutions, by data type of the operands;
    ``by_primitive`` has all of ``flops``. ``batched`` is the part of ``products`` in many small ones at once, as those
    of attention.
    """

    flops: float = 0.0
    transcendentals: float = 0.0
    products: dict[str, float] = field(default_factory=dict)
    by_primitive: dict[str, float] = field(default_factory=dict)
    batched: float = 0.0

    def add(
        self, name: str, flops: float, transcendentals: float = 0.0, product: str = "", batched: bool = False
    ) -> None:
        """Count operations of the primitive ``name``; ``product`` is the data type of a product of matrices,
        ``batched`` whether it is many small ones."""
        self.batched += flops * batched
        self.flops += flops
        self.transcendentals += transcendentals
        if flops:
            self.by_primitive[name] = self.by_primitive.get(name, 0.0) + flops
        if product:
            self.products[product] = self.products.get(product, 0.0) + flops

    def merge(self, other: Work, times: float = 1.0) -> None:
        """Count ``other`` so many times."""
        self.flops += times * other.flops
        self.transcendentals += times * other.transcendentals
        self.batched += times * other.batched
        for mine, theirs in ((self.products, other.products), (self.by_primitive, other.by_primitive)):
            for name, value in theirs.items():
                mine[name] = mine.get(name, 0.0) + times * value


def count(function: Callable[..., Any], *args: Any) -> Work:
    """Operations of one call of ``function``; ``args`` may be shapes and data types only."""
    return work_of(jax.make_jaxpr(function)(*args).jaxpr)


def work_of(jaxpr: Any) -> Work:
    """Operations of a jaxpr and all that it calls."""
    work = Work()
    _walk(jaxpr, work, {})
    return work


def inner(equation: Any) -> Any | None:
    """The jaxpr that an equation calls directly (``jit``, ``remat``, custom derivatives …), or None."""
    if equation.primitive.name in ("scan", "while", "cond"):
        return None
    for key in ("jaxpr", "call_jaxpr", "fun_jaxpr"):
        if key in equation.params:
            called = equation.params[key]
            return getattr(called, "jaxpr", called)
    return None


def is_literal(atom: Any) -> bool:
    """Whether an operand is a constant written into the jaxpr."""
    return isinstance(atom, jax.extend.core.Literal)


# --- the walk ---------------------------------------------------------------------------------------------------------


def _walk(jaxpr: Any, work: Work, names: dict[Any, Any]) -> None:
    """Count a jaxpr. ``names`` says which variables are constants, or another variable under a new name."""
    for equation in _needed(jaxpr):
        operands = tuple(_name(atom, names) for atom in equation.invars)
        if (called := inner(equation)) is not None:
            within = dict(zip(called.invars, operands, strict=True))
            _walk(called, work, within)
            names.update(zip(equation.outvars, (_name(atom, within) for atom in called.outvars), strict=True))
        elif (plain := _folded(equation, operands)) is not None:
            names[equation.outvars[0]] = plain
        else:
            _count(equation, work)


def _needed(jaxpr: Any) -> list[Any]:
    """The equations whose results are used."""
    wanted = {atom for atom in jaxpr.outvars if not is_literal(atom)}
    kept = []
    for equation in reversed(jaxpr.eqns):
        if equation.effects or any(out in wanted for out in equation.outvars):
            kept.append(equation)
            wanted.update(atom for atom in equation.invars if not is_literal(atom))
    return kept[::-1]


def _name(atom: Any, names: dict[Any, Any]) -> Any:
    if is_literal(atom) and np.ndim(atom.val) == 0:
        return Constant(str(atom.aval.dtype), np.asarray(atom.val).item())
    return object() if is_literal(atom) else names.get(atom, atom)


class Constant(NamedTuple):
    """An array whose elements are all this number."""

    kind: str
    value: Any


#: What is computed of constants is not computed by the step, and neither is the second operand that changes nothing.
FOLDED: dict[str, Callable[..., Any]] = {
    "mul": operator.mul, "add": operator.add, "sub": operator.sub, "add_any": operator.add,
    "square": lambda value: value * value, "neg": operator.neg,
}  # fmt: skip
NEUTRAL = {"mul": 1, "add": 0, "add_any": 0, "sub": 0, "div": 1}


def _folded(equation: Any, operands: tuple[Any, ...]) -> Any | None:
    """The name of a result that XLA need not compute: a constant, or one of the operands; else None."""
    name = equation.primitive.name
    constants = [operand for operand in operands if isinstance(operand, Constant)]
    if name == "broadcast_in_dim" and len(constants) == len(operands) == 1:
        return constants[0]
    if name in FOLDED and len(constants) == len(operands):
        return Constant(constants[0].kind, FOLDED[name](*(constant.value for constant in constants)))
    if name == "integer_pow" and equation.params["y"] == 1:
        return operands[0]
    if name in NEUTRAL and len(operands) == 2:
        first, second = operands
        if isinstance(second, Constant) and second.value == NEUTRAL[name]:
            return first
        if isinstance(first, Constant) and first.value == NEUTRAL[name] and name in ("mul", "add", "add_any"):
            return second
    return None


def _count(equation: Any, work: Work) -> None:
    name, params = equation.primitive.name, equation.params
    out = equation.outvars[0].aval if equation.outvars else None
    size = math.prod(out.shape) if out is not None and hasattr(out, "shape") else 0
    if name in FREE:
        return
    if name in ARITHMETIC:
        work.add(name, size)
    elif name in TRANSCENDENTAL:
        work.add(name, 0.0, size)
    elif name == "dot_general":
        left = equation.invars[0].aval
        (contracted, _), (batch, _) = params["dimension_numbers"]
        flops = 2.0 * size * math.prod(left.shape[axis] for axis in contracted)
        work.add(name, flops, product=str(left.dtype), batched=bool(batch))
    elif name == "conv_general_dilated":
        work.add(name, _convolution(equation), product=str(equation.invars[0].aval.dtype))
    elif name in REDUCTIONS:
        work.add(name, max(0, math.prod(equation.invars[0].aval.shape) - size))
    elif name in ("argmax", "argmin"):
        work.add(name, 9.0 * max(0, math.prod(equation.invars[0].aval.shape) - size))
    elif name in CUMULATIVE:
        work.add(name, size * (equation.invars[0].aval.shape[params["axis"]] - 1.0))  # as a window
    elif name == "integer_pow":
        power = abs(params["y"])
        steps = power.bit_length() - 1 + power.bit_count() - 1 if power else 0
        work.add(name, float(size) * (max(0, steps) + (params["y"] < 0)))
    elif name.startswith("scatter"):
        work.add(name, float(math.prod(equation.invars[2].aval.shape)) * (name != "scatter"))
    elif name.startswith("reduce_window"):
        work.add(name, float(size) * (math.prod(params["window_dimensions"]) - 1))
    elif name in ("select_and_scatter_add", "select_and_gather_add"):
        work.add(name, float(math.prod(equation.invars[0].aval.shape)) * math.prod(params["window_dimensions"]))
    elif name == "sort":
        work.add(name, float(size) * math.ceil(math.log2(max(2, size))))
    elif name == "scan":
        work.merge(work_of(params["jaxpr"].jaxpr), params["length"])
    elif name == "while":  # how often it turns is not known here: once, as XLA counts
        work.merge(work_of(params["body_jaxpr"].jaxpr))
        work.merge(work_of(params["cond_jaxpr"].jaxpr))
    elif name == "cond":
        work.merge(max((work_of(branch.jaxpr) for branch in params["branches"]), key=lambda found: found.flops))
    else:
        _asked(equation, work)


def _convolution(equation: Any) -> float:
    """Two operations for each pair of an input element and a kernel element that meet; padding and holes are none."""
    data, kernel = (atom.aval.shape for atom in equation.invars[:2])
    params, numbers = equation.params, equation.params["dimension_numbers"]
    out = equation.outvars[0].aval.shape
    met = 1.0
    for place in range(len(numbers.lhs_spec) - 2):
        length, reach = data[numbers.lhs_spec[2 + place]], kernel[numbers.rhs_spec[2 + place]]
        stride, low = params["window_strides"][place], params["padding"][place][0]
        hole, step = params["lhs_dilation"][place], params["rhs_dilation"][place]
        at = np.arange(out[numbers.out_spec[2 + place]])[:, None] * stride + np.arange(reach)[None] * step - low
        met *= int(np.sum((at >= 0) & (at <= (length - 1) * hole) & (at % hole == 0)))
    batch, channels = out[numbers.out_spec[0]], out[numbers.out_spec[1]]
    return 2.0 * batch * channels * kernel[numbers.rhs_spec[1]] * met / params["batch_group_count"]


# --- what has no rule of its own -------------------------------------------------------------------------------------

#: Elements of the small programs that XLA is asked about.
_PROBE = 256


def _asked(equation: Any, work: Work) -> None:
    """Ask XLA what the primitive costs for a few elements; it is lowered, never compiled."""
    if not equation.outvars or not hasattr(equation.outvars[0].aval, "shape"):
        return
    out_atom = equation.outvars[0]
    out = out_atom.aval
    name, size = equation.primitive.name, math.prod(out.shape)
    if name == "random_bits":
        implementation = equation.invars[0].aval.dtype._impl.name  # the key type has no public name for it
        flops, more = _random_bits(implementation, equation.params["bit_width"])
    elif any(jax.dtypes.issubdtype(atom.aval.dtype, jax.dtypes.extended) for atom in (*equation.invars, out_atom)):
        return  # keys split and folded: a few words
    elif all(getattr(atom.aval, "shape", None) in (out.shape, ()) for atom in equation.invars):
        kinds = tuple(str(atom.aval.dtype) for atom in equation.invars)
        flops, more = _elementwise(equation.primitive, kinds, tuple(sorted(equation.params.items())))
    else:  # random_split, custom calls, what communicates: small, or not arithmetic
        return
    work.add(name, flops * size, more * size)


@functools.cache
def _random_bits(implementation: str, width: int) -> tuple[float, float]:
    shape = {8: jnp.uint8, 16: jnp.uint16, 32: jnp.uint32, 64: jnp.uint64}[width]
    key = jax.eval_shape(lambda: jax.random.key(0, impl=implementation))
    return _cost(lambda key: jax.random.bits(key, (16 * _PROBE,), shape), (key,), 16 * _PROBE)


@functools.cache
def _elementwise(primitive: Any, kinds: tuple[str, ...], params: Any) -> tuple[float, float]:
    args = tuple(jax.ShapeDtypeStruct((_PROBE,), kind) for kind in kinds)
    return _cost(lambda *args: primitive.bind(*args, **dict(params)), args, _PROBE)


def _cost(function: Callable[..., Any], args: tuple[Any, ...], size: int) -> tuple[float, float]:
    found = jax.jit(function).lower(*args).cost_analysis() or {}
    return found.get("flops", 0.0) / size, found.get("transcendentals", 0.0) / size
