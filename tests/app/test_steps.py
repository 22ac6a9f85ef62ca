"""What holds for every step of the bench: errors are shown, controls are named, words are translated, text is text."""

from __future__ import annotations

import ast
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import pytest

import labkit as lk
import labkit.app
from labkit.app.lab import STEPS, Lab
from labkit.app.panel import GuardedAction, Panel
from labkit.app.state import State
from labkit.app.widgets.controls import tree
from labkit.tasks.classify import Classify
from tests.shown import open_widgets

from .hostile import HOSTILE, executable

REVIEWS = str(Path(__file__).parents[1] / "reviews.csv")
OWN = ("data", "prepare", "model")


@pytest.fixture
def lab(tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    monkeypatch.chdir(tmp_path)
    made = Lab(
        state=State(
            rows=lk.load(REVIEWS), model=tiny, task=Classify(max_length=32), folder=tmp_path, language="en"
        )
    )
    for name in OWN:
        made.show(name)
    settle(made)
    yield made
    settle(made)
    made.close()


def settle(lab: Lab) -> None:
    for step in lab.steps.values():
        step.settle(120)


def texts(panel: Panel) -> Iterator[str]:
    """Everything that the panel shows as HTML."""
    for widget in tree([panel.root]):
        if isinstance(widget, widgets.HTML):
            yield widget.value


def registered(panel: Panel) -> list[Any]:
    """Every callback of the panel's widgets that is not ipywidgets' own."""
    found = []
    for widget in tree([panel.root]):
        for registry in ("_click_handlers", "_submission_callbacks"):
            found += getattr(getattr(widget, registry, None), "callbacks", ())
        for kinds in widget._trait_notifiers.values():
            found += [call for calls in kinds.values() for call in calls]
    ours = [
        call
        for call in found
        if isinstance(call, GuardedAction) or "labkit" in getattr(call, "__module__", "")
    ]
    return list({id(call): call for call in ours}.values())


def test_every_callback_that_fails_shows_it_and_the_step_goes_on(lab: Lab):
    count = 0
    for panel in (lab, *lab.steps.values()):
        for call in registered(panel):
            assert isinstance(call, GuardedAction), call
            assert call in call.panel.callbacks

            def boom(*arguments: Any, **named: Any) -> None:
                raise OSError("disk <full>")

            whole, call.action = call.action, boom
            call({"new": None})
            assert "OSError: disk &lt;full&gt;" in call.panel.error_box.value
            assert "Traceback (most recent call last)" in call.panel.error_box.value
            call.action = whole
            call.panel.problem = None
            count += 1
    assert count > 60
    assert all(step.problem is None for step in lab.steps.values())
    lab.steps["prepare"].usual.click()
    settle(lab)
    assert lab.steps["prepare"].problem is None and "Rows changed" in lab.steps["prepare"].changes.value


def test_work_prints_no_progress_bars(lab: Lab, capfd: pytest.CaptureFixture[str]):
    from datasets import are_progress_bars_disabled

    capfd.readouterr()
    lab.steps["prepare"].usual.click()
    settle(lab)
    assert "Rows changed" in lab.steps["prepare"].changes.value
    assert capfd.readouterr() == ("", "") and not are_progress_bars_disabled()
    lab.state.rows.clean()
    assert "cleaning" in capfd.readouterr().err  # a cell's own work has its bar


def test_every_control_is_named(lab: Lab):
    controls = (
        widgets.Text, widgets.Dropdown, widgets.IntSlider, widgets.FloatSlider, widgets.Checkbox, widgets.Button,
        widgets.BoundedIntText, widgets.BoundedFloatText, widgets.IntText, widgets.FileUpload,
    )  # fmt: skip
    for widget in tree([lab.root, *(step.root for step in lab.steps.values())]):
        if isinstance(widget, controls):
            assert widget.description.strip(), widget
            assert widget.tabbable is not False
        if isinstance(widget, widgets.HTML):
            assert all('aria-label="' in svg for svg in re.findall(r"<svg[^>]*>", widget.value))
            assert all(
                'tabindex="0"' in part for part in re.findall(r'<div class="lk-scroll"[^>]*>', widget.value)
            )


def test_everything_speaks_chinese(lab: Lab):
    english = {name: list(texts(step)) for name, step in lab.steps.items()}
    lab.language.value = "zh"
    for name in OWN:
        lab.show(name)
    settle(lab)
    assert lab.state.language == "zh"
    assert all(re.search("[\u4e00-\u9fff]", name) for name, _ in lab.stepper.options)
    for name in OWN:
        step = lab.steps[name]
        assert step.problem is None
        for widget in tree([step.root]):
            said = getattr(widget, "description", "")
            if said and re.search("[a-z]{4}", said):
                assert re.search("[\u4e00-\u9fff]", said), said
        assert not set(english[name]) & {text for text in texts(step) if re.search("<h[34]>", text)}


#: Strings in panels that a person may see though they stand in no table: names of things, not words.
NAMES = {"English", "中文", "labkit", "reviews.csv", "2e-5"}
SHOWN = {"description", "tooltip", "placeholder", "titles", "label", "help"}


def test_no_word_stands_outside_the_table():
    for path in sorted(Path(labkit.app.__path__[0]).glob("*.py")):
        if path.name.startswith("words") or path.name == "terminal.py":
            continue
        tree_of = ast.parse(path.read_text("utf-8"))
        docs = {id(node.value) for node in ast.walk(tree_of) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree_of):
            if id(node) in docs:
                continue
            if isinstance(node, ast.keyword) and node.arg in SHOWN and isinstance(node.value, ast.Constant):
                value = node.value.value
                assert not isinstance(value, str) or not value or value in NAMES, f"{path.name}: {value!r}"
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in {
                "paragraph",
                "heading",
                "note",
                "chip",
            }:
                assert not isinstance(node.args[0], ast.Constant), f"{path.name}: {ast.unparse(node)}"
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and ">" in node.value:
                inside = re.sub("|".join(NAMES), "", node.value)
                inside = re.sub(r"<[^>]*>?|[^<>]*>|&\w+;", " ", inside) if "<" in node.value else ""
                assert (
                    not re.search(r"[A-Za-z]{3,}", inside) or "{" in node.value or node.value.startswith(".")
                ), f"{path.name}: {node.value!r}"


def test_hostile_text_is_text_in_every_view(tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    table = [
        {HOSTILE[0]: text or "x", HOSTILE[1]: HOSTILE[2 + i % 2], HOSTILE[4]: text}
        for i, text in enumerate(HOSTILE * 2)
    ]
    rows = lk.load(table, text=HOSTILE[0], label=HOSTILE[1], on_bad="skip")
    lab = Lab(state=State(
        rows=rows, model=tiny, task=Classify(max_length=32), folder=tmp_path, language="en", accept_leakage=True,
        name=HOSTILE[0],
    ))  # fmt: skip
    for name in OWN:
        lab.show(name)
    prepare = lab.steps["prepare"]
    for box in prepare.boxes.values():
        box.value = True
    for text in HOSTILE[:-1:4]:
        prepare.reading.own.value = text
        settle(lab)
    data = lab.steps["data"]
    data.offer_columns({name: [text] for name, text in zip(HOSTILE, reversed(HOSTILE), strict=True)})
    for _ in range(14):
        data.browser.on.click()
        seen = [found for step in lab.steps.values() for text in texts(step) for found in executable(text)]
        assert [found for found in seen if not found.startswith("a href=data:")] == []
    settle(lab)
    for name in ("data", "prepare"):
        assert lab.steps[name].problem is None, lab.steps[name].problem
    lab.close()


@pytest.mark.parametrize("times", [10, pytest.param(50, marks=pytest.mark.soak)])
@pytest.mark.parametrize("name", [*STEPS.values(), "Lab"])
def test_runs_of_the_cell_again_leave_no_widget_and_no_thread(
    name: str, times: int, finished, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    from labkit.app.runs import state_of
    from labkit.core import frontend

    monkeypatch.setattr(frontend, "cell_id", lambda: "cell")
    monkeypatch.setenv("LABKIT_FOLDER", str(tmp_path))
    shared, counts = state_of(finished, "en"), []
    for execution in range(times):
        monkeypatch.setattr(frontend, "cell", lambda execution=execution: execution)
        panel = lk.Lab(language="en") if name == "Lab" else getattr(lk.panels, name)(state=shared)
        if name == "Lab":
            panel.show("prepare")
            settle(panel)
        if execution in (1, times - 1):  # what was begun in between is dropped, or done and forgotten
            panel.settle(120)
            counts.append((len(open_widgets()), sum(thread.name.startswith("labkit") for thread in quiet())))
    assert counts[0] == counts[1]
    assert len(Panel.open_panels[type(panel), "cell"][1]) == 1
    panel.close()
    Panel.open_panels.clear()
    assert not [
        one
        for one in shared._trait_notifiers.get("run", {}).get("change", ())
        if isinstance(one, GuardedAction)
    ]


def quiet() -> list[threading.Thread]:
    """The threads there are once those that only have something to end have ended."""
    end = time.monotonic() + 20
    while any(t.name == "labkit work" for t in threading.enumerate()) and time.monotonic() < end:
        time.sleep(0.02)
    return threading.enumerate()


def test_the_steps_stand_in_their_order():
    assert list(STEPS)[:3] == list(OWN)
    assert all(getattr(lk.panels, name).title == key for key, name in STEPS.items())
    with pytest.raises(AttributeError, match="Did you mean 'Model'"):
        lk.panels.Modle  # noqa: B018
