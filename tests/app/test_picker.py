"""The step Model: forms from configs, the drawing, what it costs, and that its code makes the same run."""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import numpy as np
import pytest

import labkit as lk
from labkit.app.panel import Panel
from labkit.app.state import State
from labkit.app.steps.model import Model, preset_sizes
from labkit.app.widgets import drawing
from labkit.app.widgets.forms import LEFT_OUT, Form
from labkit.core.cache import fingerprint
from labkit.core.config import Config, dumps, loads
from labkit.data.schema import MODALITIES
from labkit.i18n.labels import LABELS
from labkit.models import models
from labkit.runs.handle import RunHandle
from labkit.tasks import tasks
from labkit.tasks.classify import Classify
from labkit.tasks.scenario import Scenario
from labkit.train.experiment import Experiment, Training
from labkit.train.optimizer import Optimizer
from labkit.train.privacy import Privacy
from labkit.viz import media
from labkit.viz.words import TABLE, help_of, label_of, word

REVIEWS = Path(__file__).parents[1] / "reviews.csv"
CONFIGS = [*(models[name]() for name in models), *(tasks[name]() for name in tasks), Training(), Optimizer()]


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def state(reviews: lk.Rows, tiny: Config, tmp_path: Path) -> State:
    rows = lk.load(str(REVIEWS))
    train = Training(epochs=1, batch_size=16, optimizer=Optimizer(learning_rate=3e-3))
    return State(
        rows=rows, model=tiny, task=Classify(max_length=32, vocabulary=300), train=train, language="en"
    )


@pytest.fixture
def model(state: State):
    made = Model(state=state)
    made.settle(120)
    yield made
    made.settle(120)
    made.close()


def text_of(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


def test_the_drawing_has_the_classes_that_are_left_after_merging(state: State):
    state.rows = lk.load({"text": state.rows["train"]["text"], "label": [f"c{i % 4}" for i in range(260)]})
    state.steps = ({"do": "relabel", "names": {"c3": "c2"}}, {"do": "split", "test": 0.2})
    model = Model(state=state)
    model.settle(120)
    assert "probabilities of 3 classes" in text_of(model.drawing.value), model.problem
    model.close()


# --- forms ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: type(config).__name__)
def test_every_setting_has_a_name_and_help_in_both_languages(config: Config):
    for field in dataclasses.fields(config):
        if field.name == "optimizer":  # it has a form of its own
            continue
        assert field.name in LABELS, f"{type(config).__name__}.{field.name} is not in labkit/i18n/labels.py"
        assert label_of(field.name, "en") and re.search("[\u4e00-\u9fffα-ω]", label_of(field.name, "zh"))
        assert help_of(field, "en") and re.search("[\u4e00-\u9fff]", help_of(field, "zh"))


def test_no_name_is_left_over():
    used = {field.name for config in (*CONFIGS, Privacy, Scenario) for field in dataclasses.fields(config)}
    assert set(LABELS) - used == set()
    assert {f"into_{modality}" for modality in MODALITIES} <= set(TABLE)
    assert {f"model_{name}" for name in models} | {f"task_{name}" for name in tasks} <= set(TABLE)


class Bare(Panel):
    title = "model"

    def build(self) -> None:
        self.changes: list[dict[str, Any]] = []

    def code(self) -> str:
        return ""


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: type(config).__name__)
def test_a_form_shows_every_value_and_gives_it_back(config: Config):
    panel = Bare(State(language="en"))
    form = Form(panel, config, panel.changes.append)
    assert set(form.controls) == {field.name for field in dataclasses.fields(config)} - set(LEFT_OUT)
    for name, control in form.controls.items():
        assert form.value_of(name, control.value) == getattr(config, name), name
        assert control.description == label_of(name) and control.tooltip
        low = form.fields[name].metadata.get("low")
        if low is not None and hasattr(control, "min"):
            assert control.min >= low
    form.fill(config)
    assert panel.changes == [] and panel.problem is None
    panel.close()


def test_a_form_gives_what_was_typed_or_says_what_is_wrong():
    panel = Bare(State(language="en"))
    form = Form(panel, Optimizer(), panel.changes.append)
    form.controls["learning_rate"].value = "2e-5"
    form.controls["freeze"].value = "backbone/*, head/bias"
    form.controls["algorithm"].value = "lion"
    form.controls["warmup"].value = 0.25
    assert panel.changes == [
        {"learning_rate": 2e-5}, {"freeze": ("backbone/*", "head/bias")}, {"algorithm": "lion"}, {"warmup": 0.25},
    ]  # fmt: skip
    form.controls["learning_rate"].value = "fast"
    assert (
        "is not a valid value for Learning rate" in panel.error_box.value
        and "&#x27;fast&#x27;" in panel.error_box.value
    )
    form.fill(Optimizer(learning_rate=1e-3), locked=["algorithm"])
    assert form.controls["learning_rate"].value == "0.001" and form.controls["algorithm"].disabled
    sliders = Form(panel, Training(epochs=90, batch_size=32), panel.changes.append)
    assert (
        isinstance(sliders.controls["epochs"], widgets.IntSlider) and sliders.controls["epochs"].value == 90
    )
    sliders.fill(Training(epochs=90, batch_size=512))
    assert sliders.controls["batch_size"].value == 512
    panel.close()


# --- choosing ---------------------------------------------------------------------------------------------------


def test_what_fits_the_rows_is_offered_and_of_the_rest_it_is_said_why(model: Model):
    assert sorted(name for _, name in model.which.options) == [
        name
        for name in sorted(models)
        if Classify.needs in models[name].capabilities and models[name].modality == "text"
    ]
    assert "expects pictures" in model.unfit.value
    assert [name for _, name in model.task.options][:2] == ["classify", "lm"]
    assert "qa" not in [name for _, name in model.task.options]
    model.task.value = "lm"
    model.settle(120)
    assert model.problem is None, model.problem
    assert [name for _, name in model.which.options] == ["gpt"] and models.name_of(model.state.model) == "gpt"
    assert model.state.task.max_length == 32
    assert "task='lm'" in model.code()


def test_an_architecture_and_a_preset_are_picked(model: Model):
    model.which.value = "textcnn"
    model.settle(120)
    assert model.problem is None and model.state.model == models["textcnn"](preset="tiny")
    assert "filters" in model.forms["sizes"].controls and model.preset.value == "tiny"
    model.forms["sizes"].controls["filters"].value = 48
    model.settle(120)
    assert model.state.model.filters == 48
    model.preset.value = "keras"
    model.settle(120)
    assert model.state.model == models["textcnn"](preset="keras")
    assert model.forms["sizes"].controls["filters"].value == 128


def test_what_cannot_be_is_said_and_the_rest_stays(model: Model):
    model.forms["sizes"].controls["width"].value = 33
    assert "is not a multiple of heads" in model.error_box.value and model.state.model.width == 16
    model.forms["training"].controls["batch_size"].value = 20
    model.settle(120)
    assert model.problem is None and model.state.train.batch_size == 20


def test_the_estimate_is_that_of_the_front_door_and_moves_with_the_controls(model: Model, state: State):
    # the same numbers as lk.estimate, which plans in a folder of its own
    options = {"max_length": 32, "vocabulary": 300, "epochs": 1, "batch_size": 16, "learning_rate": 3e-3}
    there = lk.estimate(lk.load(str(REVIEWS)).split(), state.model, measure=False, **options)
    mine = model.costs.latest.estimate
    assert (mine.parameters, mine.flops_per_step, mine.memory_bytes) == (
        there.parameters, there.flops_per_step, there.memory_bytes,
    )  # fmt: skip
    before, steps = mine.memory_bytes, model.costs.latest.steps
    model.forms["training"].controls["epochs"].value = 3
    model.forms["training"].controls["batch_size"].value = 64
    model.settle(120)
    assert model.costs.latest.estimate.memory_bytes > before
    assert model.costs.latest.steps == 3 * model.costs.latest.plan.batches.steps_per_epoch != steps
    assert f"{model.costs.latest.steps:,} steps in all" in text_of(model.costs.facts.value)


def test_the_time_of_a_run_has_its_evaluations_and_compilation(model: Model):
    found = model.costs.latest
    each = found.estimate.step_seconds
    least, most = found.whole_run(compile_seconds=20.0)
    assert found.steps * each < least < 2 * found.steps * each + 1 and most > least + 20
    assert "for the run, with evaluation and compilation" in text_of(model.costs.facts.value)


def test_few_rows_random_weights_unknown_tokens_and_cut_texts_are_named(model: Model):
    assert "random weights: 208 training rows" in text_of(model.warnings.value)
    assert "truncated" in text_of(model.warnings.value)  # max_length = 32
    chinese = [
        {"text": f"这部电影{'很好' if n % 2 else '很差'}，第{n}条评论", "label": "ab"[n % 2]}
        for n in range(60)
    ]
    model.preset.value = "bert-tiny"
    model.state.rows = lk.load(chinese)
    model.settle(120)
    assert model.problem is None and "random weights" not in model.warnings.value
    assert re.search(r"\d\d% of the tokens are unknown.* Choose e5-small", text_of(model.warnings.value))


def test_presets_say_where_they_start(model: Model):
    names = {value: name for name, value in model.preset.options}
    assert list(names)[:3] == ["minilm-l6", "e5-small", "bert-tiny"]
    assert names["minilm-l6"].startswith("Pretrained: minilm-l6 — 22.7 M parameters (English, ")
    assert names["e5-small"].endswith("MB)") or "downloaded" in names["e5-small"]
    assert names["roberta-base"].startswith("From scratch: roberta-base")


def test_a_learning_rate_is_searched_and_used(model: Model):
    model.state.task = model.state.task.replace(max_length=16)
    model.find_rate.click()
    model.settle(300)
    assert model.problem is None and "<svg" in model.rates.value
    model.use_rate.click()
    model.settle(120)
    assert model.state.train.optimizer.learning_rate == model.found_rate > 0


def test_settings_are_reset_and_another_architecture_takes_no_rate_along(model: Model):
    assert model.state.train.optimizer.learning_rate == 3e-3
    model.which.value = "textcnn"
    model.settle(120)
    assert model.state.train.optimizer.learning_rate is None and model.state.train.epochs == 1
    model.state.train, model.state.name = Training(epochs=9), "mine"
    model.reset.click()
    model.settle(120)
    assert (model.state.train, model.state.name) == (Training(), "")
    assert models.name_of(model.state.model) == "bert" and model.problem is None


def test_weights_by_name_are_those_of_a_folder_or_of_the_hub(model: Model, tmp_path: Path):
    from labkit.hub.samples import folder

    model.hub.value = os.fspath(folder("bert-tiny"))
    model.settle(120)
    assert model.problem is None and model.state.model.weights == os.fspath(folder("bert-tiny"))
    assert model.state.model.width == 128 and model.preset.value == ""
    model.hub.value = "no-such-organisation/no-such-model"
    model.settle(120)
    assert "no-such-organisation/no-such-model" in model.error_box.value and model.state.model.width == 128


def test_a_price_gives_the_cost_of_the_run(model: Model):
    model.costs.where.value = "H100"
    model.costs.price.value = 3.6
    found = model.costs.latest
    one = next(one for one in found.estimate.accelerators if one.name == "H100")
    assert (
        f'<td class="lk-number">{3.6 * one.seconds * found.steps / 3600:,.2f}</td>' in model.costs.table.value
    )
    model.costs.where.value = "T4"
    assert model.costs.price.value == 0
    assert model.costs.prices == {"H100": 3.6}


def test_what_does_not_fit_is_marked_before_it_is_tried(model: Model, monkeypatch: pytest.MonkeyPatch):
    from labkit.app.steps import model as picker
    from labkit.profile import cost

    monkeypatch.setattr(picker, "device_limit", lambda: 500_000_000)
    monkeypatch.setattr(cost, "device_limit", lambda: 1000)
    model.mark_presets(picker.preset_sizes(type(model.state.model)))
    marked = {preset: "too large" in name for name, preset in model.preset.options}
    assert marked["large"] and not marked["tiny"] and not marked[""]
    model.forms["training"].controls["batch_size"].value = 24
    model.settle(120)
    assert "does not fit" in text_of(model.costs.facts.value) and "lk-bad" in model.costs.facts.value


def test_pretrained_weights_keep_their_sizes(model: Model):
    model.preset.value = "bert-tiny"
    model.settle(120)
    assert model.problem is None and model.state.model.weights == "bert-tiny"
    assert (
        model.forms["sizes"].controls["width"].disabled
        and not model.forms["sizes"].controls["dropout"].disabled
    )
    assert model.state.train.optimizer.learning_rate == 3e-3  # it was chosen
    model.state.train = Training()
    assert (
        model.forms["optimizer"].controls["learning_rate"].value == f"{model.state.optimizer.learning_rate:g}"
    )
    pretrained = model.state.optimizer.learning_rate
    model.preset.value = "tiny"
    model.settle(120)
    assert model.state.train.optimizer.learning_rate is None, "it goes on following the model"
    assert float(model.forms["optimizer"].controls["learning_rate"].value) > pretrained
    assert model.state.experiment.train.optimizer.learning_rate == model.state.optimizer.learning_rate
    assert not model.forms["sizes"].controls["width"].disabled


def test_pictures_get_networks_for_pictures():
    model = Model(lk.load("digits").sample(60), language="en")
    model.settle(120)
    assert model.problem is None, model.problem
    assert [name for _, name in model.which.options] == ["cnn", "mlp", "vgg", "efficientnet"]
    assert preset_sizes(models["cnn"])["small"] is None  # the shape of a picture is not known to it
    assert "augment" in model.forms["task"].controls and "max_length" not in model.forms["task"].controls
    assert "3 × 3, 1 → 32" in model.drawing.value and "Convolution 3" in model.drawing.value
    model.close()


def test_sounds_get_networks_for_their_spectra(tmp_path: Path):
    random = np.random.default_rng(0)
    for name, hertz in (("low", 300), ("high", 1500)):
        (tmp_path / "sounds" / name).mkdir(parents=True)
        for number in range(6):
            wave = np.sin(2 * np.pi * hertz * random.uniform(0.8, 1.2) * np.arange(2000) / 8000)
            (tmp_path / "sounds" / name / f"{number}.wav").write_bytes(media.wav(wave, 8000))
    rows = lk.load(tmp_path / "sounds").split(validation=0.34, test=0, seed=0)
    model = Model(rows, language="en")
    model.settle(120)
    assert model.problem is None, model.problem
    assert [name for _, name in model.which.options] == ["cnn", "mlp", "vgg", "efficientnet"]
    assert "log-mel spectrogram" in text_of(model.drawing.value) and "steps in all" in text_of(
        model.costs.facts.value
    )
    assert "'cnn'" in model.state.code()
    model.close()


def test_a_private_run_is_set_up_by_its_target(tmp_path: Path):
    rows = lk.load("breast-cancer").split(validation=0.15, test=0.15, seed=0)
    model = Model(rows, language="en")
    model.settle(120)
    form = model.privacy
    assert not form.on.value and form.form.root.layout.display == "none" and model.state.train.privacy is None
    form.on.value = True
    model.settle(120)
    assert model.problem is None, model.problem
    target = model.state.train.privacy
    assert target is not None and target.epsilon == 8.0 and target.delta < 1 / len(rows["train"])
    form.form.controls["epsilon"].value = "2"
    model.settle(120)
    assert model.state.train.privacy.epsilon == 2.0 and "privacy" in model.state.code()
    model.state.train = model.state.train.replace(patience=3)
    model.settle(120)
    assert "early stopping" in str(model.problem)
    model.state.train = model.state.train.replace(patience=0)
    form.on.value = False
    model.settle(120)
    assert model.state.train.privacy is None and model.problem is None
    model.close()


# --- the drawing ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(models))
def test_the_drawing_is_of_the_whole_stack(name: str):
    from flax import nnx

    from labkit.train.step import flatten

    config = models[name]()
    fields = type(config).__dataclass_fields__
    shape = {"image": (32, 32, 3), "series": (64, 1), "audio": (64, 40)}.get(config.modality, (8,))
    config = config.replace(**({"input_shape": shape} if "input_shape" in fields else {"vocab_size": 50}))
    state = nnx.state(nnx.eval_shape(lambda: config.build(nnx.Rngs(0))), nnx.Param)
    shapes = {f"backbone/{name}": leaf.shape for name, leaf in flatten(nnx.to_pure_dict(state)).items()}
    shapes |= {"head/kernel": (4, 2), "head/bias": (2,)}
    found = drawing.blocks(shapes, config.drawing)
    import math

    assert sum(block.parameters for block in found) == sum(math.prod(shape) for shape in shapes.values())
    assert found[-1].key == "block_head" and all(block.key in TABLE for block in found)
    assert "block_other" not in [block.key for block in found]
    picture = drawing.drawn(found, word, ("in", "out"))
    names = re.findall(r"<b>(.*?)</b>", picture)
    assert names[0] == "out" and names[-1] == "in" and len(names) == len(found) + 2  # it is read from below


# --- the same run -----------------------------------------------------------------------------------------------


def test_the_code_makes_the_same_run(
    model: Model, state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    state.steps = ({"do": "clean", "steps": ["html", "whitespace"]}, {"do": "dedupe"})
    model.forms["training"].controls["seed"].value = 3
    model.settle(120)
    assert model.problem is None
    rows, experiment = state.ready()
    first = RunHandle.create(state.store, experiment, rows).start().wait(120)
    monkeypatch.setenv("LABKIT_FOLDER", os.fspath(tmp_path / "second"))
    made: dict[str, Any] = {}
    exec(model.copy.text, made)
    second = made["run"].wait(120)
    assert fingerprint(dumps(second.experiment)) == fingerprint(dumps(first.experiment))
    told = [[(r.step, r.split, r.name, r.value) for r in run.store.records(run.id) if r.name in ("loss", "f1")]
            for run in (first, second)]  # fmt: skip
    assert told[0] == told[1] and len(told[0]) > 3
    model.save.click()
    assert loads(Experiment, Path("experiment.toml").read_text()) == first.experiment


def test_a_setting_that_may_be_left_out_is_empty_until_it_is_set():
    panel = Bare(State(language="en"))
    form = Form(panel, Classify(max_length=64), panel.changes.append, ["max_length"])
    assert form.controls["max_length"].value == "64"
    form.fill(Classify())
    assert form.controls["max_length"].value == ""
    form.controls["max_length"].value = "32"
    form.controls["max_length"].value = ""
    assert panel.changes == [{"max_length": 32}, {"max_length": None}]
    panel.close()
