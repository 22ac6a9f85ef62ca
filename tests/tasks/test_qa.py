"""Questions: windows hold every token and the answer where it is; spans; SQuAD's rules; and a model that answers."""

from __future__ import annotations

import itertools

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import labkit as lk
from labkit.base.errors import ConfigError, DataError
from labkit.data.spans import WindowBatches, answers_of, windows
from labkit.data.text import Tokenizer
from labkit.tasks.qa import best_span, exact, normalised, overlap

NAMES = ["anna", "berta", "carl", "dora", "emil", "frida", "georg", "hanna"]
PLACES = ["the old mill", "a small harbour", "rome", "the north gate", "paris", "a red house", "kyoto", "the last inn"]


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train([" ".join([*NAMES, *PLACES, "where does live . ?"])] * 4, vocab_size=200)


def paragraph(random, count):
    people = random.choice(len(NAMES), count, replace=False)
    homes = random.choice(len(PLACES), count, replace=False)
    lines = [f"{NAMES[who]} does live in {PLACES[where]} ." for who, where in zip(people, homes, strict=True)]
    asked = int(random.integers(count))
    text = " ".join(lines)
    begin = len(" ".join(lines[:asked])) + bool(asked) + len(f"{NAMES[people[asked]]} does live in ")
    return f"where does {NAMES[people[asked]]} live ?", text, PLACES[homes[asked]], begin


@given(st.integers(0, 10**6), st.integers(1, 6), st.integers(0, 4))
def test_windows_cover_the_paragraph_and_mark_the_answer(tokenizer, seed, count, stride):
    question, text, answer, begin = paragraph(np.random.default_rng(seed), count)
    made = windows([question], [text], tokenizer, 32, stride, [(begin, begin + len(answer))])
    pieces = tokenizer.pieces(text)
    seen, last, whole = [], 0, False
    for number in range(len(made)):
        a, b = made.tokens.offsets[number : number + 2]
        ids, types, first = made.tokens.ids[a:b], made.tokens.types[a:b], int(made.first[number])
        assert b - a <= 32 and ids[0] == tokenizer.cls_id and ids[first - 1] == ids[-1] == tokenizer.sep_id
        np.testing.assert_array_equal(types, np.arange(b - a) >= first)
        chars = made.spans[a + first : b - 1]
        place = next(i for i, (_, _, where) in enumerate(pieces) if list(where) == chars[0].tolist())
        assert ids[first:-1].tolist() == [number for _, number, _ in pieces[place : place + len(chars)]]
        assert not number or last - place == stride
        last = place + len(chars)
        seen += range(place, last)
        start, end = int(made.start[number]), int(made.end[number])
        if start:
            whole = True
            assert text[made.spans[a + start, 0] : made.spans[a + end, 1]] == answer
        else:
            assert end == 0 and not (chars[0, 0] <= begin and begin + len(answer) <= chars[-1, 1])
    assert sorted(set(seen)) == list(range(len(pieces)))
    assert whole or stride < len(tokenizer.pieces(answer)) - 1


def test_batches_carry_where_the_answer_is(tokenizer):
    random = np.random.default_rng(0)
    questions, texts, answers, begins = zip(*(paragraph(random, 2) for _ in range(5)), strict=True)
    spans = [(b, b + len(a)) for a, b in zip(answers, begins, strict=True)]
    made = windows(questions, texts, tokenizer, 64, 8, spans)
    (batch, *_) = WindowBatches(made, 8, (64,))
    for place, number in enumerate(batch["index"]):
        expected = (made.start[number], made.end[number], made.first[number]) if number >= 0 else (0, 0, 0)
        assert (batch["start"][place], batch["end"][place], batch["first"][place]) == expected


def test_the_best_span_is_that_of_trying_all():
    random = np.random.default_rng(1)
    begins, ends = random.normal(size=(2, 6, 9)).astype(np.float32)
    found = best_span(jnp.asarray(begins), jnp.asarray(ends), 3)
    for row in range(6):
        all_of = [
            (begins[row, i] + ends[row, j], i, j) for i, j in itertools.product(range(1, 9), repeat=2) if 0 <= j - i < 3
        ]
        score, start, end = max(all_of)
        assert (int(found.start[row]), int(found.end[row])) == (start, end)
        assert float(found.score[row]) == pytest.approx(score, rel=1e-5)


def test_answers_are_compared_by_the_published_rules():
    assert normalised("The  Cat's, an  A-Team!") == "cats ateam"
    assert exact("the Eiffel tower.", ["Paris", "Eiffel Tower"]) == 1 and exact("tower", ["Eiffel Tower"]) == 0
    assert overlap("in the old mill", ["old mill"]) == pytest.approx(0.8)
    assert overlap("mill mill", ["old mill", "mill"]) == pytest.approx(2 / 3)
    assert exact("", [""]) == overlap("", [""]) == 1 and exact("x", [""]) == overlap("x", [""]) == 0  # unanswerable
    assert exact("x", []) == overlap("x", []) == 0
    assert (
        exact("B-52's", ["the b52s"]) == 1 and exact("an answer", ["answer", "x"]) == 1 and normalised("another") != ""
    )
    assert overlap("the", ["a"]) == 1 and overlap("", ["mill"]) == 0 and overlap("x", ["mill"]) == 0


def test_answers_that_do_not_stand_there_are_said():
    rows = lk.load(
        [{"q": "who", "c": "anna lives", "answer": "anna", "answer_start": 1}] * 2, text=("q", "c"), label=False
    )
    with pytest.raises(DataError, match="example 0: the answer, 'anna' at character 1, does not stand there"):
        answers_of(rows["train"])
    with pytest.raises(DataError, match="columns 'answer' and 'answer_start', or 'answers' as in SQuAD"):
        answers_of(rows["train"].remove_columns(["answer"]))
    with pytest.raises(ConfigError, match="max_length = 32 has no room for stride = 13 tokens"):
        windows(["a"], ["b"], Tokenizer.train(["a b"], vocab_size=40, min_frequency=1), 32, 13)


def test_a_model_learns_to_answer(tmp_path):
    random = np.random.default_rng(3)
    rows = []
    for _ in range(300):
        question, text, answer, begin = paragraph(random, 1)
        rows.append({"question": question, "context": text, "answer": answer, "answer_start": begin})
    data = lk.load(rows, text=("question", "context"), label=False)
    model = lk.models["bert"](
        preset="tiny", depth=1, width=32, heads=2, mlp_width=64, dropout=0.0, attention_dropout=0.0, max_length=64
    )
    run = lk.fit(
        data, model, task="qa", folder=tmp_path, background=False, epochs=6, batch_size=16, learning_rate=5e-3,
        max_length=64, stride=8, vocabulary=200, accept_leakage=True,
    )  # fmt: skip
    scores = run.evaluate("test")
    assert scores["exact"] > 0.6 and scores["f1"] >= scores["exact"] and 0 < scores["loss"] < 2
    (found,) = run.answer(["where does anna live ?"], ["anna does live in rome ."])
    assert "anna does live in rome ."[found.start : found.end] == found.text
    assert run.answer([], []) == []
