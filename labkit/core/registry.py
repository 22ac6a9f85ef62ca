"""Registries: by name, whose entries are imported on the first look-up; and by class, for what an upper room does for
a class of a lower one."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from typing import Any, Generic, TypeVar

from labkit.core.errors import ConfigError, nearest
from labkit.i18n import _

_T = TypeVar("_T")


class Registry(Mapping[str, Any]):
    """A mapping from a name to a class given as ``"module:attribute"``.

    Args:
        noun: what an entry is, used in error messages ("architecture").
        entries: name → ``"package.module:attribute"``; the module is imported at the first look-up.

    Raises:
        ConfigError: (on look-up) the name is unknown; the message lists the names and the nearest one.
    """

    def __init__(self, noun: str, entries: Mapping[str, str]):
        self.noun = noun
        self._entries = dict(entries)

    def __getitem__(self, name: str) -> Any:
        if not isinstance(name, str) or name not in self._entries:
            known = ", ".join(self._entries)
            raise ConfigError(
                _("unknown {noun} {name!r}.{hint} Known: {known}."),
                noun=self.noun, name=name, hint=nearest(name, self._entries), known=known,
            )  # fmt: skip
        module, _unused, attribute = self._entries[name].partition(":")
        return getattr(importlib.import_module(module), attribute)

    def register(self, name: str, entry: type | str) -> None:
        """Register a class, or its ``"package.module:attribute"``, under a name.

        Raises:
            ConfigError: the name is used for another class, or the class cannot be imported by its name.
        """
        target = entry if isinstance(entry, str) else f"{entry.__module__}:{entry.__qualname__}"
        if self._entries.get(name, target) != target:
            raise ConfigError(
                _("{noun} {name!r} is already registered as {target}; choose another name."),
                noun=self.noun, name=name, target=self._entries[name],
            )  # fmt: skip
        if "<locals>" in target:
            raise ConfigError(
                _("{target} is defined in a function and cannot be imported; move it to a module."), target=target
            )
        self._entries[name] = target

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name in self._entries

    def __repr__(self) -> str:
        return f"<{self.noun}s: {', '.join(self._entries)}>"

    def name_of(self, entry: Any) -> str:
        """The name under which a class (or an instance of it) is registered."""
        cls = entry if isinstance(entry, type) else type(entry)
        for name, target in self._entries.items():
            if target == f"{cls.__module__}:{cls.__qualname__}":
                return name
        raise ConfigError(
            _("{type} is not a registered {noun}. Known: {known}."),
            type=cls.__qualname__, noun=self.noun, known=", ".join(self._entries),
        )  # fmt: skip


class ByClass(Generic[_T]):
    """What an upper room does for each class of a lower room: an entry holds for its subclasses too."""

    def __init__(self, entries: Mapping[type, _T] | None = None):
        self._entries: dict[type, _T] = dict(entries or {})

    def register(self, cls: type, value: _T) -> None:
        """Set what is done for a class and its subclasses."""
        self._entries[cls] = value

    def get(self, cls: type) -> _T | None:
        """The entry of the nearest base class; None where there is none."""
        return next((self._entries[base] for base in cls.__mro__ if base in self._entries), None)
