"""The exercises of the course: right answers pass, wrong ones get a hint, none waits without a word."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

import labkit as lk
from labkit.course import real_size
from labkit.course.answers import choice, computes, equals, holds, names, reaches
from labkit.course.exercises import EXERCISES
from labkit.i18n import translate


def softmax(x: np.ndarray, axis: int = -1) -> np.ndarray:
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def run(
    trainable: int = 1000, parameters: int = 200_000, train: int = 400, rows: int = 1000, **scores: float
) -> Any:
    """What an exercise reads of a run."""
    made = SimpleNamespace(rows={"train": range(train), "validation": range(rows)})
    made.info = SimpleNamespace(summary={"parameters": parameters, "trainable": trainable})
    made.evaluate = lambda split, baselines: SimpleNamespace(scores=scores)
    made.history = pd.DataFrame({"split": "validation", "loss": [1.0, 0.8, 0.8 * scores.get("rise", 1.0)]})
    return made


#: Exercise → a right answer, where the solution is not one without the cells of its lesson.
RIGHT: dict[str, Any] = {
    "00.4": run(f1=0.76),
    "02.5": lambda images: oracle("odd")(images),
    "03.5": run(parameters=33_274, accuracy=0.88),
    "04.5": run(train=210, rise=1.02),
    "08.3": run(f1=0.7),
    "13.4": run(train=300, accuracy=0.9),
}
#: Exercise → a wrong answer.
WRONG: dict[str, Any] = {
    "00.1": 3000,
    "00.2": lambda accuracy, baseline, n: accuracy,
    "00.3": lambda labels: 0.8,
    "00.4": run(f1=0.7),
    "01.1": lambda tf, df, n: tf * np.log(n / df),
    "01.2": 120 / 270,
    "01.3": lambda train, new: (new - new.mean(0)) / new.std(0),
    "01.4": lambda X, n: (X - X.mean(0)) / X.std(0),
    "01.5": str.lower,
    "02.1": lambda h: h * (1 - h),
    "02.2": 2368,
    "02.3": lambda w, v, g, rate, mu: w - rate * g,
    "02.4": lambda f, w, eps: (f(w + eps) - f(w)) / (2 * eps),
    "02.5": lambda images: np.ones(len(images)),
    "03.1": 1200,
    "03.2": lambda n: 3 * n,
    "03.3": lk.models["mlp"](widths=(2, 2, 2), input_shape=(28, 28, 1)),
    "03.4": lambda image, kernel: np.zeros((2, 2)),
    "03.5": run(parameters=118_282, accuracy=0.88),
    "04.1": 94,
    "04.2": lambda step, rise, total: 1 - step / total,
    "04.3": len,
    "04.4": lambda losses, patience: len(losses) - 1,
    "04.5": run(train=210, rise=1.2),
    "05.1": lambda tp, fp, fn: tp / max(tp + fp, 1),
    "05.2": 19.9,
    "05.3": 1500,
    "05.4": lambda precision, recall: np.mean(precision),
    "05.5": lambda probability, truth, price: 0.5,
    "06.1": lambda q, k, v: softmax(q @ k.T) @ v,
    "06.2": 1769472,
    "06.3": lambda q, k, v, real: softmax(q @ k.T / 2) @ (v * real[:, None]),
    "06.4": lambda x, scale, bias: (x - x.mean(0)) / x.std(0) * scale + bias,
    "06.5": ("A doctor cures patients.", "A lawyer writes contracts."),
    "07.1": 60,
    "07.2": lambda losses: np.mean(np.exp(losses)),
    "07.3": lambda pieces, chosen: [int(one) for one in chosen],
    "07.4": lambda predicted, ids, chosen: (predicted == ids).mean(),
    "08.1": lambda n, m, r: n * m,
    "08.2": lambda kernel, a, b, scale: kernel + a @ b,
    "08.3": run(trainable=200_000, f1=0.7),
    "08.4": lambda a, b: np.percentile([a.mean() - b[:20].mean()], [2.5, 97.5]) + 0.1,
    "09.1": lambda found, truth: float(found == truth),
    "09.2": lambda begin, end: (int(np.argmax(begin)), int(np.argmax(end))),
    "09.3": lambda first, last, start, length: (first - start, last - start),
    "10.1": lambda scores, temperature: softmax(scores) / temperature,
    "10.2": lambda chances, p: [place for place, chance in enumerate(chances) if chance > p],
    "10.3": 90,
    "10.4": lambda t: np.triu(np.ones((t, t), bool)),
    "11.1": 0.44,
    "11.2": lambda cost, behind, allowed: min(cost, key=cost.get),
    "11.3": 0.72,
    "11.4": set,
    "12.1": lambda of_client, of_all: of_client < 10,
    "12.2": 401,
    "12.3": 1024,  # the mean, not the largest number of tries
    "12.4": min,
    "13.1": dict.fromkeys("ABCDEF", "too few rows"),
    "13.2": lambda frequencies: np.zeros(2),
    "13.3": lambda inputs, labels, seed: (inputs[::-1], labels),
    "13.4": run(train=60, accuracy=0.8),
    "14.1": lambda false_alarm, missed: false_alarm / missed,
    "14.2": 500,
    "14.3": lambda share, read, missed: share * missed,
    "14.4": lambda acted, angry, read, missed: (read * acted + missed * (~acted & angry)).mean(),
    "15.1": lambda found, relevant, k: len(set(found[:k]) & set(relevant)) / k,
    "15.2": lambda one, other: [*one, *other],
    "15.3": 1536,
    "15.4": lambda query, vectors: vectors @ query / np.linalg.norm(query),
    "16.1": lambda selected, groups: selected.mean(),
    "16.2": lambda rates: min(rates.values()) < 0.8,
    "16.3": 4,
    "16.4": lambda selected, truth, groups, pair: 0.0,
    "17.1": lambda values, categories: np.zeros((len(values), len(categories))),
    "17.2": lambda tp, fp, n, t: (tp - fp) / n,
    "17.3": 0.9,
    "17.4": lambda train, test: (np.nan_to_num(train, nan=4.0), np.nan_to_num(test, nan=4.0)),
    "18.1": lambda guess, truth: (guess & truth).sum() / (guess | truth).sum(),
    "18.2": 4608,  # without biases
    "18.3": lambda maps, gradient: np.maximum((maps * gradient).sum(-1), 0),
    "18.4": lambda picture, mask: (picture[:, ::-1], mask[::-1]),
}


def oracle(question: str) -> Any:
    """A function that knows the digits by heart: whether each picture is of an odd one."""
    rows = lk.load("digits").split(validation=0.1, test=0.2, seed=0)["test"]
    known = {
        np.asarray(image, float).tobytes(): label % 2
        for image, label in zip(rows["image"], rows["label"], strict=True)
    }
    return lambda images: np.array([known[(image * 16).tobytes()] for image in images])


def answers(name: str) -> tuple[Any, Any]:
    """A right answer, by the solution of the exercise, and a wrong one."""
    code = EXERCISES[name].solution
    if name[-1].isalpha():
        right = code.split('"')[1]
        return right, next(letter for letter in "ABC" if letter != right)
    if name in RIGHT:
        compile(code, name, "exec")
        return RIGHT[name], WRONG[name]
    names: dict[str, Any] = {"np": np, "lk": lk, "softmax": softmax, "Counter": Counter}
    exec(code, names)
    return list(names.values())[-1], WRONG[name]


@pytest.fixture(autouse=True)
def english(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LABKIT_LANGUAGE", "en")
    monkeypatch.setenv("LABKIT_FOLDER", str(tmp_path / "lab"))


def test_every_exercise_has_its_wrong_answer_here() -> None:
    assert list(WRONG) == [name for name in EXERCISES if name[-1].isdigit()]


@pytest.mark.parametrize("name", EXERCISES)
def test_a_right_answer_passes_and_a_wrong_one_does_not(name: str) -> None:
    right, wrong = answers(name)
    verdict = lk.check(name, right)
    reason = f" {EXERCISES[name].hint}" if name[-1].isalpha() else ""
    assert verdict and verdict.right is True and repr(verdict) == f"{name}: correct ✓{reason}"
    verdict = lk.check(name, wrong)
    assert not verdict and verdict.right is False
    assert verdict.said.startswith(f"{name}: not yet. ") and verdict.said.endswith(
        f" Hint: {EXERCISES[name].hint}"
    )


@pytest.mark.parametrize("name", EXERCISES)
@pytest.mark.parametrize("answer", [..., None])
def test_an_exercise_waits_for_its_answer(name: str, answer: Any) -> None:
    verdict = lk.check(name, answer)
    assert not verdict and verdict.right is None and verdict.said == f"{name}: waiting for your answer"


@pytest.mark.parametrize("name", [name for name in EXERCISES if EXERCISES[name].solution.startswith("def ")])
def test_a_function_that_does_nothing_waits_too(name: str) -> None:
    assert lk.check(name, lambda *arguments: ...).right is None
    assert lk.check(name, lambda *arguments: None).right is None


def test_hints_are_in_the_language_of_the_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABKIT_LANGUAGE", "zh")
    right, wrong = answers("00.1")
    assert lk.check("00.1", right).said == "00.1：正确 ✓"
    assert (
        lk.check("00.1", wrong).said
        == f"00.1：还不对。{wrong!r}。提示：{translate(EXERCISES['00.1'].hint, 'zh')}"
    )
    assert lk.check("00.1", ...).said == "00.1：等待你的答案"


def test_an_exercise_that_is_not_there_gets_the_nearest() -> None:
    with pytest.raises(lk.LabkitError, match=r"unknown exercise '00.11'\. Did you mean '00.1'"):
        lk.check("00.11", 1)


def test_what_is_wrong_is_said() -> None:
    assert equals(0.5)(np.float32(0.50001)) == "" and equals(0.5)(0.51) == "0.51."
    assert equals(1000)(1000.09) != "" and equals(1000, tolerance=0.5)(1000.09) == ""  # absolute
    assert (
        choice("B")("b") == ""
        and choice("B")("C") == "'C'."
        and choice("B")("D").startswith("'D' is not one of")
    )
    assert equals("b")("b") == "" and equals("b")("c") == "'c'." and equals(("a", 1))(["a", 1]) == "['a', 1]."
    assert equals(True)(np.bool_(True)) == "" and equals(True)(1) == "1."
    assert equals(3)("x" * 99) == f"{('x' * 99)!r:.59}…."
    both = names({"A": "one", "B": "two"})
    assert both({"A": "One ", "B": "two"}) == "" and both({"A": "one", "B": "one"}) == "1 of 2 are right."
    assert both({"A": "one"}) == "the answer is a dictionary with the keys A, B."
    half = computes(((4,), 2), ((3,), 1.5))
    assert half(lambda x: x / 2) == "" and half(3) == "3 is not a function."
    assert half(lambda x: x // 2) == "<lambda>(3) returns 1, expected 1.5."
    assert half(lambda x: x / 0) == "<lambda>(4) raises ZeroDivisionError: division by zero."
    small = holds(lambda answer: answer.size < 3, "too large.")
    assert small(np.zeros(2)) == "" and small(np.zeros(3)) == "too large."
    assert small(3).startswith("3 cannot be inspected (AttributeError: ")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (run(parameters=40_000, f1=0.9), "40,000 parameters; fewer than 40,000"),
        (run(parameters=1, train=401, f1=0.9), "trained on 401 rows; at most 400"),
        (run(parameters=1, rows=9, f1=0.9), "9 validation rows; at least 200"),
        (run(parameters=1, f1=0.701), "f1 on validation rows is 0.701; 0.75 is needed"),
        (run(parameters=1, accuracy=0.9), "cannot be inspected (KeyError"),
        (3, "cannot be inspected (AttributeError"),
        (run(parameters=1, f1=0.75), ""),
    ],
)
def test_an_experiment_is_judged_by_its_criterion(answer: Any, said: str) -> None:
    found = reaches("f1", 0.75, train_rows=400, parameters=40_000, validation_rows=200)(answer)
    assert said in found and bool(said) == bool(found)


def test_a_solution_is_shown_after_two_different_wrong_answers_or_a_right_one() -> None:
    assert (
        repr(lk.solution("03.1")) == "03.1: the solution is shown after 2 more wrong answers, or a right one"
    )
    for _ in range(3):
        lk.check("03.1", 1200)  # the same answer again is no new try
    lk.check("03.1", ...)
    assert repr(lk.solution("03.1")).startswith("03.1: the solution is shown after 1 more wrong answer")
    lk.check("03.1", 75)
    assert repr(lk.solution("03.1")) == EXERCISES["03.1"].solution and not lk.solution("03.2").code
    lk.check("03.2", lambda n: 2 * n + 1)
    assert lk.solution("03.2")._repr_markdown_().startswith("```python\ndef seen(n)")
    with pytest.raises(lk.LabkitError, match=r"Did you mean '03\.1'"):
        lk.solution("03.11")


def test_progress_is_counted_by_lesson_and_survives_the_process(tmp_path: Path) -> None:
    lk.check("12.2", 422)
    lk.check("12.2", 401)  # solved stays solved
    lk.check("12.a", "a")
    found = lk.progress()
    assert (
        found.lessons["12"] == (2, sum(name.startswith("12.") for name in EXERCISES))
        and found.lessons["00"][0] == 0
    )
    assert "12      2 / " in repr(found) and f"2 / {len(EXERCISES)}" in found._repr_html_()
    script = "import labkit as lk; print(lk.progress().lessons['12'][0], bool(lk.solution('12.2').code))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.split() == ["2", "True"], done.stderr


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"12.2": 3, "x": {}, "12.a": {"wrong": "many", "solved": 1}}']
)
def test_a_damaged_file_of_progress_is_replaced(tmp_path: Path, content: str) -> None:
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab" / "course.json").write_text(content)
    lk.check("12.1", min)
    lk.check("12.2", 422)
    assert lk.progress().lessons["12"][0] >= 1
    assert json.loads((tmp_path / "lab" / "course.json").read_text())["12.1"]["wrong"] == 1


def test_progress_lasts_in_a_folder_that_cannot_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LABKIT_FOLDER", str(tmp_path / "file" / "lab"))
    assert lk.check("11.1", 1.76) and lk.solution("11.1").code


def test_the_scale_is_the_tutorials_unless_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LABKIT_SCALE", raising=False)
    assert lk.scale(1, 2) == 1
    monkeypatch.setenv("LABKIT_SCALE", "full")
    assert lk.scale(1, 2) == 2
    monkeypatch.setenv("LABKIT_SCALE", "tutorial")
    assert lk.scale(1, 2) == 1
    monkeypatch.setenv("LABKIT_SCALE", "ful")
    with pytest.raises(
        lk.LabkitError, match=r"LABKIT_SCALE = 'ful' is not one of tutorial, full\. Did you mean 'full'"
    ):
        lk.scale(1, 2)


# --- quick and real size, English and Chinese -------------------------------------------------------------------------


def test_a_text_or_model_follows_the_language(monkeypatch: pytest.MonkeyPatch) -> None:
    assert lk.local("minilm-l6", "e5-small") == "minilm-l6"
    monkeypatch.setenv("LABKIT_LANGUAGE", "zh")
    assert lk.local("minilm-l6", "e5-small") == "e5-small"


def test_figures_stand_next_to_those_of_the_real_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(real_size, "RESULTS", tmp_path)
    quick = {"F1": (0.7, 0.65, 0.75), "rows": 1200, "loss": 0.5, "EUR": 0.00071}
    before = lk.real_size("08", quick)
    assert before.minutes is None and before.real == {} and repr(before).count("not yet measured") == 4
    monkeypatch.setenv("LABKIT_SCALE", "full")
    monkeypatch.setenv("LABKIT_RESULTS", str(tmp_path))
    lk.real_size("08", {"F1": (0.8, 0.79, 0.81), "rows": 9000})  # the long test adds the others
    file = tmp_path / "08.json"
    run = {"minutes": 12.4, "date": "2026-11-30", "processors": 2, "command": "pytest"}
    file.write_text(json.dumps({**json.loads(file.read_text()), **run}))
    monkeypatch.delenv("LABKIT_SCALE")
    shown = lk.real_size("08", quick)
    assert shown.real == {"F1": (0.8, 0.79, 0.81), "rows": (9000.0,)} and shown.minutes == 12.4
    lines = [line.split("  ") for line in repr(shown).splitlines()]
    cells = [[cell.strip() for cell in line if cell.strip()] for line in lines]
    assert cells[0] == ["Figure", "quick size (this run)", "real size (stored)"]
    assert cells[1] == ["F1", "0.700 (0.650 … 0.750)", "0.800 (0.790 … 0.810)"]
    assert cells[2:4] == [["rows", "1,200", "9,000"], ["loss", "0.500", "not yet measured"]]
    assert cells[4] == ["EUR", "0.00071", "not yet measured"]
    assert "12 min on 2 CPU cores, 2026-11-30" in repr(shown)
    assert "<caption>" in shown._repr_html_() and "0.800 (0.790 … 0.810)" in shown._repr_html_()
    with pytest.raises(lk.LabkitError, match="unknown lesson '99'"):
        lk.real_size("99", quick)


def test_a_quick_run_writes_no_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABKIT_RESULTS", str(tmp_path))
    lk.real_size("08", {"F1": 0.7})
    assert not list(tmp_path.iterdir())
