"""Pictures: load, split and save beside NumPy's own files of the same numbers."""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import labkit as lk
from labkit.data.batching.arrays import stack

from .driver import quartiles


def load_split_save(pairs: int = 12) -> dict[str, Any]:
    """Seconds to load 10,000 saved pictures of 28 × 28, split them and save the splits ÷ those of ``np.save`` and
    ``np.load`` of the same arrays."""
    given = lk.load("fashion-mnist", split="test").in_one_split()
    arrays = stack(given["train"], given.spec)
    ratios, ours, theirs = [], [], []
    with tempfile.TemporaryDirectory(prefix="labkit-bench-") as folder:
        place = Path(folder)
        given.save(place / "given")
        for _ in range(pairs + 1):
            begin = time.perf_counter()
            lk.load(place / "given").split().save(place / "split")
            ours.append(time.perf_counter() - begin)
            begin = time.perf_counter()
            for name, array in (("inputs.npy", arrays.inputs), ("label.npy", arrays.label)):
                np.save(place / name, array)
                np.load(place / name)
            theirs.append(time.perf_counter() - begin)
            ratios.append(ours[-1] / theirs[-1])
            shutil.rmtree(place / "split")
    return {
        "value": statistics.median(ratios[1:]),
        "quartiles": quartiles(ratios[1:]),
        "seconds": statistics.median(ours[1:]),
        "numpy_seconds": statistics.median(theirs[1:]),
    }
