"""Settings changed by commands during a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


class Overrides:
    """The ``set`` commands of a run, of all its sessions.

    At a step, the value of a setting is that of the last command given, among the commands taken at this step
    or before it. A command therefore cancels the changes that an earlier session took at its own step or
    later, and a session that restarts from an earlier checkpoint repeats the changes that remain, each at its
    step: kills change no value. Which state becomes the model is decided at the end, so of ``keep`` the last
    command counts at any step.

    Args:
        commands: the step at which each was taken, and its values, in the order in which they were given.
    """

    def __init__(self, commands: Iterable[tuple[int, Mapping[str, Any]]] = ()):
        self._commands = list(commands)

    def add(self, step: int, values: Mapping[str, Any]) -> None:
        """Append a command that is taken at ``step``."""
        self._commands.append((step, values))

    def learning_rate(self, step: int) -> float | None:
        """The greatest learning rate from ``step`` on; None where no command has changed it."""
        taken = (values for at, values in reversed(self._commands) if at <= step)
        return next((values["learning_rate"] for values in taken if "learning_rate" in values), None)

    def next_change(self, step: int) -> int | None:
        """The first step after ``step`` at which the learning rate may change; None where there is none."""
        return min((at for at, _ in self._commands if at > step), default=None)

    @property
    def keep(self) -> str | None:
        """Which state becomes the model; None where no command has changed it."""
        return next((values["keep"] for _, values in reversed(self._commands) if "keep" in values), None)
