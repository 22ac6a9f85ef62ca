"""The steps Evaluate and Predict in a real JupyterLab, over a run that was really trained."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from .contrast import hard_to_read, themes
from .jupyter import Lab, Page, until
from .test_live import assert_clean, pressed

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def evaluated(lab: Lab, finished: Any) -> Any:
    folder = str(finished.store.folder)
    cells = [
        f"import labkit as lk\nrun = lk.open_run({finished.id!r}, {folder!r})",
        "evaluate = lk.panels.Evaluate(run)\nevaluate",
        "use = lk.panels.Predict(run)\nuse",
        "train = lk.panels.Train(run)\ntrain",
    ]
    page = lab.open(lab.notebook("evaluated.ipynb", cells))
    for cell in range(4):
        page.run_cell(cell)
    yield page
    page.close()


def tab(page: Page, name: str) -> None:
    page.page.get_by_role("tab", name=name).click()


def test_a_click_on_a_cell_shows_its_examples_and_why_they_are_answered_so(evaluated: Page, tmp_path: Path):
    cells = evaluated.find(".lk-matrix td button")
    until(lambda: cells.count() == 4, "the confusion matrix")
    counts = evaluated.execute("answer = evaluate.now.report.confusion.to_numpy().ravel().tolist()")
    assert [int(text) for text in cells.all_text_contents()] == counts
    place = next(number for number, count in enumerate(counts) if count)
    cells.nth(place).click()
    until(
        lambda: evaluated.execute("answer = evaluate.grid.selected") == list(divmod(place, 2)),
        "the chosen cell",
    )
    options = evaluated.find(".lk-rows tbody tr")
    until(lambda: options.count() == counts[place], "its examples")
    options.first.click()
    evaluated.find(".lk-marked span[title]").first.wait_for()
    assert evaluated.find(".lk-marked span[title]").count() >= 3
    options.first.press("ArrowDown")  # the next by keyboard
    until(
        lambda: evaluated.execute("answer = evaluate.examples.list.chosen") == min(1, counts[place] - 1),
        "the next row",
    )
    evaluated.screenshot(tmp_path / "mistakes.png", ".labkit-bench")
    cells.nth(place).press("Enter")  # the same by keyboard: chosen again is chosen no more
    until(lambda: evaluated.execute("answer = evaluate.grid.selected") == [], "the cell to be free")


def test_predictions_are_downloaded_as_csv(evaluated: Page, tmp_path: Path):
    for key in ("predictions", "mistakes"):
        link = evaluated.find(f"a.lk-link:has-text('Download {key}')")
        with evaluated.page.expect_download() as download:
            link.click()
        download.value.save_as(tmp_path / f"{key}.csv")
        assert download.value.suggested_filename == f"finished-test-{key}.csv"
    frame = pd.read_csv(tmp_path / "predictions.csv")
    counts = evaluated.execute(
        "answer = [len(evaluate.now.report.rows), len(evaluate.now.report.mistakes(999))]"
    )
    assert [len(frame), len(pd.read_csv(tmp_path / "mistakes.csv"))] == counts


def test_the_threshold_moves_the_numbers(evaluated: Page, tmp_path: Path):
    tab(evaluated, "Thresholds")
    evaluated.find(".noUi-handle").first.press("ArrowLeft")
    until(lambda: evaluated.execute("answer = evaluate.threshold.value") < 0.5, "the slider to move")
    found = "from labkit.evaluate.thresholds import Thresholds\n"
    found += "answer = Thresholds.of(evaluate.now.{}, evaluate.which.value)"
    now = evaluated.execute(found.format("report") + ".at(evaluate.threshold.value)['recall']")
    until(
        lambda: f"<b>{now:.3f}</b>" in evaluated.execute("answer = evaluate.worth.value"),
        "the numbers to follow",
    )
    pressed(evaluated, "Best on validation")
    best = evaluated.execute(found.format("validation") + ".best()")
    until(
        lambda: abs(evaluated.execute("answer = evaluate.threshold.value") - best) < 0.006,
        "the best threshold",
    )
    assert evaluated.find("svg.lk-chart").count() >= 2
    evaluated.screenshot(tmp_path / "thresholds.png", ".labkit-bench")
    tab(evaluated, "Calibration")
    evaluated.find(".lk-card:has-text('calibration error')").first.wait_for()
    evaluated.screenshot(tmp_path / "calibration.png", ".labkit-bench")


def test_a_typed_text_is_answered_and_explained_and_the_model_taken_away(
    lab: Lab, evaluated: Page, tmp_path: Path
):
    evaluated.page.get_by_label("Text", exact=True).fill("a truly good film")
    evaluated.page.get_by_label("Text", exact=True).press("Tab")
    evaluated.find(".mod-primary:text-is('Predict')").click()
    answer = "answer = use.answer.value"
    until(lambda: "Probability" in evaluated.execute(answer), "an answer")
    want = evaluated.execute("answer = run.predict(['a truly good film'])[0].label")
    assert want in evaluated.execute(answer)
    until(
        lambda: evaluated.execute("answer = len(use.why.found.words) if use.why.found else 0") == 4,
        "four words",
    )
    pd.DataFrame({"id": [7, 8], "text": ["a truly good film", "dull"]}).to_csv(
        tmp_path / "unseen.csv", index=False
    )
    upload = evaluated.find(".widget-upload").last
    with evaluated.page.expect_file_chooser() as chooser:
        upload.click()
    chooser.value.set_files(str(tmp_path / "unseen.csv"))
    answers = evaluated.find("a.lk-link:has-text('unseen-predictions.csv')")
    with evaluated.page.expect_download() as download:
        answers.click()
    download.value.save_as(tmp_path / "answers.csv")
    both = evaluated.execute("answer = [one.label for one in run.predict(['a truly good film', 'dull'])]")
    assert pd.read_csv(tmp_path / "answers.csv", encoding="utf-8-sig")["predicted"].tolist() == both
    pressed(evaluated, "Export the model")
    link = evaluated.find("a.lk-link:text-is('Download')")
    link.wait_for()
    with evaluated.page.expect_download() as download:
        link.click()
    download.value.save_as(tmp_path / "model.zip")
    assert "model.safetensors" in zipfile.ZipFile(tmp_path / "model.zip").namelist()
    assert (lab.folder / "finished-model.zip").exists()
    evaluated.find(".labkit-bench").nth(1).screenshot(path=str(tmp_path / "use.png"))
    assert_clean(evaluated)


def test_text_has_enough_contrast_in_both_themes(evaluated: Page):
    evaluated.execute(
        "evaluate.settle(120); use.settle(120)\n"
        "evaluate.examples.list.chosen = 0; use.text.value = 'a truly good film'; use.go.click()\n"
        "evaluate.settle(120); use.settle(120); answer = 1"
    )
    for theme in themes(evaluated):
        for number in range(7):
            evaluated.execute(f"evaluate.tabs.selected_index = {number}; answer = 1")
            evaluated.page.wait_for_timeout(300)
            assert hard_to_read(evaluated) == [], (theme, number)
