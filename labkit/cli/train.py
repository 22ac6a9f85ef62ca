"""`labkit train`: train an experiment file, or resume a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

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
    folder: Folder = None,
) -> None:
    """Train in this terminal. Ctrl-C stops after the current step and saves the model."""
    if (experiment is None) == (resume is None):
        raise ConfigError(_("give either an experiment file or --resume RUN: labkit train experiment.toml"))
    from labkit import api as front

    run = front.train(experiment, resume=resume, name=name, folder=folder)
    say(f"{run}\nlabkit predict {run.id} 'some text'")
