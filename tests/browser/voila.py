"""`labkit app` and a Chromium that talks to nothing else."""

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

from .jupyter import _CHROMIUM, PATIENCE, until


@contextlib.contextmanager
def app(folder: Path, chromium: str) -> Iterator[tuple[Any, list[str]]]:
    """The bench in ``folder``, served: the Playwright page, and the addresses it asked for that are not here."""
    from playwright.sync_api import sync_playwright

    log = folder / "server.log"
    command = [sys.executable, "-m", "labkit", "app", str(folder), "--no-browser"]
    with log.open("wb") as out:
        server = subprocess.Popen(command, stdout=out, stderr=out, env={**os.environ, "LABKIT_LANGUAGE": "en"})
    try:
        pattern = r"http://127\.0\.0\.1:\d+/\?token=\w+"
        address = until(lambda: re.search(pattern, log.read_text()), "the address of the app")[0]
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=list(_CHROMIUM))
            page, far = browser.new_page(viewport={"width": 1200, "height": 900}), list[str]()
            page.set_default_timeout(PATIENCE * 1000)
            page.on("request", lambda request: far.append(request.url))
            page.goto(address)
            page.locator(".labkit-bench").first.wait_for()
            yield page, far
            near = {"127.0.0.1", "localhost", None}
            far[:] = [url for url in far if urlsplit(url).hostname not in near]
            browser.close()
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(60)
