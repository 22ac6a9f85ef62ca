"""The steps Judge and Use in a real JupyterLab, over a run that was really trained."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import pytest

from .contrast import hard_to_read, themes
from .jupyter import Lab, Page, until
from .test_live import assert_clean, pressed

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def judged(lab: Lab, finished: Any) -> Any:
    folder = str(finished.store.folder)
    cells = [
        f"import labkit as lk\nrun = lk.open_run({finished.id!r}, {folder!r})",
        "judge = lk.panels.Judge(run)\njudge",
        "use = lk.panels.Use(run)\nuse",
        "train = lk.panels.Train(run)\ntrain",
    ]
    page = lab.open(lab.notebook("judged.ipynb", cells))
    for cell in range(4):
        page.run_cell(cell)
    yield page
    page.close()


def tab(page: Page, name: str) -> None:
    page.page.get_by_role("tab", name=name).click()


def test_a_click_on_a_cell_shows_its_examples_and_why_they_are_answered_so(judged: Page, tmp_path: Path):
    cells = judged.find(".lk-matrix td button")
    until(lambda: cells.count() == 4, "the confusion matrix")
    counts = judged.execute("answer = judge.now.report.confusion.to_numpy().ravel().tolist()")
    assert [int(text) for text in cells.all_text_contents()] == counts
    place = next(number for number, count in enumerate(counts) if count)
    cells.nth(place).click()
    until(lambda: judged.execute("answer = judge.grid.selected") == list(divmod(place, 2)), "the chosen cell")
    options = judged.find("select[size] option, select[multiple] option")
    until(lambda: options.count() == counts[place], "its examples")
    options.first.click()
    judged.find(".lk-marked span[title]").first.wait_for()
    assert judged.find(".lk-marked span[title]").count() >= 3
    judged.screenshot(tmp_path / "mistakes.png", ".labkit-bench")
    cells.nth(place).press("Enter")  # the same by keyboard: chosen again is chosen no more
    until(lambda: judged.execute("answer = judge.grid.selected") == [], "the cell to be free")


def test_the_threshold_moves_the_numbers(judged: Page, tmp_path: Path):
    tab(judged, "Thresholds")
    judged.find(".noUi-handle").first.press("ArrowLeft")
    until(lambda: judged.execute("answer = judge.threshold.value") < 0.5, "the slider to move")
    found = "from labkit.evaluate.thresholds import Thresholds\nanswer = Thresholds.of(judge.now.{}, judge.which.value)"
    now = judged.execute(found.format("report") + ".at(judge.threshold.value)['recall']")
    until(lambda: f"<b>{now:.3f}</b>" in judged.execute("answer = judge.worth.value"), "the numbers to follow")
    pressed(judged, "Best on validation")
    best = judged.execute(found.format("validation") + ".best()")
    until(lambda: abs(judged.execute("answer = judge.threshold.value") - best) < 0.006, "the best threshold")
    assert judged.find("svg.lk-chart").count() >= 2
    judged.screenshot(tmp_path / "thresholds.png", ".labkit-bench")
    tab(judged, "Calibration")
    judged.find(".lk-card:has-text('calibration error')").first.wait_for()
    judged.screenshot(tmp_path / "calibration.png", ".labkit-bench")


def test_a_typed_text_is_answered_and_explained_and_the_model_taken_away(lab: Lab, judged: Page, tmp_path: Path):
    judged.page.get_by_label("Text", exact=True).fill("a truly good film")
    judged.page.get_by_label("Text", exact=True).press("Tab")
    pressed(judged, "Predict")
    answer = "answer = use.answer.value"
    until(lambda: "Probability" in judged.execute(answer), "an answer")
    want = judged.execute("answer = run.predict(['a truly good film'])[0].label")
    assert want in judged.execute(answer)
    until(lambda: judged.execute("answer = len(use.why.found.words) if use.why.found else 0") == 4, "four words")
    pressed(judged, "Export the model")
    link = judged.find("a.lk-link")
    link.wait_for()
    with judged.page.expect_download() as download:
        link.click()
    download.value.save_as(tmp_path / "model.zip")
    assert "model.safetensors" in zipfile.ZipFile(tmp_path / "model.zip").namelist()
    assert (lab.folder / "finished-model.zip").exists()
    judged.find(".labkit-bench").nth(1).screenshot(path=str(tmp_path / "use.png"))
    assert_clean(judged)


def test_text_has_enough_contrast_in_both_themes(judged: Page):
    judged.execute(
        "judge.settle(120); use.settle(120)\n"
        "judge.examples.list.index = 0; use.text.value = 'a truly good film'; use.go.click()\n"
        "judge.settle(120); use.settle(120); answer = 1"
    )
    for theme in themes(judged):
        for number in range(5):
            judged.execute(f"judge.tabs.selected_index = {number}; answer = 1")
            judged.page.wait_for_timeout(300)
            assert hard_to_read(judged) == [], (theme, number)
