"""Formulas of memory and FLOPs against XLA's own analysis of the same training step.

``python -m pytest -m soak tests/profile/test_formulas.py -s`` compares every preset at three batch sizes, prints the
table and takes some ten minutes.
"""

from __future__ import annotations

import jax
import numpy as np
import pytest
from flax import nnx

from labkit.models import lora, models
from labkit.models.base import Modality
from labkit.profile.cost import compiled_of, planned, work_and_plan
from labkit.tasks import tasks
from labkit.tasks.pretrain import Pretraining
from labkit.train.optimizer import Optimizer
from labkit.train.step import TrainStep

#: Architecture → its batches: rows and tokens, features, or the side of pictures.
BATCHES = {
    "bert": [(8, 64), (32, 128), (64, 256)], "gpt": [(2, 64), (8, 128), (32, 256)],
    "transformer": [(8, 32), (32, 64), (64, 128)], "textcnn": [(8, 64), (32, 128), (128, 256)],
    "mlp": [(8, 784), (64, 784), (512, 784)], "cnn": [(8, 32), (32, 32), (128, 32)],
    "vgg": [(8, 32), (32, 32), (128, 32)], "modernbert": [(8, 64), (32, 128), (64, 256)],
}  # fmt: skip


def shaped(kind, *shape):
    return jax.ShapeDtypeStruct(shape, np.dtype(kind))


def batch_of(config, rows, wide):
    """A batch as the data path makes it; the shape of an example with it."""
    numbers = ("label", "index", "first", "start", "end")  # some are read by one task only
    batch = {name: shaped("int32", rows) for name in numbers} | {"weight": shaped("float32", rows)}
    if config.modality in (Modality.TEXT, Modality.PAIR):
        sides = {name: shaped("int32", rows, wide) for name in ("ids", "types", "target_ids")}
        return {**sides, **{name: shaped("bool", rows, wide) for name in ("mask", "target_mask")}, **batch}
    shape = (wide,) if config.modality is Modality.FEATURES else config.input_shape
    return {"inputs": shaped("uint8" if len(shape) == 3 else "float32", rows, *shape), **batch}


def steps_of(name, preset, wide, task=None, accumulate=1, **fields):
    """The training step of a preset with the task that it is usually trained for."""
    chosen = {field: fields.pop(field) for field in ("algorithm", "trainable", "ema") if field in fields}
    cls, optimizer = models[name], Optimizer(learning_rate=1e-3, **chosen)
    if cls.modality is Modality.IMAGE:
        fields["input_shape"] = (wide, wide, 1 if preset == "lenet-5" else 3)
    elif cls.modality is Modality.FEATURES:
        fields["input_shape"] = (wide,)
    config = cls(preset=preset, **fields)
    if task == "pretrain":
        marks = np.zeros(config.vocabulary, bool)
        head = Pretraining(tasks[task](), 4, marks, marks)
    else:
        usual = {"gpt": "lm", "transformer": "seq2seq"}.get(name, "classify")
        head = tasks[task or usual]().restore(("no", "yes"))

    def made():
        module = head.init(config, rngs := nnx.Rngs(0))
        if optimizer.trainable == "lora":
            lora.add(module, 8, 16.0, [f"backbone/{pattern}" for pattern in config.lora_targets], rngs)
        return module

    module = nnx.eval_shape(made)
    return TrainStep(
        head, module, optimizer, lambda name: config.layers + 1 if name.startswith("head") else 1, config.layers + 1,
        100, 10, accumulate=accumulate, model=config,
    )  # fmt: skip


def compared(steps, rows, wide):
    """By formula; and XLA's plan."""
    batch = batch_of(steps.model, rows, wide)
    lowered = steps.lower("train", steps.abstract_state(), batch)
    return work_and_plan(steps, batch), planned(compiled_of(lowered))


def check(found, xla, *what):
    """Within 15 %, and never more than 10 % low."""
    print(*what, f"{xla.total / 2**20:,.1f} MiB, by formula {found.total / xla.total - 1:+.1%}", flush=True)
    assert 0.9 * xla.total <= found.total <= 1.15 * xla.total
    assert found.arguments == pytest.approx(
        xla.arguments, rel=0.01
    )  # XLA leaves out what the step does not read


CHEAP = [
    ("bert", "tiny", (16, 48)), ("gpt", "micro", (6, 80)), ("gpt", "modern-tiny", (3, 100)),
    ("transformer", "tiny", (12, 40)), ("textcnn", "tiny", (24, 80)), ("mlp", "two-layer", (100, 300)),
    ("cnn", "lenet-5", (20, 32)), ("cnn", "small", (48, 28)), ("cnn", "resnet-20", (12, 32)),
    ("modernbert", "tiny", (16, 48)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "preset", "shape"), CHEAP)
def test_the_peak_is_near_xlas_plan(name, preset, shape):
    (_, found), xla = compared(steps_of(name, preset, shape[1]), *shape)
    check(found, xla, name, preset, shape)


SETTINGS = [
    {"remat": True},
    {"accumulate": 4},
    {"dtype": "bfloat16"},
    {"dtype": "mixed"},
    {"dropout": 0.0, "attention_dropout": 0.0},
    *({"algorithm": name} for name in ("sgd", "lion", "adafactor", "muon")),
    *({"trainable": tune} for tune in ("head", "bitfit", "lora")),
    *({"trainable": "lora", **more} for more in ({"dtype": "mixed"}, {"remat": True})),
    {"ema": 0.99},
    *({"task": task} for task in ("pretrain", "embed", "qa")),
]


MIXED = [
    ("cnn", "resnet-9", 32),
    ("vgg", "vgg-11", 128),
    ("vgg", "vgg-11-bn", 32),
    ("vgg", "vgg16-trunk", 32),
]


@pytest.mark.parametrize(
    ("name", "preset", "rows"),
    [("cnn", "small", 48), *(pytest.param(*case, marks=pytest.mark.soak) for case in MIXED)],
)
def test_the_peak_of_convolutions_in_mixed_precision(name, preset, rows):
    """Whose products are in memory for all places of a kernel at once."""
    (_, found), xla = compared(steps_of(name, preset, 32, dtype="mixed"), rows, 32)
    check(found, xla, name, preset, "mixed")


@pytest.mark.parametrize(
    "change", [*SETTINGS[:2], *(pytest.param(x, marks=pytest.mark.soak) for x in SETTINGS[2:])]
)
def test_the_peak_follows_the_settings(change):
    steps, shape = steps_of("bert", "mini", 96, **change), (16, 96)
    (_, found), xla = compared(steps, *shape)
    check(found, xla, *(f"{name} = {value}" for name, value in change.items()))


@pytest.mark.parametrize(("name", "preset", "shape"), [CHEAP[place] for place in (0, 1, 4, 8)])
def test_flops_are_near_xlas_count(name, preset, shape):
    fields = {"vocab_size": 1000} if "vocab_size" in models[name].__dataclass_fields__ else {}
    steps = steps_of(name, preset, shape[1], **fields)
    batch = batch_of(steps.model, *shape)
    if name in ("bert", "gpt", "transformer"):  # XLA counts the body of a loop once
        steps = steps_of(name, preset, shape[1], **fields, unroll=steps.model.depth)
    told = steps.lower("train", steps.abstract_state(), batch).cost_analysis()["flops"]
    work, _ = work_and_plan(steps, batch)
    assert work.flops == pytest.approx(told, rel=0.06)


@pytest.mark.soak
@pytest.mark.parametrize("name", BATCHES)
def test_every_preset_at_three_batch_sizes(name):
    failed = []
    for preset in models[name].PRESETS:
        for rows, wide in BATCHES[name]:
            (_, found), xla = compared(steps_of(name, preset, wide), rows, wide)
            try:
                check(found, xla, name, preset, (rows, wide))
            except AssertionError as error:
                failed.append((preset, rows, wide, str(error)))
    assert not failed
