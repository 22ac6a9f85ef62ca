"""The baselines learn what can be learned, and fall back where nothing can."""

from __future__ import annotations

import datasets
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from labkit.core.errors import DataError
from labkit.evaluate.baselines import baselines, fit, majority, tfidf_logistic
from labkit.evaluate.boosting import boosted, boosted_numbers, one_thread
from labkit.evaluate.report import ClassificationReport

CLASSES = ("bad", "fine", "good")
WORDS = {0: ["awful", "dull", "worst"], 1: ["average", "passable"], 2: ["great", "lovely", "superb"]}
MORE = ["TF-IDF + SVD + gradient boosting", "nearest neighbours"]
HAN = {0: ["很差", "失望", "难吃"], 1: ["一般", "还行"], 2: ["好吃", "喜欢", "满意"]}


def sentences(n, seed, words=WORDS, filler=("film", "story", "actor", "scene"), space=" "):
    """Texts of some filler around one word that gives the class away, and the labels."""
    random = np.random.default_rng(seed)
    label = random.integers(0, len(words), n)
    texts = [
        space.join([*random.choice(filler, 4), random.choice(words[k]), *random.choice(filler, 2)])
        for k in label
    ]
    return texts, label


def test_majority_gives_the_class_shares():
    found = majority([2, 2, 0, -1], 5, CLASSES)
    assert found.shape == (5, 3) and found.dtype == np.float32
    np.testing.assert_allclose(found[4], [1 / 3, 0, 2 / 3], rtol=1e-6)


@pytest.mark.parametrize(
    ("n", "right"), [(60, 0.9), (300, 0.99), (1500, 0.99)]
)  # beyond 1,000 rare words are left out
def test_words_are_learned(n, right):
    found = tfidf_logistic(*sentences(n, 0), sentences(200, 1)[0], CLASSES)
    assert found.shape == (200, 3) and found.dtype == np.float32
    np.testing.assert_allclose(found.sum(-1), 1, atol=1e-5)
    assert (found.argmax(-1) == sentences(200, 1)[1]).mean() > right


def test_chinese_is_learned_without_spaces():
    filler = ("这家店", "我们", "今天", "的菜", "服务")
    train = sentences(300, 0, HAN, filler, "")
    texts, label = sentences(100, 1, HAN, filler, "")
    assert not any(" " in text for text in texts)
    assert (tfidf_logistic(*train, texts, CLASSES).argmax(-1) == label).mean() > 0.99


def test_word_order_counts():
    """Pairs of words: "not good" and "good not" share every single word."""
    texts, label = ["not good", "good not"] * 20, [0, 1] * 20
    np.testing.assert_array_equal(
        tfidf_logistic(texts, label, ["not good", "good not"], ("a", "b")).argmax(-1), [0, 1]
    )


def test_a_class_without_training_rows_gets_nothing():
    texts, label = sentences(100, 0)
    found = tfidf_logistic(texts, np.where(label == 1, -1, label), texts, CLASSES)
    assert (found[:, 1] == 0).all()
    np.testing.assert_allclose(found.sum(-1), 1, atol=1e-5)


@pytest.mark.parametrize(
    ("texts", "label"),
    [(["a b", "c d"], [1, 1]), (["", "  "], [0, 1]), (["a b", "c d", "e"], [0, 2, -1])],
    ids=["one class", "no words", "two rows"],
)
def test_too_little_to_learn_from_still_answers(texts, label):
    found = tfidf_logistic(texts, label, ["a", "", "b c"], CLASSES)
    np.testing.assert_allclose(found.sum(-1), 1, atol=1e-5)
    assert found[:, [k for k in range(3) if k not in label]].sum() == 0


def test_the_same_seed_gives_the_same_answer():
    train, texts = sentences(200, 0), sentences(50, 1)[0]
    np.testing.assert_array_equal(
        tfidf_logistic(*train, texts, CLASSES, 3), tfidf_logistic(*train, texts, CLASSES, 3)
    )


def split(n, seed):
    texts, label = sentences(n, seed)
    return {"text": texts, "label": label.astype(np.int32), "row": np.arange(n) + 1000 * seed}


@pytest.mark.parametrize("as_split", [datasets.Dataset.from_dict, dict], ids=["Arrow", "columns"])
def test_reports_of_both_on_the_same_rows(as_split):
    train, test = split(300, 0), split(60, 1)
    train["label"][train["label"] == 1] = -1
    found = baselines(as_split(train), as_split(test), CLASSES, split="validation", seed=2)
    assert list(found) == ["majority class", "TF-IDF + logistic regression", *MORE]
    best = found["TF-IDF + logistic regression"]
    assert best.scores["f1"] > 0.99 > 0.5 > found["majority class"].scores["f1"]
    assert best.unseen == (test["label"] == 1).sum() > 0
    assert best.rows[0] == 1000 and best.texts[0] == test["text"][0] and best.split == "validation"
    assert best.compare({"majority": found["majority class"]}).loc["majority", "f1_gain_low"] > 0


def test_the_second_text_of_a_pair_is_read():
    texts, label = sentences(200, 0)
    pairs = {"text": ["premise"] * 200, "text_pair": texts, "label": label, "row": np.arange(200)}
    assert baselines(pairs, pairs, CLASSES)["TF-IDF + logistic regression"].scores["f1"] > 0.99


def test_training_rows_without_labels_are_an_error():
    with pytest.raises(DataError, match="none of the 2 has a label"):
        majority([-1, -1], 3, CLASSES)
    with pytest.raises(DataError, match="label 3 is out of range: there are 3 classes"):
        tfidf_logistic(["a"], [3], ["b"], CLASSES)


def test_boosting_and_neighbours_learn_what_a_linear_model_cannot():
    """The class is whether exactly one of two words is there: no sum of weights of single words tells it."""
    random = np.random.default_rng(0)
    left, right = random.integers(0, 2, (2, 400))
    texts = [
        " ".join([*(["red"] * a), *(["blue"] * b), "thing", random.choice(["one", "two"])])
        for a, b in zip(left, right, strict=True)
    ]
    made = {"text": texts, "label": (left ^ right).astype(np.int32), "row": np.arange(400)}
    train, test = (
        {name: column[part] for name, column in made.items()} for part in (slice(300), slice(300, 400))
    )
    found = baselines(train, test, ("no", "yes"))
    assert all(found[name].scores["accuracy"] > 0.97 for name in MORE)


def test_boosting_agrees_with_scikit_learn_and_reads_missing_values():
    random = np.random.default_rng(1)
    inputs = random.normal(size=(500, 4))
    inputs[::7, 2] = np.nan
    label = (np.nan_to_num(inputs[:, 2]) * inputs[:, 0] > 0).astype(np.int64)
    peer = HistGradientBoostingClassifier(max_iter=100, min_samples_leaf=20, random_state=3).fit(
        inputs, label
    )
    ours = boosted(inputs, label, 3, 3).answer(inputs)
    np.testing.assert_allclose(ours[:, :2], peer.predict_proba(inputs), atol=1e-6)
    assert (ours[:, 2] == 0).all()  # a class without training rows
    numbers = np.stack([inputs[:, 0] ** 2, inputs[:, 1]], axis=1)
    peer = HistGradientBoostingRegressor(max_iter=100, min_samples_leaf=20, random_state=3)
    with one_thread():
        want = np.stack([clone(peer).fit(inputs, each).predict(inputs) for each in numbers.T], axis=1)
    np.testing.assert_allclose(boosted_numbers(inputs, numbers, 3).answer(inputs), want, atol=1e-6)


def test_neighbours_are_for_few_labels_and_read_the_vectors_they_are_given():
    train, test = split(60, 0), split(30, 1)
    right = {text: np.eye(3)[label] for part in (train, test)
             for text, label in zip(part["text"], part["label"], strict=True)}  # fmt: skip
    found = fit(train, CLASSES, embed=lambda texts: np.stack([right[text] for text in texts]))
    assert (found["nearest neighbours"].answer(test).argmax(-1) == test["label"]).all()
    many = split(1001, 0)
    assert "nearest neighbours" not in fit(many, CLASSES)


def test_a_model_that_loses_to_a_baseline_says_so_first():
    test = split(60, 1)
    found = baselines(split(300, 0), test, CLASSES)
    poor = ClassificationReport(CLASSES, test["label"], majority([0], 60, CLASSES), test["text"], test["row"])
    assert not poor.verdict and str(poor).startswith("test: 60 rows")
    poor = poor.with_baselines(found)
    assert str(poor).splitlines()[0] == poor.verdict and poor.verdict.startswith("Worse than a baseline: F1 ")
    best = found["TF-IDF + logistic regression"].with_baselines({"majority": found["majority class"]})
    assert not best.verdict
