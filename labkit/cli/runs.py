"""`labkit runs`: list, show and control runs."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from labkit.cli.options import AsJson, Folder, RunName, say

if TYPE_CHECKING:
    from labkit.runs.handle import Run

runs_app = typer.Typer(help="List, show and control runs.")


@runs_app.callback(invoke_without_command=True)
def _runs(ctx: typer.Context, as_json: AsJson = False, folder: Folder = None) -> None:
    """List the runs of a lab folder, newest first."""
    if ctx.invoked_subcommand is not None:
        ctx.obj = folder
        return
    from labkit import api as front

    if not as_json:  # the table names them
        logging.getLogger("labkit.store").setLevel(logging.ERROR)
    found = front.runs(folder)
    say(found.to_pandas().to_json(orient="records", indent=1) if as_json else repr(found))


@runs_app.command()
def show(
    ctx: typer.Context,
    run: RunName,
    toml: Annotated[bool, typer.Option("--toml", help="Print only the experiment file, for `labkit train`.")] = False,
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

    def go_on(found: Run) -> None:
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
