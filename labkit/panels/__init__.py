"""What is seen: panels in a notebook, a progress bar in a terminal. They read the run store and command it.

``lk.panels.Data(rows)`` and the other steps of the bench are imported when they are first used, with the widgets.
"""

from __future__ import annotations

import importlib
import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from labkit.panels.data import Data as Data
    from labkit.panels.judge import Judge as Judge
    from labkit.panels.lab import Lab as Lab
    from labkit.panels.picker import Model as Model
    from labkit.panels.prepare import Prepare as Prepare
    from labkit.panels.state import State as State
    from labkit.panels.train import Train as Train
    from labkit.panels.use import Use as Use

_HOMES = {
    "Lab": "labkit.panels.lab:Lab",
    "Data": "labkit.panels.data:Data",
    "Prepare": "labkit.panels.prepare:Prepare",
    "Model": "labkit.panels.picker:Model",
    "Train": "labkit.panels.train:Train",
    "Judge": "labkit.panels.judge:Judge",
    "Use": "labkit.panels.use:Use",
    "State": "labkit.panels.state:State",
}

logging.getLogger(__name__).addHandler(logging.NullHandler())  # a panel shows its errors itself


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        from labkit.base.errors import nearest

        hint = "" if name.startswith("_") else nearest(name, _HOMES)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}.{hint}")
    module, _, attribute = _HOMES[name].partition(":")
    value = globals()[name] = getattr(importlib.import_module(module), attribute)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
