"""The target of differentially private training: a folded form, off by default."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets

from labkit.app.widgets.forms import Form
from labkit.core import html
from labkit.core.extras import has
from labkit.train.privacy import Privacy

if TYPE_CHECKING:
    from labkit.app.panel import Panel

#: Fields of the form; the seed of the noise is for tests.
SHOWN = ("epsilon", "delta", "clip")
#: Epsilon that the form begins with.
USUAL = 8.0


class PrivacyForm:
    """A checkbox, and the fields of :class:`~labkit.train.privacy.Privacy`.

    Args:
        panel: whose callbacks these are.
        changed: called with the target, or None where it is switched off.

    Attributes:
        root: the widget.
        on: the checkbox.
        form: the fields.
    """

    def __init__(self, panel: Panel, changed: Callable[[Privacy | None], None]):
        self.changed, self.target = changed, Privacy(epsilon=USUAL, delta=1e-5)
        self.on = widgets.Checkbox(False, description=panel.word("privacy_on"), indent=False)
        self.on.disabled = not has("privacy")
        panel.on_change(self.on, lambda on: changed(self.target if on else None))
        self.form = Form(panel, self.target, self._set, SHOWN)
        note = html.note(panel.word("privacy_install" if self.on.disabled else "privacy_about"))
        content = widgets.VBox([panel.html(note), self.on, self.form.root])
        self.root = widgets.Accordion([content], titles=[panel.word("form_privacy")])

    def _set(self, changes: dict[str, Any]) -> None:
        self.target = self.target.replace(**changes)
        if self.on.value:
            self.changed(self.target)

    def fill(self, target: Privacy | None, rows: int) -> None:
        """Show a target; for None the last one, with a delta that fits so many training rows."""
        if target is not None:
            self.target = target
        elif rows and self.target.delta >= 1 / rows:
            self.target = self.target.replace(delta=float(f"{0.1 / rows:.0e}"))
        self.on.value = target is not None
        self.form.fill(self.target)
        self.form.root.layout.display = "" if self.on.value else "none"
