"""Errors that tell a user what was wrong and what to do.

Every error that labkit raises on purpose is a :class:`LabkitError`; the command line prints its text without a
traceback. The subclasses also inherit the built-in that a Python programmer would expect to catch.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class LabkitError(Exception):
    """Base of all errors raised by labkit on purpose."""


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


def nearest(name: str, names: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the closest of ``names``, or ``""`` when none is close."""
    found = difflib.get_close_matches(str(name), list(names), n=1, cutoff=0.5)
    return f" Did you mean {found[0]!r}?" if found else ""
