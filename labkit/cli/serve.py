"""`labkit serve`: predictions over HTTP."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from typing import Annotated

import typer

from labkit.cli.options import Folder, Plugins, say


def serve(
    model: Annotated[
        str,
        typer.Argument(metavar="RUN_OR_FOLDER", help="Run id or name, or a folder with an exported model."),
    ],
    host: Annotated[
        str, typer.Option(help="Address to listen on; the default accepts only local connections.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0: any free port.", min=0, max=65535)] = 8000,
    rate: Annotated[float, typer.Option(help="Maximum requests per second and client.")] = 10.0,
    host_name: Annotated[
        list[str] | None, typer.Option(help="Additional accepted host name; may be repeated.")
    ] = None,
    examples: Annotated[int, typer.Option(help="Maximum examples per request.", min=1)] = 64,
    characters: Annotated[int, typer.Option(help="Maximum characters per text.", min=1)] = 10_000,
    patience: Annotated[
        float,
        typer.Option(
            help="Timeout in seconds for reading a request, for predicting, and for sending the response."
        ),
    ] = 10.0,
    connections: Annotated[int, typer.Option(help="Maximum simultaneous connections.", min=1)] = 400,
    folder: Folder = None,
    plugin: Plugins = None,
) -> None:
    """Serve a model over HTTP: POST /predict. Clients authenticate with the token from LABKIT_TOKEN, or a new
    one."""
    from labkit import api as front

    with (
        _until_sigterm(),
        front.serve(
            model,
            host=host,
            port=port,
            token=os.environ.get("LABKIT_TOKEN", ""),
            rate=rate,
            hosts=host_name or (),
            examples=examples,
            characters=characters,
            patience=patience,
            connections=connections,
            folder=folder,
            plugins=plugin or (),
        ) as served,
    ):
        say(f"{served.url}/predict\ntoken {served.token}\nCtrl-C ends it.", err=True)
        served.wait()


@contextlib.contextmanager
def _until_sigterm() -> Iterator[None]:
    """SIGTERM leaves the block as its end would, with exit code 0; further ones change nothing."""

    def leave(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise SystemExit(0)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
