"""Pictures with masks: a class for every pixel, as numbers of classes in the column ``mask``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pyarrow as pa
from datasets import Array2D, Dataset, Features

from labkit.core.errors import DataError, nearest
from labkit.data import memmap
from labkit.data.arrow import batches
from labkit.data.columns import Choice
from labkit.data.io.arrow_cache import Part
from labkit.data.report import Report, visible
from labkit.i18n import _

#: Column of the masks; the value of a pixel whose class is not known.
MASK, UNKNOWN = "mask", 255
#: Classes at most: a mask of more values is a photograph, or was stored with loss.
MOST = 200
#: Raw values of coloured masks are COLOUR + 0xRRGGBB.
COLOUR = 1 << 24


def has_masks(dataset: Dataset) -> bool:
    """Whether the rows have a class for every pixel."""
    return MASK in dataset.column_names


def masks_of(dataset: Dataset) -> np.ndarray:
    """The masks of every row, u8[n, height, width]; :data:`UNKNOWN` where the class of a pixel is not known.

    Raises:
        DataError: there are none.
    """
    if not has_masks(dataset):
        raise DataError(
            _("the pictures have no masks. Expected a folder with images/ and masks/, in which files of the same name "
              "belong together. The rows have {names}."),
            names=visible(", ".join(dataset.column_names), 400),
        )  # fmt: skip
    return _values(dataset, np.uint8)


def class_pixels(dataset: Dataset, classes: int) -> np.ndarray:
    """Pixels of each class in the rows, i64[c]."""
    masks = masks_of(dataset)
    return sum(
        (np.bincount(masks[part].reshape(-1), minlength=UNKNOWN + 1)[:classes] for part in _portions(masks)),
        np.zeros(classes, np.int64),
    )


def _portions(masks: np.ndarray) -> list[slice]:
    return list(memmap.portions(len(masks), max(1, int(np.prod(masks.shape[1:])))))


def _values(dataset: Dataset, kind: type[np.generic]) -> np.ndarray:
    """The numbers of the column of masks [n, height, width]."""
    found, start = np.empty((0, 0, 0), kind), 0
    for table in batches(dataset, [MASK]):
        for chunk in table.column(0).chunks:
            rows = chunk.storage if isinstance(chunk, pa.ExtensionArray) else chunk
            lines = rows.flatten()
            high = len(lines) // max(1, len(rows))
            values = lines.flatten().to_numpy(zero_copy_only=False).reshape(len(rows), high, -1)
            if not start:
                found = memmap.array(len(dataset) * values[0].size, kind).reshape(
                    len(dataset), *values.shape[1:]
                )
            found[start : start + len(values)] = values
            start += len(values)
    return found


def with_masks(
    parts: Mapping[str, Part], choice: Choice, rows: Mapping[str, np.ndarray], report: Report
) -> tuple[dict[str, Part], dict[str, np.ndarray], tuple[str, ...]]:
    """The tables with numbers of classes as masks, the rows that cannot be used, bool[n], and the names of the classes.

    The raw values of masks are ids of grey or palette images, where 255 is an unknown class, or colours. Without
    ``classes`` they are the values that occur; where these are 0 and 255 alone, both are classes. A sequence of
    ``classes`` names the ids from 0 on; a mapping names values ("0", "#ff0000").

    Raises:
        DataError: masks have more than 200 classes.
    """
    raw = {split: _values(part.table, np.int32) for split, part in parts.items()}
    there = sorted({int(value) for masks in raw.values() for value in _unique(masks)})
    named = _named(there, choice)
    if len(named) > MOST:
        raise DataError(
            _("the masks have {count:,} different values. A mask has one value for each class: store it without loss "
              "(PNG, not JPEG), or name the values with classes=…."),
            count=len(named),
        )  # fmt: skip
    classes = tuple(dict.fromkeys(named.values()))
    known = {value: classes.index(name) for value, name in named.items()}
    if UNKNOWN not in known:
        known[UNKNOWN] = UNKNOWN
    made, bad = {}, {}
    keys = np.array(sorted(known), np.int64)
    numbered = np.array([known[key] for key in keys.tolist()], np.uint8)
    for split, part in parts.items():
        values = raw[split]
        masks = memmap.array(values.size, np.uint8).reshape(values.shape)
        bad[split] = np.zeros(len(values), bool)
        unknown = 0
        for here in _portions(values):
            place = np.minimum(np.searchsorted(keys, values[here]), len(keys) - 1)
            outside = keys[place] != values[here]
            masks[here] = np.where(outside, UNKNOWN, numbered[place])
            unknown += int((masks[here] == UNKNOWN).sum())
            for row in np.flatnonzero(outside.any((1, 2))).tolist():
                odd = shown(int(values[here][row][outside[row]][0]))
                bad[split][here.start + row] = True
                report.add(
                    "refused", _("mask with a value that no class has"),
                    rows[split][here.start + row : here.start + row + 1], column=MASK,
                    detail=f"{odd}{nearest(odd, map(shown, named))}", split=split,
                )  # fmt: skip
        if unknown:
            said = _("{unknown:,} of {total:,} pixels", unknown=unknown, total=masks.size)
            report.add("counted", _("pixels of unknown class"), column=MASK, detail=said, split=split)
        made[split] = replace(part, table=_replaced(part.table, masks))
    return made, bad, classes


def _named(there: list[int], choice: Choice) -> dict[int, str]:
    """Raw value → name of its class."""
    given = choice.classes
    if isinstance(given, Mapping):
        return {raw_of(str(value)): str(name) for value, name in given.items()}
    if given is not None:
        return dict(enumerate(map(str, given)))
    if there == [0, UNKNOWN]:
        return {value: shown(value) for value in there}
    return {value: shown(value) for value in there if value != UNKNOWN}


def shown(value: int) -> str:
    """A raw value of a mask as text: a number, or a colour as #rrggbb."""
    return f"#{value - COLOUR:06x}" if value >= COLOUR else str(value)


def raw_of(text: str) -> int:
    """The raw value of a number or a colour. Raises :class:`DataError`."""
    try:
        return COLOUR + int(text[1:], 16) if text.startswith("#") and len(text) == 7 else int(text)
    except ValueError:
        raise DataError(
            _("classes: {value!r} is no value of a mask. Give numbers (0) or colours (#ff0000)."), value=text
        ) from None


def _unique(masks: np.ndarray) -> set[int]:
    found: set[int] = set()
    for part in _portions(masks):
        found.update(np.unique(masks[part]).tolist())
        if len(found) > 50 * MOST:
            break
    return found


def mask_column(masks: np.ndarray) -> tuple[pa.ChunkedArray, Array2D]:
    """Masks [n, height, width] as a column that shares their memory, and its type."""
    kind = Array2D(masks.shape[1:], str(masks.dtype))
    field = Features({MASK: kind}).arrow_schema.field(MASK).type
    chunks = []
    for part in _portions(masks):  # lists count their values in 32 bits
        values: pa.Array = pa.array(masks[part].reshape(-1))
        for length in reversed(masks.shape[1:]):
            ends = np.arange(0, len(values) + 1, length, dtype=np.int32)
            values = pa.ListArray.from_arrays(pa.array(ends), values)
        chunks.append(pa.ExtensionArray.from_storage(field, values))
    return pa.chunked_array(chunks, field), kind


def _replaced(table: Dataset, masks: np.ndarray) -> Dataset:
    """The table with other masks."""
    column, kind = mask_column(masks)
    whole = table.flatten_indices() if table._indices is not None else table
    names = whole.column_names
    columns = [column if name == MASK else whole.data.table.column(name) for name in names]
    features = Features({name: kind if name == MASK else whole.features[name] for name in names})
    return Dataset(pa.Table.from_arrays(columns, schema=features.arrow_schema))
