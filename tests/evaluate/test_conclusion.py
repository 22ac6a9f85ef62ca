"""The conclusion of an evaluation: the model against its best baseline with intervals, and what to try next."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import labkit as lk
from labkit.evaluate import run_report
from labkit.evaluate.conclusion import conclude
from labkit.evaluate.regression import RegressionReport
from labkit.evaluate.report import ClassificationReport
from labkit.train.logger import Record
from labkit.viz import report_html

CLASSES = ("no", "yes")


def report(right: float, rows: int = 400, seed: int = 0) -> ClassificationReport:
    """Of a classifier that is right on the given share of the rows."""
    truth = np.arange(rows) % 2
    given = np.where(np.random.default_rng(seed).permutation(rows) < right * rows, truth, 1 - truth)
    return ClassificationReport(
        CLASSES, truth, np.eye(2)[given] * 0.8 + 0.1, None, np.arange(rows), split="test"
    )


EVEN = {"no": 50, "yes": 50}


def run(losses: list[float] = (), steps: int = 500, lost: float = 0.0, weights: str = "x") -> Any:
    records = [Record(n, n, "validation", "loss", loss, 0.0) for n, loss in enumerate(losses)]
    model = (
        lk.models["bert"](preset="tiny").replace(weights=weights)
        if not weights
        else SimpleNamespace(weights=weights)
    )
    return SimpleNamespace(
        id="a", store=SimpleNamespace(records=lambda run_id, split: records),
        info=SimpleNamespace(step=steps, summary={"truncation": {"lost": lost}}),
        experiment=SimpleNamespace(model=model),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("model", "baseline", "outcome", "text"),
    [
        (0.95, 0.6, "better", "Better than the best baseline"),
        (0.6, 0.95, "worse", "Worse than a baseline"),
        (0.8, 0.795, "equal", "No significant difference"),
    ],
)
def test_a_model_is_compared_with_its_best_baseline(model, baseline, outcome, text):
    made = report(model).with_baselines(
        {"majority class": report(0.5, seed=1), "linear": report(baseline, seed=2)}
    )
    found = conclude(made, run(), EVEN)
    assert found.outcome == outcome and str(found.sentence).startswith(text) and "of linear" in found.sentence
    assert [bar.name for bar in found.bars] == ["model", "majority class", "linear"]
    assert found.bars[0].low < found.bars[0].value < found.bars[0].high


def test_a_regression_is_better_where_its_error_is_smaller():
    random = np.random.default_rng(0)
    truth = random.normal(size=(300, 1))
    near, far = (RegressionReport(("y",), truth, truth + width * random.normal(size=(300, 1)), np.ones(300, bool),
                                  None, np.arange(300), split="test") for width in (0.1, 0.5))  # fmt: skip
    assert conclude(near.with_baselines({"ridge": far}), run(), EVEN).outcome == "better"
    near.baselines.clear()
    assert conclude(far.with_baselines({"ridge": near}), run(), EVEN).outcome == "worse"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (run([0.9, 0.7, 0.5]), "still fell at the last evaluation, from 0.7 to 0.5"),
        (run([0.5, 0.4, 0.6, 0.7, 0.8]), "lowest at evaluation 2 of 5"),
        (run(steps=39), "only 39 steps"),
        (run(lost=0.3), "30% of the tokens"),
        (run(weights=""), "pretrained weights"),
    ],
)
def test_advice_names_its_number(given, expected):
    made = report(0.8).with_baselines({"linear": report(0.9, seed=2)})
    assert any(expected in text for text in conclude(made, given, EVEN).advice)


def test_a_wide_interval_is_named_and_a_good_model_gets_no_advice():
    few = report(0.8, rows=40).with_baselines({"linear": report(0.5, rows=40, seed=2)})
    assert any(
        "with 40 rows the confidence interval is" in text for text in conclude(few, run(), EVEN).advice
    )
    good = report(0.97, rows=2000).with_baselines({"linear": report(0.6, rows=2000, seed=2)})
    assert conclude(good, run([0.9, 0.5, 0.499]), EVEN).advice == ()


@pytest.mark.parametrize("language", ["en", "zh"])
def test_it_is_shown_with_bars_and_escaped(language):
    made = report(0.8).with_baselines({"<b>linear</b>": report(0.9, seed=2)})
    html = report_html.conclusion(conclude(made, run(steps=39), EVEN), language)
    assert "<svg" in html and "<b>linear" not in html and ("39" in html)
    assert ("What to try next" in html) == (language == "en")


def test_rare_classes_are_named():
    made = report(0.8).with_baselines({"linear": report(0.9, seed=2)})
    assert any(
        "more rows of yes: 3 in training" in text
        for text in conclude(made, run(), {"no": 50, "yes": 3}).advice
    )


def test_a_real_run_has_a_conclusion(finished):
    found = run_report.conclusion_of(finished, run_report.evaluate_run(finished, "test", baselines=False))
    assert len(found.bars) >= 3 and found.outcome in ("better", "worse", "equal")
    assert found.bars[0].value == pytest.approx(finished.evaluate("test", baselines=False).scores["f1"])
