"""Passages of texts with their source: paragraphs of .txt, .md and .pdf files in a folder, or rows of a table."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from labkit.core.errors import DataError, os_reason
from labkit.core.extras import require
from labkit.core.safety import check_regular, system_file
from labkit.data.io.encoding import detect
from labkit.data.rows import Rows
from labkit.i18n import _

ENDINGS = (".txt", ".md", ".markdown", ".pdf")
#: Words of a passage at most, by default; a Chinese character counts as 0.6.
WORDS = 160
#: Bytes of a file, and pages of a PDF, at most.
MOST_BYTES, MOST_PAGES = 100_000_000, 5000
_WORD = re.compile(r"[\u3400-\u9fff\uf900-\ufaff]|[^\W\u3400-\u9fff\uf900-\ufaff]+")
_HEADING = re.compile(r"(#{1,6})\s+(.+?)\s*#*\s*$")
_SENTENCE = re.compile(r"(?<=[.!?])\s+|(?<=[。！？；])")


@dataclass(frozen=True)
class Passage:
    """A passage: ``text``, and where it comes from: ``source`` (a file or a page of a table), ``heading`` (the nearest
    above it), ``page`` (of a PDF, from 1; 0 for none), ``row`` (of a table; else its number in the file)."""

    text: str
    source: str = ""
    heading: str = ""
    page: int = 0
    row: int = 0

    @property
    def place(self) -> str:
        """Source, page and heading in one line."""
        return " · ".join(filter(None, (self.source, f"p. {self.page}" if self.page else "", self.heading)))


@dataclass
class Passages:
    """Passages in order, and ``notes``: (file or row, why it was left out)."""

    items: list[Passage] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.items)


def words_in(text: str) -> float:
    """Number of words, a Chinese character as 0.6."""
    found = _WORD.findall(text)
    chinese = sum("\u3400" <= word[0] <= "\ufaff" and len(word) == 1 for word in found)
    return len(found) - 0.4 * chinese


def from_folder(folder: str | Path, words: int = WORDS) -> Passages:
    """The passages of every .txt, .md and .pdf file in a folder and its subfolders.

    Paragraphs below the same heading are joined up to ``words`` words; longer ones are cut at ends of sentences. Other
    files, and files without text, are listed in ``notes``.

    Raises:
        DataError: there is no such folder, it has no such file, or ``words`` is out of range.
        ExtraError: there is a PDF and pypdf is not installed.
    """
    place = Path(folder).expanduser()
    if not 10 <= words <= 5000:
        raise DataError(_("words = {words}; a passage has 10 to 5000 words."), words=words)
    if not place.is_dir():
        raise DataError(_("{folder!r} is not a folder."), folder=str(folder))
    found = Passages()
    paths = [path for path in sorted(place.rglob("*")) if path.is_file() and not path.is_symlink()]
    for path in paths:
        name = path.relative_to(place).as_posix()
        if any(map(system_file, path.relative_to(place).parts)):
            continue
        if path.suffix.lower() not in ENDINGS:
            found.notes.append((name, _("not a .txt, .md or .pdf file")))
            continue
        before = len(found)
        try:
            check_regular(path, DataError)
            if path.stat().st_size > MOST_BYTES:
                raise DataError(_("the file has more than {most:,} bytes"), most=MOST_BYTES)
            found.items += _of_file(path, name, words)
        except DataError as error:
            found.notes.append((name, error.message))
        except OSError as error:
            found.notes.append((name, os_reason(error)))
        else:
            if len(found) == before:
                found.notes.append((name, _("no text in the file; a scanned PDF has none")))
    if not found.items:
        raise DataError(
            _("{folder!r} contains no text in files of the types {endings}."),
            folder=str(folder), endings=", ".join(ENDINGS),
        )  # fmt: skip
    return found


def from_rows(
    rows: Rows | Sequence[str] | Sequence[Mapping[str, Any]],
    text: str = "text",
    source: str = "",
    heading: str = "",
) -> Passages:
    """Rows as passages, one each; ``source`` and ``heading`` name columns. Empty texts are listed in ``notes``.

    Raises:
        DataError: a text is not a string, there is no such column, or no text at all.
    """
    found, table = Passages(), rows["train"] if isinstance(rows, Rows) else rows
    for number, row in enumerate(table):
        if isinstance(row, Mapping):
            if missing := [name for name in (text, source, heading) if name and name not in row]:
                raise DataError(
                    _("row {row} has no column {column!r}. It has: {known}."),
                    row=number, column=missing[0], known=", ".join(map(str, row)),
                )  # fmt: skip
            told = (
                row[text],
                str(row[source] or "") if source else "",
                str(row[heading] or "") if heading else "",
            )
            at = row.get("row", number)
        else:
            told, at = (row, "", ""), number
        if not isinstance(told[0], str):
            raise DataError(
                _("the text of row {row} is {value!r}; a string is needed."), row=number, value=told[0]
            )
        if told[0].strip():
            found.items.append(Passage(told[0], told[1], told[2], row=at if isinstance(at, int) else number))
        else:
            found.notes.append((str(number), _("no text")))
    if not found.items:
        raise DataError(_("there is no text to search in."))
    return found


def _of_file(path: Path, name: str, words: int) -> Iterator[Passage]:
    number = 0
    for page, heading, text in _blocks(path):
        for part in _cut(text, words):
            yield Passage(part, name, heading, page, number)
            number += 1


def _blocks(path: Path) -> Iterator[tuple[int, str, str]]:
    """(page, heading, paragraphs below it) of a file."""
    if path.suffix.lower() == ".pdf":
        yield from ((page, "", text) for page, text in _pages(path))
        return
    with detect(path).open(path) as file:
        content = file.read()
    if path.suffix.lower() == ".txt":
        yield 0, "", content
        return
    heading, lines, code = "", list[str](), False
    for line in content.splitlines():
        code ^= line.lstrip().startswith(("```", "~~~"))
        if not code and (found := _HEADING.match(line)):
            yield 0, heading, "\n".join(lines)
            heading, lines = found[2], []
        else:
            lines.append(line)
    yield 0, heading, "\n".join(lines)


def _pages(path: Path) -> Iterator[tuple[int, str]]:
    require("pdf")
    import logging

    from pypdf import PdfReader

    logging.getLogger("pypdf").setLevel(logging.ERROR)  # it warns of each oddity of a file
    try:
        reader = PdfReader(path)
        if reader.is_encrypted and not reader.decrypt(""):
            raise DataError(_("the PDF is encrypted; save it without a password"))
        for number, page in enumerate(reader.pages[:MOST_PAGES], 1):
            yield number, page.extract_text() or ""
    except (DataError, OSError):
        raise
    except Exception as error:  # a damaged PDF raises errors of many kinds
        raise DataError(_("the PDF cannot be read ({error})"), error=type(error).__name__) from error


def _cut(text: str, words: int) -> Iterator[str]:
    """Paragraphs joined up to ``words`` words; of a longer one its sentences, of a longer sentence its words."""
    kept, size = list[str](), 0.0
    for part in _small_parts(text, words):
        more = words_in(part)
        if kept and size + more > words:
            yield "\n".join(kept)
            kept, size = [], 0.0
        if more:
            kept.append(part)
            size += more
    if kept:
        yield "\n".join(kept)


def _small_parts(text: str, words: int) -> Iterator[str]:
    for paragraph in re.split(r"\n\s*\n", text):
        whole = " ".join(paragraph.split())
        if words_in(whole) <= words:
            yield whole
            continue
        for sentence in filter(None, map(str.strip, _SENTENCE.split(whole))):
            while words_in(sentence) > words:
                places = [found.end() for found in _WORD.finditer(sentence)]
                end = next(at for n, at in enumerate(places) if n + 1 >= words or at == places[-1])
                yield sentence[:end]
                sentence = sentence[end:].strip()
            yield sentence
