"""The live panel of a run: reads the run store and writes commands to it.

 So it serves a thread, a worker process, a run of the command line or a finished one alike, and a page that
is opened later shows the whole history. A static picture of the run stands next to it in the notebook, hidden
while the panel is there: that is what a saved notebook shows.
"""

from __future__ import annotations

import logging
import math
import secrets
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import anywidget
import ipywidgets as widgets
import traitlets

from labkit.app.kernel_subshell import answer_in_subshell
from labkit.app.live_picture import PERIOD, PicturePanel, bundle, code_of, publish
from labkit.app.run_follower import Tail, charts
from labkit.app.ticker import TICKER
from labkit.app.widgets.controls import close_all, hear_while_busy, restart_style
from labkit.core.errors import ConfigError, headed
from labkit.core.frontend import frontend
from labkit.core.text import escape
from labkit.core.units import compact
from labkit.i18n import translate
from labkit.viz import curves, run_html
from labkit.viz.series import Series, gather, packed
from labkit.viz.words import language as language_of
from labkit.viz.words import message, word

if TYPE_CHECKING:
    from labkit.app.panel import Panel
    from labkit.runs.handle import RunHandle
    from labkit.runs.store import RunInfo

#: Most points of all series in one update: a run of thousands of steps a second still sends less than 20 kB.
MOST_NEWS = 800
#: Most points of one series, and of all, that a page is opened with: less than 500 kB.
MOST_OF_ONE, MOST_WHOLE = 1_800, 24_000
#: Seconds without an answer from the page's script after which the curves are shown without it.
DEAF = 6.0
#: Panels of finished runs that are kept, for pages that are opened again before they were saved.
KEPT = 4

#: Height kept for warnings while a run trains.
WARNED = "68px"
#: Steps that use a trained model.
NEXT = ("evaluate", "predict")
#: Significant figures of a learning rate that can be changed.
RATE_FIGURES = 6
#: A learning rate so many times the present one must be confirmed.
FAR = 100.0

_LOG = logging.getLogger("labkit.app")


def show(run: RunHandle, language: str | None = None) -> None:
    """Show a run where this is called: a live panel, a picture that is renewed, or nothing outside notebooks."""
    where = frontend()
    if where == "none":
        return
    if where == "html" or run.info.over:
        PicturePanel(run, language).display()
    else:
        LivePanel.of(run, language).display()


class _Asked(NamedTuple):
    """A command that a person gave: which, and its value as text."""

    key: str
    value: str = ""


class Curves(anywidget.AnyWidget):
    """Head and curves, drawn by ``live.js``. ``root`` is the model id of the panel it belongs to."""

    _esm = Path(__file__).with_name("live.js")
    _css = "".join(
        Path(__file__).with_name(name).read_text(encoding="utf-8") for name in ("live.css", "vscode.css")
    )
    words = traitlets.Dict().tag(sync=True)
    root = traitlets.Unicode().tag(sync=True)
    charts = traitlets.List().tag(sync=True)
    tools = traitlets.Bool(False).tag(sync=True)
    smoothing = traitlets.Float(0.6).tag(sync=True)
    unfolded = traitlets.Bool(False).tag(sync=True)
    log = traitlets.Bool(False).tag(sync=True)


class LivePanel:
    """Curves, numbers, buttons and errors of a run. ``root`` is the widget; :func:`show` is the usual way to
    one.

    Args:
        run: the run.
        language: "en" or "zh".
        full: draw more than loss and F1: the step Train does.
        changed: called when the status of the run has changed.
        navigate: shows the step of this name; without it the steps are opened below the panel.

    Everything is sent by the ticker's thread. What the page asks for sets a flag or writes a command, and so
    may be handled in any thread.
    """

    #: (store, run, language) → its panel.
    open_panels: dict[tuple[Path, str, str], LivePanel] = {}  # noqa: RUF012 (one registry a process)

    def __init__(
        self,
        run: RunHandle,
        language: str | None = None,
        full: bool = False,
        changed: Callable[[], None] | None = None,
        navigate: Callable[[str], None] | None = None,
    ):
        self.run, self.language, self.full = run, language_of(language), full
        self._changed, self._navigate, self._status = changed, navigate, ""
        self.display_id, self.view_id = secrets.token_hex(8), secrets.token_hex(8)
        self.tails = [Tail(run, full=full)]  # of the run, and of those that are laid over it
        self._labels: list[str] = []  # of those
        self.problem: run_html.Problem | None = None
        self._ended: run_html.Problem | None = None
        self._interrupted = ""
        self._asked: dict[int, _Asked] = {}  # pending commands by number
        self._done = ""  # what the last one has led to
        self._unconfirmed: float | None = None  # a learning rate to be set if it is given again
        self._told: dict[str, Any] = {}
        self._hello = self._heard = self._over = self._revealed = self.closed = self._filling = False
        self._since = self._drawn = time.monotonic()
        self._build()

    @classmethod
    def of(cls, run: RunHandle, language: str | None = None) -> LivePanel:
        """The one panel of this run in this process; panels of runs that ended long ago are closed."""
        key = (run.store.path, run.id, language_of(language))
        over = [panel for place, panel in cls.open_panels.items() if panel._over and place != key]
        for panel in over[: max(len(over) - KEPT, 0)]:
            panel.close()
        panel = cls.open_panels.get(key)
        if panel is None or panel._over:
            if panel is not None:
                panel.close()
            panel = cls.open_panels[key] = cls(run, language)
        return panel

    def display(self) -> None:
        """Show the panel in the cell that runs now."""
        view = {"version_major": 2, "version_minor": 0, "model_id": self.root.model_id}
        text = self._word("placeholder", name=self.run.info.name)
        data = {"application/vnd.jupyter.widget-view+json": view, "text/plain": text}
        publish(data, self.view_id)
        publish(kept(self.run, self.language), self.display_id)
        answer_in_subshell()
        self._since = time.monotonic()
        TICKER.add(self)

    def close(self) -> None:
        """Give back the panel's widgets; the run goes on."""
        self.closed = True
        TICKER.discard(self)
        for key in [key for key, panel in self.open_panels.items() if panel is self]:
            del self.open_panels[key]
        self._close_opened()
        close_all([self.root])

    def _close_opened(self) -> None:
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    # --- what the panel is made of ----------------------------------------------------------------------------

    def _build(self) -> None:
        self._opened: Panel | None = None
        self.second = run_html.measure(self.run.info)
        words = {name: self._word(name) for name in ("progress", "smoothing", "log_scale", "nothing", "step")}
        words |= {"step_at": self._word("step_at", step="{step}"), "system": self._word("system_charts"),
                  "epoch_at": self._word("epoch_at", epoch="{epoch}"), "epoch": self._word("epoch")}  # fmt: skip
        self.curves = Curves(words=words, charts=self._charts(self.run.info), tools=self.full)
        self.curves.on_msg(self._guarded(self._message))
        self.pause = self._button("pause", self._pause)
        self.stop = self._button("stop", lambda: self._ask("stop", self.run.stop()))
        self.save = self._button("save", lambda: self._ask("save", self.run.save()))
        rate = self._present_rate()
        self.rate = widgets.Text(
            "" if rate is None else compact(rate, RATE_FIGURES),
            description=self._word("change_rate"),
            placeholder="2e-5",
            continuous_update=False,
        )
        self.rate.style.description_width, self.rate.layout.width = "auto", "260px"
        self.set = self._button("set", self._set)
        self.note, self.picture, self.error, self.code, self.warned, self.advice = (
            widgets.HTML() for _ in range(6)
        )
        self.note.add_class("lk-asked")
        if self.full:  # room for warnings from the start, so that nothing moves when one comes
            self.warned.add_class("lk-asked")
            self.warned.layout.height, self.warned.layout.overflow = WARNED, "hidden auto"
        self.controls = row = widgets.HBox([self.pause, self.stop, self.save, self.rate, self.set])
        if self.full:
            row.children += (self._keeping(),)
        row.layout.flex_flow, row.layout.grid_gap = "row wrap", "2px 8px"
        goals = widgets.HBox([self._button(f"{step}_run", lambda step=step: self._go(step)) for step in NEXT])
        self.after, self.below = widgets.VBox([self.advice, goals]), widgets.VBox()
        self.after.layout.display = "none"
        self.after.add_class("lk-after")
        self.root = widgets.VBox(
            [
                restart_style(self.language),
                row,
                self.note,
                self.error,
                self.after,
                self.curves,
                self.picture,
                self.warned,
                self.code,
                self.below,
            ]
        )
        self.root.add_class("labkit-panel")
        self.curves.root = self.root.model_id
        for widget in (self.curves, *row.children, *goals.children):
            hear_while_busy(widget)

    def _keeping(self) -> widgets.Checkbox:
        self.keep = widgets.Checkbox(
            True, description=self._word("keep_best"), tooltip=self._word("keep_best_help")
        )
        self.keep.indent, self.keep.layout.width = False, "auto"
        self.keep.observe(self._guarded(self._keep), "value")
        return self.keep

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

        def call(*arguments: object) -> Any:
            try:
                return action(*arguments)
            except Exception as error:
                _LOG.exception("panel of run %s", self.run.id)
                self.problem = run_html.Problem(headed(error), traceback=traceback.format_exc())
                TICKER.add(self)

        return call

    def _pressed(self, action: Callable[[], None]) -> None:
        self.problem, self._done = None, ""
        action()
        TICKER.add(self)

    def _go(self, step: str) -> None:
        """Show a step with this run: where the lab shows its steps, or below."""
        if self._navigate is not None:
            return self._navigate(step)
        import labkit.app as steps

        self._close_opened()
        self._opened = getattr(steps, step.title())(self.run, language=self.language)
        self.below.children = (self._opened.root,)

    def _pause(self) -> None:
        if (info := self.run.info).over or info.status == "paused":
            self._ask("resume", self.run.resume())
        else:
            self._ask("pause", self.run.pause())

    def _set(self) -> None:
        try:
            rate = float(self.rate.value)
        except ValueError:
            raise ConfigError(message("not_a_number", value=repr(self.rate.value))) from None
        present = self._present_rate()
        if present and math.isfinite(rate) and rate > FAR * present and self._unconfirmed != rate:
            self._unconfirmed = rate
            times = compact(rate / present)
            self._done = self._word("confirm_rate", rate=compact(rate), times=times, present=compact(present))
            return
        self._unconfirmed = None
        self._ask("set", self.run.set(learning_rate=rate), compact(rate))

    def _present_rate(self) -> float | None:
        """The peak learning rate in force: the last one set, else that of the experiment."""
        given = [value["learning_rate"] for _, value in self.run.store.settings(self.run.id)
                 if "learning_rate" in value]  # fmt: skip
        found = given[-1] if given else self.run.info.settings("train", "optimizer").get("learning_rate")
        return float(found) if isinstance(found, int | float) else None

    def _keep(self, change: dict[str, Any]) -> None:
        if not self._filling:
            self._pressed(
                lambda: self._ask("keep_best", self.run.set(keep="best" if change["new"] else "last"))
            )

    def _ask(self, key: str, command: object, value: str = "") -> None:
        if isinstance(command, int):
            self._asked[command] = _Asked(key, value)

    def _message(self, _: object, content: dict[str, Any], __: object = None) -> None:
        if content.get("type") == "hello":
            self._hello = True
        elif content.get("type") == "ack":
            self._heard = True
        TICKER.add(self)

    # --- what the reader sees ---------------------------------------------------------------------------------

    def refresh(self) -> bool:
        """Send what is new; False when there is nothing more to come. Called by the ticker's thread only."""
        if self.closed:
            return False
        self._guarded(self._refresh)()
        self.error.value = self._interrupted + run_html.error_box(
            self.problem or self._ended, self.run.id, self.language
        )
        return not self._over

    def _refresh(self) -> None:
        info = self.run.info
        self._ended = run_html.problem_of(info)
        self._interrupted = run_html.interruption_box(info, self.language, self._word("press_resume"))
        self.warned.value = run_html.warning_box(info, self.language)
        self._curves(info)
        self._controls(info)
        if not self._heard and time.monotonic() - self._since > DEAF:
            self._draw_picture(info)
        elif self.picture.value and self._heard:
            self.picture.value = ""
        before, self._status = self._status, info.status
        if info.over:
            self._finish()
        else:
            self._over = False
        if info.status != before and self._changed is not None:
            self._changed()

    def overlay(self, runs: Sequence[RunHandle]) -> None:
        """Lay the loss and the F1 of other runs over those of this one."""
        self.tails[1:] = [Tail(run, f"{number}:") for number, run in enumerate(runs, 1)]
        names = Counter(run.name for run in (self.run, *runs))
        self._labels = [run.name if names[run.name] == 1 else f"{run.name} {_began(run)}" for run in runs]
        self._hello = True
        TICKER.add(self)

    def _charts(self, info: RunInfo) -> list[dict[str, Any]]:
        others = [(tail.prefix, label) for tail, label in zip(self.tails[1:], self._labels, strict=True)]
        return charts(info, self.language, self.full, others)

    def _curves(self, info: RunInfo) -> None:
        """The history to a page that said hello, else what came since."""
        hello, self._hello = self._hello, False
        seen = self._seen
        parts = [tail.read(hello) for tail in self.tails]
        if not hello and any(whole for _, whole in parts):
            hello, parts = True, [tail.read(True) for tail in self.tails]
        series: Series = {}
        for tail, (records, _) in zip(self.tails, parts, strict=True):
            series |= tail.series(records)
        if (described := self._charts(info)) != self.curves.charts:
            self.curves.charts = described
        told = self._info(info)
        if hello:
            message = {
                "type": "snapshot",
                "seq": self._seen,
                "series": _packed(series, MOST_OF_ONE, MOST_WHOLE),
                "reveal": not (self._revealed or self.full or info.over),  # once, after "Run all cells"
            }
            self._revealed = True
        elif series or told != self._told or self._seen != seen:
            news = _packed(series, MOST_NEWS // 2, MOST_NEWS)
            message = {"type": "append", "from": seen, "seq": self._seen, "series": news}
        else:
            return
        self.curves.send({**message, "info": told})
        self._told = told

    @property
    def _seen(self) -> int:
        """How far all that is drawn was read: it grows with every record of any of the runs."""
        return sum(tail.seen for tail in self.tails)

    def _info(self, info: RunInfo) -> dict[str, Any]:
        facts, helps = map(list, zip(*run_html.explained_facts(info, self.language), strict=True))
        latest = self.tails[0].latest
        if rate := latest.get("train/learning_rate"):
            facts.append(self._word("rate", number=compact(rate[1])))
        if epsilon := latest.get("train/epsilon"):
            facts.append(self._word("epsilon_so_far", number=f"{epsilon[1]:.2f}"))
        drawn = {k: ([s], [v]) for k, (s, v) in latest.items() if k.endswith(("/loss", f"/{self.second}"))}
        said = translate(info.message, self.language)
        told = {"name": info.name, "status": info.status, "word": self._word(info.status), "message": said}
        return {**told, "step": info.step, "steps": info.steps, "epochs": info.epochs, "over": info.over,
                "facts": facts, "helps": helps, "spoken": curves.spoken(drawn, self.language)}  # fmt: skip

    def _controls(self, info: RunInfo) -> None:
        again = info.status in ("stopped", "failed", "lost")
        key = "resume" if again or info.status == "paused" else "pause"
        self.pause.description, self.pause.tooltip = self._word(key), self._word(f"{key}_help")
        for widget in self.controls.children:
            widget.disabled = info.over
            widget.layout.display = "none" if info.over else ""  # it has no use any more
        self.pause.disabled = info.over and not again
        self.pause.layout.display = "none" if self.pause.disabled else ""
        if self.full:
            self._filling = True
            if not self._asked:
                self.keep.value = _kept_state(info) == "best"
            self._filling = False
            self.warned.layout.height = "auto" if info.over else WARNED
        self._note(info)
        self.note.layout.display = "none" if info.over and not self.note.value else ""
        self.after.layout.display = "" if info.status in ("finished", "stopped") else "none"
        if ended := info.status in ("finished", "stopped"):
            self.warned.value = ""  # now they stand above the curves, with the advice
        told = run_html.warning_box(info, self.language) + run_html.advice_box(info, self.language)
        self.advice.value = told if ended else ""
        if not self.code.value and not self.full:
            self.code.value = code_of(self.run, self.language)

    def _note(self, info: RunInfo) -> None:
        """One line: what was requested and is not done, else what the last request has led to."""
        waiting = []
        for command, asked in list(self._asked.items()):
            step = self.run.store.taken(command)
            if step is None and not info.over:
                waiting.append(self._word("asked", what=self._word(asked.key)))
            elif asked.key == "save" and step is not None and not info.over and not _is_saved(info, step):
                waiting.append(info.summary.get("checkpoint_error") or self._word("saving_step", step=step))
            else:
                del self._asked[command]
                if step is not None and asked.key in ("save", "set"):
                    done = {"save": "saved_step", "set": "rate_set"}[asked.key]
                    number = step if asked.key == "save" else step + 1
                    self._done = self._word(done, step=number, rate=asked.value)
        said = " · ".join(waiting) or self._done
        self.note.value = escape(translate(said, self.language)) if said else ""

    def _draw_picture(self, info: RunInfo) -> None:
        """Curves without a script: the page did not start ours, or the kernel cannot hear it."""
        if info.over or time.monotonic() - self._drawn >= PERIOD:
            self._drawn = time.monotonic()
            self.picture.value = run_html.result(
                info, gather(self.run.store.records(self.run.id)), "", self.language
            )

    def _finish(self) -> None:
        """Renew the static result in the notebook: by the display id, and by the page that no longer knows
        it."""
        data = kept(self.run, self.language)
        self.curves.send({"type": "over", "data": data})
        if not self._over:
            publish(data, self.display_id, update=True)
        self._over = True


def kept(run: RunHandle, language: str) -> dict[str, str]:
    """Static result of a run, stored next to its panel and visible where the panel is not."""
    data = bundle(run, language)
    style = (
        ".jp-OutputArea:has(.labkit-kept) .jp-OutputArea-output.jupyter-widgets:not(:has(*)){display:none}"
    )
    # what stands there then only says that a model was not found
    return {**data, "text/html": f'<div class="labkit-kept"><style>{style}</style>{data["text/html"]}</div>'}


def _packed(series: Series, most: int, all: int) -> dict[str, list[list[float | None]]]:
    """Series of at most ``most`` points each and ``all`` together; long ones give way to short ones."""
    rest, left, found = all, len(series), {}
    for key, points in sorted(series.items(), key=lambda item: len(item[1][0])):
        found |= packed({key: points}, max(4, min(most, rest // left)))
        rest, left = rest - len(found[key][0]), left - 1
    return {key: found[key] for key in series}


def _began(run: RunHandle) -> str:
    """When a run began, to tell runs of one name apart."""
    return time.strftime("%m-%d %H:%M:%S", time.localtime(run.info.created))


def _is_saved(info: RunInfo, step: int) -> bool:
    """Whether the checkpoint of a step is written: it has its name only then."""
    return (
        info.summary.get("saved_step", -1) >= step or (info.folder / "checkpoints" / f"step_{step}").is_dir()
    )


def _kept_state(info: RunInfo) -> str:
    """Which state becomes the model: the last requested value, otherwise that of the experiment."""
    return info.summary.get("keep") or info.settings("train").get("keep", "best")
