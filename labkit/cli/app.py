"""`labkit app`: the lab panel as a local web application served by Voilà, protected by a token."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from labkit.cli.lab import ADMITTING, split_arguments
from labkit.core import source_code
from labkit.core.cache import write_atomic
from labkit.core.errors import LabkitError
from labkit.core.extras import require
from labkit.core.huge_pages import with_huge_pages
from labkit.i18n import _

#: Where its files lie, in the user's folder.
PLACE = ".labkit/app"
#: The page: Voilà's own, without the style sheets that it would fetch from outside.
_TEMPLATE = """{%- extends 'voila/templates/lab/index.html.j2' -%}
{%- block notebook_css -%}
{{ resources.include_js("static/voila-style.js") }}
{{ spinner.css() }}
<style>
.jp-mod-noOutputs.jp-mod-noInput { display: none; }
body { background: var(--jp-layout-color0); overflow: auto; }
#rendered_cells > div { max-width: 1240px; margin: 0 auto; padding: 16px; }
</style>
{{ super.super() }}
{%- endblock notebook_css -%}
"""


def write_files(folder: Path) -> Path:
    """Write the notebook that shows the bench, and its page; returns the notebook's path.

    Raises:
        LabkitError: ``folder`` cannot be written.
    """
    place = folder.resolve() / PLACE
    template = place / "voila" / "templates" / "labkit"
    move = source_code.line(source_code.call("os.chdir", str(folder.resolve())))
    source = f"import os\n\n{move}\n\nimport labkit as lk\n\nlk.Lab()\n"
    cell = {
        "cell_type": "code",
        "id": "lab",
        "source": source,
        "metadata": {},
        "outputs": [],
        "execution_count": None,
    }
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    notebook = {"nbformat": 4, "nbformat_minor": 5, "metadata": kernel, "cells": [cell]}
    try:
        template.mkdir(parents=True, exist_ok=True)
        write_atomic(template / "index.html.j2", _TEMPLATE)
        write_atomic(template / "conf.json", json.dumps({"base_template": "lab"}) + "\n")
        write_atomic(place / "labkit.ipynb", json.dumps(notebook, indent=1) + "\n")
    except OSError as error:
        raise LabkitError(
            _("cannot write to {folder}: {error}. Choose another folder."), folder=folder, error=error
        ) from error
    return place / "labkit.ipynb"


def command(notebook: Path, arguments: Sequence[str] = ()) -> list[str]:
    """The command that serves the notebook: on the loopback address, with a token of Voilà's making.

    An option that ``arguments`` set themselves is left to them.
    """
    ours = [
        "--Voila.ip=127.0.0.1",
        "--template=labkit",
        "--token",
        f"--Voila.tornado_settings={ADMITTING}",
        "--ZMQChannelsWebsocketConnection.limit_rate=False",  # downloads come as messages
        "--VoilaExecutor.iopub_timeout=120",  # on a busy machine the panel arrives later than after 4 s
    ]
    given = {argument.partition("=")[0].rpartition(".")[2].lstrip("-") for argument in arguments}
    options = [one for one in ours if one.partition("=")[0].rpartition(".")[2].lstrip("-") not in given]
    return [sys.executable, "-m", "voila", str(notebook), *options, *arguments]


def environment(notebook: Path) -> dict[str, str]:
    """The variables under which Voilà finds the page."""
    places = [str(notebook.parent), *filter(None, [os.environ.get("JUPYTER_PATH")])]
    return {**with_huge_pages(), "JUPYTER_PATH": os.pathsep.join(places), "LABKIT_UNLIMITED_MESSAGES": "1"}


def start(folder: Path, arguments: Sequence[str] = ()) -> int:
    """Serve the bench in ``folder`` until it is ended; returns Voilà's exit code.

    Raises:
        LabkitError: Voilà or JupyterLab is not installed, or ``folder`` cannot be written.
    """
    require("lab")
    require("app")
    folder.mkdir(parents=True, exist_ok=True)
    notebook = write_files(folder)
    call = command(notebook, arguments)
    if os.name == "posix":
        sys.stdout.flush()
        sys.stderr.flush()
        os.chdir(folder)
        os.execve(call[0], call, environment(notebook))
    return subprocess.call(call, cwd=folder, env=environment(notebook))


def app(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(metavar="[DIR] [VOILA OPTIONS]", help="Working folder (default: current folder)."),
    ] = None,
) -> None:
    """Serve the lab panel as a local web application, protected by a token (needs labkit[app])."""
    folder, options = split_arguments(arguments or [], ".")
    raise typer.Exit(start(folder, options))
