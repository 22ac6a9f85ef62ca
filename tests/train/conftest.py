"""A run small enough to train in a second or two."""

from __future__ import annotations

from pathlib import Path

import pytest

import labkit as lk

REVIEWS = Path(__file__).parent.parent / "reviews.csv"
MODEL = {"preset": "tiny", "width": 16, "depth": 2, "heads": 2, "mlp_width": 32, "max_length": 64}
_SETTINGS = {"max_length": 32, "batch_size": 16, "buckets": 2, "vocabulary": 300, "learning_rate": 3e-3, "epochs": 2}


@pytest.fixture(scope="session")
def reviews():
    return lk.load(str(REVIEWS)).split(validation=0.15, test=0.15, seed=0)


@pytest.fixture(scope="session")
def tiny():
    return lk.models["bert"](**MODEL)


@pytest.fixture(scope="session")
def settings():
    return dict(_SETTINGS)


@pytest.fixture(scope="session")
def finished(reviews, tiny, settings, tmp_path_factory):
    """A run that has ended by itself; read it, do not change it."""
    return lk.fit(reviews, tiny, folder=tmp_path_factory.mktemp("lab"), background=False, name="finished", **settings)
