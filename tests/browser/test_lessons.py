"""Every lesson from the top in a real JupyterLab, its panels and pictures drawn; a screenshot of each.

LABKIT_SHOTS=shots python -m pytest -m soak tests/browser/test_lessons.py
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from ..lessons import LESSONS, read
from .jupyter import Lab, Page

pytestmark = [pytest.mark.browser, pytest.mark.soak]

PANEL = "application/vnd.jupyter.widget-view+json"
#: What an output of a type looks like once it is drawn.
DRAWN = {
    PANEL: ".labkit-live, .labkit-panel, .jupyter-widgets",
    "image/svg+xml": ".jp-RenderedSVG svg, .jp-RenderedSVG img",
}


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_a_lesson_runs_from_the_top(path: Path, lab: Lab, tmp_path: Path) -> None:
    shutil.copy(path, lab.folder)
    page = lab.open(path.name)
    try:
        page.run_all()
        page.page.set_default_timeout(600_000)
        page.wait_idle()
        seen: dict[str, int] = {}  # the type of an output → the cell of the first one
        for index, cell in enumerate(read(path)["cells"]):
            if cell["cell_type"] == "code":
                seen = {**dict.fromkeys(drawn(page, index), index), **seen}
        assert "image/svg+xml" in seen or path.name.startswith("12"), "no picture in the whole lesson"
        assert (page.errors, page.dialogs, page.far_requests()) == ([], [], [])
        show(page, seen.get(PANEL, max(seen.values(), default=0)))
        shot(page, path.stem, tmp_path)
    finally:
        page.close()


def drawn(page: Page, index: int) -> set[str]:
    """The types of a cell's outputs, none an error, all drawn that need more than text."""
    outputs = page.outputs(index)
    assert [out for out in outputs if out["output_type"] == "error"] == [], f"cell {index}"
    kinds = {kind for out in outputs for kind in out.get("data", {})} & set(DRAWN)
    for kind in kinds:
        show(page, index)
        page.page.locator(f'.jp-Notebook [data-windowed-list-index="{index}"]').locator(DRAWN[kind]).first.wait_for()
    return kinds


def show(page: Page, index: int) -> None:
    """Bring a cell into view."""
    page.page.evaluate(
        """async (index) => {
            const content = window.jupyterapp.shell.currentWidget.content;
            content.activeCellIndex = index;
            await content.scrollToItem(index, 'smart', 0);
        }""",
        index,
    )


def shot(page: Page, name: str, folder: Path) -> None:
    """A picture of the page as it is."""
    place = Path(os.environ.get("LABKIT_SHOTS") or folder)
    place.mkdir(parents=True, exist_ok=True)
    page.screenshot(place / f"{name}.png")
