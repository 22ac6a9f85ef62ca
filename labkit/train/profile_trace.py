"""A profiler trace of some steps of a run, for TensorBoard, XProf or Perfetto."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import jax

from labkit.i18n import _

#: Folder of a run with its traces.
FOLDER = "profile"
#: Calls of the compiled step before the recording begins: the first ones fill caches.
CALLS_BEFORE = 2


class ProfileTrace:
    """Records ``steps`` updates with JAX's profiler into ``folder``, after the first calls of a session.

    A trace changes no number. One process records one trace at a time: where another is being recorded,
    ``problem`` says so and the run goes on without.

    Args:
        folder: where the trace is written.
        steps: updates that are recorded; 0: nothing is.
    """

    def __init__(self, folder: Path, steps: int):
        self.folder, self.left, self.calls = folder, steps, 0
        self.recording, self.problem = False, ""

    def before(self) -> None:
        """Called before every call of the compiled step."""
        if self.left > 0 and not self.recording and self.calls >= CALLS_BEFORE:
            try:
                jax.profiler.start_trace(str(self.folder))
                self.recording = True
            except (RuntimeError, OSError) as error:
                self.left = 0
                self.problem = _("No profiler trace was recorded: {error}.", error=str(error).rstrip("."))

    def after(self, steps: int, state: Any) -> None:
        """Called after every call, with its updates and what it returned."""
        self.calls += 1
        if self.recording:
            self.left -= steps
            if self.left <= 0:
                jax.block_until_ready(state)
                self.close()

    def close(self) -> None:
        """Write the trace, if one is being recorded."""
        if self.recording:
            self.recording, self.left = False, 0
            try:
                jax.profiler.stop_trace()
            except (RuntimeError, OSError) as error:
                self.problem = _("No profiler trace was recorded: {error}.", error=str(error).rstrip("."))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_unused: object) -> None:
        self.close()
