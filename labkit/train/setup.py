"""From an experiment and its rows to everything the loop needs, and from the parameters to a model on disk."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from labkit.base.cache import write_atomic
from labkit.base.config import dumps
from labkit.base.errors import ConfigError, DataError, WeightsError
from labkit.data.batch import Batches, choose_buckets
from labkit.data.rows import Rows
from labkit.data.text import Tokenizer
from labkit.data.tokens import Tokens, encode
from labkit.models.weights import Tensors
from labkit.tasks.classify import Classification
from labkit.train.experiment import Experiment
from labkit.train.step import Params, Steps, flatten

#: Train metrics are reported about this many times an epoch.
REPORTS = 20


@dataclass
class Setup:
    """An experiment with its data read, its model made and its steps ready to compile."""

    experiment: Experiment
    task: Classification
    tokenizer: Tokenizer
    batches: Batches
    validation: Batches
    steps: Steps
    params: Params  # to start from; emptied once the state has taken them over
    summary: dict[str, Any]  # what the store is told


def prepare(experiment: Experiment, folder: Path, say: Callable[[str], None]) -> Setup:
    """Read the rows of a run folder, tokenise them, make the model and its steps.

    Args:
        experiment: what to do.
        folder: the run's folder; its ``data`` holds the rows, ``tokenizer`` is written here.
        say: called with a sentence at the start of every part.

    Raises:
        DataError, ConfigError, WeightsError: as their texts say.
    """
    train = experiment.train
    rows = Rows.open(folder / "data")
    for split in ("train", "validation"):
        if not len(rows.splits.get(split, ())):
            raise DataError(f"there are no rows of {split}; the rows have {dict(rows.counts())}.")
    say("tokenising")
    tokenizer = tokenizer_of(experiment, folder, rows)
    tokens = {name: encode(rows[name], tokenizer, experiment.task.max_length) for name in ("train", "validation")}
    batches = _batches(tokens["train"], experiment, shuffle=True)
    validation = _batches(tokens["validation"], experiment, shuffle=False)
    task = experiment.task.bind(rows.spec.classes, tokens["train"].label)
    say("making the model")
    model = sized(experiment, tokenizer)
    module = task.module(model, nnx.Rngs(train.seed))
    if model.weights:
        model.load(module.trunk)
    top = model.depth + 1
    total = train.epochs * batches.steps_per_epoch
    steps = Steps(
        task, module, train.optimizer, lambda name: _layer_of(module, name, top), top, total,
        report_every=max(1, batches.steps_per_epoch // REPORTS),
    )  # fmt: skip
    params = flatten(nnx.to_pure_dict(nnx.split(module)[1]))
    counts = {name: int(np.prod(value.shape)) for name, value in params.items()}
    summary = {
        "parameters": sum(counts.values()),
        "trainable": sum(counts[name] for name in steps.moving),
        "buckets": [length for _, length in batches.shapes],
        "padding_share": round(batches.padding_share, 4),
        "truncated": tokens["train"].truncated,
        "train_rows": len(tokens["train"]),
        "device": str(jax.devices()[0].device_kind),
    }
    return Setup(experiment, task, tokenizer, batches, validation, steps, params, summary)


def tokenizer_of(experiment: Experiment, folder: Path, rows: Rows) -> Tokenizer:
    """The run's tokenizer: kept from before, or that of the pretrained model, or learnt from the training texts."""
    if (folder / "tokenizer" / "tokenizer.json").exists():
        return Tokenizer.load(folder / "tokenizer")
    task, source = experiment.task, experiment.model.folder()
    if source is not None:
        tokenizer = Tokenizer.load(source)
    else:
        tokenizer = Tokenizer.train(rows["train"]["text"], kind=task.tokenizer, vocab_size=task.vocabulary)
    tokenizer.save(folder / "tokenizer")
    return tokenizer


def sized(experiment: Experiment, tokenizer: Tokenizer) -> Any:
    """The model's config with the sizes that come from the data filled in."""
    model = experiment.model
    if model.vocab_size is None:
        model = model.replace(vocab_size=tokenizer.vocab_size)
    if model.vocab_size < tokenizer.vocab_size:
        raise ConfigError(f"the tokenizer has {tokenizer.vocab_size} pieces, the model only {model.vocab_size}.")
    if experiment.task.max_length > model.max_length:
        raise ConfigError(
            f"max_length = {experiment.task.max_length} is longer than the model's {model.max_length} positions."
        )
    return model


def empty_batch(shape: tuple[int, int]) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes and data types of a batch ``(examples, tokens)``, to compile for."""
    rows, wide = (shape[0],), tuple(shape)
    kinds = {"ids": (wide, "int32"), "types": (wide, "int32"), "mask": (wide, "bool"), "label": (rows, "int32"),
             "weight": (rows, "float32"), "index": (rows, "int32")}  # fmt: skip
    return {name: jax.ShapeDtypeStruct(size, np.dtype(kind)) for name, (size, kind) in kinds.items()}


def save_model(setup: Setup, params: Params, folder: Path) -> None:
    """Write the model in the Hugging Face layout, with ``labkit.toml`` for what that layout has no place for."""
    module = setup.steps.module(params)
    head = {
        "classifier.weight": np.asarray(module.head.kernel[...]).T,
        "classifier.bias": np.asarray(module.head.bias[...]),
    }
    classes = setup.task.classes
    sized(setup.experiment, setup.tokenizer).save(
        module.trunk, folder, head,
        architectures=["BertForSequenceClassification"],
        id2label={str(number): name for number, name in enumerate(classes)},
        label2id={name: number for number, name in enumerate(classes)},
    )  # fmt: skip
    setup.tokenizer.save(folder)
    write_atomic(folder / "labkit.toml", dumps(setup.experiment))


def load_model(experiment: Experiment, tokenizer: Tokenizer, folder: Path) -> tuple[Any, tuple[str, ...]]:
    """The model that :func:`save_model` wrote, with its head, and the names of its classes.

    Raises:
        WeightsError: a file is missing or damaged, or the weights do not fit.
    """
    try:
        labels = json.loads((folder / "config.json").read_text(encoding="utf-8"))["id2label"]
        classes = tuple(labels[str(number)] for number in range(len(labels)))
    except (OSError, ValueError, KeyError) as error:
        raise WeightsError(
            f"config.json of {folder.name!r} names no classes: {error!r}. Export the model again."
        ) from None
    model = sized(experiment, tokenizer)
    module = nnx.eval_shape(lambda: Classification.of(experiment.task, classes).module(model, nnx.Rngs(0)))
    model.load(module.trunk, folder)
    tensors = Tensors(folder)
    head = {"kernel": jnp.asarray(tensors["classifier.weight"].T), "bias": jnp.asarray(tensors["classifier.bias"])}
    nnx.update(module, {"head": head})
    return module, classes


def _batches(tokens: Tokens, experiment: Experiment, shuffle: bool) -> Batches:
    train = experiment.train
    buckets = choose_buckets(tokens.lengths, experiment.task.max_length, train.buckets, batch_size=train.batch_size)
    return Batches(tokens, train.batch_size, buckets, seed=train.seed, shuffle=shuffle)


def _layer_of(module: Any, name: str, top: int) -> int | np.ndarray:
    part, _, rest = name.partition("/")
    return module.trunk.layer_ids(tuple(rest.split("/"))) if part == "trunk" else top
