"""Cancel in the step Data while a file is read, in a real JupyterLab."""

from __future__ import annotations

from pathlib import Path

import pytest

from .jupyter import Lab, until
from .test_live import assert_clean

pytestmark = pytest.mark.browser

#: Reading one file lasts until the test lets it end.
SLOW = """import threading
import labkit as lk
from labkit.app.steps import data as step
usual, ended = step.load, threading.Event()
def load(source, **options):
    if "large" in str(source):
        ended.wait(300)
    return usual(source, **options)
step.load = load
data = lk.panels.Data()
data"""


def test_reading_is_cancelled_while_the_kernel_stays_free(lab: Lab, tmp_path: Path):
    lines = [
        f"{word} film {n},{label}" for n in range(30) for word, label in (("fine", "good"), ("dull", "bad"))
    ]
    for name in ("small.csv", "large.csv"):
        (lab.folder / name).write_text("\n".join(["review,label", *lines]), encoding="utf-8")
    page = lab.open(lab.notebook("cancel.ipynb", [SLOW]))
    page.run_cell(0)
    load, cancel = (page.find(f".labkit-bench button:text-is('{name}')") for name in ("Load", "Cancel"))
    path = page.find(".labkit-bench input[placeholder='reviews.csv']")
    page.find(".labkit-bench button:text-is('A local file or folder')").click()
    path.fill("small.csv")
    load.click()
    until(lambda: page.execute("answer = data.state.rows is not None"), "the small file")
    assert not cancel.is_visible()
    goals = page.find(".labkit-bench .lk-goals")
    place = goals.bounding_box()["y"] - load.bounding_box()["y"]
    path.fill("large.csv")
    load.click()
    cancel.wait_for()
    page.page.wait_for_timeout(600)  # it appears after a moment, so that short readings do not flicker
    page.screenshot(tmp_path / "cancel.png", ".labkit-bench")
    assert goals.bounding_box()["y"] - load.bounding_box()["y"] == place  # nothing moves
    assert page.execute("answer = 6 * 7") == 42
    cancel.click()
    page.find(".labkit-bench :text('Cancelled: the data stay what they were.')").wait_for()
    assert not cancel.is_visible()
    assert page.execute("answer = data.state.source") == "small.csv"
    path.fill("small.csv")
    load.click()
    until(lambda: page.execute("answer = not data.jobs.busy"), "the small file once more")
    page.execute("ended.set(); answer = None")
    assert page.execute("answer = data.state.source") == "small.csv"
    assert_clean(page)
    page.close()
