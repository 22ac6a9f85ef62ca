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
#: Files of the sample small-talk by topic: SHA-256 and bytes. Others repeat ten pairs, or are long code.
SMALL_TALK = {
    "ai": ("620a65787a56641db4a03e1419a7578e813967218cf6721e3ea4ef90844916aa", 8340),
    "botprofile": ("1a694c5288f3f8f87d027d2f98dae71d02efa88e28853a6e5d27e6dbce907294", 1385),
    "computers": ("a222c5a432efe4289e6c5edf1c3d99fd26c48df99db0ff893d1d5ab569f5b750", 3744),
    "emotion": ("510a018938c1880dd0f67e1ae458e26878c91a570daef5a84fb83713c89f0989", 10337),
    "food": ("68eab2497721d03044d520b70c27d8a0d8ba8e505b3265fb3a1ff3e1a64c7124", 1266),
    "gossip": ("d6f1b1613ed70821fc1c427bdd00395f58b77ff57d76fbe4ab8cb2038cf15c9b", 2119),
    "greetings": ("0dd7eb8dcee8e2a38cd1a137bcfbd7f3eb732cddfa1bd396fac5a24b063a4d55", 1035),
    "history": ("0ff4beeb6ef9b641dc12e1039a149c6a03eb8f2e183702fad2b0997fcc1d63e3", 795),
    "humor": ("d2aa03a63f0e8e054589f642788afbc41b8c76f5d734c50901a9a63b359ea06b", 3522),
    "literature": ("9361ff1478273d811259ca307a1e6be23a5e08e776a5bc5d9524fb13deb886f1", 4077),
    "money": ("2911d9766625ff5c2feb3d784f2951b2ebd5e9658547efce7568d0282c49274b", 2375),
    "movies": ("075ca9d91a527206c635c88bf0353323826a25a6f2057be1bc71888af389f842", 1387),
    "politics": ("c436d5efedea6f715a8a811423a8edf396097771eb11e43b1f0a43a6aee7c2f0", 1399),
    "psychology": ("5047c211d35f715af4fbc3398f111135e99d34afcd0905a661c40bdeb1413a58", 4227),
    "science": ("3c259799bba36c67a1601fc264ec01ab051e9e63950734ce1ef644e022081fe7", 2397),
    "sports": ("8d1bcc632cad4058e3b8490daa15dcd7c2a51790a7b9140b252600b794590403", 2113),
    "trivia": ("3a9de77e6d82803d1ea3eba48cf6543c884908f4c4f50501fed69f88112994dc", 19836),
}
_HEADING = re.compile(r"(chapter|volume) [ivxlc\d]+", re.IGNORECASE)
_END = re.compile(r"finis|the end|a note on the text", re.IGNORECASE)
_BASE = re.compile(r"[a-z]+\$?|--|``|''|[^\w\s]")
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


def base_tag(tag: str) -> str:
    """A tag of the Brown corpus without what it says of titles, headlines, citations, foreign words and merged words:
    NN of ``nn-tl``, DT of ``dt+bez``."""
    found = _BASE.match(tag.removeprefix("fw-"))
    return (found.group() if found else tag).upper()


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


def small_talk(place: Path) -> Found:
    """Pairs of a prompt and its first response, by topic; equal pairs once."""
    import yaml

    rows, notes, seen, number = list[dict[str, Any]](), list[Note](), set[tuple[str, str]](), 0
    for topic in SMALL_TALK:
        for talk in yaml.safe_load((place / f"{topic}.yml").read_text("utf-8"))["conversations"]:
            pair = tuple(" ".join(str(each).split()) for each in talk[:2])
            if len(pair) < 2 or not all(pair):
                notes.append((number, "no response"))
            elif pair in seen:
                notes.append((number, "duplicate"))
            else:
                seen.add(pair)
                rows.append({"row": number, "prompt": pair[0], "response": pair[1], "topic": topic})
            number += 1
    return rows, notes
