"""States of callbacks as a file of a checkpoint: JSON and arrays in the safetensors format, never pickle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NoReturn

import jax
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from labkit.core.errors import RunError
from labkit.i18n import _

#: Name of the file.
FILE = "callbacks.safetensors"


def encode(states: dict[str, Any]) -> bytes:
    """States as a safetensors file: JSON in its metadata, arrays as its tensors.

    Raises:
        RunError: a value that the file cannot hold, or that would come back as another.
    """
    arrays: dict[str, np.ndarray] = {}

    def plain(value: object, where: str) -> Any:
        if isinstance(value, np.ndarray | np.generic | jax.Array):
            array = np.asarray(value)
            if array.dtype.kind not in "biufV" or (array.dtype.kind == "V" and array.dtype.names):
                refuse(where, _("array of {dtype}", dtype=array.dtype))
            arrays[str(len(arrays))] = np.ascontiguousarray(array).reshape(array.shape)
            return {"scalar" if isinstance(value, np.generic) else "array": len(arrays) - 1}
        if value is None or type(value) in (bool, int, float, str):
            return value
        if type(value) is list:
            return {"list": [plain(each, f"{where}[{place}]") for place, each in enumerate(value)]}
        if type(value) is dict and all(type(key) is str for key in value):
            return {"dict": {key: plain(each, f"{where}[{key!r}]") for key, each in value.items()}}
        refuse(
            where, type(value).__name__ if type(value) is not dict else _("dict with keys that are not texts")
        )

    def refuse(where: str, kind: str) -> NoReturn:
        raise RunError(
            _("the state of a callback cannot be saved: {where} is of type {kind}. It may hold dicts with texts as "
              "keys, lists, numbers, texts, booleans, None and numeric arrays."),
            where=where, kind=kind,
        )  # fmt: skip

    text = json.dumps({name: plain(state, f"{name} state") for name, state in states.items()})
    return save(arrays, {"states": text})


def decode(path: Path) -> dict[str, Any]:
    """The states that :func:`encode` wrote. Raises :class:`RunError` for any other file."""

    def value_of(value: object) -> Any:
        if not isinstance(value, dict):
            return value
        ((kind, content),) = value.items()
        if kind == "list":
            return [value_of(each) for each in content]
        if kind == "dict":
            return {key: value_of(each) for key, each in content.items()}
        array = file.get_tensor(str(content))
        return array[()] if kind == "scalar" else array

    try:
        with safe_open(path, framework="numpy") as file:
            states = json.loads((file.metadata() or {})["states"])
            return {name: value_of(state) for name, state in states.items()}
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise RunError(_("the states of the callbacks cannot be read from {path!r}: {error}."),
                       path=str(path), error=error) from error  # fmt: skip
