"""Data recipe: arguments of ``lk.load`` and preprocessing steps, validated when read from a file."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
import types
import typing
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from labkit.core.config import Config, check_names
from labkit.core.errors import ConfigError, nearest
from labkit.i18n import _

#: What may be done to rows between loading and training: methods of ``Rows``.
STEPS = ("clean", "relabel", "correct_labels", "dedupe", "sample", "split")
Step = TypeVar("Step", bound=Callable[..., Any])
#: ``load`` and the steps by name: functions, whose settings are checked by annotation, or the class of their
#: settings.
_STEPS: dict[str, Callable[..., Any]] = {}


def recorded(step: Step, name: str = "") -> Step:
    """Register ``load`` or a step, whose arguments the source of rows names."""
    _STEPS[name or step.__name__] = step
    return step


def source_of(source: object) -> dict[str, Any]:
    """The ``source`` of rows as a file holds it, checked: arguments of ``lk.load``, with the name of the
    source and ``steps`` among them. Raises :class:`ConfigError`."""
    if not isinstance(source, Mapping) or not isinstance(source.get("source", ""), str):
        raise ConfigError(_("[data] must be a table of settings in which `source` is a string."))
    options = plain({key: value for key, value in source.items() if key not in ("source", "steps")})
    check_options(source.get("source", ""), options)
    steps = source.get("steps", ())
    steps = (
        [plain(step) if isinstance(step, Mapping) else step for step in steps]
        if isinstance(steps, list)
        else steps
    )
    check_steps(steps)
    return {"source": source.get("source", ""), **options, **({"steps": steps} if steps else {})}


def check_options(source: str, options: Mapping[str, Any]) -> None:
    """Raise :class:`ConfigError` for unknown arguments of ``lk.load``, or values that are not plain."""
    _check("load", options, (*_arguments("load"), *_options_of_sample(source)))


def check_steps(steps: object) -> None:
    """Raise :class:`ConfigError` for an unknown step or setting."""
    if not isinstance(steps, list | tuple) or not all(isinstance(step, Mapping) for step in steps):
        raise ConfigError(_("data.steps must be a list of tables, such as {do = 'split', test = 0.2}."))
    for step in steps:
        if not isinstance(do := step.get("do"), str) or do not in STEPS:
            shown, hint = repr(step)[:200], nearest(str(do)[:80], STEPS)
            raise ConfigError(
                _("data.steps: {shown} has an unknown `do`.{hint} Known: {known}."),
                shown=shown, hint=hint, known=", ".join(STEPS),
            )  # fmt: skip
        settings = {key: value for key, value in step.items() if key != "do"}
        _check(do, settings, _arguments(do))
        if settings_class := _settings_class(do):
            settings_class.from_dict(settings, do)


def plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as JSON and TOML hold them: NumPy's numbers as Python's, without those that are None."""
    given = {key: value.item() if isinstance(value, np.generic) else value for key, value in settings.items()}
    return {key: value for key, value in given.items() if value is not None}


def _check(where: str, settings: Mapping[str, Any], known: Collection[str]) -> None:
    for name in settings:
        if name not in known:
            check_names(where, [(name if isinstance(name, str) else repr(name))[:80]], known)
    for name, value in settings.items():
        if not _is_plain(value):
            raise ConfigError(
                _("{where}: {name} must be a string, a finite number, true or false, or a list of these."),
                where=where,
                name=name,
            )
        if name in (kinds := _kinds(where)) and not fits(value, kinds[name]):
            raise ConfigError(
                _("{where}: {name} = {value} has the wrong type."),
                where=where, name=name, value=repr(value)[:80],
            )  # fmt: skip


def _is_plain(value: object, inner: bool = False) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, int):
        return abs(value) < 1 << 64
    if not inner and isinstance(value, list | tuple):
        return all(_is_plain(item, True) for item in value)
    if not inner and isinstance(value, Mapping):  # names of classes
        return all(isinstance(key, str) and _is_plain(item, True) for key, item in value.items())
    return isinstance(value, str)


def fits(value: object, kind: object) -> bool:
    """Whether a plain value is of the type of an annotation. A number is no truth value, a list may stand for
    any sequence, and a whole number for one with a fraction."""
    if kind is Any:
        return True
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, one) for one in inner)
    if origin is typing.Literal:
        return value in inner
    if isinstance(value, str) and origin is Sequence:
        return inner[0] in (str, Any)  # one name for a list of them
    if isinstance(value, list | tuple):
        several = isinstance(origin, type) and issubclass(origin, Sequence)
        return several and all(fits(item, inner[0]) for item in value)
    if isinstance(value, Mapping):
        return isinstance(origin, type) and issubclass(origin, Mapping)
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    named = isinstance(kind, type) and isinstance(value, kind)
    return named and (kind is bool) == isinstance(value, bool)


def _settings_class(name: str) -> type[Config] | None:
    step = _STEPS[name]
    return step if isinstance(step, type) and issubclass(step, Config) else None


@functools.cache
def _kinds(name: str) -> dict[str, Any]:
    """Argument of a function → its annotation."""
    return {} if _settings_class(name) else typing.get_type_hints(inspect.unwrap(_STEPS[name]))


@functools.cache
def _arguments(name: str) -> tuple[str, ...]:
    """The arguments of ``lk.load``, or of a step, that a file may name."""
    if settings_class := _settings_class(name):
        return tuple(field.name for field in dataclasses.fields(settings_class))
    return _named(list(inspect.signature(_STEPS[name]).parameters.values())[1:])  # the first is the data


def _options_of_sample(name: str) -> tuple[str, ...]:
    from labkit.hub.datasets import options_of

    return options_of(name)


def _named(parameters: Iterable[inspect.Parameter]) -> tuple[str, ...]:
    return tuple(one.name for one in parameters if one.kind is not inspect.Parameter.VAR_KEYWORD)
