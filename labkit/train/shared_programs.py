"""Compiled steps that the runs of a process share.

To trace and lower a step takes seconds, even where the persistent cache has its program. A run that goes on (as in the
rungs of :func:`lk.study`) or that begins with another seed has the same step again, and takes the programs that are
still in memory.

Two steps are the same if all that tracing reads is equal: the head with its arrays, the structure of the module, the
optimizer, the shapes, the options of JAX, and the code of labkit itself, which a notebook may have reloaded or
replaced. A step with code from outside labkit (a plugin, a class of a notebook) shares nothing, because what its
functions call is not known.
"""

from __future__ import annotations

import hashlib
import sys
import threading
from collections import OrderedDict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from types import FunctionType, ModuleType
from typing import Any

import jax
import numpy as np
from flax import nnx

#: Steps whose programs are kept.
MOST = 8
#: Where the code is that tracing runs.
ROOMS = tuple(f"labkit.{name}" for name in ("core", "models", "profile", "tasks", "train"))
#: Packages whose classes are part of a step's identity by themselves.
KNOWN = ("labkit", "flax", "jax", "jaxlib", "numpy", "ml_dtypes", "builtins")

#: Module → objects whose identity stands for its code. Held, so that no other object gets the same address.
Code = dict[str, list[object]]


class NotSharedError(Exception):
    """Part of a step whose equality with another cannot be decided."""


@dataclass
class Programs:
    """Compiled programs of equal steps.

    Attributes:
        code: the code of labkit when they were made.
        compiled: kind of step and shapes of its batch → program.
    """

    code: Code
    compiled: dict[Hashable, Any] = field(default_factory=dict)


_steps: OrderedDict[Hashable, Programs] = OrderedDict()
_lock = threading.Lock()


def programs_of(parts: Mapping[str, Any], graph: nnx.GraphDef[Any]) -> dict[Hashable, Any]:
    """The programs of steps equal in ``parts`` and ``graph``, to be read and added to; an empty dict, held by
    nobody else, where that cannot be decided.

    Args:
        parts: all that the trace of the step reads.
        graph: the structure of the module.
    """
    try:
        types = types_of(graph)
        for each in types:
            _check_type(each)
        key = (identity(parts), graph, types, settings())
        hash(key)
    except (NotSharedError, TypeError):
        return {}
    code = code_now()
    with _lock:
        found = _steps.get(key)
        if found is None or not _is_unchanged(found.code, code):
            found = _steps[key] = Programs(code)
        _steps.move_to_end(key)
        while len(_steps) > MOST:
            _steps.popitem(last=False)
        return found.compiled


def clear() -> None:
    """Release all programs."""
    with _lock:
        _steps.clear()


def types_of(graph: nnx.GraphDef[Any]) -> frozenset[type]:
    """The classes of the modules and variables in a structure.

    Raises:
        NotSharedError: it has nodes of other kinds.
    """
    known = (nnx.graphlib.NodeDef, nnx.graphlib.VariableDef)
    referring = (nnx.graphlib.NodeRef, nnx.graphlib.ArrayRefDef)
    found = set()
    for node in graph.nodes:
        if isinstance(node, known):
            found.add(node.type)
        elif not isinstance(node, referring):
            raise NotSharedError
    return frozenset(found)


def settings() -> Hashable:
    """The settings of JAX that change a trace, those of the contexts of this thread included.

    Raises:
        NotSharedError: this version of JAX does not list them.
    """
    try:
        from jax._src.config import trace_context  # what the cache of jax.jit has in its keys
    except ImportError:
        raise NotSharedError from None
    generator = jax.config.jax_default_prng_impl  # pyrefly: ignore[missing-attribute] (JAX adds its settings late)
    return trace_context(), generator


def identity(value: Any) -> Hashable:
    """A key that two values have in common only if a trace reads the same from both.

    Raises:
        NotSharedError: for a value of which that is not known.
    """
    if value is None or isinstance(value, (bool, int, float, complex, str, bytes)):
        # repr tells 0.0 from -0.0
        return type(value), repr(value) if isinstance(value, (float, complex)) else value
    if isinstance(value, (np.ndarray, np.generic, jax.Array)):
        array = np.asarray(value)
        if array.dtype.hasobject:
            raise NotSharedError
        return type(value), str(array.dtype), array.shape, hashlib.sha256(array.tobytes()).hexdigest()
    if isinstance(value, (tuple, list)):
        return type(value), tuple(map(identity, value))
    if isinstance(value, Mapping):
        return type(value), tuple((identity(name), identity(each)) for name, each in value.items())
    if isinstance(value, (np.dtype, jax.ShapeDtypeStruct, jax.tree_util.PyTreeDef)):
        return type(value), value
    if isinstance(value, type):
        _check_type(value)
        return value
    _check_type(type(value))
    if not hasattr(value, "__dict__") or isinstance(value, (FunctionType, ModuleType)):
        raise NotSharedError
    return type(value), tuple((name, identity(each)) for name, each in sorted(vars(value).items()))


def _check_type(found: type) -> None:
    if found.__module__.partition(".")[0] not in KNOWN:
        raise NotSharedError


def code_now() -> Code:
    """What stands for the code of :data:`ROOMS`: every attribute of a module and of its classes, and of
    functions their code too, which a reload replaces in place."""
    found: Code = {}
    for name, module in list(sys.modules.items()):
        if name.startswith(ROOMS):
            found[name] = [each for value in _attributes(module) for each in _parts(value, name)]
    return found


def _attributes(owner: Any) -> list[object]:
    return [value for name, value in list(vars(owner).items()) if name not in _VOLATILE]


#: Attributes that Python itself sets or replaces.
_VOLATILE = frozenset(
    ("__builtins__", "__cached__", "__warningregistry__", "__annotations__", "__annotate__", "__annotate_func__",
     "__annotations_cache__", "__dict__", "__weakref__", "__spec__", "_abc_impl")
)  # fmt: skip


def _parts(value: object, module: str) -> list[object]:
    if isinstance(value, FunctionType):
        return [value, value.__code__]
    if isinstance(value, type) and value.__module__ == module:
        found: list[object] = [value]
        for each in _attributes(value):
            inner = getattr(each, "fget", None) or getattr(each, "__func__", each)
            found += [each, inner.__code__] if isinstance(inner, FunctionType) else [each]
        return found
    return [value]


def _is_unchanged(before: Code, now: Code) -> bool:
    """Whether no module has changed; others may have been imported since."""
    return all(
        name in now and len(now[name]) == len(parts)
        and all(one is other for one, other in zip(parts, now[name], strict=True))
        for name, parts in before.items()
    )  # fmt: skip
