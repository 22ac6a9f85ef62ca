"""One JupyterLab and one Chromium for all browser tests."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from .jupyter import Lab

#: The JupyterLab of these tests, while it runs.
STARTED: list[Lab] = []


@pytest.fixture(scope="session")
def lab(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A JupyterLab over a folder of its own, whose kernels find ``trainer``; skipped where there is no Chromium."""
    pytest.importorskip("playwright", reason="Playwright is not installed: pip install 'labkit[test]'")
    folder = tmp_path_factory.mktemp("lab")
    shutil.copy(
        Path(__file__).with_name("trainer.py"), folder
    )  # kernels find what lies beside their notebook
    with Lab(folder, chromium, env={"LABKIT_LANGUAGE": "en"}) as lab:
        STARTED.append(lab)
        yield lab
        STARTED.remove(lab)


@pytest.fixture(scope="module", autouse=True)
def kernels_end() -> Iterator[None]:
    """The kernels of a file of tests end with it: each takes some hundred megabytes."""
    yield
    for lab in STARTED:
        lab.end_kernels()
