"""How many more labels: the law is fitted on half of the rows and checked on all of them.

Three samples × 20 draws of 2,000 rows, with a fast learner (TF-IDF and logistic regression) in three orders of the
half. The band must hold the score that a training on all of them has, in 80 to 100 % of the draws, and be narrow.
"""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import f1_score

import labkit as lk
from labkit.evaluate.baselines import tfidf_logistic
from labkit.search import power_law
from labkit.search.learning_curve import sizes_of, subsets

pytestmark = [pytest.mark.soak, pytest.mark.samples]
DRAWS, ORDERS, WHOLE, TESTED, LONGEST = 20, 3, 2000, 2000, 500
SIZES = sizes_of(WHOLE // 2, 6)


@pytest.mark.parametrize("sample", ["movie-reviews", "reviews-zh", "spam"])
def test_the_band_of_the_half_holds_the_score_of_the_whole(sample):
    rows = lk.load(sample)
    texts = np.array([text[:LONGEST] for text in rows["train"]["text"]], object)
    label, held, widths = np.array(rows["train"]["label"]), 0, []
    for draw in range(DRAWS):
        order = np.random.default_rng(draw).permutation(len(label))
        whole, test = order[:WHOLE], order[WHOLE : WHOLE + TESTED]
        half = whole[: WHOLE // 2]

        def score(train, test=test):
            answers = tfidf_logistic(list(texts[train]), label[train], list(texts[test]), rows.spec.classes)
            return f1_score(label[test], answers.argmax(1), average="macro")

        last = score(half)
        nested = [subsets(label[half], SIZES, 100 * draw + each) for each in range(ORDERS)]
        scores = [[*(score(half[part]) for part in parts[:-1]), last] for parts in nested]
        law = power_law.fit(np.array(SIZES), np.array(scores))
        expected, low, high = law.at(WHOLE)
        truth = score(whole)
        held += low <= truth <= high
        widths.append(high - low)
        print(
            f"{sample} {draw}: half {last:.3f}, whole {truth:.3f}, law {expected:.3f} ({low:.3f} to {high:.3f})"
        )
    print(f"{sample}: coverage {held / DRAWS:.0%}, width {np.mean(widths):.3f} (at most {max(widths):.3f})")
    assert 0.8 <= held / DRAWS <= 1.0 and np.mean(widths) <= 0.06
