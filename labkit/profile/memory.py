"""Estimate of the peak memory of a compiled step from its jaxpr, without compilation.

A walk over the jaxpr finds which values become arrays in memory and from when to when each of them is needed; the
plan is the moment with the most bytes. The rules are XLA's, made simple; none knows of a model:

1. **Fusion, layout and order** are those of :mod:`labkit.profile.fusion`.
2. **Loops.** What a scan stacks is there in full from its start; its slices are read in place, except by products. Its
   constants are in memory, even zeros. The arrays of its body come on top, once for all turns.
3. **Donation.** An output takes the place of the donated argument of its shape. Where another output reads that
   argument too, XLA saves a copy of it at the start, and uses the argument's own place for passing arrays meanwhile;
   the place of any other output likewise, until it is written.
4. **Random bits** are two words for each word drawn, until they are read.
5. **Half precision** is a matter of storage on a CPU: what is computed there in bfloat16 or float16 is stored as
float32.
6. **The heap.** Arrays are placed largest first (or longest-lived first, whichever ends lower), each into the tightest
   gap between those that live at the same time. A fused value may take the place of what it reads element by element.
7. **Devices.** An array of the shape of a donated argument is split as that argument is; any other that has an axis of
   the length of the batch is split as the batch is.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from labkit.profile.flops import is_literal
from labkit.profile.fusion import LOOPS, MOVES, Flat, Step, flat, fuses, needs, ordered, stored_in

#: XLA starts every array at a multiple of this many bytes.
ALIGNED = 64
#: What is smaller than the largest array by this factor finds room somewhere.
SMALL = 1000


@dataclass(frozen=True)
class MemoryPlan:
    """Bytes of a compiled function on one device, in the terms of XLA's ``memory_analysis()``; and the ``traffic``: all
    that it reads from memory and writes to it, if each array is written once and read once."""

    arguments: int
    outputs: int
    aliased: int
    temporaries: int
    traffic: float = 0.0

    @property
    def total(self) -> int:
        """All that is in memory at the worst moment."""
        return self.arguments + self.outputs - self.aliased + self.temporaries


def plan(
    function: Callable[..., Any], *args: Any, donate: tuple[int, ...] = (), platform: str | None = None
) -> MemoryPlan:
    """The memory of one call of ``function``.

    Args:
        function: any JAX function.
        args: its arguments; shapes and data types are enough. Arrays that carry a sharding count by their share.
        donate: places of the arguments that are donated.
        platform: what it is compiled for; left out, JAX's own choice here.
    """
    closed = jax.make_jaxpr(function)(*args)
    donated = [place in donate for place, arg in enumerate(args) for _ in jax.tree.leaves(arg)]
    return plan_of(closed.jaxpr, donated, shares_of(jax.tree.leaves(args)), platform or jax.default_backend())


def planned(memory: Any) -> MemoryPlan:
    """XLA's own plan, ``compiled.memory_analysis()``, in the same terms."""
    return MemoryPlan(
        memory.argument_size_in_bytes, memory.output_size_in_bytes, memory.alias_size_in_bytes,
        memory.temp_size_in_bytes,
    )  # fmt: skip


def size_of(aval: Any) -> int:
    """Bytes of an array with this shape and data type."""
    kind = aval.dtype
    if jax.dtypes.issubdtype(kind, jax.dtypes.prng_key):
        return math.prod(aval.shape) * math.prod(kind._impl.key_shape) * 4
    return math.prod(aval.shape) * kind.itemsize


def shares_of(leaves: list[Any]) -> list[int]:
    """Over how many devices each argument is split; 1 for what carries no sharding."""
    shares = []
    for leaf in leaves:
        sharding, size = getattr(leaf, "sharding", None), math.prod(leaf.shape)
        split = sharding is not None and size > 0
        shares.append(size // math.prod(sharding.shard_shape(tuple(leaf.shape))) if split else 1)
    return shares


# --- buffers ----------------------------------------------------------------------------------------------------------


@dataclass
class Buffer:
    """Bytes that are needed from one moment to another."""

    size: int
    born: int
    dies: int


Reads = frozenset[int]  # the buffers that a value is computed from
NOTHING: Reads = frozenset()


class Walk:
    """The buffers of a jaxpr in the order of its steps, with loops inlined."""

    def __init__(self, wide: bool = False, shapes: dict[Any, int] | None = None, lengths: dict[int, int] | None = None):
        self.now = 0
        self.buffers: list[Buffer] = []
        self.places: list[Buffer] = []  # donated arrays that lie idle because a copy of them is in use
        self.traffic, self.turns = 0.0, 1
        self.lent: dict[int, int] = {}  # sizes of the arguments, which have no bytes among the temporaries
        self.sliced: frozenset[int] = frozenset()  # inputs of the present jaxpr that are slices of a stack
        self.wide, self.shapes, self.lengths = wide, shapes or {}, lengths or {}

    def bytes(self, aval: Any) -> int:
        """Bytes of a temporary on one device."""
        size = size_of(aval)
        if self.wide and aval.dtype in (jnp.bfloat16, jnp.float16):
            size *= 2
        split = self.shapes.get(aval.shape) or max((self.lengths.get(axis, 1) for axis in aval.shape), default=1)
        return size // split

    def new(self, size: int) -> Reads:
        """A buffer that is written now."""
        self.traffic += 2.0 * size * self.turns
        self.buffers.append(Buffer(size, self.now, self.now))
        return frozenset((len(self.buffers) - 1,))

    def read(self, values: Iterable[Reads]) -> None:
        """All these buffers are needed until now at least."""
        for value in values:
            for number in value:
                self.buffers[number].dies = max(self.buffers[number].dies, self.now)

    def run(self, flat: Flat, values: dict[int | None, Reads], stacked: Iterable[int | None] = ()) -> list[Reads]:
        """Walk over a jaxpr whose inputs are in ``values``; what its outputs are computed from.

        Args:
            flat: the jaxpr.
            values: number → the buffers it is computed from, for the inputs.
            stacked: outputs that are put on a scan's stack as soon as they are known.
        """
        stored, readers = stored_in(flat)
        slices = {number for number in flat.inputs if number in stored and number in self.sliced}
        stacked = set(stacked)
        values = defaultdict(frozenset, values)  # constants are computed from nothing
        moved: dict[int | None, Reads] = defaultdict(frozenset)  # what a value reads at other places than its own
        for step in ordered(flat, stored):
            if not any(readers[number] for number in step.writes) and not step.equation.effects:
                continue
            for place in needs(step):
                if (number := step.reads[place]) in slices:
                    slices.discard(number)
                    self._write(values, number, step.equation.invars[place].aval)
            if step.name in LOOPS:
                self._loop(step, values, readers)
            elif step.name == "cond":
                self._branches(step, values, readers)
            elif fuses(step):
                reads = frozenset().union(*(values[number] for number in step.reads))
                away = reads if step.name in MOVES else NOTHING.union(*(moved[number] for number in step.reads))
                for number, out in zip(step.writes, step.equation.outvars, strict=True):
                    values[number], moved[number] = reads, away
                    if number in stored:
                        self._write(values, number, out.aval, away)
                        moved[number] = NOTHING
            else:
                self._solid(step, values, readers)
            if touched := stacked.intersection(step.writes):
                self.now += 2
                self.read(values[number] for number in touched)
        return [values[number] for number in flat.outputs]

    def _write(self, values: dict[int | None, Reads], number: int, aval: Any, moved: Reads = NOTHING) -> None:
        """Write a fused value; it may take the place of an operand that is not needed after, unless it reads that
        one ``moved``."""
        self.now += 2
        self.read((values[number],))
        self.now += 1
        values[number] = self.new(self.bytes(aval))
        self.read((moved,))
        self.now += 1

    def _solid(self, step: Step, values: dict[int | None, Reads], readers: dict[int, int]) -> None:
        self.now += 2
        self.read(values[number] for number in step.reads)
        first = step.reads[0] if step.reads else None
        within = step.name.startswith("scatter") or step.name == "dynamic_update_slice"
        if within and first is not None and readers[first] == 1 and len(values[first]) == 1:
            values[step.writes[0]] = values[first]
            return
        for number, out in zip(step.writes, step.equation.outvars, strict=True):
            if readers[number]:
                values[number] = self.new(self.bytes(out.aval) * (2 if step.name == "random_bits" else 1))

    def _loop(self, step: Step, values: dict[int | None, Reads], readers: dict[int, int]) -> None:
        params, operands = step.equation.params, [values[number] for number in step.reads]
        if step.name == "scan":
            body, consts, carried = flat(params["jaxpr"].jaxpr), params["num_consts"], params["num_carry"]
        else:
            skip = params["cond_nconsts"]
            body, consts = flat(params["body_jaxpr"].jaxpr), params["body_nconsts"]
            operands, carried = operands[skip:], len(operands) - skip - consts
        offset = len(step.reads) - len(operands)
        self.now += 2
        start = self.now
        self.read(operands)
        outs = []
        for place, (number, out) in enumerate(zip(step.writes, step.equation.outvars, strict=True)):
            if place < carried:
                given = step.reads[offset + consts + place]
                mine = given is not None and readers[given] == 1 and len(values[given]) == 1
                mine = mine and self._own(values[given])
                outs.append(values[given] if mine else self.new(self.bytes(out.aval)))
            else:
                outs.append(self.new(self.bytes(out.aval)) if readers[number] else NOTHING)
        inputs = [*operands[:consts], *outs[:carried], *operands[consts + carried :]]
        inside = dict(zip(body.inputs, inputs, strict=True))
        outer, self.sliced, turns = self.sliced, frozenset(body.inputs[consts + carried :]), self.turns
        self.turns *= params.get("length", 1)
        ends = self.run(body, inside, body.outputs[carried:])
        self.sliced, self.turns = outer, turns
        self.now += 2
        self.read(ends[:carried])  # the rest is on its stack since it was known
        self.succeed(list(zip(outs[:carried], range(carried), strict=True)), ends, start)
        self.read([*operands, *outs])
        values.update(zip(step.writes, outs, strict=True))

    def _branches(self, step: Step, values: dict[int | None, Reads], readers: dict[int, int]) -> None:
        operands = [values[number] for number in step.reads]
        outs = [self.new(self.bytes(out.aval)) for out in step.equation.outvars]
        for branch in step.equation.params["branches"]:
            body = flat(branch.jaxpr)
            self.read(self.run(body, dict(zip(body.inputs, operands[1:], strict=True))))
        self.now += 2
        self.read([*operands, *outs])
        values.update(zip(step.writes, outs, strict=True))

    def _own(self, reads: Reads) -> bool:
        return all(self.buffers[number].size for number in reads)  # arguments have no bytes of ours

    def succeed(self, pairs: list[tuple[Reads, int]], ends: list[Reads], start: int) -> None:
        """Outputs take the place of inputs; an input that another output reads is copied first.

        Args:
            pairs: the buffer of an input and the place of the output that follows it.
            ends: what the outputs are computed from.
            start: when the copy is made.
        """
        users: dict[int, int] = defaultdict(int)
        for end in ends:
            for number in end:
                users[number] += 1
        for reads, place in pairs:
            for number in reads:
                if users[number] > (number in ends[place]):
                    size = self.place_of(number)
                    self.buffers.append(Buffer(size, start, self.now))
                    self.places.append(Buffer(size, start, self.now))

    def place_of(self, number: int) -> int:
        """Bytes of a buffer, those of arguments too."""
        return self.lent.get(number, self.buffers[number].size)


def plan_of(jaxpr: Any, donated: list[bool], shares: list[int] | None = None, platform: str = "cpu") -> MemoryPlan:
    """The memory of a jaxpr whose inputs are donated or not, each split over so many devices."""
    shares = shares or [1] * len(donated)
    shapes, lengths = {}, {}
    for var, given, share in zip(jaxpr.invars, donated, shares, strict=True):
        if given and share > 1:
            shapes[var.aval.shape] = share
        elif not given and share > 1:
            lengths[var.aval.shape[0]] = share
    laid, walk = flat(jaxpr), Walk(platform == "cpu", shapes, lengths)
    used = {number for step in laid.steps for number in step.reads} | set(laid.outputs)
    sizes = [size_of(var.aval) // share for var, share in zip(jaxpr.invars, shares, strict=True)]
    inputs = [walk.new(0) for _ in sizes]
    walk.lent.update((next(iter(reads)), size) for reads, size in zip(inputs, sizes, strict=True))
    ends = walk.run(laid, dict(zip(laid.inputs, inputs, strict=True)))
    walk.now += 2
    walk.read(ends)
    pairs = _pairs(jaxpr, donated)
    walk.succeed([(inputs[taken], place) for place, taken in pairs.items()], ends, 0)
    for place, atom in enumerate(jaxpr.outvars):
        written = walk.now
        if not is_literal(atom) and len(ends[place]) == 1:  # what is written as it is returned lies among the outputs
            buffer = walk.buffers[next(iter(ends[place]))]
            buffer.size, written = 0, buffer.born - 1 if buffer.size else written
        if place not in pairs:  # until it is written, the place of an output is idle too
            walk.places.append(Buffer(size_of(atom.aval), 0, written))
    whole = {place: sizes[taken] for place, taken in pairs.items()}
    arguments = sum(size for size, number in zip(sizes, laid.inputs, strict=True) if number in used)
    outputs = sum(whole.get(place, size_of(atom.aval)) for place, atom in enumerate(jaxpr.outvars))
    return MemoryPlan(
        arguments=arguments,
        outputs=outputs,
        aliased=sum(whole.values()),
        temporaries=highest(walk.buffers, walk.places),
        traffic=walk.traffic + arguments + outputs,
    )


def _pairs(jaxpr: Any, donated: list[bool]) -> dict[int, int]:
    """Output → the donated input whose place it takes: the first of its shape and data type."""
    waiting: dict[Any, list[int]] = defaultdict(list)
    for place, var in enumerate(jaxpr.invars):
        if donated[place]:
            waiting[(var.aval.shape, var.aval.dtype)].append(place)
    found = {}
    for place, atom in enumerate(jaxpr.outvars):
        if queue := waiting.get((atom.aval.shape, atom.aval.dtype)):
            found[place] = queue.pop(0)
    return found


def highest(buffers: list[Buffer], places: list[Buffer]) -> int:
    """Bytes that the buffers need; one goes to an idle place where one is free, the largest first."""
    taken: list[list[Buffer]] = [[] for _ in places]
    left: list[Buffer] = []
    for buffer in sorted(buffers, key=lambda buffer: -buffer.size):
        if not buffer.size:
            continue
        for place, guests in zip(places, taken, strict=True):
            free = all(buffer.dies < guest.born or guest.dies < buffer.born for guest in guests)
            if place.size >= buffer.size and buffer.born > place.born and buffer.dies <= place.dies and free:
                guests.append(buffer)
                break
        else:
            left.append(Buffer(-(-buffer.size // ALIGNED) * ALIGNED, buffer.born, buffer.dies))
    least = max((buffer.size for buffer in left), default=0) // SMALL
    large, small = ([b for b in left if (b.size > least) == big] for big in (True, False))
    by_size = sorted(large, key=lambda b: (-b.size, b.born - b.dies, b.born))
    by_time = sorted(large, key=lambda b: (b.born - b.dies, -b.size, b.born))
    return min(_heap(by_size), _heap(by_time)) + _alive(small)


def _heap(buffers: list[Buffer]) -> int:
    """Height of the heap when each buffer in turn goes to the tightest gap between those that live at the same time,
    or else on top of them."""
    placed: list[tuple[int, int, int, int]] = []  # start, end, born, dies; sorted
    height = 0
    for buffer in buffers:
        best, tight, top = None, 0, 0
        for start, end, born, dies in placed:
            if born > buffer.dies or dies < buffer.born:
                continue
            if (gap := start - top) >= buffer.size and (best is None or gap < tight):
                best, tight = top, gap
            top = max(top, end)
        at = top if best is None else best
        bisect.insort(placed, (at, at + buffer.size, buffer.born, buffer.dies))
        height = max(height, at + buffer.size)
    return height


def _alive(buffers: list[Buffer]) -> int:
    """Bytes of all that is needed at the worst moment."""
    change: dict[int, int] = defaultdict(int)
    for buffer in buffers:
        change[buffer.born] += buffer.size
        change[buffer.dies + 1] -= buffer.size
    return max(itertools.accumulate(change[moment] for moment in sorted(change)), default=0)
