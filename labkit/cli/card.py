"""`labkit card`: the model card of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from labkit.cli.options import Folder, Positive, RunName, say


def card(
    run: RunName,
    intended_use: Annotated[str, typer.Option(help="Which decision the model serves, and who uses it.")] = "",
    out_of_scope: Annotated[str, typer.Option(help="What it must not be used for.")] = "",
    limits: Annotated[str, typer.Option(help="What else is known to go wrong.")] = "",
    licence: Annotated[str, typer.Option(help="Licence of the model, such as apache-2.0.")] = "",
    group: Annotated[list[str] | None, typer.Option(help="Column of groups; may be repeated.")] = None,
    positive: Positive = None,
    language: Annotated[str, typer.Option(help="Language of the card: en or zh.")] = "en",
    export: Annotated[
        Path | None, typer.Option(help="Export the model with its card to this new folder.")
    ] = None,
    folder: Folder = None,
) -> None:
    """Print the model card of a run as Markdown, or export the model with it."""
    from labkit import api as front

    opened = front.open_run(run, folder)
    made = opened.card(
        intended_use=intended_use, out_of_scope=out_of_scope, limits=limits, groups=group or (), positive=positive,
        licence=licence, language=language,
    )  # fmt: skip
    if export is None:
        say(made)
    else:
        say(opened.export(export, made))
