"""Goals of the step Data: which fits a table, and which columns it needs."""

from __future__ import annotations

import pytest

from labkit.app.goals import GOALS, Chosen, for_goal, guess, of_options
from labkit.tasks import tasks

TEXTS = [f"this is the text of row {number}" for number in range(40)]
OTHERS = [f"another sentence about thing {number}" for number in range(40)]
MANY = [str(1000 + 7 * number) for number in range(40)]
KINDS = ["good", "bad"] * 20

TABLES = {
    "a text and a class": (
        {"id": MANY, "body": TEXTS, "sentiment": KINDS},
        Chosen("classify", "body", label="sentiment")),
    "a class without a usual name": ({"words": TEXTS, "verdict": KINDS}, Chosen("classify", "words", label="verdict")),
    "a Chinese table": ({"评论": ["很好的电影", "不好看的一部"] * 20, "情感": KINDS},
                        Chosen("classify", "评论", label="情感")),
    "several labels": ({"text": TEXTS, "topics": ["a;b", "b", "c;a", "c"] * 10},
                       Chosen("labels", "text", label="topics", separator=";")),
    "lists of labels": ({"text": TEXTS, "label": [["a", "b"], ["c"]] * 20}, Chosen("labels", "text", label="label")),
    "a number named as such": ({"text": TEXTS, "price_eur": MANY}, Chosen("number", "text", label="price_eur")),
    "a table and a price": ({"area": MANY, "price": MANY, "lift": ["0", "1"] * 20},
                            Chosen("number", label="price", features=True)),
    "a table and its last column": ({"area": MANY, "rooms": MANY, "kind": KINDS},
                                    Chosen("classify", label="kind", features=True)),
    "pairs": ({"id": MANY, "question1": TEXTS, "question2": OTHERS, "is_duplicate": ["0", "1"] * 20},
              Chosen("compare", "question1", "question2", "is_duplicate")),
    "questions": ({"question": TEXTS, "context": OTHERS, "answer": MANY},
                  Chosen("answer", "question", "context", answer="answer")),
    "translations": ({"en": TEXTS, "zh": [f"你好世界{number}" for number in range(40)]},
                     Chosen("translate", "en", "zh", False)),
    "prompts": ({"prompt": TEXTS, "response": OTHERS}, Chosen("instruct", "prompt", "response", False)),
    "conversations": ({"messages": [[{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]] * 40},
                      Chosen("instruct", label=False, messages="messages")),
    "interactions": ({"user_id": KINDS, "movie": MANY, "title": TEXTS, "rating": MANY, "timestamp": MANY},
                     Chosen("recommend", label=False, user="user_id", item="movie", time="timestamp", titles="title")),
    "only a text": ({"text": TEXTS}, Chosen("generate", "text", label=False)),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLES)
def test_the_goal_that_fits_a_table(name):
    columns, expected = TABLES[name]
    found = guess(columns)
    assert found == expected
    if found.goal != "labels" or found.separator:
        assert of_options(found.options(), found.task(bool(found.label))).options() == found.options()


@pytest.mark.parametrize("goal", GOALS)
def test_every_goal_has_a_task_and_chooses_columns_of_any_table(goal):
    assert GOALS[goal][1] in tasks
    for columns, _ in TABLES.values():
        chosen = for_goal(goal, columns)
        assert chosen.goal == goal
        assert {chosen.text, chosen.pair, chosen.answer} <= {"", *columns}
        assert chosen.label in ("", False, *columns) and (not chosen.text or chosen.text != chosen.label)


def test_columns_that_a_person_chose_stay_where_they_fit():
    columns = {"a": TEXTS, "b": OTHERS, "kind": KINDS, "price": MANY}
    before = Chosen("classify", "b", label="price")
    assert for_goal("number", columns, before) == Chosen("number", "b", label="price")
    assert for_goal("number", columns, Chosen("classify", "b", label="kind")).label == "price"
