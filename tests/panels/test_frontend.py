"""Which panel is shown where."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import pytest

from labkit.panels.frontend import frontend, is_live


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A notebook kernel that no server has started."""
    for name in (
        "JPY_SESSION_NAME",
        "LABKIT_FOREGROUND",
        "SERVER_SOFTWARE",
        "COLAB_RELEASE_TAG",
        "KAGGLE_KERNEL_RUN_TYPE",
    ):
        monkeypatch.delenv(name, raising=False)
    module, shell = ModuleType("IPython"), SimpleNamespace(kernel=object(), user_ns={})
    module.get_ipython = lambda: shell  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", module)
    return shell


def test_nothing_outside_notebooks(kernel: SimpleNamespace, monkeypatch: pytest.MonkeyPatch):
    del kernel.kernel
    assert frontend() == "none"  # IPython in a terminal
    monkeypatch.delitem(sys.modules, "IPython")
    assert frontend() == "none" and not is_live()


def test_a_picture_where_nobody_presses_buttons(kernel: SimpleNamespace):
    assert frontend() == "html" and not is_live()  # nbclient, nbval


@pytest.mark.parametrize(
    ("name", "value"), [("JPY_SESSION_NAME", "a.ipynb"), ("SERVER_SOFTWARE", "voila/0.5")], ids=["JupyterLab", "Voilà"]
)
def test_widgets_where_somebody_does(kernel: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, name: str, value: str):
    monkeypatch.setenv(name, value)
    assert frontend() == "widgets" and is_live()
    monkeypatch.setenv("LABKIT_FOREGROUND", "1")
    assert frontend() == "html"


def test_widgets_in_vscode(kernel: SimpleNamespace):
    kernel.user_ns["__vsc_ipynb_file__"] = "a.ipynb"
    assert frontend() == "widgets"


@pytest.mark.parametrize("name", ["COLAB_RELEASE_TAG", "KAGGLE_KERNEL_RUN_TYPE"])
def test_no_widgets_in_colab_and_kaggle(kernel: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, name: str):
    monkeypatch.setenv("JPY_SESSION_NAME", "a.ipynb")
    monkeypatch.setenv(name, "1")
    assert frontend() == "html"
