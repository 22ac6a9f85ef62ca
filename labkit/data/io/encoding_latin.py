"""Detection of 8-bit Latin encodings by letters, letter pairs and common words.

 Every encoding is tried with every language. A language says how likely its accented letters are and which
words are common; a letter where none can be (within digits, a capital within small letters) and a sign within
a word speak against an encoding. Scores are natural logarithms of likelihoods, roughly.
"""

from __future__ import annotations

import functools
import math
import re
from collections import Counter
from dataclasses import dataclass

#: Encoding → how common it is.
ENCODINGS = {
    "cp1252": 0.0, "cp1250": -1.0, "cp1254": -2.0, "iso8859-15": -2.0, "cp1257": -3.0, "iso8859-2": -3.0,
    "mac-roman": -3.0, "cp850": -3.0, "cp852": -4.0,
}  # fmt: skip
#: Language → how common it is, its accented letters from the most frequent to the rarest, and common words.
_LANGUAGES: dict[str, tuple[float, str, str]] = {
    "en": (0.0, "éèïçöüñêâàáóíôëåäøæ", "the of and to in is that it was for on with as his he be at by had not are"),
    "es": (-0.5, "óíáéñúü", "de la que el en y los del se las por un para con una su al lo más como está niño año"),
    "fr": (-0.5, "éèàêçùâîôûëïüœæÿ", "de la le et les des en un du une est que dans qui par pour au pas très été à"),
    "de": (-0.5, "üäößéà", "der die und in den von zu das mit sich des auf für ist im dem nicht ein eine als für über"),
    "pt": (-0.7, "ãçéáíóêõâúàôü", "de a o que e do da em um para com não uma os no se na por mais as dos é são você"),
    "it": (-0.8, "èàùòéìîó", "di e il la che in a per un è del non sono una con si da come anche più perché sì"),
    "nl": (-1.0, "ëéïóüèöêáç", "de van een het en in is dat op te zijn met voor niet aan er om ook als één"),
    "ca": (-2.0, "óàèéíçòúüï·", "de la i el que en a les els un per una del amb no és més com això són"),
    "sv": (-1.2, "äåöéàü", "och att det i en som på är av för med den till inte om ett han var jag så när"),
    "da": (-1.4, "øåæéöäü", "og i at det en den til er som på de med han af for ikke der var jeg så når også"),
    "no": (-1.4, "åøæéòôóäöü", "og i det på en er som til for av at med han ikke de den var jeg så når også"),
    "fi": (-1.4, "äöåšžé", "ja on ei se että oli hän mutta joka ovat kun niin mitä tämä myös ole sen"),
    "is": (-3.0, "íáðóþöúýæé", "og að í á er sem til um við hann með var en það fyrir ekki hún"),
    "pl": (-1.2, "łęąóżśćńź", "dzień bardzo i w na z do się nie to jest że o jak po co ale za od są być tak już czy"),
    "cs": (-1.4, "íáěéýřčžšůúňťóď", "a se v na je že to s z do o i jsem ale jako by si k pro být není jeho který už"),
    "sk": (-1.9, "áíýčšľžéúťôňóäďŕĺ", "a sa v na je že to s z do aj ako by si o pre nie som ktorý ale od jeho bol"),
    "hu": (-1.4, "áéöóőüíúű", "a az és hogy nem egy is meg ez volt csak de már mint még ha azt el kell van vagy"),
    "ro": (-1.6, "ăîâşţșț", "de și în la a cu o nu să pe din este un care ca pentru mai că sunt şi ce"),
    "hr": (-1.9, "čšžćđ", "i je u na se da za su od s a ne o kao ali što sam bio nije iz to koji"),
    "tr": (-1.3, "ıüşçğöİâîû", "bir ve bu da de için çok ne ile gibi daha değil ama olarak var kadar ben o şey"),
    "lt": (-3.0, "ėšųžįąčūę", "ir kad yra į su iš tai kaip bet buvo ne ar už apie labai jis"),
    "lv": (-3.0, "āīēšūņļģķčž", "un ir ka ar no par kas uz bet tas nav kā arī pie es viņš"),
    "et": (-3.0, "äõüöšž", "ja on ei et see oli ka kui mis aga oma ta nii veel kes pole"),
}  # fmt: skip
#: Signs that texts have, and signs of currencies among them.
_SIGNS = frozenset("’‘“”„‚–—…•€£§°©®™«»·¿¡½¼¾²³¹µ×÷¢¥±†‹›ªº\xa0\xad")
_APOSTROPHES = frozenset("’‘´·\xad")
_ALONE = frozenset("àéèóáíôâêùÀÉÈÓÁÍÔ")  # words of one letter
#: Signs that no letter is next to.
_APART = frozenset("£€¥¢±×÷½¼¾")
_FOREIGN, _ODD, _MISPLACED = -7.0, -6.0, -5.0
#: Mean score of the characters above 127 below which a text is none.
_UNLIKELY = -4.5
MOST = 1 << 16  # bytes that are looked at
#: How much likelier the first guess must be than another that reads the text otherwise.
SURE = 3.0


@dataclass(frozen=True)
class Guess:
    """An encoding, the next likely one if it may be that as well, and a word as both read it."""

    name: str
    other: str = ""
    words: tuple[str, str] = ("", "")


def may_be_latin(data: bytes) -> bool:
    """Whether bytes above 127 come in short runs among ASCII letters, as accented letters and signs do."""
    runs = [len(run) for run in re.findall(rb"[\x80-\xff]+", data[:MOST])]
    letters = len(re.findall(rb"[A-Za-z]", data[:MOST]))
    return bool(runs) and sum(runs) <= 2.6 * len(runs) and sum(runs) <= 0.6 * (letters + sum(runs)) + 2


def guess(data: bytes, beside: str = "") -> Guess | None:
    """The likeliest encoding of a text in the Latin script; None where it reads like a text in none of them.

    Args:
        data: the text, from the beginning of a line.
        beside: texts of the same source that are known, for their language.
    """
    hint = _hint(beside)
    read = {name: text for name in ENCODINGS if (text := _decoded(data[:MOST], name)) is not None}
    scores = {name: ENCODINGS[name] + _score(text, hint) for name, text in read.items()}
    best = max(scores, key=lambda name: scores[name])
    if scores[best] < _UNLIKELY * len(re.findall(rb"[\x80-\xff]", data[:MOST])) - 4:
        return None
    for other in sorted(scores, key=lambda name: -scores[name]):
        if scores[best] - scores[other] >= SURE:
            break
        if read[other] != read[best]:
            return Guess(best, other, example(read[best], read[other]))
    return Guess(best)


def _decoded(data: bytes, name: str) -> str | None:
    try:
        return data.decode(name)
    except UnicodeDecodeError:
        # the five bytes that cp1252 leaves open are not met in texts; it takes whatever no other encoding
        # does
        return data.decode("cp1252", "replace") if name == "cp1252" else None


def example(one: str, two: str) -> tuple[str, str]:
    """The first word that two readings of the same bytes write differently."""
    for first, second in zip(one.split(), two.split(), strict=False):
        if first != second:
            return first[:40], second[:40]
    differ = (at for at, (a, b) in enumerate(zip(one, two, strict=False)) if a != b)
    place = next(differ, min(len(one), len(two)))  # or one goes on where the other ends
    return one[max(0, place - 5) : place + 5], two[max(0, place - 5) : place + 5]


def _hint(beside: str) -> dict[str, float]:
    """Language → how much less likely it is than the likeliest, for a text that is known."""
    if not beside:
        return dict.fromkeys(_LANGUAGES, 0.0)
    scores = {name: _letters(beside, name) + _words(beside, name) for name in _LANGUAGES}
    top = max(scores.values())
    return {name: max(-15.0, score - top) for name, score in scores.items()}


def _score(text: str, hint: dict[str, float]) -> float:
    return max(
        _LANGUAGES[name][0] + hint[name] + _letters(text, name) + _words(text, name) for name in _LANGUAGES
    ) + sum(_fit(*seen) * count for seen, count in _seen(text).items())


@functools.lru_cache(maxsize=32)
def _seen(text: str) -> Counter[tuple[str, str, str]]:
    """Every character above 127 with the kinds of its neighbours, counted."""
    around = re.finditer(r"[^\x00-\x7f]", text)
    return Counter(
        (found[0], _kind(text, found.start() - 1), _kind(text, found.start() + 1)) for found in around
    )  # fmt: skip


def misplaced(text: str) -> float:
    """What speaks against letters with a case: capitals behind small ones, and letters next to digits."""
    fits = ((_fit(*seen), count) for seen, count in _seen(text).items() if seen[0].lower() != seen[0].upper())
    return sum(fit * count for fit, count in fits if fit == _MISPLACED)


def _kind(text: str, place: int) -> str:
    char = text[place] if 0 <= place < len(text) else " "
    if char.isalpha():
        return "A" if char.isupper() else "a"
    if char.isdigit():
        return "0"
    return " " if char.isspace() else "."


def _is_letter(char: str) -> bool:
    return char.isalpha() and char not in "ªºµ"


def _fit(char: str, before: str, after: str) -> float:
    """How well a character fits between its neighbours, in any language."""
    within = before in "aA" and after in "aA"
    if not _is_letter(char):
        if char in _APOSTROPHES and within:
            return -1.0
        if char not in _SIGNS:
            return _ODD
        near = before in "aA" or after in "aA"
        return _MISPLACED if within or (near and char in _APART) else -1.0
    if before == "0" or after == "0":
        return _MISPLACED
    if before not in "aA" and after not in "aA":
        return -1.0 if char in _ALONE else _MISPLACED
    if char.isupper():
        return _MISPLACED if before == "a" else 0.0
    return _MISPLACED if before == "A" and after == "A" else 0.0


def _letters(text: str, language: str) -> float:
    """The accented letters of a text in a language."""
    known = _likelihoods(language)
    return sum(known.get(char.lower(), known.get(char, _FOREIGN)) * n for (char, *_), n in _seen(text).items()
               if _is_letter(char))  # fmt: skip


@functools.cache
def _likelihoods(language: str) -> dict[str, float]:
    """Letter → the logarithm of its share, which falls by Zipf's law; English has few accents at all."""
    letters = _LANGUAGES[language][1]
    total = sum(1 / rank for rank in range(1, len(letters) + 1))
    return {
        letter: -math.log(rank * total) - (1.0 if language == "en" else 0.0)
        for rank, letter in enumerate(letters, 1)
    }


def _words(text: str, language: str) -> float:
    """Common words of a language, long ones for more, up to thirty."""
    counts = _counted(text)
    return min(30.0, sum(counts[word] * min(len(word), 5) / 2 for word in _LANGUAGES[language][2].split()))


@functools.lru_cache(maxsize=32)
def _counted(text: str) -> Counter[str]:
    return Counter(re.findall(r"[^\W\d_]+", text.lower()))
