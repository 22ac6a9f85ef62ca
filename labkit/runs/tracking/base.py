"""The base class of trackers, and how their metrics are named."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from labkit.core.errors import FolderError, os_reason
from labkit.i18n import _
from labkit.runs.store import RunInfo
from labkit.train.logger import Record

#: First part of a foreign metric name → the split of labkit.
SPLITS = {
    "train": "train", "training": "train",
    "validation": "validation", "valid": "validation", "val": "validation", "eval": "validation",
    "dev": "validation", "test": "test", "machine": "machine",
}  # fmt: skip
_PREFIX = re.compile(rf"({'|'.join(sorted(SPLITS, key=len, reverse=True))})[/_. ](.+)", re.IGNORECASE)


@dataclass(frozen=True)
class TrackedRun:
    """A run as a tracker has stored it.

    Attributes:
        id: unique in its tracker.
        name: its display name.
        records: its metrics; their ``seq`` is 0.
        finished: whether the tracker says that it ended without an error.
    """

    id: str
    name: str
    records: list[Record] = field(repr=False)
    finished: bool = True


class Tracker(ABC):
    """Writes the metrics of one run for another tool; :meth:`read` reads the runs of that tool.

    Args:
        info: the run.
        settings: its settings, names joined by dots.
        target: where it is written: a file, a folder, an address or a project, depending on the tracker.

    Attributes:
        extra: the extra of labkit that installs the library; empty where none is needed.
        default: the target that is used if none is given.
        place: where the run can be found.
    """

    extra: ClassVar[str] = ""
    default: ClassVar[str] = ""
    place: str

    @abstractmethod
    def __init__(self, info: RunInfo, settings: dict[str, Any], target: str): ...

    @abstractmethod
    def write(self, records: Sequence[Record]) -> None:
        """Append records, so that the other tool can see them on return."""

    @abstractmethod
    def close(self, finished: bool) -> None:
        """End the copy; ``finished``: the run ended without an error."""

    @classmethod
    @abstractmethod
    def read(cls, target: str) -> Iterator[TrackedRun]:
        """The runs at a target. Raises :class:`labkit.LabkitError` where it cannot be read."""


def tag_of(record: Record) -> str:
    """The name of a metric in other tools: ``validation/f1``."""
    return f"{record.split}/{record.name}"


def series_of(tag: str) -> tuple[str, str]:
    """Split and name of a metric in another tool: ``eval/loss``, ``val_loss`` and ``validation.loss`` are the loss of
    the validation rows; a name without a split belongs to the training rows."""
    if found := _PREFIX.fullmatch(tag):
        return SPLITS[found[1].lower()], found[2]
    return "train", tag.replace("/", ".")


def folder_name(info: RunInfo) -> str:
    """``NAME-ID``, fit to be a folder on every system: a name may hold slashes."""
    name = re.sub(r"[^\w-]+", "_", info.name)
    return f"{name}-{info.id}"


@contextmanager
def writable(folder: Path) -> Iterator[None]:
    """Raise :class:`FolderError` for what the system refuses while the target is written."""
    try:
        yield
    except OSError as error:
        raise FolderError(
            _("cannot write to {folder!r}: {reason}. Give another target."),
            folder=str(folder),
            reason=os_reason(error),
        ) from error


def records_of(points: Iterable[tuple[str, int, float, float]]) -> list[Record]:
    """Records from tag, step, value and time (seconds since 1970), in the order of their steps."""
    found = [Record(0, step, *series_of(tag), value, time) for tag, step, value, time in points]
    return sorted(found, key=lambda record: record.step)
