"""`labkit prune`: a trained BERT without its least important attention heads and units."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from labkit.cli.options import Folder, RunName, say


def prune(
    run: RunName,
    out: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new folder for the model.")],
    heads: Annotated[float, typer.Option(help="Share of the attention heads that is removed.")] = 0.25,
    units: Annotated[float, typer.Option(help="Share of the feed-forward units that is removed.")] = 0.25,
    folder: Folder = None,
) -> None:
    """Save the model of a run without its least important heads and units, and compare both. `labkit predict FOLDER`
    uses it."""
    from labkit import api as front
    from labkit.evaluate.judge import judge
    from labkit.smaller import prune as smaller

    opened = front.open_run(run, folder)
    small = smaller(opened, heads, units)
    table = judge({"model": opened, "pruned": small}, opened.rows)
    say(f"{small.save(out)}\n\n{table.to_string(na_rep='', float_format='{:.4g}'.format)}")
