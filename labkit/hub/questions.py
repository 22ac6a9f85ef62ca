"""Generated question-answering data: templates over the part-of-speech tags of the Brown corpus.

=========== ================================== ======================================================================
asks for    where the sentence has             and becomes
=========== ================================== ======================================================================
who         a name at its beginning, a verb    "Who" and what follows
how many    a number, a noun in the plural     "How many", the noun and what follows
where       "in" or "at" and a name            "Where was it that" and what comes before
when        "in" or "since" and a year         "When was it that" and what comes before
=========== ================================== ======================================================================

 Nobody has checked that a question reads well or has one answer only; they are for learning and for tests, as
SQuAD's are not to be had without a network.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from labkit.hub.corpora import sentence

#: Words of a paragraph that is asked about, and of what stands in a question beside its template.
PARAGRAPH, CONTEXT = (30, 160), (3, 14)
_VERBS = ("vbd", "vbz", "bedz", "bez", "hvd", "hvz", "dod", "md")  # said, says, was, is, had, has, did, would
_JOINS = frozenset(
    [
        "and",
        "but",
        "or",
        "nor",
        "that",
        "which",
        "who",
        "whom",
        "whose",
        "where",
        "when",
        "while",
        "because",
        "if",
        "as",
        "than",
    ]
)
_PLACES, _TIMES = ("in", "at"), ("in", "since")
_YEAR = re.compile(r"1[4-9]\d\d")
_ENDS = {".", ";", ":", "?", "!", "--"}
_MONTHS = frozenset(
    [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
        "Monday",
        "Tuesday",
        "Wednesday",
        "Thursday",
        "Friday",
        "Saturday",
        "Sunday",
    ]
)


@dataclass(frozen=True)
class Asked:
    """A question, and which words of its sentence answer it: ``begin`` … ``end``."""

    kind: str
    question: str
    begin: int
    end: int


def built(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Questions on the paragraphs of sentences as :func:`labkit.hub.corpora.brown` gives them.

    Returns:
        ``text``: the question; ``text_pair``: the paragraph; ``answer`` and ``answer_start`` (characters);
        ``asks``: "who", "how many", "where" or "when"; ``label``, ``document`` and ``paragraph`` of the
        paragraph. At most one question per sentence, and one of each type per paragraph.
    """
    made: list[dict[str, Any]] = []
    for (document, number), group in itertools.groupby(
        rows, key=lambda row: (row["document"], row["paragraph"])
    ):
        sentences = list(group)
        text = " ".join(row["text"] for row in sentences)
        if not PARAGRAPH[0] <= len(text.split()) <= PARAGRAPH[1]:
            continue
        begin, kinds = 0, set[str]()
        for row in sentences:
            words, tags = _words(row["tagged"])
            one = next((asked for asked in _questions(words, tags) if asked.kind not in kinds), None)
            if one is not None:
                kinds.add(one.kind)
                start, end = len(sentence(words[: one.begin])), len(sentence(words[: one.end]))
                start += row["text"][start:end].startswith(" ")
                known = {"label": row["label"], "document": document, "paragraph": number}
                answer = {"answer": row["text"][start:end], "answer_start": begin + start, "asks": one.kind}
                made.append({"row": len(made), "text": one.question, "text_pair": text, **answer, **known})
            begin += len(row["text"]) + 1
    return made


def _words(tagged: str) -> tuple[list[str], list[str]]:
    """Words and their tags, these in lower case without what says that they stand in a title or a headline."""
    pairs = [word.rpartition("/") for word in tagged.split()]
    return [word for word, _, _ in pairs], [tag.lower() for _, _, tag in pairs]


def _questions(words: list[str], tags: list[str]) -> Iterator[Asked]:
    """All questions on a sentence, the rarer kinds first."""
    kind = [tag.split("-")[0].rstrip("*") for tag in tags]
    places = range(1, len(words))
    for place in places:
        year = kind[place] == "cd" and _YEAR.fullmatch(words[place]) and words[place - 1].lower() in _TIMES
        if year and (said := _before(words, kind, place - 1)):
            yield Asked("when", f"When was it that {said}?", place, place + 1)
    for place in places:
        counted = (
            kind[place - 1] == "cd"
            and kind[place] == "nns"
            and "cd" not in kind[max(place - 2, 0) : place - 1]
        )
        if counted and (said := _after(words, place + 1)):
            yield Asked("how many", f"How many {words[place]} {said}?", place - 1, place)
    for place in places:
        end = _name(words, tags, place)
        there = end > place and words[place - 1].lower() in _PLACES and words[place] not in _MONTHS
        if there and (said := _before(words, kind, place - 1)):
            yield Asked("where", f"Where was it that {said}?", place, end)
    end = _name(words, tags, 0)
    if (
        end
        and end < len(words)
        and kind[end] in _VERBS
        and words[0] not in _MONTHS
        and (said := _after(words, end))
    ):
        yield Asked("who", f"Who {said}?", 0, end)


def _name(words: list[str], tags: list[str], place: int) -> int:
    """Where the name that begins at ``place`` ends; ``place`` itself where none does."""
    end = place
    while end < len(words) and words[end][0].isupper() and (tags[end].startswith("np") or "-tl" in tags[end]):
        end += 1
        if "$" in tags[end - 1]:  # of somebody: what it belongs to is another thing
            return place
    return end if any(tag.startswith("np") for tag in tags[place:end]) else place


def _before(words: list[str], kind: list[str], end: int) -> str:
    """What a sentence says up to ``end``; "" where that is short or long, or has no subject before a verb."""
    begin = max((place + 1 for place in range(end) if words[place] in {*_ENDS, ",", "``", "''"}), default=0)
    verb = next((place for place in range(begin, end) if kind[place] in _VERBS), begin)
    return _said(words[begin:end]) if verb > begin and words[begin].lower() not in _JOINS else ""


def _after(words: list[str], begin: int) -> str:
    """What a sentence says from ``begin`` to the next mark."""
    marks = (
        place for place in range(begin, len(words)) if words[place] in {*_ENDS, ",", "``", "''", "(", ")"}
    )
    return _said(words[begin : next(marks, len(words))])


def _said(words: list[str]) -> str:
    """The words as a part of a question: beginning in lower case unless with a name."""
    if not CONTEXT[0] <= len(words) <= CONTEXT[1]:
        return ""
    first = words[0]
    lower = (
        first.lower()
        if first in ("The", "A", "An", "It", "He", "She", "They", "This", "That", "In")
        else first
    )
    return sentence([lower, *words[1:]])
