"""Built questions: every template on a sentence made for it, answers that stand where they are said to."""

from __future__ import annotations

from collections import Counter

import pytest

import labkit as lk
from labkit.data.answers import answers_of
from labkit.hub.corpora import sentence
from labkit.hub.questions import built

FILLER = "The/at old/jj house/nn stood/vbd on/in a/at hill/nn and/cc looked/vbd over/in the/at quiet/jj valley/nn ./."
ASKED = {
    "Miss/np Ann/np Lee/np ran/vbd to/in the/at mill/nn ,/, alone/rb ./.": (
        "who", "Who ran to the mill?", "Miss Ann Lee",
    ),
    "He/pps saw/vbd 12/cd boats/nns on/in the/at lake/nn ./.": ("how many", "How many boats on the lake?", "12"),
    "The/at fair/nn was/bedz held/vbn in/in New/np-tl York/np-tl then/rb ./.": (
        "where", "Where was it that the fair was held?", "New York",
    ),
    "Soon/rb ,/, Mary/np was/bedz born/vbn in/in 1823/cd ./.": ("when", "When was it that Mary was born?", "1823"),
}  # fmt: skip
SILENT = [
    "Mary's/np$ hat/nn was/bedz red/jj all/abn over/rp ./.",  # of somebody
    "Friday/nr came/vbd and/cc went/vbd like/in others/nns ./.",  # no name
    "Two/cd thousand/cd boats/nns sailed/vbd away/rb ./.",  # a number of two words
    "It/pps was/bedz in/in Rome/np ./.",  # too little before it
    "Ann/np ran/vbd ./.",  # too little after it
]


def rows(*tagged: str, paragraph: int = 1) -> list[dict]:
    return [
        {"text": sentence(word.rpartition("/")[0] for word in line.split()), "tagged": line, "label": "news",
         "document": "ca01", "paragraph": paragraph}
        for line in tagged
    ]  # fmt: skip


@pytest.mark.parametrize("line", ASKED)
def test_every_template_asks_for_what_it_is_for(line):
    (found,) = built(rows(FILLER, FILLER, line, FILLER))
    assert (found["asks"], found["text"], found["answer"]) == ASKED[line]
    start = found["answer_start"]
    assert found["text_pair"][start : start + len(found["answer"])] == found["answer"]
    assert (
        found["text_pair"].startswith("The old house")
        and found["document"] == "ca01"
        and found["paragraph"] == 1
    )


@pytest.mark.parametrize("line", SILENT)
def test_what_would_be_no_question_is_not_asked(line):
    assert built(rows(FILLER, FILLER, line)) == []


def test_a_kind_is_asked_once_a_paragraph_and_short_or_long_ones_not_at_all():
    one, *_ = ASKED
    assert len(built(rows(one, FILLER, FILLER, one))) == 1
    assert built(rows(one, FILLER)) == built(rows(one, *[FILLER] * 12)) == []
    twice = built([*rows(one, FILLER, FILLER), *rows(one, FILLER, FILLER, paragraph=2)])
    assert [row["row"] for row in twice] == [0, 1] and [row["paragraph"] for row in twice] == [1, 2]


@pytest.mark.samples
def test_the_real_corpus_gives_questions_that_can_be_learnt():
    asked = lk.load("brown", questions=True)
    data = asked["train"]
    assert asked.spec.pairs and len(data) > 2000 and min(Counter(data["asks"]).values()) > 50
    truths, spans = answers_of(data)  # raises where an answer does not stand where it is said to
    assert all(truth[0].strip() == truth[0] != "" for truth in truths)
    assert all(end - begin == len(truth[0]) for truth, (begin, end) in zip(truths, spans, strict=True))
