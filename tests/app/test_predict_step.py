"""The step Predict without a browser: texts, pictures and numbers answered and explained, the model taken away."""

from __future__ import annotations

import re
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from datasets import Array2D, Dataset, Features, Value
from PIL import Image

import labkit as lk
from labkit.app.state import State
from labkit.app.steps import predict
from labkit.app.steps.predict import Predict, as_read
from labkit.app.widgets.download import PART, Download
from labkit.core.units import plain
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
    assert panel.link.name == "finished-model.zip" and "finished-model.zip" in panel.note_box.value
    assert panel.link.file == panel.link.name  # beside the notebook, from where JupyterLab serves it
    zipfile.ZipFile(tmp_path / panel.link.name).extractall(tmp_path / "again")
    again = lk.Predictor(tmp_path / "again")
    texts = ["a truly good film", "dull"]
    np.testing.assert_array_equal(again.probabilities(texts), finished.predictor.probabilities(texts))


def test_a_format_beside_the_weights_is_in_the_code(panel: Predict):
    assert "run.export('my-model')" in panel.code()
    panel.formats.value = "int8"
    assert "run.export('my-model', int8=True)" in panel.code()
    panel.formats.value = "weights"


def test_a_model_card_is_exported_too(panel: Predict, tmp_path: Path):
    assert panel.use.layout.display == "none" and "run.card" not in panel.code()
    panel.with_card.value = True
    panel.use.value = "Sorting <b>reviews</b>."
    assert panel.use.layout.display == "" and "run.card(intended_use=" in panel.code()
    panel.export.click()
    panel.settle(120)
    readme = zipfile.ZipFile(tmp_path / panel.link.name).read("README.md").decode()
    assert "## Intended use\n\nSorting <b>reviews</b>." in readme and "## Evaluation" in readme


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


@pytest.fixture(scope="module")
def flats(tmp_path_factory: pytest.TempPathFactory):
    """A run that predicts rents in EUR from numbers, a category, a boolean and a date."""
    rows = [
        {"area_m2": 30 + i, "district": ["North", "South", "Old, town"][i % 3], "lift": i % 2 == 0,
         "rooms": None if i == 7 else 1 + i % 4, "built": f"19{60 + i % 30}-01-15", "rent_eur": 9000.0 + 50 * i}
        for i in range(80)
    ]  # fmt: skip
    made = lk.load(rows, features=("area_m2", "district", "lift", "rooms", "built"), number="rent_eur")
    return lk.fit(made, "mlp", folder=tmp_path_factory.mktemp("flats"), background=False, epochs=3)


def test_a_row_of_a_table_is_entered_by_column(flats):
    panel = Predict(flats, language="en")
    panel.settle(60)
    form = panel.form
    assert form is not None and panel.numbers.layout.display == "none"
    controls = {control.description: control for control in form.controls}
    assert set(controls) == {"area_m2", "district", "lift", "rooms", "built"}
    train = flats.rows["train"]
    assert controls["area_m2"].value == f"{np.quantile(train['area_m2'], 0.5, method='inverted_cdf'):.0f}"
    assert [key for _, key in controls["district"].options] == ["North", "Old, town", "South"]
    assert [name for name, _ in controls["lift"].options] == ["yes", "no"]
    hints = {control.description: hint.value for control, hint in zip(form.controls, form.hints, strict=True)}
    low, high = min(train["area_m2"]), max(train["area_m2"])
    assert f"m² · {low:.0f} – {high:.0f}" in hints["area_m2"] and "1960-01-15" in hints["built"]
    assert "may be empty" in hints["rooms"] and "may be empty" not in hints["area_m2"]
    controls["area_m2"].value, controls["district"].value, controls["built"].value = (
        "47.5",
        "Old, town",
        "1971-01-15",
    )
    panel.go.click()
    panel.settle(60)
    given = {name: control.value for name, control in controls.items()}
    wanted = float(flats.predict([given])[0])
    assert panel.problem is None and f"<b>{plain(wanted, 6)}</b>" in panel.answer.value
    assert "rent_eur (EUR)" in panel.answer.value
    said = panel.why.said.value
    assert (
        "log-odds" not in said
        and "area_m2" in said
        and "47.5" in said
        and "1971-01-15" in said
        and "EUR" in said
    )
    scope: dict[str, Any] = {}
    exec(panel.code().rsplit("\n", 2)[0], scope)
    assert "'district': 'Old, town'" in panel.code()
    panel.any.click()
    panel.settle(60)
    assert panel.problem is None and re.search(r"Truth: (9|1\d),\d\d0<", panel.answer.value)
    assert executable(shown(panel)) == []
    panel.close()


def test_a_wrong_value_is_named_at_its_control(flats):
    panel = Predict(flats, language="en")
    panel.settle(60)
    assert panel.form is not None
    controls = {control.description: number for number, control in enumerate(panel.form.controls)}
    for name, value, said in (
        ("area_m2", "big <b>", "'big <b>' is not a number"), ("built", "15 Jan", "is not a date"),
        ("area_m2", "", "A value is needed"), ("area_m2", "n/a", "A value is needed"),
    ):  # fmt: skip
        before = panel.form.controls[controls[name]].value
        panel.form.controls[controls[name]].value = value
        panel.go.click()
        panel.settle(60)
        hint = (
            panel.form.hints[controls[name]]
            .value.replace("&lt;", "<")
            .replace("&gt;", ">")
            .replace("&#x27;", "'")
        )
        assert (
            said in hint
            and panel.answer.value == ""
            and executable(panel.form.hints[controls[name]].value) == []
        )
        panel.form.controls[controls[name]].value = before
    panel.form.controls[controls["rooms"]].value = ""  # one was missing in training
    panel.go.click()
    panel.settle(60)
    assert panel.answer.value and "is not" not in panel.form.hints[controls["area_m2"]].value
    panel.close()


# --- files --------------------------------------------------------------------------------------------------------


def uploaded(panel: Predict, *files: Path) -> None:
    """Let the page upload files for prediction."""
    panel.files.upload.value = tuple(
        {"name": file.name, "type": "", "size": file.stat().st_size, "content": memoryview(file.read_bytes()),
         "last_modified": datetime.now(UTC)}
        for file in files
    )  # fmt: skip
    panel.settle(120)


def test_a_file_comes_back_with_predictions(panel: Predict, finished, tmp_path: Path):
    frame = pd.DataFrame({"id": [1, 2, 3], "text": ["a truly good film", " ", "dull"]})
    frame.to_csv(tmp_path / "my reviews.csv", index=False)
    panel.unsure.value = 1.0
    uploaded(panel, tmp_path / "my reviews.csv")
    assert panel.files.download.name == "my_reviews-predictions.csv", panel.files.said.value
    out = pd.read_csv(tmp_path / panel.files.download.name, encoding="utf-8-sig")
    wanted = finished.predict(["a truly good film", "dull"], unsure_below=1.0)
    assert out["predicted"].dropna().tolist() == [one.label for one in wanted]
    assert out["unsure"].dropna().tolist() == ["unsure"] * 2 and out["id"].tolist() == [1, 2, 3]
    assert "2 rows predicted" in panel.files.said.value and "no text in column" in panel.files.said.value
    panel.unsure.value = 0.0  # what is there no longer belongs to the settings
    assert panel.files.download.name == "" and "Predict again" in panel.files.said.value
    panel.files.format.value = ".xlsx"
    panel.files.again.click()
    panel.settle(60)
    assert panel.files.download.name == "my_reviews-predictions.xlsx"
    frame.rename(columns={"text": "words"}).to_csv(tmp_path / "other.csv", index=False)
    uploaded(panel, tmp_path / "other.csv")
    assert "other.csv" in panel.files.said.value and "no column" in panel.files.said.value
    assert panel.files.download.name == "" and panel.problem is None
    assert panel.files.column.layout.display == "" and panel.files.column.options[1:] == (
        ("id", "id"),
        ("words", "words"),
    )
    panel.files.column.value = "words"
    panel.settle(60)
    assert panel.files.download.name == "other-predictions.csv", panel.files.said.value
    uploaded(panel, tmp_path / "my reviews.csv")
    assert panel.files.column.layout.display == "none" and panel.files.download.name


def test_pictures_come_back_as_a_table(pictures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    for name, grey in (("one", 250), ("two", 3)):
        Image.fromarray(np.full((8, 8), grey, np.uint8)).save(tmp_path / f"{name}.png")
    panel = Predict(pictures, language="zh")
    panel.settle(60)
    with zipfile.ZipFile(tmp_path / "both.zip", "w") as packed:
        for name in ("one.png", "two.png"):
            packed.write(tmp_path / name, name)
    for files in ([tmp_path / "one.png", tmp_path / "two.png"], [tmp_path / "both.zip"]):
        uploaded(panel, *files)
        out = pd.read_csv(tmp_path / panel.files.download.name, encoding="utf-8-sig")
        assert out["predicted"].tolist() == ["bright", "dark"] and "已预测 2 行" in panel.files.said.value
        assert out["file"].tolist() == ["one.png", "two.png"]
    panel.close()


def test_a_download_comes_in_parts(tmp_path: Path):
    content = np.random.default_rng(0).bytes(PART + 7)
    (tmp_path / "a.zip").write_bytes(content)
    sent: list[Any] = []
    for source in (lambda: content, tmp_path / "a.zip"):
        link = Download(label="x")
        link.send = lambda reply, buffers=None: sent.append((reply, buffers))
        link.offer(source, "a.zip")
        assert link.name == "a.zip" and link.file == ""  # not beside the notebook
        for start in (0, PART, -1, "0"):
            send(link, {"type": "part", "start": start})
        assert b"".join(part for _, (part,) in sent) == content and sent[0][0]["size"] == len(content)
        sent.clear()
    (tmp_path / "a.zip").unlink()
    send(link, {"type": "part", "start": 0})
    assert sent[0][0]["type"] == "failed"
    link.clear()
    assert link.name == ""


def test_numbers_are_answered_and_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(predict, "MOST", 2)  # columns that have a control each
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
    assert panel.form is None
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
