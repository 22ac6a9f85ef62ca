"""What a run says of itself: truncation when it starts, and at its end that it is no better than a constant answer."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import f1_score

import labkit as lk
from labkit.i18n import Message, translate
from labkit.train.outcome import ConstantBaseline, frequent_labels, majority, no_better, outcome_of
from labkit.train.processors import TextProcessor
from labkit.train.truncation import message, truncation
from labkit.viz import run_html
from tests.shown import shown_html

MLP = lk.models["mlp"](widths=(8,))


def experiment(**options):
    from labkit.train.experiment import Experiment, settings

    task, train = settings(**options)
    return Experiment(model=MLP, task=task, train=train)


def test_constant_answers_are_scored_as_scikit_learn_does():
    rng = np.random.default_rng(0)
    train, asked = rng.choice(4, 300, p=[0.1, 0.5, 0.2, 0.2]), rng.choice(4, 80)
    found = majority(4, train, asked)
    most = np.bincount(train).argmax()
    assert found.value == pytest.approx(f1_score(asked, np.full(80, most), average="macro", zero_division=0))
    assert found.share == pytest.approx((train == most).mean())
    assert majority(4, np.full(3, -1), asked) is None and majority(4, train, np.full(3, -1)) is None
    known, truth = rng.random((300, 3)) < [0.7, 0.2, 0.6], rng.random((90, 3)) < 0.5
    given = np.tile(known.mean(0) >= 0.5, (90, 1))
    expected = f1_score(truth, given, average="macro", zero_division=0)
    assert frequent_labels(known, truth, 0.5).value == pytest.approx(expected)


@pytest.mark.parametrize(
    ("constant", "score", "says"),
    [
        (ConstantBaseline("the most frequent class", "f1", 0.3), 0.3, True),
        (ConstantBaseline("the most frequent class", "f1", 0.3), 0.31, True),
        (ConstantBaseline("the most frequent class", "f1", 0.3), 0.4, False),
        (ConstantBaseline("the mean", "r2", 0.0), -2.0, True),
        (ConstantBaseline("the token frequencies", "loss", 5.0), 4.95, True),
        (ConstantBaseline("the token frequencies", "loss", 5.0), 4.0, False),
    ],
)
def test_a_model_no_better_than_a_constant_answer(constant, score, says):
    assert bool(no_better(constant, {constant.metric: score}, "validation")) == says
    assert no_better(constant, {constant.metric: float("nan")}, "validation") == ""


@pytest.mark.parametrize(
    ("options", "constant", "lost", "losses", "cause"),
    [
        ({"learning_rate": 1e-6}, (0.3, 0.5), 0, [0.7] * 300, "3e-0?|too low"),
        ({"learning_rate": 3.0}, (0.3, 0.5), 0, [0.7] * 300, "too high"),
        ({}, (0.3, 0.5), 0, [*[0.7] * 150, *[9.0] * 150], "diverged"),
        ({}, (0.3, 0.5), 0, [*[0.7] * 150, *[float("nan")] * 150], "diverged"),
        ({}, (0.47, 0.9), 0, [*[0.7] * 150, *[0.3] * 150], "90% of the training rows are of one class"),
        ({}, (0.3, 0.5), 0, [0.7] * 20, "only 20 training steps"),
        ({}, (0.3, 0.5), 0.6, [0.7] * 300, "truncation lost 60%"),
        ({}, (0.3, 0.5), 0, [0.7] * 300, "underfitting"),
        ({}, (0.3, 0.5), 0, [*[0.7] * 150, *[0.01] * 150], "overfitting"),
    ],
)
def test_the_likely_cause_is_named_in_both_languages(options, constant, lost, losses, cause):
    value, share = constant
    summary = {
        "constant": [Message("the most frequent class"), "f1", value, share],
        "truncation": {"lost": lost},
    }
    problem, said = outcome_of(experiment(**options), summary, losses, {"f1": value}).warnings
    assert problem.startswith("No better than the most frequent class: F1 of validation")
    assert any(part in said for part in cause.split("|"))
    for text in (problem, said):
        chinese = translate(text, "zh")
        assert not any(word in chinese for word in ("the ", "Likely", " of ")), chinese
    assert (
        outcome_of(experiment(**options), summary, losses, {"f1": 0.9}).warnings == []
        or "low" in said
        or "high" in said
    )


def test_a_run_with_a_rate_far_too_low_says_so_everywhere(tmp_path, capsys):
    rows = lk.load("breast-cancer")
    run = lk.fit(rows, MLP, folder=tmp_path, background=False, epochs=2, learning_rate=1e-7)
    (said,) = [text for text in run.info.summary["warnings"] if "too low" in text]
    assert said in capsys.readouterr().err
    assert "too low" in run_html.result(run.info, {}, "") and "过低" in run_html.warning_box(run.info, "zh")
    report = run.evaluate()
    assert str(report).startswith("Worse than a baseline: F1 ") and "Worse than" in shown_html(report)
    assert any("too low" in text for text in report.warnings)
    assert all(text in str(report) and text in shown_html(report) for text in report.warnings[:1])
    good = lk.fit(rows, MLP, folder=tmp_path, background=False, epochs=5)
    assert good.info.summary["warnings"] == []


def long_rows(count: int = 120) -> list[dict[str, str]]:
    return [{"text": " ".join(["good" if i % 2 else "bad", *[f"w{i}"] * (3 * (i % 4))]), "label": str(i % 2)}
            for i in range(count)]  # fmt: skip


def test_truncation_is_counted_in_rows_and_tokens():
    rows = lk.load(long_rows()).split(accept_leakage=True)
    tokenizer = lk.Tokenizer.train(rows["train"]["text"], vocab_size=60)
    whole = TextProcessor(tokenizer, 64).encode(rows["train"]).lengths
    inputs = TextProcessor(tokenizer, 10)
    found = truncation(inputs, rows["train"], inputs.encode(rows["train"]))
    assert found["rows"] == (whole > 10).sum() and found["of"] == len(whole)
    assert found["lost"] == pytest.approx(np.maximum(whole - 10, 0).sum() / whole.sum(), abs=1e-4)
    assert (
        truncation(
            TextProcessor(tokenizer, 64), rows["train"], TextProcessor(tokenizer, 64).encode(rows["train"])
        )
        == {}
    )
    chinese = translate(message(found), "zh")
    assert "截断" in chinese and "训练集" in chinese and "text" not in chinese
    pairs = lk.load(
        [{"text": row["text"], "other": "good " * 20} for row in long_rows(40)],
        text=("text", "other"),
        label=False,
    )
    two = TextProcessor(tokenizer, 10, "two texts")
    part = pairs["train"]
    alone = [
        lk.load([{"text": text} for text in part[name]], label=False)["train"]
        for name in ("text", "text_pair")
    ]
    first, second = (TextProcessor(tokenizer, 64).encode(dataset).lengths for dataset in alone)
    found = truncation(two, part, two.encode(part))
    assert found["rows"] == (first > 10).sum() + (second > 10).sum() and found["of"] == 80
    lost = np.maximum(first - 10, 0).sum() + np.maximum(second - 10, 0).sum()
    assert found["lost"] == pytest.approx(lost / (first.sum() + second.sum()), abs=1e-4)


def test_truncation_is_told_when_a_run_starts_and_in_its_report(tmp_path, capsys):
    rows = lk.load(long_rows())
    run = lk.fit(
        rows, lk.models["textcnn"](preset="tiny"), folder=tmp_path, background=False, epochs=1, max_length=10,
        vocabulary=200, accept_leakage=True,
    )  # fmt: skip
    shown = capsys.readouterr().err
    assert shown.index("Truncated to max_length = 10") < shown.index("validation loss")
    report = run.evaluate()
    assert report.warnings[0].startswith("Truncated to max_length = 10") and " of test " in report.warnings[0]
    assert "baselines use more of each text than the model" in report.warnings[1]
    assert not any("baselines" in text for text in run.evaluate(baselines=False).warnings)
