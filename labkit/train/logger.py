"""What the training loop requires of a run logger: where it reads its run, writes records and receives
commands.

The loop knows this protocol only; :mod:`labkit.runs.logger` implements it over the run store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable


class Record(NamedTuple):
    """One measured number: ``split`` is train, validation, test or machine (speed in examples a second,
    memory in bytes); ``step`` counts updates already made."""

    seq: int
    step: int
    split: str
    name: str
    value: float
    time: float


@runtime_checkable
class RunFields(Protocol):
    """The fields of a run that the loop reads."""

    @property
    def started(self) -> float | None:
        """Seconds since 1970 at which the run first started; None before that."""
        ...

    @property
    def experiment(self) -> str:
        """The experiment as TOML."""
        ...

    @property
    def summary(self) -> dict[str, Any]:
        """Facts by name: ``saved_step``, ``parts``, ``quarantined`` and others."""
        ...


@runtime_checkable
class Logger(Protocol):
    """The log of one run.

    Attributes:
        records: ``(step, split, name, value)`` to be written next.
    """

    records: list[tuple[int, str, str, float]]

    @property
    def id(self) -> str:
        """The id of the run."""
        ...

    @property
    def folder(self) -> Path:
        """The folder of the run."""
        ...

    @property
    def run(self) -> RunFields:
        """The fields of the run now."""
        ...

    def update(self, **fields: object) -> None:
        """Write fields at once; raises what prevents it."""
        ...

    def note(self, **fields: object) -> None:
        """Add fields to the next write; entries of ``summary`` are merged."""
        ...

    def log(self, **fields: object) -> None:
        """Write the records and these fields; what cannot be written on a full disk is kept for the next
        write."""
        ...

    def flush(self, **fields: object) -> None:
        """Write the records and these fields; waits a while for room on a full disk, then raises."""
        ...

    def commands(self, step: int) -> list[tuple[str, Any]]:
        """Take the waiting commands at ``step``: name and value of each."""
        ...

    def settings(self) -> Iterable[tuple[int, Mapping[str, Any]]]:
        """The ``set`` commands of all sessions: the step at which each was taken, and its values."""
        ...

    def recorded(self, split: str) -> list[Record]:
        """All records of a split, those not yet written included."""
        ...

    def forget_after(self, step: int) -> None:
        """Delete the records of later steps."""
        ...

    def with_room(self, action: Callable[[], None]) -> None:
        """Call ``action``, which writes to the disk; on a full disk wait for room and call it again."""
        ...

    def cure(self, error: BaseException) -> str:
        """What to do about an error of the storage behind the log; empty for other errors."""
        ...
