"""The live panel in a real JupyterLab and a real Chromium, over a run that trains nothing (see trainer.py)."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from .jupyter import Lab, Page, until

pytestmark = pytest.mark.browser

STATUS = ".labkit-live .lk-status"
SERIES = ("train/loss", "validation/loss", "train/f1", "validation/f1")
UNTIL_PAUSED = """end = time.monotonic() + 60
while run.status != "paused" and time.monotonic() < end:
    time.sleep(0.05)
run.status"""
#: Whether a cell works.
BUSY = "(i) => window.jupyterapp.shell.currentWidget.content.widgets[i].model.executionState === 'running'"
HOSTILE = "<img src=x onerror=alert(1)><b>$x$"


def begin(lab: Lab, book: str, dark: bool = False, **options: Any) -> Page:
    """A notebook whose second cell starts a run and shows it; the third is another, the fourth works until a pause."""
    run = "run = trainer.start('runs', {})\nrun".format(", ".join(f"{k}={v!r}" for k, v in options.items()))
    page = lab.open(lab.notebook(book, ["import time, trainer", run, "6 * 7", UNTIL_PAUSED]), dark)
    page.run_cell(0)
    page.run_cell(1)
    return page


def wait_status(page: Page, status: str) -> None:
    page.wait_for("([q, s]) => document.querySelector(q)?.dataset.status === s", [STATUS, status])


def step(page: Page) -> int:
    return page.execute("answer = run.info.step")


def drawn(page: Page) -> dict[str, int]:
    """Points of every curve on the page: line commands in its path."""
    found = {}
    for key in SERIES:
        path = page.find(f'.lk-line[data-series="{key}"]').get_attribute("d") or ""
        found[key] = len(re.findall("[ML]", path))
    return found


def recorded(page: Page) -> dict[str, int]:
    """Points of every curve in the run store."""
    counts = "from collections import Counter; "
    counts += "answer = Counter(f'{r.split}/{r.name}' for r in run.store.records(run.id))"
    found = page.execute(counts)
    return {key: found.get(key, 0) for key in SERIES}


def pressed(page: Page, name: str) -> None:
    page.page.get_by_role("button", name=name, exact=True).click()


def saved(lab: Lab, page: Page) -> tuple[str, list[dict[str, Any]]]:
    """The notebook as saved now: its text, and the outputs of the run's cell."""
    text = (lab.folder / page.save()).read_text()
    return text, json.loads(text)["cells"][1]["outputs"]


def results(outputs: list[dict[str, Any]]) -> list[str]:
    """The static pictures among the outputs of a cell."""
    return ["".join(out["data"]["text/html"]) for out in outputs if "text/html" in out["data"]]


def assert_static(lab: Lab, page: Page, status: str) -> str:
    """Wait until the picture next to the panel shows the end, save the notebook and check what was saved; returns its
    HTML."""

    def ended() -> bool:
        found = results(page.outputs(1))
        return len(found) == 1 and status in found[0]

    until(ended, "the static result")
    text, outputs = saved(lab, page)
    (html,) = results(outputs)
    assert status in html and "data:image/svg+xml," in html
    assert len(text) < 100_000
    return html


def assert_clean(page: Page) -> None:
    assert page.far_requests() == []
    assert page.dialogs == []
    assert page.errors == []


def test_run_all_cells_shows_the_panel_and_the_baseline(lab: Lab, tmp_path: Path):
    run = "run = trainer.start('runs', name='shown', steps=40, pace=0.05)\nrun"
    tall = ["print('\\n' * 60)"] * 5
    page = lab.open(lab.notebook("all.ipynb", ["import trainer", *tall, run, *tall]))
    page.run_all()
    page.wait_for(
        """() => { const box = document.querySelector('.labkit-panel')?.getBoundingClientRect();
        return box && box.height > 200 && box.top > 0 && box.bottom < window.innerHeight; }"""
    )
    page.find(".labkit-live text:text-is('the most frequent class 0.33')").wait_for()
    page.find(".labkit-live path.lk-rule").wait_for(state="attached")
    page.screenshot(tmp_path / "revealed.png")
    page.wait_for("(q) => document.querySelector(q)?.dataset.status === 'finished'", STATUS)
    page.close()


@pytest.fixture(scope="module")
def steered(lab: Lab) -> Any:
    page = begin(lab, "steered.ipynb", name="steered", steps=1500, pace=0.05)
    yield page
    page.close()


def test_pause_draws_every_point_and_holds_the_run(steered: Page):
    wait_status(steered, "running")
    pressed(steered, "Pause")
    wait_status(steered, "paused")
    held = step(steered)
    want = recorded(steered)
    assert want["train/loss"] == held
    until(lambda: drawn(steered) == want, "all points to be drawn")
    steered.run_cell(2)
    assert steered.text(2) == "42"
    assert step(steered) == held


def test_resume_and_learning_rate_take_effect(steered: Page):
    held = step(steered)
    steered.find(".labkit-panel input").fill("0.125")
    pressed(steered, "Set")
    steered.find(".lk-asked:has-text('0.125 is 4.17e3 times the present learning rate 3e-5')").wait_for()
    pressed(steered, "Set")
    steered.find(".lk-asked:has-text('requested'), .lk-asked:has-text('Peak learning rate 0.125')").wait_for()
    pressed(steered, "Resume")
    wait_status(steered, "running")
    rates = "answer = [r.value for r in run.store.records(run.id) if r.name == 'learning_rate'][{}:]"
    until(lambda: len(steered.execute(rates.format(held))) > 2, "steps with the new rate")
    assert set(steered.execute(rates.format(held))) == {0.125}
    assert set(steered.execute(rates.format(0))[:held]) == {3e-5}


def test_a_learning_rate_that_is_none_is_refused_in_the_panel(steered: Page):
    steered.find(".labkit-panel input").fill("fast")
    pressed(steered, "Set")
    steered.find(".labkit-error strong:text(\"'fast' is not a learning rate\")").wait_for()
    pressed(steered, "Save now")  # the next press clears it
    steered.find(".labkit-panel .labkit-error").wait_for(state="detached")


def test_updates_are_few_and_small(steered: Page):
    number, first = len(steered.received), step(steered)
    until(lambda: step(steered) > first + 60, "60 steps")
    frames = [frame for frame in steered.received[number:] if b'"append"' in frame[1]]
    seconds = frames[-1][0] - frames[0][0]
    assert (len(frames) - 1) / seconds < 5
    assert max(len(frame[1]) for frame in frames) < 20_000


def test_a_click_is_heard_while_another_cell_works(steered: Page):
    if steered.execute("import ipykernel; answer = ipykernel.version_info[0]") < 7:
        pytest.skip("ipykernel < 7 has no subshells: a busy cell keeps every button waiting")
    steered.run_cell(3, wait=False)
    steered.wait_for(BUSY, 3)
    pressed(steered, "Pause")
    wait_status(steered, "paused")
    steered.wait_idle()
    assert steered.text(3) == "'paused'"
    pressed(steered, "Resume")
    wait_status(steered, "running")


def test_a_reload_shows_the_whole_history(steered: Page):
    pressed(steered, "Pause")
    wait_status(steered, "paused")
    steered.save()
    steered.reload()
    wait_status(steered, "paused")
    want = recorded(steered)
    assert want["train/loss"] > 60
    until(lambda: drawn(steered) == want, "the history after a reload")
    pressed(steered, "Resume")
    wait_status(steered, "running")


def test_a_page_that_is_opened_while_another_cell_works_shows_the_run_and_steers_it(lab: Lab, steered: Page):
    subshells = steered.execute("import ipykernel; answer = ipykernel.version_info[0]") >= 7
    if subshells:
        steered.run_cell(3, wait=False)
        steered.wait_for(BUSY, 3)
    second = lab.open("steered.ipynb", idle=not subshells)
    wait_status(second, "running")
    pressed(second, "Pause")
    wait_status(second, "paused")
    steered.wait_idle()
    assert not subshells or steered.text(3) == "'paused'"  # the cell worked until then
    want = recorded(steered)
    until(lambda: drawn(second) == want, "the whole history in a second page")
    pressed(second, "Resume")
    wait_status(steered, "running")
    wait_status(second, "running")
    assert_clean(second)
    second.close()


def test_stop_leaves_the_curves_in_the_notebook_although_the_page_was_reloaded(
    lab: Lab, steered: Page, tmp_path: Path
):
    steered.screenshot(tmp_path / "running.png")
    pressed(steered, "Stop")
    html = assert_static(lab, steered, "stopped")
    assert "trainer" not in html and "labkit.fit" not in html
    assert steered.execute("answer = run.status") == "stopped"
    assert steered.find(STATUS).text_content() == "stopped" and steered.find(".labkit-kept").is_hidden()
    assert steered.find(".lk-line[data-series='train/loss']").is_visible()  # the panel stays, with its curves
    steered.screenshot(tmp_path / "stopped.png")
    assert_clean(steered)


def test_a_notebook_from_elsewhere_shows_the_curves_without_kernel_or_trust(
    lab: Lab, steered: Page, tmp_path: Path
):
    book = json.loads((lab.folder / "steered.ipynb").read_text())
    book["cells"][2]["source"] = "'never signed here'"
    (lab.folder / "elsewhere.ipynb").write_text(json.dumps(book))
    page = lab.open("elsewhere.ipynb", dark=True)
    assert page.find("style:text('labkit')").count() == 0  # what is not trusted is sanitised
    width = page.find("img[src^='data:image/svg']").evaluate(
        "(img) => img.decode().then(() => img.naturalWidth)"
    )
    assert width == 800
    page.screenshot(tmp_path / "elsewhere.png")
    page.close()


def test_hostile_names_and_errors_are_shown_as_text(lab: Lab, tmp_path: Path):
    page = begin(
        lab, "hostile.ipynb", dark=True, name=HOSTILE, steps=60, pace=0.05, error=f"ValueError: {HOSTILE}"
    )
    wait_status(page, "running")
    assert page.find(".lk-head strong").text_content() == HOSTILE
    page.screenshot(tmp_path / "dark.png")
    html = assert_static(lab, page, "failed")
    assert HOSTILE not in html
    error = page.find(".labkit-panel .labkit-error")
    assert HOSTILE in error.text_content() and "What to do: cure for ValueError" in error.text_content()
    error.locator("summary").click()
    page.page.wait_for_timeout(1000)  # typesetting comes late, if it comes
    assert page.find("mjx-container").count() == 0
    assert error.locator("pre").inner_text() == f"Traceback: ValueError: {HOSTILE}"
    assert page.find("img[src=x]").count() == 0
    page.screenshot(tmp_path / "failed.png")
    assert_clean(page)
    page.close()


@pytest.mark.soak
def test_a_page_whose_script_starts_too_late_shows_a_picture(lab: Lab):
    late = """from labkit.app.live import Curves
Curves._esm = 'await new Promise((go) => setTimeout(go, 4000));' + str(Curves._esm)"""
    cells = ["import trainer\n" + late, "run = trainer.start('runs', name='late', steps=900)\nrun"]
    page = lab.open(lab.notebook("late.ipynb", cells))
    page.run_cell(0)
    page.run_cell(1)
    picture = page.find(".labkit-panel .labkit-result img")
    picture.wait_for()
    first = picture.get_attribute("src")
    until(lambda: picture.get_attribute("src") != first, "a newer picture")
    pressed(page, "Stop")
    assert_static(lab, page, "stopped")
    page.close()
