"""Every lesson from the top in a real JupyterLab, its panels and pictures drawn; a screenshot of each, from top to end.

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
#: Pixels of a picture: more in one direction are not drawn.
TALLEST = 16_000


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_a_lesson_runs_from_the_top(path: Path, lab: Lab, tmp_path: Path) -> None:
    shutil.copy(path, lab.folder)
    page = lab.open(path.name)
    try:
        page.run_all()
        page.page.set_default_timeout(600_000)
        page.wait_idle()
        seen = set[str]()
        for index, cell in enumerate(read(path)["cells"]):
            if cell["cell_type"] == "code":
                seen |= drawn(page, index)
        assert "image/svg+xml" in seen or path.name.startswith("12"), "no picture in the whole lesson"
        assert (page.errors, page.dialogs, page.far_requests()) == ([], [], [])
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
    """A picture of the whole lesson, or of as much of it as Chromium draws: the window is made as tall as that."""
    place = Path(os.environ.get("LABKIT_SHOTS") or folder)
    place.mkdir(parents=True, exist_ok=True)
    for _ in range(2):  # cells out of view have only a guessed height until they are drawn
        high = page.page.evaluate("() => document.querySelector('.jp-WindowedPanel-inner').scrollHeight")
        page.page.set_viewport_size({"width": 1200, "height": min(int(high) + 150, TALLEST)})
        page.page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    show(page, 0)
    page.screenshot(place / f"{name}.png")
