"""The step Evaluate without a browser: real runs, cells chosen, thresholds moved, hostile texts and classes."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics as sk

import labkit as lk
from labkit.app.state import State
from labkit.app.steps.evaluate import Evaluate
from labkit.app.widgets.confusion import WIDEST, Grid
from labkit.data.groups import parting
from labkit.evaluate import run_report
from labkit.evaluate.calibration import calibrate
from labkit.evaluate.compare import compare
from labkit.evaluate.regression import RegressionReport
from labkit.evaluate.report import ClassificationReport
from labkit.evaluate.slices import slices
from labkit.evaluate.thresholds import Thresholds
from labkit.explain.explanation import AttentionWeights, Explanation, Word
from labkit.viz import charts, explanation_html, report_html
from tests.shown import send

from .hostile import HOSTILE, executable
from .test_train import raise_, shown


@pytest.fixture(scope="module")
def panel(finished):
    made = Evaluate(finished, language="en")
    made.settle(120)
    assert made.problem is None, made.problem
    yield made
    made.close()


@pytest.fixture(scope="module")
def report(finished):
    return run_report.report_of(finished, "test")


def test_the_audit_is_that_of_the_run(panel: Evaluate, finished):
    panel.attack.click()
    panel.settle(120)
    assert panel.problem is None, panel.problem
    found = finished.audit()
    assert f"<b>{found.scores['auroc']:.3f}</b>" in panel.audited.value
    assert f"({found.intervals['tpr'][0]:.3f} – {found.intervals['tpr'][1]:.3f})" in panel.audited.value


def test_the_scores_are_those_of_the_report(panel: Evaluate, report: ClassificationReport, finished):
    assert panel.now is not None
    np.testing.assert_array_equal(panel.now.report.confusion, report.confusion)
    assert f"<b>{report.scores['f1']:.3f}</b>" in panel.scores.value
    assert panel.grid.table["values"] == report.confusion.to_numpy().tolist()
    want = sk.f1_score(report.truth, report.predicted, average="macro")
    assert (
        finished.evaluate(baselines=False).scores["f1"]
        == pytest.approx(want)
        == pytest.approx(report.scores["f1"])
    )


def test_a_cell_filters_to_its_examples_and_one_is_explained(panel: Evaluate, report: ClassificationReport):
    cell = np.argwhere(report.confusion.to_numpy())[0]
    panel.grid.selected = cell.tolist()
    places = panel.examples.list.places
    assert places and all(report.truth[p] == cell[0] and report.predicted[p] == cell[1] for p in places)
    assert f"True {report.classes[cell[0]]}" in panel.examples.title.value
    panel.examples.list.chosen = 0
    panel.settle(60)
    why = panel.examples.why
    assert report.texts[places[0]] in panel.examples.text.value.replace("&#x27;", "'")
    assert why.found is not None and why.found.target == report.classes[report.predicted[places[0]]]
    assert (
        why.said.value.count("<span style=") >= len(why.found.words)
        and "Integrated gradients" in why.said.value
    )
    assert why.map is not None and why.shown.value.count("<text") == 2 * min(
        len(why.map.tokens), explanation_html.TOKENS
    )
    before = why.shown.value
    why.head.value = 1
    assert why.shown.value != before
    other = next(name for name in report.classes if name != why.found.target)
    first = why.found.values
    why.target.value = other
    panel.settle(60)
    np.testing.assert_allclose(why.found.values, -first, atol=1e-3)  # of two classes
    panel.grid.selected = []
    assert "Worst mistakes" in panel.examples.title.value
    assert len(panel.examples.list.places) == len(report.mistakes(100))
    wrong = panel.examples.list.places
    sure = [report.probability[place, report.predicted[place]] for place in wrong]
    assert sure == sorted(sure, reverse=True) and all(report.predicted[p] != report.truth[p] for p in wrong)


def test_the_threshold_is_live_and_the_best_is_that_of_validation(
    panel: Evaluate, report: ClassificationReport, finished
):
    panel.which.value = "positive"
    panel.threshold.value = 0.6
    called = report.probability[:, 1] >= 0.6
    precision, recall, f1, _ = sk.precision_recall_fscore_support(
        report.truth, called, average="binary", zero_division=0
    )
    for value in (precision, recall, f1):
        assert f"<b>{value:.3f}</b>" in panel.worth.value
    assert panel.plots.value.count("<svg") == 2
    panel.best.click()
    best = Thresholds.of(run_report.report_of(finished, "validation"), "positive").best()
    assert panel.threshold.value == pytest.approx(best, abs=0.005)
    assert len(panel.plots.value) < 20_000


def test_calibration_slices_and_another_split(panel: Evaluate, finished):
    found = lk.ClassificationReport and calibrate(
        run_report.report_of(finished, "validation"), run_report.report_of(finished, "test")
    )
    assert (
        f"<b>{found.error:.3f}</b>" in panel.drawn.value
        and f"{found.scaled.temperature:.2f}" in panel.drawn.value
    )
    assert panel.sliced.value.count("<tr>") >= 3
    assert panel.column.options == (
        ("length of the text", "length"),
    )  # the reviews have no other column than a text and a label
    panel.split.value = "validation"
    panel.settle(60)
    assert panel.now.report.split == "validation" and "'validation'" in panel.code()
    panel.split.value = "test"
    panel.settle(60)


@pytest.mark.slow
def test_two_runs_are_compared(panel: Evaluate, finished, reviews, tiny, settings):
    folder = finished.store.folder
    other = lk.fit(
        reviews,
        tiny,
        folder=folder,
        background=False,
        name="other",
        **{**settings, "epochs": 1, "learning_rate": 0.0},
    )
    panel.fill_others()
    panel.other.value = other.id
    panel.settle(120)
    found = lk.compare(finished, other)
    assert f"p = {found.p:.3g}" in panel.compared.value and f"{found.gain('f1'):+.3f}" in panel.compared.value
    assert "run.compare(other, 'test')" in panel.code()
    scope: dict[str, Any] = {}
    exec(panel.code(), scope)  # what is copied runs, and says the same
    assert scope["run"].compare(scope["other"], "test").to_dict() == found.to_dict()
    panel.other.value = ""
    assert panel.compared.value == ""


def test_nothing_to_judge_says_what_to_do(tmp_path: Path, finished):
    panel = Evaluate(state=State(folder=tmp_path, language="en"))
    assert "Nothing to evaluate yet" in panel.empty.value and panel.go.disabled and panel.code() == ""
    panel.close()
    from .test_train import fake

    running = Evaluate(fake(tmp_path), language="zh")
    running.settle()
    assert "暂无可评估的内容" in running.empty.value and running.problem is None and not running.go.disabled
    running.close()


def test_every_callback_that_fails_shows_it_and_the_panel_goes_on(panel: Evaluate):
    assert len(panel.callbacks) >= 14
    for callback in list(panel.callbacks):
        whole, callback.action = callback.action, lambda *a, **k: raise_(OSError("disk <full>"))
        callback({"new": 1, "old": 0})
        assert "OSError: disk &lt;full&gt;" in panel.error_box.value
        callback.action = whole
        panel.problem = None
    panel.threshold.value = 0.25
    assert panel.worth.value and panel.problem is None


def test_predictions_and_mistakes_are_downloaded_as_csv(
    panel: Evaluate, report: ClassificationReport, finished
):
    for key, frame in (
        ("predictions", report.predictions()),
        ("mistakes", report.mistakes(len(report.rows))),
    ):
        link, sent = panel.downloads[key], list[Any]()
        assert link.name == f"finished-test-{key}.csv"
        link.send = lambda reply, buffers, sent=sent: sent.append(buffers[0])
        send(link, {"type": "part", "start": 0})
        back = pd.read_csv(io.BytesIO(b"".join(sent)), encoding="utf-8-sig")
        assert (
            back.columns.tolist() == frame.columns.tolist() and back["row"].tolist() == frame["row"].tolist()
        )
        assert back["predicted"].tolist() == frame["predicted"].tolist()


def test_the_matrix_is_sorted_and_without_mistakes_that_is_said(panel: Evaluate):
    truth = np.asarray([0, 0, 1, 1, 1, 2])
    mixed = ClassificationReport(("b", "a", "c"), truth, np.eye(3)[[0, 1, 2, 2, 1, 2]] * 0.9 + 1 / 30)
    grid = Grid()
    for order, wanted in (("class", ["b", "a", "c"]), ("name", ["a", "b", "c"]), ("errors", ["a", "c", "b"])):
        grid.show(mixed.confusion.to_numpy(), mixed.classes, "x", order)
        assert grid.table["rows"] == wanted
        grid.selected = [grid.table["rows"].index("a"), grid.table["columns"].index("c")]
        assert grid.chosen == (1, 2) and grid.table["values"][grid.selected[0]][grid.selected[1]] == 2
    grid.close()
    panel.order.value = "errors"
    assert sum(map(sum, panel.grid.table["values"])) == int(panel.now.report.counted.sum())
    panel.order.value = "class"
    whole = panel.now
    panel.now = replace(whole, report=ClassificationReport(("x", "y"), [0, 1], np.eye(2)))
    panel.worst.click()
    assert panel.examples.list.rows == [] and "No mistakes on these rows." in panel.examples.text.value
    panel.now = whole
    panel.worst.click()


def test_a_regression_shows_predictions_against_the_truth_in_units():
    random = np.random.default_rng(0)
    truth = random.uniform(50_000, 400_000, (900, 1))
    report = RegressionReport(
        ("price_eur",), truth, truth + random.normal(0, 9000, (900, 1)), np.ones(900, bool)
    )
    shown_ = report_html.rowwise(report, "en")
    assert shown_.count("<svg") == 2 and "Residual (EUR)" in shown_ and "e+0" not in shown_
    assert shown_.count("<circle") == 2 * charts.MOST_POINTS and "600 of the rows are shown" in shown_
    error = np.abs(report.answers - report.truth).mean()
    assert f"<b>{error:,.0f}</b>" in shown_ and "Mean absolute error (MAE) (EUR)" in shown_
    assert (
        report_html.rowwise(RegressionReport(("y",), [[np.nan]], [[1.0]], [False]), "zh").count("<svg") == 2
    )


# --- the pieces, with what nobody wants to read -------------------------------------------------------------------


def strange(n: int = 40, seed: int = 0) -> ClassificationReport:
    random = np.random.default_rng(seed)
    chance = random.dirichlet(np.ones(40), n).astype(np.float32)
    return ClassificationReport(HOSTILE, np.arange(n) % 40, chance, [HOSTILE[i % 40] for i in range(n)])


def test_hostile_texts_and_classes_are_text_in_every_view():
    one, two = strange(), strange(seed=1)
    both = compare(one, two, (HOSTILE[0], HOSTILE[1]))
    views = [
        report_html.headline(one, 0.1, "en"), report_html.by_class(one, "en"), report_html.comparison(both, "en"),
        report_html.calibration(calibrate(one, two), "zh"), report_html.slices(slices(one, one.texts), "en"),
    ]  # fmt: skip
    for text in HOSTILE:
        cut = Thresholds.of(one, text)
        words = tuple(
            Word(part, 0, 2 * n, 2 * n + 1, np.asarray([n])) for n, part in enumerate((text, "plain"))
        )
        found = Explanation(
            "integrated", text, {text: 0.7, "x": 0.3}, np.asarray([1.0, -1.0]), 1.0, 0.5, 0.0, words
        )
        tokens = AttentionWeights((text, "a"), np.full((1, 1, 2, 2), 0.5, np.float32))
        views += [
            report_html.at_threshold(cut, 0.5, "en"), report_html.curves(cut, 0.5, "en"),
            explanation_html.explanation(found, "en"), explanation_html.probabilities(found.probability, "en"),
            explanation_html.attention(tokens, 0, None, "en"),
        ]  # fmt: skip
    for view in views:
        assert executable(view) == []
        assert "\u202e" not in view and "\x00" not in view


def test_a_hostile_run_is_judged_as_text(tmp_path: Path, tiny):
    """Every string as the text of a row, and some as classes, from loading to the panel."""
    texts = [f"{text[:200]} {word}" for text in HOSTILE for word in ("good", "bad", "fair")]
    frame = pd.DataFrame({"text": texts, "label": [HOSTILE[0], HOSTILE[10], HOSTILE[28]] * 40})
    rows = lk.load(frame, on_bad="skip").split(validation=0.3, test=0.3, seed=0, accept_leakage=True)
    run = lk.fit(rows, tiny, folder=tmp_path, background=False, name=HOSTILE[1], epochs=1, batch_size=32, max_length=32,
                 vocabulary=300, accept_leakage=True)  # fmt: skip
    panel = Evaluate(run, language="en")
    panel.settle(120)
    assert panel.problem is None and executable(shown(panel)) == []
    for number in range(min(8, len(panel.examples.list.places))):
        panel.examples.list.chosen = number
        panel.settle(60)
        assert panel.problem is None and executable(shown(panel)) == []
    panel.close()


def test_of_many_classes_those_with_most_errors_are_shown():
    counts = np.zeros((40, 40), np.int64)
    np.fill_diagonal(counts, 100)
    counts[30, 7] = 5
    grid = Grid()
    grid.show(counts, [f"class {n}" for n in range(40)], "truth")
    assert len(grid.table["rows"]) == WIDEST and {"class 30", "class 7"} <= set(grid.table["rows"])
    place = grid.table["rows"].index("class 30"), grid.table["columns"].index("class 7")
    grid.selected = list(place)
    assert grid.chosen == (30, 7) and grid.table["values"][place[0]][place[1]] == 5
    assert len(json.dumps(grid.table)) < 20_000
    grid.close()


def test_pictures_and_features_are_explained():
    values = np.zeros((4, 4, 1))
    values[1, 1], values[2, 2] = 1.0, -0.5
    found = Explanation("integrated", "x", {"x": 1.0}, values, 1.0, 0.0, -0.5, inputs=np.ones((4, 4, 1)))
    veil = explanation_html.veiled(found)
    assert (
        veil.shape == (4, 4, 3)
        and veil[1, 1, 2] > veil[0, 0, 2] > veil[1, 1, 0]
        and veil[2, 2, 0] > veil[2, 2, 2]
    )
    assert "data:image/png" in explanation_html.explanation(found, "en")
    flat = Explanation(
        "integrated", "x", {"x": 1.0}, np.asarray([0.1, -2.0]), 1.0, 0.0, 0.0, inputs=np.ones(2)
    )
    assert explanation_html.explanation(flat, "zh").index("-2.000") < explanation_html.explanation(
        flat, "zh"
    ).index("+0.100")


def test_rows_are_parted_by_what_they_share_only():
    cells = [{"text": f"text {n}", "label": "ab"[n % 2], "topic": "xyz"[n % 3], "size": n / 7, "key": f"k{n}", "one": 1}
             for n in range(24)]  # fmt: skip
    part = lk.load(cells, text="text", label="label")["train"]
    assert parting(part) == ["length", "topic", "size"]
    assert parting(lk.load("digits").sample(30)["train"]) == []
