"""Memory in huge pages, for processes that labkit starts.

 XLA asks the system for the temporaries of a step anew at every step, hundreds of megabytes. In pages of 4 kB
that is 100,000 page faults, measured at a quarter of a step of BERT on a CPU; in pages of 2 MB it is next to
nothing. The C library can ask for those, but only if the environment says so when the process starts.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

_VARIABLE, _TUNABLE = "GLIBC_TUNABLES", "glibc.malloc.hugetlb"
_SETTING = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def with_huge_pages(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """An environment (by default this process's) for a new process that computes; a choice made before is
    kept."""
    result = dict(os.environ if environment is None else environment)
    tunables = result.get(_VARIABLE, "")
    if sys.platform == "linux" and _TUNABLE not in tunables:
        result[_VARIABLE] = f"{tunables}:{_TUNABLE}=1".lstrip(":")
    return result


def huge_pages() -> str:
    """Whether large buffers of this process use huge pages: "on", "off" (they would in a process of labkit's
    own), "never" (the system gives none) or "" (it has no such setting)."""
    try:
        mode = _SETTING.read_text("ascii")
    except OSError:
        return ""
    if "[never]" in mode:
        return "never"
    return "on" if "[always]" in mode or f"{_TUNABLE}=1" in os.environ.get(_VARIABLE, "") else "off"
