"""Review of labels: doubtful ones and rows without one, of which a key or a click decides."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets

from labkit.app.widgets.row_table import RowTable
from labkit.core import html
from labkit.core.text import one_line, visible
from labkit.data.arrow import numbers
from labkit.data.batching.arrays import stack
from labkit.evaluate.fast_learner import cached_encoder
from labkit.evaluate.label_issues import find_label_issues, rows_to_label
from labkit.viz import media

if TYPE_CHECKING:
    from labkit.app.panel import Panel
    from labkit.data.rows import Rows

#: Rows that are listed at once; characters of each in the list, and of the chosen one; classes with a
#: button; columns of a row that are shown.
LISTED, SHORT, LONG, BUTTONS, COLUMNS = 50, 160, 3000, 9, 40
#: Sentence encoders that can help the search.
ENCODERS = ("minilm-l6", "e5-small")
KEEP, UNDO, TAKE = "k", "u", "s"


class LabelReview:
    """The labels of single rows that a person has looked at.

    Args:
        panel: the step that shows it.
        rows: gives the rows as they are before and after the corrections; called in a thread.
        changed: called when a person has decided on a row.

    Attributes:
        labels: row number → its new label.
        was: row number → its label before, "" for none.
        confirmed: row numbers whose label is right.
        added: classes that the rows did not have.
        root: the widget.
    """

    def __init__(self, panel: Panel, rows: Callable[[], Rows], changed: Callable[[], None]):
        self.panel, self._rows, self._changed = panel, rows, changed
        self.labels: dict[int, str] = {}
        self.was: dict[int, str] = {}
        self.confirmed: list[int] = []
        self.added: list[str] = []
        self._classes: tuple[str, ...] = ()
        self._found: list[dict[str, Any]] = []
        self._searched: Rows | None = None
        word = panel.word
        self.what = widgets.Dropdown(description=word("review_what"))
        self.encoder = widgets.Dropdown(description=word("review_encoder"))
        self.find = panel.button("review_find", self._find, primary=True)
        form = widgets.HBox([self.what, self.encoder, self.find])
        form.add_class("lk-form")
        self.note, self.text, self.log = panel.html(), panel.html(), panel.html()
        self.list = RowTable(label=word("review_list"))
        self.keep = panel.button("review_keep", lambda: self.decide(KEEP))
        self.take = panel.button("review_take", lambda: self.decide(TAKE))
        self.undo = panel.button("review_undo", lambda: self.decide(UNDO))
        self.classes = widgets.HBox()
        self.other = widgets.Combobox(description=word("review_other"), ensure_option=False)
        self.give = panel.button("review_give", self._give)
        self.reset = panel.button("review_reset", self._reset)
        self.choices = widgets.VBox(
            [
                widgets.HBox([self.take, self.keep, self.undo, self.classes]),
                widgets.HBox([self.other, self.give, self.reset]),
            ]
        )
        for row in self.choices.children:
            row.add_class("lk-form")
        self.root = widgets.VBox(
            [
                panel.html(html.heading(word("review_title"))), form, self.note, self.list, self.text,
                self.choices, self.log,
            ]
        )  # fmt: skip
        panel.on_change(self.list, lambda _: self._show_row(), "chosen")
        panel.on_change(self.list, lambda pressed: self.decide(str(pressed[1])), "pressed")

    # --- state ------------------------------------------------------------------------------------------------

    def fill(self, rows: Rows, step: dict[str, Any]) -> None:
        """Show what the step "correct_labels" does with ``rows``; what was found of other rows is dropped."""
        schema = rows.schema
        there = schema.problem_type == "class"
        self.root.layout.display = "" if there else "none"
        texts, labelled = schema.modality == "text", any(rows.spec.class_counts().values())
        self.labels = {int(row): label for row, label in step.get("labels", {}).items()}
        self.was = {int(row): label for row, label in step.get("was", {}).items()}
        self.confirmed, self.added = list(step.get("confirmed", ())), list(step.get("add", ()))
        kinds = [("doubtful", labelled), ("new", any(rows.spec.unlabelled.values()))]
        options = [(self.panel.word(f"review_{kind}"), kind) for kind, able in kinds if able]
        before = self.what.value, self.encoder.value
        self.what.options = options or [(self.panel.word("review_doubtful"), "doubtful")]
        offered = [kind for _word, kind in self.what.options]
        self.what.value = before[0] if before[0] in offered else offered[0]
        encoders = [(self.panel.word(f"encoder_{name}"), name) for name in ENCODERS] if texts else []
        self.encoder.options = [(self.panel.word("encoder_none"), ""), *encoders]
        usual = cached_encoder(rows) if texts and before[1] is None else None
        self.encoder.value = next((name for name in (before[1], usual) if name in ENCODERS and texts), "")
        self.encoder.layout.display = "" if texts else "none"
        self._classes, self._found = schema.classes, []
        self.note.value = ""
        self._show()

    def step(self) -> dict[str, Any] | None:
        """The step as the experiment has it; None where nothing is corrected or confirmed."""
        if not (self.labels or self.confirmed):
            return None
        given: dict[str, Any] = {
            "labels": {str(row): label for row, label in self.labels.items()},
            "confirmed": list(self.confirmed),
            "was": {str(row): self.was[row] for row in (*self.labels, *self.confirmed)},
            "add": [name for name in self.added if name in self.labels.values()],
        }
        return {"do": "correct_labels", **{name: value for name, value in given.items() if value}}

    # --- search -----------------------------------------------------------------------------------------------

    def _find(self) -> None:
        what, encoder, confirmed = self.what.value, self.encoder.value or None, set(self.confirmed)

        def work() -> tuple[str, Rows, list[dict[str, Any]], int]:
            rows = self._rows()
            if what == "new":
                found = rows_to_label(rows, LISTED, encoder=encoder)
                return what, rows, _lines(found), sum(rows.spec.unlabelled.values())
            found = find_label_issues(rows, encoder=encoder)
            found = found[~found["row"].isin(confirmed)]
            return what, rows, _lines(found[:LISTED]), int(found["is_label_issue"].sum())

        self.panel.later("label_review", work, self._show_found)

    def _show_found(self, result: tuple[str, Rows, list[dict[str, Any]], int]) -> None:
        what, self._searched, self._found, count = result
        self._classes = self._searched.schema.classes
        for line in self._found:
            line["given_label"] = line.get("given_label") or ""
        key = "review_found" if what == "doubtful" else "review_unlabelled"
        self.note.value = html.note(
            self.panel.word(key, count=f"{count:,}", listed=f"{len(self._found):,}"),
            "warn" if count else "good",
        )
        self._show()
        with self.panel.filling():
            self.list.chosen = 0 if self._found else -1
        self._show_row()

    # --- decisions --------------------------------------------------------------------------------------------

    def decide(self, key: str) -> None:
        """Do what a key means with the chosen row: keep, take the suggestion, undo, or the number of a class."""
        line = self._line
        if line is None:
            return
        if key == UNDO:
            self._forget(line["row"])
            self._change(0)
        elif key == KEEP and line["given_label"]:
            self._forget(line["row"])
            self.was[line["row"]] = line["given_label"]
            self.confirmed.append(line["row"])
            self._change(1)
        elif key == TAKE and line["predicted_label"]:
            self._label(line, line["predicted_label"])
        elif key.isdecimal() and 0 < int(key) <= min(BUTTONS, len(self._names)):
            self._label(line, self._names[int(key) - 1])

    def _give(self) -> None:
        line, name = self._line, self.other.value.strip()
        if line is not None and name:
            if name not in self._names:
                self.added.append(name)
            self.other.value = ""
            self._label(line, name)

    def _label(self, line: dict[str, Any], name: str) -> None:
        row, before = line["row"], self.was.get(line["row"], line["given_label"])
        self._forget(row)
        self.was[row] = before
        if name == before:
            self.confirmed.append(row)
        else:
            self.labels[row] = name
        self._change(1)

    def _forget(self, row: int) -> None:
        self.labels.pop(row, None)
        self.was.pop(row, None)
        self.confirmed = [each for each in self.confirmed if each != row]

    def _reset(self) -> None:
        self.labels, self.was, self.confirmed, self.added = {}, {}, [], []
        self._change(0)

    def _change(self, further: int) -> None:
        """Show a decision, go on to the next row, and let the panel know."""
        chosen = self.list.chosen
        self._show()
        with self.panel.filling():
            self.list.chosen = min(max(chosen, 0) + further, len(self._found) - 1)
        self._show_row()
        self._changed()

    # --- display ----------------------------------------------------------------------------------------------

    @property
    def _line(self) -> dict[str, Any] | None:
        return self._found[self.list.chosen] if 0 <= self.list.chosen < len(self._found) else None

    @property
    def _names(self) -> list[str]:
        return [*self._classes, *(name for name in dict.fromkeys(self.added) if name not in self._classes)]

    def _decision(self, row: int) -> str:
        if row in self.labels:
            return f"→ {self.labels[row]}"
        return "✓" if row in self.confirmed else ""

    def _show(self) -> None:
        word, names = self.panel.word, self._names
        lines, texts = [], any("text" in line for line in self._found)
        for line in self._found:
            chance = line.get("label_quality", line.get("probability"))
            sure = "" if chance is None or chance != chance else f"{100 * chance:.1f} %"
            before = self.was.get(line["row"], line["given_label"]) or word("no_label")
            text = [visible(" ".join(str(line["text"]).split()), SHORT)] if texts else []
            suggested = one_line(line["predicted_label"] or "", 40)
            decision = self._decision(line["row"])
            lines.append([decision, str(line["row"]), one_line(before, 40), suggested, sure, *text])
        keys = ("review_decision", "row", "label_column", "review_suggested", "review_quality")
        head = [word(key) for key in (*keys, *(("text_column",) if texts else ()))]
        with self.panel.filling():
            chosen = self.list.chosen
            self.list.hotkeys = [KEEP, TAKE, UNDO, *map(str, range(1, min(BUTTONS, len(names)) + 1))]
            self.list.offer(head, lines, [line["row"] for line in self._found], numeric=(1, 4))
            self.list.chosen = min(chosen, len(lines) - 1)
            self.other.options = tuple(names)
        shown = names[:BUTTONS] if self._found else []
        if [button.tooltip for button in self.classes.children] != shown:
            self.panel.put(self.classes, [self._class_button(n, name) for n, name in enumerate(shown, 1)])
        self.choices.layout.display = "" if self._found or self.labels or self.confirmed else "none"
        self.reset.disabled = not (self.labels or self.confirmed)
        counts = {"corrected": f"{len(self.labels):,}", "confirmed": f"{len(self.confirmed):,}"}
        told = html.paragraph(word("review_log", **counts), "quiet")
        self.log.value = "" if self.reset.disabled else told

    def _class_button(self, number: int, name: str) -> widgets.Button:
        made = widgets.Button(description=f"{number} {one_line(name, 24)}", tooltip=name)
        made.layout.width = "auto"
        made.on_click(self.panel.guarded(lambda _: self.decide(str(number)), control=made))
        return made

    def _show_row(self) -> None:
        """The whole text of the chosen row, and what can be decided."""
        line = self._line
        self.keep.disabled = line is None or not line["given_label"]
        self.take.disabled = line is None or not line["predicted_label"]
        self.undo.disabled = line is None or not self._decision(line["row"])
        if line is None:
            self.text.value = ""
            return
        texts = [line[name] for name in ("text", "text_pair") if name in line]
        parts = [html.paragraph(visible(str(text), LONG)) for text in texts] or [self._example(line)]
        title = self.panel.word("row_number", row=line["row"])
        self.text.value = html.joined(html.heading(title, 4), *parts)

    def _example(self, line: dict[str, Any]) -> html.Html:
        """A row that is no text: its picture, or its columns."""
        assert self._searched is not None
        spec, part = self._searched.spec, self._searched[line["split"]]
        place = int((numbers(part, "row") == line["row"]).argmax())
        if spec.modality == "image":
            picture = stack(part.select([place]), spec).inputs[0]
            return media.picture(picture, str(line["given_label"]), 168)
        values = part.with_format(None)[place]
        shown = [(name, values[name]) for name in values if name not in ("label", "row", "target", "sound")]
        return html.scrolled(html.table((), shown[:COLUMNS]), self.panel.word("row_number", row=line["row"]))


def _lines(table: Any) -> list[dict[str, Any]]:
    """The lines of a frame as dicts."""
    return table.to_dict(orient="records")
