"""What every step has: guarded callbacks, work in the background, its code, and that it leaves nothing behind."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import ipywidgets as widgets
import pytest
from IPython.core.formatters import DisplayFormatter

import labkit as lk
from labkit.app import panel
from labkit.app.panel import Panel
from labkit.app.state import State
from labkit.core import frontend
from labkit.core.errors import DataError
from tests.shown import open_widgets

from .hostile import HOSTILE, executable

REVIEWS = str(Path(__file__).parents[1] / "reviews.csv")


class Step(Panel):
    """A step that does what a test tells it."""

    title = "data"

    def build(self) -> None:
        self.pressed: list[object] = []
        self.go = self.button("save", lambda: self.pressed.append("go"))
        self.field = widgets.Text(description=self.word("learning_rate"))
        self.on_change(self.field, self.pressed.append)
        self.watch(["name"], lambda: self.pressed.append(self.state.name))
        self.shown = self.html()
        self.body.children = (self.go, self.field, self.shown)

    def code(self) -> str:
        return self.state.code()


def raise_(error: BaseException) -> None:
    raise error


@pytest.fixture
def step(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    made = Step(State(language="en", folder=tmp_path))
    yield made
    made.close()


def test_callbacks_do_what_they_should(step: Step):
    step.go.click()
    step.field.value = "typed"
    with step.filling():
        step.field.value = "filled"
    step.state.name = "told"
    assert step.pressed == ["go", "typed", "told"]


def test_a_callback_that_fails_shows_it_and_the_panel_goes_on(step: Step):
    for callback in step.callbacks:
        whole, callback.action = callback.action, lambda *a, **k: raise_(ValueError("<b>boom</b>"))
        callback({"new": 1})
        box = step.error_box.value
        assert "ValueError: &lt;b&gt;boom&lt;/b&gt;" in box and "What to do" in box and 'role="alert"' in box
        assert "Traceback (most recent call last)" in box and "in raise_" in box
        callback.action = whole
        step.go.click()
        assert step.error_box.value == ""


def test_what_to_do_depends_on_the_error(step: Step):
    step.fail(DataError("give a list."))
    assert "What to do" not in step.error_box.value
    step.fail(MemoryError("x"))
    assert "smaller batch size" in step.error_box.value
    step.state.name = "x"  # the state's change is nobody's success
    assert step.problem is not None


def test_a_step_that_cannot_be_built_says_so():
    class Broken(Step):
        def build(self) -> None:
            raise ValueError("no good")

    broken = Broken()
    assert "ValueError: no good" in broken.error_box.value
    broken.close()


def test_work_is_done_in_the_background_and_the_newest_counts(step: Step):
    began, let = threading.Event(), threading.Event()

    def slow() -> str:
        began.set()
        let.wait(10)
        return "old"

    step.later("rows", slow, step.pressed.append)
    assert "Working" in step.busy_box.value
    began.wait(10)
    step.later("rows", lambda: "replaced", step.pressed.append, wait=0.2)
    step.later("rows", lambda: "new", step.pressed.append, wait=0.01)
    step.later("other", threading.get_ident, step.pressed.append)
    let.set()
    step.settle(10)
    assert step.pressed[-1] == "new" or step.pressed[0] == "new"
    assert len(step.pressed) == 2 and threading.get_ident() not in step.pressed
    assert "Working" not in step.busy_box.value
    step.later("rows", lambda: raise_(OSError("disk")), step.pressed.append)
    step.settle(10)
    assert "OSError: disk" in step.error_box.value
    step.later("rows", lambda: 1, lambda _: raise_(KeyError("shown")))
    step.settle(10)
    assert "KeyError: &#x27;shown&#x27;" in step.error_box.value


def test_code_and_experiment(step: Step, tiny, tmp_path: Path):
    step.settle()
    assert step.copy.text == "" and step.save.disabled and step.code_box.value == ""
    step.state.rows, step.state.model = lk.load(REVIEWS), tiny
    step.settle()
    assert step.copy.text == step.code() != "" and not step.save.disabled
    step.save.click()
    step.save.click()
    step.state.name = "other"
    step.save.click()
    assert sorted(path.name for path in tmp_path.glob("*.toml")) == ["experiment-2.toml", "experiment.toml"]
    from labkit.core.config import loads
    from labkit.train.experiment import Experiment

    assert loads(Experiment, (tmp_path / "experiment-2.toml").read_text()) == step.state.experiment
    assert "experiment-2.toml" in step.note_box.value and executable(step.note_box.value) == []


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_errors_and_notes_are_text(step: Step, text: str):
    step.fail(ValueError(text))
    step.say(text)
    assert executable(step.error_box.value) == executable(step.note_box.value) == []


def test_nothing_is_left_behind(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(frontend, "cell_id", lambda: "cell")
    made, state = [], State(language="en")
    for execution in range(50):
        monkeypatch.setattr(frontend, "cell", lambda execution=execution: execution)
        made.append(Step(state))
        made[-1].later("x", lambda: 1, made[-1].pressed.append)
        made[-1].settle()
        if not execution:
            each = len(open_widgets())
    assert len(open_widgets()) == each
    assert [step.closed for step in made] == [True] * 49 + [False]
    twin = Step(state)
    assert not made[-1].closed
    twin.close()
    made[-1].close()
    made[-1].close()
    end = time.monotonic() + 10
    while (
        any(thread.name.startswith("labkit") for thread in threading.enumerate()) and time.monotonic() < end
    ):
        time.sleep(0.05)
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("labkit")] == []
    state.name = "nobody hears"
    assert made[0].pressed[-1:] != ["nobody hears"]
    Panel.open_panels.clear()


def test_a_step_shows_itself(step: Step, monkeypatch: pytest.MonkeyPatch):
    import IPython.display

    shown = []
    monkeypatch.setattr(IPython.display, "display", lambda data, **options: shown.append(data))
    DisplayFormatter().format(step)
    assert shown[0]["application/vnd.jupyter.widget-view+json"]["model_id"] == step.root.model_id
    assert shown[0]["text/plain"] == "Data: run this cell to see the panel"


def test_its_parts_say_what_they_need():
    with pytest.raises(NotImplementedError):
        Panel.code(None)
    with pytest.raises(NotImplementedError):
        Panel.build(None)
    assert panel.Copy().text == ""


def test_a_panel_that_is_still_being_built_is_not_refreshed(caplog):
    """Building it takes a while, and has asked for the code before what the code needs is there."""

    class Slow(Panel):
        title = "data"

        def build(self) -> None:
            self.renew_code()
            time.sleep(0.6)
            self.choice = "done = True"

        def code(self) -> str:
            return self.choice

    made = Slow()
    made.settle(10)
    wait = time.monotonic() + 10
    while "done" not in made.code_box.value and time.monotonic() < wait:
        time.sleep(0.05)
    assert "done" in made.code_box.value and caplog.records == []
    made.close()
