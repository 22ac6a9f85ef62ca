"""The sample "blue-marble": tiles of a picture of the Earth with sea, land and lakes, split by longitude."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np

from labkit.core.errors import DataError
from labkit.hub.raw_table import RawTable
from labkit.i18n import _

CLASSES = ("sea", "land", "lake")
#: Pixels of the picture, and of the mask, whose first row is the southernmost; pixels of a tile.
PICTURE, GRID, SIDE = (2700, 5400), (4320, 8640), 64
#: Split → columns of tiles, from 180° W to the east. Test is the eastern half; validation, 77° to 56° W.
COLUMNS = {
    "train": (*range(24), *range(29, 42)),
    "validation": tuple(range(24, 29)),
    "test": tuple(range(42, 84)),
}
TILES = ("all", "mixed")


def blue_marble(place: Path, tiles: str = "all") -> RawTable:
    """A tile a row, from the north-west; ``longitude`` and ``latitude`` are those of its middle, in degrees.

    Args:
        place: folder of the sample.
        tiles: "mixed": only those with pixels of two classes at least.
    """
    import pyarrow as pa
    from datasets import Array2D, Array3D, Dataset, Features, Value

    if tiles not in TILES:
        raise DataError(_("tiles = {tiles!r} is not one of {known}."), tiles=tiles, known=", ".join(TILES))
    earth, mask = read(place)
    high, wide = earth.shape[0] // SIDE, earth.shape[1] // SIDE
    pictures = earth[: high * SIDE, : wide * SIDE].reshape(high, SIDE, wide, SIDE, 3).transpose(0, 2, 1, 3, 4)
    masks = mask[: high * SIDE, : wide * SIDE].reshape(high, SIDE, wide, SIDE).transpose(0, 2, 1, 3)
    several = masks.min((2, 3)) != masks.max((2, 3))
    kinds = {"image": Array3D((SIDE, SIDE, 3), "uint8"), "mask": Array2D((SIDE, SIDE), "uint8")}
    numbers = {"row": Value("int64"), "longitude": Value("float64"), "latitude": Value("float64")}
    features = Features({"row": numbers.pop("row"), **kinds, **numbers})
    splits = {}
    for split, columns in COLUMNS.items():
        places = [(y, x) for y in range(high) for x in columns if tiles == "all" or several[y, x]]
        y, x = np.array(places).T
        arrays = {"row": np.arange(len(places)), "image": pictures[y, x], "mask": masks[y, x],
                  "longitude": (x + 0.5) * SIDE * 360 / PICTURE[1] - 180,
                  "latitude": 90 - (y + 0.5) * SIDE * 180 / PICTURE[0]}  # fmt: skip
        schema, made = features.arrow_schema, []
        for name, values in arrays.items():
            column: pa.Array = pa.array(values.reshape(-1))
            if name in kinds:
                for length in reversed(values.shape[1:]):
                    ends = np.arange(0, len(column) + 1, length, dtype=np.int32)
                    column = pa.ListArray.from_arrays(pa.array(ends), column)
                column = pa.ExtensionArray.from_storage(schema.field(name).type, column)
            made.append(column)
        splits[split] = Dataset(pa.table(made, schema=schema))
    return RawTable(splits, "", "", CLASSES, kind="image", masked=True)


def read(place: Path) -> tuple[np.ndarray, np.ndarray]:
    """The picture u8[2700, 5400, 3] and the class of each of its pixels u8[2700, 5400], the nearest of the mask."""
    from PIL import Image

    with Image.open(place / "earth.jpg") as picture:
        earth = np.asarray(picture.convert("RGB"))
    mask = np.frombuffer(gzip.decompress((place / "mask.bin").read_bytes()), np.uint8).reshape(GRID)[::-1]
    y, x = (((np.arange(n) + 0.5) * g / n).astype(np.int64) for n, g in zip(PICTURE, GRID, strict=True))
    return earth, mask[y][:, x]
