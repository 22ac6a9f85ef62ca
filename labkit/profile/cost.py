"""Cost estimate of a training step without allocating weights; largest batch size that fits.

 Memory and FLOPs come from formulas (:mod:`labkit.profile.activations`), in well under a millisecond: the
arguments of the step exactly, what it keeps for the backward pass by layer, and shares of the parameters that
were fitted to XLA's own plans on a CPU. ``tests/profile/test_estimate.py`` compares them with
``compiled.memory_analysis()`` and ``cost_analysis()``: the peak is within 15 % of XLA's plan on every preset,
and never more than 10 % below. An architecture or task without a formula is compiled instead, and XLA's
analysis is read.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import psutil

from labkit.core import html
from labkit.core.errors import RunError
from labkit.core.units import scaled, sized, timed
from labkit.i18n import _
from labkit.profile import hardware
from labkit.profile.activations import Activations
from labkit.profile.compiler import compiler_options
from labkit.profile.hardware import ACCELERATORS, Accelerator, Machine, Work, roofline

#: Batches above this are not looked for.
LARGEST = 2**16
#: Where the search begins without a formula, and after how many compilations growth is no longer taken for
#: straight.
FIRST, PATIENCE = 8, 6
#: Analyses of compiled steps that are kept, so that a slider may ask again.
KEPT = 128
#: Fitted to XLA's plans on a CPU, as multiples of the trained parameters' bytes. While the step
#: differentiates: gradients; and in mixed precision parameters that are rounded and turned.
DIFFERENTIATING, ROUNDED = 1.0, 0.3
#: While it updates by another rule than AdamW: the share of the optimizer's state that is copied since two
#: outputs read it; more of it where one parameter, such as a table of embeddings, is most of the model.
COPIED, COPIED_OF_LARGEST = 0.65, 0.375
#: Of what a layer uses while it is differentiated: what the forward pass alone does; and of what is kept,
#: what is needed where only biases and norms are trained, which need no input of a product.
FORWARD, WITHOUT_KERNELS = 0.7, 0.8
#: Fitted to XLA's cost analysis: bytes read and written in the update, for each byte of the trained
#: parameters; and for each byte read or written element-wise operations, and roots, exponentials and the
#: like.
UPDATE, ELEMENTWISE, TRANSCENDENTAL = 12.0, 0.38, 0.0125


@dataclass(frozen=True)
class MemoryPlan:
    """Bytes of a compiled function on one device, in the terms of XLA's ``memory_analysis()``; and the
    ``traffic``: all that it reads from memory and writes to it."""

    arguments: int
    outputs: int
    aliased: int
    temporaries: int
    traffic: float = 0.0

    @property
    def total(self) -> int:
        """All that is in memory at the worst moment."""
        return self.arguments + self.outputs - self.aliased + self.temporaries


def planned(compiled: Any) -> MemoryPlan:
    """XLA's own plan of a compiled function."""
    memory, cost = compiled.memory_analysis(), compiled.cost_analysis() or {}
    return MemoryPlan(
        memory.argument_size_in_bytes, memory.output_size_in_bytes, memory.alias_size_in_bytes,
        memory.temp_size_in_bytes, cost.get("bytes accessed", 0.0),
    )  # fmt: skip


@dataclass(frozen=True)
class Expected:
    """What a step would take on a named accelerator. ``dollars`` is for a million examples, None without a
    price."""

    name: str
    seconds: float
    fits: bool
    dollars: float | None


@dataclass(frozen=True)
class Estimate:
    """What one training step costs; of several batch shapes the mean of FLOPs and seconds, and the most
    memory.

    ``step_seconds`` is None where no machine was given. ``memory`` has the parts of ``memory_bytes``.
    """

    parameters: int
    trainable: int
    flops_per_example: float
    flops_per_step: float
    memory_bytes: int
    memory: MemoryPlan
    limit_bytes: int
    fits: bool
    step_seconds: float | None
    machine: str
    accelerators: tuple[Expected, ...]

    def rows(self) -> list[tuple[str, str]]:
        """The lines of the table: what, and how much."""
        time = (
            "not measured" if self.step_seconds is None else f"{timed(self.step_seconds)} on {self.machine}"
        )
        verdict = "fits" if self.fits else "does not fit"
        rows = [
            ("parameters", f"{self.parameters:,} ({self.trainable:,} trained)"),
            ("FLOPs for an example", scaled(self.flops_per_example, "FLOP")),
            ("FLOPs for a step", scaled(self.flops_per_step, "FLOP")),
            ("memory for training", f"{sized(self.memory_bytes)} of {sized(self.limit_bytes)}: {verdict}"),
            ("time for a step", time),
        ]
        for one in self.accelerators:
            price = "" if one.dollars is None else f", ${one.dollars:.2f} for a million examples"
            rows.append((one.name, f"{timed(one.seconds)} a step{price}" if one.fits else "does not fit"))
        return rows

    def notes(self) -> str:
        """What the expected times assume."""
        return (
            f"Accelerators: {hardware.USUAL_PRODUCTS:.0%} of the peak in matrix products, "
            f"{hardware.USUAL_BANDWIDTH:.0%} of the memory bandwidth: assumptions, not measurements."
        )

    def __str__(self) -> str:
        rows = self.rows()
        width = max(len(name) for name, _ in rows)
        return "\n".join([*(f"{name:<{width}}  {value}" for name, value in rows), self.notes()])

    def _repr_html_(self) -> str:
        return html.page("", html.table((), self.rows()), self.notes())


def estimate(
    steps: Any,
    batches: Mapping[str, Any] | Sequence[Mapping[str, Any]],
    examples_per_step: float,
    machine: Machine | None = None,
    accelerators: Iterable[Accelerator] = tuple(ACCELERATORS.values()),
    limit: int | None = None,
    counts: Sequence[float] | None = None,
    plans: Sequence[MemoryPlan] | None = None,
) -> Estimate:
    """Estimate a training step.

    Args:
        steps: a :class:`labkit.train.step.TrainStep`; its module may be abstract.
        batches: a batch, or one of each shape; shapes and data types are enough.
        examples_per_step: examples in a step, on average.
        machine: this machine as ``calibrate`` measured it; without one no time is estimated.
        accelerators: accelerators to estimate the time for.
        limit: memory of the device in bytes; default: that of this machine.
        counts: how often each of ``batches`` occurs; default: all equal.
        plans: XLA's plan of each of ``batches``; default: by formula.

    Raises:
        ValueError: ``counts`` are not one for each batch, or their sum is not above 0.
    """
    state = steps.abstract_state()
    batches = [batches] if isinstance(batches, Mapping) else list(batches)
    counts = [1.0] * len(batches) if counts is None else list(counts)
    if len(counts) != len(batches) or not sum(counts) > 0:
        raise ValueError(f"counts = {counts} for {len(batches)} shapes of batches: give one number for each.")
    shares = [count / sum(counts) for count in counts]
    found = [work_and_plan(steps, batch, state) for batch in batches]
    found = found if plans is None else [(work, plan) for (work, _), plan in zip(found, plans, strict=True)]
    flops = sum(share * work.flops for share, (work, _) in zip(shares, found, strict=True))
    largest = max((plan for _, plan in found), key=lambda plan: plan.total)
    limit = device_limit() if limit is None else limit

    def seconds(where: Machine | Accelerator) -> float:
        times = (roofline(where, work, plan.traffic, plan.temporaries) for work, plan in found)
        return sum(share * time for share, time in zip(shares, times, strict=True))

    expected = []
    for one in accelerators:
        took = seconds(one)
        dollars = None if one.dollars is None else one.dollars * took / 3600 * 1e6 / examples_per_step
        expected.append(Expected(one.name, took, largest.total <= one.memory_bytes, dollars))
    trained = sum(math.prod(leaf.shape) for leaf in state.trainable.values())
    return Estimate(
        parameters=trained + sum(math.prod(leaf.shape) for leaf in state.frozen.values()),
        trainable=trained,
        flops_per_example=flops / examples_per_step,
        flops_per_step=flops,
        memory_bytes=largest.total,
        memory=largest,
        limit_bytes=limit,
        fits=largest.total <= limit,
        step_seconds=None if machine is None else seconds(machine),
        machine="" if machine is None else machine.name,
        accelerators=tuple(expected),
    )


def work_and_plan(steps: Any, batch: Mapping[str, Any], state: Any = None) -> tuple[Work, MemoryPlan]:
    """Work and memory of a step: by formula, or where the model or task has none, by XLA's analysis of the
    compiled step, which is remembered by all that the compiled program depends on."""
    state = steps.abstract_state() if state is None else state
    if (found := steps.activations(batch)) is not None:
        return step_by_formula(found, steps, state, batch)
    arrays = [(name, x.shape, str(x.dtype), share_of(x)) for name, x in sorted(batch.items())]
    leaves = [(x.shape, str(x.dtype), share_of(x)) for x in jax.tree.leaves(state)]
    key: Any = (
        steps.graph, type(steps.task), repr(steps.task), steps.optimizer, steps.accumulate, steps.trainable,
        tuple(leaves), tuple(arrays), jax.default_backend(),
    )  # fmt: skip
    if key not in _known:
        _known[key] = step_by_xla(steps, state, batch)
    _known.move_to_end(key)
    while len(_known) > KEPT:
        _known.popitem(last=False)
    return _known[key]


def flops_of(steps: Any, batch: Mapping[str, Any]) -> float:
    """FLOPs of a step: by formula, or by XLA's count of the step that is traced and not compiled."""
    if steps.activations(batch) is not None:
        return work_and_plan(steps, batch)[0].flops
    return (steps.lower("train", steps.abstract_state(), dict(batch)).cost_analysis() or {}).get("flops", 0.0)


_known: OrderedDict[Any, tuple[Work, MemoryPlan]] = OrderedDict()


def step_by_xla(steps: Any, state: Any, batch: Mapping[str, Any]) -> tuple[Work, MemoryPlan]:
    """Work and memory of a step from XLA's analysis of the compiled step; takes seconds, allocates nothing.

    XLA counts the body of a loop once, however often it turns.
    """
    compiled = compiled_of(steps.lower("train", state, dict(batch)))
    cost = compiled.cost_analysis() or {}
    flops = cost.get("flops", 0.0)
    work = Work(flops, cost.get("transcendentals", 0.0), {steps.product_dtype: flops})
    return work, planned(compiled)


def compiled_of(lowered: jax.stages.Lowered) -> jax.stages.Compiled:
    """A step compiled for its plan alone: on a CPU without optimising the machine code, which changes no
    plan."""
    unoptimised = {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else {}
    return lowered.compile(compiler_options={**compiler_options(), **unoptimised} or None)


def bytes_of(leaf: Any) -> float:
    """Bytes of an array, or of its shape and data type, on one device."""
    kind = leaf.dtype
    if jax.dtypes.issubdtype(kind, jax.dtypes.prng_key):
        return math.prod(leaf.shape) * math.prod(kind._impl.key_shape) * 4
    return math.prod(leaf.shape) * kind.itemsize / share_of(leaf)


def share_of(leaf: Any) -> int:
    """Over how many devices an array is split; 1 for one that carries no sharding."""
    sharding, size = leaf.sharding, math.prod(leaf.shape)
    return size // math.prod(sharding.shard_shape(tuple(leaf.shape))) if sharding is not None and size else 1


def step_by_formula(
    found: Activations, steps: Any, state: Any, batch: Mapping[str, Any]
) -> tuple[Work, MemoryPlan]:
    """Work and memory of a step from what its forward pass computes and keeps (``found``)."""
    held = sum(map(bytes_of, jax.tree.leaves((state, dict(batch)))))
    trained, slots = (
        sum(map(bytes_of, jax.tree.leaves(part))) for part in (state.trainable, state.optimizer)
    )
    largest = max(map(bytes_of, state.trainable.values()), default=0.0)
    below = [name for name in steps.trainable if name.startswith("backbone/")]
    through = bool(below)  # else only the head has a gradient
    peak = found.peak
    if not through:
        backbone = steps.model.activations(batch)
        head = peak - backbone.kept if peak > backbone.peak else 0.0
        peak = max(FORWARD * (backbone.peak - backbone.kept), head)
    elif any(name.endswith("/lora_a") for name in below):
        peak = _with_additions(peak, steps.model.activations(batch), steps.model.dtype == "mixed")
    elif not any(name.endswith("/kernel") for name in below):
        peak *= WITHOUT_KERNELS
    peak = peak / (share_of(next(iter(batch.values()))) * steps.accumulate) + trained * (steps.accumulate > 1)
    copied = (
        0.0
        if steps.optimizer.algorithm == "adamw"
        else COPIED + COPIED_OF_LARGEST * largest / max(trained, 1.0)
    )
    updating = trained + slots * copied
    rounded = ROUNDED * (steps.model.dtype == "mixed")
    temporaries = max(updating, peak + (DIFFERENTIATING + rounded) * trained)
    kernels = {name: math.prod(x.shape) for name, x in steps.shapes.items() if name.endswith("/kernel")}
    share = sum(kernels.get(name, 0) for name in steps.trainable) / max(1, sum(kernels.values()))
    plain, attention = found.flops - found.attention, found.attention * (1 + 2 * through)
    plain = plain * (1 + share) + (plain - found.first + found.again) * through
    traffic = UPDATE * trained + found.moved * (1.0 if through else 0.3)
    kind = "float32" if steps.product_dtype == "float32" else "bfloat16"
    work = Work(
        flops=plain + attention + ELEMENTWISE * traffic, transcendentals=TRANSCENDENTAL * traffic,
        products={kind: plain + attention}, batched=attention,
    )  # fmt: skip
    return work, MemoryPlan(int(held), 0, 0, int(temporaries), traffic)


def _with_additions(peak: float, backbone: Activations, mixed: bool) -> float:
    """The peak where low-rank additions are trained: a layer differentiates them beside its frozen kernels, and in
    mixed precision keeps its inputs in float32 for them beside the rounded ones."""
    inside = min(peak, backbone.peak)
    if mixed:
        return max(peak + backbone.kept, 2 * inside)
    return max(peak, inside + backbone.peak - backbone.kept)


def device_limit() -> int:
    """Bytes that a step may use: the device's own limit, or the memory that is free now where the device is
    the CPU."""
    stats = jax.local_devices()[0].memory_stats() or {}
    return int(stats.get("bytes_limit") or psutil.virtual_memory().available)


def largest_batch(
    make: Callable[[int], jax.stages.Lowered],
    limit_bytes: int | None = None,
    formula: Callable[[int], float] | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> int:
    """The largest batch whose compiled step fits, by XLA's own plan; nothing is run.

    A multiple of 8, or any number below 8. It begins where the formula meets the limit; what is compiled next
    follows from what the last ones need, as if memory grew in a straight line; it ends when the next larger
    batch does not fit.

    Args:
        make: number of examples → the lowered step.
        limit_bytes: memory of the device; default: :func:`device_limit`.
        formula: number of examples → bytes of the step, by formula, where there is one.
        say: called with every plan.

    Raises:
        RunError: not even one example fits.
    """
    limit = device_limit() if limit_bytes is None else limit_bytes
    guess = _guess(formula, limit) if formula else FIRST
    known: list[tuple[int, float]] = []
    low, high, size = 0, LARGEST + 1, _whole(guess)
    while True:
        used = _used(make(size), size, limit, say)
        low, high = (size, high) if used <= limit else (low, size)
        if high <= _next(low):
            break
        known.append((size, used))
        if len(known) > PATIENCE or math.isinf(used):  # no straight line: halve, or double
            size = 2 * low if high > LARGEST else (low + high) // 2
        else:
            slope = used / size
            if len(known) > 1 and math.isfinite(known[-2][1]) and used != known[-2][1]:
                slope = (used - known[-2][1]) / (size - known[-2][0])
            elif formula:
                slope = max(formula(2 * size) - formula(size), 1.0) / size
            size += math.floor((limit - used) / slope) if slope > 0 else size
        size = _whole(max(_next(low), min(size, high - 1)))
    if low == 0:
        raise RunError(
            _(
                "not even one example fits in {limit}. Use a smaller model, shorter texts, or a device "
                "with more memory."),
            limit=sized(limit),
        )  # fmt: skip
    return low


def _guess(formula: Callable[[int], float], limit: int) -> int:
    """The largest batch that fits by formula, at least 1."""
    low, high = 1, LARGEST
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if formula(middle) <= limit else (low, middle - 1)
    return low


def _used(lowered: jax.stages.Lowered, size: int, limit: int, say: Callable[[str], None]) -> float:
    """Bytes that the step asks for; infinity where the compiler finds no room."""
    try:
        used = planned(compiled_of(lowered)).total
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        say(f"{size} examples: the compiler finds no room.")
        return math.inf
    say(f"{size} examples: {sized(used)} of {sized(limit)}.")
    return used


def _whole(size: int) -> int:
    return size if size < 8 else size // 8 * 8


def _next(size: int) -> int:
    return size + 1 if size < 8 else (size // 8 + 1) * 8
