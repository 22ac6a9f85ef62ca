"""Every lesson from the top in a real JupyterLab, its panels and pictures drawn; a screenshot of each, from top to end.

LABKIT_SHOTS=shots python -m pytest -m soak tests/browser/test_lessons.py
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from labkit.viz.words import word

from ..lessons import LESSONS, exercises, read
from .jupyter import Lab, Page

pytestmark = [pytest.mark.browser, pytest.mark.soak]

PANEL = "application/vnd.jupyter.widget-view+json"
#: What an output of a type looks like once it is drawn.
DRAWN = {
    PANEL: ".labkit-live, .labkit-panel, .jupyter-widgets",
    "image/svg+xml": ".jp-RenderedSVG svg, .jp-RenderedSVG img",
}
#: A lesson and the cell whose panel is looked at while it is live; when the run ends, a picture takes its place.
LIVE = ("00_tour", 11)
#: Pixels of a picture: more in one direction are not drawn.
TALLEST = 16_000


@pytest.fixture(scope="module")
def lab(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A JupyterLab that says no language: a lesson's own is that of its name."""
    pytest.importorskip("playwright", reason="Playwright is not installed: pip install 'labkit[test]'")
    with Lab(
        tmp_path_factory.mktemp("lessons"), chromium, env={"LABKIT_LANGUAGE": "", "LC_ALL": "C.UTF-8"}
    ) as lab:
        yield lab


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_a_lesson_runs_from_the_top(path: Path, lab: Lab, tmp_path: Path) -> None:
    shutil.copy(path, lab.folder)
    page = lab.open(path.name)
    try:
        page.page.set_default_timeout(600_000)
        lesson = read(path)["cells"]
        for index, cell in enumerate(lesson):
            if cell["cell_type"] == "code":
                page.run_cell(index)
            if (path.stem, index) == LIVE:
                page.find(".labkit-live .lk-line[data-series]").first.wait_for(state="attached")
                page.screenshot(place(tmp_path) / f"{path.stem}-live.png", ".labkit-panel")
        page.wait_idle()
        seen, language = set[str](), "zh" if ".zh." in path.name else "en"
        for index, cell in enumerate(lesson):
            if cell["cell_type"] == "code":
                seen |= drawn(page, index)
            for name in exercises(cell):
                assert page.text(index) == word("exercise_waiting", language, name=name)
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
        page.page.locator(f'.jp-Notebook [data-windowed-list-index="{index}"]').locator(
            DRAWN[kind]
        ).first.wait_for()
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
    for _ in range(2):  # cells out of view have only a guessed height until they are drawn
        high = page.page.evaluate("() => document.querySelector('.jp-WindowedPanel-inner').scrollHeight")
        page.page.set_viewport_size({"width": 1200, "height": min(int(high) + 150, TALLEST)})
        page.page.evaluate(
            "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
        )
    show(page, 0)
    page.screenshot(place(folder) / f"{name}.png")


def place(folder: Path) -> Path:
    """Where pictures go: LABKIT_SHOTS, or ``folder``."""
    place = Path(os.environ.get("LABKIT_SHOTS") or folder)
    place.mkdir(parents=True, exist_ok=True)
    return place
