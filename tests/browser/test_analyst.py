"""An analyst without code, from an untidy file to a decision and to predictions for another file, in few acts."""

from __future__ import annotations

import io
import random
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from labkit.viz import media
from labkit.viz.words import word

from .jupyter import Lab

pytestmark = pytest.mark.browser

#: Acts from the open panel to the downloaded predictions, at most.
MOST_ACTS = 25


class Analyst:
    """What a person does in the panel, by the words on the screen. Every click, choice and filled field is an act;
    after each there is no error to be seen."""

    def __init__(self, page: Any, language: str):
        self.page, self.language, self.acts = page, language, 0

    def press(self, key: str) -> None:
        """Press the button that the table of words calls ``key``."""
        self.click(self.page.get_by_role("button", name=word(key, self.language), exact=True))

    def click(self, control: Any) -> None:
        control.locator("visible=true").first.click()
        self.acts += 1
        self.without_error()

    def upload(self, file: Path) -> None:
        """Choose a file with the newest upload control to be seen."""
        with self.page.expect_file_chooser() as chooser:
            self.page.locator(".labkit-bench .widget-upload").locator("visible=true").last.click()
        chooser.value.set_files(str(file))
        self.acts += 2
        self.without_error()

    def download(self, name: str, place: Path) -> Path:
        link = self.page.locator(f"a.lk-link:has-text('{name}')").locator("visible=true").first
        link.wait_for(timeout=120_000)
        with self.page.expect_download() as download:
            link.click()
        self.acts += 1
        download.value.save_as(place / download.value.suggested_filename)
        return place / download.value.suggested_filename

    def see(self, text: str) -> None:
        """Wait for a text in the panel that needs no scrolling."""
        found = self.page.locator(f".labkit-bench :text({text!r})").locator("visible=true").first
        found.wait_for(timeout=120_000)
        self.page.wait_for_timeout(300)
        box, size = found.bounding_box(), self.page.viewport_size
        assert box is not None and 0 <= box["y"] < size["height"], f"{text!r} is out of the window: {box}"

    def without_error(self) -> None:
        alerts = self.page.locator(".labkit-bench [role=alert]").locator("visible=true")
        assert alerts.count() == 0, alerts.first.inner_text()


def job(
    lab: Lab, language: str, architecture: str, first: Path, second: Path, merge: bool = False
) -> tuple[Analyst, Path]:
    """From the first file to the predictions of the second; returns who did it and the downloaded file."""
    name = f"{first.stem}-{language}"
    cells = [f"import labkit as lk\nlab = lk.Lab({name!r}, language={language!r})\nlab"]
    opened = lab.open(lab.notebook(f"{name}.ipynb", cells))
    opened.run_cell(0)
    analyst = Analyst(opened.page, language)
    opened.page.locator(".labkit-bench .lk-brand").first.wait_for()
    analyst.press("way_upload")
    analyst.upload(first)
    analyst.see(first.stem)
    analyst.press("next_step")
    if merge:
        analyst.press("class_merge_all")
    analyst.press("next_step")
    analyst.press(architecture)
    analyst.press("next_step")
    analyst.press("start")
    opened.page.locator('[data-status="finished"]').first.wait_for(timeout=300_000)
    analyst.press("next_step")
    analyst.see(word("this_model", language))  # beside its baselines
    analyst.press("next_step")
    analyst.upload(second)
    answers = analyst.download("predictions", lab.folder / name)
    analyst.without_error()
    assert opened.errors == opened.dialogs == []
    opened.close()
    assert analyst.acts <= MOST_ACTS, analyst.acts
    return analyst, answers


TEXTS = {
    "en": (["lovely", "great", "touching"], ["dull", "boring", "awful"], "the film was {} and the plot {} in part {}",
           ("positive", "negative"), ("Positive", "negitive"), ("date", "review_text", "sentiment")),
    "zh": (["精彩", "感人", "好看"], ["无聊", "糟糕", "难看"], "这部电影{}，剧情{}，第{}场",
           ("正面", "负面"), ("正面 ", "负 面"), ("日期", "评论", "情感")),
}  # fmt: skip


def untidy(language: str, place: Path) -> tuple[Path, Path]:
    """A table of reviews with misspelt labels, empty texts and labels and a date, in Excel; and one without labels."""
    good, bad, frame, labels, typos, (date, text, label) = TEXTS[language]
    draw, lines = random.Random(0), []
    for number in range(240):
        kind = number % 2
        words = bad if kind else good
        said = frame.format(draw.choice(words), draw.choice(words), number)
        named = typos[kind] if number % 15 == kind else labels[kind]
        lines.append(
            (
                f"2026-01-{number % 28 + 1:02}",
                "" if number % 41 == 3 else said,
                "" if number % 53 == 7 else named,
            )
        )
    first, second = place / f"reviews-{language}.xlsx", place / f"new-{language}.xlsx"
    pd.DataFrame(lines, columns=[date, text, label]).to_excel(first, index=False)
    new = [frame.format(good[0], good[1], 900), frame.format(bad[0], bad[1], 901)]
    pd.DataFrame({"id": [1, 2], text: new}).to_excel(second, index=False)
    return first, second


@pytest.mark.parametrize("language", ["en", pytest.param("zh", marks=pytest.mark.soak)])
def test_untidy_reviews_in_excel(lab: Lab, language: str, tmp_path: Path):
    first, second = untidy(language, tmp_path)
    _analyst, answers = job(lab, language, "model_textcnn", first, second, merge=True)
    found = pd.read_excel(answers)
    labels = TEXTS[language][3]
    assert found["id"].tolist() == [1, 2] and found["predicted"].tolist() == list(labels)


def test_a_table_with_a_number_to_predict(lab: Lab, tmp_path: Path):
    random_numbers = np.random.default_rng(0)
    area, rooms = random_numbers.integers(20, 160, 300), random_numbers.integers(1, 6, 300)
    district = random_numbers.choice(["north", "south", "old town"], 300)
    price = 3000 * area + 20_000 * (district == "old town") + random_numbers.normal(0, 5000, 300)
    flats = pd.DataFrame(
        {"id": range(300), "area_m2": area, "rooms": rooms, "district": district, "price_eur": price.round()}
    )
    first, second = tmp_path / "flats.xlsx", tmp_path / "offers.csv"
    flats[:280].to_excel(first, index=False)
    flats[280:].drop(columns="price_eur").to_csv(second, index=False)
    _analyst, answers = job(lab, "en", "model_mlp", first, second)
    found = pd.read_csv(answers, encoding="utf-8-sig")
    assert (
        len(found) == 20 and np.corrcoef(found["predicted price_eur"], flats["price_eur"][280:])[0, 1] > 0.9
    )


@pytest.mark.soak
def test_pictures_in_a_zip_file(lab: Lab, tmp_path: Path):
    draw = np.random.default_rng(0)

    def picture(bright: bool) -> bytes:
        pixels = draw.integers(0, 90, (12, 12), np.uint8)
        pixels[3:9, 3:9] += 140 * bright
        return media.png(pixels)

    first, second = tmp_path / "lamps.zip", tmp_path / "new.zip"
    for path, names in ((first, [f"lamps/{'on' if n % 2 else 'off'}/{n}.png" for n in range(160)]),
                        (second, [f"{'on' if n % 2 else 'off'}-{n}.png" for n in range(8)])):  # fmt: skip
        made = io.BytesIO()
        with zipfile.ZipFile(made, "w") as archive:
            for number, name in enumerate(names):
                archive.writestr(name, picture(bool(number % 2)))
        path.write_bytes(made.getvalue())
    _analyst, answers = job(lab, "en", "model_cnn", first, second)
    found = pd.read_csv(answers, encoding="utf-8-sig")
    files = found[next(name for name in found.columns if "file" in name)]
    assert [Path(file).name.split("-")[0] for file in files] == found["predicted"].tolist()
