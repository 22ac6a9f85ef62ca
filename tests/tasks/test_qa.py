"""Questions: windows hold every token and the answer where it is; spans; SQuAD's rules; and a model that answers."""

from __future__ import annotations

import itertools
import re
import string

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import labkit as lk
from labkit.core.errors import ConfigError, DataError
from labkit.data.answers import answers_of
from labkit.data.batching.qa_windows import WindowBatches, windows
from labkit.data.model_input import texts_of
from labkit.data.text.tokenizer import Tokenizer
from labkit.inference.question_answering import QuestionAnsweringPipeline
from labkit.tasks.qa import best_span, best_threshold, exact, normalised, overlap, right_answers

NAMES = ["anna", "berta", "carl", "dora", "emil", "frida", "georg", "hanna"]
PLACES = [
    "the old mill",
    "a small harbour",
    "rome",
    "the north gate",
    "paris",
    "a red house",
    "kyoto",
    "the last inn",
]


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
        assert not number or last - place == stride or (number == len(made) - 1 and last - place > stride)
        last = place + len(chars)
        seen += range(place, last)
        start, end = int(made.start[number]), int(made.end[number])
        if start:
            whole = True
            assert text[made.spans[a + start, 0] : made.spans[a + end, 1]] == answer
        else:
            assert end == 0 and not (chars[0, 0] <= begin and begin + len(answer) <= chars[-1, 1])
    assert sorted(set(seen)) == list(range(len(pieces)))
    assert whole  # an answer that all windows of the stride cut has one of its own


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
            (begins[row, i] + ends[row, j], i, j)
            for i, j in itertools.product(range(1, 9), repeat=2)
            if 0 <= j - i < 3
        ]
        score, start, end = max(all_of)
        assert (int(found.start[row]), int(found.end[row])) == (start, end)
        assert float(found.score[row]) == pytest.approx(score, rel=1e-5)


def test_answers_are_compared_by_the_published_rules():
    assert normalised("The  Cat's, an  A-Team!") == "cats ateam"
    assert (
        exact("the Eiffel tower.", ["Paris", "Eiffel Tower"]) == 1 and exact("tower", ["Eiffel Tower"]) == 0
    )
    assert overlap("in the old mill", ["old mill"]) == pytest.approx(0.8)
    assert overlap("mill mill", ["old mill", "mill"]) == pytest.approx(2 / 3)
    assert (
        exact("", [""]) == overlap("", [""]) == 1 and exact("x", [""]) == overlap("x", [""]) == 0
    )  # unanswerable
    assert exact("x", []) == overlap("x", []) == 0
    assert (
        exact("B-52's", ["the b52s"]) == 1
        and exact("an answer", ["answer", "x"]) == 1
        and normalised("another") != ""
    )
    assert overlap("the", ["a"]) == 1 and overlap("", ["mill"]) == 0 and overlap("x", ["mill"]) == 0


def squad_normalize_answer(text):
    """As in the evaluation script of SQuAD 2.0, written anew from its description."""
    lower = text.lower()
    bare = "".join(char for char in lower if char not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", bare).split())


def squad_scores(answer, truths):
    """Exact match and F1 of one question by that script."""
    golds = [truth for truth in truths if squad_normalize_answer(truth)] or [""]

    def f1(gold):
        ours, theirs = squad_normalize_answer(answer).split(), squad_normalize_answer(gold).split()
        if not ours or not theirs:
            return float(ours == theirs)
        left, common = list(theirs), 0
        for word in ours:
            if word in left:
                left.remove(word)
                common += 1
        if not common:
            return 0.0
        precision, recall = common / len(ours), common / len(theirs)
        return 2 * precision * recall / (precision + recall)

    return max(float(squad_normalize_answer(answer) == squad_normalize_answer(gold)) for gold in golds), max(
        map(f1, golds)
    )


said = st.lists(
    st.sampled_from(["the", "A", "an", "mill", "Old", "mill.", "U.S.", "it's", "b-52", "$5", "_"])
).map(" ".join)


@given(said, st.lists(said, max_size=3))
def test_english_scores_are_those_of_the_script_of_squad(answer, truths):
    wanted = squad_scores(answer, truths)
    found = right_answers(truths)
    assert (exact(answer, found), overlap(answer, found)) == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("answer", "truth", "f1"),
    [
        ("北京大学", "北京大学校", 8 / 9),
        ("北京大学。", "北京大学", 1.0),
        ("北京 大学", "北京大学", 1.0),
        ("とうきょうタワー", "東京タワー", 2 * 3 / 13),
        ("東京ﾀﾜｰ", "東京タワー", 1.0),
        ("กรุงเทพ", "กรุงเทพมหานคร", 14 / 20),
        ("ພາສາ", "ພາ", 2 / 3),
        ("ភាសា", "ភា", 2 / 3),
        ("မြန်မာ", "မာ", 2 * 2 / 8),
        ("“Ada”", "Ada", 1.0),
        ("«Ada»…", "ada", 1.0),
        ("１９９９", "1999", 1.0),
        ("cafe\u0301", "café", 1.0),
        ("Straße", "STRASSE", 1.0),
        ("서울 대학교", "서울 대학", 0.5),
        ("the 1999年", "1999年", 1.0),
        ("\u200bAda\ufeff", "Ada", 1.0),
        ("Москва́", "москва́", 1.0),
    ],
)
def test_answers_are_compared_in_every_script(answer, truth, f1):
    assert overlap(answer, [truth]) == pytest.approx(f1)
    assert exact(answer, [truth]) == float(f1 == 1)


def test_answers_that_do_not_stand_there_are_said():
    data = [{"q": "who", "c": "anna lives", "answer": "anna", "answer_start": 0}] * 2
    data.append(data[0] | {"answer_start": 1})
    with pytest.raises(
        DataError, match=r"does not match its position in the paragraph \(1\): row 2 of train \('anna' at"
    ):
        lk.load(data, text=("q", "c"), label=False)
    rows = lk.load(data, text=("q", "c"), label="answer")  # they may be meant for something else
    with pytest.raises(DataError, match="columns 'answer' and 'answer_start', or 'answers' as in SQuAD"):
        answers_of(rows["train"])
    moved = lk.load(data[:2], text=("q", "c"), label=False)["train"].map(lambda row: {"answer_start": 3})
    with pytest.raises(
        DataError, match=r"2 of 2 answers are unusable: row 0 \(answer text does not match its position .* 3"
    ):
        answers_of(moved)
    with pytest.raises(ConfigError, match="stride = 13 is too large for max_length = 32"):
        windows(["a"], ["b"], Tokenizer.train(["a b"], vocab_size=40, min_frequency=1), 32, 13)


def small():
    return lk.models["bert"](
        preset="tiny",
        depth=1,
        width=32,
        heads=2,
        mlp_width=64,
        dropout=0.0,
        attention_dropout=0.0,
        max_length=64,
    )


def none_as(form):
    """The columns of a row without an answer, in one of the forms in use."""
    return {
        "empty lists": {"answers": {"text": [], "answer_start": []}},
        "none": {"answers": None},
        "empty text": {"answers": {"text": [""], "answer_start": [0]}},
        "start -1": {"answers": {"text": [""], "answer_start": [-1]}},
        "flag": {"answers": {"text": ["plausible"], "answer_start": [0]}, "is_impossible": True},
        "missing": {},
    }[form]


def with_answers(form, count):
    """Questions of which half ask for a year, which no paragraph names."""
    random, rows = np.random.default_rng(3), []
    for number in range(count):
        question, text, answer, begin = paragraph(random, 1)
        row = {"question": question, "context": text}
        if number % 2:
            rows.append(row | {"question": question.replace("where", "when")} | none_as(form))
        elif form == "missing":
            rows.append(row | {"answer": answer, "answer_start": begin})
        else:
            known = {"is_impossible": False} if form == "flag" else {}
            rows.append(row | {"answers": {"text": [answer], "answer_start": [begin]}} | known)
    return rows


FORMS = ("empty lists", "none", "empty text", "start -1", "flag", "missing")


@pytest.mark.parametrize("form", FORMS)
def test_questions_without_answers_are_read_in_every_form(form):
    rows = lk.load(with_answers(form, 20), text=("question", "context"), label=False)
    texts, spans = answers_of(rows["train"])
    assert (
        [span is None for span in spans]
        == [not text for text in texts]
        == [number % 2 == 1 for number in range(20)]
    )
    reason = "answer of an unanswerable question dropped" if form == "flag" else "question without an answer"
    assert rows.report.counts() == {"counted": {reason: 10}}
    assert [note.row for note in rows.report.of("counted")[reason]] == list(range(1, 20, 2))


def squad_best(margins, f1, answerable):
    """``find_best_thresh`` of the evaluation script of SQuAD 2.0, written anew from its description: the greatest total
    F1, and how many questions are then answered."""
    total = greatest = sum(not has_answer for has_answer in answerable)
    count = 0
    for place, (_, score, has_answer) in enumerate(
        sorted(zip(margins, f1, answerable, strict=True)), start=1
    ):
        total += score if has_answer else -1
        if total > greatest:
            greatest, count = total, place
    return greatest, count


questions = st.tuples(st.integers(-9, 9).map(float), st.sampled_from([0.0, 0.5, 1.0]), st.booleans())


@given(st.lists(questions, min_size=1, unique_by=lambda row: row[0]))
def test_the_threshold_of_no_answer_gives_the_f1_that_the_script_of_squad_finds(rows):
    margins, f1, answerable = zip(*rows, strict=True)
    threshold = best_threshold(margins, f1, answerable)
    total = sum(
        score * has_answer if margin <= threshold else not has_answer
        for margin, score, has_answer in rows
    )  # fmt: skip
    assert (total, sum(margin <= threshold for margin in margins)) == squad_best(margins, f1, answerable)


@pytest.mark.parametrize(
    ("margins", "f1", "answerable", "threshold"),
    [
        ([-4.0, 2.0], [1.0, 0.0], [True, False], -1.0),  # half way
        ([-4.0, -2.0], [1.0, 1.0], [True, True], 0.0),
        ([-4.0, 2.0], [1.0, 1.0], [True, True], 2.0),
        ([4.0, 2.0], [0.0, 0.0], [False, False], 0.0),
        ([-4.0, 2.0], [0.0, 0.0], [False, False], -5.0),
        (
            [1.0, 1.0, 1.0, 0.0],
            [1.0, 1.0, 0.0, 0.5],
            [True, False, False, True],
            0.5,
        ),  # equal margins: together
    ],
)
def test_where_the_threshold_of_no_answer_lies(margins, f1, answerable, threshold):
    assert best_threshold(margins, f1, answerable) == threshold


def test_a_model_learns_that_there_is_no_answer(tmp_path):
    data = lk.load(with_answers("empty lists", 400), text=("question", "context"), label=False)
    run = lk.fit(
        data, small(), task="qa", folder=tmp_path, background=False, epochs=12, batch_size=16, learning_rate=5e-3,
        max_length=32, stride=8, vocabulary=200, accept_leakage=True,
    )  # fmt: skip
    scores, test = run.evaluate("test"), run.rows["test"]
    found, (truths, _) = run.answer(test["text"], test["text_pair"]), answers_of(test)
    each = [squad_scores(one.text, truth) for one, truth in zip(found, truths, strict=True)]
    groups = {"": each, "HasAns_": [one for one, truth in zip(each, truths, strict=True) if truth]}
    groups["NoAns_"] = [one for one, truth in zip(each, truths, strict=True) if not truth]
    for name, values in groups.items():
        assert (scores[f"{name}exact"], scores[f"{name}f1"]) == pytest.approx(np.mean(values, 0))
    assert scores["NoAns_exact"] > 0.7 and scores["HasAns_exact"] > 0.5 and "NoAns_f1" in scores.intervals
    # the threshold is that of the greatest F1 on the validation rows, of all that can be chosen
    validation = run.rows["validation"]
    asked, known = (validation["text"], validation["text_pair"]), answers_of(validation)[0]
    some, none = (run.answer(*asked, threshold=limit) for limit in (1e6, -1e6))
    margins = [nothing.score - best.score for best, nothing in zip(some, none, strict=True)]
    f1 = [
        [
            squad_scores(one.text, truth)[1]
            for one, truth in zip(run.answer(*asked, threshold=limit), known, strict=True)
        ]
        for limit in (*margins, -1e6)
    ]
    evaluated = run.evaluate("validation")
    assert evaluated["f1"] == pytest.approx(max(np.mean(f1, 1)))
    assert evaluated["no_answer_threshold"] == scores["no_answer_threshold"]
    (none,) = run.answer(["when does anna live ?"], ["anna does live in rome ."])
    assert (none.text, none.answered, none.start, none.end) == ("", False, 0, 0) and none.probability > 0.5
    (some,) = run.answer(["where does anna live ?"], ["anna does live in rome ."])
    assert some.answered and some.text == "rome"
    exported = QuestionAnsweringPipeline(run.export(tmp_path / "out"))
    assert exported.threshold == scores["no_answer_threshold"]
    assert f"by more than {exported.threshold:.6g}" in (tmp_path / "out" / "README.md").read_text()
    assert exported.answer(["when does anna live ?"], ["anna does live in rome ."]) == [none]
    assert exported.answer(["when does anna live ?"], ["anna does live in rome ."], threshold=1e4)[0].answered
    # of a long paragraph the least score of "no answer" counts: one window that holds the answer is enough
    long = " ".join(["anna does live in rome .", *["berta does live in kyoto ."] * 9])
    ours = exported.answer(["where does anna live ?"], [long], threshold=-1e4)[0]
    alone = [
        exported.answer(["where does anna live ?"], [part], threshold=-1e4)[0].score
        for part in window_texts(exported, "where does anna live ?", long)
    ]
    assert len(alone) > 1 and ours.score == pytest.approx(min(alone), rel=1e-4)


def window_texts(answerer, question, text):
    made = windows(
        [question], [text], answerer.tokenizer, answerer.max_length, answerer.experiment.task.stride
    )
    for begin, end, first in zip(made.tokens.offsets, made.tokens.offsets[1:], made.first, strict=False):
        yield text[made.spans[begin + first, 0] : made.spans[end - 2, 1]]


def test_a_question_or_a_paragraph_that_is_missing_is_named(tmp_path):
    with pytest.raises(DataError, match="paragraph 1 is missing"):
        texts_of(["a", None], "paragraph")
    with pytest.raises(DataError, match="question 0 is 3, a int; a string is needed"):
        texts_of([3], "question")
    with pytest.raises(DataError, match="question 1 is empty"):
        texts_of(["a", " "], "question", False)
    with pytest.raises(DataError, match="a list of texts is needed, one for each question, not a int"):
        texts_of(3, "question")


def test_a_model_learns_to_answer(tmp_path):
    random = np.random.default_rng(3)
    rows = []
    for _ in range(300):
        question, text, answer, begin = paragraph(random, 1)
        rows.append({"question": question, "context": text, "answer": answer, "answer_start": begin})
    data = lk.load(rows, text=("question", "context"), label=False)
    run = lk.fit(
        data, small(), task="qa", folder=tmp_path, background=False, epochs=6, batch_size=16, learning_rate=5e-3,
        max_length=64, stride=8, vocabulary=200, accept_leakage=True,
    )  # fmt: skip
    scores = run.evaluate("test")
    assert scores["exact"] > 0.6 and scores["f1"] >= scores["exact"] and 0 < scores["loss"] < 2
    (found,) = run.answer(["where does anna live ?"], ["anna does live in rome ."])
    assert "anna does live in rome ."[found.start : found.end] == found.text
    (none,) = run.answer(["when does anna live ?"], ["anna does live in rome ."])
    assert none.answered and "NoAns_f1" not in scores  # it was never shown a question without an answer
    assert run.answer([], []) == []
