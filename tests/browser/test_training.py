"""A real training run, watched and steered from a real JupyterLab."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import labkit as lk

from .jupyter import Lab, Page, until
from .test_live import assert_clean, assert_static, drawn, pressed, recorded, wait_status

pytestmark = pytest.mark.browser

REVIEWS = Path(__file__).parent.parent / "reviews.csv"


@pytest.fixture(scope="module")
def training(lab: Lab, tiny: Any, settings: dict[str, Any]) -> Any:
    """A notebook in which a tiny BERT trains for far too many epochs; its third cell waits for the end."""
    more = {**settings, "epochs": 9000}
    fit = f"run = lk.fit(rows, lk.models['bert'](**{tiny.to_dict()!r}), name='real', **{more!r})"
    cells = [
        f"import labkit as lk\nrows = lk.load({str(REVIEWS)!r}).split(validation=0.15, test=0.15, seed=0)",
        f"{fit}\nrun",
        "await run;",
        "6 * 7",
    ]
    page = lab.open(lab.notebook("training.ipynb", cells))
    page.run_cell(0)
    page.run_cell(1)
    yield page
    page.close()


def info(page: Page, field: str) -> Any:
    return page.execute(f"answer = run.info.{field}")


def taken(page: Page, name: str) -> int:
    """The step at which the newest command of this name was taken."""
    query = "SELECT taken FROM commands WHERE name = '{}' ORDER BY seq DESC LIMIT 1"
    return page.execute(f'answer = run.store.connection().execute("{query.format(name)}").fetchone()[0]')


def test_the_cell_returns_at_once_and_another_one_answers_while_it_trains(training: Page):
    wait_status(training, "running")
    first = info(training, "step")
    training.run_cell(3)
    assert training.text(3) == "42"
    until(lambda: info(training, "step") > first, "more steps")


def test_buttons_work_while_a_cell_waits_for_the_run(training: Page):
    training.run_cell(2, wait=False)
    pressed(training, "Pause")
    wait_status(training, "paused")
    page_busy = (
        "(i) => window.jupyterapp.shell.currentWidget.content.widgets[i].model.executionState === 'running'"
    )
    training.wait_for(page_busy, 2)
    training.page.evaluate(
        "async () => { await window.jupyterapp.commands.execute('notebook:interrupt-kernel') }"
    )
    training.wait_idle()
    assert info(training, "status") == "paused"  # an interrupted cell has cost the run nothing


def test_a_pause_counts_from_the_very_next_step_and_a_reload_shows_everything(training: Page):
    held = info(training, "step")
    assert held == taken(training, "pause")
    training.save()
    training.reload()
    wait_status(training, "paused")
    want = recorded(training)
    assert want["train/loss"] == held and want["validation/f1"] > 0
    until(lambda: drawn(training) == want, "the whole history")


def test_a_learning_rate_counts_from_the_very_next_step_and_compiles_nothing(training: Page):
    compiled = info(training, "compilations")
    training.find(".labkit-panel input").fill("1e-9")
    pressed(training, "Set")
    pressed(training, "Resume")
    wait_status(training, "running")
    step = taken(training, "set")
    until(lambda: info(training, "step") > step + 2, "steps with the new rate")
    rates = "answer = {r.step: r.value for r in run.store.records(run.id) if r.name == 'learning_rate'}"
    found = {int(key): value for key, value in training.execute(rates).items()}
    assert found[step] > 1e-8 > found[step + 1]
    assert info(training, "compilations") == compiled == 2


def test_stop_keeps_the_model_and_leaves_the_curves(lab: Lab, training: Page):
    pressed(training, "Stop")
    html = assert_static(lab, training, "stopped")
    assert "real" in html
    assert info(training, "step") == taken(training, "stop")
    assert training.execute("answer = run.predict(['a fine film'])[0].label") in ("negative", "positive")
    assert_clean(training)


def test_a_run_of_another_process_is_shown_whole_and_obeys(
    lab: Lab, reviews: Any, tiny: Any, settings: dict[str, Any]
):
    folder = lab.folder / "elsewhere"
    run = lk.fit(reviews, tiny, folder=folder, name="worker", detach=True, **{**settings, "epochs": 9000})
    until(lambda: run.info.step > 30, "the worker to train")
    run.pause()
    cells = ["import labkit as lk", "run = lk.open_run('worker', 'elsewhere')\nrun"]
    page = lab.open(lab.notebook("worker.ipynb", cells))
    page.run_cell(0)
    page.run_cell(1)
    wait_status(page, "paused")
    want = recorded(page)
    assert want["train/loss"] == run.info.step
    until(lambda: drawn(page) == want, "the whole history")
    pressed(page, "Resume")
    wait_status(page, "running")
    pressed(page, "Stop")
    assert "worker" in assert_static(lab, page, "stopped")
    assert run.wait(60).predict(["a fine film"])
    page.close()


@pytest.mark.soak
def test_a_run_in_the_foreground_is_steered_too_and_on_a_page_that_is_opened_then(
    lab: Lab, tiny: Any, settings: dict[str, Any]
):
    fit = f"lk.fit(rows, lk.models['bert'](**{tiny.to_dict()!r}), name='fore', **{ {**settings, 'epochs': 9000}!r}"
    cells = [
        f"import ipykernel, labkit as lk\nrows = lk.load({str(REVIEWS)!r}).split(validation=0.15, test=0.15, seed=0)",
        f"run = {fit}, background=False)\nrun",
    ]
    page = lab.open(lab.notebook("foreground.ipynb", cells))
    page.run_cell(0)
    if page.execute("answer = ipykernel.version_info[0]") < 7:
        pytest.skip("ipykernel < 7 has no subshells: there the cell keeps every button waiting")
    page.run_cell(1, wait=False)
    wait_status(page, "running")
    pressed(page, "Pause")
    wait_status(page, "paused")
    page.save()
    cold = lab.open("foreground.ipynb", idle=False)
    wait_status(cold, "paused")
    pressed(cold, "Resume")
    wait_status(page, "running")
    pressed(cold, "Stop")
    page.wait_idle()
    assert "fore" in assert_static(lab, page, "stopped")
    assert page.execute("answer = run.predict(['a fine film'])[0].label") in ("negative", "positive")
    for each in (page, cold):
        assert_clean(each)
        each.close()
