"""`labkit recommend`: the items that a user may choose next, as CSV."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from labkit.cli.options import Folder, Plugins, check_csv, output_csv
from labkit.core.errors import ConfigError
from labkit.i18n import _


def recommend(
    model: Annotated[
        str,
        typer.Argument(metavar="RUN_OR_FOLDER", help="Run id or name, or a folder with an exported model."),
    ],
    item: Annotated[
        list[str] | None,
        typer.Option(help="An item by name or title, in the order of time; may be repeated."),
    ] = None,
    user: Annotated[
        list[str] | None, typer.Option(help="A user of the rows of the run; may be repeated.")
    ] = None,
    count: Annotated[int, typer.Option(help="Number of recommendations.", min=1)] = 10,
    seen: Annotated[bool, typer.Option(help="Also recommend what was chosen before.")] = False,
    out: Annotated[Path | None, typer.Option(help="Output file, .csv (default: standard output).")] = None,
    folder: Folder = None,
    plugin: Plugins = None,
) -> None:
    """Recommend what comes next after some items, or to users of the rows of a run: a line for each recommendation,
    the best first."""
    if bool(item) == bool(user):
        raise ConfigError(
            _("give either --item or --user: labkit recommend RUN --item Heat, labkit recommend RUN --user 7")
        )
    check_csv(out)
    from labkit import api as front
    from labkit.inference.answer_files import csv_of
    from labkit.inference.recommending import RecommendPipeline
    from labkit.inference.registry import pipeline_of

    exported = (Path(model) / "labkit.toml").exists()
    if exported and user:
        raise ConfigError(_("an exported model has no rows: give the items of the user with --item."))
    if exported:
        frame = RecommendPipeline(model, plugins=plugin or ()).recommend(item or [], count, seen)
    else:
        run = front.open_run(model, folder)
        tool = pipeline_of(run, RecommendPipeline)
        frame = (
            tool.recommend(item, count, seen) if item else tool.for_users(run.rows, user or [], count, seen)
        )
    output_csv(out, csv_of(frame), len(frame))
