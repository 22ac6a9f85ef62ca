"""Language model of characters: n-grams with Witten-Bell smoothing (Witten & Bell 1991; Chen & Goodman 1999)."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from functools import lru_cache
from math import log
from pathlib import Path
from typing import Self

from labkit.core.cache import write_atomic
from labkit.core.errors import WeightsError
from labkit.core.safety import small_text
from labkit.i18n import _

#: Begin and end of a text in the n-grams.
BEGIN, END = "\x02", "\x03"
#: Contexts beyond which the longest that occur once are left out.
MOST = 200_000


class CharacterNgram:
    """Probabilities of the next character after the characters before it.

    Witten-Bell: after a context that was seen n times with t different characters, a share of t / (n + t) goes to the
    shorter context; below the single characters, all known ones are equally likely.

    Args:
        counts: context → character → how often it followed; contexts of 0 to ``order`` - 1 characters.
        order: characters of an n-gram.
    """

    def __init__(self, counts: Mapping[str, Mapping[str, int]], order: int):
        self.counts, self.order = {context: dict(each) for context, each in counts.items()}, order
        self._totals = {context: sum(each.values()) for context, each in self.counts.items()}
        self._known = len(self.counts.get("", {})) + 1
        self._cached = lru_cache(maxsize=2**16)(self._probability)

    @classmethod
    def fit(cls, texts: Iterable[str], order: int = 5) -> Self:
        """From texts; the end of each is counted as a character."""
        counts: Mapping[str, Counter[str]] = defaultdict(Counter)
        for text, times in Counter(texts).items():
            whole = BEGIN + text + END
            for place in range(1, len(whole)):
                for length in range(min(order, place + 1)):
                    counts[whole[place - length : place]][whole[place]] += times
        if len(counts) > MOST:
            counts = {
                context: each
                for context, each in counts.items()
                if len(context) < order - 1 or each.total() > 1
            }
        return cls(counts, order)

    def log_probability(self, before: str, character: str) -> float:
        """Natural logarithm of the probability of ``character`` (:data:`END`: the end) after the text ``before``."""
        context = (BEGIN + before)[-(self.order - 1) :] if self.order > 1 else ""
        return log(self._cached(context, character))

    def _probability(self, context: str, character: str) -> float:
        found = 1 / self._known
        for length in range(len(context) + 1):
            here = context[len(context) - length :]
            each = self.counts.get(here)
            if each is None:
                break
            total = self._totals[here]
            found = (each.get(character, 0) + len(each) * found) / (total + len(each))
        return found

    def save(self, path: Path) -> None:
        """Write the counts as JSON."""
        content = {"order": self.order, "counts": self.counts}
        write_atomic(path, json.dumps(content, ensure_ascii=False, sort_keys=True) + "\n")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what :meth:`save` wrote. Raises :class:`WeightsError` for a file that is missing or damaged."""
        try:
            content = json.loads(small_text(path, WeightsError))
            counts = {
                str(context): {str(one): int(count) for one, count in each.items()}
                for context, each in content["counts"].items()
            }
            if any(count < 1 for each in counts.values() for count in each.values()):
                raise ValueError("a count below 1")
            return cls(counts, int(content["order"]))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise WeightsError(
                _("{file!r} is no language model of characters: {error}. Export the model again."),
                file=path.name, error=f"{type(error).__name__}: {error}",
            ) from None  # fmt: skip
