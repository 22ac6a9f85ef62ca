"""BLEU and chrF++ from sufficient statistics of each row, equal to sacrebleu's, so that resamples cost one product.

BLEU (Papineni et al. 2002) with exponential smoothing and the tokenizers "13a" and "zh"; chrF++ (Popović 2017):
n-grams of one to six characters and of one and two words, recall weighted twice.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

ORDER = 4  # of BLEU's n-grams
CHARACTERS, WORDS, BETA = 6, 2, 2  # chrF++
_PUNCTUATION = frozenset("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")
_SPLITS = (
    (re.compile(r"([\{-\~\[-\` -\&\(-\+\:-\@\/])"), r" \1 "),
    (re.compile(r"([^0-9])([\.,])"), r"\1 \2 "),  # unless after a digit
    (re.compile(r"([\.,])([^0-9])"), r" \1 \2"),  # unless before a digit
    (re.compile(r"([0-9])(-)"), r"\1 \2 "),
)
# The ranges that sacrebleu takes for Chinese. \u2001-\u2a6d and \u2f81-\u2fa1 are there by a slip of its table (five
# digits after \u), which scores must share to be comparable.
_CHINESE = re.compile(
    "([\u3400-\u4db5\u4e00-\u9fbb\uf900-\ufa2d\ufa30-\ufa6a\ufa70-\ufad9\u2001-\u2a6d\u2f81-\u2fa1\uff00-\uffef\u2e80-\u2eff"
    "\u3000-\u303f\u31c0-\u31ef\u2f00-\u2fdf\u2ff0-\u2fff\u3100-\u312f\u31a0-\u31bf\ufe10-\ufe1f\ufe30-\ufe4f\u2600-\u27bf"
    "\u3200-\u33ff])"
)
_HAN = re.compile("[\u3400-\u9fff]")


def _split_marks(text: str) -> list[str]:
    for pattern, by in _SPLITS:
        text = pattern.sub(by, text)
    return text.split()


def _words_13a(text: str) -> list[str]:
    text = text.replace("<skipped>", "").replace("-\n", "").replace("\n", " ")
    for name, mark in (("&quot;", '"'), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">")):
        text = text.replace(name, mark)
    return _split_marks(f" {text} ")


def _words_zh(text: str) -> list[str]:
    return _split_marks(_CHINESE.sub(r" \1 ", text.strip()))


#: Name, as in sacrebleu, → function from a text to its words.
TOKENIZERS: dict[str, Callable[[str], list[str]]] = {"13a": _words_13a, "zh": _words_zh}


def tokenizer_for(texts: Sequence[str]) -> str:
    """ "zh" where at least a fifth of the letters of the texts are Chinese, else "13a"."""
    letters = "".join("".join(text.split()) for text in texts)
    return "zh" if len(_HAN.findall(letters)) >= max(0.2 * len(letters), 1) else "13a"


def _grams(items: Sequence[str] | str, size: int) -> Counter[object]:
    if isinstance(items, str):
        return Counter(items[at : at + size] for at in range(len(items) - size + 1))
    return Counter(tuple(items[at : at + size]) for at in range(len(items) - size + 1))


def bleu_statistics(outputs: Sequence[str], references: Sequence[str], tokenizer: str) -> np.ndarray:
    """Counts i64[n, 2 + 2 * 4]: words of output and reference, then matches and n-grams of each order."""
    words = TOKENIZERS[tokenizer]
    lines = []
    for output, reference in zip(outputs, references, strict=True):
        own, true = words(output.rstrip()), words(reference.rstrip())
        common = [(_grams(own, size) & _grams(true, size)).total() for size in range(1, ORDER + 1)]
        lines.append([len(own), len(true), *common, *(max(len(own) - size, 0) for size in range(ORDER))])
    return np.asarray(lines, np.int64).reshape(-1, 2 + 2 * ORDER)


def bleu(sums: np.ndarray) -> np.ndarray:
    """BLEU, 0 to 100, of summed counts [..., 10]."""
    sums = np.asarray(sums, np.float64)
    own, true = sums[..., 0], sums[..., 1]
    matches, grams = sums[..., 2 : 2 + ORDER], sums[..., 2 + ORDER :]
    halvings = np.cumsum(
        (matches == 0) & (grams > 0), axis=-1
    )  # of the precision of an order without matches
    found = np.where(matches > 0, matches, 0.5**halvings)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.where(
            grams > 0, np.log(100 * found / grams), -9999999999.0
        )  # as sacrebleu has the log of 0
        brevity = np.where(own < true, np.exp(1 - true / own), 1.0)
    score = np.nan_to_num(brevity) * np.exp(logs.mean(-1))
    return np.where(matches.any(-1), score, 0.0)


def chrf_statistics(outputs: Sequence[str], references: Sequence[str]) -> np.ndarray:
    """Counts i64[n, 8, 3]: n-grams of output, of reference, and matches, of each order."""
    lines = []
    for output, reference in zip(outputs, references, strict=True):
        own, true = (_all_grams(text) for text in (output, reference))
        lines.append([
            [mine.total() if other else 0, other.total(), (mine & other).total()]
            for mine, other in zip(own, true, strict=True)
        ])  # fmt: skip
    return np.asarray(lines, np.int64).reshape(-1, CHARACTERS + WORDS, 3)


def _all_grams(text: str) -> list[Counter[object]]:
    letters, words = "".join(text.split()), []
    for word in text.split():  # a mark at the end of a word, or else at its beginning, is a word of its own
        if len(word) > 1 and word[-1] in _PUNCTUATION:
            words += [word[:-1], word[-1]]
        elif len(word) > 1 and word[0] in _PUNCTUATION:
            words += [word[0], word[1:]]
        else:
            words.append(word)
    by_letter = [_grams(letters, size) for size in range(1, CHARACTERS + 1)]
    return by_letter + [_grams(words, size) for size in range(1, WORDS + 1)]


def chrf(sums: np.ndarray) -> np.ndarray:
    """chrF++, 0 to 100, of summed counts [..., 8, 3]; orders that neither side has are left out of the mean."""
    own, true, common = np.moveaxis(np.asarray(sums, np.float64), -1, 0)
    here = (own > 0) & (true > 0)
    orders = np.maximum(here.sum(-1), 1)
    precision = np.where(here, common / np.maximum(own, 1), 0.0).sum(-1) / orders
    recall = np.where(here, common / np.maximum(true, 1), 0.0).sum(-1) / orders
    whole = BETA**2 * precision + recall
    return 100 * (1 + BETA**2) * precision * recall / np.where(whole > 0, whole, 1.0)
