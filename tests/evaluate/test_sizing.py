"""The cheapest model that is good enough, by rows made so that the answer is known."""

from __future__ import annotations

import numpy as np
import pytest

import labkit as lk
from labkit.evaluate.report import ClassificationReport
from labkit.evaluate.select import right_size
from tests.shown import shown_html

N = 400


def report(wrong: int, seed: int = 0, n: int = N) -> ClassificationReport:
    """Two classes; the first ``wrong`` of rows in a seeded order are predicted wrongly."""
    truth = np.arange(n) % 2
    predicted = truth.copy()
    places = np.random.default_rng(seed).permutation(n)[:wrong]
    predicted[places] = 1 - truth[places]
    return ClassificationReport(("a", "b"), truth, np.eye(2)[predicted] * 0.8 + 0.1)


def test_the_cheapest_within_a_standard_error_is_taken() -> None:
    # 40, 42 and 80 of 400 wrong. Between the first two, 82 rows differ: the standard error of the difference is about
    # sqrt(82) / 400 = 0.023, more than the 0.005 between them; the third loses 0.1 with an error of about 0.027.
    reports = {"large": report(40, 1), "small": report(42, 2), "tiny": report(80, 3)}
    found = right_size(reports, {"large": 1e6, "small": 1e4, "tiny": 1e2}, score="accuracy")
    assert (found.choice, found.best) == ("small", "large") and list(found.table.index) == [
        "tiny",
        "small",
        "large",
    ]
    assert found.table["enough"].tolist() == [False, True, True]
    differ = (reports["large"].predicted != reports["small"].predicted).sum()
    assert found.table.loc["small", "error"] == pytest.approx(np.sqrt(differ) / N, rel=0.15)
    assert found.table["behind"].tolist() == pytest.approx([0.1, 0.005, 0.0])
    assert repr(found) == "<take 'small': accuracy 0.895 at 1.0% of the cost of 'large', which has 0.900>"
    assert "take &#x27;small&#x27;" in shown_html(found)


def test_a_difference_that_rows_agree_on_counts() -> None:
    # The small one makes all mistakes of the large one and 12 more: paired, that is no chance.
    reports = {"large": report(40), "small": report(52)}
    found = right_size(reports, {"large": 2, "small": 1})
    assert found.choice == "large" and repr(found).endswith("and nothing cheaper is as good>")
    assert right_size(reports, {"large": 2, "small": 1}, slack=0.04).choice == "small"


def test_the_front_has_what_nothing_beats_in_both() -> None:
    reports = {"a": report(80), "b": report(90), "c": report(40), "d": report(40)}
    table = right_size(reports, {"a": 1, "b": 2, "c": 3, "d": 4}).table
    assert table["front"].to_dict() == {"a": True, "b": False, "c": True, "d": False}


def test_one_model_is_its_own_choice() -> None:
    assert right_size({"only": report(3)}, {"only": 0.0, "other": 1.0}).choice == "only"


@pytest.mark.parametrize(
    ("reports", "cost", "options", "said"),
    [
        ({}, {}, {}, "no reports to choose from"),
        ({"small": report(1)}, {"smal": 1.0}, {}, r"no cost given for 'small'\. Did you mean 'smal'\?"),
        ({"small": report(1)}, {"small": -1.0}, {}, "the cost of 'small' is -1.0"),
        ({"small": report(1)}, {"small": float("nan")}, {}, "must be a number of 0 or more"),
        (
            {"small": report(1)},
            {"small": 1.0},
            {"score": "f2"},
            r"score = 'f2' is not one of f1, accuracy\. Did you",
        ),
        ({"a": report(1), "b": report(1, n=300)}, {"a": 1.0, "b": 2.0}, {}, "was evaluated on other rows"),
    ],
)
def test_what_cannot_be_compared_is_refused(reports, cost, options, said) -> None:
    with pytest.raises(lk.LabkitError, match=said):
        right_size(reports, cost, **options)
