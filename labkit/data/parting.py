"""By which columns the rows of a split can be told apart in groups."""

from __future__ import annotations

import numpy as np
from datasets import Dataset, Value

from labkit.data.admit import RESERVED

#: Different numbers up to which each is a group of its own.
_APART = 12


def parting(dataset: Dataset) -> list[str]:
    """What rows can be parted by: "length" where there are texts, and columns that tell rows apart, but not every row
    from all others."""
    length = ["length"] if "text" in dataset.column_names else []
    scalar = [name for name, kind in dataset.features.items() if isinstance(kind, Value) and name not in RESERVED]
    return length + [name for name in scalar if measured(dataset, name) or 1 < len(set(dataset[name])) < len(dataset)]


def measured(dataset: Dataset, name: str) -> bool:
    """Whether a column holds more different numbers than could be shown as groups of their own."""
    numbers = np.issubdtype(np.asarray(dataset[name][:1]).dtype, np.number)
    return numbers and len(set(dataset[name])) > _APART
