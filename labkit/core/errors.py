"""Exceptions with a translatable message and a remedy.

 Every error that labkit raises on purpose is a :class:`LabkitError`; the command line prints its text without
a traceback. The subclasses also inherit the built-in that a Python programmer would expect to catch.
"""

from __future__ import annotations

import difflib
import os
import traceback
from collections.abc import Iterable
from pathlib import Path

from labkit.core.text import printed
from labkit.i18n import Message, _, joined


class LabkitError(Exception):
    """Base of all errors raised by labkit on purpose.

    Args:
        message: the English text, marked by :func:`~labkit.i18n._`, with a named placeholder for each of
        ``params``.
        params: its parameters.

    Attributes:
        message: the text with its msgid and parameters; ``str(error)`` is its English.
    """

    def __init__(self, message: str = "", /, **params: object):
        if params:
            message = message.fill(**params) if isinstance(message, Message) else Message(message, params)
        self.message = message
        super().__init__(self.message)

    def _render_traceback_(self) -> list[str]:
        """What IPython prints: the message, and the line of the user's code that led to it.

        ``LABKIT_TRACEBACK=full`` in the environment shows all frames.
        """
        if os.environ.get("LABKIT_TRACEBACK") == "full":
            return [printed("".join(traceback.format_exception(self)))]
        frames = [frame for frame in traceback.extract_tb(self.__traceback__) if frame.line]
        where = [f"----> {frame.line}" for frame in frames if _is_users(frame.filename)]
        return [printed(line) for line in (*where[:1], f"{type(self).__name__}: {self}")]


def _is_users(file: str) -> bool:
    """Whether a frame is one of the user: a notebook cell or a file, not labkit nor an installed package."""
    return "site-packages" not in file and not Path(file).is_relative_to(Path(__file__).parents[1])


class ConfigError(LabkitError, ValueError):
    """A setting is unknown, of the wrong type or out of range."""


class DataError(LabkitError, ValueError):
    """The data cannot be used as they are."""


class SampleError(LabkitError, RuntimeError):
    """A named sample is unknown, unreachable or does not match its checksum."""


class WeightsError(LabkitError, ValueError):
    """Stored weights do not fit the model."""


class RunError(LabkitError, RuntimeError):
    """A run failed, is missing or cannot take the command."""


class FolderError(LabkitError, OSError):
    """A folder of labkit's own cannot be made or written."""


class ExtraError(LabkitError, ImportError):
    """An optional part of labkit is not installed."""


def nearest(name: str, names: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the closest of ``names``, or ``""`` when none is close."""
    found = difflib.get_close_matches(str(name), list(names), n=1, cutoff=0.5)
    return _(" Did you mean {name!r}?", name=found[0]) if found else ""


def os_reason(error: OSError) -> str:
    """What the operating system gives as the reason of an error."""
    return system_reason(error.strerror or str(error))


def system_reason(text: str) -> str:
    """A reason that the operating system gives, as a message where it is a usual one."""
    return _REASONS.get(text, text)


def headed(error: BaseException) -> Message:
    """``"DataError: the text"``: the class of an error and its message."""
    kind = type(error).__name__
    return joined(": ", [_KINDS.get(kind, kind), getattr(error, "message", str(error))])


_REASONS: dict[str, Message] = {
    text: text
    for text in (
        _("No space left on device"),
        _("File exists"),
        _("Not a directory"),
        _("Disk quota exceeded"),
        _("Read-only file system"),
        _("File too large"),
        _("Permission denied"),
        _("Input/output error"),
        _("No such file or directory"),
    )
}
_KINDS: dict[str, Message] = {
    name: name
    for name in (
        _("DataError"),
        _("ConfigError"),
        _("SampleError"),
        _("WeightsError"),
        _("RunError"),
        _("FolderError"),
        _("StoreError"),
        _("OSError"),
        _("MemoryError"),
    )
}
