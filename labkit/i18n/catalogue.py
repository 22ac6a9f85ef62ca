"""Gettext catalogues, loaded on first use."""

from __future__ import annotations

import functools
import gettext
from pathlib import Path
from typing import Any

from labkit.i18n.message import Message, filled

LOCALE = Path(__file__).parent / "locale"
#: Language of a panel → name of its catalogue; English is what the code holds.
LANGUAGES = {"en": "", "zh": "zh_CN"}


class _Nothing(gettext.NullTranslations):
    """What a catalogue has for a text that it lacks."""

    def gettext(self, message: str) -> str:
        return ""

    def ngettext(self, msgid1: str, msgid2: str, n: int) -> str:
        return ""

    def pgettext(self, context: str, message: str) -> str:
        return ""


@functools.cache
def catalogue(language: str) -> gettext.NullTranslations:
    """The catalogue of a language of :data:`LANGUAGES` other than English."""
    found = gettext.translation("labkit", LOCALE, [LANGUAGES[language]])
    found.add_fallback(_Nothing())
    return found


def translate(text: str, language: str) -> str:
    """A text in a language. Only a :class:`Message` is translated, and what the catalogue lacks stays
    English."""
    if not isinstance(text, Message) or not LANGUAGES[language]:
        return str(text)
    said = _looked_up(text, language)
    params = {name: _translated(value, language) for name, value in text.params.items()}
    if text.joined:
        return filled(said or text.msgid, params, joined=True)
    try:
        return filled(said, params) if said else str(text)  # such as one of another version
    except (
        LookupError,
        ValueError,
        TypeError,
        AttributeError,
    ):  # stored by another version, with other parameters
        return str(text)


def _looked_up(text: Message, language: str) -> str:
    if not text.msgid:  # by which gettext keeps facts about the catalogue
        return ""
    known = catalogue(language)
    if text.plural and isinstance(number := text.params.get("n"), int):
        return known.ngettext(text.msgid, text.plural, number)
    return known.pgettext(text.context, text.msgid) if text.context else known.gettext(text.msgid)


def _translated(value: object, language: str) -> Any:
    return translate(value, language) if isinstance(value, Message) else value
