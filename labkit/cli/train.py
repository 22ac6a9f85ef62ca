"""`labkit train`: train an experiment file, or resume a run."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any

import typer

from labkit.cli.options import Folder, say
from labkit.core.errors import ConfigError
from labkit.i18n import _


def train(
    experiment: Annotated[
        Path | None, typer.Argument(help="Experiment file (TOML), as written by `run.toml()`.")
    ] = None,
    resume: Annotated[str | None, typer.Option(metavar="RUN", help="Resume this run instead.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the run.")] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="NAME=VALUE", help="Change a setting: --set train.epochs=5, or epochs=5."
        ),
    ] = None,
    folder: Folder = None,
) -> None:
    """Train in this terminal. Ctrl-C stops after the current step and saves the model."""
    if (experiment is None) == (resume is None):
        raise ConfigError(_("give either an experiment file or --resume RUN: labkit train experiment.toml"))
    if resume is not None and changes:
        raise ConfigError(_("--set changes an experiment file; a run that is resumed keeps its settings."))
    from labkit import api as front

    run = front.train(experiment, resume=resume, name=name, folder=folder, changes=parsed(changes or []))
    say(f"{run}\nlabkit predict {run.id} 'some text'")


def parsed(changes: list[str]) -> dict[str, Any]:
    """``["train.epochs=5"]`` → ``{"train.epochs": 5}``; a value that is not TOML is a text."""
    found = {}
    for change in changes:
        name, equals, value = change.partition("=")
        if not (name := name.strip()) or not equals:
            raise ConfigError(
                _("--set {change!r}: give a name and a value, such as train.epochs=5."), change=change
            )
        try:
            found[name] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            found[name] = value.strip()
    return found
