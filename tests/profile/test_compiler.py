"""Compiler options: there in the installed version, chosen by the processor, part of the key of JAX's cache."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from labkit.profile import compiler

cpu = pytest.mark.skipif(jax.default_backend() != "cpu", reason="options for a CPU")


@pytest.fixture
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "_instructions", lambda: frozenset({"avx512f", "avx512_bf16"}))
    monkeypatch.delenv("XLA_FLAGS", raising=False)


@cpu
def test_the_installed_xla_has_the_options(wide: None) -> None:
    """When this fails after an update: labkit/profile/compiler.py."""
    assert compiler.compiler_options() == {compiler.COPIES: True, compiler.WIDTH: 512}
    assert not compiler._known("xla_cpu_no_such_option", True)


@cpu
def test_wide_vectors_are_for_processors_made_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    monkeypatch.setattr(compiler, "_instructions", lambda: frozenset({"avx512f", "avx2"}))
    assert compiler.WIDTH not in compiler.compiler_options()


@cpu
def test_what_the_user_has_set_stays(wide: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XLA_FLAGS", f"--{compiler.WIDTH}=128")
    assert compiler.compiler_options() == {compiler.COPIES: True}


def test_other_devices_get_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert compiler.compiler_options() == {}


@cpu
def test_programs_with_other_options_are_other_programs_in_the_cache(wide: None, tmp_path: Path) -> None:
    """And one taken from the cache gives the bits of the one that was compiled."""
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs",
             "jax_persistent_cache_min_entry_size_bytes")  # fmt: skip
    before = {name: getattr(jax.config, name) for name in names}
    cache = jax.experimental.compilation_cache.compilation_cache
    x = jax.random.normal(jax.random.key(0), (64, 96))
    try:
        for name, value in zip(names, (str(tmp_path), 0.0, -1), strict=True):
            jax.config.update(name, value)
        cache.reset_cache()
        found = []
        for options in ({}, compiler.compiler_options()) * 2:
            jax.clear_caches()
            lowered = jax.jit(lambda x: jnp.tanh(x * 1.7).sum(0) * jnp.exp(x).mean()).lower(x)
            found.append(np.asarray(lowered.compile(compiler_options=options)(x)))
        assert len(list(tmp_path.glob("*-cache"))) == 2
    finally:
        for name, value in before.items():
            jax.config.update(name, value)
        cache.reset_cache()
    np.testing.assert_array_equal(found[0], found[2])
    np.testing.assert_array_equal(found[1], found[3])
