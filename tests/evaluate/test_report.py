"""Reports: what is scored, what is left out, how sure the scores are, and hostile text."""

from __future__ import annotations

import json

import numpy as np
import pytest
import sklearn.metrics as sk
from scipy.stats import binomtest

from labkit.core.errors import DataError
from labkit.evaluate.intervals import bootstrap, difference, of_means
from labkit.evaluate.multilabel import MultilabelReport
from labkit.evaluate.regression import RegressionReport
from labkit.evaluate.report import ClassificationReport
from tests.shown import shown, shown_html


def sharp(predicted, classes, confidence=0.9):
    """Probabilities [n, c] whose argmax is ``predicted``."""
    rest = (1 - confidence) / (classes - 1)
    return np.where(np.arange(classes) == np.asarray(predicted)[:, None], confidence, rest).astype(np.float32)


def noisy(n=400, classes=3, right=0.8, seed=0):
    """Truth and predictions of a model that is right in a share of the rows."""
    random = np.random.default_rng(seed)
    truth = random.integers(0, classes, n)
    return truth, np.where(random.random(n) < right, truth, random.integers(0, classes, n))


def test_scores_agree_with_scikit_learn():
    truth, predicted = noisy()
    probability = np.random.default_rng(1).dirichlet(np.ones(3), len(truth)).astype(np.float32)
    probability = 0.2 * probability + 0.8 * sharp(predicted, 3)
    report = ClassificationReport(["a", "b", "c"], truth, probability)
    assert report.scores["loss"] == pytest.approx(sk.log_loss(truth, probability), abs=1e-6)
    assert report.scores["f1"] == pytest.approx(sk.f1_score(truth, predicted, average="macro"), abs=1e-12)
    np.testing.assert_array_equal(report.confusion, sk.confusion_matrix(truth, predicted))
    assert report.confusion.loc["a", "b"] == ((truth == 0) & (predicted == 1)).sum()
    assert list(report.per_class.columns) == ["precision", "recall", "f1", "support"]
    np.testing.assert_allclose(report.per_class["f1"], sk.f1_score(truth, predicted, average=None))


def test_unlabelled_and_unseen_rows_are_counted_and_left_out():
    truth = [0, 1, 1, -1, 2, 2, 7]
    report = ClassificationReport(["a", "b", "c"], truth, sharp([0, 1, 0, 0, 0, 2, 0], 3), seen=[0, 1])
    assert (report.unlabelled, report.unseen, int(report.confusion.to_numpy().sum())) == (1, 3, 3)
    assert report.scores["accuracy"] == pytest.approx(2 / 3)
    assert "1 unlabelled left out, 3 of a class never trained left out" in str(report)
    assert report.mistakes()["row"].tolist() == [2]


@pytest.mark.parametrize(
    "truth", [[], [-1, -1], [0], [1, 1, 1]], ids=["empty", "unlabelled", "one row", "one class"]
)
def test_small_splits_do_not_fail(truth):
    baseline = ClassificationReport(["a", "b"], truth, np.full((len(truth), 2), 0.5))
    report = ClassificationReport(["a", "b"], truth, sharp(np.zeros(len(truth), int), 2))
    assert set(report.intervals) == set(report.scores) - {"loss"}
    assert len(report.compare({"other": baseline})) == 2
    assert shown(report)["text/plain"].startswith(f"test: {len(truth)} rows")
    json.dumps(report.to_dict(), allow_nan=False)


def test_intervals_are_those_of_resampled_rows():
    """The multinomial draw over cells against the plain bootstrap over rows, by their quantiles."""
    truth, predicted = noisy(n=150)
    fast = bootstrap(sk.confusion_matrix(truth, predicted), resamples=4000, seed=3)
    random = np.random.default_rng(4)
    drawn = [random.integers(0, len(truth), len(truth)) for _ in range(1000)]
    for name, score in (
        ("accuracy", sk.accuracy_score),
        ("f1", lambda t, p: sk.f1_score(t, p, average="macro")),
    ):
        slow = np.percentile([score(truth[i], predicted[i]) for i in drawn], [2.5, 97.5])
        np.testing.assert_allclose(fast[name], slow, atol=0.015)
        assert fast[name][0] < score(truth, predicted) < fast[name][1]


def test_intervals_of_rare_classes_are_around_the_score():
    """Six classes of one row each, all missed: a resample without one of them still averages over it."""
    truth = np.array([0] * 50 + [1, 2, 3, 4, 5, 6])
    predicted = np.array([0] * 45 + [1] * 5 + [0] * 6)
    low, high = bootstrap(sk.confusion_matrix(truth, predicted), resamples=2000)["f1"]
    random, drawn = np.random.default_rng(1), []
    for _ in range(1000):
        rows = random.integers(0, 56, 56)
        drawn.append(
            sk.f1_score(truth[rows], predicted[rows], average="macro", labels=range(7), zero_division=0.0)
        )
    np.testing.assert_allclose((low, high), np.percentile(drawn, [2.5, 97.5]), atol=0.004)
    score = sk.f1_score(truth, predicted, average="macro")
    assert abs((low + high) / 2 - score) < 0.01


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    """Of 200 samples from a population of accuracy 0.7, about 95 % of the intervals must hold 0.7."""
    random = np.random.default_rng(5)
    held = 0
    for seed in range(200):
        wrong = random.binomial(300, 0.3)
        low, high = bootstrap(np.array([[300 - wrong, wrong], [0, 0]]), seed=seed)["accuracy"]
        held += low <= 0.7 <= high
    assert 0.90 <= held / 200 <= 0.99


def test_intervals_of_means_are_those_of_accuracy():
    right = np.arange(200) % 5 > 0
    found = of_means({"right": right, "same": np.full(200, 0.25)}, resamples=4000)
    low, high = bootstrap(np.array([[160, 40], [0, 0]]), resamples=4000)["accuracy"]
    assert found["right"] == pytest.approx((low, high), abs=0.006) and found["same"] == pytest.approx(
        (0.25, 0.25)
    )
    assert np.isnan(of_means({"none": np.zeros(0)})["none"]).all()


def test_the_seed_decides_the_intervals():
    table = np.array([[30, 10], [5, 40]])
    assert bootstrap(table, seed=1) == bootstrap(table, seed=1) != bootstrap(table, seed=2)


def test_many_classes_are_drawn_in_parts_with_the_same_width():
    """More cells than one draw holds: 40,000 cells x 300 resamples."""
    table = np.full((200, 200), 1)
    np.fill_diagonal(table, 200)
    low, high = bootstrap(table, resamples=300)["accuracy"]
    deviation = np.sqrt(40000 * 39800 / 79800**3)  # of a binomial share
    assert high - low == pytest.approx(2 * 1.96 * deviation, rel=0.25)


def test_a_paired_difference_is_narrower_than_two_separate_intervals():
    truth, base = noisy(n=500, right=0.7)
    better = np.where(np.arange(500) % 20 == 0, truth, base)  # repairs a few rows and breaks none
    low, high = difference(truth, better, base, 3)["accuracy"]
    gain = (better == truth).mean() - (base == truth).mean()
    assert 0 < low < gain < high
    ours = bootstrap(sk.confusion_matrix(truth, better))["accuracy"]
    assert high - low < (ours[1] - ours[0]) / 2
    assert set(difference(truth, base, base, 3).values()) == {(0.0, 0.0)}


def test_compare_puts_the_model_beside_its_baselines():
    truth, base = noisy(right=0.5)
    _, good = noisy(right=0.9)
    model, baseline = (ClassificationReport(["a", "b", "c"], truth, sharp(p, 3)) for p in (good, base))
    table = model.compare({"guess": baseline}, name="mine")
    assert table.index.tolist() == ["mine", "guess"]
    assert table.loc["guess", "f1_gain"] == pytest.approx(model.scores["f1"] - baseline.scores["f1"])
    assert 0 < table.loc["guess", "f1_gain_low"] < table.loc["guess", "f1_gain_high"]
    assert (table.loc["mine", "f1_low"], table.loc["mine", "f1_high"]) == model.intervals["f1"]
    with pytest.raises(DataError, match="'guess' was evaluated on other rows"):
        model.compare({"guess": ClassificationReport(["a", "b", "c"], truth[:9], sharp(base[:9], 3))})


def test_the_worst_mistakes_come_first_with_their_source_rows():
    probability = np.array([[0.9, 0.1], [0.4, 0.6], [0.01, 0.99], [0.2, 0.8]])
    report = ClassificationReport(
        ["no", "yes"], [0, 0, 0, 0], probability, texts=list("wxyz"), rows=[70, 5, 31, 8]
    )
    found = report.mistakes(2)
    assert found["row"].tolist() == [31, 8]
    assert found.iloc[0].to_dict() == pytest.approx(
        {"row": 31, "text": "y", "truth": "no", "predicted": "yes", "confidence": 0.99, "loss": -np.log(0.01)}
    )


def test_hostile_text_shows_as_text():
    nasty = [
        "<img src=x onerror=alert(1)>",
        "</td><script>alert(2)</script>",
        "costs $5 or $6 \u202egpj.exe\x00",
    ]
    classes = ["<b>a</b>", '"><svg onload=alert(3)>']
    report = ClassificationReport(classes, [0, 0, 0], sharp([1, 1, 1], 2), texts=nasty, split="<i>x</i>")
    page = shown_html(report)
    for tag in ("<img", "<script", "<svg", "<i>", "<b>a"):
        assert tag not in page
    assert "&lt;img src=x onerror=alert(1)&gt;" in page and "&lt;svg onload=alert(3)&gt;" in page
    assert "\u202e" not in page and "\\u202egpj.exe␀" in page
    assert (
        'class="mathjax_ignore ' in page
    )  # JupyterLab would set what stands between two dollars as mathematics
    assert "\u202e" not in str(report) and "onerror" not in str(report)


def test_text_of_a_report_is_fixed():
    report = ClassificationReport(
        ["neg", "pos"], [0, 0, 0, 0, 1, 1, 1, -1], sharp([0, 0, 0, 1, 1, 1, 0, 0], 2)
    )
    assert shown(report)["text/plain"].splitlines() == [
        "test: 8 rows, 2 classes, 1 unlabelled left out",
        "score              95 % interval",
        f"f1         0.708  {report.intervals['f1'][0]:.3f} to {report.intervals['f1'][1]:.3f}",
        f"accuracy   0.714  {report.intervals['accuracy'][0]:.3f} to {report.intervals['accuracy'][1]:.3f}",
        f"precision  0.708  {report.intervals['precision'][0]:.3f} to {report.intervals['precision'][1]:.3f}",
        f"recall     0.708  {report.intervals['recall'][0]:.3f} to {report.intervals['recall'][1]:.3f}",
        "loss       0.733",
        "",
        "class  precision  recall     f1  support",
        "neg        0.750   0.750  0.750        4",
        "pos        0.667   0.667  0.667        3",
    ]
    assert repr(report) == "ClassificationReport(test: 8 rows, 2 classes, 1 unlabelled left out, f1 0.708)"


def test_a_dict_for_the_store_holds_numbers_and_no_texts():
    report = ClassificationReport(
        ["a", "b"], [0, 1, 1], sharp([0, 0, 1], 2), texts=["secret one", "secret two", "secret three"]
    )
    stored = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert stored["scores"]["accuracy"] == pytest.approx(2 / 3)
    assert stored["confusion"] == [[1, 0], [1, 1]]
    assert stored["mistakes"][0]["row"] == 1 and stored["mistakes"][0]["predicted"] == "a"
    assert "secret" not in str(stored)


@pytest.mark.parametrize(
    ("probability", "texts", "message"),
    [
        (np.ones((2, 3)) / 3, None, r"shape \(2, 3\); 2 rows of 2 classes need \(2, 2\)"),
        ([[0.5, 0.5], [np.nan, 0.5]], None, r"1 of 2 rows .* row 1, is \[nan, 0.5\]. Pass softmax"),
        ([[3.0, -1.0], [0.5, 0.5]], None, r"row 0, is \[3.0, -1.0\]"),
        ([[0.5, 0.5], [0.5, 0.5]], ["one"], "1 texts for 2 rows"),
    ],
)
def test_what_cannot_be_judged_is_named(probability, texts, message):
    with pytest.raises(DataError, match=message):
        ClassificationReport(["a", "b"], [0, 1], probability, texts)


def test_intervals_of_scores_without_any_error_are_those_of_wilson():
    truth = np.arange(56) % 2
    perfect = ClassificationReport(("a", "b"), truth, np.eye(2)[truth])
    wanted = binomtest(56, 56).proportion_ci(method="wilson")
    for name in ("accuracy", "f1", "precision", "recall"):
        assert perfect.intervals[name] == pytest.approx(tuple(wanted), abs=1e-9)
    hopeless = ClassificationReport(("a", "b"), truth, np.eye(2)[1 - truth])
    assert hopeless.intervals["accuracy"] == pytest.approx(
        tuple(binomtest(0, 56).proportion_ci(method="wilson"))
    )
    rare = np.r_[np.zeros(100, int), np.ones(2, int)]  # two rows of a class say little of a macro average
    low, high = ClassificationReport(("a", "b"), rare, np.eye(2)[rare]).intervals["f1"]
    assert high == 1.0 and low < binomtest(8, 8).proportion_ci(method="wilson").low
    tags = MultilabelReport(("x", "y"), np.eye(2)[truth], np.eye(2)[truth], np.ones(56, bool))
    assert tags.intervals["f1"][0] == pytest.approx(wanted.low) and tags.intervals["hamming"][1] > 0


def test_predictions_have_a_row_for_each_row():
    report = ClassificationReport(
        ("a", "b"), [0, 1, -1], [[0.9, 0.1], [0.6, 0.4], [0.3, 0.7]], ["p", "q", "r"], [4, 5, 9]
    )
    frame = report.predictions()
    assert frame["row"].tolist() == [4, 5, 9] and frame["truth"].tolist()[:2] == ["a", "b"]
    assert frame["truth"].isna().tolist() == [False, False, True]
    assert frame["predicted"].tolist() == ["a", "a", "b"] and frame[
        "probability b"
    ].tolist() == pytest.approx([0.1, 0.4, 0.7])
    numbers = RegressionReport(("y",), [[1.0], [2.0]], [[1.5], [2.5]], [True, False]).predictions()
    assert numbers["y, answered"].tolist() == [1.5, 2.5] and np.isnan(numbers["y"][1])
    tags = MultilabelReport(("x", "y"), [[1, 1]], [[0.9, 0.2]], [True]).predictions()
    assert tags["truth"].tolist() == ["x, y"] and tags["predicted"].tolist() == ["x"]
