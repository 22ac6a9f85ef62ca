"""Columns usable for grouping the rows of a split."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset, Value

from labkit.core.errors import DataError, nearest
from labkit.core.units import plain
from labkit.data.arrow import column
from labkit.data.cells import Column
from labkit.data.columns import RESERVED
from labkit.i18n import _

#: Kinds of source columns that become features of 0 and 1.
_DECODED = ("category", "boolean")
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


def group_columns(dataset: Dataset, features: Sequence[Column] = ()) -> list[str]:
    """Columns usable for grouping, with categories encoded as features by the name of their column."""
    encoded = {name for each in features for name in each.features if name != each.name}
    decoded = [each.name for each in features if each.kind in _DECODED]
    return [*decoded, *(name for name in parting(dataset) if name not in encoded and name not in decoded)]


def groups_of(dataset: Dataset, by: str, features: Sequence[Column] = ()) -> list[Any]:
    """The group of every row.

    Args:
        dataset: a split of rows.
        by: a column (many distinct numbers are cut into four ranges), or "length" of the texts.
        features: how source columns became features, so that their categories are known.

    Raises:
        DataError: there is no such column.
    """
    coded = {each.name: each for each in features if each.kind in _DECODED}
    if by in coded:
        return _decoded_column(dataset, coded[by])
    if by in dataset.column_names:
        return by_size(dataset[by]) if measured(dataset, by) else _values(dataset, by)
    if by == "length" and "text" in dataset.column_names:
        return by_length(dataset["text"])
    names = list(dict.fromkeys([*coded, *dataset.column_names, "length"]))
    raise DataError(
        _("the rows have no column {by!r}.{hint} They have {names}."),
        by=by, hint=nearest(str(by), names), names=", ".join(names),
    )  # fmt: skip


def columns_of(
    dataset: Dataset, columns: str | Sequence[str], features: Sequence[Column] = ()
) -> dict[str, list[Any]]:
    """Column → the group of every row; see :func:`groups_of`."""
    names = [columns] if isinstance(columns, str) else list(columns)
    return {name: groups_of(dataset, name, features) for name in names}


def _decoded_column(dataset: Dataset, how: Column) -> list[Any]:
    """The values of a column that became features of 0 and 1; None where all are missing or 0."""
    if how.kind == "boolean":
        found = np.asarray(dataset.with_format(None)[how.features[0]], np.float64)
        return [None if value != value else bool(value) for value in found.tolist()]
    table = np.stack([np.asarray(dataset.with_format(None)[name], np.float64) for name in how.features], 1)
    table = np.nan_to_num(table)
    place, known = table.argmax(1), table.max(1) > 0
    return [how.words[n] if there else None for n, there in zip(place.tolist(), known.tolist(), strict=True)]


def _values(dataset: Dataset, name: str) -> list[Any]:
    """The values of a column; many distinct numbers written as texts are cut into four ranges."""
    values = column(dataset, name)
    if pa.types.is_string(values.type) and _different(dataset, name) > _APART:
        try:
            numbers = pc.cast(values, pa.float64())
        except pa.ArrowInvalid:
            return values.to_pylist()
        return by_size([np.nan if value is None else value for value in numbers.to_pylist()])
    return list(dataset.with_format(None)[name])


def _different(dataset: Dataset, name: str) -> int:
    """How many different values a column has, a missing one among them."""
    values = column(dataset, name)
    return (
        min(1, len(values))
        if pa.types.is_null(values.type)
        else pc.count_distinct(values, mode="all").as_py()
    )


def by_length(texts: Sequence[str], parts: int = 4) -> list[str]:
    """A group for every text by its length in characters, the groups being about equally large."""
    return by_size([len(text) for text in texts], parts)


def by_size(numbers: Sequence[float], parts: int = 4) -> list[str]:
    """A group for every number, named by its least and greatest one; the groups are about equally large. What
    is no number (NaN) has the group "nan"."""
    values = np.asarray(numbers, np.float64)
    known = np.isfinite(values)
    if not known.any():
        return ["nan"] * len(values)
    edges = np.unique(np.quantile(values[known], np.linspace(0, 1, parts + 1), method="inverted_cdf"))
    place = np.clip(np.searchsorted(edges, values, side="left") - 1, 0, max(len(edges) - 2, 0))
    names = {}
    for number in np.unique(place[known]):
        inside = values[known & (place == number)]
        names[number] = f"{plain(float(inside.min()), 6)}–{plain(float(inside.max()), 6)}"
    return [names[number] if there else "nan" for number, there in zip(place, known, strict=True)]
