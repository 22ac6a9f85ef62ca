"""The default learning rate and batch size: one for each architecture, task and way of fine-tuning, the same at every
entry point."""

from __future__ import annotations

from pathlib import Path

import pytest

import labkit as lk
from labkit.app.state import State
from labkit.core.config import dumps, loads
from labkit.models import models
from labkit.planning import experiment_of
from labkit.runs.handle import RunHandle, code_of
from labkit.tasks import tasks
from labkit.tasks.classify import Classify
from labkit.tasks.lm import LanguageModel
from labkit.train.default_rates import BY_RULE, default_batch, default_epochs, default_rate
from labkit.train.experiment import Experiment, Training
from labkit.train.optimizer import TUNES, Optimizer, optimizers

FRESH = {
    "bert": "tiny", "modernbert": "base", "gpt": "nano", "transformer": "tiny", "textcnn": "tiny", "mlp": "small",
    "cnn": "small", "vgg": "vgg-11", "ft-transformer": "small", "sasrec": "small", "dlinear": "default",
    "patchtst": "small", "efficientnet": "scratch", "unet": "small", "conformer": "tiny", "dit": "small",
}  # fmt: skip


def rate(model: str, preset: str = "", task: str = "classify", **options) -> float:
    return default_rate(Optimizer(**options), models[model](preset=preset or FRESH[model]), tasks[task]())


def test_every_architecture_task_rule_and_way_of_fine_tuning_has_a_rate():
    assert set(FRESH) == set(models) and set(BY_RULE) == set(optimizers)
    for name, preset in FRESH.items():
        for task in (task for task in tasks if tasks[task].needs in models[name].capabilities):
            for trainable in TUNES:
                for algorithm in optimizers:
                    assert 1e-6 < rate(name, preset, task, trainable=trainable, algorithm=algorithm) < 1


def test_pretrained_weights_move_less_than_new_ones_and_wide_layers_less_than_narrow_ones():
    assert rate("bert", "base") < rate("bert", "tiny") and rate("gpt", "xl") < rate("gpt", "small")
    assert rate("bert", "minilm-l6") < rate("bert", "small") / 2
    assert rate("bert", "minilm-l6", trainable="lora") > 5 * rate("bert", "minilm-l6")
    assert rate("cnn") == rate("cnn", "resnet-20")


def test_language_models_learn_new_weights_at_a_greater_rate_than_classifiers():
    assert rate("gpt", task="lm") == 2 * rate("gpt") == pytest.approx(2 * 2e-4 * 768 / 48)
    assert rate("gpt", "smollm2-135m", "lm") == rate("gpt", "smollm2-135m")
    assert rate("gpt", task="lm", trainable="head") == rate("gpt", trainable="head")


def test_layers_of_sigmoids_learn_at_a_greater_rate():
    assert rate("mlp", "two-layer") > 2 * rate("mlp", "small") == 2 * rate("mlp", "linear")
    tanh = default_rate(Optimizer(), models["mlp"](preset="two-layer", activation="tanh"), Classify())
    assert tanh == rate("mlp", "small")


def test_the_head_alone_is_trained_by_one_rate_however_it_was_chosen():
    head = rate("bert", "bert-tiny", trainable="head")
    assert (
        head
        == rate("bert", "bert-tiny", freeze=("backbone/*",))
        == rate("bert", "bert-tiny", freeze_layers=2)
    )
    assert head > rate("bert", "bert-tiny") == rate("bert", "bert-tiny", freeze_layers=1)
    assert rate("bert", "bert-tiny", freeze=("backbone/embeddings/*",)) == rate("bert", "bert-tiny")


def test_an_experiment_has_the_rate_wherever_it_comes_from(tmp_path: Path):
    table = [{"text": f"{'good' if i % 2 else 'bad'} film {i}", "label": str(i % 2)} for i in range(60)]
    rows = lk.load(table)
    for model in (models["textcnn"](preset="tiny"), models["bert"](preset="tiny")):
        expected = default_rate(Optimizer(), model, Classify())
        by_fit = experiment_of(rows, model, False, {})[1]
        toml = dumps(by_fit)
        without = "\n".join(line for line in toml.splitlines() if not line.startswith("learning_rate"))
        by_panel = State(model=model, rows=rows)
        found = [
            by_fit, loads(Experiment, toml), loads(Experiment, without), by_panel.experiment,
            Experiment(model=model, train=Training(epochs=1)),
        ]  # fmt: skip
        assert {each.train.optimizer.learning_rate for each in found} == {expected}
        assert by_panel.train.optimizer.learning_rate is None and by_panel.optimizer.learning_rate == expected
        assert f"learning_rate = {expected}" in toml and f"learning_rate={expected}" in by_panel.code()


def test_a_rate_that_was_given_stays():
    model = models["mlp"]()
    assert (
        Experiment(
            model=model, train=Training(optimizer=Optimizer(learning_rate=0.0))
        ).train.optimizer.learning_rate
        == 0
    )
    assert loads(Optimizer, "learning_rate = 3e-5").learning_rate == 3e-5
    assert Optimizer(schedule="constant", warmup=0.0).rates(3) == pytest.approx([1, 1, 1]), (
        "a fraction of the greatest"
    )


@pytest.mark.parametrize(
    ("model", "preset", "task", "size"),
    [("gpt", "nano", "lm", 8), ("transformer", "tiny", "seq2seq", 8), ("gpt", "nano", "classify", 32),
     ("gpt", "smollm2-135m", "lm", 32), ("bert", "tiny", "pretrain", 32), ("mlp", "small", "regress", 32)],
)  # fmt: skip
def test_an_experiment_has_the_batch_size_of_its_task_wherever_it_comes_from(model, preset, task, size):
    config, settings = models[model](preset=preset), tasks[task]()
    assert default_batch(config, settings) == size
    made = Experiment(model=config, task=settings)
    without = "\n".join(line for line in dumps(made).splitlines() if not line.startswith("batch_size"))
    panel = State(model=config, task=settings)
    found = [made, loads(Experiment, dumps(made)), loads(Experiment, without), panel.experiment]
    assert {each.train.batch_size for each in found} == {panel.training.batch_size} == {size}
    assert panel.train.batch_size is None and "batch_size" not in code_of(made)
    for given in (8, 32, 12):
        chosen = Experiment(model=config, task=settings, train=Training(batch_size=given))
        assert chosen.train.batch_size == given
        assert (f"batch_size={given}" in code_of(chosen)) == (given != size)


@pytest.mark.parametrize(("rows", "batch", "epochs"), [
    (470, 32, 20),  # 15 steps an epoch
    (60, 32, 100), (32, 32, 100),  # no more than a hundred
    (3200, 32, 3), (3000, 32, 4), (100_000, 32, 3), (470, 8, 6), (0, 32, 3),
])  # fmt: skip
def test_few_rows_are_trained_for_about_three_hundred_steps(rows: int, batch: int, epochs: int):
    assert default_epochs(rows, batch, Classify()) == epochs
    assert default_epochs(rows, batch, LanguageModel()) == 3  # running text counts by its tokens
    assert Training(epochs=5, batch_size=batch).for_rows(rows, Classify()).epochs == 5


def test_a_run_has_the_same_epochs_from_the_panel_from_toml_and_from_python(tmp_path: Path):
    rows = lk.load(str(Path(__file__).parents[1] / "reviews.csv")).split(seed=0)  # 208 to train on: 7 steps
    state = State(rows=rows, model=models["textcnn"](preset="tiny"), folder=tmp_path, language="en")
    text = dumps(state.experiment)
    assert "epochs" not in text and state.training.epochs == 43
    python = experiment_of(rows, models["textcnn"](preset="tiny"), False, {}, "")[1]
    for experiment in (state.ready()[1], loads(Experiment, text), python):
        run = RunHandle.create(state.store, experiment, rows)
        assert run.experiment.train.epochs == 43 and "epochs=43" in run.code()
        assert run.experiment.replace(name="") == experiment.for_rows(rows).replace(name="")
