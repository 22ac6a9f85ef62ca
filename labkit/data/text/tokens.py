"""Token ids of rows in flat arrays."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from labkit.data import memmap

#: The arrays of :class:`Tokens` and their data types, each a ``.npy`` file in the cache.
DTYPES = {"ids": np.int32, "types": np.uint8, "offsets": np.int64, "label": np.int32, "row": np.int64}


@dataclass(frozen=True, eq=False)
class Tokens:
    """n tokenised rows, concatenated; row i is ``ids[offsets[i]:offsets[i + 1]]``.

    Attributes:
        ids: i32[total], special tokens included.
        types: u8[total], 0, or as the form of the tokenizer says, in BERT 1 in the second text and its
        ``[SEP]``.
        offsets: i64[n + 1].
        label: i32[n], class ids, -1 where there is none.
        row: i64[n], row numbers in the source.
        pad_id: what to fill up with.
        truncated: how many rows were cut to the greatest length.
        target: f32[n, k], several labels or numbers; None where each row has one class. Not kept in the
            cache.
    """

    ids: np.ndarray
    types: np.ndarray
    offsets: np.ndarray
    label: np.ndarray
    row: np.ndarray
    pad_id: int
    truncated: int = 0
    target: np.ndarray | None = None

    @classmethod
    def unlabelled(
        cls, ids: np.ndarray, types: np.ndarray, offsets: np.ndarray, pad_id: int, truncated: int = 0
    ) -> Tokens:
        """Tokens to predict on: ``label`` is -1 everywhere and ``row`` counts from 0."""
        count = len(offsets) - 1
        return cls(ids, types, offsets, np.full(count, -1, np.int32), np.arange(count), pad_id, truncated)

    def __len__(self) -> int:
        return len(self.label)

    def __repr__(self) -> str:
        return f"<tokens: {len(self)} rows, {len(self.ids)} tokens, {self.truncated} rows truncated>"

    @cached_property
    def lengths(self) -> np.ndarray:
        """Tokens in every row, i64[n]."""
        found = memmap.array(len(self), np.int64)
        for part in memmap.portions(len(self)):
            found[part] = np.diff(self.offsets[part.start : part.stop + 1])
        return found


@dataclass(frozen=True, eq=False)
class TokenExamples:
    """Base class of n examples that are tokens and more.

    Attributes:
        tokens: the tokens of the examples; their ``label`` decides which take part.
    """

    tokens: Tokens

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def label(self) -> np.ndarray:
        """i32[n], that of the tokens; -1: there is none."""
        return self.tokens.label

    @property
    def target(self) -> None:
        """None: what is learnt is in the arrays of the subclass."""
        return

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of every example, i64[n]."""
        return self.tokens.lengths

    @property
    def truncated(self) -> int:
        """Examples that were cut."""
        return self.tokens.truncated
