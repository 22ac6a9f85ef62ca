"""Registries: by name, whose entries are imported on the first look-up; and by class, for what an upper room
does for a class of a lower one."""

from __future__ import annotations

import functools
import importlib
import types
import warnings
from collections.abc import Iterator, Mapping
from importlib import metadata
from typing import Any, Generic, TypeVar

from labkit.core.errors import ConfigError, nearest
from labkit.i18n import _

_T = TypeVar("_T")


#: Kind ("models", "tasks", "optimizers") → its registry.
REGISTRIES: dict[str, Registry] = {}
#: Group of the entry points by which installed packages add entries: each names a module that registers them.
GROUP = "labkit.plugins"


class Registry(Mapping[str, Any]):
    """A mapping from a name to a class or function given as ``"module:attribute"``.

    Args:
        noun: what an entry is, used in error messages ("architecture").
        entries: name → ``"package.module:attribute"``; the module is imported at the first look-up.
        kind: under which :data:`REGISTRIES` holds it; empty: plugins cannot name its entries.
        adapt: ``"package.module:function"`` that turns an entry into what a look-up gives; left out, the
            entry itself.

    Raises:
        ConfigError: (on look-up) the name is unknown; the message lists the names and the nearest one.
    """

    def __init__(self, noun: str, entries: Mapping[str, str], kind: str = "", adapt: str = ""):
        self.noun, self.kind, self.adapt = noun, kind, adapt
        self.entries = dict(entries)  # name → "module:attribute"
        self._own = frozenset(entries)
        if kind:
            REGISTRIES[kind] = self

    def __getitem__(self, name: str) -> Any:
        if name not in self:
            known = ", ".join(self.entries)
            raise ConfigError(
                _("unknown {noun} {name!r}.{hint} Known: {known}."),
                noun=self.noun, name=name, hint=nearest(name, self.entries), known=known,
            )  # fmt: skip
        try:
            found = resolve(self.entries[name])
        except (ImportError, AttributeError) as error:
            if name in self._own:
                raise
            raise ConfigError(
                _("{noun} {name!r} is {target}, which cannot be imported: {error}."),
                noun=self.noun, name=name, target=self.entries[name], error=error,
            ) from None  # fmt: skip
        return resolve(self.adapt)(found) if self.adapt else found

    def register(self, name: str, entry: object) -> None:
        """Add a class or function of one's own, or its ``"package.module:attribute"``, under a name.

        Raises:
            ConfigError: the name stands for another one, or it cannot be imported by its own name.
        """
        target = entry if isinstance(entry, str) else _target(entry)
        if self.entries.get(name, target) != target:
            raise ConfigError(
                _("{noun} {name!r} is already registered as {target}; choose another name."),
                noun=self.noun, name=name, target=self.entries[name],
            )  # fmt: skip
        if "<" in target:
            raise ConfigError(
                _("{target} is defined in a function and cannot be imported; move it to a module."),
                target=target,
            )
        if self.adapt and not isinstance(entry, str):
            resolve(self.adapt)(entry)  # raises where it is of no use
        self.entries[name] = target

    def added(self, entry: object) -> str:
        """The name of a class or function, which is registered under its own name if it has none yet."""
        target = _target(entry)
        for name, known in self.entries.items():
            if known == target:
                return name
        name = getattr(entry, "__name__", type(entry).__name__)
        self.register(name, entry)
        return name

    def target(self, name: str) -> str:
        """``"module:attribute"`` of an entry that labkit itself does not bring; empty for one that it does."""
        return "" if name in self._own else self.entries[name]

    def __iter__(self) -> Iterator[str]:
        _load_installed()
        return iter(self.entries)

    def __len__(self) -> int:
        _load_installed()
        return len(self.entries)

    def __contains__(self, name: object) -> bool:
        if isinstance(name, str) and name not in self.entries:
            _load_installed()
        return isinstance(name, str) and name in self.entries

    def __repr__(self) -> str:
        return f"<{self.noun}s: {', '.join(self)}>"

    def name_of(self, entry: object) -> str:
        """The name under which a class (or an instance of it) is registered."""
        cls = entry if isinstance(entry, type) else type(entry)
        for name, target in self.entries.items():
            if target == _target(cls):
                return name
        raise ConfigError(
            _("{type} is not a registered {noun}. Known: {known}."),
            type=cls.__qualname__, noun=self.noun, known=", ".join(self.entries),
        )  # fmt: skip


def _target(entry: object) -> str:
    own = entry if isinstance(entry, type | types.FunctionType) else type(entry)
    return f"{own.__module__}:{own.__qualname__}"


def resolve(target: str) -> Any:
    """The class or function ``"module:attribute"``."""
    module, _unused, attribute = target.partition(":")
    found: Any = importlib.import_module(module)
    for part in attribute.split("."):
        found = getattr(found, part)
    return found


@functools.cache
def _load_installed() -> None:
    """Import the modules that installed packages name by entry points; one that fails is warned of and left
    out."""
    for point in metadata.entry_points(group=GROUP):
        try:
            point.load()
        except Exception as error:
            warnings.warn(f"plugin {point.name!r} ({point.value}) cannot be loaded: {error!r}", stacklevel=2)


class ByClass(Generic[_T]):
    """What an upper room does for each class of a lower room: an entry holds for its subclasses too."""

    def __init__(self, entries: Mapping[type, _T] | None = None):
        self.entries: dict[type, _T] = dict(entries or {})

    def register(self, cls: type, value: _T) -> None:
        """Set what is done for a class and its subclasses."""
        self.entries[cls] = value

    def get(self, cls: type) -> _T | None:
        """The entry of the nearest base class; None where there is none."""
        return next((self.entries[base] for base in cls.__mro__ if base in self.entries), None)
