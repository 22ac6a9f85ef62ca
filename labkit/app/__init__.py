"""User interface: panels in a notebook and a progress bar in a terminal, on top of the run store.

 ``lk.panels.Data(rows)`` and the other steps of the bench are imported when they are first used, with the
widgets.
"""

from __future__ import annotations

import importlib
import logging
from typing import TYPE_CHECKING, Any

from labkit.core.extras import require

if TYPE_CHECKING:
    from labkit.app.lab import Lab as Lab
    from labkit.app.state import State as State
    from labkit.app.steps.chat import ChatPanel as ChatPanel
    from labkit.app.steps.data import Data as Data
    from labkit.app.steps.evaluate import Evaluate as Evaluate
    from labkit.app.steps.model import Model as Model
    from labkit.app.steps.predict import Predict as Predict
    from labkit.app.steps.prepare import Prepare as Prepare
    from labkit.app.steps.search import SearchPanel as SearchPanel
    from labkit.app.steps.train import Train as Train

#: Public name → "module:attribute"; the module is imported when the name is used.
HOMES = {
    "Lab": "labkit.app.lab:Lab",
    "Data": "labkit.app.steps.data:Data",
    "Prepare": "labkit.app.steps.prepare:Prepare",
    "Model": "labkit.app.steps.model:Model",
    "Train": "labkit.app.steps.train:Train",
    "Evaluate": "labkit.app.steps.evaluate:Evaluate",
    "Predict": "labkit.app.steps.predict:Predict",
    "Chat": "labkit.app.steps.chat:ChatPanel",
    "Search": "labkit.app.steps.search:SearchPanel",
    "State": "labkit.app.state:State",
}

require("lab")
logging.getLogger(__name__).addHandler(logging.NullHandler())  # a panel shows its errors itself


def __getattr__(name: str) -> Any:
    if name not in HOMES:
        from labkit.core.errors import nearest

        hint = "" if name.startswith("_") else nearest(name, HOMES)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}.{hint}")
    module, _, attribute = HOMES[name].partition(":")
    value = globals()[name] = getattr(importlib.import_module(module), attribute)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *HOMES})
