"""Rows of texts with the probabilities of every class as their target, for distillation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from datasets import Dataset

from labkit.data.targets import as_column

#: Texts, second texts of pairs or None, class ids, row numbers, and probabilities [n, c].
SoftLabelled = tuple[Sequence[str], "Sequence[str] | None", np.ndarray, np.ndarray, np.ndarray]


def texts_of(part: Dataset) -> tuple[list[str], list[str] | None]:
    """Texts of a split, and second texts of pairs."""
    pairs = list(part["text_pair"]) if "text_pair" in part.column_names else None
    return list(part["text"]), pairs


def soft_labelled(parts: Sequence[SoftLabelled]) -> Dataset:
    """A split of these parts, one after the other."""
    texts, pairs, label, row, target = zip(*parts, strict=True)
    made = {"text": pa.array([text for part in texts for text in part], pa.string())}
    if pairs[0] is not None:
        made["text_pair"] = pa.array([text for part in pairs for text in part], pa.string())
    made["label"] = pa.array(np.concatenate(label).astype(np.int32))
    made["row"] = pa.array(np.concatenate(row).astype(np.int64))
    made["target"] = as_column(np.concatenate(target).astype(np.float32))
    return Dataset(pa.table(made))
