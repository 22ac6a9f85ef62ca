"""`labkit samples`: the named data sets and models."""

from __future__ import annotations

from typing import Annotated

import typer

from labkit.cli.options import say

samples_app = typer.Typer(help="List, download and verify sample data sets and models.")
SampleNames = Annotated[list[str], typer.Argument(metavar="NAME...", help="Names of samples.")]


@samples_app.callback(invoke_without_command=True)
def _samples(ctx: typer.Context) -> None:
    if ctx.invoked_subcommand is None:
        samples_list()


@samples_app.command("list")
def samples_list() -> None:
    """List the samples with licence, source and whether they are downloaded."""
    from labkit.hub.samples import SAMPLES

    say(repr(SAMPLES))


@samples_app.command("fetch")
def samples_fetch(names: SampleNames) -> None:
    """Download samples into the cache for offline use."""
    from labkit.hub.samples import folder

    for name in names:
        say(f"{name}: {folder(name)}")


@samples_app.command("verify")
def samples_verify(names: SampleNames) -> None:
    """Verify the checksums of sample files; damaged files are downloaded again."""
    from labkit.hub.samples import verify

    for name in names:
        damaged = verify(name)
        say(f"{name}: {'damaged, downloaded again: ' + ', '.join(damaged) if damaged else 'ok'}")
