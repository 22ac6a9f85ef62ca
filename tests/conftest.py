"""What all tests share: JAX on a fixed platform, array shapes checked against their letters, Chromium."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, Self

import pytest
from beartype import BeartypeConf, BeartypeHintOverrides, beartype
from jaxtyping import install_import_hook

from labkit.base.cache import cache_dir
from labkit.doctor import CHROMIUM

assert "jax" not in sys.modules, "the settings below come too late once JAX is loaded"
# Set in the environment, so that kernels and worker processes started by a test have them too.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
ROOT = str(Path(__file__).parent.parent)  # they also test this checkout, not what may be installed
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [ROOT, os.environ.get("PYTHONPATH")]))
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache_dir("compiled")))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")

# Every call into these floors has the shapes and dtypes of its arguments and results checked. The hook decorates
# functions one by one, so that `Self` has no class to stand for: there it is let pass.
checker = ModuleType("labkit_shape_checks")
checker.check = beartype(conf=BeartypeConf(hint_overrides=BeartypeHintOverrides({Self: Any})))  # type: ignore[attr-defined]
sys.modules[checker.__name__] = checker
install_import_hook(["labkit.models", "labkit.tasks", "labkit.train"], f"{checker.__name__}.check")

# Notebooks are tests in notebooks/; those below tests/ are material of tests.
collect_ignore_glob = ["*.ipynb"]


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of a Chromium. Where there is none the test is skipped, but not under CI, which must run it."""
    found = os.environ.get("LABKIT_CHROMIUM") or next(filter(None, map(shutil.which, CHROMIUM)), None)
    if found is None and os.environ.get("LABKIT_CI"):
        pytest.fail("no Chromium, and LABKIT_CI forbids to skip: .ci/run installs it")
    if found is None:
        pytest.skip("no Chromium on this machine; install it, or name it in LABKIT_CHROMIUM")
    return found
