"""`labkit assignment`: a lesson of the course as an assignment for nbgrader."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from labkit.cli.options import say


def assignment(
    lesson: Annotated[Path, typer.Argument(metavar="NOTEBOOK", help="The notebook of a lesson.")],
    out: Annotated[Path, typer.Option(help="Folder of the source version, such as source/evaluation.")],
    points: Annotated[int, typer.Option(min=1, help="Points of each exercise.")] = 1,
) -> None:
    """Write NOTEBOOK as the source version of an nbgrader assignment: exercises that grade themselves."""
    from labkit.course.assignment import assignment as write

    say(str(write(lesson, out, points)))
