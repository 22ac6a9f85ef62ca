"""`labkit lab`: start JupyterLab with a copy of the tutorials."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer

from labkit.cli.options import say
from labkit.core.cache import sha256_file, write_atomic
from labkit.core.errors import LabkitError
from labkit.core.extras import require
from labkit.core.huge_pages import with_huge_pages
from labkit.i18n import _
from labkit.viz.words import language

TOUR = "00_tour.ipynb"
#: The notebook that is opened first, in each language.
START = {"en": "00_start_here.ipynb", "zh": "00_start_here.zh.ipynb"}
#: The extension of JupyterLab that adds a tile to its launcher.
LABEXTENSIONS = Path(__file__).parents[1] / "app" / "labextensions"
#: Bytes of a file that can be uploaded in a panel; Tornado alone lets 10 MB through.
LARGEST = 2**28
#: What tells a server of Tornado's that.
ADMITTING = f"{{'websocket_max_message_size': {LARGEST}}}"
#: What was put into the user's folder: {relative name: SHA-256 of the version installed or offered last}.
MANIFEST = ".labkit-notebooks.json"


@dataclass
class Copied:
    """What :func:`copy_notebooks` did, as names relative to the folder.

    ``added`` are new, ``updated`` were replaced (the user had not changed them), ``kept`` carry the user's
    edits and stay; ``offered`` are saved next to those as ``NAME.new.ipynb``.
    """

    added: list[str] = field(default_factory=list)
    updated: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    offered: list[str] = field(default_factory=list)


def tutorials() -> Path:
    """The folder of the tutorials: inside the installed package, or next to it in a checkout.

    Raises:
        LabkitError: neither is there (a damaged installation).
    """
    package = Path(__file__).parents[1]
    for folder in (package / "notebooks", package.parent / "notebooks"):
        if (folder / TOUR).is_file():
            return folder
    raise LabkitError(
        _("the tutorials are missing ({tour} is not in {package}). Reinstall labkit."),
        tour=TOUR,
        package=package,
    )


def copy_notebooks(source: Path, folder: Path) -> Copied:
    """Bring ``folder`` up to date with the tutorials in ``source`` without touching what the user changed.

    A file counts as unchanged when its SHA-256 is the one that was installed. A newer version of a changed
    file is saved next to it once, as ``NAME.new.ipynb``; a file that the user deleted comes back.

    Raises:
        LabkitError: ``folder`` cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        manifest, copied = _read_manifest(folder), Copied()
        for path in _files(source):
            _install(path, path.relative_to(source).as_posix(), folder, manifest, copied)
        write_atomic(folder / MANIFEST, json.dumps(manifest, indent=1, sort_keys=True) + "\n")
    except OSError as error:
        raise LabkitError(
            _("cannot copy the tutorials to {folder}: {error}. Choose another folder."),
            folder=folder,
            error=error,
        ) from error
    return copied


def start(folder: Path, arguments: Sequence[str] = ()) -> int:
    """Run JupyterLab in ``folder``, opened on the page to start from, until it ends; returns its exit code.

    Jupyter keeps its token and all other defaults. ``arguments`` go to it as they are (``--no-browser``,
    ``--port``). Where the system can, this process becomes JupyterLab, so that signals and Ctrl-C reach it
    directly.
    """
    command = lab_command(folder, arguments)
    if os.name == "posix":
        sys.stdout.flush()
        sys.stderr.flush()
        os.chdir(folder)
        os.execve(command[0], command, with_huge_pages())
    return subprocess.call(command, cwd=folder)


def lab_command(folder: Path, arguments: Sequence[str] = ()) -> list[str]:
    """The command that :func:`start` runs. An option that ``arguments`` set themselves is left to them."""
    first = next((name for name in (START[language()], TOUR) if (folder / name).is_file()), TOUR)
    ours = {
        "--ServerApp.root_dir": str(folder.resolve()), "--LabApp.default_url": f"/lab/tree/{first}",
        "--ServerApp.tornado_settings": ADMITTING, "--LabApp.extra_labextensions_path": str(LABEXTENSIONS),
    }  # fmt: skip
    given = {argument.partition("=")[0].rpartition(".")[2] for argument in arguments}
    options = [f"{name}={value}" for name, value in ours.items() if name.rpartition(".")[2] not in given]
    return [sys.executable, "-m", "jupyterlab", *options, *arguments]


def split_arguments(arguments: Sequence[str], default: str = "labkit-notebooks") -> tuple[Path, list[str]]:
    """``[DIR] [jupyter options]`` → the folder and the options; DIR is the first word unless that is an
    option.

    Raises:
        LabkitError: the first word is the name of a notebook, not of a folder.
    """
    rest = list(arguments)
    folder = Path(rest.pop(0) if rest and not rest[0].startswith("-") else default).expanduser()
    if folder.is_file() or folder.suffix == ".ipynb":
        raise LabkitError(
            _("{folder!r} is a file; `labkit lab` needs a working folder, such as {default}."),
            folder=str(folder),
            default=default,
        )
    return folder, rest


def _files(source: Path) -> Iterator[Path]:
    for path in sorted(source.rglob("*")):
        hidden = any(part.startswith((".", "__")) for part in path.relative_to(source).parts)
        if path.is_file() and not hidden:
            yield path


def _install(path: Path, name: str, folder: Path, manifest: dict[str, str], copied: Copied) -> None:
    """Install one file; ``manifest`` and ``copied`` are brought up to date."""
    target, new = folder / name, sha256_file(path)
    before, manifest[name] = manifest.get(name), new
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(target, path.read_bytes())
        copied.added.append(name)
        return
    present = sha256_file(target)
    if present == new:
        return
    if present == before:
        write_atomic(target, path.read_bytes())
        copied.updated.append(name)
        return
    copied.kept.append(name)
    if new != before:
        beside = _beside(target, (before, new))
        write_atomic(beside, path.read_bytes())
        copied.offered.append(beside.relative_to(folder).as_posix())


def _beside(target: Path, ours: tuple[str | None, str]) -> Path:
    """``NAME.new.ipynb``, or with a number where the user has made an offered file his own."""
    number = 1
    while True:
        path = target.with_name(f"{target.stem}.new{number if number > 1 else ''}{target.suffix}")
        if not path.exists() or sha256_file(path) in ours:
            return path
        number += 1


def _read_manifest(folder: Path) -> dict[str, str]:
    try:
        values = json.loads((folder / MANIFEST).read_text("utf-8"))
    except (FileNotFoundError, ValueError):
        return {}  # unreadable: every file that differs counts as the user's own
    return {str(k): str(v) for k, v in values.items()} if isinstance(values, dict) else {}


def lab(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(metavar="[DIR] [JUPYTER OPTIONS]", help="Folder (default: labkit-notebooks)."),
    ] = None,
) -> None:
    """Start JupyterLab with the tutorials. They are copied to DIR; files that you changed are never
    overwritten."""
    require("lab")
    folder, options = split_arguments(arguments or [])
    copied = copy_notebooks(tutorials(), folder)
    say(f"tutorials in {folder}: {len(copied.added)} added, {len(copied.updated)} updated", err=True)
    for name in copied.offered:
        say(f"  you changed the older version; the new version was saved as: {name}", err=True)
    raise typer.Exit(start(folder, options))
