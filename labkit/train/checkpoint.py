"""Checkpoints: the whole state, written asynchronously by Orbax, checksummed and verified.

 A checkpoint is written in ``saving/``, sealed there (:mod:`labkit.core.manifest`) with its step and its
provenance (:mod:`labkit.train.provenance`), verified, and gets its name ``step_N`` in one rename. Before a
checkpoint is used, name, content and provenance are compared with the seal and the run; what fails goes to
``quarantine/``.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import re
import shutil
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from jaxtyping import PyTree

from labkit.core import file_lock, manifest
from labkit.core.cache import sync_folder
from labkit.core.errors import RunError, system_reason
from labkit.i18n import _, joined
from labkit.train.orbax_errors import silence_orbax
from labkit.train.process_group import SINGLE, ProcessGroup
from labkit.train.provenance import Provenance
from labkit.train.step import TrainState

logging.getLogger("absl").setLevel(
    logging.CRITICAL
)  # Orbax logs every file, and failures that it raises as well
# Of several writes that fail, Orbax awaits the first alone; asyncio would log the others with their
# tracebacks.
logging.getLogger("asyncio").addFilter(lambda record: "orbax" not in record.getMessage())

#: Bytes beside the arrays: Orbax's own files, and the records that go on being written.
ROOM = 4 << 20
#: Mismatches named in a message.
SHOWN = 10
_NAME = re.compile(r"step_(0|[1-9][0-9]*)")

_copy = jax.jit(lambda state: jax.tree.map(jnp.copy, state))


class Checkpoints:
    """The checkpoints of one run: the newest, and the best or else the one before it, so that there are two.

    Args:
        folder: ``<run folder>/checkpoints``; whoever makes this object holds the run's lock.
        group: the processes that work on the run; the leading one alone names, moves and removes.
        provenance: of the run; None: whose checkpoints these are is not compared.

    A step counts as saved once :meth:`settle` has returned it. ``damaged`` lists what was put into quarantine
    and why.

    Raises:
        RunError: a folder of checkpoints is a link.
    """

    def __init__(self, folder: Path, group: ProcessGroup = SINGLE, provenance: Provenance | None = None):
        self.folder, self.group, self.provenance = folder.absolute(), group, provenance
        self.damaged: list[str] = []
        silence_orbax()
        self._verified: set[int] = set()  # saved or checked by this object
        self.checkpointer = ocp.Checkpointer(ocp.StandardCheckpointHandler())
        self._writer = ThreadPoolExecutor(1, "labkit-save")
        self._attempts = 0
        self._saving: tuple[int, int | None, Future[None]] | None = None
        if group.lead:
            self._refuse_links()
            self._unfinished.mkdir(parents=True, exist_ok=True)
            self._clear()  # what a process that was killed has left: never promised

    def _refuse_links(self) -> None:
        """Nothing is written, moved or removed behind a link: it may lead to the checkpoints of another run."""
        for place in (self.folder, self._unfinished, self._quarantine):
            if place.is_symlink():
                raise RunError(
                    _(
                        "{place!r} is a symbolic link to {readlink!r}. Replace it by the folder itself; "
                        "to use a larger disk, move the whole lab folder there and set LABKIT_FOLDER."),
                    place=str(place), readlink=os.readlink(place),
                )  # fmt: skip

    @property
    def _unfinished(self) -> Path:
        return self.folder / "saving"

    @property
    def _quarantine(self) -> Path:
        return self.folder / "quarantine"

    def _place(self, step: int) -> Path:
        return self.folder / f"step_{step}"

    # --- saving -----------------------------------------------------------------------------------------------

    def save(
        self,
        state: TrainState,
        step: int,
        best: int | None,
        meanwhile: Callable[[], None] = lambda: None,
        files: Mapping[str, bytes] | None = None,
    ) -> None:
        """Begin to save ``state``; the loop may go on and donate it. ``best`` is the step to keep in addition
        to the newest; ``files`` are further files of the checkpoint by name.

        With several processes the save is over when this returns, as they must not talk of two things at
        once.

        Raises:
            RunError: the save before this one failed, or this one cannot begin.
        """
        self.settle(meanwhile)
        there, lack = self.group.broadcast(
            [self._is_there(step), self.missing_room(state)] if self.group.lead else []
        )
        if lack:
            raise checkpoint_error(step, lack)
        if there:
            return
        future: Future[None] = Future()
        if self.group.count == 1:
            future = self._writer.submit(self.write, _copy(state), step, files or {})
        else:
            try:
                future.set_result(self.write(state, step, files or {}))
            except Exception as error:
                future.set_exception(error)
        self._saving = (step, best, future)

    def settle(self, meanwhile: Callable[[], None] = lambda: None) -> int | None:
        """Wait for the save under way, calling ``meanwhile`` now and then, and return its step, verified;
        steps that are no longer needed are removed.

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
            raise checkpoint_error(step, _reason(error)) from error
        self._verified.add(step)
        if self.group.lead:
            self._set_strangers_aside()
            steps = self.steps
            for old in set(steps) - {step, best} - set(steps[-2:] if best in (None, step) else ()):
                shutil.rmtree(self._place(old), ignore_errors=True)
        return step

    def _is_there(self, step: int) -> bool:
        """Whether this step needs no other save; what only has its name is set aside."""
        if not os.path.lexists(self._place(step)):
            return False
        return step in self._verified or self.sound(step)

    def write(self, state: TrainState, step: int, files: Mapping[str, bytes]) -> None:
        # A name of its own for each attempt: writes of one that failed may still be under way in the next.
        self._attempts += 1
        place = self._unfinished / f"{step}-{self._attempts}"
        try:
            self.checkpointer.save(place, args=ocp.args.StandardSave(state), force=True)
            if self.group.lead:
                for name, content in files.items():
                    (place / name).write_bytes(content)
                facts = self.provenance.facts() if self.provenance else {}
                manifest.seal(place, step=step, tree=_described(state), **facts)
                if problems := manifest.damage(place):
                    raise OSError(
                        f"what was written is not what the disk gives back: {'; '.join(problems[:SHOWN])}"
                    )
                if self.provenance:
                    self.provenance.enter()
                os.rename(place, self._place(step))
                sync_folder(self.folder)
        except Exception:
            if self.group.lead:
                self._clear()
            raise

    def _clear(self) -> None:
        """Remove unfinished checkpoints. Where one of Orbax's parallel writes fails, the others go on for a
        while: it is over when nothing comes back, or after five seconds."""
        for _attempt in range(50):
            for left in (found := list(self._unfinished.iterdir())):
                shutil.rmtree(left, ignore_errors=True)
            if not found:
                return
            time.sleep(0.1)

    def missing_room(self, state: TrainState) -> str:
        """What prevents a save, if anything."""
        needed = ROOM + sum(leaf.nbytes for leaf in jax.tree.leaves(state))
        try:
            free = shutil.disk_usage(self.folder).free
        except OSError as error:
            return str(error)
        if free >= needed:
            return ""
        return _(
            "{needed:,.0f} MB needed, {free:,.0f} MB free in {folder}",
            needed=needed / 1000000.0, free=free / 1000000.0, folder=self.folder,
        )  # fmt: skip

    @property
    def written(self) -> bool:
        """Whether a save is through and :meth:`settle` would not wait."""
        return self._saving is not None and self._saving[2].done()

    # --- restoring --------------------------------------------------------------------------------------------

    @property
    def steps(self) -> list[int]:
        """The steps that were saved, ascending; whether they can be used, :meth:`sound` says."""
        names = (_NAME.fullmatch(path.name) for path in self.folder.glob("step_*"))
        return sorted(int(name[1]) for name in names if name)

    def newest(self) -> int | None:
        """The newest step that is sound; None if there is none. All that belong to no step of this run, and
        damaged ones on the way to it, go to quarantine."""
        self._set_strangers_aside()
        return next((step for step in reversed(self.steps) if self.sound(step)), None)

    def sound(self, step: int) -> bool:
        """Whether a checkpoint belongs to this step of this run and every file of it has the content it was
        saved with; if not, it goes to quarantine."""
        place = self._place(step)
        problem = self._stranger(place) or "; ".join(manifest.damage(place, alone=True)[:SHOWN])
        if problem:
            self._move(place, problem)
        else:
            self._verified.add(step)
        return not problem

    def set_aside(self, step: int, why: str) -> None:
        """Put a checkpoint into quarantine: it is not restored any more, and not removed either."""
        self._move(self._place(step), why)

    def _set_strangers_aside(self) -> None:
        """Set aside what has a name like a checkpoint and is none of this run's; contents are not read."""
        for place in sorted(self.folder.glob("step_*")):
            if problem := self._stranger(place):
                self._move(place, problem)

    def _stranger(self, place: Path) -> str:
        """Why a folder is no checkpoint of the step that it is named for, and of this run; empty where it is
        one."""
        if place.is_symlink():
            return _("it is a symbolic link to {readlink!r}", readlink=os.readlink(place))
        if not (name := _NAME.fullmatch(place.name)):
            return _("the name is not a step")
        if (facts := manifest.read(place)) is None:
            return "; ".join(manifest.damage(place))
        if (saved := facts.get("step")) != int(name[1]) or isinstance(saved, bool):
            return _("it was saved at step {saved}", saved=saved)
        return self.provenance.mismatch(facts, saved) if self.provenance else ""

    def _move(self, place: Path, why: str) -> None:
        aside, number = self._quarantine, 0
        try:
            aside.mkdir(exist_ok=True)
            while os.path.lexists(target := aside / (f"{place.name}-{number}" if number else place.name)):
                number += 1
            os.rename(place, target)
        except OSError as error:
            raise RunError(
                _("{folder} cannot be used: {why}. It cannot be moved to {aside!r} either: {reason}."),
                folder=place.name, why=why, aside=str(aside), reason=error.strerror or error,
            ) from error  # fmt: skip
        self._verified -= {int(name[1]) for name in [_NAME.fullmatch(place.name)] if name}
        self.damaged.append(f"{place.name}: {why}")

    def file(self, step: int, name: str) -> Path:
        """The path of a further file of a checkpoint; it may be missing."""
        return self._place(step) / name

    def facts(self, step: int) -> dict[str, Any]:
        """What a checkpoint was sealed with."""
        return manifest.read(self._place(step)) or {}

    def restore(self, step: int, like: TrainState) -> TrainState:
        """The state saved at ``step``, with the shapes, data types and places of ``like`` (arrays or their
        shapes).

        Raises:
            RunError: the checkpoint is not sound, or holds something else; nothing is cast.
        """
        if self.group.lead and step not in self._verified and not self.sound(step):
            raise RunError(
                _("the checkpoint of step {step} cannot be used. {damaged}."),
                step=step,
                damaged=self.damaged[-1],
            )
        stored = {path: (shape, dtype) for path, shape, dtype in self.facts(step).get("tree", ())}
        asked = {path: (shape, dtype) for path, shape, dtype in _described(like)}
        if differ := [path for path in {**stored, **asked} if stored.get(path) != asked.get(path)]:
            lines = [
                _(
                    "  {path}: saved {saved}, expected {wanted}",
                    path=path,
                    saved=_told(stored.get(path)),
                    wanted=_told(asked.get(path)),
                )
                for path in differ
            ]
            more = [_("  … and {n_lines} more", n_lines=len(lines) - SHOWN)] if len(lines) > SHOWN else []
            raise RunError(
                _(
                    "the checkpoint of step {step} does not match this run:\n{lines}\nA checkpoint can only "
                    "be restored with the settings it was created with; start a new run for other "
                    "settings."),
                step=step, lines=joined("\n", [*lines[:SHOWN], *more]),
            )  # fmt: skip
        target = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        try:
            state: Any = self.checkpointer.restore(self._place(step), args=ocp.args.StandardRestore(target))
        except (ValueError, KeyError, TypeError, OSError) as error:  # such as of another version of Orbax
            raise RunError(
                _("the checkpoint of step {step} cannot be restored: {reason}"),
                step=step,
                reason=_reason(error),
            ) from error
        return state

    def close(self) -> None:
        """Wait for the save under way and release the folder."""
        self._writer.shutdown()
        self.checkpointer.close()


def checkpoint_error(step: int, reason: str) -> RunError:
    """The error of a failed save."""
    return RunError(
        _("checkpoint of step {step} not saved: {reason}. Earlier checkpoints are intact."),
        step=step,
        reason=system_reason(reason),
    )


def _reason(error: BaseException) -> str:
    """What the system said, out of the long sentences of those who called it."""
    text = str(error)
    known = (
        os.strerror(code)
        for code in (errno.ENOSPC, errno.EROFS, errno.EFBIG, errno.EDQUOT, errno.EACCES, errno.EIO)
    )
    return next((said for said in known if said in text), text.partition("\n")[0][:200])


def _described(state: PyTree[Any]) -> list[list[Any]]:
    """Path, shape and data type of every array of a state, as JSON holds them."""
    leaves = jax.tree_util.tree_flatten_with_path(state)[0]
    return [[jax.tree_util.keystr(path), list(leaf.shape), str(leaf.dtype)] for path, leaf in leaves]


def _told(kind: tuple[list[int], str] | None) -> str:
    return _("nothing") if kind is None else f"{kind[1]}{kind[0]}"


@contextlib.contextmanager
def writer_lock(folder: Path) -> Iterator[None]:
    """Hold the lock of a run folder: one writer at a time; it is freed by the system when the process dies.

    Whoever cannot have it changes nothing in the folder.

    Raises:
        RunError: another process (or thread) works on the run, and which.
    """
    with open(folder / "lock", "a+", encoding="utf-8") as file:
        try:
            file_lock.acquire(file)
        except OSError:
            raise RunError(
                _("run {folder!r} is already running{holder}. Follow it with `lk.open_run({folder!r})`."),
                folder=folder.name,
                holder=_holder(folder),
            ) from None
        file.truncate(0)
        file.write(json.dumps({"host": socket.gethostname(), "pid": os.getpid()}))
        file.flush()
        yield


def _holder(folder: Path) -> str:
    try:
        told = json.loads((folder / "lock").read_text(encoding="utf-8"))
        return _(", by process {pid} on {host}", pid=told["pid"], host=told["host"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""
