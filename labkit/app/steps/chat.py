"""The panel Chat: a conversation with a language model, streamed while it is generated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ipywidgets as widgets

from labkit.app.panel import Panel
from labkit.app.state import State
from labkit.app.widgets.answers import Chats
from labkit.core import html, source_code
from labkit.core.errors import DataError
from labkit.core.units import scaled
from labkit.i18n import _
from labkit.inference.text_generation import TextGenerationPipeline

#: The model that is offered.
MODEL = "smollm2-135m"


class ChatPanel(Panel):
    """Talks to a chat model: several turns, sampling settings, a button that stops an answer.

    Args:
        source: an opened model, or the name or folder of one; it can be chosen in the panel too.
        state, language: see :class:`labkit.app.panel.Panel`.
    """

    title = "chat"
    model_name = "chat"

    def __init__(
        self,
        source: TextGenerationPipeline | str | Path | None = None,
        *,
        state: State | None = None,
        language: str | None = None,
    ):
        self._from = "" if source is None or isinstance(source, TextGenerationPipeline) else str(source)
        self.asking: Chats | None = None
        self.asked: tuple[Any, ...] | None = None
        super().__init__(state, language)
        if isinstance(source, TextGenerationPipeline):
            self._opened(source)
        elif self._from:
            self._open()

    def build(self) -> None:
        self.save.layout.display = "none"  # there is no experiment
        self.name = widgets.Text(
            self._from or MODEL, description=self.word("chat_model"), placeholder=self.word("chat_model_place"),
            layout={"width": "60%"}, continuous_update=False,
        )  # fmt: skip
        self.name.style.description_width = "auto"
        self.open = self.button("open_chat", self._open)
        self.go = self.button("send_message", self._send, primary=True)
        self.stop = self.button("stop_writing", self._stop)
        self.about, self.answer = self.html(html.paragraph(self.word("chat_first"), "quiet")), self.html()
        self.place = widgets.VBox()
        rows = [widgets.HBox([self.name, self.open]), widgets.HBox([self.go, self.stop])]
        for row in rows:
            row.add_class("lk-form")
        self.body.children = (rows[0], self.about, self.answer, self.place, rows[1])
        self.go.disabled, self.stop.layout.display = True, "none"

    def code(self) -> str:
        if self.asking is None:
            return ""
        opened = "# chat: the TextGenerationPipeline that this panel was given"
        if self._from:
            opened = source_code.assign("chat", source_code.call("lk.TextGenerationPipeline", self._from))
        lines = ["import labkit as lk", "", opened]
        if self.asked is not None:
            lines += self.asking.code(self.asked)
        return source_code.program(lines)

    def refresh(self) -> bool:
        if self.asking is not None and self.asked is not None and (text := self.asking.so_far) is not None:
            self.answer.value = self.asking.shown(self.asked, text)
        busy = super().refresh()
        if self._built and not self.closed:
            writing = self.asking is not None and self.asking.so_far is not None
            self.stop.layout.display = "" if writing else "none"
        return busy

    def close(self) -> None:
        self._stop()
        super().close()

    def _open(self) -> None:
        name = self.name.value.strip()
        if not name:
            raise DataError(_("give the name or folder of a chat model, such as smollm2-135m."))
        self._stop()

        def deliver(tool: TextGenerationPipeline) -> None:
            self._from = name
            self._opened(tool)

        self.later("open", lambda: TextGenerationPipeline(name), deliver)

    def _opened(self, tool: TextGenerationPipeline) -> None:
        self.asking, self.asked = Chats(self, tool), None
        self.put(self.place, [self.asking.root])
        self.answer.value, self.go.disabled = "", False
        told = self.word("chat_has", name=self._from or "chat", parameters=scaled(tool.parameters))
        self.about.value = html.paragraph(told, "quiet")
        self.renew_code()

    def _send(self) -> None:
        asking = self.asking
        assert asking is not None, "the button is disabled until a model is open"
        asked = self.asked = asking.asked()
        self.renew_code()
        self.stop.layout.display = ""

        def work() -> str:
            try:
                return asking.answer(asked)
            finally:
                asking.so_far = None

        def show(found: str) -> None:
            if asking is self.asking:
                self.answer.value = asking.shown(asked, found)

        self.later("answer", work, show)

    def _stop(self) -> None:
        if self.asking is not None:
            self.asking.stopped.set()
