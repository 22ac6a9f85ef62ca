"""Training throughput of labkit, alone and compared with a peer."""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from labkit.core.errors import ConfigError

from . import arithmetic, cases
from .driver import Worker, compare, paired

#: Steps in a turn: enough that the first, after idling, when a virtual machine gives memory back slowly, weighs little;
#: what is counted; the peers there are.
TURN = {"bert": 12, "mlp": 512, "cnn": 16, "vgg11": 4}
UNIT = {"bert": "tokens", "mlp": "steps", "cnn": "steps", "vgg11": "steps"}
PEERS = {"hf": ("bert",), "keras": ("bert",), "torch": ("mlp", "cnn", "vgg11")}
#: Widths of the matrices whose product is timed as the peak of the machine.
WIDTHS = (512, 1024, 2048)


def compare_with_peer(
    peer: str, case: str, pairs: int = 20, python: str | None = None, at_best: bool = False
) -> dict[str, Any]:
    """labkit ÷ a peer on one case: real tokens (or steps) a second, the median of paired ratios.

    Args:
        peer, case: see :data:`PEERS`.
        pairs: pairs of turns.
        python: an interpreter with the peer.
        at_best: the peer with options that its users must know of (batches of texts of one length, compiled
            models); else with its defaults. Threads and precision are the fastest in both.

    Raises:
        LabkitError: the peer's packages are missing, or a worker died.
        ConfigError: the peer has no such case.
    """
    if case not in PEERS.get(peer, ()):
        known = "; ".join(f"{name}: {', '.join(has)}" for name, has in PEERS.items())
        raise ConfigError(f"unknown case {case!r} for {peer!r}. Available: {known}.")
    with tempfile.TemporaryDirectory(prefix="labkit-bench-") as folder:
        with cases.prepared(case) as setup:
            settings = {"case": case, "at_best": at_best, **cases.hand_over(case, setup, Path(folder))}
        interpreter = {} if python is None else {"python": python}
        with (
            Worker(f"{peer}_worker", settings, **interpreter) as theirs,
            Worker("labkit_worker", {"case": case}) as ours,
        ):
            turns = paired(ours, theirs, pairs, TURN[case])
            return {**compare(turns, UNIT[case]), "labkit": ours.about, peer: theirs.about}


def alone(case: str = "bert", turns: int = 8) -> dict[str, Any]:
    """labkit by itself: real tokens and examples a second, and its arithmetic ÷ the machine's fastest matrix product
    in the data types that its step multiplies in.

    The products are timed between the turns, so that both see the same machine. Only the model's own arithmetic counts
    (:func:`arithmetic.of_bert`): padding and bookkeeping do not count.
    """
    with cases.prepared(case) as setup:
        own = tokens = 0.0
        for batch in setup.batches:
            lengths = arithmetic.lengths_of(batch)
            own += arithmetic.of_bert(setup.experiment.model, len(setup.head.classes), lengths)
            tokens += lengths.sum()
        kinds = sorted({"float32", setup.steps.product_dtype})
    products = {kind: [product_of(width, kind) for width in WIDTHS] for kind in kinds}
    peaks, made = [], []
    with Worker("labkit_worker", {"case": case}) as ours:
        for _ in range(turns + 1):
            peaks.append({kind: max(product() for product in some) for kind, some in products.items()})
            made.append(ours.turn(TURN[case]))
        about = ours.about
    rate = statistics.median(turn["tokens"] / turn["seconds"] for turn in made[1:])
    shares = [
        turn["tokens"] / turn["seconds"] * own / tokens / max(peak.values())
        for turn, peak in zip(made, peaks, strict=True)
    ]
    return {
        "value": statistics.median(shares[1:]),
        "tokens_per_second": rate,
        "examples_per_second": statistics.median(turn["examples"] / turn["seconds"] for turn in made[1:]),
        "flops_per_second": rate * own / tokens,
        "peak_flops_per_second": statistics.median(max(peak.values()) for peak in peaks[1:]),
        "products": {kind: statistics.median(peak[kind] for peak in peaks[1:]) for kind in kinds},
        "labkit": about,
    }


def product_of(width: int, kind: str = "float32", seconds: float = 0.05) -> Any:
    """A function that multiplies two matrices of a data type, summed in float32, and returns operations a second."""
    multiply = jax.jit(lambda a, b: jnp.matmul(a, b, preferred_element_type=jnp.float32))
    matrix = jnp.ones((width, width), kind)
    multiply(matrix, matrix).block_until_ready()

    def timed() -> float:
        begin, count = time.perf_counter(), 0
        while time.perf_counter() - begin < seconds or not count:
            multiply(matrix, matrix).block_until_ready()
            count += 1
        return 2.0 * width**3 * count / (time.perf_counter() - begin)

    return timed
