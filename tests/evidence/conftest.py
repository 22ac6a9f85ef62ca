"""What the experiments share: where their runs lie, how their figures are told, and intervals over seeds.

Every test here trains real models on real samples through the public names of ``labkit`` and takes minutes:
``python -m pytest -m soak tests/evidence -s``. With LABKIT_SCALE=full they use all the data there is.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from labkit.runs.store import Store

FULL = os.environ.get("LABKIT_SCALE") == "full"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.soak)
            item.add_marker(pytest.mark.samples)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    """Fail a test with a run that has not finished: SIGTERM ends a run early without an error, and its figures would
    be those of a part of it."""
    try:
        return (yield)
    finally:
        folder = getattr(item, "funcargs", {}).get("lab")
        runs = Store(folder).runs() if folder else []
        cut = {run.name: run.status for run in runs if run.status != "finished"}
        assert not cut, f"these runs have not finished: {cut}"


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
