"""Uploaded files: a place to drop one, and the name that it is kept under."""

from __future__ import annotations

import re
from pathlib import Path

import anywidget
import traitlets

LONGEST = 150  # bytes of the name that an uploaded file is kept under


class FileDrop(anywidget.AnyWidget):
    """A place to drop a file on, for the upload control of the same row."""

    _esm = Path(__file__).parents[1] / "file_drop.js"
    label = traitlets.Unicode().tag(sync=True)


def file_name(given: str) -> str:
    """The name of an uploaded file without odd characters, short enough for every file system; its ending
    stays."""
    name = re.sub(r"[^\w.-]+", "_", Path(given).name).strip(".") or "upload"
    if len(raw := name.encode()) <= LONGEST:
        return name
    ending = name[-20:]
    return raw[: LONGEST - len(ending.encode())].decode(errors="ignore") + ending
