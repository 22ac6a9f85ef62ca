"""The live panel of a run: watches the run store, leaves commands in it, and knows nothing else of the run.

So it serves a thread, a worker process, a run of the command line or a finished one alike, and a page that is opened
later shows the whole history. When the run ends, the panel's output in the notebook becomes a static picture.
"""

from __future__ import annotations

import logging
import secrets
import time
import tomllib
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anywidget
import ipywidgets as widgets
import traitlets

from labkit.base.errors import ConfigError
from labkit.base.shown import escape
from labkit.panels import static
from labkit.panels.controls import close_all, hear_while_busy
from labkit.panels.frontend import frontend
from labkit.panels.picture import PERIOD, PicturePanel, bundle, code_of, publish
from labkit.panels.series import MOST, gather, packed
from labkit.panels.ticker import TICKER
from labkit.panels.words import language as language_of
from labkit.panels.words import word

if TYPE_CHECKING:
    from labkit.train.run import Run
    from labkit.train.store import Record, RunInfo

#: Most points of a series in one update; a run of thousands of steps a second still sends less than 20 kB.
MOST_NEWS = 200
#: Seconds without an answer from the page's script after which the curves are shown without it.
DEAF = 6.0
#: Panels of finished runs that are kept, for pages that are opened again before they were saved.
KEPT = 4

_LOG = logging.getLogger("labkit.panels")


def show(run: Run, language: str | None = None) -> None:
    """Show a run where this is called: a live panel, a picture that is renewed, or nothing outside notebooks."""
    where = frontend()
    if where == "none":
        return
    if where == "html" or run.info.over:
        PicturePanel(run, language).display()
    else:
        LivePanel.of(run, language).display()


class Curves(anywidget.AnyWidget):
    """Head and curves, drawn by ``live.js``. ``root`` is the model id of the panel it belongs to."""

    _esm = Path(__file__).with_name("live.js")
    _css = Path(__file__).with_name("live.css")
    words = traitlets.Dict().tag(sync=True)
    root = traitlets.Unicode().tag(sync=True)


class LivePanel:
    """Curves, numbers, buttons and errors of a run. ``root`` is the widget; :func:`show` is the usual way to one.

    Everything is sent by the ticker's thread. What the page asks for sets a flag or writes a command, and so may be
    handled in any thread.
    """

    _open: dict[tuple[Path, str, str], LivePanel] = {}  # noqa: RUF012 (one registry a process)

    def __init__(self, run: Run, language: str | None = None):
        self.run, self.language = run, language_of(language)
        self.display_id = secrets.token_hex(8)
        self.seen = 0  # the last record that was sent
        self.problem: static.Problem | None = None
        self._ended: static.Problem | None = None
        self._asked: dict[int, str] = {}  # commands that wait: number → what was asked
        self._latest: dict[str, tuple[int, float]] = {}
        self._told: dict[str, Any] = {}
        self._hello = self._heard = self._over = self._closed = False
        self._since = self._drawn = time.monotonic()
        self._build()

    @classmethod
    def of(cls, run: Run, language: str | None = None) -> LivePanel:
        """The one panel of this run in this process; panels of runs that ended long ago are closed."""
        key = (run.store.path, run.id, language_of(language))
        over = [panel for place, panel in cls._open.items() if panel._over and place != key]
        for panel in over[: max(len(over) - KEPT, 0)]:
            panel.close()
        panel = cls._open.get(key)
        if panel is None or panel._over:
            if panel is not None:
                panel.close()
            panel = cls._open[key] = cls(run, language)
        return panel

    def display(self) -> None:
        """Show the panel in the cell that runs now."""
        view = {"version_major": 2, "version_minor": 0, "model_id": self.root.model_id}
        text = self._word("placeholder", name=self.run.info.name)
        data = {"application/vnd.jupyter.widget-view+json": view, "text/plain": text}
        publish(data, self.display_id)
        self._since = time.monotonic()
        TICKER.add(self)

    def close(self) -> None:
        """Give back the panel's widgets; the run goes on."""
        self._closed = True
        TICKER.discard(self)
        for key in [key for key, panel in self._open.items() if panel is self]:
            del self._open[key]
        close_all([self.root])

    # --- what the panel is made of ----------------------------------------------------------------------------

    def _build(self) -> None:
        self.second = static.measure(self.run.info)
        names = ("loss", self.second, "train", "validation", "progress")
        self.curves = Curves(words={**{name: self._word(name) for name in names}, "second": self.second})
        self.curves.on_msg(self._guarded(self._message))
        self.pause = self._button("pause", self._pause)
        self.stop = self._button("stop", lambda: self._ask("stop", self.run.stop()))
        self.save = self._button("save", lambda: self._ask("save", self.run.save()))
        self.rate = widgets.Text(_rate(self.run.info), description=self._word("learning_rate"), placeholder="2e-5")
        self.rate.style.description_width = self.rate.layout.width = "auto"
        self.set = self._button("set", self._set)
        self.note, self.picture, self.error, self.code = (widgets.HTML() for _ in range(4))
        row = widgets.HBox([self.pause, self.stop, self.save, self.rate, self.set])
        row.layout.flex_flow = "row wrap"
        self.root = widgets.VBox([self.curves, self.picture, row, self.note, self.error, self.code])
        self.root.add_class("labkit-panel")
        self.curves.root = self.root.model_id
        for widget in (self.curves, *row.children):
            hear_while_busy(widget)

    def _button(self, key: str, action: Callable[[], None]) -> widgets.Button:
        button = widgets.Button(description=self._word(key), tooltip=self._word(f"{key}_help"))
        button.layout.width = "auto"
        button.on_click(self._guarded(lambda _: self._pressed(action)))
        return button

    def _word(self, key: str, **places: object) -> str:
        return word(key, self.language, **places)

    # --- what the reader does ---------------------------------------------------------------------------------

    def _guarded(self, action: Callable[..., Any]) -> Callable[..., Any]:
        """``action``, whose failure is shown in the panel: no cell would show that of a callback."""

        def call(*arguments: Any) -> Any:
            try:
                return action(*arguments)
            except Exception as error:
                _LOG.exception("panel of run %s", self.run.id)
                self.problem = static.Problem(f"{type(error).__name__}: {error}", traceback=traceback.format_exc())
                TICKER.add(self)

        return call

    def _pressed(self, action: Callable[[], None]) -> None:
        self.problem = None
        action()
        TICKER.add(self)

    def _pause(self) -> None:
        if self.run.info.status == "paused":
            self._ask("resume", self.run.resume())
        else:
            self._ask("pause", self.run.pause())

    def _set(self) -> None:
        try:
            rate = float(self.rate.value)
        except ValueError:
            raise ConfigError(self._word("not_a_number", value=repr(self.rate.value))) from None
        self._ask("set", self.run.set(learning_rate=rate))

    def _ask(self, key: str, command: object) -> None:
        if isinstance(command, int):
            self._asked[command] = self._word(key)

    def _message(self, _: Any, content: dict[str, Any], __: Any = None) -> None:
        if content.get("type") == "hello":
            self._hello = True
        elif content.get("type") == "ack":
            self._heard = True
        TICKER.add(self)

    # --- what the reader sees ---------------------------------------------------------------------------------

    def refresh(self) -> bool:
        """Send what is new; False when there is nothing more to come. Called by the ticker's thread only."""
        if self._closed:
            return False
        self._guarded(self._refresh)()
        self.error.value = static.error_box(self.problem or self._ended, self.run.id, self.language)
        return not self._over

    def _refresh(self) -> None:
        info = self.run.info
        self._ended = static.problem_of(info)
        self._curves(info)
        self._controls(info)
        if not self._heard and time.monotonic() - self._since > DEAF:
            self._draw_picture(info)
        elif self.picture.value and self._heard:
            self.picture.value = ""
        if info.over:
            self._finish()

    def _curves(self, info: RunInfo) -> None:
        """The history to a page that said hello, else what came since."""
        hello, self._hello = self._hello, False
        begin = 0 if hello else self.seen
        records = self.run.store.records(self.run.id, begin)
        if not hello and self._went_back(records):  # resumed from an earlier checkpoint
            hello, records = True, self.run.store.records(self.run.id)
        if hello:
            self._latest.clear()
        for record in records:
            self._latest[f"{record.split}/{record.name}"] = (record.step, record.value)
        seen = records[-1].seq if records else self.seen
        told = self._info(info)
        if hello:
            message = {"type": "snapshot", "seq": seen, "series": packed(gather(records), MOST)}
        elif records or told != self._told:
            message = {"type": "append", "from": self.seen, "seq": seen, "series": packed(gather(records), MOST_NEWS)}
        else:
            return
        self.curves.send({**message, "info": told})
        self.seen, self._told = seen, told

    def _went_back(self, records: list[Record]) -> bool:
        return any(record.step < self._latest.get(f"{record.split}/{record.name}", (-1,))[0] for record in records)

    def _info(self, info: RunInfo) -> dict[str, Any]:
        facts = static.facts_of(info, self.language)
        if rate := self._latest.get("train/learning_rate"):
            facts.append(self._word("rate", number=f"{rate[1]:.3g}"))
        drawn = {k: ([s], [v]) for k, (s, v) in self._latest.items() if k.endswith(("/loss", f"/{self.second}"))}
        told = {"name": info.name, "status": info.status, "word": self._word(info.status), "message": info.message}
        return {**told, "step": info.step, "steps": info.steps, "facts": facts,
                "spoken": static.spoken(drawn, self.language)}  # fmt: skip

    def _controls(self, info: RunInfo) -> None:
        key = "resume" if info.status == "paused" else "pause"
        self.pause.description, self.pause.tooltip = self._word(key), self._word(f"{key}_help")
        for widget in (self.pause, self.stop, self.save, self.rate, self.set):
            widget.disabled = info.over
        for command in [c for c in list(self._asked) if info.over or self.run.store.taken(c) is not None]:
            del self._asked[command]
        self.note.value = "<br>".join(escape(self._word("asked", what=what)) for what in list(self._asked.values()))
        if not self.code.value:
            self.code.value = code_of(self.run, self.language)

    def _draw_picture(self, info: RunInfo) -> None:
        """Curves without a script: the page did not start ours, or the kernel cannot hear it."""
        if info.over or time.monotonic() - self._drawn >= PERIOD:
            self._drawn = time.monotonic()
            self.picture.value = static.result(info, gather(self.run.store.records(self.run.id)), "", self.language)

    def _finish(self) -> None:
        """Leave the static result in the notebook: by the display id, and by the page that no longer knows it."""
        data = bundle(self.run, self.language)
        self.curves.send({"type": "over", "data": data})
        if not self._over:
            publish(data, self.display_id, update=True)
        self._over = True


def _rate(info: RunInfo) -> str:
    """The greatest learning rate of the experiment, as text; empty when it is the optimizer's own."""
    try:
        train = tomllib.loads(info.experiment).get("train", {})
    except tomllib.TOMLDecodeError:
        return ""
    return str(train.get("optimizer", {}).get("learning_rate", ""))
