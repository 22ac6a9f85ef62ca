"""Names for things that are imported only when somebody asks for them."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from typing import Any

from labkit.base.errors import ConfigError, nearest


class Registry(Mapping[str, Any]):
    """A read-only mapping from a name to an object given as ``"module:attribute"``.

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
            raise ConfigError(f"unknown {self.noun} {name!r}.{nearest(name, self._entries)} Known: {known}.")
        module, _, attribute = self._entries[name].partition(":")
        return getattr(importlib.import_module(module), attribute)

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
        raise ConfigError(f"{cls.__qualname__} is not a registered {self.noun}. Known: {', '.join(self._entries)}.")
