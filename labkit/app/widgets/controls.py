"""Helpers for widgets: callbacks while a cell runs, and cleanup."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import ipywidgets as widgets

from labkit.viz.words import word

_APP = Path(__file__).parents[1]

#: Where the kernel was restarted, Jupyter marks every widget of the page with a broken link. Instead one band says so.
_RESTARTED = """
:is(.labkit-bench, .labkit-panel).jupyter-widgets-disconnected::before { content: %s; display: block; flex: none;
  color: inherit; font: 600 13px/1.5 var(--jp-ui-font-family, system-ui, sans-serif); margin: 0 0 8px;
  padding: 6px 12px;
  border-left: 4px solid #b45309; background: rgba(230, 159, 0, 0.16); }
:is(.labkit-bench, .labkit-panel).jupyter-widgets-disconnected > * { opacity: 0.6; pointer-events: none; }
:is(.labkit-bench, .labkit-panel) .jupyter-widgets-disconnected.jupyter-widgets-disconnected::before { display: none; }
:is(.labkit-bench, .labkit-panel) .jupyter-widgets-disconnected > * { opacity: 1; }
"""


def theme_style() -> widgets.HTML:
    """The colours and shapes of panels, for the root of one; they apply within ``.labkit-bench``."""
    sheets = [(_APP / name).read_text(encoding="utf-8") for name in ("theme.css", "vscode.css")]
    made = widgets.HTML(f"<style>{''.join(sheets)}</style>")
    made.layout.display = "none"
    return made


def restart_style(language: str) -> widgets.HTML:
    """A style for the root of a panel: what it shows when the kernel was restarted and nothing answers."""
    said = word("restarted", language).replace("\\", "").replace('"', "'").replace("<", "")
    made = widgets.HTML("<style>" + _RESTARTED % f'"{said}"' + "</style>")
    made.layout.display = "none"
    return made


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
