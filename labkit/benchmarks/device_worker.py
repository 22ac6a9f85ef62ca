"""labkit: some seconds of training on the first device, and how fast that is."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
from flax import nnx

from labkit.models import models
from labkit.profile.cost import planned
from labkit.profile.hardware import calibrate, processor
from labkit.train.compilation import use_compilation_cache
from labkit.train.context import steps_of, with_precision
from labkit.train.experiment import Experiment, settings
from labkit.train.step import TrainStep, flatten

from . import arithmetic
from .throughput import product_of
from .turns import Turns

#: Steps that are not timed, and seconds that are.
WARM, SECONDS = 3, 8.0
#: Width of the product whose rate is the peak of a device that no data sheet is known of.
WIDTHS = {"cpu": 2048}


def work(turns: Turns, asked: dict[str, Any]) -> None:
    """Measure the device, or the training of ``asked`` (``device.DeviceTraining``), and say what was found."""
    use_compilation_cache()
    turns.ready(**(_trained(**asked) if asked else _device()))


def _device() -> dict[str, Any]:
    device = jax.devices()[0]
    width = WIDTHS.get(device.platform, 8192)
    return {
        "device": processor(device), "platform": device.platform, "devices": jax.device_count(),
        "product_flops_per_second": max(product_of(width, kind, 1.0)() for kind in ("float32", "bfloat16")),
        "bytes_per_second": calibrate().bandwidth, "jax": jax.__version__,
    }  # fmt: skip


def _trained(name: str, preset: str, rows: int, length: int, changes: dict[str, Any]) -> dict[str, Any]:
    """Tokens a second and memory of some seconds of training on random tokens, none of them padding."""
    model = models["bert"](preset=preset, pooling="cls").replace(**changes)
    task, train = settings(batch_size=rows, learning_rate=1e-4, max_length=length)
    experiment = Experiment(model=model.replace(vocab_size=model.vocabulary), task=task, train=train)
    model = with_precision(experiment.model)
    head = task.restore(("no", "yes"))
    abstract = nnx.eval_shape(lambda: head.init(model, nnx.Rngs(0)))
    steps: TrainStep = steps_of(
        experiment,
        head,
        abstract,
        SimpleNamespace(steps_per_epoch=1000),
        model=model,  # type: ignore[arg-type]
    )
    batch = _batch(rows, length, model.vocabulary)
    begin = time.perf_counter()
    compiled = steps.compile("train", steps.abstract_state(), steps.abstract_batch(batch))
    compile_seconds = time.perf_counter() - begin
    module = head.init(model, nnx.Rngs(0))
    state = steps.state(flatten(nnx.to_pure_dict(nnx.split(module)[1])), 0)
    placed = steps.place(batch)
    for _ in range(WARM):
        state, told = compiled(state, placed)
    jax.block_until_ready(state)
    begin, count = time.perf_counter(), 0
    while (seconds := time.perf_counter() - begin) < SECONDS or not count:
        state, told = compiled(state, placed)
        told["loss"].block_until_ready()
        count += 1
    own = arithmetic.of_bert(model, 2, np.full(rows, length))
    held = jax.local_devices()[0].memory_stats() or {}
    rate = count * rows * length / seconds
    return {
        "tokens_per_second": rate,
        "flops_per_token": own / (rows * length),
        "memory_bytes": held.get("peak_bytes_in_use") or planned(compiled).total,
        "compile_seconds": compile_seconds,
        "precision": model.dtype,
    }


def _batch(rows: int, length: int, vocabulary: int) -> dict[str, np.ndarray]:
    """Random tokens: speed does not depend on them."""
    random, shape = np.random.default_rng(0), (rows, length)
    return {
        "ids": random.integers(0, vocabulary, shape, np.int32),
        "types": np.zeros(shape, np.int32),
        "mask": np.ones(shape, bool),
        "label": random.integers(0, 2, rows, np.int32),
        "weight": np.ones(rows, np.float32),
        "index": np.arange(rows, dtype=np.int32),
    }
