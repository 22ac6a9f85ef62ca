"""The tab Fairness of the step Evaluate: groups, their intersections, thresholds by group, and the code."""

from __future__ import annotations

import numpy as np
import pytest

import labkit as lk
from labkit.app.state import State
from labkit.app.steps.evaluate import TABS, Evaluate


@pytest.fixture(scope="module")
def loans(tmp_path_factory):
    """A run on loans that favours men; the model reads the income and not the sex."""
    folder = tmp_path_factory.mktemp("loans")
    random = np.random.default_rng(5)
    n = 400
    sex = random.choice(["<b>female</b>", "male"], n)
    income = random.normal(size=n) + 0.8 * (sex == "male")
    granted = np.where(income + 0.5 * random.normal(size=n) > 0.4, "yes", "no")
    area = random.choice(["north", "south"], n)
    lines = [f"{a:.4f},{b},{c},{d}" for a, b, c, d in zip(income, sex, area, granted, strict=True)]
    (folder / "t.csv").write_text("\n".join(["income,sex,area,granted", *lines]), encoding="utf-8")
    rows = lk.load(folder / "t.csv", features=["income", "area"], label="granted", groups="sex")
    rows = rows.split(validation=0.3, test=0.4)
    return lk.fit(rows, lk.models["mlp"](preset="linear"), epochs=15, learning_rate=0.1, folder=folder / "lab",
                  background=False)  # fmt: skip


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("en", ("Selection rate", "Lowest accuracy", "accuracy lost")),
        ("zh", ("选择率", "准确率最低", "准确率损失")),
    ],
)
def test_groups_gaps_and_the_price_of_equal_rates(loans, language, words):
    panel = Evaluate(state=State(run=loans, language=language))
    panel.settle()
    view = panel.fairness
    assert view.column.value == "sex" and view.positive.value == "yes"
    report = loans.fairness("sex")
    assert view.found.gaps == report.gaps
    shown = view.shown.value
    assert words[0] in shown and words[1] in shown and "<b>female" not in shown and "&lt;b&gt;female" in shown
    assert f"{report.gaps['demographic_parity_difference'][0]:.3f}" in shown
    view.goal.value = "demographic_parity"
    panel.settle()
    assert words[2] in view.priced.value
    found = loans.group_thresholds("sex")
    assert (
        f"{found.price:+.3f}" in view.priced.value and report.gaps["demographic_parity_difference"][0] > 0.1
    )
    assert found.after.gaps["demographic_parity_difference"][0] < 0.1
    panel.tabs.selected_index = TABS.index("tab_fairness")
    view.second.value = "area"  # a category that the model reads
    panel.settle()
    assert view.found.groups == ["<b>female</b>, north", "<b>female</b>, south", "male, north", "male, south"]
    assert "run.fairness(('sex', 'area'), 'test')" in panel.code().replace('"', "'")
    panel.close()
