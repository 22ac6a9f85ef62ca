"""All runs of the lab folder: a table, and their scores against what they cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ipywidgets as widgets

from labkit.core import html
from labkit.i18n import translate
from labkit.i18n.labels import score_name
from labkit.runs.costs import COSTS, groups_of, points_of
from labkit.runs.overview import COLUMNS, overview
from labkit.runs.store import RunInfo
from labkit.viz import svg
from labkit.viz.dashboard import score_against_cost

if TYPE_CHECKING:
    from labkit.app.panel import Panel

#: Runs in the table, the newest.
MOST = 200


class Dashboard:
    """A folded part of a panel; it is drawn when it is opened, and when runs have changed while it is open.

    Args:
        panel: whose callbacks these are, and whose state names the lab folder.
    """

    def __init__(self, panel: Panel):
        self.panel = panel
        language = panel.state.language
        costs = [(translate(label, language), name) for name, (label, _) in COSTS.items()]
        self.cost = widgets.Dropdown(options=costs, description=panel.word("cost_shown"))
        self.group = widgets.Dropdown(description=panel.word("comparable"))
        for control in (self.cost, self.group):
            control.style.description_width, control.layout.width = "auto", "320px"
        self.figure, self.table = panel.html(), panel.html()
        controls = widgets.HBox([self.cost, self.group])
        controls.layout.flex_flow = "row wrap"
        self.root = widgets.Accordion(
            [widgets.VBox([controls, self.figure, self.table])], selected_index=None
        )
        self.root.titles = (panel.word("all_runs"),)
        panel.on_change(self.cost, lambda _: self.refresh())
        panel.on_change(self.group, lambda _: self.refresh())
        panel.on_change(self.root, lambda _: self.refresh(), "selected_index")

    def refresh(self) -> None:
        """Draw the runs there are now; nothing while it is folded."""
        if self.root.selected_index is None:
            return
        infos, language = self.panel.state.store.runs(), self.panel.state.language
        groups = groups_of(infos)
        options = [
            (f"{data} · {translate(score_name(metric), language)}", (data, metric)) for data, metric in groups
        ]
        with self.panel.filling():
            before = self.group.value
            self.group.options = options
            self.group.value = before if before in groups else next(iter(groups), None)
        self.figure.value = self._figure(infos)
        self.table.value = self._table(infos[:MOST])

    def _figure(self, infos: list[RunInfo]) -> str:
        data, metric = self.group.value or ("", "")
        points = points_of(infos, self.cost.value, (data, metric))
        if not points:
            return html.paragraph(self.panel.word("no_scores"), "quiet")
        return svg.inline(
            score_against_cost(points, metric, self.cost.value, data, self.panel.state.language)
        )

    def _table(self, infos: list[RunInfo]) -> str:
        language = self.panel.state.language
        shown = [name for name in COLUMNS if name != "id"]
        numbers = ("parameters", "seconds")
        head = [translate(COLUMNS[name], language) for name in shown]
        head += [self.panel.word(f"column_{name}") for name in numbers]
        lines = []
        for info in infos:
            texts = overview(info, language=language)
            values = [COSTS[name][1](info) for name in numbers]
            lines.append(
                [*(texts[name] for name in shown), *("" if v is None else f"{v:,.0f}" for v in values)]
            )
        last = range(len(shown), len(head))
        return html.scrolled(html.table(head, lines, numeric=last), self.panel.word("all_runs"))
