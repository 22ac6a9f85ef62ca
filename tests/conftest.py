"""What all tests share: JAX on a fixed platform, array shapes checked against their letters, Chromium."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Self

import pytest
from beartype import BeartypeConf, BeartypeHintOverrides, beartype
from jaxtyping import install_import_hook
from xdist.scheduler import LoadFileScheduling

from labkit.cli.doctor import CHROMIUM
from labkit.core.cache import cache_dir

assert "jax" not in sys.modules, "the settings below come too late once JAX is loaded"
# Each of several workers (pytest -n 2) has a core of its own, as have the processes that its tests start.
if (worker := os.environ.get("PYTEST_XDIST_WORKER", "")) and hasattr(os, "sched_setaffinity"):
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[int(worker.removeprefix("gw")) % len(cores)]})
# Set in the environment, so that kernels and worker processes started by a test have them too.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
ROOT = str(Path(__file__).parent.parent)  # they also test this checkout, not what may be installed
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [ROOT, os.environ.get("PYTHONPATH")]))
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache_dir("compiled")))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")

# `Self` has no class to stand for, because the hook decorates functions one by one: it is let pass. An int is a float.
_beartype = beartype(
    conf=BeartypeConf(hint_overrides=BeartypeHintOverrides({Self: Any}), is_pep484_tower=True)
)


def check(function: Any) -> Any:
    """Beartype, but not for the ``__init__`` that dataclasses write: JAX also builds states of shapes and shardings."""
    written = getattr(function, "__name__", "") == "__init__" and function.__code__.co_filename == "<string>"
    return function if written else _beartype(function)


# Every call into these rooms has the shapes and dtypes of its arguments and results checked.
sys.modules["labkit_checker"] = ModuleType("labkit_checker")
sys.modules["labkit_checker"].check = check  # type: ignore[attr-defined]
CHECKED = ["labkit.models", "labkit.tasks", "labkit.profile", "labkit.train", "labkit.runs"]
install_import_hook(CHECKED, "labkit_checker.check")

#: Bytes of a worker from which on compiled programs are given back after a file of tests.
MOST_MEMORY = 4 << 30

# Notebooks are tests in notebooks/; those below tests/ are material of tests.
collect_ignore_glob = ["*.ipynb"]


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Tests compile thousands of programs and run each a few times: without most optimisations of LLVM they need a
    third less time. Notebooks train for longer, and so do tests that are marked: these have them."""
    quick = item.path.suffix != ".ipynb" and not any(map(item.get_closest_marker, ("soak", "peers")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", str(int(quick)))
        if "jax" in sys.modules:
            sys.modules["jax"].config.update("jax_disable_most_optimizations", quick)
        return (yield)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first, so that the last worker does not work alone for long."""
    items.sort(key=lambda item: item.path.parent.name not in ("browser", "notebooks"))


class Workers(LoadFileScheduling):
    """The tests of a file go to one worker, and so do all tests in the browser, which share a JupyterLab."""

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return "tests/browser" if file.startswith("tests/browser/") else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Workers:
    return Workers(config, log)


@pytest.fixture(scope="module", autouse=True)
def limited_programs():
    """Thousands of tests in one process compile more programs than a process may hold, and than there is memory for."""
    yield
    if "jax" in sys.modules:
        from labkit.train.compilation import limit_programs

        large = memory_of_process() > MOST_MEMORY
        limit_programs(0.0 if large else 0.3)


def memory_of_process() -> int:
    """Bytes of memory that this process has now; 0 where the system does not list them."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of a Chromium. Where there is none the test is skipped, but not under CI, which must run it."""
    found = os.environ.get("LABKIT_CHROMIUM") or next(filter(None, map(shutil.which, CHROMIUM)), None)
    if found is None and os.environ.get("LABKIT_CI"):
        pytest.fail("no Chromium, and LABKIT_CI forbids to skip: .ci/run installs it")
    if found is None:
        pytest.skip("no Chromium on this machine; install it, or name it in LABKIT_CHROMIUM")
    return found


REVIEWS = Path(__file__).parent / "reviews.csv"
# A BERT small enough to train in a second or two, on a few hundred sentences.
_MODEL = {"preset": "tiny", "width": 16, "depth": 2, "heads": 2, "mlp_width": 32, "max_length": 64}
_SETTINGS = {
    "max_length": 32,
    "batch_size": 16,
    "buckets": 2,
    "vocabulary": 300,
    "learning_rate": 3e-3,
    "epochs": 2,
}


@pytest.fixture(scope="session")
def reviews():
    import labkit as lk

    return lk.load(str(REVIEWS)).split(validation=0.15, test=0.15, seed=0)


@pytest.fixture(scope="session")
def tiny():
    import labkit as lk

    return lk.models["bert"](**_MODEL)


@pytest.fixture(scope="session")
def settings():
    return dict(_SETTINGS)


@pytest.fixture(scope="session")
def finished(reviews, tiny, settings, tmp_path_factory):
    """A run that has ended by itself; read it, do not change it."""
    import labkit as lk

    folder = tmp_path_factory.mktemp("lab")
    run = lk.fit(reviews, tiny, folder=folder, background=False, name="finished", **settings)
    assert run.status == "finished", "the run was cut"  # SIGTERM ends it early without an error
    return run
