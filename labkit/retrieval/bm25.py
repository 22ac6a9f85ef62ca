"""BM25 (Robertson & Zaragoza 2009), in the form of Lucene, over words and Chinese characters and bigrams."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy import sparse

from labkit.core.errors import DataError
from labkit.i18n import _

K1, B = 1.5, 0.75
_CHINESE = "\u3400-\u9fff\uf900-\ufaff"
_PARTS = re.compile(rf"[{_CHINESE}]+|[^\W{_CHINESE}]+")
_HAN = re.compile(f"[{_CHINESE}]")


def terms(text: str) -> list[str]:
    """The terms of a text: words in lower case; of a run of Chinese its characters and bigrams."""
    found = list[str]()
    for part in _PARTS.findall(unicodedata.normalize("NFKC", text).casefold()):
        found += (
            [part] if not _HAN.match(part) else [*part, *(part[at : at + 2] for at in range(len(part) - 1))]
        )
    return found


class BM25:
    """Scores of n passages for queries; the score of a term in a passage is computed once.

    Args:
        vocabulary: term → number.
        weights: scores [terms, passages].
    """

    def __init__(self, vocabulary: dict[str, int], weights: sparse.csr_matrix):
        self.vocabulary, self.weights = vocabulary, weights

    @classmethod
    def fit(cls, texts: Sequence[str], k1: float = K1, b: float = B) -> BM25:
        """Count the terms of passages."""
        vocabulary, rows, columns, values = dict[str, int](), list[int](), list[int](), list[int]()
        lengths = np.zeros(len(texts))
        for place, text in enumerate(texts):
            counts = Counter(terms(text))
            lengths[place] = counts.total()
            rows += [vocabulary.setdefault(term, len(vocabulary)) for term in counts]
            columns += [place] * len(counts)
            values += counts.values()
        term, passage, often = (np.asarray(each, np.int64) for each in (rows, columns, values))
        present = np.bincount(term, minlength=len(vocabulary))
        rarity = np.log1p((len(texts) - present + 0.5) / (present + 0.5))
        usual = k1 * (1 - b + b * lengths / max(lengths.mean(), 1e-9))
        score = (rarity[term] * often / (often + usual[passage])).astype(np.float32)
        shape = len(vocabulary), len(texts)
        return cls(vocabulary, sparse.csr_matrix((score, (term, passage)), shape=shape))

    def scores(self, query: str) -> np.ndarray:
        """The score of every passage, f32[n]; a term that occurs twice in the query counts twice."""
        counts = Counter(self.vocabulary[term] for term in terms(query) if term in self.vocabulary)
        found = np.zeros(self.weights.shape[1], np.float32)
        for number, times in counts.items():
            part = slice(self.weights.indptr[number], self.weights.indptr[number + 1])
            found[self.weights.indices[part]] += times * self.weights.data[part]
        return found

    def save(self, folder: Path) -> None:
        """Write ``bm25.npz`` and ``terms.txt``."""
        names = ("data", "indices", "indptr")
        np.savez(folder / "bm25.npz", **{name: getattr(self.weights, name) for name in names},
                 shape=np.asarray(self.weights.shape))  # fmt: skip
        (folder / "terms.txt").write_text("\n".join(self.vocabulary), encoding="utf-8", newline="\n")

    @classmethod
    def load(cls, folder: Path) -> BM25:
        """Read what :meth:`save` wrote. Raises :class:`DataError` where that does not fit together."""
        try:
            with np.load(folder / "bm25.npz", allow_pickle=False) as file:
                parts = tuple(file[name] for name in ("data", "indices", "indptr"))
                weights = sparse.csr_matrix(parts, shape=tuple(file["shape"].tolist()))
            weights.check_format(full_check=True)
            names = (folder / "terms.txt").read_text(encoding="utf-8").split("\n") if weights.shape[0] else []
        except (ValueError, KeyError, OSError, EOFError) as error:
            raise DataError(_("the search index is damaged: {reason}"), reason=str(error)) from error
        if len(names) != weights.shape[0]:
            raise DataError(_("the search index is damaged: {reason}"), reason="terms.txt")
        return cls({name: number for number, name in enumerate(names)}, weights)
