"""The whole job by clicks alone, from a file to a prediction: in JupyterLab, in Notebook 7, and through Voilà."""

from __future__ import annotations

import csv
import re
import urllib.error
import urllib.request
import zipfile
from pathlib import Path
from typing import Any

import pytest

from .clicks import fill, press, see, upload
from .jupyter import Lab
from .voila import app

pytestmark = pytest.mark.browser

REVIEWS = Path(__file__).parents[1] / "reviews.csv"


def whole_job(page: Any) -> None:
    """From a table of reviews to what the model says of a new one."""
    upload(page, REVIEWS)
    see(page, "130 (50%)")
    press(page, "Next step")
    press(page, "Recommended repairs")
    see(page, "Rows changed, of 260")
    press(page, "Next step")
    press(page, "Text CNN")
    see(page, "steps in all")
    press(page, "Next step")
    press(page, "Start training")
    page.locator('[data-status="finished"]').first.wait_for()
    press(page, "Next step")
    see(page, "F1")
    press(page, "Next step")
    fill(page, "Text", "a film of great beauty")
    press(page, "Predict")
    see(page, "positive")
    with page.expect_file_chooser() as chooser:  # a whole file, with the answers
        page.locator(".labkit-bench .widget-upload").locator("visible=true").last.click()
    chooser.value.set_files(str(REVIEWS))
    with page.expect_download() as download:
        page.locator("a.lk-link:has-text('reviews-predictions')").locator("visible=true").click()
    with open(download.value.path(), encoding="utf-8-sig", newline="") as file:
        answers = list(csv.DictReader(file))
    assert len(answers) == 260 and {row["predicted"] for row in answers} <= {"positive", "negative"}


def test_in_jupyterlab(lab: Lab):
    page = lab.open(lab.notebook("job.ipynb", ["import labkit as lk\nlk.Lab('job', language='en')"]))
    page.run_cell(0)
    whole_job(page.page)
    assert page.errors == page.dialogs == page.far_requests() == []
    # what was clicked is an experiment, and its code makes the same run
    made = page.execute(
        "import os\nbench = _\nrun = bench.state.run\nos.environ['LABKIT_FOLDER'] = 'again'\n"
        "names = {}\nexec(bench.state.code(), names)\nagain = names['run'].wait()\n"
        "told = lambda run: [record[1:5] for record in run.store.records(run.id) if record.name in ('loss', 'f1')]\n"
        "answer = [told(again) == told(run), len(told(run)) > 3, again.info.experiment == run.info.experiment]"
    )
    assert made == [True, True, True]
    page.close()


def test_a_tile_of_the_launcher_opens_the_panel(lab: Lab):
    page = lab.launcher()
    page.page.locator(".jp-LauncherCard", has_text="labkit").first.click()
    page.page.locator(".labkit-bench .lk-brand").first.wait_for()
    see(page.page, "A sample")
    assert (lab.folder / "labkit.ipynb").is_file()
    page.close()


@pytest.mark.soak
def test_in_notebook_7(lab: Lab):
    pytest.importorskip("notebook", minversion="7")
    page = lab.open(
        lab.notebook("seven.ipynb", ["import labkit as lk\nlk.Lab('seven', language='en')"]), seven=True
    )
    before = list(page.errors)  # Notebook 7.6 has one of its own, on every page
    page.run_cell(0)
    whole_job(page.page)
    assert page.errors == before and page.dialogs == page.far_requests() == []
    page.close()


@pytest.mark.soak
def test_through_voila(lab: Lab, tmp_path: Path):
    with app(tmp_path, lab.browser) as (page, far):
        whole_job(page)
        press(page, "Export the model")
        link = page.locator("a.lk-link:text-is('Download')").locator("visible=true")
        link.wait_for()
        with page.expect_download() as download:  # as messages: Voilà serves no files
            link.click()
        assert "model.safetensors" in zipfile.ZipFile(download.value.path()).namelist()
        bare = page.url.partition("#")[0].partition("?")[0]
        try:  # without the token, and without the cookie that it gave the page
            with urllib.request.urlopen(bare, timeout=30) as answer:
                assert "/login" in answer.url and not re.search(
                    "labkit-bench|kernelId", answer.read().decode()
                )
        except urllib.error.HTTPError as refused:
            assert refused.code in (401, 403)
    assert far == []
