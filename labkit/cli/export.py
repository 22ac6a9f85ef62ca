"""`labkit export`: the model of a run as a folder for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from labkit.cli.options import Folder, RunName, say


def export(
    run: RunName,
    out: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new folder for the model.")],
    onnx: Annotated[bool, typer.Option("--onnx", help="Also as ONNX, checked on 100 rows.")] = False,
    int8: Annotated[
        bool, typer.Option("--int8", help="Also as ONNX with weights of 8 bits, scored on the test rows.")
    ] = False,
    stablehlo: Annotated[
        bool, typer.Option("--stablehlo", help="Also as StableHLO, for serving with JAX.")
    ] = False,
    page: Annotated[
        bool, typer.Option("--page", help="Also as a page that answers in a browser without a network.")
    ] = False,
    web: Annotated[
        str,
        typer.Option(help="Folder or .tgz of the npm package onnxruntime-web for --page (default: by npm)."),
    ] = "",
    folder: Folder = None,
) -> None:
    """Export the model of a run to a folder that other programs read."""
    from labkit import api as front

    opened = front.open_run(run, folder)
    say(opened.export(out, onnx=onnx, int8=int8, stablehlo=stablehlo, page=page, web=web))
