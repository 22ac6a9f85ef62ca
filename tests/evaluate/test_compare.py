"""Two classifiers on the same rows; and the scores of parts."""

from __future__ import annotations

import json
import re
from math import comb

import numpy as np
import pandas as pd
import pytest

from labkit.core.errors import DataError
from labkit.data.groups import by_length, by_size
from labkit.evaluate.compare import compare, mcnemar
from labkit.evaluate.report import ClassificationReport
from labkit.evaluate.slices import in_order, slices
from tests.shown import shown_html

from .test_report import noisy, sharp


def report(predicted, truth, rows=None, classes=("a", "b", "c"), **more):
    texts = [f"text {row}" for row in (range(len(truth)) if rows is None else rows)]
    return ClassificationReport(classes, truth, sharp(predicted, len(classes)), texts, rows, **more)


@pytest.mark.parametrize(("b", "c"), [(0, 0), (1, 0), (10, 2), (7, 7), (0, 12), (130, 97)])
def test_mcnemar_is_the_binomial_sum(b, c):
    n, low = b + c, min(b, c)
    want = min(1.0, 2 * sum(comb(n, k) for k in range(low + 1)) / 2**n)
    assert mcnemar(b, c) == pytest.approx(want) == mcnemar(c, b)


def test_a_better_model_is_told_from_an_equal_one():
    truth, good = noisy(right=0.9)
    _, poor = noisy(right=0.5)
    found = compare(report(good, truth), report(poor, truth), ("good", "poor"))
    only = [int(((x == truth) & (y != truth)).sum()) for x, y in ((good, poor), (poor, good))]
    assert [found.only_first, found.only_second] == only and found.p == mcnemar(*only) < 1e-6
    low, high = found.gains["f1"]
    assert 0 < low < found.gain("f1") < high
    assert found.table().loc["accuracy", "gain"] == pytest.approx(
        (good == truth).mean() - (poor == truth).mean()
    )
    lines = found.disagreements
    assert len(lines) == sum(only) and (lines["good"][: only[0]] == lines["truth"][: only[0]]).all()
    assert "only good is right in" in repr(found) and "McNemar" in shown_html(found)
    json.dumps(found.to_dict(), allow_nan=False)
    same = compare(report(good, truth), report(good, truth))
    assert same.p == 1.0 and same.gains["f1"] == (0.0, 0.0) and same.names == ("first", "second")


def test_only_shared_rows_count_and_classes_may_stand_in_another_order():
    truth, predicted = noisy(60)
    mine = report(predicted[:40], truth[:40], rows=np.arange(40))
    turned = np.asarray([2, 0, 1])  # class i of the first is class turned[i] of the second
    theirs = report(
        turned[predicted[20:]], turned[truth[20:]], rows=np.arange(20, 60), classes=("b", "c", "a")
    )
    found = compare(mine, theirs, ("x", "x"))
    assert found.rows == 20 and (found.only_first, found.only_second) == (0, 0)
    assert found.names == ("x (1)", "x (2)") and found.second.classes == ("a", "b", "c")
    assert found.first.texts[0] == "text 20"


def test_what_cannot_be_compared_says_why():
    truth, predicted = noisy(20)
    one = report(predicted, truth)
    with pytest.raises(DataError, match="on no common row"):
        compare(one, report(predicted, truth, rows=np.arange(100, 120)))
    with pytest.raises(DataError, match="the data differ"):
        compare(one, report(predicted, (truth + 1) % 3))
    with pytest.raises(DataError, match="predicts a, b, c"):
        compare(one, report(predicted, truth, classes=("a", "b", "d")))


def test_slices_find_the_weak_part():
    random = np.random.default_rng(0)
    truth = random.integers(0, 3, 400)
    group = np.asarray(["easy", "hard"], object)[random.integers(0, 2, 400)]
    wrong = (group == "hard") & (random.random(400) < 0.5)
    whole = report(np.where(wrong, (truth + 1) % 3, truth), truth)
    found = slices(whole, group.tolist())
    assert found.index.tolist() == ["hard", "easy"] and found["below"].tolist() == [True, False]
    assert found.loc["hard", "accuracy"] == pytest.approx(1 - wrong.sum() / (group == "hard").sum())
    assert found["rows"].sum() == 400 and found.loc["hard", "f1_low"] < found.loc["hard", "f1"]
    with pytest.raises(DataError, match="1 groups for 400 rows"):
        slices(whole, ["x"])


def test_few_rows_do_not_look_weak():
    truth = np.asarray([0] * 7 + [1] * 3)
    found = slices(report(np.zeros(10, int), truth), ["a"] * 9 + ["b"])
    assert found.loc["b", "accuracy"] == 0.0 and not found["below"].any()
    assert found.loc["b", "accuracy_high"] == pytest.approx(0.793, abs=1e-3)  # Wilson's, of 0 out of 1


def test_numbers_make_groups_of_about_one_size():
    numbers = np.random.default_rng(0).normal(size=200)
    numbers[7] = np.nan
    names, counts = np.unique(groups := by_size(numbers.tolist()), return_counts=True)
    assert len(names) == 5 and groups[7] == "nan" and sorted(counts)[0] == 1 and min(sorted(counts)[1:]) >= 49
    for number, name in zip(numbers, groups, strict=True):
        low, high = re.fullmatch(r"(-?[\d.e-]+)–(-?[\d.e-]+)|nan", name).groups()
        assert np.isnan(number) if low is None else float(low) - 1e-5 <= number <= float(high) + 1e-5
    assert by_size([np.nan]) == ["nan"] and by_size([]) == [] and by_size([3, 3]) == ["3–3"] * 2


def test_lengths_make_groups_of_about_one_size():
    texts = ["x" * length for length in range(1, 101)]
    groups = by_length(texts)
    names, counts = np.unique(groups, return_counts=True)
    assert (
        len(names) == 4 and counts.min() >= 24 and groups[0].startswith("1–") and groups[-1].endswith("–100")
    )
    assert by_length([]) == [] and by_length(["a", "a"]) == ["1–1", "1–1"]


def test_slices_by_numbers_are_shown_in_their_order():
    def order(*names: str) -> list[str]:
        return list(in_order(pd.DataFrame({"rows": range(len(names))}, index=list(names))).index)

    assert order("70–94", "9–69", "nan", "1,234–2,000") == ["9–69", "70–94", "1,234–2,000", "nan"]
    assert order("-5–0", "-10–-6", "0.5–3") == ["-10–-6", "-5–0", "0.5–3"] and order("10", "2", "0") == [
        "0",
        "2",
        "10",
    ]
    assert order("b", "a") == ["b", "a"] and order("2 rooms", "1 room") == [
        "2 rooms",
        "1 room",
    ]  # weakest first
    assert in_order(pd.DataFrame()).empty
