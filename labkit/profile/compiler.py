"""Options of XLA for the programs of a run, where they make it faster."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

import jax

#: By default 256, for the processors of 2017 that lower their clock for wider vectors. Those that multiply bfloat16
#: came later and do not; element by element they take half the time.
WIDTH = "xla_cpu_prefer_vector_width"
#: Fewer copies of what a loop carries.
COPIES = "xla_cpu_copy_insertion_use_region_analysis"


def compiler_options() -> dict[str, Any]:
    """Options for ``lowered.compile``, by the processor; none for what the user has set by ``XLA_FLAGS``.

    They are conditions of bitwise reproducibility.
    """
    if jax.default_backend() != "cpu":
        return {}
    wanted: dict[str, Any] = {COPIES: True}
    if "avx512_bf16" in _instructions():
        wanted[WIDTH] = 512
    given = os.environ.get("XLA_FLAGS", "")
    return {name: value for name, value in wanted.items() if name not in given and _known(name, value)}


@functools.cache
def _instructions() -> frozenset[str]:
    """Extensions of the processor's instructions, where the system lists them."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return frozenset()
    return frozenset(next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), ()))


@functools.cache
def _known(name: str, value: Any) -> bool:
    """Whether this version of XLA has an option: they come and go."""
    lowered = jax.jit(lambda x: x).lower(jax.ShapeDtypeStruct((), "float32"))
    try:
        lowered.compile(compiler_options={name: value})
    except (RuntimeError, ValueError):
        return False
    return True
