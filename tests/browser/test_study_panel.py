"""The panel of a study in a real JupyterLab: it follows the study, stops it, continues it, and keeps a picture."""

from __future__ import annotations

import json
from typing import Any

import pytest

from .jupyter import Lab, Page, until

pytestmark = pytest.mark.browser

ROWS = [
    {"text": f"{'good' if n % 2 else 'bad'} film w{n % 7} w{n % 5} n{n}", "label": "ab"[n % 2]}
    for n in range(240)
]
START = """import labkit as lk
rows = lk.load({rows!r}, text="text", label="label").split(validation=0.2, test=0.2, seed=0)
lk.language({language!r})
cnn = lk.models["textcnn"](preset="tiny")
rates = {{"quick": 1e-2, "steady": 3e-3, "slow": 1e-7}}
study = lk.study(rows, {{name: (cnn, {{"learning_rate": rate}}) for name, rate in rates.items()}}, folder="studies",
                 finish=1, epochs=12, batch_size=4, vocabulary=100, max_length=16, buckets=1, background=True)
study"""
STATUS = ".lk-study .lk-status"
WORDS = {
    "en": ("Stop", "Continue", "leads", "Take ", "left out"),
    "zh": ("停止", "继续", "领先", "选用", "已淘汰"),
}


def wait_status(page: Page, status: str) -> None:
    page.wait_for("([q, s]) => document.querySelector(q)?.dataset.status === s", [STATUS, status])


@pytest.mark.parametrize("language", ["en", pytest.param("zh", marks=pytest.mark.soak)])
def test_a_study_is_followed_stopped_and_continued(lab: Lab, language: str):
    stop, resume, leads, take, left = WORDS[language]
    book = lab.notebook(f"study-{language}.ipynb", [START.format(rows=ROWS, language=language), "6 * 7"])
    page = lab.open(book)
    page.run_cell(0)
    try:
        wait_status(page, "running")
        page.wait_for("q => document.querySelector(q).textContent.includes('slow')", ".lk-study table")
        page.page.get_by_role("button", name=stop, exact=True).click()
        wait_status(page, "stopped")
        held = page.execute("answer = [each.step for each in study.record.candidates]")
        page.run_cell(1)
        assert page.text(1) == "42"
        assert page.execute("answer = [each.step for each in study.record.candidates]") == held
        page.page.get_by_role("button", name=resume, exact=True).click()
        wait_status(page, "finished")
        body = page.find(".lk-study").inner_text()
        assert leads in body and take in body and left in body and "majority class" in body
        page.find(".lk-study svg").wait_for()
        assert page.find(f"button:has-text('{resume}')").is_disabled()

        def kept() -> bool:
            return any(take in "".join(out["data"].get("text/html", "")) for out in outputs(page))

        until(kept, "the static result")
        text = (lab.folder / page.save()).read_text()
        assert take in json.dumps(json.loads(text), ensure_ascii=False)
        assert page.far_requests() == [] and page.dialogs == [] and page.errors == []
    finally:
        page.close()


def outputs(page: Page) -> list[Any]:
    return [out for out in page.outputs(0) if "data" in out]
