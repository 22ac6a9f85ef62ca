"""Settings as frozen dataclasses, with TOML serialisation, validation and form metadata.

 A :class:`Config` builds its object, is its registry entry, and is what the run store serialises.
``option(...)`` adds
the metadata of a form field: help text, choices, range.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import re
import sys
import textwrap
import tomllib
import types
import typing
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import Any, ParamSpec, Self, TypeVar

import numpy as np
import tomli_w

from labkit.core.errors import ConfigError, nearest, os_reason
from labkit.i18n import _, joined
from labkit.i18n.labels import setting

_P = ParamSpec("_P")
_R = TypeVar("_R")
#: The greatest seed: keys of JAX take 32 bits, and would drop the bits above without an error.
SEEDS = 2**32 - 1
LONGEST_VALUE = 400  # characters of a value in a message


def option(
    default: Any = dataclasses.MISSING,
    help: str = "",
    *,
    choices: Collection[Any] | None = None,
    low: float | None = None,
    high: float | None = None,
    factory: Any = dataclasses.MISSING,
) -> Any:
    """A dataclass field with help text, choices and range (``low`` and ``high`` inclusive)."""
    metadata = {"help": help, "choices": choices, "low": low, "high": high}
    if factory is not dataclasses.MISSING:
        return dataclasses.field(default_factory=factory, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


class Config:
    """Mixin for frozen dataclasses: checked on creation, equal by value, plain in TOML."""

    def __new__(cls, *values: object, **named: object) -> Self:
        _known(cls, named, cls.__name__)  # before the __init__ that dataclasses write raises a bare TypeError
        names = [field.name for field in dataclasses.fields(cls)]  # type: ignore[arg-type]
        if len(values) > len(names):
            raise ConfigError(
                _("{config} has at most {n_names} settings, got {n_values}."),
                config=cls.__name__, n_names=len(names), n_values=len(values),
            )  # fmt: skip
        return super().__new__(cls)

    def __post_init__(self) -> None:
        self.check()

    def check(self) -> None:
        """Raise :class:`ConfigError` for a field whose value is not among its choices or out of its range."""
        values = self.values()
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            value, meta = values[field.name], field.metadata
            where = f"{type(self).__name__}.{field.name}"
            if value is None:
                continue
            if (choices := meta.get("choices")) and value not in choices:
                listed = joined(", ", [str(choice) or _("nothing ('')") for choice in choices])
                raise ConfigError(
                    _("{where} = {short} is not one of {listed}.{hint}"),
                    where=setting(where), short=short(value), listed=listed,
                    hint=nearest(short(value), map(str, choices)),
                )  # fmt: skip
            several = isinstance(value, tuple) and str(field.type).startswith("tuple")
            for number in value if several else (value,):
                _check_range(where, number, meta.get("low"), meta.get("high"))

    @classmethod
    def required(cls) -> list[str]:
        """Fields that must be given."""
        none, fields = dataclasses.MISSING, dataclasses.fields(cls)  # type: ignore[arg-type]
        return [field.name for field in fields if field.default is none and field.default_factory is none]

    def replace(self, **changes: object) -> Self:
        """A copy with some fields changed; an unknown field raises :class:`ConfigError` with the nearest
        name."""
        _known(type(self), changes, type(self).__name__)
        return dataclasses.replace(self, **changes)  # type: ignore[type-var]

    def values(self) -> dict[str, Any]:
        """The fields by name, as they are."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}  # type: ignore[arg-type]

    def to_dict(self) -> dict[str, Any]:
        """The fields as values TOML can hold; fields that are None are omitted."""
        return {name: _plain(value) for name, value in self.values().items() if value is not None}

    @classmethod
    def from_dict(cls, values: dict[str, Any], where: str = "") -> Self:
        """Build from plain values.

        Args:
            values: field name → value; a nested Config is a dict, a tuple may come as a list.
            where: the place in the file, for messages ("train").

        Raises:
            ConfigError: an unknown name (with the nearest one), a wrong type, a value out of range.
        """
        where = where or cls.__name__
        if not isinstance(values, dict):
            raise ConfigError(
                _("{where} must be a table of settings, not {short}."),
                where=setting(where),
                short=short(values),
            )
        _known(cls, values, where)
        hints = typing.get_type_hints(cls)
        if missing := [name for name in cls.required() if name not in values]:
            raise ConfigError(
                _("{where}: the required setting {missing!r} is missing."),
                where=setting(where),
                missing=missing[0],
            )
        return cls(**{name: _typed(hints[name], value, f"{where}.{name}") for name, value in values.items()})


def known_settings(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """The function, raising :class:`ConfigError` with the nearest name for an argument that it does not have."""
    names = [name for name in inspect.signature(function).parameters if name != "self"]

    @functools.wraps(function)
    def checked(*args: _P.args, **named: _P.kwargs) -> _R:
        check_names(function.__name__, named, names)
        return function(*args, **named)

    return checked


def check_names(where: str, values: Iterable[str], names: Collection[str]) -> None:
    """Raise :class:`ConfigError` with the nearest name for one of ``values`` that is not among ``names``."""
    for name in values:
        if name not in names:
            raise ConfigError(
                _("{where} has no setting {name!r}.{hint} It has: {names}."),
                where=setting(where), name=name, hint=nearest(name, names), names=", ".join(names),
            )  # fmt: skip


def checked_seed(seed: int) -> int:
    """``seed`` where it is a whole number that every generator takes in full. Raises :class:`ConfigError`
    otherwise."""
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed <= SEEDS:
        raise ConfigError(
            _("seed = {short}; it must be a whole number from 0 to {seeds}."), short=short(seed), seeds=SEEDS
        )
    return int(seed)


def _check_range(where: str, value: Any, low: float | None, high: float | None) -> None:
    if low is None and high is None:
        return
    if isinstance(value, str | list | tuple | dict):
        raise ConfigError(
            _("{where} = {short} is a {type}; it must be a number."),
            where=setting(where), short=short(value), type=type(value).__name__,
        )  # fmt: skip
    if low is not None and not value >= low:
        raise ConfigError(
            _("{where} = {short} is below the minimum, {low}."),
            where=setting(where),
            short=short(value),
            low=low,
        )
    if high is not None and not value <= high:
        raise ConfigError(
            _("{where} = {short} is above the maximum, {high}."),
            where=setting(where), short=short(value), high=high,
        )  # fmt: skip


def short(value: object) -> str:
    """A value for a message, cut where it is long; an integer too long for Python to write is given by its
    size."""
    if isinstance(value, int) and value.bit_length() > 1000:
        return f"an integer of {value.bit_length():,} bits"
    try:
        text = repr(value)
    except ValueError:  # such an integer inside
        text = f"a {type(value).__name__}"
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}…"


def dumps(config: Config) -> str:
    """A config as TOML text. Raises :class:`ConfigError` for a text that UTF-8 cannot hold, such as a file
    name that is not UTF-8."""
    text = tomli_w.dumps(config.to_dict())
    if found := re.search("[\ud800-\udfff]", text):
        line = text[text.rfind("\n", 0, found.start()) + 1 :].partition("\n")[0]
        raise ConfigError(
            _("{line!r} contains characters that UTF-8 cannot represent. Rename the file or column."),
            line=line[:200],
        )
    return text


def commented(config: Config) -> str:
    """A config as TOML text in which every setting has its help above it; what is left to labkit is commented
    out."""
    return "\n".join(_commented(config, config.to_dict(), ())).strip() + "\n"


def _commented(config: Config, values: dict[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    """The lines of one table, and of those inside it."""
    own, inner, fields = config.values(), [], {field.name: field for field in dataclasses.fields(config)}  # type: ignore[arg-type]
    if path:
        yield f"[{'.'.join(path)}]"
    for name in {**dict.fromkeys(values), **dict.fromkeys(own)}:
        value = values.get(name)
        line = f"# {name} =" if value is None else tomli_w.dumps({name: value}).rstrip()
        if isinstance(value, dict) or line.startswith("[["):
            inner.append(name)
        else:
            yield from (*_help_of(fields.get(name)), line)
    for name in inner:
        yield ""
        field = fields.get(name)
        if isinstance(own.get(name), Config):
            yield from _help_of(field)
            yield from _commented(own[name], values[name], (*path, name))
        else:
            nested: dict[str, Any] = {name: values[name]}
            for table in reversed(path):
                nested = {table: nested}
            yield from _help_of(field)
            yield tomli_w.dumps(nested).rstrip()


def _help_of(field: dataclasses.Field[Any] | None) -> list[str]:
    """The help of a setting as comment lines, with its choices or range."""
    if field is None or not field.metadata.get("help"):
        return []
    text, meta = str(field.metadata["help"]), field.metadata
    if choices := meta.get("choices"):
        text += f" One of: {', '.join(repr(choice) for choice in choices)}."
    elif (low := meta.get("low")) is not None:
        high = meta.get("high")
        text += f" At least {low:g}." if high is None or high >= 1e5 else f" {low:g} to {high:g}."
    return [f"# {line}" for line in textwrap.wrap(text, 100)]


def parse(text: str) -> dict[str, Any]:
    """The values of a TOML text; raises :class:`ConfigError` on bad TOML."""
    try:
        return tomllib.loads(text)
    except (
        ValueError,
        RecursionError,
    ) as error:  # an integer of 5,000 digits is a ValueError, deep nesting the other
        raise ConfigError(
            _("not valid TOML: {error}. Compare with the output of `run.toml()`."), error=error
        ) from None


def loads(cls: type[Any], text: str) -> Any:
    """Read a config of class ``cls`` from TOML text; raises :class:`ConfigError` on bad TOML or bad values."""
    return cls.from_dict(parse(text))


def load_file(cls: type[Any], path: Path) -> Any:
    """Read a config of class ``cls`` from a TOML file; raises :class:`ConfigError` as :func:`loads` does, and
    where the file cannot be read or is not UTF-8."""
    return loads(cls, read_text(path))


def read_text(path: Path) -> str:
    """The text of a settings file; raises :class:`ConfigError` where it cannot be read or is not UTF-8."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            _("{path!r} cannot be read: {reason}."), path=str(path), reason=os_reason(error)
        ) from None
    except UnicodeDecodeError as error:
        raise ConfigError(
            _("{path!r} is not UTF-8 text (byte {start:,}). Save it as UTF-8."),
            path=str(path),
            start=error.start,
        ) from None


def _known(cls: type[Any], values: dict[str, Any], where: str) -> None:
    check_names(where, values, [field.name for field in dataclasses.fields(cls)])


def _plain(value: object) -> Any:
    if isinstance(value, Config):
        return value.to_dict()
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return value


def _typed(hint: object, value: object, where: str) -> Any:
    """Convert a plain value to what the annotation asks for, or raise with the place and the value."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (types.UnionType, typing.Union):
        return _first_that_fits(args, value, where)
    if origin is typing.Literal:
        if value not in args:
            raise ConfigError(
                _("{where} = {short} is not one of {args}."),
                where=setting(where), short=short(value), args=", ".join(map(str, args)),
            )  # fmt: skip
        return value
    if origin is tuple and isinstance(value, list | tuple):
        kinds = args[:1] * len(value) if args[-1] is Ellipsis else args
        if len(kinds) != len(value):
            raise ConfigError(
                _("{where} = {short} has {n_value} values; it must have {n_kinds}."),
                where=setting(where), short=short(value), n_value=len(value), n_kinds=len(kinds),
            )  # fmt: skip
        return tuple(_typed(kind, item, where) for kind, item in zip(kinds, value, strict=True))
    if origin is dict and isinstance(value, dict):
        return {key: _typed(args[1], item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(hint, type) and issubclass(hint, Config) and isinstance(value, dict):
        return hint.from_dict(value, where)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            raise ConfigError(
                _("{where} = {short} is above the maximum, {max}."),
                where=setting(where), short=short(value), max=sys.float_info.max,
            ) from None  # fmt: skip
    plain = origin or hint
    if (
        isinstance(plain, type)
        and isinstance(value, plain)
        and (plain is bool or not isinstance(value, bool))
    ):
        return value
    raise ConfigError(
        _("{where} = {short} is a {type}; it must be {wanted}."),
        where=setting(where), short=short(value), type=type(value).__name__, wanted=getattr(hint, "__name__", hint),
    )  # fmt: skip


def _first_that_fits(hints: tuple[Any, ...], value: object, where: str) -> Any:
    if value is None and type(None) in hints:
        return None
    problem: ConfigError | None = None
    for hint in hints:
        if hint is type(None):
            continue
        try:
            return _typed(hint, value, where)
        except ConfigError as error:
            problem = problem or error
    raise problem or ConfigError(
        _("{where} = {short} is not a valid value."), where=setting(where), short=short(value)
    )
