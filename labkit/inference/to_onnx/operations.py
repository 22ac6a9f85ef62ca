"""The table of JAX primitives as operators of ONNX (version 20 of its operator set).

A rule gets the graph, the equation's parameters, the shape and data type of its result, and its operands. What has no
rule is refused by name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from labkit.core.errors import ConfigError
from labkit.i18n import _
from labkit.inference.to_onnx.graph import END, Graph, Tensor, is_fixed

#: A rule: (graph, parameters, result, operands) → value, or values.
Rule = Callable[..., Any]
RULES: dict[str, Rule] = {}


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Add a function to :data:`RULES` under the names of primitives."""

    def added(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(names, function))
        return function

    return added


def refused(primitive: str, why: object = None) -> ConfigError:
    """The error of a computation that the export does not support."""
    if why is None:
        return ConfigError(
            _("the ONNX export does not support the operation {name!r} of JAX, which this model computes."),
            name=primitive,
        )
    return ConfigError(
        _("the ONNX export does not support the operation {name!r} of JAX ({why}), which this model computes."),
        name=primitive, why=why,
    )  # fmt: skip


# --- element by element -----------------------------------------------------------------------------------------------


def joined(tensors: Sequence[Tensor]) -> tuple[Any, ...]:
    """The shape that operands are held in when they are broadcast to each other."""
    rank = max(len(tensor.held) for tensor in tensors)
    held = [(1,) * (rank - len(tensor.held)) + tensor.held for tensor in tensors]
    return tuple(next((size for size in sizes if size != 1), 1) for sizes in zip(*held, strict=True))


def pointwise(graph: Graph, operator: str, result: Any, *operands: Tensor, **attributes: Any) -> Tensor:
    """A node that computes element by element."""
    name = graph.node(operator, *map(graph.named, operands), **attributes)
    return Tensor(result.shape, result.dtype, name, None, joined(operands))


def scalar(value: Any, dtype: Any) -> Tensor:
    """A constant without axes."""
    return Tensor.constant(np.asarray(value, dtype))


#: Primitive → operator that computes the same.
SAME = {
    "add": "Add", "add_any": "Add", "sub": "Sub", "mul": "Mul", "neg": "Neg", "abs": "Abs", "sign": "Sign",
    "exp": "Exp", "log": "Log", "sqrt": "Sqrt", "tanh": "Tanh", "logistic": "Sigmoid", "erf": "Erf", "sin": "Sin",
    "cos": "Cos", "tan": "Tan", "floor": "Floor", "ceil": "Ceil", "max": "Max", "min": "Min", "div": "Div",
    "pow": "Pow", "eq": "Equal", "lt": "Less", "le": "LessOrEqual", "gt": "Greater", "ge": "GreaterOrEqual",
}  # fmt: skip
#: Primitives whose result is their operand.
IDENTITY = (
    "copy",
    "copy_p",
    "stop_gradient",
    "reduce_precision",
    "optimization_barrier",
    "sharding_constraint",
)
#: Primitive on truth values → operator.
LOGICAL = {"and": "And", "or": "Or", "xor": "Xor", "not": "Not"}


@rule(*SAME)
def _same(graph: Graph, given: Any, result: Any, *operands: Tensor) -> Tensor:
    return pointwise(graph, SAME[given.name], result, *operands)


@rule(*LOGICAL)
def _logical(graph: Graph, given: Any, result: Any, *operands: Tensor) -> Tensor:
    if result.dtype != bool:
        raise refused(given.name, _("on integers"))
    return pointwise(graph, LOGICAL[given.name], result, *operands)


@rule("ne")
def _different(graph: Graph, given: Any, result: Any, *operands: Tensor) -> Tensor:
    return pointwise(graph, "Not", result, pointwise(graph, "Equal", result, *operands))


@rule("rsqrt")
def _inverse_root(graph: Graph, given: Any, result: Any, x: Tensor) -> Tensor:
    return pointwise(graph, "Reciprocal", result, pointwise(graph, "Sqrt", result, x))


@rule("square")
def _square(graph: Graph, given: Any, result: Any, x: Tensor) -> Tensor:
    return pointwise(graph, "Mul", result, x, x)


@rule("integer_pow")
def _integer_power(graph: Graph, given: Any, result: Any, x: Tensor) -> Tensor:
    found, power = x, abs(given.y)
    for _unused in range(power - 1):
        found = pointwise(graph, "Mul", result, found, x)
    if not power:
        return scalar(1, result.dtype)
    return found if given.y > 0 else pointwise(graph, "Reciprocal", result, found)


@rule("log1p")
def _log_plus_one(graph: Graph, given: Any, result: Any, x: Tensor) -> Tensor:
    return pointwise(graph, "Log", result, pointwise(graph, "Add", result, x, scalar(1, x.dtype)))


@rule("expm1")
def _exp_minus_one(graph: Graph, given: Any, result: Any, x: Tensor) -> Tensor:
    return pointwise(graph, "Sub", result, pointwise(graph, "Exp", result, x), scalar(1, x.dtype))


@rule("exp2")
def _power_of_two(graph: Graph, given: Any, result: Any, x: Tensor) -> Tensor:
    return pointwise(graph, "Pow", result, scalar(2, x.dtype), x)


@rule("erfc")
def _complement(graph: Graph, given: Any, result: Any, x: Tensor) -> Tensor:
    return pointwise(graph, "Sub", result, scalar(1, x.dtype), pointwise(graph, "Erf", result, x))


@rule("rem")
def _remainder(graph: Graph, given: Any, result: Any, *operands: Tensor) -> Tensor:
    return pointwise(graph, "Mod", result, *operands, fmod=1)


@rule("round")
def _rounded(graph: Graph, given: Any, result: Any, x: Tensor) -> Tensor:
    if int(given.rounding_method) != 1:
        raise refused("round", _("half away from zero"))
    return pointwise(graph, "Round", result, x)


@rule("is_finite")
def _finite(graph: Graph, given: Any, result: Any, x: Tensor) -> Tensor:
    strange = [pointwise(graph, operator, result, x) for operator in ("IsNaN", "IsInf")]
    return pointwise(graph, "Not", result, pointwise(graph, "Or", result, *strange))


@rule("clamp")
def _clamped(graph: Graph, given: Any, result: Any, low: Tensor, x: Tensor, high: Tensor) -> Tensor:
    return pointwise(graph, "Min", result, pointwise(graph, "Max", result, x, low), high)


@rule("select_n")
def _selected(graph: Graph, given: Any, result: Any, which: Tensor, *cases: Tensor) -> Tensor:
    if which.dtype != bool or len(cases) != 2:
        raise refused("select_n", _("of more than two cases"))
    return pointwise(graph, "Where", result, which, cases[1], cases[0])


@rule("convert_element_type")
def _converted(graph: Graph, given: Any, result: Any, x: Tensor) -> Tensor:
    return graph.cast(x, result.dtype)


@rule(*IDENTITY)
def _itself(graph: Graph, given: Any, result: Any, x: Tensor, *others: Tensor) -> Tensor:
    return x


# --- shapes -----------------------------------------------------------------------------------------------------------


@rule("broadcast_in_dim")
def _broadcast(graph: Graph, given: Any, result: Any, x: Tensor, *sizes: Tensor) -> Tensor:
    """Axes of size 1 are put in; ONNX broadcasts them where it computes."""
    places = given.broadcast_dimensions
    held: list[Any] = [1] * len(result.shape)
    for axis, place in enumerate(places):
        held[place] = x.held[axis]
    if x.data is not None:
        return Tensor(result.shape, x.dtype, "", x.data.reshape(held), tuple(held))
    name, new = x.name, [axis for axis in range(len(result.shape)) if axis not in places]
    if new:
        name = graph.node("Unsqueeze", name, graph.integers(*new))
    return Tensor(result.shape, x.dtype, name, None, tuple(held))


@rule("reshape")
def _reshaped(graph: Graph, given: Any, result: Any, x: Tensor, *sizes: Tensor) -> Tensor:
    if given.dimensions is not None:
        raise refused("reshape", _("with another order of dimensions"))
    return graph.reshaped(x, result.shape)


@rule("squeeze")
def _squeezed(graph: Graph, given: Any, result: Any, x: Tensor) -> Tensor:
    held = tuple(size for axis, size in enumerate(x.held) if axis not in given.dimensions)
    if x.data is not None:
        return Tensor(result.shape, x.dtype, "", x.data.reshape(held), held)
    name = graph.node("Squeeze", x.name, graph.integers(*given.dimensions))
    return Tensor(result.shape, x.dtype, name, None, held)


@rule("expand_dims")
def _expanded(graph: Graph, given: Any, result: Any, x: Tensor) -> Tensor:
    return graph.reshaped(x, result.shape)


@rule("transpose")
def _transposed(graph: Graph, given: Any, result: Any, x: Tensor) -> Tensor:
    return graph.transposed(x, given.permutation)


@rule("concatenate")
def _concatenated(graph: Graph, given: Any, result: Any, *parts: Tensor) -> Tensor:
    names = [graph.named(graph.whole(part)) for part in parts]
    name = graph.node("Concat", *names, axis=given.dimension)
    return Tensor(result.shape, result.dtype, name, None, result.shape)


@rule("stack")
def _stacked(graph: Graph, given: Any, result: Any, *parts: Tensor) -> Tensor:
    axis = graph.integers(given.axis)
    names = [graph.node("Unsqueeze", graph.named(graph.whole(part)), axis) for part in parts]
    return Tensor(
        result.shape, result.dtype, graph.node("Concat", *names, axis=given.axis), None, result.shape
    )


@rule("iota")
def _counted(graph: Graph, given: Any, result: Any, *sizes: Tensor) -> Tensor:
    axis = given.dimension
    held = tuple(size if place == axis else 1 for place, size in enumerate(result.shape))
    if is_fixed(result.shape[axis]):
        data = np.arange(result.shape[axis], dtype=result.dtype).reshape(held)
        return Tensor(result.shape, result.dtype, "", data, held)
    end = graph.node("Squeeze", graph.size(result.shape[axis]), graph.integers(0))
    name = graph.node("Range", graph.stored(np.array(0, np.int64)), end, graph.stored(np.array(1, np.int64)))
    counted = graph.cast(Tensor(held, np.dtype(np.int64), name, None, (result.shape[axis],)), result.dtype)
    if others := [place for place in range(len(held)) if place != axis]:
        counted.name = graph.node("Unsqueeze", counted.name, graph.integers(*others))
    return Tensor(result.shape, result.dtype, counted.name, None, held)


def sliced(
    graph: Graph, x: Tensor, cuts: Sequence[tuple[int, Any, Any, int]], shape: Sequence[Any]
) -> Tensor:
    """A part of a value: (axis, start, end, step) of each axis that is cut, starts and ends as sizes or names."""
    x = graph.whole(x)
    if not cuts:
        return x
    axes, starts, ends, steps = zip(*cuts, strict=True)

    def vector(values: Sequence[Any]) -> str:
        if any(isinstance(value, str) for value in values):
            names = [value if isinstance(value, str) else graph.size(value) for value in values]
            return graph.node("Concat", *names, axis=0)
        return graph.sizes(values)

    name = graph.node(
        "Slice", graph.named(x), vector(starts), vector(ends), graph.integers(*axes), graph.integers(*steps)
    )
    return Tensor(tuple(shape), x.dtype, name, None, tuple(shape))


@rule("slice")
def _slice(graph: Graph, given: Any, result: Any, x: Tensor) -> Tensor:
    strides = given.strides or (1,) * len(x.shape)
    cuts = [
        (axis, start, END if end == size else end, int(step))
        for axis, (start, end, step, size) in enumerate(
            zip(given.start_indices, given.limit_indices, strides, x.shape, strict=True)
        )
        if not (is_fixed(start) and start == 0 and step == 1 and end == size)
    ]
    return sliced(graph, x, cuts, result.shape)


@rule("rev")
def _reversed(graph: Graph, given: Any, result: Any, x: Tensor) -> Tensor:
    return sliced(graph, x, [(axis, -1, -END, -1) for axis in given.dimensions], result.shape)


def window(graph: Graph, x: Tensor, starts: Sequence[Tensor], sizes: Sequence[Any]) -> Tensor:
    """The part of ``sizes`` that begins at ``starts``, integers without axes; moved inside where it begins too late."""
    cuts: list[Any] = []
    for axis, (start, size, length) in enumerate(zip(starts, sizes, x.shape, strict=True)):
        if size == length:
            continue
        if start.data is not None and is_fixed(size) and is_fixed(length):
            first = int(np.clip(int(start.data), 0, length - size))
            cuts.append((axis, first, first + size, 1))
            continue
        if start.data is not None and int(start.data) == 0:
            cuts.append((axis, 0, size, 1))
            continue
        wide = graph.node("Unsqueeze", graph.named(graph.cast(start, np.int64)), graph.integers(0))
        wide = graph.node("Max", wide, graph.integers(0))
        latest = graph.node("Sub", graph.size(length), graph.size(size))
        first = graph.node("Min", wide, latest)
        cuts.append((axis, first, graph.node("Add", first, graph.size(size)), 1))
    return sliced(graph, x, cuts, sizes)


@rule("dynamic_slice")
def _dynamic_slice(graph: Graph, given: Any, result: Any, x: Tensor, *starts: Tensor) -> Tensor:
    return window(graph, x, starts[: len(x.shape)], result.shape)


@rule("split")
def _split(graph: Graph, given: Any, result: Any, x: Tensor) -> list[Tensor]:
    found, first = [], 0
    for size, part in zip(given.sizes, result, strict=True):
        last = first + size
        found.append(sliced(graph, x, [(given.axis, first, last, 1)], part.shape))
        first = last
    return found


@rule("pad")
def _padded(graph: Graph, given: Any, result: Any, x: Tensor, fill: Tensor) -> Tensor:
    if any(inner for _low, _high, inner in given.padding_config):
        raise refused("pad", _("between elements"))
    x = graph.whole(x)
    kind = x.dtype
    if kind.kind == "b":
        x, fill = (graph.cast(each, np.int32) for each in (x, fill))
    low = [each[0] for each in given.padding_config]
    high = [each[1] for each in given.padding_config]
    name = graph.node("Pad", graph.named(x), graph.sizes([*low, *high]), graph.named(fill), mode="constant")
    return graph.cast(Tensor(result.shape, x.dtype, name, None, result.shape), kind)


@rule("dim_as_value")
def _size_as_value(graph: Graph, given: Any, result: Any) -> Tensor:
    name = graph.node("Squeeze", graph.size(given.dim), graph.integers(0))
    return graph.cast(Tensor((), np.dtype(np.int64), name, None, ()), result.dtype)


# --- sums and products ------------------------------------------------------------------------------------------------

#: Reduction → operator.
REDUCTIONS = {
    "reduce_sum": "ReduceSum", "reduce_max": "ReduceMax", "reduce_min": "ReduceMin", "reduce_prod": "ReduceProd",
    "reduce_or": "ReduceMax", "reduce_and": "ReduceMin",
}  # fmt: skip


@rule(*REDUCTIONS)
def _reduced(graph: Graph, given: Any, result: Any, x: Tensor) -> Tensor:
    x, logical = graph.whole(x), x.dtype == bool
    x = graph.cast(x, np.int32) if logical else x
    axes = graph.integers(*(int(axis) for axis in given.axes))
    if not given.axes:
        return x
    name = graph.node(REDUCTIONS[given.name], graph.named(x), axes, keepdims=0)
    return graph.cast(Tensor(result.shape, x.dtype, name, None, result.shape), result.dtype)


@rule("argmax", "argmin")
def _place_of_extreme(graph: Graph, given: Any, result: Any, x: Tensor) -> Tensor:
    operator = {"argmax": "ArgMax", "argmin": "ArgMin"}[given.name]
    (axis,) = given.axes
    name = graph.node(operator, graph.named(graph.whole(x)), axis=int(axis), keepdims=0)
    return graph.cast(Tensor(result.shape, np.dtype(np.int64), name, None, result.shape), result.dtype)


@rule("cumsum")
def _running_sum(graph: Graph, given: Any, result: Any, x: Tensor) -> Tensor:
    axis = graph.stored(np.array(given.axis, np.int64))
    name = graph.node("CumSum", graph.named(graph.whole(x)), axis, reverse=int(given.reverse))
    return Tensor(result.shape, result.dtype, name, None, result.shape)


@rule("dot_general")
def _product(graph: Graph, given: Any, result: Any, a: Tensor, b: Tensor) -> Tensor:
    """Matrices side by side: [batch …, rows, summed] times [batch …, summed, columns]."""
    (summed_a, summed_b), (batch_a, batch_b) = given.dimension_numbers
    free_a = [axis for axis in range(len(a.shape)) if axis not in (*summed_a, *batch_a)]
    free_b = [axis for axis in range(len(b.shape)) if axis not in (*summed_b, *batch_b)]
    a, b = graph.cast(a, result.dtype), graph.cast(b, result.dtype)
    a = graph.transposed(graph.whole(a), (*batch_a, *free_a, *summed_a))
    b = graph.transposed(graph.whole(b), (*batch_b, *summed_b, *free_b))
    batch, count = a.shape[: len(batch_a)], len(batch_a)
    rows, columns = a.shape[count : count + len(free_a)], b.shape[count + len(summed_b) :]
    middle = (math.prod(a.shape[count + len(free_a) :]),)
    plain = not batch and len(free_b) == 1 and len(summed_a) == 1 and free_a
    if not plain:  # of a matrix without batches any number of rows is read as they are
        a = a if len(free_a) == len(summed_a) == 1 else graph.reshaped(a, (*batch, math.prod(rows), *middle))
        b = (
            b
            if len(free_b) == len(summed_a) == 1
            else graph.reshaped(b, (*batch, *middle, math.prod(columns)))
        )
    made = (*rows, *columns) if plain else (*batch, math.prod(rows), math.prod(columns))
    found = Tensor(made, result.dtype, graph.node("MatMul", graph.named(a), graph.named(b)), None, made)
    return graph.reshaped(found, result.shape)


@rule("conv_general_dilated")
def _convolution(graph: Graph, given: Any, result: Any, x: Tensor, kernel: Tensor) -> Tensor:
    numbers = given.dimension_numbers
    if any(step != 1 for step in given.lhs_dilation) or given.batch_group_count != 1:
        raise refused("conv_general_dilated", _("transposed, or in groups of the batch"))
    x = graph.transposed(graph.whole(x), numbers.lhs_spec)
    kernel = graph.transposed(graph.whole(kernel), numbers.rhs_spec)
    low, high = zip(*given.padding, strict=True)
    name = graph.node(
        "Conv", graph.named(x), graph.named(kernel), strides=list(given.window_strides), pads=[*low, *high],
        dilations=list(given.rhs_dilation), group=given.feature_group_count,
    )  # fmt: skip
    shape = tuple(result.shape[axis] for axis in numbers.out_spec)
    back = np.argsort(numbers.out_spec).tolist()
    return graph.transposed(Tensor(shape, result.dtype, name, None, shape), back)


@rule("reduce_window_max", "reduce_window_sum")
def _pooled(graph: Graph, given: Any, result: Any, x: Tensor) -> Tensor:
    """Windows over the two middle axes of [batch, height, width, channels]."""
    window, steps, pads = given.window_dimensions, given.window_strides, given.padding
    dilated = any(step != 1 for step in (*given.base_dilation, *given.window_dilation))
    if len(window) != 4 or window[0] != 1 or window[3] != 1 or dilated:
        raise refused(given.name, _("of other axes than height and width"))
    x = graph.transposed(graph.whole(x), (0, 3, 1, 2))
    low, high = zip(*pads[1:3], strict=True)
    settings = {"kernel_shape": window[1:3], "strides": steps[1:3], "pads": [*low, *high]}
    if given.name == "reduce_window_max":
        name = graph.node("MaxPool", graph.named(x), **settings)
    else:
        name = graph.node("AveragePool", graph.named(x), count_include_pad=1, **settings)
        name = graph.node("Mul", name, graph.stored(np.asarray(math.prod(window), x.dtype)))
    shape = tuple(result.shape[axis] for axis in (0, 3, 1, 2))
    return graph.transposed(Tensor(shape, result.dtype, name, None, shape), (0, 2, 3, 1))


# --- look-ups ---------------------------------------------------------------------------------------------------------


@rule("gather")
def _gathered(graph: Graph, given: Any, result: Any, x: Tensor, places: Tensor) -> Tensor:
    how, sizes = given.dimension_numbers, given.slice_sizes
    indexed, batched = how.start_index_map, how.operand_batching_dims
    if len(places.shape) == 1:  # one window
        starts: list[Tensor] = [scalar(0, np.int64)] * len(x.shape)
        for number, axis in enumerate(indexed):
            if places.data is not None:
                starts[axis] = scalar(places.data[number], np.int64)
            else:
                part = sliced(graph, places, [(0, number, number + 1, 1)], (1,))
                starts[axis] = graph.reshaped(part, ())
        return graph.reshaped(window(graph, x, starts, sizes), result.shape)
    if set(how.collapsed_slice_dims) != set(indexed) or any(sizes[axis] != 1 for axis in indexed):
        raise refused("gather", _("of several windows"))
    whole = [axis for axis in range(len(x.shape)) if axis not in (*indexed, *batched)]
    if any(sizes[axis] != x.shape[axis] for axis in whole):
        raise refused("gather", _("of parts of rows"))
    x, places = graph.whole(x), graph.cast(graph.whole(places), np.int64)
    safe, inside = _inside(graph, given, x, places)
    if len(indexed) == 1 and not batched:
        x = graph.transposed(x, (*indexed, *whole))
        flat = graph.reshaped(safe, safe.shape[:-1])
        name = graph.node("Gather", graph.named(x), graph.named(flat), axis=0)
    else:
        x = graph.transposed(x, (*batched, *indexed, *whole))
        if tuple(how.start_indices_batching_dims) != tuple(range(len(batched))):
            raise refused("gather", _("with other batch dimensions than the first"))
        name = graph.node("GatherND", graph.named(x), graph.named(safe), batch_dims=len(batched))
    first = places.shape[:-1]
    shape = (*first, *(x.shape[len(batched) + len(indexed) :]))
    found = Tensor(shape, x.dtype, name, None, shape)
    if inside is not None:
        inside = graph.reshaped(inside, (*first, *(1,) * len(whole)))
        empty = scalar(given.fill_value, x.dtype)
        found = pointwise(graph, "Where", found, inside, found, empty)
    order: list[int] = []  # axes of the result: those of rows at offset_dims, those of places elsewhere
    rows, others = iter(range(len(first), len(shape))), iter(range(len(first)))
    for axis in range(len(result.shape)):
        order.append(next(rows) if axis in how.offset_dims else next(others))
    return graph.transposed(found, order)


def _inside(graph: Graph, given: Any, x: Tensor, places: Tensor) -> tuple[Tensor, Tensor | None]:
    """Places moved inside the operand, and which of them were (None: all are, or the runtime refuses others)."""
    mode = str(given.mode)
    if "PROMISE" in mode:
        return places, None
    limits = [x.shape[axis] for axis in given.dimension_numbers.start_index_map]
    unknown = given.fill_value is None or given.fill_value != given.fill_value
    if (
        "FILL" in mode and unknown and len(limits) == 1
    ):  # a table: ONNX Runtime refuses numbers beyond its end
        return places, None
    if not all(map(is_fixed, limits)):
        raise refused("gather", _("of places along a dimension of variable size"))
    low, high = np.zeros(len(limits), np.int64), np.array(limits, np.int64) - 1
    safe = pointwise(graph, "Min", places, pointwise(graph, "Max", places, places, Tensor.constant(low)),
                     Tensor.constant(high))  # fmt: skip
    if "CLIP" in mode:
        return safe, None
    truth = Tensor(places.shape, np.dtype(bool), "", None, places.shape)
    same = graph.cast(pointwise(graph, "Equal", truth, safe, places), np.int32)
    name = graph.node("ReduceMin", same.name, graph.integers(-1), keepdims=0)
    return safe, graph.cast(
        Tensor(places.shape[:-1], np.dtype(np.int32), name, None, places.shape[:-1]), bool
    )


@rule("top_k")
def _greatest(graph: Graph, given: Any, result: Any, x: Tensor) -> list[Tensor]:
    values, places = graph.nodes_of("TopK", 2, graph.named(graph.whole(x)), graph.integers(int(given.k)))
    shape = result[0].shape
    found = Tensor(shape, np.dtype(np.int64), places, None, shape)
    return [Tensor(shape, x.dtype, values, None, shape), graph.cast(found, result[1].dtype)]
