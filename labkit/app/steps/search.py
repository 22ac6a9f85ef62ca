"""The panel Search: index a folder of texts, search it, and ask questions that are answered with citations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ipywidgets as widgets

from labkit.app.panel import Panel
from labkit.app.state import State
from labkit.core import html, source_code
from labkit.core.errors import DataError
from labkit.i18n import _, translate
from labkit.retrieval.answers import TextAnswer
from labkit.retrieval.hits import Hits
from labkit.retrieval.index import METHODS, SearchIndex
from labkit.viz import search_html

#: Encoders that are offered, with the key of their label.
ENCODERS = (
    ("encoder_english", "minilm-l6"),
    ("encoder_multilingual", "e5-small"),
    ("search_encoder_none", ""),
)
WRITER = "smollm2-135m"


class SearchPanel(Panel):
    """Searches passages of one's own texts and answers questions from them.

    Args:
        source: an index, the folder of a saved index, or a folder of .txt, .md and .pdf files; it can be chosen in the
            panel too.
        state, language: see :class:`labkit.app.panel.Panel`.
    """

    title = "search"

    def __init__(
        self,
        source: SearchIndex | str | Path | None = None,
        *,
        state: State | None = None,
        language: str | None = None,
    ):
        self.index = source if isinstance(source, SearchIndex) else None
        self._from = "" if source is None or self.index is not None else str(source)
        self._asked: tuple[str, str] | None = None  # what was done last: "search" or "ask", and the text
        super().__init__(state, language)
        if self._from:
            self._build()

    def build(self) -> None:
        self.save.layout.display = "none"  # there is no experiment
        self.place = widgets.Text(
            self._from,
            description=self.word("texts_folder"),
            layout={"width": "60%"},
            continuous_update=False,
        )
        self.encoder = widgets.Dropdown(
            options=[(self.word(key), name) for key, name in ENCODERS], description=self.word("encoder_field")
        )
        self.make = self.button("make_index", self._build)
        self.query = widgets.Text(
            description=self.word("query"), layout={"width": "60%"}, continuous_update=False
        )
        self.method = widgets.Dropdown(
            options=[(self.word(f"method_{name}"), name) for name in METHODS],
            description=self.word("method_field"),
        )
        self.go = self.button("search_now", self._search, primary=True)
        self.ask = self.button("ask_now", self._ask)
        for control in (self.place, self.encoder, self.query, self.method):
            control.style.description_width = "auto"
        self.about, self.shown = self.html(), self.html()
        rows = [
            widgets.HBox([self.place, self.encoder, self.make]),
            widgets.HBox([self.query, self.method, self.go, self.ask]),
        ]
        for row in rows:
            row.add_class("lk-form")
        self.body.children = (rows[0], self.about, rows[1], self.shown)
        self._ready()

    def code(self) -> str:
        lines = ["import labkit as lk", ""]
        if self._from:
            call = source_code.call(*self._opening())
            lines.append(source_code.assign("index", call))
        elif self.index is not None:
            lines.append("# index: the SearchIndex that this panel was given")
        else:
            return ""
        if self._asked is not None:
            kind, text = self._asked
            more = {"method": self.method.value} if self.method.value != METHODS[0] else {}
            name = "index.search" if kind == "search" else "index.answer"
            lines.append(source_code.line(source_code.call(name, text, **more)))
        return source_code.program(lines)

    def _opening(self) -> tuple[Any, ...]:
        if is_index(self._from):
            return "lk.SearchIndex.load", self._from
        return "lk.SearchIndex.from_folder", self._from, self.encoder.value

    def _build(self) -> None:
        place, encoder = self.place.value.strip(), self.encoder.value
        if not place:
            raise DataError(_("give a folder with .txt, .md or .pdf files, or a saved index."))
        self._from, self._asked = place, None
        self.shown.value = ""

        def work() -> SearchIndex:
            return SearchIndex.load(place) if is_index(place) else SearchIndex.from_folder(place, encoder)

        self.later("index", work, self._made)

    def _made(self, index: SearchIndex) -> None:
        self.index = index
        self._ready()

    def _ready(self) -> None:
        """Show what the index has; nothing can be searched without one."""
        index = self.index
        for control in (self.query, self.method, self.go, self.ask):
            control.disabled = index is None
        if index is None:
            self.about.value = html.paragraph(self.word("index_first"), "quiet")
        else:
            sources = len({each.source for each in index.passages})
            told = self.word("index_has", passages=f"{len(index):,}", sources=f"{sources:,}")
            notes = [f"{name}: {translate(why, self.state.language)}" for name, why in index.notes[:20]]
            more = html.details(self.word("left_out_files", count=len(index.notes)), html.listed(notes))
            self.about.value = html.joined(html.paragraph(told), more if notes else html.Html(""))
        self.renew_code()

    def _search(self) -> None:
        index, query, method = self._what()
        self._asked = "search", query
        self.renew_code()
        self.later("search", lambda: index.search(query, 10, method), self._found)

    def _ask(self) -> None:
        index, query, method = self._what()
        self._asked = "ask", query
        self.renew_code()
        self.later("search", lambda: index.answer(query, WRITER, method=method), self._found)

    def _what(self) -> tuple[SearchIndex, str, str]:
        if self.index is None:
            raise DataError(_("give a folder with .txt, .md or .pdf files, or a saved index."))
        return self.index, self.query.value, self.method.value if self.index.vectors is not None else "bm25"

    def _found(self, found: Hits | TextAnswer) -> None:
        show = search_html.answer if isinstance(found, TextAnswer) else search_html.hits
        self.shown.value = show(found, self.state.language)  # type: ignore[arg-type]


def is_index(place: str) -> bool:
    """Whether a folder is a saved index."""
    return (Path(place).expanduser() / "index.json").is_file()
