"""Callbacks in an experiment: named by module and class, with their settings, so that another process can
create them.

Callbacks whose class cannot be imported, such as one of a notebook, exist only in the process that trains.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import keyword
import re
import sys
from collections.abc import Iterable
from typing import Any

from labkit.core.config import short
from labkit.core.errors import ConfigError
from labkit.i18n import _
from labkit.train.callbacks import Callback, name_of

_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)


def not_importable(callback: Callback) -> str:
    """Why another process cannot create this callback from its name and settings; empty where it can."""
    cls, name = type(callback), name_of(callback)
    module, _colon, path = name.partition(":")
    if module == "__main__":
        return _(
            "its class is defined in a notebook or a script. Move the class to a module file, and import it"
        )
    if not _NAME.fullmatch(name):
        return _("its class is defined inside a function. Move the class to the top level of a module")
    if _attribute(sys.modules.get(module), path) is not cls or not _has_file(module):
        return _(
            "its class cannot be imported as {name}. Move the class to the top level of a module file",
            name=name,
        )
    if cls.Settings is None and (arguments := list(inspect.signature(cls.__init__).parameters)[1:]):
        if cls.__init__ is not Callback.__init__:
            return _(
                "its class takes arguments ({arguments}) that no experiment file can hold. Declare them as a Config "
                "in the class attribute Settings",
                arguments=", ".join(arguments),
            )
    elif cls.Settings is not None and not isinstance(callback.settings, cls.Settings):
        return _("its attribute settings is not of its class Settings. Call super().__init__(settings)")
    return ""


def _attribute(module: object, path: str) -> Any:
    found = module
    for name in path.split("."):
        found = getattr(found, name, None)
    return found


def _has_file(module: str) -> bool:
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return False
    return spec is not None and spec.has_location


def check_callbacks(callbacks: Iterable[Any]) -> None:
    """Raise :class:`ConfigError` for what is not a callback."""
    for callback in callbacks:
        if not isinstance(callback, Callback):
            made = (
                _(" Create it first: {name}().", name=callback.__name__) if isinstance(callback, type) else ""
            )
            raise ConfigError(
                _("callbacks holds {given}; each must be an object of a subclass of labkit.Callback.{made}"),
                given=short(callback), made=made,
            )  # fmt: skip


def check_importable(callbacks: Iterable[Callback]) -> None:
    """Raise :class:`ConfigError` for a callback that no other process can create."""
    for callback in callbacks:
        if why := not_importable(callback):
            raise ConfigError(
                _("the callback {name} cannot be used in another process: {why}; or train in this process "
                  "(without detach and with one process)."),
                name=name_of(callback), why=why,
            )  # fmt: skip


def specs_of(callbacks: Iterable[Callback]) -> tuple[dict[str, Any], ...]:
    """The callbacks that can be created from their names and settings, as the experiment stores them."""
    return tuple(
        {"class": name_of(callback), **(callback.settings.to_dict() if callback.settings else {})}
        for callback in callbacks
        if not not_importable(callback)
    )


def check_spec(spec: object) -> None:
    """Raise :class:`ConfigError` where an entry of ``callbacks`` in an experiment names no class."""
    name = str(spec.get("class")) if isinstance(spec, dict) else ""
    if not _NAME.fullmatch(name) or any(map(keyword.iskeyword, re.split(r"[.:]", name))):
        raise ConfigError(
            _('callbacks: {spec} names no class; write it as class = "module:Class".'), spec=short(spec)
        )


def class_of(name: str) -> type[Callback]:
    """The class that ``"module:Class"`` names; its module is imported.

    Raises:
        ConfigError: it cannot be imported, or is not a callback.
    """
    module, _colon, path = name.partition(":")
    try:
        found = _attribute(importlib.import_module(module), path)
    except Exception as error:  # whatever the module raises
        raise ConfigError(
            _("the callback {name} cannot be imported: {error}. Its module must be on the Python path of this "
              "process."),
            name=name, error=f"{type(error).__name__}: {error}",
        ) from error  # fmt: skip
    if not (isinstance(found, type) and issubclass(found, Callback)):
        raise ConfigError(_("{name} is not a subclass of labkit.Callback."), name=name)
    return found


def callbacks_of(specs: Iterable[dict[str, Any]]) -> list[Callback]:
    """New callbacks from the entries of an experiment. Raises :class:`ConfigError` where one cannot be
    created."""
    made = []
    for spec in specs:
        check_spec(spec)
        cls = class_of(spec["class"])
        values = {name: value for name, value in spec.items() if name != "class"}
        if cls.Settings is not None:
            made.append(cls(cls.Settings.from_dict(values, spec["class"])))
        elif values:
            raise ConfigError(_("the callback {name} has no settings, but {given} is given."),
                              name=spec["class"], given=short(values))  # fmt: skip
        else:
            made.append(cls())
    return made
