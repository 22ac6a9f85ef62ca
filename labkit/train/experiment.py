"""Experiments: data, model, task and training settings as one TOML file."""

from __future__ import annotations

import copy
import dataclasses
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self, TypeAlias

from labkit.core import plugins
from labkit.core.config import SEEDS, Config, check_names, option, parse, short
from labkit.core.errors import ConfigError, DataError
from labkit.core.registry import Registry
from labkit.data.io.load import RowSource, load
from labkit.data.prepare.clean import TextCleaner
from labkit.data.prepare.split import check_leakage
from labkit.data.recipe import check_options, check_steps
from labkit.data.rows import Rows
from labkit.data.series import BY_TIME, check_order
from labkit.i18n import _, joined
from labkit.models import models
from labkit.models.base import Modality, ModelConfig
from labkit.tasks import BY_PROBLEM_TYPE, default_task, tasks
from labkit.tasks.base import ProblemType, Task
from labkit.tasks.classify import Classify
from labkit.tasks.scenario import Scenario
from labkit.train.callback_specs import check_spec
from labkit.train.default_rates import BATCH, default_batch, default_epochs, with_rate
from labkit.train.optimizer import Optimizer, optimizers
from labkit.train.privacy import Privacy, check_delta, check_private


@dataclass(frozen=True)
class DataConfig(Config):
    """Where the rows come from and what is done to them, in order."""

    source: str = option(
        "", "A file, folder, sample or hub name. Empty: rows created in Python and saved with the run."
    )
    options: dict[str, Any] = option(help="Further arguments of lk.load.", factory=dict)
    steps: tuple[dict[str, Any], ...] = option((), 'Preprocessing steps, such as {do = "split", test = 0.2}.')
    accept_leakage: bool = option(False, "Train even if rows of validation or test also occur in train.")
    columns: tuple[str, ...] = option((), "Source columns of the training texts; set by labkit.")

    @classmethod
    def of(cls, rows: Rows, accept_leakage: bool = False) -> Self:
        """How ``rows`` came about."""
        given = dict(rows.source)
        steps = tuple(given.pop("steps", ()))
        return cls(given.pop("source", ""), given, steps, accept_leakage, rows.schema.text)

    def check(self) -> None:
        super().check()
        check_options(self.source, self.options)
        check_steps(self.steps)

    @property
    def cleaning(self) -> tuple[TextCleaner, ...]:
        """The cleaning that new texts need before the model reads them."""
        return tuple(
            TextCleaner.from_dict(_rest(step), "data.steps") for step in self.steps if step["do"] == "clean"
        )

    def clean(self, text: str) -> str:
        """A new text, cleaned as the training texts were."""
        for pipeline in self.cleaning:
            text = pipeline(text)
        return text

    def load(self, task: Task) -> Rows:
        """The rows, ready for ``task``. Raises :class:`ConfigError` where there is no source to load them
        from."""
        if not self.source:
            raise ConfigError(
                _("data.source is empty: these rows were created in Python and cannot be loaded again.")
            )
        rows = load(self.source, **self.options)
        for step in self.steps:
            try:
                rows = getattr(rows, step["do"])(**_rest(step))
            except TypeError as error:
                raise ConfigError(_("data.steps: {step!r}: {error}."), step=step, error=error) from None
        return ready(rows, task, self.accept_leakage)


def ready(rows: Rows, task: Task, accept_leakage: bool = False) -> Rows:
    """``rows`` split as training on ``task`` needs it and free of leakage; what is split already stays so.

    Running text is cut in its order; repeated lines are not leakage.

    Raises:
        DataError: they cannot be used for training, or rows of validation or test also occur in train.
    """
    if (kind := rows.spec.modality) not in task.modalities:
        reads = joined(_(" or "), [_KINDS[each] for each in task.modalities])
        raise DataError(
            _("the data is {kind}; {type} needs {reads}."),
            kind=_KINDS[kind], type=type(task).__name__, reads=reads,
        )  # fmt: skip
    if task.problem_type is not None:
        rows.spec.check_trainable()
        if rows.spec.problem_type != task.problem_type:
            raise ConfigError(
                _("the target of each row is {problem_type}; {task!r} needs {learned}. Use the task {fitting!r}."),
                problem_type=_AIMS[ProblemType(rows.spec.problem_type)],
                task=tasks.name_of(task), learned=_AIMS[task.problem_type],
                fitting=BY_PROBLEM_TYPE[rows.spec.problem_type],
            )  # fmt: skip
    if task.needs_masks and not rows.schema.mask_classes:
        raise DataError(
            _("the pictures have no masks: the task {task!r} needs a class for every pixel. Load a folder with images/ "
              "and masks/, in which files of the same name belong together."),
            task=tasks.name_of(task),
        )  # fmt: skip
    if task.example_format.running:
        whole = {"validation", "test"} <= set(rows.splits)
        return rows if whole else rows.split(in_order=True, accept_leakage=True)
    if rows.schema.modality in BY_TIME:
        check_order(rows.splits)
    if not {"validation", "test"} <= set(rows.splits):
        rows = rows.split(accept_leakage=True) if accept_leakage else rows.split()
    check_leakage(rows, accept=accept_leakage)
    return rows


def check_reads(model: ModelConfig, rows: Rows, task: Task) -> None:
    """Raise where an architecture cannot read these rows (:class:`DataError`; a perceptron takes pictures
    too) or cannot learn the task (:class:`ConfigError`)."""
    if task.needs not in model.capabilities:
        able = ", ".join(learners(task))
        raise ConfigError(
            _("{model} does not support {task!r}. Architectures that do: {able}."),
            model=models.name_of(model), task=tasks.name_of(task), able=able,
        )  # fmt: skip
    kind = rows.spec.modality
    if not _reads(model, Modality(kind)):
        fit = ", ".join(name for name in models if _reads(models[name], Modality(kind)))
        raise DataError(
            _("the data is {kind}; {type} expects {reads}. Architectures for {kind}: {fit}."),
            kind=_KINDS[kind], type=type(model).__name__, reads=_KINDS[model.modality], fit=fit or _("none"),
        )  # fmt: skip


def readers(rows: Rows, task: Task) -> list[str]:
    """Names of the architectures that read these rows and can learn the task."""
    kind = Modality(rows.spec.modality)
    return [name for name in learners(task) if _reads(models[name], kind)]


def _reads(model: ModelConfig | type[ModelConfig], kind: Modality) -> bool:
    """Whether an architecture reads rows of a modality; of those for features some read pictures as rows of numbers."""
    apart = model.modality is Modality.FEATURES and kind is not Modality.FEATURES and not model.flattens
    return model.modality in _READERS[kind] and not apart


def learners(task: Task | type[Task]) -> list[str]:
    """Names of the architectures that can learn a task."""
    return [name for name in models if task.needs in models[name].capabilities]


#: Modality of rows → modalities of models that read them.
_READERS = {
    Modality.TEXT: (Modality.TEXT, Modality.PAIR),
    Modality.IMAGE: (Modality.IMAGE, Modality.FEATURES),
    Modality.AUDIO: (Modality.AUDIO, Modality.IMAGE, Modality.FEATURES),
    Modality.FEATURES: (Modality.FEATURES,),
    Modality.SERIES: (Modality.SERIES,),
    Modality.INTERACTIONS: (Modality.INTERACTIONS,),
}
_KINDS = {
    "text": _("texts"), "pair": _("pairs of texts"), "image": _("pictures"), "features": _("features"),
    "audio": _("sounds"), "series": _("time series"), "interactions": _("interactions"),
}  # fmt: skip
_AIMS = {
    ProblemType.CLASS: _("one class"),
    ProblemType.LABELS: _("any number of labels"),
    ProblemType.NUMBER: _("a number"),
}


@dataclass(frozen=True)
class Training(Config):
    """How long, in which portions, and what is kept."""

    epochs: int | None = option(
        None,
        _(
            "Number of epochs (passes over the training rows). Default: 3, and with few rows as many as make "
            "about 300 optimizer steps."
        ),
        low=1,
        high=1_000_000,
    )
    batch_size: int | None = option(
        None,
        _("Examples per optimizer step (on average when packing). Default: that of the task."),
        low=1,
        high=1_000_000,
    )
    packing: str = option(
        "auto",
        _("Sequence packing: put several short texts into one row. auto: when it saves computation."),
        choices=("auto", "always", "never"),
    )
    buckets: int = option(
        4, _("Without packing: maximum number of padded lengths; each is compiled once."), low=1, high=16
    )
    accumulate: int = option(
        1, _("Gradient accumulation: micro-batches per step. More need less memory."), low=1, high=100_000
    )
    devices: int = option(0, _("Number of devices. 0: all available."), low=0, high=1_000_000)
    model_parallel: int = option(
        1, _("Tensor parallelism: devices per copy of the model."), low=1, high=100_000
    )
    sharded: bool = option(
        False,
        _(
            "Fully sharded data parallelism (FSDP): shard parameters and optimizer state over the devices "
            "instead of replicating them."
        ),
    )
    seed: int = option(0, _("Random seed of initialisation, dropout and shuffling."), low=0, high=SEEDS)
    evaluate_every: int = option(0, _("Steps between evaluations. 0: once per epoch."), low=0, high=10**9)
    metric: str = option(
        "",
        _(
            "Validation metric that selects the best checkpoint. Empty: the default metric of the task "
            "(F1, or the loss)."
        ),
        choices=("", "f1", "accuracy", "precision", "recall", "r2", "loss"),
    )
    keep: str = option(
        "best",
        _("Checkpoint that becomes the model: the best one or the last one."),
        choices=("best", "last"),
    )
    patience: int = option(
        0,
        _("Early stopping: evaluations without improvement before the run ends. 0: off."),
        low=0,
        high=10**9,
    )
    save_minutes: float = option(
        5.0,
        _("Maximum time between checkpoints in minutes; one is also saved at each evaluation."),
        low=0,
        high=1e6,
    )
    on_checkpoint_failure: str = option(
        "continue",
        _("What to do when a checkpoint cannot be saved (disk full): continue or pause."),
        choices=("continue", "pause"),
    )
    watchdog: float = option(
        60.0,
        _(
            "Seconds without progress (and at least 20 usual steps) after which a detached training "
            "process is restarted. 0: off."
        ),
        low=0,
        high=1e6,
    )
    profile: int = option(
        0,
        _("Profiler trace: steps that are recorded in the folder `profile` of the run. 0: none."),
        low=0,
        high=10**6,
    )
    warm_start: str = option(
        "",
        _(
            "Model folder of a trained run whose weights training starts from. Empty: pretrained weights of the "
            "model, or random ones."
        ),
    )
    optimizer: Optimizer = option(help="The optimizer and its schedule.", factory=Optimizer)
    privacy: Privacy | None = option(
        None, _("Differentially private training (DP-SGD): its target. Default: none.")
    )

    def settled(self, model: ModelConfig, task: Task) -> Training:
        """The same with the default learning rate and batch size of a model and a task, where it has none."""
        size = default_batch(model, task) if self.batch_size is None else self.batch_size
        return self.replace(optimizer=with_rate(self.optimizer, model, task), batch_size=size)

    def for_rows(self, rows: int, task: Task) -> Training:
        """The same with the default number of epochs for so many training rows, where it has none."""
        if self.epochs is not None:
            return self
        return self.replace(epochs=default_epochs(rows, self.batch_size or BATCH, task))


@dataclass(frozen=True)
class Experiment(Config):
    """All that makes a run what it is. Two runs of equal experiments on one machine give equal numbers.

    What was left to the model and the task, such as the learning rate, the batch size and a BERT's pooling,
    is filled in when the experiment is made.
    """

    model: ModelConfig
    data: DataConfig = option(help="Data source and preprocessing.", factory=DataConfig)
    task: Task = option(help="Task.", factory=Classify)
    train: Training = option(help="Training settings.", factory=Training)
    name: str = option("", "Name of the run.")
    plugins: tuple[str, ...] = option((), _("Modules that define the model, the task or the optimizer."))
    callbacks: tuple[dict[str, Any], ...] = option(
        (), 'Called while training, such as {class = "module:Class"}.'
    )
    scenario: Scenario | None = option(
        None, _("The decision that the model serves, the cost of its mistakes and its limits. Default: none.")
    )

    def check(self) -> None:
        super().check()
        for spec in self.callbacks:
            check_spec(spec)

    def __post_init__(self) -> None:
        super().__post_init__()
        names = (("models", models.name_of(self.model)), ("tasks", tasks.name_of(self.task)),
                 ("optimizers", self.train.optimizer.algorithm))  # fmt: skip
        object.__setattr__(self, "plugins", plugins.used(names, self.plugins))
        object.__setattr__(self, "model", self.model.settled(vectors=self.task.pooled_vectors))
        object.__setattr__(self, "train", self.train.settled(self.model, self.task))
        if (
            self.scenario is not None
            and not self.train.metric
            and self.task.problem_type != ProblemType.NUMBER
        ):
            # the threshold is chosen afterwards: probabilities must be right, not the likeliest class
            object.__setattr__(self, "train", self.train.replace(metric="loss"))
        check_private(self.task, self.train)

    def for_rows(self, rows: Rows) -> Experiment:
        """The same with the number of epochs that these rows need, where it has none."""
        count = len(rows.splits.get("train", ()))
        if self.train.privacy is not None:
            check_delta(self.train.privacy, count)
        return self.replace(train=self.train.for_rows(count, self.task), task=self.task.for_rows(rows))

    def to_dict(self) -> dict[str, Any]:
        values = super().to_dict()
        values["model"] = {"name": models.name_of(self.model), **values["model"]}
        values["task"] = {"name": tasks.name_of(self.task), **values["task"]}
        if not self.plugins:
            del values["plugins"]
        return values

    @classmethod
    def from_dict(cls, values: dict[str, Any], where: str = "") -> Self:
        if "model" not in values:
            raise ConfigError(_('the experiment has no model: add a table [model] with name = "bert".'))
        values = dict(values)
        plugins.require(values.get("plugins", ()))
        values["model"] = _named(models, values["model"], "model")
        values["task"] = _named(tasks, values.get("task", {"name": "classify"}), "task")
        return super().from_dict(values, where or "experiment")


def own_experiment(text: str, changes: Mapping[str, Any] | None = None) -> Experiment:
    """The experiment of a TOML text that is the user's own: a file that they give, or a run of their lab.
    What it names as plugins is imported; :func:`~labkit.core.config.loads` refuses plugins that are not
    allowed yet.

    Args:
        text: the TOML.
        changes: settings to replace, by their path ("train.epochs") or, where only one table has it, their
            name.

    Raises:
        ConfigError: it is not valid TOML, a value is wrong, or a plugin cannot be imported.
    """
    values = with_changes(parse(text), changes or {})
    plugins.load(values.get("plugins", ()))
    return Experiment.from_dict(values)


def with_changes(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The tables of an experiment file with some settings replaced.

    Raises:
        ConfigError: a path leads through a setting that is no table.
    """
    made = copy.deepcopy(dict(values))
    for name, value in changes.items():
        *tables, last = _path_of(name, made).split(".")
        place = made
        for table in tables:
            place = place.setdefault(table, {})
            if not isinstance(place, dict):
                raise ConfigError(
                    _("{name}: {table!r} is a value, not a table of settings."), name=name, table=table
                )
        place[last] = value
    return made


def _path_of(name: str, values: Mapping[str, Any]) -> str:
    """The path of a setting that is given by its name alone, as in ``lk.fit(epochs=5)``."""
    if "." in name or name in ("name", "plugins"):
        return name
    homes: dict[str, type[Config]] = {"train": Training, "train.optimizer": Optimizer, "data": DataConfig}
    for table, registry in (("task", tasks), ("model", models)):
        kind = values.get(table, {}).get("name") if isinstance(values.get(table, {}), dict) else None
        if isinstance(kind, str) and kind in registry:
            homes[table] = registry[kind]
    for place, cls in homes.items():
        if name != "optimizer" and name in {field.name for field in dataclasses.fields(cls)}:  # type: ignore[arg-type]
            return f"{place}.{name}"
    return "train.optimizer.algorithm" if name == "optimizer" else f"train.{name}"


#: What :func:`labkit.fit` takes as a model: a config, the name of an architecture, or a class or function
#: that makes an ``nnx.Module``.
ModelSource: TypeAlias = ModelConfig | str | Callable[..., Any]


def settings(task: str | Config = "classify", **values: object) -> tuple[Any, Training]:
    """Task and training from one flat set of keyword arguments, each going where its name belongs.

    ``task`` is the name of a task or its settings, ``optimizer`` that of a rule, a function that makes one,
    or an :class:`Optimizer`; the other arguments then change them.

    Raises:
        ConfigError: an unknown name, with the nearest one.
    """
    kind = tasks[task] if isinstance(task, str) else type(task)
    homes: dict[type[Config], dict[str, Any]] = {kind: {}, Training: {}, Optimizer: {}}
    if isinstance(task, Config):
        homes[kind] = task.to_dict()
    if isinstance(given := values.pop("optimizer", None), str):
        values["algorithm"] = given
    elif inspect.isfunction(given):
        values["algorithm"] = optimizers.added(given)
    elif isinstance(given, Optimizer):
        homes[Optimizer] = given.to_dict()
    elif given is not None:
        raise ConfigError(
            _(
                "optimizer = {given} must be the name of an optimizer ({known}), an Optimizer, or a function that "
                "returns an optax.GradientTransformation."
            ),
            given=short(given),
            known=", ".join(optimizers),
        )
    fields = {
        field.name: cls
        for cls in homes
        for field in dataclasses.fields(cls)  # type: ignore[arg-type]
        if field.name != "optimizer"
    }
    check_names("fit", values, fields)
    for name, value in values.items():
        homes[fields[name]][name] = value
    optimizer = Optimizer.from_dict(homes[Optimizer])
    return kind.from_dict(homes[kind]), Training.from_dict(homes[Training]).replace(optimizer=optimizer)


def experiment_of(
    rows: RowSource, model: ModelSource, accept_leakage: bool, options: Mapping[str, Any], name: str = ""
) -> tuple[Rows, Experiment]:
    """Prepare the rows and the experiment of a ``fit`` call.

    Without ``task``, it follows from the labels: a class, several labels or a number.
    """
    options = dict(options)
    rows, scenario = rows if isinstance(rows, Rows) else load(rows), options.pop("scenario", None)
    if not isinstance(model, Config):
        model = models[model if isinstance(model, str) else models.added(model)]()
    special = bool(rows.schema.mask_classes), bool(rows.schema.transcript)
    usual = default_task(rows.schema.modality, rows.schema.problem_type, *special)
    task, train = settings(options.pop("task", None) or usual, **options)
    check_reads(model, rows, task)
    rows = ready(rows, task, accept_leakage)
    if scenario is not None:
        scenario = Scenario.given(scenario)
        scenario.check_for(task.problem_type, rows.spec.classes)
    return rows, Experiment(
        model=model, data=DataConfig.of(rows, accept_leakage), task=task, train=train, name=name,
        scenario=scenario,
    )  # fmt: skip


def _named(registry: Registry, values: object, noun: str) -> Any:
    if isinstance(values, Config):
        return values
    if not isinstance(values, dict) or not isinstance(values.get("name"), str):
        raise ConfigError(
            _("[{noun}] needs a name, one of {registry}; it is {short}."),
            noun=noun, registry=", ".join(registry), short=short(values),
        )  # fmt: skip
    rest = {key: value for key, value in values.items() if key != "name"}
    return registry[values["name"]].from_dict(rest, noun)


def _rest(step: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in step.items() if key != "do"}
