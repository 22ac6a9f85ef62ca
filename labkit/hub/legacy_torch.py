"""Tensors of a PyTorch file in the format before version 1.6: five pickles and the numbers of the tensors.

Nothing is unpickled. The opcodes of the pickles are read with :mod:`pickletools`, which executes nothing, and only
those that build plain values and float32 or int64 tensors are understood; all others are refused.
"""

from __future__ import annotations

import pickletools
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from labkit.core.errors import SampleError
from labkit.i18n import _

MAGIC = 0x1950A86A20F9469CFC6C
_TYPES = {"torch FloatStorage": np.dtype("<f4"), "torch LongStorage": np.dtype("<i8")}
_CALLED = ("collections OrderedDict", "torch._utils _rebuild_tensor_v2")
#: Numbers of a tensor at most.
LARGEST = 10**9


class _Name(NamedTuple):
    """A global that a pickle names; it is never imported."""

    name: str


class _Storage(NamedTuple):
    """Where numbers of a tensor are: key, type and count."""

    key: str
    kind: np.dtype
    count: int


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


_MARK = object()


def read_legacy(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a state dict by name. Raises :class:`SampleError` for any other file."""
    with open(path, "rb") as file:
        try:
            magic, version, _system = (_value(file) for _ in range(3))
            if magic != MAGIC or version != 1001:
                raise ValueError("another format")
            state, keys = _value(file), _value(file)
            stored: dict[str, np.ndarray] = {}
            needed = {each.storage.key: each.storage for each in state.values() if isinstance(each, _Tensor)}
            for key in keys:
                kind = needed[key].kind
                (count,) = np.frombuffer(file.read(8), "<i8")
                if not 0 <= count <= LARGEST:
                    raise ValueError(f"{count} numbers")
                stored[key] = np.frombuffer(file.read(int(count) * kind.itemsize), kind)
            return {name: _array(each, stored) for name, each in state.items() if isinstance(each, _Tensor)}
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            raise SampleError(
                _("{file} is not a file of tensors as PyTorch wrote them before version 1.6: {error}."),
                file=path.name, error=str(error),
            ) from error  # fmt: skip


def _array(tensor: _Tensor, stored: dict[str, np.ndarray]) -> np.ndarray:
    """A tensor from its numbers, of any strides within them."""
    numbers = stored[tensor.storage.key]
    last = tensor.offset + sum(
        (side - 1) * step for side, step in zip(tensor.shape, tensor.strides, strict=True)
    )
    if min((tensor.offset, *tensor.shape, *tensor.strides)) < 0 or (
        last >= len(numbers) and 0 not in tensor.shape
    ):
        raise ValueError("a tensor beyond its numbers")
    strides = tuple(step * numbers.itemsize for step in tensor.strides)
    view = np.lib.stride_tricks.as_strided(numbers[tensor.offset :], tensor.shape, strides, writeable=False)
    return view.copy()


def _value(file: IO[bytes]) -> Any:
    """The value of one pickle, by its opcodes."""
    stack: list[Any] = []
    memo: dict[int, Any] = {}

    def marked() -> list[Any]:
        place = len(stack) - 1 - stack[::-1].index(_MARK)
        items = stack[place + 1 :]
        del stack[place:]
        return items

    for code, arg, _position in pickletools.genops(file):
        name = code.name
        if name in ("PROTO", "BUILD"):
            if name == "BUILD":  # attributes of the dict, which say nothing of its tensors
                stack.pop()
        elif name in ("BININT", "BININT1", "BININT2", "LONG1", "BINUNICODE"):
            stack.append(arg)
        elif name in ("NONE", "NEWTRUE", "NEWFALSE"):
            stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[name])
        elif name == "MARK":
            stack.append(_MARK)
        elif name in ("EMPTY_TUPLE", "EMPTY_LIST", "EMPTY_DICT"):
            stack.append({"EMPTY_TUPLE": (), "EMPTY_LIST": [], "EMPTY_DICT": {}}[name])
            if name != "EMPTY_TUPLE":
                stack[-1] = type(stack[-1])()
        elif name == "TUPLE":
            stack.append(tuple(marked()))
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            count = int(name[-1])
            items = tuple(stack[-count:])
            del stack[-count:]
            stack.append(items)
        elif name in ("BINPUT", "LONG_BINPUT"):
            memo[arg] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[arg])
        elif name == "APPENDS":
            items = marked()
            stack[-1].extend(items)
        elif name == "SETITEM":
            value, key = stack.pop(), stack.pop()
            stack[-1][key] = value
        elif name == "SETITEMS":
            items = marked()
            stack[-1].update(zip(items[::2], items[1::2], strict=True))
        elif name == "GLOBAL":
            if arg not in _TYPES and arg not in _CALLED:
                raise ValueError(f"{arg!r} is not allowed")
            stack.append(_Name(arg))
        elif name == "BINPERSID":
            kind, storage, key, _place, count, _view = stack.pop()
            if kind != "storage":
                raise ValueError(f"{kind!r} is not a storage")
            stack.append(_Storage(key, _TYPES[storage.name], count))
        elif name == "REDUCE":
            given, called = stack.pop(), stack.pop()
            stack.append(_made(called.name, given))
        elif name == "STOP":
            return stack.pop()
        else:
            raise ValueError(f"the opcode {name} is not allowed")
    raise ValueError("a pickle without an end")


def _made(name: str, given: tuple[Any, ...]) -> Any:
    """What a call in a pickle stands for: a dict or a tensor."""
    if name == "collections OrderedDict":
        return dict(*given)
    if name != "torch._utils _rebuild_tensor_v2":
        raise ValueError(f"a call of {name!r} is not allowed")
    storage, offset, shape, strides = given[:4]
    return _Tensor(storage, offset, tuple(shape), tuple(strides))
