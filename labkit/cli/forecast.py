"""`labkit forecast`: the next steps of time series, as CSV."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from labkit.cli.options import Folder, Plugins, say
from labkit.core.cache import write_atomic
from labkit.core.errors import ConfigError, LabkitError, os_reason
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

    if out is not None and out.suffix.lower() != ".csv":
        raise ConfigError(_("--out {out}: forecasts are written as .csv."), out=out)
    if (Path(model) / "labkit.toml").exists():
        if file is None:
            raise ConfigError(_("an exported model has no rows: give the past of the series with --file."))
        frame = ForecastPipeline(model, plugins=plugin or ()).forecast(file)
    else:
        frame = front.open_run(model, folder).forecast(file)
    content = csv_of(frame)
    if out is None:
        say(content.decode("utf-8-sig").replace("\r\n", "\n"), nl=False)
        return
    try:
        write_atomic(out, content)
    except OSError as error:
        raise LabkitError(
            _("cannot write {out!r}: {reason}."), out=str(out), reason=os_reason(error)
        ) from error
    say(f"{len(frame)} rows in {out}", err=True)
