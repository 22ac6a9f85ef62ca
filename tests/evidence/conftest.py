"""What the experiments share: where their runs lie, how their figures are told, and intervals over seeds.

Every test here trains real models on real samples through the public names of ``labkit`` and takes minutes:
``python -m pytest -m soak tests/evidence -s``. With LABKIT_SCALE=full they use all the data there is.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

FULL = os.environ.get("LABKIT_SCALE") == "full"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.soak)
            item.add_marker(pytest.mark.samples)


@pytest.fixture(scope="session")
def full() -> bool:
    """Whether all the data are asked for."""
    return FULL


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for runs."""
    return tmp_path_factory.mktemp("lab")


@pytest.fixture(scope="session")
def tell() -> Callable[..., None]:
    """Print a figure at once; seen with ``-s``."""
    return lambda *parts: print("   ", *parts, flush=True)


@pytest.fixture(scope="session")
def over_seeds() -> Callable[[Sequence[float]], tuple[float, float, float]]:
    """Mean of some seeds' figures and its 95 % interval by Student's t."""

    def interval(values: Sequence[float]) -> tuple[float, float, float]:
        mean, error = float(np.mean(values)), float(stats.sem(values))
        low, high = stats.t.interval(0.95, len(values) - 1, mean, error) if error else (mean, mean)
        return mean, float(low), float(high)

    return interval
