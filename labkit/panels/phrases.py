"""A table of sentences with places for values, and how to find them in a text.

Each value ends at the first place where what follows it stands: so the time grows with the length of the text and of
the table, whatever the text holds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cached_property

#: A value with more characters is not looked into.
_LONGEST = 1_000
#: A phrase with no longer piece of its own than this many characters counts only where it is all of a text.
_TELLING = 10
#: What stands between several phrases in one value, and what is put there instead.
_BETWEEN = {"; ": "；", " or ": "或", " and no ": "与 ", " and ": " 与 ", ", ": "，"}


class Phrases:
    """A table English → other language.

    ``*`` in the English stands for any value. In the other language ``*`` puts the value there as it is, ``†`` as far
    as it is made of phrases that are known, and ``§`` the name of a setting as ``named`` calls it.

    Args:
        table: the sentences.
        more: phrases that stand in values only.
        named: gives a setting, such as ``Training.epochs``, its name.
    """

    def __init__(self, table: Mapping[str, str], more: Phrases | None = None, named: Callable[[str], str] = str):
        self.table, self.more, self.named = table, more, named

    @cached_property
    def _phrases(self) -> list[tuple[list[str], str]]:
        """Pieces of each sentence around its values, and what is said instead; those with most letters first, since
        they say most exactly what a text is."""
        phrases = [(english.split("*"), said) for english, said in self.table.items()]
        return sorted(phrases, key=lambda phrase: -sum(map(len, phrase[0])))

    def whole(self, text: str) -> str | None:
        """What is said for a text that is one sentence of the table; else None."""
        for pieces, said in self._phrases:
            if found := _found(pieces, text):
                return self._filled(said, found[2])
        return None

    def within(self, text: str) -> str:
        """The text with every sentence replaced that is part of it, but for those that begin with a value or are too
        short to tell."""
        for pieces, said in self._phrases:
            start = 0 if pieces[0] and max(map(len, pieces)) > _TELLING else len(text) + 1
            while found := _found(pieces, text, start):
                begin, end, values = found
                put = self._filled(said, values)
                text, start = text[:begin] + put + text[end:], begin + len(put)
        return text

    def _filled(self, said: str, values: list[str]) -> str:
        rest = iter(values)

        def put(mark: re.Match[str]) -> str:
            value = next(rest, "")
            if mark[0] == "†" and len(value) <= _LONGEST:
                return self._known(value) or value
            return self.named(value) if mark[0] == "§" else value

        return re.sub("[*†§]", put, said)

    def _known(self, value: str) -> str | None:
        """What is said for a value: one phrase, or several with a sign between them."""
        for sign, other in _BETWEEN.items():
            if sign in value and all(each := [self._known(part) for part in value.split(sign)]):
                return other.join(filter(None, each))
        return self.whole(value) or (self.more.whole(value) if self.more else None)


def _found(pieces: list[str], text: str, start: int | None = None) -> tuple[int, int, list[str]] | None:
    """Where pieces stand in a text in their order: begin, end, and what stands between them. Without a ``start`` they
    are to be the whole text; else they may stand anywhere behind it."""
    whole, last = start is None, len(pieces) - 1
    begin = place = start or 0
    values = []
    for number, piece in enumerate(pieces):
        if number == last and (whole or not piece):
            at = max(place, len(text) - len(piece)) if number else 0
            at = at if text.startswith(piece, at) and at + len(piece) == len(text) else -1
        elif not number and whole:
            at = 0 if text.startswith(piece) else -1
        else:
            at = _at(piece, text, place)
        if at < 0:
            return None
        if number:
            values.append(text[place:at])
        else:
            begin = at
        place = at + len(piece)
    return begin, place, values


def _at(piece: str, text: str, start: int) -> int:
    """The first place of a piece from ``start`` on; behind a full stop at its end stands nothing or white space."""
    at = text.find(piece, start)
    while at >= 0 and piece.endswith(".") and text[at + len(piece) : at + len(piece) + 1].strip():
        at = text.find(piece, at + 1)
    return at
