"""Hardware performance: a two-second benchmark of this machine, and data sheets of accelerators.

 A step's expected time is a roofline: products of matrices at the rate that is reached, or memory traffic at
the bandwidth, whichever takes longer, and the time to dispatch a call.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from labkit.core.cache import cache_dir, fingerprint, write_atomic
from labkit.core.errors import ConfigError, nearest
from labkit.i18n import _

#: Share of the peak of the data sheet that a Transformer's training step usually reaches: of the products of
#: matrices, and of the memory bandwidth. Assumptions, not measurements.
USUAL_PRODUCTS, USUAL_BANDWIDTH = 0.45, 0.75
#: Seconds after which a calibration is made again.
FRESH = 24 * 3600
#: Element-wise operations that a root or an exponential is worth.
DEAR = 8
SIDES = (512, 1024, 2048)
#: Least speed-up of bfloat16 products over float32 ones that is worth their rounding error.
PAYS = 1.3


@dataclass(frozen=True)
class Accelerator:
    """An accelerator by its data sheet: dense peaks in TFLOP/s, memory in GB, bandwidth in GB/s.

    ``bf16`` is float16 where the chip knows no bfloat16 (T4). ``fp32`` is without TF32 on a GPU and by six
    bfloat16 passes on a TPU. ``dollars`` is the price of an hour: None here, since prices differ and change;
    give your own with ``dataclasses.replace(accelerator("L4"), dollars=…)``.
    """

    name: str
    bf16: float
    fp32: float
    memory: float
    bandwidth: float
    dollars: float | None = None

    def rate(self, kind: str) -> float:
        """FLOP/s that are usually reached in products of this data type."""
        return USUAL_PRODUCTS * 1e12 * (self.bf16 if kind in ("bfloat16", "float16") else self.fp32)

    @property
    def bytes_per_second(self) -> float:
        """Memory traffic that is usually reached."""
        return USUAL_BANDWIDTH * 1e9 * self.bandwidth

    @property
    def elementwise(self) -> float:
        """Element-wise operations a second: those of float32, outside the units for products."""
        return USUAL_PRODUCTS * 1e12 * min(self.fp32, self.bf16 / 16)

    @property
    def dispatch(self) -> float:
        """Seconds to start a call."""
        return 1e-4

    @property
    def memory_bytes(self) -> float:
        """Memory in bytes."""
        return 1e9 * self.memory


_TABLE = (
    Accelerator("T4", 65, 8.1, 16, 320),
    Accelerator("L4", 121, 30.3, 24, 300),
    Accelerator("A10G", 70, 31.2, 24, 600),
    Accelerator("A100-40", 312, 19.5, 40, 1555),
    Accelerator("A100-80", 312, 19.5, 80, 2039),
    Accelerator("H100", 989, 67, 80, 3350),
    Accelerator("H200", 989, 67, 141, 4800),
    Accelerator("RTX 4090", 165, 82.6, 24, 1008),
    Accelerator("TPU v2-8 core", 22.5, 3.8, 8, 300),
    Accelerator("TPU v3", 123, 20, 32, 900),
    Accelerator("TPU v4", 275, 46, 32, 1228),
    Accelerator("TPU v5e", 197, 33, 16, 819),
    Accelerator("TPU v5p", 459, 76, 95, 2765),
    Accelerator("TPU v6e", 918, 153, 32, 1640),
)
ACCELERATORS: dict[str, Accelerator] = {entry.name: entry for entry in _TABLE}


def accelerator(name: str) -> Accelerator:
    """The named accelerator.

    Raises:
        ConfigError: there is none of this name.
    """
    if name not in ACCELERATORS:
        known = ", ".join(ACCELERATORS)
        raise ConfigError(
            _("unknown accelerator {name!r}.{hint} Known: {known}."),
            name=name, hint=nearest(name, ACCELERATORS), known=known,
        )  # fmt: skip
    return ACCELERATORS[name]


@dataclass(frozen=True)
class Machine:
    """What was measured of one device: products of matrices and element-wise work in FLOP/s, traffic in
    bytes/s, dispatch in seconds.

    ``batched`` is the rate of many small products at once, as those of attention, and ``fresh`` the bytes/s
    at which memory is taken that the process did not have before: XLA takes that of its temporaries anew for
    every step on a CPU. None: as other products, and at no cost.
    """

    name: str
    platform: str
    float32: float
    bfloat16: float
    bandwidth: float
    elementwise: float
    dispatch: float
    measured: float  # seconds since 1970
    batched: float | None = None
    fresh: float | None = None

    def rate(self, kind: str) -> float:
        """FLOP/s measured in products of this data type."""
        return self.bfloat16 if kind in ("bfloat16", "float16") else self.float32

    @property
    def bytes_per_second(self) -> float:
        """Memory traffic, as measured."""
        return self.bandwidth

    @property
    def mixed_pays(self) -> bool:
        """Whether this is a CPU on which products of bfloat16 numbers summed in float32 are worth their
        trouble."""
        return self.platform == "cpu" and self.bfloat16 >= PAYS * self.float32


@dataclass(frozen=True)
class Work:
    """Operations of a step.

    Attributes:
        flops: all but roots, exponentials and similar, which are ``transcendentals``.
        products: the part of ``flops`` in products of matrices and convolutions, by data type of the
        operands.
        batched: the part of ``products`` in many small ones at once, as those of attention.
    """

    flops: float = 0.0
    transcendentals: float = 0.0
    products: dict[str, float] = field(default_factory=dict)
    batched: float = 0.0


def roofline(machine: Machine | Accelerator, work: Work, traffic: float, fresh: float = 0.0) -> float:
    """Expected seconds of a step: its products of matrices at the rate of the machine; beside them the rest,
    by memory traffic or by element-wise arithmetic, whichever takes longer; the memory it takes anew; and the
    call.

    Args:
        machine: where.
        work: what the step computes.
        traffic: bytes that it reads from memory and writes.
        fresh: bytes of memory that the call takes anew, where that costs time.
    """
    total = sum(work.products.values())
    products = sum(flops / machine.rate(kind) for kind, flops in work.products.items())
    rest = work.flops - total + DEAR * work.transcendentals
    taken = 0.0
    if isinstance(machine, Machine):
        if machine.batched and total:
            products *= 1 - work.batched / total
            products += work.batched / machine.batched
        taken = fresh / machine.fresh if machine.fresh else 0.0
    beside = max(traffic / machine.bytes_per_second, rest / machine.elementwise)
    return products + beside + taken + machine.dispatch


def calibrate(seconds: float = 2.0, renew: bool = False) -> Machine:
    """Measure the first device of this process, or read what was measured in the last day.

    Args:
        seconds: how long to measure, not counting compilation.
        renew: measure even if there is a fresh result.
    """
    device = jax.devices()[0]
    place = cache_dir("machines") / f"{fingerprint(processor(device), cores(), jax.__version__)[:16]}.json"
    if not renew and (known := _read(place)) is not None:
        return known
    share, cpu = seconds / 11, device.platform == "cpu"
    bandwidth = _traffic(share)
    machine = Machine(
        name=processor(device),
        platform=device.platform,
        float32=max(_products(side, jnp.float32, share) for side in SIDES),
        bfloat16=max(_products(side, jnp.bfloat16, share) for side in SIDES),
        bandwidth=bandwidth,
        elementwise=_elementwise(share),
        dispatch=_dispatch(share),
        measured=time.time(),
        batched=_batched(share),
        fresh=_fresh(share, bandwidth) if cpu else None,
    )
    write_atomic(place, json.dumps(asdict(machine)))
    return machine


def mixed_pays() -> bool:
    """Whether products of bfloat16 numbers summed in float32 are worth their trouble here: see
    ``Machine.mixed_pays``.

    Measured once for each model of processor and version of JAX, in a fraction of a second, and cached
    permanently, so that a resumed run computes as before. False on anything but a CPU.
    """
    device = jax.devices()[0]
    if device.platform != "cpu":
        return False
    place = cache_dir("machines") / f"mixed-{fingerprint(processor(device), jax.__version__)[:16]}.json"
    known = _answer(place)
    if known is None:
        known = _faster() >= PAYS
        try:
            with place.open("x", encoding="utf-8") as file:  # of two processes the first is believed
                file.write(json.dumps(known))
        except FileExistsError:
            before = _answer(place)
            if before is None:  # damaged
                write_atomic(place, json.dumps(known))
            return known if before is None else before
    return known


def _answer(place: Path) -> bool | None:
    try:
        known = json.loads(place.read_text("utf-8"))
        return known if isinstance(known, bool) else None
    except (OSError, ValueError):
        return None


def _faster(rounds: int = 7) -> float:
    """How many times as fast as in float32 a product of bfloat16 numbers summed in float32 is; the best of
    calls that alternate, so that a busy machine slows both."""
    call = jax.jit(_summed)
    pairs = [
        (jnp.ones((1024, 512), kind), jnp.ones((512, 512), kind)) for kind in (jnp.float32, jnp.bfloat16)
    ]
    best = [float("inf")] * 2
    for number in range(rounds + 1):
        for place, (x, y) in enumerate(pairs):
            begin = time.perf_counter()
            jax.block_until_ready(call(x, y))
            if number:  # the first call compiles
                best[place] = min(best[place], time.perf_counter() - begin)
    return best[0] / best[1]


def _summed(x: Array, y: Array) -> Any:
    return jnp.matmul(x, y, preferred_element_type=jnp.float32)


def _read(place: Path) -> Machine | None:
    try:
        known = Machine(**json.loads(place.read_text("utf-8")))
        return known if 0 <= time.time() - known.measured < FRESH else None
    except (OSError, ValueError, TypeError):
        return None


def memory_in_use() -> float:
    """Bytes of the first device that are in use; of this process, for devices that do not report it (CPU)."""
    import psutil

    told = jax.local_devices()[0].memory_stats() or {}
    return float(told.get("bytes_in_use") or psutil.Process().memory_info().rss)


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor(device: Any) -> str:
    """What an accelerator, or the processor of this machine, is called."""
    if device.platform != "cpu":
        return device.device_kind
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _best(call: Callable[[], Any], seconds: float) -> float:
    """The shortest time of a call in so many seconds; the first call, which compiles, does not count."""
    jax.block_until_ready(call())
    best, end = float("inf"), time.perf_counter() + seconds
    while True:
        begin = time.perf_counter()
        jax.block_until_ready(call())
        now = time.perf_counter()
        best = min(best, now - begin)
        if now >= end:
            return best


def _products(side: int, kind: Any, seconds: float) -> float:
    x, call = jnp.ones((side, side), kind), jax.jit(_summed)
    return 2.0 * side**3 / _best(lambda: call(x, x), seconds)


def _traffic(seconds: float) -> float:
    held, call = (
        [jnp.ones(2**24, jnp.float32)],
        jax.jit(lambda x: x + 1, donate_argnums=0),
    )  # more than a cache holds

    def work() -> Any:  # in place: to get new memory from the system takes longer than to fill it
        held[0] = call(held[0])
        return held[0]

    return 2.0 * 2**26 / _best(work, seconds)


def _batched(seconds: float) -> float:
    """Both products of attention, 16 texts of 64 tokens with 8 heads of 32."""
    x, call = jnp.ones((16, 64, 8, 32), jnp.float32), jax.jit(_attention)
    return 2 * 2.0 * 16 * 8 * 64 * 64 * 32 / _best(lambda: call(x), seconds)


def _attention(x: Array) -> Any:
    return jnp.einsum("bhqt,bthk->bqhk", jnp.einsum("bqhk,bthk->bhqt", x, x), x)


def _fresh(seconds: float, bandwidth: float) -> float | None:
    """Bytes of new memory a second, from a result that does not reuse the buffer of its argument; None where
    that takes no longer than the traffic itself."""
    x, call = jnp.ones(2**24, jnp.float32), jax.jit(lambda x: x + 1)
    more = _best(lambda: call(x), seconds) - 2.0 * x.nbytes / bandwidth
    return x.nbytes / more if more > 0 else None


def _elementwise(seconds: float) -> float:
    """The error function and dropout's random bits are what a training step computes most beside products."""
    x, key = jnp.ones((256, 1024), jnp.float32), jax.random.key(0)

    def work(x: Array, key: Array) -> Any:
        return jax.nn.gelu(x, approximate=False) * (jax.random.bits(key, x.shape) > 0)

    call = jax.jit(work)
    found = call.lower(x, key).cost_analysis() or {}
    operations = found.get("flops", 0.0) + DEAR * found.get("transcendentals", 0.0)
    return operations / _best(lambda: call(x, key), seconds)


def _dispatch(seconds: float) -> float:
    call, x, times = jax.jit(lambda x: x + 1), jnp.zeros(()), []
    end = time.perf_counter() + seconds
    jax.block_until_ready(call(x))
    while time.perf_counter() < end or not times:
        begin = time.perf_counter()
        jax.block_until_ready(call(x))
        times.append(time.perf_counter() - begin)
    return statistics.median(times)
