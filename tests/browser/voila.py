"""`labkit app` for tests: served, and open in a page."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from .jupyter import PATIENCE, until


@contextlib.contextmanager
def app(folder: Path, browser: Any) -> Iterator[tuple[Any, list[str]]]:
    """The bench in ``folder``, served: a page of a Playwright browser, and the addresses it asked for that are not
    here, once it is closed."""
    log = folder / "server.log"
    command = [sys.executable, "-m", "labkit", "app", str(folder), "--no-browser"]
    with log.open("wb") as out:
        server = subprocess.Popen(
            command, stdout=out, stderr=out, env={**os.environ, "LABKIT_LANGUAGE": "en"}
        )
    try:
        pattern = r"http://127\.0\.0\.1:\d+/\?token=\w+"
        address = until(lambda: re.search(pattern, log.read_text()), "the address of the app")[0]
        page, far = browser.new_context(viewport={"width": 1200, "height": 900}).new_page(), list[str]()
        page.set_default_timeout(PATIENCE * 1000)
        page.on("request", lambda request: far.append(request.url))
        page.goto(address)
        page.locator(".labkit-bench").first.wait_for()
        yield page, far
        far[:] = [url for url in far if urlsplit(url).hostname not in ("127.0.0.1", "localhost", None)]
        page.context.close()
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(60)
