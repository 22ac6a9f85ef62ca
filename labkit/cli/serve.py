"""`labkit serve`: predictions over HTTP."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from labkit.cli.options import Folder, Plugins, say
from labkit.core.errors import ConfigError, LabkitError
from labkit.i18n import _

if TYPE_CHECKING:
    from labkit.inference.server import Endpoint


def serve(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN_OR_FOLDER...",
            help="Run id or name, or a folder with an exported model; several as NAME=RUN_OR_FOLDER.",
        ),
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
    batch: Annotated[
        int, typer.Option(help="Maximum examples of concurrent requests that are predicted together.", min=1)
    ] = 32,
    drain: Annotated[
        float,
        typer.Option(
            help="Seconds for which a closing endpoint accepts requests while /health/ready is 503.", min=0
        ),
    ] = 0.0,
    drift: Annotated[
        bool, typer.Option("--drift", help="Test every 100 examples against the training rows of the run.")
    ] = False,
    drift_rows: Annotated[
        str | None,
        typer.Option(help="File of the training rows of an exported model, for the test of --drift."),
    ] = None,
    folder: Folder = None,
    plugin: Plugins = None,
) -> None:
    """Serve models over HTTP: POST /predict. Clients authenticate with the token from LABKIT_TOKEN, or a new
    one. SIGHUP loads the models again; SIGTERM ends it after the requests in work."""
    from labkit import api as front

    with (
        _until_sigterm(),
        front.serve(
            _by_name(models),
            host=host,
            port=port,
            token=os.environ.get("LABKIT_TOKEN", ""),
            rate=rate,
            hosts=host_name or (),
            examples=examples,
            characters=characters,
            patience=patience,
            connections=connections,
            batch=batch,
            drain=drain,
            drift=drift_rows or drift,
            folder=folder,
            plugins=plugin or (),
        ) as served,
    ):
        _reload_on_sighup(served)
        say(f"{served.url}/predict\ntoken {served.token}\nCtrl-C ends it.", err=True)
        served.wait()


def _by_name(given: list[str]) -> str | dict[str, str]:
    """The models of the arguments: one, or several by name."""
    if len(given) == 1 and "=" not in given[0]:
        return given[0]
    pairs = [entry.partition("=") for entry in given]
    found = {name: source for name, _equals, source in pairs}
    if len(found) < len(given) or not all(found.values()):
        raise ConfigError(_("give several models as NAME=RUN_OR_FOLDER, with names that differ."))
    return found


def _reload_on_sighup(served: Endpoint) -> None:
    """Load the models again on SIGHUP, in a thread, as loading takes a while; Windows has no such signal."""

    def reload() -> None:
        try:
            served.reload()
        except LabkitError as error:
            say(error, err=True)
        else:
            say("models loaded again", err=True)

    def on_signal(*_unused: object) -> None:
        threading.Thread(target=reload, name="labkit reload", daemon=True).start()

    if os.name == "posix":
        signal.signal(signal.SIGHUP, on_signal)


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
