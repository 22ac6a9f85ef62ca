"""The pictures of the README and of the docs, taken in a real JupyterLab: ``python -m tests.browser.pictures [NAME…]``.

The names are ``live`` (with ``live-moving``, the same panel while it trains), ``bench``, ``evaluate``, ``train-zh`` and
``docs`` (the six steps); without one all are taken. Chinese pictures need a font with Chinese characters.
``--every FOLDER`` writes each step in English and Chinese, on light and dark pages, 1,400 and 900 pixels wide, to be
looked at.
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

from PIL import Image

from labkit.cli.doctor import CHROMIUM

from .jupyter import Lab, Page, until

GITHUB = Path(__file__).parents[2] / ".github"
DOCS = Path(__file__).parents[2] / "labkit" / "docs" / "pictures"
BENCH, OUTPUT = ".labkit-bench", ".jp-Cell-outputWrapper >> nth=-1"
#: Colours of a picture, frames of the moving one at most, and milliseconds of a frame and of the last.
COLOURS, FRAMES, PACE, LAST = 96, 40, 160, 2500
#: Bytes of the moving picture at most.
LARGEST = 1_500_000

#: Scroll the notebook so that the bench begins at its top.
_TO_THE_BENCH = """(outer, bench) => {
  const top = document.querySelector('.jp-NotebookPanel:not(.lm-mod-hidden) ' + bench).getBoundingClientRect().top;
  outer.scrollTop += top - outer.getBoundingClientRect().top;
}"""
ROWS = """import labkit as lk
rows = lk.load("movie-reviews", min_score=1.0).sample(4000, seed=0).split(test=0.2, seed=0)"""
#: The same in a file, with what files have: misspelt classes and rows without a text.
FILE = """import labkit as lk, pandas as pd
sample = lk.load("movie-reviews", min_score=1.0).sample(4000, seed=0)
part = sample["train"]
names = [sample.spec.classes[place] for place in part["label"]]
table = pd.DataFrame({"review": part["text"], "sentiment": names})
table.loc[7:18, "review"] = None
table.loc[40:60:5, "sentiment"] = ["Positive", "negitive", "postive", "NEGATIVE", "positve"]
table.to_csv("film-reviews.csv", index=False)
rows = lk.load("film-reviews.csv", on_bad="skip")
rows = rows.relabel(rows.suggest_merges()).split(test=0.2, seed=0)"""
TRAIN = [
    'model = lk.models["bert"](preset="minilm-l6")\nprint(f"{model.count():,} parameters")',
    'few = rows.sample(240, seed=0)\n'
    'run = lk.fit(few, model, epochs=3, batch_size=20, max_length=64, buckets=1, learning_rate=1e-4)\nrun',
]  # fmt: skip
RUNS = """settings = dict(batch_size=64, learning_rate=3e-3, max_length=96, background=False, folder="runs")
second = lk.fit(rows, lk.models["textcnn"](preset="tiny"), name="second", epochs=3, **settings)
first = lk.fit(rows, lk.models["textcnn"](preset="tiny"), name="reviews", epochs=8, **settings)"""
SHOW = """from labkit.app.lab import STEPS
state = lk.panels.State({settings}, run=first, folder="runs",
                        language={language!r}, step=list(STEPS)[{step}])
bench = lk.Lab("runs", language={language!r}, state=state)
bench"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(PICTURES))
    parser.add_argument(
        "--out", type=Path, help="folder of the pictures, instead of their places in the repository"
    )
    parser.add_argument(
        "--every", type=Path, metavar="FOLDER", help="every step in every look, into this folder"
    )
    given = parser.parse_args()
    if unknown := set(given.names) - set(PICTURES):
        parser.error(f"no picture is called {', '.join(sorted(unknown))}")
    found = os.environ.get("LABKIT_CHROMIUM") or next(filter(None, map(shutil.which, CHROMIUM)), None)
    if found is None:
        sys.exit("no Chromium; name one in LABKIT_CHROMIUM")
    with tempfile.TemporaryDirectory() as work, Lab(Path(work), found, env={"LABKIT_LANGUAGE": "en"}) as lab:
        if given.every:
            every(lab, folder_of(given.every))
            return
        for name in given.names or PICTURES:
            out = folder_of(given.out or (DOCS if name == "docs" else GITHUB))
            PICTURES[name](lab, out)
            print(f"{name}: {out}")


def folder_of(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path


def live(lab: Lab, out: Path) -> None:
    """The live panel below its cell at three quarters of a run, and the panel over the whole run."""
    page = lab.open(lab.notebook("live.ipynb", [ROWS, *TRAIN]))
    spread(page, 850)
    for cell in range(3):
        page.run_cell(cell)
    panel = page.find(OUTPUT).first
    panel.wait_for()
    panel.scroll_into_view_if_needed()
    frames: list[Image.Image] = []
    seen, still, over = -1, None, False
    while not over:
        step, steps, over = page.execute("answer = [run.info.step, run.info.steps, run.info.over]")
        if (step > seen and steps) or over:
            seen = step
            frames.append(taken(page, OUTPUT))
            if still is None and steps and step >= 0.75 * steps:
                still = taken(page, ".jp-Notebook", end=OUTPUT)
        page.page.wait_for_timeout(150)
    page.close()
    if still is not None:
        save(still, out / "live.png")
    moving(frames, out / "live-moving.png")


def taken(page: Page, selector: str, end: str = "") -> Image.Image:
    """What is shown of an element now (down to the end of another one), even while it changes."""
    box = dict(until(page.find(selector).first.bounding_box, selector))
    if end:
        last = until(page.find(end).first.bounding_box, end)
        box["height"] = last["y"] + last["height"] + 12 - box["y"]
    return Image.open(io.BytesIO(page.page.screenshot(clip=box))).convert("RGB")


def moving(frames: list[Image.Image], path: Path) -> None:
    """Write frames as an animated PNG; every second one is dropped until there are few enough.

    Raises:
        ValueError: it is larger than a README should load.
    """
    last = frames[-1]
    while len(frames) > FRAMES:
        frames = frames[::2]
    size = max(frame.width for frame in frames), max(frame.height for frame in frames)
    same = []
    for frame in [*frames, last]:
        whole = Image.new("RGB", size, frame.getpixel((0, frame.height - 1)))
        whole.paste(frame)
        same.append(whole)
    palette = few_colours(same[len(same) // 2])
    same = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in same]
    times = [PACE] * (len(same) - 1) + [LAST]
    same[0].save(path, save_all=True, append_images=same[1:], duration=times, loop=0, optimize=True)
    if path.stat().st_size > LARGEST:
        raise ValueError(f"{path} has {path.stat().st_size:,} bytes; take fewer frames or colours")


def bench(lab: Lab, out: Path) -> None:
    """The step Model: a BERT, its stack and its cost."""
    page = shown(lab, "bench.ipynb", 2, width=860)
    until(lambda: page.execute("bench.steps[state.step].settle(300); answer = 1"), "the cost", 300)
    page.find(".labkit-bench svg").first.wait_for()
    page.page.wait_for_timeout(1000)
    snap(page, out / "bench.png", 1000)
    page.close()


def evaluate(lab: Lab, out: Path) -> None:
    """The step that evaluates: the worst mistake, explained."""
    page = shown(lab, "evaluate.ipynb", 4)
    page.find(".lk-matrix td button").first.wait_for()
    page.find(".lk-rows tbody tr").first.click()
    page.find(".lk-marked span[title]").first.wait_for()
    page.page.wait_for_timeout(500)
    snap(page, out / "evaluate.png", 890)
    page.close()


def docs(lab: Lab, out: Path) -> None:
    """The six steps, each as it looks when it has been used."""
    page = shown(lab, "docs.ipynb", 0, width=900, rows=FILE)
    for name, height in HEIGHTS.items():
        used(page, name)
        snap(page, out / f"{name}.png", height)
    page.close()


def every(lab: Lab, out: Path) -> None:
    """Every step in English and Chinese, light and dark, in wide and narrow windows, whole."""
    for language in ("en", "zh"):
        for dark in (False, True):
            for width in (1400, 900):
                look = f"{language}-{'dark' if dark else 'light'}-{width}"
                page = shown(lab, f"{look}.ipynb", 0, language, dark, width - 150, FILE)
                for name in HEIGHTS:
                    used(page, name)
                    snap(page, out / f"{name}-{look}.png", 2600)
                page.close()


def used(page: Page, name: str) -> None:
    """Open a step of the bench and use it as a reader would."""
    page.find(".lk-steps button").nth(list(HEIGHTS).index(name)).click()
    until(lambda: page.execute(f"answer = {name!r} == state.step and {name!r} in bench.steps"), name)
    page.execute("bench.steps[state.step].settle(300); answer = 1")
    if name == "data":
        page.find(".lk-goals button").first.wait_for()
    elif name == "train":
        page.find("select[multiple]").first.select_option(index=0)
    elif name == "evaluate":
        page.find(".lk-rows tbody tr").first.click()
        page.find(".lk-marked span[title]").first.wait_for()
    elif name == "predict":
        page.execute(
            "step = bench.steps['predict']; step.text.value = 'a warm and funny film'; step.go.click(); answer = 1"
        )
    page.execute("bench.steps[state.step].settle(300); answer = 1")
    page.page.wait_for_timeout(1500)


def train_zh(lab: Lab, out: Path) -> None:
    """The step Train in Chinese on a dark page: a finished run with another one laid over it."""
    if not subprocess.run(["fc-list", ":lang=zh"], capture_output=True, text=True, check=False).stdout:
        print("train-zh: no font with Chinese characters on this machine; the picture stays as it is")
        return
    page = shown(lab, "train.ipynb", 3, "zh", dark=True)
    page.find("select[multiple]").first.select_option(index=0)
    page.page.wait_for_timeout(2000)
    snap(page, out / "train-zh.png", 765)
    page.close()


def spread(page: Page, width: int) -> None:
    """Leave the window to the notebook, so wide that its outputs have this width, and high enough for all of a step."""
    page.page.evaluate("() => window.jupyterapp.shell.collapseLeft()")
    page.page.set_viewport_size({"width": width + 150, "height": 2600})


def shown(
    lab: Lab,
    book: str,
    step: int,
    language: str = "en",
    dark: bool = False,
    width: int = 1060,
    rows: str = ROWS,
) -> Page:
    """A notebook that shows a step of the bench, over runs that the first of these notebooks trains."""
    folder = "file-runs" if rows == FILE else "runs"  # runs of other rows are another lab
    trained = (lab.folder / folder).exists()
    runs = (
        'first, second = (lk.open_run(name, "runs") for name in ("reviews", "second"))' if trained else RUNS
    ).replace('"runs"', repr(folder))
    page = lab.open(
        lab.notebook(
            book,
            [
                rows,
                runs,
                SHOW.format(language=language, step=step, settings=SETTINGS[rows == FILE]).replace(
                    '"runs"', repr(folder)
                ),
            ],
        ),
        dark,
    )
    for cell in range(3):
        page.run_cell(cell)
        failed = [each for each in page.outputs(cell) if each["output_type"] == "error"]
        if failed:
            raise RuntimeError("\n".join(failed[0]["traceback"]))
    page.find(BENCH).first.wait_for()
    spread(page, width)
    page.execute("bench.steps[state.step].settle(300); answer = 1")
    return page


def snap(page: Page, path: Path, height: int) -> None:
    """Save the bench, cut at a height in pixels."""
    page.page.mouse.move(0, 0)
    page.find(".jp-WindowedPanel-outer").first.evaluate(_TO_THE_BENCH, BENCH)
    page.page.wait_for_timeout(500)
    image = taken(page, BENCH)
    save(image.crop((0, 0, image.width, min(height, image.height))), path)


def save(image: Image.Image, path: Path) -> None:
    """Write a picture with a small palette."""
    few_colours(image).save(path, optimize=True)


def few_colours(image: Image.Image) -> Image.Image:
    """A picture in the colours that cover it best; rare ones, such as those of a curve, are among them."""
    return image.quantize(COLOURS, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)


#: Model of the README's pictures; all settings of the run in those of the docs.
SETTINGS = (
    'rows=rows, model=lk.models["bert"](preset="minilm-l6")',
    "**{name: getattr(first.experiment, name) for name in ('model', 'task', 'train')}, "
    "**{name: getattr(first.experiment.data, name) for name in ('source', 'options', 'steps')}",
)
#: Heights at which the pictures of the steps end.
HEIGHTS = {"data": 900, "prepare": 900, "model": 900, "train": 760, "evaluate": 900, "predict": 760}
PICTURES: dict[str, Callable[[Lab, Path], None]] = {
    "live": live, "bench": bench, "evaluate": evaluate, "train-zh": train_zh, "docs": docs,
}  # fmt: skip

if __name__ == "__main__":
    main()
