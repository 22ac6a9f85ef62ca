"""Reports as text and as HTML: a heading, warnings and tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from labkit.core import html

#: The head of a table and its lines; the first column is text, the others are numbers.
Table = tuple[Sequence[str], Sequence[Sequence[str]]]
#: The head of a table of scores.
SCORED = ("score", "", "95 % interval")


class TableReport:
    """What shows a heading, warnings and tables, as text and in a notebook."""

    warnings: tuple[str, ...] = ()  # what a reader of the scores should know first
    decision: Any = None  # expected cost of the decisions of a scenario

    @property
    def verdict(self) -> str:
        """That a baseline is better than the model; empty where none is."""
        return ""

    def _heading(self) -> str:
        raise NotImplementedError

    def _tables(self) -> list[Table]:
        raise NotImplementedError

    def _html_tables(self) -> list[Table]:
        """The tables of the HTML, which may show more."""
        return self._tables()

    def _wrong(self) -> Table:
        """The worst mistakes, which only the HTML shows: their second column is text too."""
        return (), ()

    def __str__(self) -> str:
        costs: list[Table] = [] if self.decision is None else self.decision._tables()
        tables = ["\n".join(columns_of_text(*table)) for table in costs + self._tables()]
        return "\n".join([*self._head(), *self.warnings, "\n\n".join(tables)])

    def _head(self) -> list[str]:
        """The first lines."""
        first = [] if self.decision is None else self.decision._head()[:-1]
        return [*first, *filter(None, [self.verdict]), self._heading()]

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        costs = [] if self.decision is None else self.decision._tables()
        found = [*costs, *self._html_tables()]
        tables = [html.table(head, body, numeric=range(1, len(head))) for head, body in found]
        head, wrong = self._wrong()
        mistakes = [html.table(head, wrong, numeric=[0, *range(2, len(head))])] if wrong else []
        return {
            "text/plain": str(self),
            "text/html": html.page(*self._head(), *self.warnings, *tables, *mistakes),
        }


def columns_of_text(header: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    """Lines of text, the first column aligned left, the others right."""
    wide = [max(map(len, column)) for column in zip(header, *body, strict=True)]
    lines = ([line[0].ljust(wide[0]), *map(str.rjust, line[1:], wide[1:])] for line in [header, *body])
    return ["  ".join(line).rstrip() for line in lines]
