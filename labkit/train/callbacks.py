"""Callbacks: code that the training loop calls at its begin, after steps, evaluations and checkpoints, and at
its end.

The log of metrics and early stopping are such callbacks too.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import jax

from labkit.core.config import Config, short
from labkit.core.errors import ConfigError, RunError
from labkit.i18n import _
from labkit.train.callback_states import decode, encode
from labkit.train.selection import without_gain


@dataclass
class Progress:
    """The run as its callbacks see it.

    Attributes:
        folder: of the run, for files of a callback.
        steps: number of updates of the whole run.
        leader: False in all but one of several processes; those call the callbacks too, with the same values.
        step: number of updates whose metrics the callbacks have received.
        stopping: whether :meth:`stop` was called.
    """

    folder: Path
    steps: int
    leader: bool
    step: int
    record: Callable[[int, str, str, float], None] = field(repr=False)
    stopping: bool = False

    def log(self, values: Mapping[str, float], split: str = "train") -> None:
        """Record values of this step in the run store, beside the metrics of ``split``: train or validation."""
        for name, value in values.items():
            self.record(self.step, split, name, float(value))

    def stop(self) -> None:
        """End training as after the last step: at once from ``on_evaluate``; from ``on_step`` a few steps
        later, as these were already dispatched to the device."""
        self.stopping = True


class Callback(ABC):  # noqa: B024 (no method must be overridden)
    """Base class of callbacks; override the methods you need.

    Metrics are Python floats. They arrive at least one step late, so that the host never waits for the
    device. At an evaluation, a checkpoint and the end all steps before it have arrived.

    Attributes:
        Settings: class of the settings, where there are any: the callback is created as ``Class(settings)``.
            They are stored in the experiment.
        settings: of this callback; None where the class has none.
    """

    Settings: ClassVar[type[Config] | None] = None
    settings: Config | None = None

    def __init__(self, settings: Config | None = None):
        if settings is None and self.Settings is not None:
            settings = self.Settings()
        if not isinstance(settings, self.Settings or type(None)):
            raise ConfigError(
                _("{callback} takes {expected} as its settings, not {given}."),
                callback=type(self).__name__, expected=self.Settings.__name__ if self.Settings else None,
                given=short(settings),
            )  # fmt: skip
        self.settings = settings

    def on_begin(self, progress: Progress) -> None:  # noqa: B027
        """Before the first step of a session; after a resume the state has been loaded."""

    def on_step(self, progress: Progress, step: int, metrics: Mapping[str, float]) -> None:  # noqa: B027
        """After update number ``step``: loss, learning_rate, gradient_norm; every few steps also the task's
        metrics."""

    def on_evaluate(self, progress: Progress, step: int, scores: Mapping[str, float]) -> None:  # noqa: B027
        """After an evaluation on the validation rows, with its scores by metric."""

    def on_checkpoint(self, progress: Progress, step: int) -> None:  # noqa: B027
        """Once the checkpoint of ``step`` is on disk and verified, some steps after ``step``."""

    def on_end(self, progress: Progress, status: str) -> None:  # noqa: B027
        """At the end of a session: finished, stopped or failed. Also after an error, to close what is open."""

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint stores: dicts, lists, numbers, texts, booleans, None and arrays."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:  # noqa: B027
        """Take up the state that :meth:`state_dict` returned when the checkpoint was saved."""


def name_of(callback: Callback | type[Callback]) -> str:
    """Module and class, as ``"module:Class"``."""
    cls = callback if isinstance(callback, type) else type(callback)
    return f"{cls.__module__}:{cls.__qualname__}"


class RunLog(Callback):
    """Records the metrics of every step and every evaluation in the run store."""

    def on_step(self, progress: Progress, step: int, metrics: Mapping[str, float]) -> None:
        progress.log(metrics)

    def on_evaluate(self, progress: Progress, step: int, scores: Mapping[str, float]) -> None:
        progress.log(scores, "validation")


class EarlyStopping(Callback):
    """Stops training after ``patience`` evaluations without improvement of ``metric``; 0: never.

    Args:
        patience: number of evaluations.
        metric: the metric to compare.
        sign: 1, or -1 where less is better.
    """

    def __init__(self, patience: int, metric: str, sign: float):
        super().__init__()
        self.patience, self.metric, self.sign = patience, metric, sign
        self.evaluations: dict[int, Mapping[str, float]] = {}

    def on_begin(self, progress: Progress) -> None:
        self._check(progress)

    def on_evaluate(self, progress: Progress, step: int, scores: Mapping[str, float]) -> None:
        self.evaluations[step] = scores
        self._check(progress)

    def _check(self, progress: Progress) -> None:
        if self.patience and without_gain(self.evaluations, self.metric, self.sign) >= self.patience:
            progress.stop()

    def state_dict(self) -> dict[str, Any]:
        known = [[step, dict(scores)] for step, scores in self.evaluations.items()]
        return {"evaluations": known} if self.patience else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.evaluations = dict(state["evaluations"])


class CallbackList:
    """The callbacks of one session, called in their order.

    An exception in a callback is raised as a :class:`RunError` that names it; the run can be resumed.
    """

    def __init__(self, callbacks: Sequence[Callback], progress: Progress):
        self.callbacks, self.progress = list(callbacks), progress
        self._begun: list[Callback] = []

    def begin(self) -> None:
        """Call ``on_begin``."""
        for callback in self.callbacks:
            self._begun.append(callback)
            self._call(callback, "on_begin", lambda each: each.on_begin(self.progress))

    def step(self, step: int, metrics: Mapping[str, float]) -> None:
        """Call ``on_step``."""
        self.progress.step = step
        for callback in self.callbacks:
            self._call(callback, "on_step", lambda each: each.on_step(self.progress, step, dict(metrics)))

    def evaluate(self, step: int, scores: Mapping[str, float]) -> None:
        """Call ``on_evaluate``."""
        for callback in self.callbacks:
            self._call(
                callback, "on_evaluate", lambda each: each.on_evaluate(self.progress, step, dict(scores))
            )

    def checkpoint(self, step: int) -> None:
        """Call ``on_checkpoint``."""
        for callback in self.callbacks:
            self._call(callback, "on_checkpoint", lambda each: each.on_checkpoint(self.progress, step))

    def end(self, status: str) -> None:
        """Call ``on_end`` of all that have begun, each once; then raise the first of their exceptions."""
        begun, self._begun, errors = self._begun, [], []
        for callback in begun:
            try:
                self._call(callback, "on_end", lambda each: each.on_end(self.progress, status))
            except RunError as error:
                errors.append(error)
        if errors:
            raise errors[0]

    def _call(self, callback: Callback, method: str, call: Callable[[Callback], Any]) -> Any:
        try:
            with jax.transfer_guard("allow"):  # what a callback computes is its own affair
                return call(callback)
        except Exception as error:
            raise RunError(
                _("the callback {name} raised {error} in {method} after step {step}. Correct it, then resume the "
                  "run; restart the kernel first where its module was changed."),
                name=name_of(callback), error=f"{type(error).__name__}: {error}", method=method,
                step=self.progress.step,
            ) from error  # fmt: skip

    # --- states in checkpoints ------------------------------------------------------------------------------------

    def state(self) -> bytes | None:
        """The states of all callbacks as a safetensors file; None where none has a state."""
        states = {}
        for name, callback in self._named():
            if state := self._call(callback, "state_dict", lambda each: each.state_dict()):
                states[name] = state
        return encode(states) if states else None

    def load(self, path: Path) -> list[str]:
        """Load the states of a checkpoint; ``path`` may be missing. Returns the names whose state was not
        used, because the session has no such callback."""
        states = decode(path) if path.exists() else {}
        for name, callback in self._named():
            if name in states:
                state = states.pop(name)
                self._call(callback, "load_state_dict", lambda each, state=state: each.load_state_dict(state))
        return list(states)

    def _named(self) -> list[tuple[str, Callback]]:
        """Each with its name; of several of one class the later ones have a number."""
        seen: dict[str, int] = {}
        named = []
        for callback in self.callbacks:
            name = name_of(callback)
            seen[name] = seen.get(name, 0) + 1
            named.append((name if seen[name] == 1 else f"{name} #{seen[name]}", callback))
        return named
