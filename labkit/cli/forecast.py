"""`labkit forecast`: the next steps of time series, as CSV."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from labkit.cli.options import Folder, Plugins, check_csv, output_csv
from labkit.core.errors import ConfigError
from labkit.i18n import _


def forecast(
    model: Annotated[
        str,
        typer.Argument(metavar="RUN_OR_FOLDER", help="Run id or name, or a folder with an exported model."),
    ],
    file: Annotated[
        str | None,
        typer.Option(help="Table with the past of the series (default: the rows of the run)."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Output file, .csv (default: standard output).")] = None,
    folder: Folder = None,
    plugin: Plugins = None,
) -> None:
    """Forecast the steps after the end of every series: a line for each series, step and value column, with a column
    for each quantile."""
    from labkit import api as front
    from labkit.inference.answer_files import csv_of
    from labkit.inference.forecasting import ForecastPipeline

    check_csv(out)
    if (Path(model) / "labkit.toml").exists():
        if file is None:
            raise ConfigError(_("an exported model has no rows: give the past of the series with --file."))
        frame = ForecastPipeline(model, plugins=plugin or ()).forecast(file)
    else:
        frame = front.open_run(model, folder).forecast(file)
    output_csv(out, csv_of(frame), len(frame))
