"""The persistent compilation cache: what was compiled once is not compiled again after a restart."""

from __future__ import annotations

import threading

import jax

from labkit.base.cache import cache_dir

_HIT = "/jax/compilation_cache/cache_hits"
_hits = threading.local()


def use_compilation_cache() -> None:
    """Switch JAX's cache on, in a private folder of labkit's own, unless the user has chosen one already."""
    if jax.config.jax_compilation_cache_dir is None:
        place = cache_dir("compiled")
        place.chmod(0o700)  # native code that is run: nobody else may put any there, even if the folder was made so
        jax.config.update("jax_compilation_cache_dir", str(place))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def cache_hits() -> int:
    """Programs that this thread has taken from the cache instead of compiling them."""
    return getattr(_hits, "count", 0)


def _count(event: str, **_: object) -> None:
    if event == _HIT:  # JAX tells in the thread that compiles
        _hits.count = cache_hits() + 1


jax.monitoring.register_event_listener(_count)
