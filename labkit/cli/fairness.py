"""`labkit fairness`: a run compared by groups of rows."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from labkit.cli.options import AsJson, Folder, Positive, RunName, say


def fairness(
    run: RunName,
    columns: Annotated[
        list[str], typer.Argument(metavar="COLUMN...", help="Columns of groups; several: intersections.")
    ],
    split: Annotated[str, typer.Option(help="Rows that are compared.")] = "test",
    positive: Positive = None,
    min_rows: Annotated[
        int, typer.Option(min=0, help="Rows below which a group is no part of the gaps.")
    ] = 0,
    as_json: AsJson = False,
    folder: Folder = None,
) -> None:
    """Compare groups of rows: selection rate, true and false positive rate, PPV and accuracy with intervals, and the
    gaps between groups."""
    from labkit import api as front

    found = front.open_run(run, folder).fairness(columns, split, positive, min_rows)
    say(json.dumps(found.to_dict(), indent=1, ensure_ascii=False) if as_json else found)
