"""Personal data in texts, found by form and check digits and replaced by a word: e-mail addresses, phone and card
numbers, IBANs, Chinese resident IDs, IP addresses and tokens in web addresses.

Names, street addresses and dates of birth need a model that reads the text and are not found.
"""

from __future__ import annotations

import datetime
import ipaddress
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd

from labkit.core.errors import DataError
from labkit.data.arrow import batches, text_columns
from labkit.data.dataset import SplitDataset
from labkit.i18n import _

if TYPE_CHECKING:
    from datasets import Dataset


class PersonalData(NamedTuple):
    """Personal data in a text: its kind and the characters ``text[start:end]``."""

    kind: str
    start: int
    end: int


# Every pattern is linear: its repetitions are bounded or their classes do not overlap. Letters are those of ASCII:
# a number may be between Chinese characters.
_URL = re.compile(r"(?ai)\b(?:https?|ftp|wss?)://[^\s<>\"']{1,2000}")
_TOKEN = re.compile(
    r"(?ai)(?<=[?&;#])(?:[a-z0-9_-]{0,30}(?:token|secret|apikey|api_key|api-key|password|passwd|session|signature)"
    r"|key|sig|auth|code|sid|jwt|pwd)=([^&#;\s]{8,})"
)
_EMAIL = re.compile(
    r"(?ai)(?<![\w.%+@-])[a-z0-9][a-z0-9._%+-]{0,63}@(?:[a-z0-9-]{1,63}\.){1,8}[a-z]{2,24}(?![\w@-])"
)
_IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?(?![A-Za-z0-9])")
_RESIDENT = re.compile(r"(?<![A-Za-z0-9])[1-9]\d{16}[\dXx](?![A-Za-z0-9])")
_CARD = re.compile(r"(?a)(?<![\w.,/+-])[0-6](?:[ -]?\d){11,18}(?![\w/])")
#: First digits of the cards of the large issuers, and their lengths.
_ISSUERS = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})|5[1-5]\d{14}|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}|3[47]\d{13}"
    r"|3(?:0[0-5]|[68]\d)\d{11}|6(?:011|5\d\d|4[4-9]\d)\d{12}|35\d{14}|(?:2131|1800)\d{11}|62\d{14,17}|9792\d{12}"
    r"|(?:5018|5020|5038|5893|6304|6759|676[1-3]|0604|5[68]\d\d)\d{8,15}"
)
_IPV4 = re.compile(r"(?a)(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w]|\.\d)")
_IPV6 = re.compile(r"(?ai)(?<![\w:])(?:[0-9a-f]{0,4}:){2,7}[0-9a-f]{0,4}(?![\w:])")
#: With a country code, or digits in groups as phone numbers are written.
_PHONE = re.compile(
    r"(?a)(?<![\w+.,-])(?:"
    r"(?:\+[1-9]|00[1-9]\d{0,2}[ .\-/(])(?:[ .\-/]?\(?\d\)?){6,14}"  # international
    r"|\(0?[1-9]\d{1,4}\)[ -]?\d{2,4}[ .-]?\d{3,4}"  # an area code in parentheses
    r"|(?:1[ .-])?[1-9]\d{2}([.-])\d{3}\1\d{4}"  # North America
    r"|0\d{2,4}[ -]\d{3,4}[ -]?\d{3,4}"  # a national prefix
    r")(?: ?(?:x|ext\.?) ?\d{1,6})?(?![\w]|-\d|\.\d)"
)
#: Digits alone: Chinese mobile numbers, and ten digits as in North America.
_BARE = re.compile(
    r"(?a)(?<![\w+.,/-])(?:(?:86)?1[3-9]\d{9}|1[3-9]\d[ -]\d{4}[ -]\d{4}|[2-9]\d{2}[2-9]\d{6}|0[1-9]\d{8,9})"
    r"(?![\w]|[-/]\d|\.\d)"
)
#: Words before digits that are no phone number, and before dots that are no address.
_NUMBERED = re.compile(
    r"(?i)(?:order|invoice|ticket|tracking|isbn|item|part|model|serial|ref(?:erence)?|case|version|build|release|id|no\.?"
    r"|number|nr\.?|sku|#|订单|编号|单号|货号|型号|版本|序列号|快递)[号]?\W{0,3}$"
)
_CALLED = re.compile(
    r"(?i)(?:phone|mobile|cell|tel|fax|whatsapp|电话|手机)\W{0,2}(?:number|no\.?|号码|号)?\W{0,3}$"
)


def _luhn(digits: str) -> bool:
    """Whether the last digit of a card number is its check digit (ISO/IEC 7812)."""
    doubled = (sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return (sum(doubled) + sum(map(int, digits[::-2]))) % 10 == 0


def _is_card(text: str) -> bool:
    digits = re.sub(r"\D", "", text)
    return bool(_ISSUERS.fullmatch(digits)) and len(set(digits)) > 1 and _luhn(digits)


def _is_iban(text: str) -> bool:
    """Whether the check digits of an IBAN are right (ISO 13616)."""
    code = text.replace(" ", "")
    moved = "".join(str(int(char, 36)) for char in code[4:] + code[:4])
    return 15 <= len(code) <= 34 and int(moved) % 97 == 1


def _is_resident_id(text: str) -> bool:
    """Whether the date and the check character of a Chinese resident ID are right (GB 11643, ISO 7064)."""
    with suppress(ValueError):
        born = datetime.date(int(text[6:10]), int(text[10:12]), int(text[12:14]))
        total = sum(int(digit) * pow(2, 17 - place, 11) for place, digit in enumerate(text[:17]))
        return 1880 < born.year < 2100 and "10X98765432"[total % 11] == text[17].upper()
    return False


def _is_address(text: str) -> bool:
    """Whether an IP address is valid and names a machine (not 0.0.0.0 or ``::``)."""
    with suppress(ValueError):
        return int(ipaddress.ip_address(text)) > 0xFFFF
    return False


def _matches(
    pattern: re.Pattern[str], holds: Callable[[str], bool] = bool
) -> Callable[[str], Iterator[tuple[int, int]]]:
    return lambda text: (match.span() for match in pattern.finditer(text) if holds(match[0]))


def _tokens(text: str) -> Iterator[tuple[int, int]]:
    for address in _URL.finditer(text):
        for match in _TOKEN.finditer(address[0]):
            yield address.start() + match.start(1), address.start() + match.end(1)


def _ips(text: str) -> Iterator[tuple[int, int]]:
    for match in (*_IPV4.finditer(text), *_IPV6.finditer(text)):
        if _is_address(match[0]) and not _NUMBERED.search(text[max(0, match.start() - 20) : match.start()]):
            yield match.span()


def _phones(text: str) -> Iterator[tuple[int, int]]:
    for match in _PHONE.finditer(text):
        if 7 <= len(re.sub(r"\D", "", re.split("[xe]", match[0])[0])) <= 15:
            yield match.span()
    for match in _BARE.finditer(text):
        before = text[max(0, match.start() - 24) : match.start()]
        if _CALLED.search(before) or not _NUMBERED.search(before):
            yield match.span()


#: Kind → what finds it and the word that replaces it; an earlier kind wins where two overlap.
KINDS: dict[str, tuple[Callable[[str], Iterator[tuple[int, int]]], str]] = {
    "token": (_tokens, "TOKEN"),
    "email": (_matches(_EMAIL), "EMAIL"),
    "iban": (_matches(_IBAN, _is_iban), "IBAN"),
    "resident-id": (_matches(_RESIDENT, _is_resident_id), "ID"),
    "card": (_matches(_CARD, _is_card), "CARD"),
    "ip": (_ips, "IP"),
    "phone": (_phones, "PHONE"),
}
_MAYBE = re.compile(r"@|\d.{0,6}\d|://|:[0-9a-fA-F]{0,4}:", re.DOTALL)


def find(text: str) -> list[PersonalData]:
    """The personal data in a text, in order; findings do not overlap."""
    if not _MAYBE.search(text):
        return []
    found: list[PersonalData] = []
    for kind, (matches, _word) in KINDS.items():
        for start, end in matches(text):
            if all(end <= each.start or start >= each.end for each in found):
                found.append(PersonalData(kind, start, end))
    return sorted(found, key=lambda each: each.start)


def masked(text: str) -> str:
    """The text with a word in place of each finding; again until there is none, so that it is idempotent."""
    while found := find(text):
        parts, end = [], 0
        for each in found:
            parts += [text[end : each.start], KINDS[each.kind][1]]
            end = each.end
        text = "".join([*parts, text[end:]])
    return text


def row_numbers(rows: SplitDataset) -> dict[str, list[int]]:
    """Kind → numbers of the rows whose texts have such data."""
    where: dict[str, list[int]] = {}
    for _split, row, _column, text in _texts(rows):
        for kind in dict.fromkeys(each.kind for each in find(text)):
            if row not in where.setdefault(kind, [])[-1:]:
                where[kind].append(row)
    return where


def table(rows: SplitDataset) -> pd.DataFrame:
    """A line for each finding: split, row, column, kind, start, end (characters). The data themselves are not in it.

    Raises:
        DataError: the rows have no texts.
    """
    if not text_columns(next(iter(rows.splits.values()))):
        raise DataError(_("personal data are searched in texts, and these rows have none."))
    lines = [
        (split, row, column, each.kind, each.start, each.end)
        for split, row, column, text in _texts(rows)
        for each in find(text)
    ]
    return pd.DataFrame(lines, columns=["split", "row", "column", "kind", "start", "end"])


def _texts(rows: SplitDataset) -> Iterator[tuple[str, int, str, str]]:
    """(split, row number, column, text) of all texts."""
    for split, part in rows.splits.items():
        yield from ((split, *each) for each in _texts_of(part))


def _texts_of(part: Dataset) -> Iterator[tuple[int, str, str]]:
    names = text_columns(part)
    for chunk in batches(part, ["row", *names]):
        numbers = chunk.column("row").to_pylist()
        for name in names:
            for row, text in zip(numbers, chunk.column(name).to_pylist(), strict=True):
                yield row, name, text or ""
