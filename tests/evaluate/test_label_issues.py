"""Doubtful labels: confident learning equals cleanlab's, planted errors are found; rows to label are ranked."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import labkit as lk
from labkit.core.errors import ConfigError, DataError
from labkit.evaluate import fast_learner
from labkit.evaluate.label_issues import confident_joint, fold_places, issues, usefulness


@pytest.fixture(autouse=True)
def no_encoder(monkeypatch):
    """An encoder in the cache would be used, and takes time."""
    monkeypatch.setattr(fast_learner, "is_cached", lambda name: False)


def noisy(seed: int, n: int, classes: int, noise: float, sharp: float) -> tuple[np.ndarray, np.ndarray]:
    """Labels of which some are wrong, and probabilities that lean to the true class."""
    random = np.random.default_rng(seed)
    truth = random.choice(classes, n, p=random.dirichlet(np.full(classes, 3.0)))
    labels = np.where(random.random(n) < noise, random.integers(0, classes, n), truth)
    labels[:classes] = np.arange(classes)
    logits = random.normal(size=(n, classes)) + sharp * np.eye(classes)[truth]
    raised = np.exp(logits)
    return labels, raised / raised.sum(1, keepdims=True)


@pytest.mark.parametrize("seed", range(12))
def test_issues_and_joint_equal_those_of_cleanlab(seed):
    count = pytest.importorskip("cleanlab.count")
    filters = pytest.importorskip("cleanlab.filter")
    classes, size = 2 + seed % 5, [60, 400, 2000][seed % 3]
    labels, found = noisy(seed, size, classes, [0.05, 0.2, 0.5][seed % 3], [0.5, 2.0, 4.0][seed // 4])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        joint = count.compute_confident_joint(labels, found)
        expected = filters.find_label_issues(labels, found, n_jobs=1)
    np.testing.assert_array_equal(confident_joint(labels, found), joint)
    np.testing.assert_array_equal(issues(labels, found), expected)


@pytest.fixture(scope="module")
def reviews(tmp_path_factory):
    """400 texts whose words give the class away, 22 of them with the wrong label; one of three copies too."""
    random = np.random.default_rng(0)
    words = {"good": ["great", "fine", "lovely", "superb"], "bad": ["awful", "poor", "dull", "weak"]}
    common = [f"word{n}" for n in range(40)]
    lines, wrong = [], set(range(0, 400, 19))
    for n in range(400):
        label = ("good", "bad")[n % 2]
        text = " ".join([*random.choice(words[label], 3), *random.choice(common, 6), f"n{n}"])
        lines.append((text, ("bad" if label == "good" else "good") if n in wrong else label))
    lines += [lines[0], lines[0]]  # copies with the same wrong label
    path = tmp_path_factory.mktemp("reviews") / "x.csv"
    path.write_text("text,label\n" + "\n".join(f"{text},{label}" for text, label in lines), encoding="utf-8")
    return lk.load(path), {*wrong, 400, 401}


def test_planted_errors_are_ranked_first(reviews):
    rows, wrong = reviews
    table = lk.find_label_issues(rows)
    assert "TF-IDF alone" in table.attrs["learner"]
    assert list(table.columns) == [
        "split", "row", "given_label", "predicted_label", "label_quality", "is_label_issue", "text",
    ]  # fmt: skip
    assert len(table) == len(rows) and set(table["row"][: len(wrong)]) == wrong
    flagged = table[table["is_label_issue"]]
    assert set(flagged["row"]) <= wrong and len(flagged) >= 0.4 * len(wrong)
    assert (
        flagged["label_quality"].is_monotonic_increasing
        and (flagged["given_label"] != flagged["predicted_label"]).all()
    )
    first = table[: len(wrong)]
    fixed = rows.correct_labels(dict(zip(first["row"], first["predicted_label"], strict=True)))
    assert not lk.find_label_issues(fixed)["is_label_issue"].any()


def test_given_probabilities_and_splits_are_used_row_by_row(reviews):
    rows, _wrong = reviews
    split = rows.split()
    labels = np.concatenate([np.asarray(part["label"]) for part in split.splits.values()])
    numbers = np.concatenate([np.asarray(part["row"]) for part in split.splits.values()])
    found = np.eye(2)[labels] * 0.8 + 0.1
    doubted = [3, 150, 380]
    found[doubted] = found[doubted][:, ::-1]
    table = lk.find_label_issues(split, found)
    assert set(table["row"][:3]) == set(numbers[doubted].tolist()) and table["is_label_issue"].sum() == 3
    for bad in (found[:-1], found[:, :1], -found, found * 2, found * np.nan):
        with pytest.raises(DataError, match="probabilities"):
            lk.find_label_issues(split, bad)


def test_tables_and_pictures(tmp_path):
    random = np.random.default_rng(1)
    x = random.normal(size=(600, 3))
    label = np.where(x[:, 0] * x[:, 1] > 0, "same", "other")  # no linear model learns it
    sure = np.flatnonzero(np.abs(x[:, :2]).min(1) > 0.5)
    wrong = sure[::20]
    label[wrong] = np.where(label[wrong] == "same", "other", "same")
    lines = [",".join([*map(str, line), name]) for line, name in zip(x, label, strict=True)]
    (tmp_path / "t.csv").write_text("\n".join(["a,b,c,label", *lines]), encoding="utf-8")
    table = lk.find_label_issues(lk.load(tmp_path / "t.csv", features=True, label="label"))
    assert np.isin(table["row"][: len(wrong)], wrong).mean() > 0.8
    pictures = lk.load("digits").sample(400)
    assert lk.find_label_issues(pictures)["is_label_issue"].mean() < 0.1


def test_copies_share_a_fold_and_every_row_is_tested_once():
    labels = np.array([0, 1] * 30 + [2])
    groups = np.repeat(np.arange(31), 2)[:61]
    folds = fold_places(labels, groups, 5, 0)
    assert sorted(np.concatenate([test for _train, test in folds]).tolist()) == list(range(61))
    for train, test in folds:
        assert not set(groups[train]) & set(groups[test])


@pytest.mark.parametrize(("strategy", "first"), [("margin", 0), ("entropy", 2), ("confidence", 2)])
def test_usefulness_is_that_of_the_formulas(strategy, first):
    found = np.array([[0.49, 0.48, 0.03], [0.9, 0.05, 0.05], [0.38, 0.32, 0.3]])
    expected = {
        "margin": 1 - (found.max(1) - np.sort(found, 1)[:, 1]),
        "entropy": -(found * np.log(found)).sum(1),
        "confidence": 1 - found.max(1),
    }[strategy]
    np.testing.assert_allclose(usefulness(found, strategy), expected)
    assert usefulness(found, strategy).argmax() == first


def test_rows_to_label_start_at_random_and_then_are_the_unsure_ones(tmp_path):
    texts = ["great lovely fine", "awful poor weak"] * 20
    lines = [f"{text} n{n}," for n, text in enumerate(texts)]
    lines[4] = lines[6]  # a copy is listed once
    lines.append("great awful n1 n2,")
    (tmp_path / "x.csv").write_text("\n".join(["text,label", *lines]), encoding="utf-8")
    rows = lk.load(tmp_path / "x.csv", text="text", label="label", missing="keep")
    start = lk.rows_to_label(rows, 10, seed=3)
    assert len(start) == 10 and start["row"].is_unique and start["predicted_label"].isna().all()
    assert start.equals(lk.rows_to_label(rows, 10, seed=3)) and len(lk.rows_to_label(rows, 100)) == 40
    labelled = rows.correct_labels({n: ("good", "bad")[n % 2] for n in range(16)}, add=["good", "bad"])
    next_ones = lk.rows_to_label(labelled, 5)
    assert next_ones["row"].iloc[0] == 40 and next_ones["usefulness"].is_monotonic_decreasing
    assert not set(next_ones["row"]) & set(range(16))
    with pytest.raises(ConfigError, match="Did you mean 'margin'"):
        lk.rows_to_label(rows, strategy="margn")
    with pytest.raises(DataError, match="every row has a label"):
        lk.rows_to_label(lk.load([{"text": "a b", "label": "x"}, {"text": "c d", "label": "y"}]))


def test_rows_without_two_classes_are_refused(tmp_path):
    (tmp_path / "x.csv").write_text("text,label\n" + "".join(f"text number {n},only\n" for n in range(9)))
    with pytest.raises(DataError, match="at least two classes"):
        lk.find_label_issues(lk.load(tmp_path / "x.csv"))
    with pytest.raises(ConfigError, match="folds = 1"):
        lk.find_label_issues(lk.load("movie-reviews").sample(50), folds=1)


@pytest.mark.slow
def test_an_experiment_gives_probabilities_out_of_fold(tmp_path):
    random = np.random.default_rng(2)
    x = random.normal(size=(160, 2))
    label = np.where(x.sum(1) > 0, "above", "below")
    wrong = np.flatnonzero(np.abs(x.sum(1)) > 1)[::12]
    label[wrong] = np.where(label[wrong] == "above", "below", "above")
    lines = [f"{a},{b},{name}" for (a, b), name in zip(x, label, strict=True)]
    (tmp_path / "t.csv").write_text("\n".join(["a,b,label", *lines, "1,1,"]), encoding="utf-8")
    rows = lk.load(tmp_path / "t.csv", features=True, label="label", missing="keep")
    found = lk.out_of_fold(rows, lk.models["mlp"](preset="linear"), folds=2, epochs=30, learning_rate=0.05)
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-4)
    assert found[-1, list(rows.schema.classes).index("above")] > 0.5  # the row without a label
    table = lk.find_label_issues(rows, found)
    assert set(table["row"][: len(wrong)]) == set(wrong.tolist())


def test_an_encoder_in_the_cache_is_used_by_default_and_named(reviews, monkeypatch):
    rows, _wrong = reviews
    chinese = lk.load([{"text": f"这部电影很好看 {n}", "label": "ab"[n % 2]} for n in range(20)])
    table = lk.load([{"a": float(n), "label": "ab"[n % 2]} for n in range(20)], features=True, label="label")
    monkeypatch.setattr(fast_learner, "is_cached", lambda name: True)
    assert [fast_learner.cached_encoder(each) for each in (rows, chinese, table)] == [
        "minilm-l6",
        "e5-small",
        None,
    ]
    asked = []

    def embedded(encoder, texts):
        asked.append(encoder)
        return np.random.default_rng(0).normal(size=(len(texts), 4)).astype(np.float32)

    monkeypatch.setattr(fast_learner, "_embedded", embedded)
    found = lk.find_label_issues(rows)
    assert asked == ["minilm-l6"] and "minilm-l6" in found.attrs["learner"]
    monkeypatch.setattr(fast_learner, "is_cached", lambda name: False)
    assert fast_learner.cached_encoder(rows) is None
