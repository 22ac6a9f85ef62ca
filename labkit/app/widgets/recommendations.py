"""Recommendations in the step Predict: after a list of items, or for a user of the rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import ipywidgets as widgets

from labkit.app.widgets.answers import LONGEST, Asking
from labkit.core import html, source_code
from labkit.core.errors import DataError
from labkit.core.html import Html
from labkit.evaluate import run_report
from labkit.i18n import _
from labkit.inference.recommending import RecommendPipeline
from labkit.viz import recommend_html

if TYPE_CHECKING:
    from datasets import Dataset


class Wanted(NamedTuple):
    """Items in the order of time, or a user."""

    items: tuple[str, ...]
    user: str


class Recommends(Asking):
    """A model of interactions recommends items."""

    verb = "recommend_on"
    tool: RecommendPipeline

    def build(self) -> Sequence[widgets.Widget]:
        self.items = self.area("chosen_items", 4)
        self.user = widgets.Text(description=self.word("user"), continuous_update=False)
        return self.items, self.user

    def take(self, part: Dataset, place: int) -> None:
        """The user of a row."""
        self.items.value, self.user.value = "", str(part[place]["user"])

    def asked(self) -> Wanted:
        items = tuple(filter(None, map(str.strip, self.items.value[:LONGEST].split("\n"))))
        user = self.user.value.strip()
        if bool(items) == bool(user):
            raise DataError(_("give items, one a line, or a user, not both."))
        return Wanted(items, user)

    def answer(self, asked: tuple[Any, ...]) -> Any:
        items, user = asked
        run = self.panel.state.run
        assert run is not None
        return self.tool.for_user(run_report.rows_of(run), user) if user else self.tool.recommend(items)

    def shown(self, asked: tuple[Any, ...], found: Any) -> Html:
        return html.joined(recommend_html.table_of(found, self.language))

    def code(self, asked: tuple[Any, ...]) -> list[str]:
        items, user = asked
        call = (
            source_code.call("run.recommend", user=user)
            if user
            else source_code.call("run.recommend", list(items))
        )
        return [source_code.line(call)]
