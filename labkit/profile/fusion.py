"""Simplified model of XLA's fusion and scheduling on a CPU.

1. **Fusion.** Element-wise operations, broadcasts, slices, gathers and changes of shape are computed where they are
   read. Products, convolutions, reductions, scatters, sorts and random bits write their result to memory, and what
   they multiply, scatter or sort must be in memory too. A dear operation (division, root, exponential …) that several
   readers need is written once; erfc(x) contains exp(-x²) and shares it.
2. **Layout.** A product wants the axes of its batch first and the summed axes of its left factor last, a convolution
   [b, y, x, c] and [y, x, c, d]. What comes otherwise, as in the gradients of kernels, is copied in that order.
3. **Order.** Instructions run breadth first: what became ready first runs first. So a value may wait long for the
   reader that needs something else too; random bits, which need but a key, are there long before they are used.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from labkit.profile.flops import REDUCTIONS, inner, is_literal, names_in

#: Computed where they are read, but written once where several read them.
DEAR = names_in(
    """acos acosh asin asinh atan atan2 atanh cbrt cos cosh div erf erfc erf_inv exp exp2 expm1 log log1p logistic pow
    rem rsqrt sin sinh sqrt tan tanh lgamma digamma"""
)
#: Written to memory, and so are the operands at these places (None: all).
WRITTEN: dict[str, tuple[int, ...] | None] = {
    "dot_general": None, "conv_general_dilated": None, "sort": None, "cumsum": None, "cumprod": None, "cummax": None,
    "cummin": None, "cumlogsumexp": None, "dynamic_update_slice": (0,), "optimization_barrier": None,
    "top_k": None, "fft": None, "cholesky": None, "triangular_solve": None, "custom_call": None, "pure_callback": None,
    "select_and_scatter_add": None, "select_and_gather_add": None, "all_gather": None, "psum": None,
}  # fmt: skip
LOOPS = ("scan", "while")
#: These read an element at another place than where they put it.
MOVES = names_in("broadcast_in_dim concatenate dynamic_slice gather pad rev slice transpose turned")
#: How far back the order in which steps of one level became ready is looked up.
QUEUED = 3
#: So many instructions follow one upon the other.
LEVELS = {"random_bits": 8}


@dataclass(frozen=True)
class Step:
    """An equation with a number for each value that it reads (None: a constant) and writes."""

    name: str
    equation: Any
    reads: tuple[int | None, ...]
    writes: tuple[int, ...]


@dataclass(frozen=True)
class Flat:
    """A jaxpr with all calls inlined, so that a value has one number wherever it is passed."""

    inputs: list[int]
    steps: list[Step]
    outputs: list[int | None]


def flat(jaxpr: Any, numbers: Iterator[int] | None = None) -> Flat:
    """Lay out a jaxpr; loops and branches stay single steps."""
    numbers = itertools.count() if numbers is None else numbers
    named: dict[Any, int | None] = {var: next(numbers) for var in (*jaxpr.constvars, *jaxpr.invars)}
    steps: list[Step] = []
    outputs = _lay(jaxpr, named, steps, numbers)
    return Flat([named[var] for var in jaxpr.invars], steps, outputs)


def _lay(jaxpr: Any, named: dict[Any, int | None], steps: list[Step], numbers: Iterator[int]) -> list[int | None]:
    for equation in jaxpr.eqns:
        reads = tuple(None if is_literal(atom) else named[atom] for atom in equation.invars)
        if (called := inner(equation)) is not None:
            within = {var: next(numbers) for var in called.constvars} | dict(zip(called.invars, reads, strict=True))
            named.update(zip(equation.outvars, _lay(called, within, steps, numbers), strict=True))
        elif equation.primitive.name == "scan" and equation.params["length"] == 1:  # XLA takes the loop away
            body = equation.params["jaxpr"].jaxpr
            within = dict(zip(body.invars, reads, strict=True))
            named.update(zip(equation.outvars, _lay(body, within, steps, numbers), strict=True))
        else:
            writes = tuple(next(numbers) for _ in equation.outvars)
            named.update(zip(equation.outvars, writes, strict=True))
            if equation.primitive.name in TURNS:
                reads = _turn(equation, reads, steps, numbers)
            steps.append(Step(equation.primitive.name, equation, reads, writes))
    return [None if is_literal(atom) else named[atom] for atom in jaxpr.outvars]


class Turned(NamedTuple):
    """Stands for an equation: its operand, copied to a new layout."""

    outvars: list[Any]
    invars: list[Any]
    effects: frozenset[Any] = frozenset()


def _turn(
    equation: Any, reads: tuple[int | None, ...], steps: list[Step], numbers: Iterator[int]
) -> tuple[int | None, ...]:
    """The operands of a product, copies of them where XLA's routine wants another order of axes."""
    found = list(reads)
    for place, right in enumerate(TURNS[equation.primitive.name](equation)):
        if not right and reads[place] is not None:
            found[place] = next(numbers)
            atoms = [equation.invars[place]]
            steps.append(Step("turned", Turned(atoms, atoms), (reads[place],), (found[place],)))
    return tuple(found)


def _product_order(equation: Any) -> tuple[bool, bool]:
    """Left and right: is the batch first and, on the left, the summed axis last?"""
    (left, _), (left_batch, right_batch) = equation.params["dimension_numbers"]
    first = tuple(range(len(left_batch)))
    rank = len(equation.invars[0].aval.shape)
    last = tuple(range(rank - len(left), rank))
    return tuple(left_batch) == first and tuple(sorted(left)) == last, tuple(right_batch) == first


def _convolution_order(equation: Any) -> tuple[bool, bool]:
    """Is the picture [b, y, x, c], is the kernel [y, x, c, d]?"""
    numbers, rank = equation.params["dimension_numbers"], len(equation.invars[0].aval.shape)
    picture, kernel = (0, rank - 1, *range(1, rank - 1)), (rank - 1, rank - 2, *range(rank - 2))
    return tuple(numbers.lhs_spec) == picture, tuple(numbers.rhs_spec) == kernel


TURNS: dict[str, Callable[[Any], tuple[bool, bool]]] = {
    "dot_general": _product_order, "conv_general_dilated": _convolution_order,
}  # fmt: skip


def needs(step: Step) -> Iterable[int]:
    """Places of the operands that must be in memory."""
    everything = range(len(step.reads))
    if step.name in LOOPS or step.name == "cond":
        return everything
    if step.name.startswith("scatter"):
        return everything
    places = WRITTEN.get(step.name, ())
    return everything if places is None else places


def fuses(step: Step) -> bool:
    """Whether the step is computed where its result is read."""
    name = step.name
    solid = name in WRITTEN or name in LOOPS or name == "cond" or name in REDUCTIONS or name in ("argmax", "argmin")
    return not (solid or name.startswith(("scatter", "reduce_", "random_bits")))


def stored_in(flat: Flat) -> tuple[set[int], dict[int, int]]:
    """The values that go to memory, and how many readers each value has once all is fused."""
    stored: set[int] = set()
    readers: dict[int, int] = defaultdict(int)
    summed: set[int] = set()  # what a reduction reads
    for number in flat.outputs:
        if number is not None:
            readers[number] += 1
    shared = _inside_erfc(flat)
    for step in reversed(flat.steps):
        count = sum(readers[number] for number in step.writes) + (step.writes[0] in shared if step.writes else 0)
        if not count and not step.equation.effects:
            continue
        if not fuses(step):
            count = 1
            stored.update(step.writes)
            stored.update(step.reads[place] for place in needs(step) if step.reads[place] is not None)
        elif step.writes[0] in stored or (count > 1 and (step.name in DEAR or step.writes[0] in summed)):
            count = 1
            stored.add(step.writes[0])
        for number in step.reads:
            if number is not None:
                readers[number] += count
        if step.name in REDUCTIONS or (step.writes[0] in summed and step.writes[0] not in stored):
            summed.update(number for number in step.reads if number is not None)
    return stored, readers


def _inside_erfc(flat: Flat) -> set[int]:
    """The numbers exp(-x²) where erfc(x) is computed too, which is made of it: both read the one."""
    made = {number: step for step in flat.steps for number in step.writes}
    of = {step.reads[0] for step in flat.steps if step.name == "erfc"}
    found = set()
    for step in flat.steps:
        power = step
        for name in ("exp", "neg"):
            power = made.get(power.reads[0]) if power is not None and power.name == name else None
        if power is not None and power.name in ("square", "integer_pow", "mul") and power.reads[0] in of:
            found.add(step.writes[0])
    return found


def ordered(flat: Flat, stored: set[int]) -> list[Step]:
    """The steps in the order that XLA runs them on a CPU: breadth first, what is ready first."""
    when: dict[int | None, tuple[int, ...]] = defaultdict(lambda: (0,))  # level, level before it, … of each value
    keys, turned = [], {step.writes[0] for step in flat.steps if step.name == "turned"}
    for place, step in enumerate(flat.steps):
        fused = fuses(step) and not any(number in stored for number in step.writes)
        last = max((when[number] for number in step.reads), default=(0,))
        late = step.name == "conv_general_dilated" and any(n in turned and when[n] == last for n in step.reads)
        own = last if fused else (last[0] + LEVELS.get(step.name, 1) + late, *last[:QUEUED])
        when.update(dict.fromkeys(step.writes, own))
        keys.append((own[0], fused, own, place))
    return [flat.steps[key[-1]] for key in sorted(keys)]
