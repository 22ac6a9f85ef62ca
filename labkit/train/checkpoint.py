"""Checkpoints of a run: the whole state, written by Orbax beside training, sealed, read back, and only then saved.

A checkpoint is written in ``saving/``, sealed there (:mod:`labkit.base.manifest`), verified, and gets its name
``step_N`` in one rename: what has that name was whole once. What is damaged later goes to ``quarantine/``.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp

from labkit.base import lock, manifest
from labkit.base.cache import sync_folder
from labkit.base.errors import RunError
from labkit.train.peers import ALONE, Peers
from labkit.train.step import State

logging.getLogger("absl").setLevel(logging.ERROR)  # Orbax tells of every file it opens

#: Bytes beside the arrays: Orbax's own files, and the records that go on being written.
ROOM = 4 << 20
#: Mismatches named in a message.
SHOWN = 10
_PREFIX = "step_"

_copy = jax.jit(lambda state: jax.tree.map(jnp.copy, state))


class Checkpoints:
    """The checkpoints of one run: the newest, and the best or else the one before it, so that there are two.

    Args:
        folder: ``<run folder>/checkpoints``; whoever makes this object holds the run's lock.
        peers: the processes that work on the run; the leading one alone names, moves and removes.

    A step counts as saved once :meth:`settle` has returned it. ``damaged`` lists what was put into quarantine and why.
    """

    def __init__(self, folder: Path, peers: Peers = ALONE):
        self.folder, self.peers = folder.absolute(), peers
        self.damaged: list[str] = []
        self._orbax = ocp.Checkpointer(ocp.StandardCheckpointHandler())
        self._writer = ThreadPoolExecutor(1, "labkit-save")
        self._saving: tuple[int, int | None, Future[None]] | None = None
        if peers.lead:
            self._unfinished.mkdir(parents=True, exist_ok=True)
            for left in self._unfinished.iterdir():  # by a process that was killed: never promised
                shutil.rmtree(left, ignore_errors=True)

    @property
    def _unfinished(self) -> Path:
        return self.folder / "saving"

    def _place(self, step: int) -> Path:
        return self.folder / f"{_PREFIX}{step}"

    # --- saving -----------------------------------------------------------------------------------------------

    def save(self, state: State, step: int, best: int | None, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Begin to save ``state``; the loop may go on and donate it. ``best`` is the step to keep beside the newest.

        With several processes the save is over when this returns, as they must not talk of two things at once.

        Raises:
            RunError: the save before this one failed, or this one cannot begin.
        """
        self.settle(meanwhile)
        there, lack = self.peers.agree([self._place(step).exists(), self._lack(state) if self.peers.lead else ""])
        if lack:
            raise unsaved(step, lack)
        if there:
            return
        future: Future[None] = Future()
        if self.peers.count == 1:
            future = self._writer.submit(self._write, _copy(state), step)
        else:
            try:
                future.set_result(self._write(state, step))
            except Exception as error:
                future.set_exception(error)
        self._saving = (step, best, future)

    def settle(self, meanwhile: Callable[[], None] = lambda: None) -> int | None:
        """Wait for the save under way, calling ``meanwhile`` now and then, and return its step, verified; steps that
        are no longer needed are removed.

        Raises:
            RunError: the save failed; the checkpoints before it are untouched.
        """
        if self._saving is None:
            return None
        step, best, future = self._saving
        self._saving = None
        while not wait([future], 0.25).done:
            meanwhile()
        if (error := future.exception()) is not None:
            raise unsaved(step, _reason(error)) from error
        if self.peers.lead:
            steps = self.steps
            for old in set(steps) - {step, best} - set(steps[-2:] if best in (None, step) else ()):
                shutil.rmtree(self._place(old), ignore_errors=True)
        return step

    def _write(self, state: State, step: int) -> None:
        place = self._unfinished / str(step)
        try:
            self._orbax.save(place, args=ocp.args.StandardSave(state), force=True)
            if self.peers.lead:
                manifest.seal(place, step=step, tree=_described(state))
                if problems := manifest.damage(place):
                    raise OSError(f"what was written is not what the disk gives back: {'; '.join(problems[:SHOWN])}")
                os.rename(place, self._place(step))
                sync_folder(self.folder)
        except Exception:
            if self.peers.lead:
                for left in self._unfinished.iterdir():
                    shutil.rmtree(left, ignore_errors=True)
            raise

    def _lack(self, state: State) -> str:
        """What stands in the way of a save, if anything does."""
        needed = ROOM + sum(leaf.nbytes for leaf in jax.tree.leaves(state))
        try:
            free = shutil.disk_usage(self.folder).free
        except OSError as error:
            return str(error)
        if free >= needed:
            return ""
        return f"{needed / 1e6:,.0f} MB are needed, {free / 1e6:,.0f} MB are free in {self.folder}"

    @property
    def written(self) -> bool:
        """Whether a save is through and :meth:`settle` would not wait."""
        return self._saving is not None and self._saving[2].done()

    # --- restoring --------------------------------------------------------------------------------------------

    @property
    def steps(self) -> list[int]:
        """The steps that were saved, ascending; whether they still are whole, :meth:`sound` says."""
        names = (path.name.removeprefix(_PREFIX) for path in self.folder.glob(f"{_PREFIX}*"))
        return sorted(int(name) for name in names if name.isdigit())

    def newest(self) -> int | None:
        """The newest step that is whole; damaged ones on the way to it go to quarantine. None if there is none."""
        return next((step for step in reversed(self.steps) if self.sound(step)), None)

    def sound(self, step: int) -> bool:
        """Whether every file of a checkpoint has the content it was saved with; if not, it goes to quarantine."""
        place = self._place(step)
        problems = manifest.damage(place)
        if problems:
            self.set_aside(step, "; ".join(problems[:SHOWN]))
        return not problems

    def set_aside(self, step: int, why: str) -> None:
        """Put a checkpoint into quarantine: it is not restored any more, and not removed either."""
        place, aside = self._place(step), self.folder / "quarantine"
        aside.mkdir(exist_ok=True)
        number = sum(1 for path in aside.iterdir() if path.name.split("-")[0] == place.name)
        os.rename(place, aside / (f"{place.name}-{number}" if number else place.name))
        self.damaged.append(f"{place.name}: {why}")

    def restore(self, step: int, like: State) -> State:
        """The state saved at ``step``, with the shapes, data types and places of ``like`` (arrays or their shapes).

        Raises:
            RunError: the checkpoint holds something else; nothing is cast.
        """
        content = manifest.read(self._place(step)) or {}
        stored = {path: (shape, dtype) for path, shape, dtype in content.get("tree", ())}
        asked = {path: (shape, dtype) for path, shape, dtype in _described(like)}
        if differ := [path for path in {**stored, **asked} if stored.get(path) != asked.get(path)]:
            lines = [f"  {path}: saved {_told(stored.get(path))}, asked {_told(asked.get(path))}" for path in differ]
            more = [f"  … and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
            raise RunError(
                "\n".join([f"the checkpoint of step {step} does not fit this run:", *lines[:SHOWN], *more])
                + "\nA checkpoint belongs to the settings it was made with; begin a new run for others."
            )
        target = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        state: Any = self._orbax.restore(self._place(step), args=ocp.args.StandardRestore(target))
        return state

    def close(self) -> None:
        """Wait for the save under way and release the folder."""
        self._writer.shutdown()
        self._orbax.close()


def unsaved(step: int, reason: str) -> RunError:
    """The error that tells of a save that failed."""
    return RunError(f"checkpoint of step {step} not saved: {reason}. The checkpoints before it are whole.")


def _reason(error: BaseException) -> str:
    """What the system said, out of the long sentences of those who called it."""
    text = str(error)
    known = (
        os.strerror(code) for code in (errno.ENOSPC, errno.EROFS, errno.EFBIG, errno.EDQUOT, errno.EACCES, errno.EIO)
    )
    return next((said for said in known if said in text), text.partition("\n")[0][:200])


def _described(state: Any) -> list[list[Any]]:
    """Path, shape and data type of every array of a state, as JSON holds them."""
    leaves = jax.tree_util.tree_flatten_with_path(state)[0]
    return [[jax.tree_util.keystr(path), list(leaf.shape), str(leaf.dtype)] for path, leaf in leaves]


def _told(kind: tuple[list[int], str] | None) -> str:
    return "nothing" if kind is None else f"{kind[1]}{kind[0]}"


@contextlib.contextmanager
def writer_lock(folder: Path) -> Iterator[None]:
    """Hold the lock of a run folder: one writer at a time; it is freed by the system when the process dies.

    Whoever cannot have it changes nothing in the folder.

    Raises:
        RunError: another process (or thread) works on the run, and which.
    """
    with open(folder / "lock", "a+", encoding="utf-8") as file:
        try:
            lock.acquire(file)
        except OSError:
            raise RunError(
                f"run {folder.name!r} is being worked on already{_holder(folder)}. "
                f"Watch it with `lk.open_run({folder.name!r})`."
            ) from None
        file.truncate(0)
        file.write(json.dumps({"host": socket.gethostname(), "pid": os.getpid()}))
        file.flush()
        yield


def _holder(folder: Path) -> str:
    try:
        told = json.loads((folder / "lock").read_text(encoding="utf-8"))
        return f", by process {told['pid']} on {told['host']}"
    except (OSError, ValueError, KeyError, TypeError):
        return ""
