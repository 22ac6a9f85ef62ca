"""The exercises of the course: right answers pass, wrong ones get a hint, none waits without a word."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import labkit as lk
from labkit.course.answers import computes, equals, holds
from labkit.course.exercises import EXERCISES
from labkit.i18n import translate


def standardise(train: np.ndarray, new: np.ndarray) -> np.ndarray:
    deviation = train.std(0)
    return (new - train.mean(0)) / np.where(deviation == 0, 1, deviation)


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def attention(q: np.ndarray, k: np.ndarray, v: np.ndarray, real: list[bool] | None = None) -> np.ndarray:
    scores = q @ k.T / np.sqrt(q.shape[-1])
    return softmax(scores if real is None else np.where(real, scores, -np.inf)) @ v


def whole_words(pieces: list[str], chosen: list[bool], carry: bool = True) -> list[int]:
    """Which pieces are hidden where a word is hidden whole: what its first piece says."""
    said, last = [], 0
    for piece, mine in zip(pieces, chosen, strict=True):
        last = last if carry and piece.startswith("##") else int(mine)
        said.append(last)
    return said


def overlap(answer: str, truth: str, articles: bool = True) -> float:
    """SQuAD's F1 of two answers in plain words."""
    from collections import Counter

    a, b = (
        [word for word in text.split() if not articles or word not in ("a", "an", "the")]
        for text in (answer, truth)
    )
    common = sum((Counter(a) & Counter(b)).values())
    return 2 * common / (len(a) + len(b))


def best_span(begin: list[float], end: list[float]) -> tuple[int, int]:
    pairs = [(i, j) for i in range(len(begin)) for j in range(i, len(end))]
    return max(pairs, key=lambda pair: begin[pair[0]] + end[pair[1]])


def nucleus(chances: list[float], p: float) -> list[int]:
    order = sorted(range(len(chances)), key=lambda place: -chances[place])
    sums = np.cumsum([chances[place] for place in order])
    return sorted(order[: int(np.searchsorted(sums, p - 1e-9)) + 1])


#: Exercise → a right answer, a wrong one.
ANSWERS: dict[str, tuple[Any, Any]] = {
    "00.1": (2400, 3000),
    "00.2": (lambda accuracy, baseline, n: n * (accuracy - baseline), lambda accuracy, baseline, n: accuracy),
    "01.1": (lambda tf, df, n: tf * (1 + np.log(n / df)), lambda tf, df, n: tf * np.log(n / df)),
    "01.2": (150 / 270, 120 / 270),
    "01.3": (standardise, lambda train, new: (new - new.mean(0)) / new.std(0)),
    "02.1": (lambda h: 1 - h**2, lambda h: h * (1 - h)),
    "02.2": (2410, 2368),
    "02.3": (lambda w, v, g, rate, mu: w - rate * (mu * v + g), lambda w, v, g, rate, mu: w - rate * g),
    "03.1": (1216, 1200),
    "03.2": (lambda n: 2 * n + 1, lambda n: 3 * n),
    "03.3": (lk.models["cnn"](widths=(4, 8, 16)), lk.models["cnn"](widths=(16, 32, 64))),
    "04.1": (96, 94),
    "04.2": (
        lambda step, rise, total: (step + 1) / rise if step < rise else (total - step) / (total - rise),
        lambda step, rise, total: 1 - step / total,
    ),
    "04.3": (lambda shapes: len(set(shapes)), len),
    "05.1": (lambda tp, fp, fn: 2 * tp / max(2 * tp + fp + fn, 1), lambda tp, fp, fn: tp / max(tp + fp, 1)),
    "05.2": (0.199, 0.99),
    "05.3": (4500, 1500),
    "06.1": (attention, lambda q, k, v: softmax(q @ k.T) @ v),
    "06.2": (1774464, 1769472),
    "06.3": (attention, lambda q, k, v, real: attention(q, k, v * np.array(real)[:, None])),
    "07.1": (48, 60),
    "07.2": (lambda losses: np.exp(np.mean(losses)), lambda losses: np.mean(np.exp(losses))),
    "07.3": (whole_words, lambda pieces, chosen: whole_words(pieces, chosen, carry=False)),
    "08.1": (lambda n, m, r: r * (n + m), lambda n, m, r: n * m),
    "08.2": (
        lambda kernel, a, b, scale: np.array(kernel) + scale * np.array(a) @ np.array(b),
        lambda kernel, a, b, scale: np.array(kernel) + np.array(a) @ np.array(b),
    ),
    "09.1": (overlap, lambda answer, truth: overlap(answer, truth, articles=False)),
    "09.2": (best_span, lambda begin, end: (int(np.argmax(begin)), int(np.argmax(end)))),
    "10.1": (
        lambda scores, temperature: softmax(np.array(scores) / temperature),
        lambda scores, temperature: softmax(np.array(scores)) / temperature,
    ),
    "10.2": (nucleus, lambda chances, p: [place for place, chance in enumerate(chances) if chance > p]),
    "10.3": (45, 90),
    "11.1": (1.76, 0.44),
    "11.2": (
        lambda cost, behind, allowed: min((name for name in cost if behind[name] <= allowed), key=cost.get),
        lambda cost, behind, allowed: min(cost, key=cost.get),
    ),
    "12.1": (
        lambda of_client, of_all: of_client < 10 and of_all < 200,
        lambda of_client, of_all: of_client < 10,
    ),
    "12.2": (422, 401),
    "12.3": (2048, 64.0**32),
}


@pytest.fixture(autouse=True)
def english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABKIT_LANGUAGE", "en")


def test_every_exercise_has_its_answers_here() -> None:
    assert list(ANSWERS) == list(EXERCISES)


@pytest.mark.parametrize("name", EXERCISES)
def test_a_right_answer_passes_and_a_wrong_one_does_not(name: str) -> None:
    right, wrong = ANSWERS[name]
    verdict = lk.check(name, right)
    assert verdict and verdict.right is True and repr(verdict) == f"{name}: correct ✓"
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


@pytest.mark.parametrize("name", [name for name in EXERCISES if callable(ANSWERS[name][0])])
def test_a_function_that_does_nothing_waits_too(name: str) -> None:
    assert lk.check(name, lambda *arguments: ...).right is None
    assert lk.check(name, lambda *arguments: None).right is None


def test_hints_are_in_the_language_of_the_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABKIT_LANGUAGE", "zh")
    right, wrong = ANSWERS["00.1"]
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
    assert equals("b")("b") == "" and equals("b")("c") == "'c'." and equals(("a", 1))(["a", 1]) == "['a', 1]."
    assert equals(True)(np.bool_(True)) == "" and equals(True)(1) == "1."
    assert equals(3)("x" * 99) == f"{('x' * 99)!r:.59}…."
    half = computes(((4,), 2), ((3,), 1.5))
    assert half(lambda x: x / 2) == "" and half(3) == "3 is not a function."
    assert half(lambda x: x // 2) == "<lambda>(3) returns 1, expected 1.5."
    assert half(lambda x: x / 0) == "<lambda>(4) raises ZeroDivisionError: division by zero."
    small = holds(lambda answer: answer.size < 3, "too large.")
    assert small(np.zeros(2)) == "" and small(np.zeros(3)) == "too large."
    assert small(3).startswith("3 cannot be inspected (AttributeError: ")


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
