"""`labkit quantize`: a trained model with weights of 8 or 4 bits."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from labkit.cli.options import Folder, RunName, say


def quantize(
    run: RunName,
    out: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new folder for the model.")],
    bits: Annotated[int, typer.Option(help="Bits of a weight: 8 or 4.")] = 8,
    folder: Folder = None,
) -> None:
    """Save the model of a run with weights of 8 or 4 bits, and compare both. `labkit predict FOLDER` uses it."""
    from labkit import api as front
    from labkit.evaluate.judge import judge
    from labkit.smaller import quantize as smaller

    opened = front.open_run(run, folder)
    small = smaller(opened, bits)
    table = judge({"model": opened, f"int{bits}": small}, opened.rows)
    say(f"{small.save(out)}\n\n{table.to_string(na_rep='', float_format='{:.4g}'.format)}")
