"""The step Train in a real JupyterLab: its curves and controls, a run begun by a click, what stays in the notebook."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from .jupyter import Lab, Page, until
from .test_live import assert_clean, pressed, recorded, step, wait_status

pytestmark = pytest.mark.browser

REVIEWS = Path(__file__).parent.parent / "reviews.csv"
CURVES = (
    "train/loss", "validation/loss", "train/f1", "validation/f1", "validation/f1/0", "validation/f1/1",
    "train/learning_rate", "train/gradient_norm", "machine/examples_per_second", "machine/memory",
)  # fmt: skip
#: Notes every change of the panel's height and everything that moved in it without a click, with the run's state then.
WATCH = """() => {
  const panel = document.querySelector('.labkit-bench'), moved = (window.moved = []);
  const note = (what) => moved.push([panel.querySelector('.lk-status')?.dataset.status ?? '', ...what]);
  new ResizeObserver(() => note(['height', panel.offsetHeight])).observe(panel);
  new PerformanceObserver((list) => list.getEntries().forEach(({ sources }) => sources.forEach(({ node }) => {
    if (panel.contains(node)) note(['shift', node.className?.baseVal ?? node.className ?? node.nodeName]);
  }))).observe({ type: 'layout-shift' });
}"""


def points(page: Page) -> dict[str, int]:
    """Points of every curve that the page draws."""
    script = """(all) => all.map((path) => [path.dataset.series, +path.dataset.points])"""
    return dict(page.find(".lk-line[data-series]").evaluate_all(script))


@pytest.fixture(scope="module")
def watched(lab: Lab) -> Any:
    cells = [
        "import trainer, labkit as lk\nother = trainer.start('watched', name='other', steps=40, pace=0.01)",
        "run = trainer.start('watched', name='watched', steps=1500, pace=0.05)\n"
        "panel = lk.panels.Train(run)\npanel",
    ]  # fmt: skip
    page = lab.open(lab.notebook("watched.ipynb", cells))
    page.run_cell(0)
    page.run_cell(1)
    yield page
    page.close()


def test_all_curves_are_drawn_to_the_last_value(watched: Page, tmp_path: Path):
    wait_status(watched, "running")
    until(lambda: step(watched) > 40, "forty steps")
    pressed(watched, "Pause")
    wait_status(watched, "paused")
    counts = "from collections import Counter; "
    counts += "answer = Counter(f'{r.split}/{r.name}' for r in run.store.records(run.id))"
    want = watched.execute(counts)
    until(lambda: points(watched) == {key: want[key] for key in CURVES}, "every curve")
    assert want["train/loss"] == step(watched)
    watched.screenshot(tmp_path / "train.png", ".labkit-bench")


def test_smoothing_and_scale_change_the_curves_at_once_and_outlive_a_reload(watched: Page):
    line = watched.find('.lk-line[data-series="train/loss"]')
    before = line.get_attribute("d")
    watched.find(".lk-tools input[type=range]").fill("0.9")
    until(lambda: line.get_attribute("d") != before, "a smoother curve")
    smooth = line.get_attribute("d")
    watched.find(".lk-tools input[type=checkbox]").check()
    until(lambda: line.get_attribute("d") != smooth, "a logarithmic scale")
    assert watched.execute("answer = [panel.live.curves.smoothing, panel.live.curves.log]") == [0.9, True]
    watched.save()
    watched.reload()
    wait_status(watched, "paused")
    assert watched.find(".lk-tools input[type=range]").input_value() == "0.9"
    until(
        lambda: points(watched)["train/loss"] == recorded(watched)["train/loss"], "the history after a reload"
    )


def test_hover_and_keys_tell_values(watched: Page):
    plot = watched.find(".lk-charts figure svg[role=img]").first
    plot.focus()
    plot.press("ArrowLeft")
    tips = watched.find(".lk-plot:visible >> xpath=.. >> .lk-tip")
    hairs = watched.find(".lk-hair").evaluate_all(
        "(all) => all.filter((one) => one.style.display !== 'none').length"
    )
    assert re.fullmatch(r"step \d+ · epoch \d", tips.first.text_content())
    assert re.fullmatch(r"0\.\d+", watched.find(".lk-legend .lk-value").first.text_content())
    assert hairs == 7  # one cross-hair for all charts
    assert watched.find(".lk-charts figure:visible").count() == 3  # those of the machine are folded
    assert len(set(tips.all_text_contents())) == 1
    plot.hover(position={"x": 100, "y": 60})
    first = tips.first.text_content()
    plot.hover(position={"x": 200, "y": 60})
    until(lambda: first != tips.first.text_content() != "", "another step under the pointer")
    heights = watched.find(".lk-charts figure:visible").evaluate_all(
        "(all) => all.map((one) => one.offsetHeight)"
    )
    assert len(set(heights)) == 1


def test_the_charts_of_the_machine_are_unfolded_and_stay_so(watched: Page):
    folded = watched.find(".lk-system figure").first
    assert folded.is_hidden()
    watched.find(".lk-system summary").click()
    folded.wait_for()
    until(lambda: watched.execute("answer = panel.live.curves.unfolded"), "the kernel to know")
    watched.find(".lk-system summary").click()
    until(lambda: folded.is_hidden(), "folded again")


def test_another_run_is_laid_over(watched: Page, tmp_path: Path):
    watched.page.get_by_label("Compare with").select_option(index=0)
    until(lambda: points(watched).get("1:train/loss") == 40, "the other run's curve")
    assert "other · train" in watched.find(".lk-legend").first.text_content()
    watched.screenshot(tmp_path / "overlaid.png", ".labkit-bench")


def test_messages_are_few_and_small(watched: Page):
    pressed(watched, "Resume")
    wait_status(watched, "running")
    number, first = len(watched.received), step(watched)
    until(lambda: step(watched) > first + 60, "60 steps")
    frames = [
        frame for frame in watched.received[number:] if b"comm_msg" in frame[1] and b"update" in frame[1]
    ]
    frames += [frame for frame in watched.received[number:] if b'"append"' in frame[1]]
    frames.sort()
    assert (len(frames) - 1) / (frames[-1][0] - frames[0][0]) <= 10
    assert max(len(frame[1]) for frame in frames) < 20_000


def test_the_best_model_is_kept_or_not_while_it_runs(watched: Page):
    watched.page.get_by_label("Keep the best model").uncheck()
    taken = "answer = [v for _, v in run.store.settings(run.id, 0)]"
    until(lambda: {"keep": "last"} in watched.execute(taken), "the switch to arrive")


def test_the_result_is_saved_beside_the_panel_and_seen_without_kernel(
    lab: Lab, watched: Page, tmp_path: Path
):
    pressed(watched, "Stop")
    wait_status(watched, "stopped")

    def results() -> list[str]:
        return [out["data"].get("text/html", "") for out in watched.outputs(1) if "text/html" in out["data"]]

    until(lambda: len(results()) == 1 and "stopped" in "".join(results()[0]), "the result beside the panel")
    assert watched.find(".labkit-kept").first.is_hidden()  # the panel itself is there
    assert watched.find(".lk-status").first.is_visible()
    text = (lab.folder / watched.save()).read_text()
    assert len(text) < 100_000
    assert_clean(watched)
    book = json.loads(text)
    book["cells"][0]["source"] = "'the kernel knows nothing of it'"
    (lab.folder / "kept.ipynb").write_text(json.dumps(book))
    page = lab.open("kept.ipynb")
    image = page.find("img[src^='data:image/svg']")
    assert image.evaluate("(img) => img.decode().then(() => img.naturalWidth)") == 800
    page.screenshot(tmp_path / "kept.png")
    page.close()


@pytest.mark.slow
def test_a_run_is_begun_by_a_click_and_keeps_its_model(lab: Lab, tiny: Any, tmp_path: Path):
    cells = [
        f"import labkit as lk\nrows = lk.load({str(REVIEWS)!r}).split(validation=0.15, test=0.15, seed=0)",
        "from labkit.tasks.classify import Classify\nfrom labkit.train.experiment import Training\n"
        f"state = lk.panels.State(rows=rows, model=lk.models['bert'](**{tiny.to_dict()!r}), folder='clicked',\n"
        "    task=Classify(max_length=32, vocabulary=300), train=Training(batch_size=2, buckets=2))\n"
        "lk.panels.Train(state=state)",
    ]
    page = lab.open(lab.notebook("clicked.ipynb", cells), dark=True)
    page.run_cell(0)
    page.run_cell(1)
    page.page.get_by_label("Epochs").fill("10")
    page.page.get_by_label("Epochs").press("Tab")
    page.page.evaluate(WATCH)
    pressed(page, "Start training")
    wait_status(page, "running")  # the panel looks twice a second: the run has a thousand steps
    pressed(page, "Save now")
    wait_status(page, "finished")
    until(lambda: points(page).get("validation/f1") == 10, "ten evaluations")
    moved = page.page.evaluate("() => window.moved")
    assert any(what == "height" for _, what, _ in moved)
    ended = ("", "finished")
    # once the run is there, nothing moves until it has ended
    assert [note for note in moved if note[0] not in ended] == []
    assert page.execute("answer = state.run.info.step == state.run.info.steps > 20")
    assert page.execute("answer = (state.run.info.folder / 'model' / 'model.safetensors').exists()")
    page.screenshot(tmp_path / "dark.png", ".labkit-bench")
    assert_clean(page)
    page.close()


def test_one_band_shows_that_the_kernel_was_restarted(lab: Lab, tmp_path: Path):
    page = lab.open(lab.notebook("restarted.ipynb", ["import labkit as lk\nlk.panels.Train(language='en')"]))
    page.run_cell(0)
    bench = page.find(".labkit-bench").first
    bench.wait_for()
    marks = """(bench) => [bench, ...bench.querySelectorAll('*')].map((node) => getComputedStyle(node, '::before'))
      .filter(({ content, display }) => display !== 'none' && !['none', 'normal', '""'].includes(content))
      .map(({ content }) => content)"""
    before = bench.evaluate(marks)
    page.page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()")
    until(
        lambda: bench.evaluate("(b) => b.classList.contains('jupyter-widgets-disconnected')"), "the restart"
    )
    shown = [content for content in bench.evaluate(marks) if content not in before]
    assert shown == ['"The kernel was restarted. Run this cell to continue."']
    page.screenshot(tmp_path / "restarted.png", ".labkit-bench")
    page.close()
