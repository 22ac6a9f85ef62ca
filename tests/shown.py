"""What a notebook shows, and what its page sends: as IPython and ipywidgets do it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from IPython.core.formatters import DisplayFormatter
from ipywidgets import Widget


def shown(thing: object) -> dict[str, Any]:
    """MIME type → what a cell shows whose last line is this object."""
    return DisplayFormatter().format(thing)[0]


def shown_html(thing: object) -> str:
    """The HTML that a cell shows of this object."""
    return shown(thing)["text/html"]


def send(widget: Widget, content: Mapping[str, Any], *buffers: memoryview) -> None:
    """Let the page send a custom message to a widget."""
    data = {"method": "custom", "content": dict(content)}
    widget.comm.handle_msg({"content": {"data": data}, "buffers": list(buffers)})


def open_widgets() -> set[str]:
    """The ids of all widgets that are open."""
    return set(Widget.get_manager_state()["state"])
