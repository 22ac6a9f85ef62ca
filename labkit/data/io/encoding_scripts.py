"""Detection of encodings of non-Latin scripts by character frequency.

 The likelihood of a text is that of its characters: half of it for the common ones of a language, by Zipf's
law, half for all others of its script. The same bytes are read in every encoding, so that the likelihoods can
be compared.
"""

from __future__ import annotations

import codecs
import functools
import math
import re
from dataclasses import dataclass

from labkit.data.io.encoding_latin import MOST, SURE, Guess, example, misplaced

_KANA = "".join(map(chr, [*range(0x3041, 0x3097), *range(0x30A1, 0x30FB)]))


@dataclass(frozen=True)
class Script:
    """A script as one language writes it.

    Attributes:
        encodings: encoding → how common it is, as a logarithm.
        pattern: a character of it.
        marker: a character that only this language has among those that share the pattern.
        size: characters in use.
        common: the common ones, the most frequent first.
    """

    encodings: dict[str, float]
    pattern: str
    marker: str
    size: int
    common: str


SCRIPTS = (
    Script({"gb18030": 0.0}, "[\u4e00-\u9fff]", "[\u4e00-\u9fff]", 7000,
           "的一是不了在人有我他这个们中来上大为和国地到以说时要就出会可也你对生能而子那得于着下自之年过发后作里用道行所然家种事成"
           "方多经么去法学如都同现当没动面起看定天分还进好小部其些主样理心她本前开但因只从想实日者意无力它与长把机十民第公此已工使"
           "情明性知全三又关点正业外将两高间由问很最重差太少给酒店电影书质量服务房东西买喜欢推荐常非感觉错价格便宜北京海城市家房间体验务套"),
    Script({"big5": -1.0}, "[\u4e00-\u9fff]", "[這個們來為國說時會對發後裡經學現當沒還進樣開從實電]", 7000,
           "的一是不了在人有我他這個們中來上大為和國地到以說時要就出會可也你對生能而子那得於著下自之年過發後作裡用道行所然家種事成"
           "方多經麼去法學如都同現當沒動面起看定天分還進好小部其些主樣理心她本前開但因只從想實日很最電影書質量服務"),
    Script({"cp932": -0.5, "euc_jp": -2.0}, "[\u3040-\u30ff\u4e00-\u9fff]", "[\u3040-\u30ff]", 6500,
           "のにるたをはしとがでていなれあこすもらりくっうまんきそかさけよおえめせつどみばわじやちへびげ日一人年大十二本中長出三時行見"
           "月分後前生五間上東四今金九入学高円子外八六下来気小七山話女北午百書先名川千水半男"
           "西電校語土木聞食車何南万毎白天母火右読友左休父雨映画良" + _KANA),
    Script({"cp949": -0.5}, "[\uac00-\ud7a3]", "[\uac00-\ud7a3]", 8000,
           "이다는에가하고의을지를은도로한사기서리어아자나시그인해보수있여니대것들게오일주정만으라전상스면부구제요장없안우할거좋영"
           "화음었았세성과조비적원동신말문공작까되마당람물재미"),
    Script({"cp1251": 0.0, "koi8-r": -3.0, "cp866": -4.0}, "[\u0400-\u04ff]", "[\u0400-\u04ff]", 64,
           "оеаинтсрвлкмдпуяыьгзбчйхжшюцщэфъёії"),
    Script({"cp1253": -3.0}, "[\u0370-\u03ff]", "[\u0370-\u03ff]", 60, "αοιετσνηυρπκμλςδγωθχφβξζψάέήίόύώ"),
    Script({"cp1255": -1.0}, "[\u0590-\u05ff]", "[\u0590-\u05ff]", 27, "יוהלאמרתבשנםכעדחקפגזטסןץךף"),
    Script({"cp1256": -2.0}, "[\u0600-\u06ff]", "[\u0600-\u06ff]", 40, "المنيورتبعدسهقفكحجةىشصطخزذضغءثظأإآئؤ"),
    Script({"cp874": -3.0}, "[\u0e00-\u0e7f]", "[\u0e00-\u0e7f]", 80, "านรกอเงมยลวดทสตะปบคหแจพชขใไโผถซศณธ่้ิีุูัื็์ำ"),
)  # fmt: skip
_SIGNS = re.compile("[\u3000-\u303f\uff00-\uff65\u2010-\u203a\xa0-\xbf]")
_SIGN, _ASCII, _OTHER = -5.0, -3.0, -13.0
#: Mean likelihood of a character above 127 below which a text is none of a script.
_UNLIKELY = -11.0
_BESIDE = 25.0  # what the script of the files beside counts


def guess(data: bytes, beside: str = "") -> Guess | None:
    """The likeliest encoding of a text in a script other than Latin; None where it reads like none.

    Args:
        data: the text, from the beginning of a character.
        beside: texts of the same source that are known, for their script.
    """
    read: dict[str, str] = {}
    scores: dict[str, float] = {}
    for script in SCRIPTS:
        known = _BESIDE if _is_written_in(beside, script) else 0.0
        for name, prior in script.encodings.items():
            try:
                read[name] = codecs.getincrementaldecoder(name)().decode(data[:MOST])
            except UnicodeDecodeError:
                continue
            likelihood, above = _likelihood(read[name], script)
            if known or likelihood > _UNLIKELY * above:
                scores[name] = likelihood + prior + known + _ASCII * (len(read[name]) - above)
    if not scores:
        return None
    best, *others = sorted(scores, key=lambda name: -scores[name])
    if others and scores[best] - scores[others[0]] < SURE:
        return Guess(best, others[0], example(read[best], read[others[0]]))
    return Guess(best)


def is_known(beside: str) -> bool:
    """Whether a text is in one of these scripts."""
    return any(_is_written_in(beside, script) for script in SCRIPTS)


def _is_written_in(text: str, script: Script) -> bool:
    return bool(text) and 5 * len(re.findall(script.marker, text)) > len(text)


def _likelihood(text: str, script: Script) -> tuple[float, int]:
    """That of the characters above 127, and how many they are."""
    common, rest, total, above = _common(script.common), math.log(0.5 / script.size), 0.0, 0
    for char in re.findall(r"[^\x00-\x7f]", text):
        above += 1
        small = char.lower()
        if small in common:
            total += common[small] - (2.0 if small != char else 0.0)
        elif re.match(script.pattern, char):
            total += rest
        else:
            total += _SIGN if _SIGNS.match(char) else _OTHER
    return total + misplaced(text), above


@functools.cache
def _common(characters: str) -> dict[str, float]:
    every = list(dict.fromkeys(characters))
    first = 1 + len(every) / 20
    total = sum(1 / (rank + first) for rank in range(len(every)))
    return {char: math.log(0.5 / (rank + first) / total) for rank, char in enumerate(every)}
