"""A download link that works in JupyterLab, Notebook, Voilà and VS Code."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from labkit.app.widgets.controls import hear_while_busy

_HERE = Path(__file__).parent
#: Bytes of a message to the page.
PART = 1 << 18
#: Environment variable that ``labkit app`` sets: its server does not limit the rate of messages.
UNLIMITED = "LABKIT_UNLIMITED_MESSAGES"


class Download(anywidget.AnyWidget):
    """A link to a file of this machine; hidden while there is none.

    JupyterLab and Notebook serve files beside the notebook. Elsewhere the page requests the file in parts, at
    a rate below the limit of Jupyter Server.

    Attributes:
        label: text of the link.
        name: file name of the download; "" hides the link.
        file: path from the notebook's folder, "" where the server does not serve it.
        size: bytes.
    """

    _esm = _HERE / "download.js"
    label = traitlets.Unicode().tag(sync=True)
    name = traitlets.Unicode().tag(sync=True)
    file = traitlets.Unicode().tag(sync=True)
    size = traitlets.Int().tag(sync=True)
    paced = traitlets.Bool(True).tag(sync=True)

    def __init__(self, **traits: Any):
        super().__init__(paced=not os.environ.get(UNLIMITED), **traits)
        self._source: Path | Callable[[], bytes] = bytes
        self._made = b""
        self.on_msg(self._asked)
        hear_while_busy(self)

    def clear(self) -> None:
        """Hide the link."""
        self.name, self.file, self.size, self._source, self._made = "", "", 0, bytes, b""

    def offer(self, source: Path | Callable[[], bytes], name: str = "") -> None:
        """Link to a file, or to a content that is made on a click, as a file called ``name``."""
        self.clear()
        self._source = source
        if isinstance(source, Path):
            here = Path.cwd()
            whole = source.resolve()
            self.file = whole.relative_to(here).as_posix() if whole.is_relative_to(here) else ""
            self.size = source.stat().st_size
        self.name = name or getattr(source, "name", "")

    def _asked(self, widget: object, content: dict[str, Any], buffers: Sequence[memoryview]) -> None:
        """Send a part of the file; the page asks for the next once it has it."""
        start = content.get("start")
        if content.get("type") != "part" or not isinstance(start, int) or start < 0:
            return
        try:
            part = self._part(start)
        except OSError as error:
            return self.send({"type": "failed", "reason": str(error)})
        self.send({"type": "part", "start": start, "size": self.size, "name": self.name}, [part])

    def _part(self, start: int) -> bytes:
        if not isinstance(self._source, Path):
            if not start or not self._made:
                self._made = self._source()
                self.size = len(self._made)
            return self._made[start : start + PART]
        with self._source.open("rb") as file:
            file.seek(start)
            return file.read(PART)
