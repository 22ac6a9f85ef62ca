"""The line under the step names: data, model, run, and what has changed since that run."""

from __future__ import annotations

from pathlib import PurePath
from typing import Literal

from labkit.app.state import State
from labkit.core import html
from labkit.core.errors import LabkitError
from labkit.core.html import Html
from labkit.runs.changes import changed_parts
from labkit.runs.overview import score_of
from labkit.runs.store import OVER, RunInfo
from labkit.train.experiment import check_reads
from labkit.viz.words import title_of, word

#: Whether a step is done with the present data and settings, is under way, or has an outdated result.
Mark = Literal["done", "active", "outdated", ""]
SYMBOLS: dict[Mark, str] = {"done": " ✓", "active": " …", "outdated": " ↻", "": ""}


class Context:
    """What a state holds, read once.

    Attributes:
        info: the state's run, or None.
        changed: the parts that differ from those of the run.
    """

    def __init__(self, state: State):
        self.state = state
        self.info: RunInfo | None = None
        self.changed: tuple[str, ...] = ()
        self.comparable = False
        try:
            if state.run is not None:
                self.info = state.run.info
                self.changed = changed_parts(state.experiment, self.info)
                self.comparable = state.rows is not None
        except LabkitError:  # no model chosen, or the run was deleted
            return

    def marks(self, prepared: bool) -> dict[str, Mark]:
        """Step → mark. ``prepared``: whether the step Prepare was seen with the present data."""
        state, train = self.state, self._train_mark()
        data: Mark = "done" if state.rows is not None else ""
        seen = prepared or bool(state.steps) or (self.comparable and "data" not in self.changed)
        return {
            "data": data,
            "prepare": data if seen else "",
            "model": "done" if self._model_fits() else "",
            "train": train,
        }

    def _train_mark(self) -> Mark:
        if self.info is None or self.info.status == "created":
            return ""
        if self.changed:
            return "outdated"
        if self.info.status not in OVER:
            return "active"
        return "done" if self.comparable and self.info.status in ("finished", "stopped") else ""

    def _model_fits(self) -> bool:
        state = self.state
        if state.model is None:
            return False
        try:
            if state.rows is not None:
                check_reads(state.model, state.rows, state.task)
        except LabkitError:
            return False
        return True

    def line(self) -> Html:
        """Data, model and run as one line of HTML."""
        language = self.state.language
        parts = [self._data(language), self._model(language), self._run(language)]
        shown = "<i>·</i>".join(f"<span>{part}</span>" for part in parts)
        if self.changed:
            names = ", ".join(word(f"changed_{part}", language) for part in self.changed)
            label, why = word("out_of_date", language, what=names), word("out_of_date_help", language)
            shown += f' <span class="lk-chip lk-warn" title="{html.safe(why)}">↻ {html.safe(label)}</span>'
        return Html(f'<div class="lk-context {html.LITERAL}">{shown}</div>')

    def _data(self, language: str) -> str:
        counts = self.state.counts()
        if not counts and not self.state.source:
            return html.safe(word("no_data_yet", language))
        name = PurePath(self.state.source.rstrip("/")).name or word("python_rows", language)
        if not counts:
            return html.safe(name, 60)
        known = [split for split in ("train", "validation", "test") if split in counts] or list(counts)
        sizes = "/".join(f"{counts[split]:,}" for split in known)
        splits = [word(f"split_{s}", language) if s in ("train", "validation", "test") else s for s in known]
        rows = f'<span title="{html.safe(" / ".join(splits))}">{html.safe(word("split_sizes", language, sizes=sizes))}'
        return f"<b>{html.safe(name, 60)}</b> · {rows}</span>"

    def _model(self, language: str) -> str:
        from labkit.models import models

        model = self.state.model
        if model is None:
            return html.safe(word("no_model_yet", language))
        detail = str(model.preset or model.weights or "").rstrip("/").rpartition("/")[2]
        return html.safe(f"{title_of('model', models.name_of(model), language)} {detail}".strip(), 60)

    def _run(self, language: str) -> str:
        info = self.info
        if info is None:
            return html.safe(word("no_run_yet", language))
        facts = [word(info.status, language), *([score] if (score := score_of(info, language)) else [])]
        named = word("run_named", language, name=info.name, facts=", ".join(facts))
        return html.safe(named, 100)
