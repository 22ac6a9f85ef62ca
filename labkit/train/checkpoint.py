"""Checkpoints of a run: the whole state, written by Orbax in the background, atomically."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp

from labkit.base.errors import RunError
from labkit.train.step import State

logging.getLogger("absl").setLevel(logging.ERROR)  # Orbax tells of every file it opens

_copy = jax.jit(lambda state: jax.tree.map(jnp.copy, state))


class Checkpoints:
    """The checkpoints of one run, at most two: the newest and the best.

    Args:
        folder: ``<run folder>/checkpoints``.

    A step counts as saved once :meth:`settle` has returned it: a save still under way may fail (disk full).
    """

    def __init__(self, folder: Path):
        options = ocp.CheckpointManagerOptions(create=True, cleanup_tmp_directories=True, step_prefix="step")
        self._manager = ocp.CheckpointManager(folder.absolute(), options=options)
        self._saving: tuple[int, int | None] | None = None

    def save(self, state: State, step: int, best: int | None) -> None:
        """Begin to save ``state``; the loop may go on and donate it. ``best`` is the step to keep beside the newest.

        Raises:
            RunError: the save before this one failed, or this one cannot begin.
        """
        self.settle()
        if step in self._manager.all_steps():
            return
        try:
            self._manager.save(step, args=ocp.args.StandardSave(_copy(state)))
        except OSError as error:
            raise _unsaved(step, error) from error
        self._saving = (step, best)

    def settle(self) -> int | None:
        """Wait for the save under way and return its step; older steps but the best are removed.

        Raises:
            RunError: the save failed; the checkpoints before it are untouched.
        """
        if self._saving is None:
            return None
        step, best = self._saving
        self._saving = None
        try:
            self._manager.wait_until_finished()
        except Exception as error:
            raise _unsaved(step, error) from error
        for old in self._manager.all_steps():
            if old not in (step, best):
                self._manager.delete(old)
        return step

    @property
    def steps(self) -> list[int]:
        """The steps that can be restored."""
        return list(self._manager.all_steps())

    @property
    def latest(self) -> int | None:
        """The newest step that can be restored, None if there is none."""
        return self._manager.latest_step()

    def restore(self, step: int, like: State) -> State:
        """The state saved at ``step``, with the shapes and data types of ``like`` (arrays or their shapes)."""
        target = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        state: Any = self._manager.restore(step, args=ocp.args.StandardRestore(target))
        return state

    def close(self) -> None:
        """Wait for the save under way and release the folder."""
        self._manager.close()


def _unsaved(step: int, error: Exception) -> RunError:
    return RunError(f"checkpoint of step {step} not saved: {error}. Free disk space; training goes on.")


@contextlib.contextmanager
def writer_lock(folder: Path) -> Iterator[None]:
    """Hold the lock of a run folder: one writer at a time; it is freed by the system when the process dies.

    Raises:
        RunError: another process (or thread) works on the run.
    """
    with open(folder / "lock", "w") as file:
        try:
            _lock(file)
        except OSError:
            raise RunError(
                f"run {folder.name!r} is being worked on already. Watch it with `lk.open_run({folder.name!r})`."
            ) from None
        yield


try:
    import fcntl

    def _lock(file) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

except ImportError:  # Windows
    import msvcrt

    def _lock(file) -> None:
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
