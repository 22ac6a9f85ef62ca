"""A figure as a description: plots, each with axes and marks, drawn by ``svg``, ``plotly`` and ``live.js``.

Positions are numbers; names of categories stand at 0, 1, … of their axis. All text is plain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

#: Okabe and Ito's colours, which all kinds of colour vision tell apart; a mark names one by its number, 1 …
#: 7.
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f")
#: The ticks of what lies between 0 and 1.
QUARTERS = (0.0, 0.25, 0.5, 0.75, 1.0)
#: Colours of a heatmap: transparent to blue, which suits light and dark pages.
BLUES = ((0.0, (0, 114, 178, 0)), (1.0, (0, 114, 178, 255)))

Colour = int | str  # a number of the palette, or a colour of CSS
Values = Sequence[Any] | np.ndarray  # [n], numbers or None


@dataclass(frozen=True)
class Axis:
    """One side of a plot. Without limits it shows what its ticks, its names or else its marks need."""

    label: str = ""
    limits: tuple[float, float] | None = None
    ticks: Sequence[float] = ()  # where numbers are written; without them at round ones
    names: Sequence[str] = ()  # written at 0, 1, … instead of numbers
    log: bool = False
    flipped: bool = False  # from right to left, or from top to bottom
    shown: bool = True  # whether numbers and names are written

    @property
    def ends(self) -> tuple[float, float] | None:
        """The limits, given or by ticks or names."""
        if self.limits is not None or not (self.ticks or self.names):
            return self.limits
        return (self.ticks[0], self.ticks[-1]) if self.ticks else (-0.5, len(self.names) - 0.5)


@dataclass(frozen=True, eq=False)
class Line:
    """Points in their order, joined or not; a value that is not finite leaves a gap."""

    x: Values
    y: Values
    label: str = ""  # in the legend; "" for none
    colour: Colour = 1
    dash: str = ""  # "", "dash", "dot", "dashdot" or "longdash"
    joined: bool = True
    marker: str = ""  # "circle", "square" or "ring" at each point; "" for none
    texts: Sequence[str] = ()  # above the points
    notes: Sequence[str] = ()  # shown when the pointer is over a point, which is then translucent
    colours: Sequence[Colour] = ()  # one for each point
    key: str = ""  # of the series that live.js draws


@dataclass(frozen=True, eq=False)
class Band:
    """The area between two lines over the same positions."""

    x: Values
    low: Values
    high: Values
    label: str = ""
    colour: Colour = 1
    opacity: float = 0.2


@dataclass(frozen=True, eq=False)
class Bars:
    """Bars from 0, each with its middle at a position; ``flat`` ones lie, their amounts in ``x``."""

    x: Values
    y: Values
    label: str = ""
    colour: Colour = 1
    width: float = 0.8  # in units of the axis
    flat: bool = False
    opacity: float = 1.0
    texts: Sequence[str] = ()  # at the ends of flat bars


@dataclass(frozen=True, eq=False)
class Heatmap:
    """Numbers as colours, between stops from 0 to 1 of red, green, blue and perhaps opacity, 0 … 255."""

    z: np.ndarray  # [rows, columns]
    limits: tuple[float, float]
    colours: Sequence[tuple[float, Sequence[float]]] = BLUES
    written: bool = False  # the numbers in the cells, where these are few
    label = ""


@dataclass(frozen=True, eq=False)
class Rule:
    """A dashed line between two points, with a note; where ``x`` or ``y`` is None it crosses the whole plot."""

    x: tuple[float, float] | None = None
    y: tuple[float, float] | None = None
    note: str = ""
    label = ""


Mark = Line | Band | Bars | Heatmap | Rule


@dataclass(frozen=True)
class Plot:
    """Marks between two axes."""

    marks: Sequence[Mark]
    title: str = ""  # above; without one the label of y is
    x: Axis = Axis()
    y: Axis = Axis()
    place: tuple[float, float, float, float] = (
        0.0,
        1.0,
        0.0,
        1.0,
    )  # left, right, bottom, top: shares of the figure
    square: bool = False  # a unit of x as long as one of y, and a grid both ways

    @property
    def legend(self) -> list[Any]:
        """The marks that have a label."""
        return [mark for mark in self.marks if mark.label]


@dataclass(frozen=True)
class FigureSpec:
    """Plots in one frame."""

    plots: Sequence[Plot]
    alt: str  # what is seen, in words
    width: int = 560  # in pixels
    height: int = 196
