"""`labkit diagnostics`: AUROC, sensitivity and net benefit of a run."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from labkit.cli.options import AsJson, Folder, Positive, RunName, say


def diagnostics(
    run: RunName,
    split: Annotated[str, typer.Option(help="Rows that are evaluated.")] = "test",
    positive: Positive = None,
    specificity: Annotated[
        float, typer.Option(min=0, max=1, help="Specificity at which the sensitivity is given.")
    ] = 0.95,
    as_json: AsJson = False,
    folder: Folder = None,
) -> None:
    """Evaluate the probability of one class: AUROC, average precision, Brier score, sensitivity at a specificity with
    intervals, and net benefit by threshold, of a run and its baselines."""
    from labkit import api as front

    found = front.open_run(run, folder).diagnostics(split, positive, specificity)
    say(json.dumps(found.to_dict(), indent=1, ensure_ascii=False) if as_json else found)
