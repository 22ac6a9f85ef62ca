"""Plugins of an experiment: modules of one's own whose classes and functions it uses by name.

 An entry is the name of a module, which registers its classes when it is imported
(``lk.models.register(…)``), or ``"models.net = my_module:Net"``, which registers one class or function
without running more than its module.

 Importing a module runs its code. :func:`load` is for settings of the user's own: an experiment file that
they give, the runs of their lab, the modules that they allow. :func:`require` is for settings that may come
from elsewhere, such as
those of a model folder: it takes what this process has loaded or registered already, and refuses the rest.
"""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from labkit.core.config import short
from labkit.core.errors import ConfigError, RunError
from labkit.core.registry import REGISTRIES, resolve
from labkit.i18n import _

_MODULE = r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*"
_ENTRY = re.compile(
    rf"(?:(?P<kind>models|tasks|optimizers)\.(?P<name>[\w-]+) *= *)?(?P<target>{_MODULE}(?::{_MODULE})?)"
)
#: Prints the files of the modules that are named, as a new Python process finds them.
_FIND = """
import importlib.util, json, sys
def file_of(name):
    try:
        return importlib.util.find_spec(name).origin or ""
    except (AttributeError, ImportError, ValueError):
        return ""
print()
print(json.dumps([file_of(name) for name in sys.argv[1:]]))
"""


#: Entries that the user of this process has given or allowed.
ALLOWED: set[str] = set()


def load(plugins: object) -> None:
    """Import the modules of plugins and register what they name; from then on, :func:`require` takes them.

    Raises:
        ConfigError: they are no list, an entry is none, or its module cannot be imported.
    """
    for entry in _listed(plugins):
        parts(entry)
        ALLOWED.add(entry)
        require([entry])


def require(plugins: object) -> None:
    """Register what plugins name, where this needs no code that the user of this process has not allowed.

    Raises:
        ConfigError: they are no list, an entry is none, its module is not allowed, or cannot be imported.
    """
    for entry in _listed(plugins):
        kind, name, target = parts(entry)
        module = target.partition(":")[0]
        if not _is_allowed(entry):
            raise ConfigError(
                _("these settings name the plugin {entry!r}, and importing its module {module!r} runs the code in it. "
                  "If you trust it, allow it: lk.Predictor(folder, plugins=[{module!r}]) in Python, --plugin {module} "
                  "on the command line."),
                entry=entry[:200], module=module[:200],
            )  # fmt: skip
        if kind:
            REGISTRIES[kind].register(name, target)
        if module != "__main__":
            _import(module)


def _listed(plugins: object) -> Sequence[str]:
    if not isinstance(plugins, list | tuple) or not all(isinstance(each, str) for each in plugins):
        raise ConfigError(
            _('plugins = {plugins} must be a list of modules: plugins = ["my_module"].'),
            plugins=short(plugins),
        )
    return plugins


def _is_allowed(entry: str) -> bool:
    """Whether an entry names only what the user has given or allowed, or what is registered or imported
    already."""
    kind, name, target = parts(entry)
    if entry in ALLOWED or (kind and name in REGISTRIES[kind] and REGISTRIES[kind].target(name) == target):
        return True
    module = target.partition(":")[0]
    if not kind and module in sys.modules:
        return True
    package = module.split(".")
    if not any(".".join(package[:count]) in ALLOWED for count in range(1, len(package) + 1)):
        return False
    if not kind:
        return True
    _import(module)
    try:
        found = resolve(target)
    except AttributeError:  # the look-up of the name says so
        return True
    # A module that is allowed does not allow what it imports itself, such as a function of os.
    return str(getattr(found, "__module__", "")).partition(".")[0] == package[0]


def parts(entry: str) -> tuple[str, str, str]:
    """Kind and name, empty for a module alone, and ``"module:attribute"`` or the module of an entry.

    Raises:
        ConfigError: the text is no entry.
    """
    found = _ENTRY.fullmatch(entry)
    if found is None or bool(found["kind"]) != (":" in found["target"]):
        raise ConfigError(
            _("plugins: {entry!r} is neither a module ('my_module') nor an entry such as "
              "'models.net = my_module:Net'."),
            entry=entry[:200],
        )  # fmt: skip
    return found["kind"] or "", found["name"] or "", found["target"]


def _import(module: str) -> None:
    if "" not in sys.path and (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)  # as `python -m` has it, which starts detached runs; a console script does not
    try:
        importlib.import_module(module)
    except Exception as error:
        raise ConfigError(
            _("plugin {module!r} cannot be imported: {error}. Start labkit in the folder of its file, put that folder "
              "on PYTHONPATH, or install it as a package."),
            module=module, error=f"{type(error).__name__}: {error}",
        ) from None  # fmt: skip


def used(names: Iterable[tuple[str, str]], plugins: Iterable[str]) -> tuple[str, ...]:
    """``plugins`` and an entry for every class or function of one's own that they do not bring yet.

    Args:
        names: of what is used: the kind of registry, and the name in it.
        plugins: those that are named already.
    """
    found = tuple(plugins)
    modules = {modules_of([entry])[0] for entry in found}
    for kind, name in names:
        target = REGISTRIES[kind].target(name)
        if target and target.partition(":")[0] not in modules:
            found += (f"{kind}.{name} = {target}",)
    return tuple(dict.fromkeys(found))


def modules_of(plugins: Iterable[str]) -> list[str]:
    """The modules of plugins."""
    return [parts(entry)[2].partition(":")[0] for entry in plugins]


def files_of(plugins: Iterable[str]) -> dict[str, Path]:
    """Module → its source file, of imported plugins that have one."""
    loaded = {name: getattr(sys.modules.get(name), "__file__", None) for name in modules_of(plugins)}
    return {name: Path(file) for name, file in loaded.items() if file}


def check_elsewhere(plugins: Iterable[str]) -> None:
    """Raise :class:`RunError` where a new Python process, started here, would not import the modules of
    plugins."""
    modules = list(dict.fromkeys(modules_of(plugins)))
    if not modules:
        return
    mine = {name: getattr(sys.modules.get(name), "__file__", None) for name in modules}
    done = subprocess.run(
        [sys.executable, "-c", _FIND, *modules], stdout=subprocess.PIPE, text=True, check=True
    )
    theirs = dict(zip(modules, json.loads(done.stdout.splitlines()[-1]), strict=True))
    for name in modules:
        if name == "__main__":
            raise RunError(
                _("this run uses a class that is defined in the notebook or script, which a detached process cannot "
                  "import. Move it to a module, such as a file my_module.py in this folder, and import it.")
            )  # fmt: skip
        if not theirs.get(name) or (
            mine[name] and Path(theirs[name]).resolve() != Path(mine[name]).resolve()
        ):
            raise RunError(
                _("this run uses the module {module!r}, which a detached process cannot find. Start Python in the "
                  "folder of its file, put that folder on PYTHONPATH, or install it as a package."),
                module=name,
            )  # fmt: skip
