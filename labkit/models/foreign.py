"""Reading ``config.json`` of foreign model folders; sizes are checked before memory is allocated."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from labkit.core.errors import WeightsError
from labkit.core.safety import safetensors_header, small_text
from labkit.i18n import Message, _

#: Field of a model's config → smallest and largest plausible value in a ``config.json``. The largest
#: published models are well below: 262,144 tokens, 126 layers, width 16,384.
RANGES = {
    "vocab_size": (1, 10_000_000),
    "width": (1, 1_000_000),
    "depth": (1, 10_000),
    "encoder_depth": (1, 10_000),
    "decoder_depth": (1, 10_000),
    "heads": (1, 100_000),
    "kv_heads": (1, 100_000),
    "head_dim": (1, 1_000_000),
    "mlp_width": (1, 10_000_000),
    "max_length": (1, 100_000_000),
    "types": (0, 10_000),
}
#: Activation functions of transformers → labkit's name.
HIDDEN_ACTS = {"gelu": "gelu", "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "relu": "relu"}
#: Sizes that claim more than this many times the parameters of the file are refused at once. Below it the
#: comparison of names and shapes, which lists every difference, follows.
SLACK = 4
FREE = 1_000_000  # parameters that cost nothing: not compared


def settings_of(path: Path) -> dict[str, Any]:
    """The table in a ``config.json``. Raises as :func:`table_of`."""
    return table_of(path, _("{path} cannot be read ({error}). Give a folder in the Hugging Face layout."))


def table_of(path: Path, unreadable: Message) -> dict[str, Any]:
    """The table in a JSON file.

    Raises:
        WeightsError: ``unreadable``, as :func:`json_of`; or the file holds no table.
    """
    value = json_of(path, unreadable)
    if not isinstance(value, dict):
        raise WeightsError(
            _("{path} contains a {type}, not a table of settings."), path=path, type=type(value).__name__
        )
    return value


def json_of(path: Path, unreadable: Message) -> Any:
    """The value in a JSON file.

    Raises:
        WeightsError: ``unreadable``, a message with ``path`` and ``error``: the file cannot be read, is not
            JSON, or is nested too deeply.
    """
    try:
        return json.loads(small_text(path, WeightsError))
    except WeightsError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(unreadable, path=path, error=error) from None


def names_class(folder: Path, ending: str) -> bool:
    """Whether the ``config.json`` of a folder names a class of transformers with this ending ("ForMaskedLM")."""
    path = folder / "config.json"
    named = settings_of(path).get("architectures") if path.is_file() else None
    return isinstance(named, list) and any(str(name).endswith(ending) for name in named)


def label_names(path: Path) -> tuple[str, ...]:
    """The names of a classifier's outputs, in their order: ``id2label`` of a ``config.json``.

    Raises:
        WeightsError: the names are not numbered from 0, or two are equal.
    """
    config = settings_of(path)
    labels = config.get("id2label") or {
        str(place): f"LABEL_{place}" for place in range(config.get("num_labels", 2))
    }
    numbered = {str(place): place for place in range(len(labels))}
    if not isinstance(labels, dict) or labels.keys() != numbered.keys():
        raise WeightsError(
            _("{path}: id2label = {labels}; expected names numbered from 0."), path=path, labels=shown(labels)
        )
    names = tuple(str(labels[number]) for number in numbered)
    if len(set(names)) < len(names):
        raise WeightsError(
            _("{path}: id2label = {labels}; two names are equal."), path=path, labels=shown(labels)
        )
    return names


def check_settings(
    path: Path, config: Mapping[str, Any], required: Mapping[str, tuple[Any, tuple[Any, ...]]]
) -> None:
    """Raise :class:`WeightsError` for a setting of a ``config.json`` that labkit's layers do not have.

    Args:
        required: key → (what its absence means, the values that labkit's layers have).
    """
    for key, (absent, allowed) in required.items():
        if (value := config.get(key, absent)) not in allowed:
            raise WeightsError(
                _("{path}: {key} = {value}; supported: {allowed}."),
                path=path, key=key, value=shown(value), allowed=", ".join(map(repr, allowed)),
            )  # fmt: skip


def check_sizes(path: Path, sizes: Mapping[str, Any], keys: Mapping[str, str]) -> None:
    """Check the sizes that a ``config.json`` claims: each one alone, then all of them against the weights
    next to it.

    Args:
        path: the config.json.
        sizes: field → value, as the file has it.
        keys: field → key of the file, for messages.

    Raises:
        WeightsError: no number, a number out of range, or far more parameters than the weights hold.
    """
    for name, value in sizes.items():
        key = keys.get(name, name)
        if type(value) not in (int, float, bool) or (type(value) is float and not math.isfinite(value)):
            raise WeightsError(
                _("{path}: {key} = {value}; expected numbers."), path=path, key=key, value=shown(value)
            )
        low, high = RANGES.get(name, (-math.inf, math.inf))
        if name in RANGES and (type(value) is not int or not low <= value <= high):
            raise WeightsError(
                _("{path}: {key} = {value}; expected a whole number from {low} to {high:,}. Fetch or copy the "
                  "folder again."),
                path=path, key=key, value=shown(value), low=low, high=high,
            )  # fmt: skip
    stored, claimed = stored_in(path.parent), _claimed(sizes)
    if stored is not None and claimed > max(SLACK * stored, FREE):
        largest = max((name for name in sizes if name in RANGES), key=lambda name: sizes[name])
        depths = {name: sizes[name] for name in ("depth", "encoder_depth", "decoder_depth") if name in sizes}
        named = ", ".join(
            f"{keys.get(name, name)} = {sizes[name]:,}" for name in dict.fromkeys([largest, *depths])
        )
        raise WeightsError(
            _(
                "{path} describes at least {claimed:,} parameters ({named}), but the weights next to it "
                "contain {stored:,}. Download or copy the folder again."),
            path=path, claimed=claimed, named=named, stored=stored,
        )  # fmt: skip


def shown(value: object) -> str:
    """A value for a message, shortened."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a number of thousands of digits
        text = f"a {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:77]}…"


def _claimed(sizes: Mapping[str, Any]) -> int:
    """A lower bound on the parameters of a transformer of these sizes; 0 where none is known."""
    width = sizes.get("width", 0)
    depth = sum(sizes.get(name, 0) for name in ("depth", "encoder_depth", "decoder_depth"))
    layer = 2 * width * width + 2 * width * sizes.get("mlp_width", 0)  # query and output; keys may be shared
    return sizes.get("vocab_size", 0) * width + depth * layer


def stored_in(folder: Path) -> int | None:
    """Numbers in the safetensors files of a folder, by their headers; None where there are no such files."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        return None
    headers = [safetensors_header(file) for file in files if file.is_file()]
    return sum(math.prod(about["shape"]) for header in headers for about in header.values())
