"""Boxes, arrows, grids and words of a diagram, as SVG on white, so that it can be read on light and dark pages."""

from __future__ import annotations

from collections.abc import Sequence

from labkit.core.text import escape
from labkit.i18n import Message, translate

INK, QUIET, BLUE, ORANGE, GREEN, RED = "#222", "#666", "#1f5fa8", "#b45309", "#2f7d32", "#b3261e"
#: Light fills with the ink above in contrast of at least 4.5.
PALE = {INK: "#fff", QUIET: "#eee", BLUE: "#dbe9f8", ORANGE: "#fde8d0", GREEN: "#dff0e0", RED: "#fbdfdc"}


class Diagram:
    """An SVG that is built up from shapes; all coordinates are in pixels from the upper left.

    Args:
        title: what is seen, in words, for those who do not see it.
        width, height: of the picture.
        language: of its words.
    """

    def __init__(self, title: Message, width: int, height: int, language: str):
        self.language, self.width, self.height = language, width, height
        self.title = translate(title, language)
        self._parts: list[str] = []

    def svg(self) -> str:
        heads = "".join(
            f"<marker id='{name}' viewBox='0 0 8 8' refX='7' refY='4' markerWidth='7' markerHeight='7' orient='auto'>"
            f"<path d='M0 0L8 4L0 8z' fill='{colour}'/></marker>"
            for name, colour in (("a", QUIET), ("r", RED), ("b", BLUE), ("g", GREEN))
        )
        size = f"width='{self.width}' height='{self.height}'"
        return (
            f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {self.width} {self.height}' {size} role='img' "
            f"font-family='sans-serif' font-size='13'><title>{escape(self.title)}</title><defs>{heads}</defs>"
            f"<rect {size} rx='6' fill='#fff'/>{''.join(self._parts)}</svg>"
        )

    def word(self, text: str) -> str:
        return translate(text, self.language) if isinstance(text, Message) else text

    def text(
        self,
        x: float,
        y: float,
        text: str,
        colour: str = INK,
        size: int = 13,
        anchor: str = "middle",
        bold: bool = False,
    ) -> Diagram:
        weight = " font-weight='600'" if bold else ""
        self._parts.append(
            f"<text x='{x:g}' y='{y:g}' text-anchor='{anchor}' fill='{colour}' font-size='{size}'{weight}>"
            f"{escape(self.word(text))}</text>"
        )
        return self

    def box(
        self, x: float, y: float, width: float, height: float, text: str = "", colour: str = QUIET, below: str = "",
        dashed: bool = False,
    ) -> Diagram:  # fmt: skip
        """A rectangle with words in its middle, and smaller ones ``below`` them."""
        dash = " stroke-dasharray='5 4'" if dashed else ""
        self._parts.append(
            f"<rect x='{x:g}' y='{y:g}' width='{width:g}' height='{height:g}' rx='4' fill='{PALE[colour]}' "
            f"stroke='{colour}'{dash}/>"
        )
        middle = y + height / 2 + 4.5
        if text:
            self.text(x + width / 2, middle - (8 if below else 0), text)
        if below:
            self.text(x + width / 2, middle + 9, below, QUIET, 11)
        return self

    def frame(self, x: float, y: float, width: float, height: float, colour: str) -> Diagram:
        """A rectangle around what is drawn already."""
        self._parts.append(
            f"<rect x='{x:g}' y='{y:g}' width='{width:g}' height='{height:g}' rx='6' fill='none' stroke='{colour}' "
            "stroke-width='2.5'/>"
        )
        return self

    def circle(self, x: float, y: float, radius: float, text: str = "", colour: str = QUIET) -> Diagram:
        self._parts.append(
            f"<circle cx='{x:g}' cy='{y:g}' r='{radius:g}' fill='{PALE[colour]}' stroke='{colour}'/>"
        )
        return self.text(x, y + 4.5, text) if text else self

    def line(
        self,
        points: Sequence[tuple[float, float]],
        colour: str = QUIET,
        width: float = 1.2,
        dashed: bool = False,
    ) -> Diagram:
        return self._path(points, colour, width, dashed, "")

    def arrow(
        self,
        points: Sequence[tuple[float, float]],
        colour: str = QUIET,
        width: float = 1.4,
        dashed: bool = False,
    ) -> Diagram:
        """A line through the points, with a head at the last one."""
        head = {RED: "r", BLUE: "b", GREEN: "g"}.get(colour, "a")
        return self._path(points, colour, width, dashed, f" marker-end='url(#{head})'")

    def _path(
        self, points: Sequence[tuple[float, float]], colour: str, width: float, dashed: bool, end: str
    ) -> Diagram:
        dash = " stroke-dasharray='5 4'" if dashed else ""
        way = " ".join(f"{x:g},{y:g}" for x, y in points)
        self._parts.append(
            f"<polyline points='{way}' fill='none' stroke='{colour}' stroke-width='{width:g}'{dash}{end}/>"
        )
        return self

    def grid(
        self,
        x: float,
        y: float,
        cells: Sequence[Sequence[str]],
        side: float = 22,
        fills: Sequence[Sequence[str]] | None = None,
    ) -> Diagram:
        """Cells with words in them; ``fills`` has the colour of each."""
        for row, words in enumerate(cells):
            for column, text in enumerate(words):
                colour = fills[row][column] if fills else INK
                left, top = x + column * side, y + row * side
                self._parts.append(
                    f"<rect x='{left:g}' y='{top:g}' width='{side:g}' height='{side:g}' fill='{PALE[colour]}' "
                    "stroke='#999'/>"
                )
                if text:
                    self.text(left + side / 2, top + side / 2 + 4, text, size=11)
        return self

    def tokens(
        self, x: float, y: float, words: Sequence[str], colours: Sequence[str] = (), gap: float = 6
    ) -> list[float]:
        """Words in boxes as wide as they are, side by side; returns the middle of each."""
        middles = []
        for number, text in enumerate(words):
            width = 14 + sum(13.5 if ord(letter) > 0x2E80 else 7.2 for letter in self.word(text))
            self.box(x, y, width, 26, text, colours[number] if colours else QUIET)
            middles.append(x + width / 2)
            x += width + gap
        return middles
