"""`labkit distill`: train a smaller model towards the answers of a trained one."""

from __future__ import annotations

from typing import Annotated

import typer

from labkit.cli.options import Changes, Folder, RunName, say
from labkit.cli.train import parsed


def distill(
    run: RunName,
    rows: Annotated[
        str, typer.Argument(metavar="DATA", help="Texts, with or without labels: a file or sample.")
    ],
    model: Annotated[str, typer.Option(help="Architecture of the student.")] = "textcnn",
    preset: Annotated[str, typer.Option(help="Its named configuration.")] = "",
    name: Annotated[str, typer.Option(help="Name of the new run.")] = "",
    changes: Changes = None,
    folder: Folder = None,
) -> None:
    """Train a smaller classifier of texts towards the answers of a trained one, and compare both."""
    from labkit import api as front
    from labkit.evaluate.judge import judge
    from labkit.models import models
    from labkit.smaller import distill as train

    teacher = front.open_run(run, folder)
    config = models[model](**({"preset": preset} if preset else {}))
    student = train(teacher, rows, config, name=name, background=False, **parsed(changes or []))
    table = judge({"teacher": teacher, "student": student}, teacher.rows)
    say(f"{student}\n\n{table.to_string(na_rep='', float_format='{:.4g}'.format)}")
