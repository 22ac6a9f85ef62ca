"""Shapes of batches to compile for."""

from __future__ import annotations

import jax
import numpy as np


def empty_batch(shape: tuple[int, int]) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes and data types of a batch ``(examples, tokens)``, to compile for."""
    rows, wide = (shape[0],), tuple(shape)
    kinds = {"ids": (wide, "int32"), "types": (wide, "int32"), "mask": (wide, "bool"), "label": (rows, "int32"),
             "weight": (rows, "float32"), "index": (rows, "int32")}  # fmt: skip
    return {name: jax.ShapeDtypeStruct(size, np.dtype(kind)) for name, (size, kind) in kinds.items()}
