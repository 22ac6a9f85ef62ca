"""Training context: everything the loop needs from an experiment and its rows; saving of the trained model."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from labkit.core import manifest
from labkit.core.cache import write_atomic
from labkit.core.config import dumps
from labkit.core.errors import ConfigError, DataError, WeightsError
from labkit.data.batching.base import Batches
from labkit.data.io.load import open_rows
from labkit.data.rows import Rows
from labkit.i18n import _
from labkit.models import lora, packed, peft, weights
from labkit.models.base import ModelConfig, PublishedConfig
from labkit.models.bert import sentence
from labkit.models.layers import compute_dtype
from labkit.profile.cost import flops_of
from labkit.profile.hardware import mixed_pays
from labkit.tasks.base import Head
from labkit.train.default_rates import EPOCHS
from labkit.train.experiment import Experiment, check_reads
from labkit.train.model_facts import NAME as FACTS
from labkit.train.model_facts import read_facts
from labkit.train.optimizer import Optimizer
from labkit.train.outcome import constant_of
from labkit.train.private_plan import PrivatePlan
from labkit.train.process_group import SINGLE, ProcessGroup
from labkit.train.processors import Processor, load_processor, processor_of, with_length
from labkit.train.sharding import Placement
from labkit.train.step import Params, TrainStep, flatten
from labkit.train.truncation import message, truncation
from labkit.train.vectors import reusable, vectors_of
from labkit.train.warm_start import start_experiment, start_folder

#: Folder in a model folder with the low-rank additions alone.
ADAPTER = "adapter"
#: Train metrics are reported about this many times an epoch.
REPORTS = 20
#: Steps of a run at most: they are counted in 32 bits on the device.
STEPS = 2**31 - 1
#: Names of outputs that a warning lists.
SHOWN = 10
#: Modules without weights that are kept.
ABSTRACT = 8
#: Updates in one call, at most, where a single one is shorter than the host takes to give the next …
MANY = 32
#: … which is so below this many floating-point operations a step, on a CPU and elsewhere.
SMALL, SMALL_ON_ACCELERATORS = 2e8, 2e10


#: A model's config → the same with the data type that it computes in.
Precise = Callable[[ModelConfig], ModelConfig]


@dataclass
class TrainContext:
    """An experiment with its data read and its steps ready to compile. No weight exists yet."""

    experiment: Experiment
    head: Head
    model: ModelConfig  # with the sizes that come from the data
    computed: ModelConfig  # the same with the precision that training computes in
    processor: Processor
    batches: Batches
    validation: Batches
    validation_rows: Any
    steps: TrainStep
    most: int  # updates in one call of the compiled step
    summary: dict[str, Any]  # what the store is told
    private: PrivatePlan | None = None  # of differentially private training
    start: Path | None = None  # folder of the model of a warm start

    def weights(self) -> Params:
        """The parameters to start from: those of another trained model, pretrained ones, or new ones by the seed."""
        rngs = nnx.Rngs(self.experiment.train.seed)
        module = self.head.init(self.computed, rngs)
        if self.start is not None:
            _start_from(module, self.head, self.model, self.start)
        elif self.model.weights:
            self.head.check_loaded(self.model.load(module.backbone))
            if self.head.pretrained(self.model)[0] and (folder := self.model.folder()) is not None:
                self.head.start(module, folder, self.model)
        _adapt(module, self.experiment.train.optimizer, rngs)
        return flatten(nnx.to_pure_dict(nnx.split(module)[1]))


def prepare(
    experiment: Experiment,
    folder: Path,
    say: Callable[[str], None],
    parts: int | None = None,
    group: ProcessGroup = SINGLE,
) -> TrainContext:
    """Read the rows of a run folder and make the steps.

    Args:
        experiment: what to do.
        folder: the run's folder; its ``data`` holds the rows, ``tokenizer`` is written here.
        say: called with a sentence at the start of every part.
        parts: what batches must be divisible into. A run that is taken up again keeps those it began with
            (``summary["parts"]``), so that its batches stay the same whatever devices there are now.
        group: the processes that do so together.

    Raises:
        DataError, ConfigError, WeightsError: as their texts say.
    """
    rows = open_rows(folder / "data")
    for split in ("train", "validation"):
        if not len(rows.splits.get(split, ())):
            raise DataError(
                _("no split {split}; the rows have {rows}."), split=split, rows=dict(rows.counts())
            )
    check_reads(experiment.model, rows, experiment.task)
    say(_("tokenising") if rows.spec.modality == "text" else _("reading"))
    with group.in_turn():
        processor = processor_of(experiment, folder, rows)
        examples = {name: processor.encode(rows[name]) for name in ("train", "validation")}
    return context_of(experiment, rows, processor, examples, say, parts, group, folder)


def context_of(
    experiment: Experiment,
    rows: Rows,
    processor: Processor,
    examples: dict[str, Any],
    say: Callable[[str], None] = lambda text: None,
    parts: int | None = None,
    group: ProcessGroup = SINGLE,
    folder: Path | None = None,
) -> TrainContext:
    """The plan for rows that were read already: ``examples`` are those of train and validation. Without a
    ``folder`` it is for cost estimates: differentially private training has no secret then. Raises as
    :func:`prepare`."""
    experiment = with_length(experiment.for_rows(rows), processor.max_length)
    train = experiment.train
    placement = Placement.of(train.devices, train.model_parallel, train.sharded, experiment.model.sharding)
    sized = processor.sized(experiment.model)
    precise = with_precision(sized)
    model = sized.replace(dtype=group.broadcast(precise.dtype)) if group.count > 1 else precise
    parts = parts or (placement.data if placement else 1)
    known = examples["train"]
    target = known.target if experiment.task.problem_type else None
    head = experiment.task.build(
        processor.tags or rows.spec.classes, known.label, processor.tokenizer, target
    )
    if target is not None:
        examples = {
            name: replace(part, target=head.batch_target(part.target, part.label))
            for name, part in examples.items()
        }
    if reusable(experiment, head, model, examples):
        say(_("computing the vectors of the pictures, once"))
        compute = folder is not None
        examples = {name: vectors_of(part, model, compute) for name, part in examples.items()}
    start, private = start_folder(experiment, folder), None
    if train.privacy is not None:
        if placement is not None or group.count > 1:
            raise ConfigError(_("differentially private training runs on one device: set devices = 1."))
        train = train.replace(packing="never", buckets=1)
    batches, layout = processor.batches(
        examples["train"], train, model, 1 if train.privacy else parts * train.accumulate, shuffle=True
    )
    if train.privacy is not None:
        epochs = train.epochs or EPOCHS
        private = PrivatePlan.of(train.privacy, batches, epochs, train.accumulate, folder)
        batches = private.batches(batches)
    validation, _unused = processor.batches(examples["validation"], train, model, parts, shuffle=False)
    if placement and (placement := placement.dividing(parts)) is None and train.devices:
        raise ConfigError(
            _(
                "this run was started with batches in {parts} part(s), which cannot be divided over "
                "{devices} devices: set devices = 0 to resume on as many as possible."),
            parts=parts, devices=train.devices,
        )  # fmt: skip
    if group.count > 1:
        assert placement is not None, "several processes have several devices"
        if len({device.process_index for device in placement.mesh.devices.flat}) < group.count:
            raise ConfigError(
                _("{n_devices} devices are too few for {n_processes} processes."),
                n_devices=placement.mesh.size,
                n_processes=group.count,
            )
    if (total := (train.epochs or EPOCHS) * batches.steps_per_epoch) > STEPS:
        raise ConfigError(
            _(
                "{epochs:,} epochs of {steps_per_epoch:,} steps are {total:,} steps; the maximum is "
                "{steps:,}. Use fewer epochs or a larger batch_size."),
            epochs=train.epochs, steps_per_epoch=batches.steps_per_epoch, total=total, steps=STEPS,
        )  # fmt: skip
    say(_("building the model"))
    module = _abstract(head, model, train.optimizer)
    steps = steps_of(experiment, head, module, batches, placement, model, private)
    most = updates_per_call(steps, batches)
    # A call ends with a report: rarer reports make longer calls, but a short epoch has four of them all the
    # same.
    steps.report_every = max(steps.report_every, min(most, batches.steps_per_epoch // 4))
    sizes = {name: math.prod(leaf.shape) for name, leaf in steps.shapes.items()}
    summary = {
        "parameters": sum(sizes.values()),
        "reported": list(head.eval_metrics),
        "metric": train.metric or head.monitor,
        "trainable": sum(sizes[name] for name in steps.trainable),
        "shapes": [list(shape) for shape in batches.shapes],
        "padding_share": round(batches.padding_share, 4),
        "layout": layout,
        "updates_per_call": most,
        "truncated": examples["train"].truncated,
        "truncation": (cut := truncation(processor, rows["train"], examples["train"])),
        "constant": constant_of(head, examples["train"], examples["validation"]),
        "warnings": [*([message(cut)] if cut else []), *_fresh(experiment.model, head, start)],
        "train_rows": len(examples["train"]),
        "precision": model.dtype if model.dtype == "mixed" else str(compute_dtype(model.dtype)),
        "device": str(jax.devices()[0].device_kind),
        "devices": placement.mesh.size if placement else 1,
        "parts": parts,
    }
    if private is not None:
        own = processor.tokenizer is not None and not model.weights
        summary["privacy"] = private.summary()
        summary["warnings"] += private.notes(experiment.task, processor.modality, own)
    return TrainContext(
        experiment, head, sized, model, processor, batches, validation, rows["validation"], steps, most, summary,
        private, start,
    )  # fmt: skip


def _start_from(module: Any, head: Head, model: ModelConfig, folder: Path) -> None:
    """Put the weights of a trained model into a new module: the backbone, and the head where it has the same outputs.

    Raises:
        WeightsError: the model is of another architecture or size.
    """
    stored, its_head, _processor = load_model(start_experiment(folder), folder)
    params = {"/".join(path): np.asarray(value) for path, value in weights.flatten(stored).items()}
    if head.classes == its_head.classes:
        params = head.from_stored(params, its_head)
    else:
        params = {name: value for name, value in params.items() if not name.startswith("head/")}
    own = nnx.to_flat_state(nnx.state(module))
    shapes = {"/".join(map(str, path)): tuple(leaf.shape) for path, leaf in own}
    for name in sorted({*shapes, *params}):
        given, wanted = params[name].shape if name in params else None, shapes.get(name)
        if name.startswith("backbone/") and given != wanted:
            raise WeightsError(
                _("warm_start: the model in {folder} does not fit {type}: {name} has shape {given}, not {wanted}."),
                folder=folder, type=type(model).__name__, name=name, given=given, wanted=wanted,
            )  # fmt: skip
    chosen = [
        (path, leaf.replace(jnp.asarray(params[name], leaf.dtype)))
        for path, leaf in own
        if (name := "/".join(map(str, path))) in params and params[name].shape == shapes[name]
    ]
    nnx.update(module, nnx.from_flat_state(chosen))


def _fresh(model: ModelConfig, head: Head, start: Path | None) -> list[str]:
    """What to warn of where the weights that training starts from lack a part that the task reads."""
    if start is not None:
        if (classes := read_facts(start).classes) == head.classes:
            return []
        return [
            _(
                "The model of the warm start has the outputs {given}; here they are {wanted}: the head is randomly "
                "initialised.",
                given=", ".join(classes[:SHOWN]), wanted=", ".join(head.classes[:SHOWN]),
            )
        ]  # fmt: skip
    if not model.weights:
        return []
    parts = [part for part in model.fresh_parts() if f"backbone/{part}/" not in head.unused]
    other = head.pretrained(model)[1]
    return [
        *(_("The pretrained weights have no {part}: it is randomly initialised, like the head.", part=part)
          for part in parts),
        *([other] if other else []),
    ]  # fmt: skip


def _abstract(head: Head, model: ModelConfig, optimizer: Optimizer) -> Any:
    """The module without weights; the last ones are kept, for the sliders of a panel."""
    lora = optimizer.trainable, optimizer.lora_rank, optimizer.lora_alpha, optimizer.lora_targets
    key = (type(head), repr(head), type(model), repr(model), *lora)
    if key not in _modules:
        while len(_modules) >= ABSTRACT:
            _modules.pop(next(iter(_modules)), None)
        _modules[key] = nnx.eval_shape(lambda: _adapt(head.init(model, rngs := nnx.Rngs(0)), optimizer, rngs))
    return _modules[key]


_modules: dict[Any, Any] = {}


def _adapt(module: Any, optimizer: Optimizer, rngs: nnx.Rngs) -> Any:
    """The module with what the way of fine-tuning adds to it."""
    if optimizer.trainable == "lora":
        targets = optimizer.lora_targets
        if targets is None:
            targets = tuple(f"backbone/{pattern}" for pattern in module.backbone.config.lora_targets)
        lora.add(module, optimizer.lora_rank, optimizer.lora_alpha, targets, rngs)
    return module


def steps_of(
    experiment: Experiment, head: Head, module: nnx.Module, batches: Batches, placement: Placement | None = None,
    model: ModelConfig | None = None, private: PrivatePlan | None = None,
) -> TrainStep:  # fmt: skip
    """The steps of an experiment. ``module`` may be abstract (``nnx.eval_shape``): then no weight exists.
    ``model`` is its config with the sizes that come from the data."""
    train, top = experiment.train, experiment.model.layers + 1
    return TrainStep(
        head, module, train.optimizer, lambda name: _layer_of(module, name, top), top,
        total=(train.epochs or EPOCHS) * batches.steps_per_epoch,
        report_every=max(1, batches.steps_per_epoch // REPORTS),
        accumulate=train.accumulate, placement=placement, model=model or experiment.model,
        private=None if private is None else private.mechanism(),
    )  # fmt: skip


def with_precision(model: ModelConfig) -> ModelConfig:
    """The config with "auto" precision settled for training: products of bfloat16 on a CPU where they were
    measured to be faster; elsewhere the model settles it by the hardware."""
    return model.replace(dtype="mixed") if model.dtype == "auto" and mixed_pays() else model


def updates_per_call(steps: TrainStep, batches: Batches) -> int:
    """How many updates the compiled step can make in one call: several where one is over before the host can
    give the next, and all batches have one shape."""
    if len(batches.shapes) != 1:
        return 1
    batch = shapes_of(batches, steps)[0]
    small = SMALL if jax.default_backend() == "cpu" else SMALL_ON_ACCELERATORS
    return MANY if flops_of(steps, batch) < small else 1


def shapes_of(batches: Batches, steps: TrainStep, stacked: int = 1) -> list[dict[str, jax.ShapeDtypeStruct]]:
    """What the batches look like, one of each shape, to compile for; ``stacked``: so many on a first axis."""
    first, found = batches.at(0), []
    for shape in batches.shapes:
        batch = {
            name: jax.ShapeDtypeStruct(batches.array_shape(name, x, shape), x.dtype)
            for name, x in first.items()
        }
        found.append(steps.abstract_batch(batch, stacked))
    return found


def save_model(setup: TrainContext, params: Params, folder: Path, **origin: object) -> None:
    """Write the model: texts' in the layout of their family, which other programs read; others' under
    labkit's own names. ``labkit.toml`` and ``labkit.json`` contain the experiment and the names of the
    outputs. ``origin``, such as run and step, is sealed with it."""
    optimizer, tokenizer = setup.experiment.train.optimizer, setup.processor.tokenizer
    merged = lora.merge(params, optimizer.lora_alpha / optimizer.lora_rank)
    head = setup.head.fitted(merged, setup.model, setup.validation_rows, tokenizer)
    bias = head.output_bias(merged) if "head/bias" in merged else None
    merged = {
        name: value for name, value in head.finalize(merged).items() if not name.startswith(head.unused)
    }
    facts = {
        "reads": setup.processor.modality,
        "shape": list(setup.model.input_shape or ()),
        "classes": head.classes,
        **({"offset": bias.tolist()} if bias is not None else {}),  # of which float32 may keep too little
    }
    if setup.model.published:
        assert tokenizer is not None
        special = weights.Specials(tokenizer.pad_id, tokenizer.cls_id, tokenizer.end_ids, tokenizer.start_id)
        head.save(merged, setup.model, folder, special)
        _save_adapter(setup, params, folder)
    else:
        weights.save_own(merged, folder, head.get_config())
    if tokenizer is not None:
        _export_tokenizer(setup, folder)
    else:
        setup.processor.save(folder)
    write_atomic(folder / FACTS, json.dumps(facts, ensure_ascii=False, indent=2) + "\n")
    write_atomic(folder / "labkit.toml", dumps(setup.experiment))
    manifest.seal(folder, **origin)


def _save_adapter(setup: TrainContext, params: Params, folder: Path) -> None:
    """Write the low-rank additions to pretrained weights once more by themselves, for PEFT, as ``adapter``."""
    model, optimizer = setup.model, setup.experiment.train.optimizer
    if not isinstance(model, PublishedConfig) or optimizer.trainable != "lora":
        return
    if (
        setup.start is not None
    ):  # the additions belong to the weights of the warm start, not to the pretrained ones
        return
    base = model.folder()
    if base is None or (folder / sentence.MODULES).exists():
        return
    base, flat = sentence.encoder_folder(base), {name: np.asarray(value) for name, value in params.items()}
    peft.save(flat, folder / ADAPTER, model=folder, base=base, name=model.weights, table=model.table(folder),
              alpha=optimizer.lora_alpha)  # fmt: skip


def _export_tokenizer(setup: TrainContext, folder: Path) -> None:
    """Write the tokenizer, with which other programs make the tokens that this model reads; once more next to
    an encoder in its own folder."""
    task, model, tokenizer = setup.experiment.task, setup.model, setup.processor.tokenizer
    longest = model.max_length if task.whole_length else task.max_length
    assert tokenizer is not None and longest is not None, "models of texts have both"
    encoder = sentence.encoder_folder(folder) if (folder / sentence.MODULES).exists() else folder
    for place in {folder, encoder}:
        tokenizer.export(
            place, longest, types=model.reads_types, prompts=task.writes, read_special=task.reads_special
        )


def load_model(
    experiment: Experiment, folder: Path, precise: Precise = lambda model: model
) -> tuple[Any, Head, Processor]:
    """The model that :func:`save_model` wrote, with its head; that head; and what it reads with.

    Raises:
        WeightsError: a file is missing or damaged, or the weights do not fit.
    """
    if (folder / manifest.NAME).exists():
        weights.check_sealed(folder)
    facts = read_facts(folder)
    processor = load_processor(experiment, folder, facts.modality, facts.shape)
    if experiment.task.needs_tags or experiment.task.needs_masks:
        processor.tags = facts.classes
    module, head = load_module(experiment, folder, facts.classes, processor, precise)
    if head.output_bias({}) is not None and (bias := _offset(facts.offset, module)) is not None:
        head = replace(head, bias=bias)
    return module, head, processor


def load_module(
    experiment: Experiment, folder: Path, classes: tuple[str, ...], processor: Processor, precise: Precise
) -> tuple[Any, Head]:
    """The weights of a folder, backbone and head, in the module of an experiment; and that head. ``precise`` settles
    what the module computes in.

    Raises:
        WeightsError: the weights do not fit.
    """
    model = precise(processor.sized(experiment.model))
    head = experiment.task.restore(classes, processor.tokenizer)
    module = nnx.eval_shape(lambda: head.init(model, nnx.Rngs(0)))
    if packed.about(folder) is not None:
        packed.fill(module, folder)
    elif model.published:
        model.load(module.backbone, folder)
        head.load(module, folder, model)
        _fill_unused(module, head.unused, folder)
        for path, value in weights.flatten(module).items():  # the head's too
            limit = head.largest if path[0] == "head" else weights.LARGEST
            weights.check_values(np.asarray(value), "/".join(path), folder, limit)
    else:
        weights.load_own(module, folder, head.largest)
    return module, head


def _offset(stored: list[float] | None, module: Any) -> np.ndarray | None:
    """The bias of the last layer, f64[k], as stored in the model's folder, where it agrees with the weights."""
    if module.head.bias is None or stored is None:
        return None
    rounded = np.asarray(module.head.bias[...], np.float64)
    if len(stored) != len(rounded):
        return None
    step = np.spacing(np.abs(rounded).astype(np.float32))
    return np.array(stored) if np.all(np.abs(np.array(stored) - rounded) <= step) else None


def _fill_unused(module: nnx.Module, unused: tuple[str, ...], folder: Path) -> None:
    """Give parameters that the file lacks, because nothing reads them, the value 0."""
    flat = nnx.to_flat_state(nnx.state(module))
    empty = [(path, leaf) for path, leaf in flat if isinstance(leaf.get_value(), jax.ShapeDtypeStruct)]
    if lacking := [
        "/".join(map(str, path)) for path, _ in empty if not "/".join(map(str, path)).startswith(unused)
    ]:
        raise WeightsError(
            _("the model in {folder} lacks {lacking}. Copy or export it again."),
            folder=folder,
            lacking=", ".join(lacking[:10]),
        )
    zeros = [(path, leaf.replace(jnp.zeros(leaf.shape, leaf.dtype))) for path, leaf in empty]
    nnx.update(module, nnx.from_flat_state(zeros))


def _layer_of(module: Any, name: str, top: int) -> int | np.ndarray:
    part, _, rest = name.partition("/")
    return module.backbone.layer_ids(tuple(rest.split("/"))) if part == "backbone" else top
