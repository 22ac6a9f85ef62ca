"""Output and arguments shared by the commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from labkit.core.cache import write_atomic
from labkit.core.errors import ConfigError, DataError, os_reason
from labkit.core.text import printed
from labkit.i18n import _

Folder = Annotated[
    Path | None, typer.Option(help="Lab folder (default: .labkit in the current folder, or LABKIT_FOLDER).")
]
Plugins = Annotated[
    list[str] | None,
    typer.Option(
        "--plugin", help="Module that the settings of an exported model may import; may be repeated."
    ),
]
RunName = Annotated[str, typer.Argument(metavar="RUN", help="Run id or name.")]
Positive = Annotated[str | None, typer.Option(help="Class that counts as positive (default: detected).")]
ScenarioOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--scenario", metavar="NAME=VALUE",
        help="What the model is for: positive=spam, false_negative=10, volume=500 …; may be repeated.",
    ),
]  # fmt: skip
Changes = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Change a setting: --set train.epochs=5, or epochs=5."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def say(text: object, *, err: bool = False, nl: bool = True) -> None:
    """Print text for a terminal. All output goes through here: data may hold characters that a terminal
    obeys."""
    typer.echo(printed(text), err=err, nl=nl)


def write_output(out: Path, content: str | bytes) -> None:
    """Write an output file, whole or not at all. Raises :class:`DataError` where that fails."""
    try:
        write_atomic(out, content)
    except OSError as error:
        raise DataError(_("cannot write {path}: {reason}."), path=out, reason=os_reason(error)) from error


def output_folder(out: Path) -> Path:
    """The folder, made where it is not there. Raises :class:`DataError` where that fails."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(_("cannot write {path}: {reason}."), path=out, reason=os_reason(error)) from error
    return out


def check_csv(out: Path | None) -> None:
    """Raise :class:`ConfigError` for an output file of another kind than .csv."""
    if out is not None and out.suffix.lower() != ".csv":
        raise ConfigError(_("--out {out}: the table is written as .csv."), out=out)


def output_csv(out: Path | None, content: bytes, rows: int) -> None:
    """Write CSV of a number of rows to a file, or to standard output."""
    if out is None:
        say(content.decode("utf-8-sig").replace("\r\n", "\n"), nl=False)
        return
    write_output(out, content)
    say(f"{rows} rows in {out}", err=True)
