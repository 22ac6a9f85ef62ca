"""Planted wrong labels among film reviews, against cleanlab; accuracy by the number of labels, chosen or at random."""

from __future__ import annotations

import numpy as np
import pytest

import labkit as lk
from labkit.evaluate.label_issues import out_of_fold_probabilities

ENCODER = "minilm-l6"


@pytest.fixture(scope="module")
def reviews():
    return lk.load("movie-reviews", min_score=1.0)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_planted_errors_among_film_reviews(reviews, seed, tell):
    """5 % of the labels flipped: precision at the planted count ≥ 0.5, and ≥ cleanlab's − 0.02."""
    rank = pytest.importorskip("cleanlab.rank")
    filters = pytest.importorskip("cleanlab.filter")
    data = reviews["train"]
    names, numbers = reviews.schema.classes, np.asarray(data["row"])
    count = round(0.05 * len(data))
    planted = np.random.default_rng(seed).choice(len(data), count, replace=False)
    flipped = {int(numbers[at]): names[1 - data["label"][int(at)]] for at in planted}
    rows = reviews.correct_labels(flipped)
    labels, wrong = np.asarray(rows["train"]["label"]), set(flipped)
    for encoder in (None, ENCODER):
        found = out_of_fold_probabilities(rows, encoder=encoder, seed=seed)
        table = lk.find_label_issues(rows, found)
        ours = np.isin(table["row"][:count], list(wrong)).mean()
        scores = rank.get_label_quality_scores(labels, found)
        theirs = np.isin(numbers[np.argsort(scores)[:count]], list(wrong)).mean()
        issues = filters.find_label_issues(
            labels, found, return_indices_ranked_by="self_confidence", n_jobs=1
        )
        listed = np.isin(numbers[issues[:count]], list(wrong)).mean()
        tell(
            f"seed {seed}, {encoder or 'TF-IDF'}: {count} planted of {len(labels):,}; precision {ours:.3f}, "
            f"cleanlab's quality scores {theirs:.3f}, its issues {listed:.3f}; flagged {table['is_label_issue'].sum()}"
        )
        assert ours >= max(theirs, listed) - 0.02
    assert ours >= 0.5


def test_chosen_labels_are_worth_more_than_random_ones(reviews, tell):
    """From 8 labels per class in steps of 32 to 144: accuracy on 1,500 other reviews, by margin and at random."""
    rows = reviews.dedupe().split(validation=300, test=1500, seed=0)
    order = np.random.default_rng(0).permutation(len(rows["train"]))  # the sample is sorted by class
    pool, test = rows["train"].select(order[:2000].tolist()), rows["test"]
    truth = np.asarray(pool["label"])
    names = rows.schema.classes
    blank = lk.load(
        [{"text": text, "label": None} for text in [*pool["text"], *test["text"]]],
        text="text", label="label", missing="keep",
    )  # fmt: skip
    ends = {}
    for way in ("margin", "random"):
        random = np.random.default_rng(0)
        labelled = {int(at) for each in (0, 1) for at in np.flatnonzero(truth == each)[:8]}
        for size in (16, 48, 80, 112, 144):
            known = {at: names[truth[at]] for at in labelled}
            now = blank.correct_labels(known, add=list(names))
            places = [now.schema.classes.index(name) for name in names]
            guess = out_of_fold_probabilities(now, encoder=ENCODER)[2000:, places].argmax(1)
            ends[way, size] = float((guess == np.asarray(test["label"])).mean())
            tell(f"{way}: {len(labelled)} labels, accuracy {ends[way, size]:.3f}")
            if way == "margin":
                part = now.with_splits({"train": now["train"].select(range(2000))})
                labelled |= set(lk.rows_to_label(part, 32, encoder=ENCODER)["row"].tolist())
            else:
                rest = sorted(set(range(2000)) - labelled)
                labelled |= set(random.choice(rest, 32, replace=False).tolist())
    assert ends["margin", 16] > 0.55 and ends["margin", 144] > ends["margin", 16]
    assert ends["margin", 144] >= ends["random", 144] - 0.02
