"""Edit distance of two sequences (Levenshtein 1966) with its alignment: substitutions, deletions and insertions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

#: Kinds of edits, as :func:`aligned` names them.
SAME, SUBSTITUTION, DELETION, INSERTION = "same", "substitution", "deletion", "insertion"


class Edit(NamedTuple):
    """One place of an alignment; ``truth`` is "" for an insertion, ``answer`` for a deletion."""

    kind: str
    truth: str
    answer: str


def aligned(truth: Sequence[str], answer: Sequence[str]) -> list[Edit]:
    """An alignment with the fewest edits; of equally good ones that with substitutions rather than deletions and
    insertions, from the end."""
    n, m = len(truth), len(answer)
    cost = np.zeros((n + 1, m + 1), np.int64)
    cost[:, 0], cost[0] = np.arange(n + 1), np.arange(m + 1)
    wrong = np.array([[one != other for other in answer] for one in truth], np.int64).reshape(n, m)
    places = np.arange(m + 1)
    for row in range(1, n + 1):
        without = cost[row - 1] + 1
        without[1:] = np.minimum(without[1:], cost[row - 1, :-1] + wrong[row - 1])
        cost[row] = np.minimum.accumulate(without - places) + places  # insertions follow one another
    found, row, column = list[Edit](), n, m
    while row or column:
        here = cost[row, column]
        if row and column and here == cost[row - 1, column - 1] + wrong[row - 1, column - 1]:
            row, column = row - 1, column - 1
            found.append(Edit(SUBSTITUTION if wrong[row, column] else SAME, truth[row], answer[column]))
        elif row and here == cost[row - 1, column] + 1:
            row -= 1
            found.append(Edit(DELETION, truth[row], ""))
        else:
            column -= 1
            found.append(Edit(INSERTION, "", answer[column]))
    return found[::-1]


def counts(edits: Sequence[Edit]) -> np.ndarray:
    """Substitutions, deletions, insertions, and the length of the truth, i64[4]."""
    kinds = [edit.kind for edit in edits]
    number = [kinds.count(kind) for kind in (SUBSTITUTION, DELETION, INSERTION)]
    return np.array([*number, len(kinds) - number[2]], np.int64)
