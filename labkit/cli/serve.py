"""`labkit serve`: predictions over HTTP."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from typing import Annotated

import typer

from labkit.cli.options import Folder, say


def serve(
    model: Annotated[str, typer.Argument(metavar="RUN_OR_FOLDER", help="A run, or a folder it was exported to.")],
    host: Annotated[
        str, typer.Option(help="Address to listen on; the default is for this machine alone.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0: a free one.", min=0, max=65535)] = 8000,
    rate: Annotated[float, typer.Option(help="Requests a second of a client, at most.")] = 10.0,
    host_name: Annotated[
        list[str] | None, typer.Option(help="A further name that clients may call this endpoint by; may be repeated.")
    ] = None,
    examples: Annotated[int, typer.Option(help="Examples in a request, at most.", min=1)] = 64,
    characters: Annotated[int, typer.Option(help="Characters of a text, at most.", min=1)] = 10_000,
    patience: Annotated[
        float, typer.Option(help="Seconds for reading a request in all, for predicting, and for sending the answer.")
    ] = 10.0,
    connections: Annotated[int, typer.Option(help="Connections at a time, at most.", min=1)] = 400,
    folder: Folder = None,
) -> None:
    """Answer over HTTP with a classifier: POST /predict. Clients show the token, that of LABKIT_TOKEN or a new one."""
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
