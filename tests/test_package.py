"""The package as a whole: light to import, helpful when misspelt, complete when built."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import labkit as lk
from labkit.cli import doctor

from . import architecture

ROOT = Path(__file__).parent.parent
HEAVY = (
    "jax",
    "flax",
    "ipywidgets",
    "plotly",
    "anywidget",
    "IPython",
    "pandas",
    "datasets",
    "sklearn",
    "numpy",
)


def loaded(code: str, *arguments: str) -> set[str]:
    """Which of the heavy packages a fresh Python has loaded after ``code``."""
    tail = f"\nimport sys; print('loaded', *[name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code + tail, *arguments], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split()[1:])


COMMAND = """
import contextlib
from labkit.cli.main import main
with contextlib.suppress(SystemExit):
    main()
"""


def test_importing_labkit_loads_nothing_heavy() -> None:
    assert (
        loaded("import labkit; dir(labkit); list(labkit.models); labkit.__version__; labkit.LabkitError")
        == set()
    )


@pytest.mark.parametrize("words", ["--help", "--version", "runs --help", "train --help", "predict x"])
def test_the_command_line_answers_without_anything_heavy(words: str) -> None:
    assert loaded(COMMAND, *words.split()) == set()


def test_this_test_would_see_a_heavy_import() -> None:
    assert loaded("import numpy") == {"numpy"}


def test_every_public_name_is_there() -> None:
    for name in lk.__all__:
        assert getattr(lk, name) is not None
        assert name in dir(lk)


def test_a_misspelt_name_gets_the_nearest() -> None:
    with pytest.raises(
        AttributeError, match=r"^module 'labkit' has no attribute 'Tokeniser'\. Did you mean 'Tokenizer'"
    ):
        lk.Tokeniser  # noqa: B018
    assert not hasattr(lk, "__wrapped__") and not hasattr(lk, "xyzzy")


def test_models_is_the_registry_and_the_package() -> None:
    import labkit.models.bert.model

    assert lk.models["bert"] is labkit.models.bert.model.BertConfig
    assert (
        "bert" in lk.models
        and list(lk.models) == list(lk.models.models)
        and len(lk.models) == len(list(lk.models))
    )
    assert dict(lk.models)["bert"] is lk.models["bert"] and repr(lk.models) == repr(lk.models.models)
    with pytest.raises(lk.LabkitError, match=r"unknown architecture 'brt'\. Did you mean 'bert'\?"):
        lk.models["brt"]


def test_tasks_are_listed_as_models_are() -> None:
    import labkit.tasks.classify

    assert lk.tasks["classify"] is labkit.tasks.classify.Classify and list(lk.tasks) == list(lk.tasks.tasks)
    with pytest.raises(lk.LabkitError, match=r"unknown task 'clasify'\. Did you mean 'classify'\?"):
        lk.tasks["clasify"]


def test_python_m_labkit_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "labkit", "--version"], capture_output=True, text=True, timeout=60
    )
    assert (done.stdout.strip(), done.returncode) == (lk.__version__, 0)


def test_shapes_are_checked_while_testing() -> None:
    import jax.numpy as jnp
    from jaxtyping import TypeCheckError

    from labkit.models.layers import masked_mean

    hidden = jnp.ones((2, 3, 4))
    assert masked_mean(hidden, jnp.ones((2, 3), bool)).shape == (2, 4)
    with pytest.raises(TypeCheckError):
        masked_mean(hidden, jnp.ones((2, 5), bool))
    with pytest.raises(TypeCheckError):
        masked_mean(hidden, jnp.ones((2, 3)))


# --- what is declared -------------------------------------------------------------------------------------------


def declared() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def test_the_requirements_hold_here() -> None:
    assert [str(finding) for finding in doctor.check_packages() if finding.state != "ok"] == []


def test_the_licence_is_the_whole_apache_text() -> None:
    text = (ROOT / "LICENSE").read_text("utf-8")
    assert declared()["project"]["license"] == "Apache-2.0"
    assert (
        "Version 2.0, January 2004" in text
        and "END OF TERMS AND CONDITIONS" in text
        and "labkit contributors" in text
    )


def test_the_architecture_page_is_that_of_the_code() -> None:
    assert architecture.PAGE.read_text("utf-8") == architecture.page(), "run python -m tests.architecture"
