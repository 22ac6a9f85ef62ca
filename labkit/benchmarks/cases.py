"""Benchmark cases: one small function per case, using labkit's regular preparation.

So a case has the batches (packed or in buckets), the steps and the precision that a user would get by default.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

import labkit as lk
from labkit.data.batching.arrays import ArrayBatches, Arrays
from labkit.hub import samples
from labkit.train.compilation import use_compilation_cache
from labkit.train.context import prepare, save_model, shapes_of, steps_of, updates_per_call, with_precision
from labkit.train.experiment import Experiment, ready, settings
from labkit.train.step import TrainStep, flatten

#: Examples in a step, in every case and for every peer.
BATCH = 32
LEARNING_RATE = 3e-5
#: Settings of the small networks; the peer's have no dropout before the last layer either.
SMALL = {"batch_size": BATCH, "learning_rate": 1e-3, "head_dropout": 0.0}
#: Side, channels and classes of the pictures; their pixels are random, for speed does not depend on them.
PICTURE, CLASSES = (32, 32, 3), 10


def bert(**changes: Any) -> tuple[Any, dict[str, Any]]:
    """Model and settings of the fine-tuning of a BERT, 6 layers and 384 wide, on the sample of film reviews.

    Pooled at the first token, as ``BertForSequenceClassification`` does.
    """
    model = lk.models["bert"](preset="minilm-l6", pooling="cls").replace(**changes)
    return model, {"batch_size": BATCH, "learning_rate": LEARNING_RATE, "max_length": 128, "epochs": 100}


def mlp(**changes: Any) -> tuple[Any, dict[str, Any]]:
    """64 → 128 → 10 on the sample of handwritten digits."""
    return lk.models["mlp"](**{"widths": (128,), "dropout": 0.0, **changes}), {**SMALL, "epochs": 100}


def cnn(**changes: Any) -> tuple[Any, dict[str, Any]]:
    """A small convolutional network on pictures of 32 × 32 × 3."""
    model = lk.models["cnn"](**{"preset": "small", "input_shape": PICTURE, **changes})
    return model, {**SMALL, "epochs": 1000}


def vgg11(**changes: Any) -> tuple[Any, dict[str, Any]]:
    """VGG-11 on pictures of 32 × 32 × 3."""
    model = lk.models["vgg"](**{"preset": "vgg-11", "head_width": 512, "input_shape": PICTURE, **changes})
    return model, {**SMALL, "epochs": 1000}


CASES = {"bert": bert, "mlp": mlp, "cnn": cnn, "vgg11": vgg11}


@dataclass
class Case:
    """A case ready to train: what labkit's own preparation makes, as far as a benchmark needs it."""

    experiment: Experiment
    head: Any
    batches: Any
    steps: TrainStep
    params: Any
    most: int  # updates in one call of the compiled step
    summary: dict[str, Any]


def rows_of(case: str) -> Any:
    """The rows of a case that trains on a sample."""
    rows = lk.load({"bert": "movie-reviews", "mlp": "digits"}[case])
    return ready(rows, experiment(case).task, accept_leakage=True)


def experiment(case: str, model: dict[str, Any] | None = None, **changes: Any) -> Experiment:
    """The experiment of a case; ``model`` changes its architecture, ``changes`` its task and its training."""
    config, usual = CASES[case](**(model or {}))
    task, train = settings(**{**usual, **changes})
    return Experiment(model=config, task=task, train=train)


@contextmanager
def prepared(case: str, model: dict[str, Any] | None = None, **changes: Any) -> Iterator[Case]:
    """A case ready to train, as a run would have it, in a folder that goes away again."""
    plan = experiment(case, model, **changes)
    if case in ("cnn", "vgg11"):
        yield _pictures(plan)
        return
    with tempfile.TemporaryDirectory(prefix="labkit-bench-") as folder:
        rows_of(case).save(Path(folder) / "data")
        made = prepare(plan, Path(folder), lambda message: None)
        yield Case(
            made.experiment, made.head, made.batches, made.steps, made.weights(), made.most, made.summary
        )


def exported(case: str, folder: Path) -> Path:
    """A model of a case as a run exports it, with its pretrained weights and a fresh head."""
    with tempfile.TemporaryDirectory(prefix="labkit-bench-") as work:
        rows_of(case).save(Path(work) / "data")
        made = prepare(experiment(case), Path(work), lambda message: None)
        folder.mkdir(parents=True)
        save_model(made, made.weights(), folder)
    return folder


def _pictures(plan: Experiment) -> Case:
    """A case on random pictures: no sample has any of this size."""
    random = np.random.default_rng(0)
    labels = random.integers(0, CLASSES, 8 * BATCH, np.int32)
    inputs = random.standard_normal((len(labels), *PICTURE), np.float32)
    batches = ArrayBatches(Arrays(inputs, labels, np.arange(len(labels))), BATCH, seed=0)
    head = plan.task.build(tuple(map(str, range(CLASSES))), labels)
    module = head.init(with_precision(plan.model), nnx.Rngs(0))
    steps = steps_of(plan, head, module, batches)
    params = flatten(nnx.to_pure_dict(nnx.split(module)[1]))
    return Case(plan, head, batches, steps, params, updates_per_call(steps, batches), {})


def real(batch: dict[str, np.ndarray]) -> tuple[int, int]:
    """Tokens and examples of a batch, without padding and filler."""
    index = batch["index"]
    if "segment" in batch:
        return int((batch["segment"] > 0).sum()), int((index >= 0).sum())
    if "mask" in batch:
        return int(batch["mask"][index >= 0].sum()), int((index >= 0).sum())
    return 0, int((index >= 0).sum())


def width(batch: dict[str, np.ndarray]) -> tuple[int, ...]:
    """The shape that a step is compiled for."""
    return tuple(batch["ids" if "ids" in batch else "inputs"].shape)


def hand_over(case: str, setup: Case, folder: Path) -> dict[str, Any]:
    """What a peer needs to train the same model on the same data, as settings for its worker.

    Texts go as tokens, with the folder of the weights and the sizes of the model; features as an array.
    """
    common = {"batch_size": BATCH, "learning_rate": setup.experiment.train.optimizer.learning_rate}
    if case == "bert":
        tokens, model = setup.batches.tokens, setup.experiment.model
        np.savez(folder / "data.npz", ids=tokens.ids, offsets=tokens.offsets, label=tokens.label)
        names = ("width", "depth", "heads", "mlp_width", "vocab_size", "max_length", "dropout")
        sizes = {name: value for name, value in model.values().items() if name in names}
        more = {"tokens": str(folder / "data.npz"), "weights": str(samples.folder("minilm-l6")), "total": 1_000_000,
                "classes": len(setup.head.classes), "model": sizes}  # fmt: skip
        return {**common, **more}
    sizes = sizes_of(case, setup.experiment.model, len(setup.head.classes))
    if case != "mlp":  # random pictures, there as here
        return {**common, "model": sizes}
    batches = list(setup.batches)
    inputs = np.concatenate([batch["inputs"] for batch in batches]).astype(np.float32)
    label = np.concatenate([batch["label"] for batch in batches])
    np.savez(
        folder / "data.npz", inputs=inputs.reshape(len(inputs), -1) / max(1.0, inputs.max()), label=label
    )
    return {**common, "data": str(folder / "data.npz"), "model": sizes}


def sizes_of(case: str, model: Any, classes: int) -> dict[str, Any]:
    """The sizes of a small network in the words of ``torch_worker.network``."""
    if case == "mlp":
        return {"shape": [64], "hidden": list(model.widths), "classes": classes}
    if case == "cnn":
        stages, hidden = [[width] for width in model.widths], list(model.dense)
    else:
        widths = [model.base_width * 2 ** min(place, 3) for place in range(len(model.stages))]
        stages = [[width] * times for width, times in zip(widths, model.stages, strict=True)]
        hidden = [model.head_width] * 2 if model.head_width else []
    more = {"average": not hidden, "dropout": model.dropout}
    return {"shape": list(PICTURE), "stages": stages, "hidden": hidden, "classes": classes, **more}


def versions() -> dict[str, str]:
    """What is measured, and on which device."""
    return {"labkit": lk.__version__, "jax": jax.__version__, "device": jax.devices()[0].device_kind}


def compile_all(setup: Case) -> None:
    """Compile the step for every shape of the batches, or find it compiled, as the loop does before its first step."""
    use_compilation_cache()
    steps, state = setup.steps, setup.steps.abstract_state()
    for batch in shapes_of(setup.batches, steps, setup.most):
        if setup.most == 1:
            steps.compile("train", state, batch)
        else:
            steps.compile("multi_step", state, batch, jax.ShapeDtypeStruct((), np.int32))
