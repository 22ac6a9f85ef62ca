"""Files in CoNLL format: a word a line with its tag, a blank line behind each sentence."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import pyarrow as pa

from labkit.core.errors import DataError
from labkit.data.io.arrow_cache import ROW
from labkit.data.report import visible
from labkit.i18n import _


def conll_sentences(lines: Iterable[str], file: str) -> Iterator[tuple[list[str], list[str]]]:
    """Words and tags of the sentences of a file in CoNLL format: a word a line, its tag in the last column, a blank
    line behind each sentence. Lines that begin with ``-DOCSTART-`` or ``# `` are no words.

    Raises:
        DataError: a line of one column.
    """
    words: list[str] = []
    tags: list[str] = []
    for number, line in enumerate(lines, start=1):
        cells = line.split("\t") if "\t" in line else line.split()
        cells = [cell.strip() for cell in cells]
        if not any(cells) or cells[0].startswith("-DOCSTART-") or line.startswith("# "):
            if words:
                yield words, tags
            words, tags = [], []
        elif len(cells) < 2 or not cells[0]:
            raise DataError(
                _("{file!r}: line {line} is {text!r}; a word and its tag are needed, divided by a tab or a space."),
                file=file, line=number, text=visible(line.rstrip(), 60),
            )  # fmt: skip
        else:
            words.append(cells[0])
            tags.append(cells[-1])
    if words:
        yield words, tags


def conll_table(found: Sequence[tuple[list[str], list[str]]], start: int) -> pa.Table:
    """Sentences as a table with the columns ``tokens`` and ``tags``."""
    kind = pa.list_(pa.string())
    return pa.table(
        {
            "tokens": pa.array([words for words, _tags in found], kind),
            "tags": pa.array([tags for _words, tags in found], kind),
            ROW: pa.array(range(start, start + len(found)), pa.int64()),
        }
    )
