"""The whole job in the panel by keyboard: every control is reached by Tab, shows its focus, and acts on Enter."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest

from labkit.viz.words import word

from .jupyter import Lab

pytestmark = pytest.mark.browser

REVIEWS = Path(__file__).parent.parent / "reviews.csv"
#: Presses of Tab after which a control counts as out of reach; a step has at most some sixty.
MOST_TABS = 120
#: Name of the focused control, and whether its focus can be seen.
FOCUSED = """() => {
  const node = document.activeElement, style = getComputedStyle(node);
  const name = node.labels?.[0]?.innerText || node.getAttribute('aria-label') || node.innerText || node.title || '';
  const first = name.trim().split('\\n')[0].replace(/[ ✓↻]+$/, '');
  return [first, style.outlineStyle !== 'none' || style.boxShadow !== 'none'];
}"""


class Keyboard:
    """A reader without a mouse."""

    def __init__(self, page: Any):
        self.page, self.keys = page, page.keyboard

    def reach(self, name: str, back: bool = False) -> None:
        """Press Tab, or Shift+Tab, until the control of this name has the focus."""
        passed = []
        for _ in range(MOST_TABS):
            self.keys.press("Shift+Tab" if back else "Tab")
            focused, visible = self.page.evaluate(FOCUSED)
            passed.append(focused)
            if focused == name:
                assert visible, f"{name} does not show that it has the focus"
                return
        raise AssertionError(f"{name!r} is not among {passed}")

    def press(self, key: str, back: bool = False) -> None:
        self.reach(word(key, "en"), back)
        self.keys.press("Enter")

    def wait(self, selector: str, timeout: float = 120_000) -> None:
        self.page.locator(selector).locator("visible=true").first.wait_for(timeout=timeout)


def test_from_a_file_to_an_exported_model_by_keyboard(lab: Lab, tmp_path: Path):
    shutil.copy(REVIEWS, lab.folder / "typed.csv")
    opened = lab.open(
        lab.notebook("keys.ipynb", ["import labkit as lk\nlab = lk.Lab('keys', language='en')\nlab"])
    )
    opened.run_cell(0)
    reader = Keyboard(opened.page)
    reader.wait(".labkit-bench .lk-brand")
    reader.press("way_path")
    reader.reach(word("path", "en"))
    reader.keys.type("typed.csv")
    reader.press("load_rows")
    reader.wait(".labkit-bench :text('Rows of each class')")
    reader.press("next_step")
    reader.wait(f".labkit-bench :text('{word('cleaning', 'en')}')")
    reader.press("next_step")
    reader.reach("Text CNN", back=True)
    reader.keys.press("Enter")
    reader.press("next_step")
    reader.press("start", back=True)
    reader.wait('[data-status="finished"]', 300_000)
    reader.press("next_step")
    reader.wait(f".labkit-bench :text('{word('this_model', 'en')}')")
    reader.press("next_step")
    reader.reach(word("your_text", "en"), back=True)
    reader.keys.type("a truly good film")
    reader.press("predict")
    reader.wait(".labkit-bench :text('Probability')")
    reader.press("export")
    link = ".labkit-bench a.lk-link:text-is('Download')"
    reader.wait(link)
    reader.reach("Download")
    with opened.page.expect_download() as download:
        reader.keys.press("Enter")
    download.value.save_as(tmp_path / "model.zip")
    assert "model.safetensors" in zipfile.ZipFile(tmp_path / "model.zip").namelist()
    assert opened.errors == opened.dialogs == []
    opened.close()
