"""Detection of the encoding of text files: by byte order mark, by decoding, or by letter statistics."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from labkit.core.errors import DataError
from labkit.core.text import visible
from labkit.data.io import encoding_latin, encoding_scripts
from labkit.i18n import _

MARKS = {  # byte order marks; UTF-32 first, its mark begins like that of UTF-16
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
SAMPLE = (
    1 << 18
)  # bytes that a guess looks at, from the start and again from the first byte that is not UTF-8
CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")  # bytes that texts do not have, but for ISO-2022's
LOST = "\ufffd"


@dataclass(frozen=True)
class Encoding:
    """How to decode a file.

    Attributes:
        name: a Python codec.
        sure: every byte decodes; else lost characters become U+FFFD and must be counted.
        guessed: whether another encoding is possible.
        doubt: where another is nearly as likely: a word as both read it.
    """

    name: str
    sure: bool
    guessed: bool = False
    doubt: str = ""

    def open(self, path: Path) -> IO[str]:
        """The file as text with its own line ends."""
        return open(path, encoding=self.name, errors="strict" if self.sure else "replace", newline="")


def detect(path: Path, given: str | None = None, beside: str = "") -> Encoding:
    """The encoding of a file.

    Args:
        path: the file.
        given: an encoding to take instead of looking.
        beside: texts of files next to it whose encoding is known, for their language and script.

    Raises:
        DataError: ``given`` is not known, or nothing fits the bytes.
    """
    if given is not None:
        try:
            return Encoding(codecs.lookup(given).name, sure=False)
        except LookupError:
            raise DataError(
                _("unknown encoding {given!r}; common ones: utf-8, utf-16, cp1252, gb18030."), given=given
            ) from None
    with open(path, "rb") as file:
        head = file.read(SAMPLE)
    for mark, name in MARKS.items():
        if head.startswith(mark):
            return Encoding(name, sure=name == "utf-8-sig" and _first_bad(path) is None)
    if name := _unmarked_utf16(head):
        return Encoding(name, sure=False, guessed=True)
    bad = _first_bad(path)
    if bad is None:
        return Encoding("utf-8", sure=True)
    if _mostly_utf8(path):
        return Encoding("utf-8", sure=False)
    return _guess(path, head, bad, beside)


def _unmarked_utf16(head: bytes) -> str | None:
    """UTF-16 of mostly Latin text: every other byte is NUL (which is valid, and wrong, UTF-8)."""
    if len(head) < 4:
        return None
    even, odd = head[0::2].count(0) / len(head[0::2]), head[1::2].count(0) / len(head[1::2])
    if odd > 0.4 and even < 0.05:
        return "utf-16-le"
    return "utf-16-be" if even > 0.4 and odd < 0.05 else None


def _first_bad(path: Path) -> int | None:
    """Approximate position of the first byte that is not UTF-8 (up to a block early)."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    place = 0
    try:
        for block in _blocks(path):
            decoder.decode(block)
            place += len(block)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        return max(0, place + error.start - 4)
    return None


def _mostly_utf8(path: Path) -> bool:
    """Whether UTF-8 sequences outnumber bytes that are none, ten to one: a damaged UTF-8 file."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    good = bad = 0
    for block in _blocks(path):
        text = decoder.decode(block)
        bad += text.count(LOST)
        good += sum(1 for char in text if char > "\x7f" and char != LOST)
    return good > 10 * bad


def _guess(path: Path, head: bytes, bad: int, beside: str) -> Encoding:
    sample = head
    if bad > len(head):
        with open(path, "rb") as file:
            file.seek(bad)
            sample = head[: head.rfind(b"\n") + 1] + file.read(SAMPLE)
    if len(CONTROL.findall(sample)) > max(2, len(sample) // 50):
        raise _no_text(path)
    latin = encoding_latin.may_be_latin(sample) and not encoding_scripts.is_known(beside)
    found = encoding_latin.guess(sample, beside) if latin else None
    if (found := found or encoding_scripts.guess(sample, beside)) is not None:
        return Encoding(found.name, sure=False, guessed=True, doubt=_doubt(found))
    return _by_statistics(path, sample)


def _no_text(path: Path) -> DataError:
    return DataError(
        _('{file!r} is not text in any known encoding; if it is, pass encoding="…".'), file=path.name
    )


def _doubt(found: encoding_latin.Guess) -> str:
    if not found.other:
        return ""
    one, two = (visible(word, 40) for word in found.words)
    return _(
        '{one!r} in {encoding}, {two!r} in {other}; pass encoding="…" to choose',
        encoding=found.name, one=one, other=found.other, two=two,
    )  # fmt: skip


def _by_statistics(path: Path, sample: bytes) -> Encoding:
    from charset_normalizer import from_bytes

    best = from_bytes(sample).best()
    if best is None:
        raise _no_text(path)
    name = "gb18030" if best.encoding in ("gb2312", "gbk") else best.encoding  # the superset loses less
    return Encoding(name, sure=False, guessed=True)


def _blocks(path: Path) -> Iterator[bytes]:
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            yield block
