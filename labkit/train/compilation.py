"""The persistent compilation cache: what was compiled once is not compiled again after a restart."""

from __future__ import annotations

import jax

from labkit.base.cache import cache_dir


def use_compilation_cache() -> None:
    """Switch JAX's cache on, in a private folder of labkit's own, unless the user has chosen one already."""
    if jax.config.jax_compilation_cache_dir is None:
        jax.config.update("jax_compilation_cache_dir", str(cache_dir("compiled")))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
