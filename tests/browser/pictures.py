"""The pictures of the README, taken in a real JupyterLab: ``python -m tests.browser.pictures [NAME…] [--out FOLDER]``.

The names are ``live`` (with ``live-moving``, the same panel while it trains), ``bench``, ``judge`` and ``train-zh``;
without one all are taken. The Chinese picture needs a font with Chinese characters and is left out where there is none.
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from labkit.cli.doctor import CHROMIUM

from .jupyter import Lab, Page, until

GITHUB = Path(__file__).parents[2] / ".github"
BENCH, LIVE = ".labkit-bench", ".labkit-live"
#: Colours of a picture, frames of the moving one at most, and milliseconds of a frame and of the last.
COLOURS, FRAMES, PACE, LAST = 64, 40, 160, 2500
#: Bytes of the moving picture at most.
LARGEST = 1_500_000

ROWS = """import labkit as lk
rows = lk.load("movie-reviews", min_score=1.0).sample(4000, seed=0).split(validation=0.1, test=0.2, seed=0)"""
TRAIN = [
    'model = lk.models["bert"](preset="minilm-l6")\nprint(f"{model.count():,} parameters")',
    'few = rows.sample(240, seed=0)\nrun = lk.fit(few, model, epochs=3, max_length=64, buckets=1, batch_size=20, '
    'learning_rate=1e-4, name="tour")\nrun',
]  # fmt: skip
RUNS = """settings = dict(batch_size=64, learning_rate=3e-3, max_length=48, background=False, folder="runs")
second = lk.fit(rows, lk.models["textcnn"](preset="tiny"), name="second", epochs=3, **settings)
first = lk.fit(rows, lk.models["textcnn"](preset="tiny"), name="reviews", epochs=8, **settings)"""
SHOW = """from labkit.app.lab import STEPS
state = lk.panels.State(rows=rows, model=lk.models["bert"](preset="minilm-l6"), run=first, folder="runs",
                        language={language!r}, step=list(STEPS)[{step}])
bench = lk.Lab("runs", language={language!r}, state=state)
bench"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(PICTURES))
    parser.add_argument("--out", type=Path, default=GITHUB)
    given = parser.parse_args()
    if unknown := set(given.names) - set(PICTURES):
        parser.error(f"no picture is called {', '.join(sorted(unknown))}")
    found = os.environ.get("LABKIT_CHROMIUM") or next(filter(None, map(shutil.which, CHROMIUM)), None)
    if found is None:
        sys.exit("no Chromium; name one in LABKIT_CHROMIUM")
    given.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as work, Lab(Path(work), found, env={"LABKIT_LANGUAGE": "en"}) as lab:
        for name in given.names or PICTURES:
            PICTURES[name](lab, given.out)
            print(f"{name}: {given.out / name}.png")


def live(lab: Lab, out: Path) -> None:
    """The live panel below its cell at three quarters of a run, and the panel over the whole run."""
    page = lab.open(lab.notebook("live.ipynb", [ROWS, *TRAIN]))
    for cell in range(3):
        page.run_cell(cell)
    panel = page.find(LIVE).first
    panel.wait_for()
    panel.scroll_into_view_if_needed()
    frames: list[Image.Image] = []
    seen, still, over = -1, None, False
    while not over:
        step, steps, over = page.execute("answer = [run.info.step, run.info.steps, run.info.over]")
        if (step > seen and steps) or over:
            seen = step
            frames.append(taken(page, LIVE))
            if still is None and steps and step >= 0.75 * steps:
                still = taken(page, ".jp-Notebook")
        page.page.wait_for_timeout(150)
    page.close()
    if still is not None:
        save(still, out / "live.png")
    moving(frames, out / "live-moving.png")


def taken(page: Page, selector: str) -> Image.Image:
    """What is shown of an element now, without waiting until it stands still."""
    box = until(page.find(selector).first.bounding_box, selector)
    return Image.open(io.BytesIO(page.page.screenshot(clip=box))).convert("RGB")


def moving(frames: list[Image.Image], path: Path) -> None:
    """Write frames as an animated PNG; every second one is dropped until there are few enough.

    Raises:
        ValueError: it is larger than a README should load.
    """
    last = frames[-1]
    while len(frames) > FRAMES:
        frames = frames[::2]
    width, height = last.size
    palette = last.quantize(COLOURS)
    same = [frame.crop((0, 0, width, height)).quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    times = [PACE] * len(same) + [LAST]
    same.append(last.quantize(palette=palette, dither=Image.Dither.NONE))
    same[0].save(path, save_all=True, append_images=same[1:], duration=times, loop=0, optimize=True)
    if path.stat().st_size > LARGEST:
        raise ValueError(f"{path} has {path.stat().st_size:,} bytes; take fewer frames or colours")


def bench(lab: Lab, out: Path) -> None:
    """The step Model: a BERT, its stack and its cost."""
    page = shown(lab, "bench.ipynb", 2)
    until(lambda: page.execute("bench.steps[state.step].settle(300); answer = 1"), "the cost", 300)
    page.page.set_viewport_size({"width": 900, "height": 1400})
    page.find(".labkit-bench svg").first.wait_for()
    page.page.wait_for_timeout(1000)
    snap(page, out / "bench.png", 1000)
    page.close()


def judge(lab: Lab, out: Path) -> None:
    """The step that evaluates: the worst mistake, explained."""
    page = shown(lab, "judge.ipynb", 4)
    page.page.set_viewport_size({"width": 1120, "height": 1000})
    page.find(".lk-matrix td button").first.wait_for()
    page.find("select[size] option, select[multiple] option").first.click()
    page.find(".lk-marked span[title]").first.wait_for()
    page.page.wait_for_timeout(500)
    snap(page, out / "judge.png", 890)
    page.close()


def train_zh(lab: Lab, out: Path) -> None:
    """The step Train in Chinese on a dark page: a finished run with another one laid over it."""
    if not subprocess.run(["fc-list", ":lang=zh"], capture_output=True, text=True, check=False).stdout:
        print("train-zh: no font with Chinese characters on this machine; the picture stays as it is")
        return
    page = shown(lab, "train.ipynb", 3, "zh", dark=True)
    page.page.set_viewport_size({"width": 1120, "height": 900})
    page.find("select[multiple]").first.select_option(index=0)
    page.page.wait_for_timeout(2000)
    snap(page, out / "train-zh.png", 765)
    page.close()


def shown(lab: Lab, book: str, step: int, language: str = "en", dark: bool = False) -> Page:
    """A notebook that shows a step of the bench, over runs that the first of these notebooks trains."""
    trained = (lab.folder / "runs").exists()
    runs = 'first, second = (lk.open_run(name, "runs") for name in ("reviews", "second"))' if trained else RUNS
    page = lab.open(lab.notebook(book, [ROWS, runs, SHOW.format(language=language, step=step)]), dark)
    for cell in range(3):
        page.run_cell(cell)
        failed = [each for each in page.outputs(cell) if each["output_type"] == "error"]
        if failed:
            raise RuntimeError("\n".join(failed[0]["traceback"]))
    page.find(BENCH).first.wait_for()
    page.execute("bench.steps[state.step].settle(300); answer = 1")
    return page


def snap(page: Page, path: Path, height: int) -> None:
    """Save the bench, cut at a height in pixels."""
    picture: Any = page.find(BENCH).first
    picture.scroll_into_view_if_needed()
    image = Image.open(io.BytesIO(picture.screenshot())).convert("RGB")
    save(image.crop((0, 0, image.width, min(height, image.height))), path)


def save(image: Image.Image, path: Path) -> None:
    """Write a picture with a small palette."""
    image.quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)


PICTURES: dict[str, Callable[[Lab, Path], None]] = {
    "live": live, "bench": bench, "judge": judge, "train-zh": train_zh,
}  # fmt: skip

if __name__ == "__main__":
    main()
