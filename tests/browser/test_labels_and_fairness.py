"""Correcting labels in the step Prepare, and the tab Fairness of Evaluate, in a real JupyterLab."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from .contrast import hard_to_read
from .jupyter import Lab, until
from .test_live import assert_clean

pytestmark = pytest.mark.browser

WORDS = {"good": "great lovely fine superb", "bad": "awful poor weak dull"}


def test_labels_are_corrected_by_keys_and_clicks(lab: Lab, tmp_path: Path):
    lines = [f"{WORDS[('good', 'bad')[n % 2]]} film {n},{('good', 'bad')[n % 2]}" for n in range(60)]
    lines[0] = f"{WORDS['good']} film 0,bad"
    lines[7] = f"{WORDS['bad']} film 7,good"
    (lab.folder / "labels.csv").write_text("\n".join(["text,label", *lines]), encoding="utf-8")
    cells = [
        "import labkit as lk\nprepare = lk.panels.Prepare(lk.load('labels.csv'))\nprepare",
        "print(prepare.state.cleaned().report)",
    ]
    page = lab.open(lab.notebook("labels.ipynb", cells))
    page.run_cell(0)
    page.find("button:text-is('Find rows')").click()
    rows = page.find(".lk-rows tbody tr")
    until(lambda: rows.count() == 50, "the doubtful rows")
    assert page.execute("answer = sorted(prepare.review.list.places[:2])") == [0, 7]
    first, second = page.execute("answer = prepare.review.list.places[:2]")
    rows.first.focus()
    rows.first.press("s")  # the suggestion, by a key
    until(lambda: page.execute("answer = list(prepare.review.labels)") == [first], "the first correction")
    until(lambda: rows.nth(1).evaluate("row => row === document.activeElement"), "the focus on the next row")
    rows.nth(1).press("k")
    until(lambda: page.execute("answer = prepare.review.confirmed") == [second], "the second row to be kept")
    rows.nth(1).click()
    right = {0: "good", 7: "bad"}[second]
    page.find(f"button:has-text('{right}')").first.click()  # after all, by a click
    until(lambda: second in page.execute("answer = list(prepare.review.labels)"), "the second correction")
    assert page.execute("answer = prepare.review.confirmed") == []
    page.find(".lk-rows").first.scroll_into_view_if_needed()
    page.screenshot(tmp_path / "labels.png", ".labkit-bench")
    assert hard_to_read(page) == []
    page.run_cell(1)
    said = "".join(str(output) for output in page.outputs(1))
    assert "label corrected 2" in said
    assert "correct_labels" in page.execute("answer = prepare.code()")
    assert_clean(page)
    page.close()


def test_fairness_by_group_and_the_price_of_equal_rates(lab: Lab, tmp_path: Path):
    random = np.random.default_rng(5)
    sex = random.choice(["female", "male"], 400)
    income = random.normal(size=400) + 0.8 * (sex == "male")
    granted = np.where(income + 0.5 * random.normal(size=400) > 0.4, "yes", "no")
    lines = [f"{a:.4f},{b},{c}" for a, b, c in zip(income, sex, granted, strict=True)]
    (lab.folder / "loans.csv").write_text("\n".join(["income,sex,granted", *lines]), encoding="utf-8")
    cells = [
        "import labkit as lk\n"
        "rows = lk.load('loans.csv', features=['income'], label='granted', groups='sex')\n"
        "rows = rows.split(validation=0.3, test=0.4)\n"
        "run = lk.fit(rows, lk.models['mlp'](preset='linear'), epochs=15, learning_rate=0.1, folder='loans',\n"
        "             background=False)\n"
        "None",
        "evaluate = lk.panels.Evaluate(run)\nevaluate",
    ]
    page = lab.open(lab.notebook("fairness.ipynb", cells))
    page.run_cell(0)
    page.run_cell(1)
    page.page.get_by_role("tab", name="Fairness", exact=True).click()
    until(lambda: page.execute("answer = evaluate.fairness.found is not None"), "the groups")
    page.page.get_by_label("Thresholds by group", exact=True).select_option("equal selection rates")
    page.find(".labkit-bench :text('accuracy lost')").first.wait_for()
    shown = page.find(".lk-table:has-text('Selection rate (demographic parity)')").first.inner_text()
    gap = page.execute("answer = run.fairness('sex').gaps['demographic_parity_difference'][0]")
    assert f"{gap:.3f}" in shown and gap > 0.1
    page.find(".lk-table").last.scroll_into_view_if_needed()
    page.screenshot(tmp_path / "fairness.png", ".labkit-bench")
    assert hard_to_read(page) == []
    assert_clean(page)
    page.close()
