"""The bench in a real JupyterLab and a real Chromium: the steps Data, Prepare and Model by clicks alone."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .clicks import choose, press, see, upload
from .contrast import hard_to_read, themes
from .jupyter import Lab, Page

pytestmark = pytest.mark.browser

REVIEWS = Path(__file__).parents[1] / "reviews.csv"
#: Bytes that opening a panel may send.
MOST = 1_000_000
_CELL = "window.jupyterapp.shell.currentWidget.content.model.cells.get(%d).sharedModel"


@pytest.fixture(scope="module")
def notebook(lab: Lab) -> Iterator[Page]:
    """One notebook and kernel for all tests of this module."""
    shutil.copy(REVIEWS, lab.folder)
    made = lab.open(lab.notebook("bench.ipynb", ["1 + 1", "2 + 2"]))
    yield made
    made.close()


@pytest.fixture
def page(notebook: Page, request: pytest.FixtureRequest) -> Iterator[Page]:
    """The notebook with a new bench in its first cell, whose lab folder is empty."""
    source(notebook, 0, f"import labkit as lk\nbench = lk.Lab({request.node.name!r}, language='en')\nbench")
    notebook.received.clear()
    notebook.run_cell(0)
    notebook.find(".labkit-bench").first.wait_for()
    yield notebook
    assert notebook.dialogs == notebook.errors == notebook.far_requests() == []


def source(page: Page, index: int, code: str) -> None:
    """Write another code into a cell."""
    page.page.evaluate(f"(code) => {{ {_CELL % index}.setSource(code) }}", code)


def settled(page: Page) -> str:
    """Wait for the work in the background; returns the problems that steps have."""
    return page.execute(
        "[step.settle(120) for step in list(bench.steps.values())]\n"
        "answer = ' '.join(step.problem.text for step in list(bench.steps.values()) if step.problem)"
    )


def test_from_a_file_to_a_model_by_clicks(page: Page):
    upload(page.page, REVIEWS)
    see(page.page, "130 (50%)")
    see(page.page, "duplicates of another row")
    assert sum(len(data) for _, data in page.received) < MOST
    press(page.page, "Next step")
    press(page.page, "Recommended repairs")
    see(page.page, "Rows changed, of 260")
    choose(page.page, "Duplicates", "remove exact duplicates")
    see(page.page, "259 rows remain")
    page.page.get_by_label("or your own", exact=True).fill("Terrific!")
    page.page.keyboard.press("Enter")
    see(page.page, "[CLS]")
    press(page.page, "Next step")
    press(page.page, "Text CNN")
    see(page.page, "steps in all")
    assert settled(page) == ""
    # the code on the clipboard does the same
    page.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    press(page.page, "Copy code")
    press(page.page, "Copied")
    copied = page.page.evaluate("() => navigator.clipboard.readText()")
    assert copied == page.execute("answer = bench.state.code()") and "lk.models['textcnn']" in copied
    press(page.page, "Save experiment")
    see(page.page, "Saved as experiment.toml")
    assert (
        page.execute("from pathlib import Path; answer = Path('experiment.toml').read_text()").count(
            "[model]"
        )
        == 1
    )


def test_it_comes_back_after_a_reload_and_a_restart(page: Page):
    upload(page.page, REVIEWS)
    see(page.page, "130 (50%)")
    press(page.page, "2 Prepare")
    press(page.page, "Recommended repairs")
    see(page.page, "Rows changed")
    page.save()
    page.reload()
    see(page.page, "Rows changed")  # the same widgets, from the kernel that went on
    press(page.page, "None")
    see(page.page, "The texts are unchanged")
    press(page.page, "Recommended repairs")
    settled(page)
    page.page.evaluate(
        "async () => await window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()"
    )
    page._ready()
    page.run_cell(0)
    see(page.page, "Rows changed")
    assert page.execute("answer = [bench.state.step, len(bench.state.rows), bench.state.steps[0]['do']]") == [
        "prepare", 260, "clean",
    ]  # fmt: skip


def test_by_the_keyboard_in_chinese_with_a_mistake(page: Page):
    box = page.page
    box.get_by_role("button", name="中文").focus()
    box.keyboard.press("Enter")
    box.get_by_role("button", name="本机文件或文件夹").focus()
    box.keyboard.press("Enter")
    box.get_by_label("路径", exact=True).fill("nothing.csv")
    box.keyboard.press("Tab")
    assert box.evaluate("() => document.activeElement.textContent") == "加载"
    box.keyboard.press("Enter")
    alert = page.find('.labkit-bench [role="alert"]').first
    alert.wait_for()
    assert "nothing.csv" in alert.inner_text() and "错误堆栈" not in alert.inner_text()
    box.get_by_label("路径", exact=True).fill("reviews.csv")
    box.keyboard.press("Tab")
    box.keyboard.press("Enter")
    see(page.page, "数据质量检查")
    assert page.find('.labkit-bench [role="alert"]').count() == 0


def test_buttons_work_while_a_cell_runs_and_re_runs_leave_nothing(page: Page):
    count = "import threading; from ipywidgets.widgets.widget import _instances\n"
    count += "answer = [len(_instances), sum(t.name.startswith('labkit') for t in threading.enumerate())]"
    settled(page)
    page.run_cell(0)
    settled(page)
    before = page.execute(count)
    for _ in range(10):
        page.run_cell(0)
        settled(page)
    after = page.execute(count)
    assert after[0] == before[0] and after[1] <= before[1] + 1
    busy = "import time\nend = time.monotonic() + 60\nwhile bench.state.step != 'prepare' and time.monotonic() < end:\n"
    source(page, 1, busy + "    time.sleep(0.05)\nbench.state.step")
    page.run_cell(1, wait=False)
    page.wait_for(
        "() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.status === 'busy'"
    )
    press(page.page, "2 Prepare")
    page.wait_idle()
    assert page.text(1) == "'prepare'"


HOSTILE = """import sys; sys.path.insert(0, '{here}')
from hostile import HOSTILE
rows = lk.load([{{HOSTILE[0]: t, HOSTILE[1]: HOSTILE[2 + i % 2], HOSTILE[4]: t}} for i, t in enumerate(HOSTILE * 2)],
               text=HOSTILE[0], label=HOSTILE[1], on_bad='skip')
bench.state.accept_leakage = True
bench.state.rows = rows
answer = len(rows)"""


def assert_nothing_ran(page: Page) -> None:
    """No string of the rows has become more than text; the fixture looks at what the page asked for."""
    page.page.wait_for_timeout(500)
    assert page.page.evaluate("() => window.pwned") is None
    alive = (
        ".labkit-bench :is(iframe, script, object, embed, video, link, form, img:not([src^='data:image/']))"
    )
    assert page.page.locator(alive).count() == 0


def test_hostile_rows_run_nothing_and_fetch_nothing(page: Page):
    assert page.execute(HOSTILE.format(here=REVIEWS.parent / "app")) > 60
    see(page.page, "<script>window.pwned=1</script>")
    for _ in range(13):
        press(page.page, "Next")
    for step in ("2 Prepare", "3 Model"):
        press(page.page, step)
        settled(page)
    press(page.page, "2 Prepare ✓")
    for number in (0, 7, 20, 38):
        page.execute(f"bench.steps['prepare'].reading.own.value = HOSTILE[{number}]; answer = 1")
        settled(page)
    assert_nothing_ran(page)


#: Two runs of forty classes that are named by the strings, on texts that hold them, and one that failed by them.
TRAINED = """import sys; sys.path.insert(0, '{here}')
from hostile import HOSTILE
from labkit.tasks.classify import Classify
from labkit.train.experiment import Training
from labkit.train.optimizer import Optimizer
table = [{{'text': f'{{t[:150]}} {{n}}', 'label': t, HOSTILE[0]: HOSTILE[n]}} for n in range(5) for t in HOSTILE]
state, store = bench.state, bench.state.store
state.rows = lk.load(table, text='text', label='label', on_bad='skip').split(validation=0.2, test=0.4)
state.model, state.task = lk.models['bert'](**{tiny!r}), Classify(max_length=16, vocabulary=300)
state.train = Training(epochs=1, batch_size=40, buckets=1, optimizer=Optimizer(learning_rate=1e-3))
runs = []
for name in HOSTILE[1:3]:
    state.name = name
    bench.steps['train'].begin.click(); bench.steps['train'].settle(120); runs.append(state.run.wait())
for n, text in enumerate(HOSTILE):
    store.create(f'bad-{{n}}', text, status='failed', error=text, cure=text, traceback=text, message=text,
                 experiment='', summary={{'classes': [text, text[::-1]], 'quarantined': [text]}})
    store.write(f'bad-{{n}}', [(1, 'train', 'loss', 1.0), (1, 'validation', 'f1/0', 0.5)], step=1)
answer = [run.status for run in runs] + [len(state.rows.schema.classes)]"""


def test_hostile_classes_texts_and_errors_run_nothing_in_train_judge_and_use(page: Page, tiny: Any):
    press(page.page, "4 Train")
    see(page.page, "Start training")
    made = page.execute(TRAINED.format(here=REVIEWS.parent / "app", tiny=tiny.to_dict()))
    assert made[:2] == ["finished"] * 2 and made[2] >= 38
    assert page.find(".lk-head strong").first.text_content().startswith("<svg onload")
    for number in range(0, 40, 6):  # what failed by a string, and five others laid over
        over = tuple(f"bad-{number + each}" for each in range(1, 6) if number + each < 40)
        page.execute(
            f"bench.state.run = lk.open_run('bad-{number}', store.folder)\n"
            f"bench.steps['train'].over.value = {over!r}; answer = 1"
        )
        page.wait_for(
            "(id) => document.querySelector('.labkit-bench .labkit-error')?.textContent.includes(id)",
            f"bad-{number}",
        )
    page.execute("bench.state.run = runs[1]; answer = 1")
    press(page.page, "5 Evaluate")
    see(page.page, "Confusion matrix")
    assert settled(page) == ""
    page.find(".lk-matrix td button").first.click()
    for number in range(4):
        page.execute(
            f"j = bench.steps['evaluate']; j._worst(); j.examples.list.chosen = {number}; answer = 1"
        )
        assert settled(page) == ""
    page.find(".jupyter-widget-Collapse-header").first.click()  # attention
    for name in ("Thresholds", "Calibration", "Compare", "Slices"):
        page.page.get_by_role("tab", name=name).locator("visible=true").click()
        if name == "Compare":
            page.execute("j.other.value = runs[0].id; answer = 1")
        if name == "Slices":
            page.execute("j.column.value = HOSTILE[0]; answer = 1")
        assert settled(page) == ""
    press(page.page, "6 Predict")
    see(page.page, "Example from test")
    assert settled(page) == ""
    for number in range(0, 40, 5):
        page.execute(
            f"u = bench.steps['predict']; u.text.value = HOSTILE[{number}]; u.go.click(); answer = 1"
        )
        assert settled(page) == ""
    see(page.page, "Probability")
    press(page.page, "Export the model")
    assert settled(page) == ""
    assert_nothing_ran(page)


def test_text_has_enough_contrast_in_both_themes(page: Page):
    page.execute("bench.state.rows = lk.load('reviews.csv'); answer = 1")
    for _ in themes(page):
        for step in ("data", "prepare", "model"):
            page.execute(f"bench.show('{step}'); answer = 1")
            assert settled(page) == ""
            page.page.wait_for_timeout(300)
            assert hard_to_read(page) == []
