"""The help pages of LibreOffice in English and Chinese: aligned paragraphs for translation, pages for search."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from labkit.core.errors import DataError
from labkit.hub.corpora import Found, Note
from labkit.i18n import _

#: Part of the program a page is about, by its folder.
PROGRAMS = {
    "shared": "LibreOffice", "sbasic": "Basic", "scalc": "Calc", "schart": "Chart", "sdatabase": "Base",
    "sdraw": "Draw", "simpress": "Impress", "smath": "Math", "swriter": "Writer",
}  # fmt: skip
LANGUAGES = ("en", "zh")
#: Folder of the pages of a language in the Debian packages.
FOLDERS = {"en": "usr/share/libreoffice/help/en-US/text/", "zh": "usr/share/libreoffice/help/zh-CN/text/"}
_BLOCKS = frozenset({"p", "h1", "h2", "h3", "h4", "h5", "h6"})
_CODE = ("code", "smathcode")  # classes of paragraphs that are program text


class _Page(HTMLParser):
    """Collects the paragraphs of a page by their identifier, in order; headings are marked by their level.

    Alternatives for other systems are elements that are hidden and have a class; they are left out.
    """

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.blocks: list[tuple[str, int, str]] = []  # identifier, level of a heading or 0, text
        self._block: tuple[str, str, int] | None = None  # tag, identifier, level
        self._text: list[str] = []
        self._hidden: list[str] = []  # open tags inside an alternative

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if self._hidden:
            if tag == self._hidden[0]:
                self._hidden.append(tag)
        elif "hidden" in found and found.get("class"):
            self._hidden.append(tag)
        elif tag in _BLOCKS:
            name, kind = found.get("id") or "", found.get("class") or ""
            known = name.startswith(("par_id", "hd_id")) and not kind.startswith(_CODE)
            level = int(tag[1]) if tag != "p" else 0
            self._block, self._text = ((tag, name, level) if known else None), []
        elif tag == "br":
            self._text.append(" ")

    def handle_endtag(self, tag: str) -> None:
        if self._hidden:
            if tag == self._hidden[0]:
                self._hidden.pop()
        elif self._block is not None and tag == self._block[0]:
            if text := " ".join("".join(self._text).split()):
                self.blocks.append((self._block[1], self._block[2], text))
            self._block = None

    def handle_data(self, data: str) -> None:
        if self._block is not None and not self._hidden:
            self._text.append(data)


def blocks_of(content: str) -> list[tuple[str, int, str]]:
    """(identifier, level of a heading or 0, text) of every paragraph of a page, once each."""
    page = _Page()
    page.feed(content)
    page.close()
    once = dict[str, tuple[str, int, str]]()
    for block in page.blocks:
        once.setdefault(block[0], block)
    return list(once.values())


def convert(place: Path) -> None:
    """``help.jsonl``: a page a line with its paragraphs in both languages; ``zh`` is "" where there is none."""
    pages = sorted(
        path.relative_to(place / "raw/en").as_posix() for path in (place / "raw/en").rglob("*.html")
    )
    with open(place / "help.jsonl", "w", encoding="utf-8", newline="\n") as file:
        for name in pages:
            paths = [place / "raw" / language / name for language in LANGUAGES]
            english, chinese = (
                blocks_of(path.read_text(encoding="utf-8")) if path.is_file() else [] for path in paths
            )
            other = {block: text for block, _level, text in chinese}
            blocks = [[block, level, text, other.get(block, "")] for block, level, text in english]
            if blocks:
                page = {"page": name.removesuffix(".html"), "blocks": blocks}
                file.write(json.dumps(page, ensure_ascii=False, separators=(",", ":")) + "\n")


def _pages(place: Path) -> Iterator[Mapping[str, Any]]:
    with open(place / "help.jsonl", encoding="utf-8") as file:
        yield from map(json.loads, file)


def _program(page: str) -> str:
    return PROGRAMS.get(page.partition("/")[0], "LibreOffice")


def _has_chinese(text: str) -> bool:
    return any("\u4e00" <= letter <= "\u9fff" for letter in text)


def translations(place: Path, to: str, max_words: int) -> Found:
    """An aligned paragraph a row, the source in ``text``, its translation in ``text_pair``; columns ``label`` (the
    program) and ``page``. Untranslated paragraphs, repeated pairs and longer English than ``max_words`` are dropped.
    """
    _checked_language(to, "to")
    rows, notes, seen, row = [], list[Note](), set[tuple[str, str]](), -1
    for page in _pages(place):
        for _unused, _level, english, chinese in page["blocks"]:
            row += 1
            if not _has_chinese(chinese):
                notes.append((row, "not translated"))
            elif (english, chinese) in seen:
                notes.append((row, "the same pair came before"))
            elif max_words and len(english.split()) > max_words:
                notes.append((row, "longer than max_words"))
            else:
                seen.add((english, chinese))
                text, pair = (english, chinese) if to == "zh" else (chinese, english)
                known = {"label": _program(page["page"]), "page": page["page"]}
                rows.append({"row": row, "text": text, "text_pair": pair, **known})
    return rows, notes


def passages(place: Path, language: str) -> Found:
    """A paragraph a row, in reading order; columns ``label`` (the program), ``page``, ``title`` (of the page) and
    ``heading`` (the nearest above the paragraph)."""
    _checked_language(language, "passages")
    rows, notes, row, at = [], list[Note](), -1, 2 + LANGUAGES.index(language)
    for page in _pages(place):
        title = next((block[at] for block in page["blocks"] if block[1] and block[at]), "")
        heading = title
        for block in page["blocks"]:
            row, text = row + 1, block[at]
            if block[1]:
                heading = text or heading
                notes.append((row, "heading"))
            elif not text or (language == "zh" and not _has_chinese(text)):
                notes.append((row, "not translated" if language == "zh" else "no text"))
            else:
                known = {"page": page["page"], "title": title, "heading": heading}
                rows.append({"row": row, "text": text, "label": _program(page["page"]), **known})
    return rows, notes


def titles(place: Path) -> dict[str, dict[str, str]]:
    """Page → language → its title, of pages with a title that no other page has."""
    found: dict[str, dict[str, str]] = {}
    for page in _pages(place):
        head = next((block for block in page["blocks"] if block[1]), None)
        if head is not None:
            found[page["page"]] = {"en": head[2], "zh": head[3] if _has_chinese(head[3]) else ""}
    for language in LANGUAGES:
        times = Counter(names[language] for names in found.values())
        for names in found.values():
            if times[names[language]] > 1:
                names[language] = ""
    return found


def _checked_language(language: str, option: str) -> None:
    if language not in LANGUAGES:
        raise DataError(
            _("{option} = {language!r} is not a language of this sample; use en or zh."),
            option=option, language=language,
        )  # fmt: skip
