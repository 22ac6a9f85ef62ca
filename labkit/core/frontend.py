"""Detect the front end of this process, and which panel it supports."""

from __future__ import annotations

import os
import sys
from typing import Literal

from labkit.core.extras import has

#: Where a notebook is shown but widgets cannot be updated from a thread (googlecolab/colabtools #3373).
_WITHOUT_WIDGETS = ("COLAB_RELEASE_TAG", "KAGGLE_KERNEL_RUN_TYPE")


def frontend() -> Literal["widgets", "html", "none"]:
    """What can be shown here.

    Returns:
        "widgets" in JupyterLab, Notebook, VS Code and Voilà: a live panel with buttons. "html" in any other
        notebook kernel (Colab, Kaggle, nbclient, nbval): a picture that is replaced now and then. "none"
        outside notebooks and without the extra "lab".
    """
    shell = _shell()
    if shell is None or not hasattr(shell, "kernel") or not has("lab"):
        return "none"
    if "google.colab" in sys.modules or any(name in os.environ for name in _WITHOUT_WIDGETS):
        return "html"
    if os.environ.get("LABKIT_FOREGROUND", "0") not in ("", "0"):
        return "html"
    server = (
        "JPY_SESSION_NAME" in os.environ
    )  # jupyter_server names the notebook to the kernels it starts for one
    vscode = "__vsc_ipynb_file__" in shell.user_ns
    return "widgets" if server or is_app() or vscode else "html"


def is_live() -> bool:
    """True if the front end is interactive, so that training should run in the background."""
    return frontend() == "widgets"


def is_attended() -> bool:
    """Whether somebody watches the cells of this notebook: not where nbclient, nbconvert or nbval runs them."""
    if os.environ.get("LABKIT_FOREGROUND", "0") not in ("", "0"):
        return False
    return is_live() or (frontend() == "html" and any(name in os.environ for name in _WITHOUT_WIDGETS))


def hears_while_busy() -> bool:
    """Whether buttons are heard while a cell runs: where the kernel has subshells, as ipykernel has from 7
    on."""
    if frontend() != "widgets" or "JPY_SESSION_NAME" not in os.environ:
        return False
    return getattr(_shell().kernel, "shell_channel_thread", None) is not None  # type: ignore[union-attr]


def is_app() -> bool:
    """Whether Voilà serves this kernel, which ends with the page."""
    return os.environ.get("SERVER_SOFTWARE", "").startswith("voila")


def cell() -> int | None:
    """The number of the notebook cell that runs now; None outside notebooks."""
    shell = _shell()
    return getattr(shell, "execution_count", None) if hasattr(shell, "kernel") else None


def cell_id() -> str | None:
    """What the front end calls the notebook cell that runs now, which stays the same when it runs again; None
    where no cell runs, or the front end does not say."""
    shell = _shell()
    if not hasattr(shell, "kernel"):
        return None
    parent = shell.get_parent()  # type: ignore[union-attr]
    return (parent.get("metadata") or {}).get("cellId") if isinstance(parent, dict) else None


def _shell() -> object | None:
    """IPython's shell, without importing IPython where nobody has."""
    module = sys.modules.get("IPython")
    return None if module is None else module.get_ipython()
