"""Compilation caches: the persistent cache on disk, and the limit of programs in memory.

Equal steps of one process share their programs (labkit/train/shared_programs.py). A new process traces and lowers every
step again, and only then finds its program in the cache. Whole executables are not stored on disk: where the key missed
a change of code, a run would train by the old code in silence. And JAX reads them as pickles.
"""

from __future__ import annotations

import gc
import threading
from pathlib import Path

import jax

from labkit.core.cache import cache_dir
from labkit.train import shared_programs

_HIT = "/jax/compilation_cache/cache_hits"
_hits = threading.local()


def use_compilation_cache() -> None:
    """Switch JAX's cache on, in a private folder of labkit's own, unless the user has chosen one already."""
    if jax.config.jax_compilation_cache_dir is None:  # pyrefly: ignore[missing-attribute] (JAX adds its settings late)
        place = cache_dir("compiled")
        place.chmod(
            0o700
        )  # native code that is run: nobody else may put any there, even if the folder was made so
        jax.config.update("jax_compilation_cache_dir", str(place))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    limit_programs()


def limit_programs(share: float = 0.5) -> bool:
    """Clear JAX's in-memory caches when this process uses more than ``share`` of its memory mappings (Linux).

    A compiled program of the CPU backend takes some hundred mappings. Where none is left
    (``vm.max_map_count``, by default 65,530) XLA aborts the process. Programs that are still referenced, such
    as the step of a run in another thread, stay. Returns whether the caches were cleared.
    """
    try:
        most = int(Path("/proc/sys/vm/max_map_count").read_text())
        used = Path("/proc/self/maps").read_bytes().count(b"\n")
    except OSError:  # another operating system
        return False
    if used <= share * most:
        return False
    shared_programs.clear()
    jax.clear_caches()
    gc.collect()
    return True


def cache_hits() -> int:
    """Programs that this thread has taken from the cache instead of compiling them."""
    return getattr(_hits, "count", 0)


def _count(event: str, **_: object) -> None:
    if event == _HIT:  # JAX tells in the thread that compiles
        _hits.count = cache_hits() + 1


jax.monitoring.register_event_listener(_count)
