"""Pictures with masks in the panels: data with overlays, the model, evaluation, prediction, in both languages."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

import labkit as lk
from labkit.app.run_follower import Tail, charts
from labkit.app.state import State
from labkit.app.steps.data import Data
from labkit.app.steps.evaluate import Evaluate
from labkit.app.steps.model import Model
from labkit.app.steps.predict import Predict
from labkit.models.vision.unet import UNetConfig


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place, random = tmp_path_factory.mktemp("scenes"), np.random.default_rng(0)
    for name in ("images", "masks"):
        (place / name).mkdir()
    for number in range(14):
        mask = np.kron(random.integers(0, 2, (2, 2)), np.ones((4, 4))).astype(np.uint8)
        mask[0, 0], mask[-1, -1] = 0, 1
        picture = (mask[..., None] * [200, 100, 0] + random.integers(0, 50, (8, 8, 3))).astype(np.uint8)
        Image.fromarray(picture).save(place / "images" / f"{number:02}.png")
        Image.fromarray(mask).save(place / "masks" / f"{number:02}.png")
    return place


@pytest.fixture(scope="module")
def run(folder, tmp_path_factory):
    rows = lk.load(str(folder)).split(validation=3, test=4)
    settings = {"epochs": 2, "batch_size": 4}
    return lk.fit(
        rows, UNetConfig(widths=(4, 8)), folder=tmp_path_factory.mktemp("lab"), background=False, **settings
    )


def settled(panel):
    panel.settle(120)
    assert panel.problem is None, panel.problem
    return panel


def test_a_folder_of_pictures_with_masks_is_shown_and_offered_as_segmentation(folder, tmp_path):
    state = State(folder=tmp_path, language="en")
    data = settled(Data(state=state))
    data.way.value, data.path.value = "path", str(folder)
    data.load.click()
    settled(data)
    assert "Share of pixels by class, in 14 pictures" in data.overview.value
    assert (
        data.browser.page.value.count("<img") == 14 and "background:rgb(0,114,178)" in data.browser.page.value
    )
    model = settled(Model(state=state))
    assert [name for _label, name in model.task.options] == ["segment", "generate-images"]
    assert model.task.value == "segment"
    assert [name for _label, name in model.which.options] == ["unet"] and "task='segment'" in model.code()
    for panel in (data, model):
        panel.close()


@pytest.mark.parametrize(
    ("language", "words"),
    [
        pytest.param("en", ("Mean IoU", "Truth", "row"), marks=pytest.mark.soak),
        ("zh", ("平均", "真实", "行")),
    ],
)
def test_a_run_is_evaluated_and_segments(run, folder, language, words):
    evaluate = settled(Evaluate(run, language=language))
    assert words[0] in evaluate.scores.value and evaluate.scores.value.count("<img") == 12
    assert "IoU 0" in evaluate.scores.value and words[0] in evaluate.conclusion.value
    assert evaluate.downloads["predictions"].name.endswith("-predictions.csv")
    predict = settled(Predict(run, language=language))
    predict.any.click()
    settled(predict)
    assert predict.answer.value.count("<img") == 4 and words[1] in predict.answer.value
    path = str(folder / "images" / "00.png")
    predict.asking.path.value = path
    predict.go.click()
    settled(predict)
    assert predict.answer.value.count("<img") == 3 and f"run.segment({path!r})" in predict.code()
    assert predict.asking.link.name == "mask.png"
    for panel in (evaluate, predict):
        panel.close()


def test_the_live_chart_has_the_iou_of_every_class(run):
    made = charts(run.info, "en", full=True)
    assert made[1]["title"] == "Mean IoU" and made[2]["title"] == "IoU by class, validation"
    assert {line["key"] for line in made[2]["lines"]} == {"validation/iou/0", "validation/iou/1"}
    records, _whole = Tail(run, full=True).read(True)
    assert {"validation/miou", "validation/iou/1"} <= set(Tail(run, full=True).series(records))
