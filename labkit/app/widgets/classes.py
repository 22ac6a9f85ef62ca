"""Classes of the rows: rename, merge and drop labels, with suggested merges."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets

from labkit.core import html
from labkit.core.text import one_line
from labkit.data.prepare.classes import Suggestion, suggestions
from labkit.i18n import translate

if TYPE_CHECKING:
    from labkit.app.panel import Panel
    from labkit.data.rows import Rows

#: Classes and suggestions that are listed, at most.
MOST = 200


class ClassEditor:
    """The labels of the rows with what becomes of them.

    Args:
        panel: the step that shows it.
        changed: called when a person has changed :attr:`names` or :attr:`dropped`.

    Attributes:
        names: label → its new name.
        dropped: labels that are removed.
        root: the widget.
    """

    def __init__(self, panel: Panel, changed: Callable[[], None]):
        self.panel, self._changed = panel, changed
        self.names: dict[str, str] = {}
        self.dropped: list[str] = []
        self._found: list[Suggestion] = []
        self._counts: dict[str, int] = {}
        self.note, self.table = panel.html(), panel.html()
        self.label = widgets.Dropdown(description=panel.word("class_label"))
        self.target = widgets.Combobox(description=panel.word("class_target"), ensure_option=False)
        self.merge_all = panel.button("class_merge_all", self._merge_all, primary=True)
        self.rename = panel.button("class_rename", self._rename)
        self.drop = panel.button("class_drop", self._drop)
        self.reset = panel.button("class_reset", self._reset)
        form = widgets.HBox([self.label, self.target, self.rename, self.drop, self.reset])
        form.add_class("lk-form")
        self.root = widgets.VBox(
            [
                panel.html(html.heading(panel.word("classes_title"))),
                self.note,
                self.merge_all,
                form,
                self.table,
            ]
        )

    def fill(self, rows: Rows, step: dict[str, Any]) -> None:
        """Show the classes of ``rows`` and what the step "relabel" does with them."""
        self.root.layout.display = (
            "none" if rows.schema.problem_type == "number" or not rows.schema.classes else ""
        )
        self.names, self.dropped = dict(step.get("names", {})), list(step.get("drop", ()))
        self._counts = rows.spec.class_counts()
        self._found = suggestions(rows)[:MOST]
        labels = list(self._counts)[:MOST]
        self.label.options = [(one_line(label, 60), label) for label in labels]
        self.target.options = tuple(labels)
        self._show()

    def step(self) -> dict[str, Any] | None:
        """The step as the experiment has it; None where nothing is changed."""
        given = {
            **({"names": dict(self.names)} if self.names else {}),
            **({"drop": self.dropped} if self.dropped else {}),
        }
        return {"do": "relabel", **given} if given else None

    def _merge_all(self) -> None:
        self.names |= {each.label: each.into for each in self._open()}
        self._change()

    def _rename(self) -> None:
        label, target = self.label.value, self.target.value.strip()
        if label is None or not target or target == label:
            return
        self.names[label] = target
        self.dropped = [name for name in self.dropped if name != label]
        self.target.value = ""
        self._change()

    def _drop(self) -> None:
        if (label := self.label.value) is not None and label not in self.dropped:
            self.names.pop(label, None)
            self.dropped.append(label)
            self._change()

    def _reset(self) -> None:
        self.names, self.dropped = {}, []
        self._change()

    def _change(self) -> None:
        self._show()
        self._changed()

    def _open(self) -> list[Suggestion]:
        """The suggestions that nobody has decided on."""
        return [
            each for each in self._found if each.label not in self.names and each.label not in self.dropped
        ]

    def _show(self) -> None:
        word, found = self.panel.word, self._open()
        self.merge_all.layout.display = "" if found else "none"
        self.reset.disabled = not (self.names or self.dropped)
        lines = [
            f"{one_line(each.label, 60)} ({each.rows:,}) → {one_line(each.into, 60)}: "
            f"{translate(each.reason, self.panel.state.language)}"
            for each in found
        ]
        told = html.joined(
            html.note(word("classes_suggested", count=f"{len(found):,}"), "warn"), html.listed(lines)
        )
        self.note.value = told if found else ""
        changed = [
            (label, f"{self._counts.get(label, 0):,}", self.names.get(label, word("class_dropped")))
            for label in (*self.names, *self.dropped)
        ]
        head = [word(key) for key in ("class_label", "rows", "class_target")]
        self.table.value = html.table(head, changed, numeric=(1,)) if changed else ""
