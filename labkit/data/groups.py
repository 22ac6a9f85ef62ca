"""Columns usable for grouping the rows of a split."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset, Value

from labkit.data.arrow import column
from labkit.data.columns import RESERVED

#: Different numbers up to which each is a group of its own.
_APART = 12


def parting(dataset: Dataset) -> list[str]:
    """Columns usable for grouping: "length" for texts, and columns with more than one but fewer distinct
    values than rows."""
    length = ["length"] if "text" in dataset.column_names else []
    scalar = [
        name for name, kind in dataset.features.items() if isinstance(kind, Value) and name not in RESERVED
    ]
    return length + [
        name for name in scalar if measured(dataset, name) or 1 < _different(dataset, name) < len(dataset)
    ]


def measured(dataset: Dataset, name: str) -> bool:
    """Whether a column has too many distinct numbers to show each as a group."""
    kind = dataset.features.arrow_schema.field(name).type
    return (pa.types.is_integer(kind) or pa.types.is_floating(kind)) and _different(dataset, name) > _APART


def _different(dataset: Dataset, name: str) -> int:
    """How many different values a column has, a missing one among them."""
    values = column(dataset, name)
    return (
        min(1, len(values))
        if pa.types.is_null(values.type)
        else pc.count_distinct(values, mode="all").as_py()
    )
