"""Diagrams of the lessons, drawn as SVG: ``lk.diagram("attention")``."""

from __future__ import annotations

from labkit.core.errors import ConfigError, nearest
from labkit.course.diagrams.drawing import Diagram
from labkit.course.diagrams.foundations import DIAGRAMS as FOUNDATIONS
from labkit.course.diagrams.language import DIAGRAMS as LANGUAGE
from labkit.i18n import _
from labkit.viz.plotly import Picture
from labkit.viz.words import language

DIAGRAMS = {**FOUNDATIONS, **LANGUAGE}


def diagram(name: str) -> Picture:
    """A diagram of the course as a still picture, with its words in the language of the panels.

    Args:
        name: such as "convolution" or "attention"; an unknown one is refused with the list of all.

    Raises:
        ConfigError: there is no such diagram.
    """
    if name not in DIAGRAMS:
        raise ConfigError(
            _("unknown diagram {name!r}. Known: {known}.{hint}"),
            name=name, known=", ".join(DIAGRAMS), hint=nearest(name, DIAGRAMS),
        )  # fmt: skip
    drawing: Diagram = DIAGRAMS[name](language())
    return Picture(drawing.svg(), drawing.title)
