"""N-gram baseline of language models: interpolated modified Kneser-Ney smoothing (Chen & Goodman 1999).

 The chance of a token after its context is its discounted count there, and what the discounts left over is
dealt out by the context without its first token; down to single tokens, and below them every piece of the
vocabulary alike. Counts are sorted arrays, so that a million tokens take a second or two.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from labkit.core.config import load_file
from labkit.core.errors import ConfigError, DataError
from labkit.data.rows import Rows
from labkit.data.text.tokens import Tokens
from labkit.i18n import _
from labkit.train.experiment import Experiment
from labkit.train.processors import load_processor

#: Tokens of an n-gram; beyond five little is gained (Chen & Goodman 1999, figure 11).
ORDER = 5


@dataclass(frozen=True)
class _Grams:
    """The k-grams of a text. ``code``: i64[g], sorted, the number of the first k - 1 tokens times v plus the
    last token; ``share``: f64[g], the discounted count of the gram ÷ that of all with its context; ``left``:
    f64[contexts], the share that the discounts left over, 1 where a context was never seen."""

    code: np.ndarray
    share: np.ndarray
    left: np.ndarray

    def find(self, code: np.ndarray) -> np.ndarray:
        """The number of each gram, -1 where there is none; a negative code is none."""
        place = np.minimum(np.searchsorted(self.code, code), len(self.code) - 1)
        return np.where(self.code[place] == code, place, -1)


class NGram:
    """An n-gram model of a stream of tokens.

    Args:
        vocabulary: v, how many pieces there are; tokens are 0 … v - 1.
        order: n, tokens of the longest gram.

    Raises:
        ConfigError: ``order`` or ``vocabulary`` below 1.
    """

    def __init__(self, vocabulary: int, order: int = ORDER):
        if min(order, vocabulary) < 1:
            raise ConfigError(
                _("an n-gram model needs an order and a vocabulary of 1 or more, not {order}, {vocabulary}."),
                order=order,
                vocabulary=vocabulary,
            )
        self.vocabulary, self.order = vocabulary, order
        self._grams: list[_Grams] = []

    def fit(self, ids: np.ndarray) -> Self:
        """Count the grams of ``ids``, i[n], a running text.

        Raises:
            DataError: there are fewer tokens than the order, or one that is not in the vocabulary.
        """
        ids = self._checked(ids)
        if len(ids) < self.order:
            raise DataError(
                _("{order}-grams need at least {order} tokens; there are {n_ids}."),
                order=self.order,
                n_ids=len(ids),
            )
        codes, firsts, ends = [], [], [np.zeros(len(ids), np.int64)]  # the empty gram ends everywhere
        for k in range(1, self.order + 1):
            text = ends[-1][:-1] * self.vocabulary + ids[k - 1 :] if k > 1 else ids
            code, first, number = np.unique(text, return_index=True, return_inverse=True)
            codes.append(code)
            firsts.append(first)
            ends.append(number.reshape(-1))
        counts = []
        for k in range(1, self.order):  # after how many different tokens a gram stands: Kneser & Ney's count
            longer = firsts[
                k
            ]  # where every gram of k + 1 tokens begins first; its last k tokens begin one later
            counts.append(np.bincount(ends[k][longer + 1], minlength=len(codes[k - 1])))
        counts.append(np.bincount(ends[-1], minlength=len(codes[-1])))
        contexts = [1, *map(len, codes[:-1])]
        self._grams = [
            self._smoothed(code, count, size)
            for code, count, size in zip(codes, counts, contexts, strict=True)
        ]
        return self

    def log_chances(self, ids: np.ndarray) -> np.ndarray:
        """Log-probability of each token after the (up to n - 1) tokens before it, nats, f64[n]."""
        ids = self._checked(ids)
        if not self._grams:
            raise ConfigError(_("this n-gram model is not fitted yet: call fit(ids)."))
        chance = np.full(len(ids), 1 / self.vocabulary)
        before = np.zeros(len(ids), np.int64)  # the gram that ends before each token: the empty one
        for grams in self._grams:
            number = grams.find(np.where(before < 0, -1, before * self.vocabulary + ids))
            left = np.where(before < 0, 1.0, grams.left[before])
            chance = np.where(number < 0, 0.0, grams.share[number]) + left * chance
            before = np.append(np.full(1, -1), number[:-1])
        return np.log(chance)

    def _smoothed(self, code: np.ndarray, count: np.ndarray, contexts: int) -> _Grams:
        """Discounts for grams counted once, twice and more often, from how many there are of each. Where
        these numbers leave nothing to discount, as in small texts, they are 0.5, 1 and 1.5: else the unseen
        would have no chance."""
        once, twice, thrice, four = (np.count_nonzero(count == times) for times in (1, 2, 3, 4))
        base = once / max(once + 2 * twice, 1)
        ratios = [(twice, once), (thrice, twice), (four, thrice)]
        cuts = [
            times - (times + 1) * base * more / max(less, 1) for times, (more, less) in enumerate(ratios, 1)
        ]
        cuts = [cut if cut > 0 else times / 2 for times, cut in enumerate(cuts, 1)]
        cut = np.array([0.0, *cuts])[np.minimum(count, 3)]
        context = code // self.vocabulary
        total = np.bincount(context, count, contexts)
        share = (count - cut) / np.maximum(total, 1)[context]
        left = np.bincount(context, cut, contexts) / np.maximum(total, 1)
        return _Grams(code, share, np.where(total > 0, left, 1.0))

    def _checked(self, ids: np.ndarray) -> np.ndarray:
        ids = np.asarray(ids, np.int64).reshape(-1)
        if len(ids) and not 0 <= ids.min() <= ids.max() < self.vocabulary:
            raise DataError(
                _("tokens from {lowest} to {highest} are not all in a vocabulary of {vocabulary}."),
                lowest=ids.min(), highest=ids.max(), vocabulary=self.vocabulary,
            )  # fmt: skip
        return ids


def baseline_scores(folder: Path, rows: Rows, split: str, order: int = ORDER) -> dict[str, float]:
    """``ngram_loss`` (nats a token) and ``ngram_perplexity`` of an n-gram model of the training rows on a
    split.

    It reads the same tokens as the language model in ``folder`` and is scored on the same ones: all but the
    first of a window. Its contexts reach back over the beginning of a window.
    """
    experiment: Experiment = load_file(Experiment, folder / "labkit.toml")
    processor = load_processor(experiment, folder, "text", ())
    train, asked = processor.encode(rows["train"]), processor.encode(rows[split])
    assert isinstance(train, Tokens) and isinstance(asked, Tokens) and processor.tokenizer is not None
    vocabulary = max(processor.tokenizer.vocab_size, experiment.model.vocab_size or 0)
    chances = NGram(vocabulary, order).fit(train.ids).log_chances(asked.ids)
    scored = np.ones(len(chances), bool)
    scored[np.asarray(asked.offsets[:-1])] = False
    loss = float(-chances[scored].mean())
    return {"ngram_loss": loss, "ngram_perplexity": float(np.exp(loss))}
