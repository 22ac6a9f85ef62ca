"""`labkit challenge`: retrain with new rows, and compare on new rows that neither model has seen."""

from __future__ import annotations

from typing import Annotated

import typer

from labkit.cli.options import Changes, Folder, RunName, ScenarioOptions, say
from labkit.cli.train import parsed, scenario_from


def challenge(
    run: RunName,
    rows: Annotated[
        str, typer.Argument(metavar="DATA", help="New rows with labels: a file, folder or sample.")
    ],
    challenger: Annotated[
        str | None, typer.Option(metavar="RUN", help="Compare with this run instead of training one.")
    ] = None,
    test: Annotated[float, typer.Option(help="Share of the new rows that stays untouched.")] = 0.5,
    margin: Annotated[float, typer.Option(help="Gain that the challenger must have.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Seed of the split of the new rows.")] = 0,
    name: Annotated[str, typer.Option(help="Name of the new run.")] = "",
    warm_start: Annotated[
        bool, typer.Option("--warm-start", help="Start training from the weights of the champion.")
    ] = False,
    scenario: ScenarioOptions = None,
    changes: Changes = None,
    folder: Folder = None,
) -> None:
    """Retrain a run with new rows and compare both models on untouched new rows: replace the champion, or keep it.
    The first line of the output is the verdict."""
    from labkit import api as front

    opened = front.open_run(run, folder)
    other = None if challenger is None else front.open_run(challenger, folder)
    say(
        opened.challenge(
            rows, other, test=test, margin=margin, seed=seed, name=name, scenario=scenario_from(scenario),
            warm_start=warm_start, changes=parsed(changes or []),
        )
    )  # fmt: skip
