"""`labkit docs`: the documentation as web pages with a search, built offline and served on this machine only."""

from __future__ import annotations

import contextlib
import signal
import tempfile
import threading
import webbrowser
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Annotated

import typer

from labkit.cli.options import say
from labkit.core.errors import LabkitError, os_reason
from labkit.i18n import _

#: The browser may load nothing that this server does not send.
_POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; base-uri 'none'"


def docs(
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Write the pages into this folder instead of serving them."),
    ] = None,
    port: Annotated[int, typer.Option(help="Port to listen on; 0: a free one.", min=0, max=65535)] = 0,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open the pages in a browser.")
    ] = True,
) -> None:
    """Show the documentation: guides and reference with a search, on this machine only, without a network."""
    if out is None:
        show(port, browser)
        return
    from labkit.cli.docs_pages import write_site

    write_site(out.expanduser())
    say(out / "index.html")


@contextlib.contextmanager
def served(folder: Path, port: int = 0) -> Iterator[str]:
    """Serve a written site on the loopback address; gives its address.

    Raises:
        LabkitError: the port cannot be used.
    """
    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), partial(_Handler, directory=str(folder)))
    except OSError as error:
        raise LabkitError(
            _("cannot listen on {host}:{port}: {error}. Choose another port; 0 selects a free one."),
            host="127.0.0.1", port=port, error=os_reason(error),
        ) from error  # fmt: skip
    thread = threading.Thread(target=server.serve_forever, name="labkit-docs", daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/index.html"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def show(port: int, browser: bool) -> None:
    """Build the site into a temporary folder, serve it, and open it in a browser, until Ctrl-C."""
    from labkit.cli.docs_pages import write_site

    with tempfile.TemporaryDirectory(prefix="labkit-docs-") as place:
        write_site(Path(place))
        with served(Path(place), port) as address:
            say(f"{address}\nCtrl-C ends it.", err=True)
            if browser:
                webbrowser.open(address)
            with contextlib.suppress(KeyboardInterrupt):
                _until_signal()


def _until_signal() -> None:
    """Wait for SIGTERM; Ctrl-C raises KeyboardInterrupt."""
    over = threading.Event()
    before = signal.signal(signal.SIGTERM, lambda *_: over.set())
    try:
        while not over.wait(0.5):
            pass
    finally:
        signal.signal(signal.SIGTERM, before)


class _Handler(SimpleHTTPRequestHandler):
    """Files of the site, with a policy that forbids the browser to load anything else."""

    def end_headers(self) -> None:
        self.send_header("Content-Security-Policy", _POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass
