"""`labkit cost`: the expected cost of a model's decisions."""

from __future__ import annotations

from typing import Annotated

import typer

from labkit.cli.options import Folder, RunName, ScenarioOptions, say
from labkit.cli.train import scenario_from
from labkit.core.errors import ConfigError
from labkit.i18n import _


def cost(
    run: RunName,
    scenario: ScenarioOptions = None,
    split: Annotated[str, typer.Option(help="Rows that the cost is measured on.")] = "test",
    baselines: Annotated[bool, typer.Option(help="Compare with baselines.")] = True,
    folder: Folder = None,
) -> None:
    """Expected cost a day of the decisions of a run, with interval, by the threshold of the least cost on its
    validation rows, against other ways to decide."""
    from labkit import api as front

    report = front.open_run(run, folder).evaluate(split, baselines, scenario_from(scenario))
    if report.decision is None:
        raise ConfigError(
            _("run {run!r} has no scenario: give --scenario NAME=VALUE, such as --scenario positive=spam."),
            run=run,
        )
    say(report.decision)
