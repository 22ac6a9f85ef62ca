"""Output and arguments shared by the commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from labkit.core.text import printed

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
