"""A driver for tests in a real JupyterLab and a real Chromium: one server and one browser, a page per notebook.

    with Lab(folder, chromium) as lab:
        page = lab.open(lab.notebook("a.ipynb", ["1 + 1", "2 + 2"]))
        page.run_cell(0)
        assert page.outputs(0)[0]["data"]["text/plain"] == "2"

The server keeps Jupyter's own defaults and its own token and listens on the loopback address only; its settings,
runtime files and IPython profile live in ``folder``. Waiting is on events of the page, never a fixed sleep.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import nbformat

from labkit.cli.lab import LABEXTENSIONS

#: Seconds that any single wait may take. Generous: it only decides how long a failure takes.
PATIENCE = 120
_CHROMIUM = (
    "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--no-first-run", "--disable-quic",
)  # fmt: skip
_QUIET = {"checkForUpdates": False, "fetchNews": "false", "doNotDisturbMode": True}
_PANEL = "window.jupyterapp.shell.currentWidget"


def until(ready: Callable[[], Any], what: str, patience: float = PATIENCE, pause: float = 0.1) -> Any:
    """Call ``ready`` until it returns something true and return that; TimeoutError says ``what`` never came."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        if value := ready():
            return value
        time.sleep(pause)
    raise TimeoutError(f"waited {patience:.0f} s in vain for {what}")


class Lab:
    """A JupyterLab server over ``folder`` and a Chromium that talks to nothing else.

    Args:
        folder: where the notebooks and the server's own files live; made if missing.
        chromium: path of the browser.
        python: the interpreter whose JupyterLab and kernel are started.
        env: more environment variables for the server and its kernels.
        base: path of the server's address, such as JupyterHub gives each user.
    """

    def __init__(
        self, folder: Path, chromium: str, python: str = sys.executable, env: dict[str, str] | None = None,
        base: str = "/",
    ):  # fmt: skip
        self._base = base
        self.folder = Path(folder).absolute()
        self.folder.mkdir(parents=True, exist_ok=True)
        self._private = self.folder / ".jupyter"
        self._env = self._environment(env or {})
        self._pages = 0
        self._server = self._start(python)
        try:
            self.url, self.token = self._address()
            self._start_browser(chromium)
        except BaseException:
            self._stop_server()
            raise

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def notebook(self, name: str, cells: list[str]) -> Path:
        """Write a notebook of code cells and return its path."""
        book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code) for code in cells])
        book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        path = self.folder / name
        nbformat.write(book, path)
        return path

    def open(self, notebook: Path | str, dark: bool = False, idle: bool = True, seven: bool = False) -> Page:
        """Open a notebook of the folder in a new page of its own and wait until it is there, with ``idle`` also until
        its kernel has nothing to do; with ``seven`` in Notebook 7 instead of JupyterLab, of the same server."""
        self._pages += 1
        name = (self.folder / notebook).relative_to(self.folder).as_posix()
        self._theme(dark)
        context = self.browser.new_context(viewport={"width": 1200, "height": 900})
        page = Page(context.new_page())
        place = "notebooks" if seven else f"lab/workspaces/page{self._pages}/tree"
        page.load(f"{self.url}{place}/{name}?token={self.token}", idle)
        return page

    def launcher(self) -> Page:
        """JupyterLab without a document, which shows its launcher."""
        self._pages += 1
        self._theme(False)
        page = Page(self.browser.new_context(viewport={"width": 1200, "height": 900}).new_page())
        page.page.goto(f"{self.url}lab/workspaces/page{self._pages}?reset&token={self.token}")
        page.page.locator(".jp-Launcher").first.wait_for()
        return page

    def end_kernels(self) -> None:
        """End all kernels of the server."""
        head = {"Authorization": f"token {self.token}"}
        with urlopen(Request(f"{self.url}api/kernels", headers=head), timeout=60) as answer:
            kernels = json.load(answer)
        for kernel in kernels:
            urlopen(
                Request(f"{self.url}api/kernels/{kernel['id']}", headers=head, method="DELETE"), timeout=60
            ).close()

    def close(self) -> None:
        """End the browser, the server and the kernels that the server started."""
        self.browser.close()
        self._playwright.stop()
        self._stop_server()

    # --- server -----------------------------------------------------------------------------------------------

    def _environment(self, extra: dict[str, str]) -> dict[str, str]:
        places = {
            "JUPYTER_CONFIG_DIR": "config", "JUPYTER_RUNTIME_DIR": "runtime", "IPYTHONDIR": "ipython",
            "JUPYTERLAB_SETTINGS_DIR": "settings", "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
        }  # fmt: skip
        here = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")]))
        own = {key: str(self._private / value) for key, value in places.items()}
        for value in own.values():
            Path(value).mkdir(parents=True, exist_ok=True)
        return {**os.environ, **own, "PYTHONPATH": path, **extra}

    def _setting(self, name: str, value: dict[str, Any]) -> None:
        path = (
            self._private / "settings" / "@jupyterlab" / "apputils-extension" / f"{name}.jupyterlab-settings"
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(value))

    def _theme(self, dark: bool) -> None:
        self._setting("themes", {"theme": "JupyterLab Dark" if dark else "JupyterLab Light"})

    def _start(self, python: str) -> subprocess.Popen[bytes]:
        self._setting("notification", _QUIET)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        options = [
            "--JupyterNotebookApp.expose_app_in_browser=True",
            f"--ServerApp.root_dir={self.folder}",
            f"--ServerApp.port={port}",
            f"--ServerApp.base_url={self._base}",
            "--ServerApp.port_retries=0",
            f"--LabApp.extra_labextensions_path={LABEXTENSIONS}",
        ]
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            options.append("--allow-root")
        command = [python, "-m", "jupyterlab", "--no-browser", "--expose-app-in-browser", *options]
        self._log = (self._private / "server.log").open("wb")
        return subprocess.Popen(command, env=self._env, cwd=self.folder, stdout=self._log, stderr=self._log)

    def _address(self) -> tuple[str, str]:
        """The server's address and token, as it notes them for Jupyter's own tools."""
        note = self._private / "runtime" / f"jpserver-{self._server.pid}.json"

        def read() -> dict[str, Any] | None:
            if self._server.poll() is not None:
                raise RuntimeError(f"JupyterLab ended at once:\n{(self._private / 'server.log').read_text()}")
            try:
                return json.loads(note.read_text())
            except (OSError, ValueError):
                return None

        info = until(read, "JupyterLab to start")
        return info["url"], info["token"]

    def _stop_server(self) -> None:
        """Ask the server to end, which ends its kernels too; after half a minute, make it."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            self._server.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._server.wait(30)
                break
        self._log.close()

    def _start_browser(self, path: str) -> None:
        from playwright.sync_api import sync_playwright

        self._playwright = sync_playwright().start()
        try:
            self.browser = self._playwright.chromium.launch(executable_path=path, args=list(_CHROMIUM))
        except BaseException:
            self._playwright.stop()
            raise


class Page:
    """A notebook in a browser page.

    Attributes:
        page: the Playwright page.
        requests: every address the page asked for.
        dialogs: texts of the dialogs that scripts opened (none should).
        errors: uncaught JavaScript errors.
        received, sent: (seconds, bytes) of every websocket frame.
    """

    def __init__(self, page: Any):
        self.page = page
        self.requests: list[str] = []
        self.dialogs: list[str] = []
        self.errors: list[str] = []
        self.received: list[tuple[float, bytes]] = []
        self.sent: list[tuple[float, bytes]] = []
        page.set_default_timeout(PATIENCE * 1000)
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("dialog", self._dialog)
        page.on("websocket", self._websocket)

    def _dialog(self, dialog: Any) -> None:
        if dialog.type != "beforeunload":
            self.dialogs.append(dialog.message)
        dialog.accept()

    def _websocket(self, socket: Any) -> None:
        def keep(frames: list[tuple[float, bytes]], payload: bytes | str) -> None:
            frames.append((time.monotonic(), payload.encode() if isinstance(payload, str) else payload))

        socket.on("framereceived", lambda payload: keep(self.received, payload))
        socket.on("framesent", lambda payload: keep(self.sent, payload))

    # --- page -------------------------------------------------------------------------------------------------

    def load(self, url: str, idle: bool = True) -> None:
        """Go to an address of the server and wait until the notebook is there, with ``idle`` also for its kernel."""
        self.page.goto(url, wait_until="commit")
        self._ready(idle)

    def reload(self) -> None:
        """Reload the page, as a reader would with F5, and wait until the notebook's kernel is idle."""
        self.page.reload(wait_until="commit")
        self._ready()

    def close(self) -> None:
        """Close the page; the kernel goes on."""
        self.page.context.close()

    def _ready(self, idle: bool = True) -> None:
        there = f"window.jupyterapp && {_PANEL}?.context?.isReady && {_PANEL}.content.widgets.length"
        status = f" && {_PANEL}.sessionContext.session?.kernel?.status === 'idle'" if idle else ""
        self.page.wait_for_function(f"() => {there}{status}")

    def far_requests(self) -> list[str]:
        """Addresses asked for that are not on this machine's loopback."""
        near = {"127.0.0.1", "localhost", "::1"}
        found = ((address, urlsplit(address)) for address in self.requests)
        return [address for address, parts in found if parts.scheme in ("http", "https", "ws", "wss")
                and parts.hostname not in near]  # fmt: skip

    def screenshot(self, path: Path | str, selector: str | None = None) -> None:
        """Save a picture of the page, or of the first element that ``selector`` finds."""
        (self.page.locator(selector).first if selector else self.page).screenshot(path=str(path))

    def find(self, selector: str) -> Any:
        """A Playwright locator within the notebook that is shown (others may be open behind it)."""
        return self.page.locator(f".jp-NotebookPanel:not(.lm-mod-hidden) {selector}")

    def wait_for(self, script: str, argument: Any = None) -> Any:
        """Wait until a JavaScript function of one argument returns something true; returns that."""
        return self.page.wait_for_function(script, arg=argument).json_value()

    # --- cells ------------------------------------------------------------------------------------------------

    def run_cell(self, index: int, wait: bool = True) -> None:
        """Run a cell; with ``wait`` until the kernel has answered it."""
        self.page.evaluate(
            f"""async ([index, wait]) => {{
                {_PANEL}.content.deselectAll();
                {_PANEL}.content.activeCellIndex = index;
                const done = window.jupyterapp.commands.execute('notebook:run-cell');
                if (wait) await done;
            }}""",
            [index, wait],
        )

    def run_all(self) -> None:
        """Run all cells and wait for the last one's answer."""
        self.page.evaluate(
            "async () => { await window.jupyterapp.commands.execute('notebook:run-all-cells') }"
        )

    def wait_idle(self) -> None:
        """Wait until no cell runs and the kernel has nothing to do."""
        self.page.wait_for_function(
            f"() => {_PANEL}.sessionContext.session?.kernel?.status === 'idle'"
            f" && {_PANEL}.content.widgets.every((cell) => cell.model.executionState !== 'running')"
        )

    def status(self) -> str:
        """The kernel's status now: idle, busy, …"""
        return self.page.evaluate(f"() => {_PANEL}.sessionContext.session?.kernel?.status")

    def execute(self, code: str) -> Any:
        """Run code in the kernel outside any cell, as a cell would be; returns the value that it leaves in ``answer``
        (anything that JSON can carry)."""
        code += "\nimport json as _json; print('\\x02' + _json.dumps(answer) + '\\x03')"
        text = self.page.evaluate(
            f"""async (code) => {{
                const future = {_PANEL}.sessionContext.session.kernel.requestExecute({{code, store_history: false}});
                let text = '';
                future.onIOPub = (message) => {{
                    if (message.header.msg_type === 'stream') text += message.content.text;
                    if (message.header.msg_type === 'error') text += message.content.traceback.join('\\n');
                }};
                await future.done;
                return text;
            }}""",
            code,
        )
        if "\x02" not in text:
            raise RuntimeError(text)
        return json.loads(text.split("\x02")[1].split("\x03")[0])

    def outputs(self, index: int) -> list[dict[str, Any]]:
        """The outputs of a cell as the page would save them."""
        return self.page.evaluate(f"(i) => {_PANEL}.content.model.cells.get(i).outputs.toJSON()", index)

    def text(self, index: int) -> str:
        """What a cell printed and its plain-text results, joined."""
        parts = (out.get("text") or out.get("data", {}).get("text/plain", "") for out in self.outputs(index))
        return "".join("".join(part) for part in parts)

    def save(self) -> Path:
        """Save the notebook; returns its path relative to the server's folder."""
        self.page.evaluate(f"async () => {{ await {_PANEL}.context.save() }}")
        return Path(self.page.evaluate(f"() => {_PANEL}.context.path"))
