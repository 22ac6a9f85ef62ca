"""The step Predict without a browser: texts, pictures and numbers answered and explained, the model taken away."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Array2D, Dataset, Features, Value

import labkit as lk
from labkit.app.state import State
from labkit.app.steps.predict import Predict, as_read
from labkit.data.io.pixels import Pixels
from labkit.data.rows import Rows
from labkit.data.schema import Spec
from tests.shown import send

from .hostile import HOSTILE, executable
from .test_train import fake, raise_, shown


@pytest.fixture
def panel(finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    made = Predict(finished, language="en")
    made.settle(120)
    assert made.problem is None, made.problem
    yield made
    made.close()


def test_a_text_is_answered_as_the_run_answers_it(panel: Predict, finished):
    panel.text.value = "a truly good film"
    panel.go.click()
    panel.settle(60)
    want = finished.predict(["a truly good film"])[0]
    assert (
        f"<b>{want.label}</b>" in panel.answer.value
        and f"{100 * want.confidence:.1f} %" in panel.answer.value
    )
    assert panel.why.found.target == want.label
    assert [word.text for word in panel.why.found.words] == ["a", "truly", "good", "film"]
    assert panel.why.found.probability[want.label] == pytest.approx(want.confidence, abs=1e-5)
    scope: dict[str, Any] = {}
    exec(panel.code().rsplit("\n", 2)[0], scope)  # but for the export
    assert "run.explain('a truly good film')" in panel.code() and scope["run"].id == finished.id


def test_a_row_of_the_test_split_is_taken(panel: Predict, finished):
    panel.any.click()
    panel.settle(60)
    assert panel.text.value in finished.rows["test"]["text"] and panel.answer.value


def test_the_model_is_exported_as_a_zip_that_opens_again(panel: Predict, tmp_path: Path, finished):
    panel.export.click()
    panel.settle(60)
    assert panel.link.file == "finished-model.zip" and "finished-model.zip" in panel.note_box.value
    zipfile.ZipFile(tmp_path / panel.link.file).extractall(tmp_path / "again")
    again = lk.Predictor(tmp_path / "again")
    texts = ["a truly good film", "dull"]
    np.testing.assert_array_equal(again.probabilities(texts), finished.predictor.probabilities(texts))


def test_every_callback_that_fails_shows_it_and_the_panel_goes_on(panel: Predict):
    assert len(panel.callbacks) >= 9
    for callback in list(panel.callbacks):
        whole, callback.action = callback.action, lambda *a, **k: raise_(OSError("disk <full>"))
        callback({"new": 1, "old": 0})
        assert "OSError: disk &lt;full&gt;" in panel.error_box.value
        callback.action = whole
        panel.problem = None
    panel.text.value = "usable"
    panel.go.click()
    panel.settle(60)
    assert panel.answer.value and panel.problem is None


@pytest.mark.parametrize("number", range(0, len(HOSTILE), 4))
def test_hostile_texts_are_text(panel: Predict, number: int):
    for text in HOSTILE[number : number + 4]:
        panel.text.value = text
        panel.go.click()
        panel.settle(60)
        assert panel.problem is None and executable(shown(panel)) == []
        compile(panel.code(), "code", "exec")


def test_without_a_model_it_says_what_to_do(tmp_path: Path):
    panel = Predict(state=State(folder=tmp_path, language="en"))
    assert "No model yet" in panel.empty.value and panel.go.disabled and panel.code() == ""
    panel.close()
    running = Predict(fake(tmp_path), language="zh")
    running.settle()
    assert "尚无模型" in running.empty.value and running.problem is None
    running.close()


# --- pictures and numbers -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory):
    """A run that tells bright from dark."""
    random = np.random.default_rng(0)
    images = random.integers(0, 60, (120, 8, 8)).astype(np.uint8)
    images[::2] += 190
    columns = {"image": list(images), "label": [n % 2 for n in range(120)], "row": list(range(120))}
    kinds = Features({"image": Array2D((8, 8), "uint8"), "label": Value("int32"), "row": Value("int64")})
    spec = Spec(modality="image", label="label", classes=("bright", "dark"))
    rows = Rows({"train": Dataset.from_dict(columns, kinds)}, spec)
    folder = tmp_path_factory.mktemp("pictures")
    model = lk.models["cnn"](preset="small", widths=(4,))
    return lk.fit(rows, model, folder=folder, background=False, epochs=6, batch_size=16, learning_rate=1e-2)


def test_a_dropped_picture_is_answered_and_explained(pictures):
    panel = Predict(pictures, language="en")
    panel.settle(60)
    assert (
        panel.drop.size == [8, 8]
        and panel.text.layout.display == "none"
        and panel.go.layout.display == "none"
    )
    bright = np.full((8, 8, 4), 255, np.uint8)
    send(panel.drop, {"type": "picture", "size": [8, 8]}, memoryview(bright.tobytes()))
    panel.settle(60)
    assert panel.problem is None and "<b>bright</b>" in panel.answer.value
    assert panel.why.found.map.shape == (8, 8) and "data:image/png" in panel.why.said.value
    panel.any.click()
    panel.settle(60)
    assert executable(shown(panel)) == [] and "run.predict(x[None])" in panel.code()
    send(panel.drop, {"type": "refused", "name": HOSTILE[0], "error": "<b>"})
    assert "is not an image" in panel.error_box.value and executable(panel.error_box.value) == []
    panel.close()


def test_pixels_become_what_the_model_reads():
    pixels = np.zeros((1, 3, 4), np.uint8)
    pixels[0, 0], pixels[0, 1] = (255, 0, 0, 255), (0, 255, 0, 255)  # the third is clear: white shows through
    np.testing.assert_array_equal(as_read(pixels, 1)[0, :, 0], [76, 150, 255])
    assert as_read(pixels, 3).tolist() == [[[255, 0, 0], [0, 255, 0], [255, 255, 255]]]
    assert as_read(pixels, 1, Pixels(True, 16.0))[0, :, 0].tolist() == [5, 9, 16]
    np.testing.assert_allclose(as_read(pixels, 1, Pixels(False, 1.0))[0, 2], 1.0)


def test_cells_of_a_table_are_answered_by_their_columns(tmp_path: Path):
    rows = [{"size": ["small", "large", "huge"][i % 3], "x": i, "y": 2.0 * i} for i in range(60)]
    run = lk.fit(
        lk.load(rows, features=("size", "x"), number="y"), "mlp", folder=tmp_path, background=False, epochs=2
    )
    panel = Predict(run, language="en")
    panel.settle(60)
    assert panel.numbers.placeholder == "comma-separated values: size, x"
    panel.numbers.value = "tiny, 3"
    panel.go.click()
    assert "which is not one of its categories: huge, large, small" in panel.error_box.value
    panel.numbers.value = "large, 3"
    panel.go.click()
    panel.settle(60)
    wanted = float(run.predict([{"x": 3, "size": "large"}])[0])
    assert panel.problem is None and f"{wanted:.5g}" in panel.answer.value
    panel.any.click()  # a row of the test split, as numbers
    panel.settle(60)
    assert panel.problem is None and panel.numbers.value.count(",") == 3
    panel.close()


def test_numbers_are_answered_and_refused(tmp_path: Path):
    random = np.random.default_rng(0)
    table = random.normal(size=(150, 3))
    columns = {name: table[:, place] for place, name in enumerate("abc")}
    kinds = Features(
        {**{name: Value("float32") for name in "abc"}, "label": Value("int32"), "row": Value("int64")}
    )
    whole = Dataset.from_dict({**columns, "label": (table[:, 0] > 0).astype(int), "row": range(150)}, kinds)
    rows = Rows({"train": whole}, Spec(modality="features", label="label", classes=("down", "up")))
    run = lk.fit(rows, lk.models["mlp"](preset="small", widths=(8,)), folder=tmp_path, background=False, epochs=20,
                 batch_size=16, learning_rate=1e-2)  # fmt: skip
    panel = Predict(run, language="en")
    panel.settle(60)
    assert panel.numbers.placeholder == "3 comma-separated numbers"
    for text, said in (("1, 2", "got 2 numbers"), ("1, x, 3", "could not convert")):
        panel.numbers.value = text
        panel.go.click()
        assert said in panel.error_box.value
    panel.numbers.value = "2.5, 0.1; -0.2"
    panel.go.click()
    panel.settle(60)
    assert panel.problem is None and "<b>up</b>" in panel.answer.value
    assert int(np.argmax(np.abs(panel.why.found.values))) == 0
    panel.close()
