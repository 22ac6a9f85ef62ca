"""Helpers for widgets: callbacks while a cell runs, and cleanup."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import ipywidgets as widgets


def hear_while_busy(widget: widgets.Widget) -> None:
    """Let a widget be heard while a cell runs.

    JupyterLab has a subshell for widgets. ipykernel 7.4 sends what comes from a widget made in a cell to the
    main shell all the same, where it waits for the cell; this takes its private rule back where there is one.
    """
    if hasattr(widget.comm, "_reply_subshell_for"):
        widget.comm._reply_subshell_for = lambda data, default: default  # type: ignore[union-attr]


def tree(roots: Sequence[widgets.Widget]) -> Iterator[widgets.Widget]:
    """The widgets and all widgets inside them."""
    for root in roots:
        yield root
        yield from tree(getattr(root, "children", ()))


def close_all(roots: Sequence[widgets.Widget]) -> None:
    """Close widgets and all widgets inside them, with their layouts and styles."""
    for widget in list(tree(roots)):
        for part in (widget, getattr(widget, "layout", None), getattr(widget, "style", None)):
            if part is not None:
                part.close()
