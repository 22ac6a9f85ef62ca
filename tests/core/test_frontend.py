"""Which panel is shown where."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import nbformat
import pytest
from nbclient import NotebookClient

from labkit.core.frontend import frontend, is_attended, is_live


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
    assert frontend() == "html" and not is_live() and not is_attended()  # nbclient, nbval


@pytest.mark.parametrize(
    ("name", "value"),
    [("JPY_SESSION_NAME", "a.ipynb"), ("SERVER_SOFTWARE", "voila/0.5")],
    ids=["JupyterLab", "Voilà"],
)
def test_widgets_where_somebody_does(
    kernel: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, name: str, value: str
):
    monkeypatch.setenv(name, value)
    assert frontend() == "widgets" and is_live() and is_attended()
    monkeypatch.setenv("LABKIT_FOREGROUND", "1")
    assert frontend() == "html" and not is_attended()


def test_widgets_in_vscode(kernel: SimpleNamespace):
    kernel.user_ns["__vsc_ipynb_file__"] = "a.ipynb"
    assert frontend() == "widgets"


@pytest.mark.parametrize("name", ["COLAB_RELEASE_TAG", "KAGGLE_KERNEL_RUN_TYPE"])
def test_no_widgets_in_colab_and_kaggle(kernel: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, name: str):
    monkeypatch.setenv("JPY_SESSION_NAME", "a.ipynb")
    monkeypatch.setenv(name, "1")
    assert frontend() == "html" and is_attended()


def test_a_notebook_without_widgets_is_kept_up_to_date_by_the_cell_itself(tmp_path: Path):
    """As on Colab: one output, renewed while the cell trains, the finished curves in it at the end."""
    reviews = Path(__file__).parent.parent / "reviews.csv"
    code = f"""import labkit as lk
model = lk.models["bert"](preset="tiny", width=16, depth=2, heads=2, mlp_width=32, max_length=64)
rows = lk.load({str(reviews)!r}).split(validation=0.15, test=0.15, seed=0)
run = lk.fit(rows, model, max_length=32, batch_size=16, buckets=2, vocabulary=300, epochs=2, name="here")
run"""
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in (code, "run")])
    NotebookClient(book, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    trained, shown = ([o for o in cell.outputs if o.output_type == "display_data"] for cell in book.cells)
    assert len(trained) == len(shown) == 1
    for output in (trained[0], shown[0]):
        assert "finished" in output.data["text/html"] and "data:image/svg+xml," in output.data["text/html"]
