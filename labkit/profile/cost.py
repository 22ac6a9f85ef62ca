"""Cost estimate of a training step without allocating weights; largest batch size that fits.

Nothing is allocated and nothing compiled: the step is traced once for each batch shape, and its jaxpr is counted.
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
from labkit.profile.flops import Work, work_of
from labkit.profile.hardware import ACCELERATORS, Accelerator, Machine, roofline
from labkit.profile.memory import MemoryPlan, plan_of, planned, shares_of

#: Batches above this are not looked for.
LARGEST = 2**16
#: Batches whose plans show how memory grows, and after how many compilations growth is no longer taken for straight.
PROBES, PATIENCE = (8, 32), 6
#: Traces of steps that are kept, so that a slider may ask again.
KEPT = 128


@dataclass(frozen=True)
class Expected:
    """What a step would take on a named accelerator. ``dollars`` is for a million examples, None without a price."""

    name: str
    seconds: float
    fits: bool
    dollars: float | None


@dataclass(frozen=True)
class Estimate:
    """What one training step costs; of several batch shapes the mean of FLOPs and seconds, and the most memory.

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
        time = "not measured" if self.step_seconds is None else f"{timed(self.step_seconds)} on {self.machine}"
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
) -> Estimate:
    """Estimate a training step. What was traced once is not traced again for the same model, task and shapes.

    Args:
        steps: a :class:`labkit.train.step.TrainStep`; its module may be abstract.
        batches: a batch, or one of each shape; shapes and data types are enough.
        examples_per_step: examples in a step, on average.
        machine: this machine as ``calibrate`` measured it; without one no time is estimated.
        accelerators: accelerators to estimate the time for.
        limit: memory of the device in bytes; default: that of this machine.
        counts: how often each of ``batches`` occurs; default: all equal.

    Raises:
        ValueError: ``counts`` are not one for each batch, or their sum is not above 0.
    """
    state = steps.abstract_state()
    batches = [batches] if isinstance(batches, Mapping) else list(batches)
    counts = [1.0] * len(batches) if counts is None else list(counts)
    if len(counts) != len(batches) or not sum(counts) > 0:
        raise ValueError(f"counts = {counts} for {len(batches)} shapes of batches: give one number for each.")
    shares = [count / sum(counts) for count in counts]
    found = [_measured(steps, state, batch) for batch in batches]
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


_known: OrderedDict[Any, tuple[Work, MemoryPlan]] = OrderedDict()


def _measured(steps: Any, state: Any, batch: Mapping[str, Any]) -> tuple[Work, MemoryPlan]:
    """Work and memory of one step, remembered by all that the traced program depends on."""
    arrays = [(name, x.shape, str(x.dtype), getattr(x, "sharding", None)) for name, x in sorted(batch.items())]
    leaves = [(x.shape, str(x.dtype), getattr(x, "sharding", None)) for x in jax.tree.leaves(state)]
    key: Any = (
        steps.graph, _content(steps.task), steps.optimizer, steps.accumulate, steps.trainable, tuple(leaves),
        tuple(arrays), tuple(x.shape for x in steps.multipliers.values()), jax.default_backend(),
    )  # fmt: skip
    if key not in _known:
        _known[key] = _measure(steps, state, batch)
    _known.move_to_end(key)
    while len(_known) > KEPT:
        _known.popitem(last=False)
    return _known[key]


def _content(task: Any) -> Any:
    """The task by what it is made of: its own equality may compare arrays."""
    return type(task), repr(task)


def _measure(steps: Any, state: Any, batch: Mapping[str, Any]) -> tuple[Work, MemoryPlan]:
    leaves = jax.tree.leaves((state, batch))
    jaxpr = jax.make_jaxpr(steps.function("train"))(state, dict(batch)).jaxpr
    donated = [place < len(jax.tree.leaves(state)) for place in range(len(leaves))]
    return work_of(jaxpr), plan_of(jaxpr, donated, shares_of(leaves), jax.default_backend())


def device_limit() -> int:
    """Bytes that a step may use: the device's own limit, or the memory that is free now where the device is the CPU."""
    stats = jax.local_devices()[0].memory_stats() or {}
    return int(stats.get("bytes_limit") or psutil.virtual_memory().available)


def largest_batch(
    make: Callable[[int], jax.stages.Traced | jax.stages.Lowered],
    limit_bytes: int | None = None,
    guess: int | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> int:
    """The largest batch whose compiled step fits, by XLA's own plan; nothing is run.

    A multiple of 8, or any number below 8. What is compiled next follows from what the last ones need, as if memory
    grew in a straight line; it ends when the next larger batch does not fit.

    Args:
        make: number of examples → the traced step, or the lowered one.
        limit_bytes: memory of the device; default: :func:`device_limit`.
        guess: where to begin; left out, where :func:`~labkit.profile.memory.plan_of` sees the limit (of a traced step).
        say: called with every plan.

    Raises:
        RunError: not even one example fits.
    """
    limit = device_limit() if limit_bytes is None else limit_bytes
    slope = None
    if guess is None:
        guess, slope = _guess(make, limit)
    known: list[tuple[int, float]] = []
    low, high, size = 0, LARGEST + 1, _whole(max(1, min(LARGEST, guess)))
    while True:
        used = _used(make(size), size, limit, say)
        low, high = (size, high) if used <= limit else (low, size)
        if high <= _next(low):
            break
        known.append((size, used))
        if len(known) > PATIENCE or math.isinf(used):  # no straight line: halve, or double
            size = 2 * low if high > LARGEST else (low + high) // 2
        else:
            if len(known) > 1 and math.isfinite(known[-2][1]):
                slope = (used - known[-2][1]) / (size - known[-2][0])
            slope = slope if slope and slope > 0 else used / size
            size += math.floor((limit - used) / slope)
        size = _whole(max(_next(low), min(size, high - 1)))
    if low == 0:
        raise RunError(
            _(
                "not even one example fits in {limit}. Use a smaller model, shorter texts, or a device "
                "with more memory."),
            limit=sized(limit),
        )  # fmt: skip
    return low


def _used(step: Any, size: int, limit: int, say: Callable[[str], None]) -> float:
    """Bytes that the step asks for; infinity where the compiler finds no room."""
    lowered = step.lower() if isinstance(step, jax.stages.Traced) else step
    options = {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else None  # same plan, sooner
    try:
        used = planned(lowered.compile(compiler_options=options).memory_analysis()).total
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        say(f"{size} examples: the compiler finds no room.")
        return math.inf
    say(f"{size} examples: {sized(used)} of {sized(limit)}.")
    return used


def _guess(make: Callable[[int], Any], limit: int) -> tuple[int, float | None]:
    """The batch where the plan meets the limit, and how many bytes one more example takes there."""
    small, large = (make(size) for size in PROBES)
    if not (isinstance(small, jax.stages.Traced) and isinstance(large, jax.stages.Traced)):
        return PROBES[0], None
    first, second = (_planned_of(traced) for traced in (small, large))
    slope = (second - first) / (PROBES[1] - PROBES[0])
    return (int(PROBES[1] + (limit - second) / slope), slope) if slope > 0 else (PROBES[1], None)


def _planned_of(traced: Any) -> int:
    donated = [info.donated for info in jax.tree.leaves(traced.args_info)]
    return plan_of(traced.jaxpr.jaxpr, donated, None, jax.default_backend()).total


def _whole(size: int) -> int:
    return size if size < 8 else size // 8 * 8


def _next(size: int) -> int:
    return size + 1 if size < 8 else (size // 8 + 1) * 8
