"""Reading and writing weights in Hugging Face format by a table of parameter names.

 An architecture lists its parameters once, in a :class:`Table` of (own path, foreign name, order of axes).
Reading and writing follow from it. Only safetensors is opened: it cannot carry code. Every mismatch is found
before the first value is copied and all of them are raised together.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import nnx, traverse_util

from labkit.core import manifest
from labkit.core.cache import write_atomic
from labkit.core.errors import WeightsError
from labkit.hub.pretrained import find as find
from labkit.hub.tensors import CAST, LARGEST, SHOWN, Tensors, write_tensors
from labkit.hub.tensors import UNITS as UNITS
from labkit.hub.tensors import check_sealed as check_sealed
from labkit.hub.tensors import check_values as check_values
from labkit.i18n import _, joined

Names = tuple[str, ...]


class Specials(NamedTuple):
    """Ids of a tokenizer's special tokens, for config.json.

    Attributes:
        pad: fills rows up.
        begin: begins a text; None where nothing does.
        end: ends a text, or several tokens that do.
        start: begins what a decoder of target texts writes; None for ``begin``.
    """

    pad: int
    begin: int | None
    end: int | tuple[int, ...]
    start: int | None = None

    def settings(self) -> dict[str, Any]:
        """The entries of config.json and of generation_config.json."""
        end = list(self.end) if isinstance(self.end, tuple) and len(self.end) > 1 else self.end
        end = end[0] if isinstance(end, tuple) else end
        return {"bos_token_id": self.begin, "eos_token_id": end, "pad_token_id": self.pad}


@dataclass(frozen=True)
class Entry:
    """One parameter: ``own`` path ("layers/mlp_in/kernel"), ``foreign`` name, and how the axes go over.

    ``{i}`` in the foreign name stands for the layer: the own array is then stacked [depth, …]. ``axes`` are
    the foreign axes (of one layer) in our order, () for the same; (1, 0) turns a kernel [out, in] into [in,
    out]. With ``cut`` (i, n) ours is the i-th of n equal parts of the foreign array, along our last axis;
    there is an entry for every part. ``unread`` are the unused first rows of both arrays: they are 0.
    ``first`` is the number of the first layer that has the parameter.
    """

    own: str
    foreign: str
    axes: tuple[int, ...] = ()
    cut: tuple[int, int] = (0, 1)
    unread: tuple[int, int] = (0, 0)
    first: int = 0

    def names(self, shape: tuple[int, ...]) -> Names:
        """The foreign names of an own array of this shape, one a layer."""
        numbers = range(self.first, self.first + shape[0]) if self.stacked else range(1)
        return tuple(self.foreign.format(i=i) for i in numbers)

    @property
    def stacked(self) -> bool:
        """Whether the own array has the layers on its first axis."""
        return "{i}" in self.foreign

    def foreign_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape that each foreign array has, given the own one."""
        one = shape[1:] if self.stacked else shape
        one = (*one[:-1], one[-1] * self.cut[1]) if one else one
        one = (one[0] - self.unread[0] + self.unread[1], *one[1:]) if any(self.unread) else one
        return tuple(one[self.axes.index(axis)] for axis in range(len(one))) if self.axes else tuple(one)

    def arrays(self, *own: np.ndarray) -> list[np.ndarray]:
        """Our array (all parts of it, in their order) as the foreign ones, contiguous."""
        whole = own[0] if len(own) == 1 else np.concatenate(own, axis=-1)
        if any(self.unread):
            whole = np.concatenate([np.zeros_like(whole, shape=(self.unread[1], *whole.shape[1:])),
                                    whole[self.unread[0]:]])  # fmt: skip
        parts = list(whole) if self.stacked else [whole]
        return [
            np.ascontiguousarray(part.transpose(np.argsort(self.axes)) if self.axes else part)
            for part in parts
        ]

    def own_array(self, foreign: Iterator[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
        """The foreign arrays as our one, float32 [*shape]; one additional layer is in memory at a time."""
        own = np.empty(shape, np.float32)
        for part, array in zip(own if self.stacked else [own], foreign, strict=True):
            array, (number, count) = array.transpose(self.axes) if self.axes else array, self.cut
            if any(self.unread):
                part[: self.unread[0]], part = 0, part[self.unread[0] :]
                array = array[self.unread[1] :]
            part[...] = array if count == 1 else np.split(array, count, axis=-1)[number]
        return own


@dataclass(frozen=True)
class Table:
    """The names of an architecture's weights.

    Args:
        entries: one for every parameter.
        optional: beginnings of foreign names that the file, or the model, may lack as a whole ("pooler.").
        ignored: beginnings of foreign names that are left unread and reported (heads of other tasks).
        prefix: optional prefix of all foreign names ("bert.").
        renamed: (old ending, ending) pairs of names from older files (".gamma", ".weight").
    """

    entries: tuple[Entry, ...]
    optional: Names = ()
    ignored: Names = ()
    prefix: str = ""
    renamed: tuple[tuple[str, str], ...] = ()

    def canonical(self, name: str) -> str:
        """A name found in a file as the entries spell it."""
        name = name.removeprefix(self.prefix)
        for old, new in self.renamed:
            name = name.removesuffix(old) + new if name.endswith(old) else name
        return name

    def of(self, shapes: Mapping[Names, Any]) -> list[tuple[Names, Entry]]:
        """(path, entry) for each parameter of a model; raises if the table has no entry for one of them."""
        by_path = {tuple(entry.own.split("/")): entry for entry in self.entries}
        if lacking := ["/".join(path) for path in shapes if path not in by_path]:
            raise WeightsError(
                _("the table of names has no entry for {lacking}."), lacking=", ".join(lacking[:SHOWN])
            )
        return [(path, by_path[path]) for path in by_path if path in shapes]


@dataclass(frozen=True)
class LoadReport:
    """What a load did: own paths filled, own parts kept at their initial values, foreign names unread or
    cast."""

    folder: str
    loaded: Names
    missing: Names = ()
    ignored: Names = ()
    cast: Names = ()

    def __str__(self) -> str:
        lines = [f"{len(self.loaded)} parameters loaded from {self.folder}"]
        notes = {
            "kept at initial values": self.missing,
            "in the file but not used": self.ignored,
            "cast": self.cast,
        }
        lines += [f"{note} ({len(names)}): {', '.join(names)}" for note, names in notes.items() if names]
        return "\n".join(lines)

    def check_whole(self) -> None:
        """Raise :class:`WeightsError` where a parameter was kept at its initial value."""
        if self.missing:
            raise WeightsError(
                _(
                    "the weights in {folder} lack {missing}, which this task needs. Download or copy the "
                    "whole folder, or use weights that contain them."),
                folder=self.folder, missing=", ".join(self.missing[:SHOWN]),
            )  # fmt: skip


def flatten(tree: Any) -> dict[Names, Any]:
    """Path → array of the parameters of a module, an ``nnx.State`` or a nested (or already flat) dict."""
    if isinstance(tree, nnx.Module):
        tree = nnx.state(tree, nnx.Param)
    if isinstance(tree, nnx.State):
        tree = nnx.to_pure_dict(tree)
    if all(isinstance(path, tuple) for path in tree):
        return dict(tree)
    return {tuple(map(str, path)): leaf for path, leaf in traverse_util.flatten_dict(tree).items()}


def backbone(params: Mapping[str, Any]) -> dict[Names, Any]:
    """The parameters below the head, of a trained model's (``backbone/…`` → array), by their paths in the
    backbone."""
    return {
        tuple(name.split("/")[1:]): value for name, value in params.items() if name.startswith("backbone/")
    }


def read(
    shapes: Mapping[Names, Any], folder: str | Path, table: Table
) -> tuple[dict[Names, np.ndarray], LoadReport]:
    """Read the parameters of a folder.

    Args:
        shapes: own path → anything with a ``shape`` (an array or a ``jax.ShapeDtypeStruct``).
        folder: a folder in the Hugging Face layout.
        table: the names.

    Returns:
        own path → float32 array, without the optional parts that the file lacks; and the report.

    Raises:
        WeightsError: a name missing or unexpected, a shape or dtype that differs (all listed), an unreadable
            folder.
    """
    tensors, rows = Tensors(folder), table.of(shapes)
    wanted = {}
    for path, entry in rows:
        wanted |= dict.fromkeys(entry.names(shapes[path].shape), entry.foreign_shape(shapes[path].shape))
    found = _match(tensors, wanted, table)
    values = {}
    for path, entry in rows:
        names = entry.names(shape := tuple(shapes[path].shape))
        if names[0] in found:
            values[path] = entry.own_array((tensors.checked(found[name]) for name in names), shape)
    dtypes = {found[name]: tensors.kind(found[name])[1] for name in wanted if name in found}
    return values, LoadReport(
        folder=str(folder),
        loaded=tuple("/".join(path) for path in values),
        missing=tuple(name for name in wanted if name not in found),
        ignored=tuple(name for name in tensors if name not in dtypes),
        cast=tuple(f"{name} from {CAST[dtype]}" for name, dtype in dtypes.items() if dtype in CAST),
    )


def _match(tensors: Tensors, wanted: dict[str, tuple[int, ...]], table: Table) -> dict[str, str]:
    """Canonical name → name in the file; raises one error that lists everything that does not fit."""
    found: dict[str, str] = {}
    unexpected = [name for name in tensors if found.setdefault(table.canonical(name), name) != name]
    lacking = tuple(part for part in table.optional if not any(name.startswith(part) for name in found))
    unused = tuple(part for part in table.optional if not any(name.startswith(part) for name in wanted))
    unexpected += [
        found[name] for name in found if name not in wanted and not name.startswith(table.ignored + unused)
    ]
    shapes, dtypes = [], []
    for name in (name for name in wanted if name in found):
        shape, dtype = tensors.kind(found[name])
        if shape != wanted[name]:
            shapes.append(f"{found[name]}: file {list(shape)}, model {list(wanted[name])}")
        if dtype != "F32" and dtype not in CAST:
            dtypes.append(f"{found[name]}: file {dtype}, model F32")
    _raise_all(
        tensors.folder,
        {
            _("missing in the file"): [
                name for name in wanted if name not in found and not name.startswith(lacking)
            ],
            _("unexpected in the file"): unexpected,
            _("different shape"): shapes,
            _("different dtype"): dtypes,
        },
    )
    return found


def load_into(model: nnx.Module, folder: str | Path, table: Table) -> LoadReport:
    """Read a folder's weights into a module, in place; on an error (see :func:`read`) the module is
    unchanged."""
    values, report = read(flatten(model), folder, table)
    params = nnx.to_flat_state(nnx.state(model, nnx.Param))
    named = ((path, leaf, tuple(map(str, path))) for path, leaf in params)
    filled = [(path, leaf.replace(jnp.asarray(values[name]))) for path, leaf, name in named if name in values]
    nnx.update(model, nnx.from_flat_state(filled))
    return report


def save_from(
    params: nnx.Module | nnx.State | Mapping[Any, Any],
    folder: str | Path,
    table: Table,
    config: dict[str, Any],
    extra: Mapping[str, Any] | None = None,
    prefix: str = "",
) -> Path:
    """Write ``model.safetensors`` and ``config.json`` so that reading them gives back the same bits.

    Args:
        params: a module, an ``nnx.State`` or a dict (nested, or path → array).
        folder: made if it is not there; each file is replaced whole or not at all.
        table: the names.
        config: content of ``config.json``.
        extra: further tensors under their foreign names, a head's ("classifier.weight" [c, d]).
        prefix: put in front of the table's names, not of the extra ones ("bert." in files that have a head).
    """
    flat, folder = flatten(params), Path(folder)
    parts: dict[str, list[tuple[Names, Entry]]] = {}
    for path, entry in table.of(flat):
        parts.setdefault(entry.foreign, []).append((path, entry))
    tensors = {}
    for same in parts.values():
        ((path, entry), *_unused), own = (
            same,
            [np.asarray(flat[path]) for path, _ in sorted(same, key=lambda one: one[1].cut)],
        )
        tensors |= {
            prefix + name: array
            for name, array in zip(entry.names(own[0].shape), entry.arrays(*own), strict=True)
        }
    if twice := sorted(set(tensors) & set(extra or {})):
        raise WeightsError(
            _("extra tensors have the same names as tensors of the model: {twice}. Rename them."),
            twice=", ".join(twice),
        )
    _write(folder, {**tensors, **(extra or {})}, config)
    return folder


def _write(folder: Path, tensors: dict[str, np.ndarray], config: dict[str, Any]) -> None:
    manifest.open_seal(folder)  # it is of what was there before
    write_tensors(folder, tensors)
    write_atomic(folder / "config.json", json.dumps(config, indent=2, sort_keys=True) + "\n")


def write_generation(folder: Path, specials: Specials | None, **more: object) -> None:
    """Write ``generation_config.json``: greedy, ending where labkit ends; nothing where the specials are not
    known."""
    if specials is not None:
        content = {"do_sample": False, "num_beams": 1, **specials.settings(), **more}
        write_atomic(folder / "generation_config.json", json.dumps(content, indent=2, sort_keys=True) + "\n")


def save_own(params: Mapping[str, np.ndarray], folder: Path, config: dict[str, Any]) -> None:
    """Write parameters (``backbone/…`` → array) under labkit's own names, for architectures that have no
    others."""
    _write(folder, dict(params), config)


def load_own(module: nnx.Module, folder: Path, largest: float = LARGEST) -> None:
    """Read what :func:`save_own` wrote into a module; ``largest``: the largest amount in its head. Raises
    :class:`WeightsError`, the module unchanged, where it does not fit."""
    state = nnx.state(module)  # parameters, and the statistics that layers keep
    tensors, shapes = Tensors(folder), flatten(state)
    wanted = {"/".join(path): (path, tuple(leaf.shape)) for path, leaf in shapes.items()}
    differ = [name for name in wanted.keys() & set(tensors) if tensors.kind(name) != (wanted[name][1], "F32")]
    missing, more = sorted(wanted.keys() - set(tensors)), sorted(set(tensors) - wanted.keys())
    kinds = {
        _("missing in the file"): missing,
        _("unexpected in the file"): more,
        _("different shape or dtype"): differ,
    }
    _raise_all(folder, kinds)
    limits = {path: largest if path[0] == "head" else LARGEST for path, _ in nnx.to_flat_state(state)}
    read = {
        path: jnp.asarray(tensors.checked("/".join(map(str, path)), limit)) for path, limit in limits.items()
    }
    filled = [(path, leaf.replace(read[path])) for path, leaf in nnx.to_flat_state(state)]
    nnx.update(module, nnx.from_flat_state(filled))


def _raise_all(folder: Path, mismatches: dict[str, list[str]]) -> None:
    """Raise one error that lists the first few of every kind."""
    parts = []
    for kind, names in mismatches.items():
        if names:
            more = [_("  … and {n_names} more", n_names=len(names) - SHOWN)] if len(names) > SHOWN else []
            parts += [
                _("{n} {kind}:", n=len(names), kind=kind),
                *(f"  {name}" for name in names[:SHOWN]),
                *more,
            ]
    if parts:
        raise WeightsError(
            _(
                "the weights in {folder} do not match the model:\n{parts}\nNothing was changed. Use the "
                "sizes of these weights (omit the sizes to read them from the folder's config.json), or "
                "other weights."),
            folder=folder, parts=joined("\n", parts),
        )  # fmt: skip
