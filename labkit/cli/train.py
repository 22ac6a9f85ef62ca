"""`labkit train`: train an experiment file, or resume a run."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from labkit.cli.options import Changes, Folder, say
from labkit.core.errors import ConfigError
from labkit.i18n import _

if TYPE_CHECKING:
    from labkit.tasks.scenario import Scenario


def train(
    experiment: Annotated[
        Path | None, typer.Argument(help="Experiment file (TOML), as written by `run.toml()`.")
    ] = None,
    resume: Annotated[str | None, typer.Option(metavar="RUN", help="Resume this run instead.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the run.")] = None,
    changes: Changes = None,
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


def parsed(changes: list[str], option: str = "--set", example: str = "train.epochs=5") -> dict[str, Any]:
    """``["train.epochs=5"]`` → ``{"train.epochs": 5}``; a value that is not TOML is a text."""
    found = {}
    for change in changes:
        name, equals, value = change.partition("=")
        if not (name := name.strip()) or not equals:
            raise ConfigError(
                _("{option} {change!r}: give a name and a value, such as {example}."), option=option, change=change,
                example=example,
            )  # fmt: skip
        try:
            found[name] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            found[name] = value.strip()
    return found


def scenario_from(given: Sequence[str] | None) -> Scenario | None:
    """The scenario of options such as ``positive=spam`` and ``mistakes.spam.ham=5``; None without any."""
    values: dict[str, Any] = {}
    for name, value in parsed(list(given or ()), "--scenario", "positive=spam").items():
        place = values
        *tables, last = name.split(".")
        for table in tables:
            place = place.setdefault(table, {})
        place[last] = value
    if not values:
        return None
    from labkit.tasks.scenario import Scenario

    return Scenario.from_dict(values, "scenario")
