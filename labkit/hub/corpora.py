"""Text corpora and translations among the samples, as rows in reading order."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

Note = tuple[int, str]
Found = tuple[list[dict[str, Any]], list[Note]]

#: Jane Austen's novels in the order in which they came out.
NOVELS = {
    "sense-and-sensibility": "Sense and Sensibility",
    "pride-and-prejudice": "Pride and Prejudice",
    "mansfield-park": "Mansfield Park",
    "emma": "Emma",
    "northanger-abbey": "Northanger Abbey",
    "persuasion": "Persuasion",
}
GENRES = (
    "news", "editorial", "reviews", "religion", "hobbies", "lore", "belles_lettres", "government", "learned",
    "fiction", "mystery", "science_fiction", "adventure", "romance", "humor",
)  # fmt: skip
_HEADING = re.compile(r"(chapter|volume) [ivxlc\d]+", re.IGNORECASE)
_END = re.compile(r"finis|the end|a note on the text", re.IGNORECASE)
_NO_SPACE_AFTER = {"``", "(", "[", "/"}
_NO_SPACE_BEFORE = {"''", ")", "]", ",", ".", ";", ":", "?", "!", "/"}
_DOUBLED = {",", ";", ":", "?", "!"}  # marks that the corpus writes twice


def novels(place: Path) -> Found:
    """A paragraph a row, its lines joined; columns ``label`` (the novel) and ``chapter``, counted through a
    novel."""
    rows, notes, row = [], list[Note](), 0
    for name, title in NOVELS.items():
        chapter, over = 0, False
        for block in re.split(
            r"\n(?:[ \t]*\n)+", (place / f"{name}.txt").read_text(encoding="utf-8").strip()
        ):
            text = " ".join(block.split())
            heading, over = _HEADING.fullmatch(text), over or bool(_END.fullmatch(text))
            chapter += heading is not None and heading[1].lower() == "chapter"
            if heading:
                notes.append((row, "heading"))
            elif over or not chapter:
                notes.append((row, "before the first chapter or after the last"))
            elif not any(map(str.isalnum, text)):
                notes.append((row, "no word in it"))
            else:
                rows.append({"row": row, "text": text, "label": title, "chapter": chapter})
            row += 1
    return rows, notes


def brown(place: Path) -> Found:
    """A sentence a row, as one would write it; columns ``document``, ``paragraph`` (from 1) and ``tagged``.

    ``tagged`` contains the sentence as in the corpus, ``word/tag`` with the tags of Francis and Kucera.
    """
    rows, document, genre, paragraph, apart = [], "", "", 0, True
    for line in (place / "brown.txt").read_text(encoding="ascii").splitlines():
        if line.startswith("#"):
            _, document, genre = line.split()
            paragraph, apart = 0, True
        elif words := line.split():
            paragraph, apart = paragraph + apart, False
            text = sentence(word.rpartition("/")[0] for word in words)
            known = {"document": document, "paragraph": paragraph, "tagged": " ".join(words)}
            rows.append({"row": len(rows), "text": text, "label": genre, **known})
        else:
            apart = True
    return rows, []


def sentence(words: Iterable[str]) -> str:
    """Words and marks of the Brown corpus as running text: no space before a comma, plain quotes, marks once.

    Their order stays that of the corpus, where a closing quote comes before the comma or the full stop.
    """
    text, before, space, inside = "", "", False, False
    for word in words:
        if (word == before and word in _DOUBLED) or (
            word == "." and text.endswith(".")
        ):  # "Jr." ends a sentence
            continue
        opens, closes = word in _NO_SPACE_AFTER, word in _NO_SPACE_BEFORE
        if word == "'":  # the first of two opens
            opens, closes, inside = not inside, inside, not inside
        shown = '"' if word == "``" else word.replace("''", '"')
        text += f" {shown}" if space and not closes else shown
        before, space = word, not opens
    return text


def phrases(place: Path) -> Found:
    """A phrase a row in English and Chinese; columns ``label`` (the program) and ``context`` ("menu", … or
    "").

    Untranslated entries and repeated pairs are dropped. Where English has a singular and a plural, the phrase
    is the singular; Chinese has one form for both. The file is a row of JSON tables, one for each program.
    """
    rows, notes, seen = [], list[Note](), set[tuple[str, str]]()
    for row, (label, key, chinese) in enumerate(
        _entries((place / "phrases.json").read_text(encoding="utf-8"))
    ):
        context, _, english = key.rpartition("\x04")
        if not english.strip() or not chinese.strip() or english == chinese:
            notes.append((row, "not translated"))
        elif (english, chinese) in seen:
            notes.append((row, "the same pair came before"))
        else:
            seen.add((english, chinese))
            rows.append(
                {"row": row, "text": english, "text_pair": chinese, "label": label, "context": context}
            )
    return rows, notes


def _entries(content: str) -> Iterator[tuple[str, str, str]]:
    """(program, phrase with its context, translation) of concatenated JSON tables."""
    decoder, place = json.JSONDecoder(), 0
    while place < len(content):
        table, place = decoder.raw_decode(content, place)
        place += len(content[place:]) - len(content[place:].lstrip())
        label = table.pop("")["domain"]
        yield from ((label, key, forms[0]) for key, forms in table.items())
