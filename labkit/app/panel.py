"""Base class of lab steps: callbacks that show errors, background jobs, generated code."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import anywidget
import ipywidgets as widgets
import traitlets

from labkit.app.jobs import Jobs
from labkit.app.kernel_subshell import answer_in_subshell
from labkit.app.state import State, state_with
from labkit.app.ticker import TICKER
from labkit.app.widgets.controls import close_all, hear_while_busy, restart_style, theme_style, tree
from labkit.app.wording import in_panel_words
from labkit.core import frontend
from labkit.core import html as pieces
from labkit.core.config import dumps
from labkit.core.errors import LabkitError, headed
from labkit.viz import run_html
from labkit.viz.words import word

_LOG = logging.getLogger("labkit.app")
_HERE = Path(__file__).parent
#: Most copies of a file name that are tried when an experiment is saved.
_COPIES = 1000


class GuardedAction:
    """What a widget or the state calls: its failure is shown in the panel, since no cell would show it.

    Attributes:
        action: what is done; a test puts something in its place that raises.
        person: whether a person causes it. Then its success takes an earlier error off the panel.
        control: the control that causes it; its error is shown below it, and it looks busy while a job that it
            began is under way.
    """

    def __init__(
        self,
        panel: Panel,
        action: Callable[..., Any],
        person: bool,
        control: widgets.DOMWidget | None = None,
    ):
        self.panel, self.action, self.person, self.control = panel, action, person, control

    def __call__(self, *arguments: object, **named: object) -> Any:
        before = self.panel.problem
        try:
            with self.panel.acting(self.control):
                result = self.action(*arguments, **named)
        except Exception as error:
            return self.panel.fail(error, self.control)
        if self.person and before is not None and self.panel.problem is before:
            self.panel.problem = None
        return result


class Copy(anywidget.AnyWidget):
    """A button that copies ``text``; what it is called before, after and where it cannot."""

    _esm = _HERE / "clipboard.js"
    text = traitlets.Unicode().tag(sync=True)
    label = traitlets.Unicode().tag(sync=True)
    help = traitlets.Unicode().tag(sync=True)
    copied = traitlets.Unicode().tag(sync=True)
    failed = traitlets.Unicode().tag(sync=True)


class Scroller(anywidget.AnyWidget):
    """Scrolls the panel's error into view whenever ``errors`` changes, its top whenever ``top`` does."""

    _esm = _HERE / "scroller.js"
    errors = traitlets.Int().tag(sync=True)
    top = traitlets.Int().tag(sync=True)


class Panel:
    """Base of the steps: a title, what a subclass builds in ``body``, errors, work in progress, and the code.

    A subclass implements :meth:`build` and :meth:`code`. Every callback goes through :meth:`guarded`
    (``button``, ``on_change`` and ``watch`` do so), whatever takes longer than a blink through :meth:`later`.

    Args:
        state: what the steps share; a step that is used alone makes its own.
        language: "en" or "zh", for a step alone; default: that of :func:`labkit.language`.

    Attributes:
        root: the widget to show.
        callbacks: every callback that was registered.
        problem: the error that the panel shows, or None.
        error_box, busy_box, note_box, code_box: the pieces of HTML that show it, that work goes on, what was
            done, and the code. ``error_box`` is the one next to the control that caused the error.
        open_panels: (class, cell) → execution of the cell, and the panels that it made.
    """

    #: The step's name in code; the table of words has it as ``step_…``.
    title: ClassVar[str] = ""
    #: What the generated code calls the model.
    model_name: ClassVar[str] = "run"
    open_panels: ClassVar[dict[tuple[type, str], tuple[int | None, list[Panel]]]] = {}

    def __init__(self, state: State | None = None, language: str | None = None):
        self.state = state_with(None, state, language)
        self.callbacks: list[GuardedAction] = []
        self.closed = self._built = False
        self._problem: run_html.Problem | None = None
        self._filling = threading.local()
        self._busy: set[widgets.DOMWidget] = set()
        self._watched: list[tuple[traitlets.HasTraits, GuardedAction, list[str]]] = []
        self._stale = True
        self.jobs = Jobs(lambda: TICKER.add(self))
        self.state.panels += 1
        self.state.follow()
        self._frame()
        self.guarded(self.build, person=False)()
        self._add_alerts(self.body)
        self.watch(State.KEPT, self._changed)
        self._changed()
        self._replace_older()
        self._built = True

    # --- for subclasses ---------------------------------------------------------------------------------------

    def build(self) -> None:
        """Fill ``self.body``."""
        raise NotImplementedError

    def code(self) -> str:
        """Python that reproduces the state of this step; empty while there is nothing to reproduce."""
        raise NotImplementedError

    def word(self, key: str, **places: object) -> str:
        """Words of the table in the panel's language: plain text."""
        return word(key, self.state.language, **places)

    def split_word(self, name: str) -> str:
        """What a split is called: the usual three by the table, any other by its name."""
        return self.word(f"split_{name}") if name in ("train", "validation", "test") else name

    def guarded(
        self, action: Callable[..., Any], person: bool = True, control: widgets.DOMWidget | None = None
    ) -> GuardedAction:
        """``action`` as a callback whose failure the panel shows; it is listed in ``callbacks``."""
        callback = GuardedAction(self, action, person, control)
        self.callbacks.append(callback)
        return callback

    def button(self, key: str, action: Callable[[], Any], primary: bool = False) -> widgets.Button:
        """A button named by ``key``, explained by ``key_help``, that calls ``action``."""
        made = widgets.Button(description=self.word(key), tooltip=self.word(f"{key}_help"))
        made.layout.width = "auto"
        made.button_style = "primary" if primary else ""
        made.on_click(self.guarded(lambda _: action(), control=made))
        hear_while_busy(made)
        return made

    def on_change(self, widget: widgets.Widget, action: Callable[[Any], Any], name: str = "value") -> None:
        """Call ``action`` with the new value when a person changes a control; not while the panel fills it."""

        def changed(change: dict[str, Any]) -> None:
            if not getattr(self._filling, "now", False):
                action(change["new"])

        widget.observe(self.guarded(changed, control=widget), name)
        hear_while_busy(widget)

    @contextlib.contextmanager
    def filling(self) -> Iterator[None]:
        """Within it this thread changes controls without their callbacks."""
        before = getattr(self._filling, "now", False)
        self._filling.now = True
        try:
            yield
        finally:
            self._filling.now = before

    def watch(
        self, names: Sequence[str], action: Callable[[], Any], of: traitlets.HasTraits | None = None
    ) -> None:
        """Call ``action`` when one of these traits of the state, or ``of`` another object, changes, until the
        panel is closed."""
        callback, watched = self.guarded(lambda change: action(), person=False), of or self.state
        watched.observe(callback, list(names))
        self._watched.append((watched, callback, list(names)))

    def html(self, text: str = "") -> widgets.HTML:
        """A piece of HTML, not read as TeX; it takes no room while it is empty."""
        made = widgets.HTML(text)
        traitlets.dlink((made, "value"), (made.layout, "display"), lambda value: None if value else "none")
        for name in pieces.LITERAL.split():
            made.add_class(name)
        return made

    def alert(self) -> widgets.HTML:
        """A place for the errors that the controls before it in the same box cause."""
        made = self.html()
        made.add_class("lk-alert")
        return made

    @contextlib.contextmanager
    def acting(self, control: widgets.DOMWidget | None) -> Iterator[None]:
        """Within it, jobs belong to ``control``."""
        before = getattr(self._filling, "control", None)
        self._filling.control = control or before
        try:
            yield
        finally:
            self._filling.control = before

    def put(self, box: widgets.Box, children: Sequence[widgets.Widget]) -> None:
        """Other children in a box; those that are left out are closed."""
        gone = [child for child in box.children if child not in children]
        box.children = tuple(children)
        close_all(gone)

    def later(
        self, name: str, work: Callable[[], Any], deliver: Callable[[Any], Any], wait: float = 0.0
    ) -> None:
        """Do ``work`` in a thread and give its result to ``deliver``, which may change widgets.

        ``wait`` seconds pass first; a new job of the same name replaces a waiting one. The panel shows that
        it works; an error of either is shown too.
        """
        callback = self.guarded(deliver, person=False, control=getattr(self._filling, "control", None))
        self.callbacks.remove(callback)  # made anew each time: the list is of what stays registered
        self.jobs.put(name, work, callback, wait)
        if callback.control is not None and callback.control not in self._busy:
            self._busy.add(callback.control)
            callback.control.add_class("lk-working")
        self._show_busy()

    def renew_code(self) -> None:
        """Show the code again: what is chosen in the panel has changed."""
        self._changed()

    def say(self, text: str) -> None:
        """A word on what was done, below the buttons."""
        self.note_box.value = pieces.safe(text)

    def settle(self, timeout: float = 60.0) -> None:
        """Wait until the work in the background is done and shown. Raises TimeoutError."""
        end = time.monotonic() + timeout
        while self.jobs.busy or self._stale:
            if time.monotonic() > end:
                raise TimeoutError(f"{type(self).__name__} still works after {timeout:g} s.")
            time.sleep(0.01)

    # --- errors -----------------------------------------------------------------------------------------------

    @property
    def problem(self) -> run_html.Problem | None:
        return self._problem

    @problem.setter
    def problem(self, problem: run_html.Problem | None) -> None:
        self._problem = problem
        self.error_box.value = run_html.error_box(problem, "", self.state.language)

    def fail(self, error: BaseException, control: widgets.Widget | None = None) -> None:
        """Show an error below the control that caused it, in view, with what to do about it; the panel goes on.
        Errors that labkit does not know come with a traceback to copy."""
        _LOG.error("%s", type(self).__name__, exc_info=error)
        self.problem = None
        self.error_box = _alert_of(self.body, control) or self.last_box
        known = isinstance(error, LabkitError)
        trace = "" if known else "".join(traceback.format_exception(error))
        text = in_panel_words(error) if isinstance(error, LabkitError) else headed(error)
        self.problem = run_html.Problem(text, self._cure(error), trace)
        self.scroller.errors += 1

    def _cure(self, error: BaseException) -> str:
        if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error):
            return self.word("cure_memory")
        if isinstance(error, LabkitError):  # it says itself what to do
            return ""
        return self.word("cure_unknown")

    # --- frame ------------------------------------------------------------------------------------------------

    def _frame(self) -> None:
        style = theme_style()
        self.body = widgets.VBox()
        self.last_box, self.busy_box, self.note_box, self.code_box = (self.html() for _ in range(4))
        self.error_box, self.scroller = self.last_box, Scroller()
        self.copy = Copy(
            label=self.word("copy_code"), help=self.word("copy_code_help"), copied=self.word("copied"),
            failed=self.word("copy_failed"),
        )  # fmt: skip
        self.save = self.button("save_experiment", self._save)
        self.foot = widgets.VBox([widgets.HBox([self.copy, self.save, self.note_box]), self.code_box])
        self.foot.add_class("lk-foot")
        restarted = restart_style(self.state.language)
        self.root = widgets.VBox(
            [style, restarted, self.body, self.busy_box, self.last_box, self.foot, self.scroller]
        )
        self.root.add_class("labkit-bench")
        self._show_busy()

    def _add_alerts(self, box: widgets.Box) -> None:
        """A place for errors below every row of controls; columns of rows are gone through."""
        acted_on = {callback.control for callback in self.callbacks if callback.control is not None}
        placed: list[widgets.Widget] = []
        for child in box.children:
            placed.append(child)
            if type(child) is widgets.VBox:
                self._add_alerts(child)
            elif type(child) is widgets.HBox and any(type(part) is widgets.VBox for part in child.children):
                for part in child.children:
                    if type(part) is widgets.VBox:
                        self._add_alerts(part)
            elif acted_on.intersection(tree([child])):
                placed.append(self.alert())
        box.children = tuple(placed)

    def _show_busy(self) -> None:
        if not self.jobs.busy:
            for control in self._busy:
                control.remove_class("lk-working")
            self._busy.clear()
        shown = f"<i></i>{pieces.safe(self.word('busy'))}" if self.jobs.busy else ""
        self.busy_box.value = f'<div class="lk-busy" role="status">{shown}</div>'

    def refresh(self) -> bool:
        """Show what the work in the background has found; called by the ticker's thread."""
        if self.closed:
            return False
        if not self._built:  # another thread is still building it
            return True
        self.jobs.take(lambda job: job.deliver(job.result) if job.error is None else self.fail(job.error))
        self._show_busy()
        if self._stale:
            self._show_code()
            self._stale = False
        return self.jobs.busy

    def _changed(self) -> None:
        self._stale = True
        TICKER.add(self)

    def _show_code(self) -> None:
        """The code, for the button and to be read. While the state is not whole there is none, and that is no
        error."""
        try:
            code = self.code()
        except LabkitError:
            code = ""
        self.copy.text = code
        self.code_box.value = pieces.details(self.word("code_of_step"), pieces.block(code)) if code else ""
        self.save.disabled = self.state.model is None

    def _save(self) -> None:
        """Write the experiment into the working directory; an older file of another content stays."""
        text = dumps(self.state.experiment)
        for number in range(1, _COPIES):
            path = Path("experiment.toml" if number == 1 else f"experiment-{number}.toml")
            if not path.exists():
                path.write_text(text, encoding="utf-8")
            if path.read_text(encoding="utf-8") == text:
                break
        link = run_html.download(path.name, text, self.word("download"))
        self.note_box.value = f"{pieces.safe(self.word('saved_as', file=path.name))} {link}"

    # --- showing and closing ----------------------------------------------------------------------------------

    def _ipython_display_(self) -> None:
        from IPython.display import display

        view = {"version_major": 2, "version_minor": 0, "model_id": self.root.model_id}
        text = self.word("placeholder_step", name=self.word(f"step_{self.title}"))
        display({"application/vnd.jupyter.widget-view+json": view, "text/plain": text}, raw=True)
        answer_in_subshell()

    def close(self) -> None:
        """Give back the panel's widgets and its thread; what it was about stays in the state."""
        if self.closed:
            return
        self.closed = True
        self.state.panels -= 1
        self.jobs.close()
        TICKER.discard(self)
        for state, callback, names in self._watched:
            state.unobserve(callback, names)
        close_all([self.root])

    def _replace_older(self) -> None:
        """Close what an earlier execution of the same cell made, which nobody sees any more."""
        if (place := frontend.cell_id()) is None:
            return
        now = frontend.cell()
        before, panels = Panel.open_panels.get((type(self), place), (now, []))
        if before != now:
            for panel in panels:
                panel.close()
            panels = []
        Panel.open_panels[type(self), place] = (now, [*panels, self])


def _alert_of(box: widgets.Box, control: widgets.Widget | None) -> widgets.HTML | None:
    """The place for errors that follows the innermost row with ``control``; None if there is none."""
    for place, child in enumerate(box.children):
        if control is not None and control in tree([child]):
            if isinstance(child, widgets.Box) and (found := _alert_of(child, control)) is not None:
                return found
            after = (each for each in box.children[place + 1 :] if "lk-alert" in each._dom_classes)
            return next(after, None)
    return None
