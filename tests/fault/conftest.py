"""What the tests of faults share: a state without a model, and the means to wait, compare and fill a disk."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from labkit.train.step import TrainState


def state_of(step: int, width: int = 64, kind: str = "float32") -> TrainState:
    """A state of every kind of array, its numbers a function of ``step``."""
    drawn = np.random.default_rng(step)
    weights = {
        f"backbone/{name}/kernel": jnp.asarray(drawn.normal(size=(width, width)), kind) for name in "ab"
    }
    return TrainState(
        step=jnp.int32(step), trainable=weights,
        frozen={"backbone/c/scale": jnp.asarray(drawn.normal(size=3), jnp.bfloat16)},
        ema={}, batch_stats={"backbone/n/mean": jnp.ones(2)},
        optimizer=({"mu": jax.tree.map(jnp.square, weights)}, jnp.int32(step)),
        key=jax.random.key(step), learning_rate=jnp.float32(1 / 3), sums={"loss": jnp.zeros(())},
        skipped=jnp.int32(0),
    )  # fmt: skip


def plain(state: TrainState) -> list[tuple[str, tuple[int, ...], bytes]]:
    """Data type, shape and bytes of every array."""
    leaves = [
        jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x
        for x in jax.tree.leaves(state)
    ]
    return [(str(leaf.dtype), leaf.shape, np.asarray(leaf).tobytes()) for leaf in leaves]


def series(run, split: str, name: str) -> list[tuple[int, str]]:
    """Step and exact value of the records of a run."""
    return [(r.step, r.value.hex()) for r in run.store.records(run.id) if r.split == split and r.name == name]


def same_run(run, other) -> None:
    """Assert that two runs told the same numbers and made the same model, to the last bit."""
    for split, name in (("train", "loss"), ("train", "f1"), ("validation", "f1"), ("validation", "loss")):
        assert series(run, split, name) == series(other, split, name), (split, name)
    ours, theirs = ((r.info.folder / "model" / "model.safetensors").read_bytes() for r in (run, other))
    assert ours == theirs


def wait_for(condition: Callable[[], object], seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Callable[[int], Path]]:
    """Makes a disk of so many megabytes; skips where this user may not mount one."""
    with contextlib.ExitStack() as stack:

        def make(megabytes: int) -> Path:
            place = tmp_path / f"disk-{megabytes}"
            place.mkdir()
            done = subprocess.run(
                ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", place], capture_output=True
            )
            if done.returncode:
                pytest.skip(
                    "this user may not mount a small disk; the tests with a limit on files run all the same"
                )
            stack.callback(subprocess.run, ["umount", "-l", str(place)])
            return place

        yield make


@pytest.fixture
def tools():
    """The functions above, for tests that cannot import this file."""
    from types import SimpleNamespace

    return SimpleNamespace(
        state_of=state_of, plain=plain, series=series, same_run=same_run, wait_for=wait_for
    )
