"""List of examples of a report, with an explanation of the selected one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ipywidgets as widgets
import numpy as np

from labkit.app.widgets.row_table import RowTable
from labkit.core import html
from labkit.core.text import visible
from labkit.evaluate.report import ClassificationReport
from labkit.explain.explanation import AttentionWeights, Explanation
from labkit.viz import explanation_html, media

if TYPE_CHECKING:
    from datasets import Dataset

    from labkit.app.panel import Panel
    from labkit.inference.predictor import Predictor

#: Examples that are offered at once; characters of each in the list, and of the chosen one.
OFFERED, SHORT, LONG = 60, 160, 3000


class Why:
    """What speaks for the answer to one example: words, pixels or features, and attention. ``root`` is its
    widget."""

    def __init__(self, panel: Panel):
        self.panel, self.found, self.map = panel, None, None
        self.target = widgets.Dropdown(description=panel.word("explain_class"))
        self.method = widgets.Dropdown(description=panel.word("explain_method"))
        self.layer = widgets.Dropdown(description=panel.word("layer"))
        self.head = widgets.Dropdown(description=panel.word("head"))
        for control, wide in (
            (self.target, "280px"),
            (self.method, "280px"),
            (self.layer, "130px"),
            (self.head, "170px"),
        ):
            control.style.description_width, control.layout.width = "auto", wide
        self.said, self.shown = panel.html(), panel.html()
        self.fold = widgets.Accordion([widgets.VBox([widgets.HBox([self.layer, self.head]), self.shown])])
        self.fold.titles = (panel.word("attention"),)
        self.root = widgets.VBox([self.target, self.method, self.said, self.fold])
        panel.on_change(self.method, lambda _: self._ask())
        panel.on_change(self.target, lambda _: self._ask())
        panel.on_change(self.layer, lambda _: self._look())
        panel.on_change(self.head, lambda _: self._look())
        self.clear()

    def clear(self) -> None:
        """Show nothing."""
        self.found = self.map = self._of = None
        self.said.value = self.shown.value = ""
        self.root.layout.display = "none"

    def ask(
        self, predictor: Predictor, example: Any, pair: str | None = None, target: str | None = None
    ) -> None:
        """Explain the answer to an example, which is clean already; by default its likeliest class."""
        self._of = (predictor, example, pair)
        with self.panel.filling():
            self.target.options = [(visible(name, 60), name) for name in predictor.classes]
            self.target.value = target
            methods, before = predictor.explainer.methods, self.method.value
            self.method.options = [(self.panel.word(f"method_{name}"), name) for name in methods]
            self.method.value = before if before in methods else methods[0]
        self.target.layout.display = "" if len(predictor.classes) > 1 else "none"
        self._ask()

    def _ask(self) -> None:
        if self._of is None:
            return
        predictor, example, pair = self._of
        target, method, explainer = self.target.value, self.method.value, predictor.explainer

        def work() -> tuple[Explanation, AttentionWeights | None]:
            found = explainer.explain(example, pair, target=target, method=method)
            return found, explainer.attention(example, pair) if explainer.attends and found.words else None

        self.panel.later("explain", work, self._show)

    def _show(self, result: tuple[Explanation, AttentionWeights | None]) -> None:
        self.found, self.map = result
        self.root.layout.display = ""
        with self.panel.filling():
            self.target.value = self.found.target
            if self.map is not None:
                layers, heads = self.map.weights.shape[:2]
                self.layer.options = [(str(number + 1), number) for number in range(layers)]
                self.head.options = [
                    (self.panel.word("mean_of_heads"), -1),
                    *((str(n + 1), n) for n in range(heads)),
                ]
                self.layer.value, self.head.value = layers - 1, -1
        self.said.value = explanation_html.explanation(self.found, self.panel.state.language)
        self.fold.layout.display = "none" if self.map is None else ""
        self._look()

    def _look(self) -> None:
        if self.map is not None:
            head = None if self.head.value < 0 else self.head.value
            self.shown.value = explanation_html.attention(
                self.map, self.layer.value, head, self.panel.state.language
            )


class Examples:
    """A list of rows of a report, and below it the chosen row with its answer. ``root`` is its widget."""

    def __init__(self, panel: Panel):
        self.panel = panel
        self.title, self.text = panel.html(), panel.html()
        self.list = RowTable(label=panel.word("choose_example"))
        self.why = Why(panel)
        self.top = widgets.VBox([self.title, self.list])
        self.root = widgets.VBox([self.text, self.why.root])
        panel.on_change(self.list, lambda _: self.choose(self.list.value), "chosen")

    def show_report(self, report: ClassificationReport, part: Dataset, predictor: Predictor) -> None:
        """Show rows of another report; ``part`` is the split that it is of."""
        self.report, self.part, self.predictor = report, part, predictor

    def offer(self, title: str, places: np.ndarray, empty: str = "no_examples") -> None:
        """Offer rows by their places in the report; ``empty`` is the word where there are none."""
        shown = places[:OFFERED]
        self.title.value = html.heading(title, 4)
        keys = ("truth", "answer", "probability", "text" if any(self.report.texts) else "row_of_data")
        with self.panel.filling():
            head, rows = list(map(self.panel.word, keys)), [self._line(int(place)) for place in shown]
            self.list.offer(head, rows, shown.tolist(), numeric=(2,))
        self.text.value = html.paragraph(self.panel.word("choose_example" if len(shown) else empty), "quiet")
        self.why.clear()

    def _line(self, place: int) -> list[str]:
        names, report = self.report.classes, self.report
        text = visible(" ".join(report.texts[place].split()), SHORT) or str(report.rows[place])
        chance = report.probability[place, report.predicted[place]]
        truth = names[report.truth[place]] if report.truth[place] >= 0 else "?"
        return [truth, names[report.predicted[place]], f"{100 * chance:.1f} %", text]

    def choose(self, place: int | None) -> None:
        """Show a row and why it is answered so."""
        if place is None:
            return
        report, language = self.report, self.panel.state.language
        row = self.part[int(place)]
        chances = dict(zip(report.classes, map(float, report.probability[place]), strict=True))
        truth = (
            report.classes[report.truth[place]] if report.truth[place] >= 0 else self.panel.word("no_label")
        )
        parts = [html.heading(self.panel.word("row_number", row=report.rows[place]), 4)]
        if "text" in row:
            example, pair = row["text"], row.get("text_pair")
            for text in filter(None, (example, pair)):
                parts.append(html.paragraph(visible(text, LONG)))
        else:
            example, pair = self.predictor.processor.raw(self.part.select([int(place)])).inputs[0], None
            if example.ndim == 3:
                parts.append(media.picture(example, str(truth), 168))
        said = self.panel.word(
            "truth_and_answer", truth=truth, answer=report.classes[report.predicted[place]]
        )
        parts += [html.paragraph(said), explanation_html.probabilities(chances, language)]
        self.text.value = html.joined(*parts)
        self.why.ask(self.predictor, example, pair)
