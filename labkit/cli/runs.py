"""`labkit runs`: list, show and control runs."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from labkit.cli.options import AsJson, Folder, RunName, say
from labkit.core.text import one_line, printed

#: Columns of the list that are cut at a width, and those that a narrow terminal does without, in this order.
LONGEST, DROPPED = {"name": 24, "model": 22, "data": 22}, ("data", "model", "age", "score")

if TYPE_CHECKING:
    from labkit.runs.handle import RunHandle

runs_app = typer.Typer(help="List, show and control runs.")


@runs_app.callback(invoke_without_command=True)
def _runs(
    ctx: typer.Context,
    as_json: AsJson = False,
    every: Annotated[
        bool, typer.Option("--all", help="Also print all scores and differing settings.")
    ] = False,
    folder: Folder = None,
) -> None:
    """List the runs of a lab folder, newest first."""
    if ctx.invoked_subcommand is not None:
        ctx.obj = folder
        return
    from labkit import api as front

    if not as_json:  # the table names them
        logging.getLogger("labkit.store").setLevel(logging.ERROR)
    found = front.runs(folder)
    if as_json:
        say(found.to_pandas().to_json(orient="records", indent=1))
    elif every:
        say(found.to_pandas().to_string(index=False, na_rep=""))
    elif sys.stdout.isatty():
        print_table(found)
    else:
        say(repr(found))


def print_table(found: Any) -> None:
    """The runs in the width of the terminal, failed and lost ones in red."""
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    lines = [{column: one_line(text) for column, text in line.items()} for line in found.overview()]
    console = Console()
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    widths = {column: max(cell_len(line[column]) for line in lines) for column in lines[0]} if lines else {}
    widths = {
        column: min(max(width, len(column)), LONGEST.get(column, width)) for column, width in widths.items()
    }
    for column in DROPPED:
        if sum(widths.values()) + 2 * len(widths) > console.width:
            widths.pop(column, None)
    for column, width in widths.items():
        fixed = {} if column == "name" else {"min_width": width}
        table.add_column(column, overflow="ellipsis", no_wrap=True, max_width=width, **fixed)
    for line in lines:
        style = "red" if line["status"].startswith(("failed", "lost")) else ""
        table.add_row(*(Text(line[column], style=style) for column in widths))
    console.print(table if lines else "no runs yet")
    for note in found.notes:
        say(note)


@runs_app.command()
def rm(
    ctx: typer.Context,
    runs: Annotated[list[str], typer.Argument(metavar="RUN...", help="Run ids or names.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    folder: Folder = None,
) -> None:
    """Delete runs with their checkpoints, models and rows."""
    from labkit import api as front

    found = [front.open_run(run, folder=folder or ctx.obj) for run in runs]
    for run in found:
        label = f"{run.name} ({run.id})"
        if yes or typer.confirm(printed(f"Delete {label}, {run.status}?")):
            run.delete()
            say(f"{label} deleted")


@runs_app.command()
def show(
    ctx: typer.Context,
    run: RunName,
    toml: Annotated[
        bool, typer.Option("--toml", help="Print only the experiment file, for `labkit train`.")
    ] = False,
    folder: Folder = None,
) -> None:
    """Show the status, latest metrics and configuration of a run."""
    from labkit import api as front

    found = front.open_run(run, folder=folder or ctx.obj)
    if toml:
        say(found.toml(), nl=False)
        return
    info = found.info
    warned = "".join(f"\n{text}" for text in info.summary.get("warnings", ()))
    problem = f"{warned}\n{info.error} {info.cure}".rstrip()
    history = found.history.tail(10).to_string(index=False, na_rep="")
    say(f"{found} ({found.id}){problem}\n\n{history}\n\n{found.toml()}", nl=False)


@runs_app.command()
def audit(
    ctx: typer.Context,
    run: RunName,
    split: Annotated[str, typer.Option(help="Rows that were not trained on.")] = "test",
    references: Annotated[int, typer.Option(help="Number of reference runs, for a stronger attack.")] = 0,
    as_json: AsJson = False,
    folder: Folder = None,
) -> None:
    """Audit a run by membership inference: can its training rows be distinguished from others?"""
    from labkit import api as front

    report = front.open_run(run, folder=folder or ctx.obj).audit(split, references=references)
    say(json.dumps(report.to_dict(), indent=1) if as_json else str(report))


@runs_app.command("export")
def export_metrics(
    ctx: typer.Context,
    run: RunName,
    to: Annotated[str, typer.Option(help="csv, tensorboard, mlflow, trackio or wandb.")] = "csv",
    target: Annotated[
        str,
        typer.Option(
            help="CSV file, log folder of TensorBoard, tracking URI of MLflow, project of Trackio, or folder for W&B."
        ),
    ] = "",
    follow: Annotated[bool, typer.Option("--follow", help="Keep copying until the run is over.")] = False,
    folder: Folder = None,
) -> None:
    """Copy the metrics of a run for another tool."""
    from labkit import api as front

    copy = front.open_run(run, folder=folder or ctx.obj).export_metrics(to, target, follow=follow)
    if follow:
        say(copy.place, err=True)
    copy.wait()
    say(f"{copy.count:,} values: {copy.place}")


@runs_app.command("import")
def import_metrics(
    ctx: typer.Context,
    source: Annotated[str, typer.Argument(help="csv, tensorboard, mlflow, trackio or wandb.")],
    target: Annotated[str, typer.Argument(help="Where the runs are, as for export.")] = "",
    folder: Folder = None,
) -> None:
    """Enter the runs of another tool, to compare their curves."""
    from labkit import api as front

    found = front.import_runs(source, target, folder=folder or ctx.obj)
    say("\n".join(f"{run.name} ({run.id})" for run in found) or "no runs")


@runs_app.command()
def stop(ctx: typer.Context, run: RunName, folder: Folder = None) -> None:
    """Stop a run before its next step; the model is saved."""
    _steer(run, folder or ctx.obj, lambda found: found.stop(), "will stop before its next step")


@runs_app.command()
def pause(ctx: typer.Context, run: RunName, folder: Folder = None) -> None:
    """Pause a run before its next step."""
    _steer(run, folder or ctx.obj, lambda found: found.pause(), "will pause before its next step")


@runs_app.command()
def resume(ctx: typer.Context, run: RunName, folder: Folder = None) -> None:
    """Resume a paused run; a stopped, failed or lost run is resumed in a new process."""

    def go_on(found: RunHandle) -> None:
        if found.info.over:
            found.start(detach=True)  # a thread of this command would end with it
        else:
            found.resume()

    _steer(run, folder or ctx.obj, go_on, "resumes")


def _steer(name: str, folder: Path | None, act: Callable[[Any], Any], told: str) -> None:
    from labkit import api as front

    found = front.open_run(name, folder=folder)
    act(found)
    say(f"{found.name} ({found.id}) {told}")
