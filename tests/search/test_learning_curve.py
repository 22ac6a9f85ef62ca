"""Learning curves: laws that are known, nested subsets, and what may not be asked."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.optimize import curve_fit

import labkit as lk
from labkit.core.errors import ConfigError, DataError
from labkit.search import power_law
from labkit.search.learning_curve import sizes_of, subsets
from labkit.viz.learning_curve import figure
from labkit.viz.svg import inline

SIZES = np.array([125, 190, 287, 435, 660, 1000])


def law(rows, a=2.0, b=0.5, c=0.9):
    return c - a * np.asarray(rows, float) ** -b


def test_a_law_without_noise_is_found_and_continued():
    found = power_law.fit(SIZES, law(SIZES))
    for rows in (125, 1000, 2000, 4000):
        expected, low, high = found.at(rows)
        assert (
            expected == pytest.approx(law(rows), abs=1e-3) and low <= law(rows) <= high and high - low < 0.01
        )
    gain, low, high = found.gain(1000)
    assert gain == pytest.approx(law(2000) - law(1000), abs=1e-3) and low <= gain <= high


def test_the_fit_is_that_of_scipy_where_nothing_is_bounded():
    scores = law(SIZES) + np.random.default_rng(3).normal(0, 0.002, (4, len(SIZES)))
    peer, _cov = curve_fit(
        lambda n, a, b, c: c - a * n**-b,
        SIZES.astype(float),
        scores.mean(0),
        p0=(1, 0.5, 0.8),
        sigma=SIZES**-0.5,
    )
    rows = np.array([500, 2000, 4000])
    want = law(rows, *peer)
    assert [power_law.fit(SIZES, scores).at(each)[0] for each in rows] == pytest.approx(want, abs=2e-3)


def test_the_law_never_falls_and_never_exceeds_the_best_score():
    scores = np.linspace(0.9, 0.8, 6)
    falling = power_law.fit(SIZES, scores)
    assert falling.at(4000)[0] == pytest.approx(np.average(scores, weights=SIZES), abs=1e-6)
    assert falling.gain(1000)[0] == pytest.approx(0, abs=1e-9)
    steep = power_law.fit(SIZES, 0.2 + 0.1 * np.log(SIZES / 100))
    expected, _low, high = steep.at(4000)
    assert expected <= 1 and high <= 1


def test_the_band_covers_new_trainings_of_the_same_law():
    random, hits, wide = np.random.default_rng(0), 0, 0.0
    for draw in range(60):
        scores = law(SIZES) + random.normal(0, 0.01, (3, len(SIZES))) * np.sqrt(SIZES[-1] / SIZES)
        scores[:, -1] = scores[0, -1]  # the whole is the same rows in every order
        _expected, low, high = power_law.fit(SIZES, scores, seed=draw).at(2000)
        hits += low <= law(2000) + random.normal(0, 0.01) <= high
        wide += (high - low) / 60
    assert 0.8 <= hits / 60 <= 1.0 and wide < 0.08


def test_subsets_are_nested_and_hold_the_classes_in_their_proportions():
    label = np.repeat([0, 1, 2], [600, 300, 100])
    parts = subsets(label, [50, 100, 400, 1000], seed=5)
    for small, large in itertools.pairwise(parts):
        assert set(small) < set(large)
    for part in parts:
        assert np.bincount(label[part], minlength=3) == pytest.approx(
            len(part) * np.array([0.6, 0.3, 0.1]), abs=1
        )
    assert parts[1].tolist() == subsets(label, [50, 100], seed=5)[1].tolist()
    assert parts[1].tolist() != subsets(label, [50, 100], seed=6)[1].tolist()


def test_sizes_rise_from_an_eighth_to_all():
    assert sizes_of(1000, 6) == [125, 189, 287, 435, 660, 1000]
    assert sizes_of(40, 4)[0] == 10 and sizes_of(40, 4)[-1] == 40


@pytest.fixture(scope="module")
def curve(reviews):
    return lk.learning_curve(reviews, baseline="TF-IDF + logistic regression", orders=3, sizes=4)


def test_a_baseline_is_measured_on_the_rows_that_a_report_has(curve, reviews):
    whole = curve.points[curve.points["rows"] == len(reviews["train"])]["score"]
    from labkit.evaluate.baselines import baselines

    found = baselines(reviews["train"], reviews["validation"], reviews.spec.classes, reviews.spec)
    assert whole.tolist() == [found["TF-IDF + logistic regression"].scores["f1"]] * 3
    assert curve.metric == "f1" and len(curve.points) == 12
    assert str(curve.sentence()).startswith("182 more labels are worth ") and "± " in repr(curve)
    assert list(curve.table().index[-2:]) == [364, 728] and "<svg" in inline(figure(curve))
    assert curve.at(728)[1] <= curve.at(728)[0] <= curve.at(728)[2] + 1e-9


def test_nobody_is_told_of_more_than_four_times_the_rows(curve):
    with pytest.raises(
        ConfigError, match=r"729 rows: .* 182 rows is not extrapolated beyond 4 × as many \(728\)"
    ):
        curve.at(729)
    with pytest.raises(ConfigError, match="not extrapolated beyond"):
        curve.gain(3 * 182 + 1)
    with pytest.raises(ConfigError, match="not extrapolated beyond"):
        curve.sentence(10_000)


@pytest.mark.soak
def test_a_run_becomes_runs_on_subsets_that_are_long_enough(reviews, tmp_path):
    cnn = lk.models["textcnn"](preset="tiny")
    run = lk.fit(reviews, cnn, folder=tmp_path, name="cnn", background=False, epochs=1, batch_size=16, buckets=1,
                 max_length=16, vocabulary=200)  # fmt: skip
    found = run.more_labels(sizes=4, orders=1)
    made = [each for each in lk.runs(tmp_path) if ": " in each.name]
    assert sorted(len(each.rows["train"]) for each in made) == found.law.sizes.tolist()
    assert {each.name.partition(":")[0] for each in made} == {"cnn"}
    for each in made:
        assert each.status == "finished" and each.info.steps >= 300
        score = each.evaluate("validation", baselines=False).scores["f1"]
        assert score == found.points.set_index("rows").loc[len(each.rows["train"]), "score"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "give one of them"),
        ({"model": "textcnn", "baseline": "mean"}, "give one of them"),
        (
            {"baseline": "linear"},
            "there is no baseline 'linear' for these rows; there are majority class, TF-IDF",
        ),
        ({"baseline": "majority class", "sizes": 3}, "sizes = 3 must be 4 or more"),
        ({"baseline": "majority class", "orders": 0}, "orders = 0 must be a whole number of 1 or more"),
        ({"baseline": "majority class", "split": "tst"}, "have no split 'tst'"),
    ],
)
def test_what_has_no_curve_is_refused_by_name(reviews, options, said):
    with pytest.raises(lk.LabkitError, match=said):
        lk.learning_curve(reviews, **options)


def test_few_rows_have_no_curve(reviews):
    with pytest.raises(DataError, match="needs 40 labelled training rows or more; there are 30"):
        lk.learning_curve(reviews.sample(30), baseline="majority class")
