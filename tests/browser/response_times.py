"""How long each control of the panel takes to show that it was used: ``python -m tests.browser.response_times [N]``.

Times run from the click (or the change of a field) to the first change that the kernel causes in the panel: the control
looks busy, or the result is there. What the browser does by itself, such as moving a slider, does not count. A control
is used N times (default 3); the table has the median and the longest, in milliseconds.
"""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from playwright.sync_api import TimeoutError

from labkit.cli.doctor import CHROMIUM
from labkit.viz.words import word

from .jupyter import Lab, until

REVIEWS = Path(__file__).parent.parent / "reviews.csv"
#: Notes the time of the next use of a control, and of the first change in the panel that is not of the same task.
WATCH = """() => {
  const bench = document.querySelector('.labkit-bench');
  window.used = window.seen = null;
  let ready = false;
  const use = () => {
    window.used ??= performance.now();
    setTimeout(() => (ready = true), 0);
  };
  const once = { capture: true, once: true };
  for (const kind of ['click', 'change', 'input', 'keydown']) bench.addEventListener(kind, use, once);
  const observer = new MutationObserver((all) => {
    const own = (node) => (node.nodeType === 1 ? node : node.parentElement)?.closest('.lk-copy, style');
    if (!ready || window.seen !== null || all.every(({ target }) => own(target))) return;
    window.seen = performance.now();
    observer.disconnect();
  });
  observer.observe(bench, { subtree: true, childList: true, characterData: true, attributes: true });
}"""


class Reader:
    """Uses controls and notes how long each takes to react."""

    def __init__(self, opened: Any, times: int):
        self.opened, self.page, self.times = opened, opened.page, times
        self.found: dict[str, list[float]] = {}

    def settle(self) -> None:
        until(lambda: self.opened.execute("answer = lab.state.step in lab.steps"), "the step")
        self.opened.execute("lab.settle(300); lab.steps[lab.state.step].settle(300); answer = 1")
        self.page.wait_for_timeout(700)

    def use(self, name: str, act: Callable[[int], None], times: int | None = None) -> None:
        for number in range(times or self.times):
            self.settle()
            self.page.evaluate(WATCH)
            act(number)
            try:
                self.page.wait_for_function("() => window.seen !== null", timeout=10_000)
            except TimeoutError:
                sys.exit(f"{name}: nothing was to be seen in 10 s")
            used, seen = self.page.evaluate("() => [window.used, window.seen]")
            self.found.setdefault(name, []).append(seen - used)
        self.settle()

    def button(self, key: str) -> Any:
        return self.page.get_by_role("button", name=word(key, "en"), exact=True).locator("visible=true").first

    def press(self, key: str, times: int | None = None) -> None:
        self.use(word(key, "en"), lambda _: self.button(key).click(), times)

    def step(self, number: int) -> None:
        self.page.locator(".labkit-bench .lk-steps button").nth(number).click()
        self.page.wait_for_timeout(1500)
        self.settle()

    def labelled(self, label: str) -> Any:
        return self.page.get_by_label(label, exact=True).locator("visible=true").first


def slid(control: Any) -> Callable[[int], None]:
    """Move a slider by one step."""
    return lambda _: control.press("ArrowRight")


def toggled(all_: Any) -> Callable[[int], None]:
    return lambda number: all_.nth(number % 2).click()


def measure(lab: Lab, times: int) -> dict[str, list[float]]:
    shutil.copy(REVIEWS, lab.folder / "reviews.csv")
    opened = lab.open(
        lab.notebook("times.ipynb", ["import labkit as lk\nlab = lk.Lab('times', language='en')\nlab"])
    )
    opened.run_cell(0)
    reader, page = Reader(opened, times), opened.page
    page.locator(".labkit-bench .lk-brand").first.wait_for()
    reader.button("way_path").click()
    reader.labelled(word("path", "en")).fill("reviews.csv")
    reader.labelled(word("path", "en")).press("Tab")
    reader.press("load_rows")
    goals = page.locator(".lk-goals button")
    reader.use("a goal", lambda number: goals.nth((5, 0)[number % 2]).click(), 2 * (times // 2) or 2)
    reader.use(word("on", "en") + " (rows)", lambda _: reader.button("on").click())
    reader.use(
        "the language", lambda number: page.locator(".lk-language button").nth(1 - number % 2).click(), 2
    )
    reader.use("a step", lambda number: page.locator(".lk-steps button").nth(1 - number % 2).click(), 2)
    reader.step(1)
    pair = ("clean_usual", "clean_nothing")
    reader.use("recommended repairs, or none", lambda number: reader.button(pair[number % 2]).click())
    boxes = page.locator(".labkit-bench input[type=checkbox]").locator("visible=true")
    reader.use("a cleaning step", lambda _: boxes.first.click())
    reader.use(
        "the share of the test rows",
        slid(page.locator(".labkit-bench .noUi-handle").locator("visible=true").nth(1)),
        1,
    )
    reader.use("the seed of the split", lambda number: fill(reader.labelled("Seed"), number + 1))
    reader.step(2)
    reader.use("an architecture", lambda _: reader.button("model_textcnn").click(), 1)
    reader.use(
        "a slider of the model",
        slid(page.locator(".labkit-bench .noUi-handle").locator("visible=true").first),
        1,
    )
    reader.use(
        "the batch size", slid(page.locator(".labkit-bench .noUi-handle").locator("visible=true").nth(5)), 1
    )
    reader.press("find_rate", 1)
    reader.press("reset_settings", 1)
    reader.button("model_textcnn").click()
    reader.step(3)
    reader.press("start", 1)
    for key in ("pause", "resume", "save"):
        page.locator('[data-status="running"], [data-status="paused"]').first.wait_for(timeout=120_000)
        page.wait_for_timeout(500)
        reader.use(word(key, "en"), lambda _, key=key: reader.button(key).click(), 1)
    page.locator('[data-status="finished"]').first.wait_for(timeout=300_000)
    reader.step(4)
    reader.press("evaluate_now")
    cells = page.locator(".lk-matrix td button")
    reader.use("a cell of the confusion matrix", toggled(cells))
    reader.use("a mistake", lambda _: page.locator(".lk-rows tbody tr").first.click(), 1)
    reader.step(5)
    reader.use("a text, and Predict", lambda number: predict(reader, f"a truly good film {number}"))
    reader.press("from_test")
    reader.press("export", 1)
    opened.close()
    return reader.found


def fill(field: Any, value: object) -> None:
    field.fill(str(value))
    field.press("Tab")


def predict(reader: Reader, text: str) -> None:
    reader.opened.execute(f"lab.steps['predict'].text.value = {text!r}; answer = 1")
    reader.page.wait_for_timeout(500)
    reader.page.evaluate(WATCH)
    reader.button("predict").click()


def main() -> None:
    found = os.environ.get("LABKIT_CHROMIUM") or next(filter(None, map(shutil.which, CHROMIUM)), None)
    if found is None:
        sys.exit("no Chromium; name one in LABKIT_CHROMIUM")
    with tempfile.TemporaryDirectory() as work, Lab(Path(work), found, env={"LABKIT_LANGUAGE": "en"}) as lab:
        table = measure(lab, int(sys.argv[1]) if len(sys.argv) > 1 else 3)
    print("| control | median ms | longest ms | times |\n|---|---|---|---|")
    for name, times in table.items():
        print(f"| {name} | {statistics.median(times):.0f} | {max(times):.0f} | {len(times)} |")
    print(f"load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
