"""Answers are moved to their letters and checked when they are loaded, by row number."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st

import labkit as lk
from labkit.core.errors import ConfigError, DataError
from labkit.data.answers import REPEATED, answers_of
from labkit.data.batching.qa_windows import windows
from labkit.data.text.tokenizer import Tokenizer

PAIR = {"text": ("question", "context"), "label": False}
UNSEEN = ["", " ", "\n", "\t", "\u00a0", "\u3000", "\u200b", "\ufeff", "\u202a", " \u200b\n"]


@pytest.mark.parametrize(("before", "after"), itertools.product(UNSEEN, UNSEEN[:8]))
def test_an_answer_is_moved_to_its_letters(before, after):
    context = f"it was{before}Ada{after}who wrote it"
    row = {"question": "who?", "context": context, "answer": f"{before}Ada{after}", "answer_start": 6}
    rows = lk.load([row, row | {"answer": "Ada", "answer_start": 6 + len(before)}], **PAIR)
    texts, spans = answers_of(rows["train"])
    assert texts == [["Ada"]] * 2 and spans == [(6 + len(before), 9 + len(before))] * 2
    moved = rows.report.of("repaired").get("answer start corrected to the nearest match", [])
    assert [(note.row, note.column) for note in moved] == ([(0, "answer")] if before or after else [])


def test_a_start_at_the_blank_before_an_answer_is_moved_too():
    for start in (2, 3):  # of the blank, of the letters
        for text in (" Ada", "Ada", "Ada "):
            row = {
                "question": "who?",
                "context": "by Ada in",
                "answers": {"text": [text], "answer_start": [start]},
            }
            assert answers_of(lk.load([row], **PAIR)["train"]) == ([["Ada"]], [(3, 6)])


@pytest.mark.parametrize(
    ("answers", "refused"),
    [
        ({"text": ["Ada"], "answer_start": [1]}, "answer text does not match its position in the paragraph"),
        ({"text": ["Ada"], "answer_start": [-1]}, "answer text does not match its position in the paragraph"),
        ({"text": ["Ada"], "answer_start": [99]}, "answer text does not match its position in the paragraph"),
        ({"text": ["ada"], "answer_start": [3]}, "answer text does not match its position in the paragraph"),
        ({"text": ["Ada"], "answer_start": []}, "answer is not in the paragraph, or has no start position"),
        (
            {"text": ["Ada"], "answer_start": [None]},
            "answer is not in the paragraph, or has no start position",
        ),
    ],
)
def test_a_wrong_answer_is_refused_by_row(answers, refused):
    right = {"question": "who?", "context": "by Ada in", "answers": {"text": ["Ada"], "answer_start": [3]}}
    data = [right, right | {"answers": answers}, right]
    with pytest.raises(DataError, match=rf"1 of 3 rows are unusable:\n  {refused} \(1\): row 1"):
        lk.load(data, **PAIR)
    assert lk.load(data, **PAIR, on_bad="skip")["train"]["row"][:] == [0, 2]


def test_no_answer_contradicted_by_the_flag_is_refused():
    row = {
        "question": "who?",
        "context": "by Ada",
        "answers": {"text": [], "answer_start": []},
        "is_impossible": False,
    }
    with pytest.raises(DataError, match=r"no answer although is_impossible is false \(1\): row 0"):
        lk.load([row], **PAIR)


def test_answers_come_from_tables_and_lists_of_answers(tmp_path):
    frame = pd.DataFrame({
        "question": ["who?"] * 3, "context": ["by Ada in", "by Ada in", "of old"], "answer": ["Ada", "Ada ", None],
        "answer_start": [3, 3, None], "is_impossible": [False, False, True],
    })  # fmt: skip
    frame.to_csv(tmp_path / "qa.csv", index=False)
    squad = [
        {"question": "who?", "context": "by Ada in", "answers": [{"text": "Ada", "answer_start": 3}] * times}
        for times in (1, 2, 0)
    ]
    for source in (frame, str(tmp_path / "qa.csv"), squad, Dataset.from_list(squad)):
        texts, spans = answers_of(lk.load(source, **PAIR)["train"])
        assert spans == [(3, 6), (3, 6), None] and [text[:1] for text in texts] == [["Ada"], ["Ada"], []]


def test_texts_alone_in_a_column_called_answers_are_no_answers():
    rows = [
        {"question": "who?", "context": "by Ada in", "answers": ["Ada"], "answer": "Ada", "answer_start": 3}
    ]
    assert answers_of(lk.load(rows, **PAIR)["train"])[1] == [(3, 6)]
    rows = [{"question": "who?", "context": "by Ada in", "answers": "Ada"}]
    with pytest.raises(DataError, match="columns 'answer' and 'answer_start', or 'answers' as in SQuAD"):
        answers_of(lk.load(rows, **PAIR)["train"])


def test_rows_meant_for_something_else_are_left_alone():
    rows = [
        {"a": f"text {i}", "b": "by Ada", "answer": "x", "answer_start": 5, "label": str(i % 2)}
        for i in range(6)
    ]
    assert lk.load(rows, text=("a", "b"), label="label").report.counts() == {}
    assert len(lk.load([{"text": "by Ada", "answer": "x", "answer_start": 5}], label=False)) == 1


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train(["anna does live in the old mill at the river cafe ."] * 4, vocab_size=100)


@given(st.integers(0, 40), st.integers(1, 9), st.integers(0, 6))
def test_no_answer_is_lost_between_windows(tokenizer, begin, length, stride):
    words = ["anna", "does", "live", "in", "the", "old", "mill", "at", "river"] * 6
    text, answer = " ".join(words), " ".join(words[begin : begin + length])
    start = len(" ".join(words[:begin])) + bool(begin)
    made = windows(["where ?"], [text], tokenizer, 24, stride, [(start, start + len(answer))])
    (found,) = {
        text[made.spans[a + s, 0] : made.spans[a + e, 1]]
        for a, s, e in zip(made.tokens.offsets, made.start, made.end, strict=False)
        if s
    }
    assert found == answer and set(made.label) == {0}


def test_accents_that_the_tokenizer_drops_lose_no_answer(tokenizer):
    text = "at the cafe\u0301 ."
    made = windows(["where ?"], [text], tokenizer, 32, 2, [(7, 12)])
    assert made.start[0] == made.first[0] + 2 and made.end[0] >= made.start[0] > 0


def test_questions_without_an_answer_are_marked(tokenizer):
    made = windows(["where ?"] * 2, ["the old mill"] * 2, tokenizer, 32, 2, [None, (4, 7)])
    assert made.label.tolist() == [1, 0] and made.start[0] == made.end[0] == 0 and made.start[1] > 0
    assert windows(["where ?"], ["the old mill"], tokenizer, 32, 2).label.tolist() == [0]


def test_an_answer_longer_than_a_window_is_refused(tokenizer):
    text = "the old mill " * 20
    with pytest.raises(
        ConfigError, match=r"example 0: the answer has \d+ tokens, but a window has room for only 19"
    ):
        windows(["where ?"], [text], tokenizer, 24, 2, [(0, 200)])
    assert np.all(windows(["where ?"], [text], tokenizer, 24, 2).label == 0)


QUESTIONS = [
    {"ask": "who ?", "about": "Ada ran .", "found": "Ada"},
    {"ask": "what ?", "about": "a cat and a cat", "found": " a cat "},
]


def test_the_answer_column_may_have_any_name_and_no_positions():
    rows = lk.load(QUESTIONS, text=("ask", "about"), answer="found")
    assert answers_of(rows["train"]) == ([["Ada"], ["a cat"]], [(0, 3), (0, 5)])
    assert [note.row for note in rows.report.of("counted")[REPEATED]] == [1]
    squad = [
        {"q": "who ?", "p": "Ada ran .", "given": {"text": ["ran"], "answer_start": [4]}, "answers": "other"}
    ]
    assert answers_of(lk.load(squad, text=("q", "p"), answer="given")["train"])[1] == [(4, 7)]
    saved = lk.load([*QUESTIONS, {**QUESTIONS[0], "found": "Eve"}], text=("ask", "about"), answer="found",
                    on_bad="skip")  # fmt: skip
    assert len(saved) == 2 and "not in the paragraph" in str(saved.report)


def test_an_answer_column_needs_a_question_and_a_paragraph_and_excludes_a_label():
    with pytest.raises(DataError, match="needs text="):
        lk.load(QUESTIONS, text="about", answer="found")
    with pytest.raises(DataError, match=r"no column 'fuond'\. Did you mean 'found'"):
        lk.load(QUESTIONS, text=("ask", "about"), answer="fuond")
    with pytest.raises(ConfigError, match="either answer = 'found' or label = 'ask'"):
        lk.load(QUESTIONS, text=("ask", "about"), answer="found", label="ask")
