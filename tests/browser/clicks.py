"""What a person does with the bench in a page: by the words on the screen, wherever the bench is shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def press(page: Any, name: str) -> None:
    """Press the button of this name."""
    page.get_by_role("button", name=name, exact=True).locator("visible=true").first.click()


def choose(page: Any, label: str, option: str) -> None:
    """Choose from the list of this label."""
    page.get_by_label(label, exact=True).locator("visible=true").first.select_option(option)


def fill(page: Any, label: str, text: str) -> None:
    """Type into the field of this label and leave it."""
    field = page.get_by_label(label, exact=True).locator("visible=true").first
    field.fill(text)
    field.press("Tab")


def see(page: Any, text: str, patience: float = 120) -> None:
    """Wait until a text is there to be seen."""
    page.locator(f".labkit-bench :text({text!r})").locator("visible=true").first.wait_for(
        timeout=1000 * patience
    )


def upload(page: Any, file: Path) -> None:
    """Choose a file of this machine in the step Data."""
    press(page, "Upload a file")
    with page.expect_file_chooser() as chooser:
        page.locator(".labkit-bench .widget-upload").locator("visible=true").first.click()
    chooser.value.set_files(str(file))
