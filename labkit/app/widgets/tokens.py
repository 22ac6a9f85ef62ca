"""Token view: tokens, ids and positions of a text, and how many rows are truncated."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ipywidgets as widgets
import numpy as np

from labkit.app.widgets.suitability import UNKNOWN, unknown_share
from labkit.core import html
from labkit.core.text import visible
from labkit.data.arrow import text_columns
from labkit.data.prepare.quality import Histogram
from labkit.data.rows import Rows
from labkit.data.text.encode import encode
from labkit.data.text.tokenizer import Tokenizer
from labkit.models import models
from labkit.models.base import Modality
from labkit.train.processors import fitting_length, tokenizer_of
from labkit.viz import charts
from labkit.viz.svg import inline

if TYPE_CHECKING:
    from labkit.app.panel import Panel

#: Tokens of a text that are counted, at most; pieces that are shown of one.
WHOLE, SHOWN = 2**16, 400
#: Rows that lengths are counted of, at most.
LOOKED_AT = 20_000
_CALM = 0.3


class TokensPreview:
    """A part of the step Prepare: ``root`` is its widget."""

    def __init__(self, panel: Panel):
        self.panel = panel
        self.tokenizer: Tokenizer | None = None
        self._made_for: tuple[object, ...] = ()  # what the tokenizer depends on
        self._lengths: np.ndarray | None = None
        self._unknown = 0.0  # share of the tokens that the vocabulary lacks
        self.title = panel.html(html.heading(panel.word("tokens_title")))
        self.about, self.chart, self.shown = panel.html(), panel.html(), panel.html()
        self.length = widgets.IntSlider(
            128, 8, 512, 8, description=panel.word("max_length"), continuous_update=False,
            tooltip=panel.word("max_length_help"),
        )  # fmt: skip
        self.row = widgets.BoundedIntText(0, 0, 0, description=panel.word("text_number"))
        self.own = widgets.Text(description=panel.word("own_text"), placeholder=panel.word("own_text_place"))
        form = widgets.HBox([self.length])
        which = widgets.HBox([self.row, self.own])
        for box in (form, which):
            box.add_class("lk-form")
        self.root = widgets.VBox([self.title, self.about, form, self.chart, which, self.shown])
        panel.on_change(self.length, self._cut_at)
        panel.on_change(self.row, lambda _: self._text())
        panel.on_change(self.own, lambda _: self._text())
        panel.watch(("task", "model"), self.renew)

    def renew(self) -> None:
        """Read anew what the state has now."""
        state = self.panel.state
        texts = state.rows is not None and state.rows.schema.modality == "text"
        self.root.layout.display = "" if texts else "none"
        if not texts:
            return
        if state.task.max_length is not None:
            with self.panel.filling():
                self.length.value = state.task.max_length
        self.panel.later("tokens", self._measure, self._show, _CALM)

    def _measure(self) -> tuple[Tokenizer, np.ndarray, float, int]:
        """The tokenizer, the lengths of the training rows in tokens, the share of unknown tokens, and how many
        rows there are. In a thread."""
        state = self.panel.state
        rows = state.prepared()
        train = rows["train"]
        part = train.select(range(min(len(train), LOOKED_AT)))
        tokenizer = self._tokenizer_of(rows)
        tokens = encode(part, tokenizer, WHOLE)
        return tokenizer, np.asarray(tokens.lengths), unknown_share(tokens, tokenizer.unk_id), len(train)

    def _tokenizer_of(self, rows: Rows) -> Tokenizer:
        state = self.panel.state
        model = state.model if state.model is not None and state.model.modality is Modality.TEXT else None
        weights = "" if model is None else model.weights
        key = (weights or id(rows), state.task.tokenizer, state.task.vocabulary)
        if self.tokenizer is None or self._made_for != key:
            self.tokenizer, self._made_for = tokenizer_of(model, state.task, rows), key
        return self.tokenizer

    def _show(self, found: tuple[Tokenizer, np.ndarray, float, int]) -> None:
        tokenizer, self._lengths, self._unknown, count = found
        model, task = self.panel.state.model, self.panel.state.task
        with self.panel.filling():
            self.row.max = max(count - 1, 0)
            if task.max_length is None:
                self.length.value = fitting_length(self._lengths, model)
        if model is not None and model.weights:
            about = self.panel.word("tokenizer_of", model=models.name_of(model), weights=model.weights)
        else:
            about = self.panel.word("tokenizer_learnt")
        about += " " + self.panel.word("tokenizer_size", pieces=f"{tokenizer.vocab_size:,}")
        notes = [html.paragraph(about, "quiet")]
        if self._unknown > UNKNOWN:
            told = self.panel.word("unknown_tokens", share=f"{self._unknown:.0%}")
            notes.append(html.note(told, "bad"))
        self.about.value = html.joined(*notes)
        self._draw()
        self._text()

    def _cut_at(self, length: int) -> None:
        self.panel.state.task = self.panel.state.task.replace(max_length=length)
        self._draw()

    def _draw(self) -> None:
        """The histogram of lengths, with the line where texts are cut."""
        if self._lengths is None:
            return
        limit, word = self.length.value, self.panel.word
        cut = int((self._lengths > limit).sum())
        share = f"{cut / max(len(self._lengths), 1):.1%}"
        lost = np.maximum(self._lengths - limit, 0).sum() / max(self._lengths.sum(), 1)
        note = word("cut_share", share=share, count=f"{cut:,}", lost=f"{lost:.1%}")
        chart = charts.histogram(
            Histogram.of(self._lengths),
            word("token_lengths"),
            word("tokens"),
            word("rows"),
            limit + 0.5,
            note,
        )
        tone = "warn" if cut / max(len(self._lengths), 1) > 0.05 else "info"
        if not cut:
            tone = "good"
        self.chart.value = html.joined(
            inline(chart), html.note(word("cut_told", note=note, length=limit), tone)
        )

    def _text(self) -> None:
        """The pieces of one text, in a thread: the tokenizer may still be learning."""
        if self.tokenizer is None:
            return
        tokenizer, own, number, limit = self.tokenizer, self.own.value, self.row.value, self.length.value

        def read() -> list[str]:
            if own.strip():
                return [own]
            train = self.panel.state.prepared()["train"]
            return [train[min(number, len(train) - 1)][name] for name in text_columns(train)]

        self.panel.later("text", read, lambda texts: self._show_text(tokenizer, texts, limit))

    def _show_text(self, tokenizer: Tokenizer, texts: list[str], limit: int) -> None:
        lines = read_as(tokenizer, texts, limit)
        word = self.panel.word
        chips = "".join(
            f'<span class="lk-token lk-token-{kind}" title="{html.safe(f"{number} · {place}")}">'
            f"{html.safe(piece)}<small>{number}</small></span>"
            for piece, number, place, kind in lines
        )
        head = [word(key) for key in ("place", "piece", "id", "characters_from_to", "kind")]
        rows = [
            (i, piece, number, place, word(f"token_{kind}"))
            for i, (piece, number, place, kind) in enumerate(lines)
        ]
        table = html.scrolled(html.table(head, rows, numeric=(0, 2)), word("tokens_title"))
        told = word("tokens_told", count=len(lines), kept=min(len(lines), limit))
        text = html.joined(*(html.paragraph(visible(text, 2000)) for text in texts))
        tokens = html.Html(f'<div class="lk-tokens">{chips}</div>')
        folded = html.details(word("as_table"), table)
        self.shown.value = html.joined(text, tokens, html.paragraph(told, "quiet"), folded)


def read_as(tokenizer: Tokenizer, texts: list[str], limit: int) -> list[tuple[str, int, str, str]]:
    """The tokens of a text (or of two) as (piece, id, characters from – to, kind).

    The kind is "special", "unknown", "first" or "second" (text), or "cut" for what is beyond ``limit``
    tokens.
    """
    form = tokenizer.single if len(texts) < 2 else tokenizer.pair

    def special(place: int) -> list[tuple[str, int, str, str]]:
        ids = [number for number, _ in form.special[place]]
        return [(name, number, "", "special") for name, number in zip(tokenizer.names(ids), ids, strict=True)]

    found = special(0)
    for place, (text, kind) in enumerate(zip(texts, ("first", "second"), strict=False), 1):
        for piece, number, (start, end) in tokenizer.pieces(text)[:SHOWN]:
            found.append((piece, number, f"{start}–{end}", "unknown" if number == tokenizer.unk_id else kind))
        found += special(place)
    if len(texts) > 1 or len(found) <= limit:  # of a pair the longer text is cut: which, the histogram counts
        return found
    after = len(form.after)
    kept, cut = found[: limit - after], found[limit - after : len(found) - after]
    last = found[len(found) - after :]
    return [*kept, *last, *((piece, number, place, "cut") for piece, number, place, _ in cut)]
