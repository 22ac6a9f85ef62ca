"""Truncation statistics: number of truncated texts and fraction of lost tokens."""

from __future__ import annotations

from typing import Any

import numpy as np
from datasets import Dataset

from labkit.data.batching.pairs import TextPairs
from labkit.data.text.encode import encode
from labkit.data.text.tokenizer import READ
from labkit.data.text.tokens import TokenExamples, Tokens
from labkit.i18n import _
from labkit.i18n.labels import split_name
from labkit.train.processors import Processor

#: Truncated rows whose whole length is counted, at most; the other rows are taken to be as long on average.
SAMPLE = 500


def truncation(processor: Processor, dataset: Dataset, examples: Any) -> dict[str, Any]:
    """Truncated texts of a split, of how many, and the share of all tokens lost; empty where nothing is
    truncated, and where examples are windows over the whole text.

    Args:
        processor: of the model.
        dataset: the split.
        examples: the same rows as the model reads them.
    """
    if not processor.truncates or not examples.truncated:
        return {}
    names = [name for name in ("text", "text_pair") if name in dataset.column_names]
    parts = [(examples, names)]
    if isinstance(examples, TextPairs):
        parts = list(zip((examples.source, examples.target), ([name] for name in names), strict=False))
    found = [_lost(dataset, tokens, columns, processor) for tokens, columns in parts]
    kept, lost = (sum(each) for each in zip(*found, strict=True))
    rows, of = (sum(each) for each in zip(*((part.truncated, len(part)) for part, _ in parts), strict=True))
    return {
        "rows": int(rows),
        "of": of,
        "lost": round(lost / (kept + lost), 4),
        "max_length": processor.max_length,
    }


def _lost(
    dataset: Dataset, tokens: Tokens | TokenExamples, columns: list[str], processor: Processor
) -> tuple[float, float]:
    """Tokens kept and, by a sample of the truncated rows, tokens lost."""
    kept = float(tokens.lengths.sum())
    if not tokens.truncated:
        return kept, 0.0
    full = np.flatnonzero(tokens.lengths >= processor.max_length)  # every truncated row is among them
    sample = full[np.unique(np.linspace(0, len(full) - 1, SAMPLE).round().astype(np.int64))]
    part = dataset.select_columns(columns).select(sample)
    if columns == ["text_pair"]:
        part = part.rename_column("text_pair", "text")
    assert processor.tokenizer is not None, "only texts are truncated"
    whole = encode(part, processor.tokenizer, READ, cache=False).lengths.mean() * len(full)
    return kept, max(float(whole) - float(tokens.lengths[full].sum()), 0.0)


def message(found: dict[str, Any], split: str = "train") -> str:
    """Messages about :func:`truncation`; empty where nothing is truncated."""
    if not found:
        return ""
    rows, of, lost = found["rows"], found["of"], found["lost"]
    return _(
                    "Truncated to max_length = {max_length}: {rows:,} of {of:,} texts of {split} ({share}), "
            "losing {lost} of all tokens. Increase max_length to keep more.",
        max_length=found["max_length"], rows=rows, of=of, split=split_name(split), share=_percent(rows / of),
        lost=_percent(lost),
    )  # fmt: skip


def _percent(share: float) -> str:
    return _("less than 0.1%") if share < 0.0005 else f"{share:.1%}"
