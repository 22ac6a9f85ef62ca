"""Explanation of recompilations."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import jax

#: Path of an array → (shape, data type, sharding), or of a setting → its value.
Signature = dict[str, Any]


def signature(*args: object, **settings: object) -> Signature:
    """The signature of a call: what a compiled program depends on.

    Args:
        args: trees of arrays, or of shapes and data types.
        settings: static settings, by name.
    """
    found: Signature = {}
    for place, tree in enumerate(args):
        for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            name = name if name and name not in found else f"{place}/{name}".rstrip("/")
            sharding = getattr(leaf, "sharding", None)
            split = getattr(sharding, "spec", None)
            found[name] = (tuple(leaf.shape), str(leaf.dtype), "" if split is None else str(split))
    return {**found, **settings}


def why(known: Iterable[Signature], now: Signature) -> str:
    """One sentence: what differs from the nearest signature that was compiled before.

    Args:
        known: the signatures compiled before, oldest first.
        now: that of the call which is compiled now.
    """
    before = list(known)
    if not before:
        return "compiled for the first time."
    if now in before:
        return "compiled again although nothing changed: the compiled program was not kept."
    nearest = min(reversed(before), key=lambda old: _distance(old, now))
    return f"compiled again: {'; '.join(_differences(nearest, now, before))}."


def _distance(old: Signature, now: Signature) -> tuple[int, int]:
    """How many entries differ; then by how much their shapes do."""
    changed = [name for name in old.keys() & now.keys() if old[name] != now[name]]
    arrays = [name for name in changed if _array(old[name]) and _array(now[name])]
    steps = sum(abs(a - b) for name in arrays for a, b in zip(old[name][0], now[name][0], strict=False))
    return len(changed) + len(old.keys() ^ now.keys()), steps


def _array(entry: object) -> bool:
    return isinstance(entry, tuple) and len(entry) == 3 and isinstance(entry[0], tuple)


def _differences(old: Signature, now: Signature, before: list[Signature]) -> list[str]:
    said: dict[str, list[str]] = {}
    for name in now:
        if name in old and old[name] != now[name]:
            said.setdefault(_change(name, old[name], now[name], before), []).append(name)
    parts = [f"{_names(names)} changed {change}" for change, names in said.items()]
    if more := [name for name in now if name not in old]:
        parts.append(f"{_names(more)} {'is' if len(more) == 1 else 'are'} new")
    if less := [name for name in old if name not in now]:
        parts.append(f"{_names(less)} {'is' if len(less) == 1 else 'are'} no longer there")
    return parts


def _change(name: str, old: Any, now: Any, before: list[Signature]) -> str:
    if not (_array(old) and _array(now)):
        return f"from {old!r} to {now!r}"
    parts = []
    if old[0] != now[0]:
        parts.append(f"from {list(old[0])} to {list(now[0])}{_reason(name, old[0], now[0], before)}")
    if old[1] != now[1]:
        parts.append(f"from {old[1]} to {now[1]}")
    if old[2] != now[2]:
        parts.append(f"from sharding {old[2] or 'none'} to {now[2] or 'none'}")
    return ", ".join(parts)


def _reason(name: str, old: tuple[int, ...], now: tuple[int, ...], before: list[Signature]) -> str:
    if len(old) != len(now):
        return ""
    axes = [axis for axis, (a, b) in enumerate(zip(old, now, strict=True)) if a != b]
    shapes = [entry[name][0] for entry in before if name in entry and len(entry[name][0]) == len(now)]
    seen = {shape[axis] for shape in shapes for axis in axes}
    if axes == [1] and now[1] not in seen:
        return " (a length that no bucket has)"
    if axes == [0] and now[0] not in seen:
        return " (another number of examples)"
    return ""


def _names(names: list[str]) -> str:
    if len(names) > 4:
        return f"{', '.join(names[:3])} and {len(names) - 3} more"
    return ", ".join(names)
