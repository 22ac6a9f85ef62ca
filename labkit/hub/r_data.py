"""Data frames as R serialises them (binary "XDR", versions 2 and 3; the manual "R Internals", 1.8)."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from labkit.core.errors import SampleError
from labkit.i18n import _

_NULL, _REFERENCE, _ALTREP = 254, 255, 238
_SYMBOL, _PAIRS, _TEXT, _LOGICAL, _INTEGER, _REAL, _TEXTS, _LIST = 1, 2, 9, 10, 13, 14, 16, 19
#: A missing whole number.
_MISSING = -(2**31)


def frame_of_r(data: bytes) -> dict[str, Any]:
    """The columns of a data frame: numbers as arrays, texts and factors as lists (None where missing).

    Raises:
        SampleError: it is something else, or ends too early.
    """
    try:
        if data[:2] != b"X\n":
            raise SampleError(_("this is not binary R serialisation."))
        (version,) = struct.unpack_from(">i", data, 2)
        reader = _Reader(data, 14 if version == 2 else 18 + struct.unpack_from(">i", data, 14)[0])
        columns, attributes = reader.read()
    except (struct.error, UnicodeDecodeError, IndexError, TypeError, ValueError) as error:
        raise SampleError(_("this R serialisation is damaged: {error}"), error=error) from error
    names = attributes.get("names")
    if not isinstance(columns, list) or not isinstance(names, list):
        raise SampleError(_("this R object is no data frame."))
    return dict(zip(names, (_column(*each) for each in columns), strict=True))


def _column(values: Any, attributes: dict[str, Any]) -> Any:
    """A column; the values of a factor are its levels."""
    levels = attributes.get("levels")
    if levels is None:
        return values
    return [None if code == _MISSING else levels[code - 1] for code in values.tolist()]


class _Reader:
    """Reads objects one after the other."""

    def __init__(self, data: bytes, place: int):
        self.data, self.place, self.symbols = data, place, list[str]()

    def _ints(self, count: int = 1) -> tuple[int, ...]:
        found = struct.unpack_from(f">{count}i", self.data, self.place)
        self.place += 4 * count
        return found

    def _array(self, kind: str, count: int) -> np.ndarray:
        found = np.frombuffer(self.data, kind, count, self.place)
        self.place += found.nbytes
        return found.astype(found.dtype.newbyteorder("="))

    def read(self) -> tuple[Any, dict[str, Any]]:
        """A value and its attributes."""
        (flags,) = self._ints()
        kind = flags & 255
        if kind == _NULL:
            return None, {}
        if kind == _REFERENCE:
            return self.symbols[(flags >> 8 or self._ints()[0]) - 1], {}
        if kind == _SYMBOL:
            self.symbols.append(str(self.read()[0]))
            return self.symbols[-1], {}
        if kind == _TEXT:
            (size,) = self._ints()
            text = None if size < 0 else self.data[self.place : self.place + size]
            self.place += max(size, 0)
            return None if text is None else text.decode("latin-1" if flags >> 12 & 4 else "utf-8"), {}
        if kind == _PAIRS:
            return self._pairs(flags)
        if kind == _ALTREP:  # a range of whole numbers, as row names are
            self.read()
            state = self.read()[0]
            self.read()
            return np.arange(int(state[0])) + int(state[1]), {}
        (count,) = self._ints()
        if kind in (_INTEGER, _LOGICAL):
            values: Any = self._array(">i4", count)
        elif kind == _REAL:
            values = self._array(">f8", count)
        elif kind == _TEXTS:
            values = [self.read()[0] for _each in range(count)]
        elif kind == _LIST:
            values = [self.read() for _each in range(count)]
        else:
            raise SampleError(_("this R object contains the type {kind}, which is not read."), kind=kind)
        return values, self._pairs_of(self.read()) if flags & 512 else {}

    def _pairs(self, flags: int) -> tuple[Any, dict[str, Any]]:
        """A linked list as name → value."""
        found: dict[str, Any] = {}
        while flags & 255 == _PAIRS:
            if flags & 512:
                self.read()
            name = self.read()[0] if flags & 1024 else len(found)
            found[str(name)] = self.read()[0]
            (flags,) = self._ints()
        return found, {}

    @staticmethod
    def _pairs_of(given: tuple[Any, dict[str, Any]]) -> dict[str, Any]:
        return given[0] if isinstance(given[0], dict) else {}
